//! What TURN keeps in memory: nothing of allocations that have ended, nothing of requests that were forged.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use voex_base::Rng;
use voex_load::client::{Client, Credentials};
use voex_load::rig::Target;
use voex_stun::{AttributeType, ChannelNumber, Class, IntegrityKey, MessageWriter, Method, TransactionId};
use voex_tests::{ADDRESS, Namespace, Server, TURN_PASSWORD, TURN_USER};

const CYCLES: usize = 10;
const ALLOCATIONS: usize = 2_000;
/// Threads that allocate side by side, since each waits for its answers.
const THREADS: usize = 8;

const SPOOFED: u32 = 1_000_000;
const SOURCES: u32 = 2_000;
/// Requests sent before the server gets time to take them in: what its socket buffer holds.
const PORTION: u32 = 2_000;
const BETWEEN_PORTIONS: Duration = Duration::from_millis(30);

/// Makes allocations side by side, each with a permission and a channel, and holds them all.
fn allocate_all() -> Vec<Client> {
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            thread::spawn(|| {
                let credentials = Credentials {
                    user: TURN_USER.to_owned(),
                    password: TURN_PASSWORD.to_owned(),
                };
                let target = Target::udp(SocketAddr::new(ADDRESS.parse().expect("an address"), 3478), credentials);
                let peer = SocketAddr::from(([10, 77, 0, 2], 7_000));
                let one = |_| {
                    let mut client = target.allocate().expect("an allocation is granted");
                    let channel = ChannelNumber::new(0x4000).expect("the lowest channel number is one");
                    client.bind(channel, peer).expect("a channel is bound");
                    client
                };
                (0..ALLOCATIONS / THREADS).map(one).collect::<Vec<_>>()
            })
        })
        .collect();
    let joined = threads
        .into_iter()
        .map(|thread| thread.join().expect("no thread fails"));
    joined.flatten().collect()
}

#[test]
fn ten_cycles_of_two_thousand_allocations_leave_no_memory_behind() {
    let namespace = Namespace::new();
    // How the kernel deals clients to several workers differs from cycle to cycle, and tables double in size.
    let server = Server::start(&namespace, "workers: 1\n");
    let mut held_kb = Vec::new();
    for _ in 0..CYCLES {
        let clients = namespace.inside(allocate_all);
        held_kb.push(server.memory_kb());
        assert_eq!(server.metric("turn_allocations"), ALLOCATIONS as f64);
        clients
            .into_iter()
            .for_each(|mut client| client.release().expect("the allocation is given back"));
        assert_eq!(server.metric("turn_allocations"), 0.0);
    }
    let (first, last) = (held_kb[0] as f64, held_kb[CYCLES - 1] as f64);
    eprintln!("kB with all allocations held, by cycle: {held_kb:?}");
    assert!(
        last <= first * 1.05,
        "kB with all allocations held, by cycle: {held_kb:?}"
    );
    server.stop();
}

/// A request as a forger may send it: well-formed, from an address that is not his, with whatever he can guess.
fn forged(rng: &mut Rng, key: &IntegrityKey, room: &mut [u8]) -> usize {
    let mut id = [0; 12];
    rng.fill(&mut id);
    let id = TransactionId(id);
    let user = rng.token(8);
    let nonce = rng.token(16);
    let writer = |room, method| MessageWriter::new(room, Class::Request, method, id);
    let signed = |writer: MessageWriter<'_>| {
        let writer = writer.username(&user).realm("voex.test").nonce(nonce.as_bytes());
        writer.message_integrity(key).finish()
    };
    let written = match rng.below(5) {
        0 => writer(room, Method::BINDING).finish(),
        1 => writer(room, Method::ALLOCATE).requested_transport_udp().finish(),
        2 => signed(writer(room, Method::ALLOCATE).requested_transport_udp()),
        3 => signed(writer(room, Method::REFRESH).lifetime_s(600)),
        _ => signed(writer(room, Method::ALLOCATE).attribute(AttributeType::EVEN_PORT, &[0x80])),
    };
    written.expect("the room is long enough")
}

/// Sends forged requests from many addresses; the server's answers are never read.
fn spoof() {
    let mut rng = Rng::from_number(3);
    let key = IntegrityKey::long_term(TURN_USER, "voex.test", "guess");
    let source = |n: u32| {
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + n);
        UdpSocket::bind((ip, 0)).expect("every address of 127.0.0.0/8 is this host's")
    };
    let sources: Vec<UdpSocket> = (0..SOURCES).map(source).collect();
    let server = SocketAddr::from((ADDRESS.parse::<Ipv4Addr>().expect("it is an address"), 3478));
    let mut room = [0; 512];
    for number in 0..SPOOFED {
        let len = forged(&mut rng, &key, &mut room);
        let from = &sources[rng.below(u64::from(SOURCES)) as usize];
        // A full buffer of the sender is no failure of the server.
        let _ = from.send_to(&room[..len], server);
        if number % PORTION == PORTION - 1 {
            thread::sleep(BETWEEN_PORTIONS);
        }
    }
}

#[test]
fn a_million_spoofed_requests_grow_nothing() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let before_kb = server.memory_kb();
    let seen_before = server.metric("net_received_packets_total");
    namespace.inside(spoof);
    let seen = server.metric("net_received_packets_total") - seen_before;
    assert!(seen >= 0.9 * f64::from(SPOOFED), "the server saw {seen} of {SPOOFED}");
    let accounted = server.metric("turn_bindings_total")
        + server.metric("turn_refused_total")
        + server.metric("turn_dropped_total");
    assert!(
        accounted >= seen,
        "{accounted} of {seen} were answered, refused or dropped by reason"
    );
    assert_eq!(server.metric("turn_allocations_made_total"), 0.0);
    let grown_kb = server.memory_kb().saturating_sub(before_kb);
    assert!(grown_kb < 2_048, "{grown_kb} kB grew over {before_kb} kB");
    server.stop();
}
