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

#[test]
fn what_a_browser_publishes_is_recorded() {
    let (namespace, folder) = (Namespace::new(), Folder::new("vp8"));
    let server = Server::start(&namespace, &folder.settings());
    publish(&namespace, "VP8", &json!({}));
    assert_eq!(server.metric("net_dropped_total{reason=\"recording_full\""), 0.0);
    server.stop();
    for name in ["anna-audio-0.mjr", "anna-video-1.mjr"] {
        let file = std::fs::read(folder.0.join(name)).expect("recorded");
        assert!(file.starts_with(b"MJR00002"), "{name}");
        let packets = file.windows(4).filter(|window| window == b"MEET").count();
        assert!(packets > 100, "{name} has {packets} packets");
    }
}
