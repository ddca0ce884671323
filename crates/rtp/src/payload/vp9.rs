//! The VP9 payload descriptor (RFC 9628 §4.2), as far as key frames.

/// Inter-picture predicted frame.
const P: u8 = 0x40;
/// Layer indices present.
const L: u8 = 0x20;
/// Flexible mode.
const F: u8 = 0x10;
/// Start of a frame.
const B: u8 = 0x08;
/// Picture id present.
const I: u8 = 0x80;

/// Whether the packet starts a key frame: not predicted from another picture, start of a frame, lowest spatial layer.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    let Some(first) = payload.first().copied() else {
        return false;
    };
    if first & P != 0 || first & B == 0 {
        return false;
    }
    spatial_layer(first, payload).is_some_and(|layer| layer == 0)
}

/// The spatial layer; 0 when layers are not told.
fn spatial_layer(first: u8, payload: &[u8]) -> Option<u8> {
    let mut at = 1;
    if first & I != 0 {
        at += 1 + usize::from(payload.get(at)? & 0x80 != 0);
    }
    if first & L == 0 {
        return payload.get(at).map(|_| 0);
    }
    let layer = payload.get(at)?;
    // TL0PICIDX follows in non-flexible mode; the frame must have something behind it either way.
    let rest = at + 1 + usize::from(first & F == 0);
    payload.get(rest).map(|_| layer >> 1 & 0x07)
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
}
