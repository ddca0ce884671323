//! Simulcast: which encoding a subscriber gets, and that the stream it sees has no seam.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{Leg, Rtp, VP8, World, ms, subscription, video};
use voex_base::{SubscriptionId, TrackId};
use voex_rtp::payload::vp8;
use voex_sfu::command::{EncodingSpec, Extensions, LayerChange, Layers};
use voex_sfu::{Command, DropReason, Event};

const RID: u8 = 10;
const REPAIRED_RID: u8 = 11;
const RIDS: [&str; 3] = ["l", "m", "h"];

/// A camera on leg 1 that sends one VP8 stream three times, and its subscribers.
struct Simulcast {
    world: World,
    camera: Leg,
    /// Next sequence number, timestamp and picture id of each encoding.
    next: [(u16, u32, u16); 3],
}

impl Simulcast {
    fn new() -> Self {
        Self::with(|rid| EncodingSpec {
            rid: rid.to_owned(),
            ssrc: None,
        })
    }

    fn with(encoding: impl Fn(&str) -> EncodingSpec) -> Self {
        let mut world = World::new();
        let camera = world.leg(1);
        let mut spec = video(camera, 1);
        spec.encodings = RIDS.map(encoding).to_vec();
        spec.extensions = Extensions {
            rid: Some(RID),
            repaired_rid: Some(REPAIRED_RID),
            ..Extensions::default()
        };
        world.track(spec);
        Self {
            world,
            camera,
            next: [
                (100, 1_000, 10),
                (20_000, 500_000, 7_000),
                (65_500, u32::MAX - 9_000, 32_760),
            ],
        }
    }

    fn watch(&mut self, number: u64, encoding: u8) -> Leg {
        let leg = self.world.leg(number);
        let mut spec = subscription(number * 100, 1, leg);
        spec.layers.encoding = encoding;
        self.world.subscribe(spec);
        leg
    }

    fn want(&mut self, leg: Leg, encoding: u8) {
        let layers = Layers {
            encoding,
            ..Layers::default()
        };
        let id = SubscriptionId(leg.0 * 100);
        self.world.command(Command::SetSubscriptionLayers(id, layers));
    }

    /// The next frame of an encoding, in one packet.
    fn packet(&mut self, encoding: usize, is_key: bool) -> Rtp {
        let (sequence, timestamp, picture) = &mut self.next[encoding];
        let payload = vp8(*picture, is_key, encoding as u8);
        let packet = Rtp::new(96, 70 + encoding as u32, *sequence, *timestamp)
            .with_extension(RID, RIDS[encoding].as_bytes())
            .with_payload(&payload);
        *sequence = sequence.wrapping_add(1);
        *timestamp = timestamp.wrapping_add(3_000);
        *picture = (*picture + 1) & 0x7fff;
        packet
    }

    fn frame(&mut self, encoding: usize, is_key: bool) {
        let packet = self.packet(encoding, is_key);
        self.world.rtp(self.camera, &packet).unwrap();
    }

    /// One picture of the camera: a frame of each of these encodings, and a 30th of a second.
    fn picture(&mut self, encodings: &[usize], keys: &[usize]) {
        for encoding in encodings {
            self.frame(*encoding, keys.contains(encoding));
        }
        self.world.advance(ms(33));
    }

    /// Encodings that a subscriber got since the last call, after looking at the seams.
    fn seen(&mut self, leg: Leg, last: &mut Option<Rtp>) -> Vec<u8> {
        let mut seen = Vec::new();
        for packet in self.world.heard(leg) {
            if let Some(before) = last {
                assert_eq!(
                    packet.sequence,
                    before.sequence.wrapping_add(1),
                    "sequence numbers go on"
                );
                assert_eq!(
                    picture_of(&packet),
                    (picture_of(before) + 1) & 0x7fff,
                    "picture ids go on"
                );
                let passed = packet.timestamp.wrapping_sub(before.timestamp);
                assert!((1..90_000).contains(&passed), "time goes on: {passed}");
            }
            seen.push(*packet.payload.last().unwrap());
            *last = Some(packet);
        }
        seen
    }

    fn changes(&mut self) -> Vec<(u64, LayerChange)> {
        let events = self.world.events().into_iter();
        let changes = events.filter_map(|event| match event {
            Event::LayerChanged(_, id, change) => Some((id.0, change)),
            _ => None,
        });
        changes.collect()
    }
}

/// A VP8 payload: descriptor with a 15 bit picture id, frame header, and whose it is.
fn vp8(picture: u16, is_key: bool, whose: u8) -> Vec<u8> {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    vec![0x90, 0x80, high, low, if is_key { 0x50 } else { 0x51 }, whose]
}

fn picture_of(packet: &Rtp) -> u16 {
    vp8::Descriptor::parse(&packet.payload)
        .unwrap()
        .picture_id
        .unwrap()
        .value
}

#[test]
fn a_subscriber_gets_the_encoding_that_it_wants_and_no_other() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let legs = [0, 1, 2].map(|encoding| room.watch(2 + u64::from(encoding), encoding));
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    room.picture(&[0, 1, 2], &[]);
    for (encoding, leg) in legs.into_iter().enumerate() {
        assert_eq!(room.seen(leg, &mut None), [encoding as u8; 2]);
    }
    let told: Vec<_> = [(200, 0), (300, 1), (400, 2)]
        .map(|(id, at)| (id, LayerChange::Encoding(at)))
        .to_vec();
    assert_eq!(room.changes(), told);
}

#[test]
fn a_switch_waits_for_a_key_frame_of_the_other_encoding_and_leaves_no_seam() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let leg = room.watch(2, 2);
    room.world.forget();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let mut last = None;
    assert_eq!(room.seen(leg, &mut last), [2]);
    for (wanted, other) in [(0, 2), (1, 0), (2, 1)] {
        room.changes();
        room.world.advance(ms(500));
        room.world.forget();
        room.want(leg, wanted);
        let pli = format!("pli {}", 70 + wanted);
        assert_eq!(room.world.asked(room.camera), [pli], "asked for at once");
        room.picture(&[0, 1, 2], &[]);
        room.picture(&[0, 1, 2], &[0, 1, 2]);
        room.picture(&[0, 1, 2], &[]);
        let seen = room.seen(leg, &mut None);
        let upwards = wanted > other;
        // The frame of the same picture that came before the key frame of a higher encoding.
        let expected = if upwards {
            vec![other, other, wanted, wanted]
        } else {
            vec![other, wanted, wanted]
        };
        assert_eq!(seen, expected, "{other} to {wanted}");
        assert_eq!(room.changes(), [(200, LayerChange::Encoding(wanted))]);
    }
}

#[test]
fn numbers_have_no_seam_over_many_switches() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let leg = room.watch(2, 2);
    let mut last = None;
    for round in 0..30 {
        room.want(leg, round % 3);
        for _ in 0..2 {
            room.picture(&[0, 1, 2], &[]);
        }
        room.picture(&[0, 1, 2], &[0, 1, 2]);
        let seen = room.seen(leg, &mut last);
        assert_eq!(*seen.last().unwrap(), round % 3, "{round}: {seen:?}");
    }
}

#[test]
fn a_picture_keeps_its_time_when_the_sender_told_how_its_clocks_stand() {
    let mut room = Simulcast::new();
    room.picture(&[0, 2], &[0, 2]);
    let leg = room.watch(2, 2);
    room.picture(&[0, 2], &[0, 2]);
    let camera = room.camera;
    for encoding in [0, 2] {
        let (_, rtp_timestamp, _) = room.next[encoding];
        let ntp = room.world.wall.ntp();
        room.world.rtcp(camera, |writer| {
            let info = voex_rtp::rtcp::SenderInfo {
                ssrc: 70 + encoding as u32,
                ntp,
                rtp_timestamp,
                packets: 1,
                octets: 1,
            };
            writer.sender_report(info, &[]).unwrap();
        });
    }
    room.want(leg, 0);
    room.picture(&[0, 2], &[]);
    // The key frame of the lower encoding comes 7 ms late; its time is that of the picture all the same.
    room.world.advance(ms(7));
    room.frame(0, true);
    let heard = room.world.heard(leg);
    let times: Vec<_> = heard.iter().map(|packet| packet.timestamp).collect();
    let since = |n: usize| times[n].wrapping_sub(times[0]);
    assert_eq!([since(1), since(2)], [3_000, 6_000]);
}

#[test]
fn when_the_wanted_encoding_falls_silent_the_next_lower_one_is_sent_until_it_comes_back() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let leg = room.watch(2, 2);
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let mut last = None;
    room.seen(leg, &mut last);
    room.changes();
    room.world.forget();
    for _ in 0..7 {
        room.picture(&[0, 1], &[]);
    }
    assert_eq!(room.world.asked(room.camera), [""; 0], "231 ms are patience");
    room.picture(&[0, 1], &[]);
    assert_eq!(room.world.asked(room.camera), ["pli 71"]);
    room.picture(&[0, 1], &[1]);
    room.picture(&[0, 1], &[]);
    assert_eq!(room.seen(leg, &mut None), [1, 1]);
    assert_eq!(room.changes(), [(200, LayerChange::Encoding(1))]);
    // An encoding comes back with a key frame.
    room.picture(&[0, 1, 2], &[2]);
    room.picture(&[0, 1, 2], &[]);
    assert_eq!(room.seen(leg, &mut None), [1, 2, 2]);
    assert_eq!(room.changes(), [(200, LayerChange::Encoding(2))]);
}

#[test]
fn an_encoding_that_comes_and_goes_costs_no_requests_until_it_is_steady() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let leg = room.watch(2, 2);
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    for _ in 0..9 {
        room.picture(&[0, 1], &[]);
    }
    room.picture(&[0, 1], &[1]);
    assert_eq!(room.seen(leg, &mut None), [2, 1], "fell back");
    room.world.forget();
    // The highest encoding starves: a frame each third of a second.
    for _ in 0..10 {
        for _ in 0..9 {
            room.picture(&[0, 1], &[]);
        }
        room.picture(&[0, 1, 2], &[]);
    }
    let mut asked = room.world.asked(room.camera);
    asked.retain(|word| word.starts_with("pli"));
    assert_eq!(asked, [""; 0]);
    assert_eq!(room.seen(leg, &mut None), [1; 100]);
    // Now it flows, though without a key frame of its own.
    for _ in 0..31 {
        room.picture(&[0, 1, 2], &[]);
    }
    let mut asked = room.world.asked(room.camera);
    asked.retain(|word| word.starts_with("pli"));
    assert_eq!(asked, ["pli 72"]);
    room.picture(&[0, 1, 2], &[2]);
    assert_eq!(room.seen(leg, &mut None).last(), Some(&2));
}

#[test]
fn patience_is_the_subscribers_own() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let leg = room.watch(2, 2);
    room.world.command(Command::SetSubscriptionLayers(
        SubscriptionId(200),
        Layers {
            fallback: ms(2_000),
            ..Layers::default()
        },
    ));
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    for _ in 0..30 {
        room.picture(&[0, 1], &[0, 1]);
    }
    assert_eq!(room.seen(leg, &mut None), [2]);
}

#[test]
fn a_camera_that_sends_only_what_nobody_asked_for_is_shown_all_the_same() {
    let mut room = Simulcast::new();
    let leg = room.watch(2, 0);
    room.picture(&[2], &[2]);
    room.picture(&[2], &[]);
    assert_eq!(room.seen(leg, &mut None), [2, 2]);
    room.picture(&[0, 2], &[0]);
    room.picture(&[0, 2], &[]);
    assert_eq!(room.seen(leg, &mut None), [0, 0]);
}

#[test]
fn each_encoding_has_its_own_losses_reports_and_retransmissions() {
    let mut room = Simulcast::new();
    room.picture(&[0, 2], &[0, 2]);
    let leg = room.watch(2, 2);
    room.picture(&[0, 2], &[0, 2]);
    let lost = room.packet(2, false);
    room.picture(&[0, 2], &[]);
    assert_eq!(
        room.world.asked(room.camera),
        ["pli 72", &format!("nack 72 [{}]", lost.sequence)]
    );
    // It comes on an SSRC of its own, which only the repaired rid places.
    let repair = |rid: &[u8]| {
        let payload = [&lost.sequence.to_be_bytes()[..], &lost.payload].concat();
        let packet = Rtp::new(VP8.rtx.unwrap(), 1_072, 5, lost.timestamp);
        packet.with_extension(REPAIRED_RID, rid).with_payload(&payload)
    };
    let camera = room.camera;
    assert_eq!(room.world.rtp(camera, &repair(b"x")), Err(DropReason::UnknownSsrc));
    room.world.rtp(camera, &repair(b"h")).unwrap();
    let heard = room.world.heard(leg);
    let sequences: Vec<_> = heard
        .iter()
        .map(|packet| packet.sequence.wrapping_sub(heard[0].sequence))
        .collect();
    assert_eq!(sequences, [0, 2, 1]);
    assert_eq!(heard[2].payload, vp8(picture_of(&heard[1]) - 1, false, 2));
    // And again to the subscriber.
    let again = heard[2].sequence;
    room.world.rtcp(leg, |writer| {
        writer.receiver_report(9, &[]).unwrap();
        writer.nack(9, 200, [(again, 0)].into_iter()).unwrap();
    });
    assert_eq!(room.world.heard(leg), [heard[2].clone()]);
    room.world.advance(ms(1_000));
    assert!(room.world.told(camera).contains(&"rr blocks 2".to_owned()));
}

#[test]
fn encodings_may_be_told_apart_by_their_ssrcs() {
    let mut room = Simulcast::with(|rid| {
        let at = RIDS.iter().position(|other| *other == rid).unwrap() as u32;
        EncodingSpec {
            rid: String::new(),
            ssrc: Some((70 + at, Some(1_070 + at))),
        }
    });
    let leg = room.watch(2, 1);
    for encoding in 0..3 {
        let mut packet = room.packet(encoding, true);
        packet.extensions.clear();
        room.world.rtp(room.camera, &packet).unwrap();
    }
    assert_eq!(room.seen(leg, &mut None), [0, 1], "the wanted one, once it came");
    let mut stranger = room.packet(0, true);
    (stranger.ssrc, stranger.extensions) = (99, Vec::new());
    assert_eq!(room.world.rtp(room.camera, &stranger), Err(DropReason::UnknownSsrc));
}

#[test]
fn two_hundred_joins_in_two_seconds_cost_a_camera_a_few_requests() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    room.world.advance(ms(1_000));
    room.world.forget();
    for number in 0..200_u64 {
        room.watch(2 + number, (number % 3) as u8);
        // The camera answers each request with the next picture.
        let asked = room.world.asked(room.camera);
        let keys: Vec<_> = (0..3)
            .filter(|at| asked.contains(&format!("pli {}", 70 + at)))
            .collect();
        room.frame(0, keys.contains(&0));
        room.frame(1, keys.contains(&1));
        room.frame(2, keys.contains(&2));
        room.world.advance(ms(10));
    }
    let plis = room.world.metrics.plis_sent.value();
    assert!(
        (3..=15).contains(&plis),
        "{plis} requests: one for each encoding each half second"
    );
}

#[test]
fn what_nobody_watches_is_asked_for_only_when_somebody_asks_for_the_track() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    let leg = room.watch(2, 1);
    room.picture(&[0, 1, 2], &[0, 1, 2]);
    room.world.advance(ms(1_000));
    room.world.forget();
    room.world.command(Command::RequestKeyFrame(TrackId(1)));
    assert_eq!(room.world.asked(room.camera), ["pli 71"]);
    room.world.rtcp(leg, |writer| {
        writer.receiver_report(9, &[]).unwrap();
        writer.picture_loss(9, 200).unwrap();
    });
    room.world.advance(ms(500));
    assert_eq!(room.world.asked(room.camera), ["pli 71"]);
    room.world.command(Command::RemoveSubscription(SubscriptionId(200)));
    room.world.advance(ms(1_000));
    room.world.forget();
    room.world.command(Command::RequestKeyFrame(TrackId(1)));
    assert_eq!(room.world.asked(room.camera), ["pli 72"]);
}

#[test]
fn an_encoding_with_another_ssrc_starts_anew_and_the_others_do_not_notice() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1], &[0, 1]);
    let (low, middle) = (room.watch(2, 0), room.watch(3, 1));
    room.picture(&[0, 1], &[0, 1]);
    room.world.advance(ms(600));
    room.world.forget();
    let mut other = room.packet(0, false);
    (other.ssrc, other.sequence) = (700, 3);
    room.world.rtp(room.camera, &other).unwrap();
    assert_eq!(room.world.asked(room.camera), ["pli 700"], "asked for at once");
    room.frame(1, false);
    assert_eq!(room.seen(low, &mut None), [], "waits for a key frame of the new stream");
    assert_eq!(room.seen(middle, &mut None), [1]);
    let mut key = room.packet(0, true);
    (key.ssrc, key.sequence) = (700, 4);
    room.world.rtp(room.camera, &key).unwrap();
    assert_eq!(room.seen(low, &mut None), [0]);
}

#[test]
fn a_subscription_that_was_paused_goes_on_with_the_encoding_wanted_meanwhile() {
    let mut room = Simulcast::new();
    room.picture(&[0, 2], &[0, 2]);
    let leg = room.watch(2, 2);
    room.picture(&[0, 2], &[0, 2]);
    let mut last = None;
    assert_eq!(room.seen(leg, &mut last), [2]);
    let id = SubscriptionId(200);
    room.world.command(Command::SetSubscriptionActive(id, false));
    room.picture(&[0, 2], &[]);
    room.want(leg, 0);
    room.world.command(Command::SetSubscriptionActive(id, true));
    room.picture(&[0, 2], &[0]);
    assert_eq!(room.seen(leg, &mut last), [0]);
}

#[test]
fn an_encoding_whose_numbers_jump_starts_with_a_key_frame_that_is_asked_for() {
    let mut room = Simulcast::new();
    room.picture(&[0, 1], &[0, 1]);
    let low = room.watch(2, 0);
    room.picture(&[0, 1], &[0, 1]);
    room.world.advance(ms(600));
    room.world.forget();
    room.next[0].0 += 20_000;
    let first = room.packet(0, false);
    assert_eq!(room.world.rtp(room.camera, &first), Err(DropReason::SequenceJump));
    room.frame(0, false);
    assert_eq!(room.seen(low, &mut None), []);
    assert_eq!(room.world.asked(room.camera), ["pli 70"]);
    room.frame(0, true);
    assert_eq!(room.seen(low, &mut None), [0]);
}

#[test]
fn a_request_for_what_left_before_a_pause_is_not_answered_with_another_encoding() {
    let mut room = Simulcast::new();
    // The numbers of two encodings mean different packets.
    room.next[0].0 = room.next[2].0;
    room.picture(&[0, 2], &[0, 2]);
    let leg = room.watch(2, 2);
    room.picture(&[0, 2], &[0, 2]);
    let sent = room.world.heard(leg)[0].clone();
    let id = SubscriptionId(200);
    room.world.command(Command::SetSubscriptionActive(id, false));
    room.want(leg, 0);
    room.world.command(Command::SetSubscriptionActive(id, true));
    room.world.rtcp(leg, |writer| {
        writer.receiver_report(9, &[]).unwrap();
        writer.nack(9, 200, [(sent.sequence, 0)].into_iter()).unwrap();
    });
    assert_eq!(room.world.heard(leg), [sent]);
}

#[test]
fn a_stream_that_goes_on_with_another_track_does_not_answer_for_the_one_before() {
    let mut world = World::new();
    let (camera, other, viewer) = (world.leg(1), world.leg(3), world.leg(2));
    world.video_track(camera, 1);
    world.video_track(other, 3);
    world.subscribe(subscription(200, 1, viewer));
    let packet = |whose| Rtp::new(96, whose, 500, 1_000).with_payload(&vp8(7, true, whose as u8));
    world.rtp(camera, &packet(1)).unwrap();
    world.rtp(other, &packet(3)).unwrap();
    let sent = world.heard(viewer)[0].clone();
    world.subscribe(subscription(200, 3, viewer));
    world.rtcp(viewer, |writer| {
        writer.receiver_report(9, &[]).unwrap();
        writer.nack(9, 200, [(sent.sequence, 0)].into_iter()).unwrap();
    });
    assert_eq!(world.heard(viewer), []);
    let mut next = packet(3);
    next.sequence = 501;
    world.rtp(other, &next).unwrap();
    assert_eq!(world.heard(viewer)[0].sequence, sent.sequence.wrapping_add(1));
}
