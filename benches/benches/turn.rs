//! The relay step of the TURN shard: one datagram in, one verdict or one datagram out, no sockets.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use voex_base::{FiveTuple, Outbox, Rng, SocketId, VecOutbox, WallTime};
use voex_stun::{ChannelData, ChannelNumber, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId};
use voex_turn::{
    AnswerRate, ClientVerdict, Config, Metrics, Output, PortShare, RelayAddress, Secret, Server, UserSecret,
};

const LISTENER: SocketId = SocketId(1);
const WALL: WallTime = WallTime::from_unix(Duration::from_secs(1_800_000_000));
const PAYLOADS_BYTES: [usize; 2] = [170, 1_200];
const CLIENTS: [u16; 2] = [1, 1_000];

fn main_benches(criterion: &mut Criterion) {
    for clients in CLIENTS {
        let mut shard = Shard::with_clients(clients);
        for bytes in PAYLOADS_BYTES {
            channel_to_peer(criterion, &mut shard, clients, bytes);
            peer_to_channel(criterion, &mut shard, clients, bytes);
        }
        send_to_peer(criterion, &mut shard, clients, 170);
        peer_to_data(criterion, &mut shard, clients, 170);
    }
    binding(criterion);
    refresh(criterion);
}

fn channel_to_peer(criterion: &mut Criterion, shard: &mut Shard, clients: u16, bytes: usize) {
    let mut datagram = vec![7; bytes + 4];
    datagram[..4].copy_from_slice(&ChannelData::header(CHANNEL, bytes).expect("a payload of a datagram"));
    let mut out = SlabOutbox::new();
    let mut turn = Turns::new(clients);
    let mut group = criterion.benchmark_group("turn_channel_data_to_peer");
    group.throughput(Throughput::Elements(1));
    group.bench_function(
        BenchmarkId::new(format!("{bytes}B"), format!("{clients}_clients")),
        |bencher| {
            bencher.iter(|| {
                let from = client(turn.next());
                let verdict =
                    shard
                        .server
                        .handle_client_datagram(shard.now, WALL, from, black_box(&datagram), &mut out);
                assert!(matches!(verdict, ClientVerdict::ToPeer { .. }));
                verdict
            });
        },
    );
}

fn peer_to_channel(criterion: &mut Criterion, shard: &mut Shard, clients: u16, bytes: usize) {
    let datagram = vec![7; bytes];
    let mut out = SlabOutbox::new();
    let mut turn = Turns::new(clients);
    let mut group = criterion.benchmark_group("turn_peer_to_channel_data");
    group.throughput(Throughput::Elements(1));
    group.bench_function(
        BenchmarkId::new(format!("{bytes}B"), format!("{clients}_clients")),
        |bencher| {
            bencher.iter(|| {
                let relay = shard.relays[usize::from(turn.next())];
                shard
                    .server
                    .handle_peer_datagram(shard.now, relay, channel_peer(), black_box(&datagram), &mut out)
            });
        },
    );
}

fn send_to_peer(criterion: &mut Criterion, shard: &mut Shard, clients: u16, bytes: usize) {
    let payload = vec![7; bytes];
    let datagram = message(Class::Indication, Method::SEND, |w| {
        w.xor_peer_address(other_peer()).data(&payload)
    });
    let mut out = SlabOutbox::new();
    let mut turn = Turns::new(clients);
    criterion.bench_function(&format!("turn_send_to_peer/{bytes}B/{clients}_clients"), |bencher| {
        bencher.iter(|| {
            let from = client(turn.next());
            let verdict = shard
                .server
                .handle_client_datagram(shard.now, WALL, from, black_box(&datagram), &mut out);
            assert!(matches!(verdict, ClientVerdict::ToPeer { .. }));
            verdict
        });
    });
}

fn peer_to_data(criterion: &mut Criterion, shard: &mut Shard, clients: u16, bytes: usize) {
    let datagram = vec![7; bytes];
    let mut out = SlabOutbox::new();
    let mut turn = Turns::new(clients);
    criterion.bench_function(&format!("turn_peer_to_data/{bytes}B/{clients}_clients"), |bencher| {
        bencher.iter(|| {
            let relay = shard.relays[usize::from(turn.next())];
            shard
                .server
                .handle_peer_datagram(shard.now, relay, other_peer(), black_box(&datagram), &mut out)
        });
    });
}

fn binding(criterion: &mut Criterion) {
    let mut config = config();
    let all = AnswerRate {
        per_s: u32::MAX / 2,
        burst: u32::MAX / 2,
    };
    (config.challenges, config.bindings) = (all, all);
    let mut server = Server::new(config, Rng::from_number(1), Arc::new(Metrics::default()));
    let request = message(Class::Request, Method::BINDING, |writer| writer);
    let (now, mut out) = (Instant::now(), SlabOutbox::new());
    criterion.bench_function("turn_binding_answer", |bencher| {
        bencher.iter(|| server.handle_client_datagram(now, WALL, client(0), black_box(&request), &mut out));
    });
}

fn refresh(criterion: &mut Criterion) {
    let mut shard = Shard::with_clients(1);
    let request = shard.signed(0, Method::REFRESH, |writer| writer.lifetime_s(600));
    let mut out = SlabOutbox::new();
    criterion.bench_function("turn_refresh_answer", |bencher| {
        bencher.iter(|| {
            shard
                .server
                .handle_client_datagram(shard.now, WALL, client(0), black_box(&request), &mut out)
        });
    });
}

/// A shard whose every client has a relay, a bound channel and one more permission.
struct Shard {
    server: Server,
    relays: Vec<SocketId>,
    nonces: Vec<Vec<u8>>,
    now: Instant,
}

const CHANNEL: ChannelNumber = ChannelNumber::new(0x4001).expect("a channel number");

impl Shard {
    fn with_clients(clients: u16) -> Self {
        let server = Server::new(config(), Rng::from_number(1), Arc::new(Metrics::default()));
        let mut shard = Self {
            server,
            relays: Vec::new(),
            nonces: Vec::new(),
            now: Instant::now(),
        };
        for number in 0..clients {
            let challenge = shard.ask(number, &message(Class::Request, Method::ALLOCATE, |writer| writer));
            let challenge = Message::parse(&challenge).expect("our own answer");
            shard.nonces.push(
                challenge
                    .nonce()
                    .expect("well formed")
                    .expect("a challenge has one")
                    .to_vec(),
            );
            shard.grant(number, Method::ALLOCATE, |writer| writer.requested_transport_udp());
            shard.grant(number, Method::CHANNEL_BIND, |w| {
                w.channel_number(CHANNEL).xor_peer_address(channel_peer())
            });
            shard.grant(number, Method::CREATE_PERMISSION, |w| w.xor_peer_address(other_peer()));
        }
        shard
    }

    fn grant(&mut self, number: u16, method: Method, body: impl Body) {
        let request = self.signed(number, method, body);
        let answer = self.ask(number, &request);
        assert_eq!(Message::parse(&answer).expect("our own answer").class(), Class::Success);
    }

    fn ask(&mut self, number: u16, request: &[u8]) -> Vec<u8> {
        let mut out = VecOutbox::default();
        self.server
            .handle_client_datagram(self.now, WALL, client(number), request, &mut out);
        while let Some(Output::BindRelay { request, .. }) = self.server.poll_output() {
            let relay = SocketId(1_000 + u64::from(number));
            self.relays.push(relay);
            self.server
                .handle_relay_bound(self.now, WALL, request, Ok(relay), &mut out);
        }
        out.sent.pop().expect("a request is answered").2
    }

    fn signed(&self, number: u16, method: Method, body: impl Body) -> Vec<u8> {
        let key = IntegrityKey::long_term("user", "realm", "password");
        let nonce = &self.nonces[usize::from(number)];
        message(Class::Request, method, |writer| {
            body(writer)
                .username("user")
                .realm("realm")
                .nonce(nonce)
                .message_integrity(&key)
        })
    }
}

/// Visits clients in an order that the cache does not know by heart.
struct Turns {
    clients: u16,
    at: u16,
}

impl Turns {
    fn new(clients: u16) -> Self {
        Self { clients, at: 0 }
    }

    fn next(&mut self) -> u16 {
        self.at = (self.at + 617) % self.clients;
        self.at
    }
}

/// An outbox that overwrites its one slot: what a state machine pays for, and nothing of the sending.
struct SlabOutbox {
    room: Box<[u8; 65_536]>,
}

impl SlabOutbox {
    fn new() -> Self {
        Self {
            room: Box::new([0; 65_536]),
        }
    }
}

impl Outbox for SlabOutbox {
    fn reserve(&mut self, len_max: usize) -> &mut [u8] {
        &mut self.room[..len_max]
    }

    fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize) {
        black_box((socket, to, &self.room[..len]));
    }
}

trait Body: for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b> {}
impl<T: for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>> Body for T {}

fn message(class: Class, method: Method, body: impl Body) -> Vec<u8> {
    let mut room = [0; 2_048];
    let len = body(MessageWriter::new(&mut room, class, method, TransactionId([5; 12])))
        .finish()
        .expect("it fits");
    room[..len].to_vec()
}

fn config() -> Config {
    let relay = RelayAddress {
        local: [10, 0, 0, 1].into(),
        public: [198, 51, 100, 1].into(),
    };
    let mut config = Config::new("realm", [7; 32], vec![relay], PortShare::whole(49_152..=65_535));
    config.users = vec![("user".to_owned(), UserSecret::Password(Secret::new("password")))];
    config
}

fn client(number: u16) -> FiveTuple {
    FiveTuple {
        socket: LISTENER,
        client: SocketAddr::from(([203, 0, 113, 7], 1_024 + number)),
    }
}

fn channel_peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7_000))
}

fn other_peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 7_000))
}

criterion_group!(benches, main_benches);
criterion_main!(benches);
