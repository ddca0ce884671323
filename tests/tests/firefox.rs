//! Firefox in the conference.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Namespace, Server, node};

const PAGES_MAX: Duration = Duration::from_secs(90);

fn number(seen: &Value, pointer: &str) -> f64 {
    let value = seen.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number at {pointer} in {seen:#}"))
}

/// Picture and sound reach a page.
fn assert_flows(seen: &Value, step: &str, page: &str) {
    assert!(
        number(seen, &format!("/{step}/{page}/frames")) > 10.0,
        "{step}: {seen:#}"
    );
    assert!(
        number(seen, &format!("/{step}/{page}/energy")) > 0.0,
        "{step}: {seen:#}"
    );
    assert_eq!(number(seen, &format!("/{step}/{page}/lost")), 0.0, "{step}: {seen:#}");
}

#[test]
fn firefox_and_chromium_see_hear_and_write_to_each_other() {
    let namespace = Namespace::new();
    // Firefox takes the address that a default route would use.
    namespace.ip("route add default dev near");
    let server = Server::start(&namespace, "");
    let config = json!({ "url": format!("ws://{ADDRESS}:8188"), "room": 1234, "seconds": 2 });
    let seen = node(&namespace, "firefox.mjs", &config, PAGES_MAX);
    for page in ["firefox", "chromium"] {
        let mut streams = seen["streams"][page].clone();
        streams
            .as_array_mut()
            .expect("a list")
            .sort_by_key(|kind| kind.to_string());
        assert_eq!(streams, json!(["audio", "data", "video"]), "{seen:#}");
        assert_flows(&seen, "flowing", page);
        assert_flows(&seen, "back", page);
    }
    assert_eq!(
        seen["heard"],
        json!({ "firefox": ["from chromium"], "chromium": ["from firefox"] })
    );
    assert!(number(&seen, "/paused/firefox/frames") <= 1.0, "{seen:#}");
    assert!(number(&seen, "/paused/firefox/energy") > 0.0, "sound goes on: {seen:#}");
    assert_flows(&seen, "paused", "chromium");
    assert_flows(&seen, "resumed", "firefox");
    assert_flows(&seen, "updated", "firefox");
    server.stop();
}
