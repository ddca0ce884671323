//! Send and Data (RFC 8656 §11), sizes, and two clients of one server.

use voex_stun::{AttributeType, Class, Message, Method};
use voex_turn::{ClientVerdict, DropReason};

use crate::world::{Client, World, address, config, message};

const PEER: &str = "192.0.2.1:7000";

#[test]
fn send_and_data_carry_bytes_both_ways() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.permits(&mut world, PEER).granted();
    for data in [&b""[..], b"a", b"ab", b"abc", b"abcd"] {
        let sent = alice.sends(&mut world, PEER, data).unwrap();
        assert_eq!((sent.relay, sent.peer, &sent.data[..]), (relay, address(PEER), data));
        let got = world.peer_sends(relay, PEER, data).unwrap();
        let indication = Message::parse(&got).unwrap();
        assert_eq!(
            (indication.class(), indication.method()),
            (Class::Indication, Method::DATA)
        );
        assert_eq!(indication.xor_peer_address(), Ok(Some(address(PEER))));
        assert_eq!(indication.data(), Some(data));
    }
}

#[test]
fn data_indications_have_transaction_ids_of_their_own() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.permits(&mut world, PEER).granted();
    let ids: Vec<Vec<u8>> = (0..2)
        .map(|_| world.peer_sends(relay, PEER, b"x").unwrap()[8..20].to_vec())
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_send_without_permission_allocation_peer_or_data_is_dropped() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert_eq!(alice.sends(&mut world, PEER, b"x"), Err(DropReason::NoAllocation));
    alice.allocates(&mut world);
    assert_eq!(alice.sends(&mut world, PEER, b"x"), Err(DropReason::NoPermission));
    alice.permits(&mut world, PEER).granted();
    let id = alice.fresh_id();
    let send = |body: fn(voex_stun::MessageWriter<'_>) -> voex_stun::MessageWriter<'_>| {
        message(Class::Indication, Method::SEND, id, body)
    };
    let bad = [
        send(|w| w.data(b"x")),
        send(|w| w.xor_peer_address(address(PEER))),
        send(|w| w.attribute(AttributeType::XOR_PEER_ADDRESS, &[0, 1]).data(b"x")),
        send(|w| {
            w.xor_peer_address(address(PEER))
                .data(b"x")
                .attribute(AttributeType(0x7fff), &[])
        }),
    ];
    for datagram in &bad {
        assert_eq!(alice.sends_raw(&mut world, datagram), Err(DropReason::BadSend));
    }
    let datagram = send(|w| {
        w.xor_peer_address(address(PEER))
            .data(b"x")
            .attribute(AttributeType::DONT_FRAGMENT, &[])
    });
    assert_eq!(alice.sends_raw(&mut world, &datagram), Err(DropReason::DontFragment));
    let datagram = send(|w| {
        w.xor_peer_address(address(PEER))
            .data(b"x")
            .attribute(AttributeType(0xffff), &[])
    });
    assert!(alice.sends_raw(&mut world, &datagram).is_ok());
    assert!(world.out.sent.is_empty(), "indications are never answered");
}

#[test]
fn a_send_that_asks_for_it_leaves_whole_between_ipv4_and_ipv4_only() {
    let mut config = config();
    config.dont_fragment = true;
    let mut world = World::with(config);
    let far = "[2001:db8:5::1]:7000";
    let whole = |client: &mut Client, world: &mut World, peer: &str| {
        let datagram = message(Class::Indication, Method::SEND, client.fresh_id(), |w| {
            w.xor_peer_address(address(peer))
                .data(b"x")
                .attribute(AttributeType::DONT_FRAGMENT, &[])
        });
        client.sends_raw(world, &datagram).unwrap().dont_fragment
    };
    for (client, v4_is_whole) in [
        ("203.0.113.7:6000", true),
        ("[::ffff:203.0.113.8]:6000", true),
        ("[2001:db8:7::1]:6000", false),
    ] {
        let mut alice = Client::new(client, "alice", "secret of alice");
        alice
            .asks_allocation(&mut world, |w| {
                w.additional_address_family(voex_stun::AddressFamily::V6)
                    .attribute(AttributeType::DONT_FRAGMENT, &[])
            })
            .granted();
        alice.binds(&mut world, 0x4000, PEER).granted();
        alice.permits(&mut world, far).granted();
        assert_eq!(whole(&mut alice, &mut world, PEER), v4_is_whole, "{client}");
        assert!(!whole(&mut alice, &mut world, far), "{client}");
        assert!(!alice.sends(&mut world, PEER, b"x").unwrap().dont_fragment);
        assert!(!alice.sends_channel(&mut world, 0x4000, b"x").unwrap().dont_fragment);
    }
}

#[test]
fn the_longest_datagram_that_fits_is_relayed_and_one_byte_more_is_not() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.permits(&mut world, PEER).granted();
    assert!(world.peer_sends(relay, PEER, &vec![7; 65_507 - 51]).is_ok());
    assert_eq!(
        world.peer_sends(relay, PEER, &vec![7; 65_507 - 50]),
        Err(DropReason::TooLong)
    );
}

#[test]
fn two_clients_reach_each_other_by_their_public_relayed_addresses() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    let (relayed_a, relayed_b) = (alice.allocates(&mut world), bob.allocates(&mut world));
    alice.permits(&mut world, &relayed_b.to_string()).granted();
    bob.binds(&mut world, 0x4000, &relayed_a.to_string()).granted();

    let sent = alice.sends(&mut world, &relayed_b.to_string(), b"hello bob").unwrap();
    let target = world
        .server
        .relay_by_address(sent.peer)
        .expect("the peer is a relay of this shard");
    let source = world.server.relayed_address(sent.relay).unwrap().public;
    assert_eq!((source, target), (relayed_a, world.relay_of(relayed_b)));
    let got = world.peer_sends(target, &source.to_string(), &sent.data).unwrap();
    assert_eq!(got, b"\x40\x00\x00\x09hello bob");

    let sent = bob.sends_channel(&mut world, 0x4000, b"hello alice").unwrap();
    let target = world.server.relay_by_address(sent.peer).unwrap();
    let got = world.peer_sends(target, &relayed_b.to_string(), &sent.data).unwrap();
    assert_eq!(Message::parse(&got).unwrap().data(), Some(&b"hello alice"[..]));
}

#[test]
fn data_for_a_relay_that_is_gone_is_dropped() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.permits(&mut world, PEER).granted();
    alice.refreshes(&mut world, 0).granted();
    assert_eq!(world.peer_sends(relay, PEER, b"x"), Err(DropReason::NoRelay));
    assert_eq!(alice.sends(&mut world, PEER, b"x"), Err(DropReason::NoAllocation));
}

#[test]
fn another_source_cannot_use_a_clients_allocation() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.binds(&mut world, 0x4000, PEER).granted();
    let mut spoofer = Client::new("203.0.113.7:6001", "alice", "");
    assert_eq!(
        spoofer.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoAllocation)
    );
    let mut other_listener = alice.five_tuple;
    other_listener.socket = voex_base::SocketId(2);
    let verdict = world.deliver(other_listener, b"\x40\x00\x00\x01x");
    assert_eq!(verdict, ClientVerdict::Drop(DropReason::NoAllocation));
}
