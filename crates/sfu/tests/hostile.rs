//! Input made to harm: nothing panics, grows or stops others.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{KEY_FRAME, Leg, Rtp, World, ms, subscription, video};
use proptest::prelude::*;
use voex_base::Rng;
use voex_sfu::DropReason;
use voex_sfu::command::{Codec, EncodingSpec, Layers, Payload};

/// A camera on leg 1, watched from leg 2 with RTX.
fn watched() -> (World, Leg, Leg) {
    let mut world = World::new();
    let (camera, screen) = (world.leg(1), world.leg(2));
    let mut spec = video(camera, 1);
    spec.extensions.mid = Some(4);
    spec.extensions.transport_cc = Some(5);
    spec.feedback.transport_cc = true;
    world.track(spec);
    let mut spec = subscription(200, 1, screen);
    spec.rtx_ssrc = Some(201);
    world.subscribe(spec);
    world
        .rtp(camera, &Rtp::new(96, 77, 1, 3_000).with_payload(KEY_FRAME))
        .unwrap();
    (world, camera, screen)
}

#[test]
fn a_call_survives_every_truncation_of_its_own_packets() {
    let (mut world, camera, screen) = watched();
    let packet = Rtp::new(96, 77, 2, 6_000)
        .with_extension(5, &[0, 1])
        .with_payload(KEY_FRAME)
        .bytes();
    let report = common::compound(|w| {
        w.receiver_report(9, &[<_>::default(); 2]).unwrap();
        w.nack(9, 200, [(1, 0xffff)].into_iter()).unwrap();
    });
    for length in 0..packet.len() {
        let _ = world.datagram(camera.rtp_socket(), camera.rtp(), &packet[..length]);
    }
    for length in 0..report.len() {
        let _ = world.datagram(screen.rtcp_socket(), screen.rtcp(), &report[..length]);
    }
    world.forget();
    world
        .rtp(camera, &Rtp::new(96, 77, 3, 9_000).with_payload(KEY_FRAME))
        .unwrap();
    assert_eq!(world.heard(screen).len(), 1);
}

#[test]
fn a_flood_of_random_bytes_is_counted_by_reason_and_the_call_goes_on() {
    let (mut world, camera, screen) = watched();
    let mut rng = Rng::from_number(7);
    let sockets = [
        camera.rtp_socket(),
        camera.rtcp_socket(),
        screen.rtcp_socket(),
        common::browser::MEDIA_SOCKET,
    ];
    let mut dropped = 0;
    for n in 0..20_000 {
        let mut data = vec![0; rng.below(200) as usize];
        rng.fill(&mut data);
        if let Some(first) = data.first_mut().filter(|_| n % 2 == 0) {
            *first = 0x80 | (*first & 0x3f);
        }
        let from = if rng.below(4) == 0 {
            "203.0.113.9:9".parse().unwrap()
        } else {
            camera.rtp()
        };
        let socket = sockets[rng.below(4) as usize];
        dropped += u64::from(world.datagram(socket, from, &data).is_err());
        if n % 100 == 0 {
            world.advance(ms(5));
            world.forget();
        }
    }
    let counted: u64 = world.metrics.drops.values().map(|(_, count)| count).sum();
    assert_eq!(counted, dropped);
    world.advance(ms(1_000));
    world.forget();
    // Random packets may have become the source; the camera takes its track back.
    for sequence in 10..13 {
        let _ = world.rtp(camera, &Rtp::new(96, 77, sequence, 9_000).with_payload(KEY_FRAME));
    }
    assert!(!world.heard(screen).is_empty());
}

#[test]
fn a_flood_of_ssrcs_does_not_grow_the_shard_or_displace_a_declared_source() {
    let mut world = World::new();
    let (camera, screen) = (world.leg(1), world.leg(2));
    let mut spec = video(camera, 1);
    spec.encodings = vec![EncodingSpec {
        rid: String::new(),
        ssrc: Some((77, Some(78))),
    }];
    world.track(spec);
    world.subscribe(subscription(200, 1, screen));
    for ssrc in 1_000..3_000 {
        let _ = world.rtp(camera, &Rtp::new(96, ssrc, 1, 1).with_payload(KEY_FRAME));
    }
    assert!(world.drops(DropReason::UnknownSsrc) > 1_990);
    world.advance(ms(300));
    world.forget();
    world
        .rtp(camera, &Rtp::new(96, 77, 1, 1).with_payload(KEY_FRAME))
        .unwrap();
    assert_eq!(world.heard(screen).len(), 1);
}

#[test]
fn one_hostile_report_costs_at_most_a_burst_of_retransmissions() {
    let (mut world, camera, screen) = watched();
    for sequence in 2..500 {
        world
            .rtp(camera, &Rtp::new(96, 77, sequence, 3_000).with_payload(KEY_FRAME))
            .unwrap();
    }
    let first = world.heard(screen)[0].sequence;
    world.rtcp(screen, |w| {
        let pairs = (0..30).map(|n| (first.wrapping_add(n * 17), 0xffff));
        w.nack(9, 200, pairs).unwrap();
    });
    let resent = world.heard(screen).len();
    assert_eq!(resent, voex_sfu::limits::RESEND_BURST_PACKETS as usize);
}

#[test]
fn timers_come_to_rest_when_nothing_happens() {
    let (mut world, ..) = watched();
    world.advance(ms(20_000));
    let mut wakes = 0;
    let end = world.now + ms(10_000);
    while let Some(at) = world.shard.poll_timeout().filter(|at| *at <= end) {
        world.advance(at - world.now);
        wakes += 1;
        assert!(wakes < 100, "more than a report a second for each of two legs");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_of_packets_keeps_outgoing_numbers_unique(
        steps in prop::collection::vec((-40_i32..60, 0_u8..10), 1..300),
    ) {
        let (mut world, camera, screen) = watched();
        let mut sequence = 100_i32;
        for (step, act) in steps {
            sequence += step;
            let packet = Rtp::new(96, 77, sequence as u16, 3_000).with_payload(KEY_FRAME);
            let _ = world.rtp(camera, &packet);
            match act {
                0 | 1 => world.command(voex_sfu::Command::SetSubscriptionActive(voex_base::SubscriptionId(200), act == 0)),
                2 => drop(world.rtp(camera, &Rtp::new(96, 77, (sequence + 1) as u16, 3_000).with_payload(&[]))),
                3 => world.advance(ms(30)),
                _ => {}
            }
        }
        let mut numbers: Vec<_> = world.heard(screen).iter().map(|packet| packet.sequence).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), count);
    }

    #[test]
    fn any_descriptors_of_any_encoding_keep_outgoing_numbers_unique(
        packets in prop::collection::vec((0_u32..3, -20_i32..40, prop::collection::vec(any::<u8>(), 1..9), 0_u8..12), 1..300),
    ) {
        let mut world = World::new();
        let (camera, screen) = (world.leg(1), world.leg(2));
        let mut spec = video(camera, 1);
        spec.payloads.push(Payload { payload_type: 98, codec: Codec::Vp9, ..spec.payloads[0] });
        spec.encodings = (0..3).map(|at| EncodingSpec { rid: String::new(), ssrc: Some((70 + at, None)) }).collect();
        world.track(spec);
        let mut spec = subscription(200, 1, screen);
        spec.payloads.push((98, 98, None));
        world.subscribe(spec);
        let mut sequences = [1_000_i32, 30_000, 65_530];
        for (encoding, step, payload, act) in packets {
            let sequence = &mut sequences[encoding as usize];
            *sequence += step;
            let payload_type = if act % 2 == 0 { 96 } else { 98 };
            let packet = Rtp::new(payload_type, 70 + encoding, *sequence as u16, 3_000).with_payload(&payload);
            let _ = world.rtp(camera, &packet);
            let layers = Layers { encoding: act % 3, spatial: act % 2, temporal: act / 4, ..Layers::default() };
            match act {
                0..4 => world.command(voex_sfu::Command::SetSubscriptionLayers(voex_base::SubscriptionId(200), layers)),
                4 => world.advance(ms(300)),
                _ => {}
            }
        }
        let mut numbers: Vec<_> = world.heard(screen).iter().map(|packet| packet.sequence).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), count);
    }
}
