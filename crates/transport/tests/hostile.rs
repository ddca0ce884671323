//! Bytes that nobody who means well would send.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a failed unwrap is a failed test; the clock is read once

mod common;

use std::cell::RefCell;

use common::*;
use proptest::prelude::*;
use voex_base::Rng;
use voex_transport::fuzz::{Target, srtp_round_trip};
use voex_transport::{DownReason, DropReason, DtlsRole, Event, Received};

#[test]
fn first_bytes_of_no_protocol_are_dropped() {
    let mut world = World::up(DtlsRole::Client);
    let from = world.remote.address;
    for first in (4..20).chain(64..128).chain(192..=255) {
        let received = world.exchange(from, vec![first; 40]).0;
        assert_eq!(received, Received::Drop(DropReason::UnknownProtocol), "{first}");
    }
    assert_eq!(
        world.exchange(from, vec![]).0,
        Received::Drop(DropReason::UnknownProtocol)
    );
}

#[test]
fn media_before_the_keys_and_from_strangers_is_dropped() {
    let mut world = World::new(DtlsRole::Client, 1);
    let from = world.remote.address;
    assert_eq!(
        world.exchange(from, rtp(1, b"voice")).0,
        Received::Drop(DropReason::UnknownRemote)
    );
    let check = world.remote.check(true);
    world.deliver(from, check);
    assert_eq!(
        world.exchange(from, rtp(1, b"voice")).0,
        Received::Drop(DropReason::SrtpNoKeys)
    );
    assert_eq!(world.metrics.drops.of(DropReason::SrtpNoKeys).value(), 1);
}

#[test]
fn each_kind_of_bad_media_has_its_reason() {
    let mut world = World::up(DtlsRole::Client);
    let from = world.remote.address;
    let (outbound, _) = world.remote.srtp.as_mut().unwrap();
    let good = sealed(&rtp(1, b"voice"), |buf, len| outbound.protect_rtp(buf, len));
    let newest = sealed(&rtp(2_000, b"voice"), |buf, len| outbound.protect_rtp(buf, len));
    let late = sealed(&rtp(1_100, b"voice"), |buf, len| outbound.protect_rtp(buf, len));
    let mut forged = late.clone();
    forged[13] ^= 1;
    for (packet, expected) in [
        (good.clone(), Received::Rtp(17)),
        (good.clone(), Received::Drop(DropReason::SrtpReplayed)),
        (forged, Received::Drop(DropReason::SrtpNotAuthentic)),
        (newest, Received::Rtp(17)),
        (late, Received::Rtp(17)),
        (good.clone(), Received::Drop(DropReason::SrtpTooOld)),
        (good[..20].to_vec(), Received::Drop(DropReason::Malformed)),
    ] {
        assert_eq!(world.exchange(from, packet).0, expected);
    }
}

#[test]
fn a_client_whose_handshake_is_due_takes_no_client_hello() {
    let mut world = World::new(DtlsRole::Client, 1);
    let from = world.remote.address;
    let check = world.remote.check(true);
    world.deliver(from, check);
    let received = world.exchange(from, vec![23, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).0;
    assert_eq!(
        received,
        Received::Drop(DropReason::DtlsUnexpected),
        "application data starts nothing"
    );
    assert_eq!(
        world.exchange(from, vec![22; 1_501]).0,
        Received::Drop(DropReason::Malformed)
    );
}

/// The certificate is handed out whole, so there must be room for the longest that the handshake puts together.
#[test]
fn a_certificate_of_twenty_datagrams_finds_room() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let names: Vec<String> = (0..800).map(|n| format!("host-{n:020}.example")).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let certificate = dimpl::DtlsCertificate {
        certificate: certificate.der().to_vec(),
        private_key: key.serialize_der(),
    };
    assert!(
        certificate.certificate.len() > 24_000,
        "{}",
        certificate.certificate.len()
    );

    let mut world = World::new(DtlsRole::Client, 1);
    world.remote = Remote::with_certificate(world.now, DtlsRole::Server, 1, certificate, 1_200);
    world.set_remote();
    world.run(std::time::Duration::from_secs(5));
    assert_eq!(world.outcome(), [Event::Up]);
}

/// Whoever can forge the remote's address must not be able to end what the handshake has made.
#[test]
fn a_flood_of_records_in_the_clear_does_nothing_once_the_transport_is_up() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut world = World::up(role);
        let from = world.remote.address;
        for sequence in 0..200_u8 {
            for content_type in 20..=26 {
                let body = [1, 0, 0, 1, 0, sequence, 0, 0, 0, 0, 0, 1, 0];
                let mut record = vec![
                    content_type,
                    254,
                    253,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    1,
                    sequence,
                    0,
                    body.len() as u8,
                ];
                record.extend(body);
                world.deliver(from, record);
            }
        }
        assert_eq!(world.outcome(), [Event::Up], "{role:?}");
        for record in world.remote.close(world.now) {
            world.send_to_transport(record);
        }
        world.run(std::time::Duration::from_millis(100));
        assert_eq!(
            world.outcome(),
            [Event::Up, Event::Down(DownReason::DtlsAlert)],
            "the association still hears what is authentic"
        );
    }
}

/// Bytes that begin like DTLS, between the records of a real handshake.
#[test]
fn a_handshake_with_junk_in_between_still_ends() {
    for seed in 0..20 {
        let mut rng = Rng::from_number(seed);
        let mut world = World::new(DtlsRole::Client, seed);
        world.set_remote();
        let from = world.remote.address;
        for _ in 0..60 {
            world.run(std::time::Duration::from_millis(50));
            let mut junk = vec![0; 1 + rng.below(300) as usize];
            rng.fill(&mut junk);
            junk[0] = 20 + rng.below(44) as u8;
            if rng.below(2) == 0 {
                junk[0] = 22;
                junk.splice(1..1.min(junk.len()), [254, 253, 0, 0]);
            }
            world.deliver(from, junk);
        }
        let ended = world
            .events
            .iter()
            .any(|event| matches!(event, Event::Up | Event::Down(_)));
        assert!(ended, "seed {seed}: {:?}", world.events);
    }
}

#[test]
fn the_fuzzers_corpus_does_no_harm() {
    let mut target = Target::new(std::time::Instant::now()).unwrap();
    assert!(target.is_up(), "the target is not what it says");
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/transport");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        target.feed(&bytes);
        srtp_round_trip(&bytes);
        files += 1;
    }
    assert!(files > 0);
    assert!(target.is_up());
}

thread_local! {
    static TARGET: RefCell<Target> = RefCell::new(Target::new(std::time::Instant::now()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(
        datagrams in proptest::collection::vec((0u8..192, proptest::collection::vec(any::<u8>(), 0..200)), 0..12),
    ) {
        let mut run = Vec::new();
        for (first, rest) in datagrams {
            run.extend((rest.len() as u16 + 1).to_be_bytes());
            run.push(first);
            run.extend(&rest);
        }
        TARGET.with_borrow_mut(|target| target.feed(&run));
    }

    #[test]
    fn what_srtp_takes_comes_back(
        first in prop::sample::select(vec![0x80u8, 0x81, 0x8f, 0x90, 0x9f, 0x40]),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut packet = vec![first];
        packet.extend(&rest);
        srtp_round_trip(&packet);
    }
}
