//! Meetings of the load generator: what publishers send reaches everybody it is for, whole, once, and nobody else.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::Value;
use voex_tests::{ADDRESS, Namespace, Peer, Server, sibling};

const RUN_MAX: Duration = Duration::from_secs(60);

/// Runs `voex-load mcu` for a second against a server and gives the figures that it found.
fn load(namespace: &Namespace, args: &str) -> Value {
    let program = sibling("voex-load");
    let mut command = namespace.command(program.to_str().expect("the build folder has a readable name"));
    command.args([
        "mcu",
        &format!("ws://{ADDRESS}:8188"),
        "--seconds",
        "1",
        "--quiet",
        "--json",
    ]);
    command.args(args.split(' '));
    let done = Peer::start(command).finish(RUN_MAX);
    assert!(done.success, "{}\n{}", done.stdout, done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).expect("--json gives JSON");
    report["figures"].clone()
}

fn assert_everything_arrived(figures: &Value) {
    assert_eq!(figures["lost"], 0, "{figures:#}");
    assert_eq!(figures["silent_streams"], 0, "{figures:#}");
    assert!(figures["delivered"].as_u64() > Some(100), "{figures:#}");
    for fault in [
        "duplicated",
        "corrupt",
        "misrouted",
        "renumbered",
        "undecodable",
        "foreign",
        "early",
        "closed",
    ] {
        assert_eq!(figures["faults"][fault], 0, "{fault}: {figures:#}");
    }
}

#[test]
fn meetings_with_an_audience_hear_and_see_everybody_of_their_room_and_nobody_else() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let figures = load(
        &namespace,
        "--rooms 2 --publishers 3 --mesh --subscribers 2 --audio --video 300",
    );
    assert_everything_arrived(&figures);
    // Three members receive two others, two listeners all three; audio and video, in both rooms.
    assert_eq!(figures["streams"], 2 * (3 * 2 + 2 * 3) * 2);
    assert!(
        figures["feedback"]["transport"].as_u64() > Some(0),
        "publishers hear what arrived"
    );
    server.stop();
}

#[test]
fn video_that_is_lost_on_its_way_in_or_out_is_asked_for_and_sent_again() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let figures = load(&namespace, "--subscribers 6 --video 800 --loss 4");
    assert_everything_arrived(&figures);
    assert!(figures["feedback"]["sent_again"].as_u64() > Some(0), "{figures:#}");
    let upstream = figures["feedback"]["sent_again"].as_u64();
    assert!(
        figures["recovered"].as_u64() > upstream,
        "each subscriber lost something of its own: {figures:#}"
    );
    server.stop();
}

#[test]
fn subscribers_of_a_simulcast_get_each_the_encoding_they_ask_for_from_a_key_frame_on() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let figures = load(&namespace, "--subscribers 6 --audio --video 900 --simulcast");
    assert_everything_arrived(&figures);
    let layers: Vec<u64> = (0..3).filter_map(|layer| figures["layers"][layer].as_u64()).collect();
    // Two subscribers each; the middle and the least have a packet a frame, the best has three.
    assert!(layers[0] > layers[1] && layers[1] > 60 && layers[2] > 60, "{figures:#}");
    server.stop();
}

#[test]
fn an_audience_too_large_for_one_worker_is_served_by_two_and_each_asks_for_what_it_missed() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "workers: 2\n");
    // A subscriber is three of the 256 that the first worker keeps to itself.
    let figures = load(&namespace, "--subscribers 120 --audio --video 150 --loss 1");
    assert_everything_arrived(&figures);
    assert_eq!(figures["streams"], 120 * 2);
    assert!(figures["recovered"].as_u64() > Some(0), "{figures:#}");
    assert!(server.metric("sfu_piped_packets_total") > 50.0);
    assert_eq!(server.metric("sfu_pipe_drops_total"), 0.0);
    for kind in ["transports", "tracks", "subscriptions"] {
        assert_eq!(server.metric(&format!("sfu_{kind}")), 0.0, "everybody has left");
    }
    server.stop();
}
