use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use voex_base::Histogram;

/// What is counted about Redis. Any task writes, any thread reads.
#[derive(Debug)]
pub struct Metrics {
    /// The connection to the database of users, when there is to be one.
    pub users: LinkMetrics,
    /// The connection to the database of statistics.
    pub stats: LinkMetrics,
    /// Answers to look-ups.
    pub lookups: Lookups,
    /// Users that are remembered.
    pub cached_users: AtomicI64,
    /// Stored values of a wrong type or form, each time one was met.
    pub wrong_values: AtomicU64,
    /// Users whose sessions were ended because they were deleted.
    pub deleted_users: AtomicU64,
    /// Events of sessions that were written and published.
    pub published: AtomicU64,
    /// Events of sessions that were lost: too many waited, or the connection broke under them.
    pub unpublished: AtomicU64,
    /// Events of sessions that wait.
    pub waiting: AtomicI64,
    round_trip: Mutex<Histogram<9>>,
}

/// What is counted of one connection.
#[derive(Default, Debug)]
pub struct LinkMetrics {
    /// Whether it is wanted.
    pub wanted: AtomicBool,
    /// Whether it works.
    pub up: AtomicBool,
    /// Times it was made.
    pub connects: AtomicU64,
    /// Attempts that failed, and connections that broke.
    pub failures: AtomicU64,
    /// Commands that the server refused.
    pub refused: AtomicU64,
}

/// Look-ups by how they were answered.
#[derive(Default, Debug)]
pub struct Lookups {
    /// Redis knows it.
    pub found: AtomicU64,
    /// Redis does not.
    pub unknown: AtomicU64,
    /// From memory, while Redis is away.
    pub remembered: AtomicU64,
    /// Not at all: Redis is away, and nothing is remembered.
    pub unavailable: AtomicU64,
    /// Not at all: too many look-ups at once.
    pub overload: AtomicU64,
}

/// Bounds of the round trip in microseconds.
const ROUND_TRIP_US: [u64; 9] = [100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            users: LinkMetrics::default(),
            stats: LinkMetrics::default(),
            lookups: Lookups::default(),
            cached_users: AtomicI64::default(),
            wrong_values: AtomicU64::default(),
            deleted_users: AtomicU64::default(),
            published: AtomicU64::default(),
            unpublished: AtomicU64::default(),
            waiting: AtomicI64::default(),
            round_trip: Mutex::new(Histogram::new(&ROUND_TRIP_US)),
        }
    }
}

impl Metrics {
    /// Tells whether every connection that is wanted works; `None` when none is.
    pub fn is_up(&self) -> Option<bool> {
        let mut wanted = [&self.users, &self.stats]
            .into_iter()
            .filter(|link| link.wanted.load(Relaxed))
            .peekable();
        wanted.peek()?;
        Some(wanted.all(|link| link.up.load(Relaxed)))
    }

    /// Shows how long commands took, in microseconds.
    pub fn with_round_trip<T>(&self, read: impl FnOnce(&Histogram<9>) -> T) -> T {
        read(&self.round_trip.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn record_round_trip(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.with_round_trip(|histogram| histogram.record(us));
    }
}

impl LinkMetrics {
    /// Notes that nobody wants the connection any more.
    pub(crate) fn unwanted(&self) {
        self.wanted.store(false, Relaxed);
        self.up.store(false, Relaxed);
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_is_up_when_every_wanted_connection_is() {
        let metrics = Metrics::default();
        assert_eq!(metrics.is_up(), None);
        metrics.users.wanted.store(true, Relaxed);
        assert_eq!(metrics.is_up(), Some(false));
        metrics.users.up.store(true, Relaxed);
        assert_eq!(metrics.is_up(), Some(true));
        metrics.stats.wanted.store(true, Relaxed);
        assert_eq!(metrics.is_up(), Some(false));
    }
}
