//! Plain TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::SockRef;
use voex_net::{DropReason, STREAM_QUEUE_BYTES_MAX, STREAMS_PER_SOURCE_MAX, StreamEnd, StreamRefusal};
use voex_stun::{Class, MessageWriter, Method, TransactionId};

use crate::plane::{Client, PATIENCE, Plane, ask, connect, padded, peer, read_message, receive};
use crate::turn_client::{read_data_indication, send_indication, success};

fn binding(n: u8) -> Vec<u8> {
    let mut room = [0; 64];
    let len = MessageWriter::new(&mut room, Class::Request, Method::BINDING, TransactionId([n; 12]))
        .finish()
        .unwrap();
    room[..len].to_vec()
}

#[test]
fn a_client_relays_both_ways_in_order_over_tcp() {
    let plane = Plane::start(1, 1);
    let mut client = Client::allocate(&plane);
    let peer = peer(&plane);
    let peer_address = peer.local_addr().unwrap();
    client.bind(0x4000, peer_address);
    client
        .stream
        .write_all(&send_indication(peer_address, b"by indication"))
        .unwrap();
    assert_eq!(receive(&peer), (b"by indication".to_vec(), client.relayed));
    for burst in 0..20u8 {
        // Lengths that need padding.
        for n in 0..32u8 {
            client.send(0x4000, &vec![n; 601 + usize::from(burst)]);
        }
        for n in 0..32u8 {
            let (payload, from) = receive(&peer);
            assert_eq!(
                (payload[0], payload.len(), from),
                (n, 601 + usize::from(burst), client.relayed)
            );
            peer.send_to(&payload, from).unwrap();
        }
        for n in 0..32u8 {
            assert_eq!(client.receive(0x4000), vec![n; 601 + usize::from(burst)]);
        }
    }
}

#[test]
fn data_of_a_peer_without_a_channel_arrives_as_an_indication() {
    let plane = Plane::start(2, 1);
    let mut client = Client::allocate(&plane);
    let peer = peer(&plane);
    let request = client.turn.create_permission(peer.local_addr().unwrap());
    success(&ask(&mut client.stream, &request));
    peer.send_to(b"hello", client.relayed).unwrap();
    assert_eq!(
        read_data_indication(&read_message(&mut client.stream)),
        (peer.local_addr().unwrap(), b"hello".to_vec())
    );
}

#[test]
fn a_message_may_come_byte_by_byte_and_many_may_come_at_once() {
    let plane = Plane::start(3, 1);
    let mut stream = connect(&plane);
    for byte in binding(1) {
        stream.write_all(&[byte]).unwrap();
    }
    let mapped = success(&read_message(&mut stream)).xor_mapped_address();
    assert_eq!(mapped, Ok(Some(stream.local_addr().unwrap())));
    let many: Vec<u8> = (0..50).flat_map(binding).collect();
    stream.write_all(&many).unwrap();
    for _ in 0..50 {
        success(&read_message(&mut stream));
    }
}

#[test]
fn what_a_pass_leaves_for_a_stream_is_written_at_once() {
    let plane = Plane::start(4, 1);
    let mut client = Client::allocate(&plane);
    let peer = peer(&plane);
    client.bind(0x4000, peer.local_addr().unwrap());
    let before = plane.sum(|metrics| metrics.stream_writes.value());
    // One train of the peer is one message for the worker, and so one pass.
    let mut sent = 0;
    while plane.sum(|metrics| metrics.received_packets.value()) < 400 {
        for _ in 0..40 {
            peer.send_to(&[7; 100], client.relayed).unwrap();
            sent += 1;
        }
        for _ in 0..40 {
            client.receive(0x4000);
        }
    }
    let writes = plane.sum(|metrics| metrics.stream_writes.value()) - before;
    assert!(writes < sent / 2, "{writes} writes for {sent} packets");
}

#[test]
fn the_longest_message_is_one_message() {
    let plane = Plane::start(5, 1);
    let mut client = Client::allocate(&plane);
    let peer = peer(&plane);
    client.bind(0x4000, peer.local_addr().unwrap());
    // 65 532 bytes of attributes: with the header the length needs 17 bits, and the rest must not be read as a message.
    let mut long = vec![0, 1, 0xff, 0xfc];
    long.extend(0x2112_a442u32.to_be_bytes());
    long.extend([5; 12]);
    let hidden = padded(0x4000, b"never");
    while long.len() + hidden.len() <= 65_552 {
        long.extend(&hidden);
    }
    long.resize(65_552, 0);
    client.stream.write_all(&long).unwrap();
    client.send(0x4000, b"after it");
    assert_eq!(receive(&peer).0, b"after it");
}

#[test]
fn a_stream_of_something_else_is_closed() {
    let plane = Plane::start(6, 1);
    let mut stream = connect(&plane);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_closed(&mut stream);
    plane.wait_for("the end is counted", |m| m.streams_ended.of(StreamEnd::NotTurn), 1);
}

/// Insists that the other side has ended the stream, with or without taking everything.
fn assert_closed(stream: &mut impl Read) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn a_closed_stream_ends_its_allocation() {
    let plane = Plane::start(7, 2);
    let (half, reset, dropped) = (
        Client::allocate(&plane),
        Client::allocate(&plane),
        Client::allocate(&plane),
    );
    assert_eq!(plane.allocations(), 3);
    half.stream.shutdown(Shutdown::Write).unwrap();
    plane.wait("a half-closed stream has ended", || plane.allocations() == 2);
    SockRef::from(&reset.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    plane.wait("a reset stream has ended", || plane.allocations() == 1);
    drop(dropped);
    plane.wait("a closed stream has ended", || plane.allocations() == 0);
    let ended = |end| plane.sum(|metrics| metrics.streams_ended.of(end).value());
    assert_eq!((ended(StreamEnd::ClosedByClient), ended(StreamEnd::Broken)), (2, 1));
}

#[test]
fn a_stream_outlives_its_allocation_and_may_have_another() {
    let plane = Plane::start(13, 1);
    let mut client = Client::allocate(&plane);
    let request = client.turn.release();
    success(&ask(&mut client.stream, &request));
    plane.wait("the allocation has ended", || plane.allocations() == 0);
    let request = client.turn.allocate();
    success(&ask(&mut client.stream, &request));
    assert_eq!(plane.allocations(), 1);
}

#[test]
fn a_client_that_sends_and_half_closes_has_its_answer() {
    let plane = Plane::start(8, 1);
    let mut stream = connect(&plane);
    stream.write_all(&binding(1)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    success(&read_message(&mut stream));
    assert_closed(&mut stream);
}

#[test]
fn a_slow_reader_loses_media_in_whole_messages_and_nobody_else_loses_anything() {
    let plane = Plane::start(9, 1);
    let mut slow = Client::allocate(&plane);
    let mut quick = Client::allocate(&plane);
    let peer = peer(&plane);
    let address = peer.local_addr().unwrap();
    slow.bind(0x4000, address);
    quick.bind(0x4000, address);
    let lost = || plane.sum(|metrics| metrics.dropped.of(DropReason::StreamQueueFull).value());
    let mut sent = 0u32;
    while lost() < 1_000 {
        for _ in 0..16 {
            peer.send_to(&sent.to_be_bytes().repeat(300), slow.relayed).unwrap();
            sent += 1;
        }
        peer.send_to(&sent.to_be_bytes(), quick.relayed).unwrap();
        assert_eq!(quick.receive(0x4000), sent.to_be_bytes());
    }
    // As much as fits was kept, in order, and no message was cut; an answer came through behind it.
    let request = slow.turn.channel_bind(0x4000, address);
    slow.stream.write_all(&request).unwrap();
    let mut heard = 0u32;
    let mut next = 0u32;
    loop {
        let message = read_message(&mut slow.stream);
        if message[0] == 0x01 {
            success(&message);
            break;
        }
        let number = u32::from_be_bytes(message[4..8].try_into().unwrap());
        assert!(number >= next, "{number} after {next}");
        assert_eq!(message[4..], number.to_be_bytes().repeat(300));
        (heard, next) = (heard + 1, number + 1);
    }
    assert!(
        heard as usize * 1_204 >= STREAM_QUEUE_BYTES_MAX,
        "{heard} messages heard"
    );
    assert_eq!(u64::from(heard) + lost(), u64::from(sent));
}

#[test]
fn a_client_that_asks_and_never_reads_is_closed() {
    let plane = Plane::start(10, 1);
    let mut client = Client::allocate(&plane);
    client.stream.set_write_timeout(Some(PATIENCE)).unwrap();
    SockRef::from(&client.stream).set_recv_buffer_size(4_096).unwrap();
    let requests: Vec<u8> = (0..100)
        .flat_map(|n| client.turn.channel_bind(0x4000 + n, plane.listener()))
        .collect();
    while client.stream.write_all(&requests).is_ok() {}
    plane.wait_for("the end is counted", |m| m.streams_ended.of(StreamEnd::SlowReader), 1);
    plane.wait("its allocation has ended", || plane.allocations() == 0);
}

#[test]
fn a_flooding_client_delays_nobody() {
    let plane = Plane::start(11, 1);
    let mut flooder = Client::allocate(&plane);
    let mut quiet = Client::allocate(&plane);
    let (sink, peer) = (peer(&plane), peer(&plane));
    flooder.bind(0x4000, sink.local_addr().unwrap());
    quiet.bind(0x4000, peer.local_addr().unwrap());
    let flood = padded(0x4000, &[1; 100]).repeat(1_000);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                flooder.stream.write_all(&flood).unwrap();
            }
        });
        let mut worst = Duration::ZERO;
        for n in 0..200u8 {
            let asked = Instant::now();
            quiet.send(0x4000, &[n; 160]);
            let (payload, from) = receive(&peer);
            assert_eq!(payload, [n; 160]);
            peer.send_to(&payload, from).unwrap();
            assert_eq!(quiet.receive(0x4000), [n; 160]);
            worst = worst.max(asked.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(worst < Duration::from_millis(250), "a packet took {worst:?}");
    });
    assert!(plane.sum(|metrics| metrics.stream_received_bytes.value()) > 10_000_000);
}

#[test]
fn a_source_without_allocations_has_a_bound_and_allocations_lift_it() {
    let plane = Plane::start(12, 1);
    let _client = Client::allocate(&plane);
    let mut streams: Vec<_> = (0..STREAMS_PER_SOURCE_MAX).map(|_| connect(&plane)).collect();
    let mut refused = connect(&plane);
    assert_closed(&mut refused);
    plane.wait_for(
        "the refusal is counted",
        |m| m.streams_refused.of(StreamRefusal::TooManyFromSource),
        1,
    );
    for stream in &mut streams {
        success(&ask(stream, &binding(1)));
    }
    drop(streams);
    plane.wait_for(
        "all have ended",
        |m| m.streams_ended.of(StreamEnd::ClosedByClient),
        u64::from(STREAMS_PER_SOURCE_MAX),
    );
    success(&ask(&mut connect(&plane), &binding(2)));
}
