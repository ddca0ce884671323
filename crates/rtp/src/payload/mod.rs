//! Payload descriptors, as far as the media path needs them.

pub mod av1;
pub mod event;
pub mod h264;
pub mod h265;
pub mod vp8;
pub mod vp9;

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
