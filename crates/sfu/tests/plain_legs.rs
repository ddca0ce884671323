//! Plain RTP legs: latching, hold, telephone events.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{Leg, Rtp, World, ms, subscription};
use voex_base::TrackId;
use voex_rtp::payload::event::TelephoneEvent;
use voex_sfu::{Command, DropReason, Event};

/// Two legs of one call, each hearing the other.
fn call() -> (World, Leg, Leg) {
    let mut world = World::new();
    let (a, b) = (world.leg(1), world.leg(2));
    world.audio_track(a, 1);
    world.audio_track(b, 2);
    world.subscribe(subscription(100, 1, b));
    world.subscribe(subscription(200, 2, a));
    (world, a, b)
}

#[test]
fn both_sides_of_a_call_hear_each_other() {
    let (mut world, a, b) = call();
    world.rtp(a, &Rtp::new(8, 1, 1, 160)).unwrap();
    world.rtp(b, &Rtp::new(8, 1, 9, 160)).unwrap();
    assert_eq!(world.heard(b)[0].payload, vec![1; 20]);
    assert_eq!(world.heard(a)[0].payload, vec![9; 20]);
}

#[test]
fn a_leg_that_is_closed_tells_what_arrived() {
    let (mut world, a, b) = call();
    for sequence in [1, 2, 5, 4] {
        world
            .rtp(a, &Rtp::new(8, 1, sequence, 160 * u32::from(sequence)))
            .unwrap();
    }
    world.events();
    world.command(Command::CloseTransport(a.transport()));
    world.command(Command::CloseTransport(b.transport()));
    let reports: Vec<_> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::PlainClosed(id, report) => Some((id, report.packets, report.lost)),
            _ => None,
        })
        .collect();
    assert_eq!(reports, [(a.transport(), 4, 1), (b.transport(), 0, 0)]);
}

#[test]
fn media_go_to_the_first_valid_source_and_nobody_can_take_them_over() {
    let (mut world, a, b) = call();
    world.set_plain_remote(b, "10.0.0.1:7000".parse().unwrap(), true);
    let behind_nat = "198.51.100.7:1234".parse().unwrap();
    let thief = "203.0.113.66:4000".parse().unwrap();

    let wrong_type = Rtp::new(33, 5, 1, 1).bytes();
    let refused = world.datagram(b.rtp_socket(), thief, &wrong_type);
    assert_eq!(refused, Err(DropReason::UnknownPayloadType), "does not latch");

    let valid = |sequence| Rtp::new(0, 5, sequence, 1).bytes();
    world.datagram(b.rtp_socket(), behind_nat, &valid(1)).unwrap();
    let stolen = world.datagram(b.rtp_socket(), thief, &valid(2));
    assert_eq!(stolen, Err(DropReason::UnexpectedSource));

    world.rtp(a, &Rtp::new(0, 1, 1, 160)).unwrap();
    let to: Vec<_> = world
        .out
        .sent
        .iter()
        .filter(|(socket, ..)| *socket == b.rtp_socket())
        .collect();
    assert_eq!(to.len(), 1);
    assert_eq!(to[0].1, behind_nat);
}

#[test]
fn hold_stops_media_and_the_next_answer_resumes_them_without_a_gap() {
    let (mut world, a, b) = call();
    world.rtp(a, &Rtp::new(0, 1, 1, 160)).unwrap();
    world.set_plain_remote(b, "0.0.0.0:4000".parse().unwrap(), false);
    world.rtp(a, &Rtp::new(0, 1, 2, 320)).unwrap();
    world.set_plain_remote(b, b.rtp(), false);
    world.rtp(a, &Rtp::new(0, 1, 3, 480)).unwrap();
    let heard = world.heard(b);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].sequence, heard[0].sequence + 1);
}

#[test]
fn nothing_passes_before_the_remote_is_known() {
    let mut world = World::new();
    let leg = Leg(1);
    world.open_leg(leg);
    world.audio_track(leg, 1);
    assert_eq!(world.rtp(leg, &Rtp::new(0, 1, 1, 160)), Err(DropReason::NoRemote));
}

#[test]
fn a_pressed_key_is_relayed_and_told_once() {
    let (mut world, a, b) = call();
    world.rtp(a, &Rtp::new(0, 1, 1, 160)).unwrap();
    let event = |sequence, end, duration| {
        let event = TelephoneEvent {
            code: 10,
            end,
            volume: 10,
            duration,
        };
        Rtp::new(101, 1, sequence, 320).with_payload(&event.to_bytes())
    };
    for (sequence, end, duration) in [
        (2, false, 160),
        (3, false, 320),
        (4, true, 480),
        (5, true, 480),
        (6, true, 480),
    ] {
        world.rtp(a, &event(sequence, end, duration)).unwrap();
        world.advance(ms(20));
    }
    let heard = world.heard(b);
    assert_eq!(heard.len(), 6);
    assert!(heard[1..].iter().all(|packet| packet.payload_type == 101));
    assert!(heard[1..].iter().all(|packet| packet.timestamp == heard[1].timestamp));
    let digits: Vec<_> = world
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Digit(..)))
        .collect();
    assert_eq!(digits, [Event::Digit(TrackId(1), '*', ms(60))]);
}

#[test]
fn rtcp_on_the_rtp_socket_and_rtp_on_the_rtcp_socket() {
    let (mut world, a, b) = call();
    let report = common::compound(|writer| writer.receiver_report(1, &[]).unwrap());
    world.datagram(a.rtp_socket(), a.rtp(), &report).unwrap();
    let rtp = Rtp::new(0, 1, 1, 160).bytes();
    assert_eq!(
        world.datagram(a.rtcp_socket(), a.rtcp(), &rtp),
        Err(DropReason::UnexpectedProtocol)
    );
    assert_eq!(world.heard(b), []);
}
