//! Users whom a credential store knows: the request waits, the store is asked, the answer goes on with it.

use std::sync::Arc;
use std::time::Duration;

use voex_base::FiveTuple;
use voex_stun::{Method, long_term_key};
use voex_turn::{
    AnswerRate, ClientVerdict, Command, Config, DropReason, EndReason, Event, LookUpId, LookedUp, Secret, StoredUser,
    Wanted,
};

use crate::world::{Answer, Client, REALM, UNIX_START_S, World, config, rest_password};

#[test]
fn a_stored_user_allocates_once_the_store_has_answered() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    let request = waits(&mut world, &mut carol, Method::ALLOCATE);
    assert_eq!(world.metrics.look_ups_waiting.value(), 1);
    let (id, wanted) = question(&mut world);
    assert_eq!(wanted, Wanted::User("carol".into()));
    answer(&mut world, id, stored("secret of carol"));
    let granted = only_answer(&mut world, &carol, &request);
    assert_eq!(granted.code(), 0);
    assert_eq!(world.metrics.look_ups_waiting.value(), 0);
    assert_eq!(world.metrics.look_ups_total.value(), 1);
    assert_eq!(
        world.server.poll_timeout().map(|at| at - world.now()),
        Some(Duration::from_secs(600))
    );
}

#[test]
fn a_static_user_is_never_looked_up() {
    let mut world = World::with(with_store());
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    alice.refreshes(&mut world, 600).granted();
    alice.permits(&mut world, "192.0.2.1:7000").granted();
    assert_eq!(world.metrics.look_ups_total.value(), 0);
}

#[test]
fn an_unknown_user_and_a_wrong_password_get_the_same_401_after_the_same_look_up() {
    for found in [nobody(), stored("another secret")] {
        let mut world = World::with(with_store());
        let mut carol = carol();
        let request = waits(&mut world, &mut carol, Method::ALLOCATE);
        let (id, _) = question(&mut world);
        answer(&mut world, id, found);
        let refused = only_answer(&mut world, &carol, &request);
        assert_eq!(refused.code(), 401);
        assert!(refused.message().nonce().unwrap().is_some());
        assert!(!refused.message().has_integrity());
        assert_eq!(world.metrics.authentication_failures.value(), 1);
        assert_eq!(world.server.allocations(), 0);
    }
    // Nor does the time tell that a name is a static user's.
    let mut world = World::with(with_store());
    let mut guess = Client::new("203.0.113.7:6000", "alice", "guess");
    waits(&mut world, &mut guess, Method::ALLOCATE);
}

#[test]
fn a_request_with_a_stale_nonce_or_without_credentials_asks_nobody() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    carol.learns_nonce(&mut world);
    world.pass(Duration::from_secs(600));
    let request = carol.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    assert_eq!(world.ask(carol.five_tuple, &request).code(), 438);
    assert_eq!(world.metrics.look_ups_total.value(), 0);
}

#[test]
fn a_retransmission_of_a_waiting_request_asks_nothing_new_and_gets_the_one_answer() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    let request = waits(&mut world, &mut carol, Method::ALLOCATE);
    for _ in 0..10 {
        assert_eq!(world.deliver(carol.five_tuple, &request), ClientVerdict::Handled);
    }
    let (id, _) = question(&mut world);
    assert!(next_question(&mut world).is_none());
    answer(&mut world, id, stored("secret of carol"));
    only_answer(&mut world, &carol, &request).granted();
    answer(&mut world, id, stored("secret of carol"));
    assert!(world.out.sent.is_empty(), "a second answer means nothing");
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn a_request_that_waited_too_long_is_forgotten_and_a_late_answer_ignored() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    let request = waits(&mut world, &mut carol, Method::ALLOCATE);
    let (id, _) = question(&mut world);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.metrics.dropped.of(DropReason::LookUpTimedOut).value(), 1);
    assert_eq!(world.metrics.look_ups_waiting.value(), 0);
    answer(&mut world, id, stored("secret of carol"));
    assert!(world.out.sent.is_empty());
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.server.poll_timeout(), None);

    // The client is still trying.
    assert_eq!(world.deliver(carol.five_tuple, &request), ClientVerdict::Handled);
    let (again, _) = question(&mut world);
    assert_ne!(again, id);
    answer(&mut world, again, stored("secret of carol"));
    only_answer(&mut world, &carol, &request).granted();
}

#[test]
fn a_client_has_four_requests_waiting_at_most() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    for _ in 0..4 {
        waits(&mut world, &mut carol, Method::ALLOCATE);
    }
    assert_eq!(
        asks(&mut world, &mut carol),
        ClientVerdict::Drop(DropReason::LookUpsFull)
    );
    let (id, _) = question(&mut world);
    answer(&mut world, id, nobody());
    world.out.sent.clear();
    assert_eq!(asks(&mut world, &mut carol), ClientVerdict::Handled);
}

#[test]
fn a_shard_has_1024_requests_waiting_at_most() {
    let mut config = with_store();
    config.look_ups = AnswerRate {
        per_s: 10_000,
        burst: 10_000,
    };
    let mut world = World::with(config);
    for port in 0..1_024 {
        let mut client = Client::new(&format!("203.0.113.9:{}", 1_000 + port), "carol", "secret of carol");
        assert_eq!(asks(&mut world, &mut client), ClientVerdict::Handled);
    }
    let mut late = Client::new("203.0.113.10:1000", "carol", "secret of carol");
    assert_eq!(
        asks(&mut world, &mut late),
        ClientVerdict::Drop(DropReason::LookUpsFull)
    );
    assert_eq!(world.metrics.look_ups_waiting.value(), 1_024);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.metrics.look_ups_waiting.value(), 0);
    assert_eq!(asks(&mut world, &mut late), ClientVerdict::Handled);
}

#[test]
fn a_source_causes_no_more_look_ups_than_it_is_due() {
    let mut config = with_store();
    config.look_ups = AnswerRate { per_s: 1, burst: 2 };
    let mut world = World::with(config);
    let limited = ClientVerdict::Drop(DropReason::LookUpRateLimited);
    let from = |port: u16| Client::new(&format!("203.0.113.9:{port}"), "carol", "guess");
    assert_eq!(asks(&mut world, &mut from(1)), ClientVerdict::Handled);
    assert_eq!(asks(&mut world, &mut from(2)), ClientVerdict::Handled);
    assert_eq!(asks(&mut world, &mut from(3)), limited);
    let mut other = Client::new("203.0.113.10:1", "carol", "guess");
    assert_eq!(asks(&mut world, &mut other), ClientVerdict::Handled);
}

#[test]
fn a_request_longer_than_any_that_means_something_does_not_wait() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    carol.learns_nonce(&mut world);
    let long = "x".repeat(2_048);
    let mut ask = |software: &str| {
        let request = carol.signed(Method::ALLOCATE, |writer| writer.software(software));
        (request.len(), world.deliver(carol.five_tuple, &request))
    };
    let (without, _) = ask("");
    assert_eq!(ask(&long[..2_048 - 4 - without]), (2_048, ClientVerdict::Handled));
    let too_long = ClientVerdict::Drop(DropReason::TooLong);
    assert_eq!(ask(&long[..2_048 - without]), (2_052, too_long));
    assert_eq!(world.metrics.look_ups_total.value(), 2);
}

#[test]
fn while_the_store_is_out_of_reach_strangers_get_silence_and_allocations_live_on() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    allocates(&mut world, &mut carol, "secret of carol");

    let mut dave = Client::new("203.0.113.10:1", "dave", "secret of dave");
    waits(&mut world, &mut dave, Method::ALLOCATE);
    let (id, _) = question(&mut world);
    answer(&mut world, id, LookedUp::Unavailable);
    assert!(world.out.sent.is_empty());
    assert_eq!(world.metrics.dropped.of(DropReason::StoreUnavailable).value(), 1);

    let request = waits(&mut world, &mut carol, Method::REFRESH);
    let (id, _) = question(&mut world);
    answer(&mut world, id, LookedUp::Unavailable);
    only_answer(&mut world, &carol, &request).granted();
}

#[test]
fn a_refresh_that_finds_no_room_to_wait_is_granted_by_the_key_of_its_allocation() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    allocates(&mut world, &mut carol, "secret of carol");
    for _ in 0..4 {
        waits(&mut world, &mut carol, Method::REFRESH);
    }
    carol.refreshes(&mut world, 600).granted();
}

#[test]
fn a_refresh_asks_whether_the_user_still_exists_and_other_requests_do_not() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    allocates(&mut world, &mut carol, "secret of carol");
    carol.permits(&mut world, "192.0.2.1:7000").granted();
    carol.binds(&mut world, 0x4000, "192.0.2.1:7000").granted();
    let request = waits(&mut world, &mut carol, Method::REFRESH);
    let (id, wanted) = question(&mut world);
    assert_eq!(wanted, Wanted::User("carol".into()));
    answer(&mut world, id, stored("secret of carol"));
    only_answer(&mut world, &carol, &request).granted();
    // What ends an allocation needs nobody's leave.
    carol.refreshes(&mut world, 0).granted();
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn an_allocation_of_a_deleted_user_ends_at_its_next_refresh_with_all_others_of_that_user() {
    let mut world = World::with(with_store());
    let (mut carol, mut other) = (carol(), Client::new("203.0.113.10:1", "carol", "secret of carol"));
    allocates(&mut world, &mut carol, "secret of carol");
    allocates(&mut world, &mut other, "secret of carol");
    Client::alice().allocates(&mut world);
    let request = waits(&mut world, &mut carol, Method::REFRESH);
    let (id, _) = question(&mut world);
    answer(&mut world, id, nobody());
    assert_eq!(only_answer(&mut world, &carol, &request).code(), 401);
    assert_eq!(world.server.allocations(), 1, "alice stays");
    assert_eq!(world.relays.len(), 1);
    let ended: Vec<_> = std::iter::from_fn(|| world.server.poll_event())
        .filter_map(|event| match event {
            Event::Ended { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [EndReason::UserDeleted; 2]);
}

#[test]
fn allocations_of_deleted_users_live_on_where_that_is_set() {
    let mut config = with_store();
    config.end_deleted_users = false;
    let mut world = World::with(config);
    let mut carol = carol();
    allocates(&mut world, &mut carol, "secret of carol");
    carol.refreshes(&mut world, 600).granted();
    assert_eq!(world.metrics.look_ups_total.value(), 1);
}

#[test]
fn a_changed_password_ends_no_call_and_lets_the_new_one_in() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    allocates(&mut world, &mut carol, "secret of carol");
    // Still with the old password.
    let request = waits(&mut world, &mut carol, Method::REFRESH);
    let (id, _) = question(&mut world);
    answer(&mut world, id, stored("new secret"));
    only_answer(&mut world, &carol, &request).granted();
    // Then with the new one, which from then on is the allocation's own.
    carol.password = "new secret".into();
    let request = waits(&mut world, &mut carol, Method::CREATE_PERMISSION);
    let (id, _) = question(&mut world);
    answer(&mut world, id, stored("new secret"));
    assert_eq!(
        only_answer(&mut world, &carol, &request).code(),
        400,
        "proven, but without a peer"
    );
    carol.permits(&mut world, "192.0.2.1:7000").granted();
    // A guess stays a guess.
    carol.password = "guess".into();
    let request = waits(&mut world, &mut carol, Method::REFRESH);
    let (id, _) = question(&mut world);
    answer(&mut world, id, stored("new secret"));
    assert_eq!(only_answer(&mut world, &carol, &request).code(), 401);
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn static_users_static_secrets_and_stored_secrets_work_side_by_side() {
    let mut config = with_store();
    config.shared_secrets = vec![Secret::new("north"), Secret::new("south")];
    let name = format!("{}:dave", UNIX_START_S + 100);
    for secret in ["north", "south"] {
        let mut world = World::with(config.clone());
        Client::new("203.0.113.9:1", &name, &rest_password(secret, &name)).allocates(&mut world);
        assert_eq!(world.metrics.look_ups_total.value(), 0);
    }
    for (secret, code) in [("east", 0), ("west", 0), ("up", 401)] {
        let mut world = World::with(config.clone());
        Client::alice().allocates(&mut world);
        let mut dave = Client::new("203.0.113.9:1", &name, &rest_password(secret, &name));
        let request = waits(&mut world, &mut dave, Method::ALLOCATE);
        let (id, wanted) = question(&mut world);
        assert_eq!(wanted, Wanted::User(name.as_str().into()));
        answer(&mut world, id, secrets(&["east", "west"]));
        assert_eq!(only_answer(&mut world, &dave, &request).code(), code, "{secret}");
    }
}

#[test]
fn a_time_limited_user_of_the_store_is_refused_after_its_time_and_keeps_what_it_has() {
    let mut world = World::with(with_store());
    let name = format!("{}:dave", UNIX_START_S + 100);
    let mut dave = Client::new("203.0.113.9:1", &name, &rest_password("east", &name));
    let request = waits(&mut world, &mut dave, Method::ALLOCATE);
    let (id, _) = question(&mut world);
    answer(&mut world, id, secrets(&["east"]));
    only_answer(&mut world, &dave, &request).granted();
    world.pass(Duration::from_secs(300));
    dave.refreshes(&mut world, 600).granted();

    let mut late = Client::new("203.0.113.9:2", &name, &rest_password("east", &name));
    let request = waits(&mut world, &mut late, Method::ALLOCATE);
    let (id, _) = question(&mut world);
    answer(&mut world, id, secrets(&["east"]));
    assert_eq!(only_answer(&mut world, &late, &request).code(), 401);
}

#[test]
fn a_stored_users_key_counts_before_its_name_is_read_as_a_time() {
    let mut world = World::with(with_store());
    let mut odd = Client::new("203.0.113.9:1", "17:carol", "secret");
    let request = waits(&mut world, &mut odd, Method::ALLOCATE);
    let (id, _) = question(&mut world);
    let key = long_term_key("17:carol", REALM, "secret");
    answer(
        &mut world,
        id,
        LookedUp::User(StoredUser {
            md5_key: Some(key),
            secrets: Arc::from([Secret::new("east")]),
            ..StoredUser::default()
        }),
    );
    only_answer(&mut world, &odd, &request).granted();
}

#[test]
fn what_a_closed_stream_asked_for_is_forgotten() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    waits(&mut world, &mut carol, Method::ALLOCATE);
    let (id, _) = question(&mut world);
    world.server.close_client(carol.five_tuple);
    assert_eq!(world.metrics.look_ups_waiting.value(), 0);
    answer(&mut world, id, stored("secret of carol"));
    assert!(world.out.sent.is_empty());
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_waiting_request_is_judged_by_what_is_so_when_the_answer_comes() {
    let mut world = World::with(with_store());
    let mut carol = carol();
    let first = waits(&mut world, &mut carol, Method::ALLOCATE);
    let second = waits(&mut world, &mut carol, Method::ALLOCATE);
    let ids = [question(&mut world).0, question(&mut world).0];
    answer(&mut world, ids[0], stored("secret of carol"));
    only_answer(&mut world, &carol, &first).granted();
    answer(&mut world, ids[1], stored("secret of carol"));
    assert_eq!(only_answer(&mut world, &carol, &second).code(), 437);

    let third = waits(
        &mut world,
        &mut Client::new("203.0.113.10:1", "dave", "x"),
        Method::ALLOCATE,
    );
    let (id, _) = question(&mut world);
    world
        .server
        .handle_command(world.now(), world.wall(), Command::RefuseNewAllocations, &mut world.out);
    let key = long_term_key("dave", REALM, "x");
    let dave = StoredUser {
        md5_key: Some(key),
        ..StoredUser::default()
    };
    answer(&mut world, id, LookedUp::User(dave));
    let from = Client::new("203.0.113.10:1", "dave", "x");
    assert_eq!(only_answer(&mut world, &from, &third).code(), 508);
}

fn with_store() -> Config {
    Config {
        credential_store: true,
        ..config()
    }
}

fn carol() -> Client {
    Client::new("203.0.113.9:6000", "carol", "secret of carol")
}

/// Signs a request and delivers it; it must wait, so nothing is sent.
fn waits(world: &mut World, client: &mut Client, method: Method) -> Vec<u8> {
    if client.nonce.is_empty() {
        client.learns_nonce(world);
    }
    let request = client.signed(method, |writer| match method {
        Method::ALLOCATE => writer.requested_transport_udp(),
        _ => writer,
    });
    assert_eq!(world.deliver(client.five_tuple, &request), ClientVerdict::Handled);
    assert!(world.out.sent.is_empty(), "a request that waits has no answer yet");
    request
}

fn asks(world: &mut World, client: &mut Client) -> ClientVerdict {
    if client.nonce.is_empty() {
        client.learns_nonce(world);
    }
    let request = client.signed(Method::ALLOCATE, |writer| writer.requested_transport_udp());
    world.deliver(client.five_tuple, &request)
}

fn next_question(world: &mut World) -> Option<(LookUpId, Wanted)> {
    std::iter::from_fn(|| world.server.poll_event()).find_map(|event| match event {
        Event::LookUp { id, wanted } => Some((id, wanted)),
        _ => None,
    })
}

fn question(world: &mut World) -> (LookUpId, Wanted) {
    next_question(world).expect("the store is asked")
}

fn answer(world: &mut World, id: LookUpId, found: LookedUp) {
    let (now, wall) = (world.now(), world.wall());
    let command = Command::LookedUp { id, found };
    world.server.handle_command(now, wall, command, &mut world.out);
    world.serve_sockets();
}

fn only_answer(world: &mut World, client: &Client, request: &[u8]) -> Answer {
    let to: FiveTuple = client.five_tuple;
    let answer = world.only_sent(to);
    let id = voex_stun::Message::parse(request).unwrap().transaction_id();
    assert_eq!(answer.message().transaction_id(), id);
    answer
}

fn allocates(world: &mut World, client: &mut Client, password: &str) {
    let request = waits(world, client, Method::ALLOCATE);
    let (id, _) = question(world);
    answer(world, id, stored(password));
    only_answer(world, client, &request).granted();
}

/// The store has carol with this password.
fn stored(password: &str) -> LookedUp {
    LookedUp::User(StoredUser {
        md5_key: Some(long_term_key("carol", REALM, password)),
        ..StoredUser::default()
    })
}

fn nobody() -> LookedUp {
    LookedUp::User(StoredUser::default())
}

fn secrets(secrets: &[&str]) -> LookedUp {
    LookedUp::User(StoredUser {
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        ..StoredUser::default()
    })
}
