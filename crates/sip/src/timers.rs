//! All deadlines of an endpoint in one queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Deadlines by owner: each owner has at most one, which it replaces whenever its state changes.
#[derive(Debug)]
pub(crate) struct TimerQueue<O> {
    by_time: BTreeSet<(Instant, O)>,
    by_owner: BTreeMap<O, Instant>,
}

impl<O: Copy + Ord> TimerQueue<O> {
    pub(crate) fn new() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_owner: BTreeMap::new(),
        }
    }

    /// Sets the owner's deadline; `None` clears it.
    pub(crate) fn arm(&mut self, owner: O, at: Option<Instant>) {
        if let Some(before) = self.by_owner.remove(&owner) {
            self.by_time.remove(&(before, owner));
        }
        if let Some(at) = at {
            self.by_owner.insert(owner, at);
            self.by_time.insert((at, owner));
        }
    }

    /// Takes an owner whose deadline has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<O> {
        let (at, owner) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.arm(owner, None);
        Some(owner)
    }

    /// Gives the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_new_deadline_replaces_the_old_one() {
        let now = Instant::now();
        let mut queue = TimerQueue::new();
        queue.arm(1, Some(now));
        queue.arm(2, Some(now + Duration::from_secs(1)));
        queue.arm(1, Some(now + Duration::from_secs(2)));
        assert_eq!(queue.take_due(now), None);
        assert_eq!(queue.next(), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.take_due(now + Duration::from_secs(2)), Some(2));
        assert_eq!(queue.take_due(now + Duration::from_secs(2)), Some(1));
        assert_eq!(queue.next(), None);
    }
}
