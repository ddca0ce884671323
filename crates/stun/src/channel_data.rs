use crate::{ParseError, WriteError};

/// Bytes before the payload of a ChannelData message (RFC 8656 §12.4).
///
/// ```text
/// 0       2        4
/// ┌───────┬────────┬─────────────┐
/// │channel│ length │ payload ... │   big-endian; padded to four bytes over streams only
/// └───────┴────────┴─────────────┘
/// ```
pub const CHANNEL_DATA_HEADER_BYTES: usize = 4;

/// A channel number: 0x4000-0x7FFF.
///
/// RFC 8656 §12 narrowed the range of RFC 5766 §11 to 0x4000-0x4FFF, so that ChannelData can share a port with RTP.
/// Clients of the older standard draw from the whole range, and nothing else a TURN port hears starts with 0x50-0x7F.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// Makes a channel number.
    ///
    /// Returns `None` outside 0x4000-0x7FFF.
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 0x4000 && number <= 0x7fff {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Tells whether the number is in the range of RFC 8656: 0x4000-0x4FFF.
    pub const fn is_rfc8656(self) -> bool {
        self.0 <= 0x4fff
    }

    /// Gives the number.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// A ChannelData message, borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelData<'a> {
    /// The channel it is for.
    pub channel: ChannelNumber,
    /// The application data.
    pub payload: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Reads a datagram, or a frame of a stream. Bytes after the claimed length are padding and ignored.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] under four bytes, [`ParseError::BadChannelNumber`] and
    /// [`ParseError::LengthMismatch`] when more is claimed than there is.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (head, rest) = datagram.split_first_chunk::<4>().ok_or(ParseError::Truncated)?;
        let number = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        Ok(Self {
            channel: ChannelNumber::new(number).ok_or(ParseError::BadChannelNumber)?,
            payload: rest.get(..len).ok_or(ParseError::LengthMismatch)?,
        })
    }

    /// Gives the header for a payload of `len` bytes.
    ///
    /// # Errors
    /// [`WriteError`] when `len` does not fit 16 bits.
    #[inline]
    pub fn header(channel: ChannelNumber, len: usize) -> Result<[u8; CHANNEL_DATA_HEADER_BYTES], WriteError> {
        let [a, b] = channel.0.to_be_bytes();
        let [c, d] = u16::try_from(len).map_err(|_| WriteError)?.to_be_bytes();
        Ok([a, b, c, d])
    }

    /// Writes the message without padding (UDP) and gives its length.
    ///
    /// # Errors
    /// [`WriteError`] when `out` is too short.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Result<usize, WriteError> {
        let len = CHANNEL_DATA_HEADER_BYTES + self.payload.len();
        let out = out.get_mut(..len).ok_or(WriteError)?;
        out[..CHANNEL_DATA_HEADER_BYTES].copy_from_slice(&Self::header(self.channel, self.payload.len())?);
        out[CHANNEL_DATA_HEADER_BYTES..].copy_from_slice(self.payload);
        Ok(len)
    }
}
