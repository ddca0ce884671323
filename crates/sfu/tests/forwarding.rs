//! What subscribers hear: continuous numbers whatever happens at the source.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{DELTA_FRAME, KEY_FRAME, Leg, Rtp, World, audio, ms, subscription, video};
use voex_base::{SubscriptionId, TrackId};
use voex_sfu::command::{EncodingSpec, Extensions, SpeechRule};
use voex_sfu::{Command, DropReason, Event};

/// A speaker on leg 1 with track 1, and listeners on legs 2 and up.
fn room(listeners: u64) -> (World, Leg, Vec<Leg>) {
    let mut world = World::new();
    let speaker = world.leg(1);
    world.audio_track(speaker, 1);
    let listeners: Vec<_> = (2..2 + listeners)
        .map(|number| {
            let leg = world.leg(number);
            world.subscribe(subscription(number * 100, 1, leg));
            leg
        })
        .collect();
    (world, speaker, listeners)
}

fn speak(world: &mut World, speaker: Leg, sequence: u16) {
    let timestamp = u32::from(sequence) * 160;
    world.rtp(speaker, &Rtp::new(0, 77, sequence, timestamp)).unwrap();
    world.advance(ms(20));
}

#[test]
fn every_listener_hears_each_packet_once_under_its_own_ssrc() {
    let (mut world, speaker, listeners) = room(3);
    for sequence in 10..13 {
        speak(&mut world, speaker, sequence);
    }
    for leg in &listeners {
        let heard = world.heard(*leg);
        assert_eq!(heard.len(), 3);
        let (first, start) = heard[0].numbers();
        for (n, packet) in heard.iter().enumerate() {
            assert_eq!(packet.ssrc, leg.0 as u32 * 100);
            assert_eq!(packet.payload, vec![10 + n as u8; 20]);
            assert_eq!(packet.numbers(), (first + n as u16, start.wrapping_add(160 * n as u32)));
        }
    }
    assert_eq!(world.heard(speaker), [], "nobody hears himself");
    assert_eq!(world.metrics.forwarded_packets.value(), 9);
    assert_eq!(world.metrics.received_packets.value(), 3);
}

#[test]
fn a_lost_packet_is_a_gap_and_a_late_one_fills_it_and_a_duplicate_is_dropped() {
    let (mut world, speaker, listeners) = room(1);
    for sequence in [10, 12, 11] {
        speak(&mut world, speaker, sequence);
    }
    let again = world.rtp(speaker, &Rtp::new(0, 77, 11, 1_760));
    assert_eq!(again, Err(DropReason::Duplicate));
    let heard: Vec<_> = world.heard(listeners[0]).iter().map(|packet| packet.sequence).collect();
    assert_eq!(heard, [heard[0], heard[0] + 2, heard[0] + 1]);
}

#[test]
fn a_pause_leaves_no_gap_in_sequence_numbers_and_the_true_one_in_time() {
    let (mut world, speaker, listeners) = room(1);
    speak(&mut world, speaker, 10);
    world.command(Command::SetSubscriptionActive(SubscriptionId(200), false));
    for sequence in 11..61 {
        speak(&mut world, speaker, sequence);
    }
    world.command(Command::SetSubscriptionActive(SubscriptionId(200), true));
    speak(&mut world, speaker, 61);
    let heard = world.heard(listeners[0]);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].sequence, heard[0].sequence + 1);
    assert_eq!(heard[1].timestamp.wrapping_sub(heard[0].timestamp), 51 * 160);
}

#[test]
fn another_ssrc_of_the_same_medium_goes_on_behind_the_first() {
    let (mut world, speaker, listeners) = room(1);
    speak(&mut world, speaker, 10);
    world.rtp(speaker, &Rtp::new(0, 88, 50_000, 7)).unwrap();
    let heard = world.heard(listeners[0]);
    assert_eq!(heard[1].sequence, heard[0].sequence + 1);
    assert_eq!(heard[1].timestamp.wrapping_sub(heard[0].timestamp), 160, "20 ms later");
    assert_eq!(heard[1].payload, vec![80; 20]);
}

#[test]
fn ssrcs_that_take_turns_are_not_followed() {
    let (mut world, speaker, _) = room(1);
    speak(&mut world, speaker, 10);
    world.rtp(speaker, &Rtp::new(0, 88, 1, 1)).unwrap();
    let back = world.rtp(speaker, &Rtp::new(0, 77, 11, 1_760));
    assert_eq!(back, Err(DropReason::UnknownSsrc));
    world.rtp(speaker, &Rtp::new(0, 88, 2, 161)).unwrap();
}

#[test]
fn a_source_that_starts_again_with_the_same_ssrc_is_followed_from_its_second_packet() {
    let (mut world, speaker, listeners) = room(1);
    speak(&mut world, speaker, 60_000);
    assert_eq!(
        world.rtp(speaker, &Rtp::new(0, 77, 5, 800)),
        Err(DropReason::SequenceJump)
    );
    speak(&mut world, speaker, 6);
    let heard = world.heard(listeners[0]);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].sequence, heard[0].sequence + 1);
}

#[test]
fn a_subscription_moved_to_another_track_goes_on_behind_its_numbers() {
    let (mut world, speaker, listeners) = room(1);
    let other = world.leg(9);
    world.audio_track(other, 9);
    speak(&mut world, speaker, 10);
    world.subscribe(subscription(200, 9, listeners[0]));
    speak(&mut world, speaker, 11);
    world.rtp(other, &Rtp::new(8, 5, 40_000, 9)).unwrap();
    let heard = world.heard(listeners[0]);
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[1].payload_type, heard[1].sequence), (8, heard[0].sequence + 1));
    assert_eq!(world.metrics.subscriptions.value(), 1);
}

#[test]
fn a_new_track_under_the_same_outgoing_ssrc_goes_on_behind_the_old_one() {
    let (mut world, speaker, listeners) = room(1);
    speak(&mut world, speaker, 10);
    world.command(Command::RemoveTrack(TrackId(1)));
    assert_eq!(world.metrics.subscriptions.value(), 0);
    world.audio_track(speaker, 2);
    let mut spec = subscription(201, 2, listeners[0]);
    spec.ssrc = 200;
    world.subscribe(spec);
    world.rtp(speaker, &Rtp::new(0, 99, 1, 1)).unwrap();
    let heard = world.heard(listeners[0]);
    assert_eq!((heard[1].ssrc, heard[1].sequence), (200, heard[0].sequence + 1));
}

#[test]
fn payload_types_are_mapped_and_those_not_mapped_leave_no_gap() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    world.audio_track(speaker, 1);
    let mut spec = subscription(200, 1, listener);
    spec.payloads = vec![(8, 108, None)];
    world.subscribe(spec);
    for (sequence, payload_type) in [(1, 8), (2, 101), (3, 0), (4, 8)] {
        world.rtp(speaker, &Rtp::new(payload_type, 77, sequence, 160)).unwrap();
    }
    let heard = world.heard(listener);
    let types: Vec<_> = heard.iter().map(|packet| packet.payload_type).collect();
    assert_eq!(types, [108, 108]);
    assert_eq!(heard[1].sequence, heard[0].sequence + 1);
    let unknown = world.rtp(speaker, &Rtp::new(3, 77, 5, 160));
    assert_eq!(unknown, Err(DropReason::UnknownPayloadType));
}

#[test]
fn header_extensions_leave_under_the_listeners_ids_and_others_are_dropped() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    let mut track = audio(speaker, 1);
    track.extensions = Extensions {
        audio_level: Some(1),
        video_orientation: Some(2),
        playout_delay: Some(3),
        ..Extensions::default()
    };
    world.track(track);
    let mut spec = subscription(200, 1, listener);
    spec.mid = "m5".to_owned();
    spec.extensions = Extensions {
        mid: Some(4),
        audio_level: Some(11),
        playout_delay: Some(12),
        abs_send_time: Some(13),
        transport_cc: Some(14),
        ..Extensions::default()
    };
    world.subscribe(spec);
    let packet = Rtp::new(0, 77, 1, 160)
        .with_extension(1, &[0x85])
        .with_extension(2, &[1])
        .with_extension(3, &[7, 8, 9])
        .with_extension(9, b"private");
    world.rtp(speaker, &packet).unwrap();
    world.rtp(speaker, &Rtp::new(0, 77, 2, 320)).unwrap();
    let heard = world.heard(listener);
    // 1,700,000,000 s + 2,208,988,800 s is a multiple of 64 s: the six integer bits are zero, and so is the fraction.
    let expected = [
        (4, b"m5".to_vec()),
        (14, vec![0, 1]),
        (13, vec![0, 0, 0]),
        (11, vec![0x85]),
        (12, vec![7, 8, 9]),
    ];
    assert_eq!(heard[0].extensions, expected);
    assert_eq!(heard[1].extensions[..2], [(4, b"m5".to_vec()), (14, vec![0, 2])]);
    assert_eq!(heard[1].extensions.len(), 3);
    assert_eq!(heard[0].payload, vec![1; 20]);
}

#[test]
fn ids_above_fourteen_take_the_two_byte_form() {
    let (mut world, speaker, _) = room(0);
    let listener = world.leg(2);
    let mut spec = subscription(200, 1, listener);
    spec.mid = "x".to_owned();
    spec.extensions.mid = Some(200);
    world.subscribe(spec);
    speak(&mut world, speaker, 1);
    assert_eq!(world.heard(listener)[0].extensions, [(200, b"x".to_vec())]);
}

#[test]
fn video_starts_with_a_key_frame_and_audio_at_once() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    world.video_track(speaker, 1);
    world.subscribe(subscription(200, 1, listener));
    let frame = |sequence, payload| Rtp::new(96, 77, sequence, 3_000 * u32::from(sequence)).with_payload(payload);
    world.rtp(speaker, &frame(1, DELTA_FRAME)).unwrap();
    assert_eq!(world.heard(listener), []);
    world.rtp(speaker, &frame(2, KEY_FRAME)).unwrap();
    world.rtp(speaker, &frame(3, DELTA_FRAME)).unwrap();
    let heard = world.heard(listener);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].payload, KEY_FRAME);
}

#[test]
fn a_track_not_relayed_is_silent_and_comes_back_with_a_key_frame() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    world.track(video(speaker, 1));
    world.subscribe(subscription(200, 1, listener));
    let frame = |sequence, payload| Rtp::new(96, 77, sequence, 3_000 * u32::from(sequence)).with_payload(payload);
    world.rtp(speaker, &frame(1, KEY_FRAME)).unwrap();
    world.command(Command::SetTrackRelayed(TrackId(1), false));
    world.rtp(speaker, &frame(2, KEY_FRAME)).unwrap();
    world.command(Command::SetTrackRelayed(TrackId(1), true));
    world.rtp(speaker, &frame(3, DELTA_FRAME)).unwrap();
    world.rtp(speaker, &frame(4, KEY_FRAME)).unwrap();
    let heard = world.heard(listener);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].sequence, heard[0].sequence + 1);
    assert_eq!(heard[1].timestamp.wrapping_sub(heard[0].timestamp), 9_000);
}

#[test]
fn who_talks_is_told_by_the_levels_of_what_is_relayed() {
    let mut world = World::new();
    let (speaker, _) = (world.leg(1), world.leg(2));
    let mut track = audio(speaker, 1);
    track.extensions.audio_level = Some(1);
    world.track(track);
    let mut sequence = 0;
    let mut say = |world: &mut World, level: u8| {
        sequence += 1;
        let packet = Rtp::new(0, 77, sequence, 160 * u32::from(sequence)).with_extension(1, &[level]);
        world.rtp(speaker, &packet).unwrap();
        let events = world.events().into_iter();
        let told = events.filter_map(|event| match event {
            Event::Speech(TrackId(1), speech) => Some((speech.is_talking, speech.level())),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    // Nobody asked.
    assert_eq!(say(&mut world, 5), []);
    let rule = SpeechRule { packets: 2, level: 25 };
    world.command(Command::SetTrackSpeech(TrackId(1), rule));
    assert_eq!([say(&mut world, 10), say(&mut world, 30)], [vec![], vec![(true, 20.0)]]);
    // What nobody hears is not measured.
    world.command(Command::SetTrackRelayed(TrackId(1), false));
    assert_eq!([say(&mut world, 127), say(&mut world, 127)], [vec![], vec![]]);
    world.command(Command::SetTrackRelayed(TrackId(1), true));
    assert_eq!(
        [say(&mut world, 100), say(&mut world, 101)],
        [vec![], vec![(false, 100.5)]]
    );
}

#[test]
fn probes_without_payload_reach_nobody_and_leave_no_gap() {
    let (mut world, speaker, listeners) = room(1);
    speak(&mut world, speaker, 1);
    let probe = world.rtp(speaker, &Rtp::new(0, 77, 2, 320).with_payload(&[]));
    assert_eq!(probe, Err(DropReason::Empty));
    speak(&mut world, speaker, 3);
    let heard = world.heard(listeners[0]);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].sequence, heard[0].sequence + 1);
}

#[test]
fn a_declared_ssrc_tells_tracks_with_the_same_payload_type_apart() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    for track in [1, 2] {
        let mut spec = audio(speaker, track);
        spec.encodings = vec![EncodingSpec {
            rid: String::new(),
            ssrc: Some((1_000 + track as u32, None)),
        }];
        world.track(spec);
        world.subscribe(subscription(200 + track, track, listener));
    }
    world.rtp(speaker, &Rtp::new(0, 1_002, 1, 1)).unwrap();
    assert_eq!(world.heard(listener)[0].ssrc, 202);
    assert_eq!(world.rtp(speaker, &Rtp::new(0, 5, 1, 1)), Err(DropReason::UnknownSsrc));
}

#[test]
fn mid_places_an_unknown_ssrc_and_is_remembered() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    for (track, mid) in [(1, "a"), (2, "b")] {
        let mut spec = audio(speaker, track);
        spec.mid = mid.to_owned();
        spec.extensions.mid = Some(4);
        world.track(spec);
        world.subscribe(subscription(200 + track, track, listener));
    }
    world
        .rtp(speaker, &Rtp::new(0, 5, 1, 1).with_extension(4, b"b"))
        .unwrap();
    world.rtp(speaker, &Rtp::new(0, 5, 2, 1)).unwrap();
    let heard: Vec<_> = world.heard(listener).iter().map(|packet| packet.ssrc).collect();
    assert_eq!(heard, [202, 202]);
    let stranger = world.rtp(speaker, &Rtp::new(0, 6, 1, 1).with_extension(4, b"c"));
    assert_eq!(stranger, Err(DropReason::UnknownSsrc));
}

#[test]
fn receiving_and_silence_are_told_once_each() {
    let (mut world, speaker, _) = room(1);
    speak(&mut world, speaker, 1);
    speak(&mut world, speaker, 2);
    assert_eq!(world.events(), [Event::TrackReceiving(TrackId(1))]);
    world.advance(ms(2_000));
    assert_eq!(world.events(), [Event::TrackSilent(TrackId(1), ms(1_000))]);
    speak(&mut world, speaker, 3);
    assert_eq!(world.events(), [Event::TrackReceiving(TrackId(1))]);
}

#[test]
fn closing_a_transport_ends_what_hangs_on_it() {
    let (mut world, speaker, listeners) = room(2);
    speak(&mut world, speaker, 1);
    world.command(Command::CloseTransport(listeners[0].transport()));
    assert_eq!(world.metrics.subscriptions.value(), 1);
    world.forget();
    speak(&mut world, speaker, 2);
    assert_eq!(world.heard(listeners[0]), []);
    assert_eq!(world.heard(listeners[1]).len(), 1);
    world.command(Command::CloseTransport(speaker.transport()));
    let gauges = [
        &world.metrics.transports,
        &world.metrics.tracks,
        &world.metrics.subscriptions,
    ];
    assert_eq!(gauges.map(|gauge| gauge.value()), [1, 0, 0]);
    assert_eq!(
        world.rtp(speaker, &Rtp::new(0, 77, 3, 1)),
        Err(DropReason::UnknownSource)
    );
}

#[test]
fn commands_with_unknown_ids_are_counted_and_change_nothing() {
    let (mut world, ..) = room(1);
    for command in [
        Command::RemoveTrack(TrackId(99)),
        Command::RemoveSubscription(SubscriptionId(99)),
        Command::CloseTransport(Leg(99).transport()),
        Command::RequestKeyFrame(TrackId(99)),
        Command::AddSubscription(Box::new(subscription(300, 99, Leg(1)))),
        Command::AddTrack(Box::new(audio(Leg(99), 3))),
    ] {
        world.command(command);
    }
    assert_eq!(world.metrics.ignored_commands.value(), 6);
    assert_eq!(world.metrics.tracks.value(), 1);
}
