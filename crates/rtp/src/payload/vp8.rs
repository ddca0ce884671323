//! The VP8 payload descriptor (RFC 7741 §4.2).

use super::PictureId;
use crate::Error;

/// A VP8 payload descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Length of the descriptor: where the VP8 payload header or the rest of the partition begins.
    pub length: usize,
    /// Start of a VP8 partition.
    pub starts_partition: bool,
    /// Partition index; 0 is the first.
    pub partition: u8,
    /// Frame that no other refers to.
    pub is_non_reference: bool,
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// Offset and value of TL0PICIDX.
    pub tl0_picture_index: Option<(usize, u8)>,
    /// Temporal layer, 0-3, and whether it only refers to the base layer.
    pub temporal: Option<(u8, bool)>,
}

impl Descriptor {
    /// Reads the descriptor in front of a VP8 payload.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let byte = |at: usize| payload.get(at).copied().ok_or(Error::Truncated);
        let first = byte(0)?;
        let extended = if first & 0x80 != 0 { byte(1)? } else { 0 };
        let mut at = if first & 0x80 != 0 { 2 } else { 1 };
        let mut picture_id = None;
        if extended & 0x80 != 0 {
            let id = PictureId::read(payload, at)?;
            at += id.len();
            picture_id = Some(id);
        }
        let mut tl0_picture_index = None;
        if extended & 0x40 != 0 {
            tl0_picture_index = Some((at, byte(at)?));
            at += 1;
        }
        let mut temporal = None;
        if extended & 0x30 != 0 {
            let layer = byte(at)?;
            temporal = (extended & 0x20 != 0).then_some((layer >> 6, layer & 0x20 != 0));
            at += 1;
        }
        Ok(Self {
            length: at,
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            is_non_reference: first & 0x20 != 0,
            picture_id,
            tl0_picture_index,
            temporal,
        })
    }

    /// Whether the packet starts a frame: the start of the first partition.
    pub fn starts_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }

    /// Whether the packet, whose payload this descriptor was read of, starts a key frame: the start of a frame with the
    /// inverse key frame bit of the payload header (RFC 7741 §4.3) clear.
    pub fn starts_key_frame(&self, payload: &[u8]) -> bool {
        self.starts_frame() && payload.get(self.length).is_some_and(|header| header & 1 == 0)
    }
}

/// Whether the packet starts a key frame.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_ok_and(|descriptor| descriptor.starts_key_frame(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frame_with_long_picture_id_and_layers() {
        // X R N S PID=0 | I L T | M PictureID 0x1234 | TL0PICIDX 7 | TID 1 Y | payload header of a key frame
        let payload = [0x90, 0xe0, 0x92, 0x34, 7, 0x60, 0x50, 0x9d, 0x01, 0x2a];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.length, 6);
        let picture_id = PictureId {
            at: 2,
            value: 0x1234,
            is_long: true,
        };
        assert_eq!(descriptor.picture_id, Some(picture_id));
        assert_eq!(descriptor.tl0_picture_index, Some((4, 7)));
        assert_eq!(descriptor.temporal, Some((1, true)));
        assert!(starts_key_frame(&payload));
    }

    #[test]
    fn another_picture_id_is_written_in_its_own_width() {
        let mut payload = [0x90, 0xe0, 0x92, 0x34, 7, 0x60];
        let long = Descriptor::parse(&payload).unwrap().picture_id.unwrap();
        long.write(&mut payload, 0x7fff);
        assert_eq!(payload, [0x90, 0xe0, 0xff, 0xff, 7, 0x60]);
        let mut payload = [0x90, 0x80, 0x12];
        let short = Descriptor::parse(&payload).unwrap().picture_id.unwrap();
        short.write(&mut payload, 0x80);
        assert_eq!(payload, [0x90, 0x80, 0x00]);
    }

    #[test]
    fn later_packets_and_other_frames_are_not_key_frames() {
        assert!(starts_key_frame(&[0x10, 0x50]));
        assert!(!starts_key_frame(&[0x10, 0x51]), "inter frame");
        assert!(!starts_key_frame(&[0x00, 0x50]), "not the start of the partition");
        assert!(!starts_key_frame(&[0x11, 0x50]), "second partition");
        assert!(!starts_key_frame(&[0x10]), "no payload");
    }

    #[test]
    fn every_shortening_of_a_descriptor_is_refused() {
        let payload = [0x90, 0xe0, 0x92, 0x34, 7, 0x60];
        for length in 0..payload.len() {
            assert_eq!(Descriptor::parse(&payload[..length]), Err(Error::Truncated), "{length}");
        }
    }
}
