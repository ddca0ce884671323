//! The figures of TURN as a scrape sees them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod common;
#[path = "common/turn.rs"]
mod turn;
#[path = "../../worker/tests/common/turn_client.rs"]
mod turn_client;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{Server, settings_file};
use turn::{Client, receive};
use turn_client::{channel_data, success};

fn start(name: &str, settings: &str) -> (Server, SocketAddr) {
    let file = settings_file(name, settings);
    let server = Server::start(&["--settings", file.to_str().unwrap()]);
    let turn = server.listener("STUN and TURN", "TURN: ");
    (server, turn)
}

fn samples(server: &Server) -> Vec<String> {
    let (status, text) = server.get("/metrics");
    assert_eq!(status, 200);
    text.lines().map(str::to_owned).collect()
}

fn value(samples: &[String], name: &str) -> u64 {
    let line = samples
        .iter()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
        .parse()
        .unwrap()
}

/// Scrapes until a figure is as wanted: the desk hears of sessions a moment after their clients.
fn eventually(server: &Server, name: &str, wanted: u64) -> Vec<String> {
    let asked = Instant::now();
    loop {
        let samples = samples(server);
        if samples.iter().any(|line| line.starts_with(name)) && value(&samples, name) == wanted {
            return samples;
        }
        assert!(asked.elapsed() < Duration::from_secs(5), "never {wanted}: {samples:#?}");
    }
}

#[test]
fn what_a_session_relays_is_seen_under_coturns_names_while_it_lives_and_stays_when_it_ends() {
    let (server, turn) = start(
        "metrics-live.yaml",
        "turn: {realm: example.org, peers: {allow_loopback: true}, users: {static: {alice: secret}}}",
    );
    let (mut alice, peer) = (Client::connect(turn), UdpSocket::bind("127.0.0.1:0").unwrap());
    success(&alice.allocate());
    let bind = alice.turn.channel_bind(0x4000, peer.local_addr().unwrap());
    success(&alice.ask(&bind));
    const SENT: &str = "turn_traffic_peer_sentp{realm=\"example.org\"}";
    eventually(&server, SENT, 0);
    for _ in 0..3 {
        alice.socket.send(&channel_data(0x4000, b"0123456789")).unwrap();
        let (_, relayed) = receive(&peer);
        peer.send_to(b"01234", relayed).unwrap();
        receive(&alice.socket);
    }
    let live = samples(&server);
    let of_realm = |name: &str| value(&live, &format!("turn_traffic_{name}{{realm=\"example.org\"}}"));
    let total = |name: &str| value(&live, &format!("turn_total_traffic_{name}"));
    for (name, least, most) in [
        ("peer_sentp", 3, 3),
        ("peer_sentb", 30, 30),
        ("peer_rcvp", 3, 3),
        ("peer_rcvb", 15, 15),
        // The client's side counts requests, answers and headers too.
        ("rcvp", 4, 9),
        ("rcvb", 42, 900),
        ("sentp", 4, 9),
        ("sentb", 27, 900),
    ] {
        assert!((least..=most).contains(&of_realm(name)), "{name} {}", of_realm(name));
        assert_eq!(total(name), of_realm(name), "{name}");
    }
    assert_eq!(value(&live, "turn_total_allocations{type=\"UDP\"}"), 1);
    assert_eq!(value(&live, "turn_unauthenticated_401_requests"), 1);
    assert_eq!(value(&live, "turn_unauthenticated_401_responses"), 1);
    assert!(value(&live, "turn_packet_processed") >= 6);
    let release = alice.turn.release();
    success(&alice.ask(&release));
    let after = eventually(&server, "turn_total_allocations{type=\"UDP\"}", 0);
    assert_eq!(value(&after, SENT), 3);
    assert_eq!(value(&after, "turn_total_traffic_peer_rcvb"), 15);
}

#[test]
fn a_scrape_grows_with_realms_and_not_with_sessions() {
    let (server, turn) = start(
        "metrics-size.yaml",
        "turn: {realm: example.org, users: {static: {alice: secret}}}",
    );
    let clients = |count| (0..count).map(|_| allocated(turn)).collect::<Vec<_>>();
    let _few = clients(1);
    let lines = eventually(&server, "turn_total_allocations{type=\"UDP\"}", 1).len();
    let _many = clients(40);
    assert_eq!(
        eventually(&server, "turn_total_allocations{type=\"UDP\"}", 41).len(),
        lines
    );
}

fn allocated(turn: SocketAddr) -> Client {
    let mut client = Client::connect(turn);
    success(&client.allocate());
    client
}

#[test]
fn both_forms_of_a_scrape_have_the_same_samples_under_their_own_comments() {
    let (server, _) = start("metrics-forms.yaml", "turn: {realm: example.org}");
    let http = server.listener("metrics, health, console", "http://");
    let scrape = |accept: &str| {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: voex\r\nAccept: {accept}");
        let (status, answer) = common::exchange(http, &head, "");
        assert_eq!(status, 200);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    };
    let names = |body: &str| -> Vec<String> {
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let (head, prometheus) = scrape("text/plain");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let (head, open_metrics) = scrape("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    assert_eq!(names(&prometheus), names(&open_metrics));
    assert!(prometheus.contains("# TYPE turn_traffic_rcvp untyped\n") && !prometheus.contains("# EOF"));
    assert!(open_metrics.contains("# TYPE turn_traffic_rcvp unknown\n") && open_metrics.ends_with("# EOF\n"));
}
