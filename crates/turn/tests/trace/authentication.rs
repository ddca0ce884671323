//! Who gets in (RFC 8489 §9.2), and what strangers get.

use std::time::Duration;

use voex_base::FiveTuple;
use voex_stun::{AttributeType, Class, IntegrityKey, Method, TransactionId, long_term_key};
use voex_turn::{AnswerRate, ClientVerdict, DropReason, Refusal, Secret, UserSecret};

use crate::world::{Client, REALM, UNIX_START_S, World, address, config, message, rest_password};

#[test]
fn anybody_learns_its_address_by_binding() {
    let mut world = World::new();
    let mut stranger = Client::new("[2001:db8:7::1]:4444", "", "");
    let request = stranger.unsigned(Method::BINDING, |writer| writer.fingerprint());
    let answer = world.ask(stranger.five_tuple, &request);
    assert_eq!(
        answer.message().xor_mapped_address(),
        Ok(Some(address("[2001:db8:7::1]:4444")))
    );
    assert_eq!(answer.message().fingerprint_fits(), Some(true));
    assert_eq!(world.metrics.bindings_total.value(), 1);
}

#[test]
fn a_client_seen_through_a_dual_stack_socket_learns_its_ipv4_address() {
    let mut world = World::new();
    let mut stranger = Client::new("[::ffff:203.0.113.9]:4444", "", "");
    let request = stranger.unsigned(Method::BINDING, |writer| writer);
    let answer = world.ask(stranger.five_tuple, &request);
    assert_eq!(
        answer.message().xor_mapped_address(),
        Ok(Some(address("203.0.113.9:4444")))
    );
    assert_eq!(answer.0.len(), 32);
}

#[test]
fn binding_with_an_attribute_nobody_knows_gets_420_and_its_name() {
    let mut world = World::new();
    let mut stranger = Client::alice();
    let request = stranger.unsigned(Method::BINDING, |writer| {
        writer.attribute(AttributeType(0x0003), &[0; 4])
    });
    let answer = world.ask(stranger.five_tuple, &request);
    assert_eq!(answer.code(), 420);
    assert!(
        answer
            .message()
            .listed_unknown_attributes()
            .types()
            .eq([AttributeType(3)])
    );
}

#[test]
fn without_credentials_every_turn_request_gets_401_with_realm_and_nonce() {
    let mut world = World::new();
    let mut stranger = Client::alice();
    for method in [
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
    ] {
        let request = stranger.unsigned(method, |writer| writer);
        let answer = world.ask(stranger.five_tuple, &request);
        assert_eq!(answer.code(), 401, "{method:?}");
        assert_eq!(answer.message().realm(), Ok(Some(REALM)));
        assert!(answer.message().nonce().unwrap().is_some());
        assert!(!answer.message().has_integrity());
    }
    assert_eq!(world.metrics.refused.of(Refusal::Unauthenticated).value(), 4);
    assert_eq!(world.metrics.authentication_failures.value(), 0);
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_401() {
    for (user, password) in [
        ("alice", "guess"),
        ("mallory", "secret of alice"),
        ("", ""),
        ("17:mallory", "x"),
    ] {
        let mut world = World::new();
        let mut client = Client::new("203.0.113.7:6000", user, password);
        let answer = client.asks_allocation(&mut world, |writer| writer);
        assert_eq!(answer.code(), 401, "{user}");
        assert_eq!(answer.message().realm(), Ok(Some(REALM)));
        assert!(!answer.message().has_integrity());
        assert_eq!(world.metrics.authentication_failures.value(), 1);
        assert_eq!(world.server.allocations(), 0);
        assert!(world.relays.is_empty());
    }
}

#[test]
fn integrity_without_user_realm_or_nonce_is_a_bad_request() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let key = IntegrityKey::long_term("alice", REALM, "secret of alice");
    let nonce = alice.nonce.clone();
    for missing in 0..3 {
        let request = alice.unsigned(Method::ALLOCATE, |mut writer| {
            writer = writer.requested_transport_udp();
            writer = if missing == 0 { writer } else { writer.username("alice") };
            writer = if missing == 1 { writer } else { writer.realm(REALM) };
            writer = if missing == 2 { writer } else { writer.nonce(&nonce) };
            writer.message_integrity(&key)
        });
        let answer = world.ask(alice.five_tuple, &request);
        assert_eq!(answer.code(), 400, "{missing}");
        assert_eq!(answer.message().nonce(), Ok(None));
    }
}

#[test]
fn a_nonce_ages_into_438_and_the_new_one_is_good() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.refreshes(&mut world, 3_600).granted();
    world.pass(Duration::from_secs(599));
    alice.refreshes(&mut world, 3_600).granted();
    world.pass(Duration::from_secs(1));
    let answer = alice.refreshes(&mut world, 3_600);
    assert_eq!(answer.code(), 438);
    assert_eq!(answer.message().realm(), Ok(Some(REALM)));
    alice.nonce = answer.message().nonce().unwrap().unwrap().to_vec();
    alice.refreshes(&mut world, 3_600).granted();
}

#[test]
fn a_nonce_taken_from_another_client_is_stale() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    alice.learns_nonce(&mut world);
    bob.nonce = alice.nonce.clone();
    assert_eq!(bob.asks_allocation(&mut world, |writer| writer).code(), 438);
}

#[test]
fn a_user_stored_as_a_key_is_as_good_as_one_with_a_password() {
    let mut config = config();
    let key = long_term_key("carol", REALM, "secret of carol");
    config.users.push(("carol".to_owned(), UserSecret::Key(key)));
    let mut world = World::with(config);
    Client::new("203.0.113.9:1", "carol", "secret of carol").allocates(&mut world);
}

#[test]
fn a_time_limited_user_gets_in_until_its_time_is_over() {
    let world_with_secrets = || {
        let mut config = config();
        config.shared_secrets = vec![Secret::new("old secret"), Secret::new("north")];
        World::with(config)
    };
    let expiry = UNIX_START_S + 100;
    for name in [
        format!("{expiry}:carol"),
        format!("carol:{expiry}"),
        format!("{expiry}"),
    ] {
        for secret in ["old secret", "north"] {
            let password = rest_password(secret, &name);
            let mut world = world_with_secrets();
            world.pass(Duration::from_secs(100));
            Client::new("203.0.113.9:1", &name, &password).allocates(&mut world);

            let mut world = world_with_secrets();
            world.pass(Duration::from_secs(101));
            let mut late = Client::new("203.0.113.9:1", &name, &password);
            assert_eq!(late.asks_allocation(&mut world, |writer| writer).code(), 401);
        }
    }
    let name = format!("{expiry}:carol");
    let mut forger = Client::new("203.0.113.9:1", &name, &rest_password("south", &name));
    assert_eq!(
        forger
            .asks_allocation(&mut world_with_secrets(), |writer| writer)
            .code(),
        401
    );
}

#[test]
fn an_allocation_outlives_the_time_limited_name_that_made_it() {
    let mut config = config();
    config.shared_secrets = vec![Secret::new("north")];
    let mut world = World::with(config);
    let name = format!("{}:carol", UNIX_START_S + 10);
    let mut carol = Client::new("203.0.113.9:1", &name, &rest_password("north", &name));
    carol.allocates(&mut world);
    world.pass(Duration::from_secs(300));
    carol.refreshes(&mut world, 600).granted();
}

#[test]
fn answers_to_strangers_are_bounded_by_source() {
    let mut config = config();
    config.challenges = AnswerRate { per_s: 5, burst: 10 };
    let mut world = World::with(config);
    let answers = |world: &mut World, client: &str| {
        let mut stranger = Client::new(client, "", "");
        let mut answered = 0;
        for _ in 0..50 {
            let request = stranger.unsigned(Method::ALLOCATE, |writer| writer);
            match world.deliver(stranger.five_tuple, &request) {
                ClientVerdict::Handled => answered += 1,
                verdict => assert_eq!(verdict, ClientVerdict::Drop(DropReason::AnswerRateLimited)),
            }
        }
        answered
    };
    assert_eq!(answers(&mut world, "203.0.113.50:1"), 10);
    assert_eq!(
        answers(&mut world, "203.0.113.50:2"),
        0,
        "another port is the same source"
    );
    assert_eq!(answers(&mut world, "203.0.113.51:1"), 10);
    world.pass(Duration::from_secs(1));
    assert_eq!(answers(&mut world, "203.0.113.50:1"), 5);
    assert_eq!(
        world.metrics.dropped.of(DropReason::AnswerRateLimited).value(),
        40 + 50 + 40 + 45
    );
}

#[test]
fn a_client_that_proved_itself_is_not_bounded() {
    let mut config = config();
    config.challenges = AnswerRate { per_s: 1, burst: 2 };
    let mut world = World::with(config);
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    for _ in 0..20 {
        alice.refreshes(&mut world, 600).granted();
    }
}

#[test]
fn a_challenge_stays_small() {
    let mut world = World::new();
    let mut stranger = Client::alice();
    let request = stranger.unsigned(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    let answer = world.ask(stranger.five_tuple, &request);
    // Header, error code with its reason, nonce, a realm of nine to twelve characters, and two password algorithms.
    assert_eq!(answer.0.len(), 20 + 20 + 36 + 16 + 12);
}

#[test]
fn strangers_who_use_up_their_challenges_still_learn_their_address() {
    let mut config = config();
    config.challenges = AnswerRate { per_s: 1, burst: 1 };
    config.bindings = AnswerRate { per_s: 1, burst: 2 };
    let mut world = World::with(config);
    let mut stranger = Client::alice();
    let mut ask = |method, software: &str| {
        let request = stranger.unsigned(method, |writer| writer.software(software));
        world.deliver(stranger.five_tuple, &request)
    };
    let limited = ClientVerdict::Drop(DropReason::AnswerRateLimited);
    assert_eq!(ask(Method::ALLOCATE, ""), ClientVerdict::Handled);
    assert_eq!(ask(Method::ALLOCATE, ""), limited);
    for expected in [ClientVerdict::Handled, ClientVerdict::Handled, limited] {
        assert_eq!(ask(Method::BINDING, ""), expected);
    }
    for _ in 0..10 {
        // 32 bytes for 28, and 104 for 76.
        assert_eq!(ask(Method::BINDING, "me"), ClientVerdict::Handled);
        assert_eq!(ask(Method::ALLOCATE, &"m".repeat(52)), ClientVerdict::Handled);
    }
}

#[test]
fn what_only_servers_send_is_dropped() {
    let mut world = World::new();
    let from: FiveTuple = Client::alice().five_tuple;
    for (class, method) in [
        (Class::Success, Method::BINDING),
        (Class::Error, Method::ALLOCATE),
        (Class::Indication, Method::DATA),
        (Class::Indication, Method::ALLOCATE),
    ] {
        let datagram = message(class, method, TransactionId([0; 12]), |writer| writer);
        assert_eq!(
            world.deliver(from, &datagram),
            ClientVerdict::Drop(DropReason::UnexpectedClass)
        );
    }
    let datagram = message(Class::Request, Method::SEND, TransactionId([0; 12]), |writer| writer);
    assert_eq!(
        world.deliver(from, &datagram),
        ClientVerdict::Drop(DropReason::UnknownMethod)
    );
    let keep_alive = message(Class::Indication, Method::BINDING, TransactionId([0; 12]), |writer| {
        writer
    });
    assert_eq!(world.deliver(from, &keep_alive), ClientVerdict::Handled);
    assert!(world.out.sent.is_empty());
}
