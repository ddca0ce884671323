//! What the control plane hears of allocations, to the packet and byte, and what it may do to them.

use std::net::SocketAddr;
use std::time::Duration;

use voex_base::Protocol;
use voex_stun::Method;
use voex_turn::{
    ClientPath, Command, DropReason, EndReason, Event, Flow, Secret, Selection, SessionId, TRAFFIC_REPORT_PACKETS,
    TlsSession, UserSecret,
};

use crate::world::{Client, LISTENER, REALM, World, address, config};

const PEER: &str = "192.0.2.1:7000";
/// Events that may wait; then nothing new begins.
const EVENTS_WAITING_MAX: usize = 65_536;

fn began(world: &mut World) -> Box<voex_turn::Session> {
    match world.server.poll_event() {
        Some(Event::Began(session)) => session,
        other => panic!("an allocation begins, not {other:?}"),
    }
}

fn flow(received_packets: u64, received_bytes: u64, sent_packets: u64, sent_bytes: u64) -> Flow {
    Flow {
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
    }
}

fn add(sum: &mut (Flow, Flow), client: Flow, peer: Flow) {
    for (sum, part) in [(&mut sum.0, client), (&mut sum.1, peer)] {
        *sum = flow(
            sum.received_packets + part.received_packets,
            sum.received_bytes + part.received_bytes,
            sum.sent_packets + part.sent_packets,
            sum.sent_bytes + part.sent_bytes,
        );
    }
}

#[test]
fn an_allocation_that_begins_says_who_it_is_and_how_it_came() {
    let mut world = World::new();
    let path = ClientPath {
        protocol: Protocol::Tls,
        local: address("198.51.100.1:5349"),
        tls: Some(TlsSession {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
        }),
    };
    world.server.add_client_socket(LISTENER, path);
    let mut alice = Client::alice();
    let answer = alice.asks_allocation(&mut world, |w| w.lifetime_s(777)).granted();
    let session = began(&mut world);
    assert_eq!((&*session.user, &*session.realm), ("alice", REALM));
    assert_eq!((session.path, session.client), (path, alice.five_tuple.client));
    assert_eq!((session.lifetime_s, session.began), (777, world.wall()));
    let public: Vec<SocketAddr> = session.relayed.iter().map(|relayed| relayed.public).collect();
    assert_eq!(public, [answer.relayed()]);
    assert_eq!(session.id, SessionId::new(0, 1));
    Client::bob().allocates(&mut world);
    assert_eq!(began(&mut world).id, SessionId::new(0, 2));
    assert!(world.server.poll_event().is_none());
}

#[test]
fn a_session_is_reported_in_order_and_its_last_figures_have_its_last_request() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let mut ask = |world: &mut World, alice: &mut Client, request: Vec<u8>| {
        let answer = world.ask(alice.five_tuple, &request).granted();
        asked.push(request.len() as u64);
        answered.push(answer.0.len() as u64);
    };
    let request = alice.signed(Method::ALLOCATE, |w| w.requested_transport_udp());
    ask(&mut world, &mut alice, request);
    let session = began(&mut world);
    let relay = world.relay_of(session.relayed[0].local);
    let request = alice.signed(Method::CREATE_PERMISSION, |w| w.xor_peer_address(address(PEER)));
    ask(&mut world, &mut alice, request);
    alice.sends(&mut world, PEER, b"twelve bytes").unwrap();
    let got = world.peer_sends(relay, PEER, b"ten bytes.").unwrap();
    let request = alice.signed(Method::REFRESH, |w| w.lifetime_s(900));
    ask(&mut world, &mut alice, request);
    assert!(matches!(
        world.server.poll_event(),
        Some(Event::Refreshed { session: id, lifetime_s: 900 }) if id == session.id
    ));
    let request = alice.signed(Method::REFRESH, |w| w.lifetime_s(0));
    ask(&mut world, &mut alice, request);

    assert!(matches!(
        world.server.poll_event(),
        Some(Event::Refreshed { session: id, lifetime_s: 0 }) if id == session.id
    ));
    let Some(Event::Ended {
        session: id,
        reason,
        last,
    }) = world.server.poll_event()
    else {
        panic!("the session ends");
    };
    assert_eq!((id, reason), (session.id, EndReason::Released));
    // A Send indication of twelve bytes: header, XOR-PEER-ADDRESS, DATA.
    let send_bytes = 20 + 12 + 4 + 12;
    let client = flow(
        5,
        asked.iter().sum::<u64>() + send_bytes,
        5,
        answered.iter().sum::<u64>() + got.len() as u64,
    );
    assert_eq!(last, (client, flow(1, 10, 1, 12)));
    assert_eq!(
        (session.traffic.client(), session.traffic.peer()),
        last,
        "the sums, read from outside"
    );
    assert!(world.server.poll_event().is_none());
}

#[test]
fn traffic_is_reported_every_4096_packets_and_the_parts_make_the_sum() {
    // One request more or less must not let the count step over the mark: data moves it by two.
    for requests in 0..2 {
        let mut world = World::new();
        let mut alice = Client::alice();
        let relayed = alice.allocates(&mut world);
        let session = began(&mut world);
        let relay = world.relay_of(relayed);
        for _ in 0..=requests {
            alice.binds(&mut world, 0x4000, PEER).granted();
        }
        let (mut sum, mut reports) = ((Flow::default(), Flow::default()), 0);
        for round in 0..3 * TRAFFIC_REPORT_PACKETS / 4 {
            alice.sends_channel(&mut world, 0x4000, &[7; 100]).unwrap();
            world.peer_sends(relay, PEER, &[7; 50]).unwrap();
            while let Some(event) = world.server.poll_event() {
                let Event::Traffic {
                    session: id,
                    client,
                    peer,
                } = event
                else {
                    panic!("only traffic is reported, not {event:?}");
                };
                assert_eq!(id, session.id);
                let packets = client.packets() + peer.packets();
                assert!(
                    (TRAFFIC_REPORT_PACKETS..TRAFFIC_REPORT_PACKETS + 2).contains(&packets),
                    "{packets} in {round}"
                );
                add(&mut sum, client, peer);
                reports += 1;
            }
        }
        assert_eq!(reports, 3);
        world.pass(Duration::from_secs(600));
        let Some(Event::Ended { reason, last, .. }) = world.server.poll_event() else {
            panic!("the session ends");
        };
        assert_eq!(reason, EndReason::Expired);
        add(&mut sum, last.0, last.1);
        assert_eq!(sum, (session.traffic.client(), session.traffic.peer()));
        let rounds = 3 * TRAFFIC_REPORT_PACKETS / 4;
        assert_eq!(sum.1, flow(rounds, rounds * 50, rounds, rounds * 100));
        assert_eq!(sum.0.received_packets, rounds + 2 + requests);
    }
}

#[test]
fn what_is_dropped_is_no_traffic() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let session = began(&mut world);
    let before = session.traffic.packets();
    let relay = world.relay_of(relayed);
    assert_eq!(world.peer_sends(relay, PEER, b"x"), Err(DropReason::NoPermission));
    assert_eq!(alice.sends(&mut world, PEER, b"x"), Err(DropReason::NoPermission));
    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoChannel)
    );
    assert_eq!(session.traffic.packets(), before);
}

/// Four allocations: two of alice, under different names with an expiry, one of bob, one of carol.
fn crowd() -> (World, Vec<SessionId>) {
    let mut config = config();
    config.shared_secrets = vec![Secret::new("shared")];
    let mut world = World::with(config);
    for name in [
        "1800003600:alice",
        "alice:1800007200",
        "1800003600:bob",
        "1800003600:carol",
    ] {
        let client = format!(
            "203.0.113.9:{}",
            6_000 + name.len() * 7 + usize::from(name.as_bytes()[11])
        );
        let password = crate::world::rest_password("shared", name);
        Client::new(&client, name, &password).allocates(&mut world);
    }
    let ids = (0..4).map(|_| began(&mut world).id).collect();
    (world, ids)
}

fn end(world: &mut World, selection: Selection) -> Vec<(SessionId, EndReason)> {
    world.command(Command::End(selection));
    std::iter::from_fn(|| world.server.poll_event())
        .map(|event| match event {
            Event::Ended { session, reason, .. } => (session, reason),
            other => panic!("sessions end, not {other:?}"),
        })
        .collect()
}

#[test]
fn a_session_is_ended_by_its_id_and_no_other_with_it() {
    let (mut world, ids) = crowd();
    let ended = end(&mut world, Selection::Session(ids[2]));
    assert_eq!(ended, [(ids[2], EndReason::Administrator)]);
    assert_eq!((world.server.allocations(), world.relays.len()), (3, 3));
    assert_eq!(
        end(&mut world, Selection::Session(ids[2])),
        [],
        "ids are not used again"
    );
    assert_eq!(end(&mut world, Selection::Session(SessionId::new(3, 1))), []);
}

#[test]
fn a_users_sessions_end_whatever_the_expiry_in_the_name() {
    let (mut world, ids) = crowd();
    let ended = end(&mut world, Selection::User("alice".into()));
    let by = EndReason::Administrator;
    assert_eq!(ended, [(ids[0], by), (ids[1], by)]);
    assert_eq!(
        end(&mut world, Selection::User("1800003600:bob".into())),
        [(ids[2], by)]
    );
    assert_eq!(end(&mut world, Selection::User("dave".into())), []);
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn a_deleted_user_takes_the_sessions_of_exactly_that_name_along() {
    let (mut world, ids) = crowd();
    assert_eq!(end(&mut world, Selection::DeletedUser("alice".into())), []);
    let ended = end(&mut world, Selection::DeletedUser("alice:1800007200".into()));
    assert_eq!(ended, [(ids[1], EndReason::UserDeleted)]);
}

#[test]
fn all_sessions_end_and_their_clients_may_come_back() {
    let (mut world, ids) = crowd();
    let ended = end(&mut world, Selection::All);
    assert_eq!(ended.len(), ids.len());
    assert!(world.relays.is_empty());
    assert_eq!(
        (world.metrics.allocations.value(), world.server.poll_timeout()),
        (0, None)
    );
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    assert_eq!(alice.refreshes(&mut world, 600).code(), 0);
}

#[test]
fn an_allocation_that_is_ended_while_its_relay_is_bound_leaves_nothing() {
    let mut world = World::new();
    world.binds_by_hand = true;
    let mut alice = Client::alice();
    alice.learns_nonce(&mut world);
    let request = alice.signed(Method::ALLOCATE, |w| w.requested_transport_udp());
    world.deliver(alice.five_tuple, &request);
    world.command(Command::End(Selection::All));
    world.serve_sockets();
    assert!(world.relays.is_empty(), "the socket that came too late is closed");
    assert!(world.out.sent.is_empty());
    assert!(world.server.poll_event().is_none(), "what never began does not end");
}

#[test]
fn new_settings_keep_allocations_and_count_from_the_next_request_on() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    alice.allocates(&mut world);
    bob.allocates(&mut world);
    let relayed = [began(&mut world), began(&mut world)].map(|session| session.relayed[0].public);

    let mut fresh = config();
    fresh.users = vec![("carol".to_owned(), UserSecret::Password(Secret::new("secret of carol")))];
    fresh.lifetimes.allocation_max = Duration::from_secs(700);
    fresh.signing_key = [9; 32];
    fresh.ports = voex_turn::PortShare::whole(1_024..=1_025);
    world.command(Command::Reconfigure(Box::new(fresh)));

    assert_eq!(world.server.allocations(), 2);
    for address in relayed {
        world.relay_of(address);
    }
    assert!(world.server.poll_event().is_none(), "nothing ended");
    assert_eq!(
        alice.refreshes(&mut world, 3_600).granted().lifetime_s(),
        700,
        "the nonce still holds"
    );
    let mut twin = Client::new("203.0.113.7:6001", "alice", "secret of alice");
    twin.learns_nonce(&mut world);
    let refused = twin.asks_allocation(&mut world, |w| w);
    assert_eq!(refused.code(), 401, "who is no user any more gets nothing new");
    let mut carol = Client::new("203.0.113.10:6000", "carol", "secret of carol");
    let port = carol.allocates(&mut world).port();
    assert!(port >= 49_152, "the ports stay what they were");
}

#[test]
fn peers_that_new_settings_close_lose_their_permissions_and_channels_at_once() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocates(&mut world);
    let relay = world.relay_of(relayed);
    let (closed, open) = ("192.0.2.1:7000", "198.18.0.1:7000");
    alice.binds(&mut world, 0x4000, closed).granted();
    alice.binds(&mut world, 0x4001, open).granted();

    let mut fresh = config();
    fresh.peers.deny = vec!["192.0.2.0/24".parse().unwrap()];
    world.command(Command::Reconfigure(Box::new(fresh)));

    assert_eq!(
        alice.sends_channel(&mut world, 0x4000, b"x"),
        Err(DropReason::NoChannel)
    );
    assert_eq!(alice.sends(&mut world, closed, b"x"), Err(DropReason::NoPermission));
    assert_eq!(world.peer_sends(relay, closed, b"x"), Err(DropReason::NoPermission));
    assert_eq!(alice.permits(&mut world, closed).code(), 403);
    assert!(alice.sends_channel(&mut world, 0x4001, b"x").is_ok());
    assert!(world.peer_sends(relay, open, b"x").is_ok());
}

#[test]
fn when_nobody_takes_the_events_no_beginning_and_no_end_is_lost() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    alice.allocates(&mut world);
    let refresh = alice.signed(Method::REFRESH, |w| w);
    // Past the bound on purpose: refreshes beyond it are not reported.
    for _ in 0..EVENTS_WAITING_MAX + 10 {
        world.deliver(alice.five_tuple, &refresh);
        world.out.sent.clear();
    }
    assert_eq!(
        bob.asks_allocation(&mut world, |w| w).code(),
        508,
        "what cannot be told does not begin"
    );
    alice.refreshes(&mut world, 0).granted();

    let mut events: Vec<Event> = std::iter::from_fn(|| world.server.poll_event()).collect();
    assert_eq!(events.len(), EVENTS_WAITING_MAX + 1);
    assert!(matches!(events.first(), Some(Event::Began(_))));
    assert!(matches!(
        events.pop(),
        Some(Event::Ended {
            reason: EndReason::Released,
            ..
        })
    ));
    assert!(events[1..].iter().all(|event| matches!(event, Event::Refreshed { .. })));
    bob.allocates(&mut world);
    assert_eq!(&*began(&mut world).user, "bob");
}

#[test]
fn traffic_that_could_not_be_told_is_told_later() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocates(&mut world);
    let session = began(&mut world);
    alice.binds(&mut world, 0x4000, PEER).granted();
    let refresh = alice.signed(Method::REFRESH, |w| w);
    for _ in 0..EVENTS_WAITING_MAX {
        world.deliver(alice.five_tuple, &refresh);
        world.out.sent.clear();
    }
    alice.sends_channel(&mut world, 0x4000, b"x").unwrap();
    while let Some(event) = world.server.poll_event() {
        assert!(matches!(event, Event::Refreshed { .. }), "{event:?}");
    }
    alice.sends_channel(&mut world, 0x4000, b"x").unwrap();
    let Some(Event::Traffic { client, peer, .. }) = world.server.poll_event() else {
        panic!("the traffic is told with the next packet");
    };
    assert_eq!((client, peer), (session.traffic.client(), session.traffic.peer()));
}
