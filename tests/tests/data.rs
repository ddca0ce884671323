//! Data channels, and the plugins that live by them, with browsers and with aiortc.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Namespace, Server, node, python};

const PAGES_MAX: Duration = Duration::from_secs(60);

fn url() -> String {
    format!("ws://{ADDRESS}:8188")
}

#[test]
fn text_and_bytes_go_both_ways_through_a_room() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let seen = node(
        &namespace,
        "data.mjs",
        &json!({ "url": url(), "room": 1234 }),
        PAGES_MAX,
    );
    let sum: u64 = (0..60_000_u64).map(|i| i % 256).sum();
    for (page, other) in [(0, "second"), (1, "first")] {
        let seen = &seen[page];
        assert_eq!(seen["streams"][0]["type"], "audio", "{seen:#}");
        assert_eq!(seen["streams"][1]["type"], "data", "{seen:#}");
        assert_eq!(seen["streams"][1]["sources"], 1, "{seen:#}");
        assert!(number(seen, "/audioEnergy") > 0.0, "{seen:#}");
        assert_eq!(number(seen, "/packetsLost"), 0.0, "{seen:#}");
        let channels = json!([
            { "label": "JanusDataChannel", "ordered": true, "maxRetransmits": null, "protocol": "" },
            { "label": "loose", "ordered": false, "maxRetransmits": 0, "protocol": "p" },
        ]);
        assert_eq!(seen["channels"], channels, "{seen:#}");
        let received = seen["received"].as_array().expect("messages");
        let on = |label: &str| -> Vec<&Value> { received.iter().filter(|message| message["label"] == label).collect() };
        assert_eq!(on("loose")[0]["text"], format!("loose of {other}"));
        let reliable = on("JanusDataChannel");
        assert_eq!(reliable.len(), 203, "{seen:#}");
        assert_eq!(reliable[0]["text"], format!("hello of {other}"));
        assert_eq!(
            (&reliable[1]["bytes"], &reliable[1]["sum"]),
            (&json!(60_000), &json!(sum))
        );
        assert_eq!(reliable[2]["text"], "");
        let numbers: Vec<_> = reliable[3..]
            .iter()
            .filter_map(|message| message["text"].as_str())
            .collect();
        assert!(
            numbers.iter().enumerate().all(|(at, text)| *text == at.to_string()),
            "{numbers:?}"
        );
    }
    assert_eq!(server.metric("transport_data_dropped_total"), 0.0, "nothing was lost");
    server.stop();
}

fn number(value: &Value, pointer: &str) -> f64 {
    let number = value.pointer(pointer).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("no number at {pointer} in {value:#}"))
}

const WROTE: &str = "Janus EchoTest here! You wrote: ";

#[test]
fn a_browser_hears_sees_and_reads_itself_in_the_echo_test() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let config = json!({ "url": url(), "seconds": 4 });
    let seen = node(&namespace, "echotest.mjs", &config, PAGES_MAX);
    assert_eq!(
        seen["refused"]["error"],
        "Invalid element type (audio should be a boolean)"
    );
    assert_eq!(seen["empty"]["error"], "Message error: no supported attributes found");
    let received = json!([{ "text": format!("{WROTE}hello") }, { "bytes": 3, "sum": 6 }]);
    assert_eq!(seen["received"], received, "{seen:#}");
    assert!(number(&seen, "/heard/framesDecoded") > 25.0, "{seen:#}");
    assert!(number(&seen, "/heard/audioEnergy") > 0.0, "{seen:#}");
    assert_eq!(number(&seen, "/heard/packetsLost"), 0.0, "{seen:#}");
    assert_eq!(number(&seen, "/whileMuted"), 0.0, "{seen:#}");
    let acks = seen["acks"].as_array().expect("acks");
    assert!(
        acks.iter().all(|hint| hint == "I'm taking my time!") && acks.len() == 4,
        "{seen:#}"
    );
    let events = seen["events"].as_array().expect("events");
    let end: Vec<_> = events.iter().rev().take(2).collect();
    assert_eq!(end, ["hangup", "done"], "{seen:#}");
    assert_eq!(seen["direction"], json!(["stopped", "stopped"]), "{seen:#}");
    server.stop();
}

#[test]
fn two_browsers_call_each_other_by_name() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let config = json!({ "url": url(), "seconds": 4 });
    let seen = node(&namespace, "videocall.mjs", &config, PAGES_MAX);
    assert_eq!(seen["refused"]["nobody"]["error"], "Username 'nobody' doesn't exist");
    assert_eq!(seen["refused"]["myself"]["error_code"], 479);
    assert_eq!(seen["refused"]["list"]["result"]["list"], json!(["alice", "bob"]));
    for (page, other) in [(0, "bob"), (1, "alice")] {
        let seen = &seen["seen"][page];
        assert!(number(seen, "/figures/framesDecoded") > 25.0, "{seen:#}");
        assert!(number(seen, "/figures/audioEnergy") > 0.0, "{seen:#}");
        assert_eq!(number(seen, "/figures/packetsLost"), 0.0, "{seen:#}");
        assert_eq!(
            seen["received"],
            json!([{ "text": format!("hello of {other}") }]),
            "{seen:#}"
        );
    }
    assert_eq!(
        seen["set"],
        json!({ "videocall": "event", "result": { "event": "set" } })
    );
    let hangup = json!({ "event": "hangup", "username": "bob", "reason": "Explicit hangup" });
    let told = |page: usize| seen["told"][page].as_array().expect("events").clone();
    let alice = [
        json!({ "event": "registered", "username": "alice" }),
        json!({ "event": "calling", "username": "bob" }),
        json!({ "event": "accepted", "username": "bob" }),
        json!({ "event": "set" }),
        hangup.clone(),
    ];
    let bob = [
        json!({ "event": "registered", "username": "bob" }),
        json!({ "event": "incomingcall", "username": "alice" }),
        json!({ "event": "accepted" }),
        hangup,
    ];
    assert_eq!((told(0), told(1)), (alice.to_vec(), bob.to_vec()), "{seen:#}");
    server.stop();
}

#[test]
fn two_browsers_write_to_each_other_in_a_text_room() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let mut seen = node(&namespace, "textroom.mjs", &json!({ "url": url() }), PAGES_MAX);
    // Transactions and dates are whatever they are.
    let mut date = String::new();
    for page in ["ann", "ben"] {
        for told in seen[page].as_array_mut().expect("events") {
            if let Some(Value::String(given)) = told.as_object_mut().and_then(|told| told.remove("date")) {
                date = given;
            }
        }
    }
    assert!(
        date.ends_with("+0000") && date.len() == "2026-11-23T15:34:34+0000".len(),
        "{date}"
    );
    let answer = |name: &str| {
        let mut answer = seen[name].clone();
        answer.as_object_mut().and_then(|answer| answer.remove("transaction"));
        answer
    };
    let ok = json!({ "textroom": "event", "result": "ok" });
    assert_eq!(seen["setup"], json!([ok, ok]));
    assert_eq!(
        answer("created"),
        json!({ "textroom": "created", "room": 66, "permanent": false })
    );
    assert_eq!(answer("wrongPin")["error_code"], 419);
    assert_eq!(answer("joined"), json!({ "textroom": "success", "participants": [] }));
    assert_eq!(answer("said"), json!({ "textroom": "success" }));
    let ann = json!([{ "username": "ann", "display": "Ann" }]);
    assert_eq!(answer("second"), json!({ "textroom": "success", "participants": ann }));
    assert_eq!(
        answer("whispered"),
        json!({ "textroom": "success", "sent": { "ann": true } })
    );
    assert_eq!(answer("listed")["participants"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer("announced"), json!({ "textroom": "success" }));
    assert_eq!(answer("left"), json!({ "textroom": "success" }));
    assert_eq!(answer("outside")["error_code"], 422);
    assert_eq!(
        answer("destroyed"),
        json!({ "textroom": "destroyed", "room": 66, "permanent": false })
    );
    let join = |name: &str| json!({ "textroom": "join", "room": 66, "username": name });
    let said = |from: &str, text: &str| json!({ "textroom": "message", "room": 66, "from": from, "text": text });
    let mut ann_joins = join("ann");
    ann_joins["display"] = "Ann".into();
    let mut whisper = said("ben", "only you");
    whisper["whisper"] = true.into();
    let tea = json!({ "textroom": "announcement", "room": 66, "text": "tea" });
    let first = said("ann", "to an empty room");
    let all = said("ben", "hi all");
    let left = json!({ "textroom": "leave", "room": 66, "username": "ben" });
    let gone = json!({ "textroom": "destroyed", "room": 66 });
    let expected = json!([ann_joins, first, join("ben"), all, whisper, tea, left, gone]);
    assert_eq!(seen["ann"], expected, "{seen:#}");
    assert_eq!(seen["ben"], json!([join("ben"), first, all, tea]), "{seen:#}");
    server.stop();
}

#[test]
fn aiortc_gets_its_audio_and_data_back_over_a_dtls_and_sctp_of_its_own() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let seen = python(&namespace, "aiortc_echo.py", &json!({ "url": url() }), PAGES_MAX);
    let received = seen["received"].as_array().expect("messages");
    let on = |label: &str| -> Vec<&Value> {
        let of = received.iter().filter(|message| message[0] == label);
        of.map(|message| &message[1]).collect()
    };
    let wrote = |text: &str| json!(format!("{WROTE}{text}"));
    assert_eq!(
        on("JanusDataChannel"),
        [&wrote("hello"), &json!(50_000), &wrote(""), &json!(0)],
        "{seen:#}"
    );
    assert_eq!(on("loose"), [&wrote("loose")], "{seen:#}");
    assert!(number(&seen, "/frames") > 20.0, "{seen:#}");
    server.stop();
}

#[test]
fn janode_starts_an_echo_test() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let sdp = include_str!("../../crates/janus/tests/sdp/chromium-talker-data.sdp").replace('\n', "\r\n");
    let config = json!({ "url": url(), "sdp": sdp });
    let seen = node(&namespace, "janode_echo.mjs", &config, PAGES_MAX);
    assert_eq!((&seen["result"], &seen["type"]), (&json!("ok"), &json!("answer")));
    let answer = seen["sdp"].as_str().expect("an answer");
    assert_eq!(answer.matches("a=sendrecv").count(), 3, "{answer}");
    server.stop();
}
