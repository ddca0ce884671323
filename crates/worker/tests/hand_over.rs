//! Packets that stay on this host: between relays, between a relay and the conference server, between workers.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

#[path = "common/host.rs"]
mod host;
#[path = "common/turn_client.rs"]
mod turn_client;

use std::net::SocketAddr;

use host::{Host, listener};
use turn_client::{
    TurnClient, channel_data, read_channel_data, read_data_indication, send_indication, success, ticket,
};
use voex_base::{Label, SocketId, TransportId, WorkerId};
use voex_sfu::command::{DtlsRole, RemoteParameters, TransportKind, TransportSpec};
use voex_stun::{Class, IntegrityKey, Message, MessageWriter, Method, TransactionId};
use voex_worker::{Command, DropReason, HandOver, Output};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn alice() -> SocketAddr {
    at("192.0.2.10:4000")
}

fn bob() -> SocketAddr {
    at("192.0.2.20:4000")
}

fn handed_over(host: &Host, kind: HandOver) -> Vec<u64> {
    host.metrics
        .iter()
        .map(|metrics| metrics.handed_over_packets.of(kind).value())
        .collect()
}

#[test]
fn a_peer_elsewhere_is_reached_through_the_relay_socket() {
    let mut host = Host::new(1, None);
    let (mut turn, relayed) = host.allocate(0, alice());
    let peer = at("198.51.100.7:5000");
    host.bind(0, alice(), &mut turn, 0x4000, peer);
    let relay = host.relays[0].1;
    assert_eq!(host.relays[0].2, relayed);
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"out"));
    assert_eq!(sent, [(relay, peer, b"out".to_vec())]);
    let sent = host.arrive(0, relay, peer, b"back");
    assert_eq!(sent, [(listener(0), alice(), channel_data(0x4000, b"back"))]);
    assert_eq!(handed_over(&host, HandOver::RelayToRelay), [0]);
}

#[test]
fn what_a_client_sends_that_has_moved_to_a_listener_of_another_worker_goes_to_its_allocation() {
    let mut host = Host::new(2, None);
    let (away, here) = (at("192.0.2.30:4000"), at("192.0.2.31:4000"));
    let peer = at("198.51.100.7:5000");
    let mut turn = TurnClient::new();
    let challenge = host.request(0, alice(), &turn.allocate_mobile());
    turn.challenged(&challenge);
    let first = ticket(&host.request(0, alice(), &turn.allocate_mobile()));
    host.bind(0, alice(), &mut turn, 0x4000, peer);
    let relay = host.relays[0].1;
    let challenge = host.request(1, away, &turn.resume(&first));
    turn.challenged(&challenge);
    // The answer leaves by the listener of the worker with the allocation.
    let sent = host.arrive(1, listener(1), away, &turn.resume(&first));
    assert_eq!((sent.len(), sent[0].0, sent[0].1), (1, listener(0), away));
    let second = ticket(&sent[0].2);
    let sent = host.arrive(1, listener(1), away, &channel_data(0x4000, b"out"));
    assert_eq!(sent, [(relay, peer, b"out".to_vec())]);
    let sent = host.arrive(0, relay, peer, b"back");
    assert_eq!(sent, [(listener(0), away, channel_data(0x4000, b"back"))]);
    assert_eq!(host.metrics[1].crossed_packets.of(HandOver::MovedClient).value(), 2);
    // When the way there is full, that is loss like any other.
    host.kernel.full_way_to = Some(WorkerId(0));
    host.arrive(1, listener(1), away, &channel_data(0x4000, b"lost"));
    assert_eq!(host.metrics[1].dropped.of(DropReason::CrossingFull).value(), 1);
    host.kernel.full_way_to = None;
    // Back to a listener of its own worker.
    let challenge = host.request(0, here, &turn.resume(&second));
    turn.challenged(&challenge);
    success(&host.request(0, here, &turn.resume(&second)));
    host.arrive(0, listener(0), here, &channel_data(0x4000, b"out"));
    assert!(
        host.arrive(1, listener(1), away, &channel_data(0x4000, b"late"))
            .is_empty()
    );
    assert_eq!(host.turn_metrics[1].far_clients.value(), 0);
}

#[test]
fn a_worker_whose_way_is_full_is_told_later_of_clients_and_another_at_once() {
    let mut host = Host::new(3, None);
    let (one, other) = (at("192.0.2.30:4000"), at("192.0.2.31:4000"));
    let ticketed = |host: &mut Host, client| {
        let mut turn = TurnClient::new();
        let challenge = host.request(0, client, &turn.allocate_mobile());
        turn.challenged(&challenge);
        let ticket = ticket(&host.request(0, client, &turn.allocate_mobile()));
        (turn, ticket)
    };
    let moved = |host: &mut Host, worker, to, (mut turn, ticket): (TurnClient, Vec<u8>)| {
        let challenge = host.request(worker, to, &turn.resume(&ticket));
        turn.challenged(&challenge);
        success(&host.arrive(worker, listener(worker), to, &turn.resume(&ticket))[0].2);
        let refused = turn.channel_bind(0x4000, at("10.9.0.1:1"));
        // All that it sends is given on, more than an unclaimed move may, or not.
        (0..40)
            .filter(|_| host.arrive(worker, listener(worker), to, &refused).len() == 1)
            .count()
    };
    let (first, second) = (ticketed(&mut host, alice()), ticketed(&mut host, bob()));
    host.kernel.full_way_to = Some(WorkerId(1));
    assert_eq!(moved(&mut host, 1, one, first), 32);
    assert_eq!(moved(&mut host, 2, other, second), 40);
    host.kernel.full_way_to = None;
    host.settle();
    let answered = host.arrive(1, listener(1), one, &TurnClient::new().allocate());
    assert_eq!(answered[0].0, listener(0), "it is claimed now");
}

#[test]
fn tcp_relays_behind_a_nat_meet_by_their_local_names_and_know_each_other_by_the_public_ones() {
    let mut host = Host::new(1, Some(at("203.0.113.1:0").ip()));
    let (stream_a, stream_b) = (SocketId(301), SocketId(302));
    let (mut a, relay_a, public_a) = host.allocate_tcp(stream_a, alice());
    let (mut b, relay_b, public_b) = host.allocate_tcp(stream_b, bob());
    let local = |public: SocketAddr| SocketAddr::new(at("10.0.0.1:0").ip(), public.port());
    success(&host.arrive(0, stream_b, bob(), &b.create_permission(public_a))[0].2);
    assert!(host.arrive(0, stream_a, alice(), &a.connect(public_b)).is_empty());
    let asked = host.of_peers.remove(0);
    let Output::ConnectPeer { relay, peer, .. } = asked else {
        panic!("{asked:?}");
    };
    assert_eq!((relay, peer), (relay_a, local(public_b)));

    let now = host.now;
    let accepted = host.workers[0].handle_peer_accepted(now, relay_b, local(public_a), &mut host.kernel);
    let told = host.kernel.sent.remove(0);
    assert_eq!((told.0, told.1), (stream_b, bob()));
    let told = Message::parse(&told.2).unwrap();
    assert_eq!(told.xor_peer_address(), Ok(Some(public_a)));
    assert_eq!(told.connection_id(), Ok(Some(accepted.unwrap().0)));

    let stranger = at("10.0.0.1:49999");
    let refused = host.workers[0].handle_peer_accepted(now, relay_b, stranger, &mut host.kernel);
    assert_eq!(
        refused,
        Err(voex_turn::DropReason::NoPermission),
        "no relay has that port"
    );
}

#[test]
fn the_address_of_a_tcp_relay_takes_no_packets() {
    let mut host = Host::new(1, None);
    let (_, _, tcp) = host.allocate_tcp(SocketId(301), bob());
    let (mut turn, _) = host.allocate(0, alice());
    host.bind(0, alice(), &mut turn, 0x4000, tcp);
    let relay = host.relays.last().unwrap().1;
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"out"));
    assert_eq!(
        sent,
        [(relay, tcp, b"out".to_vec())],
        "the kernel finds no socket for it"
    );
}

#[test]
fn one_relay_reaches_another_without_the_kernel() {
    let mut host = Host::new(1, None);
    let (mut a, relay_a) = host.allocate(0, alice());
    let (mut b, relay_b) = host.allocate(0, bob());
    host.bind(0, alice(), &mut a, 0x4000, relay_b);
    host.bind(0, bob(), &mut b, 0x4001, relay_a);
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"hello"));
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].0, sent[0].1), (listener(0), bob()));
    assert_eq!(read_channel_data(&sent[0].2), (0x4001, &b"hello"[..]));
    assert_eq!(handed_over(&host, HandOver::RelayToRelay), [1]);
    assert_eq!(host.metrics[0].crossed_packets.of(HandOver::RelayToRelay).value(), 0);
}

#[test]
fn a_relay_without_permission_for_the_other_refuses_it_as_it_would_a_stranger() {
    let mut host = Host::new(1, None);
    let (mut a, _) = host.allocate(0, alice());
    let (_, relay_b) = host.allocate(0, bob());
    host.bind(0, alice(), &mut a, 0x4000, relay_b);
    let before: u64 = host.turn_metrics[0].dropped.values().map(|(_, count)| count).sum();
    assert!(
        host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"hello"))
            .is_empty()
    );
    let after: u64 = host.turn_metrics[0].dropped.values().map(|(_, count)| count).sum();
    assert_eq!(after, before + 1);
}

#[test]
fn behind_nat_each_client_sees_the_public_name_of_the_other() {
    let mut host = Host::new(1, Some("203.0.113.1".parse().unwrap()));
    let (mut a, relay_a) = host.allocate(0, alice());
    let (mut b, relay_b) = host.allocate(0, bob());
    assert!(relay_a.ip() == at("203.0.113.1:0").ip() && relay_b.ip() == relay_a.ip());
    host.bind(0, alice(), &mut a, 0x4000, relay_b);
    let answer = host.request(0, bob(), &b.create_permission(relay_a));
    success(&answer);
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"hello"));
    assert_eq!(read_data_indication(&sent[0].2), (relay_a, b"hello".to_vec()));
    // And back, by indication, to the local name: the source is then the local name too, which alice did not permit.
    let local_a = SocketAddr::new(at("10.0.0.1:0").ip(), relay_a.port());
    let answer = host.request(0, bob(), &b.create_permission(local_a));
    success(&answer);
    assert!(
        host.arrive(0, listener(0), bob(), &send_indication(local_a, b"local"))
            .is_empty()
    );
    let sent = host.arrive(0, listener(0), bob(), &send_indication(relay_a, b"public"));
    assert_eq!(read_channel_data(&sent[0].2), (0x4000, &b"public"[..]));
}

#[test]
fn relays_keep_the_public_name_they_were_made_under_when_the_host_gets_another() {
    let mut host = Host::new(2, Some("203.0.113.1".parse().unwrap()));
    let (mut a, relay_a) = host.allocate(0, alice());
    let (mut b, relay_b) = host.allocate(1, bob());
    host.bind(0, alice(), &mut a, 0x4000, relay_b);
    host.bind(1, bob(), &mut b, 0x4000, relay_a);
    host.rename("198.51.100.1".parse().unwrap());
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"old to old"));
    assert_eq!(read_channel_data(&sent[0].2), (0x4000, &b"old to old"[..]));
    let carol = at("192.0.2.30:4000");
    let (mut c, relay_c) = host.allocate(0, carol);
    assert_eq!(relay_c.ip(), at("198.51.100.1:0").ip());
    host.bind(0, alice(), &mut a, 0x4001, relay_c);
    host.bind(0, carol, &mut c, 0x4000, relay_a);
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4001, b"old to new"));
    assert_eq!(read_channel_data(&sent[0].2), (0x4000, &b"old to new"[..]));
    let sent = host.arrive(0, listener(0), carol, &channel_data(0x4000, b"new to old"));
    assert_eq!(read_channel_data(&sent[0].2), (0x4001, &b"new to old"[..]));
    assert_eq!(handed_over(&host, HandOver::RelayToRelay), [3, 0]);
}

#[test]
fn a_relay_on_another_worker_is_reached_across() {
    let mut host = Host::new(2, None);
    let (mut a, relay_a) = host.allocate(0, alice());
    let (mut b, relay_b) = host.allocate(1, bob());
    host.bind(0, alice(), &mut a, 0x4000, relay_b);
    host.bind(1, bob(), &mut b, 0x4001, relay_a);
    for n in 0..3u8 {
        let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, &[n]));
        assert_eq!((sent[0].0, sent[0].1), (listener(1), bob()));
        assert_eq!(read_channel_data(&sent[0].2), (0x4001, &[n][..]));
    }
    assert_eq!(host.metrics[0].crossed_packets.of(HandOver::RelayToRelay).value(), 3);
    assert_eq!(host.metrics[1].crossed_in_packets.value(), 3);
}

#[test]
fn a_full_way_to_the_other_worker_drops_and_counts() {
    let mut host = Host::new(2, None);
    let (mut a, _) = host.allocate(0, alice());
    let (_, relay_b) = host.allocate(1, bob());
    host.bind(0, alice(), &mut a, 0x4000, relay_b);
    host.kernel.full_way_to = Some(WorkerId(1));
    assert!(
        host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"lost"))
            .is_empty()
    );
    assert_eq!(host.metrics[0].dropped.of(DropReason::CrossingFull).value(), 1);
}

#[test]
fn a_relay_that_is_gone_is_a_stranger_again() {
    let mut host = Host::new(1, None);
    let (mut a, _) = host.allocate(0, alice());
    let (mut b, relay_b) = host.allocate(0, bob());
    host.bind(0, alice(), &mut a, 0x4000, relay_b);
    let answer = host.request(0, bob(), &b.release());
    success(&answer);
    assert_eq!(host.relays.len(), 1);
    let relay_a = host.relays[0].1;
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"late"));
    assert_eq!(sent, [(relay_a, relay_b, b"late".to_vec())]);
}

#[test]
fn a_program_beside_us_inside_the_relay_range_is_reached_through_the_kernel() {
    let mut host = Host::new(2, None);
    let (mut a, _) = host.allocate(0, alice());
    let neighbour = at("10.0.0.1:50099");
    host.bind(0, alice(), &mut a, 0x4000, neighbour);
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, b"hi"));
    assert_eq!((sent[0].0, sent[0].1), (host.relays[0].1, neighbour));
}

#[test]
fn packets_of_unknown_sockets_and_missing_shards_are_counted() {
    let mut host = Host::new(1, None);
    host.arrive(0, SocketId(9), alice(), b"stray");
    host.arrive(0, SocketId(100), alice(), b"media without a conference server");
    let counts: Vec<_> = host.metrics[0]
        .dropped
        .values()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(
        counts,
        [(DropReason::UnknownSocket.name(), 1), (DropReason::NoShard.name(), 1)]
    );
}

const SERVER_PWD: &str = "serverpasswordserverpass";
const CONFERENCE: TransportId = TransportId(1);

/// Opens a WebRTC transport on one worker, for a browser whose ufrag is `brow`.
fn open_transport(host: &mut Host, worker: usize) {
    let kind = TransportKind::WebRtc {
        local_ufrag: "serv".to_owned(),
        local_pwd: SERVER_PWD.to_owned(),
    };
    let open = voex_sfu::Command::OpenTransport(Box::new(TransportSpec { id: CONFERENCE, kind }));
    host.command(worker, open);
    let remote = RemoteParameters {
        ufrag: "brow".to_owned(),
        pwd: "browserpasswordbrowserpa".to_owned(),
        fingerprint_hash: "sha-256".to_owned(),
        fingerprint: vec![0; 32],
        dtls_role: DtlsRole::Server,
    };
    host.command(worker, voex_sfu::Command::SetRemote(CONFERENCE, Box::new(remote)));
}

/// The browser's ICE check.
fn ice_check() -> Vec<u8> {
    let mut room = [0; 256];
    let len = MessageWriter::new(&mut room, Class::Request, Method::BINDING, TransactionId([5; 12]))
        .username("serv:brow")
        .priority(1)
        .ice_controlling(77)
        .use_candidate()
        .message_integrity(&IntegrityKey::new(SERVER_PWD.as_bytes()))
        .fingerprint()
        .finish()
        .unwrap();
    room[..len].to_vec()
}

/// Sends the check over a channel to a media address; insists that the answer comes back over it and tells the relay.
fn check_through_relay(host: &mut Host, relayed: SocketAddr) {
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4000, &ice_check()));
    assert_eq!(sent.len(), 1, "the answer and nothing else: {sent:?}");
    assert_eq!((sent[0].0, sent[0].1), (listener(0), alice()));
    let (channel, answer) = read_channel_data(&sent[0].2);
    assert_eq!(channel, 0x4000);
    let answer = Message::parse(answer).unwrap();
    assert_eq!(answer.class(), Class::Success, "{:?}", answer.error_code());
    assert_eq!(answer.xor_mapped_address(), Ok(Some(relayed)));
}

#[test]
fn a_relayed_client_reaches_the_conference_and_its_answer_comes_back_the_same_way() {
    let mut host = Host::new(1, None).with_conference();
    open_transport(&mut host, 0);
    let (mut turn, relayed) = host.allocate(0, alice());
    host.bind(0, alice(), &mut turn, 0x4000, at("10.0.0.1:20000"));
    check_through_relay(&mut host, relayed);
    assert_eq!(handed_over(&host, HandOver::RelayToMedia), [1]);
    assert_eq!(handed_over(&host, HandOver::MediaToRelay), [1]);
}

#[test]
fn behind_nat_the_conference_answers_under_the_name_that_was_called() {
    let mut host = Host::new(1, Some("203.0.113.1".parse().unwrap())).with_conference();
    open_transport(&mut host, 0);
    let (mut turn, relayed) = host.allocate(0, alice());
    host.bind(0, alice(), &mut turn, 0x4000, at("203.0.113.1:20000"));
    check_through_relay(&mut host, relayed);
    // The private candidate, which some deployments keep.
    host.bind(0, alice(), &mut turn, 0x4001, at("10.0.0.1:20000"));
    let sent = host.arrive(0, listener(0), alice(), &channel_data(0x4001, &ice_check()));
    assert_eq!(read_channel_data(&sent[0].2).0, 0x4001);
    assert_eq!(handed_over(&host, HandOver::MediaToRelay), [2]);
}

#[test]
fn a_conference_on_another_worker_is_reached_across_both_ways() {
    let mut host = Host::new(2, None).with_conference();
    open_transport(&mut host, 1);
    let (mut turn, relayed) = host.allocate(0, alice());
    host.bind(0, alice(), &mut turn, 0x4000, at("10.0.0.1:20001"));
    check_through_relay(&mut host, relayed);
    assert_eq!(handed_over(&host, HandOver::RelayToMedia), [1, 0]);
    assert_eq!(handed_over(&host, HandOver::MediaToRelay), [0, 1]);
    assert_eq!(host.metrics[0].crossed_packets.of(HandOver::RelayToMedia).value(), 1);
    assert_eq!(host.metrics[1].crossed_packets.of(HandOver::MediaToRelay).value(), 1);
}

#[test]
fn the_conference_cannot_reach_a_client_that_did_not_permit_it() {
    let mut host = Host::new(1, None).with_conference();
    open_transport(&mut host, 0);
    let (mut turn, relayed) = host.allocate(0, alice());
    host.bind(0, alice(), &mut turn, 0x4000, at("198.51.100.7:5000"));
    // A check that pretends to come from the relay: the answer goes there and is refused.
    assert!(host.arrive(0, SocketId(100), relayed, &ice_check()).is_empty());
    assert_eq!(handed_over(&host, HandOver::MediaToRelay), [1]);
    let dropped: u64 = host.turn_metrics[0].dropped.values().map(|(_, count)| count).sum();
    assert_eq!(dropped, 1);
}

#[test]
fn a_command_for_a_shard_that_does_not_run_is_counted() {
    let mut host = Host::new(1, None);
    open_transport(&mut host, 0);
    assert_eq!(host.metrics[0].commands_ignored.value(), 2);
    let draining = Command::Turn(voex_turn::Command::RefuseNewAllocations);
    host.workers[0].handle_command(host.now, host.wall, draining, &mut host.kernel);
    assert_eq!(host.metrics[0].commands_ignored.value(), 2);
}
