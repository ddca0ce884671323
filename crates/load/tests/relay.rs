//! The whole load against a tiny relay in this process that loses, repeats and spoils on demand. Nothing here depends
//! on how fast anything is.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

mod tiny;

use voex_load::figures::Figures;
use voex_load::load;
use voex_load::pattern::{Direction, Pacing, Pattern, Wrap};

use crate::tiny::{Mischief, Relay, pattern, target};

fn run(mischief: Mischief, pattern: &Pattern) -> Figures {
    let figures = load::run(&target(Relay::start(mischief)), pattern, None, true).unwrap();
    assert!(figures.sent > 0, "{figures}");
    figures
}

#[test]
fn a_true_relay_delivers_all_in_every_direction_and_wrapping() {
    for direction in [Direction::Up, Direction::Down, Direction::Both, Direction::Pair] {
        for wrap in [Wrap::Channel, Wrap::Send] {
            let figures = run(Mischief::default(), &pattern(direction, wrap));
            assert!(figures.content_is_right(), "{direction:?} {wrap:?}: {figures}");
            assert_eq!(figures.lost, 0, "{direction:?} {wrap:?}: {figures}");
            assert!(figures.delivered > 0, "{direction:?} {wrap:?}: {figures}");
        }
    }
}

#[test]
fn bursts_arrive_whole_with_and_without_gso() {
    for gso in [false, true] {
        let pattern = Pattern {
            burst: 8,
            gso,
            payload_bytes: 1200,
            pacing: Pacing::InFlight(1),
            ..pattern(Direction::Up, Wrap::Channel)
        };
        let figures = run(Mischief::default(), &pattern);
        assert!(figures.content_is_right() && figures.lost == 0, "gso {gso}: {figures}");
        assert_eq!(figures.sent % 8, 0);
    }
}

#[test]
fn a_lost_packet_is_missed() {
    let mischief = Mischief {
        lose: Some(2),
        ..Mischief::default()
    };
    let figures = run(mischief, &pattern(Direction::Up, Wrap::Channel));
    assert_eq!(figures.lost, figures.sent / 2, "{figures}");
    assert!(figures.content_is_right(), "{figures}");
}

#[test]
fn a_repeated_packet_is_told_from_a_new_one() {
    let mischief = Mischief {
        repeat: Some(5),
        ..Mischief::default()
    };
    let figures = run(mischief, &pattern(Direction::Both, Wrap::Send));
    assert!(figures.faults.duplicated >= figures.sent / 5 - 1, "{figures}");
    assert_eq!(figures.lost, 0, "{figures}");
    assert!(!figures.content_is_right());
}

#[test]
fn a_spoiled_packet_is_corrupt_and_missing() {
    let mischief = Mischief {
        spoil: Some(3),
        ..Mischief::default()
    };
    let figures = run(mischief, &pattern(Direction::Down, Wrap::Channel));
    assert_eq!(figures.faults.corrupt, figures.sent / 3, "{figures}");
    assert_eq!(figures.lost, figures.faults.corrupt, "{figures}");
}

#[test]
fn a_packet_at_the_wrong_client_is_misrouted() {
    let mischief = Mischief {
        swap_clients: true,
        ..Mischief::default()
    };
    let figures = run(mischief, &pattern(Direction::Down, Wrap::Channel));
    assert_eq!(figures.delivered, 0, "{figures}");
    assert_eq!(figures.faults.misrouted, figures.sent, "{figures}");
}

#[test]
fn paced_shots_never_exceed_their_rate() {
    let pattern = Pattern {
        pacing: Pacing::Rate(100.0),
        ..pattern(Direction::Both, Wrap::Channel)
    };
    let figures = run(Mischief::default(), &pattern);
    // 4 clients, 100 shots a second each, for 0.22 s; what a busy machine makes late is left out and counted.
    assert!(figures.sent + figures.faults.skipped <= 89, "{figures}");
    assert!(figures.content_is_right() && figures.lost == 0, "{figures}");
}
