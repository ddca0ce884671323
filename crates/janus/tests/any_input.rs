//! Nothing that a client can send makes the gateway panic, forget an answer, or leave something behind.
#![expect(clippy::disallowed_methods, reason = "the origin of virtual time")]

use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};
use voex_janus::fuzz::play;

/// Requests that make sense, and members that make them wrong.
fn body() -> impl Strategy<Value = Value> {
    let request = prop::sample::select(vec![
        "create",
        "edit",
        "destroy",
        "exists",
        "list",
        "listparticipants",
        "allowed",
        "kick",
        "moderate",
        "join",
        "joinandconfigure",
        "configure",
        "publish",
        "unpublish",
        "start",
        "pause",
        "switch",
        "subscribe",
        "unsubscribe",
        "update",
        "leave",
        "rtp_forward",
        "dance",
    ]);
    let value = prop_oneof![
        Just(json!(1)),
        Just(json!(2)),
        Just(json!(-1)),
        Just(json!("publisher")),
        Just(json!("subscriber")),
        Just(json!("0")),
        Just(json!("add")),
        Just(json!(true)),
        Just(json!(null)),
        Just(json!([])),
        Just(json!([{"feed": 1}])),
        Just(json!([{"feed": 2, "mid": "1", "send": false}])),
        Just(json!([{"mid": "0", "sub_mid": "0", "send": true, "keyframe": true, "description": "x"}])),
        Just(json!({"a": 1})),
    ];
    let name = prop::sample::select(vec![
        "room",
        "id",
        "ptype",
        "streams",
        "feed",
        "secret",
        "pin",
        "allowed",
        "action",
        "mid",
        "mute",
        "display",
        "bitrate",
        "publishers",
        "subscribe",
        "unsubscribe",
        "descriptions",
        "notify_joining",
        "audio",
        "metadata",
        "autoupdate",
        "keyframe",
    ]);
    (request, prop::collection::btree_map(name, value, 0..6)).prop_map(|(request, members)| {
        let mut body = json!({"request": request, "room": 1});
        for (name, value) in members {
            body[name] = value;
        }
        body
    })
}

/// Requests that lead somewhere: rooms fill, media comes up.
fn usual() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"request": "create", "room": 1, "notify_joining": true})),
        Just(json!({"request": "join", "ptype": "publisher", "room": 1, "id": 1})),
        Just(json!({"request": "joinandconfigure", "ptype": "publisher", "room": 1, "id": 2})),
        Just(json!({"request": "join", "ptype": "subscriber", "room": 1, "streams": [{"feed": 1}, {"feed": 2}]})),
        Just(json!({"request": "publish"})),
        Just(json!({"request": "start"})),
        Just(json!({"request": "destroy", "room": 1})),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let handle = prop::sample::select(vec!["$A", "$B", "$C", "$D"]);
    let jsep = prop::sample::select(vec![
        "",
        r#","jsep":{"type":"offer","sdp":"@offer"}"#,
        r#","jsep":{"type":"answer","sdp":"@answer"}"#,
    ]);
    let who = prop::sample::select(vec!["0", "1"]);
    let message =
        (who, handle.clone(), prop_oneof![body(), usual(), usual()], jsep).prop_map(|(who, handle, body, jsep)| {
            let head = format!(r#""janus":"message","transaction":"t","session_id":1,"handle_id":{handle}"#);
            format!(r#"{who}{{{head},"body":{body}{jsep}}}"#)
        });
    let verb = prop::sample::select(vec![
        "detach",
        "hangup",
        "keepalive",
        "destroy",
        "claim",
        "trickle",
        "attach",
    ]);
    let verb = (verb, handle).prop_map(|(verb, handle)| {
        format!(r#"0{{"janus":"{verb}","transaction":"t","session_id":1,"handle_id":{handle}}}"#)
    });
    prop_oneof![
        1 => Just(r#"0{"janus":"create","transaction":"t","id":1}"#.to_owned()),
        3 => Just(r#"0{"janus":"attach","transaction":"t","session_id":1,"plugin":"janus.plugin.videoroom"}"#.to_owned()),
        12 => message,
        1 => verb,
        4 => (0..6_u8).prop_map(|n| format!("u{n}")),
        1 => (0..6_u8).prop_map(|n| format!("d{n}")),
        1 => (0..6_u8).prop_map(|n| format!("r{n}")),
        1 => (0..70_u8).prop_map(|n| format!("w{n}")),
        1 => "c[01]",
    ]
}

/// What clients of the smaller plugins say: handle A is an echo test, B and C are video calls, D and E text rooms.
fn line_of_small_plugins() -> impl Strategy<Value = String> {
    let calls = prop_oneof![
        Just(json!({"request": "register", "username": "x"})),
        Just(json!({"request": "register", "username": "y"})),
        Just(json!({"request": "call", "username": "x"})),
        Just(json!({"request": "call", "username": "y"})),
        Just(json!({"request": "accept"})),
        Just(json!({"request": "hangup"})),
        Just(json!({"request": "set", "audio": false, "bitrate": 1000, "substream": 1})),
        Just(json!({"request": "list"})),
        Just(json!({"audio": true, "video": false, "temporal": 1})),
        Just(json!({"bitrate": 100_000, "videocodec": "vp9"})),
        Just(json!({"request": "setup"})),
        Just(json!({"request": "ack"})),
        Just(json!({"request": "restart"})),
        Just(json!({"request": "create", "room": 1, "history": 2})),
        Just(json!({"request": "destroy", "room": 1})),
        Just(json!({"request": "kick", "room": 1, "username": "x"})),
        Just(json!({"request": "announcement", "room": 1, "text": "tea"})),
        Just(json!({"request": "allowed", "room": 1, "action": "add", "allowed": ["t"]})),
        Just(json!({"request": "edit", "room": 1, "new_pin": "p"})),
    ];
    let said = prop_oneof![
        Just(json!({"textroom": "join", "transaction": "t", "room": 1, "username": "x"})),
        Just(json!({"textroom": "join", "transaction": "t", "room": 1, "username": "y", "pin": "p", "token": "t"})),
        Just(json!({"textroom": "message", "transaction": "t", "room": 1, "text": "hi"})),
        Just(json!({"textroom": "message", "transaction": "t", "room": 1, "text": "hi", "tos": ["x", 5]})),
        Just(json!({"textroom": "message", "transaction": "t", "room": 1, "text": "hi", "to": "x", "ack": false})),
        Just(json!({"textroom": "leave", "transaction": "t", "room": 1})),
        Just(json!({"textroom": "create", "transaction": "t", "room": 1})),
        Just(json!({"textroom": "destroy", "transaction": "t", "room": 1})),
        Just(json!({"textroom": "list", "transaction": 5})),
        Just(json!(["textroom"])),
    ];
    let handle = prop::sample::select(vec!["$A", "$B", "$C", "$D", "$E"]);
    let jsep = prop::sample::select(vec![
        "",
        r#","jsep":{"type":"offer","sdp":"@talk"}"#,
        r#","jsep":{"type":"offer","sdp":"@simulcast"}"#,
        r#","jsep":{"type":"answer","sdp":"@talk"}"#,
        r#","jsep":{"type":"answer","sdp":"@answer"}"#,
        r#","jsep":{"type":"answer","sdp":"@data"}"#,
    ]);
    let message = (handle.clone(), calls, jsep).prop_map(|(handle, body, jsep)| {
        let head = format!(r#""janus":"message","transaction":"t","session_id":1,"handle_id":{handle}"#);
        format!(r#"0{{{head},"body":{body}{jsep}}}"#)
    });
    let verb = (prop::sample::select(vec!["detach", "hangup"]), handle).prop_map(|(verb, handle)| {
        format!(r#"0{{"janus":"{verb}","transaction":"t","session_id":1,"handle_id":{handle}}}"#)
    });
    prop_oneof![
        12 => message,
        1 => verb,
        4 => (0..6_u8).prop_map(|n| format!("u{n}")),
        1 => (0..6_u8).prop_map(|n| format!("d{n}")),
        1 => (0..6_u8).prop_map(|n| format!("l{n}")),
        6 => (0..4_u8, said).prop_map(|(n, said)| format!("m{n}{said}")),
        1 => (0..4_u8, any::<String>()).prop_map(|(n, said)| format!("m{n}{said}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn calls_and_text_rooms_are_answered_and_leave_nothing(
        lines in prop::collection::vec(line_of_small_plugins(), 0..60),
    ) {
        let mut start = r#"0{"janus":"create","transaction":"t","id":1}"#.to_owned();
        for plugin in ["echotest", "videocall", "videocall", "textroom", "textroom"] {
            start += "\n0";
            start += r#"{"janus":"attach","transaction":"t","session_id":1,"plugin":"janus.plugin."#;
            start += plugin;
            start += "\"}";
        }
        play(Instant::now(), format!("{start}\n{}", lines.join("\n")).as_bytes());
    }

    #[test]
    fn sequences_of_requests_are_answered_and_leave_nothing(lines in prop::collection::vec(line(), 0..60)) {
        let start = r#"0{"janus":"create","transaction":"t","id":1}
0{"janus":"attach","transaction":"t","session_id":1,"plugin":"janus.plugin.videoroom"}
0{"janus":"attach","transaction":"t","session_id":1,"plugin":"janus.plugin.videoroom"}
0{"janus":"attach","transaction":"t","session_id":1,"plugin":"janus.plugin.videoroom"}
"#;
        play(Instant::now(), format!("{start}{}", lines.join("\n")).as_bytes());
    }

    #[test]
    fn any_text_is_answered(text in ".*") {
        play(Instant::now(), format!("0{}", text.replace('\n', " ")).as_bytes());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        play(Instant::now(), &bytes);
    }
}

#[test]
fn the_committed_corpus_is_survived() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/api");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let input = std::fs::read(entry.expect("readable").path()).expect("readable");
        play(Instant::now(), &input);
        inputs += 1;
    }
    assert!(inputs > 10);
}
