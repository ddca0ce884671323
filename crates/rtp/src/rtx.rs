//! Retransmission packets (RFC 4588 §4): the original sequence number stands in front of the original payload.

use crate::error::u16_at;

/// Length of the original sequence number.
pub const OSN_BYTES: usize = 2;

/// Splits the payload of a retransmission into original sequence number and original payload. `None` for padding-only
/// packets, by which senders probe for bandwidth.
pub fn unwrap(payload: &[u8]) -> Option<(u16, &[u8])> {
    (payload.len() > OSN_BYTES).then(|| (u16_at(payload, 0), &payload[OSN_BYTES..]))
}

/// Writes the payload of a retransmission into `buf` and gives its length, or `None` when it does not fit.
pub fn wrap(buf: &mut [u8], original_sequence_number: u16, payload: &[u8]) -> Option<usize> {
    let length = OSN_BYTES + payload.len();
    let room = buf.get_mut(..length)?;
    room[..OSN_BYTES].copy_from_slice(&original_sequence_number.to_be_bytes());
    room[OSN_BYTES..].copy_from_slice(payload);
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_is_undone_by_unwrapping() {
        let mut buf = [0; 8];
        assert_eq!(wrap(&mut buf, 0xabcd, &[1, 2, 3]), Some(5));
        assert_eq!(unwrap(&buf[..5]), Some((0xabcd, &[1, 2, 3][..])));
        assert_eq!(wrap(&mut buf[..4], 0xabcd, &[1, 2, 3]), None);
    }

    #[test]
    fn probes_carry_no_original() {
        assert_eq!(unwrap(&[]), None);
        assert_eq!(unwrap(&[1]), None);
        assert_eq!(unwrap(&[1, 2]), None);
    }
}
