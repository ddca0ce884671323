//! What can be wrong with a packet.

use std::fmt;

/// Why bytes are not what they should be, or why something does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Error {
    /// The bytes end before what the header promises.
    Truncated,
    /// The version is not 2.
    Version,
    /// The padding count is zero or reaches into the header.
    Padding,
    /// A field has a value that its standard does not allow.
    Format,
    /// The caller's buffer is too short.
    NoRoom,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "packet ends before what its header promises",
            Self::Version => "version is not 2",
            Self::Padding => "padding count is zero or reaches into the header",
            Self::Format => "field has a value that its standard does not allow",
            Self::NoRoom => "buffer is too short",
        })
    }
}

impl std::error::Error for Error {}

/// Reads 16 bits; the caller has checked the length.
pub(crate) fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

/// Reads 24 bits; the caller has checked the length.
pub(crate) fn u24_at(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([0, data[at], data[at + 1], data[at + 2]])
}

/// Reads 32 bits; the caller has checked the length.
pub(crate) fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}
