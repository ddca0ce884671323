//! What the fuzz target runs, so that a plain test can replay its corpus: a shard with two clients, driven by a script.
//!
//! ```text
//! script = step*        step = kind (1) │ length (1) │ body
//! kind % 6:  0 datagram of a stranger      1 datagram of a client      2 datagram of a peer
//!            3 request signed by a client: method (1), then attributes: type (2) │ length (1) │ value
//!            4 time passes: seconds (1)
//!            5 an empty body: the next bind request fails; else ICMP tells of a peer's path: type (1), code (1)
//! kind >= 128, kind % 4:
//!            0 request signed with SHA-256 by a client that names a password algorithm: as 3
//!            1 request of a user of the credential store: as 3
//!            2 the store answers its oldest question: what (1)
//!            3 request with an access token: length (1) and content of its sealed block, then as 3
//! kind / 6 % 4:  clients 0 and 1 over UDP, 2 and 3 over TCP: one may have a TCP relay, the other its data connection
//! ```
//!
//! A CONNECTION-ID of one byte stands for the id of the nth connection, a MOBILITY-TICKET of one for the nth ticket given.
//! Peers on ports that are multiples of four refuse TCP connections, those on odd ports never answer.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{FiveTuple, Protocol, Rng, SocketId, VecOutbox, WallTime};
use voex_stun::{
    AttributeType, Class, Icmp, IntegrityKey, IntegrityKeySha256, Message, MessageWriter, Method, PasswordAlgorithm,
    TransactionId, long_term_key, long_term_key_sha256,
};

use crate::waiting::WAITING_MAX;
use crate::{
    BindError, ClientPath, ClientVerdict, Command, Config, ConnectionId, Event, LookUpId, LookedUp, Metrics, Output,
    PortShare, RelayAddress, Secret, Server, StoredUser, TokenAlgorithm, TokenKey, UserSecret, Way, access_token,
};

/// Runs a script and holds the shard to its invariants.
///
/// # Panics
/// When an invariant is broken.
pub fn message(script: &[u8]) {
    run(script);
}

/// Runs a script like [`message`] and gives what was counted, so that a test can tell what a seed reaches.
///
/// # Panics
/// When an invariant is broken.
pub fn run(script: &[u8]) -> Arc<Metrics> {
    let mut world = World::new();
    let mut rest = script;
    // Long scripts find nothing that short ones do not, and are slow.
    for _ in 0..64 {
        let Some(([kind, len], tail)) = rest.split_first_chunk::<2>().map(|(head, tail)| (*head, tail)) else {
            break;
        };
        let (body, tail) = tail.split_at(usize::from(len).min(tail.len()));
        world.step(kind, body);
        world.check();
        rest = tail;
    }
    world.pass(Duration::from_secs(4_000));
    world.check();
    assert_eq!(world.server.allocations(), 0, "nothing outlives the longest lifetime");
    assert_eq!(world.server.poll_timeout(), None);
    assert_eq!(world.metrics.look_ups_waiting.value(), 0, "nothing waits for ever");
    world.metrics
}

struct World {
    server: Server,
    metrics: Arc<Metrics>,
    out: VecOutbox,
    start: Instant,
    passed: Duration,
    open: Vec<SocketId>,
    /// Of them, those that listen for TCP.
    listening: BTreeSet<SocketId>,
    /// Connections with peers, and those that carry bytes.
    peers: BTreeSet<ConnectionId>,
    bound: BTreeSet<ConnectionId>,
    next_socket: u64,
    next_id: u32,
    bind_fails: bool,
    /// Tickets that were given to clients; a few are as good as many.
    tickets: Vec<Vec<u8>>,
    /// Questions to the credential store that it has not answered.
    questions: VecDeque<LookUpId>,
    last_question: u64,
}

/// Who signs a request, and how.
#[derive(Clone, Copy)]
enum Signer<'a> {
    /// A user of the settings, with SHA-1.
    Static,
    /// The same, with a password algorithm and SHA-256.
    Modern,
    /// A user of the credential store.
    Stored,
    /// Whoever has this token.
    Token(&'a [u8]),
}

const LISTENER: SocketId = SocketId(1);
const SERVER_NAME: &str = "server";
const MAC_KEY: [u8; 20] = [0x6d; 20];
const IPV6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
const TICKETS_MAX: usize = 16;

impl World {
    fn new() -> Self {
        let relays = vec![
            RelayAddress {
                local: [10, 0, 0, 1].into(),
                public: [198, 51, 100, 1].into(),
            },
            RelayAddress {
                local: IPV6.into(),
                public: IPV6.into(),
            },
        ];
        let mut config = Config::new("realm", [7; 32], relays, PortShare::whole(50_000..=50_007));
        config.users = vec![("user".to_owned(), UserSecret::Password(Secret::new("password")))];
        config.credential_store = true;
        config.third_party_authorization = Some(SERVER_NAME.to_owned());
        config.token_keys = vec![("kid".to_owned(), token_key())];
        config.tcp_relays = true;
        config.mobility = true;
        let metrics = Arc::new(Metrics::default());
        let mut server = Server::new(config, Rng::from_number(1), Arc::clone(&metrics));
        for (socket, local) in [(1, 3_478), (2, 3_479)] {
            server.add_client_socket(SocketId(socket), ClientPath::udp(([10, 0, 0, 1], local).into()));
            server.add_client_socket(SocketId(socket + 2), ClientPath::udp(([198, 51, 100, 2], local).into()));
        }
        for number in [2, 3] {
            let path = ClientPath {
                protocol: Protocol::Tcp,
                local: ([10, 0, 0, 1], 3_478).into(),
                tls: None,
            };
            server.add_client_socket(client(number).socket, path);
        }
        Self {
            server,
            metrics,
            out: VecOutbox::default(),
            start: epoch(),
            passed: Duration::ZERO,
            open: Vec::new(),
            listening: BTreeSet::new(),
            peers: BTreeSet::new(),
            bound: BTreeSet::new(),
            next_socket: 100,
            next_id: 0,
            bind_fails: false,
            tickets: Vec::new(),
            questions: VecDeque::new(),
            last_question: 0,
        }
    }

    fn step(&mut self, kind: u8, body: &[u8]) {
        match kind % 6 {
            _ if kind >= 128 => self.credentials_step(kind, body),
            0 => self.client_sends(client(9), body),
            1 => self.client_sends(client(kind / 6 % 4), body),
            2 => self.peer_sends(kind / 6, body),
            3 => self.client_asks(client(kind / 6 % 4), body, Signer::Static),
            4 => self.pass(Duration::from_secs(body.first().copied().unwrap_or(0).into())),
            _ => match body {
                [] => self.bind_fails = true,
                [icmp, rest @ ..] => self.path_fails(kind / 6, *icmp & 0x7f, rest.first().copied().unwrap_or(0)),
            },
        }
        self.serve_sockets();
    }

    fn credentials_step(&mut self, kind: u8, body: &[u8]) {
        let from = client(kind / 4 % 2);
        match kind % 4 {
            0 => self.client_asks(from, body, Signer::Modern),
            1 => self.client_asks(from, body, Signer::Stored),
            2 => self.store_answers(body.first().copied().unwrap_or(0)),
            _ => {
                let (len, rest) = body.split_first().unwrap_or((&0, body));
                let (block, rest) = rest.split_at(usize::from(*len).min(rest.len()));
                let token = access_token::seal(&token_key(), SERVER_NAME, block);
                self.client_asks(from, rest, Signer::Token(&token));
            }
        }
    }

    fn store_answers(&mut self, what: u8) {
        let Some(id) = self.questions.pop_front() else { return };
        let key = match what % 8 {
            0 => Some(long_term_key("stored", "realm", "password")),
            1 => Some([what; 16]),
            _ => None,
        };
        let found = match what % 8 {
            3 => LookedUp::Unavailable,
            4 => LookedUp::Token(Some(token_key())),
            5 => LookedUp::Token(None),
            _ => LookedUp::User(StoredUser {
                md5_key: key,
                sha256_key: None,
                secrets: Arc::from([Secret::new("secret")]),
            }),
        };
        for is_first in [true, false] {
            let before = self.out.sent.len();
            let (now, wall, found) = (self.now(), self.wall(), found.clone());
            self.server
                .handle_command(now, wall, Command::LookedUp { id, found }, &mut self.out);
            assert!(is_first || self.out.sent.len() == before, "a question is answered once");
            self.serve_sockets();
        }
    }

    fn client_sends(&mut self, from: FiveTuple, datagram: &[u8]) {
        let verdict = self
            .server
            .handle_client_datagram(self.now(), self.wall(), from, datagram, &mut self.out);
        if let ClientVerdict::ToPeer { relay, payload, .. } = verdict {
            assert!(self.open.contains(&relay), "data leaves through an open relay");
            assert!(payload.end <= datagram.len() && payload.start <= payload.end);
        }
    }

    fn peer_sends(&mut self, which: u8, datagram: &[u8]) {
        let Some(relay) = self.open.get(usize::from(which) % self.open.len().max(1)).copied() else {
            return;
        };
        let peer = SocketAddr::from(([192, 0, 2, which % 4], 7_000));
        if self.listening.contains(&relay) {
            return self.peer_comes_in(relay, peer);
        }
        let _ = self
            .server
            .handle_peer_datagram(self.now(), relay, peer, datagram, &mut self.out);
    }

    fn path_fails(&mut self, which: u8, kind: u8, code: u8) {
        let Some(relay) = self.open.get(usize::from(which) % self.open.len().max(1)).copied() else {
            return;
        };
        let peer = SocketAddr::from(([192, 0, 2, which % 4], 7_000));
        let icmp = Icmp {
            kind,
            code,
            data: 1_280,
        };
        // Whoever is not told of it is counted.
        let _ = self
            .server
            .handle_peer_error(self.now(), relay, peer, icmp, &mut self.out);
    }

    fn peer_comes_in(&mut self, relay: SocketId, peer: SocketAddr) {
        let now = self.now();
        if let Ok(connection) = self.server.handle_peer_accepted(now, relay, peer, &mut self.out) {
            self.peers.insert(connection);
        }
    }

    fn client_asks(&mut self, from: FiveTuple, body: &[u8], signer: Signer<'_>) {
        let Some((method, mut attributes)) = body.split_first() else {
            return;
        };
        let Some(method) = Method::new(u16::from(*method & 15)) else {
            return;
        };
        self.next_id += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.next_id.to_be_bytes());
        let nonce = self.server.nonces.issue(self.wall(), from.client);
        let mut room = [0; 2_048];
        let mut writer = MessageWriter::new(&mut room, Class::Request, method, TransactionId(id));
        while let Some(([k0, k1, len], tail)) = attributes.split_first_chunk::<3>() {
            let (value, tail) = tail.split_at(usize::from(*len).min(tail.len()));
            writer = match (AttributeType(u16::from_be_bytes([*k0, *k1])), value) {
                (AttributeType::CONNECTION_ID, [nth]) => writer.connection_id(self.nth_connection(*nth)),
                (AttributeType::MOBILITY_TICKET, [nth]) => writer.attribute(
                    AttributeType::MOBILITY_TICKET,
                    self.tickets.get(usize::from(*nth)).map_or(&[], Vec::as_slice),
                ),
                (kind, value) => writer.attribute(kind, value),
            };
            attributes = tail;
        }
        if let Ok(len) = sign(writer.realm("realm").nonce(&nonce), signer).finish() {
            self.client_sends(from, &room[..len]);
        }
    }

    /// Gives the id of a connection that stands, which no script can foresee.
    fn nth_connection(&self, nth: u8) -> u32 {
        self.peers.iter().nth(nth.into()).map_or(0, |connection| connection.0)
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
        self.server.handle_timeout(self.now(), &mut self.out);
        assert!(
            self.server.poll_timeout().is_none_or(|at| at > self.now()),
            "what is due has been done"
        );
        self.serve_sockets();
    }

    fn serve_sockets(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::BindRelay { request, .. } | Output::ListenRelay { request, .. } => {
                    let bound = if std::mem::take(&mut self.bind_fails) {
                        Err(BindError::AddressInUse)
                    } else {
                        self.next_socket += 1;
                        self.open.push(SocketId(self.next_socket));
                        Ok(SocketId(self.next_socket))
                    };
                    if let (Ok(socket), Output::ListenRelay { .. }) = (bound, output) {
                        self.listening.insert(socket);
                    }
                    let (now, wall) = (self.now(), self.wall());
                    self.server.handle_relay_bound(now, wall, request, bound, &mut self.out);
                }
                Output::CloseRelay(socket) => {
                    let at = self.open.iter().position(|open| *open == socket);
                    self.open.remove(at.expect("only open relays are closed"));
                    self.listening.remove(&socket);
                }
                Output::ConnectPeer {
                    connection,
                    relay,
                    peer,
                } => self.connect(connection, relay, peer),
                Output::Bind { connection, .. } => {
                    assert!(self.peers.contains(&connection), "only what stands is bound");
                    assert!(self.bound.insert(connection), "and only once");
                    for (way, bytes) in [(Way::ToPeer, 1_000), (Way::ToClient, 70_000)] {
                        let now = self.now();
                        let until = self.server.handle_carried(now, connection, way, bytes);
                        assert!(until.is_none_or(|until| until > now));
                    }
                }
                Output::ClosePeer(connection) => {
                    assert!(self.peers.remove(&connection), "only what is open is closed");
                    self.bound.remove(&connection);
                }
                Output::MoveClient { .. } => unreachable!("there is one shard"),
            }
        }
    }

    fn connect(&mut self, connection: ConnectionId, relay: SocketId, peer: SocketAddr) {
        assert!(self.listening.contains(&relay), "a relay that connects also listens");
        assert!(self.peers.insert(connection), "ids are new");
        if peer.port().is_multiple_of(2) {
            let connected = !peer.port().is_multiple_of(4);
            if !connected {
                self.peers.remove(&connection);
            }
            let now = self.now();
            self.server
                .handle_peer_connected(now, connection, connected, &mut self.out);
        }
    }

    fn check(&mut self) {
        while let Some(event) = self.server.poll_event() {
            if let Event::LookUp { id, .. } = event {
                assert!(id.0 > self.last_question, "questions have names of their own");
                self.last_question = id.0;
                self.questions.push_back(id);
            }
        }
        let waiting = self.metrics.look_ups_waiting.value();
        assert!((0..=WAITING_MAX as i64).contains(&waiting) && waiting <= self.questions.len() as i64);
        let allocations = self.server.allocations();
        assert!(
            (allocations..=2 * allocations).contains(&self.open.len()),
            "an allocation has one relay, or one of each family"
        );
        assert_eq!(self.metrics.allocations.value(), allocations as i64);
        assert_eq!(self.metrics.connections.value(), self.peers.len() as i64);
        assert_eq!(
            self.metrics.connections_waiting.value(),
            (self.peers.len() - self.bound.len()) as i64
        );
        for (_, _, datagram) in self.out.sent.drain(..) {
            if matches!(datagram.first(), Some(0x40..=0x7f)) {
                continue;
            }
            let message = Message::parse(&datagram).expect("what we send can be read");
            if let Some(ticket) = message.mobility_ticket()
                && self.tickets.len() < TICKETS_MAX
            {
                self.tickets.push(ticket.to_vec());
            }
        }
    }

    fn now(&self) -> Instant {
        self.start + self.passed
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix(Duration::from_secs(1_800_000_000) + self.passed)
    }
}

fn sign<'b>(writer: MessageWriter<'b>, signer: Signer<'_>) -> MessageWriter<'b> {
    match signer {
        Signer::Static => {
            let key = IntegrityKey::long_term("user", "realm", "password");
            writer.username("user").message_integrity(&key)
        }
        Signer::Modern => {
            let key = IntegrityKeySha256::new(&long_term_key_sha256("user", "realm", "password"));
            writer
                .username("user")
                .password_algorithms(&[PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5])
                .password_algorithm(PasswordAlgorithm::Sha256)
                .message_integrity_sha256(&key)
        }
        Signer::Stored => {
            let key = IntegrityKey::long_term("stored", "realm", "password");
            writer.username("stored").message_integrity(&key)
        }
        Signer::Token(token) => writer
            .username("kid")
            .attribute(AttributeType::ACCESS_TOKEN, token)
            .message_integrity(&IntegrityKey::new(&MAC_KEY)),
    }
}

fn token_key() -> TokenKey {
    TokenKey {
        key: [0x4b; 32].into(),
        algorithm: TokenAlgorithm::Aes256Gcm,
        timestamp_s: 0,
        lifetime_s: 0,
    }
}

fn client(number: u8) -> FiveTuple {
    FiveTuple {
        socket: if matches!(number, 2 | 3) {
            SocketId(20 + u64::from(number))
        } else {
            LISTENER
        },
        client: SocketAddr::from(([203, 0, 113, number], 6_000)),
    }
}

/// Any instant will do: the shard only ever compares and adds.
#[expect(clippy::disallowed_methods, reason = "a script needs some instant to start from")]
fn epoch() -> Instant {
    Instant::now()
}
