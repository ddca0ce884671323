//! TCP relays (RFC 6062): connections made and accepted, and the streams that are bound to them.

use std::net::SocketAddr;
use std::time::Duration;

use voex_base::{FiveTuple, SocketId};
use voex_stun::{AddressFamily, AttributeType, Class, Message, Method};
use voex_turn::{
    ClientVerdict, Command, Config, ConnectionId, Departure, DropReason, EndReason, Event, Flow, Output, PeerRules,
    PortShare, Refusal, Selection, Way,
};

use crate::world::{Answer, Client, World, address, config};

pub(crate) const CONTROL: SocketId = SocketId(50);
pub(crate) const DATA: SocketId = SocketId(51);
pub(crate) const PEER: &str = "192.0.2.9:80";

pub(crate) fn tcp_config() -> Config {
    Config {
        tcp_relays: true,
        ..config()
    }
}

/// A world in which alice has a TCP relay.
pub(crate) fn allocated() -> (World, Client, SocketAddr) {
    let mut world = World::with(tcp_config());
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    let relayed = asks_tcp(&mut alice, &mut world).granted().relayed();
    (world, alice, relayed)
}

pub(crate) fn asks_tcp(client: &mut Client, world: &mut World) -> Answer {
    client.asks(world, Method::ALLOCATE, |writer| writer.requested_transport_tcp())
}

impl World {
    fn next_of_peers(&mut self) -> Output {
        assert!(!self.of_peers.is_empty(), "something is asked of connections");
        self.of_peers.remove(0)
    }

    /// Gives the connection that is being made.
    fn connecting(&mut self) -> (ConnectionId, SocketId, SocketAddr) {
        match self.next_of_peers() {
            Output::ConnectPeer {
                connection,
                relay,
                peer,
            } => (connection, relay, peer),
            other => panic!("{other:?}"),
        }
    }

    fn connected(&mut self, connection: ConnectionId, stands: bool) {
        let now = self.now();
        self.server
            .handle_peer_connected(now, connection, stands, &mut self.out);
        self.serve_sockets();
    }

    pub(crate) fn accepted(&mut self, relayed: SocketAddr, peer: &str) -> Result<ConnectionId, DropReason> {
        let (now, relay) = (self.now(), self.relay_of(relayed));
        self.server
            .handle_peer_accepted(now, relay, address(peer), &mut self.out)
    }

    /// Carries bytes one way; gives how long nothing more is to be read.
    pub(crate) fn carries(&mut self, connection: ConnectionId, way: Way, bytes: usize) -> Option<Duration> {
        let now = self.now();
        let until = self.server.handle_carried(now, connection, way, bytes);
        until.map(|until| until - now)
    }

    /// Tells how long nothing is to be read that goes one way.
    pub(crate) fn throttled(&mut self, connection: ConnectionId, way: Way) -> Option<Duration> {
        let now = self.now();
        let until = self.server.throttled_until(now, connection, way);
        until.map(|until| until - now)
    }

    pub(crate) fn connections(&self) -> (i64, i64) {
        (
            self.metrics.connections.value(),
            self.metrics.connections_waiting.value(),
        )
    }
}

impl Client {
    fn connects(&mut self, world: &mut World, peer: &str) -> Vec<u8> {
        let request = self.signed(Method::CONNECT, |writer| writer.xor_peer_address(address(peer)));
        assert_eq!(world.deliver(self.five_tuple, &request), ClientVerdict::Handled);
        request
    }

    pub(crate) fn is_refused_to_connect(&mut self, world: &mut World, peer: &str) -> u16 {
        let code = self
            .asks(world, Method::CONNECT, |writer| writer.xor_peer_address(address(peer)))
            .code();
        assert!(world.of_peers.is_empty(), "nothing is connected");
        code
    }

    /// Makes a connection with a peer that answers; gives its id as the client was told.
    pub(crate) fn is_connected(&mut self, world: &mut World, peer: &str) -> ConnectionId {
        self.connects(world, peer);
        let (connection, ..) = world.connecting();
        world.connected(connection, true);
        let answer = world.only_sent(self.five_tuple).granted();
        assert_eq!(answer.message().connection_id(), Ok(Some(connection.0)));
        connection
    }

    /// Makes a connection with a peer and binds a stream to it.
    pub(crate) fn is_bound(&mut self, world: &mut World, peer: &str, stream: SocketId) -> ConnectionId {
        let connection = self.is_connected(world, peer);
        let mut data = data_connection(world, stream);
        data.binds_connection(world, connection).granted();
        assert!(matches!(world.next_of_peers(), Output::Bind { .. }));
        connection
    }

    fn binds_connection(&mut self, world: &mut World, connection: ConnectionId) -> Answer {
        self.asks(world, Method::CONNECTION_BIND, |writer| {
            writer.connection_id(connection.0)
        })
    }
}

/// A data connection of alice's on another port, that knows a nonce.
fn data_connection(world: &mut World, stream: SocketId) -> Client {
    let mut data = Client::new("203.0.113.7:6001", "alice", "secret of alice").over_stream(world, stream);
    data.learns_nonce(world);
    data
}

#[test]
fn a_client_connects_to_a_peer_and_its_data_connection_is_bound_to_that() {
    let (mut world, mut alice, relayed) = allocated();
    let relay = world.relay_of(relayed);
    alice.connects(&mut world, PEER);
    assert!(world.out.sent.is_empty(), "the answer waits for the peer");
    let (connection, from, to) = world.connecting();
    assert_eq!((from, to), (relay, address(PEER)));
    assert_eq!(world.connections(), (1, 1));

    world.pass(Duration::from_secs(29));
    world.connected(connection, true);
    let answer = world.only_sent(alice.five_tuple).granted();
    assert_eq!(answer.message().method(), Method::CONNECT);
    assert_eq!(answer.message().connection_id(), Ok(Some(connection.0)));

    let mut data = data_connection(&mut world, DATA);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.server.departure(DATA), None);
    let bind = data.signed(Method::CONNECTION_BIND, |writer| writer.connection_id(connection.0));
    let (now, wall) = (world.now(), world.wall());
    let verdict = world
        .server
        .handle_client_datagram(now, wall, data.five_tuple, &bind, &mut world.out);
    assert_eq!(verdict, ClientVerdict::Handled);
    assert_eq!(world.server.departure(DATA), Some(Departure::Bound));
    assert_eq!(world.server.departure(CONTROL), None);
    world.only_sent(data.five_tuple).granted();
    world.serve_sockets();
    let client = data.five_tuple;
    assert_eq!(world.next_of_peers(), Output::Bind { connection, client });
    assert_eq!(world.connections(), (1, 0));
    assert!(world.server.serves(&client));
    assert_eq!(world.metrics.connections_total.value(), 1);

    world.pass(Duration::from_secs(500));
    assert!(
        world.of_peers.is_empty(),
        "what is bound stays for as long as its allocation"
    );
    world.pass(Duration::from_secs(100));
    assert_eq!(world.next_of_peers(), Output::ClosePeer(connection));
    assert_eq!(world.connections(), (0, 0));
    assert!(!world.server.serves(&client));
    assert!(world.relays.is_empty());
}

#[test]
fn a_peer_that_has_a_permission_comes_in_and_the_client_is_told() {
    let (mut world, mut alice, relayed) = allocated();
    alice.permits(&mut world, "192.0.2.9:0");
    let connection = world.accepted(relayed, PEER).unwrap();
    let told = world.only_sent(alice.five_tuple);
    let message = told.message();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::CONNECTION_ATTEMPT)
    );
    assert_eq!(message.xor_peer_address(), Ok(Some(address(PEER))));
    assert_eq!(message.connection_id(), Ok(Some(connection.0)));
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, connection).granted();
    let client = data.five_tuple;
    assert_eq!(world.next_of_peers(), Output::Bind { connection, client });
}

#[test]
fn a_peer_without_a_permission_is_turned_away_and_nobody_is_told() {
    let (mut world, mut alice, relayed) = allocated();
    assert_eq!(world.accepted(relayed, PEER), Err(DropReason::NoPermission));
    alice.permits(&mut world, "192.0.2.10:0");
    assert_eq!(world.accepted(relayed, PEER), Err(DropReason::NoPermission));
    assert!(world.out.sent.is_empty());
    assert_eq!(world.metrics.dropped.of(DropReason::NoPermission).value(), 2);
    assert_eq!(world.connections(), (0, 0));
}

#[test]
fn a_permission_that_ended_lets_no_peer_in() {
    let (mut world, mut alice, relayed) = allocated();
    alice.permits(&mut world, PEER);
    world.pass(Duration::from_secs(300));
    assert_eq!(world.accepted(relayed, PEER), Err(DropReason::NoPermission));
}

#[test]
fn tcp_relays_are_off_by_default() {
    let mut world = World::new();
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    assert_eq!(asks_tcp(&mut alice, &mut world).code(), 442);
    assert!(world.relays.is_empty());
}

#[test]
fn a_tcp_relay_needs_a_stream() {
    let mut world = World::with(tcp_config());
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    assert_eq!(asks_tcp(&mut alice, &mut world).code(), 400);
    assert!(world.relays.is_empty());
}

#[test]
fn what_only_udp_relays_have_is_refused_with_400() {
    let mut world = World::with(tcp_config());
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    for (kind, value) in [
        (AttributeType::EVEN_PORT, &[0][..]),
        (AttributeType::RESERVATION_TOKEN, &[7; 8]),
        (AttributeType::DONT_FRAGMENT, &[]),
    ] {
        let answer = alice.asks(&mut world, Method::ALLOCATE, |writer| {
            writer.requested_transport_tcp().attribute(kind, value)
        });
        assert_eq!(answer.code(), 400, "{kind:?}");
    }
    assert!(world.relays.is_empty());
}

#[test]
fn a_tcp_relay_may_be_of_ipv6() {
    let mut world = World::with(tcp_config());
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    let answer = alice.asks(&mut world, Method::ALLOCATE, |writer| {
        writer
            .requested_transport_tcp()
            .requested_address_family(AddressFamily::V6)
    });
    assert!(answer.granted().relayed().is_ipv6());
    assert_eq!(alice.is_refused_to_connect(&mut world, PEER), 443);
    alice.is_connected(&mut world, "[2001:db8::9]:80");
}

#[test]
fn of_two_families_each_has_a_relay_and_ends_with_its_connections() {
    let mut world = World::with(tcp_config());
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    let answer = alice.asks(&mut world, Method::ALLOCATE, |writer| {
        writer
            .requested_transport_tcp()
            .additional_address_family(AddressFamily::V6)
    });
    let relayed = answer.granted().all_relayed();
    alice.permits(&mut world, "[2001:db8::8]:0");
    let accepted = world.accepted(relayed[1], "[2001:db8::8]:90").unwrap();
    world.only_sent(alice.five_tuple);
    let kept = alice.is_connected(&mut world, PEER);
    let made = alice.is_connected(&mut world, "[2001:db8::9]:80");
    alice
        .asks(&mut world, Method::REFRESH, |writer| {
            writer.lifetime_s(0).requested_address_family(AddressFamily::V6)
        })
        .granted();
    let closed = std::mem::take(&mut world.of_peers);
    assert_eq!(closed.len(), 2);
    assert!(closed.contains(&Output::ClosePeer(accepted)) && closed.contains(&Output::ClosePeer(made)));
    assert_eq!((world.connections(), world.relays.len()), ((1, 1), 1));
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, kept).granted();
}

#[test]
fn connecting_needs_a_tcp_allocation_on_the_same_stream() {
    let mut world = World::with(tcp_config());
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    assert_eq!(alice.is_refused_to_connect(&mut world, PEER), 437);
    alice.allocates(&mut world);
    assert_eq!(
        alice.is_refused_to_connect(&mut world, PEER),
        437,
        "its relay is of UDP"
    );
}

#[test]
fn connecting_needs_a_peer_and_the_owner_of_the_allocation() {
    let (mut world, mut alice, _) = allocated();
    assert_eq!(alice.asks(&mut world, Method::CONNECT, |writer| writer).code(), 400);
    let mut bob = Client::bob();
    bob.five_tuple = alice.five_tuple;
    bob.nonce = alice.nonce.clone();
    assert_eq!(bob.is_refused_to_connect(&mut world, PEER), 441);
}

#[test]
fn a_peer_that_is_closed_to_relays_gets_no_connection_in_any_disguise() {
    let mut config = tcp_config();
    config.peers = PeerRules {
        deny: vec!["192.0.2.128/25".parse().unwrap()],
        own_sockets: vec![address("192.0.2.1:6379")],
        ..PeerRules::default()
    };
    let mut world = World::with(config);
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    asks_tcp(&mut alice, &mut world).granted();
    for closed in [
        "127.0.0.1:80",
        "169.254.169.254:80",
        "0.0.0.0:80",
        "192.0.2.200:80",
        "192.0.2.1:6379",
        "192.0.2.9:0",
        "[::ffff:127.0.0.1]:80",
        "[64:ff9b::7f00:1]:80",
        "[2002:7f00:1::]:80",
    ] {
        assert_eq!(alice.is_refused_to_connect(&mut world, closed), 403, "{closed}");
    }
    assert_eq!(alice.is_refused_to_connect(&mut world, "[::ffff:192.0.2.9]:80"), 443);
    assert_eq!(world.connections(), (0, 0));
}

#[test]
fn a_second_connection_with_a_peer_is_refused_with_446_until_the_first_is_gone() {
    let (mut world, mut alice, _) = allocated();
    alice.connects(&mut world, PEER);
    let (connection, ..) = world.connecting();
    assert_eq!(alice.is_refused_to_connect(&mut world, PEER), 446);
    world.connected(connection, true);
    world.only_sent(alice.five_tuple).granted();
    assert_eq!(alice.is_refused_to_connect(&mut world, PEER), 446);
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, connection).granted();
    world.next_of_peers();
    assert_eq!(alice.is_refused_to_connect(&mut world, PEER), 446);

    world.server.close_client(data.five_tuple);
    world.serve_sockets();
    assert_eq!(world.next_of_peers(), Output::ClosePeer(connection));
    assert_ne!(alice.is_connected(&mut world, PEER), connection);
}

#[test]
fn a_peer_on_another_port_is_another_peer() {
    let (mut world, mut alice, _) = allocated();
    alice.is_connected(&mut world, PEER);
    alice.is_connected(&mut world, "192.0.2.9:81");
    assert_eq!(world.connections(), (2, 2));
}

#[test]
fn a_peer_that_refuses_or_keeps_silent_for_half_a_minute_is_answered_with_447() {
    let (mut world, mut alice, _) = allocated();
    let request = alice.connects(&mut world, PEER);
    let (connection, ..) = world.connecting();
    world.connected(connection, false);
    let answer = world.only_sent(alice.five_tuple);
    assert_eq!(answer.code(), 447);
    assert_eq!(
        answer.message().transaction_id(),
        Message::parse(&request).unwrap().transaction_id()
    );
    assert!(world.of_peers.is_empty(), "what failed is not to be closed");

    alice.connects(&mut world, PEER);
    let (connection, ..) = world.connecting();
    world.pass(Duration::from_millis(29_999));
    assert!(world.out.sent.is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.only_sent(alice.five_tuple).code(), 447);
    assert_eq!(world.next_of_peers(), Output::ClosePeer(connection));
    world.connected(connection, true);
    assert!(world.out.sent.is_empty(), "a peer that answers too late is not heard");
    assert_eq!(world.connections(), (0, 0));
    assert_eq!(world.metrics.refused.of(Refusal::ConnectionTimeoutOrFailure).value(), 2);
}

#[test]
fn a_connection_that_no_client_comes_for_is_closed_after_half_a_minute() {
    let (mut world, mut alice, relayed) = allocated();
    alice.permits(&mut world, PEER);
    let made = alice.is_connected(&mut world, "192.0.2.10:80");
    let accepted = world.accepted(relayed, PEER).unwrap();
    world.only_sent(alice.five_tuple);
    world.pass(Duration::from_millis(29_999));
    assert!(world.of_peers.is_empty());
    world.pass(Duration::from_millis(1));
    let mut closed = [world.next_of_peers(), world.next_of_peers()];
    closed.sort_by_key(|output| *output != Output::ClosePeer(made));
    assert_eq!(closed, [Output::ClosePeer(made), Output::ClosePeer(accepted)]);
    assert_eq!(world.metrics.connections_unbound.value(), 2);
    let mut data = data_connection(&mut world, DATA);
    assert_eq!(data.binds_connection(&mut world, made).code(), 400);
}

#[test]
fn only_an_id_that_waits_can_be_bound_and_only_once() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    let mut data = data_connection(&mut world, DATA);
    let none = data.asks(&mut world, Method::CONNECTION_BIND, |writer| writer);
    assert_eq!(none.code(), 400);
    let short = data.asks(&mut world, Method::CONNECTION_BIND, |writer| {
        writer.attribute(AttributeType::CONNECTION_ID, &[0, 1])
    });
    assert_eq!(short.code(), 400);
    let unknown = ConnectionId(connection.0 ^ 1);
    assert_eq!(data.binds_connection(&mut world, unknown).code(), 400);
    data.binds_connection(&mut world, connection).granted();
    let mut second = data_connection(&mut world, SocketId(52));
    assert_eq!(second.binds_connection(&mut world, connection).code(), 400);
}

#[test]
fn a_connection_whose_peer_has_not_answered_cannot_be_bound() {
    let (mut world, mut alice, _) = allocated();
    alice.connects(&mut world, PEER);
    let (connection, ..) = world.connecting();
    let mut data = data_connection(&mut world, DATA);
    assert_eq!(data.binds_connection(&mut world, connection).code(), 400);
}

#[test]
fn another_user_cannot_take_a_connection() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    let mut bob = Client::bob().over_stream(&mut world, DATA);
    bob.learns_nonce(&mut world);
    assert_eq!(bob.binds_connection(&mut world, connection).code(), 441);
    bob.user = "alice".to_owned();
    assert_eq!(bob.binds_connection(&mut world, connection).code(), 401);
    assert_eq!(world.connections(), (1, 1));
}

#[test]
fn a_connection_is_bound_to_a_stream_that_is_nothing_else() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    assert_eq!(
        alice.binds_connection(&mut world, connection).code(),
        400,
        "the control connection has an allocation"
    );
    let mut datagrams = Client::new("203.0.113.7:6001", "alice", "secret of alice");
    datagrams.learns_nonce(&mut world);
    assert_eq!(datagrams.binds_connection(&mut world, connection).code(), 400);
    assert!(world.of_peers.is_empty());
}

#[test]
fn ending_the_allocation_ends_all_its_connections() {
    for by_refresh in [true, false] {
        let (mut world, mut alice, relayed) = allocated();
        alice.permits(&mut world, PEER);
        let bound = alice.is_connected(&mut world, "192.0.2.10:80");
        let mut data = data_connection(&mut world, DATA);
        data.binds_connection(&mut world, bound).granted();
        world.next_of_peers();
        let waiting = world.accepted(relayed, PEER).unwrap();
        world.only_sent(alice.five_tuple);
        alice.connects(&mut world, "192.0.2.11:80");
        let (connecting, ..) = world.connecting();
        assert_eq!(world.connections(), (3, 2));
        if by_refresh {
            alice.refreshes(&mut world, 0).granted();
        } else {
            world.server.close_client(alice.five_tuple);
            world.serve_sockets();
        }
        let closed: Vec<_> = std::mem::take(&mut world.of_peers);
        assert_eq!(closed.len(), 3);
        for connection in [bound, waiting, connecting] {
            assert!(closed.contains(&Output::ClosePeer(connection)));
        }
        assert_eq!(world.connections(), (0, 0));
        assert!(world.relays.is_empty());
        world.pass(Duration::from_secs(60));
        assert!(world.out.sent.is_empty(), "nobody is left to be told");
        assert_eq!(world.server.poll_timeout(), None);
    }
}

#[test]
fn a_data_connection_that_ends_takes_its_peer_with_it_and_not_the_allocation() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, connection).granted();
    world.next_of_peers();
    world.server.close_client(data.five_tuple);
    world.serve_sockets();
    assert_eq!(world.next_of_peers(), Output::ClosePeer(connection));
    assert_eq!((world.connections(), world.server.allocations()), ((0, 0), 1));
}

#[test]
fn a_waiting_connection_that_breaks_is_forgotten() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    world.server.handle_peer_closed(connection);
    world.serve_sockets();
    assert!(world.of_peers.is_empty(), "it is closed already");
    assert_eq!(world.connections(), (0, 0));
    let mut data = data_connection(&mut world, DATA);
    assert_eq!(data.binds_connection(&mut world, connection).code(), 400);
}

#[test]
fn a_tcp_relay_carries_no_indications_and_has_no_channels() {
    let (mut world, mut alice, _) = allocated();
    alice.permits(&mut world, PEER);
    assert_eq!(alice.binds(&mut world, 0x4000, PEER).code(), 400);
    assert_eq!(alice.sends(&mut world, PEER, b"data"), Err(DropReason::TcpRelay));
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"data"),
        Err(DropReason::NoChannel)
    );
}

#[test]
fn what_a_connection_carries_is_counted_for_its_allocation() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, connection).granted();
    for (way, bytes) in [(Way::ToPeer, 5_000), (Way::ToClient, 16_384), (Way::ToClient, 6)] {
        assert_eq!(world.carries(connection, way, bytes), None, "nothing is limited");
    }
    assert_eq!(world.metrics.to_peer_bytes.value(), 5_000);
    assert_eq!(world.metrics.to_client_bytes.value(), 16_390);
    world.command(Command::End(Selection::All));
    let last = std::iter::from_fn(|| world.server.poll_event()).find_map(|event| match event {
        Event::Ended { last, reason, .. } => Some((last, reason)),
        _ => None,
    });
    let ((client, peer), reason) = last.expect("the session ended");
    assert_eq!(reason, EndReason::Administrator);
    assert_eq!(
        peer,
        Flow {
            received_packets: 2,
            received_bytes: 16_390,
            sent_packets: 1,
            sent_bytes: 5_000,
        }
    );
    assert!(client.received_bytes > 5_000 && client.sent_bytes > 16_390);
}

#[test]
fn an_allocation_has_64_connections_at_most() {
    let (mut world, mut alice, relayed) = allocated();
    alice.permits(&mut world, PEER);
    for port in 1..=64 {
        alice.is_bound(&mut world, &format!("192.0.2.10:{port}"), SocketId(100 + port));
    }
    assert_eq!(alice.is_refused_to_connect(&mut world, "192.0.2.10:65"), 508);
    assert_eq!(world.accepted(relayed, PEER), Err(DropReason::ConnectionsFull));
    assert_eq!(world.metrics.dropped.of(DropReason::ConnectionsFull).value(), 1);
}

#[test]
fn sixteen_connections_of_an_allocation_wait_for_their_client_at_most_and_harm_nobody_else() {
    let (mut world, mut alice, relayed) = allocated();
    let mut bob = Client::bob().over_stream(&mut world, SocketId(53));
    bob.learns_nonce(&mut world);
    asks_tcp(&mut bob, &mut world).granted();
    alice.permits(&mut world, PEER);
    let waiting: Vec<_> = (1..=15)
        .map(|port| alice.is_connected(&mut world, &format!("192.0.2.10:{port}")))
        .collect();
    world.accepted(relayed, PEER).expect("one more has room");
    world.out.sent.clear();
    assert_eq!(alice.is_refused_to_connect(&mut world, "192.0.2.10:16"), 508);
    assert_eq!(world.accepted(relayed, PEER), Err(DropReason::ConnectionsFull));
    bob.is_connected(&mut world, PEER);
    // One that its client comes for makes room.
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, waiting[0]).granted();
    world.next_of_peers();
    alice.is_connected(&mut world, "192.0.2.10:16");
    assert_eq!(alice.is_refused_to_connect(&mut world, "192.0.2.10:17"), 508);
    assert_eq!(world.connections(), (18, 17));
}

#[test]
fn a_peer_that_is_closed_by_new_settings_loses_its_connection() {
    let (mut world, mut alice, _) = allocated();
    let kept = alice.is_connected(&mut world, PEER);
    let closed = alice.is_connected(&mut world, "192.0.3.1:80");
    let mut fresh = tcp_config();
    fresh.peers.deny = vec!["192.0.3.0/24".parse().unwrap()];
    world.command(Command::Reconfigure(Box::new(fresh)));
    assert_eq!(world.next_of_peers(), Output::ClosePeer(closed));
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, kept).granted();
}

/// A world that is shard 1 of three.
fn one_of_three() -> World {
    let mut config = tcp_config();
    config.shard = 1;
    config.ports = PortShare::new(49_152..=65_535, 1, 3);
    World::with(config)
}

#[test]
fn ids_name_their_shard_and_a_stream_that_asks_for_another_moves_there() {
    let mut world = one_of_three();
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    asks_tcp(&mut alice, &mut world).granted();
    let connection = alice.is_connected(&mut world, PEER);
    assert_eq!(connection.0 % 3, 1);

    let mut data = data_connection(&mut world, DATA);
    let elsewhere = ConnectionId(connection.0 + 1);
    let bind = data.signed(Method::CONNECTION_BIND, |writer| writer.connection_id(elsewhere.0));
    let (now, wall) = (world.now(), world.wall());
    world
        .server
        .handle_client_datagram(now, wall, data.five_tuple, &bind, &mut world.out);
    assert_eq!(world.server.departure(DATA), Some(Departure::Moved));
    assert!(world.out.sent.is_empty(), "the other shard answers");
    world.serve_sockets();
    let client = data.five_tuple;
    assert_eq!(world.next_of_peers(), Output::MoveClient { client, shard: 2 });
}

#[test]
fn a_stream_that_has_an_allocation_moves_nowhere_and_keeps_it() {
    let mut world = one_of_three();
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    asks_tcp(&mut alice, &mut world).granted();
    assert_eq!(alice.binds_connection(&mut world, ConnectionId(2)).code(), 400);
    assert!(world.of_peers.is_empty());
    alice.is_connected(&mut world, PEER);
}

#[test]
fn a_stream_without_a_nonce_of_ours_moves_nowhere() {
    let mut world = one_of_three();
    let mut stranger = Client::alice().over_stream(&mut world, DATA);
    let bind = stranger.unsigned(Method::CONNECTION_BIND, |writer| writer.connection_id(2));
    assert_eq!(world.ask(stranger.five_tuple, &bind).code(), 401);
    stranger.nonce = b"guessed".to_vec();
    assert_eq!(stranger.binds_connection(&mut world, ConnectionId(2)).code(), 438);
    assert!(world.of_peers.is_empty());
}

#[test]
fn nothing_moves_while_tcp_relays_are_off() {
    let mut config = config();
    config.ports = PortShare::new(49_152..=65_535, 1, 3);
    let mut world = World::with(config);
    let mut data = data_connection(&mut world, DATA);
    assert_eq!(data.binds_connection(&mut world, ConnectionId(2)).code(), 400);
    assert!(world.of_peers.is_empty());
}

#[test]
fn a_data_connection_may_bring_the_nonce_of_its_control_connection_from_the_same_host_only() {
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    let mut far = Client::new("203.0.113.9:6001", "alice", "secret of alice").over_stream(&mut world, DATA);
    far.nonce.clone_from(&alice.nonce);
    assert_eq!(far.binds_connection(&mut world, connection).code(), 438);
    let mut data = Client::new("203.0.113.7:6001", "alice", "secret of alice").over_stream(&mut world, SocketId(52));
    data.nonce.clone_from(&alice.nonce);
    // For anything else it needs one of its own.
    assert_eq!(data.refreshes(&mut world, 600).code(), 438);
    data.binds_connection(&mut world, connection).granted();
    assert!(matches!(world.next_of_peers(), Output::Bind { .. }));
}

#[test]
fn switching_tcp_relays_off_refuses_new_ones_and_leaves_those_that_exist() {
    let mut config = tcp_config();
    config.ports = PortShare::new(49_152..=65_535, 1, 3);
    let mut world = World::with(config.clone());
    let mut alice = Client::alice().over_stream(&mut world, CONTROL);
    alice.learns_nonce(&mut world);
    asks_tcp(&mut alice, &mut world).granted();
    config.tcp_relays = false;
    world.command(Command::Reconfigure(Box::new(config)));
    let connection = alice.is_connected(&mut world, PEER);
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, connection).granted();
    assert!(matches!(world.next_of_peers(), Output::Bind { .. }));
    // Another shard may have relays that were made before, too.
    let mut far = data_connection(&mut world, SocketId(52));
    let elsewhere = far.signed(Method::CONNECTION_BIND, |writer| writer.connection_id(2));
    world.deliver(far.five_tuple, &elsewhere);
    assert!(matches!(world.next_of_peers(), Output::MoveClient { shard: 2, .. }));
    let mut bob = Client::bob().over_stream(&mut world, SocketId(53));
    bob.learns_nonce(&mut world);
    assert_eq!(asks_tcp(&mut bob, &mut world).code(), 442);
}

#[test]
fn ids_are_scattered() {
    let (mut world, mut alice, _) = allocated();
    let ids: Vec<u32> = (1..=40)
        .map(|port| {
            let stream = SocketId(100 + port);
            alice.is_bound(&mut world, &format!("192.0.2.10:{port}"), stream).0
        })
        .collect();
    let far = ids
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) > 1 << 20)
        .count();
    assert!(far > 30, "{ids:?}");
}

#[test]
fn a_connection_belongs_to_the_stream_that_was_told() {
    // The five-tuple of a data connection is its own: what happens to another stream of the client's address is nothing
    // to it.
    let (mut world, mut alice, _) = allocated();
    let connection = alice.is_connected(&mut world, PEER);
    let mut data = data_connection(&mut world, DATA);
    data.binds_connection(&mut world, connection).granted();
    world.next_of_peers();
    let other = FiveTuple {
        socket: SocketId(52),
        ..data.five_tuple
    };
    world.server.close_client(other);
    world.serve_sockets();
    assert!(world.of_peers.is_empty());
    assert_eq!(world.connections(), (1, 0));
}
