//! What limits of bytes and of new peers do to TCP relays: sides are left unread, nothing is lost.

use std::net::SocketAddr;
use std::time::Duration;

use voex_base::SocketId;
use voex_turn::{Command, DropReason, Rates, THROTTLED_MAX, Way};

use crate::tcp_relay::{CONTROL, DATA, PEER, allocated, asks_tcp, tcp_config};
use crate::world::{Client, World};

/// A world in which alice has a TCP relay under these limits.
fn limited(rates: Rates) -> (World, Client, SocketAddr) {
    let mut config = tcp_config();
    config.rates = rates;
    let mut world = World::with(config);
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    let relayed = asks_tcp(&mut alice, &mut world).granted().relayed();
    (world, alice, relayed)
}

#[test]
fn an_allocation_asks_for_as_many_connections_a_second_as_it_may_have_new_peers() {
    let (mut world, mut alice, relayed) = limited(Rates {
        new_peers_per_s: 2,
        ..Rates::default()
    });
    alice.is_connected(&mut world, "192.0.2.9:80");
    alice.is_connected(&mut world, "192.0.2.9:81");
    assert_eq!(alice.is_refused_to_connect(&mut world, "192.0.2.9:82"), 508);
    world.pass(Duration::from_millis(500));
    alice.is_connected(&mut world, "192.0.2.9:82");
    assert_eq!(alice.is_refused_to_connect(&mut world, "192.0.2.9:83"), 508);
    // Those that come in count as well.
    assert_eq!(world.accepted(relayed, PEER), Err(DropReason::NoPermission));
    world.pass(Duration::from_secs(5));
    alice.permits(&mut world, PEER);
    world
        .accepted(relayed, "192.0.2.9:90")
        .expect("the second of this second");
    assert_eq!(world.accepted(relayed, "192.0.2.9:91"), Err(DropReason::NewPeerRate));
    world.out.sent.clear();
    assert_eq!(alice.is_refused_to_connect(&mut world, "192.0.2.9:84"), 508);
    assert_eq!(world.metrics.dropped.of(DropReason::NewPeerRate).value(), 1);
    world.pass(Duration::from_millis(500));
    world.accepted(relayed, "192.0.2.9:91").expect("one more is due");
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn a_side_that_says_more_than_a_limit_lets_through_is_left_unread_until_it_is_paid_off() {
    let (mut world, mut alice, _) = limited(Rates {
        bytes_per_s: 10_000,
        ..Rates::default()
    });
    let connection = alice.is_bound(&mut world, PEER, DATA);
    assert_eq!(world.carries(connection, Way::ToPeer, 9_000), None, "a second's worth");
    let rest = world.carries(connection, Way::ToPeer, 5_000).expect("4000 too many");
    assert!((400..401).contains(&rest.as_millis()), "{rest:?}");
    assert_eq!(world.throttled(connection, Way::ToPeer), Some(rest));
    assert_eq!(
        world.throttled(connection, Way::ToClient),
        None,
        "the other way counts apart"
    );
    assert_eq!(world.metrics.reads_throttled.value(), 1);
    assert_eq!(world.metrics.to_peer_bytes.value(), 14_000, "nothing is lost");
    world.pass(rest - MILLISECOND);
    assert!(world.throttled(connection, Way::ToPeer).is_some());
    world.pass(MILLISECOND);
    assert_eq!(world.throttled(connection, Way::ToPeer), None);
    // From then on at the rate that was set.
    for _ in 0..5 {
        let rest = world.carries(connection, Way::ToPeer, 5_000).expect("nothing was left");
        assert!(rest.as_millis().abs_diff(500) <= 1, "{rest:?}");
        world.pass(rest);
    }
}

#[test]
fn datagrams_get_their_turn_while_tcp_relays_use_up_what_all_allocations_may_relay() {
    let (mut world, mut alice, _) = limited(Rates {
        total_bytes_per_s: 10_000,
        ..Rates::default()
    });
    let mut bob = Client::bob();
    bob.allocates(&mut world);
    bob.binds(&mut world, 0x4000, PEER).granted();
    let connection = alice.is_bound(&mut world, PEER, DATA);
    let rest = world.carries(connection, Way::ToPeer, 14_000).expect("4000 too many");
    assert!((600..601).contains(&rest.as_millis()), "{rest:?}");
    let dropped = bob.sends_channel(&mut world, 0x4000, b"voice");
    assert_eq!(dropped, Err(DropReason::TotalByteRate));
    world.pass(Duration::from_millis(401));
    bob.sends_channel(&mut world, 0x4000, b"voice")
        .expect("something is left");
}

#[test]
fn tcp_relays_that_are_alone_get_all_that_all_allocations_may_relay() {
    let (mut world, mut alice, _) = limited(Rates {
        total_bytes_per_s: 10_000,
        ..Rates::default()
    });
    let connections = [(80, DATA), (81, SocketId(52)), (82, SocketId(53))]
        .map(|(port, stream)| alice.is_bound(&mut world, &format!("192.0.2.9:{port}"), stream));
    let mut resting = [Duration::ZERO; 3];
    for tick in 0..20_000 {
        let now = MILLISECOND * tick;
        for (connection, until) in connections.iter().zip(&mut resting) {
            if *until <= now {
                let rest = world.throttled(*connection, Way::ToPeer);
                let rest = rest.or_else(|| world.carries(*connection, Way::ToPeer, 2_000));
                *until = now + rest.unwrap_or_default();
            }
        }
        world.pass(MILLISECOND);
    }
    let carried = world.metrics.to_peer_bytes.value();
    assert!(
        (205_000..=216_000).contains(&carried),
        "{carried} in 20 seconds and one at once"
    );
}

#[test]
fn connections_of_an_allocation_share_its_limit_and_a_new_one_is_no_way_around_it() {
    let (mut world, mut alice, _) = limited(Rates {
        bytes_per_s: 10_000,
        ..Rates::default()
    });
    let first = alice.is_bound(&mut world, PEER, DATA);
    let rest = world.carries(first, Way::ToClient, 15_000).expect("5000 too many");
    let second = alice.is_bound(&mut world, "192.0.2.9:81", SocketId(52));
    assert_eq!(world.throttled(second, Way::ToClient), Some(rest));
    world.pass(rest);
    assert_eq!(world.throttled(second, Way::ToClient), None);
}

#[test]
fn a_limit_that_is_set_or_lifted_is_heard_of_within_a_second() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_bound(&mut world, PEER, DATA);
    assert_eq!(world.carries(connection, Way::ToPeer, 1 << 20), None);
    let reload = |world: &mut World, bytes_per_s| {
        let mut config = tcp_config();
        config.rates.bytes_per_s = bytes_per_s;
        world.command(Command::Reconfigure(Box::new(config)));
    };
    reload(&mut world, 1_000);
    assert_eq!(
        world.carries(connection, Way::ToPeer, 100_000),
        Some(THROTTLED_MAX),
        "of 99 seconds"
    );
    world.pass(THROTTLED_MAX);
    assert_eq!(world.throttled(connection, Way::ToPeer), Some(THROTTLED_MAX));
    reload(&mut world, 0);
    assert_eq!(world.throttled(connection, Way::ToPeer), None);
    assert_eq!(world.carries(connection, Way::ToPeer, 100_000), None);
}

#[test]
fn a_limit_of_datagrams_is_nothing_to_a_stream_of_bytes() {
    let (mut world, mut alice, _) = limited(Rates {
        packets_per_s: 1,
        ..Rates::default()
    });
    let connection = alice.is_bound(&mut world, PEER, DATA);
    for _ in 0..100 {
        assert_eq!(world.carries(connection, Way::ToPeer, 1_000), None);
    }
}
