//! What every packet carries.
//!
//! ```text
//! 0          4        8              16             24
//! ┌──────────┬────────┬──────────────┬──────────────┬──────────┐
//! │ CRC-32   │ flow   │ sequence     │ sent at, ns  │ filler   │   little-endian; the CRC covers all that follows it
//! └──────────┴────────┴──────────────┴──────────────┴──────────┘
//! ```

/// Fewest bytes of a payload.
pub const PAYLOAD_BYTES_MIN: usize = 24;
/// Most bytes of a payload: with 36 bytes of a Send indication it still fits an Ethernet frame.
pub const PAYLOAD_BYTES_MAX: usize = 1400;

/// Where the filler starts in its table moves with the sequence, so that two packets differ in every byte.
static FILLER: [u8; PAYLOAD_BYTES_MAX + 256] = filler();

/// What a payload says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Index of the flow it belongs to.
    pub flow: u32,
    /// Its number in that flow, from 0.
    pub sequence: u64,
    /// When it was sent, in nanoseconds since the load began.
    pub sent_ns: u64,
}

impl Stamp {
    /// Fills a whole payload.
    ///
    /// # Panics
    /// When `out` is shorter than [`PAYLOAD_BYTES_MIN`] or longer than [`PAYLOAD_BYTES_MAX`]; both are checked where
    /// the pattern is made.
    pub fn write(&self, out: &mut [u8]) {
        out[4..8].copy_from_slice(&self.flow.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.sent_ns.to_le_bytes());
        let filler = &FILLER[usize::from(self.sequence as u8)..];
        let len = out.len() - PAYLOAD_BYTES_MIN;
        out[PAYLOAD_BYTES_MIN..].copy_from_slice(&filler[..len]);
        let crc = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads a payload that should have `len` bytes.
    ///
    /// Returns `None` when a byte differs from what was written, or the length does.
    pub fn read(payload: &[u8], len: usize) -> Option<Self> {
        let (crc, rest) = payload.split_first_chunk::<4>()?;
        if payload.len() != len || crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (flow, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (sent_ns, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            flow: u32::from_le_bytes(*flow),
            sequence: u64::from_le_bytes(*sequence),
            sent_ns: u64::from_le_bytes(*sent_ns),
        })
    }
}

const fn filler() -> [u8; PAYLOAD_BYTES_MAX + 256] {
    let mut table = [0; PAYLOAD_BYTES_MAX + 256];
    let mut state = 0x9e37_79b9_u32;
    let mut index = 0;
    while index < table.len() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        table[index] = (state >> 24) as u8;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stamp_survives_and_a_changed_bit_does_not(
            flow: u32, sequence: u64, sent_ns: u64,
            len in PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX,
            at: prop::sample::Index, bit in 0..8,
        ) {
            let stamp = Stamp { flow, sequence, sent_ns };
            let mut payload = vec![0; len];
            stamp.write(&mut payload);
            prop_assert_eq!(Stamp::read(&payload, len), Some(stamp));
            payload[at.index(len)] ^= 1u8 << bit;
            prop_assert_eq!(Stamp::read(&payload, len), None);
        }

        #[test]
        fn reading_anything_never_panics(bytes: Vec<u8>) {
            prop_assert_eq!(Stamp::read(&bytes, bytes.len().wrapping_add(1)), None);
            let _ = Stamp::read(&bytes, bytes.len());
        }
    }

    #[test]
    fn a_cut_payload_is_refused() {
        let stamp = Stamp {
            flow: 1,
            sequence: 2,
            sent_ns: 3,
        };
        let mut payload = [0; 170];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload[..169], 170), None);
        assert_eq!(Stamp::read(&payload, 171), None);
    }
}
