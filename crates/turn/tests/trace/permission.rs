//! Permissions (RFC 8656 §9, §10) and the peers that never get one.

use std::time::Duration;

use voex_stun::{AddressFamily, AttributeType, Method};
use voex_turn::{DropReason, Refusal};

use crate::world::{Client, World, address, config};

#[test]
fn only_peers_with_a_permission_are_heard_whatever_their_port() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    assert_eq!(
        world.peer_sends(relay, "192.0.2.1:7000", b"x"),
        Err(DropReason::NoPermission)
    );
    alice.permits(&mut world, "192.0.2.1:7000").granted();
    assert!(world.peer_sends(relay, "192.0.2.1:7000", b"x").is_ok());
    assert!(world.peer_sends(relay, "192.0.2.1:9999", b"x").is_ok());
    assert_eq!(
        world.peer_sends(relay, "192.0.2.2:7000", b"x"),
        Err(DropReason::NoPermission)
    );
    assert_eq!(world.metrics.dropped.of(DropReason::NoPermission).value(), 2);
}

#[test]
fn a_permission_lasts_five_minutes_and_a_refreshed_one_five_more() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.permits(&mut world, "192.0.2.1:7000").granted();
    world.pass(Duration::from_secs(200));
    alice.permits(&mut world, "192.0.2.1:7000").granted();
    world.pass(Duration::from_millis(299_999));
    assert!(world.peer_sends(relay, "192.0.2.1:7000", b"x").is_ok());
    assert!(alice.sends(&mut world, "192.0.2.1:7000", b"x").is_ok());
    world.pass_unnoticed(Duration::from_millis(1));
    assert_eq!(
        world.peer_sends(relay, "192.0.2.1:7000", b"x"),
        Err(DropReason::NoPermission)
    );
    assert_eq!(
        alice.sends(&mut world, "192.0.2.1:7000", b"x"),
        Err(DropReason::NoPermission)
    );
}

#[test]
fn data_from_a_peer_does_not_refresh_its_permission() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.permits(&mut world, "192.0.2.1:7000").granted();
    world.pass(Duration::from_secs(299));
    world.peer_sends(relay, "192.0.2.1:7000", b"x").unwrap();
    alice.sends(&mut world, "192.0.2.1:7000", b"x").unwrap();
    world.pass(Duration::from_secs(1));
    assert_eq!(
        world.peer_sends(relay, "192.0.2.1:7000", b"x"),
        Err(DropReason::NoPermission)
    );
}

#[test]
fn one_request_installs_permissions_for_several_peers_or_for_none() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    let both = |world: &mut World, alice: &mut Client, second: &str| {
        alice.asks(world, Method::CREATE_PERMISSION, |writer| {
            writer
                .xor_peer_address(address("192.0.2.1:1"))
                .xor_peer_address(address(second))
        })
    };
    assert_eq!(both(&mut world, &mut alice, "127.0.0.1:1").code(), 403);
    assert_eq!(
        world.peer_sends(relay, "192.0.2.1:1", b"x"),
        Err(DropReason::NoPermission)
    );
    both(&mut world, &mut alice, "192.0.2.2:1").granted();
    assert!(world.peer_sends(relay, "192.0.2.1:1", b"x").is_ok());
    assert!(world.peer_sends(relay, "192.0.2.2:1", b"x").is_ok());
}

#[test]
fn a_request_without_peer_or_with_half_a_peer_is_bad() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(
        alice
            .asks(&mut world, Method::CREATE_PERMISSION, |writer| writer)
            .code(),
        400
    );
    let answer = alice.asks(&mut world, Method::CREATE_PERMISSION, |writer| {
        writer
            .xor_peer_address(address("192.0.2.1:1"))
            .attribute(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2])
    });
    assert_eq!(answer.code(), 400);
}

#[test]
fn without_allocation_there_is_437() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    assert_eq!(alice.permits(&mut world, "192.0.2.1:1").code(), 437);
    assert_eq!(alice.binds(&mut world, 0x4000, "192.0.2.1:1").code(), 437);
}

#[test]
fn inside_addresses_get_403_in_plain_and_in_every_disguise() {
    let peers = [
        "127.0.0.1:80",
        "0.0.0.0:80",
        "0.1.2.3:80",
        "169.254.169.254:80",
        "224.0.0.5:80",
        "255.255.255.255:80",
        "[::1]:80",
        "[::]:80",
        "[fe80::1]:80",
        "[ff02::1]:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:169.254.169.254]:80",
        "[::127.0.0.1]:80",
        "[64:ff9b::127.0.0.1]:80",
        "[2002:7f00:1::]:80",
        "[64:ff9b::a9fe:a9fe]:80",
    ];
    for family in [AddressFamily::V4, AddressFamily::V6] {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice
            .asks_allocation(&mut world, |writer| writer.requested_address_family(family))
            .granted();
        for peer in peers {
            assert_eq!(alice.permits(&mut world, peer).code(), 403, "{family:?} {peer}");
            assert_eq!(alice.binds(&mut world, 0x4000, peer).code(), 403, "{family:?} {peer}");
            assert!(alice.sends(&mut world, peer, b"x").is_err(), "{family:?} {peer}");
        }
        assert_eq!(
            world.metrics.refused.of(Refusal::Forbidden).value(),
            2 * peers.len() as u64
        );
    }
}

#[test]
fn a_peer_of_the_other_family_gets_443() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(alice.permits(&mut world, "[2001:db8::7]:1").code(), 443);
    assert_eq!(alice.binds(&mut world, 0x4000, "[2001:db8::7]:1").code(), 443);
    assert_eq!(alice.permits(&mut world, "[::ffff:192.0.2.1]:1").code(), 443);

    let mut world = World::new();
    let mut alice = Client::alice();
    alice
        .asks_allocation(&mut world, |w| w.requested_address_family(AddressFamily::V6))
        .granted();
    assert_eq!(alice.permits(&mut world, "192.0.2.1:1").code(), 443);
    assert_eq!(alice.permits(&mut world, "[::ffff:192.0.2.1]:1").code(), 443);
    alice.permits(&mut world, "[2001:db8::7]:1").granted();
}

#[test]
fn denied_networks_get_403_but_for_their_allowed_parts() {
    let mut config = config();
    config.peers.deny = vec!["10.0.0.0/8".parse().unwrap()];
    config.peers.allow = vec!["10.20.0.0/16".parse().unwrap()];
    let mut world = World::with(config);
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(alice.permits(&mut world, "10.1.0.1:1").code(), 403);
    alice.permits(&mut world, "10.20.0.1:1").granted();
    alice.permits(&mut world, "192.168.0.1:1").granted();
}

#[test]
fn own_management_sockets_are_closed_although_their_address_is_not() {
    let mut config = config();
    config.peers.own_sockets = vec![address("10.0.0.1:8188")];
    let mut world = World::with(config);
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.permits(&mut world, "10.0.0.1:8188").granted();
    assert_eq!(
        alice.sends(&mut world, "10.0.0.1:8188", b"x"),
        Err(DropReason::ForbiddenPeer)
    );
    assert_eq!(alice.binds(&mut world, 0x4000, "10.0.0.1:8188").code(), 403);
    assert_eq!(alice.binds(&mut world, 0x4000, "10.0.0.1:0").code(), 403);
    assert!(alice.sends(&mut world, "10.0.0.1:20000", b"x").is_ok());
}

#[test]
fn a_full_table_of_permissions_answers_508_and_keeps_what_it_has() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    for peer in 0..256 {
        alice.permits(&mut world, &format!("192.0.2.{peer}:1")).granted();
    }
    assert_eq!(alice.permits(&mut world, "198.18.0.1:1").code(), 508);
    assert_eq!(alice.binds(&mut world, 0x4000, "198.18.0.1:1").code(), 508);
    alice.permits(&mut world, "192.0.2.9:1").granted();
    assert!(world.peer_sends(relay, "192.0.2.255:1", b"x").is_ok());
    world.pass(Duration::from_secs(300));
    alice.permits(&mut world, "198.18.0.1:1").granted();
}
