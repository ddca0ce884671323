//! How clients find out what their NAT does (RFC 5780): answers from other ports and addresses, to other ports, padded.

use std::net::SocketAddr;

use voex_base::{FiveTuple, Protocol, SocketId};
use voex_stun::{AttributeType, ChangeRequest, Method};
use voex_turn::{AnswerRate, ClientPath, ClientVerdict, Command, Config, DropReason, RelayAddress};

use crate::world::{Answer, Body, Client, World, address, config, ip};

/// Four listeners: two addresses with two ports each.
const A1_P1: SocketId = SocketId(1);
const A1_P2: SocketId = SocketId(2);
const A2_P1: SocketId = SocketId(3);
const A2_P2: SocketId = SocketId(4);

#[test]
fn a_plain_request_is_told_where_the_answer_comes_from_and_the_other_address() {
    let mut world = on_two_addresses(config());
    let answer = asks(&mut world, A1_P1, |writer| writer).from(A1_P1);
    assert_eq!(answer.message().response_origin(), Ok(Some(address("192.0.2.1:3478"))));
    assert_eq!(answer.message().other_address(), Ok(Some(address("192.0.2.2:3479"))));
    assert_eq!(answer.message().xor_mapped_address(), Ok(Some(client())));
    assert_eq!(answer.message().mapped_address(), Ok(Some(client())));
    assert_eq!(answer.0.len(), 20 + 4 * 12);
    let answer = asks(&mut world, A2_P2, |writer| writer).from(A2_P2);
    assert_eq!(answer.message().other_address(), Ok(Some(address("192.0.2.1:3478"))));
}

#[test]
fn the_answer_comes_from_the_address_and_port_that_are_asked_for() {
    let mut world = on_two_addresses(config());
    for (ip, port, socket, origin) in [
        (false, false, A1_P1, "192.0.2.1:3478"),
        (false, true, A1_P2, "192.0.2.1:3479"),
        (true, false, A2_P1, "192.0.2.2:3478"),
        (true, true, A2_P2, "192.0.2.2:3479"),
    ] {
        let change = ChangeRequest { ip, port };
        let answer = asks(&mut world, A1_P1, |writer| writer.change_request(change)).from(socket);
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.message().response_origin(), Ok(Some(address(origin))));
        // Whatever is asked for, the other address is the same (RFC 5780 §6.1).
        assert_eq!(answer.message().other_address(), Ok(Some(address("192.0.2.2:3479"))));
        assert_eq!(answer.message().mapped_address(), Ok(Some(client())));
    }
}

#[test]
fn with_one_address_a_plain_answer_is_short_and_only_the_port_can_change() {
    let mut world = on_one_address();
    let answer = asks(&mut world, A1_P1, |writer| writer).from(A1_P1);
    assert_eq!(answer.0.len(), 20 + 12, "an address alone");

    let port = ChangeRequest { ip: false, port: true };
    let answer = asks(&mut world, A1_P1, |writer| writer.change_request(port)).from(A1_P2);
    assert_eq!(answer.message().response_origin(), Ok(Some(address("192.0.2.1:3479"))));
    assert_eq!(answer.message().other_address(), Ok(None), "RFC 5780 §7.4 forbids it");

    for port in [false, true] {
        let change = ChangeRequest { ip: true, port };
        let refused = asks(&mut world, A1_P1, |writer| writer.change_request(change)).from(A1_P1);
        assert_eq!(refused.code(), 420);
        let listed = refused.message().listed_unknown_attributes();
        assert!(listed.types().eq([AttributeType::CHANGE_REQUEST]));
    }
}

#[test]
fn behind_a_one_to_one_nat_clients_are_told_public_addresses() {
    let relay = |local: &str, public: &str| RelayAddress {
        local: ip(local),
        public: ip(public),
    };
    let mut world = on_two_addresses(Config {
        relays: vec![relay("192.0.2.1", "198.51.100.1"), relay("192.0.2.2", "198.51.100.2")],
        ..config()
    });
    let answer = asks(&mut world, A1_P1, |writer| writer).from(A1_P1);
    assert_eq!(
        answer.message().response_origin(),
        Ok(Some(address("198.51.100.1:3478")))
    );
    assert_eq!(answer.message().other_address(), Ok(Some(address("198.51.100.2:3479"))));
}

#[test]
fn the_answer_goes_to_the_port_that_is_asked_for_and_to_no_other_address() {
    let mut world = on_two_addresses(config());
    let request =
        Client::new("203.0.113.7:6000", "", "").unsigned(Method::BINDING, |writer| writer.response_port(7_001));
    assert_eq!(world.deliver(from(A1_P1), &request), ClientVerdict::Handled);
    let (socket, to, answer) = world.out.sent.remove(0);
    assert_eq!((socket, to), (A1_P1, address("203.0.113.7:7001")));
    // The source of the request is what is mapped.
    assert_eq!(Answer(answer).message().xor_mapped_address(), Ok(Some(client())));
    let refused = asks(&mut world, A1_P1, |writer| writer.response_port(0)).from(A1_P1);
    assert_eq!(refused.code(), 400);
}

#[test]
fn padding_is_answered_with_as_much_and_never_with_more_than_1500_bytes() {
    let mut world = on_one_address();
    for (asked, answered) in [(0, 0), (1, 4), (64, 64), (1_500, 1_500), (3_000, 1_500)] {
        let answer = asks(&mut world, A1_P1, |writer| writer.padding(asked)).from(A1_P1);
        assert_eq!(
            answer.message().get(AttributeType::PADDING).map(<[u8]>::len),
            Some(answered)
        );
    }
    let refused = asks(&mut world, A1_P1, |writer| writer.padding(64).response_port(7_001)).from(A1_P1);
    assert_eq!(refused.code(), 400, "a padded answer goes where the request came from");
}

#[test]
fn padding_amplifies_nothing() {
    let mut config = config();
    config.bindings = AnswerRate { per_s: 1, burst: 1 };
    let mut world = on_two_addresses(config);
    for len in [0, 8, 100, 700, 1_500] {
        let request = Client::alice().unsigned(Method::BINDING, |writer| writer.padding(len));
        for _ in 0..20 {
            let _ = world.deliver(from(A1_P1), &request);
        }
        // One longer answer is what the source is due; all others are at most half again as long as the request.
        let long = world
            .out
            .sent
            .drain(..)
            .filter(|(_, _, sent)| 2 * sent.len() > 3 * request.len());
        assert!(long.count() <= 1, "{len}");
    }
}

#[test]
fn a_source_that_asks_too_often_still_learns_its_address() {
    let mut config = config();
    config.bindings = AnswerRate { per_s: 1, burst: 1 };
    let mut world = on_two_addresses(config);
    let mut ask = |software: &str| {
        let request = Client::alice().unsigned(Method::BINDING, |writer| writer.software(software));
        let verdict = world.deliver(from(A1_P1), &request);
        (verdict, world.out.sent.pop().map(|(_, _, sent)| sent.len()))
    };
    assert_eq!(ask("voex"), (ClientVerdict::Handled, Some(68)));
    assert_eq!(ask("voex"), (ClientVerdict::Handled, Some(32)));
    assert_eq!(ask(""), (ClientVerdict::Drop(DropReason::AnswerRateLimited), None));
}

#[test]
fn over_a_stream_and_where_it_is_off_the_attributes_are_unknown() {
    let change = ChangeRequest { ip: false, port: true };
    let off = Config {
        nat_discovery: false,
        ..config()
    };
    let mut streams = World::new();
    let path = ClientPath {
        protocol: Protocol::Tcp,
        ..ClientPath::udp(address("192.0.2.1:3478"))
    };
    streams.server.add_client_socket(A1_P1, path);
    for mut world in [on_two_addresses(off), streams] {
        let refused = asks(&mut world, A1_P1, |writer| writer.change_request(change).padding(4)).from(A1_P1);
        assert_eq!(refused.code(), 420);
        let listed = refused.message().listed_unknown_attributes();
        assert!(
            listed
                .types()
                .eq([AttributeType::CHANGE_REQUEST, AttributeType::PADDING])
        );
        assert_eq!(asks(&mut world, A1_P1, |writer| writer).from(A1_P1).0.len(), 32);
    }
}

#[test]
fn a_change_request_of_wrong_length_is_a_bad_request() {
    let mut world = on_two_addresses(config());
    for value in [&[][..], &[0, 0, 0], &[0; 8]] {
        let refused = asks(&mut world, A1_P1, |writer| {
            writer.attribute(AttributeType::CHANGE_REQUEST, value)
        });
        assert_eq!(refused.from(A1_P1).code(), 400);
    }
}

#[test]
fn other_addresses_follow_the_settings_and_the_listeners() {
    let mut world = on_two_addresses(config());
    let other = |world: &mut World| {
        asks(world, A1_P1, |writer| writer)
            .from(A1_P1)
            .message()
            .other_address()
    };
    let fresh = Config {
        relays: vec![RelayAddress {
            local: ip("192.0.2.2"),
            public: ip("198.51.100.2"),
        }],
        ..config()
    };
    let fresh = Command::Reconfigure(Box::new(fresh));
    world
        .server
        .handle_command(world.now(), world.wall(), fresh, &mut world.out);
    assert_eq!(other(&mut world), Ok(Some(address("198.51.100.2:3479"))));
    world.server.remove_client_socket(A2_P2);
    assert_eq!(other(&mut world), Ok(None));
}

fn on_two_addresses(config: Config) -> World {
    let mut world = World::with(config);
    for (socket, local) in [
        (A1_P1, "192.0.2.1:3478"),
        (A1_P2, "192.0.2.1:3479"),
        (A2_P1, "192.0.2.2:3478"),
        (A2_P2, "192.0.2.2:3479"),
    ] {
        world.server.add_client_socket(socket, ClientPath::udp(address(local)));
    }
    world
}

fn on_one_address() -> World {
    let mut world = on_two_addresses(config());
    world.server.remove_client_socket(A2_P1);
    world.server.remove_client_socket(A2_P2);
    world
}

fn client() -> SocketAddr {
    Client::alice().five_tuple.client
}

fn from(socket: SocketId) -> FiveTuple {
    FiveTuple {
        socket,
        client: client(),
    }
}

/// What was answered, and from which socket.
struct Answered(SocketId, Answer);

impl Answered {
    /// Takes the answer, which must have left from this socket.
    fn from(self, socket: SocketId) -> Answer {
        assert_eq!(self.0, socket);
        self.1
    }
}

/// Sends a Binding request to a listener and takes the one answer.
fn asks(world: &mut World, listener: SocketId, body: impl Body) -> Answered {
    let request = Client::alice().unsigned(Method::BINDING, body);
    assert_eq!(world.deliver(from(listener), &request), ClientVerdict::Handled);
    assert_eq!(world.out.sent.len(), 1);
    let (socket, to, answer) = world.out.sent.remove(0);
    assert_eq!(to, client());
    Answered(socket, Answer(answer))
}
