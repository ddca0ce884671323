//! DTLS-SRTP in both roles, over networks that lose and reorder.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA384, SHA512, digest};
use common::*;
use voex_transport::srtp::Profile;
use voex_transport::{DownReason, DropReason, DtlsRole, Event, ProtectError, Received};

const ROLES: [DtlsRole; 2] = [DtlsRole::Client, DtlsRole::Server];

#[test]
fn both_roles_come_up_within_a_few_round_trips() {
    for role in ROLES {
        let mut world = World::new(role, 1);
        world.set_remote();
        world.run(Duration::from_millis(400));
        assert_eq!(world.outcome(), [Event::Up], "{role:?}");
        assert!(world.remote.is_connected);
        assert_eq!(world.transport.destination(), Some((SOCKET, world.remote.address)));
        assert_eq!(world.transport.srtp_profile(), world.remote.profile);
        assert_eq!(world.metrics.up.value(), 1);
    }
}

#[test]
fn an_aead_profile_is_agreed_on() {
    let world = World::up(DtlsRole::Client);
    assert_eq!(world.transport.srtp_profile(), Some(Profile::AeadAes256Gcm));
}

#[test]
fn media_passes_both_ways_under_the_agreed_keys() {
    for role in ROLES {
        let mut world = World::up(role);
        let (outbound, _) = world.remote.srtp.as_mut().unwrap();
        let mut packet = sealed(&rtp(1, b"from the remote"), |buf, len| outbound.protect_rtp(buf, len));
        let mut report = sealed(&rtcp(), |buf, len| outbound.protect_rtcp(buf, len));
        let (now, from) = (world.now, world.remote.address);
        let mut give = |data: &mut [u8]| {
            world.with_transport(|transport, _, out| transport.handle_datagram(now, SOCKET, from, data, out))
        };
        assert_eq!(give(&mut packet), Received::Rtp(rtp(1, b"from the remote").len()));
        assert_eq!(packet[..27], rtp(1, b"from the remote"));
        assert_eq!(give(&mut report), Received::Rtcp(rtcp().len()));
        assert_eq!(report[..12], rtcp());

        let mut packet = sealed(&rtp(9, b"to the remote"), |buf, len| {
            world.transport.protect_rtp(buf, len)
        });
        let mut report = sealed(&rtcp(), |buf, len| world.transport.protect_rtcp(buf, len));
        let (_, inbound) = world.remote.srtp.as_mut().unwrap();
        assert_eq!(inbound.unprotect_rtp(&mut packet), Ok(25));
        assert_eq!(packet[..25], rtp(9, b"to the remote"));
        assert_eq!(inbound.unprotect_rtcp(&mut report), Ok(12));
    }
}

#[test]
fn the_handshake_survives_loss_and_reordering() {
    for role in ROLES {
        for seed in 0..12 {
            let mut world = World::new(role, seed);
            world.loss = 25;
            world.delay = Duration::from_millis(40);
            world.set_remote();
            world.run(Duration::from_secs(25));
            assert!(world.is_up(), "{role:?} seed {seed}: {:?}", world.events);
            assert_eq!(world.transport.srtp_profile(), world.remote.profile);
        }
    }
}

#[test]
fn a_client_hello_that_overtakes_the_answer_is_not_lost() {
    let mut world = World::new(DtlsRole::Server, 1);
    world.run(Duration::from_millis(500));
    assert!(
        world.remote.is_connected,
        "the handshake may run before the fingerprint is known"
    );
    assert_eq!(world.outcome(), [], "but it is worth nothing yet");
    assert_eq!(
        world.transport.protect_rtp(&mut with_room(&rtp(1, b"voice")), 17),
        Err(ProtectError::NoKeys)
    );
    world.set_remote();
    assert_eq!(world.outcome(), [Event::Up]);
}

#[test]
fn a_browser_that_sends_media_before_it_nominates_finds_the_transport_up() {
    let mut world = World::new(DtlsRole::Client, 1);
    world.remote.nominates = false;
    world.set_remote();
    world.run(Duration::from_secs(1));
    assert!(world.remote.is_connected, "the handshake needs a checked address only");
    assert_eq!(world.outcome(), [Event::Up]);
    assert_eq!(world.transport.destination(), Some((SOCKET, world.remote.address)));
    world.remote.nominates = true;
    world.run(Duration::from_secs(5));
    assert_eq!(world.outcome(), [Event::Up], "once");
}

#[test]
fn a_handshake_begun_in_the_wrong_role_is_begun_anew() {
    let mut world = World::new(DtlsRole::Client, 1);
    let from = world.remote.address;
    let check = world.remote.check(true);
    world.deliver(from, check);
    world.deliver(from, vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(world.metrics.dtls_started.value(), 1, "taken for a ClientHello");
    world.set_remote();
    world.run(Duration::from_secs(2));
    assert_eq!(world.metrics.dtls_started.value(), 2);
    assert_eq!(world.outcome(), [Event::Up]);
}

#[test]
fn a_certificate_that_does_not_fit_is_refused_even_when_it_was_seen_before_the_answer() {
    let mut world = World::new(DtlsRole::Server, 1);
    world.run(Duration::from_millis(500));
    let mut parameters = world.remote.parameters();
    parameters.fingerprint[3] ^= 1;
    world.with_transport(|transport, now, out| transport.set_remote(now, parameters, out));
    assert_eq!(world.outcome(), [Event::Down(DownReason::DtlsError)]);
    assert_eq!(world.transport.srtp_profile(), None);
}

#[test]
fn a_certificate_with_another_fingerprint_is_refused_and_never_answered() {
    for role in ROLES {
        let mut world = World::new(role, 1);
        let mut parameters = world.remote.parameters();
        parameters.fingerprint[31] ^= 1;
        world.with_transport(|transport, now, out| transport.set_remote(now, parameters, out));
        world.run(Duration::from_secs(2));
        assert_eq!(world.outcome(), [Event::Down(DownReason::DtlsError)], "{role:?}");
        assert!(!world.remote.is_connected, "our Finished went to a stranger");
        assert_eq!(world.metrics.downs.of(DownReason::DtlsError).value(), 1);
        assert_eq!(world.transport.poll_timeout(), None);
    }
}

#[test]
fn fingerprints_of_every_function_are_checked() {
    for (name, algorithm) in [
        ("SHA-1", &SHA1_FOR_LEGACY_USE_ONLY),
        ("sha-384", &SHA384),
        ("sha-512", &SHA512),
    ] {
        let mut world = World::new(DtlsRole::Client, 1);
        let mut parameters = world.remote.parameters();
        parameters.fingerprint_hash = name.to_owned();
        parameters.fingerprint = digest(algorithm, &world.remote.certificate.certificate)
            .as_ref()
            .to_vec();
        world.with_transport(|transport, now, out| transport.set_remote(now, parameters, out));
        world.run(Duration::from_secs(2));
        assert_eq!(world.outcome(), [Event::Up], "{name}");
    }
}

#[test]
fn dtls_before_any_ice_check_is_dropped() {
    let mut world = World::new(DtlsRole::Server, 1);
    world.set_remote();
    world.remote.is_checking = false;
    let hello = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let from = world.remote.address;
    let (received, answers) = world.exchange(from, hello);
    assert_eq!(received, Received::Drop(DropReason::UnknownRemote));
    assert!(answers.is_empty());
    assert_eq!(world.metrics.drops.of(DropReason::UnknownRemote).value(), 1);
}

#[test]
fn dtls_from_another_address_than_the_checked_one_is_dropped() {
    let mut world = World::up(DtlsRole::Client);
    let from = address("203.0.113.77:9");
    let (received, _) = world.exchange(from, vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0]);
    assert_eq!(received, Received::Drop(DropReason::UnknownRemote));
}

#[test]
fn the_remotes_close_notify_takes_the_transport_down() {
    for role in ROLES {
        let mut world = World::up(role);
        for record in world.remote.close(world.now) {
            world.send_to_transport(record);
        }
        world.run(Duration::from_millis(100));
        assert_eq!(world.outcome(), [Event::Up, Event::Down(DownReason::DtlsAlert)]);
        assert_eq!(world.metrics.up.value(), 0);
        assert_eq!(
            world.transport.protect_rtp(&mut with_room(&rtp(1, b"voice")), 17),
            Err(ProtectError::NoKeys)
        );
    }
}

#[test]
fn a_forged_alert_in_the_clear_does_nothing_once_the_transport_is_up() {
    let mut world = World::up(DtlsRole::Client);
    let from = world.remote.address;
    world.deliver(from, vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 0]);
    assert_eq!(world.outcome(), [Event::Up]);
}

#[test]
fn closing_tells_the_remote() {
    for role in ROLES {
        let mut world = World::up(role);
        world.with_transport(|transport, _, out| transport.close(out));
        world.run(Duration::from_millis(100));
        assert!(world.remote.is_closed, "{role:?}");
        assert_eq!(world.outcome(), [Event::Up], "closing is not an event");
        let from = world.remote.address;
        let check = world.remote.check(true);
        assert_eq!(world.exchange(from, check).0, Received::Drop(DropReason::Closed));
    }
}

#[test]
fn a_handshake_that_is_never_answered_times_out_on_the_edge() {
    for role in ROLES {
        let mut world = World::new(role, 1);
        world.set_remote();
        let from = world.remote.address;
        world.remote.is_checking = false;
        let check = world.remote.check(true);
        assert_eq!(world.exchange(from, check).0, Received::Nothing);
        while world.at() < Duration::from_secs(29) {
            world.run(Duration::from_secs(1));
            let check = world.remote.check(true);
            assert_eq!(world.exchange(from, check).0, Received::Nothing);
        }
        world.run(Duration::from_millis(999));
        assert_eq!(world.outcome(), [], "{role:?}");
        world.run(Duration::from_millis(1));
        assert_eq!(world.outcome(), [Event::Down(DownReason::DtlsTimeout)], "{role:?}");
    }
}
