//! The classes of holes that TURN servers had, one test for each as far as it concerns the shard.
//!
//! What streams, DTLS, the credential store and the console are asked of is tested where they are.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use voex_base::{FiveTuple, Rng};
use voex_stun::{
    AddressFamily, AttributeType, HEADER_BYTES, IntegrityKey, IntegrityKeySha256, Message, MessageWriter, Method,
    PasswordAlgorithm, long_term_key_sha256,
};
use voex_turn::{
    ClientVerdict, Command, Config, DropReason, Event, PeerRules, PortShare, Refusal, Secret, Server, UserSecret,
    Wanted,
};

use crate::world::{Answer, Body, Client, LISTENER, REALM, World, address, config};

/// Every way to write an IPv4 address as an IPv6 one that some host unwraps.
fn disguises(v4: Ipv4Addr) -> Vec<IpAddr> {
    let [a, b, c, d] = v4.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    [
        v4.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2002, high, low, 0xffff, 1, 2, 3, 4),
    ]
    .into_iter()
    .map(IpAddr::V6)
    .chain([IpAddr::V4(v4)])
    .collect()
}

/// Tries to reach a peer by every way there is, from a relay of each family; gives whether one worked.
fn is_reached(rules: &PeerRules, ip: IpAddr, port: u16) -> bool {
    let peer = SocketAddr::new(ip, port).to_string();
    [AddressFamily::V4, AddressFamily::V6].into_iter().any(|family| {
        let mut config = config();
        config.peers = rules.clone();
        let mut world = World::with(config);
        let mut alice = Client::alice();
        alice
            .asks_allocation(&mut world, |writer| writer.requested_address_family(family))
            .granted();
        let bound = alice.binds(&mut world, 0x4000, &peer).code() == 0;
        let reached = bound && alice.sends_channel(&mut world, 0x4000, b"x").is_ok();
        alice.permits(&mut world, &peer);
        reached || alice.sends(&mut world, &peer, b"x").is_ok()
    })
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// CVE-2018-4058, CVE-2020-26262, CVE-2026-27624, CVE-2026-53450.
#[test]
fn no_encoding_of_an_inside_address_passes_the_rules_that_its_plain_form_does_not() {
    let inside = [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
    ];
    for ip in inside.into_iter().flat_map(|ip| disguises(v4(ip))) {
        assert!(!is_reached(&PeerRules::default(), ip, 80), "{ip}");
    }
    for ip in ["::", "::1", "fe80::1", "fec0::1", "ff02::1"] {
        assert!(!is_reached(&PeerRules::default(), ip.parse().unwrap(), 80), "{ip}");
    }
    // With loopback open, nothing else is, and a list still sees through the disguise.
    let rules = PeerRules {
        allow_loopback: true,
        deny: vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        ..PeerRules::default()
    };
    let closed = ["127.0.0.1", "10.1.2.3", "0.0.0.0", "169.254.169.254"];
    for ip in closed.into_iter().flat_map(|ip| disguises(v4(ip))) {
        assert!(!is_reached(&rules, ip, 80), "{ip}");
    }
    assert!(
        is_reached(&PeerRules::default(), v4("10.1.2.3").into(), 80),
        "the test can tell"
    );
}

/// The metadata service of clouds hands a machine's credentials to whoever asks from inside.
#[test]
fn the_metadata_service_is_closed_whatever_the_lists_say() {
    let rules = PeerRules {
        allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        allow_loopback: true,
        ..PeerRules::default()
    };
    for ip in disguises(v4("169.254.169.254")) {
        assert!(!is_reached(&rules, ip, 80), "{ip}");
    }
    assert!(!is_reached(&rules, "fd00:ec2::254".parse().unwrap(), 80));
}

/// Databases, management and our own listeners: an allocation made through an allocation would have no end.
#[test]
fn own_sockets_are_closed_in_every_encoding_and_their_neighbours_are_not() {
    let rules = PeerRules {
        own_sockets: vec![address("10.0.0.1:6379"), address("[2001:db8::1]:3478")],
        ..PeerRules::default()
    };
    for ip in disguises(v4("10.0.0.1")) {
        assert!(!is_reached(&rules, ip, 6_379), "{ip}");
    }
    assert!(!is_reached(&rules, "2001:db8::1".parse().unwrap(), 3_478));
    assert!(is_reached(&rules, v4("10.0.0.1").into(), 6_380));
    assert!(is_reached(&rules, "2001:db8::1".parse().unwrap(), 3_479));
}

/// Ranges of IPv6 were once compared byte by byte: every byte between those of the ends, and so not in order.
#[test]
fn an_ipv6_network_is_closed_from_its_first_address_to_its_last_and_no_further() {
    let rules = PeerRules {
        deny: vec![
            "2001:db8:40:ff00::/56".parse().unwrap(),
            "2001:db8:80::/41".parse().unwrap(),
        ],
        ..PeerRules::default()
    };
    for (ip, open) in [
        ("2001:db8:40:feff:ffff:ffff:ffff:ffff", true),
        ("2001:db8:40:ff00::", false),
        ("2001:db8:40:ff80::1:0", false),
        ("2001:db8:40:ffff:ffff:ffff:ffff:ffff", false),
        ("2001:db8:41::", true),
        ("2001:db8:7f:ffff::1", true),
        ("2001:db8:80::1", false),
        ("2001:db8:ff:1::", false),
        ("2001:db8:100::", true),
    ] {
        assert_eq!(is_reached(&rules, ip.parse().unwrap(), 80), open, "{ip}");
    }
}

/// RFC 6062 relays were reached by other code, with other checks.
#[test]
fn a_tcp_relay_connects_to_nobody_that_a_udp_relay_does_not_reach_and_hears_nobody_without_permission() {
    let mut config = config();
    config.tcp_relays = true;
    config.peers.deny = vec!["10.0.0.0/8".parse().unwrap()];
    config.peers.own_sockets = vec![address("192.0.2.1:6379")];
    let mut world = World::with(config);
    let mut alice = Client::alice().over_stream(&mut world, voex_base::SocketId(50));
    alice.learns_nonce(&mut world);
    let relayed = alice
        .asks(&mut world, Method::ALLOCATE, |writer| writer.requested_transport_tcp())
        .granted()
        .relayed();
    let closed = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "10.1.2.3"];
    let closed = closed
        .into_iter()
        .flat_map(|ip| disguises(v4(ip)))
        .map(|ip| SocketAddr::new(ip, 80));
    for peer in closed.chain([address("192.0.2.1:6379")]) {
        let answer = alice.asks(&mut world, Method::CONNECT, |writer| writer.xor_peer_address(peer));
        assert_eq!(answer.code(), 403, "{peer}");
    }
    assert!(world.of_peers.is_empty(), "nothing is connected");
    let (now, relay) = (world.now(), world.relay_of(relayed));
    let stranger = world
        .server
        .handle_peer_accepted(now, relay, address("192.0.2.9:80"), &mut world.out);
    assert_eq!(stranger, Err(DropReason::NoPermission));
}

/// Gives the bytes between the attributes of a message: padding.
fn padding(datagram: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    let mut rest = &datagram[HEADER_BYTES..];
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let padded = len.next_multiple_of(4);
        found.extend(&tail[len..padded]);
        rest = &tail[padded..];
    }
    found
}

/// CVE-2020-4067: bytes of other clients' messages stood in the padding of answers. The outbox of these tests hands out
/// rooms that are full of 0xee.
#[test]
fn padding_of_what_is_sent_holds_nothing_of_what_was_in_the_buffer() {
    let mut seen = 0;
    let mut check = |datagram: &[u8]| {
        let padding = padding(datagram);
        assert!(padding.iter().all(|byte| *byte == 0), "{datagram:02x?}");
        seen += padding.len();
    };
    for len in 1..=8 {
        let mut config = config();
        config.realm = "realm-of-8"[..2 + len].to_owned();
        config.software = "software"[..len].to_owned();
        let mut world = World::with(config);
        let mut alice = Client::alice();
        let request = alice.unsigned(Method::ALLOCATE, |writer| writer.requested_transport_udp());
        check(&world.ask(alice.five_tuple, &request).0);
    }
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    check(&alice.permits(&mut world, "127.0.0.1:1").0);
    check(&alice.permits(&mut world, "192.0.2.5:1").0);
    let unknown = alice.asks_allocation_with(&mut world, &[(AttributeType(0x7abc), b"x")]);
    check(&unknown.0);
    let relay = world.relay_of(relayed);
    for len in 1..8 {
        check(&world.peer_sends(relay, "192.0.2.5:1", &[7; 8][..len]).unwrap());
    }
    assert!(seen > 20, "only {seen} bytes of padding were seen");
}

/// CVE-2025-69217: nonces and relay ports that could be foreseen.
#[test]
fn nonces_and_relay_ports_cannot_be_foreseen() {
    let seeded = |seed, key| {
        let mut world = World::new();
        let mut config = config();
        config.signing_key = [key; 32];
        world.server = Server::new(config, Rng::from_number(seed), world.metrics.clone());
        world
    };
    let nonce = |world: &mut World, client: &str| {
        let mut stranger = Client::new(client, "", "");
        stranger.learns_nonce(world);
        stranger.nonce[13..].to_vec()
    };
    let (mut one, mut other) = (seeded(1, 1), seeded(1, 2));
    let mut nonces: BTreeSet<_> = (1..=100)
        .map(|port| nonce(&mut one, &format!("203.0.113.7:{port}")))
        .collect();
    nonces.insert(nonce(&mut other, "203.0.113.7:1"));
    one.pass(Duration::from_secs(1));
    nonces.insert(nonce(&mut one, "203.0.113.7:1"));
    assert_eq!(nonces.len(), 102, "of another client, key or second it is another");

    let ports = |seed| -> Vec<u16> {
        let mut world = seeded(seed, 1);
        (1..=200)
            .map(|port| {
                let mut client = Client::new(&format!("203.0.113.7:{port}"), "alice", "secret of alice");
                client.allocates(&mut world).port()
            })
            .collect()
    };
    let drawn = ports(1);
    assert_ne!(drawn, ports(2), "another seed draws others");
    let steps: BTreeSet<_> = drawn.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 180, "{} different steps", steps.len());
    let quarters: BTreeSet<_> = drawn.iter().map(|port| (port - 49_152) / 4_096).collect();
    assert_eq!(quarters.len(), 4, "the whole range is used");
}

/// CVE-2026-43994: an access token longer than the buffer it was opened into, before any authentication.
#[test]
fn an_access_token_of_any_length_is_refused_like_any_other_that_is_not_genuine() {
    let mut config = config();
    config.third_party_authorization = Some("server".to_owned());
    config.challenges.burst = 10_000;
    let mut world = World::with(config);
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    for len in (0..300).chain([512, 1_024, 2_000, 3_000]) {
        for first in [[0, 12], [0, 0], [0xff, 0xff], (len as u16).to_be_bytes()] {
            let mut token = vec![0x5a; len];
            let head = len.min(2);
            token[..head].copy_from_slice(&first[..head]);
            let answer = alice.asks(&mut world, Method::ALLOCATE, |writer| {
                writer
                    .requested_transport_udp()
                    .attribute(AttributeType::ACCESS_TOKEN, &token)
            });
            assert_eq!(answer.code(), 401, "{len}");
        }
    }
    assert_eq!(world.server.allocations(), 0);
}

/// CVE-2026-68552: a length cut to sixteen bits made one message look like two.
#[test]
fn a_length_that_is_not_the_datagrams_is_malformed() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let good = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    let claimed = good.len() - HEADER_BYTES;
    for len in (0..=0xffff_usize).filter(|len| *len != claimed) {
        let mut wrong = good.clone();
        wrong[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let verdict = world.deliver(alice.five_tuple, &wrong);
        assert_eq!(verdict, ClientVerdict::Drop(DropReason::Malformed), "{len}");
    }
    let twice = [&good[..], &good].concat();
    let verdict = world.deliver(alice.five_tuple, &twice);
    assert_eq!(verdict, ClientVerdict::Drop(DropReason::Malformed));
    let mut long = vec![0; 65_507];
    long[..good.len()].copy_from_slice(&good);
    assert_eq!(
        world.deliver(alice.five_tuple, &long),
        ClientVerdict::Drop(DropReason::Malformed)
    );
    assert_eq!((world.out.sent.len(), world.server.allocations()), (0, 0));
}

/// GHSA-4g7c-p5wg-j4hp: names were used as formats and as patterns on their way to Redis.
#[test]
fn a_name_is_passed_on_byte_for_byte_whatever_is_in_it() {
    let names = [
        "%s%n%x",
        "*",
        "a b",
        "a\nset x y\r\n",
        "../../a",
        "a\0b",
        "turn/realm/*",
        "{}",
        "\u{202e}\u{1f4a3}",
    ];
    for name in names {
        let mut config = config();
        let password = UserSecret::Password(Secret::new("secret"));
        config.users = vec![(name.to_owned(), password)];
        let mut world = World::with(config);
        Client::new("203.0.113.7:6000", name, "secret").allocates(&mut world);
        let Some(Event::Began(session)) = world.server.poll_event() else {
            panic!("{name:?} allocates");
        };
        assert_eq!(*session.user, *name);

        let stored = Config {
            credential_store: true,
            ..crate::world::config()
        };
        let mut world = World::with(stored);
        let mut stranger = Client::new("203.0.113.7:6000", name, "secret");
        stranger.learns_nonce(&mut world);
        let request = stranger.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
        world.deliver(stranger.five_tuple, &request);
        let Some(Event::LookUp { wanted, .. }) = world.server.poll_event() else {
            panic!("{name:?} is looked up");
        };
        assert_eq!(wanted, Wanted::User(name.into()));
    }
}

/// Asks with attributes behind the one that protects the message.
fn asks_with_more(world: &mut World, client: &mut Client, method: Method, sha256: bool, behind: impl Body) -> Answer {
    let (user, nonce) = (client.user.clone(), client.nonce.clone());
    let request = client.unsigned(method, |writer: MessageWriter<'_>| {
        let writer = writer.username(&user).realm(REALM).nonce(&nonce);
        behind(if sha256 {
            let key = IntegrityKeySha256::new(&long_term_key_sha256("alice", REALM, "secret of alice"));
            writer
                .password_algorithms(&[PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5])
                .password_algorithm(PasswordAlgorithm::Sha256)
                .message_integrity_sha256(&key)
        } else {
            writer.message_integrity(&IntegrityKey::long_term("alice", REALM, "secret of alice"))
        })
    });
    world.ask(client.five_tuple, &request)
}

/// Who sits between could add what nobody had signed.
#[test]
fn attributes_behind_the_integrity_mean_nothing() {
    for sha256 in [false, true] {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice.allocates(&mut world);
        let peer = address("192.0.2.5:7000");
        let answer = asks_with_more(&mut world, &mut alice, Method::CREATE_PERMISSION, sha256, |writer| {
            writer.xor_peer_address(peer)
        });
        assert_eq!(answer.code(), 400, "no peer was asked for");
        assert!(alice.sends(&mut world, "192.0.2.5:7000", b"x").is_err());
        let answer = asks_with_more(&mut world, &mut alice, Method::REFRESH, sha256, |writer| {
            writer.lifetime_s(0)
        });
        assert_eq!((answer.code(), answer.lifetime_s()), (0, 600));
        assert_eq!(world.server.allocations(), 1);
    }
}

/// EVEN-PORT without reservation took the odd port out of the pool and never gave it back.
#[test]
fn even_port_without_reservation_leaves_the_odd_port_to_others() {
    let mut config = config();
    config.ports = PortShare::whole(50_000..=50_001);
    let mut world = World::with(config);
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    for _ in 0..3 {
        let even = alice.asks_allocation_with(&mut world, &[(AttributeType::EVEN_PORT, &[0])]);
        assert_eq!((even.relayed().port(), even.token()), (50_000, None));
        assert_eq!(bob.allocates(&mut world).port(), 50_001);
        alice.refreshes(&mut world, 0).granted();
        bob.refreshes(&mut world, 0).granted();
    }
}

/// Forged requests, of anybody and of one victim: no memory, no socket, no timer, and never half again as many bytes as
/// came.
#[test]
fn strangers_leave_nothing_behind_and_what_their_victims_hear_is_less_than_what_was_sent() {
    let mut world = World::new();
    let mut sender = Client::new("203.0.113.7:6000", "alice", "wrong");
    let kinds = [
        sender.unsigned(Method::ALLOCATE, |writer| writer.requested_transport_udp()),
        sender.unsigned(Method::REFRESH, |writer| writer),
        sender.unsigned(Method::BINDING, |writer| writer),
        sender.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp()),
        sender.signed(Method::CREATE_PERMISSION, |writer| {
            writer.xor_peer_address(address("192.0.2.1:1"))
        }),
    ];
    let mut rng = Rng::from_number(7);
    let (mut came, mut went) = (0, 0);
    let victim = FiveTuple {
        socket: LISTENER,
        client: address("203.0.113.99:53"),
    };
    for n in 0..40_000_u32 {
        let request = &kinds[n as usize % kinds.len()];
        let anybody = SocketAddr::from((rng.u32().to_be_bytes(), rng.u32() as u16));
        world.deliver(
            FiveTuple {
                client: anybody,
                ..victim
            },
            request,
        );
        world.out.sent.clear();
        came += request.len();
        world.deliver(victim, request);
        went += world.out.sent.drain(..).map(|(_, _, sent)| sent.len()).sum::<usize>();
        world.pass_unnoticed(Duration::from_micros(50));
    }
    assert!(2 * went <= 3 * came, "{went} bytes for {came}");
    assert_eq!((world.server.allocations(), world.relays.len()), (0, 0));
    assert_eq!(world.server.poll_timeout(), None);
    assert!(world.server.poll_event().is_none());
}

/// A comparison that stops at the first wrong byte gives a code away byte by byte. Time cannot be tested; that every byte
/// counts can.
#[test]
fn every_bit_of_an_integrity_counts() {
    let mut config = config();
    config.challenges.burst = 10_000;
    let mut world = World::with(config);
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let good = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    for bit in 0..160 {
        let mut wrong = good.clone();
        let at = wrong.len() - 20 + bit / 8;
        wrong[at] ^= 1 << (bit % 8);
        let answer = world.ask(alice.five_tuple, &wrong);
        assert_eq!(answer.code(), 401, "{bit}");
    }
    assert_eq!(world.metrics.authentication_failures.value(), 160);
    assert!(Message::parse(&world.ask(alice.five_tuple, &good).0).is_ok());
    assert_eq!(world.server.allocations(), 1);
}

/// Another source that knows everything but the key.
#[test]
fn who_sees_a_clients_messages_can_neither_use_nor_end_its_allocation() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.binds(&mut world, 0x4000, "192.0.2.5:7000").granted();
    let release = alice.signed(Method::REFRESH, |writer| writer.lifetime_s(0));
    let other = FiveTuple {
        socket: LISTENER,
        client: address("203.0.113.66:6000"),
    };
    assert_eq!(world.ask(other, &release).code(), 438, "its nonce is alice's");
    let mut forged = release.clone();
    forged[10] ^= 1;
    let spoofed = alice.five_tuple;
    let answer = world.ask(spoofed, &forged);
    assert_eq!(answer.code(), 401, "its id was signed too");
    let data = [0x40, 0, 0, 1, b'x', 0, 0, 0];
    assert_eq!(
        world.deliver(other, &data),
        ClientVerdict::Drop(DropReason::NoAllocation)
    );
    assert!(alice.sends_channel(&mut world, 0x4000, b"x").is_ok());
    assert_eq!(world.metrics.refused.of(Refusal::StaleNonce).value(), 1);
}

/// A reload that closes a peer closes it for calls that are going on.
#[test]
fn a_rule_that_comes_later_ends_what_it_forbids() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    alice.binds(&mut world, 0x4000, "10.1.2.3:7000").granted();
    let relay = world.relay_of(relayed);
    let mut closed = config();
    closed.peers.deny = vec!["10.0.0.0/8".parse().unwrap()];
    world.command(Command::Reconfigure(Box::new(closed)));
    assert!(alice.sends_channel(&mut world, 0x4000, b"x").is_err());
    assert_eq!(
        world.peer_sends(relay, "10.1.2.3:7000", b"x"),
        Err(DropReason::NoPermission)
    );
}
