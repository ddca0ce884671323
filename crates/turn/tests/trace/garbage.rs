//! Hostile bytes: dropped, counted, never a panic, and nobody else's allocation suffers.

use proptest::collection::vec;
use proptest::prelude::*;
use voex_base::{Label, Rng};
use voex_stun::Method;
use voex_turn::{ClientVerdict, DropReason, fuzz};

use crate::world::{Client, World};

#[test]
fn datagrams_of_other_protocols_are_dropped_by_their_first_byte() {
    let mut world = World::new();
    let from = Client::alice().five_tuple;
    for datagram in [
        &b""[..],
        b"\x16\xfe\xfd",
        b"\x80\x60\x00\x01",
        b"GET / HTTP/1.1",
        b"\xff",
        b"\x50",
    ] {
        let verdict = world.deliver(from, datagram);
        assert!(matches!(
            verdict,
            ClientVerdict::Drop(DropReason::NotTurn | DropReason::NoAllocation | DropReason::Malformed)
        ));
    }
    assert!(world.out.sent.is_empty());
}

#[test]
fn a_wrong_fingerprint_is_dropped_without_an_answer() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let mut datagram = alice.unsigned(Method::BINDING, |writer| writer.fingerprint());
    *datagram.last_mut().unwrap() ^= 1;
    let verdict = world.deliver(alice.five_tuple, &datagram);
    assert_eq!(verdict, ClientVerdict::Drop(DropReason::BadFingerprint));
    assert!(world.out.sent.is_empty());
}

#[test]
fn every_cut_of_a_request_is_dropped_and_every_flipped_bit_gets_in_nobody() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let request = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    for cut in 0..request.len() {
        let verdict = world.deliver(alice.five_tuple, &request[..cut]);
        assert!(matches!(verdict, ClientVerdict::Drop(_)), "{cut}");
    }
    for bit in 0..request.len() * 8 {
        let mut flipped = request.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        world.deliver(alice.five_tuple, &flipped);
        assert_eq!(world.server.allocations(), 0, "bit {bit}");
    }
}

#[test]
fn every_drop_of_a_flood_is_counted_and_a_call_goes_on_through_it() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.binds(&mut world, 0x4000, "192.0.2.1:7000").granted();
    let stranger = Client::new("203.0.113.66:6666", "", "").five_tuple;
    let (mut rng, mut dropped) = (Rng::from_number(1), 0);
    for round in 0..5_000 {
        let mut datagram = vec![0; rng.below(120) as usize];
        rng.fill(&mut datagram);
        // Make half of it look like STUN, so that it comes further than the first byte.
        if round % 2 == 0 && datagram.len() >= 20 {
            let len = (datagram.len() as u16 - 20) & !3;
            datagram.truncate(usize::from(len) + 20);
            datagram[..2].copy_from_slice(&[0, 3]);
            datagram[2..4].copy_from_slice(&len.to_be_bytes());
            datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        }
        if let ClientVerdict::Drop(_) = world.deliver(stranger, &datagram) {
            dropped += 1;
        }
        world.out.sent.clear();
        assert!(alice.sends_channel(&mut world, 0x4000, b"voice").is_ok());
        assert!(world.peer_sends(relay, "192.0.2.1:7000", b"voice").is_ok());
    }
    let counted: u64 = DropReason::ALL
        .iter()
        .map(|reason| world.metrics.dropped.of(*reason).value())
        .sum();
    assert_eq!(counted, dropped);
    assert_eq!(world.server.allocations(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn scripts_of_everything_keep_the_invariants(script in vec(any::<u8>(), 0..600)) {
        fuzz::message(&script);
    }
}
