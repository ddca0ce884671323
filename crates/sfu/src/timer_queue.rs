//! One deadline for each connection, the earliest first.

use std::time::Instant;

/// A binary heap of (deadline, key) that knows where each key stands, so that a deadline can be moved. Keys are small
/// numbers out of a slab. It grows when a new key comes and never otherwise.
#[derive(Default)]
pub(crate) struct TimerQueue {
    heap: Vec<(Instant, usize)>,
    /// Position in `heap` by key; `ABSENT` when it has no deadline.
    positions: Vec<usize>,
}

const ABSENT: usize = usize::MAX;

impl TimerQueue {
    /// Makes room for a key, so that setting its deadline does not allocate.
    pub(crate) fn add_key(&mut self, key: usize) {
        if self.positions.len() <= key {
            self.positions.resize(key + 1, ABSENT);
        }
        self.heap.reserve(self.positions.len() - self.heap.len());
    }

    /// Sets, moves or (`None`) clears the deadline of a key.
    pub(crate) fn set(&mut self, key: usize, deadline: Option<Instant>) {
        let at = self.positions[key];
        match (at, deadline) {
            (ABSENT, None) => {}
            (ABSENT, Some(deadline)) => {
                self.heap.push((deadline, key));
                self.positions[key] = self.heap.len() - 1;
                self.rise(self.heap.len() - 1);
            }
            (at, Some(deadline)) if self.heap[at].0 == deadline => {}
            (at, Some(deadline)) => {
                self.heap[at].0 = deadline;
                let at = self.rise(at);
                self.sink(at);
            }
            (at, None) => self.remove(at),
        }
    }

    /// The earliest deadline and whose it is.
    pub(crate) fn first(&self) -> Option<(Instant, usize)> {
        self.heap.first().copied()
    }

    fn remove(&mut self, at: usize) {
        self.positions[self.heap[at].1] = ABSENT;
        self.heap.swap_remove(at);
        if let Some((_, moved)) = self.heap.get(at) {
            self.positions[*moved] = at;
            let at = self.rise(at);
            self.sink(at);
        }
    }

    fn rise(&mut self, mut at: usize) -> usize {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent] <= self.heap[at] {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
        at
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child]) else {
                return;
            };
            if self.heap[at] <= self.heap[least] {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.positions[self.heap[a].1] = a;
        self.positions[self.heap[b].1] = b;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        #[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
        fn the_first_is_always_the_earliest_of_all_that_are_set(
            moves in prop::collection::vec((0_usize..20, prop::option::of(0_u64..50)), 1..300),
        ) {
            let origin = Instant::now();
            let mut queue = TimerQueue::default();
            let mut model = BTreeMap::new();
            for (key, deadline) in moves {
                let deadline = deadline.map(|ms| origin + Duration::from_millis(ms));
                queue.add_key(key);
                queue.set(key, deadline);
                match deadline {
                    Some(deadline) => model.insert(key, deadline),
                    None => model.remove(&key),
                };
                let earliest = model.iter().map(|(key, deadline)| (*deadline, *key)).min();
                prop_assert_eq!(queue.first(), earliest);
            }
        }
    }
}
