//! A browser on the SIP plugin and PJSIP, which insists on whatever it may insist on.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Namespace, Server, node};

const CALLS_MAX: Duration = Duration::from_secs(90);
/// Energy that a second of a tone leaves in `totalAudioEnergy`; silence leaves less than a millionth.
const ENERGY_MIN: f64 = 0.002;
/// Root mean square of 16-bit samples that a telephone must have heard; silence is 8 or less in A-law.
const LEVEL_MIN: f64 = 100.0;

fn number(seen: &Value, pointer: &str) -> f64 {
    let value = seen.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number at {pointer} in {seen:#}"))
}

/// Whether PJSIP has heard a message of a method's transaction that begins so.
fn heard(seen: &Value, begin: &str, method: &str) -> bool {
    let said = seen["said"].as_array().expect("what PJSIP said");
    let mut messages = said.iter().filter(|word| word["to"] == method);
    messages.any(|word| word["heard"].as_str().is_some_and(|message| message.starts_with(begin)))
}

#[test]
fn pjsip_with_100rel_and_timers_calls_holds_updates_and_transfers_both_ways() {
    let namespace = Namespace::new();
    let folder = std::env::temp_dir().join(format!("voex-pjsip-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let calls = folder.join("calls");
    let server = Server::start(&namespace, &format!("sip.calls_dir: {}\n", calls.display()));
    let config = json!({
        "url": format!("ws://{ADDRESS}:8188"), "proxy": format!("{ADDRESS}:5060"), "address": ADDRESS, "folder": folder,
    });
    let seen = node(&namespace, "pjsip.mjs", &config, CALLS_MAX);
    for step in ["talking", "resumed", "backAgain", "called"] {
        assert!(
            number(&seen, &format!("/{step}/energy")) > ENERGY_MIN,
            "{step}: {seen:#}"
        );
    }
    assert!(number(&seen, "/held/energy") < ENERGY_MIN, "it holds: {seen:#}");
    assert!(number(&seen, "/heard") > LEVEL_MIN, "it heard the page: {seen:#}");
    assert!(heard(&seen, "PRACK", "PRACK"), "its ringing was acknowledged: {seen:#}");
    assert!(
        heard(&seen, "SIP/2.0 180", "INVITE"),
        "ours needed its acknowledgement: {seen:#}"
    );
    assert!(heard(&seen, "SIP/2.0 200", "PRACK"), "{seen:#}");
    assert!(heard(&seen, "SIP/2.0 200", "UPDATE"), "{seen:#}");
    assert_eq!(seen["transfer"]["to"], format!("sip:other@{ADDRESS}:5099"), "{seen:#}");
    assert_eq!(seen["declined"]["transferred"], 480, "{seen:#}");
    assert_eq!(seen["refused"], "SIP/2.0 486 Busy Here\r\n", "{seen:#}");
    assert_eq!(seen["end"]["reason"], "Session Terminated", "{seen:#}");
    assert_eq!(seen["code"], 0, "{seen:#}");
    assert_eq!(server.metric("sip_dialogs"), 0.0, "a dialog is left");
    assert_eq!(server.metric("sfu_transports"), 0.0, "a transport is left");
    server.stop();
    let records = records(&calls);
    let said: Vec<_> = records
        .iter()
        .map(|record| (&record["direction"], &record["ended_by"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!("outgoing"), &json!("sip")),
            (&json!("incoming"), &json!("client"))
        ],
        "{records:#?}"
    );
    for record in &records {
        assert_eq!(record["codec"], "PCMA", "{record:#}");
        assert!(number(record, "/media/mos") > 4.2, "{record:#}");
        assert!(number(record, "/media/packets") > 50.0, "{record:#}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// The call log of today.
fn records(folder: &std::path::Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).expect("calls were logged");
    let text = files.map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("text"));
    let text: String = text.collect();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}
