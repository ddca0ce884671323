//! A media plane with nothing but TURN, and clients that talk to it over streams.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Counter, Protocol, Rng, WorkerId};
use voex_net::{Config, Events, Identity, Workers};
use voex_stun::frame_len;
use voex_turn::{ClientPath, PeerRules, PortShare, Rates, RelayAddress, Secret, Server, UserSecret};
use voex_worker::{RelayRange, Worker};

use crate::turn_client::{
    PASSWORD, REALM, TurnClient, USER, channel_data, read_channel_data, relayed_address, success,
};

const RELAY_PORTS: std::ops::RangeInclusive<u16> = 50_000..=50_999;
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Plane {
    pub(crate) workers: Workers,
    pub(crate) ip: IpAddr,
    events: Events<voex_turn::Event>,
    turn_metrics: Vec<Arc<voex_turn::Metrics>>,
}

impl Plane {
    /// Starts workers on an address of 127/8 of their own.
    pub(crate) fn start(host: u8, count: usize) -> Self {
        Self::start_at([127, 91, 0, host].into(), count, None)
    }

    pub(crate) fn start_at(ip: IpAddr, count: usize, identity: Option<Identity>) -> Self {
        Self::start_with(ip, count, identity, &Protocol::ALL)
    }

    /// Starts workers that serve no protocol but these.
    pub(crate) fn start_with(ip: IpAddr, count: usize, identity: Option<Identity>, protocols: &[Protocol]) -> Self {
        Self::start_on(ip, 1, count, identity, protocols)
    }

    /// Starts workers that clients reach by so many ports.
    pub(crate) fn start_on(
        ip: IpAddr,
        ports: usize,
        count: usize,
        identity: Option<Identity>,
        protocols: &[Protocol],
    ) -> Self {
        Self::start_as(ip, ports, count, identity, protocols, Rates::default())
    }

    /// Starts workers whose relays are limited.
    pub(crate) fn start_limited(host: u8, count: usize, rates: Rates) -> Self {
        Self::start_as([127, 91, 0, host].into(), 1, count, None, &Protocol::ALL, rates)
    }

    fn start_as(
        ip: IpAddr,
        ports: usize,
        count: usize,
        identity: Option<Identity>,
        protocols: &[Protocol],
        rates: Rates,
    ) -> Self {
        let relay = RelayAddress { local: ip, public: ip };
        let config = Config {
            workers: count,
            pin: false,
            turn_listeners: vec![(ip, 0).into(); ports],
            identity,
            turn_protocols: protocols.to_vec(),
            relays: Some(RelayRange {
                addresses: vec![relay],
                ports: RELAY_PORTS,
            }),
            ..Config::default()
        };
        let mut turn_metrics = Vec::new();
        let (workers, _, events) = Workers::start(config, |id, topology| {
            let metrics = Arc::<voex_turn::Metrics>::default();
            turn_metrics.push(metrics.clone());
            let mut config = turn_config(relay, id.0, count as u16);
            config.rates = rates;
            let server = Server::new(config, Rng::from_number(id.0.into()), metrics);
            Worker::new(id, topology.clone(), Arc::default()).with_turn(server)
        })
        .expect("loopback addresses can be bound");
        Self {
            workers,
            ip,
            events,
            turn_metrics,
        }
    }

    pub(crate) fn listener(&self) -> SocketAddr {
        self.workers.turn_listeners()[0]
    }

    /// Gives how the next client that gets an allocation reaches us.
    pub(crate) fn next_path(&mut self) -> ClientPath {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "an allocation begins");
            match self.events.try_next() {
                Some((_, voex_turn::Event::Began(session))) => return session.path,
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    pub(crate) fn sum(&self, value: impl Fn(&voex_net::Metrics) -> u64) -> u64 {
        (0..self.workers.count())
            .map(|k| value(self.workers.metrics(WorkerId(k as u16))))
            .sum()
    }

    pub(crate) fn gauge(&self, value: impl Fn(&voex_net::Metrics) -> i64) -> i64 {
        (0..self.workers.count())
            .map(|k| value(self.workers.metrics(WorkerId(k as u16))))
            .sum()
    }

    pub(crate) fn turn_sum(&self, value: impl Fn(&voex_turn::Metrics) -> u64) -> u64 {
        self.turn_metrics.iter().map(|metrics| value(metrics)).sum()
    }

    /// Counts connections with peers, and those of them that no data connection is bound to.
    pub(crate) fn connections(&self) -> (i64, i64) {
        let sum = |value: fn(&voex_turn::Metrics) -> i64| self.turn_metrics.iter().map(|metrics| value(metrics)).sum();
        (sum(|m| m.connections.value()), sum(|m| m.connections_waiting.value()))
    }

    pub(crate) fn allocations(&self) -> i64 {
        self.turn_metrics
            .iter()
            .map(|metrics| metrics.allocations.value())
            .sum()
    }

    /// Waits until a counter of the loops has the value.
    pub(crate) fn wait_for(&self, what: &str, value: impl Fn(&voex_net::Metrics) -> &Counter, expected: u64) {
        self.wait(what, || self.sum(|metrics| value(metrics).value()) == expected);
    }

    pub(crate) fn wait(&self, what: &str, until: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !until() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn turn_config(relay: RelayAddress, index: u16, count: u16) -> voex_turn::Config {
    let mut config = voex_turn::Config::new(REALM, [3; 32], vec![relay], PortShare::new(RELAY_PORTS, index, count));
    config.users = vec![(USER.to_owned(), UserSecret::Password(Secret::new(PASSWORD)))];
    config.tcp_relays = true;
    config.peers = PeerRules {
        allow_loopback: true,
        ..PeerRules::default()
    };
    config
}

/// A client with an allocation over any kind of stream.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    pub(crate) turn: TurnClient,
    pub(crate) relayed: SocketAddr,
}

impl Client<TcpStream> {
    pub(crate) fn allocate(plane: &Plane) -> Self {
        Self::allocate_over(connect(plane))
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn allocate_over(mut stream: S) -> Self {
        let mut turn = TurnClient::new();
        let challenge = ask(&mut stream, &turn.allocate());
        turn.challenged(&challenge);
        let relayed = relayed_address(&ask(&mut stream, &turn.allocate()));
        Self { stream, turn, relayed }
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddr) {
        let request = self.turn.channel_bind(channel, peer);
        success(&ask(&mut self.stream, &request));
    }

    pub(crate) fn send(&mut self, channel: u16, payload: &[u8]) {
        self.stream.write_all(&padded(channel, payload)).unwrap();
    }

    /// Reads one ChannelData message; gives its payload.
    pub(crate) fn receive(&mut self, channel: u16) -> Vec<u8> {
        let message = read_message(&mut self.stream);
        let (number, payload) = read_channel_data(&message);
        assert_eq!(number, channel);
        payload.to_vec()
    }
}

pub(crate) fn connect(plane: &Plane) -> TcpStream {
    let stream = TcpStream::connect(plane.listener()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn peer(plane: &Plane) -> UdpSocket {
    let socket = UdpSocket::bind((plane.ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// ChannelData with the padding of streams.
pub(crate) fn padded(channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = channel_data(channel, payload);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

pub(crate) fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    read_message(stream)
}

pub(crate) fn read_message(stream: &mut impl Read) -> Vec<u8> {
    let mut message = vec![0; 4];
    stream.read_exact(&mut message).expect("a message arrives");
    let len = frame_len(&message)
        .expect("STUN or ChannelData")
        .expect("four bytes tell");
    message.resize(len, 0);
    stream.read_exact(&mut message[4..]).expect("the whole message arrives");
    message
}

pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut room = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut room).expect("a packet arrives");
    room.truncate(len);
    (room, from)
}
