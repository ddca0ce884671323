//! H.264 payloads (RFC 6184), as far as key frames.

use crate::error::u16_at;

const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether the packet starts a key frame: a sequence parameter set or an IDR slice, alone, first in a fragment, or
/// anywhere in an aggregate.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    let Some(first) = payload.first() else {
        return false;
    };
    match first & 0x1f {
        IDR | SPS => true,
        STAP_A => aggregate_has_key(&payload[1..]),
        FU_A => payload.get(1).is_some_and(|fu| fu & 0x80 != 0 && is_key(fu & 0x1f)),
        _ => false,
    }
}

fn is_key(unit: u8) -> bool {
    matches!(unit, IDR | SPS)
}

fn aggregate_has_key(mut rest: &[u8]) -> bool {
    while rest.len() > 2 {
        if is_key(rest[2] & 0x1f) {
            return true;
        }
        let next = 2 + usize::from(u16_at(rest, 0));
        rest = rest.get(next..).unwrap_or(&[]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_units_fragments_and_aggregates() {
        assert!(starts_key_frame(&[0x67, 0x42]), "SPS");
        assert!(starts_key_frame(&[0x65, 0x88]), "IDR");
        assert!(!starts_key_frame(&[0x41, 0x9a]), "non-IDR slice");
        assert!(starts_key_frame(&[0x7c, 0x85]), "first fragment of an IDR");
        assert!(!starts_key_frame(&[0x7c, 0x05]), "middle fragment of an IDR");
        assert!(
            starts_key_frame(&[0x78, 0, 1, 0x06, 0, 2, 0x67, 0x42]),
            "SPS behind an SEI"
        );
        assert!(!starts_key_frame(&[0x78, 0, 1, 0x06]), "SEI alone");
        assert!(
            !starts_key_frame(&[0x78, 0xff, 0xff, 0x06]),
            "length that leaves the packet"
        );
        assert!(!starts_key_frame(&[]));
    }
}
