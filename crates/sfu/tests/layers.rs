//! Temporal layers of VP8 and the layers of VP9 SVC: what is left out leaves no gap.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{Leg, Rtp, World, ms, subscription, video};
use voex_base::SubscriptionId;
use voex_rtp::payload::{vp8, vp9};
use voex_sfu::command::{Codec, LayerChange, Layers, Payload};
use voex_sfu::{Command, Event};

const VP9: Payload = Payload {
    payload_type: 98,
    codec: Codec::Vp9,
    clock_rate: 90_000,
    rtx: Some(99),
};

/// A camera on leg 1 and one subscriber on leg 2.
struct Layered {
    world: World,
    camera: Leg,
    viewer: Leg,
    sequence: u16,
    picture: u16,
    base: u8,
}

impl Layered {
    fn new(layers: Layers) -> Self {
        let mut world = World::new();
        let (camera, viewer) = (world.leg(1), world.leg(2));
        let mut spec = video(camera, 1);
        spec.payloads.push(VP9);
        world.track(spec);
        let mut spec = subscription(200, 1, viewer);
        spec.payloads.push((98, 98, Some(99)));
        spec.layers = layers;
        world.subscribe(spec);
        Self {
            world,
            camera,
            viewer,
            sequence: 65_530,
            picture: 0x7ffc,
            base: 254,
        }
    }

    fn want(&mut self, layers: Layers) {
        let command = Command::SetSubscriptionLayers(SubscriptionId(200), layers);
        self.world.command(command);
    }

    fn packet(&mut self, payload_type: u8, payload: &[u8], marker: bool) -> Rtp {
        let timestamp = u32::from(self.picture) * 3_000;
        let mut packet = Rtp::new(payload_type, 70, self.sequence, timestamp).with_payload(payload);
        packet.marker = marker;
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }

    /// The next VP8 frame, in two packets.
    fn vp8(&mut self, temporal: u8, syncs: bool, is_key: bool) -> [Rtp; 2] {
        if temporal == 0 {
            self.base = self.base.wrapping_add(1);
        }
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        let layer = temporal << 6 | u8::from(syncs) << 5;
        let frame = if is_key { 0x50 } else { 0x51 };
        let packets = [(0x90, false), (0x80, true)].map(|(start, marker)| {
            let payload = [start, 0xe0, high, low, self.base, layer, frame, temporal];
            self.packet(96, &payload, marker)
        });
        self.picture = (self.picture + 1) & 0x7fff;
        packets
    }

    fn send(&mut self, packets: &[Rtp]) {
        for packet in packets {
            self.world.rtp(self.camera, packet).unwrap();
        }
    }

    fn send_vp8(&mut self, temporal: u8, syncs: bool, is_key: bool) {
        let packets = self.vp8(temporal, syncs, is_key);
        self.send(&packets);
        self.world.advance(ms(33));
    }

    /// A round of three temporal layers: 0 2 1 2.
    fn round(&mut self, is_key: bool) {
        self.send_vp8(0, false, is_key);
        for (temporal, syncs) in [(2, true), (1, true), (2, false)] {
            self.send_vp8(temporal, syncs, false);
        }
    }

    /// The next VP9 picture with spatial layers 0 to `top`, each in two packets, in non-flexible mode.
    fn vp9(&mut self, top: u8, temporal: u8, is_key: bool) -> Vec<Rtp> {
        if temporal == 0 {
            self.base = self.base.wrapping_add(1);
        }
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        let mut packets = Vec::new();
        for spatial in 0..=top {
            for (edge, is_last) in [(0x08, false), (0x04, true)] {
                let first = 0xa0 | edge | if is_key { 0 } else { 0x40 };
                // Every picture of the lowest temporal layer is one where higher ones may be entered.
                let layer = temporal << 5 | u8::from(temporal == 0) << 4 | spatial << 1;
                let payload = [first, high, low, layer, self.base, spatial];
                packets.push(self.packet(98, &payload, is_last && spatial == top));
            }
        }
        self.picture = (self.picture + 1) & 0x7fff;
        packets
    }

    fn send_vp9(&mut self, top: u8, temporal: u8, is_key: bool) {
        let packets = self.vp9(top, temporal, is_key);
        self.send(&packets);
        self.world.advance(ms(33));
    }

    fn heard(&mut self) -> Vec<Rtp> {
        self.world.heard(self.viewer)
    }

    fn changes(&mut self) -> Vec<LayerChange> {
        let events = self.world.events().into_iter();
        let changes = events.filter_map(|event| match event {
            Event::LayerChanged(.., change) => Some(change),
            _ => None,
        });
        changes.collect()
    }
}

fn temporal(temporal: u8) -> Layers {
    Layers {
        temporal,
        ..Layers::default()
    }
}

fn spatial(spatial: u8) -> Layers {
    Layers {
        spatial,
        ..Layers::default()
    }
}

/// Temporal layers of the frames, after a look at what must go on from packet to packet.
fn vp8_frames(packets: &[Rtp]) -> Vec<u8> {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        let read = |packet: &Rtp| {
            let descriptor = vp8::Descriptor::parse(&packet.payload).unwrap();
            let (picture, base) = (
                descriptor.picture_id.unwrap().value,
                descriptor.tl0_picture_index.unwrap().1,
            );
            (picture, base, descriptor.starts_frame(), descriptor.temporal.unwrap().0)
        };
        let ((before, base_before, ..), (picture, base, starts, temporal)) = (read(&pair[0]), read(&pair[1]));
        assert_eq!(
            picture,
            (before + u16::from(starts)) & 0x7fff,
            "picture ids count frames"
        );
        let counts = u8::from(starts && temporal == 0);
        assert_eq!(
            base,
            base_before.wrapping_add(counts),
            "TL0PICIDX counts frames of the base layer"
        );
    }
    let starts = packets.iter().filter(|packet| packet.payload[0] & 0x10 != 0);
    starts.map(|packet| packet.payload[7]).collect()
}

/// (picture id, spatial layer, marker) of packets, after a look at their sequence numbers.
fn vp9_packets(packets: &[Rtp]) -> Vec<(u16, u8, bool)> {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
    let told = packets.iter().map(|packet| {
        let descriptor = vp9::Descriptor::parse(&packet.payload).unwrap();
        let picture = descriptor.picture_id.unwrap().value;
        (picture, descriptor.layers.unwrap().spatial, packet.marker)
    });
    told.collect()
}

#[test]
fn all_temporal_layers_pass_unless_a_subscriber_wants_fewer() {
    let mut room = Layered::new(Layers::default());
    room.round(true);
    room.round(false);
    let heard = room.heard();
    assert_eq!(vp8_frames(&heard), [0, 2, 1, 2, 0, 2, 1, 2]);
    assert_eq!(heard[0].payload[2..5], [0xff, 0xfc, 255], "nothing is rewritten");
    assert_eq!(room.changes(), [LayerChange::Temporal(2)]);
}

#[test]
fn fewer_temporal_layers_are_a_stream_without_gaps_in_sequence_numbers_and_picture_ids() {
    for (wanted, expected) in [(0, [0, 0].to_vec()), (1, [0, 1, 0, 1].to_vec())] {
        let mut room = Layered::new(temporal(wanted));
        room.round(true);
        room.round(false);
        assert_eq!(vp8_frames(&room.heard()), expected);
        assert_eq!(room.changes(), [LayerChange::Temporal(wanted)]);
    }
}

#[test]
fn a_temporal_switch_goes_down_with_the_next_frame_and_up_where_the_layer_may_be_entered() {
    let mut room = Layered::new(Layers::default());
    room.round(true);
    room.want(temporal(0));
    room.round(false);
    room.want(temporal(2));
    // Frames that refer to earlier ones of their layer cannot be shown yet.
    room.send_vp8(0, false, false);
    room.send_vp8(2, false, false);
    room.send_vp8(1, false, false);
    room.send_vp8(2, false, false);
    room.round(false);
    room.round(false);
    let frames = vp8_frames(&room.heard());
    assert_eq!(frames, [0, 2, 1, 2, 0, 0, 0, 1, 0, 2, 1, 2]);
    let told = [2, 0, 1, 2].map(LayerChange::Temporal);
    assert_eq!(room.changes(), told);
    assert_eq!(room.world.asked(room.camera).len(), 1, "only for the start");
}

#[test]
fn a_switch_in_the_middle_of_a_frame_waits_for_the_next_one() {
    let mut room = Layered::new(Layers::default());
    room.send_vp8(0, false, true);
    let [first, second] = room.vp8(2, true, false);
    room.send(&[first]);
    room.want(temporal(0));
    room.send(&[second]);
    room.send_vp8(1, true, false);
    room.send_vp8(0, false, false);
    assert_eq!(vp8_frames(&room.heard()), [0, 2, 0]);
}

#[test]
fn a_late_packet_of_a_layer_left_out_fills_its_gap_without_its_payload() {
    let mut room = Layered::new(temporal(0));
    room.send_vp8(0, false, true);
    let [lost, second] = room.vp8(2, true, false);
    room.send(&[second]);
    room.send_vp8(0, false, false);
    room.send(&[lost]);
    let heard = room.heard();
    let numbers: Vec<_> = heard
        .iter()
        .map(|packet| (packet.sequence.wrapping_sub(heard[0].sequence), packet.payload.len()))
        .collect();
    assert_eq!(numbers, [(0, 8), (1, 8), (3, 8), (4, 8), (2, 0)]);
}

#[test]
fn a_frame_sent_again_has_the_picture_id_that_it_left_with() {
    let mut room = Layered::new(temporal(1));
    for _ in 0..10 {
        room.round(room.base == 254);
    }
    let heard = room.heard();
    let viewer = room.viewer;
    for packet in &heard {
        let number = packet.sequence;
        room.world.rtcp(viewer, |writer| {
            writer.receiver_report(9, &[]).unwrap();
            writer.nack(9, 200, [(number, 0)].into_iter()).unwrap();
        });
        assert_eq!(room.heard().first(), Some(packet));
    }
}

#[test]
fn spatial_layers_above_the_wanted_one_are_left_out_and_the_marker_ends_what_is_left() {
    for wanted in 0..2 {
        let mut room = Layered::new(spatial(wanted));
        room.send_vp9(2, 0, true);
        room.send_vp9(2, 0, false);
        let heard = vp9_packets(&room.heard());
        let mut expected = Vec::new();
        for picture in [0x7ffc, 0x7ffd] {
            for layer in 0..=wanted {
                expected.extend([(picture, layer, false), (picture, layer, layer == wanted)]);
            }
        }
        assert_eq!(heard, expected);
        assert_eq!(room.changes(), [LayerChange::Spatial(wanted), LayerChange::Temporal(0)]);
    }
}

#[test]
fn a_higher_spatial_layer_starts_with_a_key_frame_and_a_lower_one_with_the_next_picture() {
    let mut room = Layered::new(Layers::default());
    room.send_vp9(2, 0, true);
    room.want(spatial(0));
    room.send_vp9(2, 0, false);
    room.world.advance(ms(600));
    room.world.forget();
    room.want(spatial(2));
    assert_eq!(room.world.asked(room.camera), ["pli 70"]);
    room.send_vp9(2, 0, false);
    let before = vp9_packets(&room.heard());
    assert!(before.iter().all(|(_, layer, _)| *layer == 0), "{before:?}");
    room.send_vp9(2, 0, true);
    room.send_vp9(2, 0, false);
    assert_eq!(room.heard().len(), 12);
    let told: Vec<_> = room.changes();
    let spatial: Vec<_> = told
        .into_iter()
        .filter(|change| matches!(change, LayerChange::Spatial(_)))
        .collect();
    assert_eq!(spatial, [2, 0, 2].map(LayerChange::Spatial));
}

#[test]
fn a_sender_that_drops_its_highest_spatial_layer_is_told_of_after_a_while() {
    let mut room = Layered::new(Layers::default());
    room.send_vp9(2, 0, true);
    room.send_vp9(2, 0, false);
    assert_eq!(room.changes()[0], LayerChange::Spatial(2));
    room.send_vp9(1, 0, false);
    assert_eq!(room.changes(), [], "one picture is no change");
    for _ in 0..8 {
        room.send_vp9(1, 0, false);
    }
    assert_eq!(room.changes(), [LayerChange::Spatial(1)]);
    let heard = vp9_packets(&room.heard());
    assert_eq!(
        heard.iter().filter(|(.., marker)| *marker).count(),
        11,
        "each picture ends"
    );
}

#[test]
fn temporal_layers_of_vp9_are_left_out_with_their_picture_ids_and_entered_after_a_switching_picture() {
    let mut room = Layered::new(temporal(0));
    for layer in [0, 2, 1, 2, 0] {
        room.send_vp9(0, layer, room.picture == 0x7ffc);
    }
    let pictures: Vec<_> = vp9_packets(&room.heard())
        .iter()
        .map(|(picture, ..)| *picture)
        .collect();
    assert_eq!(pictures, [0x7ffc, 0x7ffc, 0, 0], "references count by picture id");
    room.want(temporal(2));
    for layer in [2, 1, 2, 0, 2, 1, 2] {
        room.send_vp9(0, layer, false);
    }
    assert_eq!(vp9_packets(&room.heard()).len(), 8);
    assert_eq!(room.changes().last(), Some(&LayerChange::Temporal(2)));
}

#[test]
fn streams_without_layers_pass_whatever_is_wanted() {
    let mut room = Layered::new(Layers {
        encoding: 0,
        spatial: 0,
        temporal: 0,
        ..Layers::default()
    });
    let camera = room.camera;
    for (sequence, payload) in [(1, common::KEY_FRAME), (2, common::DELTA_FRAME)] {
        let packet = Rtp::new(96, 70, sequence, 3_000).with_payload(payload);
        room.world.rtp(camera, &packet).unwrap();
    }
    assert_eq!(room.heard().len(), 2);
    assert_eq!(room.changes(), []);
}

#[test]
fn what_went_out_whole_goes_out_whole_again_after_a_switch_down() {
    let mut room = Layered::new(Layers::default());
    room.send_vp9(2, 0, true);
    let mut picture = room.vp9(2, 0, false);
    let lost = picture.remove(4);
    room.send(&picture);
    room.want(spatial(0));
    room.send_vp9(2, 0, false);
    let mut heard = room.heard();
    // What got lost on the way to here comes, and what got lost on the way to the viewer is asked for.
    room.send(std::slice::from_ref(&lost));
    let late = room.heard();
    assert_eq!(late[0].payload, lost.payload);
    heard.extend(late);
    for packet in &heard {
        let number = packet.sequence;
        room.world.rtcp(room.viewer, |writer| {
            writer.receiver_report(9, &[]).unwrap();
            writer.nack(9, 200, [(number, 0)].into_iter()).unwrap();
        });
        assert_eq!(room.heard(), std::slice::from_ref(packet));
    }
}

#[test]
fn what_came_late_and_went_out_empty_does_so_again_after_a_switch_up() {
    let mut room = Layered::new(temporal(0));
    room.send_vp8(0, false, true);
    let [lost, second] = room.vp8(2, true, false);
    room.send(&[second]);
    room.send_vp8(0, false, false);
    room.heard();
    room.send(std::slice::from_ref(&lost));
    let filler = room.heard();
    assert!(filler[0].payload.is_empty());
    room.want(temporal(2));
    room.send_vp8(0, false, true);
    room.heard();
    let number = filler[0].sequence;
    room.world.rtcp(room.viewer, |writer| {
        writer.receiver_report(9, &[]).unwrap();
        writer.nack(9, 200, [(number, 0)].into_iter()).unwrap();
    });
    assert_eq!(room.heard(), filler);
}

#[test]
fn a_stream_without_spatial_layers_is_not_asked_for_a_key_frame_of_them() {
    let mut room = Layered::new(Layers::default());
    room.round(true);
    room.want(spatial(0));
    room.round(false);
    room.world.advance(ms(600));
    room.world.forget();
    room.want(spatial(2));
    room.round(false);
    room.world.advance(ms(2_000));
    assert_eq!(room.world.metrics.plis_sent.value(), 0);
}

#[test]
fn a_picture_has_one_marker_where_a_higher_spatial_layer_comes_without_a_key_frame() {
    let mut room = Layered::new(spatial(0));
    room.send_vp9(1, 0, true);
    room.want(spatial(2));
    let mut picture = room.vp9(1, 0, false);
    for packet in picture.iter_mut().filter(|packet| packet.payload[5] == 1) {
        packet.payload[0] &= !0x40;
    }
    room.send(&picture);
    // What comes next refers to layers that were left out, until there is a key frame.
    room.send_vp9(1, 0, false);
    room.send_vp9(1, 0, true);
    let layers: Vec<_> = vp9_packets(&room.heard())
        .iter()
        .map(|(_, layer, marker)| (*layer, *marker))
        .collect();
    let low = [(0, false), (0, true)];
    let both = [(0, false), (0, false), (1, false), (1, true)];
    assert_eq!(layers, [&low[..], &low, &low, &both].concat());
}
