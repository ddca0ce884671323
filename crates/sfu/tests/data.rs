//! Data channels through a shard: real ICE, DTLS and SCTP on both sides.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::browser::{Browser, MEDIA_SOCKET};
use common::sctp::Sctp;
use common::{World, ms};
use sctp_proto::PayloadProtocolIdentifier as Ppi;
use voex_base::{SubscriptionId, TrackId, TransportId, WorkerId};
use voex_sfu::command::{
    Channel, DataKind, DataMessage, DataReach, DataSubscriptionSpec, DataTrackSpec, MESSAGE_BYTES_MAX,
};
use voex_sfu::limits::{DATA_PASS_BYTES, DATA_PASS_COPIES, DATA_PIPED_MAX, DATA_REPORTS_PER_S};
use voex_sfu::{Command, Event};

/// A browser with data channels.
struct Talker {
    browser: Browser,
    sctp: Sctp,
}

impl Talker {
    fn sctp(&mut self) -> &mut Sctp {
        &mut self.sctp
    }

    fn transport(&self) -> TransportId {
        self.browser.transport()
    }

    /// Packets each way.
    fn exchange(&mut self, world: &mut World) {
        for packet in self.browser.application_data(&mut world.out) {
            self.sctp.handle_packet(world.now, &packet);
        }
        for packet in self.sctp.packets(world.now) {
            for datagram in self.browser.protect_data(&packet) {
                world.datagram(MEDIA_SOCKET, self.browser.address, &datagram).unwrap();
            }
        }
    }
}

/// A browser with an association, and a channel `chat` on stream 0.
fn connect(world: &mut World, number: u64) -> Talker {
    let browser = Browser::connect(number, &mut world.shard, world.now, world.wall, &mut world.out);
    world.command(Command::OpenData(browser.transport(), MESSAGE_BYTES_MAX));
    let mut talker = Talker {
        browser,
        sctp: Sctp::new(),
    };
    play(world, &mut [&mut talker]);
    talker.sctp().open(0, "chat");
    play(world, &mut [&mut talker]);
    world.events();
    talker
}

#[test]
fn a_subscription_made_before_data_was_negotiated_flows_once_it_is() {
    let mut world = World::new();
    let mut publisher = connect(&mut world, 1);
    add_track(&mut world, publisher.transport(), 1, false);
    subscribe(&mut world, 10, 1, publisher.transport(), "");
    let browser = Browser::connect(2, &mut world.shard, world.now, world.wall, &mut world.out);
    subscribe(&mut world, 11, 1, browser.transport(), "");
    publisher.sctp().send(0, Ppi::String, b"too early");
    play(&mut world, &mut [&mut publisher]);
    world.command(Command::OpenData(browser.transport(), MESSAGE_BYTES_MAX));
    let mut subscriber = Talker {
        browser,
        sctp: Sctp::new(),
    };
    play(&mut world, &mut [&mut subscriber]);
    publisher.sctp().send(0, Ppi::String, b"hello");
    play(&mut world, &mut [&mut publisher, &mut subscriber]);
    assert_eq!(subscriber.sctp().heard(), [text("hello")]);
    assert_eq!(world.metrics.ignored_commands.value(), 0);
}

/// Carries packets both ways until nothing more comes.
fn play(world: &mut World, talkers: &mut [&mut Talker]) {
    for _ in 0..40 {
        for talker in &mut *talkers {
            talker.exchange(world);
        }
        world.advance(ms(20));
    }
}

fn add_track(world: &mut World, transport: TransportId, id: u64, is_reported: bool) {
    let spec = DataTrackSpec {
        id: TrackId(id),
        transport,
        is_reported,
    };
    world.command(Command::AddDataTrack(spec));
}

fn subscribe(world: &mut World, id: u64, track: u64, transport: TransportId, text_prefix: &str) {
    let spec = DataSubscriptionSpec {
        id: SubscriptionId(id),
        track: TrackId(track),
        transport,
        text_prefix: text_prefix.to_owned(),
        active: true,
    };
    world.command(Command::AddDataSubscription(Box::new(spec)));
}

fn text(message: &str) -> (Ppi, Vec<u8>) {
    (Ppi::String, message.as_bytes().to_vec())
}

#[test]
fn text_and_bytes_reach_every_subscriber_on_a_channel_of_the_same_label() {
    let mut world = World::new();
    let mut publisher = connect(&mut world, 1);
    let mut subscribers = [connect(&mut world, 2), connect(&mut world, 3)];
    add_track(&mut world, publisher.transport(), 1, false);
    for (number, subscriber) in subscribers.iter().enumerate() {
        subscribe(&mut world, 11 + number as u64, 1, subscriber.transport(), "");
    }
    publisher.sctp().send(0, Ppi::String, b"hello");
    publisher.sctp().send(0, Ppi::Binary, &[7; 30_000]);
    publisher.sctp().open(2, "other");
    publisher.sctp().send(2, Ppi::String, b"elsewhere");
    let [second, third] = &mut subscribers;
    play(&mut world, &mut [&mut publisher, second, third]);
    for subscriber in &mut subscribers {
        let received = std::mem::take(&mut subscriber.sctp().received);
        let messages: Vec<_> = received.iter().filter(|(_, ppi, _)| *ppi != Ppi::Dcep).collect();
        assert_eq!(messages.len(), 3);
        assert_eq!(*messages[0], (0, Ppi::String, b"hello".to_vec()), "on its own channel");
        assert_eq!(*messages[1], (0, Ppi::Binary, vec![7; 30_000]));
        assert_eq!(*messages[2], (1, Ppi::String, b"elsewhere".to_vec()), "on one of ours");
    }
    assert_eq!(world.events(), [], "not reported");
    assert_eq!(publisher.sctp().heard(), []);
}

#[test]
fn a_subscription_can_be_paused_moved_and_ended_and_a_track_muted_and_removed() {
    let mut world = World::new();
    let mut publisher = connect(&mut world, 1);
    let mut other = connect(&mut world, 2);
    let mut subscriber = connect(&mut world, 3);
    add_track(&mut world, publisher.transport(), 1, false);
    add_track(&mut world, other.transport(), 2, false);
    subscribe(&mut world, 11, 1, subscriber.transport(), "");
    let mut say = |world: &mut World, message: &str| {
        for browser in [&mut publisher, &mut other] {
            let message = format!("{message} of {}", browser.browser.number);
            browser.sctp().send(0, Ppi::String, message.as_bytes());
        }
        play(world, &mut [&mut publisher, &mut other, &mut subscriber]);
        subscriber.sctp().heard()
    };
    assert_eq!(say(&mut world, "first"), [text("first of 1")]);
    world.command(Command::SetSubscriptionActive(SubscriptionId(11), false));
    assert_eq!(say(&mut world, "paused"), []);
    world.command(Command::SetSubscriptionActive(SubscriptionId(11), true));
    world.command(Command::SetTrackRelayed(TrackId(1), false));
    assert_eq!(say(&mut world, "muted"), []);
    world.command(Command::SetTrackRelayed(TrackId(1), true));
    assert_eq!(say(&mut world, "back"), [text("back of 1")]);
    let moved = DataSubscriptionSpec {
        id: SubscriptionId(11),
        track: TrackId(2),
        transport: TransportId(3),
        text_prefix: String::new(),
        active: true,
    };
    world.command(Command::AddDataSubscription(Box::new(moved)));
    assert_eq!(say(&mut world, "moved"), [text("moved of 2")]);
    world.command(Command::RemoveSubscription(SubscriptionId(11)));
    assert_eq!(say(&mut world, "ended"), []);
    for track in [1, 2] {
        world.command(Command::RemoveTrack(TrackId(track)));
    }
    assert_eq!(say(&mut world, "removed"), []);
    assert_eq!(world.metrics.ignored_commands.value(), 0);
    assert_eq!(
        (world.metrics.tracks.value(), world.metrics.subscriptions.value()),
        (0, 0)
    );
}

#[test]
fn a_long_message_for_many_leaves_bit_by_bit_and_reaches_all_who_are_still_there() {
    let mut world = World::new();
    let mut publisher = connect(&mut world, 1);
    let mut subscribers: Vec<_> = (2..12).map(|number| connect(&mut world, number)).collect();
    add_track(&mut world, publisher.transport(), 1, false);
    for (number, subscriber) in subscribers.iter().enumerate() {
        subscribe(&mut world, 10 + number as u64, 1, subscriber.transport(), "");
    }
    let long = vec![b'x'; 60_000];
    publisher.sctp().send(0, Ppi::String, &long);
    let sent = |world: &World| world.metrics.transport.data_messages_sent.value();
    while sent(&world) == 0 {
        publisher.exchange(&mut world);
        if sent(&world) == 0 {
            world.advance(ms(20));
        }
    }
    let first = DATA_PASS_BYTES.div_ceil(long.len()) as u64;
    assert_eq!(sent(&world), first, "then other things have their turn");
    // One who has the message already, and one who has not.
    for gone in [10, 19] {
        world.command(Command::RemoveSubscription(SubscriptionId(gone)));
    }
    for _ in 0..4 {
        play(&mut world, &mut [&mut publisher]);
        play(&mut world, &mut subscribers.iter_mut().collect::<Vec<_>>());
    }
    let heard: Vec<_> = subscribers.iter_mut().map(|one| one.sctp().heard().len()).collect();
    assert_eq!(heard, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
}

#[test]
fn an_echo_prefixes_text_and_returns_bytes_as_they_are() {
    let mut world = World::new();
    let mut browser = connect(&mut world, 1);
    add_track(&mut world, browser.transport(), 1, false);
    subscribe(&mut world, 11, 1, browser.transport(), "You wrote: ");
    browser.sctp().send(0, Ppi::String, b"hello");
    browser.sctp().send(0, Ppi::Binary, b"\x01\x02");
    browser.sctp().send(0, Ppi::StringEmpty, &[0]);
    play(&mut world, &mut [&mut browser]);
    let expected = [text("You wrote: hello"), (Ppi::Binary, vec![1, 2]), text("You wrote: ")];
    assert_eq!(browser.sctp().heard(), expected);
    let long = "x".repeat(MESSAGE_BYTES_MAX - 5);
    browser.sctp().send(0, Ppi::String, long.as_bytes());
    play(&mut world, &mut [&mut browser]);
    assert!(
        browser.sctp().heard() == [text(&long)],
        "what fits without the prefix only comes without it"
    );
}

#[test]
fn messages_of_a_reported_track_are_told_at_a_bounded_rate_and_ours_are_sent() {
    let mut world = World::new();
    let mut browser = connect(&mut world, 1);
    add_track(&mut world, browser.transport(), 1, true);
    for number in 0..500 {
        browser.sctp().send(0, Ppi::String, format!("{number}").as_bytes());
    }
    let started = world.now;
    let mut told = Vec::new();
    while told.len() < 500 {
        play(&mut world, &mut [&mut browser]);
        told.extend(world.events());
        let limit = (world.now - started).as_secs_f64() * DATA_REPORTS_PER_S as f64;
        assert!(told.len() as f64 <= limit + 60.0, "{} of {limit}", told.len());
    }
    let message = |number: usize| DataMessage {
        channel: std::sync::Arc::new(Channel::reliable("chat")),
        kind: DataKind::Text,
        payload: number.to_string().into(),
    };
    let expected: Vec<_> = (0..500)
        .map(|number| Event::DataReceived(browser.transport(), message(number)))
        .collect();
    assert!(told == expected, "all, once and in order");
    world.command(Command::SendData(browser.transport(), message(7)));
    play(&mut world, &mut [&mut browser]);
    assert_eq!(browser.sctp().heard(), [text("7")]);
}

#[test]
fn messages_of_another_worker_reach_all_subscribers_at_the_pace_of_this_one_and_what_is_too_much_is_lost() {
    let mut world = World::new();
    let mut subscribers: Vec<_> = (2..12).map(|number| connect(&mut world, number)).collect();
    let spec = DataTrackSpec {
        id: TrackId(1),
        transport: TransportId(1),
        is_reported: true,
    };
    world.command(Command::AddPipedDataTrack(WorkerId(1), spec));
    for (number, subscriber) in subscribers.iter().enumerate() {
        subscribe(&mut world, 10 + number as u64, 1, subscriber.transport(), "from afar: ");
    }
    let message = |text: String| DataMessage {
        channel: std::sync::Arc::new(Channel::reliable("chat")),
        kind: DataKind::Text,
        payload: text.into(),
    };
    let flood = 3 * DATA_PIPED_MAX;
    for number in 0..flood {
        world.command(Command::SendPipedData(TrackId(1), message(number.to_string())));
    }
    let sent = |world: &World| world.metrics.transport.data_messages_sent.value();
    let at_once = (DATA_PASS_COPIES as u64).next_multiple_of(10);
    assert!(sent(&world) <= at_once, "{}", sent(&world));
    assert!(world.metrics.pipe_drops.value() > 0);
    for _ in 0..4 {
        play(&mut world, &mut subscribers.iter_mut().collect::<Vec<_>>());
    }
    let kept = flood as u64 - world.metrics.pipe_drops.value();
    let expected: Vec<_> = (0..kept).map(|number| text(&format!("from afar: {number}"))).collect();
    for subscriber in &mut subscribers {
        assert!(subscriber.sctp().heard() == expected, "the first {kept}, in order");
    }
    assert_eq!(world.events(), [], "its home reports");
    world.command(Command::SetTrackRelayed(TrackId(1), false));
    world.command(Command::SendPipedData(TrackId(1), message("muted".to_owned())));
    world.command(Command::RemoveTrack(TrackId(1)));
    assert_eq!(
        (world.metrics.tracks.value(), world.metrics.subscriptions.value()),
        (0, 0)
    );
    let first = &mut subscribers[0];
    play(&mut world, &mut [first]);
    assert_eq!(first.sctp().heard(), []);
}

#[test]
fn a_sender_pays_for_subscribers_on_other_workers_too() {
    let passed = |far_subscriptions| {
        let mut world = World::new();
        let mut publisher = connect(&mut world, 1);
        add_track(&mut world, publisher.transport(), 1, false);
        let mut subscriber = connect(&mut world, 2);
        subscribe(&mut world, 10, 1, subscriber.transport(), "");
        let reach = DataReach {
            is_reported: false,
            far_subscriptions,
        };
        world.command(Command::SetDataReach(TrackId(1), reach));
        for _ in 0..30 {
            publisher.sctp().send(0, Ppi::Binary, &[7; 16_000]);
        }
        play(&mut world, &mut [&mut publisher, &mut subscriber]);
        subscriber.sctp().heard().len()
    };
    assert_eq!(passed(0), 30);
    assert!((5..20).contains(&passed(99)), "{} in 0.8 s", passed(99));
}

#[test]
fn a_transport_that_closes_takes_its_data_along() {
    let mut world = World::new();
    let publisher = connect(&mut world, 1);
    let subscriber = connect(&mut world, 2);
    add_track(&mut world, publisher.transport(), 1, false);
    subscribe(&mut world, 11, 1, subscriber.transport(), "");
    world.command(Command::CloseTransport(subscriber.transport()));
    assert_eq!(
        (world.metrics.tracks.value(), world.metrics.subscriptions.value()),
        (1, 0)
    );
    world.command(Command::CloseTransport(publisher.transport()));
    assert_eq!(
        (world.metrics.tracks.value(), world.metrics.subscriptions.value()),
        (0, 0)
    );
    assert_eq!(world.metrics.transport.data_bytes.value(), 0);
}

#[test]
fn data_commands_for_what_is_not_there_are_ignored_and_counted() {
    let mut world = World::new();
    let leg = world.leg(1);
    add_track(&mut world, leg.transport(), 1, false);
    add_track(&mut world, TransportId(9), 1, false);
    subscribe(&mut world, 11, 1, leg.transport(), "");
    world.command(Command::OpenData(TransportId(9), 1));
    world.command(Command::RemoveTrack(TrackId(1)));
    world.command(Command::RemoveSubscription(SubscriptionId(11)));
    assert_eq!(world.metrics.ignored_commands.value(), 6);
}
