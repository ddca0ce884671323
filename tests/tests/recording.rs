//! What browsers publish into rooms that record, and what becomes of the files.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Namespace, Server, node};

const PAGES_MAX: Duration = Duration::from_secs(90);
const SECONDS: u64 = 6;

/// A folder for recordings, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("voex-recordings-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn settings(&self) -> String {
        format!("mcu.recordings_dir: {}\n", self.0.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os("VOEX_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Publishes into a room that records; gives what the page sent.
fn publish(namespace: &Namespace, codec: &str, more: &Value) -> Value {
    let mut config = json!({
        "url": format!("ws://{ADDRESS}:8188"), "room": 77, "codec": codec, "filename": "anna", "seconds": SECONDS,
    });
    for (name, value) in more.as_object().expect("an object") {
        config[name] = value.clone();
    }
    node(namespace, "recording.mjs", &config, PAGES_MAX)
}

/// Makes one file of both recordings with `voex mjr`.
fn convert(server_binary: &std::path::Path, folder: &Folder, out: &str) -> PathBuf {
    let out = folder.0.join(out);
    let done = std::process::Command::new(server_binary)
        .arg("mjr")
        .args([folder.0.join("anna-audio-0.mjr"), folder.0.join("anna-video-1.mjr")])
        .arg("--out")
        .arg(&out)
        .output()
        .expect("voex is built before the scenarios run");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(!said.contains(" 0 packets"), "{said}");
    assert_eq!(said.matches(" 0 lost, ").count(), 2, "{said}");
    out
}

/// Publishes in a codec into a room that records, and has a browser play what came of it.
fn assert_plays(codec: &str) {
    let (namespace, folder) = (Namespace::new(), Folder::new(codec));
    let server = Server::start(&namespace, &folder.settings());
    publish(&namespace, codec, &json!({}));
    assert_eq!(server.metric("net_dropped_total{reason=\"recording_full\""), 0.0);
    server.stop();
    let file = convert(&voex_tests::binary(), &folder, "anna.webm");
    let seen = node(
        &namespace,
        "play.mjs",
        &json!({ "file": file, "type": "video/webm" }),
        PAGES_MAX,
    );
    let seconds = seen["seconds"].as_f64().expect("a length");
    assert!((seconds - SECONDS as f64).abs() < 1.5, "{seen:#}");
    assert_eq!(
        (&seen["width"], &seen["height"]),
        (&json!(640), &json!(480)),
        "{seen:#}"
    );
    assert!(
        seen["frames"].as_f64().is_some_and(|frames| frames > 15.0 * seconds),
        "{seen:#}"
    );
    assert!(
        seen["audioBytes"].as_f64().is_some_and(|bytes| bytes > 1_000.0),
        "{seen:#}"
    );
}

#[test]
fn a_recording_of_vp8_plays_in_a_browser() {
    assert_plays("VP8");
}

#[test]
fn a_recording_of_vp9_plays_in_a_browser() {
    assert_plays("VP9");
}
