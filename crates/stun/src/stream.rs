use crate::attribute::padded;
use crate::{CHANNEL_DATA_HEADER_BYTES, HEADER_BYTES, PacketKind, ParseError};

/// Tells how many bytes the next message of a TCP or TLS stream takes, padding included (RFC 8489 §6.2.2,
/// RFC 8656 §12.5).
///
/// Returns `None` while `prefix` is too short to tell. A STUN message takes up to 65 555 bytes, a ChannelData message
/// up to 65 540: more than 16 bits hold.
///
/// # Errors
/// [`ParseError::NotThisKind`] when the stream carries neither; nothing after that can be trusted.
pub fn frame_len(prefix: &[u8]) -> Result<Option<usize>, ParseError> {
    let Some(head) = prefix.first_chunk::<4>() else {
        return if prefix.is_empty() || is_framed(prefix) {
            Ok(None)
        } else {
            Err(ParseError::NotThisKind)
        };
    };
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match PacketKind::of(head) {
        PacketKind::Stun if len % 4 != 0 => Err(ParseError::LengthMismatch),
        PacketKind::Stun => Ok(Some(HEADER_BYTES + len)),
        PacketKind::ChannelData => Ok(Some(CHANNEL_DATA_HEADER_BYTES + padded(len))),
        _ => Err(ParseError::NotThisKind),
    }
}

fn is_framed(prefix: &[u8]) -> bool {
    matches!(PacketKind::of(prefix), PacketKind::Stun | PacketKind::ChannelData)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_near_the_limit_do_not_wrap_at_16_bits() {
        assert_eq!(frame_len(&[0, 1, 0xff, 0xfc]), Ok(Some(65_552)));
        assert_eq!(frame_len(&[0x40, 0, 0xff, 0xff]), Ok(Some(65_540)));
    }

    #[test]
    fn a_stream_of_something_else_is_refused_at_its_first_byte() {
        assert_eq!(frame_len(b"\x16"), Err(ParseError::NotThisKind));
        assert_eq!(frame_len(b"\x16\x03\x01\x00"), Err(ParseError::NotThisKind));
        assert_eq!(frame_len(&[0, 1, 0]), Ok(None));
        assert_eq!(frame_len(&[]), Ok(None));
    }
}
