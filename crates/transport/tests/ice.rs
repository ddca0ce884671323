//! The lite agent: checks, nomination, roles, restart, consent.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::time::Duration;

use common::*;
use voex_base::{SocketId, VecOutbox};
use voex_stun::{Class, ErrorCode, Message, MessageWriter, Method, TransactionId};
use voex_transport::{DownReason, DropReason, DtlsRole, Event, REMOTES_MAX, Received, Timeouts, binding_request_ufrag};

fn refused(world: &mut World, check: Check) -> (Received, Option<ErrorCode>) {
    let from = world.remote.address;
    let (received, answers) = world.exchange(from, check.bytes());
    assert_eq!(answers.len(), 1);
    (received, error_code(&answers[0]))
}

fn world() -> World {
    World::new(DtlsRole::Server, 1)
}

#[test]
fn a_check_is_answered_from_the_socket_it_came_to_with_the_address_it_came_from() {
    let mut world = world();
    let mut out = VecOutbox::default();
    let from = address("[2001:db8::5]:7000");
    let mut check = Check::default().bytes();
    let received = world
        .transport
        .handle_datagram(world.now, SocketId(99), from, &mut check, &mut out);
    assert_eq!(received, Received::Nothing);
    let (socket, to, answer) = &out.sent[0];
    assert_eq!((*socket, *to), (SocketId(99), from));
    let answer = Message::parse(answer).unwrap();
    assert_eq!(answer.class(), Class::Success);
    assert_eq!(answer.xor_mapped_address(), Ok(Some(from)));
    assert_eq!(
        world.transport.poll_event(),
        Some(Event::RemoteAdded(SocketId(99), from))
    );
}

#[test]
fn an_ipv4_source_on_a_socket_of_both_families_is_told_its_ipv4_address() {
    let mut world = world();
    let (_, answers) = world.exchange(address("[::ffff:192.0.2.1]:5000"), Check::default().bytes());
    let answer = Message::parse(&answers[0]).unwrap();
    assert_eq!(answer.xor_mapped_address(), Ok(Some(address("192.0.2.1:5000"))));
}

#[test]
fn checks_that_do_not_authenticate_are_refused_and_leave_no_trace() {
    let incomplete = Received::Drop(DropReason::IceIncomplete);
    let unauthorized = Received::Drop(DropReason::IceUnauthorized);
    let mut world = world();
    for (check, expected) in [
        (
            Check {
                username: None,
                ..Check::default()
            },
            (incomplete, Some(ErrorCode::BAD_REQUEST)),
        ),
        (
            Check {
                pwd: None,
                ..Check::default()
            },
            (incomplete, Some(ErrorCode::BAD_REQUEST)),
        ),
        (
            Check {
                pwd: Some(REMOTE_PWD),
                ..Check::default()
            },
            (unauthorized, Some(ErrorCode::UNAUTHENTICATED)),
        ),
        (
            Check {
                username: Some("else:RFRG".into()),
                ..Check::default()
            },
            (unauthorized, Some(ErrorCode::UNAUTHENTICATED)),
        ),
        (
            Check {
                username: Some(LOCAL_UFRAG.into()),
                ..Check::default()
            },
            (unauthorized, Some(ErrorCode::UNAUTHENTICATED)),
        ),
    ] {
        assert_eq!(refused(&mut world, check), expected);
    }
    assert_eq!(world.metrics.ice_errors.value(), 5);
    assert_eq!(world.transport.remotes().count(), 0);
    assert!(world.events.is_empty());
}

#[test]
fn a_controlled_remote_is_told_of_the_role_conflict() {
    let mut world = world();
    assert_eq!(
        refused(
            &mut world,
            Check {
                controlled: true,
                ..Check::default()
            }
        ),
        (
            Received::Drop(DropReason::IceRoleConflict),
            Some(ErrorCode::ROLE_CONFLICT)
        )
    );
    assert_eq!(world.transport.remotes().count(), 0);
}

#[test]
fn an_attribute_that_must_be_understood_and_is_not_is_listed() {
    let mut world = world();
    let from = world.remote.address;
    let (received, answers) = world.exchange(
        from,
        Check {
            unknown: true,
            ..Check::default()
        }
        .bytes(),
    );
    assert_eq!(received, Received::Drop(DropReason::IceUnknownAttribute));
    let answer = Message::parse(&answers[0]).unwrap();
    let listed: Vec<u16> = answer.listed_unknown_attributes().types().map(|kind| kind.0).collect();
    assert_eq!(listed, [0x7777]);
}

#[test]
fn a_broken_fingerprint_is_dropped_in_silence_and_an_indication_accepted() {
    let mut world = world();
    let from = world.remote.address;
    let mut check = Check::default().bytes();
    *check.last_mut().unwrap() ^= 1;
    assert_eq!(
        world.exchange(from, check),
        (Received::Drop(DropReason::Malformed), vec![])
    );

    let mut room = [0; 64];
    let len = MessageWriter::new(&mut room, Class::Indication, Method::BINDING, TransactionId([1; 12]))
        .finish()
        .unwrap();
    assert_eq!(world.exchange(from, room[..len].to_vec()), (Received::Nothing, vec![]));
    assert_eq!(world.transport.remotes().count(), 0, "an indication proves nothing");
}

#[test]
fn before_a_nomination_media_stays_on_the_pair_that_the_remote_uses() {
    let mut world = World::new(DtlsRole::Server, 1);
    world.remote.nominates = false;
    world.set_remote();
    world.run(Duration::from_secs(5));
    assert_eq!(world.outcome(), [Event::Up]);

    let (home, other) = (world.remote.address, address("192.0.2.44:1000"));
    let check = world.remote.check(false);
    world.deliver(other, check);
    assert_eq!(world.transport.destination(), Some((SOCKET, home)), "a check alone");

    let (outbound, _) = world.remote.srtp.as_mut().unwrap();
    let voice = sealed(&rtp(1, b"voice"), |buf, len| outbound.protect_rtp(buf, len));
    let mut forged = voice.clone();
    *forged.last_mut().unwrap() ^= 1;
    world.deliver(other, forged);
    assert_eq!(world.transport.destination(), Some((SOCKET, home)), "forged media");
    world.deliver(other, voice);
    assert_eq!(world.transport.destination(), Some((SOCKET, other)), "authentic media");

    let check = world.remote.check(true);
    world.deliver(home, check);
    assert_eq!(world.transport.destination(), Some((SOCKET, home)), "a nomination");
}

#[test]
fn the_pair_in_use_is_never_the_one_that_makes_room() {
    let mut world = World::new(DtlsRole::Server, 1);
    world.remote.nominates = false;
    world.set_remote();
    world.run(Duration::from_secs(5));
    let home = world.remote.address;
    for host in 0..2 * REMOTES_MAX {
        let check = world.remote.check(false);
        world.deliver(address(&format!("192.0.2.{host}:1000")), check);
    }
    assert_eq!(world.transport.destination(), Some((SOCKET, home)));
    assert!(world.transport.remotes().any(|pair| pair == (SOCKET, home)));
}

#[test]
fn a_stranger_gets_no_answer_that_is_much_longer_than_its_request() {
    let mut world = world();
    let from = world.remote.address;
    let mut bare = [0; 64];
    let id = TransactionId([1; 12]);
    let len = MessageWriter::new(&mut bare, Class::Request, Method::BINDING, id)
        .finish()
        .unwrap();
    let (received, answers) = world.exchange(from, bare[..len].to_vec());
    assert_eq!(received, Received::Drop(DropReason::IceIncomplete));
    assert!(answers.is_empty());
    let (_, answers) = world.exchange(
        from,
        Check {
            pwd: None,
            ..Check::default()
        }
        .bytes(),
    );
    assert_eq!(error_code(&answers[0]), Some(ErrorCode::BAD_REQUEST));
}

#[test]
fn the_latest_nomination_wins() {
    let mut world = world();
    let (host, relay) = (address("192.0.2.1:1000"), address("203.0.113.5:50000"));
    let check = |nominates| {
        Check {
            nominates,
            ..Check::default()
        }
        .bytes()
    };
    world.deliver(host, check(false));
    assert_eq!(
        world.transport.destination(),
        Some((SOCKET, host)),
        "valid, and the only one"
    );
    world.deliver(relay, check(true));
    assert_eq!(world.transport.destination(), Some((SOCKET, relay)));
    world.deliver(host, check(false));
    assert_eq!(
        world.transport.destination(),
        Some((SOCKET, relay)),
        "a check without USE-CANDIDATE takes nothing from the nominated pair"
    );
    world.deliver(host, check(true));
    assert_eq!(world.transport.destination(), Some((SOCKET, host)));
    assert_eq!(world.metrics.ice_pair_changes.value(), 1);
}

#[test]
fn an_ice_restart_keeps_the_old_pair_until_the_remote_nominates_under_its_new_name() {
    let mut world = World::up(DtlsRole::Client);
    let (old, new) = (world.remote.address, address("192.0.2.200:6000"));
    world.remote.ufrag = "NEWR".to_owned();
    world.set_remote();
    assert_eq!(world.metrics.ice_restarts.value(), 1);
    assert_eq!(world.transport.destination(), Some((SOCKET, old)));

    let stale = Check {
        nominates: true,
        ..Check::default()
    }
    .bytes();
    world.deliver(new, stale);
    assert_eq!(
        world.transport.destination(),
        Some((SOCKET, old)),
        "nominated under the old name"
    );
    let fresh = world.remote.check(true);
    world.deliver(new, fresh);
    assert_eq!(world.transport.destination(), Some((SOCKET, new)));
    assert_eq!(world.outcome(), [Event::Up], "DTLS and SRTP stay");

    let (outbound, _) = world.remote.srtp.as_mut().unwrap();
    let packet = sealed(&rtp(1, b"voice"), |buf, len| outbound.protect_rtp(buf, len));
    assert_eq!(world.exchange(new, packet).0, Received::Rtp(17));
}

#[test]
fn a_repetition_of_the_remote_parameters_is_no_restart() {
    let mut world = World::up(DtlsRole::Client);
    world.set_remote();
    assert_eq!(world.metrics.ice_restarts.value(), 0);
    assert_eq!(world.outcome(), [Event::Up]);
}

#[test]
fn a_restart_with_a_strange_fingerprint_takes_the_transport_down() {
    let mut world = World::up(DtlsRole::Client);
    let mut parameters = world.remote.parameters();
    parameters.ufrag = "NEWR".to_owned();
    parameters.fingerprint[0] ^= 1;
    world.with_transport(|transport, now, out| transport.set_remote(now, parameters, out));
    assert_eq!(world.outcome(), [Event::Up, Event::Down(DownReason::DtlsError)]);
}

#[test]
fn new_local_credentials_are_taken_beside_those_before() {
    let mut world = World::up(DtlsRole::Client);
    world
        .transport
        .set_local_credentials("LNEW".to_owned(), "anotherlocalpassword22");
    let from = world.remote.address;
    let new = Check {
        username: Some("LNEW:RFRG".into()),
        pwd: Some("anotherlocalpassword22"),
        ..Check::default()
    };
    assert_eq!(world.exchange(from, new.bytes()).0, Received::Nothing);
    assert_eq!(world.exchange(from, Check::default().bytes()).0, Received::Nothing);
    let mixed = Check {
        username: Some("LNEW:RFRG".into()),
        ..Check::default()
    };
    assert_eq!(
        world.exchange(from, mixed.bytes()).0,
        Received::Drop(DropReason::IceUnauthorized)
    );
}

#[test]
fn a_transport_without_any_check_fails_after_the_start_time_and_not_before() {
    let mut world = world();
    world.set_remote();
    world.remote.is_checking = false;
    let start = Timeouts::default().ice_start;
    world.run(start - Duration::from_nanos(1));
    assert_eq!(world.outcome(), []);
    world.run(Duration::from_nanos(1));
    assert_eq!(world.outcome(), [Event::Down(DownReason::IceFailed)]);
    assert_eq!(world.transport.poll_timeout(), None);
}

#[test]
fn a_transport_whose_remote_is_not_known_yet_waits_as_long_as_a_call_may_ring() {
    let mut world = World::new(DtlsRole::Server, 3);
    world.remote.is_checking = false;
    let Timeouts { answer, ice_start, .. } = Timeouts::default();
    world.run(answer - Duration::from_nanos(1));
    assert_eq!(world.outcome(), []);
    world.set_remote();
    world.run(ice_start - Duration::from_nanos(1));
    assert_eq!(world.outcome(), [], "then checks have their time");
    world.run(Duration::from_nanos(1));
    assert_eq!(world.outcome(), [Event::Down(DownReason::IceFailed)]);
}

#[test]
fn an_offer_that_nobody_answers_is_given_up() {
    let mut world = World::new(DtlsRole::Server, 4);
    world.remote.is_checking = false;
    world.run(Timeouts::default().answer);
    assert_eq!(world.outcome(), [Event::Down(DownReason::IceFailed)]);
}

#[test]
fn consent_ends_when_the_last_check_is_as_old_as_the_setting_and_not_before() {
    let mut world = World::up(DtlsRole::Client);
    world.remote.is_checking = false;
    let from = world.remote.address;
    let check = world.remote.check(true);
    world.deliver(from, check);
    let consent = Timeouts::default().ice_consent;
    world.run(consent - Duration::from_nanos(1));
    assert_eq!(world.outcome(), [Event::Up]);
    world.run(Duration::from_nanos(1));
    assert_eq!(world.outcome(), [Event::Up, Event::Down(DownReason::IceFailed)]);
}

#[test]
fn regular_checks_keep_a_transport_up_for_hours() {
    let mut world = World::up(DtlsRole::Client);
    world.run(Duration::from_secs(3 * 3_600));
    assert_eq!(world.outcome(), [Event::Up]);
    assert!(world.is_up());
}

#[test]
fn checks_that_do_not_authenticate_are_no_consent() {
    let mut world = World::up(DtlsRole::Client);
    world.remote.is_checking = false;
    let from = world.remote.address;
    for _ in 0..40 {
        world.run(Duration::from_secs(1));
        let forged = Check {
            pwd: Some(REMOTE_PWD),
            ..Check::default()
        };
        let (received, _) = world.exchange(from, forged.bytes());
        assert!(matches!(received, Received::Drop(_)));
    }
    assert_eq!(world.outcome(), [Event::Up, Event::Down(DownReason::IceFailed)]);
}

#[test]
fn one_remote_too_many_takes_the_place_of_the_one_checked_longest_ago_but_never_of_the_nominated() {
    let mut world = world();
    let remote = |port: u16| address(&format!("192.0.2.1:{port}"));
    world.deliver(
        remote(1),
        Check {
            nominates: true,
            ..Check::default()
        }
        .bytes(),
    );
    for port in 2..=REMOTES_MAX as u16 {
        world.run(Duration::from_millis(1));
        world.remote.is_checking = false;
        world.deliver(remote(port), Check::default().bytes());
    }
    assert_eq!(world.transport.remotes().count(), REMOTES_MAX);
    world.events.clear();
    world.deliver(remote(1_000), Check::default().bytes());
    assert_eq!(
        world.events,
        [
            Event::RemoteRemoved(SOCKET, remote(2)),
            Event::RemoteAdded(SOCKET, remote(1_000))
        ]
    );
    assert_eq!(world.transport.remotes().count(), REMOTES_MAX);
    assert_eq!(world.transport.destination(), Some((SOCKET, remote(1))));
}

#[test]
fn the_user_name_of_a_check_tells_whose_it_is() {
    assert_eq!(binding_request_ufrag(&Check::default().bytes()), Some(LOCAL_UFRAG));
    assert_eq!(
        binding_request_ufrag(
            &Check {
                username: None,
                ..Check::default()
            }
            .bytes()
        ),
        None
    );
    assert_eq!(binding_request_ufrag(b"\x80\x60 no stun"), None);
    assert_eq!(binding_request_ufrag(&[]), None);
}
