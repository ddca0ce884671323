//! Channel bindings (RFC 8656 §12).

use std::time::Duration;

use voex_stun::{AttributeType, ChannelData, ChannelNumber, Method};
use voex_turn::DropReason;

use crate::world::{Client, World, address, config};

const PEER: &str = "192.0.2.1:7000";

#[test]
fn a_bound_channel_carries_data_both_ways() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.binds(&mut world, 0x4000, PEER).granted();
    let sent = alice.sends_channel(&mut world, 0x4000, b"there").unwrap();
    assert_eq!(
        (sent.relay, sent.peer, &sent.data[..]),
        (relay, address(PEER), &b"there"[..])
    );
    let got = world.peer_sends(relay, PEER, b"and back").unwrap();
    let channel = ChannelNumber::new(0x4000).unwrap();
    assert_eq!(
        ChannelData::parse(&got),
        Ok(ChannelData {
            channel,
            payload: b"and back"
        })
    );
    assert_eq!(
        (
            world.metrics.to_peer_packets.value(),
            world.metrics.to_peer_bytes.value()
        ),
        (1, 5)
    );
    assert_eq!(
        (
            world.metrics.to_client_packets.value(),
            world.metrics.to_client_bytes.value()
        ),
        (1, 8)
    );
}

#[test]
fn binding_a_channel_installs_a_permission() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.binds(&mut world, 0x4000, PEER).granted();
    assert!(alice.sends(&mut world, "192.0.2.1:9", b"x").is_ok());
}

#[test]
fn an_unbound_channel_carries_nothing() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoAllocation)
    );
    alice.allocates(&mut world);
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoChannel)
    );
    alice.binds(&mut world, 0x4000, PEER).granted();
    assert_eq!(
        alice.sends_channel(&mut world, 0x4001, b"x"),
        Err(DropReason::NoChannel)
    );
}

#[test]
fn a_channel_of_one_client_is_nothing_to_another() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    alice.allocates(&mut world);
    bob.allocates(&mut world);
    alice.binds(&mut world, 0x4000, PEER).granted();
    assert_eq!(bob.sends_channel(&mut world, 0x4000, b"x"), Err(DropReason::NoChannel));
}

#[test]
fn a_number_has_one_peer_and_a_peer_one_number() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.binds(&mut world, 0x4000, PEER).granted();
    assert_eq!(alice.binds(&mut world, 0x4000, "192.0.2.1:7001").code(), 400);
    assert_eq!(alice.binds(&mut world, 0x4001, PEER).code(), 400);
    alice.binds(&mut world, 0x4fff, "192.0.2.1:7001").granted();
    assert_eq!(alice.binds(&mut world, 0x4000, "192.0.2.1:7001").code(), 400);
    alice.binds(&mut world, 0x4000, PEER).granted();
}

#[test]
fn numbers_outside_the_range_and_missing_attributes_are_bad_requests() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    for number in [0x3fff_u16, 0x8000, 0xffff, 0] {
        let [high, low] = number.to_be_bytes();
        let answer = alice.asks(&mut world, Method::CHANNEL_BIND, |writer| {
            writer
                .attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_peer_address(address(PEER))
        });
        assert_eq!(answer.code(), 400, "{number:#x}");
    }
    let number = ChannelNumber::new(0x4000).unwrap();
    let answer = alice.asks(&mut world, Method::CHANNEL_BIND, |writer| writer.channel_number(number));
    assert_eq!(answer.code(), 400);
    let answer = alice.asks(&mut world, Method::CHANNEL_BIND, |writer| {
        writer.xor_peer_address(address(PEER))
    });
    assert_eq!(answer.code(), 400);
}

#[test]
fn numbers_of_the_older_standard_work_unless_switched_off() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.binds(&mut world, 0x7fff, PEER).granted();
    assert!(alice.sends_channel(&mut world, 0x7fff, b"x").is_ok());

    let mut strict = config();
    strict.rfc5766_channel_numbers = false;
    let mut world = World::with(strict);
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(alice.binds(&mut world, 0x5000, PEER).code(), 400);
    alice.binds(&mut world, 0x4fff, PEER).granted();
}

#[test]
fn channel_binding_refresh_extends_its_permission() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.binds(&mut world, 0x4000, PEER).granted();
    world.pass(Duration::from_secs(299));
    alice.binds(&mut world, 0x4000, PEER).granted();
    world.pass(Duration::from_secs(299));
    assert!(world.peer_sends(relay, PEER, b"x").is_ok());
}

#[test]
fn a_channel_outlives_its_permission_but_then_hears_nothing() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    alice.binds(&mut world, 0x4000, PEER).granted();
    world.pass(Duration::from_secs(300));
    assert_eq!(world.peer_sends(relay, PEER, b"x"), Err(DropReason::NoPermission));
    assert!(alice.sends_channel(&mut world, 0x4000, b"x").is_ok());
    alice.permits(&mut world, PEER).granted();
    assert_eq!(world.peer_sends(relay, PEER, b"x").unwrap()[..2], [0x40, 0x00]);
}

#[test]
fn a_channel_binding_ends_after_ten_minutes_and_its_number_is_free_again() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let answer = alice
        .asks_allocation(&mut world, |writer| writer.lifetime_s(3_600))
        .granted();
    let relay = world.relay_of(answer.relayed());
    alice.binds(&mut world, 0x4000, PEER).granted();
    world.pass(Duration::from_millis(599_999));
    alice.permits(&mut world, PEER).granted();
    assert!(alice.sends_channel(&mut world, 0x4000, b"x").is_ok());
    world.pass_unnoticed(Duration::from_millis(1));
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoChannel)
    );
    let got = world.peer_sends(relay, PEER, b"x").unwrap();
    assert_eq!(got[..2], [0x00, 0x17], "without channel, data comes in an indication");
    alice.nonce.clear();
    alice.learns_nonce(&mut world);
    alice.binds(&mut world, 0x4000, "192.0.2.2:7000").granted();
    alice.binds(&mut world, 0x4001, PEER).granted();
}

#[test]
fn a_full_table_of_channels_answers_508() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    for n in 0..256 {
        alice
            .binds(&mut world, 0x4000 + n, &format!("192.0.2.1:{}", 1_000 + n))
            .granted();
    }
    assert_eq!(alice.binds(&mut world, 0x4200, "192.0.2.1:2000").code(), 508);
    alice.binds(&mut world, 0x4007, "192.0.2.1:1007").granted();
    let sent = alice.sends_channel(&mut world, 0x40ff, b"x").unwrap();
    assert_eq!(sent.peer, address("192.0.2.1:1255"));
}
