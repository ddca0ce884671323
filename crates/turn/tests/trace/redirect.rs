//! Sending clients to another server (RFC 8489 §10).

use std::collections::BTreeSet;

use voex_base::{Protocol, SocketId};
use voex_stun::AttributeType;
use voex_turn::{AlternateServers, ClientPath, Command, Config, Refusal};

use crate::world::{Client, LISTENER, World, address, config};

#[test]
fn whoever_has_proved_itself_is_sent_to_a_server_of_its_family() {
    let mut world = World::with(redirecting());
    for (from, to) in [
        ("203.0.113.7:6000", "192.0.2.80:3478"),
        ("[::ffff:203.0.113.7]:6000", "192.0.2.80:3478"),
        ("[2001:db8:7::1]:6000", "[2001:db8:80::1]:3478"),
    ] {
        let mut alice = Client::new(from, "alice", "secret of alice");
        let refused = alice.asks_allocation(&mut world, |writer| writer);
        assert_eq!(refused.code(), 300);
        assert_eq!(refused.message().alternate_server(), Ok(Some(address(to))));
        assert_eq!(
            refused.message().get(AttributeType::ALTERNATE_DOMAIN),
            Some(&b"turn.example.net"[..])
        );
        assert!(refused.message().has_integrity());
    }
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.metrics.refused.of(Refusal::TryAlternate).value(), 3);
}

#[test]
fn whoever_has_not_is_challenged_or_refused_as_ever() {
    let mut world = World::with(redirecting());
    let mut mallory = Client::new("203.0.113.7:6000", "alice", "guess");
    let refused = mallory.asks_allocation(&mut world, |writer| writer);
    assert_eq!(refused.code(), 401);
    assert_eq!(refused.message().alternate_server(), Ok(None));
}

#[test]
fn a_client_for_whose_family_there_is_no_server_is_served_here() {
    let mut config = redirecting();
    config.alternate_servers.plain.retain(|server| server.is_ipv4());
    let mut world = World::with(config);
    Client::new("[2001:db8:7::1]:6000", "alice", "secret of alice").allocates(&mut world);
}

#[test]
fn encrypted_clients_have_servers_of_their_own() {
    let mut config = redirecting();
    for tls in [vec![], vec![address("192.0.2.80:5349")]] {
        config.alternate_servers.tls = tls.clone();
        for protocol in [Protocol::Tls, Protocol::Dtls] {
            let mut world = World::with(config.clone());
            let path = ClientPath {
                protocol,
                ..ClientPath::udp(address("192.0.2.1:5349"))
            };
            world.server.add_client_socket(LISTENER, path);
            let answer = Client::alice().asks_allocation(&mut world, |writer| writer);
            assert_eq!(answer.code(), if tls.is_empty() { 0 } else { 300 });
            assert_eq!(answer.message().alternate_server(), Ok(tls.first().copied()));
        }
    }
}

#[test]
fn clients_are_spread_over_several_servers() {
    let mut config = redirecting();
    config.alternate_servers.plain = vec![address("192.0.2.80:3478"), address("192.0.2.81:3478")];
    let mut world = World::with(config);
    let servers: BTreeSet<_> = (1..20)
        .map(|port| {
            let mut client = Client::new(&format!("203.0.113.7:{port}"), "alice", "secret of alice");
            let answer = client.asks_allocation(&mut world, |writer| writer);
            answer.message().alternate_server().unwrap().unwrap()
        })
        .collect();
    assert_eq!(servers.len(), 2);
}

#[test]
fn a_server_sends_nobody_to_itself() {
    let mut world = World::with(redirecting());
    world
        .server
        .add_client_socket(SocketId(9), ClientPath::udp(address("192.0.2.80:3478")));
    Client::alice().allocates(&mut world);
}

#[test]
fn allocations_that_exist_stay() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    let fresh = Command::Reconfigure(Box::new(redirecting()));
    world
        .server
        .handle_command(world.now(), world.wall(), fresh, &mut world.out);
    alice.refreshes(&mut world, 600).granted();
    assert_eq!(alice.asks_allocation(&mut world, |writer| writer).code(), 437);
}

fn redirecting() -> Config {
    Config {
        alternate_servers: AlternateServers {
            plain: vec![address("192.0.2.80:3478"), address("[2001:db8:80::1]:3478")],
            tls: Vec::new(),
            domain: Some("turn.example.net".into()),
        },
        ..config()
    }
}
