//! A browser on the SIP plugin, and telephones that nobody here wrote.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Namespace, Server, node};

const CALL_MAX: Duration = Duration::from_secs(90);
/// Energy that five seconds of a beep or a tone leave in `totalAudioEnergy`; silence leaves less than a millionth.
const ENERGY_MIN: f64 = 0.05;
/// Root mean square of 16-bit samples that a telephone must have heard; silence is 8 or less in A-law.
const LEVEL_MIN: f64 = 300.0;

/// Lets a page and a telephone talk for five seconds, and checks tone at both ends and the end of the call.
fn call(telephone: &str, caller: &str, hangup: &str) -> Value {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let folder = std::env::temp_dir().join(format!("voex-sip-{}-{telephone}-{caller}-{hangup}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let config = json!({
        "url": format!("ws://{ADDRESS}:8188"), "proxy": format!("{ADDRESS}:5060"), "address": ADDRESS,
        "telephone": telephone, "caller": caller, "hangup": hangup, "seconds": 5, "folder": folder,
    });
    let seen = node(&namespace, "sip.mjs", &config, CALL_MAX);
    let energy = seen["received"]["audioEnergy"].as_f64().unwrap_or_default();
    assert!(energy > ENERGY_MIN, "the page heard {energy}: {seen:#}");
    if let Some(level) = seen["telephone"]["heard"].as_f64() {
        assert!(level > LEVEL_MIN, "the telephone heard {level}: {seen:#}");
    }
    assert_eq!(seen["telephone"]["code"], 0, "{seen:#}");
    assert_eq!(seen["end"]["code"], 200, "{seen:#}");
    let reason = if hangup == "page" {
        "to BYE"
    } else {
        "Session Terminated"
    };
    assert_eq!(seen["end"]["reason"], reason, "{seen:#}");
    assert_eq!(server.metric("sip_dialogs"), 0.0, "a dialog is left");
    assert_eq!(server.metric("sfu_transports"), 0.0, "a transport is left");
    server.stop();
    let _ = std::fs::remove_dir_all(&folder);
    seen
}

fn words(seen: &Value) -> Vec<&str> {
    seen["page"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

fn without_media(seen: &Value) -> Vec<&str> {
    words(seen)
        .into_iter()
        .filter(|word| !word.starts_with("media"))
        .collect()
}

#[test]
fn the_page_calls_sipp_and_hangs_up() {
    let seen = call("sipp", "page", "page");
    assert_eq!(
        without_media(&seen),
        [
            "sip registered",
            "sip calling",
            "sip ringing",
            "sip proceeding",
            "sip accepted",
            "webrtcup",
            "sip hangingup",
            "sip hangup",
            "hangup"
        ]
    );
}

#[test]
fn the_page_calls_sipp_which_hangs_up() {
    let seen = call("sipp", "page", "telephone");
    assert_eq!(
        without_media(&seen),
        [
            "sip registered",
            "sip calling",
            "sip ringing",
            "sip proceeding",
            "sip accepted",
            "webrtcup",
            "sip hangup",
            "hangup"
        ]
    );
}

#[test]
fn sipp_calls_the_page_and_hangs_up() {
    let seen = call("sipp", "telephone", "telephone");
    assert_eq!(
        without_media(&seen),
        [
            "sip registered",
            "sip incomingcall",
            "sip accepted",
            "webrtcup",
            "sip hangup",
            "hangup"
        ]
    );
}

#[test]
fn the_page_calls_baresip_and_hangs_up() {
    call("baresip", "page", "page");
}

#[test]
fn the_page_calls_baresip_which_hangs_up() {
    call("baresip", "page", "telephone");
}

#[test]
fn baresip_calls_the_page_which_hangs_up() {
    call("baresip", "telephone", "page");
}

#[test]
fn baresip_calls_the_page_and_hangs_up() {
    call("baresip", "telephone", "telephone");
}
