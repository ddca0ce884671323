//! TCP relays (RFC 6062): control connections, data connections, and peers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::version::{TLS12, TLS13};
use socket2::{Domain, SockRef, Socket, Type};
use voex_net::{DATA_QUEUE_BYTES_MAX, StreamEnd};
use voex_stun::{Class, Message, Method};
use voex_turn::{DropReason, Rates};

use crate::plane::{Client, PATIENCE, Plane, ask, connect, read_message};
use crate::tls::{Host, TlsStream, connect_tls};
use crate::turn_client::{TurnClient, success};

/// A control connection with a TCP allocation.
fn control(plane: &Plane) -> Client<TcpStream> {
    control_over(connect(plane))
}

fn control_over<S: Read + Write>(mut stream: S) -> Client<S> {
    let mut turn = TurnClient::new();
    let challenge = ask(&mut stream, &turn.allocate_tcp());
    turn.challenged(&challenge);
    let relayed = crate::turn_client::relayed_address(&ask(&mut stream, &turn.allocate_tcp()));
    Client { stream, turn, relayed }
}

/// A peer that waits for connections.
fn peer(plane: &Plane) -> TcpListener {
    TcpListener::bind((plane.ip, 0)).unwrap()
}

fn accept(peer: &TcpListener) -> (TcpStream, SocketAddr) {
    peer.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match peer.accept() {
            Ok((stream, from)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return (stream, from);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("a connection arrives: {error}"),
        }
    }
}

/// Connects a peer with a relay, from the address that permissions name.
fn comes_in(plane: &Plane, relayed: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(plane.ip, 0).into()).unwrap();
    socket.connect_timeout(&relayed.into(), PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Connects a relay with a peer; gives the id and the peer's end.
fn connects<S: Read + Write>(control: &mut Client<S>, peer: &TcpListener) -> (u32, TcpStream) {
    let request = control.turn.connect(peer.local_addr().unwrap());
    let answer = ask(&mut control.stream, &request);
    let id = success(&answer).connection_id().unwrap().expect("a CONNECTION-ID");
    let (stream, from) = accept(peer);
    assert_eq!(from, control.relayed, "the peer sees the relayed transport address");
    (id, stream)
}

/// Makes a stream the data connection of an id.
fn binds<S: Read + Write>(mut stream: S, id: u32) -> S {
    let mut turn = TurnClient::new();
    let challenge = ask(&mut stream, &turn.connection_bind(id));
    turn.challenged(&challenge);
    success(&ask(&mut stream, &turn.connection_bind(id)));
    stream
}

/// A control connection, a data connection, and the peer's end.
fn talking(plane: &Plane) -> (Client<TcpStream>, TcpStream, TcpStream) {
    let peer = peer(plane);
    let mut control = control(plane);
    let (id, there) = connects(&mut control, &peer);
    let here = binds(connect(plane), id);
    (control, here, there)
}

/// Bytes that differ wherever something is lost, doubled or out of order.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the stream ends");
    all
}

fn read_exactly(stream: &mut impl Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("all bytes arrive");
    bytes
}

impl Plane {
    /// Waits until nothing is left but the listeners.
    fn is_empty_again(&self) {
        self.wait("everything is closed", || {
            let open = |value: fn(&voex_net::Metrics) -> i64| self.gauge(value);
            self.allocations() == 0
                && self.connections() == (0, 0)
                && open(|m| m.peers.value()) == 0
                && open(|m| m.tcp_streams.value() + m.tls_streams.value()) == 0
                && open(|m| m.sockets.value()) == self.workers.count() as i64
        });
    }
}

#[test]
fn bytes_go_both_ways_between_a_client_and_a_peer_it_connected_to() {
    let plane = Plane::start(40, 1);
    let (control, mut here, mut there) = talking(&plane);
    assert_eq!(plane.connections(), (1, 0));
    here.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(read_exactly(&mut there, 18), b"GET / HTTP/1.0\r\n\r\n");
    // What looks like a message is none any more.
    there.write_all(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]).unwrap();
    assert_eq!(read_exactly(&mut here, 8), [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    assert_eq!(plane.turn_sum(|m| m.to_peer_bytes.value()), 18);
    assert_eq!(plane.turn_sum(|m| m.to_client_bytes.value()), 8);
    drop((control, here, there));
    plane.is_empty_again();
}

#[test]
fn a_peer_with_a_permission_comes_in_and_its_first_words_wait_for_the_client() {
    let plane = Plane::start(41, 1);
    let mut control = control(&plane);
    success(&ask(&mut control.stream, &{
        let ip = SocketAddr::new(plane.ip, 0);
        control.turn.create_permission(ip)
    }));
    let mut there = comes_in(&plane, control.relayed);
    let words = pattern(1, 40_000);
    there.write_all(&words).unwrap();
    there.shutdown(Shutdown::Write).unwrap();
    let told = read_message(&mut control.stream);
    let told = Message::parse(&told).unwrap();
    assert_eq!(
        (told.class(), told.method()),
        (Class::Indication, Method::CONNECTION_ATTEMPT)
    );
    assert_eq!(told.xor_peer_address(), Ok(Some(there.local_addr().unwrap())));
    let id = told.connection_id().unwrap().expect("a CONNECTION-ID");
    let mut here = binds(connect(&plane), id);
    assert_eq!(read_all(&mut here), words);
    here.write_all(b"thank you").unwrap();
    drop(here);
    assert_eq!(read_all(&mut there), b"thank you");
}

#[test]
fn a_peer_without_a_permission_is_closed_at_once() {
    let plane = Plane::start(42, 1);
    let control = control(&plane);
    let mut there = comes_in(&plane, control.relayed);
    let mut room = [0; 1];
    match there.read(&mut room) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the connection is closed: {other:?}"),
    }
    assert_eq!(plane.turn_sum(|m| m.dropped.of(DropReason::NoPermission).value()), 1);
    assert_eq!(plane.connections(), (0, 0));
    drop(control);
    plane.is_empty_again();
}

#[test]
fn a_data_connection_finds_its_allocation_on_whichever_worker_the_kernel_puts_it() {
    let plane = Plane::start(43, 2);
    let mut control = control(&plane);
    let mut ends = Vec::new();
    // Each falls on either worker by chance.
    for n in 0..24 {
        let (id, mut there) = connects(&mut control, &peer(&plane));
        let mut here = binds(connect(&plane), id);
        let words = pattern(n, 1_000);
        here.write_all(&words).unwrap();
        assert_eq!(read_exactly(&mut there, 1_000), words);
        there.write_all(&words).unwrap();
        assert_eq!(read_exactly(&mut here, 1_000), words);
        ends.push((here, there));
    }
    let moved = plane.sum(|m| m.streams_moved.value());
    assert!((1..24).contains(&moved), "{moved} of 24 moved");
    assert_eq!(plane.connections(), (24, 0));
    drop((control, ends));
    plane.is_empty_again();
}

#[test]
fn what_a_client_sends_right_behind_its_request_is_for_the_peer_wherever_it_is_handled() {
    let plane = Plane::start(44, 2);
    let mut control = control(&plane);
    let words = pattern(7, 50_000);
    for _ in 0..12 {
        let (id, mut there) = connects(&mut control, &peer(&plane));
        let mut here = connect(&plane);
        let mut turn = TurnClient::new();
        let challenge = ask(&mut here, &turn.connection_bind(id));
        turn.challenged(&challenge);
        here.write_all(&[&turn.connection_bind(id)[..], &words].concat())
            .unwrap();
        assert_eq!(read_exactly(&mut there, words.len()), words);
        success(&read_message(&mut here));
        there.write_all(b"heard").unwrap();
        assert_eq!(read_exactly(&mut here, 5), b"heard");
    }
    assert!(plane.sum(|m| m.streams_moved.value()) > 0);
}

#[test]
fn a_stream_whose_id_nobody_has_is_answered_by_the_worker_it_names_and_goes_on() {
    let plane = Plane::start(45, 2);
    let mut stream = connect(&plane);
    let mut turn = TurnClient::new();
    let challenge = ask(&mut stream, &turn.connection_bind(0));
    turn.challenged(&challenge);
    // Both workers are asked, so at least one of these moves, and the last request moves it back or not.
    for id in [0, 1, 0, 1, 0] {
        let answer = ask(&mut stream, &turn.connection_bind(id));
        let code = Message::parse(&answer).unwrap().error_code().unwrap().unwrap();
        assert_eq!(code.number(), 400, "the nonce is good on both");
    }
    let moved = plane.sum(|m| m.streams_moved.value());
    assert!(moved >= 4, "{moved}");
    let mut client = Client::allocate_over(stream);
    let peer = crate::plane::peer(&plane);
    client.bind(0x4000, peer.local_addr().unwrap());
    client.send(0x4000, b"after all");
    assert_eq!(crate::plane::receive(&peer).0, b"after all");
}

/// Has both ends send at once and read at once; nothing may be lost.
fn floods(mut here: impl Read + Write, mut there: TcpStream, len: usize) {
    let (ours, theirs) = (pattern(11, len), pattern(12, len));
    let (our_copy, their_copy) = (ours.clone(), theirs.clone());
    let mut reader = there.try_clone().unwrap();
    let writing = thread::spawn(move || there.write_all(&their_copy).unwrap());
    let reading = thread::spawn(move || assert!(read_exactly(&mut reader, our_copy.len()) == our_copy));
    // In turns: one thread has both directions of what may be a TLS session.
    for (ours, theirs) in ours.chunks(48_000).zip(theirs.chunks(48_000)) {
        here.write_all(ours).unwrap();
        here.flush().unwrap();
        assert!(read_exactly(&mut here, theirs.len()) == theirs);
    }
    writing.join().unwrap();
    reading.join().unwrap();
}

#[test]
fn megabytes_arrive_whole_in_both_directions_at_once() {
    let plane = Plane::start(46, 2);
    let (_control, here, there) = talking(&plane);
    floods(here, there, 8 << 20);
    let carried = plane.turn_sum(|m| m.to_peer_bytes.value());
    assert_eq!(carried, 8 << 20);
}

/// Tells how much a side can send while nobody reads at the other.
fn sends_until_stopped(stream: &TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut idle) = (0, 0);
    while idle < 20 && sent < bytes.len() {
        let mut end = stream;
        match end.write(&bytes[sent..]) {
            Ok(len) => (sent, idle) = (sent + len, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle += 1;
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn a_side_that_does_not_read_stops_the_other_and_then_gets_every_byte() {
    let plane = Plane::start(47, 1);
    for to_client in [true, false] {
        let (_control, here, there) = talking(&plane);
        let (mut reader, mut writer) = if to_client { (here, there) } else { (there, here) };
        SockRef::from(&reader).set_recv_buffer_size(64 << 10).unwrap();
        let bytes = pattern(13, 48 << 20);
        let sent = sends_until_stopped(&writer, &bytes);
        assert!(
            sent < bytes.len(),
            "the sender is stopped before {} MiB",
            bytes.len() >> 20
        );
        let carried = plane.turn_sum(|m| {
            if to_client {
                m.to_client_bytes.value()
            } else {
                m.to_peer_bytes.value()
            }
        });
        let limit = 16 << 20;
        assert!(carried < limit, "{carried} bytes are held for a reader of 64 KiB");

        let rest = bytes[sent..].to_vec();
        let writing = thread::spawn(move || {
            writer.write_all(&rest).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
            writer
        });
        assert!(read_all(&mut reader) == bytes);
        drop(writing.join().unwrap());
    }
}

#[test]
fn a_limited_relay_carries_every_byte_both_ways_and_rests_where_it_is_over_its_limit() {
    let plane = Plane::start_limited(
        56,
        2,
        Rates {
            bytes_per_s: 1_000_000,
            ..Rates::default()
        },
    );
    let (control, here, there) = talking(&plane);
    floods(here, there, 2_500_000);
    assert!(plane.turn_sum(|m| m.reads_throttled.value()) > 0);
    assert_eq!(plane.turn_sum(|m| m.to_peer_bytes.value()), 2_500_000);
    assert_eq!(plane.turn_sum(|m| m.to_client_bytes.value()), 2_500_000);
    drop(control);
    plane.is_empty_again();
}

#[test]
fn what_one_connection_owes_of_a_limit_the_next_waits_for_and_loses_nothing() {
    let plane = Plane::start_limited(
        57,
        1,
        Rates {
            bytes_per_s: 4_000,
            ..Rates::default()
        },
    );
    let (mut control, mut first, mut first_there) = talking(&plane);
    let words = pattern(17, 16_000);
    first.write_all(&words).unwrap();
    assert!(read_exactly(&mut first_there, words.len()) == words);

    // Now three seconds are owed. The client says everything in one flight with its request.
    let (id, mut there) = connects(&mut control, &peer(&plane));
    let mut here = connect(&plane);
    let mut turn = TurnClient::new();
    let challenge = ask(&mut here, &turn.connection_bind(id));
    turn.challenged(&challenge);
    here.write_all(&[&turn.connection_bind(id)[..], b"everything"].concat())
        .unwrap();
    here.shutdown(Shutdown::Write).unwrap();
    success(&read_message(&mut here));
    there.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let early = there.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "nothing goes to the peer yet");
    // The other way owes nothing.
    there.write_all(b"heard").unwrap();
    assert_eq!(read_exactly(&mut here, 5), b"heard");
    there.set_read_timeout(Some(PATIENCE * 4)).unwrap();
    assert_eq!(read_all(&mut there), b"everything");
    drop((control, first, first_there, here, there));
    plane.is_empty_again();
}

#[test]
fn who_leaves_while_a_limit_keeps_it_unread_is_forgotten_with_what_it_owes() {
    let plane = Plane::start_limited(
        58,
        1,
        Rates {
            bytes_per_s: 100,
            ..Rates::default()
        },
    );
    let (control, mut here, mut there) = talking(&plane);
    here.write_all(&[7; 10_000]).unwrap();
    read_exactly(&mut there, 10_000);
    there.write_all(&[7; 10_000]).unwrap();
    read_exactly(&mut here, 10_000);
    assert_eq!(plane.turn_sum(|m| m.reads_throttled.value()), 2);
    drop((control, here, there));
    plane.is_empty_again();
}

#[test]
fn a_slow_reader_harms_nobody_else() {
    let plane = Plane::start(48, 1);
    let (_control, _slow, there) = talking(&plane);
    let sent = sends_until_stopped(&there, &pattern(14, 48 << 20));
    assert!(sent >= DATA_QUEUE_BYTES_MAX);
    let passes = plane.sum(|m| m.busy_passes.value());
    thread::sleep(Duration::from_millis(100));
    let passed = plane.sum(|m| m.busy_passes.value()) - passes;
    assert!(passed < 50, "waiting for a slow reader costs nothing: {passed} passes");
    let (_other, mut here, mut there) = talking(&plane);
    here.write_all(b"swift").unwrap();
    assert_eq!(read_exactly(&mut there, 5), b"swift");
}

#[test]
fn the_end_of_either_side_is_passed_on_behind_its_last_byte_and_the_other_may_go_on() {
    let plane = Plane::start(49, 1);
    for client_first in [true, false] {
        let (control, here, there) = talking(&plane);
        let (mut first, mut second) = if client_first { (here, there) } else { (there, here) };
        let words = pattern(15, 300_000);
        let saying = {
            let (mut first, words) = (first.try_clone().unwrap(), words.clone());
            thread::spawn(move || {
                first.write_all(&words).unwrap();
                first.shutdown(Shutdown::Write).unwrap();
            })
        };
        assert!(read_all(&mut second) == words);
        saying.join().unwrap();
        assert_eq!(plane.connections(), (1, 0), "one direction is left");
        second.write_all(&words).unwrap();
        drop(second);
        assert!(read_all(&mut first) == words);
        plane.wait("the connection is over", || plane.connections() == (0, 0));
        assert_eq!(plane.allocations(), 1, "the allocation is not");
        drop((control, first));
        plane.is_empty_again();
    }
    assert_eq!(plane.sum(|m| m.streams_ended.of(StreamEnd::PeerEnded).value()), 2);
}

/// Closes so that the kernel sends a reset.
fn resets(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(Socket::from(stream));
}

#[test]
fn a_side_that_breaks_takes_the_other_with_it() {
    let plane = Plane::start(50, 1);
    for client_breaks in [true, false] {
        let (control, here, there) = talking(&plane);
        let (breaking, mut other) = if client_breaks { (here, there) } else { (there, here) };
        resets(breaking);
        assert_eq!(read_all(&mut other), b"");
        drop(other);
        plane.wait("the connection is over", || plane.connections() == (0, 0));
        drop(control);
        plane.is_empty_again();
    }
    assert_eq!(plane.sum(|m| m.streams_ended.of(StreamEnd::Broken).value()), 1);
    assert_eq!(plane.sum(|m| m.streams_ended.of(StreamEnd::PeerBroken).value()), 1);
}

#[test]
fn a_side_that_breaks_after_it_has_ended_is_not_waited_for() {
    let plane = Plane::start(55, 1);
    for client_breaks in [true, false] {
        let (control, here, there) = talking(&plane);
        let (breaking, mut other) = if client_breaks { (here, there) } else { (there, here) };
        breaking.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut other), b"");
        assert_eq!(plane.connections(), (1, 0), "the other may go on");
        resets(breaking);
        plane.wait("its side is closed", || match client_breaks {
            true => plane.gauge(|m| m.tcp_streams.value()) == 1,
            false => plane.gauge(|m| m.peers.value()) == 0,
        });
        drop((control, other));
        plane.is_empty_again();
    }
}

#[test]
fn ending_the_allocation_ends_its_connections_and_what_was_said_before_arrives() {
    let plane = Plane::start(51, 2);
    let (mut control, mut here, mut there) = talking(&plane);
    let (_id, mut unbound) = connects(&mut control, &peer(&plane));
    here.write_all(b"last words").unwrap();
    plane.wait("they are on their way", || {
        plane.turn_sum(|m| m.to_peer_bytes.value()) == 10
    });
    let release = control.turn.release();
    success(&ask(&mut control.stream, &release));
    assert_eq!(read_all(&mut there), b"last words");
    assert_eq!(read_all(&mut here), b"");
    assert_eq!(read_all(&mut unbound), b"");
    drop((control, here, there, unbound));
    plane.is_empty_again();
    assert_eq!(plane.sum(|m| m.streams_ended.of(StreamEnd::RelayEnded).value()), 1);
}

#[test]
fn a_peer_that_does_not_listen_is_answered_with_447() {
    let plane = Plane::start(52, 1);
    let mut control = control(&plane);
    let gone = peer(&plane).local_addr().unwrap();
    let request = control.turn.connect(gone);
    let answer = ask(&mut control.stream, &request);
    let code = Message::parse(&answer).unwrap().error_code().unwrap().unwrap();
    assert_eq!(code.number(), 447);
    assert_eq!(plane.connections(), (0, 0));
    assert_eq!(plane.gauge(|m| m.peers.value()), 0);
}

#[test]
fn a_peer_that_leaves_before_a_client_comes_for_it_is_forgotten() {
    let plane = Plane::start(53, 1);
    let mut control = control(&plane);
    let (id, there) = connects(&mut control, &peer(&plane));
    resets(there);
    plane.wait("it is forgotten", || plane.connections() == (0, 0));
    let mut stream = connect(&plane);
    let mut turn = TurnClient::new();
    let challenge = ask(&mut stream, &turn.connection_bind(id));
    turn.challenged(&challenge);
    let answer = ask(&mut stream, &turn.connection_bind(id));
    assert_eq!(Message::parse(&answer).unwrap().class(), Class::Error);
}

#[test]
fn two_clients_reach_each_other_through_their_relays() {
    let plane = Plane::start(54, 2);
    let (mut alice, mut bob) = (control(&plane), control(&plane));
    let permission = bob.turn.create_permission(alice.relayed);
    success(&ask(&mut bob.stream, &permission));
    let request = alice.turn.connect(bob.relayed);
    let answer = ask(&mut alice.stream, &request);
    let id = success(&answer).connection_id().unwrap().unwrap();
    let told = read_message(&mut bob.stream);
    let told = Message::parse(&told).unwrap();
    assert_eq!(told.xor_peer_address(), Ok(Some(alice.relayed)));
    let of_bob = told.connection_id().unwrap().unwrap();
    let mut a = binds(connect(&plane), id);
    let mut b = binds(connect(&plane), of_bob);
    let words = pattern(16, 100_000);
    a.write_all(&words).unwrap();
    assert!(read_exactly(&mut b, words.len()) == words);
    b.write_all(b"yes").unwrap();
    assert_eq!(read_exactly(&mut a, 3), b"yes");
}

#[test]
fn over_tls_control_and_data_are_served_alike() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    for (host, version) in [(17, &TLS12), (18, &TLS13)] {
        let plane = us.plane(host, 2);
        let trusting = us.trusting(version);
        let mut control = control_over(connect_tls(&plane, &trusting));
        let mut ends = Vec::new();
        for n in 0..12 {
            let (id, mut there) = connects(&mut control, &peer(&plane));
            let mut here = binds(connect_tls(&plane, &trusting), id);
            let words = pattern(n, 100_000);
            here.write_all(&words).unwrap();
            here.flush().unwrap();
            assert!(read_exactly(&mut there, words.len()) == words);
            let says_bye = |here: &mut TlsStream, there: &mut TcpStream| {
                here.write_all(b"bye").unwrap();
                here.conn.send_close_notify();
                here.flush().unwrap();
                assert_eq!(read_all(there), b"bye");
            };
            // Either may be the first to end.
            if n % 2 == 0 {
                says_bye(&mut here, &mut there);
            }
            there.write_all(&words).unwrap();
            there.shutdown(Shutdown::Write).unwrap();
            assert!(read_all(&mut here) == words, "and the end of the session behind it");
            if n % 2 == 1 {
                says_bye(&mut here, &mut there);
            }
            ends.push(here);
        }
        assert!((1..12).contains(&plane.sum(|m| m.streams_moved.value())));
        let (id, there) = connects(&mut control, &peer(&plane));
        floods(binds(connect_tls(&plane, &trusting), id), there, 2 << 20);
        drop((control, ends));
        plane.is_empty_again();
    }
}

#[test]
fn a_client_over_tls_may_say_everything_and_its_end_in_one_flight_with_its_request() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(19, 2);
    let trusting = us.trusting(&TLS13);
    let mut control = control_over(connect_tls(&plane, &trusting));
    for _ in 0..8 {
        let (id, mut there) = connects(&mut control, &peer(&plane));
        let mut here = connect_tls(&plane, &trusting);
        let mut turn = TurnClient::new();
        let challenge = ask(&mut here, &turn.connection_bind(id));
        turn.challenged(&challenge);
        let all = [&turn.connection_bind(id)[..], b"everything"].concat();
        here.conn.writer().write_all(&all).unwrap();
        here.conn.send_close_notify();
        here.flush().unwrap();
        assert_eq!(read_all(&mut there), b"everything");
        there.write_all(b"heard").unwrap();
        drop(there);
        success(&read_message(&mut here));
        assert_eq!(read_all(&mut here), b"heard");
    }
    assert!(plane.sum(|m| m.streams_moved.value()) > 0);
}

#[test]
fn what_a_peer_says_is_not_cut_into_records_by_what_it_looks_like() {
    let us = Host::new(&PKCS_ECDSA_P256_SHA256);
    let plane = us.plane(20, 1);
    let trusting = us.trusting(&TLS13);
    let mut control = control_over(connect_tls(&plane, &trusting));
    let (id, mut there) = connects(&mut control, &peer(&plane));
    let mut here = binds(connect_tls(&plane, &trusting), id);
    // Zeros look like two hundred STUN messages without attributes.
    let words = [0; 4_000];
    let before = plane.sum(|m| m.stream_sent_bytes.value());
    there.write_all(&words).unwrap();
    assert_eq!(read_exactly(&mut here, words.len()), words);
    let sent = plane.sum(|m| m.stream_sent_bytes.value()) - before;
    assert!(sent < words.len() as u64 + 200, "{sent} bytes on the wire");
}
