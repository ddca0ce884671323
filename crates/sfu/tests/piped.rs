//! A track on two workers: what subscribers of the other worker get, and what comes back to the sender.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{DELTA_FRAME, KEY_FRAME, Leg, Rtp, World, audio, ms, subscription, video};
use voex_base::{SubscriptionId, TrackId, WorkerId};
use voex_rtp::rtcp::SenderInfo;
use voex_sfu::Command;
use voex_sfu::command::{EncodingSpec, Layers, TrackSpec};

/// The worker on which senders are at home, and another; what they tell one another comes at once.
struct Host {
    home: World,
    other: World,
    /// Messages to home, and from it, that get lost.
    loses: (usize, usize),
}

const HOME: WorkerId = WorkerId(0);
const OTHER: WorkerId = WorkerId(1);

impl Host {
    /// A sender on leg 1 of the home, and its track piped.
    fn new(track: TrackSpec) -> Self {
        let mut host = Self {
            home: World::new(),
            other: World::new(),
            loses: (0, 0),
        };
        let speaker = host.home.leg(1);
        assert_eq!(track.transport, speaker.transport());
        host.home.track(track.clone());
        host.other.command(Command::AddPipedTrack(HOME, Box::new(track)));
        host
    }

    fn listener(&mut self, number: u64) -> Leg {
        let leg = self.other.leg(number);
        self.other.subscribe(subscription(number * 100, 1, leg));
        self.pass();
        leg
    }

    fn send(&mut self, packet: &Rtp) {
        self.home.rtp(SPEAKER, packet).unwrap();
        self.pass();
    }

    /// Passes messages until there are none.
    fn pass(&mut self) {
        loop {
            let before = (self.loses, self.counted());
            carry(&mut self.home, &mut self.other, HOME, OTHER, &mut self.loses.1);
            carry(&mut self.other, &mut self.home, OTHER, HOME, &mut self.loses.0);
            if before == (self.loses, self.counted()) {
                return;
            }
        }
    }

    fn counted(&self) -> [u64; 3] {
        let (home, other) = (&self.home.metrics, &self.other.metrics);
        [&home.plis_sent, &home.piped_packets, &other.forwarded_packets].map(|counter| counter.value())
    }

    fn advance(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 10 {
            self.home.advance(ms(10));
            self.other.advance(ms(10));
            self.pass();
        }
    }
}

const SPEAKER: Leg = Leg(1);

fn carry(from: &mut World, to: &mut World, by: WorkerId, expected: WorkerId, loses: &mut usize) {
    while let Some((worker, message)) = from.shard.poll_pipe() {
        assert_eq!(worker, expected);
        if *loses > 0 {
            *loses -= 1;
            continue;
        }
        to.shard.handle_piped(to.now, to.wall, by, message, &mut to.out);
    }
}

fn speech(sequence: u16) -> Rtp {
    Rtp::new(0, 77, sequence, u32::from(sequence) * 160)
}

fn picture(sequence: u16, payload: &[u8]) -> Rtp {
    Rtp::new(96, 77, sequence, u32::from(sequence) * 3_000).with_payload(payload)
}

#[test]
fn subscribers_of_another_worker_hear_each_packet_once_and_nothing_crosses_without_them() {
    let mut host = Host::new(audio(SPEAKER, 1));
    host.send(&speech(10));
    assert_eq!(host.home.metrics.piped_packets.value(), 0, "nobody watches");
    let listeners = [host.listener(2), host.listener(3)];
    for sequence in [11, 12, 14, 13] {
        host.send(&speech(sequence));
    }
    for leg in listeners {
        let heard = host.other.heard(leg);
        let first = heard[0].sequence;
        let sequences: Vec<_> = heard.iter().map(|packet| packet.sequence - first).collect();
        assert_eq!(sequences, [0, 1, 3, 2], "as it came");
        assert_eq!(heard[2].payload, speech(14).payload);
        assert_eq!(heard[2].timestamp.wrapping_sub(heard[0].timestamp), 3 * 160);
    }
    assert_eq!(host.home.metrics.piped_packets.value(), 4, "once for all of a worker");
    for id in [200, 300] {
        host.other.command(Command::RemoveSubscription(SubscriptionId(id)));
    }
    host.pass();
    host.send(&speech(15));
    assert_eq!(host.home.metrics.piped_packets.value(), 4, "the last has gone");
}

#[test]
fn a_watch_that_was_lost_is_made_good_and_one_that_is_not_renewed_lapses() {
    let mut host = Host::new(audio(SPEAKER, 1));
    host.loses.0 = 1;
    let listener = host.listener(2);
    host.send(&speech(10));
    assert_eq!(host.other.heard(listener), []);
    host.advance(1_000);
    host.send(&speech(11));
    assert_eq!(host.other.heard(listener).len(), 1);
    host.advance(10_000);
    host.send(&speech(12));
    assert_eq!(host.other.heard(listener).len(), 1, "renewed all the time");
    host.loses.0 = usize::MAX;
    host.advance(4_000);
    host.send(&speech(13));
    assert_eq!(host.other.heard(listener), [], "the other worker is gone");
}

#[test]
fn video_of_another_worker_starts_at_a_key_frame_that_its_sender_is_asked_for_once() {
    let mut host = Host::new(video(SPEAKER, 1));
    host.send(&picture(10, KEY_FRAME));
    host.home.forget();
    let listeners = [host.listener(2), host.listener(3)];
    assert_eq!(host.home.asked(SPEAKER), ["pli 77"], "one for both");
    host.send(&picture(11, DELTA_FRAME));
    host.send(&picture(12, KEY_FRAME));
    host.send(&picture(13, DELTA_FRAME));
    for leg in listeners {
        let payloads: Vec<_> = host.other.heard(leg).into_iter().map(|packet| packet.payload).collect();
        assert_eq!(payloads, [KEY_FRAME, DELTA_FRAME]);
    }
    host.advance(600);
    host.home.forget();
    host.other
        .rtcp(listeners[0], |writer| writer.picture_loss(1, 200).unwrap());
    host.pass();
    assert_eq!(host.home.asked(SPEAKER), ["pli 77"]);
}

#[test]
fn what_a_subscriber_of_another_worker_missed_is_sent_again_from_there() {
    let mut host = Host::new(video(SPEAKER, 1));
    let listener = host.listener(2);
    for sequence in 10..14 {
        host.send(&picture(sequence, KEY_FRAME));
    }
    let heard = host.other.heard(listener);
    let missed = heard[2].clone();
    host.other.rtcp(listener, |writer| {
        writer
            .nack(1, 200, voex_rtp::rtcp::nack_pairs(std::iter::once(missed.sequence)))
            .unwrap();
    });
    host.pass();
    assert_eq!(host.other.heard(listener), [missed]);
    assert_eq!(host.home.metrics.nacks_received.value(), 0);
}

#[test]
fn what_was_lost_between_the_workers_is_fetched_from_home_once_for_all_who_miss_it() {
    let mut host = Host::new(video(SPEAKER, 1));
    let listeners = [host.listener(2), host.listener(3)];
    for sequence in [10, 11] {
        host.send(&picture(sequence, KEY_FRAME));
    }
    host.loses.1 = 1;
    host.send(&picture(12, b"\x10lost"));
    host.send(&picture(13, KEY_FRAME));
    let mut missed = Vec::new();
    for (leg, ssrc) in listeners.into_iter().zip([200, 300]) {
        let heard = host.other.heard(leg);
        let gap = heard[1].sequence.wrapping_add(1);
        assert_eq!(heard[2].sequence, gap.wrapping_add(1), "a gap where it was");
        host.other.rtcp(leg, |writer| {
            writer
                .nack(1, ssrc, voex_rtp::rtcp::nack_pairs(std::iter::once(gap)))
                .unwrap();
        });
        missed.push(gap);
    }
    host.pass();
    for (leg, gap) in listeners.into_iter().zip(missed) {
        let heard = host.other.heard(leg);
        let [again] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((again.sequence, &again.payload[..]), (gap, &b"\x10lost"[..]));
    }
    assert_eq!(host.home.metrics.piped_packets.value(), 5, "the lost one twice");
}

#[test]
fn who_pauses_lets_nothing_cross_and_who_comes_back_starts_with_a_key_frame() {
    let mut host = Host::new(video(SPEAKER, 1));
    let listener = host.listener(2);
    host.send(&picture(10, KEY_FRAME));
    host.other
        .command(Command::SetSubscriptionActive(SubscriptionId(200), false));
    host.pass();
    host.send(&picture(11, DELTA_FRAME));
    assert_eq!(host.home.metrics.piped_packets.value(), 1, "nobody watches");
    host.advance(600);
    host.home.forget();
    host.other
        .command(Command::SetSubscriptionActive(SubscriptionId(200), true));
    host.pass();
    assert_eq!(host.home.asked(SPEAKER), ["pli 77"]);
    host.send(&picture(12, DELTA_FRAME));
    host.send(&picture(13, KEY_FRAME));
    let heard: Vec<_> = host
        .other
        .heard(listener)
        .into_iter()
        .map(|packet| packet.payload)
        .collect();
    assert_eq!(heard, [KEY_FRAME, KEY_FRAME]);
}

#[test]
fn a_watch_that_comes_before_home_knows_the_track_is_repeated_soon() {
    let mut host = Host {
        home: World::new(),
        other: World::new(),
        loses: (0, 0),
    };
    let speaker = host.home.leg(1);
    let track = audio(speaker, 1);
    host.other
        .command(Command::AddPipedTrack(HOME, Box::new(track.clone())));
    let listener = host.listener(2);
    host.advance(50);
    host.home.track(track);
    host.advance(100);
    host.send(&speech(10));
    assert_eq!(host.other.heard(listener).len(), 1);
}

#[test]
fn a_source_that_starts_anew_goes_on_behind_the_first_at_another_worker_too() {
    let mut host = Host::new(audio(SPEAKER, 1));
    let listener = host.listener(2);
    host.send(&speech(10));
    host.advance(20);
    host.send(&Rtp::new(0, 88, 50_000, 7));
    let heard = host.other.heard(listener);
    assert_eq!(heard[1].sequence, heard[0].sequence.wrapping_add(1));
    assert_eq!(heard[1].timestamp.wrapping_sub(heard[0].timestamp), 160);
}

#[test]
fn a_subscriber_of_another_worker_changes_between_encodings_at_a_key_frame() {
    let encodings = [(1, 11), (2, 12)].map(|(ssrc, rtx)| EncodingSpec {
        rid: String::new(),
        ssrc: Some((ssrc, Some(rtx))),
    });
    let mut host = Host::new(TrackSpec {
        encodings: encodings.to_vec(),
        ..video(SPEAKER, 1)
    });
    let listener = host.listener(2);
    let both = |host: &mut Host, sequence: u16, payload: &[u8]| {
        for ssrc in [1, 2] {
            let marked = [payload, &[ssrc as u8]].concat();
            host.send(&Rtp {
                ssrc,
                ..picture(sequence, &marked)
            });
        }
        host.advance(30);
    };
    both(&mut host, 10, KEY_FRAME);
    both(&mut host, 11, DELTA_FRAME);
    let high: Vec<_> = host
        .other
        .heard(listener)
        .iter()
        .map(|p| *p.payload.last().unwrap())
        .collect();
    assert_eq!(high.last(), Some(&2));
    let low = Layers {
        encoding: 0,
        ..Layers::default()
    };
    host.other
        .command(Command::SetSubscriptionLayers(SubscriptionId(200), low));
    host.pass();
    both(&mut host, 12, DELTA_FRAME);
    both(&mut host, 13, KEY_FRAME);
    both(&mut host, 14, DELTA_FRAME);
    let heard: Vec<_> = host
        .other
        .heard(listener)
        .iter()
        .map(|p| *p.payload.last().unwrap())
        .collect();
    assert_eq!(heard, [2, 1, 1]);
}

#[test]
fn reports_to_subscribers_of_another_worker_follow_the_clock_of_the_sender() {
    let mut host = Host::new(audio(SPEAKER, 1));
    host.send(&speech(10));
    let info = SenderInfo {
        ssrc: 77,
        ntp: host.home.wall.ntp(),
        // The sender says that its clock stood 800 units further than what it sent last.
        rtp_timestamp: 1_600 + 800,
        packets: 1,
        octets: 20,
    };
    host.home
        .rtcp(SPEAKER, |writer| writer.sender_report(info, &[]).unwrap());
    // Who comes later is told what the sender said.
    let listener = host.listener(2);
    host.send(&speech(11));
    let sent = host.other.heard(listener)[0].timestamp - 160;
    let ntp_at_report = host.other.wall.ntp();
    host.other.take(listener.rtcp_socket());
    host.advance(1_500);
    let reports = host.other.take(listener.rtcp_socket());
    let compound = voex_rtp::rtcp::Compound::parse(&reports[0]).unwrap();
    let Some(Ok(voex_rtp::rtcp::Packet::SenderReport(told, _))) = compound.packets().next() else {
        panic!("a sender report leads");
    };
    let elapsed = (u128::from(told.ntp - ntp_at_report) * 8_000) >> 32;
    let expected = sent.wrapping_add(800 + elapsed as u32);
    assert!(
        told.rtp_timestamp.wrapping_sub(expected).wrapping_add(1) <= 2,
        "{told:?}"
    );
}

#[test]
fn what_is_muted_does_not_cross_and_what_ends_is_forgotten() {
    let mut host = Host::new(audio(SPEAKER, 1));
    let listener = host.listener(2);
    for world in [&mut host.home, &mut host.other] {
        world.command(Command::SetTrackRelayed(TrackId(1), false));
    }
    host.send(&speech(10));
    assert_eq!(host.home.metrics.piped_packets.value(), 0);
    for world in [&mut host.home, &mut host.other] {
        world.command(Command::SetTrackRelayed(TrackId(1), true));
    }
    host.pass();
    host.send(&speech(11));
    assert_eq!(host.other.heard(listener).len(), 1);
    for world in [&mut host.other, &mut host.home] {
        world.command(Command::RemoveTrack(TrackId(1)));
    }
    host.pass();
    assert!(host.home.rtp(SPEAKER, &speech(12)).is_err());
    let (tracks, subscriptions) = (&host.other.metrics.tracks, &host.other.metrics.subscriptions);
    assert_eq!((tracks.value(), subscriptions.value()), (0, 0));
    assert_eq!(host.other.metrics.transports.value(), 1, "the listener stays");
}

#[test]
fn messages_that_are_none_or_name_unknown_tracks_change_nothing() {
    let mut host = Host::new(audio(SPEAKER, 1));
    let listener = host.listener(2);
    for length in 0..80 {
        for kind in 0..10 {
            let mut message = vec![0xff; length];
            if let Some(first) = message.first_mut() {
                *first = kind;
            }
            for world in [&mut host.home, &mut host.other] {
                world
                    .shard
                    .handle_piped(world.now, world.wall, OTHER, &message, &mut world.out);
            }
        }
    }
    host.send(&speech(10));
    assert_eq!(host.other.heard(listener).len(), 1);
}
