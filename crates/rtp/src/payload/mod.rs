//! Payload descriptors, as far as the media path needs them.

pub mod av1;
pub mod event;
pub mod h264;
pub mod h265;
pub mod vp8;
pub mod vp9;

use crate::Error;
use crate::error::u16_at;

/// Where the picture id stands and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PictureId {
    /// Offset in the payload.
    pub at: usize,
    /// Its value.
    pub value: u16,
    /// Whether it has 15 bits instead of 7.
    pub is_long: bool,
}

impl PictureId {
    /// Reads the one at an offset: VP8 and VP9 write it alike (RFC 7741 §4.2, RFC 9628 §4.2).
    fn read(payload: &[u8], at: usize) -> Result<Self, Error> {
        let byte = |at: usize| payload.get(at).copied().ok_or(Error::Truncated);
        let first = byte(at)?;
        let is_long = first & 0x80 != 0;
        let value = if is_long {
            byte(at + 1)?;
            u16_at(payload, at) & 0x7fff
        } else {
            u16::from(first)
        };
        Ok(Self { at, value, is_long })
    }

    /// Bytes that it takes.
    fn len(self) -> usize {
        1 + usize::from(self.is_long)
    }

    /// Writes another value, as far as it has room, in place of this one.
    ///
    /// # Panics
    /// When `payload` is shorter than the one that it was read of.
    pub fn write(self, payload: &mut [u8], value: u16) {
        if self.is_long {
            payload[self.at..self.at + 2].copy_from_slice(&(value | 0x8000).to_be_bytes());
        } else {
            payload[self.at] = value as u8 & 0x7f;
        }
    }
}
