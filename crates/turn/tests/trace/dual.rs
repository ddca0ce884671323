//! Allocations with a relay of each family (RFC 8656 §7.2, §8), and which of the host's addresses a relay gets.

use std::time::Duration;

use voex_base::SocketId;
use voex_stun::{AddressFamily, AttributeType, ErrorCode, Method};
use voex_turn::{BindError, ClientPath, DropReason, EndReason, Event, Output, RelayAddress};

use crate::world::{Answer, Client, LISTENER, World, address, config, ip};

const V4: &str = "192.0.2.1:7000";
const V6: &str = "[2001:db8:5::1]:7000";

fn asks_both(client: &mut Client, world: &mut World) -> Answer {
    client.asks_allocation(world, |w| w.additional_address_family(AddressFamily::V6))
}

fn refreshes(client: &mut Client, world: &mut World, family: AddressFamily, lifetime_s: u32) -> Answer {
    client.asks(world, Method::REFRESH, |w| {
        w.lifetime_s(lifetime_s).requested_address_family(family)
    })
}

/// Alice with a relay of each family and a channel to a peer of each.
fn talking() -> (World, Client, [SocketId; 2]) {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = asks_both(&mut alice, &mut world).granted().all_relayed();
    let relays = [world.relay_of(relayed[0]), world.relay_of(relayed[1])];
    alice.binds(&mut world, 0x4000, V4).granted();
    alice.binds(&mut world, 0x4001, V6).granted();
    (world, alice, relays)
}

#[test]
fn an_additional_family_makes_one_allocation_with_two_relays() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let answer = asks_both(&mut alice, &mut world).granted();
    let relayed = answer.all_relayed();
    let ips: Vec<_> = relayed.iter().map(|relayed| relayed.ip()).collect();
    assert_eq!(ips, [ip("198.51.100.1"), ip("2001:db8::1")]);
    assert_eq!(answer.message().address_error_code(), Ok(None));
    assert_eq!((world.server.allocations(), world.relays.len()), (1, 2));
    assert_eq!(world.metrics.allocations.value(), 1);
    let Some(Event::Began(session)) = world.server.poll_event() else {
        panic!("one session begins");
    };
    let public: Vec<_> = session.relayed.iter().map(|relayed| relayed.public).collect();
    assert_eq!(public, relayed);
    assert!(world.server.poll_event().is_none());
    for at in relayed {
        let both = world.server.relayed_address(world.relay_of(at)).unwrap();
        assert_eq!(both.public, at);
    }
}

#[test]
fn a_client_of_the_draft_asks_for_both_by_its_number() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let draft = AttributeType::DRAFT_ADDITIONAL_ADDRESS_FAMILY;
    let answer = alice.asks_allocation(&mut world, |w| w.attribute(draft, &[2, 0, 0, 0]));
    let ips: Vec<_> = answer
        .granted()
        .all_relayed()
        .iter()
        .map(|relayed| relayed.ip())
        .collect();
    assert_eq!(ips, [ip("198.51.100.1"), ip("2001:db8::1")]);
    let mut bob = Client::bob();
    let answer = bob.asks_allocation(&mut world, |w| w.attribute(draft, &[1, 0, 0, 0]));
    assert_eq!(answer.code(), 400);
}

#[test]
fn data_leaves_by_the_relay_of_its_peers_family_and_comes_back_by_it() {
    let (mut world, mut alice, relays) = talking();
    for (number, peer, relay) in [(0x4000, V4, relays[0]), (0x4001, V6, relays[1])] {
        let sent = alice.sends_channel(&mut world, number, b"over").unwrap();
        assert_eq!((sent.relay, sent.peer), (relay, address(peer)));
        let sent = alice.sends(&mut world, peer, b"over").unwrap();
        assert_eq!((sent.relay, sent.peer), (relay, address(peer)));
        let got = world.peer_sends(relay, peer, b"back").unwrap();
        assert_eq!(got[..2], u16::to_be_bytes(number));
    }
    assert_eq!(world.peer_sends(relays[0], V6, b"x"), Err(DropReason::NoRelay));
}

#[test]
fn one_request_permits_peers_of_both_families() {
    let mut world = World::new();
    let mut alice = Client::alice();
    asks_both(&mut alice, &mut world).granted();
    alice
        .asks(&mut world, Method::CREATE_PERMISSION, |w| {
            w.xor_peer_address(address(V4)).xor_peer_address(address(V6))
        })
        .granted();
    assert!(alice.sends(&mut world, V4, b"x").is_ok());
    assert!(alice.sends(&mut world, V6, b"x").is_ok());
}

#[test]
fn a_family_that_cannot_be_had_is_named_with_its_reason_and_the_other_given() {
    let missing = |answer: &Answer| answer.message().address_error_code().unwrap();
    let mut only_v4 = config();
    only_v4.relays.truncate(1);
    let mut world = World::with(only_v4);
    let answer = asks_both(&mut Client::alice(), &mut world).granted();
    assert_eq!(answer.all_relayed().len(), 1);
    let expected = (AddressFamily::V6, ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED);
    assert_eq!(missing(&answer), Some(expected));

    for (fails, family) in [(0, AddressFamily::V4), (1, AddressFamily::V6)] {
        let mut world = World::new();
        world.binds_by_hand = true;
        let mut alice = Client::alice();
        alice.learns_nonce(&mut world);
        let asked = alice.signed(Method::ALLOCATE, |w| {
            w.requested_transport_udp().additional_address_family(AddressFamily::V6)
        });
        world.deliver(alice.five_tuple, &asked);
        for index in 0..2 {
            let Some(Output::BindRelay { request, address }) = world.server.poll_output() else {
                panic!("two sockets are asked for");
            };
            let bound = match index == fails {
                true => Err(BindError::Failed),
                false => Ok(world.open_relay(address)),
            };
            let (now, wall) = (world.now(), world.wall());
            world
                .server
                .handle_relay_bound(now, wall, request, bound, &mut world.out);
        }
        let answer = world.only_sent(alice.five_tuple).granted();
        assert_eq!(missing(&answer), Some((family, ErrorCode::INSUFFICIENT_CAPACITY)));
        assert_ne!(AddressFamily::of(answer.relayed().ip()), family);
        assert_eq!(
            world.ask(alice.five_tuple, &asked),
            answer,
            "a retransmission is told the same"
        );
        assert_eq!(world.relays.len(), 1);
    }
}

#[test]
fn when_neither_family_can_be_had_there_is_508_and_nothing_is_left() {
    let mut world = World::new();
    world.bind_errors = vec![BindError::Failed; 2];
    let answer = asks_both(&mut Client::alice(), &mut world);
    assert_eq!(answer.code(), 508);
    assert_eq!((world.server.allocations(), world.relays.len()), (0, 0));
    assert_eq!(
        (world.metrics.allocations.value(), world.server.poll_timeout()),
        (0, None)
    );
}

#[test]
fn without_ipv4_a_request_that_names_no_family_gets_440() {
    let mut only_v6 = config();
    only_v6.relays.remove(0);
    let mut world = World::with(only_v6);
    assert_eq!(asks_both(&mut Client::alice(), &mut world).code(), 440);
    assert_eq!(Client::bob().asks_allocation(&mut world, |w| w).code(), 440);
}

#[test]
fn an_additional_family_goes_with_no_other_family_token_or_reservation_and_is_ipv6() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let v6 = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0][..]);
    let wrong: &[&[(AttributeType, &[u8])]] = &[
        &[(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0])],
        &[(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[3, 0, 0, 0])],
        &[(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0])],
        &[v6, (AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])],
        &[v6, (AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])],
        &[v6, (AttributeType::RESERVATION_TOKEN, b"12345678")],
        &[v6, (AttributeType::EVEN_PORT, &[0x80])],
    ];
    for attributes in wrong {
        let answer = alice.asks_allocation_with(&mut world, attributes);
        assert_eq!(answer.code(), 400, "{attributes:?}");
    }
    let answer = alice.asks_allocation_with(&mut world, &[v6, (AttributeType::EVEN_PORT, &[0])]);
    let relayed = answer.granted().all_relayed();
    assert!(relayed.len() == 2 && relayed.iter().all(|relayed| relayed.port() % 2 == 0));
}

#[test]
fn ending_one_family_leaves_the_other_its_relay_permissions_and_channels() {
    let (mut world, mut alice, relays) = talking();
    assert_eq!(
        refreshes(&mut alice, &mut world, AddressFamily::V4, 0)
            .granted()
            .lifetime_s(),
        0
    );
    assert_eq!(world.relays.keys().collect::<Vec<_>>(), [&relays[1]]);
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoChannel)
    );
    assert_eq!(alice.sends(&mut world, V4, b"x"), Err(DropReason::NoPermission));
    assert!(alice.sends_channel(&mut world, 0x4001, b"x").is_ok());
    assert!(world.peer_sends(relays[1], V6, b"x").is_ok());
    assert_eq!(alice.permits(&mut world, V4).code(), 443);
    assert_eq!(refreshes(&mut alice, &mut world, AddressFamily::V4, 600).code(), 443);
    assert_eq!(world.metrics.allocations.value(), 1);

    refreshes(&mut alice, &mut world, AddressFamily::V6, 0).granted();
    assert_eq!((world.relays.len(), world.server.allocations()), (0, 0));
    let ends = std::iter::from_fn(|| world.server.poll_event())
        .filter(|event| {
            matches!(
                event,
                Event::Ended {
                    reason: EndReason::Released,
                    ..
                }
            )
        })
        .count();
    assert_eq!(ends, 1);
}

#[test]
fn each_family_has_its_own_time_and_a_refresh_that_names_none_is_for_both() {
    let (mut world, mut alice, relays) = talking();
    world.pass(Duration::from_secs(500));
    refreshes(&mut alice, &mut world, AddressFamily::V6, 600).granted();
    world.pass(Duration::from_secs(100));
    assert_eq!(world.relays.keys().collect::<Vec<_>>(), [&relays[1]]);
    assert_eq!(world.metrics.allocations.value(), 1);
    world.pass(Duration::from_secs(500));
    assert_eq!((world.relays.len(), world.metrics.allocations.value()), (0, 0));
    assert_eq!(world.server.poll_timeout(), None);

    let (mut world, mut alice, _) = talking();
    world.pass(Duration::from_secs(500));
    alice.refreshes(&mut world, 600).granted();
    world.pass(Duration::from_secs(599));
    assert_eq!(world.relays.len(), 2);
    alice.learns_nonce(&mut world);
    alice.refreshes(&mut world, 0).granted();
    assert_eq!((world.relays.len(), world.server.allocations()), (0, 0));
}

#[test]
fn a_relay_that_is_past_its_time_carries_nothing_even_before_its_timer_fires() {
    let (mut world, mut alice, relays) = talking();
    world.pass(Duration::from_secs(590));
    refreshes(&mut alice, &mut world, AddressFamily::V6, 600).granted();
    alice.binds(&mut world, 0x4000, V4).granted();
    alice.binds(&mut world, 0x4001, V6).granted();
    world.pass_unnoticed(Duration::from_secs(10));
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoAllocation)
    );
    assert_eq!(alice.sends(&mut world, V4, b"x"), Err(DropReason::NoAllocation));
    assert_eq!(world.peer_sends(relays[0], V4, b"x"), Err(DropReason::NoRelay));
    assert!(alice.sends_channel(&mut world, 0x4001, b"x").is_ok());
    assert!(world.peer_sends(relays[1], V6, b"x").is_ok());
}

/// A host with two IPv4 addresses behind NAT and two IPv6 ones, a listener on each and one on an address without relays.
fn many_addresses() -> World {
    let mut config = config();
    let relay = |local: &str, public: &str| RelayAddress {
        local: ip(local),
        public: ip(public),
    };
    config.relays = vec![
        relay("10.0.0.1", "198.51.100.1"),
        relay("10.0.0.2", "198.51.100.2"),
        relay("2001:db8::1", "2001:db8::1"),
        relay("2001:db8::2", "2001:db8::2"),
    ];
    let mut world = World::with(config);
    for (id, local) in ["10.0.0.1:3478", "10.0.0.2:3478", "[2001:db8::2]:3478", "10.0.0.9:3478"]
        .iter()
        .enumerate()
    {
        let socket = SocketId(LISTENER.0 + id as u64);
        world.server.add_client_socket(socket, ClientPath::udp(address(local)));
    }
    world
}

#[test]
fn a_relay_lives_on_the_address_that_its_client_talks_to_else_on_the_first_of_its_family() {
    let mut world = many_addresses();
    let expected = [
        ("198.51.100.1", "2001:db8::1"),
        ("198.51.100.2", "2001:db8::1"),
        ("198.51.100.1", "2001:db8::2"),
        ("198.51.100.1", "2001:db8::1"),
    ];
    for (id, (v4, v6)) in expected.into_iter().enumerate() {
        let mut client = Client::new(&format!("203.0.113.7:{}", 6_000 + id), "alice", "secret of alice");
        client.five_tuple.socket = SocketId(LISTENER.0 + id as u64);
        let relayed = asks_both(&mut client, &mut world).granted().all_relayed();
        assert_eq!((relayed[0].ip(), relayed[1].ip()), (ip(v4), ip(v6)), "listener {id}");
    }
}

#[test]
fn a_reserved_port_stays_on_its_address_whatever_listener_redeems_it() {
    let mut world = many_addresses();
    let mut alice = Client::alice();
    alice.five_tuple.socket = SocketId(LISTENER.0 + 1);
    let answer = alice.asks_allocation(&mut world, |w| w.attribute(AttributeType::EVEN_PORT, &[0x80]));
    let (relayed, token) = (answer.relayed(), answer.token().unwrap());
    let mut second = Client::new("203.0.113.7:6001", "alice", "secret of alice");
    let next = second
        .asks_allocation(&mut world, |w| w.reservation_token(token))
        .granted()
        .relayed();
    assert_eq!((next.ip(), next.port()), (relayed.ip(), relayed.port() + 1));
}
