//! The management API with live TURN sessions, and the drain.
#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod common;
#[path = "common/turn.rs"]
mod turn;
#[path = "../../worker/tests/common/turn_client.rs"]
mod turn_client;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{Server, settings_file};
use serde_json::json;
use turn::{Client, error_code, receive};
use turn_client::{TurnClient, channel_data, relayed_address, success};

const SETTINGS: &str =
    "turn:\n  realm: example.org\n  peers: {allow_loopback: true}\n  users: {static: {alice: secret, bob: secret}}\n";
/// A name that no URL, JSON or HTML may carry as it is, and how it stands in a URL.
const HOSTILE: &str = "a/b?c=\"<script>&\\\u{1}%41";
const HOSTILE_IN_URL: &str = "a%2Fb%3Fc%3D%22%3Cscript%3E%26%5C%01%2541";

fn start(name: &str, more: &str) -> (Server, SocketAddr) {
    let file = settings_file(name, &format!("{SETTINGS}{more}"));
    let server = Server::start(&["--settings", file.to_str().unwrap()]);
    let turn = server.listener("STUN and TURN", "TURN: ");
    (server, turn)
}

/// Allocates for a user.
fn allocated(turn: SocketAddr, user: &str) -> Client {
    let mut client = Client::of(turn, TurnClient::of(user, "secret"));
    success(&client.allocate());
    client
}

/// Lists until so many sessions are there: the desk hears of them a moment after the client.
fn listed(server: &Server, query: &str, count: usize) -> serde_json::Value {
    let asked = Instant::now();
    loop {
        let (status, page) = server.api_call(&format!("GET /api/v1/turn/sessions{query}"));
        assert_eq!(status, 200, "{page}");
        if page["sessions"].as_array().unwrap().len() == count {
            return page;
        }
        assert!(asked.elapsed() < Duration::from_secs(5), "not {count}: {page}");
    }
}

fn id(page: &serde_json::Value, index: usize) -> String {
    page["sessions"][index]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_session_is_shown_with_its_addresses_and_what_it_relays_while_it_lives() {
    let (server, turn) = start("api-shown.yaml", "");
    let (mut alice, peer) = (Client::connect(turn), UdpSocket::bind("127.0.0.1:0").unwrap());
    let relayed = relayed_address(&alice.allocate());
    let bind = alice.turn.channel_bind(0x4000, peer.local_addr().unwrap());
    success(&alice.ask(&bind));
    let id = id(&listed(&server, "", 1), 0);
    let path = format!("/api/v1/turn/sessions/{id}");
    let before = server.api_call(&format!("GET {path}")).1;
    alice
        .socket
        .send(&channel_data(0x4000, b"hundred bytes would do as well"))
        .unwrap();
    receive(&peer);
    let after = server.api_call(&format!("GET {path}")).1;
    for (field, value) in [
        ("user", json!("alice")),
        ("realm", json!("example.org")),
        ("client", json!(alice.socket.local_addr().unwrap())),
        ("local", json!(turn)),
        ("protocol", json!("udp")),
        ("tls", json!(null)),
        ("relayed", json!([{"public": relayed, "local": relayed}])),
        ("lifetime_s", json!(600)),
    ] {
        assert_eq!(after[field], value, "{field}");
    }
    assert!(after["age_s"].as_u64().unwrap() < 60 && after["expires_in_s"].as_u64().unwrap() > 540);
    let grown = |side: &str, figure: &str| {
        let of = |session: &serde_json::Value| session["traffic"][side][figure].as_u64().unwrap();
        of(&after) - of(&before)
    };
    assert_eq!(
        (grown("client", "received_packets"), grown("client", "received_bytes")),
        (1, 34)
    );
    assert_eq!((grown("peers", "sent_packets"), grown("peers", "sent_bytes")), (1, 30));
}

#[test]
fn sessions_come_in_pages_and_by_user() {
    let (server, turn) = start("api-pages.yaml", "");
    let _clients: Vec<_> = ["alice", "bob", "alice"].map(|user| allocated(turn, user)).into();
    let all = listed(&server, "", 3);
    assert_eq!((&all["next"], &all["sessions_in_all"]), (&json!(null), &json!(3)));
    let first = listed(&server, "?limit=2", 2);
    let next = first["next"].as_str().unwrap();
    assert_eq!(next, id(&all, 1));
    let second = listed(&server, &format!("?limit=2&after={next}"), 1);
    assert_eq!((id(&second, 0), &second["next"]), (id(&all, 2), &json!(null)));
    listed(&server, "?user=alice&realm=example.org", 2);
    listed(&server, "?user=alice&realm=elsewhere", 0);
}

#[test]
fn sessions_are_ended_by_id_by_user_and_by_realm() {
    let (server, turn) = start("api-end.yaml", "");
    let clients = ["alice", "alice", "bob", "bob", "alice"].map(|user| allocated(turn, user));
    let all = listed(&server, "", 5);
    let one = format!("/api/v1/turn/sessions/{}", id(&all, 0));
    assert_eq!(
        server.api_call(&format!("DELETE {one}")),
        (200, json!({"ended": 1, "ending": 0}))
    );
    assert_eq!(server.api_call(&format!("GET {one}")).0, 404);
    assert_eq!(server.api_call(&format!("DELETE {one}")).0, 404);
    let ended = server.api_call("DELETE /api/v1/turn/sessions?user=alice");
    assert_eq!(ended, (200, json!({"ended": 2, "ending": 0})));
    let ended = server.api_call("DELETE /api/v1/turn/sessions?user=bob&realm=elsewhere");
    assert_eq!(ended, (200, json!({"ended": 0, "ending": 0})));
    let left = listed(&server, "", 2);
    assert!(
        left["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|session| session["user"] == "bob")
    );
    let ended = server.api_call("DELETE /api/v1/turn/sessions?realm=example.org");
    assert_eq!(ended, (200, json!({"ended": 2, "ending": 0})));
    // Who was ended finds no allocation, and may make another one.
    let mut alice = clients.into_iter().next().unwrap();
    assert_eq!(alice.permit("127.0.0.1:9".parse().unwrap()), Some(437));
    let request = alice.turn.allocate();
    success(&alice.ask(&request));
}

#[test]
fn a_hostile_name_comes_through_as_it_is_and_ends_only_itself() {
    let name = serde_json::to_string(HOSTILE).unwrap();
    let file = settings_file(
        "api-hostile.yaml",
        &format!("turn: {{realm: example.org, users: {{static: {{alice: secret, {name}: secret}}}}}}"),
    );
    let server = Server::start(&["--settings", file.to_str().unwrap()]);
    let turn = server.listener("STUN and TURN", "TURN: ");
    let _clients = [HOSTILE, "alice"].map(|user| allocated(turn, user));
    listed(&server, "", 2);
    let page = listed(&server, &format!("?user={HOSTILE_IN_URL}"), 1);
    assert_eq!(page["sessions"][0]["user"], HOSTILE);
    let ended = server.api_call(&format!("DELETE /api/v1/turn/sessions?user={HOSTILE_IN_URL}"));
    assert_eq!(ended, (200, json!({"ended": 1, "ending": 0})));
    assert_eq!(listed(&server, "", 1)["sessions"][0]["user"], "alice");
}

#[test]
fn a_request_that_cannot_be_meant_ends_nothing_and_is_told_what_to_do() {
    let (server, turn) = start("api-wrong.yaml", "http: {names: [console.example.org]}\n");
    let _alice = allocated(turn, "alice");
    listed(&server, "", 1);
    for (request, code) in [
        ("DELETE /api/v1/turn/sessions", 400),
        ("DELETE /api/v1/turn/sessions?user=", 400),
        ("DELETE /api/v1/turn/sessions?user=alice&relm=example.org", 400),
        ("DELETE /api/v1/turn/sessions?user=alice&user=bob", 400),
        ("DELETE /api/v1/turn/sessions/1", 400),
        ("DELETE /api/v1/turn/sessions/%00", 400),
        ("GET /api/v1/turn/sessions?limit=0", 400),
        ("GET /api/v1/turn/sessions?limit=1001", 400),
        ("GET /api/v1/turn/sessions?limit=many", 400),
        ("GET /api/v1/turn/sessions?after=last", 400),
        ("GET /api/v1/turn/sessions/000000000000009999", 404),
        ("PUT /api/v1/turn/sessions", 405),
        ("GET /api/v1/turn", 404),
        ("POST /api/v1/drain", 415),
    ] {
        let (status, answer) = server.api_call(request);
        assert_eq!(status, code, "{request}: {answer}");
        assert!(
            answer["error"].is_string() && answer["hint"].is_string(),
            "{request}: {answer}"
        );
    }
    let ending = "DELETE /api/v1/turn/sessions?user=alice";
    for headers in ["Host: evil.example", "Host: 127.0.0.1\r\nOrigin: http://evil.example"] {
        assert_eq!(server.api_call_with(ending, headers, "").0, 403, "{headers}");
    }
    let nonsense = server.api_call_with(
        "POST /api/v1/drain",
        "Host: localhost\r\nContent-Type: application/json",
        "{\"max\": 1}",
    );
    assert_eq!(nonsense.0, 400);
    listed(&server, "", 1);
    let names = "Host: Console.Example.org:9189\r\nOrigin: http://console.example.org:9189";
    assert_eq!(server.api_call_with(ending, names, "").0, 200);
}

#[test]
fn a_drain_refuses_new_allocations_and_ends_with_the_last_one() {
    let (mut server, turn) = start("api-drain.yaml", "");
    let mut alice = allocated(turn, "alice");
    listed(&server, "", 1);
    let json = "Host: localhost\r\nContent-Type: application/json";
    assert_eq!(
        server.api_call("GET /api/v1/drain").1,
        json!({"draining": false, "in_use": 1, "ends_in_s": null})
    );
    let (status, state) = server.api_call_with("POST /api/v1/drain", json, "{\"max_s\": 600}");
    assert_eq!((status, &state["draining"]), (202, &json!(true)));
    server.wait_for("draining: 1 calls, conferences and allocations are in use; at most ");
    let mut bob = Client::of(turn, TurnClient::of("bob", "secret"));
    assert_eq!(error_code(&bob.allocate()), Some(508));
    let (status, health) = server.get("/health");
    assert!(status == 503 && health.contains("draining before the stop"), "{health}");
    // Who has an allocation keeps it, till it is released.
    assert_eq!(alice.permit("127.0.0.1:9".parse().unwrap()), None);
    let release = alice.turn.release();
    success(&alice.ask(&release));
    assert!(server.wait().success());
}

#[test]
fn a_drain_by_signal_has_a_limit_and_a_second_signal_ends_it_at_once() {
    let (mut limited, turn) = start("drain-limit.yaml", "drain_max_s: 1\n");
    let _alice = allocated(turn, "alice");
    let asked = Instant::now();
    limited.signal("TERM");
    assert!(limited.wait().success());
    assert!(asked.elapsed() >= Duration::from_secs(1));
    let (mut patient, turn) = start("drain-patient.yaml", "drain_max_s: 600\n");
    let _bob = allocated(turn, "bob");
    listed(&patient, "", 1);
    patient.signal("TERM");
    patient.wait_for("draining: 1 ");
    patient.signal("TERM");
    assert!(patient.wait().success());
}

#[test]
fn a_signal_shortens_a_drain_that_was_asked_for_and_the_settings_can_still_change() {
    let (mut server, turn) = start("drain-shortened.yaml", "drain_max_s: 600\n");
    let _alice = allocated(turn, "alice");
    listed(&server, "", 1);
    let json = "Host: localhost\r\nContent-Type: application/json";
    let ends_in = |server: &Server| server.api_call("GET /api/v1/drain").1["ends_in_s"].as_u64().unwrap();
    server.api_call_with("POST /api/v1/drain", json, "{\"max_s\": 86400}");
    assert!(ends_in(&server) > 86_000);
    server.api_call_with("POST /api/v1/drain", json, "");
    assert!((500..=600).contains(&ends_in(&server)));
    server.wait_for("draining: 1 ");
    settings_file("drain-shortened.yaml", &format!("{SETTINGS}drain_max_s: 1\n"));
    server.signal("HUP");
    server.wait_for("taken over: drain_max_s; ");
    server.signal("TERM");
    assert!(server.wait().success());
}
