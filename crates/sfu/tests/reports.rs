//! RTCP both ways: reports, NACK and RTX, key frame requests, REMB, transport-wide feedback.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{DELTA_FRAME, KEY_FRAME, Leg, Rtp, World, audio, ms, subscription, video};
use voex_base::TrackId;
use voex_rtp::rtcp::{Compound, Packet, ReportBlock, SenderInfo};
use voex_sfu::command::EncodingSpec;
use voex_sfu::{Command, DropReason};

fn frame(sequence: u16, payload: &[u8]) -> Rtp {
    Rtp::new(96, 77, sequence, 3_000 * u32::from(sequence)).with_payload(payload)
}

/// A camera on leg 1 with track 1, watched from leg 2 with RTX; the first key frame is through.
fn watched() -> (World, Leg, Leg) {
    let mut world = World::new();
    let (camera, screen) = (world.leg(1), world.leg(2));
    world.video_track(camera, 1);
    let mut spec = subscription(200, 1, screen);
    spec.rtx_ssrc = Some(201);
    world.subscribe(spec);
    world.rtp(camera, &frame(1, KEY_FRAME)).unwrap();
    (world, camera, screen)
}

fn sender_reports(compounds: &[Vec<u8>]) -> Vec<(SenderInfo, Vec<ReportBlock>)> {
    let mut reports = Vec::new();
    for data in compounds {
        for packet in Compound::parse(data).unwrap().packets() {
            if let Ok(Packet::SenderReport(info, blocks)) = packet {
                reports.push((info, blocks.collect()));
            }
        }
    }
    reports
}

#[test]
fn a_nack_is_answered_by_rtx_with_the_original_number() {
    let (mut world, camera, screen) = watched();
    world.rtp(camera, &frame(2, DELTA_FRAME)).unwrap();
    world.rtp(camera, &frame(3, KEY_FRAME)).unwrap();
    let heard = world.heard(screen);
    let lost = heard[1].clone();
    world.rtcp(screen, |w| w.nack(9, 200, [(lost.sequence, 0)].into_iter()).unwrap());
    let again = world.heard(screen);
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].ssrc, again[0].payload_type), (201, 97));
    assert_eq!(again[0].timestamp, lost.timestamp);
    assert_eq!(again[0].payload[..2], lost.sequence.to_be_bytes());
    assert_eq!(again[0].payload[2..], lost.payload);
    let counted = (
        world.metrics.nacks_received.value(),
        world.metrics.retransmitted_packets.value(),
    );
    assert_eq!(counted, (1, 1));
}

#[test]
fn a_second_nack_within_a_round_trip_is_not_answered() {
    let (mut world, _, screen) = watched();
    let sent = world.heard(screen)[0].sequence;
    let ask = |world: &mut World| {
        world.rtcp(screen, |w| w.nack(9, 200, [(sent, 0)].into_iter()).unwrap());
        world.heard(screen).len()
    };
    assert_eq!(ask(&mut world), 1);
    assert_eq!(ask(&mut world), 0);
    world.advance(ms(50));
    assert_eq!(ask(&mut world), 1);
    assert_eq!(world.metrics.nacks_unanswered.value(), 1);
}

#[test]
fn a_nack_for_what_was_never_sent_is_not_answered() {
    let (mut world, _, screen) = watched();
    let sent = world.heard(screen)[0].sequence;
    world.rtcp(screen, |w| {
        w.nack(9, 200, [(sent.wrapping_add(5), 0)].into_iter()).unwrap()
    });
    world.rtcp(screen, |w| {
        w.nack(9, 200, [(sent.wrapping_sub(1), 0)].into_iter()).unwrap()
    });
    world.rtcp(screen, |w| w.nack(9, 999, [(sent, 0)].into_iter()).unwrap());
    assert_eq!(world.heard(screen), []);
}

#[test]
fn without_rtx_a_plain_leg_gets_the_same_packet_again() {
    let mut world = World::new();
    let (camera, screen) = (world.leg(1), world.leg(2));
    world.video_track(camera, 1);
    world.subscribe(subscription(200, 1, screen));
    world.rtp(camera, &frame(1, KEY_FRAME)).unwrap();
    let sent = world.heard(screen);
    world.rtcp(screen, |w| w.nack(9, 200, [(sent[0].sequence, 0)].into_iter()).unwrap());
    assert_eq!(world.heard(screen), sent);
}

#[test]
fn what_is_missing_is_asked_for_and_taken_by_rtx() {
    let (mut world, camera, screen) = watched();
    world.forget();
    world.rtp(camera, &frame(4, DELTA_FRAME)).unwrap();
    world.advance(ms(9));
    assert_eq!(world.asked(camera), Vec::<String>::new(), "it may be a reordering");
    world.advance(ms(1));
    assert_eq!(world.asked(camera), ["nack 77 [2, 3]"]);

    let mut repeated = frame(2, &[&[0, 2], DELTA_FRAME].concat());
    (repeated.ssrc, repeated.payload_type, repeated.sequence) = (78, 97, 500);
    world.rtp(camera, &repeated).unwrap();
    world.advance(ms(100));
    assert_eq!(
        world.asked(camera),
        ["nack 77 [3]"],
        "asked again for what is still missing"
    );

    let heard = world.heard(screen);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].sequence, heard[0].sequence - 2);
    assert_eq!(heard[1].payload, DELTA_FRAME);
    assert_eq!(world.metrics.recovered_packets.value(), 1);
    let late = world.rtp(camera, &frame(2, DELTA_FRAME));
    assert_eq!(late, Err(DropReason::Duplicate));
}

#[test]
fn what_never_comes_is_given_up_for_a_key_frame() {
    let (mut world, camera, _) = watched();
    world.advance(ms(3_000));
    world.forget();
    world.rtp(camera, &frame(3, DELTA_FRAME)).unwrap();
    world.advance(ms(2_000));
    let asked = world.asked(camera);
    let nacks = asked.iter().filter(|word| *word == "nack 77 [2]").count();
    assert_eq!(nacks, 8);
    assert!(asked.contains(&"pli 77".to_owned()), "{asked:?}");
}

#[test]
fn a_subscription_asks_for_a_key_frame_and_many_askers_share_one_request() {
    let mut world = World::new();
    let camera = world.leg(1);
    world.video_track(camera, 1);
    world.rtp(camera, &frame(1, DELTA_FRAME)).unwrap();
    for number in 2..6 {
        let leg = world.leg(number);
        world.subscribe(subscription(number * 100, 1, leg));
    }
    assert_eq!(world.asked(camera), ["pli 77"]);
    world.advance(ms(499));
    assert_eq!(world.asked(camera), Vec::<String>::new());
    world.advance(ms(1));
    assert_eq!(world.asked(camera), ["pli 77"], "the throttled wish was remembered");
    world.rtp(camera, &frame(2, KEY_FRAME)).unwrap();
    world.advance(ms(5_000));
    let later = world.asked(camera);
    assert!(!later.iter().any(|word| word.starts_with("pli")), "{later:?}");
}

#[test]
fn picture_loss_and_full_intra_requests_are_handed_on() {
    let (mut world, camera, screen) = watched();
    world.advance(ms(3_000));
    world.forget();
    world.rtcp(screen, |w| w.picture_loss(9, 200).unwrap());
    assert_eq!(world.asked(camera), ["pli 77"]);
    world.advance(ms(1_000));
    world.forget();
    world.rtcp(screen, |w| w.full_intra(9, 200, 1).unwrap());
    assert_eq!(world.asked(camera), ["pli 77"]);
    assert_eq!(world.metrics.plis_received.value(), 2);
}

#[test]
fn a_sender_that_only_knows_fir_gets_fir() {
    let mut world = World::new();
    let camera = world.leg(1);
    let mut spec = video(camera, 1);
    spec.feedback.pli = false;
    world.track(spec);
    world.rtp(camera, &frame(1, DELTA_FRAME)).unwrap();
    world.command(Command::RequestKeyFrame(TrackId(1)));
    assert_eq!(world.asked(camera), ["fir 77"]);
}

#[test]
fn a_wish_before_the_first_packet_goes_out_when_the_ssrc_is_known() {
    let mut world = World::new();
    let camera = world.leg(1);
    world.video_track(camera, 1);
    world.command(Command::RequestKeyFrame(TrackId(1)));
    assert_eq!(world.asked(camera), Vec::<String>::new());
    world.rtp(camera, &frame(1, DELTA_FRAME)).unwrap();
    world.advance(ms(500));
    assert_eq!(world.asked(camera), ["pli 77"]);
}

#[test]
fn a_bit_rate_cap_is_told_at_once_and_each_second_until_it_is_lifted() {
    let (mut world, camera, _) = watched();
    world.advance(ms(2_000));
    world.forget();
    world.command(Command::SetTrackBitrate(TrackId(1), Some(1_024_000)));
    assert_eq!(world.asked(camera), ["remb 1024000 [77]"]);
    world.advance(ms(3_000));
    let told = world.asked(camera);
    assert_eq!(told.iter().filter(|word| *word == "remb 1024000 [77]").count(), 3);
    world.command(Command::SetTrackBitrate(TrackId(1), None));
    world.advance(ms(3_000));
    let told = world.asked(camera);
    let lifted: Vec<_> = told.iter().filter(|word| word.starts_with("remb")).collect();
    assert_eq!(lifted.len(), 1, "{told:?}");
}

#[test]
fn a_receiver_report_tells_loss_and_answers_the_sender_report() {
    let mut world = World::new();
    let speaker = world.leg(1);
    world.audio_track(speaker, 1);
    for sequence in [1, 2, 4] {
        world.rtp(speaker, &Rtp::new(0, 77, sequence, 160)).unwrap();
    }
    let info = SenderInfo {
        ssrc: 77,
        ntp: 0x1111_2222_3333_4444,
        rtp_timestamp: 0,
        packets: 3,
        octets: 60,
    };
    world.rtcp(speaker, |w| w.sender_report(info, &[]).unwrap());
    world.advance(ms(999));
    let compounds = world.take(speaker.rtcp_socket());
    let compound = Compound::parse(&compounds[0]).unwrap();
    let Some(Ok(Packet::ReceiverReport(_, mut blocks))) = compound.packets().next() else {
        panic!("not a receiver report")
    };
    let block = blocks.next().unwrap();
    assert_eq!(
        (block.ssrc, block.lost, block.fraction_lost, block.highest_sequence),
        (77, 1, 64, 4)
    );
    assert_eq!(block.last_sr, 0x2222_3333);
    // The report leaves 500 to 1000 ms after the leg was opened, at which moment the SR came.
    assert!((0x8000..0x1_0000).contains(&block.delay_since_last_sr), "{block:?}");
}

#[test]
fn sender_reports_carry_the_senders_clock_so_that_its_media_stay_in_step() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    world.audio_track(speaker, 1);
    world.track(video(speaker, 2));
    world.subscribe(subscription(201, 1, listener));
    world.subscribe(subscription(202, 2, listener));
    // At the sender's moment T audio stands at 1000 and video at 500; its clock is an hour ahead of ours. Video packets
    // and their report take longer to us.
    let moment = world.wall.ntp() + (3_600 << 32);
    let report = |ssrc, rtp_timestamp| SenderInfo {
        ssrc,
        ntp: moment,
        rtp_timestamp,
        packets: 1,
        octets: 1,
    };
    world.rtp(speaker, &Rtp::new(0, 71, 1, 1_000)).unwrap();
    world.rtcp(speaker, |w| w.sender_report(report(71, 1_000), &[]).unwrap());
    world.advance(ms(80));
    world
        .rtp(speaker, &Rtp::new(96, 72, 1, 500).with_payload(KEY_FRAME))
        .unwrap();
    world.rtcp(speaker, |w| w.sender_report(report(72, 500), &[]).unwrap());
    let heard = world.heard(listener);
    let started = |ssrc| heard.iter().find(|packet| packet.ssrc == ssrc).unwrap().timestamp;
    world.forget();
    world.advance(ms(1_000));
    let reports = sender_reports(&world.take(listener.rtcp_socket()));
    let since = |ssrc: u32, rate: u32, ntp: u64| {
        let (info, _) = reports.iter().find(|(info, _)| info.ssrc == ssrc).unwrap();
        assert_eq!(info.ntp, ntp);
        f64::from(info.rtp_timestamp.wrapping_sub(started(ssrc))) / f64::from(rate)
    };
    let ntp = reports[0].0.ntp;
    let (audio_s, video_s) = (since(201, 8_000, ntp), since(202, 90_000, ntp));
    assert!(
        (audio_s - video_s).abs() < 0.001,
        "audio {audio_s} s, video {video_s} s after the same moment"
    );
    assert!((0.5..1.1).contains(&audio_s), "{audio_s}");
}

#[test]
fn before_a_senders_report_the_arrival_clock_serves() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    world.audio_track(speaker, 1);
    world.subscribe(subscription(200, 1, listener));
    world.rtp(speaker, &Rtp::new(0, 77, 1, 5_000)).unwrap();
    let (first, opened) = (world.heard(listener)[0].clone(), world.wall.ntp());
    world.advance(ms(999));
    let reports = sender_reports(&world.take(listener.rtcp_socket()));
    let info = reports[0].0;
    assert_eq!((info.ssrc, info.packets, info.octets), (200, 1, 20));
    let elapsed_units = ((info.ntp - opened) * 8_000) >> 32;
    let told_units = info.rtp_timestamp.wrapping_sub(first.timestamp);
    assert!(
        u64::from(told_units).abs_diff(elapsed_units) <= 1,
        "{told_units} {elapsed_units}"
    );
}

#[test]
fn a_two_way_leg_sends_one_report_with_both_halves() {
    let mut world = World::new();
    let (a, b) = (world.leg(1), world.leg(2));
    world.audio_track(a, 1);
    world.audio_track(b, 2);
    world.subscribe(subscription(100, 1, b));
    world.subscribe(subscription(200, 2, a));
    world.rtp(a, &Rtp::new(0, 1, 1, 1)).unwrap();
    world.rtp(b, &Rtp::new(0, 2, 1, 1)).unwrap();
    world.advance(ms(999));
    assert_eq!(world.told(a), ["sr 200 blocks 1", "sdes"]);
    assert_eq!(world.told(b), ["sr 100 blocks 1", "sdes"]);
}

#[test]
fn many_streams_of_one_transport_share_compound_packets() {
    let mut world = World::new();
    let (speaker, listener) = (world.leg(1), world.leg(2));
    for track in 1..=30 {
        let mut spec = audio(speaker, track);
        spec.encodings = vec![EncodingSpec {
            rid: String::new(),
            ssrc: Some((1_000 + track as u32, None)),
        }];
        world.track(spec);
        world.subscribe(subscription(2_000 + track, track, listener));
        world.rtp(speaker, &Rtp::new(0, 1_000 + track as u32, 1, 1)).unwrap();
    }
    world.advance(ms(999));
    let compounds = world.take(listener.rtcp_socket());
    assert_eq!(compounds.len(), 3);
    assert!(compounds.iter().all(|data| data.len() <= 1_200));
    assert_eq!(sender_reports(&compounds).len(), 30);
}

#[test]
fn transport_wide_feedback_tells_what_came_while_packets_come() {
    let mut world = World::new();
    let speaker = world.leg(1);
    let mut spec = audio(speaker, 1);
    spec.extensions.transport_cc = Some(5);
    spec.feedback.transport_cc = true;
    world.track(spec);
    for sequence in [1_u16, 2, 4] {
        let packet = Rtp::new(0, 77, sequence, 160).with_extension(5, &sequence.to_be_bytes());
        world.rtp(speaker, &packet).unwrap();
    }
    world.advance(ms(100));
    assert_eq!(world.asked(speaker), ["twcc [1, 2, 4]"]);
    world.advance(ms(300));
    assert_eq!(world.asked(speaker), Vec::<String>::new());
}

#[test]
fn a_source_that_says_bye_may_come_back_with_another_ssrc() {
    let (mut world, camera, screen) = watched();
    world.rtcp(camera, |w| w.bye(77).unwrap());
    world.forget();
    let mut next = frame(1, KEY_FRAME);
    next.ssrc = 99;
    world.rtp(camera, &next).unwrap();
    assert_eq!(world.heard(screen).len(), 1);
}
