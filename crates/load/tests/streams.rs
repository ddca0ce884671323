//! The whole load over TCP and TLS, against the tiny relay behind a front that cuts, stalls and ends on demand.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

mod tiny;

use std::time::Duration;

use voex_load::LoadError;
use voex_load::figures::Figures;
use voex_load::load;
use voex_load::pattern::{Direction, Pacing, Pattern, Wrap};
use voex_load::rig::Target;
use voex_load::tls::{Tls, Trust};
use voex_load::transport::Transport;

use crate::tiny::front::{self, Certificate, Manner};
use crate::tiny::{Mischief, Relay, pattern, target};

fn tcp(mischief: Mischief, manner: Manner) -> Target {
    Target {
        transport: Transport::Tcp,
        ..target(front::start(Relay::start(mischief), None, manner))
    }
}

fn tls(certificate: &Certificate, trust: Trust<'_>, name: &str, manner: Manner) -> Target {
    let relay = Relay::start(Mischief::default());
    Target {
        transport: Transport::Tls,
        tls: Some(Tls::new(name, trust).unwrap()),
        ..target(front::start(relay, Some(certificate), manner))
    }
}

/// Runs a load in which nothing may be lost.
fn run(target: &Target, pattern: &Pattern) -> Figures {
    let figures = load::run(target, pattern, None, true).unwrap();
    assert!(figures.delivered > 0, "{figures}");
    assert!(figures.content_is_right() && figures.lost == 0, "{figures}");
    figures
}

#[test]
fn tcp_delivers_all_in_every_direction_and_wrapping() {
    let target = tcp(Mischief::default(), Manner::Prompt);
    for direction in [Direction::Up, Direction::Down, Direction::Both, Direction::Pair] {
        for wrap in [Wrap::Channel, Wrap::Send] {
            run(&target, &pattern(direction, wrap));
        }
    }
}

#[test]
fn tls_delivers_all_and_accepts_the_certificate_it_was_told_to_trust() {
    let certificate = Certificate::make("trusted");
    let path = certificate.certificate();
    for trust in [Trust::Anyone, Trust::Authorities(&path)] {
        let target = tls(&certificate, trust, "localhost", Manner::Prompt);
        run(&target, &pattern(Direction::Both, Wrap::Channel));
        run(&target, &pattern(Direction::Pair, Wrap::Send));
    }
}

#[test]
fn a_certificate_of_another_name_or_authority_is_refused_with_a_hint() {
    let (certificate, other) = (Certificate::make("shown"), Certificate::make("expected"));
    let (shown, expected) = (certificate.certificate(), other.certificate());
    for (path, name) in [(&shown, "elsewhere.example"), (&expected, "localhost")] {
        let target = tls(&certificate, Trust::Authorities(path), name, Manner::Prompt);
        let error = load::run(&target, &pattern(Direction::Up, Wrap::Channel), None, true).unwrap_err();
        assert!(error.to_string().contains("--insecure"), "{error}");
    }
}

#[test]
fn messages_survive_whatever_either_end_cuts_them_into() {
    let certificate = Certificate::make("cut");
    let manner = Manner::Dribbling(61);
    let mut targets = [
        tcp(Mischief::default(), manner),
        tls(&certificate, Trust::Anyone, "localhost", manner),
    ];
    for target in &mut targets {
        target.cut = Some(47);
        // 171 bytes leave a byte of padding to go wrong.
        let pattern = Pattern {
            payload_bytes: 171,
            ..pattern(Direction::Both, Wrap::Channel)
        };
        run(target, &pattern);
    }
}

#[test]
fn a_burst_is_one_write_and_arrives_whole() {
    let target = tcp(Mischief::default(), Manner::Prompt);
    let burst = Pattern {
        burst: 16,
        payload_bytes: 1200,
        pacing: Pacing::InFlight(1),
        ..pattern(Direction::Up, Wrap::Channel)
    };
    assert_eq!(run(&target, &burst).sent % 16, 0);
}

#[test]
fn faults_of_a_server_are_told_apart_over_streams_too() {
    let spoil = Mischief {
        spoil: Some(3),
        ..Mischief::default()
    };
    let target = tcp(spoil, Manner::Prompt);
    let figures = load::run(&target, &pattern(Direction::Down, Wrap::Channel), None, true).unwrap();
    assert_eq!(figures.faults.corrupt, figures.sent / 3, "{figures}");
    assert!(!figures.content_is_right());
}

#[test]
fn a_server_that_stops_reading_is_felt_and_its_packets_wait_within_bounds() {
    // Three requests set the client up; everything after them meets deaf ears.
    let target = tcp(Mischief::default(), Manner::Deaf(3));
    let heavy = Pattern {
        clients: 1,
        burst: 64,
        payload_bytes: 1400,
        pacing: Pacing::Rate(2000.0),
        measured: Duration::from_millis(500),
        ..pattern(Direction::Up, Wrap::Channel)
    };
    let figures = load::run(&target, &heavy, None, true).unwrap();
    let pressure = figures.backpressure.unwrap();
    assert!(figures.faults.held_back > 0, "{figures}");
    assert!(pressure.blocked_share > 0.0, "{figures}");
    assert!((1..=256 << 10).contains(&pressure.waiting_bytes_max), "{figures}");
    assert_eq!(figures.sent, figures.lost, "{figures}");
}

#[test]
fn clients_that_read_nothing_are_sent_to_and_not_judged() {
    let certificate = Certificate::make("stalled");
    let target = tls(&certificate, Trust::Anyone, "localhost", Manner::Prompt);
    for direction in [Direction::Both, Direction::Pair] {
        let pattern = Pattern {
            stalled: 2,
            ..pattern(direction, Wrap::Channel)
        };
        let figures = run(&target, &pattern);
        assert!(figures.sent_to_stalled > 0, "{figures}");
        assert_eq!(figures.release_failure, None);
    }
}

#[test]
fn a_run_goes_on_without_the_connections_that_end_and_stops_with_the_last() {
    let target = tcp(Mischief::default(), Manner::Ending(20));
    let error = load::run(&target, &pattern(Direction::Up, Wrap::Channel), None, true).unwrap_err();
    assert!(matches!(error, LoadError::AllClosed(_)), "{error}");
}

#[test]
fn a_server_that_speaks_something_else_is_told_so() {
    let target = tcp(Mischief::default(), Manner::Alert);
    let error = load::run(&target, &pattern(Direction::Up, Wrap::Channel), None, true).unwrap_err();
    assert!(error.to_string().contains("neither STUN nor ChannelData"), "{error}");
}

#[test]
fn a_port_where_nobody_listens_says_what_to_look_at() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let target = Target {
        transport: Transport::Tcp,
        ..target(free)
    };
    let error = load::run(&target, &pattern(Direction::Up, Wrap::Channel), None, true).unwrap_err();
    assert!(error.to_string().contains("is the server running"), "{error}");
}
