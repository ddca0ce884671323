//! Mobility (RFC 8016): an allocation follows its client to another five-tuple.

use std::net::SocketAddr;
use std::time::Duration;

use voex_base::{FiveTuple, SocketId};
use voex_stun::{AttributeType, Message, Method};
use voex_turn::{ClientVerdict, Command, Config, DropReason, EndReason, Event, Output, PortShare};

use crate::world::{Answer, Client, LISTENER, World, address, config};

const PEER: &str = "192.0.2.9:7000";
const CHANNEL: u16 = 0x4001;
const CHANNEL_DATA: &[u8] = b"\x40\x01\x00\x01x";
/// Where alice is after she has moved, and after she has moved again.
const NEW: &str = "198.18.0.7:6100";
const NEWER: &str = "198.18.0.8:6200";
const STREAM: SocketId = SocketId(50);
const NEW_STREAM: SocketId = SocketId(51);

fn mobile_config() -> Config {
    Config {
        mobility: true,
        ..config()
    }
}

fn ticket(answer: &Answer) -> Vec<u8> {
    let ticket = answer.message().mobility_ticket();
    ticket.expect("a ticket").to_vec()
}

fn asks_mobile(client: &mut Client, world: &mut World) -> Answer {
    client.asks_allocation_with(world, &[(AttributeType::MOBILITY_TICKET, b"")])
}

/// A world in which alice has a mobile allocation with a channel to [`PEER`]; gives the relay and the ticket too.
fn allocated() -> (World, Client, SocketId, Vec<u8>) {
    let mut world = World::with(mobile_config());
    let mut alice = Client::alice();
    let answer = asks_mobile(&mut alice, &mut world).granted();
    let relay = world.relay_of(answer.relayed());
    alice.binds(&mut world, CHANNEL, PEER).granted();
    (world, alice, relay, ticket(&answer))
}

/// Alice at another address, that knows a nonce.
fn alice_at(world: &mut World, at: &str) -> Client {
    let mut alice = Client::new(at, "alice", "secret of alice");
    alice.learns_nonce(world);
    alice
}

impl Client {
    fn resumes(&mut self, world: &mut World, ticket: &[u8]) -> Answer {
        self.asks(world, Method::REFRESH, |writer| {
            writer.attribute(AttributeType::MOBILITY_TICKET, ticket)
        })
    }
}

impl World {
    /// Has the peer send something; gives to which client it went.
    fn peer_reaches(&mut self, relay: SocketId) -> FiveTuple {
        let now = self.now();
        self.server
            .handle_peer_datagram(now, relay, address(PEER), b"hello", &mut self.out)
            .unwrap();
        let (socket, client, _) = self.out.sent.remove(0);
        assert!(self.out.sent.is_empty());
        FiveTuple { socket, client }
    }

    fn moves(&mut self) -> Vec<(SocketAddr, SocketId)> {
        let events = std::iter::from_fn(|| self.server.poll_event());
        let moved = events.filter_map(|event| match event {
            Event::Moved { client, path, .. } => Some((client, path)),
            _ => None,
        });
        moved
            .map(|(client, path)| (client, if path.is_stream() { NEW_STREAM } else { LISTENER }))
            .collect()
    }

    /// What other shards are told, as shard, client and whether it is a claim.
    fn claims(&mut self) -> Vec<(u16, SocketAddr, bool)> {
        let mut claims = Vec::new();
        let all = self.server.pass_claims(|shard, client, holds| {
            claims.push((shard, client.client, holds));
            true
        });
        assert!(all && self.of_peers.is_empty());
        claims
    }

    /// Takes what the shard `via` gives here.
    fn takes_from(&mut self, via: u16, from: FiveTuple, datagram: &[u8]) -> ClientVerdict {
        let (now, wall) = (self.now(), self.wall());
        let verdict = self
            .server
            .handle_far_datagram(now, wall, via, from, datagram, &mut self.out);
        self.serve_sockets();
        verdict
    }
}

#[test]
fn an_allocation_follows_its_client_and_is_served_over_the_old_path_until_it_is_heard_on_the_new_one() {
    let (mut world, mut old, relay, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    let answer = new.resumes(&mut world, &first).granted();
    assert_eq!(answer.lifetime_s(), 600);
    assert_ne!(ticket(&answer), first);
    assert_eq!(world.peer_reaches(relay), old.five_tuple);
    assert_eq!(old.sends_channel(&mut world, CHANNEL, b"a").unwrap().relay, relay);
    assert!(world.moves().is_empty());
    let sent = new.sends_channel(&mut world, CHANNEL, b"b").unwrap();
    assert_eq!(
        (sent.relay, sent.peer, &sent.data[..]),
        (relay, address(PEER), &b"b"[..])
    );
    assert_eq!(world.moves(), [(address(NEW), LISTENER)]);
    assert_eq!(world.peer_reaches(relay), new.five_tuple);
    assert_eq!(
        old.sends_channel(&mut world, CHANNEL, b"c"),
        Err(DropReason::NoAllocation)
    );
    assert_eq!(world.metrics.moves_total.value(), 1);
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn a_send_indication_and_a_request_are_heard_as_well_as_channel_data() {
    for how in ["send", "permission", "refresh"] {
        let (mut world, _, relay, first) = allocated();
        let mut new = alice_at(&mut world, NEW);
        new.resumes(&mut world, &first).granted();
        match how {
            "send" => drop(new.sends(&mut world, PEER, b"x").unwrap()),
            "permission" => drop(new.permits(&mut world, PEER).granted()),
            _ => drop(new.refreshes(&mut world, 900).granted()),
        }
        assert_eq!(world.peer_reaches(relay), new.five_tuple, "{how}");
    }
}

#[test]
fn what_cannot_be_relayed_is_not_heard() {
    let (mut world, old, relay, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    new.resumes(&mut world, &first).granted();
    assert_eq!(
        new.sends_channel(&mut world, CHANNEL + 1, b"x"),
        Err(DropReason::NoChannel)
    );
    assert_eq!(world.peer_reaches(relay), old.five_tuple);
}

#[test]
fn each_move_gives_another_ticket_and_ends_the_one_before() {
    let (mut world, _, relay, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    let second = ticket(&new.resumes(&mut world, &first).granted());
    new.sends_channel(&mut world, CHANNEL, b"x").unwrap();
    let mut newer = alice_at(&mut world, NEWER);
    assert_eq!(newer.resumes(&mut world, &first).code(), 400);
    let third = ticket(&newer.resumes(&mut world, &second).granted());
    assert!(third != first && third != second);
    newer.sends_channel(&mut world, CHANNEL, b"x").unwrap();
    assert_eq!(world.peer_reaches(relay), newer.five_tuple);
}

#[test]
fn a_client_whose_answer_was_lost_with_its_path_comes_back_with_the_ticket_it_has() {
    let (mut world, _, relay, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    let lost = ticket(&new.resumes(&mut world, &first).granted());
    let mut newer = alice_at(&mut world, NEWER);
    newer.resumes(&mut world, &first).granted();
    // The path in between is heard no more, and its ticket is worth nothing.
    assert_eq!(
        new.sends_channel(&mut world, CHANNEL, b"x"),
        Err(DropReason::NoAllocation)
    );
    assert_eq!(new.resumes(&mut world, &lost).code(), 400);
    newer.sends_channel(&mut world, CHANNEL, b"x").unwrap();
    assert_eq!(world.peer_reaches(relay), newer.five_tuple);
}

#[test]
fn a_retransmission_gets_the_same_ticket_even_after_the_client_was_heard() {
    let (mut world, _, _, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    let request = new.signed(Method::REFRESH, |writer| {
        writer.attribute(AttributeType::MOBILITY_TICKET, &first)
    });
    let answer = world.ask(new.five_tuple, &request).granted();
    assert_eq!(world.ask(new.five_tuple, &request), answer);
    new.sends_channel(&mut world, CHANNEL, b"x").unwrap();
    assert_eq!(world.ask(new.five_tuple, &request), answer);
    assert_eq!(world.moves().len(), 1);
    // Another request with it is none.
    assert_eq!(new.resumes(&mut world, &first).code(), 400);
}

#[test]
fn a_client_that_lost_the_answer_to_its_move_asks_anew_and_gets_the_same_ticket() {
    let (mut world, _, relay, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    let lost = ticket(&new.resumes(&mut world, &first).granted());
    let again = refresh(&mut new, &first);
    let answer = world.ask(new.five_tuple, &again).granted();
    assert_eq!(ticket(&answer), lost);
    new.sends_channel(&mut world, CHANNEL, b"x").unwrap();
    assert_eq!(world.peer_reaches(relay), new.five_tuple);
    assert_eq!(world.ask(new.five_tuple, &again), answer);
    assert_eq!(new.resumes(&mut world, &first).code(), 400);
    assert_eq!(world.moves().len(), 1);
}

#[test]
fn a_retransmitted_allocate_request_gets_the_same_ticket() {
    let mut world = World::with(mobile_config());
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let request = alice.signed(Method::ALLOCATE, |writer| {
        writer
            .requested_transport_udp()
            .attribute(AttributeType::MOBILITY_TICKET, b"")
    });
    let answer = world.ask(alice.five_tuple, &request).granted();
    assert_eq!(world.ask(alice.five_tuple, &request), answer);
}

#[test]
fn a_client_that_has_not_moved_is_refused_with_400() {
    let (mut world, mut alice, _, first) = allocated();
    assert_eq!(alice.resumes(&mut world, &first).code(), 400);
    let mut new = alice_at(&mut world, NEW);
    let second = ticket(&new.resumes(&mut world, &first).granted());
    assert_eq!(new.resumes(&mut world, &second).code(), 400);
    assert_eq!(alice.resumes(&mut world, &second).code(), 400);
}

#[test]
fn who_asks_for_no_ticket_gets_none_and_stays() {
    let mut world = World::with(mobile_config());
    let mut alice = Client::alice();
    let answer = alice.asks_allocation(&mut world, |writer| writer).granted();
    assert_eq!(answer.message().mobility_ticket(), None);
    let answer = alice.refreshes(&mut world, 600).granted();
    assert_eq!(answer.message().mobility_ticket(), None);
}

#[test]
fn mobility_is_off_by_default_and_refused_with_405() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert_eq!(asks_mobile(&mut alice, &mut world).code(), 405);
    assert!(world.relays.is_empty());
    alice.allocates(&mut world);
    let mut new = alice_at(&mut world, NEW);
    assert_eq!(new.resumes(&mut world, &[7; 32]).code(), 405);
}

#[test]
fn mobility_that_is_switched_off_holds_clients_where_they_are() {
    let (mut world, mut alice, relay, first) = allocated();
    world.command(Command::Reconfigure(Box::new(config())));
    let mut new = alice_at(&mut world, NEW);
    assert_eq!(new.resumes(&mut world, &first).code(), 405);
    alice.refreshes(&mut world, 600).granted();
    assert_eq!(world.peer_reaches(relay), alice.five_tuple);
}

#[test]
fn a_ticket_of_the_clients_own_making_is_refused_with_400() {
    let (mut world, mut alice, _, first) = allocated();
    let own = [(AttributeType::MOBILITY_TICKET, &b"mine"[..])];
    let mut bob = Client::bob();
    assert_eq!(bob.asks_allocation_with(&mut world, &own).code(), 400);
    let mut new = alice_at(&mut world, NEW);
    let mut altered = first.clone();
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    for forged in [&altered[..], &first[..31], b"", &[b'A'; 32]] {
        assert_eq!(new.resumes(&mut world, forged).code(), 400, "{forged:?}");
        assert_eq!(alice.resumes(&mut world, forged).code(), 400, "{forged:?}");
    }
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn a_ticket_of_an_allocation_that_is_over_is_refused_with_437() {
    let (mut world, mut alice, _, first) = allocated();
    alice.refreshes(&mut world, 0).granted();
    // Somebody else's has its place in the table now.
    Client::bob().allocates(&mut world);
    let mut new = alice_at(&mut world, NEW);
    assert_eq!(new.resumes(&mut world, &first).code(), 437);
}

#[test]
fn nobody_moves_an_allocation_of_another_user() {
    let (mut world, alice, relay, first) = allocated();
    let mut bob = Client::bob();
    bob.learns_nonce(&mut world);
    assert_eq!(bob.resumes(&mut world, &first).code(), 441);
    let mut thief = Client::new(NEW, "alice", "guess");
    thief.learns_nonce(&mut world);
    assert_eq!(thief.resumes(&mut world, &first).code(), 401);
    assert_eq!(world.peer_reaches(relay), alice.five_tuple);
}

#[test]
fn a_five_tuple_that_has_an_allocation_takes_no_other() {
    let (mut world, _, _, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    new.allocates(&mut world);
    assert_eq!(new.resumes(&mut world, &first).code(), 437);
    assert_eq!(world.server.allocations(), 2);
}

#[test]
fn an_allocation_is_ended_from_another_path() {
    let (mut world, mut alice, _, first) = allocated();
    let mut new = alice_at(&mut world, NEW);
    let end = new.signed(Method::REFRESH, |writer| {
        writer.lifetime_s(0).attribute(AttributeType::MOBILITY_TICKET, &first)
    });
    assert_eq!(world.ask(new.five_tuple, &end).granted().lifetime_s(), 0);
    assert!(world.relays.is_empty());
    assert_eq!(alice.refreshes(&mut world, 600).code(), 437);
}

#[test]
fn a_flood_of_moves_leaves_one_allocation_with_two_paths_and_its_place_in_the_quotas() {
    let mut config = mobile_config();
    config.allocations_per_user_max = Some(1);
    let mut world = World::with(config);
    let mut alice = Client::alice();
    let mut ticketed = ticket(&asks_mobile(&mut alice, &mut world).granted());
    for port in 1..=500 {
        let mut new = alice_at(&mut world, &format!("198.18.0.7:{port}"));
        ticketed = ticket(&new.resumes(&mut world, &ticketed).granted());
        let mut more = alice_at(&mut world, &format!("198.18.0.8:{port}"));
        assert_eq!(more.asks_allocation(&mut world, |writer| writer).code(), 486);
    }
    assert_eq!((world.server.allocations(), world.relays.len()), (1, 1));
    for port in 1..500 {
        let gone = FiveTuple {
            socket: LISTENER,
            client: address(&format!("198.18.0.7:{port}")),
        };
        assert!(!world.server.serves(&gone), "{port}");
    }
    world.pass(Duration::from_secs(601));
    assert!(world.relays.is_empty() && !world.server.serves(&alice.five_tuple));
    let last = alice_at(&mut world, "198.18.0.7:500");
    assert!(!world.server.serves(&last.five_tuple));
    alice_at(&mut world, NEW).allocates(&mut world);
}

/// A world in which alice has a mobile allocation over a stream.
fn allocated_over_stream() -> (World, Client, SocketId, Vec<u8>) {
    let mut world = World::with(mobile_config());
    let mut alice = Client::alice().over_stream(&mut world, STREAM);
    let answer = asks_mobile(&mut alice, &mut world).granted();
    let relay = world.relay_of(answer.relayed());
    alice.binds(&mut world, CHANNEL, PEER).granted();
    (world, alice, relay, ticket(&answer))
}

#[test]
fn an_allocation_waits_for_a_client_whose_stream_is_gone() {
    let (mut world, alice, relay, first) = allocated_over_stream();
    world.server.close_client(alice.five_tuple);
    assert_eq!((world.server.allocations(), world.relays.len()), (1, 1));
    assert_eq!(world.peer_sends(relay, PEER, b"x"), Err(DropReason::ClientAway));
    let mut new = Client::new(NEW, "alice", "secret of alice").over_stream(&mut world, NEW_STREAM);
    new.learns_nonce(&mut world);
    new.resumes(&mut world, &first).granted();
    // There is no other path to serve it over.
    assert_eq!(world.moves(), [(address(NEW), NEW_STREAM)]);
    assert_eq!(world.peer_reaches(relay), new.five_tuple);
}

#[test]
fn an_allocation_whose_client_does_not_come_back_ends_in_time() {
    let (mut world, alice, ..) = allocated_over_stream();
    world.server.close_client(alice.five_tuple);
    world.pass(Duration::from_secs(600));
    assert!(world.relays.is_empty());
    let ended = std::iter::from_fn(|| world.server.poll_event()).last();
    assert!(matches!(
        ended,
        Some(Event::Ended {
            reason: EndReason::Expired,
            ..
        })
    ));
}

#[test]
fn a_stream_that_closes_before_its_client_has_a_ticket_leaves_nothing_behind() {
    let mut world = World::with(mobile_config());
    let mut alice = Client::alice().over_stream(&mut world, STREAM);
    alice.learns_nonce(&mut world);
    world.binds_by_hand = true;
    let request = alice.signed(Method::ALLOCATE, |writer| {
        writer
            .requested_transport_udp()
            .attribute(AttributeType::MOBILITY_TICKET, b"")
    });
    assert_eq!(world.deliver(alice.five_tuple, &request), ClientVerdict::Handled);
    assert_eq!(world.server.allocations(), 1);
    world.server.close_client(alice.five_tuple);
    assert_eq!(world.server.allocations(), 0);
    world.serve_sockets();
    assert!(world.relays.is_empty() && world.out.sent.is_empty());
}

#[test]
fn a_stream_that_closes_ends_what_has_no_ticket_or_may_not_move_any_more() {
    let (mut world, alice, ..) = allocated_over_stream();
    world.command(Command::Reconfigure(Box::new(config())));
    world.server.close_client(alice.five_tuple);
    world.serve_sockets();
    assert!(world.relays.is_empty());
}

#[test]
fn closing_the_old_stream_is_to_say_that_the_new_one_serves() {
    let (mut world, alice, relay, first) = allocated_over_stream();
    let mut new = Client::new(NEW, "alice", "secret of alice").over_stream(&mut world, NEW_STREAM);
    new.learns_nonce(&mut world);
    new.resumes(&mut world, &first).granted();
    assert_eq!(world.peer_reaches(relay), alice.five_tuple);
    world.server.close_client(alice.five_tuple);
    assert_eq!(world.peer_reaches(relay), new.five_tuple);
}

#[test]
fn closing_the_new_stream_before_it_was_heard_leaves_the_old_one() {
    let (mut world, alice, relay, first) = allocated_over_stream();
    let mut new = Client::new(NEW, "alice", "secret of alice").over_stream(&mut world, NEW_STREAM);
    new.learns_nonce(&mut world);
    new.resumes(&mut world, &first).granted();
    world.server.close_client(new.five_tuple);
    assert_eq!(world.peer_reaches(relay), alice.five_tuple);
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn a_tcp_relay_moves_to_another_stream_only() {
    let mut config = mobile_config();
    config.tcp_relays = true;
    let mut world = World::with(config);
    let mut alice = Client::alice().over_stream(&mut world, STREAM);
    alice.learns_nonce(&mut world);
    let answer = alice.asks(&mut world, Method::ALLOCATE, |writer| {
        writer
            .requested_transport_tcp()
            .attribute(AttributeType::MOBILITY_TICKET, b"")
    });
    let first = ticket(&answer.granted());
    let mut over_udp = alice_at(&mut world, NEW);
    assert_eq!(over_udp.resumes(&mut world, &first).code(), 400);
    let mut new = Client::new(NEW, "alice", "secret of alice").over_stream(&mut world, NEW_STREAM);
    new.learns_nonce(&mut world);
    new.resumes(&mut world, &first).granted();
}

// Between shards.

/// The shard with alice's allocation, and another of the same process.
fn two_shards() -> (World, World, Client, SocketId, Vec<u8>) {
    let shard = |index| {
        let mut config = mobile_config();
        config.shard = index;
        config.ports = PortShare::new(49_152..=65_535, index, 2);
        World::with(config)
    };
    let (mut home, away) = (shard(0), shard(1));
    let mut alice = Client::alice();
    let answer = asks_mobile(&mut alice, &mut home).granted();
    let relay = home.relay_of(answer.relayed());
    alice.binds(&mut home, CHANNEL, PEER).granted();
    (home, away, alice, relay, ticket(&answer))
}

/// Delivers a datagram to a shard that gives it on, and to the one it is given to.
fn given_on(away: &mut World, home: &mut World, from: FiveTuple, datagram: &[u8]) -> ClientVerdict {
    assert_eq!(away.deliver(from, datagram), ClientVerdict::Elsewhere { shard: 0 });
    assert!(away.out.sent.is_empty());
    home.takes_from(1, from, datagram)
}

fn refresh(client: &mut Client, ticket: &[u8]) -> Vec<u8> {
    client.signed(Method::REFRESH, |writer| {
        writer.attribute(AttributeType::MOBILITY_TICKET, ticket)
    })
}

#[test]
fn a_client_that_moves_to_a_listener_of_another_shard_is_claimed_there_and_served_from_here() {
    let (mut home, mut away, _, relay, first) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    let request = refresh(&mut new, &first);
    let verdict = given_on(&mut away, &mut home, new.five_tuple, &request);
    assert_eq!(verdict, ClientVerdict::Handled);
    home.only_sent(new.five_tuple).granted();
    assert_eq!(home.claims(), [(1, address(NEW), true)]);
    // Data that overtakes the claim is given on as well.
    let data = [&[0x40, 1, 0, 1][..], b"w"].concat();
    let verdict = given_on(&mut away, &mut home, new.five_tuple, &data);
    assert!(matches!(verdict, ClientVerdict::ToPeer { .. }));
    away.server.handle_claim(new.five_tuple, 0, true);
    assert_eq!(away.metrics.far_clients.value(), 1);
    let data = [&[0x40, 1, 0, 1][..], b"x"].concat();
    let verdict = given_on(&mut away, &mut home, new.five_tuple, &data);
    assert!(matches!(verdict, ClientVerdict::ToPeer { relay: by, .. } if by == relay));
    assert_eq!(home.peer_reaches(relay), new.five_tuple);
    // It ends the allocation from there.
    let request = new.signed(Method::REFRESH, |writer| writer.lifetime_s(0));
    given_on(&mut away, &mut home, new.five_tuple, &request);
    home.only_sent(new.five_tuple).granted();
    assert_eq!(home.claims(), [(1, address(NEW), false)]);
    away.server.handle_claim(new.five_tuple, 0, false);
    assert_eq!(away.metrics.far_clients.value(), 0);
    assert_eq!(
        new.sends_channel(&mut away, CHANNEL, b"x"),
        Err(DropReason::NoAllocation)
    );
}

#[test]
fn moving_on_and_the_end_release_what_was_claimed() {
    let (mut home, mut away, _, _, first) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    let request = refresh(&mut new, &first);
    given_on(&mut away, &mut home, new.five_tuple, &request);
    let second = ticket(&home.only_sent(new.five_tuple).granted());
    assert_eq!(home.claims(), [(1, address(NEW), true)]);
    let mut newer = alice_at(&mut away, NEWER);
    let request = refresh(&mut newer, &second);
    given_on(&mut away, &mut home, newer.five_tuple, &request);
    home.only_sent(newer.five_tuple).granted();
    assert_eq!(home.claims(), [(1, address(NEW), false), (1, address(NEWER), true)]);
    home.pass(Duration::from_secs(600));
    assert_eq!(home.claims(), [(1, address(NEWER), false)]);
}

#[test]
fn a_stranger_with_a_ticket_is_challenged_where_it_is_heard_and_given_on_only_with_a_nonce() {
    let (_, mut away, _, _, first) = two_shards();
    let mut new = Client::new(NEW, "alice", "secret of alice");
    let unsigned = new.unsigned(Method::REFRESH, |writer| {
        writer.attribute(AttributeType::MOBILITY_TICKET, &first)
    });
    assert_eq!(away.ask(new.five_tuple, &unsigned).code(), 401);
    new.nonce = b"guessed".to_vec();
    let request = refresh(&mut new, &first);
    assert_eq!(away.ask(new.five_tuple, &request).code(), 438);
}

#[test]
fn nothing_but_a_move_is_taken_from_another_shard_for_a_client_that_is_not_ours() {
    let (mut home, mut away, ..) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    let allocate = new.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    let binding = new.unsigned(Method::BINDING, |writer| writer);
    for datagram in [&allocate[..], &binding, b"\x40\x01\x00\x00", b"junk"] {
        let verdict = home.takes_from(1, new.five_tuple, datagram);
        assert_eq!(verdict, ClientVerdict::Drop(DropReason::NoAllocation));
    }
    assert!(home.out.sent.is_empty());
    // The other shard hears, once, that it is its own.
    assert_eq!(home.claims(), [(1, address(NEW), false)]);
    assert_eq!(home.claims(), []);
}

#[test]
fn a_flood_behind_a_ticket_that_is_worth_nothing_goes_to_the_other_shard_only_so_far() {
    let (_, mut away, _, _, first) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    let request = refresh(&mut new, &first);
    let elsewhere = ClientVerdict::Elsewhere { shard: 0 };
    assert_eq!(away.deliver(new.five_tuple, &request), elsewhere);
    let given_on = (0..10_000).filter(|_| away.deliver(new.five_tuple, CHANNEL_DATA) == elsewhere);
    assert_eq!(given_on.count(), 32);
    assert_eq!(away.metrics.dropped.of(DropReason::Unclaimed).value(), 9_968);
    // What is claimed is given on without end.
    away.server.handle_claim(new.five_tuple, 0, true);
    let given_on = (0..1_000).filter(|_| away.deliver(new.five_tuple, CHANNEL_DATA) == elsewhere);
    assert_eq!(given_on.count(), 1_000);
}

#[test]
fn a_move_of_which_nothing_is_heard_for_six_seconds_leaves_its_sender_where_it_is_heard() {
    let (_, mut away, _, _, first) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    let request = refresh(&mut new, &first);
    let elsewhere = ClientVerdict::Elsewhere { shard: 0 };
    assert_eq!(away.deliver(new.five_tuple, &request), elsewhere);
    away.pass(Duration::from_millis(5_999));
    assert_eq!(away.deliver(new.five_tuple, CHANNEL_DATA), elsewhere);
    away.pass(Duration::from_millis(1));
    assert_eq!(
        away.deliver(new.five_tuple, CHANNEL_DATA),
        ClientVerdict::Drop(DropReason::NoAllocation)
    );
    // It may as well try again.
    assert_eq!(away.deliver(new.five_tuple, &request), elsewhere);
    assert_eq!(away.metrics.far_clients.value(), 1);
    away.pass(Duration::from_secs(6));
    new.allocates(&mut away);
}

#[test]
fn what_waits_for_other_shards_is_bounded_and_holds_up_nothing_else() {
    let (mut home, mut away, _, _, first) = two_shards();
    let from = |n: u16| FiveTuple {
        socket: LISTENER,
        client: SocketAddr::from(([198, 18, 1, 1], n)),
    };
    for n in (1..=3_000).chain(1..=1_024) {
        home.takes_from(1, from(n), CHANNEL_DATA);
    }
    assert_eq!(home.metrics.claims_withheld.value(), 3_000);
    // Relays are bound as ever.
    home.binds_by_hand = true;
    let mut bob = Client::bob();
    bob.learns_nonce(&mut home);
    let allocate = bob.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    home.deliver(bob.five_tuple, &allocate);
    assert!(matches!(home.server.poll_output(), Some(Output::BindRelay { .. })));
    // A move by way of that shard is refused rather than not claimed.
    let mut new = alice_at(&mut away, NEW);
    let request = refresh(&mut new, &first);
    assert_eq!(home.takes_from(1, new.five_tuple, &request), ClientVerdict::Handled);
    assert_eq!(home.only_sent(new.five_tuple).code(), 508);
    // One shard does not wait for another.
    home.takes_from(2, from(1), CHANNEL_DATA);
    let mut passed = Vec::new();
    let all = home.server.pass_claims(|shard, client, holds| {
        passed.push((shard, client, holds));
        shard == 2
    });
    assert!(!all);
    assert_eq!(passed, [(1, from(1), false), (2, from(1), false)]);
    assert_eq!(home.claims().len(), 1_024);
    home.takes_from(1, new.five_tuple, &request);
    home.only_sent(new.five_tuple).granted();
    assert_eq!(home.claims(), [(1, address(NEW), true)]);
}

#[test]
fn of_a_client_that_moves_on_before_it_could_be_told_only_the_end_is_told() {
    let (mut home, mut away, _, _, first) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    let request = refresh(&mut new, &first);
    given_on(&mut away, &mut home, new.five_tuple, &request);
    home.only_sent(new.five_tuple).granted();
    assert!(!home.server.pass_claims(|_, _, _| false));
    home.pass(Duration::from_secs(600));
    assert_eq!(home.claims(), [(1, address(NEW), false)]);
}

#[test]
fn a_move_that_is_refused_leaves_its_sender_where_it_is_heard() {
    let (mut home, mut away, mut old, _, first) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    old.refreshes(&mut home, 0).granted();
    let request = refresh(&mut new, &first);
    given_on(&mut away, &mut home, new.five_tuple, &request);
    assert_eq!(home.only_sent(new.five_tuple).code(), 437);
    assert_eq!(away.metrics.far_clients.value(), 1);
    assert_eq!(home.claims(), [(1, address(NEW), false)]);
    away.server.handle_claim(new.five_tuple, 0, false);
    new.allocates(&mut away);
}

#[test]
fn moves_of_which_nothing_is_heard_are_remembered_only_so_many() {
    let (_, mut away, _, _, first) = two_shards();
    for port in 1..=2_000 {
        let mut new = alice_at(&mut away, &format!("198.18.{}.7:{port}", port % 200));
        let request = refresh(&mut new, &first);
        assert_eq!(
            away.deliver(new.five_tuple, &request),
            ClientVerdict::Elsewhere { shard: 0 }
        );
        away.pass(Duration::from_millis(1));
    }
    assert_eq!(away.metrics.far_clients.value(), 1_024);
}

#[test]
fn what_was_given_on_once_is_given_on_no_further() {
    let (_, mut away, _, _, first) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    let request = refresh(&mut new, &first);
    let verdict = away.takes_from(0, new.five_tuple, &request);
    assert_eq!(verdict, ClientVerdict::Drop(DropReason::NoAllocation));
}

#[test]
fn an_allocation_here_goes_before_a_claim_from_elsewhere() {
    let (_, mut away, ..) = two_shards();
    let mut new = alice_at(&mut away, NEW);
    away.server.handle_claim(new.five_tuple, 0, true);
    let allocate = new.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    assert_eq!(
        away.deliver(new.five_tuple, &allocate),
        ClientVerdict::Elsewhere { shard: 0 }
    );
    away.server.handle_claim(new.five_tuple, 1, false);
    assert_eq!(away.metrics.far_clients.value(), 1, "only who claimed it releases it");
    away.server.handle_claim(new.five_tuple, 0, false);
    new.allocates(&mut away);
    away.server.handle_claim(new.five_tuple, 0, true);
    new.permits(&mut away, PEER).granted();
}

#[test]
fn a_stream_moves_to_the_shard_that_has_its_ticket() {
    let (_, mut away, _, _, first) = two_shards();
    let mut new = Client::new(NEW, "alice", "secret of alice").over_stream(&mut away, NEW_STREAM);
    new.learns_nonce(&mut away);
    let request = refresh(&mut new, &first);
    assert_eq!(away.deliver(new.five_tuple, &request), ClientVerdict::Handled);
    assert!(Message::parse(&request).is_ok() && away.out.sent.is_empty());
    let moved = Output::MoveClient {
        client: new.five_tuple,
        shard: 0,
    };
    assert_eq!(away.of_peers, [moved]);
}
