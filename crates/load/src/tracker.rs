//! Which numbers of a flow have arrived.

/// Numbers behind the newest that are remembered; what is older cannot be told from a duplicate.
const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;

/// What the arrival of a number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// For the first time, and newer than all before.
    InOrder,
    /// For the first time, behind a newer one.
    Reordered,
    /// Again, or so late that nobody remembers.
    Duplicate,
    /// A number that was never sent.
    Unsent,
}

/// Numbers sent and arrived in one flow.
#[derive(Clone, Default, Debug)]
pub struct Tracker {
    sent: u64,
    arrivals: Arrivals,
}

/// Numbers that arrived.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// One more than the newest that arrived.
    newest: u64,
    count: u64,
    seen: [u64; WORDS],
}

impl Tracker {
    /// Gives the next number and counts it as sent.
    pub fn send(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }

    /// Takes back the last number: its packet did not leave.
    pub fn unsend(&mut self) {
        self.sent -= 1;
    }

    /// Notes the arrival of a number.
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.sent {
            return Arrival::Unsent;
        }
        self.arrivals.arrive(sequence)
    }

    /// Gives how many were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Gives how many have not arrived, still under way or lost.
    pub fn missing(&self) -> u64 {
        self.sent - self.arrivals.count
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            newest: 0,
            count: 0,
            seen: [0; WORDS],
        }
    }
}

impl Arrivals {
    /// Notes the arrival of a number; gives all but [`Arrival::Unsent`].
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.newest {
            self.forget(sequence);
            self.newest = sequence + 1;
            self.mark(sequence);
            return Arrival::InOrder;
        }
        if self.newest - sequence > WINDOW || self.is_marked(sequence) {
            return Arrival::Duplicate;
        }
        self.mark(sequence);
        Arrival::Reordered
    }

    /// Gives one more than the newest that arrived.
    pub fn end(&self) -> u64 {
        self.newest
    }

    /// Gives how many arrived, each counted once.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Clears the places of numbers that come into the window up to `sequence`.
    fn forget(&mut self, sequence: u64) {
        if sequence - self.newest >= WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for number in self.newest..sequence {
            let (word, bit) = place(number);
            self.seen[word] &= !bit;
        }
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = place(sequence);
        self.seen[word] |= bit;
        self.count += 1;
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.seen[word] & bit != 0
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let slot = sequence % WINDOW;
    ((slot / 64) as usize, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn sent(count: u64) -> Tracker {
        let mut tracker = Tracker::default();
        for _ in 0..count {
            tracker.send();
        }
        tracker
    }

    #[test]
    fn what_never_arrives_is_missing() {
        let mut tracker = sent(10);
        for sequence in [0, 1, 2, 4, 5, 6, 7, 9] {
            assert_eq!(tracker.arrive(sequence), Arrival::InOrder);
        }
        assert_eq!(tracker.missing(), 2);
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_and_counts_once() {
        let mut tracker = sent(3);
        assert_eq!(tracker.arrive(1), Arrival::InOrder);
        assert_eq!(tracker.arrive(1), Arrival::Duplicate);
        assert_eq!(tracker.arrive(0), Arrival::Reordered);
        assert_eq!(tracker.arrive(0), Arrival::Duplicate);
        assert_eq!(tracker.missing(), 1);
    }

    #[test]
    fn a_number_that_was_never_sent_is_told() {
        assert_eq!(sent(3).arrive(3), Arrival::Unsent);
    }

    #[test]
    fn a_jump_over_the_whole_window_forgets_it() {
        let mut tracker = sent(3 * WINDOW);
        assert_eq!(tracker.arrive(5), Arrival::InOrder);
        assert_eq!(tracker.arrive(2 * WINDOW + 10), Arrival::InOrder);
        assert_eq!(tracker.arrive(2 * WINDOW + 5), Arrival::Reordered);
        assert_eq!(tracker.arrive(5), Arrival::Duplicate);
    }

    proptest! {
        #[test]
        fn within_the_window_it_agrees_with_a_set(arrivals in prop::collection::vec(0..WINDOW, 0..500)) {
            let mut tracker = sent(WINDOW);
            let mut seen = HashSet::new();
            for sequence in arrivals {
                let first = seen.insert(sequence);
                let arrival = tracker.arrive(sequence);
                prop_assert_eq!(first, matches!(arrival, Arrival::InOrder | Arrival::Reordered));
            }
            prop_assert_eq!(tracker.missing(), WINDOW - seen.len() as u64);
        }
    }
}
