//! The VP9 payload descriptor (RFC 9628 §4.2), without the scalability structure behind it.

use super::PictureId;
use crate::Error;

/// Picture id present.
const I: u8 = 0x80;
/// Inter-picture predicted frame.
const P: u8 = 0x40;
/// Layer indices present.
const L: u8 = 0x20;
/// Flexible mode.
const F: u8 = 0x10;
/// Start of a frame.
const B: u8 = 0x08;
/// End of a frame.
const E: u8 = 0x04;

/// Most reference indices of a frame in flexible mode.
const REFERENCES_MAX: usize = 3;

/// A VP9 payload descriptor. A "frame" is what one spatial layer adds to a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Length of the descriptor up to the scalability structure.
    pub length: usize,
    /// Starts a frame.
    pub starts_frame: bool,
    /// Ends a frame.
    pub ends_frame: bool,
    /// Predicted from an earlier picture.
    pub is_predicted: bool,
    /// Picture id, the same for all frames of a picture.
    pub picture_id: Option<PictureId>,
    /// Layer indices.
    pub layers: Option<Layers>,
    /// Offset and value of TL0PICIDX (non-flexible mode).
    pub tl0_picture_index: Option<(usize, u8)>,
}

/// Layer indices of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layers {
    /// Temporal layer, 0-7.
    pub temporal: u8,
    /// Later pictures of higher temporal layers depend on no earlier one of theirs.
    pub switches_up: bool,
    /// Spatial layer, 0-7.
    pub spatial: u8,
    /// Predicted from the spatial layer below in the same picture.
    pub uses_lower: bool,
}

impl Descriptor {
    /// Reads the descriptor in front of a VP9 payload.
    ///
    /// # Errors
    /// [`Error::Truncated`]; [`Error::Format`] when a frame names more than three references.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let byte = |at: usize| payload.get(at).copied().ok_or(Error::Truncated);
        let first = byte(0)?;
        let mut at = 1;
        let mut picture_id = None;
        if first & I != 0 {
            let id = PictureId::read(payload, at)?;
            at += id.len();
            picture_id = Some(id);
        }
        let (mut layers, mut tl0_picture_index) = (None, None);
        if first & L != 0 {
            let indices = byte(at)?;
            layers = Some(Layers {
                temporal: indices >> 5,
                switches_up: indices & 0x10 != 0,
                spatial: indices >> 1 & 0x07,
                uses_lower: indices & 1 != 0,
            });
            at += 1;
            if first & F == 0 {
                tl0_picture_index = Some((at, byte(at)?));
                at += 1;
            }
        }
        if first & (F | P) == F | P {
            let last = (at..at + REFERENCES_MAX).find(|at| payload.get(*at).is_none_or(|index| index & 1 == 0));
            let last = last.ok_or(Error::Format)?;
            byte(last)?;
            at = last + 1;
        }
        Ok(Self {
            length: at,
            starts_frame: first & B != 0,
            ends_frame: first & E != 0,
            is_predicted: first & P != 0,
            picture_id,
            layers,
            tl0_picture_index,
        })
    }

    /// Whether the packet starts a key frame: not predicted from another picture, start of a frame, lowest spatial
    /// layer.
    pub fn starts_key_frame(&self) -> bool {
        self.starts_frame && !self.is_predicted && self.layers.is_none_or(|layers| layers.spatial == 0)
    }
}

/// Whether the packet starts a key frame, and has something behind its descriptor.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    Descriptor::parse(payload)
        .is_ok_and(|descriptor| descriptor.starts_key_frame() && payload.len() > descriptor.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_start_of_an_unpredicted_base_layer_frame_counts() {
        assert!(starts_key_frame(&[I | B, 0x81, 0x02, 0xaa]));
        assert!(starts_key_frame(&[I | L | B, 0x05, 0x00, 9, 0xaa]));
        assert!(!starts_key_frame(&[I | P | B, 0x05, 0xaa]), "predicted");
        assert!(!starts_key_frame(&[I, 0x05, 0xaa]), "not the start");
        assert!(
            !starts_key_frame(&[I | L | B, 0x05, 0x02, 9, 0xaa]),
            "second spatial layer"
        );
        assert!(!starts_key_frame(&[I | B, 0x81, 0x02]), "nothing behind the descriptor");
        assert!(!starts_key_frame(&[]));
    }

    #[test]
    fn a_non_flexible_descriptor_has_its_layers_and_tl0picidx() {
        // I P L B E | M PictureID 0x1234 | TID 2 U SID 1 D | TL0PICIDX 7
        let payload = [I | P | L | B | E, 0x92, 0x34, 0x53, 7, 0xaa];
        let descriptor = Descriptor::parse(&payload).unwrap();
        let layers = Layers {
            temporal: 2,
            switches_up: true,
            spatial: 1,
            uses_lower: true,
        };
        assert_eq!(descriptor.layers, Some(layers));
        assert_eq!(descriptor.picture_id.unwrap().value, 0x1234);
        assert_eq!(descriptor.tl0_picture_index, Some((4, 7)));
        assert_eq!((descriptor.length, descriptor.ends_frame), (5, true));
    }

    #[test]
    fn a_flexible_descriptor_names_up_to_three_references() {
        // I P L F B | PictureID 5 | TID 0 SID 2 D | P_DIFF 1 N | P_DIFF 2
        let descriptor = Descriptor::parse(&[I | P | L | F | B, 5, 0x05, 0x03, 0x04, 0xaa]).unwrap();
        assert_eq!((descriptor.length, descriptor.tl0_picture_index), (5, None));
        let four = [I | P | F, 5, 3, 3, 3, 2, 0xaa];
        assert_eq!(Descriptor::parse(&four), Err(Error::Format));
    }

    #[test]
    fn every_shortening_of_a_descriptor_is_refused() {
        for payload in [
            &[I | P | L, 0x92, 0x34, 0x53, 7][..],
            &[I | P | L | F, 5, 0x05, 0x03, 0x04],
        ] {
            for length in 0..payload.len() {
                assert_eq!(Descriptor::parse(&payload[..length]), Err(Error::Truncated), "{length}");
            }
        }
    }
}
