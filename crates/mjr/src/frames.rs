//! Frames of video out of packets.

use std::collections::VecDeque;

use voex_rtp::payload::{h264, vp8, vp9};

use crate::h264_units::Units;
use crate::order::Ordered;

/// Longest frame that is put together; a longer one is left out.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// A codec of video that can be put into Matroska.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VideoCodec {
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// H.264.
    H264,
}

/// A whole frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// Time since the first packet, in units of the clock rate.
    pub(crate) time: u64,
    /// A decoder can begin with it.
    pub(crate) is_key: bool,
    /// What a decoder is given.
    pub(crate) data: Vec<u8>,
}

/// Puts packets together. Frames with missing packets are left out, and so is what comes before the first key frame.
#[derive(Debug)]
pub(crate) struct Frames {
    codec: VideoCodec,
    begun: Option<Begun>,
    has_key: bool,
    ready: VecDeque<Frame>,
    /// Frames that were left out since they are not whole.
    pub(crate) incomplete: u64,
}

#[derive(Debug)]
struct Begun {
    time: u64,
    is_key: bool,
    is_whole: bool,
    data: Vec<u8>,
    units: Units,
}

/// What a packet adds to its frame.
struct Part<'a> {
    starts: bool,
    is_key: bool,
    bytes: &'a [u8],
}

impl Frames {
    /// Makes frames of a codec.
    pub(crate) fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            begun: None,
            has_key: false,
            ready: VecDeque::new(),
            incomplete: 0,
        }
    }

    /// Takes the next packet.
    pub(crate) fn put(&mut self, packet: &Ordered) {
        if self.begun.as_ref().is_some_and(|begun| begun.time != packet.time) {
            // Its end did not come.
            self.finish(!packet.is_after_gap);
        }
        let part = part(self.codec, &packet.payload);
        let begun = self.begun.get_or_insert_with(|| Begun {
            time: packet.time,
            is_key: false,
            is_whole: part.as_ref().is_some_and(|part| part.starts),
            data: Vec::new(),
            units: Units::default(),
        });
        let is_first = begun.data.is_empty();
        let fits = begun.data.len() + packet.payload.len() <= FRAME_BYTES_MAX;
        begun.is_whole &= fits && (is_first || !packet.is_after_gap);
        match part {
            Some(part) if fits => {
                begun.is_key |= part.is_key;
                if self.codec == VideoCodec::H264 {
                    begun.is_whole &= begun.units.put(part.bytes, &mut begun.data).is_some();
                } else {
                    begun.data.extend(part.bytes);
                }
            }
            _ => begun.is_whole = false,
        }
        if packet.marker {
            self.finish(true);
        }
    }

    /// Ends the last frame.
    pub(crate) fn end(&mut self) {
        self.finish(false);
    }

    /// Gives the next frame.
    pub(crate) fn take(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    fn finish(&mut self, has_end: bool) {
        let Some(begun) = self.begun.take() else { return };
        let is_whole = begun.is_whole && has_end && begun.units.is_at_rest() && !begun.data.is_empty();
        self.has_key |= begun.is_key && is_whole;
        if is_whole && self.has_key {
            self.ready.push_back(Frame {
                time: begun.time,
                is_key: begun.is_key,
                data: begun.data,
            });
        } else {
            self.incomplete += 1;
        }
    }
}

fn part(codec: VideoCodec, payload: &[u8]) -> Option<Part<'_>> {
    match codec {
        VideoCodec::Vp8 => {
            let descriptor = vp8::Descriptor::parse(payload).ok()?;
            Some(Part {
                starts: descriptor.starts_frame(),
                is_key: descriptor.starts_key_frame(payload),
                bytes: payload.get(descriptor.length..)?,
            })
        }
        VideoCodec::Vp9 => {
            let descriptor = vp9::Descriptor::parse(payload).ok()?;
            let structure = vp9_structure_bytes(payload, descriptor.length)?;
            Some(Part {
                starts: descriptor.starts_frame && descriptor.layers.is_none_or(|layers| layers.spatial == 0),
                is_key: descriptor.starts_key_frame(),
                bytes: payload.get(descriptor.length + structure..)?,
            })
        }
        VideoCodec::H264 => Some(Part {
            starts: h264_starts(payload),
            is_key: h264::starts_key_frame(payload),
            bytes: payload,
        }),
    }
}

/// Length of the scalability structure (RFC 9628 §4.2.1), which stands behind the descriptor when its V bit is set.
fn vp9_structure_bytes(payload: &[u8], at: usize) -> Option<usize> {
    const V: u8 = 0x02;
    if payload.first()? & V == 0 {
        return Some(0);
    }
    let first = *payload.get(at)?;
    let mut length = 1;
    if first & 0x10 != 0 {
        length += 4 * (usize::from(first >> 5) + 1);
    }
    if first & 0x08 != 0 {
        let pictures = *payload.get(at + length)?;
        length += 1;
        for _ in 0..pictures {
            let references = usize::from(*payload.get(at + length)? >> 2 & 3);
            length += 1 + references;
        }
    }
    Some(length)
}

/// Whether a packet begins a unit: anything but a later fragment.
fn h264_starts(payload: &[u8]) -> bool {
    const FU_A: u8 = 28;
    match payload {
        [first, fu, ..] if first & 0x1f == FU_A => fu & 0x80 != 0,
        [_, ..] => true,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(time: u64, marker: bool, payload: &[u8]) -> Ordered {
        Ordered {
            time,
            is_after_gap: false,
            marker,
            payload: payload.to_vec(),
        }
    }

    fn after_gap(packet: Ordered) -> Ordered {
        Ordered {
            is_after_gap: true,
            ..packet
        }
    }

    fn run(codec: VideoCodec, packets: &[Ordered]) -> (Vec<(u64, bool, Vec<u8>)>, u64) {
        let mut frames = Frames::new(codec);
        packets.iter().for_each(|packet| frames.put(packet));
        frames.end();
        let out = std::iter::from_fn(|| frames.take()).map(|frame| (frame.time, frame.is_key, frame.data));
        (out.collect(), frames.incomplete)
    }

    #[test]
    fn frames_of_vp8_begin_with_a_key_frame_and_have_all_their_packets() {
        let packets = [
            packet(0, true, &[0x10, 1, 9]),      // a delta frame before the first key frame
            packet(3_000, false, &[0x10, 0, 1]), // key frame, two packets
            packet(3_000, true, &[0x00, 2]),
            packet(6_000, false, &[0x10, 1, 3]), // the second packet is lost
            after_gap(packet(9_000, true, &[0x10, 1, 4])),
            after_gap(packet(12_000, true, &[0x00, 5])), // the first packet is lost
            packet(15_000, true, &[0x10, 1, 6]),
        ];
        let expected = vec![
            (3_000, true, vec![0, 1, 2]),
            (9_000, false, vec![1, 4]),
            (15_000, false, vec![1, 6]),
        ];
        assert_eq!(run(VideoCodec::Vp8, &packets), (expected, 3));
    }

    #[test]
    fn the_scalability_structure_of_vp9_is_no_part_of_the_frame() {
        // B, E, V; one spatial layer with its size, a group of two pictures with one and no reference.
        let structure = [0x18, 2, 0x80, 1, 0xe0, 2, 0x04, 1, 0x00];
        let payload = [&[0x0e][..], &structure, &[0x82, 7]].concat();
        let packets = [packet(0, true, &payload), packet(3_000, true, &[0x4c, 8])];
        let expected = vec![(0, true, vec![0x82, 7]), (3_000, false, vec![8])];
        assert_eq!(run(VideoCodec::Vp9, &packets), (expected, 0));
        assert_eq!(vp9_structure_bytes(&payload[..4], 1), None, "cut off");
    }

    #[test]
    fn units_of_h264_get_their_lengths_and_fragments_are_joined() {
        let packets = [
            packet(0, false, &[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]), // an aggregate of two parameter sets
            packet(0, false, &[0x7c, 0x85, 2]),
            packet(0, false, &[0x7c, 0x05, 3]),
            packet(0, true, &[0x7c, 0x45, 4]),
            packet(3_000, true, &[0x41, 5]),
            packet(6_000, true, &[0x7c, 0x81, 6]), // a fragment without its end
        ];
        let key = [
            &[0, 0, 0, 2, 0x67, 1][..],
            &[0, 0, 0, 1, 0x68],
            &[0, 0, 0, 4, 0x65, 2, 3, 4],
        ]
        .concat();
        let expected = vec![(0, true, key), (3_000, false, vec![0, 0, 0, 2, 0x41, 5])];
        assert_eq!(run(VideoCodec::H264, &packets), (expected, 1));
    }
}
