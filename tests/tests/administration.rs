//! What an administrator does while coturn's own client relays, and what a dashboard reads.
#![forbid(unsafe_code)]

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Namespace, Server, TURN_PASSWORD, TURN_USER, node, python};

const SESSIONS: &str = "/api/v1/turn/sessions";

/// turnutils_uclient, relaying to turnutils_peer for minutes unless it is stopped.
struct Relaying(Vec<Child>);

impl Relaying {
    fn start(namespace: &Namespace) -> Self {
        let mut echo = namespace.command("turnutils_peer");
        echo.args(["-L", ADDRESS, "-p", "3480"]);
        let mut client = namespace.command("turnutils_uclient");
        client.args(["-u", TURN_USER, "-w", TURN_PASSWORD, "-e", ADDRESS, "-r", "3480"]);
        client.args(["-m", "1", "-n", "10000", "-z", "20", "-l", "100", "-c", "-X", ADDRESS]);
        let programs = [&mut echo, &mut client];
        Self(
            programs
                .map(|program| program.spawn().expect("coturn is installed"))
                .into(),
        )
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn json(server: &Server<'_>, method: &str, path: &str) -> (u16, Value) {
    let (status, body) = server.request(method, path);
    (status, serde_json::from_str(&body).expect("the API answers JSON"))
}

/// Waits for a session that has relayed more than so many packets, and gives it.
fn relaying_session(server: &Server<'_>, packets: u64) -> Value {
    let asked = Instant::now();
    loop {
        let (_, page) = json(server, "GET", &format!("{SESSIONS}?user={TURN_USER}"));
        let relays = |session: &&Value| session["traffic"]["peers"]["received_packets"].as_u64() > Some(packets);
        // The client makes a second allocation, for RTCP, that it leaves idle.
        let sessions = page["sessions"].as_array().expect("a list of sessions");
        if let Some(session) = sessions.iter().find(relays) {
            return session.clone();
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "no such session: {page}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_live_client_is_listed_and_ended_by_id_and_by_user() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    for by_user in [false, true] {
        let _relaying = Relaying::start(&namespace);
        let session = relaying_session(&server, 20);
        assert_eq!(
            (&session["realm"], &session["protocol"]),
            (&json!("voex.test"), &json!("udp"))
        );
        let id = session["id"].as_str().expect("a session has an id");
        let path = match by_user {
            false => format!("{SESSIONS}/{id}"),
            true => format!("{SESSIONS}?user={TURN_USER}"),
        };
        let (status, ended) = json(&server, "DELETE", &path);
        assert_eq!((status, &ended["ending"]), (200, &json!(0)), "{ended}");
        assert!(ended["ended"].as_u64() >= Some(1), "{ended}");
        assert_eq!(json(&server, "GET", &format!("{SESSIONS}/{id}")).0, 404);
        // The client goes on sending, and nothing of it passes any more.
        assert_eq!(server.metric("turn_allocations"), if by_user { 0.0 } else { 1.0 });
        let dropped = server.metric("turn_dropped_total{reason=\"no_allocation\"");
        let asked = Instant::now();
        while server.metric("turn_dropped_total{reason=\"no_allocation\"") <= dropped {
            assert!(asked.elapsed() < Duration::from_secs(10), "the client fell silent");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    server.stop();
}

#[test]
fn the_parsers_of_prometheus_take_both_forms_and_find_coturns_names_counting_live() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let _relaying = Relaying::start(&namespace);
    relaying_session(&server, 20);
    let config = json!({"url": "http://127.0.0.1:9189/metrics"});
    let scraped = python(&namespace, "scrape.py", &config, Duration::from_secs(30));
    let (older, newer) = (&scraped["prometheus"], &scraped["open_metrics"]);
    let names = |samples: &Value| {
        samples
            .as_object()
            .expect("samples")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert!(names(older) == names(newer), "{older:#}\n{newer:#}");
    for name in [
        "turn_traffic_rcvp{realm=voex.test}",
        "turn_traffic_sentb{realm=voex.test}",
        "turn_traffic_peer_rcvp{realm=voex.test}",
        "turn_traffic_peer_sentb{realm=voex.test}",
        "turn_total_traffic_rcvb",
        "turn_total_traffic_peer_sentp",
        "turn_total_allocations{type=UDP}",
        "turn_packet_processed",
        "turn_unauthenticated_401_responses",
    ] {
        assert!(older[name].as_f64() > Some(0.0), "{name}: {older:#}");
    }
    for name in ["stun_binding_request", "stun_binding_error", "turn_packet_dropped"] {
        assert!(older[name].is_number(), "{name}: {older:#}");
    }
    // Some parsers would add `_total` to the name of a counter.
    let types = &scraped["types"];
    assert_eq!(
        (&types["turn_traffic_rcvp"], &types["turn_total_allocations"]),
        (&json!("unknown"), &json!("gauge"))
    );
    server.stop();
}

#[test]
fn the_console_ends_sessions_and_a_page_of_somebody_else_does_not() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let _relaying = Relaying::start(&namespace);
    relaying_session(&server, 20);
    let config = json!({"url": "http://127.0.0.1:9189", "user": TURN_USER});
    let seen = node(&namespace, "console.mjs", &config, Duration::from_secs(60));
    // What may not be asked across sites is refused before it is sent; what may be is refused by the server, unseen.
    assert_eq!(
        seen["foreign"],
        json!(["refused", "refused", "opaque 0", "refused"]),
        "{seen}"
    );
    assert_eq!(json(&server, "GET", "/api/v1/drain").1["draining"], json!(false));
    assert_eq!(
        (&seen["before"], &seen["first"], &seen["after"]),
        (&json!(2), &json!(1), &json!(0)),
        "{seen}"
    );
    assert_eq!(seen["cells"][0], json!(format!("{TURN_USER}voex.test")), "{seen}");
    assert_eq!(seen["said"], json!(""), "{seen}");
    assert_eq!(server.metric("turn_allocations"), 0.0);
    server.stop();
}
