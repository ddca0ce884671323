//! Payloads of audio and video, with the stamp inside that tells whether they arrived whole, and when they left.
//!
//! ```text
//! audio   │ TOC │ stamp │
//! video   │ VP8 descriptor, 6 │ frame tag, 3 (key frames: start code and size, 7 more) │ stamp │   first of a frame
//!         │ VP8 descriptor, 6 │ stamp │                                                           the others
//! ```
//!
//! A server may rewrite picture id and TL0PICIDX, which lie outside the stamp's checksum.

use voex_rtp::payload::vp8;

use crate::payload::{PAYLOAD_BYTES_MIN, Stamp};

/// Opus: hybrid, fullband, 20 ms, mono, one frame (RFC 6716 §3.1).
const OPUS_TOC: u8 = 15 << 3;
/// X, and what follows it: I, L, T and K.
const DESCRIPTOR_BYTES: usize = 6;
const FRAME_TAG_BYTES: usize = 3;
const KEY_FRAME_HEAD_BYTES: usize = 10;
/// In front of the frame's size (RFC 6386 §9.1).
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// What stands in front of the stamp of a video packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// A frame that needs no other.
    pub(crate) is_key: bool,
    /// Number of the frame, 15 bits.
    pub(crate) picture_id: u16,
    /// Number of the frame in the base layer.
    pub(crate) tl0: u8,
    /// Width and height in pixels.
    pub(crate) size: (u16, u16),
}

/// What was found in front of a stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The stamp.
    pub(crate) stamp: Stamp,
    /// The first packet of a key frame.
    pub(crate) starts_key_frame: bool,
    /// Picture id of a video packet.
    pub(crate) picture_id: Option<u16>,
}

/// Writes an audio payload over the whole of `out`.
pub(crate) fn write_audio(out: &mut [u8], stamp: &Stamp) {
    out[0] = OPUS_TOC;
    stamp.write(&mut out[1..]);
}

/// Reads an audio payload of so many bytes; `None` when a byte differs from what was written.
pub(crate) fn read_audio(payload: &[u8], len: usize) -> Option<Found> {
    let (toc, rest) = payload.split_first()?;
    let stamp = Stamp::read(rest, len - 1).filter(|_| *toc == OPUS_TOC)?;
    Some(Found {
        stamp,
        starts_key_frame: false,
        picture_id: None,
    })
}

/// Fewest bytes of a video payload.
pub(crate) const VIDEO_BYTES_MIN: usize = DESCRIPTOR_BYTES + KEY_FRAME_HEAD_BYTES + PAYLOAD_BYTES_MIN;

/// Writes a video payload over the whole of `out`.
pub(crate) fn write_video(out: &mut [u8], frame: Frame, is_first: bool, stamp: &Stamp) {
    let [high, low] = frame.picture_id.to_be_bytes();
    let start = if is_first { 0x10 } else { 0 };
    // Layer 0, which refers to the base layer only (Y), key index 0.
    out[..DESCRIPTOR_BYTES].copy_from_slice(&[0x80 | start, 0xe0, 0x80 | high, low, frame.tl0, 0x20]);
    let head = head_bytes(is_first, frame.is_key);
    let rest = &mut out[DESCRIPTOR_BYTES..];
    if is_first {
        // Version 0, shown, first partition of no size; the lowest bit is clear for a key frame.
        rest[..FRAME_TAG_BYTES].copy_from_slice(&[0x10 | u8::from(!frame.is_key), 0, 0]);
    }
    if head == KEY_FRAME_HEAD_BYTES {
        rest[3..6].copy_from_slice(&START_CODE);
        rest[6..8].copy_from_slice(&frame.size.0.to_le_bytes());
        rest[8..10].copy_from_slice(&frame.size.1.to_le_bytes());
    }
    stamp.write(&mut rest[head..]);
}

/// Reads a video payload; `None` when it is not one of ours any more.
pub(crate) fn read_video(payload: &[u8]) -> Option<Found> {
    let descriptor = vp8::Descriptor::parse(payload).ok()?;
    let rest = payload.get(descriptor.length..)?;
    let is_first = descriptor.starts_frame();
    let is_key = is_first && rest.first()? & 1 == 0;
    let stamped = rest.get(head_bytes(is_first, is_key)..)?;
    Some(Found {
        stamp: Stamp::read(stamped, stamped.len())?,
        starts_key_frame: is_key,
        picture_id: descriptor.picture_id.map(|id| id.value),
    })
}

fn head_bytes(is_first: bool, is_key: bool) -> usize {
    match (is_first, is_key) {
        (true, true) => KEY_FRAME_HEAD_BYTES,
        (true, false) => FRAME_TAG_BYTES,
        (false, _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        flow: 3,
        sequence: 900,
        sent_ns: 77,
    };

    fn frame(is_key: bool) -> Frame {
        Frame {
            is_key,
            picture_id: 0x1234,
            tl0: 9,
            size: (1280, 720),
        }
    }

    #[test]
    fn audio_reads_back_and_another_length_or_byte_does_not() {
        let mut payload = [0; 80];
        write_audio(&mut payload, &STAMP);
        assert_eq!(read_audio(&payload, 80).unwrap().stamp, STAMP);
        assert_eq!(read_audio(&payload[..79], 80), None);
        payload[0] ^= 1;
        assert_eq!(read_audio(&payload, 80), None);
    }

    #[test]
    fn video_reads_back_as_what_a_server_takes_it_for() {
        for (is_key, is_first) in [(true, true), (false, true), (true, false), (false, false)] {
            let mut payload = [0; 500];
            write_video(&mut payload, frame(is_key), is_first, &STAMP);
            assert_eq!(vp8::starts_key_frame(&payload), is_key && is_first);
            let found = read_video(&payload).unwrap();
            assert_eq!(found.stamp, STAMP);
            assert_eq!(found.starts_key_frame, is_key && is_first);
            assert_eq!(found.picture_id, Some(0x1234));
        }
    }

    #[test]
    fn a_rewritten_picture_id_is_fine_and_a_changed_byte_is_not() {
        let mut payload = [0; VIDEO_BYTES_MIN];
        write_video(&mut payload, frame(true), true, &STAMP);
        let id = vp8::Descriptor::parse(&payload).unwrap().picture_id.unwrap();
        id.write(&mut payload, 5);
        assert_eq!(read_video(&payload).unwrap().picture_id, Some(5));
        payload[VIDEO_BYTES_MIN - 1] ^= 1;
        assert_eq!(read_video(&payload), None);
    }

    #[test]
    fn nothing_is_no_payload() {
        assert_eq!(read_video(&[]), None);
        assert_eq!(read_video(&[0x90, 0xe0, 0x80, 0, 0, 0x20]), None);
        assert_eq!(read_audio(&[], 80), None);
    }
}
