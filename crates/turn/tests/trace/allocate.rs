//! Allocate (RFC 8656 §7): each way to get a relay, and each refusal.

use std::time::Duration;

use voex_base::SocketId;
use voex_stun::{AddressFamily, AttributeType, IntegrityKey, Method, ReservationToken};
use voex_turn::{BindError, BindRequest, ClientVerdict, Output, PortShare, Refusal, RelayAddress};

use crate::world::{Client, REALM, World, address, config, ip};

#[test]
fn a_client_with_credentials_gets_the_public_address_of_a_relay() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let answer = alice.asks_allocation(&mut world, |writer| writer).granted();
    let relayed = answer.relayed();
    assert_eq!(relayed.ip(), ip("198.51.100.1"));
    assert!(relayed.port() >= 49_152);
    assert_eq!(answer.lifetime_s(), 600);
    assert_eq!(answer.message().xor_mapped_address(), Ok(Some(alice.five_tuple.client)));
    let relay = world.relay_of(relayed);
    assert_eq!(
        world.relays[&relay],
        format!("10.0.0.1:{}", relayed.port()).parse().unwrap()
    );
    assert_eq!(
        (
            world.metrics.allocations.value(),
            world.metrics.allocations_total.value()
        ),
        (1, 1)
    );
}

#[test]
fn a_relay_is_found_by_both_of_its_addresses() {
    let mut world = World::new();
    let public = Client::alice().allocates(&mut world);
    let relay = world.relay_of(public);
    let both = world.server.relayed_address(relay).unwrap();
    assert_eq!((both.public, both.local), (public, world.relays[&relay]));
    assert_eq!(world.server.relay_by_address(both.local), Some(relay));
    assert_eq!(world.server.relay_by_address(address("198.51.100.1:1")), None);
}

#[test]
fn a_retransmission_gets_the_same_answer_and_no_second_relay() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let request = alice.signed(Method::ALLOCATE, |w| {
        w.requested_transport_udp().attribute(AttributeType::EVEN_PORT, &[0x80])
    });
    let first = world.ask(alice.five_tuple, &request).granted();
    world.pass(Duration::from_secs(2));
    let second = world.ask(alice.five_tuple, &request);
    assert_eq!(first, second);
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn a_retransmission_while_the_relay_is_being_bound_adds_nothing() {
    let mut world = World::new();
    world.binds_by_hand = true;
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let request = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    for _ in 0..3 {
        assert_eq!(world.deliver(alice.five_tuple, &request), ClientVerdict::Handled);
    }
    assert!(world.out.sent.is_empty());
    let other = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    assert_eq!(world.ask(alice.five_tuple, &other).code(), 437);
    assert_eq!(alice.refreshes(&mut world, 600).code(), 437);

    world.serve_sockets();
    assert_eq!(world.only_sent(alice.five_tuple).granted().lifetime_s(), 600);
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn a_second_allocate_on_the_same_five_tuple_gets_437() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(alice.asks_allocation(&mut world, |writer| writer).code(), 437);
    assert_eq!(world.metrics.refused.of(Refusal::AllocationMismatch).value(), 1);
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn transport_is_required_and_is_udp() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    assert_eq!(alice.asks(&mut world, Method::ALLOCATE, |writer| writer).code(), 400);
    assert_eq!(
        ask_with(
            &mut alice,
            &mut world,
            &[(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0])]
        )
        .code(),
        442
    );
    assert_eq!(
        ask_with(&mut alice, &mut world, &[(AttributeType::REQUESTED_TRANSPORT, &[17])]).code(),
        400
    );
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn an_unknown_attribute_gets_420_and_its_name_under_integrity() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let answer = alice.asks_allocation(&mut world, |w| w.attribute(AttributeType(0x7001), &[]));
    assert_eq!(answer.code(), 420);
    assert!(
        answer
            .message()
            .listed_unknown_attributes()
            .types()
            .eq([AttributeType(0x7001)])
    );
    alice
        .asks_allocation(&mut world, |w| w.attribute(AttributeType(0xf001), &[]))
        .granted();
}

#[test]
fn dont_fragment_gets_420_until_sockets_can_do_it() {
    let ask = |world: &mut World| {
        Client::alice().asks_allocation(world, |writer| writer.attribute(AttributeType::DONT_FRAGMENT, &[]))
    };
    let answer = ask(&mut World::new());
    assert_eq!(answer.code(), 420);
    assert!(
        answer
            .message()
            .listed_unknown_attributes()
            .types()
            .eq([AttributeType::DONT_FRAGMENT])
    );

    let mut config = config();
    config.dont_fragment = true;
    ask(&mut World::with(config)).granted();
}

#[test]
fn the_family_asked_for_is_the_family_of_the_relay() {
    let mut world = World::new();
    let answer = Client::alice().asks_allocation(&mut world, |w| w.requested_address_family(AddressFamily::V6));
    assert_eq!(answer.granted().relayed().ip(), ip("2001:db8::1"));

    let mut config = config();
    config.relays.truncate(1);
    let mut world = World::with(config);
    let mut alice = Client::alice();
    let answer = alice.asks_allocation(&mut world, |w| w.requested_address_family(AddressFamily::V6));
    assert_eq!(answer.code(), 440);
    let odd = &[
        (AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0][..]),
        (AttributeType::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]),
    ];
    assert_eq!(ask_with(&mut alice, &mut world, odd).code(), 440);
}

#[test]
fn even_port_gives_an_even_port_and_keeps_the_next_one_for_the_token() {
    let mut world = World::new();
    let mut first = Client::alice();
    let answer = first
        .asks_allocation(&mut world, |w| w.attribute(AttributeType::EVEN_PORT, &[0x80]))
        .granted();
    let even = answer.relayed();
    assert_eq!(even.port() % 2, 0);
    let token = answer.token().expect("the next port is kept");

    let mut second = Client::new("203.0.113.7:6001", "alice", "secret of alice");
    let answer = second
        .asks_allocation(&mut world, |w| w.reservation_token(token))
        .granted();
    assert_eq!(answer.relayed().port(), even.port() + 1);
    assert_eq!(answer.token(), None);

    let mut third = Client::new("203.0.113.7:6002", "alice", "secret of alice");
    assert_eq!(
        third.asks_allocation(&mut world, |w| w.reservation_token(token)).code(),
        508,
        "a token works once"
    );
}

#[test]
fn a_port_is_promised_only_after_it_has_been_tried() {
    let mut world = World::new();
    world.binds_by_hand = true;
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let request = alice.signed(Method::ALLOCATE, |w| {
        w.requested_transport_udp().attribute(AttributeType::EVEN_PORT, &[0x80])
    });
    world.deliver(alice.five_tuple, &request);
    let next_bind = |world: &mut World| match world.server.poll_output() {
        Some(Output::BindRelay { request, address, .. }) => (request, address),
        other => panic!("a bind request and not {other:?}"),
    };
    let answer = |world: &mut World, request, bound| {
        let (now, wall) = (world.now(), world.wall());
        world
            .server
            .handle_relay_bound(now, wall, request, bound, &mut world.out);
    };
    let (first, taken) = next_bind(&mut world);
    assert_eq!(taken.port() % 2, 1);
    answer(&mut world, first, Err(BindError::AddressInUse));
    let (second, odd) = next_bind(&mut world);
    assert_eq!(odd.port() % 2, 1);
    answer(&mut world, second, Ok(SocketId(901)));
    assert_eq!(world.server.poll_output(), Some(Output::CloseRelay(SocketId(901))));
    let (third, even) = next_bind(&mut world);
    assert_eq!(even.port(), odd.port() - 1);
    answer(&mut world, third, Ok(SocketId(902)));
    let answer = world.only_sent(alice.five_tuple).granted();
    assert_eq!(answer.relayed().port(), even.port());
    assert!(answer.token().is_some());
}

#[test]
fn even_port_without_reservation_gives_no_token() {
    let mut world = World::new();
    let answer = Client::alice()
        .asks_allocation(&mut world, |w| w.attribute(AttributeType::EVEN_PORT, &[0]))
        .granted();
    assert_eq!((answer.relayed().port() % 2, answer.token()), (0, None));
}

#[test]
fn a_kept_port_goes_to_nobody_else_until_its_token_expires() {
    let mut config = config();
    config.ports = PortShare::whole(50_000..=50_001);
    let mut world = World::with(config);
    let mut first = Client::alice();
    first
        .asks_allocation(&mut world, |w| w.attribute(AttributeType::EVEN_PORT, &[0x80]))
        .granted();
    let mut second = Client::bob();
    assert_eq!(second.asks_allocation(&mut world, |writer| writer).code(), 508);
    world.pass(Duration::from_secs(29));
    assert_eq!(second.asks_allocation(&mut world, |writer| writer).code(), 508);
    world.pass(Duration::from_secs(1));
    assert_eq!(second.allocates(&mut world).port(), 50_001);
}

#[test]
fn a_token_is_redeemed_on_another_shard_of_the_process() {
    let shard = |index| {
        let mut config = config();
        config.ports = PortShare::new(49_152..=65_535, index, 2);
        World::with(config)
    };
    let (mut here, mut there) = (shard(0), shard(1));
    let answer = Client::alice()
        .asks_allocation(&mut here, |w| w.attribute(AttributeType::EVEN_PORT, &[0x80]))
        .granted();
    let (even, token) = (answer.relayed(), answer.token().unwrap());
    let mut second = Client::new("203.0.113.7:6001", "alice", "secret of alice");
    let answer = second
        .asks_allocation(&mut there, |w| w.reservation_token(token))
        .granted();
    assert_eq!(answer.relayed().port(), even.port() + 1);
}

#[test]
fn a_token_for_a_port_that_is_no_relay_port_gets_508() {
    let with_ports = |ports| {
        let mut config = config();
        config.ports = PortShare::whole(ports);
        World::with(config)
    };
    let token = Client::alice()
        .asks_allocation(&mut with_ports(20_000..=20_001), |w| {
            w.attribute(AttributeType::EVEN_PORT, &[0x80])
        })
        .granted()
        .token()
        .unwrap();
    for (ports, code) in [(50_000..=50_001, Some(508)), (20_000..=20_001, None)] {
        let mut world = with_ports(ports);
        let answer = Client::alice().asks_allocation(&mut world, |w| w.reservation_token(token));
        assert_eq!(answer.message().error_code().unwrap().map(|code| code.number()), code);
    }
}

#[test]
fn a_token_of_another_user_or_an_invented_one_gets_508() {
    let mut world = World::new();
    let answer = Client::alice()
        .asks_allocation(&mut world, |w| w.attribute(AttributeType::EVEN_PORT, &[0x80]))
        .granted();
    let token = answer.token().unwrap();
    let mut bob = Client::bob();
    assert_eq!(
        bob.asks_allocation(&mut world, |w| w.reservation_token(token)).code(),
        508
    );
    assert_eq!(
        bob.asks_allocation(&mut world, |w| w.reservation_token(ReservationToken([0; 8])))
            .code(),
        508
    );
}

#[test]
fn a_token_together_with_even_port_or_a_family_is_a_bad_request() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let token = ReservationToken([0; 8]);
    let answer = alice.asks_allocation(&mut world, |w| {
        w.reservation_token(token).attribute(AttributeType::EVEN_PORT, &[0])
    });
    assert_eq!(answer.code(), 400);
    let answer = alice.asks_allocation(&mut world, |w| {
        w.reservation_token(token).requested_address_family(AddressFamily::V4)
    });
    assert_eq!(answer.code(), 400);
}

#[test]
fn a_port_in_use_is_passed_over() {
    let mut world = World::new();
    world.bind_errors = vec![BindError::AddressInUse; 15];
    Client::alice().allocates(&mut world);
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn after_sixteen_ports_in_use_or_one_other_error_the_answer_is_508() {
    for errors in [vec![BindError::AddressInUse; 16], vec![BindError::Failed]] {
        let mut world = World::new();
        world.bind_errors = errors;
        let mut alice = Client::alice();
        assert_eq!(alice.asks_allocation(&mut world, |writer| writer).code(), 508);
        assert!(world.bind_errors.is_empty());
        assert_eq!(world.server.allocations(), 0);
        alice.allocates(&mut world);
    }
}

#[test]
fn when_every_port_is_taken_the_answer_is_508_and_a_freed_port_is_used_again() {
    let mut config = config();
    config.ports = PortShare::whole(50_000..=50_003);
    let mut world = World::with(config);
    let mut clients: Vec<Client> = (0..5)
        .map(|n| Client::new(&format!("203.0.113.7:{n}"), "alice", "secret of alice"))
        .collect();
    let (last, first) = clients.split_last_mut().unwrap();
    let mut ports: Vec<u16> = first
        .iter_mut()
        .map(|client| client.allocates(&mut world).port())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [50_000, 50_001, 50_002, 50_003]);
    assert_eq!(last.asks_allocation(&mut world, |writer| writer).code(), 508);
    first[2].refreshes(&mut world, 0).granted();
    last.allocates(&mut world);
}

#[test]
fn a_user_at_its_quota_gets_486_whatever_expiry_its_name_carries() {
    let mut config = config();
    config.allocations_per_user_max = Some(2);
    config
        .users
        .push(("1900000000:alice".to_owned(), config.users[0].1.clone()));
    let mut world = World::with(config);
    let mut first = Client::alice();
    first.allocates(&mut world);
    Client::new("203.0.113.7:6001", "1900000000:alice", "secret of alice").allocates(&mut world);
    let mut third = Client::new("203.0.113.7:6002", "alice", "secret of alice");
    assert_eq!(third.asks_allocation(&mut world, |writer| writer).code(), 486);
    Client::bob().allocates(&mut world);
    first.refreshes(&mut world, 0).granted();
    third.allocates(&mut world);
}

#[test]
fn a_full_shard_and_a_draining_one_answer_508() {
    let mut config = config();
    config.allocations_max = 1;
    let mut world = World::with(config);
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(Client::bob().asks_allocation(&mut world, |writer| writer).code(), 508);

    let mut world = World::new();
    alice = Client::alice();
    alice.allocates(&mut world);
    world.server.refuse_new_allocations();
    assert_eq!(Client::bob().asks_allocation(&mut world, |writer| writer).code(), 508);
    alice.refreshes(&mut world, 600).granted();
}

#[test]
fn a_socket_that_comes_too_late_is_closed() {
    let mut world = World::new();
    world.binds_by_hand = true;
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let request = alice.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    world.deliver(alice.five_tuple, &request);
    world.server.close_client(alice.five_tuple);
    world.serve_sockets();
    assert!(world.relays.is_empty() && world.out.sent.is_empty());
    assert_eq!((world.server.allocations(), world.metrics.allocations.value()), (0, 0));

    let (now, wall) = (world.now(), world.wall());
    world
        .server
        .handle_relay_bound(now, wall, BindRequest(999), Err(BindError::Failed), &mut world.out);
    assert_eq!(world.server.poll_output(), None);
}

#[test]
fn the_software_name_is_told_under_integrity_only() {
    let mut config = config();
    config.software = "a relay".to_owned();
    let mut world = World::with(config);
    let mut alice = Client::alice();
    let request = alice.unsigned(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    assert_eq!(world.ask(alice.five_tuple, &request).message().software(), Ok(None));
    let answer = alice.asks_allocation(&mut world, |writer| writer).granted();
    assert_eq!(answer.message().software(), Ok(Some("a relay")));
}

#[test]
fn a_request_with_fingerprint_gets_an_answer_with_one() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let (nonce, key) = (
        alice.nonce.clone(),
        IntegrityKey::long_term("alice", REALM, "secret of alice"),
    );
    let request = alice.unsigned(Method::ALLOCATE, |w| {
        w.requested_transport_udp()
            .username("alice")
            .realm(REALM)
            .nonce(&nonce)
            .message_integrity(&key)
            .fingerprint()
    });
    let answer = world.ask(alice.five_tuple, &request).granted();
    assert_eq!(answer.message().fingerprint_fits(), Some(true));
    assert_eq!(answer.message().check_integrity(&key), Ok(()));
}

#[test]
fn without_nat_both_addresses_are_one() {
    let mut config = config();
    config.relays = vec![RelayAddress {
        local: ip("192.0.2.1"),
        public: ip("192.0.2.1"),
    }];
    let mut world = World::with(config);
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    assert_eq!(world.relays[&world.relay_of(relayed)], relayed);
    alice.refreshes(&mut world, 0).granted();
    assert_eq!(world.server.relay_by_address(relayed), None);
}

fn ask_with(client: &mut Client, world: &mut World, attributes: &[(AttributeType, &[u8])]) -> crate::world::Answer {
    client.asks(world, Method::ALLOCATE, |writer| {
        attributes
            .iter()
            .fold(writer, |writer, (kind, value)| writer.attribute(*kind, value))
    })
}
