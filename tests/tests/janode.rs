//! Meetecho's Node client makes every call that it has for the video room, and those of the admin API.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::json;
use voex_tests::{ADDRESS, Namespace, Server, node};

const OFFER: &str = include_str!("../../crates/janus/tests/sdp/chromium-publisher.sdp");

#[test]
fn janode_makes_every_call_that_it_has_for_the_video_room() {
    let namespace = Namespace::new();
    let admin = format!("mcu.admin: {{listen: \"{ADDRESS}:7188\", secret: lord}}\n");
    let server = Server::start(&namespace, &admin);
    let config = json!({
        "url": format!("ws://{ADDRESS}:8188"), "admin": format!("ws://{ADDRESS}:7188"), "secret": "lord",
        "room": 4711, "offer": OFFER.replace('\n', "\r\n"),
    });
    let seen = node(&namespace, "janode.mjs", &config, Duration::from_secs(30));
    let feed = &seen["joined"]["feed"];

    assert_eq!(seen["created"], json!({ "room": 4711, "permanent": false }));
    assert_eq!(seen["exists"]["exists"], true);
    assert_eq!(seen["listed"]["description"], "Janode");
    assert_eq!(seen["listed"]["max_publishers"], 4);
    assert_eq!(seen["listed"]["num_participants"], 0);
    assert_eq!(seen["listed"]["audio_active_packets"], 50);
    assert_eq!(seen["allowed"]["list"], json!(["t1", "t2"]));
    assert_eq!(seen["open"], "unexpected response to allowed request");
    assert_eq!(seen["recording"], json!({ "room": 4711, "record": false }));

    assert_eq!(seen["joined"]["publishers"], json!([]));
    assert_eq!(seen["joined"]["display"], "node");
    assert_eq!(seen["peer_joined"]["feed"], 42);
    assert_eq!(&seen["participants"]["participants"][0]["feed"], feed);
    assert_eq!(seen["participants"]["participants"][0]["publisher"], false);
    assert_eq!(seen["published"]["jsep"]["type"], "answer");
    assert_eq!(seen["published"]["streams"][1]["codec"], "vp8");
    assert_eq!(seen["configured"]["configured"], "ok");
    assert_eq!(seen["forward"]["forwarders"][0]["audio_rtcp_port"], 9001);
    assert_eq!(seen["old_forward"]["forwarder"]["video_port"], 9002);
    assert_eq!(
        seen["forwards"]["forwarders"][0]["forwarders"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(&seen["forward_stopped"]["feed"], feed);
    assert_eq!(&seen["unpublished"]["feed"], feed);
    assert_eq!(seen["kicked"]["feed"], 42);

    assert_eq!(seen["attached"]["streams"][0]["codec"], "opus");
    assert_eq!(seen["started"]["started"], "ok");
    assert_eq!(seen["paused"]["paused"], "ok");
    assert_eq!(seen["updated"]["streams"][1]["codec"], "vp8");
    assert_eq!(seen["removed"]["streams"][1]["active"], false);
    assert_eq!(seen["switched"]["switched"], "ok");
    assert_eq!(seen["layers"]["configured"], "ok");
    assert_eq!(seen["listener"]["streams"].as_array().map(Vec::len), Some(1));
    assert_eq!(seen["joined_at_once"]["feed"], 7);
    assert_eq!(seen["joined_at_once"]["jsep"]["type"], "answer");

    assert_eq!(seen["sessions"]["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(seen["handles"]["handles"].as_array().map(Vec::len), Some(6));
    assert_eq!(seen["handle"]["plugin_specific"]["type"], "publisher");
    assert_eq!(seen["handle"]["webrtc"]["media"]["0"]["codecs"]["codec"], "opus");

    assert_eq!(&seen["left"]["feed"], feed);
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
