use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

/// Index of an allocation in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct AllocationId(pub(crate) u32);

/// What ends at some time. An allocation has one timer, for whatever of it ends next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// The allocation, one of its permissions or of its channel bindings.
    Allocation(AllocationId),
    /// A port that is kept for a reservation token.
    Reservation(SocketAddr),
}

/// All timers of a shard in the order in which they fire.
#[derive(Default, Debug)]
pub(crate) struct Timers {
    set: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    pub(crate) fn start(&mut self, at: Instant, timer: Timer) {
        self.set.insert((at, timer));
    }

    pub(crate) fn stop(&mut self, at: Instant, timer: Timer) {
        self.set.remove(&(at, timer));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        self.next().filter(|at| *at <= now)?;
        self.set.pop_first().map(|(_, timer)| timer)
    }
}
