//! Quotas of allocations over all shards of a process, and limits of what passes in a second.

use std::sync::Arc;
use std::time::Duration;

use voex_base::Rng;
use voex_stun::Method;
use voex_turn::{BindError, Command, DropReason, PortShare, Quotas, Rates};

use crate::world::{Client, World, address, config};

const PEER: &str = "192.0.2.5:7000";

/// Two shards that count together.
fn two_shards(of_user: Option<u32>, in_all: Option<u32>) -> (Arc<Quotas>, World, World) {
    let quotas = Arc::new(Quotas::new(100, &mut Rng::from_number(1)));
    let shard = |number| {
        let mut config = config();
        config.shard = number;
        config.ports = PortShare::new(49_152..=65_535, number, 2);
        config.allocations_per_user_max = of_user;
        config.allocations_total_max = in_all;
        let mut world = World::with(config);
        world.server = world.server.with_quotas(Arc::clone(&quotas));
        world
    };
    let (first, mut second) = (shard(0), shard(1));
    second.start = first.start;
    (quotas, first, second)
}

fn client(port: u16, user: &str) -> Client {
    Client::new(&format!("203.0.113.7:{port}"), user, &format!("secret of {user}"))
}

/// Asks for an allocation from a port of its own, and gives the code.
fn asks(world: &mut World, port: u16, user: &str) -> u16 {
    client(port, user).asks_allocation(world, |writer| writer).code()
}

#[test]
fn a_user_has_as_many_allocations_in_all_shards_together_as_it_may() {
    let (_, mut first, mut second) = two_shards(Some(2), None);
    assert_eq!(asks(&mut first, 6_001, "alice"), 0);
    assert_eq!(asks(&mut second, 6_002, "alice"), 0);
    for world in [&mut first, &mut second] {
        assert_eq!(asks(world, 6_003, "alice"), 486);
        assert_eq!(asks(world, 6_004, "bob"), 0, "another user has its own");
    }
}

#[test]
fn there_are_as_many_allocations_in_all_shards_together_as_there_may_be() {
    let (quotas, mut first, mut second) = two_shards(None, Some(2));
    let mut alice = client(6_001, "alice");
    alice.allocates(&mut first);
    assert_eq!(asks(&mut second, 6_002, "bob"), 0);
    assert_eq!(asks(&mut second, 6_003, "bob"), 508);
    assert_eq!(asks(&mut first, 6_004, "alice"), 508);
    assert_eq!(quotas.allocations(), 2);
    alice.refreshes(&mut first, 0).granted();
    assert_eq!(asks(&mut second, 6_005, "alice"), 0);
}

#[test]
fn an_allocation_that_ends_in_any_way_or_never_begins_is_counted_no_more() {
    let (quotas, mut first, mut second) = two_shards(Some(1), None);
    let mut port = 6_000;
    let mut free = |world: &mut World| {
        port += 1;
        let mut alice = client(port, "alice");
        assert_eq!(alice.asks_allocation(world, |writer| writer).code(), 0);
        alice
    };
    free(&mut second).refreshes(&mut second, 0).granted();
    free(&mut second);
    second.pass(Duration::from_secs(600));
    let gone = free(&mut second).five_tuple;
    second.server.close_client(gone);
    second.serve_sockets();
    second.bind_errors = vec![BindError::Failed];
    assert_eq!(asks(&mut second, 7_000, "alice"), 508);
    assert_eq!(quotas.allocations(), 0);
    free(&mut second);
    drop(second);
    assert_eq!(quotas.allocations(), 0, "nor one of a shard that is no more");
    free(&mut first);
}

#[test]
fn a_request_that_is_refused_for_another_reason_leaves_the_counts_as_they_were() {
    let (quotas, mut first, mut second) = two_shards(Some(1), Some(1));
    first.server.refuse_new_allocations();
    assert_eq!(asks(&mut first, 6_001, "alice"), 508);
    assert_eq!(asks(&mut second, 6_002, "bob"), 0);
    assert_eq!(asks(&mut second, 6_003, "alice"), 508, "the total is reached");
    second.pass(Duration::from_secs(600));
    assert_eq!(quotas.allocations(), 0);
    assert_eq!(
        asks(&mut second, 6_004, "alice"),
        0,
        "and it did not count against alice"
    );
}

/// A world with limits in which alice has a channel to a peer.
fn limited(rates: Rates) -> (World, Client) {
    let mut config = config();
    config.rates = rates;
    let mut world = World::with(config);
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.binds(&mut world, 0x4000, PEER).granted();
    (world, alice)
}

/// Sends so many datagrams of 100 bytes and gives how many passed, and why the last did not.
fn passing(world: &mut World, client: &mut Client, count: usize) -> (usize, Option<DropReason>) {
    let results: Vec<_> = (0..count)
        .map(|n| match n % 2 {
            0 => client.sends_channel(world, 0x4000, &[0; 100]),
            _ => client.sends(world, PEER, &[0; 100]),
        })
        .collect();
    let passed = results.iter().filter(|result| result.is_ok()).count();
    (passed, results.into_iter().rev().find_map(Result::err))
}

/// The same from the peer.
fn coming(world: &mut World, count: usize) -> (usize, Option<DropReason>) {
    let relay = *world.relays.keys().next().unwrap();
    let results: Vec<_> = (0..count).map(|_| world.peer_sends(relay, PEER, &[0; 100])).collect();
    let passed = results.iter().filter(|result| result.is_ok()).count();
    (passed, results.into_iter().rev().find_map(Result::err))
}

#[test]
fn an_allocation_relays_as_many_bytes_and_datagrams_a_second_as_it_may_each_way() {
    let bytes = Rates {
        bytes_per_s: 1_000,
        ..Rates::default()
    };
    let packets = Rates {
        packets_per_s: 10,
        ..Rates::default()
    };
    for (rates, reason) in [(bytes, DropReason::ByteRate), (packets, DropReason::PacketRate)] {
        let (mut world, mut alice) = limited(rates);
        assert_eq!(passing(&mut world, &mut alice, 15), (10, Some(reason)));
        assert_eq!(coming(&mut world, 15), (10, Some(reason)), "the other way counts apart");
        assert_eq!(world.metrics.dropped.of(reason).value(), 10);
        assert_eq!(
            world.metrics.to_peer_packets.value(),
            10,
            "what is dropped is not relayed"
        );
        world.pass(Duration::from_millis(300));
        assert_eq!(passing(&mut world, &mut alice, 10), (3, Some(reason)));
        world.pass(Duration::from_secs(10));
        assert_eq!(passing(&mut world, &mut alice, 10), (10, None));
        alice.refreshes(&mut world, 600).granted();
    }
}

#[test]
fn a_datagram_that_is_longer_than_a_seconds_worth_passes_and_is_paid_off() {
    let (mut world, mut alice) = limited(Rates {
        bytes_per_s: 50,
        ..Rates::default()
    });
    assert_eq!(passing(&mut world, &mut alice, 5), (1, Some(DropReason::ByteRate)));
    world.pass(Duration::from_millis(900));
    assert_eq!(passing(&mut world, &mut alice, 1).0, 0);
    world.pass(Duration::from_millis(200));
    assert_eq!(passing(&mut world, &mut alice, 1).0, 1);
}

#[test]
fn all_allocations_of_all_shards_share_what_they_may_relay_together() {
    let (_, mut first, mut second) = two_shards(None, None);
    for world in [&mut first, &mut second] {
        let mut config = config();
        config.rates.total_bytes_per_s = 1_000;
        world.command(Command::Reconfigure(Box::new(config)));
    }
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    alice.allocates(&mut first);
    alice.binds(&mut first, 0x4000, PEER).granted();
    bob.allocates(&mut second);
    bob.binds(&mut second, 0x4000, PEER).granted();
    assert_eq!(passing(&mut first, &mut alice, 6), (6, None));
    assert_eq!(passing(&mut second, &mut bob, 6), (4, Some(DropReason::TotalByteRate)));
    assert_eq!(coming(&mut second, 6), (6, None), "the other way counts apart");
}

#[test]
fn an_allocation_asks_for_as_many_new_peers_a_second_as_it_may() {
    let (mut world, mut alice) = limited(Rates {
        new_peers_per_s: 3,
        ..Rates::default()
    });
    let peer = |n: u8| format!("198.51.100.{n}:7000");
    assert_eq!(alice.permits(&mut world, &peer(11)).code(), 0);
    assert_eq!(alice.binds(&mut world, 0x4001, &peer(12)).code(), 0);
    assert_eq!(
        alice.permits(&mut world, &peer(13)).code(),
        508,
        "with the peer of the beginning that was the fourth"
    );
    assert_eq!(alice.binds(&mut world, 0x4002, &peer(13)).code(), 508);
    assert_eq!(
        alice.sends_channel(&mut world, 0x4002, b"x"),
        Err(DropReason::NoChannel)
    );
    assert_eq!(
        alice.permits(&mut world, &peer(11)).code(),
        0,
        "a known peer is not new"
    );
    assert_eq!(alice.binds(&mut world, 0x4001, &peer(12)).code(), 0);
    world.pass(Duration::from_millis(400));
    let many = alice.asks(&mut world, Method::CREATE_PERMISSION, |writer| {
        (20..30).fold(writer, |writer, n| writer.xor_peer_address(address(&peer(n))))
    });
    assert_eq!(many.code(), 0, "a request is granted whole");
    world.pass(Duration::from_secs(2));
    assert_eq!(alice.permits(&mut world, &peer(31)).code(), 508, "and paid off");
    world.pass(Duration::from_secs(1));
    assert_eq!(alice.permits(&mut world, &peer(31)).code(), 0);
}

#[test]
fn a_reload_sets_and_lifts_limits_of_allocations_that_exist() {
    let (mut world, mut alice) = limited(Rates::default());
    let reload = |world: &mut World, packets_per_s| {
        let mut config = config();
        config.rates.packets_per_s = packets_per_s;
        world.command(Command::Reconfigure(Box::new(config)));
    };
    assert_eq!(passing(&mut world, &mut alice, 100), (100, None));
    reload(&mut world, 10);
    assert_eq!(passing(&mut world, &mut alice, 100), (10, Some(DropReason::PacketRate)));
    reload(&mut world, 20);
    assert_eq!(passing(&mut world, &mut alice, 100).0, 0, "what was used stays used");
    world.pass(Duration::from_millis(100));
    assert_eq!(passing(&mut world, &mut alice, 100).0, 2);
    reload(&mut world, 0);
    assert_eq!(passing(&mut world, &mut alice, 100), (100, None));
}
