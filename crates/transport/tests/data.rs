//! Data channels over a virtual network: what arrives, what waits, and what a remote may not do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a failed unwrap is a failed test; the clock is read once

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::World;
use common::sctp::{self, Sctp};
use proptest::prelude::*;
use sctp_proto::PayloadProtocolIdentifier as Ppi;
use voex_base::{Rng, TrackId};
use voex_transport::data::{CHANNELS_MAX, MESSAGE_BYTES_MAX, RECEIVE_BYTES_MAX, SEND_QUEUE_BYTES_MAX, STREAMS_MAX};
use voex_transport::{Channel, DataDrop, DataEvent, DataKind, DataMessage, DtlsRole, Event, Reliability};

/// A chunk that begins an association; its sender's first chunk of data will be number 1.
const INIT: &[u8] = &[1, 0, 0, 20, 0, 0, 0, 9, 0, 4, 0, 0, 0, 64, 0, 64, 0, 0, 0, 1];

/// A world whose data association is up, without a channel yet.
fn connected(role: DtlsRole, loss: u64, seed: u64) -> World {
    let mut world = World::new(role, seed);
    world.transport.open_data(MESSAGE_BYTES_MAX);
    world.set_remote();
    world.run(Duration::from_secs(5));
    assert!(world.is_up(), "{:?}", world.events);
    world.loss = loss;
    world.with_remote(|remote, _| remote.sctp = Some(Sctp::default()));
    act(&mut world, |_| {});
    world.run(Duration::from_secs(600));
    assert_eq!(world.data, [DataEvent::Ready]);
    assert!(sctp(&mut world).is_connected);
    world
}

/// A world with a channel that the remote opened.
fn with_channel(loss: u64, seed: u64) -> World {
    let mut world = connected(DtlsRole::Server, loss, seed);
    act(&mut world, |sctp| sctp.open(0, 0, 0, "chat"));
    world.run(Duration::from_secs(30));
    world
}

fn sctp(world: &mut World) -> &mut Sctp {
    world.remote.sctp.as_mut().unwrap()
}

/// Lets the remote's SCTP do something, and send what follows.
fn act(world: &mut World, act: impl FnOnce(&mut Sctp)) {
    let now = world.now;
    world.with_remote(|remote, sent| {
        act(remote.sctp.as_mut().unwrap());
        remote.flush_sctp(now, sent);
    });
}

fn message(label: &str, kind: DataKind, payload: &[u8]) -> DataMessage {
    DataMessage {
        channel: Arc::new(Channel::reliable(label)),
        kind,
        payload: payload.to_vec().into(),
    }
}

fn send(world: &mut World, message: &DataMessage) -> Result<(), DataDrop> {
    send_as(world, None, message)
}

fn send_as(world: &mut World, speaker: Option<u64>, message: &DataMessage) -> Result<(), DataDrop> {
    let speaker = speaker.map(TrackId);
    world.with_transport(|transport, now, out| transport.send_data(now, message, speaker, out))
}

/// Labels of the channels that were opened towards the remote, and which of their streams were closed again.
fn opened_and_closed(world: &mut World) -> (Vec<String>, Vec<u16>) {
    let sctp = sctp(world);
    let label = |open: &&[u8]| String::from_utf8_lossy(&open[12..]).into_owned();
    let opens = sctp.messages(Ppi::Dcep);
    let opened = opens.iter().filter(|open| open[0] == 3).map(label).collect();
    (opened, sctp.finished.clone())
}

fn messages(world: &World) -> Vec<(DataKind, Vec<u8>)> {
    let of = |event: &DataEvent| match event {
        DataEvent::Message(message) => Some((message.kind, message.payload.to_vec())),
        _ => None,
    };
    world.data.iter().filter_map(of).collect()
}

#[test]
fn text_and_binary_and_empty_messages_go_both_ways_on_the_remotes_channel() {
    let mut world = with_channel(0, 1);
    assert_eq!(world.data[1], DataEvent::Opened(Arc::new(Channel::reliable("chat"))));
    assert_eq!(sctp(&mut world).messages(Ppi::Dcep), [[2]], "acknowledged");
    let large = vec![7; MESSAGE_BYTES_MAX];
    act(&mut world, |sctp| {
        sctp.send(0, Ppi::String, b"hello");
        sctp.send(0, Ppi::Binary, &large);
        sctp.send(0, Ppi::StringEmpty, &[0]);
        sctp.send(0, Ppi::BinaryEmpty, &[0]);
    });
    world.run(Duration::from_secs(5));
    let expected = [
        (DataKind::Text, b"hello".to_vec()),
        (DataKind::Binary, large.clone()),
        (DataKind::Text, Vec::new()),
        (DataKind::Binary, Vec::new()),
    ];
    assert_eq!(messages(&world), expected);
    for (kind, payload) in &expected {
        assert_eq!(send(&mut world, &message("chat", *kind, payload)), Ok(()));
    }
    world.run(Duration::from_secs(5));
    let received = &sctp(&mut world).received[1..];
    let shown: Vec<_> = received
        .iter()
        .map(|(id, ppi, message)| (*id, *ppi, message.len()))
        .collect();
    let large_len = MESSAGE_BYTES_MAX;
    assert_eq!(
        shown,
        [
            (0, Ppi::String, 5),
            (0, Ppi::Binary, large_len),
            (0, Ppi::StringEmpty, 1),
            (0, Ppi::BinaryEmpty, 1)
        ]
    );
    assert_eq!(world.metrics.data_bytes.value(), 0, "nothing waits");
}

#[test]
fn a_message_for_a_new_label_opens_a_channel_on_a_stream_of_our_parity() {
    for (role, stream) in [(DtlsRole::Client, 0), (DtlsRole::Server, 1)] {
        let mut world = connected(role, 0, 2);
        let channel = Channel {
            protocol: "json".into(),
            is_ordered: false,
            reliability: Reliability::Retransmits(2),
            ..Channel::reliable("news")
        };
        let news = DataMessage {
            channel: Arc::new(channel),
            kind: DataKind::Text,
            payload: "x".into(),
        };
        send(&mut world, &news).unwrap();
        send(&mut world, &news).unwrap();
        world.run(Duration::from_secs(1));
        let mut open = vec![3, 0x81, 0, 0, 0, 0, 0, 2, 0, 4, 0, 4];
        open.extend(b"newsjson");
        let text = |id| (id, Ppi::String, b"x".to_vec());
        let expected = [(stream, Ppi::Dcep, open), text(stream), text(stream)];
        assert_eq!(sctp(&mut world).received, expected);
    }
}

#[test]
fn the_kind_of_a_channel_is_told_as_its_opener_described_it() {
    let mut world = connected(DtlsRole::Server, 0, 3);
    act(&mut world, |sctp| {
        sctp.open(2, 0x82, 500, "timed");
        sctp.open(4, 0x01, 3, "counted");
    });
    world.run(Duration::from_secs(1));
    let kinds: Vec<_> = world.data[1..]
        .iter()
        .map(|event| match event {
            DataEvent::Opened(channel) => (&*channel.label, channel.is_ordered, channel.reliability),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("timed", false, Reliability::Lifetime(500)),
            ("counted", true, Reliability::Retransmits(3))
        ]
    );
}

#[test]
fn a_channel_that_the_remote_closed_is_gone_and_its_stream_can_be_used_again() {
    let mut world = with_channel(0, 4);
    act(&mut world, |sctp| sctp.close(0));
    world.run(Duration::from_secs(5));
    assert_eq!(
        world.data[2..],
        [DataEvent::Closed(Arc::new(Channel::reliable("chat")))]
    );
    act(&mut world, |sctp| sctp.open(0, 0, 0, "second"));
    world.run(Duration::from_secs(5));
    act(&mut world, |sctp| sctp.send(0, Ppi::String, b"again"));
    world.run(Duration::from_secs(5));
    assert_eq!(messages(&world), [(DataKind::Text, b"again".to_vec())]);
}

#[test]
fn nothing_is_sent_before_the_association_is_up_nor_longer_than_the_remote_takes() {
    let mut world = World::up(DtlsRole::Server);
    let hello = message("chat", DataKind::Text, b"hello");
    assert_eq!(send(&mut world, &hello), Err(DataDrop::NotReady), "not negotiated");
    world.transport.open_data(4);
    assert_eq!(send(&mut world, &hello), Err(DataDrop::NotReady), "no association");
    world.with_remote(|remote, _| remote.sctp = Some(Sctp::default()));
    act(&mut world, |_| {});
    world.run(Duration::from_secs(5));
    assert_eq!(send(&mut world, &hello), Err(DataDrop::TooLong));
    world.transport.open_data(5);
    assert_eq!(send(&mut world, &hello), Ok(()));
}

#[test]
fn a_remote_that_does_not_acknowledge_costs_what_the_queue_may_hold_and_loses_the_rest() {
    let mut world = with_channel(0, 5);
    let block = message("chat", DataKind::Binary, &[1; 10_000]);
    world.loss = 100;
    let sent = (0..1_000).filter(|_| send(&mut world, &block).is_ok()).count();
    let waiting = world.metrics.data_bytes.value() as usize;
    assert!((40..60).contains(&sent), "{sent}");
    assert!(waiting < SEND_QUEUE_BYTES_MAX + 300_000, "{waiting}");
    assert_eq!(
        world.metrics.data_drops.of(DataDrop::QueueFull).value(),
        1_000 - sent as u64
    );
    // It comes back, and gets all that was taken.
    world.loss = 0;
    world.run(Duration::from_secs(20));
    assert_eq!(sctp(&mut world).messages(Ppi::Binary).len(), sent);
    assert_eq!(world.metrics.data_bytes.value(), 0);
}

#[test]
fn messages_that_nobody_reads_hold_their_sender_back_and_are_not_lost() {
    let mut world = with_channel(0, 6);
    world.reads_data = false;
    act(&mut world, |sctp| {
        for _ in 0..100 {
            sctp.send(0, Ppi::Binary, &[2; 10_000]);
        }
    });
    world.run(Duration::from_secs(30));
    let waiting = world.metrics.data_bytes.value() as usize;
    // What is kept are packets, a little longer than what they carry.
    assert!((200_000..RECEIVE_BYTES_MAX * 11 / 10).contains(&waiting), "{waiting}");
    world.reads_data = true;
    world.run(Duration::from_secs(60));
    assert_eq!(messages(&world).len(), 100);
}

#[test]
fn one_channel_more_than_there_may_be_is_closed_and_a_stream_too_many_ends_data() {
    let mut world = connected(DtlsRole::Server, 0, 7);
    act(&mut world, |sctp| {
        for id in 0..=CHANNELS_MAX as u16 {
            sctp.open(id, 0, 0, &format!("{id}"));
        }
    });
    world.run(Duration::from_secs(10));
    let opened = world
        .data
        .iter()
        .filter(|event| matches!(event, DataEvent::Opened(_)))
        .count();
    assert_eq!(opened, CHANNELS_MAX);
    assert_eq!(world.metrics.data_drops.of(DataDrop::ChannelsFull).value(), 1);
    act(&mut world, |sctp| sctp.open(STREAMS_MAX, 0, 0, "beyond"));
    world.run(Duration::from_secs(10));
    assert_eq!(world.data.last(), Some(&DataEvent::Lost));
    assert!(world.transport.is_up(), "media goes on");
    let hello = message("0", DataKind::Text, b"hello");
    assert_eq!(send(&mut world, &hello), Err(DataDrop::Lost));
    assert_eq!(world.metrics.data_bytes.value(), 0);
}

#[test]
fn a_message_on_a_stream_without_a_channel_is_dropped() {
    let mut world = connected(DtlsRole::Server, 0, 8);
    act(&mut world, |sctp| {
        let _ = sctp.association.open_stream(6, Ppi::Binary).unwrap();
        sctp.send(6, Ppi::String, b"who");
        sctp.send(6, Ppi::Dcep, b"\x03");
    });
    world.run(Duration::from_secs(1));
    assert_eq!(world.data, [DataEvent::Ready]);
    assert_eq!(world.metrics.data_drops.of(DataDrop::NoChannel).value(), 1);
    assert_eq!(world.metrics.data_drops.of(DataDrop::BadDcep).value(), 1);
}

#[test]
fn unreliable_messages_are_given_up_and_those_behind_them_arrive() {
    let mut world = connected(DtlsRole::Server, 0, 9);
    act(&mut world, |sctp| {
        sctp.open(0, 0x81, 0, "fast");
        sctp.set_unreliable(0, 0);
    });
    world.run(Duration::from_secs(1));
    world.loss = 30;
    for number in 0..200_u32 {
        act(&mut world, |sctp| sctp.send(0, Ppi::Binary, &number.to_be_bytes()));
        world.run(Duration::from_millis(20));
    }
    world.loss = 0;
    act(&mut world, |sctp| sctp.send(0, Ppi::String, b"last"));
    world.run(Duration::from_secs(30));
    let arrived = messages(&world);
    assert_eq!(
        arrived.last().map(|(_, payload)| payload.as_slice()),
        Some(&b"last"[..])
    );
    assert!((80..200).contains(&arrived.len()), "{}", arrived.len());
}

#[test]
fn a_transport_without_keys_for_srtp_comes_up_when_it_carries_data() {
    let mut world = World::new(DtlsRole::Server, 10);
    world.transport.open_data(MESSAGE_BYTES_MAX);
    world.set_remote();
    world.run(Duration::from_secs(5));
    assert_eq!(world.outcome(), [Event::Up]);
}

#[test]
fn a_remote_that_leaves_a_gap_cannot_make_us_keep_what_it_sends_behind_it() {
    let mut world = with_channel(0, 12);
    // In order, so that DTLS takes all of it.
    world.delay = Duration::ZERO;
    let now = world.now;
    act(&mut world, |sctp| sctp.send(0, Ppi::Binary, b"x"));
    let header = sctp(&mut world).header.clone();
    // Its last chunk, and so the number of the first one that it leaves out.
    let last = sctp(&mut world).last_tsn;
    for ahead in 2..10_000 {
        let packet = sctp::packet(&header, &sctp::data_chunk(last.wrapping_add(ahead), 0));
        world.with_remote(|remote, sent| remote.send_data(now, &packet, sent));
    }
    world.run(Duration::from_secs(1));
    let refused = world.metrics.data_drops.of(DataDrop::BadPacket).value();
    assert_eq!(messages(&world).len() as u64, 10_000 - 2 - refused + 1);
    assert_eq!(
        messages(&world).len(),
        512,
        "the window, less the gap, and the message before it"
    );
    assert!(world.transport.is_up(), "media goes on");
}

#[test]
fn the_committed_corpus_is_survived() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/data");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let mut played = 0;
    for data in files {
        for end in 0..=data.len() {
            let events = voex_transport::data::fuzz::play(std::time::Instant::now(), &data[..end]);
            assert!(end < data.len() || events >= 2, "the whole of it opens a channel");
        }
        played += 1;
    }
    assert!(played >= 3, "{played}");
}

#[test]
fn the_fuzz_player_reaches_channels_and_messages() {
    let mut data = Vec::new();
    let mut add = |chunks: &[u8]| {
        data.extend((chunks.len() as u16).to_be_bytes());
        data.push(0);
        data.extend(chunks);
    };
    add(INIT);
    let mut open = vec![0, 3, 0, 30, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 50];
    open.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, b'h', b'i', 0, 0]);
    add(&open);
    assert_eq!(
        voex_transport::data::fuzz::play(std::time::Instant::now(), &data),
        2,
        "Ready, Opened"
    );
}

#[test]
fn a_remote_that_resets_streams_and_never_answers_our_half_of_it_loses_data() {
    let mut data = Vec::new();
    let mut add = |chunks: &[u8]| {
        data.extend((chunks.len() as u16).to_be_bytes());
        data.push(0);
        data.extend(chunks);
    };
    add(INIT);
    for tsn in 1..=2 * u32::from(STREAMS_MAX) {
        let [_, _, high, low] = tsn.to_be_bytes();
        // Odd ones are ours.
        let stream = (tsn % 4 * 2) as u8;
        add(&[0, 3, 0, 17, 0, 0, high, low, 0, stream, 0, 0, 0, 0, 0, 53, 7, 0, 0, 0]);
        let mut reset = vec![
            130, 0, 0, 22, 0, 13, 0, 18, 0, 0, high, low, 0, 0, 0, 0, 0, 0, high, low,
        ];
        reset.extend([0, stream, 0, 0]);
        add(&reset);
    }
    let events = voex_transport::data::fuzz::play(std::time::Instant::now(), &data);
    assert_eq!(events, 2, "Ready, Lost");
}

#[test]
fn a_speaker_with_more_labels_than_there_are_channels_takes_them_from_itself() {
    let mut world = connected(DtlsRole::Server, 0, 13);
    let say = |world: &mut World, speaker: u64, label: &str| {
        assert_eq!(
            send_as(world, Some(speaker), &message(label, DataKind::Text, b"x")),
            Ok(())
        );
        world.run(Duration::from_millis(300));
    };
    say(&mut world, 1, "chat");
    for number in 0..CHANNELS_MAX + 10 {
        say(&mut world, 2, &format!("{number}"));
    }
    say(&mut world, 3, "file");
    say(&mut world, 1, "chat");
    let (opened, closed) = opened_and_closed(&mut world);
    assert_eq!(
        opened.iter().filter(|label| *label == "chat").count(),
        1,
        "it was never closed"
    );
    assert_eq!(opened.last().map(String::as_str), Some("file"));
    assert_eq!(opened.len(), CHANNELS_MAX + 12);
    assert_eq!(closed.len(), 12, "those of speaker 2 that were used longest ago");
    assert_eq!(world.metrics.data_drops.of(DataDrop::ChannelsFull).value(), 0);
}

#[test]
fn a_channel_closes_when_the_last_who_spoke_on_it_has_left_and_one_of_the_remote_never_does() {
    let mut world = with_channel(0, 14);
    for (speaker, label) in [(1, "chat"), (1, "both"), (2, "both"), (1, "own")] {
        assert_eq!(
            send_as(&mut world, Some(speaker), &message(label, DataKind::Text, b"x")),
            Ok(())
        );
    }
    let leave = |world: &mut World, speaker: u64| {
        world.with_transport(|transport, now, out| transport.forget_speaker(now, TrackId(speaker), out));
        world.run(Duration::from_secs(5));
        sctp(world).finished.clone()
    };
    world.run(Duration::from_secs(5));
    let (mut opened, _) = opened_and_closed(&mut world);
    opened.sort();
    assert_eq!(opened, ["both", "own"]);
    assert_eq!(leave(&mut world, 1), [3], "own");
    assert_eq!(leave(&mut world, 2), [3, 1], "both");
}

#[test]
fn text_that_is_not_utf_8_is_dropped_and_the_channel_goes_on() {
    let mut world = with_channel(0, 12);
    act(&mut world, |sctp| {
        sctp.send(0, Ppi::String, &[b'a', 0xff]);
        sctp.send(0, Ppi::String, "привет".as_bytes());
        sctp.send(0, Ppi::Binary, &[0xff]);
    });
    world.run(Duration::from_secs(5));
    let expected = [
        (DataKind::Text, "привет".as_bytes().to_vec()),
        (DataKind::Binary, vec![0xff]),
    ];
    assert_eq!(messages(&world), expected);
    assert_eq!(world.metrics.data_drops.of(DataDrop::BadText).value(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reliable_messages_arrive_once_and_in_order_whatever_the_path_does(seed in 0_u64..1_000_000, loss in 0_u64..15) {
        let mut world = with_channel(loss, seed);
        let mut rng = Rng::from_number(seed);
        let sizes: Vec<usize> = (0..30).map(|_| rng.below(9_000) as usize + 4).collect();
        let payload = |number: usize, size: usize| {
            let mut payload = vec![number as u8; size];
            payload[..4].copy_from_slice(&(number as u32).to_be_bytes());
            payload
        };
        for (number, size) in sizes.iter().enumerate() {
            act(&mut world, |sctp| sctp.send(0, Ppi::Binary, &payload(number, *size)));
            send(&mut world, &message("chat", DataKind::Binary, &payload(number, *size))).unwrap();
            world.run(Duration::from_millis(rng.below(200)));
        }
        world.run(Duration::from_secs(300));
        let expected: Vec<_> = sizes.iter().enumerate().map(|(number, size)| payload(number, *size)).collect();
        let arrived: Vec<_> = messages(&world).into_iter().map(|(_, payload)| payload).collect();
        prop_assert!(arrived == expected, "towards us");
        prop_assert!(sctp(&mut world).messages(Ppi::Binary) == expected, "towards the remote");
        prop_assert_eq!(world.metrics.data_bytes.value(), 0);
    }

    #[test]
    fn chunks_of_any_kind_neither_panic_nor_grow_what_is_kept(
        runs in proptest::collection::vec((any::<u8>(), proptest::collection::vec(chunk(), 1..4)), 1..120),
    ) {
        let mut data = Vec::new();
        let mut add = |time: u8, chunks: &[u8]| {
            data.extend((chunks.len() as u16).to_be_bytes());
            data.push(time);
            data.extend(chunks);
        };
        add(0, INIT);
        for (time, chunks) in runs {
            add(time, &chunks.concat());
        }
        voex_transport::data::fuzz::play(std::time::Instant::now(), &data);
    }

    #[test]
    fn packets_of_any_kind_neither_panic_nor_grow_what_is_kept(seed in any::<u64>()) {
        let mut world = with_channel(0, 11);
        let mut rng = Rng::from_number(seed);
        for _ in 0..400 {
            let packet = mangled(&mut world, &mut rng);
            let now = world.now;
            world.with_remote(|remote, sent| remote.send_data(now, &packet, sent));
            world.run(Duration::from_millis(rng.below(40)));
            let kept = world.metrics.data_bytes.value() as usize;
            prop_assert!(kept <= RECEIVE_BYTES_MAX + SEND_QUEUE_BYTES_MAX + 300_000, "{}", kept);
        }
        prop_assert!(world.transport.is_up(), "media goes on");
    }
}

/// A chunk whose length holds and whose first numbers are small, so that some of them fit together.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    const KINDS: &[u8] = &[0, 0, 0, 1, 3, 4, 6, 7, 8, 9, 10, 11, 14, 130, 192, 194];
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    (proptest::sample::select(KINDS), any::<u8>(), 0_u8..40, 0_u8..4, value).prop_map(
        |(kind, flags, number, stream, rest)| {
            let mut chunk = vec![kind, flags, 0, 0, 0, 0, 0, number, 0, stream];
            chunk.extend(rest);
            let length = chunk.len() as u16;
            chunk[2..4].copy_from_slice(&length.to_be_bytes());
            chunk.resize(chunk.len().next_multiple_of(4), 0);
            chunk
        },
    )
}

/// A packet as the remote would send it next, or of random chunks, with the right tag and checksum and something changed.
fn mangled(world: &mut World, rng: &mut Rng) -> Vec<u8> {
    let now = world.now;
    let remote = sctp(world);
    if !remote.is_lost && rng.below(2) == 0 {
        let payload = vec![1; rng.below(3_000) as usize + 1];
        if let Ok(mut stream) = remote.association.stream(0) {
            let _ = stream.write_with_ppi(&payload, Ppi::Binary);
        }
    }
    let mut packet = match remote.poll_packet(now) {
        Some(packet) => packet.to_vec(),
        None => remote.header.clone(),
    };
    for _ in 0..rng.below(4) {
        let kinds = [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 64, 130, 132, 192, 194];
        let length = rng.below(60) as usize;
        packet.extend([kinds[rng.below(kinds.len() as u64) as usize], rng.u32() as u8]);
        packet.extend((length as u16 + 4).to_be_bytes());
        packet.extend((0..length).map(|_| rng.u32() as u8));
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    if packet.len() > 12 {
        for _ in 0..rng.below(6) {
            let at = 12 + rng.below(packet.len() as u64 - 12) as usize;
            packet[at] = rng.u32() as u8;
        }
    }
    packet.truncate(1_300);
    sctp::packet(&packet[..12], &packet[12..])
}
