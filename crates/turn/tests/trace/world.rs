//! A shard, its clock, its sockets, and clients that speak to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use voex_base::{FiveTuple, Protocol, Rng, SocketId, VecOutbox, WallTime};
use voex_stun::{
    AttributeType, ChannelData, ChannelNumber, Class, IntegrityKey, Message, MessageWriter, Method, ReservationToken,
    TransactionId,
};
use voex_turn::{
    BindError, ClientPath, ClientVerdict, Command, Config, DropReason, Metrics, Output, PortShare, RelayAddress,
    Secret, Server, UserSecret,
};

pub(crate) const REALM: &str = "example.org";
pub(crate) const LISTENER: SocketId = SocketId(1);
pub(crate) const UNIX_START_S: u64 = 1_800_000_000;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) out: VecOutbox,
    pub(crate) start: Instant,
    passed: Duration,
    /// Relays that are open, by socket.
    pub(crate) relays: BTreeMap<SocketId, SocketAddr>,
    /// What was asked of connections with peers, oldest first.
    pub(crate) of_peers: Vec<Output>,
    next_socket: u64,
    /// What the next bind requests end with; empty means success.
    pub(crate) bind_errors: Vec<BindError>,
    /// Bind requests are left for the test to answer.
    pub(crate) binds_by_hand: bool,
}

/// The configuration most traces use: relays 10.0.0.1 behind 198.51.100.1, and 2001:db8::1.
pub(crate) fn config() -> Config {
    let relays = vec![
        RelayAddress {
            local: ip("10.0.0.1"),
            public: ip("198.51.100.1"),
        },
        RelayAddress {
            local: ip("2001:db8::1"),
            public: ip("2001:db8::1"),
        },
    ];
    let mut config = Config::new(REALM, [7; 32], relays, PortShare::whole(49_152..=65_535));
    let user = |name: &str, password: &str| (name.to_owned(), UserSecret::Password(Secret::new(password)));
    config.users = vec![user("alice", "secret of alice"), user("bob", "secret of bob")];
    config
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        let metrics = Arc::new(Metrics::default());
        Self {
            server: Server::new(config, Rng::from_number(42), Arc::clone(&metrics)),
            metrics,
            out: VecOutbox::default(),
            start: Instant::now(),
            passed: Duration::ZERO,
            relays: BTreeMap::new(),
            of_peers: Vec::new(),
            next_socket: 100,
            bind_errors: Vec::new(),
            binds_by_hand: false,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.passed
    }

    pub(crate) fn wall(&self) -> WallTime {
        WallTime::from_unix(Duration::from_secs(UNIX_START_S) + self.passed)
    }

    /// Lets time pass without waking the server: as when a packet is handled before the timers of the same loop pass.
    pub(crate) fn pass_unnoticed(&mut self, time: Duration) {
        self.passed += time;
    }

    /// Lets time pass, waking the server whenever it asked for it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.passed + time;
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= self.start + end) {
            self.passed = self.passed.max(at - self.start);
            let now = self.now();
            self.server.handle_timeout(now, &mut self.out);
            self.serve_sockets();
        }
        self.passed = end;
    }

    /// Delivers a client's datagram.
    pub(crate) fn deliver(&mut self, from: FiveTuple, datagram: &[u8]) -> ClientVerdict {
        let (now, wall) = (self.now(), self.wall());
        let verdict = self
            .server
            .handle_client_datagram(now, wall, from, datagram, &mut self.out);
        if !self.binds_by_hand {
            self.serve_sockets();
        }
        verdict
    }

    /// Gives the shard an order of the control plane.
    pub(crate) fn command(&mut self, command: Command) {
        let (now, wall) = (self.now(), self.wall());
        self.server.handle_command(now, wall, command, &mut self.out);
        if !self.binds_by_hand {
            self.serve_sockets();
        }
    }

    /// Delivers a request and gives its one answer.
    pub(crate) fn ask(&mut self, from: FiveTuple, request: &[u8]) -> Answer {
        assert_eq!(self.deliver(from, request), ClientVerdict::Handled);
        let answer = self.only_sent(from);
        let id = Message::parse(request).unwrap().transaction_id();
        assert_eq!(answer.message().transaction_id(), id);
        answer
    }

    /// Takes the one datagram that was sent, which must be for `to`.
    pub(crate) fn only_sent(&mut self, to: FiveTuple) -> Answer {
        assert_eq!(self.out.sent.len(), 1, "one datagram is sent");
        let (socket, client, bytes) = self.out.sent.remove(0);
        assert_eq!(FiveTuple { socket, client }, to);
        Answer(bytes)
    }

    /// Delivers a peer's datagram and gives what the client got.
    pub(crate) fn peer_sends(&mut self, relay: SocketId, peer: &str, data: &[u8]) -> Result<Vec<u8>, DropReason> {
        let now = self.now();
        self.server
            .handle_peer_datagram(now, relay, address(peer), data, &mut self.out)?;
        assert_eq!(self.out.sent.len(), 1, "one datagram goes to the client");
        Ok(self.out.sent.remove(0).2)
    }

    /// Gives the socket of the relay that a client was told.
    pub(crate) fn relay_of(&self, relayed: SocketAddr) -> SocketId {
        self.server.relay_by_address(relayed).expect("the relay exists")
    }

    pub(crate) fn serve_sockets(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::BindRelay { request, address, .. } | Output::ListenRelay { request, address } => {
                    let bound = match self.bind_errors.pop() {
                        Some(error) => Err(error),
                        None => Ok(self.open_relay(address)),
                    };
                    let (now, wall) = (self.now(), self.wall());
                    self.server.handle_relay_bound(now, wall, request, bound, &mut self.out);
                }
                Output::CloseRelay(socket) => {
                    self.relays.remove(&socket).expect("only open relays are closed");
                }
                other => self.of_peers.push(other),
            }
        }
    }

    pub(crate) fn open_relay(&mut self, address: SocketAddr) -> SocketId {
        assert!(
            !self.relays.values().any(|open| *open == address),
            "no port is bound twice"
        );
        self.next_socket += 1;
        self.relays.insert(SocketId(self.next_socket), address);
        SocketId(self.next_socket)
    }
}

/// A client that behaves: it learns realm and nonce, and signs.
pub(crate) struct Client {
    pub(crate) five_tuple: FiveTuple,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) nonce: Vec<u8>,
    next_id: u32,
}

impl Client {
    pub(crate) fn new(client: &str, user: &str, password: &str) -> Self {
        let five_tuple = FiveTuple {
            socket: LISTENER,
            client: address(client),
        };
        Self {
            five_tuple,
            user: user.into(),
            password: password.into(),
            nonce: Vec::new(),
            next_id: 0,
        }
    }

    /// Gives the same client as it is over a stream.
    pub(crate) fn over_stream(mut self, world: &mut World, stream: SocketId) -> Self {
        let path = ClientPath {
            protocol: Protocol::Tcp,
            local: address("10.0.0.1:3478"),
            tls: None,
        };
        world.server.add_client_socket(stream, path);
        self.five_tuple.socket = stream;
        self
    }

    pub(crate) fn alice() -> Self {
        Self::new("203.0.113.7:6000", "alice", "secret of alice")
    }

    pub(crate) fn bob() -> Self {
        Self::new("203.0.113.8:6000", "bob", "secret of bob")
    }

    /// Writes a request signed with what the client knows.
    pub(crate) fn signed(&mut self, method: Method, body: impl Body) -> Vec<u8> {
        let id = self.fresh_id();
        let key = IntegrityKey::long_term(&self.user, REALM, &self.password);
        message(Class::Request, method, id, |writer| {
            body(writer)
                .username(&self.user)
                .realm(REALM)
                .nonce(&self.nonce)
                .message_integrity(&key)
        })
    }

    pub(crate) fn unsigned(&mut self, method: Method, body: impl Body) -> Vec<u8> {
        message(Class::Request, method, self.fresh_id(), body)
    }

    /// Gets a nonce.
    pub(crate) fn learns_nonce(&mut self, world: &mut World) {
        let request = self.unsigned(Method::ALLOCATE, |writer| writer.requested_transport_udp());
        let answer = world.ask(self.five_tuple, &request);
        assert_eq!(answer.code(), 401);
        self.nonce = answer
            .message()
            .nonce()
            .unwrap()
            .expect("a challenge has a nonce")
            .to_vec();
    }

    pub(crate) fn asks(&mut self, world: &mut World, method: Method, body: impl Body) -> Answer {
        let request = self.signed(method, body);
        let answer = world.ask(self.five_tuple, &request);
        let key = IntegrityKey::long_term(&self.user, REALM, &self.password);
        if ![401, 438].contains(&answer.code()) {
            assert_eq!(answer.message().check_integrity(&key), Ok(()), "answers are signed");
        }
        answer
    }

    pub(crate) fn asks_allocation(&mut self, world: &mut World, body: impl Body) -> Answer {
        if self.nonce.is_empty() {
            self.learns_nonce(world);
        }
        self.asks(world, Method::ALLOCATE, |writer| body(writer.requested_transport_udp()))
    }

    /// Asks for a UDP allocation with these attributes.
    pub(crate) fn asks_allocation_with(&mut self, world: &mut World, attributes: &[(AttributeType, &[u8])]) -> Answer {
        self.asks_allocation(world, |writer| {
            let all = attributes.iter();
            all.fold(writer, |writer, (kind, value)| writer.attribute(*kind, value))
        })
    }

    /// Makes an allocation and gives its relayed address.
    pub(crate) fn allocates(&mut self, world: &mut World) -> SocketAddr {
        self.asks_allocation(world, |writer| writer).granted().relayed()
    }

    pub(crate) fn permits(&mut self, world: &mut World, peer: &str) -> Answer {
        self.asks(world, Method::CREATE_PERMISSION, |writer| {
            writer.xor_peer_address(address(peer))
        })
    }

    pub(crate) fn binds(&mut self, world: &mut World, number: u16, peer: &str) -> Answer {
        let number = ChannelNumber::new(number).unwrap();
        self.asks(world, Method::CHANNEL_BIND, |writer| {
            writer.channel_number(number).xor_peer_address(address(peer))
        })
    }

    pub(crate) fn refreshes(&mut self, world: &mut World, lifetime_s: u32) -> Answer {
        self.asks(world, Method::REFRESH, |writer| writer.lifetime_s(lifetime_s))
    }

    /// Sends data in a Send indication, and gives where it went and what.
    pub(crate) fn sends(&mut self, world: &mut World, peer: &str, data: &[u8]) -> Result<Sent, DropReason> {
        let datagram = message(Class::Indication, Method::SEND, self.fresh_id(), |writer| {
            writer.xor_peer_address(address(peer)).data(data)
        });
        self.sends_raw(world, &datagram)
    }

    /// Sends data over a channel, and gives where it went and what.
    pub(crate) fn sends_channel(&mut self, world: &mut World, number: u16, data: &[u8]) -> Result<Sent, DropReason> {
        let mut datagram = vec![0; data.len() + 4];
        let channel = ChannelNumber::new(number).unwrap();
        ChannelData { channel, payload: data }.write(&mut datagram).unwrap();
        self.sends_raw(world, &datagram)
    }

    pub(crate) fn sends_raw(&mut self, world: &mut World, datagram: &[u8]) -> Result<Sent, DropReason> {
        match world.deliver(self.five_tuple, datagram) {
            ClientVerdict::ToPeer {
                relay,
                peer,
                payload,
                dont_fragment,
            } => Ok(Sent {
                relay,
                peer,
                dont_fragment,
                data: datagram[payload].to_vec(),
            }),
            ClientVerdict::Drop(reason) => Err(reason),
            other @ (ClientVerdict::Handled | ClientVerdict::Elsewhere { .. }) => panic!("{other:?}"),
        }
    }

    pub(crate) fn fresh_id(&mut self) -> TransactionId {
        self.next_id += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.next_id.to_be_bytes());
        id[4..].copy_from_slice(&self.five_tuple.client.port().to_be_bytes().repeat(4));
        TransactionId(id)
    }
}

/// What went to a peer.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) relay: SocketId,
    pub(crate) peer: SocketAddr,
    pub(crate) dont_fragment: bool,
    pub(crate) data: Vec<u8>,
}

/// What a client got.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Answer(pub(crate) Vec<u8>);

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    /// Gives the error code; 0 for success.
    pub(crate) fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            Class::Error => self
                .message()
                .error_code()
                .unwrap()
                .expect("an error has a code")
                .number(),
            other => panic!("an answer is no {other:?}"),
        }
    }

    pub(crate) fn granted(self) -> Self {
        assert_eq!(self.code(), 0);
        self
    }

    pub(crate) fn relayed(&self) -> SocketAddr {
        self.message()
            .xor_relayed_address()
            .unwrap()
            .expect("an allocation has a relayed address")
    }

    /// Gives every relayed address.
    pub(crate) fn all_relayed(&self) -> Vec<SocketAddr> {
        self.message().xor_relayed_addresses().map(Result::unwrap).collect()
    }

    pub(crate) fn lifetime_s(&self) -> u32 {
        self.message().lifetime_s().unwrap().expect("a lifetime")
    }

    pub(crate) fn token(&self) -> Option<ReservationToken> {
        self.message().reservation_token().unwrap()
    }
}

/// Adds attributes to a message.
pub(crate) trait Body: for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b> {}
impl<T: for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>> Body for T {}

pub(crate) fn message(class: Class, method: Method, id: TransactionId, body: impl Body) -> Vec<u8> {
    let mut room = [0; 4_096];
    let len = body(MessageWriter::new(&mut room, class, method, id)).finish().unwrap();
    room[..len].to_vec()
}

/// The password that goes with a time-limited name.
pub(crate) fn rest_password(secret: &str, name: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(name.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

pub(crate) fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
