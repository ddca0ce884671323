//! What ends when: on the edge and just after it.

use std::time::Duration;

use voex_stun::{AddressFamily, AttributeType, Method};
use voex_turn::DropReason;

use crate::world::{Client, World, config};

const MS: Duration = Duration::from_millis(1);

#[test]
fn lifetimes_are_clamped_to_ten_minutes_and_one_hour() {
    for (asked_s, granted_s) in [(1, 600), (600, 600), (777, 777), (3_600, 3_600), (u32::MAX, 3_600)] {
        let mut world = World::new();
        let mut alice = Client::alice();
        let answer = alice
            .asks_allocation(&mut world, |writer| writer.lifetime_s(asked_s))
            .granted();
        assert_eq!(answer.lifetime_s(), granted_s);
        assert_eq!(alice.refreshes(&mut world, asked_s).lifetime_s(), granted_s);
    }
}

#[test]
fn an_allocation_ends_when_its_lifetime_does_and_closes_its_relay() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    world.pass(Duration::from_secs(600) - MS);
    assert_eq!((world.relays.len(), world.metrics.allocations.value()), (1, 1));
    world.pass(MS);
    assert_eq!((world.relays.len(), world.metrics.allocations.value()), (0, 0));
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn an_allocation_whose_time_is_over_carries_nothing_even_before_its_timer_fires() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    world.pass(Duration::from_secs(590));
    alice.binds(&mut world, 0x4000, "192.0.2.1:7000").granted();
    world.pass_unnoticed(Duration::from_secs(10) - MS);
    assert!(alice.sends_channel(&mut world, 0x4000, b"x").is_ok());
    world.pass_unnoticed(MS);
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoAllocation)
    );
    assert_eq!(
        alice.sends(&mut world, "192.0.2.1:7000", b"x"),
        Err(DropReason::NoAllocation)
    );
    assert_eq!(
        world.peer_sends(relay, "192.0.2.1:7000", b"x"),
        Err(DropReason::NoRelay)
    );
    alice.nonce.clear();
    alice.allocates(&mut world);
}

#[test]
fn when_refreshed_in_time_an_allocation_lives_on() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    world.pass(Duration::from_secs(599));
    assert_eq!(alice.refreshes(&mut world, 600).granted().lifetime_s(), 600);
    world.pass(Duration::from_secs(600) - MS);
    assert_eq!(world.relays.len(), 1);
    world.pass(MS);
    assert_eq!(world.relays.len(), 0);
}

#[test]
fn a_refresh_can_shorten_a_lifetime() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice
        .asks_allocation(&mut world, |writer| writer.lifetime_s(3_600))
        .granted();
    alice.refreshes(&mut world, 600).granted();
    world.pass(Duration::from_secs(600));
    assert!(world.relays.is_empty());
}

#[test]
fn refresh_with_zero_ends_the_allocation_and_frees_its_five_tuple() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(alice.refreshes(&mut world, 0).granted().lifetime_s(), 0);
    assert!(world.relays.is_empty());
    assert_eq!(world.server.poll_timeout(), None);
    assert_eq!(alice.refreshes(&mut world, 0).code(), 437);
    alice.allocates(&mut world);
}

#[test]
fn a_refresh_without_allocation_gets_437_and_one_for_another_users_441() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    assert_eq!(alice.refreshes(&mut world, 600).code(), 437);
    alice.allocates(&mut world);

    let mut thief = Client::new("203.0.113.7:6000", "bob", "secret of bob");
    thief.nonce = alice.nonce.clone();
    assert_eq!(thief.refreshes(&mut world, 0).code(), 441);
    assert_eq!(thief.permits(&mut world, "192.0.2.1:1").code(), 441);
    assert_eq!(thief.binds(&mut world, 0x4000, "192.0.2.1:1").code(), 441);
    assert_eq!(world.relays.len(), 1);

    let mut forger = Client::new("203.0.113.7:6000", "alice", "guess");
    forger.nonce = alice.nonce.clone();
    assert_eq!(forger.refreshes(&mut world, 0).code(), 401);
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn a_refresh_for_the_other_family_gets_443() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    let answer = alice.asks(&mut world, Method::REFRESH, |w| {
        w.lifetime_s(0).requested_address_family(AddressFamily::V6)
    });
    assert_eq!(answer.code(), 443);
    assert_eq!(world.relays.len(), 1);
    let answer = alice.asks(&mut world, Method::REFRESH, |w| {
        w.attribute(AttributeType::LIFETIME, &[0, 0])
    });
    assert_eq!(answer.code(), 400);
}

#[test]
fn the_timer_is_that_of_whatever_ends_next() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let start = world.now();
    let due = |world: &World| world.server.poll_timeout().unwrap() - start;
    alice
        .asks_allocation(&mut world, |writer| writer.lifetime_s(3_600))
        .granted();
    assert_eq!(due(&world), Duration::from_secs(3_600));
    alice.binds(&mut world, 0x4000, "192.0.2.1:7000").granted();
    assert_eq!(due(&world), Duration::from_secs(300));
    world.pass(Duration::from_secs(100));
    alice.permits(&mut world, "192.0.2.1:7000").granted();
    assert_eq!(due(&world), Duration::from_secs(400));
    world.pass(Duration::from_secs(300));
    assert_eq!(due(&world), Duration::from_secs(600));
    world.pass(Duration::from_secs(200));
    assert_eq!(due(&world), Duration::from_secs(3_600));
}

#[test]
fn a_closed_stream_ends_its_allocation() {
    let mut world = World::with(config());
    let alice = &mut Client::alice();
    alice.allocates(&mut world);
    world.server.close_client(alice.five_tuple);
    world.serve_sockets();
    assert!(world.relays.is_empty());
    assert_eq!(world.metrics.allocations.value(), 0);
    world.server.close_client(alice.five_tuple);
}
