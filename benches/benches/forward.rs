//! The forward step: one packet of a publisher to K subscribers, each over SRTP, in the caller's memory.
//!
//! Reported a forwarded packet, in CPU time of the thread. The publisher is a plain leg, so that what arrives costs nothing but its parsing; the
//! subscribers went through ICE and DTLS, which ends with AEAD_AES_256_GCM.
#![allow(missing_docs)] // criterion's macros make public items
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed run

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nix::time::{ClockId, clock_gettime};
use voex_base::{Outbox, Rng, SocketId, SubscriptionId, TrackId, TransportId, VecOutbox, WallTime};
use voex_sfu::command::{
    Codec, EncodingSpec, Extensions, Feedback, Layers, MediaKind, Payload, PlainRemote, SubscriptionSpec, TrackSpec,
    TransportKind, TransportSpec,
};
use voex_sfu::{Command, Config, Metrics, Shard};
use voex_transport::Certificate;

#[allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)] // shared with the traces of the crate
#[path = "../../crates/sfu/tests/common/browser.rs"]
mod browser;

use browser::Browser;

/// Sizes of the packet that arrives, in bytes.
const SIZES: [usize; 2] = [80, 1_200];
const SUBSCRIBERS: [u64; 4] = [1, 10, 100, 1_000];

const PUBLISHER_SOCKET: SocketId = SocketId(2);
const PUBLISHER: TransportId = TransportId(1 << 40);

/// Like the worker's: one block of memory, filled from the start for each batch.
struct Arena {
    memory: Vec<u8>,
    used: usize,
    datagrams: usize,
}

impl Outbox for Arena {
    fn reserve(&mut self, len_max: usize) -> &mut [u8] {
        if self.used + len_max > self.memory.len() {
            self.used = 0;
        }
        &mut self.memory[self.used..self.used + len_max]
    }

    fn commit(&mut self, _socket: SocketId, _to: SocketAddr, len: usize) {
        self.used += len;
        self.datagrams += 1;
    }
}

struct Room {
    shard: Shard,
    now: Instant,
    wall: WallTime,
    publisher: SocketAddr,
    packet: Vec<u8>,
    sequence: u16,
    timestamp: u32,
    arena: Arena,
}

impl Room {
    fn new(subscribers: u64, size: usize) -> Self {
        Self::with(subscribers, packet(size), &track(), &Layers::default())
    }

    fn with(subscribers: u64, packet: Vec<u8>, track: &TrackSpec, layers: &Layers) -> Self {
        let now = Instant::now();
        let wall = WallTime::from_unix(Duration::from_secs(1_700_000_000));
        let config = Config::new(Arc::new(Certificate::generate().unwrap()));
        let mut shard = Shard::new(config, Rng::from_number(1), Arc::new(Metrics::default()));
        let mut out = VecOutbox::default();
        let publisher: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        for command in publish(publisher, track.clone()) {
            shard.handle_command(now, command, &mut out);
        }
        for number in 1..=subscribers {
            let browser = Browser::connect(number, &mut shard, now, wall, &mut out);
            let mut spec = subscription(number, browser.transport());
            spec.layers = *layers;
            shard.handle_command(now, Command::AddSubscription(Box::new(spec)), &mut out);
        }
        Self {
            shard,
            now,
            wall,
            publisher,
            packet,
            sequence: 0,
            timestamp: 0,
            arena: Arena {
                memory: vec![0; 2 * 1024 * 1024],
                used: 0,
                datagrams: 0,
            },
        }
    }

    fn forward(&mut self) -> usize {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(960);
        self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        self.packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        self.arena.datagrams = 0;
        let (now, wall) = (self.now, self.wall);
        self.shard
            .handle_datagram(
                now,
                wall,
                PUBLISHER_SOCKET,
                self.publisher,
                &mut self.packet,
                &mut self.arena,
            )
            .unwrap();
        self.arena.datagrams
    }
}

/// RTP with an audio level extension, as browsers send it.
fn packet(size: usize) -> Vec<u8> {
    let mut packet = vec![0x90, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 77];
    packet.extend([0xbe, 0xde, 0, 1, 0x10, 0x85, 0, 0]);
    packet.resize(size, 0x5a);
    packet
}

/// A VP8 packet of an encoding: a picture id of 15 bits and, where they are told, TL0PICIDX and temporal layer.
fn vp8(ssrc: u8, temporal: Option<u8>) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, ssrc];
    match temporal {
        Some(layer) => packet.extend([0x90, 0xe0, 0x80, 1, 7, layer << 6, 0x50]),
        None => packet.extend([0x90, 0x80, 0x80, 1, 0x50]),
    }
    packet.resize(SIZES[1], 0x5a);
    packet
}

fn video(encodings: u32) -> TrackSpec {
    TrackSpec {
        kind: MediaKind::Video,
        payloads: vec![Payload {
            payload_type: 96,
            codec: Codec::Vp8,
            clock_rate: 90_000,
            rtx: None,
        }],
        encodings: (0..encodings)
            .map(|at| EncodingSpec {
                rid: String::new(),
                ssrc: Some((77 + at, None)),
            })
            .collect(),
        ..track()
    }
}

fn track() -> TrackSpec {
    TrackSpec {
        id: TrackId(1),
        transport: PUBLISHER,
        mid: String::new(),
        kind: MediaKind::Audio,
        payloads: vec![Payload {
            payload_type: 111,
            codec: Codec::Opus,
            clock_rate: 48_000,
            rtx: None,
        }],
        encodings: Vec::new(),
        extensions: Extensions {
            audio_level: Some(1),
            ..Extensions::default()
        },
        feedback: Feedback::default(),
    }
}

fn publish(remote: SocketAddr, track: TrackSpec) -> [Command; 3] {
    let transport = TransportSpec {
        id: PUBLISHER,
        kind: TransportKind::Plain {
            rtp: PUBLISHER_SOCKET,
            rtcp: None,
            cname: "publisher".to_owned(),
        },
    };
    let remote = PlainRemote {
        rtp: remote,
        rtcp: remote,
        latch: false,
    };
    [
        Command::OpenTransport(Box::new(transport)),
        Command::SetPlainRemote(PUBLISHER, remote),
        Command::AddTrack(Box::new(track)),
    ]
}

fn subscription(number: u64, transport: TransportId) -> SubscriptionSpec {
    SubscriptionSpec {
        id: SubscriptionId(number),
        track: TrackId(1),
        transport,
        mid: "0".to_owned(),
        ssrc: 1_000_000 + number as u32,
        rtx_ssrc: None,
        payloads: vec![(111, 111, None), (96, 96, None)],
        extensions: Extensions {
            mid: Some(4),
            audio_level: Some(1),
            ..Extensions::default()
        },
        feedback: Feedback::default(),
        cname: "host".to_owned(),
        active: true,
        layers: Layers::default(),
    }
}

/// CPU time that this thread takes for something: what others do on the machine counts as little as it can.
fn cpu_time(mut work: impl FnMut()) -> Duration {
    let read = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let start = read();
    work();
    read() - start
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    for subscribers in SUBSCRIBERS {
        let mut room = Room::new(subscribers, SIZES[0]);
        for size in SIZES {
            room.packet = packet(size);
            assert_eq!(room.forward(), subscribers as usize, "every subscriber gets the packet");
            group.throughput(Throughput::Elements(subscribers));
            group.bench_function(BenchmarkId::new(format!("{size} B"), subscribers), |bencher| {
                bencher.iter_custom(|times| {
                    cpu_time(|| {
                        (0..times).for_each(|_| {
                            room.forward();
                        })
                    })
                });
            });
        }
    }
    group.finish();
}

/// Video of 1200 bytes to 100 subscribers: without layers, with them, and one encoding of three. A packet of each other
/// encoding comes between two that are forwarded, and costs what it costs.
fn layers(criterion: &mut Criterion) {
    const SUBSCRIBERS: u64 = 100;
    let mut group = criterion.benchmark_group("forward VP8");
    group.throughput(Throughput::Elements(SUBSCRIBERS));
    let cases = [
        ("no layers", vp8(77, None), 1),
        ("temporal layers", vp8(77, Some(0)), 1),
        ("simulcast", vp8(79, None), 3),
    ];
    for (name, packet, encodings) in cases {
        let mut room = Room::with(SUBSCRIBERS, packet, &video(encodings), &Layers::default());
        assert_eq!(room.forward(), SUBSCRIBERS as usize, "every subscriber gets the packet");
        let highest = 76 + encodings as u8;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                cpu_time(|| {
                    for _ in 0..times {
                        for ssrc in 77..=highest {
                            room.packet[11] = ssrc;
                            // The numbers of each encoding go on by one from packet to packet.
                            room.sequence = room.sequence.wrapping_sub(u16::from(ssrc != 77));
                            room.forward();
                        }
                    }
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, forward, layers);
criterion_main!(benches);
