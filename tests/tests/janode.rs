//! Meetecho's Node client runs the life of a room.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::json;
use voex_tests::{ADDRESS, Namespace, Server, node};

#[test]
fn janode_creates_lists_joins_leaves_and_destroys_a_room() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let config = json!({ "url": format!("ws://{ADDRESS}:8188"), "room": 4711 });
    let seen = node(&namespace, "janode.mjs", &config, Duration::from_secs(30));

    assert_eq!(seen["created"], json!({ "room": 4711, "permanent": false }));
    assert_eq!(seen["exists"]["exists"], true);
    assert_eq!(seen["listed"]["description"], "Janode");
    assert_eq!(seen["listed"]["max_publishers"], 4);
    assert_eq!(seen["listed"]["num_participants"], 0);
    assert_eq!(seen["joined"]["publishers"], json!([]));
    assert_eq!(seen["joined"]["display"], "node");
    assert_eq!(seen["participants"]["participants"][0]["feed"], seen["joined"]["feed"]);
    assert_eq!(seen["participants"]["participants"][0]["publisher"], false);
    assert_eq!(seen["left"]["feed"], seen["joined"]["feed"]);
    assert_eq!(seen["emptied"]["participants"], json!([]));
    assert_eq!(seen["destroyed"]["room"], 4711);
    assert_eq!(seen["gone"]["exists"], false);
    assert_eq!(seen["refused"], "426 No such room (4711)");
    let plugins = seen["plugins"].as_array().expect("the server lists its plugins");
    assert!(
        plugins.contains(&json!("janus.plugin.videoroom")) && plugins.contains(&json!("janus.plugin.sip")),
        "{plugins:?}"
    );
    server.stop();
}
