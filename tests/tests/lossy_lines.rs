//! Browsers behind lines that lose and delay packets. With `VOEX_TEST_JANUS` set, Janus serves them instead and nothing is
//! insisted on: that is where the figures of rivals in `docs/benchmarks.md` come from.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    reason = "the figures are for whoever runs it with --no-capture"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use voex_tests::{ADDRESS, Impairment, Link, Namespace, Server, node};

const PAGES_MAX: Duration = Duration::from_secs(120);
/// One way of a line with 50 ms there and back.
const HALF: Duration = Duration::from_millis(25);

/// Where the line begins: Janus binds sockets to interfaces, so [`ADDRESS`] would not do.
const LINE: &str = "10.77.0.253";

/// Janus with its default settings, until this value goes.
struct Janus(Child, PathBuf);

impl Janus {
    fn start(namespace: &Namespace) -> Self {
        let folder = std::env::temp_dir().join(format!("voex-janus-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a folder of our own");
        write("janus.jcfg", &format!("nat: {{ ice_enforce_list = \"{LINE}\" }}\n"));
        write(
            "janus.transport.websockets.jcfg",
            "general: { ws = true, ws_port = 8188 }\n",
        );
        write("janus.plugin.videoroom.jcfg", "general: { }\n");
        let mut command = namespace.command("janus");
        command
            .args(["-F", path(&folder)])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("Debian's package janus is installed");
        std::thread::sleep(Duration::from_secs(2));
        Self(child, folder)
    }
}

impl Drop for Janus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have readable names")
}

/// Two browser pages behind a line, one publishes and one subscribes. Gives what the subscriber saw in each step, or
/// nothing when a rival served it.
fn watch(line: Impairment, steps: Value) -> Vec<Value> {
    let namespace = Namespace::new();
    let rival = std::env::var_os("VOEX_TEST_JANUS").map(|_| Janus::start(&namespace));
    let server = rival.is_none().then(|| Server::start(&namespace, ""));
    let link = Link::to(&namespace, 7);
    link.impair(line, line);
    let config = json!({ "url": format!("ws://{ADDRESS}:8188"), "room": 1234, "steps": steps });
    let seen = node(&link.clients, "line.mjs", &config, PAGES_MAX);
    let (carried, lost) = link.counts();
    println!("{seen:#}\nthe line carried {carried} packets and lost {lost}");
    let Some(server) = server else { return Vec::new() };
    server.stop();
    seen["steps"].as_array().expect("one entry a step").clone()
}

fn number(step: &Value, field: &str) -> f64 {
    step[field].as_f64().unwrap_or_else(|| panic!("no {field} in {step:#}"))
}

fn lossy(loss: f64) -> Impairment {
    Impairment {
        loss,
        delay: HALF,
        ..Impairment::default()
    }
}

#[test]
fn a_line_that_loses_one_packet_in_twenty_each_way_shows_a_moving_picture_and_steady_sound() {
    for step in watch(lossy(0.05), json!([{ "settle": 3, "seconds": 12 }])) {
        assert!(number(&step, "framesPerSecond") > 15.0, "{step:#}");
        assert!(number(&step, "longestGapMs") < 700.0, "{step:#}");
        assert!(number(&step, "audioConcealed") < 0.12, "{step:#}");
        assert!(number(&step, "audioEnergy") > 0.5, "{step:#}");
    }
}

#[test]
fn a_line_that_loses_one_packet_in_five_each_way_never_freezes_for_a_second() {
    for step in watch(lossy(0.2), json!([{ "settle": 3, "seconds": 12 }])) {
        assert!(number(&step, "framesPerSecond") > 12.0, "{step:#}");
        assert!(number(&step, "longestGapMs") < 1_000.0, "{step:#}");
        // Of what crosses two such lines 36 % is lost.
        assert!(number(&step, "audioConcealed") < 0.4, "{step:#}");
        assert!(number(&step, "audioEnergy") > 0.3, "{step:#}");
    }
}

#[test]
fn a_publisher_keeps_to_the_quality_that_is_chosen_for_it() {
    let chosen = [120, 360, 1080];
    // The picture of the fake camera is too simple to need more than 120 kbit/s.
    let steps = chosen.map(|kbps| {
        let settle = if kbps == 1080 { 8 } else { 4 };
        json!({ "configure": { "bitrate": kbps * 1_000 }, "restless": kbps > 120, "settle": settle, "seconds": 10 })
    });
    for (step, kbps) in watch(Impairment::default(), json!(steps)).iter().zip(chosen) {
        // REMB knows no streams: the cap is one for sound and picture together, with Janus too.
        let both = number(step, "videoKbps") + number(step, "audioKbps");
        let off = both / f64::from(kbps) - 1.0;
        println!("{kbps} kbit/s chosen, {both:.0} received");
        assert!(off.abs() < 0.15, "{kbps} kbit/s chosen: {step:#}");
    }
}
