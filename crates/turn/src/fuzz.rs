//! What the fuzz target runs, so that a plain test can replay its corpus: a shard with two clients, driven by a script.
//!
//! ```text
//! script = step*        step = kind (1) │ length (1) │ body
//! kind % 6:  0 datagram of a stranger      1 datagram of a client      2 datagram of a peer
//!            3 request signed by a client: method (1), then attributes: type (2) │ length (1) │ value
//!            4 time passes: seconds (1)    5 the next bind request fails
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{FiveTuple, Rng, SocketId, VecOutbox, WallTime};
use voex_stun::{AttributeType, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId};

use crate::{BindError, ClientVerdict, Config, Metrics, Output, PortShare, RelayAddress, Secret, Server, UserSecret};

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
    world.metrics
}

struct World {
    server: Server,
    metrics: Arc<Metrics>,
    out: VecOutbox,
    start: Instant,
    passed: Duration,
    open: Vec<SocketId>,
    next_socket: u64,
    next_id: u32,
    bind_fails: bool,
}

const LISTENER: SocketId = SocketId(1);

impl World {
    fn new() -> Self {
        let any = RelayAddress {
            local: [10, 0, 0, 1].into(),
            public: [198, 51, 100, 1].into(),
        };
        let mut config = Config::new("realm", [7; 32], vec![any], PortShare::whole(50_000..=50_007));
        config.users = vec![("user".to_owned(), UserSecret::Password(Secret::new("password")))];
        let metrics = Arc::new(Metrics::default());
        Self {
            server: Server::new(config, Rng::from_number(1), Arc::clone(&metrics)),
            metrics,
            out: VecOutbox::default(),
            start: epoch(),
            passed: Duration::ZERO,
            open: Vec::new(),
            next_socket: 100,
            next_id: 0,
            bind_fails: false,
        }
    }

    fn step(&mut self, kind: u8, body: &[u8]) {
        match kind % 6 {
            0 => self.client_sends(client(9), body),
            1 => self.client_sends(client(kind / 6 % 2), body),
            2 => self.peer_sends(kind / 6, body),
            3 => self.client_asks(client(kind / 6 % 2), body),
            4 => self.pass(Duration::from_secs(body.first().copied().unwrap_or(0).into())),
            _ => self.bind_fails = true,
        }
        self.serve_sockets();
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
        let _ = self
            .server
            .handle_peer_datagram(self.now(), relay, peer, datagram, &mut self.out);
    }

    fn client_asks(&mut self, from: FiveTuple, body: &[u8]) {
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
            writer = writer.attribute(AttributeType(u16::from_be_bytes([*k0, *k1])), value);
            attributes = tail;
        }
        writer = writer.username("user").realm("realm").nonce(&nonce);
        let key = IntegrityKey::long_term("user", "realm", "password");
        if let Ok(len) = writer.message_integrity(&key).finish() {
            self.client_sends(from, &room[..len]);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
        self.server.handle_timeout(self.now());
        assert!(
            self.server.poll_timeout().is_none_or(|at| at > self.now()),
            "what is due has been done"
        );
        self.serve_sockets();
    }

    fn serve_sockets(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::BindRelay { request, .. } => {
                    let bound = if std::mem::take(&mut self.bind_fails) {
                        Err(BindError::AddressInUse)
                    } else {
                        self.next_socket += 1;
                        self.open.push(SocketId(self.next_socket));
                        Ok(SocketId(self.next_socket))
                    };
                    let (now, wall) = (self.now(), self.wall());
                    self.server.handle_relay_bound(now, wall, request, bound, &mut self.out);
                }
                Output::CloseRelay(socket) => {
                    let at = self.open.iter().position(|open| *open == socket);
                    self.open.remove(at.expect("only open relays are closed"));
                }
            }
        }
    }

    fn check(&mut self) {
        assert_eq!(
            self.server.allocations(),
            self.open.len(),
            "an allocation has one relay"
        );
        assert_eq!(self.metrics.allocations.value(), self.open.len() as i64);
        for (_, _, datagram) in self.out.sent.drain(..) {
            let is_channel_data = matches!(datagram.first(), Some(0x40..=0x7f));
            assert!(
                is_channel_data || Message::parse(&datagram).is_ok(),
                "what we send can be read"
            );
        }
    }

    fn now(&self) -> Instant {
        self.start + self.passed
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix(Duration::from_secs(1_800_000_000) + self.passed)
    }
}

fn client(number: u8) -> FiveTuple {
    FiveTuple {
        socket: LISTENER,
        client: SocketAddr::from(([203, 0, 113, number], 6_000)),
    }
}

/// Any instant will do: the shard only ever compares and adds.
#[expect(clippy::disallowed_methods, reason = "a script needs some instant to start from")]
fn epoch() -> Instant {
    Instant::now()
}
