//! H.265 payloads (RFC 7798), as far as key frames.

use crate::error::u16_at;

const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;

/// Whether the packet starts a key frame: an IRAP slice or a parameter set, alone, first in a fragment, or anywhere in
/// an aggregate. Read without DONL fields, which WebRTC does not use.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    if payload.len() < 3 {
        return false;
    }
    match unit_type(payload[0]) {
        AGGREGATE => aggregate_has_key(&payload[2..]),
        FRAGMENT => payload[2] & 0x80 != 0 && is_key(payload[2] & 0x3f),
        unit => is_key(unit),
    }
}

fn unit_type(first: u8) -> u8 {
    first >> 1 & 0x3f
}

/// IRAP pictures are 16-23; VPS, SPS and PPS are 32-34.
fn is_key(unit: u8) -> bool {
    matches!(unit, 16..=23 | 32..=34)
}

fn aggregate_has_key(mut rest: &[u8]) -> bool {
    while rest.len() > 2 {
        if is_key(unit_type(rest[2])) {
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
        assert!(starts_key_frame(&[19 << 1, 1, 0]), "IDR");
        assert!(starts_key_frame(&[33 << 1, 1, 0]), "SPS");
        assert!(!starts_key_frame(&[1 << 1, 1, 0]), "trailing picture");
        assert!(starts_key_frame(&[49 << 1, 1, 0x80 | 19]), "first fragment");
        assert!(!starts_key_frame(&[49 << 1, 1, 19]), "middle fragment");
        assert!(
            starts_key_frame(&[48 << 1, 1, 0, 2, 32 << 1, 1]),
            "aggregate with a VPS"
        );
        assert!(!starts_key_frame(&[19 << 1, 1]), "too short");
    }
}
