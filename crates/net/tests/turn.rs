//! TURN through the whole media plane: real sockets, real threads, on loopback.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

#[path = "../../worker/tests/common/turn_client.rs"]
mod turn_client;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turn_client::{
    PASSWORD, REALM, TurnClient, USER, channel_data, read_channel_data, read_data_indication, relayed_address,
    send_indication, success, ticket,
};
use voex_base::{Rng, WorkerId};
use voex_net::{Config, DropReason, EVENTS_MAX, Toggle, TurnEvents, Workers};
use voex_stun::{Class, Icmp, Message, MessageWriter, Method, TransactionId};
use voex_turn::{Event, PeerRules, PortShare, RelayAddress, Secret, Server, UserSecret};
use voex_worker::{HandOver, RelayRange, Worker};

const RELAY_PORTS: std::ops::RangeInclusive<u16> = 50_000..=50_999;

/// A media plane with nothing but TURN, on an address of 127/8 of its own.
struct Plane {
    workers: Workers,
    turn_events: TurnEvents,
    ip: IpAddr,
    worker_metrics: Vec<Arc<voex_worker::Metrics>>,
    turn_metrics: Vec<Arc<voex_turn::Metrics>>,
}

impl Plane {
    fn start(host: u8, count: usize, offload: Toggle) -> Self {
        let ip = IpAddr::from([127, 90, 0, host]);
        let relay = RelayAddress { local: ip, public: ip };
        let config = Config {
            workers: count,
            pin: false,
            turn_listeners: vec![(ip, 0).into()],
            relays: Some(RelayRange {
                addresses: vec![relay],
                ports: RELAY_PORTS,
            }),
            gso: offload,
            gro: offload,
            ..Config::default()
        };
        let (mut worker_metrics, mut turn_metrics) = (Vec::new(), Vec::new());
        let (workers, _events, turn_events) = Workers::start(config, |id, topology| {
            let (metrics, turn) = (
                Arc::<voex_worker::Metrics>::default(),
                Arc::<voex_turn::Metrics>::default(),
            );
            worker_metrics.push(metrics.clone());
            turn_metrics.push(turn.clone());
            let server = Server::new(
                turn_config(relay, id.0, count as u16),
                Rng::from_number(id.0.into()),
                turn,
            );
            Worker::new(id, topology.clone(), metrics).with_turn(server)
        })
        .expect("loopback addresses can be bound");
        Self {
            workers,
            turn_events,
            ip,
            worker_metrics,
            turn_metrics,
        }
    }

    fn sum(&self, value: impl Fn(&voex_net::Metrics) -> u64) -> u64 {
        (0..self.workers.count())
            .map(|k| value(self.workers.metrics(WorkerId(k as u16))))
            .sum()
    }

    fn handed_over(&self) -> u64 {
        self.worker_metrics
            .iter()
            .map(|metrics| metrics.handed_over_packets.of(HandOver::RelayToRelay).value())
            .sum()
    }

    fn crossed(&self) -> u64 {
        self.worker_metrics
            .iter()
            .map(|metrics| metrics.crossed_in_packets.value())
            .sum()
    }

    /// Worker that has the newest allocation, given the counts before.
    fn allocations(&self) -> Vec<i64> {
        self.turn_metrics
            .iter()
            .map(|metrics| metrics.allocations.value())
            .collect()
    }
}

fn turn_config(relay: RelayAddress, index: u16, count: u16) -> voex_turn::Config {
    let mut config = voex_turn::Config::new(REALM, [3; 32], vec![relay], PortShare::new(RELAY_PORTS, index, count));
    config.users = vec![(USER.to_owned(), UserSecret::Password(Secret::new(PASSWORD)))];
    config.mobility = true;
    config.peers = PeerRules {
        allow_loopback: true,
        ..PeerRules::default()
    };
    config
}

/// A client with an allocation.
struct Client {
    socket: UdpSocket,
    turn: TurnClient,
    relayed: SocketAddr,
    /// Where it was before it moved: the port is nobody else's as long as its allocation may still be served there.
    left: Option<UdpSocket>,
}

impl Client {
    fn allocate(plane: &Plane) -> Self {
        let socket = socket(plane.ip);
        socket.connect(plane.workers.turn_listeners()[0]).unwrap();
        let mut turn = TurnClient::new();
        let challenge = ask(&socket, &turn.allocate());
        turn.challenged(&challenge);
        let relayed = relayed_address(&ask(&socket, &turn.allocate()));
        Self::at(socket, turn, relayed)
    }

    fn at(socket: UdpSocket, turn: TurnClient, relayed: SocketAddr) -> Self {
        Self {
            socket,
            turn,
            relayed,
            left: None,
        }
    }

    /// Makes an allocation that may move; gives its ticket too.
    fn allocate_mobile(plane: &Plane) -> (Self, Vec<u8>) {
        let socket = socket(plane.ip);
        socket.connect(plane.workers.turn_listeners()[0]).unwrap();
        let mut turn = TurnClient::new();
        let challenge = ask(&socket, &turn.allocate_mobile());
        turn.challenged(&challenge);
        let answer = ask(&socket, &turn.allocate_mobile());
        let relayed = relayed_address(&answer);
        (Self::at(socket, turn, relayed), ticket(&answer))
    }

    /// Goes on over another socket; gives the next ticket.
    fn moves(&mut self, plane: &Plane, ticketed: &[u8]) -> Vec<u8> {
        let left = std::mem::replace(&mut self.socket, socket(plane.ip));
        self.left = Some(left);
        self.socket.connect(plane.workers.turn_listeners()[0]).unwrap();
        let challenge = ask(&self.socket, &self.turn.resume(ticketed));
        self.turn.challenged(&challenge);
        ticket(&ask(&self.socket, &self.turn.resume(ticketed)))
    }

    fn bind(&mut self, channel: u16, peer: SocketAddr) {
        let request = self.turn.channel_bind(channel, peer);
        success(&ask(&self.socket, &request));
    }

    fn permit(&mut self, peer: SocketAddr) {
        let request = self.turn.create_permission(peer);
        success(&ask(&self.socket, &request));
    }

    fn send(&self, channel: u16, payload: &[u8]) {
        self.socket.send(&channel_data(channel, payload)).unwrap();
    }
}

fn socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    receive(socket).0
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut room = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut room).expect("a packet arrives");
    room.truncate(len);
    (room, from)
}

fn relay_both_ways(plane: &Plane) {
    let mut client = Client::allocate(plane);
    let peer = socket(plane.ip);
    let peer_address = peer.local_addr().unwrap();
    client.permit(peer_address);
    client
        .socket
        .send(&send_indication(peer_address, b"by indication"))
        .unwrap();
    assert_eq!(receive(&peer), (b"by indication".to_vec(), client.relayed));
    peer.send_to(b"answer", client.relayed).unwrap();
    assert_eq!(
        read_data_indication(&receive(&client.socket).0),
        (peer_address, b"answer".to_vec())
    );
    client.bind(0x4000, peer_address);
    for burst in 0..20u8 {
        for n in 0..32u8 {
            client.send(0x4000, &[burst, n].repeat(600));
        }
        for n in 0..32u8 {
            let (payload, from) = receive(&peer);
            assert_eq!(
                (&payload[..2], payload.len(), from),
                (&[burst, n][..], 1_200, client.relayed)
            );
            peer.send_to(&payload, client.relayed).unwrap();
        }
        for n in 0..32u8 {
            let back = receive(&client.socket).0;
            assert_eq!(read_channel_data(&back), (0x4000, &[burst, n].repeat(600)[..]));
        }
    }
}

#[test]
fn what_happened_to_sessions_waits_for_a_reader_that_is_behind_and_loses_nothing() {
    let mut plane = Plane::start(17, 1, Toggle::Probe);
    let mut client = Client::allocate(&plane);
    // One session more than the queue has room for, by two events each; the shard keeps the rest.
    let sessions = EVENTS_MAX / 2 + 1;
    for _ in 1..sessions {
        let release = client.turn.release();
        success(&ask(&client.socket, &release));
        let allocate = client.turn.allocate();
        success(&ask(&client.socket, &allocate));
    }
    let release = client.turn.release();
    success(&ask(&client.socket, &release));
    let (mut began, mut ended) = (Vec::new(), Vec::new());
    let asked = Instant::now();
    while ended.len() < sessions {
        match plane.turn_events.try_next() {
            Some((_, Event::Began(session))) => began.push(session.id),
            Some((_, Event::Ended { session, .. })) => {
                ended.push(session);
                assert_eq!(began.last(), Some(&session), "an end follows its beginning");
            }
            Some(_) => {}
            None => assert!(
                asked.elapsed() < Duration::from_secs(10),
                "{} of {sessions}",
                ended.len()
            ),
        }
    }
    assert_eq!(began, ended);
    let mut ids = began.clone();
    ids.dedup();
    assert_eq!(ids.len(), sessions);
}

#[test]
fn a_client_is_told_that_nobody_listens_at_a_peer_and_other_peers_lose_nothing_by_it() {
    let plane = Plane::start(18, 1, Toggle::Probe);
    let mut client = Client::allocate(&plane);
    let (here, gone) = (socket(plane.ip), socket(plane.ip).local_addr().unwrap());
    let there = here.local_addr().unwrap();
    client.permit(there);
    for _ in 0..5 {
        client.socket.send(&send_indication(gone, b"into the void")).unwrap();
        let told = receive(&client.socket).0;
        let told = Message::parse(&told).unwrap();
        assert_eq!(told.xor_peer_address(), Ok(Some(gone)));
        let port_unreachable = Icmp {
            kind: 3,
            code: 3,
            data: 0,
        };
        assert_eq!(told.icmp(), Ok(Some(port_unreachable)));
    }
    for n in 0..100u8 {
        client.socket.send(&send_indication(gone, b"into the void")).unwrap();
        client.socket.send(&send_indication(there, &[n])).unwrap();
        assert_eq!(receive(&here), (vec![n], client.relayed));
    }
    assert_eq!(
        plane.sum(|metrics| metrics.dropped.of(DropReason::SendRefused).value()),
        0
    );
    assert!(plane.sum(|metrics| metrics.errors_received.value()) >= 5);
}

#[test]
fn bursts_are_relayed_both_ways_in_order_with_trains() {
    let plane = Plane::start(1, 1, Toggle::Probe);
    relay_both_ways(&plane);
    let trains = plane.sum(|metrics| metrics.sent_trains.value());
    assert_eq!(trains > 0, plane.workers.capabilities().gso, "{trains} trains");
}

#[test]
fn bursts_are_relayed_both_ways_in_order_without_trains() {
    let plane = Plane::start(2, 1, Toggle::Off);
    assert_eq!(plane.workers.capabilities().to_string(), "gso=off gro=off");
    relay_both_ways(&plane);
    assert_eq!(
        plane.sum(|metrics| metrics.sent_trains.value() + metrics.received_trains.value()),
        0
    );
}

#[test]
fn fifty_clients_on_two_workers_lose_nothing() {
    let plane = Plane::start(3, 2, Toggle::Probe);
    let peer = socket(plane.ip);
    let peer_address = peer.local_addr().unwrap();
    let mut clients: Vec<Client> = (0..50).map(|_| Client::allocate(&plane)).collect();
    clients.iter_mut().for_each(|client| client.bind(0x4001, peer_address));
    for round in 0..20u32 {
        for client in &clients {
            client.send(0x4001, &round.to_be_bytes());
        }
        for _ in &clients {
            let (payload, from) = receive(&peer);
            peer.send_to(&payload, from).unwrap();
        }
        for client in &clients {
            let back = receive(&client.socket).0;
            assert_eq!(read_channel_data(&back), (0x4001, &round.to_be_bytes()[..]));
        }
    }
    let allocations = plane.allocations();
    assert_eq!(allocations.iter().sum::<i64>(), 50);
    assert!(
        allocations.iter().all(|count| *count > 0),
        "both workers serve clients: {allocations:?}"
    );
}

#[test]
fn clients_that_move_are_served_by_the_worker_that_has_their_allocation_whoever_hears_them() {
    let plane = Plane::start(19, 2, Toggle::Probe);
    let peer = socket(plane.ip);
    let mut clients: Vec<_> = (0..20).map(|_| Client::allocate_mobile(&plane)).collect();
    for (client, _) in &mut clients {
        client.bind(0x4001, peer.local_addr().unwrap());
    }
    let far = |plane: &Plane| plane.turn_metrics.iter().map(|m| m.far_clients.value()).sum::<i64>();
    for round in 0..5u8 {
        for (client, ticketed) in &mut clients {
            *ticketed = client.moves(&plane, ticketed);
        }
        for n in 0..50u8 {
            clients.iter().for_each(|(client, _)| client.send(0x4001, &[round, n]));
            for _ in &clients {
                let (payload, from) = receive(&peer);
                assert_eq!(payload, [round, n]);
                peer.send_to(&payload, from).unwrap();
            }
            for (client, _) in &clients {
                assert_eq!(read_channel_data(&receive(&client.socket).0), (0x4001, &[round, n][..]));
            }
        }
        assert!(
            (1..20).contains(&far(&plane)),
            "{} of 20 are heard elsewhere",
            far(&plane)
        );
    }
    assert_eq!(
        plane.turn_metrics.iter().map(|m| m.moves_total.value()).sum::<u64>(),
        100
    );
    assert_eq!(plane.allocations().iter().sum::<i64>(), 20);
    for (client, _) in &mut clients {
        let release = client.turn.release();
        success(&ask(&client.socket, &release));
    }
    let asked = Instant::now();
    while far(&plane) > 0 {
        assert!(asked.elapsed() < Duration::from_secs(5), "claims are released");
    }
    assert_eq!(plane.allocations().iter().sum::<i64>(), 0);
}

#[test]
fn two_clients_of_this_host_talk_inside_the_process_even_across_workers() {
    let plane = Plane::start(4, 2, Toggle::Probe);
    // The kernel chooses the worker of a client; ask until both workers have one.
    let mut homes: [Option<Client>; 2] = [None, None];
    while homes.iter().any(Option::is_none) {
        let before = plane.allocations();
        let client = Client::allocate(&plane);
        let after = plane.allocations();
        let home = (0..2).find(|k| after[*k] > before[*k]).expect("one worker took it");
        homes[home] = Some(client);
    }
    let [Some(mut a), Some(mut b)] = homes else {
        unreachable!("the loop above ended")
    };
    a.bind(0x4000, b.relayed);
    b.bind(0x4000, a.relayed);
    for n in 0..100u8 {
        a.send(0x4000, &[n; 200]);
        assert_eq!(read_channel_data(&receive(&b.socket).0), (0x4000, &[n; 200][..]));
        b.send(0x4000, &[n; 300]);
        assert_eq!(read_channel_data(&receive(&a.socket).0), (0x4000, &[n; 300][..]));
    }
    assert_eq!((plane.handed_over(), plane.crossed()), (200, 200));
}

#[test]
fn a_released_relay_is_closed() {
    let plane = Plane::start(5, 1, Toggle::Probe);
    let mut client = Client::allocate(&plane);
    let relayed = client.relayed;
    assert!(UdpSocket::bind(relayed).is_err(), "the relay holds its port");
    let request = client.turn.release();
    success(&ask(&client.socket, &request));
    let deadline = Instant::now() + Duration::from_secs(5);
    while UdpSocket::bind(relayed).is_err() {
        assert!(Instant::now() < deadline, "the port is free again");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn binding_is_answered_over_ipv6_and_such_a_listener_takes_no_ipv4() {
    let config = Config {
        workers: 2,
        pin: false,
        turn_listeners: vec!["[::1]:0".parse().unwrap()],
        ..Config::default()
    };
    let (workers, _events, _turn_events) = Workers::start(config, |id, topology| {
        let relay = RelayAddress {
            local: "::1".parse().unwrap(),
            public: "::1".parse().unwrap(),
        };
        let server = Server::new(turn_config(relay, id.0, 2), Rng::from_number(9), Arc::default());
        Worker::new(id, topology.clone(), Arc::default()).with_turn(server)
    })
    .unwrap();
    let client = socket("::1".parse().unwrap());
    let listener = workers.turn_listeners()[0];
    client.connect(listener).unwrap();
    let mut room = [0; 64];
    let request = MessageWriter::new(&mut room, Class::Request, Method::BINDING, TransactionId([1; 12]));
    let len = request.finish().unwrap();
    let answer = ask(&client, &room[..len]);
    assert_eq!(
        success(&answer).xor_mapped_address(),
        Ok(Some(client.local_addr().unwrap()))
    );
    UdpSocket::bind(("0.0.0.0", listener.port())).expect("the IPv4 port is free");
}
