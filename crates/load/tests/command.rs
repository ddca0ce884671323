//! The command as a user runs it: what it prints, what it writes, and what its exit code says.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

mod tiny;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::tiny::{Mischief, Relay};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voex-load"));
    command.arg("turn").args(args);
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// A short load on a relay, and what more is asked.
fn load(mischief: Mischief, more: &[&str]) -> Output {
    let server = Relay::start(mischief).to_string();
    let args = [
        "--server",
        &server,
        "--clients",
        "2",
        "--seconds",
        "1",
        "--core",
        "0",
        "--quiet",
    ];
    run(&[&args, more].concat())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("voex-load-test-{}-{name}", std::process::id()))
}

#[test]
fn a_right_run_ends_with_0_and_gives_json_and_a_picture() {
    let svg = temporary("latency.svg");
    let output = load(Mischief::default(), &["--json", "--plot", svg.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["figures"]["latency"]["p999_us"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!(json["figures"]["faults"]["corrupt"], 0);
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    fs::remove_file(svg).unwrap();
}

#[test]
fn corrupted_packets_end_with_3() {
    let spoil = Mischief {
        spoil: Some(7),
        ..Mischief::default()
    };
    let output = load(spoil, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("WRONG"), "{}", text(&output.stdout));
}

#[test]
fn a_relay_that_delivers_nothing_ends_with_1_and_a_hint() {
    let lose = Mischief {
        lose: Some(1),
        ..Mischief::default()
    };
    let output = load(lose, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("nothing arrived"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_dead_server_ends_with_1_and_wrong_arguments_with_2() {
    let free = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let dead = run(&["--server", &free, "--clients", "1", "--core", "0"]);
    assert_eq!(dead.status.code(), Some(1));
    assert!(text(&dead.stderr).contains("is it running"), "{}", text(&dead.stderr));
    let wrong = run(&["--server", &free, "--clients", "0"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("1 to 8000"), "{}", text(&wrong.stderr));
}

/// A comparison of two cells, so many rounds of a second each.
fn versus(voex: &Path, rounds: &str, more: &[&str]) -> Command {
    let voex = voex.to_str().unwrap();
    let args = [
        "--versus",
        "--voex",
        voex,
        "--rounds",
        rounds,
        "--seconds",
        "1",
        "--core",
        "1",
    ];
    let mut command = command(&args);
    command.args(["--cells", "paced-50,idle-udp"]).args(more);
    command
}

fn voex() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_voex-load")).with_file_name("voex");
    assert!(path.is_file(), "voex is built before its tests: cargo build -p voex");
    path
}

#[test]
fn a_comparison_gives_a_table_and_files() {
    let [json, markdown, svg] = ["run.json", "run.md", "run.svg"].map(temporary);
    let files = [
        format!("--json={}", json.display()),
        format!("--markdown={}", markdown.display()),
        format!("--plot={}", svg.display()),
    ];
    let output = versus(&voex(), "1", &files.each_ref().map(String::as_str))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("budgets met"), "{}", text(&output.stdout));
    let found: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let rows = found["rows"].as_array().unwrap();
    let cells: Vec<_> = rows.iter().map(|row| row["cell"].as_str().unwrap()).collect();
    assert_eq!(cells, ["paced-50", "idle-udp", "idle-udp"]);
    assert!(rows.iter().all(|row| row["ratio"].as_f64().unwrap() > 0.0), "{found}");
    assert_eq!(
        fs::read_to_string(&markdown)
            .unwrap()
            .matches("| voice, 50 clients")
            .count(),
        1
    );
    assert!(fs::read_to_string(&svg).unwrap().contains("coturn"));
    for path in [json, markdown, svg] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_server_that_fails_ends_its_cell_and_the_others_are_still_run() {
    let output = versus(Path::new("/bin/cat"), "1", &["--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert!(
        runs.iter()
            .all(|run| run["failure"].as_str().unwrap().contains("voex did not start"))
    );
}

#[test]
fn an_interrupted_comparison_ends_with_130_and_leaves_nothing_behind() {
    let mut child = versus(&voex(), "9", &[]).stderr(Stdio::piped()).spawn().unwrap();
    let trace = format!("voex-load-{}-", child.id());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().contains("round 1"))
        .unwrap()
        .unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_in_a_command_line(&trace), "a server is still running");
    let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&trace))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn is_in_a_command_line(text: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(text))
}
