//! Sequence numbers without their wrap.

/// Whether `a` comes after `b` on the circle of 16-bit sequence numbers.
pub fn is_newer(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

/// Extends 16-bit sequence numbers to 64 bits. The first becomes 2^16 plus itself, so that packets from before it have
/// a place.
#[derive(Clone, Copy, Default, Debug)]
pub struct Unwrapper {
    newest: Option<u64>,
}

impl Unwrapper {
    /// Gives the extended number nearest to the newest so far, and remembers it when it is newer.
    pub fn unwrap(&mut self, sequence_number: u16) -> u64 {
        let extended = self.peek(sequence_number);
        if self.newest.is_none_or(|newest| extended > newest) {
            self.newest = Some(extended);
        }
        extended
    }

    /// Gives what [`unwrap`](Self::unwrap) would, without remembering.
    pub fn peek(&self, sequence_number: u16) -> u64 {
        let Some(newest) = self.newest else {
            return 0x1_0000 + u64::from(sequence_number);
        };
        let ahead = sequence_number.wrapping_sub(newest as u16);
        if ahead < 0x8000 {
            newest + u64::from(ahead)
        } else {
            newest.saturating_sub(u64::from(ahead.wrapping_neg()))
        }
    }

    /// The newest number so far.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_across_the_wrap() {
        assert!(is_newer(0, 65_535));
        assert!(!is_newer(65_535, 0));
        assert!(!is_newer(5, 5));
    }

    #[test]
    fn numbers_grow_across_the_wrap_and_late_ones_fall_before_it() {
        let mut unwrapper = Unwrapper::default();
        let start = unwrapper.unwrap(65_534);
        assert_eq!(unwrapper.unwrap(1), start + 3);
        assert_eq!(unwrapper.unwrap(65_535), start + 1);
        assert_eq!(unwrapper.newest(), Some(start + 3));
        assert_eq!(unwrapper.peek(2), start + 4);
        assert_eq!(unwrapper.unwrap(2), start + 4);
    }
}
