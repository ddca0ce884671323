//! Which packet indices of one SSRC were used: rollover counting and replay (RFC 3711 §3.3.1, §3.3.2).

/// Packets behind the newest whose arrival is remembered; older ones are refused.
///
/// RFC 3711 asks for 64. At 1000 packets a second of video a retransmission that crossed two continents is some 300
/// packets late, so this is 1024: about a second.
pub(super) const WINDOW_PACKETS: u64 = 1_024;

const WORDS: usize = WINDOW_PACKETS as usize / 64;

/// SRTP indices have 48 bits (ROC and sequence number); behind the last one the key is used up.
pub(super) const INDEX_MAX: u64 = (1 << 48) - 1;

/// The newest index and a ring of one bit for each of the last [`WINDOW_PACKETS`].
#[derive(Clone, Default)]
pub(super) struct Window {
    newest: Option<u64>,
    seen: [u64; WORDS],
}

/// What a window says about an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Fresh,
    Replayed,
    TooOld,
}

impl Window {
    /// Guesses the 48-bit index of a sequence number: the one nearest to the newest (RFC 3711 appendix A).
    ///
    /// `None` when that would lie before the first packet.
    pub(super) fn guess(&self, sequence_number: u16) -> Option<u64> {
        let Some(newest) = self.newest else {
            return Some(sequence_number.into());
        };
        let distance = sequence_number.wrapping_sub(newest as u16) as i16;
        newest.checked_add_signed(distance.into())
    }

    /// Looks an index up; changes nothing.
    pub(super) fn check(&self, index: u64) -> Verdict {
        match self.newest {
            Some(newest) if index <= newest => {
                if newest - index >= WINDOW_PACKETS {
                    Verdict::TooOld
                } else if self.seen[word(index)] & bit(index) != 0 {
                    Verdict::Replayed
                } else {
                    Verdict::Fresh
                }
            }
            _ => Verdict::Fresh,
        }
    }

    /// Remembers an index that [`check`](Self::check) called fresh.
    pub(super) fn accept(&mut self, index: u64) {
        match self.newest {
            Some(newest) if index <= newest => {}
            Some(newest) if index - newest < WINDOW_PACKETS => {
                (newest + 1..index).for_each(|skipped| self.seen[word(skipped)] &= !bit(skipped));
                self.newest = Some(index);
            }
            _ => {
                self.seen = [0; WORDS];
                self.newest = Some(index);
            }
        }
        self.seen[word(index)] |= bit(index);
    }
}

fn word(index: u64) -> usize {
    (index / 64) as usize % WORDS
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use voex_base::Rng;

    use super::*;

    #[test]
    fn a_sequence_number_behind_the_wrap_belongs_to_the_next_rollover() {
        let mut window = Window::default();
        window.accept(window.guess(65_535).unwrap());
        assert_eq!(window.guess(0), Some(65_536));
        window.accept(65_536);
        assert_eq!(window.guess(65_534), Some(65_534));
        assert_eq!(window.check(65_534), Verdict::Fresh);
        assert_eq!(window.check(65_535), Verdict::Replayed);
    }

    #[test]
    fn a_sequence_number_before_the_first_packet_has_no_index() {
        let mut window = Window::default();
        window.accept(window.guess(3).unwrap());
        assert_eq!(window.guess(65_530), None);
    }

    #[test]
    fn the_window_agrees_with_a_set_of_everything_seen() {
        let seed = 11;
        let mut rng = Rng::from_number(seed);
        let (mut window, mut seen) = (Window::default(), BTreeSet::new());
        let mut newest = 0u64;
        for step in 0..50_000 {
            let jump = if rng.below(200) == 0 { 3_000 } else { 40 };
            let index = (newest + rng.below(jump)).saturating_sub(rng.below(1_200));
            let expected = if !seen.is_empty() && newest.saturating_sub(index) >= WINDOW_PACKETS {
                Verdict::TooOld
            } else if seen.contains(&index) {
                Verdict::Replayed
            } else {
                Verdict::Fresh
            };
            assert_eq!(
                window.check(index),
                expected,
                "seed {seed} step {step} index {index} newest {newest}"
            );
            if expected == Verdict::Fresh {
                window.accept(index);
                seen.insert(index);
                newest = newest.max(index);
            }
        }
    }
}
