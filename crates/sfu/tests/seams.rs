//! Whatever a subscriber asks for and whatever falls silent, it sees one VP8 stream that a decoder can follow.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{Leg, Rtp, World, ms, subscription, video};
use proptest::prelude::*;
use voex_base::SubscriptionId;
use voex_rtp::payload::vp8::Descriptor;
use voex_sfu::Command;
use voex_sfu::command::{EncodingSpec, Layers};

/// Temporal layer and whether the frame refers to the lowest layer only, frame by frame.
const PATTERN: [(u8, bool); 4] = [(0, false), (2, true), (1, true), (2, false)];
const PACKETS_PER_FRAME: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// One frame of each encoding that is not silent.
    Picture,
    Want {
        encoding: u8,
        temporal: u8,
    },
    /// An encoding falls silent or comes back.
    Toggle(usize),
    Pause(bool),
    /// The viewer asks for a packet again, so many back from the newest that it got.
    Nack(usize),
}

/// Pictures after which a subscriber has what it wants, once all of it flows: a steady second, and the time between two
/// requests for key frames.
const PICTURES_TO_SETTLE: usize = 60;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => Just(Step::Picture),
        2 => (0..3_u8, 0..3_u8).prop_map(|(encoding, temporal)| Step::Want { encoding, temporal }),
        1 => (0..3_usize).prop_map(Step::Toggle),
        1 => any::<bool>().prop_map(Step::Pause),
        2 => (0..40_usize).prop_map(Step::Nack),
    ]
}

/// One encoding at the camera.
struct Source {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    picture: u16,
    base: u8,
    frame: usize,
    is_silent: bool,
}

impl Source {
    fn frame(&mut self, is_key: bool) -> Vec<Rtp> {
        if is_key {
            self.frame = 0;
        }
        let (temporal, syncs) = PATTERN[self.frame % PATTERN.len()];
        self.base = self.base.wrapping_add(u8::from(temporal == 0));
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        let mut packets = Vec::new();
        for at in 0..PACKETS_PER_FRAME {
            let start = if at == 0 { 0x90 } else { 0x80 };
            let layer = temporal << 6 | u8::from(syncs) << 5;
            let header = if is_key { 0x50 } else { 0x51 };
            // Whose frame it is and its own number go along as content.
            let payload = [
                start,
                0xe0,
                high,
                low,
                self.base,
                layer,
                header,
                self.ssrc as u8,
                self.frame as u8,
            ];
            let mut packet = Rtp::new(96, self.ssrc, self.sequence, self.timestamp).with_payload(&payload);
            packet.marker = at + 1 == PACKETS_PER_FRAME;
            self.sequence = self.sequence.wrapping_add(1);
            packets.push(packet);
        }
        self.picture = (self.picture + 1) & 0x7fff;
        self.frame += 1;
        packets
    }
}

struct Room {
    world: World,
    camera: Leg,
    viewer: Leg,
    sources: Vec<Source>,
    /// Encoding and temporal layer.
    wanted: (u8, u8),
    heard: Vec<Rtp>,
}

impl Room {
    fn new() -> Self {
        let mut world = World::new();
        let (camera, viewer) = (world.leg(1), world.leg(2));
        let mut spec = video(camera, 1);
        spec.encodings = (0..3)
            .map(|at| EncodingSpec {
                rid: String::new(),
                ssrc: Some((70 + at, None)),
            })
            .collect();
        world.track(spec);
        world.subscribe(subscription(200, 1, viewer));
        let sources = (0..3_u32).map(|at| Source {
            ssrc: 70 + at,
            sequence: 65_500 + at as u16,
            timestamp: 0_u32.wrapping_sub(40_000 * at),
            picture: 0x7ff0 + at as u16,
            base: 250,
            frame: 0,
            is_silent: false,
        });
        Self {
            world,
            camera,
            viewer,
            sources: sources.collect(),
            wanted: (2, 2),
            heard: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        let id = SubscriptionId(200);
        match step {
            Step::Want { encoding, temporal } => {
                self.wanted = (encoding, temporal);
                let layers = Layers {
                    encoding,
                    temporal,
                    ..Layers::default()
                };
                self.world.command(Command::SetSubscriptionLayers(id, layers));
            }
            Step::Pause(is_paused) => self.world.command(Command::SetSubscriptionActive(id, !is_paused)),
            Step::Toggle(at) => {
                let source = &mut self.sources[at];
                source.is_silent = !source.is_silent;
                // A camera starts an encoding with a key frame.
                source.frame = if source.is_silent { source.frame } else { 0 };
            }
            Step::Nack(back) => self.nack(back),
            Step::Picture => self.picture(),
        }
    }

    /// What is sent again is what was sent; nothing is where that is no longer known.
    fn nack(&mut self, back: usize) {
        let Some(packet) = self.heard.iter().rev().nth(back).cloned() else {
            return;
        };
        self.world.rtcp(self.viewer, |writer| {
            writer.receiver_report(9, &[]).unwrap();
            writer.nack(9, 200, [(packet.sequence, 0)].into_iter()).unwrap();
        });
        let again = self.world.heard(self.viewer);
        assert!(again.is_empty() || again == [packet], "{again:?}");
    }

    /// Turns everything on and lets it settle.
    fn settle(&mut self) {
        self.take(Step::Pause(false));
        for at in 0..self.sources.len() {
            if self.sources[at].is_silent {
                self.take(Step::Toggle(at));
            }
        }
        for _ in 0..PICTURES_TO_SETTLE {
            self.take(Step::Picture);
        }
    }

    fn newly_heard(&mut self) -> Vec<Rtp> {
        let heard = self.world.heard(self.viewer);
        self.heard.extend(heard.iter().cloned());
        heard
    }

    fn picture(&mut self) {
        let asked = self.world.asked(self.camera);
        for source in &mut self.sources {
            source.timestamp = source.timestamp.wrapping_add(3_000);
            if source.is_silent {
                continue;
            }
            let is_key = source.frame == 0 || asked.contains(&format!("pli {}", source.ssrc));
            for packet in source.frame(is_key) {
                self.world.rtp(self.camera, &packet).unwrap();
            }
        }
        self.world.advance(ms(33));
    }
}

/// Follows a stream as a decoder does.
#[derive(Default)]
struct Decoder {
    last: Option<Rtp>,
    /// SSRC at the camera, and the last frame of each temporal layer since the lowest.
    source: Option<u8>,
    shown: [Option<usize>; 3],
}

impl Decoder {
    fn packet(&mut self, packet: Rtp) {
        let descriptor = Descriptor::parse(&packet.payload).unwrap();
        let (picture, base) = (
            descriptor.picture_id.unwrap().value,
            descriptor.tl0_picture_index.unwrap().1,
        );
        let (temporal, _) = descriptor.temporal.unwrap();
        let (source, frame) = (packet.payload[7], usize::from(packet.payload[8]));
        let is_key = packet.payload[6] & 1 == 0;
        if let Some(last) = &self.last {
            let before = Descriptor::parse(&last.payload).unwrap();
            assert_eq!(packet.sequence, last.sequence.wrapping_add(1));
            if descriptor.starts_frame() {
                assert_eq!(picture, (before.picture_id.unwrap().value + 1) & 0x7fff);
                let passed = packet.timestamp.wrapping_sub(last.timestamp);
                assert!(passed != 0 && passed < 1 << 31, "time goes on");
                let counts = u8::from(temporal == 0);
                assert_eq!(base, before.tl0_picture_index.unwrap().1.wrapping_add(counts));
            } else {
                assert_eq!(
                    (picture, packet.timestamp),
                    (before.picture_id.unwrap().value, last.timestamp)
                );
            }
        }
        if descriptor.starts_frame() {
            self.frame(source, frame, temporal, is_key);
        }
        self.last = Some(packet);
    }

    /// What a frame refers to has been shown.
    fn frame(&mut self, source: u8, frame: usize, temporal: u8, is_key: bool) {
        if is_key {
            (self.source, self.shown) = (Some(source), [None; 3]);
        }
        assert_eq!(self.source, Some(source), "another encoding starts with a key frame");
        let base = self.shown[0];
        match (temporal, frame % PATTERN.len()) {
            (0, _) => assert!(is_key || base.map(|base| base + PATTERN.len()) == Some(frame)),
            (_, 3) => assert!(self.shown[1] == Some(frame - 1) && base == Some(frame - 3)),
            (_, behind) => assert_eq!(base, Some(frame - behind)),
        }
        self.shown[usize::from(temporal)] = Some(frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_decoder_can_follow_whatever_was_asked_for(steps in prop::collection::vec(step(), 1..180)) {
        let mut room = Room::new();
        let mut decoder = Decoder::default();
        for step in steps {
            room.take(step);
            for packet in room.newly_heard() {
                decoder.packet(packet);
            }
        }
        room.settle();
        for packet in room.newly_heard() {
            decoder.packet(packet);
        }
        room.heard.clear();
        (0..PATTERN.len()).for_each(|_| room.take(Step::Picture));
        let heard = room.newly_heard();
        let (encoding, temporal) = room.wanted;
        prop_assert!(heard.iter().all(|packet| packet.payload[7] == 70 + encoding), "the wanted encoding");
        let layers = heard.iter().map(|packet| packet.payload[5] >> 6);
        prop_assert_eq!(layers.max(), Some(temporal), "and as many layers");
    }
}
