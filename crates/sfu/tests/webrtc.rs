//! WebRTC transports: real ICE, DTLS and SRTP on both sides.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::browser::{Browser, MEDIA_SOCKET};
use common::{DELTA_FRAME, KEY_FRAME, OPUS, Rtp, VIDEO_FEEDBACK, World, audio, compound, ms, subscription};
use voex_base::{SubscriptionId, TrackId};
use voex_sfu::command::{DownReason, Extensions, MediaKind, SubscriptionSpec, TrackSpec};
use voex_sfu::{Command, DropReason, Event};

fn connect(world: &mut World, number: u64) -> Browser {
    Browser::connect(number, &mut world.shard, world.now, world.wall, &mut world.out)
}

fn track(browser: &Browser, id: u64, mid: &str, kind: MediaKind) -> TrackSpec {
    let video = kind == MediaKind::Video;
    TrackSpec {
        id: TrackId(id),
        transport: browser.transport(),
        mid: mid.to_owned(),
        kind,
        payloads: vec![if video { common::VP8 } else { OPUS }],
        encodings: Vec::new(),
        extensions: Extensions {
            mid: Some(4),
            ..Extensions::default()
        },
        feedback: if video { VIDEO_FEEDBACK } else { <_>::default() },
    }
}

fn stream(id: u64, track: u64, browser: &Browser) -> SubscriptionSpec {
    let mut spec = subscription(id, track, common::Leg(browser.number));
    spec.mid = format!("m{track}");
    spec.extensions.mid = Some(4);
    spec.rtx_ssrc = Some(id as u32 + 1_000);
    spec
}

fn send(world: &mut World, browser: &mut Browser, packet: &Rtp) -> Result<(), DropReason> {
    let data = browser.protect_rtp(&packet.bytes());
    world.datagram(MEDIA_SOCKET, browser.address, &data)
}

fn heard(world: &mut World, browser: &mut Browser) -> Vec<Rtp> {
    let (rtp, _) = browser.heard(&mut world.out);
    rtp.iter().map(|data| Rtp::parse(data)).collect()
}

/// Browser 1 publishes audio (track 1, mid 0) and video (track 2, mid 1); browser 2 subscribes to both.
fn meeting() -> (World, Browser, Browser) {
    let mut world = World::new();
    let publisher = connect(&mut world, 1);
    let subscriber = connect(&mut world, 2);
    world.track(track(&publisher, 1, "0", MediaKind::Audio));
    world.track(track(&publisher, 2, "1", MediaKind::Video));
    world.subscribe(stream(201, 1, &subscriber));
    world.subscribe(stream(202, 2, &subscriber));
    (world, publisher, subscriber)
}

#[test]
fn audio_and_video_of_a_bundle_reach_a_subscriber() {
    let (mut world, mut publisher, mut subscriber) = meeting();
    let voice = Rtp::new(111, 71, 1, 960).with_extension(4, b"0");
    let frame = Rtp::new(96, 72, 1, 3_000)
        .with_extension(4, b"1")
        .with_payload(KEY_FRAME);
    send(&mut world, &mut publisher, &voice).unwrap();
    send(&mut world, &mut publisher, &frame).unwrap();
    let heard = heard(&mut world, &mut subscriber);
    assert_eq!((heard[0].ssrc, heard[0].payload_type), (201, 111));
    assert_eq!(heard[0].extensions, [(4, b"m1".to_vec())]);
    assert_eq!((heard[1].ssrc, heard[1].payload_type), (202, 96));
    assert_eq!(heard[1].payload, KEY_FRAME);
}

#[test]
fn media_that_come_before_a_nomination_are_told_of_behind_their_transport() {
    let mut world = World::new();
    let mut publisher = Browser::new(1, world.now);
    publisher.open(&mut world.shard, world.now, &mut world.out);
    world.track(track(&publisher, 1, "0", MediaKind::Audio));
    publisher
        .check_with(false, &mut world.shard, world.now, world.wall, &mut world.out)
        .unwrap();
    publisher.shake_hands(&mut world.shard, world.now, world.wall, &mut world.out);
    let voice = Rtp::new(111, 71, 1, 960).with_extension(4, b"0");
    send(&mut world, &mut publisher, &voice).unwrap();
    let transport = publisher.transport();
    let told = [Event::TransportUp(transport), Event::TrackReceiving(TrackId(1))];
    assert_eq!(world.events(), told);
}

#[test]
fn a_subscription_made_before_its_transport_is_up_flows_once_it_is() {
    let mut world = World::new();
    let mut publisher = connect(&mut world, 1);
    world.track(track(&publisher, 2, "1", MediaKind::Video));
    let frame = |sequence, payload| {
        let packet = Rtp::new(96, 72, sequence, 3_000);
        packet.with_extension(4, b"1").with_payload(payload)
    };
    let early = Browser::new(2, world.now);
    early.open(&mut world.shard, world.now, &mut world.out);
    world.subscribe(stream(202, 2, &early));
    send(&mut world, &mut publisher, &frame(1, KEY_FRAME)).unwrap();
    world.command(Command::CloseTransport(early.transport()));
    assert_eq!(world.drops(DropReason::Protect), 0);

    let mut subscriber = connect(&mut world, 3);
    world.subscribe(stream(302, 2, &subscriber));
    send(&mut world, &mut publisher, &frame(2, DELTA_FRAME)).unwrap();
    send(&mut world, &mut publisher, &frame(3, KEY_FRAME)).unwrap();
    assert_eq!(heard(&mut world, &mut subscriber).len(), 1);
}

#[test]
fn a_nack_over_srtcp_is_answered_by_rtx_over_srtp() {
    let (mut world, mut publisher, mut subscriber) = meeting();
    let frame = Rtp::new(96, 72, 1, 3_000)
        .with_extension(4, b"1")
        .with_payload(KEY_FRAME);
    send(&mut world, &mut publisher, &frame).unwrap();
    let sent = heard(&mut world, &mut subscriber)[0].clone();
    let nack = compound(|w| {
        w.receiver_report(9, &[]).unwrap();
        w.nack(9, 202, [(sent.sequence, 0)].into_iter()).unwrap();
    });
    let nack = subscriber.protect_rtcp(&nack);
    world.datagram(MEDIA_SOCKET, subscriber.address, &nack).unwrap();
    let again = heard(&mut world, &mut subscriber);
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].ssrc, again[0].payload_type), (1_202, 97));
    assert_eq!(again[0].payload, [&sent.sequence.to_be_bytes()[..], KEY_FRAME].concat());
}

#[test]
fn a_key_frame_wish_reaches_the_publisher() {
    let (mut world, mut publisher, subscriber) = meeting();
    let frame = Rtp::new(96, 72, 1, 3_000)
        .with_extension(4, b"1")
        .with_payload(DELTA_FRAME);
    send(&mut world, &mut publisher, &frame).unwrap();
    world.advance(ms(500));
    let (_, rtcp) = publisher.heard(&mut world.out);
    assert!(common::told(&rtcp).contains(&"pli 72".to_owned()));
    drop(subscriber);
}

#[test]
fn a_browser_talks_with_a_telephone() {
    let mut world = World::new();
    let mut browser = connect(&mut world, 1);
    let phone = world.leg(20);
    let mut from_browser = track(&browser, 1, "0", MediaKind::Audio);
    from_browser.payloads = audio(phone, 1).payloads;
    world.track(from_browser);
    world.audio_track(phone, 2);
    world.subscribe(subscription(2_001, 1, phone));
    world.subscribe(stream(101, 2, &browser));

    let voice = Rtp::new(8, 71, 1, 160).with_extension(4, b"0");
    send(&mut world, &mut browser, &voice).unwrap();
    world
        .rtp(phone, &Rtp::new(8, 5, 30_000, 160).with_payload(b"ring"))
        .unwrap();

    let at_phone = world.heard(phone);
    assert_eq!((at_phone[0].payload_type, at_phone[0].extensions.len()), (8, 0));
    let at_browser = heard(&mut world, &mut browser);
    assert_eq!((at_browser[0].ssrc, &at_browser[0].payload[..]), (101, &b"ring"[..]));
}

#[test]
fn numbers_of_a_stream_never_repeat_however_often_it_is_taken_down_and_set_up() {
    let (mut world, mut publisher, mut subscriber) = meeting();
    let mut sequence = 0;
    let mut all = Vec::new();
    for round in 0..20 {
        for _ in 0..3 {
            sequence += 1;
            let voice = Rtp::new(111, 71, sequence, 960).with_extension(4, b"0");
            send(&mut world, &mut publisher, &voice).unwrap();
        }
        let ssrc_201 = heard(&mut world, &mut subscriber)
            .into_iter()
            .filter(|packet| packet.ssrc == 201);
        all.extend(ssrc_201.map(|packet| packet.sequence));
        world.command(Command::RemoveSubscription(SubscriptionId(201 + round * 10)));
        let mut spec = stream(201, 1, &subscriber);
        spec.id = SubscriptionId(201 + (round + 1) * 10);
        world.subscribe(spec);
    }
    assert_eq!(all.len(), 60);
    assert!(all.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{all:?}");
    assert_eq!(world.drops(DropReason::Protect), 0);
}

#[test]
fn a_check_from_the_forged_address_of_another_costs_it_one_packet() {
    let (mut world, mut publisher, mut subscriber) = meeting();
    let mut intruder = Browser::new(3, world.now);
    intruder.open(&mut world.shard, world.now, &mut world.out);
    intruder.address = publisher.address;
    intruder
        .check(&mut world.shard, world.now, world.wall, &mut world.out)
        .unwrap();
    world.forget();

    let packet = |sequence| Rtp::new(111, 5, sequence, 960 * u32::from(sequence)).with_extension(4, b"0");
    assert_eq!(send(&mut world, &mut publisher, &packet(1)), Err(DropReason::Transport));
    for sequence in 2..5 {
        assert_eq!(send(&mut world, &mut publisher, &packet(sequence)), Ok(()));
    }
    assert_eq!(heard(&mut world, &mut subscriber).len(), 3);
}

#[test]
fn a_browser_that_closes_takes_its_tracks_and_subscriptions_along() {
    let (mut world, mut publisher, _subscriber) = meeting();
    for mut data in publisher.close() {
        let _ = world.shard.handle_datagram(
            world.now,
            world.wall,
            MEDIA_SOCKET,
            publisher.address,
            &mut data,
            &mut world.out,
        );
    }
    assert_eq!(
        world.events(),
        [Event::TransportDown(publisher.transport(), DownReason::DtlsAlert)]
    );
    let gauges = [
        &world.metrics.transports,
        &world.metrics.tracks,
        &world.metrics.subscriptions,
    ];
    assert_eq!(gauges.map(|gauge| gauge.value()), [1, 0, 0]);
    let voice = Rtp::new(111, 71, 1, 960).with_extension(4, b"0");
    assert_eq!(send(&mut world, &mut publisher, &voice), Err(DropReason::UnknownSource));
}

#[test]
fn a_browser_that_falls_silent_is_taken_down_after_its_consent() {
    let (mut world, publisher, mut subscriber) = meeting();
    for _ in 0..12 {
        world.advance(ms(5_000));
        subscriber
            .check(&mut world.shard, world.now, world.wall, &mut world.out)
            .unwrap();
    }
    assert_eq!(
        world.events(),
        [Event::TransportDown(publisher.transport(), DownReason::IceFailed)]
    );
}

#[test]
fn a_new_call_from_the_port_of_an_old_one_finds_its_own_transport() {
    let mut world = World::new();
    let first = connect(&mut world, 1);
    let mut second = Browser::new(2, world.now);
    second.address = first.address;
    second.open(&mut world.shard, world.now, &mut world.out);
    second
        .check(&mut world.shard, world.now, world.wall, &mut world.out)
        .unwrap();
    assert_eq!(world.metrics.transport.ice_checks.value(), 2);
    assert_eq!(world.metrics.transport.ice_errors.value(), 0);
}

#[test]
fn strangers_on_the_media_socket_are_dropped_by_reason() {
    let (mut world, _publisher, _subscriber) = meeting();
    let stranger = "203.0.113.1:9".parse().unwrap();
    let rtp = Rtp::new(111, 71, 1, 960).bytes();
    assert_eq!(
        world.datagram(MEDIA_SOCKET, stranger, &rtp),
        Err(DropReason::UnknownSource)
    );
    assert_eq!(
        world.datagram(MEDIA_SOCKET, stranger, &[]),
        Err(DropReason::UnknownSource)
    );
    let mut lost = Browser::new(77, world.now);
    lost.address = stranger;
    let checked = lost.check(&mut world.shard, world.now, world.wall, &mut world.out);
    assert_eq!(checked, Err(DropReason::UnknownSource), "a user name of nobody here");
    assert_eq!(world.drops(DropReason::UnknownSource), 3);
}

#[test]
fn forged_srtp_from_a_known_address_changes_nothing() {
    let (mut world, mut publisher, mut subscriber) = meeting();
    let forged = Rtp::new(111, 71, 5, 960).with_extension(4, b"0").bytes();
    let refused = world.datagram(MEDIA_SOCKET, publisher.address, &[&forged[..], &[0; 16]].concat());
    assert_eq!(refused, Err(DropReason::Transport));
    let voice = Rtp::new(111, 71, 1, 960).with_extension(4, b"0");
    let data = publisher.protect_rtp(&voice.bytes());
    world.datagram(MEDIA_SOCKET, publisher.address, &data).unwrap();
    let replayed = world.datagram(MEDIA_SOCKET, publisher.address, &data);
    assert_eq!(replayed, Err(DropReason::Transport));
    assert_eq!(heard(&mut world, &mut subscriber).len(), 1);
}
