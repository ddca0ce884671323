//! The load against servers that nobody wrote for it: coturn and voex, started here, with loads too small to measure
//! anything.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

mod tiny;

use std::path::Path;
use std::time::Duration;

use voex_load::LoadError;
use voex_load::idle;
use voex_load::load;
use voex_load::mcu::{self, Plan, Target, Video};
use voex_load::pattern::{Direction, Pattern, Wrap};
use voex_load::program::{Program, Role};
use voex_load::server::Server;
use voex_load::tls::KeyKind;
use voex_load::transport::Transport;

use crate::tiny::pattern;

fn coturn() -> Program {
    Program::Coturn {
        path: "turnserver".into(),
        args: Vec::new(),
    }
}

fn voex() -> Program {
    let path = Path::new(env!("CARGO_BIN_EXE_voex-load")).with_file_name("voex");
    assert!(path.is_file(), "voex is built before its tests: cargo build -p voex");
    Program::voex(path, Vec::new())
}

fn start(program: &Program, transport: Transport, key: KeyKind) -> Result<Server, LoadError> {
    Server::start(program, 0, Role::Turn { transport, key })
}

/// Runs every direction and wrapping; nothing may be lost or changed.
fn relays_everything(program: &Program, transport: Transport, key: KeyKind) {
    let server = start(program, transport, key).unwrap();
    for direction in [Direction::Up, Direction::Down, Direction::Both, Direction::Pair] {
        for wrap in [Wrap::Channel, Wrap::Send] {
            let pattern = Pattern {
                payload_bytes: 171,
                ..pattern(direction, wrap)
            };
            let figures = load::run(&server.target(transport), &pattern, Some(server.process()), true).unwrap();
            let what = format!("{} over {transport}, {pattern}", program.name());
            assert!(figures.content_is_right() && figures.lost == 0, "{what}:\n{figures}");
            assert!(figures.delivered > 0, "{what}:\n{figures}");
            assert_eq!(figures.release_failure, None, "{what}");
        }
    }
}

fn holds_idle_allocations(program: &Program, transport: Transport) {
    let server = start(program, transport, KeyKind::Ecdsa).unwrap();
    let target = server.target(transport);
    let figures = idle::run(&target, 20, Duration::from_millis(10), server.process(), true).unwrap();
    assert_eq!(figures.allocations, 20);
    assert!(figures.cpu_us_each > 0.0, "{figures}");
}

#[test]
fn coturn_relays_everything_over_udp_tcp_and_tls() {
    relays_everything(&coturn(), Transport::Udp, KeyKind::Ecdsa);
    relays_everything(&coturn(), Transport::Tcp, KeyKind::Ecdsa);
    relays_everything(&coturn(), Transport::Tls, KeyKind::Ecdsa);
}

#[test]
fn coturn_takes_a_certificate_with_an_rsa_key() {
    relays_everything(&coturn(), Transport::Tls, KeyKind::Rsa);
}

#[test]
fn coturn_holds_idle_allocations_over_every_transport() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        holds_idle_allocations(&coturn(), transport);
    }
}

#[test]
fn coturn_gets_messages_in_pieces_and_still_relays_them_whole() {
    let server = start(&coturn(), Transport::Tcp, KeyKind::Ecdsa).unwrap();
    let mut target = server.target(Transport::Tcp);
    target.cut = Some(47);
    let figures = load::run(&target, &pattern(Direction::Both, Wrap::Channel), None, true).unwrap();
    assert!(figures.content_is_right() && figures.lost == 0, "{figures}");
    assert!(figures.delivered > 0, "{figures}");
}

#[test]
fn voex_relays_everything_over_udp_tcp_and_tls() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        relays_everything(&voex(), transport, KeyKind::Ecdsa);
        holds_idle_allocations(&voex(), transport);
    }
}

#[test]
fn voex_takes_a_certificate_with_an_rsa_key() {
    relays_everything(&voex(), Transport::Tls, KeyKind::Rsa);
}

#[test]
fn voex_gets_messages_in_pieces_and_still_relays_them_whole() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let server = start(&voex(), transport, KeyKind::Ecdsa).unwrap();
        let mut target = server.target(transport);
        target.cut = Some(47);
        let figures = load::run(&target, &pattern(Direction::Both, Wrap::Channel), None, true).unwrap();
        assert!(figures.content_is_right() && figures.lost == 0, "{figures}");
        assert!(figures.delivered > 0, "{figures}");
    }
}

#[test]
fn voex_forwards_a_small_conference_whole() {
    let media = [127, 0, 0, 1].into();
    let server = Server::start(&voex(), 0, Role::Mcu { media }).unwrap();
    let target = Target {
        url: server.url(),
        secret: None,
        first_room: 1,
        media: Some(media),
    };
    let plan = Plan {
        rooms: 1,
        publishers: 2,
        subscribers: 2,
        mesh: true,
        audio_bytes: Some(80),
        video: Some(Video {
            bitrate: 300_000,
            fps: 30,
            simulcast: false,
        }),
        joins_per_s: 100.0,
        loss: 0.0,
        warm_up: Duration::from_millis(100),
        measured: Duration::from_millis(300),
    };
    let figures = mcu::run(&target, &plan, Some(server.process()), true).unwrap();
    assert!(figures.content_is_right() && figures.lost == 0, "{figures}");
    assert_eq!((figures.streams, figures.silent_streams), (12, 0));
    assert!(figures.server.unwrap().cpu_us_per_packet > 0.0);
}

#[test]
fn a_server_that_cannot_start_says_what_it_said() {
    let program = Program::voex("/bin/cat".into(), Vec::new());
    let error = start(&program, Transport::Udp, KeyKind::Ecdsa).unwrap_err();
    assert!(error.to_string().contains("--settings"), "{error}");
}
