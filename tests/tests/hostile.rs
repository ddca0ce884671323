//! Noise on every port while a call runs.
#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::json;
use voex_base::Rng;
use voex_tests::{ADDRESS, Namespace, Server, node};

const NOISE: Duration = Duration::from_secs(60);
/// Datagrams a second; enough to reach every parser many times, few enough that the call's own packets get through.
const RATE: u32 = 1_000;
const SEED: u64 = 20_261_124;
/// Growth of resident memory that a minute of noise may leave: allocator slack and the log buffer.
const GROWTH_KB_MAX: u64 = 8_000;

#[test]
fn a_minute_of_noise_on_every_port_neither_ends_a_call_nor_grows_memory() {
    eprintln!("seed {SEED}");
    let namespace = Namespace::new();
    let mut server = Server::start(&namespace, "");
    let targets = udp_listeners(&namespace);
    assert!(
        targets.len() >= 5,
        "TURN has two ports, SIP one, each worker one: {targets:?}"
    );
    let (sent, seen, before, after) = std::thread::scope(|scope| {
        let config =
            json!({ "url": format!("ws://{ADDRESS}:8188"), "room": 1234, "seconds": NOISE.as_secs() + 5, "ice": {} });
        let namespace = &namespace;
        let call = scope.spawn(move || {
            node(
                namespace,
                "conference.mjs",
                &config,
                NOISE * 2 + Duration::from_secs(30),
            )
        });
        std::thread::sleep(Duration::from_secs(5));
        let before = server.memory_kb();
        let sent = namespace.inside(move || make_noise(&targets));
        let after = server.memory_kb();
        let seen = call.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (sent, seen, before, after)
    });
    assert!(server.is_alive());
    let frames = seen["received"]["framesDecoded"].as_f64().unwrap_or_default();
    assert!(frames > 6.0 * NOISE.as_secs_f64(), "{frames} frames decoded: {seen:#}");
    assert!(
        after < before + GROWTH_KB_MAX,
        "resident memory went from {before} kB to {after} kB"
    );
    let counted = [
        "turn_dropped_total",
        "turn_refused_total",
        "net_dtls_refused_total",
        "sfu_dropped_total",
        "sip_dropped_total",
        "sip_refused_total",
    ]
    .map(|name| server.metric(name))
    .iter()
    .sum::<f64>();
    assert!(
        counted >= 0.95 * sent as f64,
        "{counted} drops counted of {sent} datagrams sent"
    );
    let (status, _) = server.get("/health");
    assert_eq!(status, 200);
    server.stop();
}

/// Every UDP socket that is bound in the namespace before a browser starts: the server's.
fn udp_listeners(namespace: &Namespace) -> Vec<SocketAddr> {
    let listing = namespace
        .command("ss")
        .args(["-uln"])
        .output()
        .expect("iproute2 is installed");
    let text = String::from_utf8_lossy(&listing.stdout).into_owned();
    let mut found: Vec<SocketAddr> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    found.retain(|address| address.ip().to_string() == ADDRESS);
    found.sort_unstable();
    found.dedup();
    found
}

/// Sends random, truncated and mutated datagrams for [`NOISE`], and a torn stream to every TCP port once a second.
/// Gives the number of datagrams sent.
fn make_noise(targets: &[SocketAddr]) -> u64 {
    let mut rng = Rng::from_number(SEED);
    let socket = UdpSocket::bind((ADDRESS, 0)).expect("the namespace has its address");
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < NOISE {
        for _ in 0..RATE / 100 {
            let target = targets[rng.below(targets.len() as u64) as usize];
            let packet = noise(&mut rng);
            if socket.send_to(&packet, target).is_ok() {
                sent += 1;
            }
        }
        if sent % u64::from(RATE) == 0 {
            tear_streams(&mut rng);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    sent
}

/// A packet that looks right at its start and is cut or overwritten after it, or is random throughout.
fn noise(rng: &mut Rng) -> Vec<u8> {
    const SAMPLES: [&[u8]; 6] = [
        b"\x00\x03\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x19\x00\x04\x11\x00\x00\x00",
        b"\x00\x01\x00\x10\x21\x12\xa4\x42abcdefghijkl\x00\x06\x00\x09ufra:ufra\x00\x00\x00",
        b"\x80\x60\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02payload of a packet that nobody asked for",
        b"\x81\xc9\x00\x07\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x01\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00\x14",
        b"INVITE sip:page@10.77.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.77.0.1:9;branch=z9hG4bKx\r\nCSeq: 1 INVITE\r\n\r\n",
    ];
    let mut packet = SAMPLES[rng.below(SAMPLES.len() as u64) as usize].to_vec();
    match rng.below(3) {
        0 => {
            packet.resize(1 + rng.below(1_400) as usize, 0);
            rng.fill(&mut packet);
        }
        1 => packet.truncate(1 + rng.below(packet.len() as u64 - 1) as usize),
        _ => {
            for _ in 0..1 + rng.below(6) {
                let at = rng.below(packet.len() as u64) as usize;
                packet[at] = rng.u32() as u8;
            }
        }
    }
    packet
}

/// Opens each TCP port, writes half of a handshake or noise, and closes.
fn tear_streams(rng: &mut Rng) {
    let mut noise = [0; 200];
    rng.fill(&mut noise);
    let half = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: janus-pro";
    for listener in [(ADDRESS, 8188), ("127.0.0.1", 9189)] {
        for bytes in [&half[..], &noise[..]] {
            if let Ok(mut stream) = TcpStream::connect(listener) {
                let _ = stream.write_all(bytes);
            }
        }
    }
}
