//! The RTP packet (RFC 3550 §5.1).

use crate::Error;
use crate::error::{u16_at, u32_at};
use crate::extension::{Elements, Form};

/// Length of the header without CSRCs and extension.
pub const FIXED_HEADER_BYTES: usize = 12;

/// Length of the word that starts a header extension: profile and length.
const EXTENSION_WORD_BYTES: usize = 4;

/// Whether a packet on a shared port is RTCP (RFC 5761 §4): its second byte is 192-223.
pub fn is_rtcp(data: &[u8]) -> bool {
    data.len() >= 2 && (192..=223).contains(&data[1])
}

/// Gives the length of an RTP header with CSRCs and extension: what SRTP leaves readable.
///
/// # Errors
/// [`Error::Version`], or [`Error::Truncated`] when `data` does not hold the header.
pub fn header_bytes(data: &[u8]) -> Result<usize, Error> {
    if data.len() < FIXED_HEADER_BYTES {
        return Err(Error::Truncated);
    }
    if data[0] >> 6 != 2 {
        return Err(Error::Version);
    }
    let mut length = FIXED_HEADER_BYTES + 4 * usize::from(data[0] & 0x0f);
    if data[0] & 0x10 != 0 {
        if data.len() < length + EXTENSION_WORD_BYTES {
            return Err(Error::Truncated);
        }
        length += EXTENSION_WORD_BYTES + 4 * usize::from(u16_at(data, length + 2));
    }
    if data.len() < length {
        Err(Error::Truncated)
    } else {
        Ok(length)
    }
}

/// A checked view of one RTP packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    data: &'a [u8],
    header: usize,
    payload_end: usize,
}

impl<'a> Packet<'a> {
    /// Checks version, CSRC count, extension length and padding.
    ///
    /// # Errors
    /// [`Error::Version`], [`Error::Truncated`], or [`Error::Padding`].
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let header = header_bytes(data)?;
        let mut payload_end = data.len();
        if data[0] & 0x20 != 0 {
            let padding = usize::from(data[data.len() - 1]);
            if padding == 0 || padding > data.len() - header {
                return Err(Error::Padding);
            }
            payload_end -= padding;
        }
        Ok(Self {
            data,
            header,
            payload_end,
        })
    }

    /// The marker bit.
    pub fn marker(&self) -> bool {
        self.data[1] & 0x80 != 0
    }

    /// The payload type, 0-127.
    pub fn payload_type(&self) -> u8 {
        self.data[1] & 0x7f
    }

    /// The sequence number.
    pub fn sequence_number(&self) -> u16 {
        u16_at(self.data, 2)
    }

    /// The timestamp, in units of the payload type's clock rate.
    pub fn timestamp(&self) -> u32 {
        u32_at(self.data, 4)
    }

    /// The synchronization source.
    pub fn ssrc(&self) -> u32 {
        u32_at(self.data, 8)
    }

    /// Contributing sources.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + 'a {
        let count = usize::from(self.data[0] & 0x0f);
        let data = self.data;
        (0..count).map(move |i| u32_at(data, FIXED_HEADER_BYTES + 4 * i))
    }

    /// Length of the header with CSRCs and extension.
    pub fn header_len(&self) -> usize {
        self.header
    }

    /// Length of the padding behind the payload, its count byte included.
    pub fn padding_len(&self) -> usize {
        self.data.len() - self.payload_end
    }

    /// The payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.data[self.header..self.payload_end]
    }

    /// Profile word and content of the header extension.
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        if self.data[0] & 0x10 == 0 {
            return None;
        }
        let at = FIXED_HEADER_BYTES + 4 * usize::from(self.data[0] & 0x0f);
        let content = &self.data[at + EXTENSION_WORD_BYTES..self.header];
        Some((u16_at(self.data, at), content))
    }

    /// The elements of an RFC 8285 header extension; none when there is no extension or another profile.
    pub fn elements(&self) -> Elements<'a> {
        match self.extension() {
            Some((profile, content)) => Elements::new(Form::of_profile(profile), content),
            None => Elements::new(None, &[]),
        }
    }
}

/// The first twelve bytes of a packet without CSRCs and padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FixedHeader {
    /// Whether a header extension follows.
    pub has_extension: bool,
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0-127.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence_number: u16,
    /// The timestamp.
    pub timestamp: u32,
    /// The synchronization source.
    pub ssrc: u32,
}

impl FixedHeader {
    /// Gives the header as bytes.
    pub fn to_bytes(self) -> [u8; FIXED_HEADER_BYTES] {
        let [s0, s1] = self.sequence_number.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        let first = 0x80 | u8::from(self.has_extension) << 4;
        let second = u8::from(self.marker) << 7 | (self.payload_type & 0x7f);
        [first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: FixedHeader = FixedHeader {
        has_extension: false,
        marker: true,
        payload_type: 96,
        sequence_number: 0x1234,
        timestamp: 0xdead_beef,
        ssrc: 0x0102_0304,
    };

    #[test]
    fn a_plain_packet_reads_back_what_was_written() {
        let mut data = HEADER.to_bytes().to_vec();
        data.extend([7, 8, 9]);
        let packet = Packet::parse(&data).unwrap();
        assert!(packet.marker());
        assert_eq!(packet.payload_type(), 96);
        assert_eq!(packet.sequence_number(), 0x1234);
        assert_eq!(packet.timestamp(), 0xdead_beef);
        assert_eq!(packet.ssrc(), 0x0102_0304);
        assert_eq!(packet.payload(), [7, 8, 9]);
        assert_eq!(packet.elements().count(), 0);
    }

    #[test]
    fn csrcs_extension_and_padding_are_taken_off_the_payload() {
        let mut data = HEADER.to_bytes().to_vec();
        data[0] = 0x80 | 0x20 | 0x10 | 2;
        data.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        data.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
        data.extend([1, 2, 3]);
        data.extend([0, 0, 3]);
        let packet = Packet::parse(&data).unwrap();
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(packet.header_len(), 28);
        assert_eq!(header_bytes(&data), Ok(28));
        assert_eq!(packet.payload(), [1, 2, 3]);
        assert_eq!(packet.padding_len(), 3);
        assert_eq!(packet.elements().collect::<Vec<_>>(), [(1, &[0xaa][..])]);
    }

    #[test]
    fn lengths_that_leave_the_packet_are_refused() {
        let bare = HEADER.to_bytes();
        let with_first = |first: u8, rest: &[u8]| [&[first][..], &bare[1..], rest].concat();
        let refused = |data: &[u8]| Packet::parse(data).map(|_| ()).unwrap_err();
        assert_eq!(refused(&bare[..11]), Error::Truncated);
        assert_eq!(refused(&with_first(0x40, &[])), Error::Version);
        assert_eq!(refused(&with_first(0x81, &[0, 0, 0])), Error::Truncated);
        assert_eq!(refused(&with_first(0x90, &[0xbe, 0xde, 0])), Error::Truncated);
        assert_eq!(
            refused(&with_first(0x90, &[0xbe, 0xde, 0, 1, 0, 0, 0])),
            Error::Truncated
        );
        assert_eq!(refused(&with_first(0xa0, &[0])), Error::Padding);
        assert_eq!(refused(&with_first(0xa0, &[2])), Error::Padding);
        assert!(Packet::parse(&with_first(0xa0, &[0, 2])).unwrap().payload().is_empty());
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_the_second_byte() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(is_rtcp(&[0x81, 206]));
        assert!(!is_rtcp(&[0x80, 0x80 | 63]));
        assert!(!is_rtcp(&[0x80, 0x80 | 96]));
        assert!(!is_rtcp(&[0x80]));
    }
}
