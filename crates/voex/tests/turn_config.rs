//! `voex turn-config`: exit codes, and a server that runs on what comes out.
#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod common;
#[path = "common/turn.rs"]
mod turn;
#[path = "../../worker/tests/common/turn_client.rs"]
mod turn_client;

use common::{Server, run, settings_file};
use turn::{Client, error_code};
use turn_client::{TurnClient, success};

fn convert(name: &str, conf: &str) -> (Option<i32>, String, String) {
    let file = settings_file(name, conf);
    let output = run(&["turn-config", file.to_str().unwrap()]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_exit_code_says_whether_anything_is_missing() {
    let (code, settings, said) = convert("whole.conf", "user=alice:secret\nno-tcp-relay\nno-cli\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("whole.conf:3: no-cli: no counterpart needed: there is no telnet interface\n2 taken over, 1 need no counterpart, 0 obsolete, 0 without counterpart\n"), "{said}");
    assert!(settings.contains("\"alice\": \"secret\"") && !said.contains("secret"));
    let (code, settings, said) = convert("gap.conf", "user=alice:secret\nacme-redirect=http://a.example\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("gap.conf:2: acme-redirect: NO COUNTERPART: ") && settings.contains("alice"),
        "{said}"
    );
    let missing = run(&["turn-config", "/nowhere/turnserver.conf"]);
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(2), 0));
}

#[test]
fn a_server_runs_on_what_a_configuration_of_coturn_becomes() {
    // MD5 of alice:example.org:secret.
    let conf = "listening-ip=127.0.0.1\nrealm=example.org\nuser=alice:0x543e1aec5d3614f03141652d6ada51b2\n\
                user=bob:secret\nallow-loopback-peers\ndenied-peer-ip=127.0.0.2-127.0.0.9\nno-software-attribute\n";
    let (_, settings, _) = convert("runs.conf", conf);
    let file = settings_file("runs.yaml", &settings);
    assert_eq!(
        run(&["check-config", "--strict", file.to_str().unwrap()]).status.code(),
        Some(0)
    );
    let server = Server::start(&["--settings", file.to_str().unwrap()]);
    let turn = server.listener("STUN and TURN", "TURN: ");
    for user in ["alice", "bob"] {
        let mut client = Client::of(turn, TurnClient::of(user, "secret"));
        success(&client.allocate());
        assert_eq!(client.permit("127.0.0.1:9".parse().unwrap()), None);
        assert_eq!(client.permit("127.0.0.5:9".parse().unwrap()), Some(403));
    }
    let mut stranger = Client::of(turn, TurnClient::of("alice", "guess"));
    assert_eq!(error_code(&stranger.allocate()), Some(401));
}
