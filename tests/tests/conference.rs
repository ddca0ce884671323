//! Browsers and Meetecho's Node client against the conference server.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Authority, Namespace, Server, TURN_PASSWORD, TURN_USER, node};

const PAGES_MAX: Duration = Duration::from_secs(90);
const ROOM: u64 = 1234;

/// Runs two pages for ten seconds: one publishes Opus and VP8, the other subscribes.
fn run(namespace: &Namespace, mut config: Value) -> Value {
    config["url"] = url().into();
    config["room"] = ROOM.into();
    config["seconds"] = 10.into();
    node(namespace, "conference.mjs", &config, PAGES_MAX)
}

fn url() -> String {
    format!("ws://{ADDRESS}:8188")
}

fn number(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {pointer} in {value}"))
}

fn words(value: &Value, who: &str) -> Vec<String> {
    let list = value[who]
        .as_array()
        .unwrap_or_else(|| panic!("no list of events for {who}"));
    list.iter()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

fn assert_media_flowed(seen: &Value) {
    assert!(number(seen, "/received/framesDecoded") > 60.0, "{seen:#}");
    assert!(number(seen, "/received/audioEnergy") > 0.0, "{seen:#}");
    assert_eq!(number(seen, "/received/packetsLost"), 0.0, "{seen:#}");
    assert_eq!(seen["received"]["videoDecoder"], "video/VP8");
    assert_eq!(seen["received"]["audioCodec"], "audio/opus");
}

/// The order that clients rely on (`joined` first, `configured` before `webrtcup`, announcement after it).
fn assert_events_are_in_order(seen: &Value) {
    let publisher = words(seen, "publisher");
    assert_eq!(publisher[..3], ["joined", "configured", "webrtcup"], "{seen:#}");
    let mut media = publisher[3..5].to_vec();
    media.sort();
    assert_eq!(media, ["media audio true", "media video true"], "{seen:#}");
    let mut ending = publisher[5..].to_vec();
    ending.retain(|word| !word.starts_with("media"));
    assert_eq!(ending, ["unpublished ok", "hangup", "leaving ok"], "{seen:#}");
    assert_eq!(
        words(seen, "watcher"),
        ["joined", "publishers", "unpublished other", "leaving other"],
        "{seen:#}"
    );
    assert_eq!(
        words(seen, "subscriber")[..3],
        ["attached", "started", "webrtcup"],
        "{seen:#}"
    );
}

#[test]
fn one_browser_publishes_and_another_sees_and_hears_it() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let seen = run(&namespace, json!({ "ice": {} }));
    assert_media_flowed(&seen);
    assert_events_are_in_order(&seen);
    assert_eq!(
        server.metric("worker_handed_over_packets_total"),
        0.0,
        "nothing went through TURN"
    );
    server.stop();
}

/// Runs the conference through TURN alone, over what `urls` says; both pages must have come that way.
fn assert_relayed(namespace: &Namespace, server: Server<'_>, config: &Value, urls: &str, protocol: &str) {
    let ice = json!({
        "iceTransportPolicy": "relay",
        "iceServers": [{ "urls": urls, "username": TURN_USER, "credential": TURN_PASSWORD }],
    });
    let mut config = config.clone();
    config["ice"] = ice;
    let seen = run(namespace, config);
    assert_media_flowed(&seen);
    assert_events_are_in_order(&seen);
    for page in ["received", "sent"] {
        assert_eq!(seen[page]["localCandidate"], "relay", "{seen:#}");
        assert_eq!(seen[page]["relayProtocol"], protocol, "{seen:#}");
    }
    let received = number(&seen, "/received/packetsReceived");
    let handed_over = server.metric("worker_handed_over_packets_total");
    assert!(
        handed_over > 2.0 * received,
        "{handed_over} packets handed over, {received} received by the subscriber"
    );
    server.stop();
}

#[test]
fn a_relayed_browser_reaches_the_conference_without_leaving_the_process() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let urls = format!("turn:{ADDRESS}:3478?transport=udp");
    assert_relayed(&namespace, server, &json!({}), &urls, "udp");
}

#[test]
fn a_browser_that_is_relayed_over_tcp_reaches_the_conference() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let urls = format!("turn:{ADDRESS}:3478?transport=tcp");
    assert_relayed(&namespace, server, &json!({}), &urls, "tcp");
}

#[test]
fn a_browser_that_is_relayed_over_tls_reaches_the_conference() {
    let namespace = Namespace::new();
    let authority = Authority::new();
    let server = Server::start(&namespace, &authority.settings());
    let urls = format!("turns:{ADDRESS}:5349?transport=tcp");
    let config = json!({ "home": authority.home() });
    assert_relayed(&namespace, server, &config, &urls, "tls");
}

#[test]
fn a_browser_refuses_a_relay_whose_certificate_nobody_vouches_for() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let urls = format!("turns:{ADDRESS}:5349?transport=tcp");
    let ice = json!({
        "iceTransportPolicy": "relay",
        "iceServers": [{ "urls": urls, "username": TURN_USER, "credential": TURN_PASSWORD }],
    });
    let seen = node(&namespace, "relay.mjs", &json!({ "ice": ice }), PAGES_MAX);
    assert_eq!(seen["candidates"], 0, "{seen:#}");
    let refused = server.metric("net_handshakes_failed_total{reason=\"refused_by_client\"");
    assert!(refused >= 1.0, "{seen:#}");
    assert_eq!(server.metric("turn_allocations_made_total"), 0.0);
    server.stop();
}

#[test]
fn meetechos_browser_client_publishes_subscribes_updates_pauses_and_comes_back() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let config = json!({ "url": url(), "room": ROOM, "seconds": 2 });
    let seen = node(&namespace, "janus_js.mjs", &config, PAGES_MAX);
    assert_eq!(seen["streams"], json!(["audio", "video", "data"]), "{seen:#}");
    assert_eq!(seen["updated"], json!(["audio", "video", "data", "video"]), "{seen:#}");
    for (step, frames) in [("flowing", 25.0), ("both", 50.0), ("resumed", 25.0), ("back", 25.0)] {
        assert!(number(&seen, &format!("/{step}/frames")) > frames, "{step}: {seen:#}");
        assert!(number(&seen, &format!("/{step}/energy")) > 0.0, "{step}: {seen:#}");
        assert_eq!(number(&seen, &format!("/{step}/lost")), 0.0, "{step}: {seen:#}");
    }
    assert!(number(&seen, "/paused/frames") <= 1.0, "{seen:#}");
    server.stop();
}

#[test]
fn media_outlives_the_connection_that_steers_it_until_somebody_claims_the_session_or_nobody_does() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "mcu.reclaim_timeout_s: 4\n");
    let config = json!({ "url": url(), "room": ROOM, "seconds": 2 });
    let seen = node(&namespace, "reclaim.mjs", &config, PAGES_MAX);
    assert!(number(&seen, "/orphaned") > 25.0, "{seen:#}");
    assert_eq!(
        seen["claimed"],
        json!({ "claim": "success", "configured": "ok" }),
        "{seen:#}"
    );
    assert!(number(&seen, "/reclaimed") > 25.0, "{seen:#}");
    let given_up = number(&seen, "/givenUpAfter");
    assert!((3.0..6.0).contains(&given_up), "{seen:#}");
    assert_eq!(number(&seen, "/afterwards"), 0.0, "{seen:#}");
    server.stop();
}

/// Runs a page that publishes 1280x720 in several encodings or layers, and one that asks for these in turn.
fn layers(namespace: &Namespace, config: &Value) -> Value {
    let mut all = json!({ "url": url(), "room": 77, "seconds": 4 });
    for (name, value) in config.as_object().expect("an object") {
        all[name] = value.clone();
    }
    node(namespace, "layers.mjs", &all, PAGES_MAX)
}

/// How long a picture may stand still at a switch, in seconds: a key frame of the largest picture takes its time to come.
const SWITCH_MAX_S: f64 = 0.5;

/// Each choice gives a picture of its width, which goes on and costs the publisher few requests.
fn assert_widths(seen: &Value, widths: &[u64]) {
    let looks = seen["looks"].as_array().expect("what was seen of each choice");
    let seen_widths: Vec<_> = looks.iter().filter_map(|look| look["width"].as_u64()).collect();
    assert_eq!(seen_widths, widths, "{seen:#}");
    for look in looks {
        assert!(number(look, "/frames") > 15.0, "{seen:#}");
        assert_eq!(number(look, "/plisOfSubscriber"), 0.0, "{seen:#}");
    }
    // While the first picture comes up the publisher's estimate of the bandwidth may still grow.
    for look in &looks[1..] {
        assert!(number(look, "/plisToPublisher") <= 2.0, "{seen:#}");
        assert!(number(look, "/frozenSeconds") < SWITCH_MAX_S, "{seen:#}");
    }
}

/// Publishes a simulcast in a codec and asks for one encoding after the other.
fn assert_simulcast(codec: &str, more: &Value) {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let encoding = |rid: &str, scale: u32| {
        let mut encoding = json!({ "rid": rid, "scaleResolutionDownBy": scale });
        for (name, value) in more.as_object().expect("an object") {
            encoding[name] = value.clone();
        }
        encoding
    };
    let config = json!({
        "codec": codec,
        "encodings": [encoding("h", 1), encoding("m", 2), encoding("l", 4)],
        "choices": [{ "substream": 0 }, { "substream": 1 }, { "substream": 2 }, { "substream": 0 }],
    });
    let seen = layers(&namespace, &config);
    assert_eq!(seen["streams"][0]["simulcast"], true, "{seen:#}");
    assert_eq!(seen["offered"][0]["simulcast"]["substream-target"], 2, "{seen:#}");
    assert_widths(&seen, &[1280, 320, 640, 1280, 320]);
    let events = seen["events"].as_array().expect("events");
    let substreams: Vec<_> = events.iter().filter_map(|event| event["substream"].as_u64()).collect();
    assert_eq!(substreams, [2, 0, 1, 2, 0], "{seen:#}");
    server.stop();
}

#[test]
fn a_subscriber_chooses_between_the_encodings_of_a_vp8_simulcast() {
    assert_simulcast("VP8", &json!({}));
}

#[test]
fn a_subscriber_chooses_between_the_encodings_of_an_h264_simulcast() {
    assert_simulcast("H264", &json!({}));
}

#[test]
fn a_subscriber_chooses_between_the_encodings_of_a_vp9_simulcast() {
    assert_simulcast("VP9", &json!({ "scalabilityMode": "L1T3" }));
}

#[test]
fn a_subscriber_chooses_between_the_layers_of_vp9() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let config = json!({
        "codec": "VP9",
        "mode": "L3T3",
        "encodings": [{ "scalabilityMode": "L3T3" }],
        "choices": [
            { "spatial_layer": 0 }, { "spatial_layer": 1 }, { "spatial_layer": 2 },
            { "temporal_layer": 0 }, { "temporal_layer": 2 },
        ],
    });
    let seen = layers(&namespace, &config);
    assert_eq!(seen["streams"][0]["svc"], true, "{seen:#}");
    assert_widths(&seen, &[1280, 320, 640, 1280, 1280, 1280]);
    server.stop();
}
