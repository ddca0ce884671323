use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use voex_base::Rng;

use crate::credentials::name_without_expiry;
use crate::rate::SharedBucket;
use crate::user_counts::{CountError, HashedUser, UserCounts};
use crate::{Refusal, Way};

/// What all shards of a process count together: allocations, by user and in all, and the bytes they relay.
///
/// Shards never wait for each other here, and its memory is fixed: 16 bytes for each allocation that may be. The limits
/// themselves stand in [`Config`](crate::Config), so that a reload changes them.
#[derive(Debug)]
pub struct Quotas {
    users: UserCounts,
    allocations: AtomicU32,
    /// The first instant that a shard asked with: what shared buckets count from.
    start: OnceLock<Instant>,
    to_peers: SharedBucket,
    to_clients: SharedBucket,
}

/// How many allocations there may be in all shards; `None` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeatsMax {
    pub(crate) of_user: Option<u32>,
    pub(crate) in_all: Option<u32>,
}

/// The place of one allocation in the counts. It is given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    quotas: Arc<Quotas>,
    /// `None` for who is counted by no quota of users.
    user: Option<HashedUser>,
}

impl Quotas {
    /// Makes counts for at most `allocations` at a time.
    pub fn new(allocations: usize, rng: &mut Rng) -> Self {
        Self {
            users: UserCounts::new(allocations, rng),
            allocations: AtomicU32::new(0),
            start: OnceLock::new(),
            to_peers: SharedBucket::default(),
            to_clients: SharedBucket::default(),
        }
    }

    /// Counts the allocations of all shards that exist or are being made.
    pub fn allocations(&self) -> u32 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Counts one allocation more: 486 when its user has as many as it may, whatever the expiry in its name; 508 when
    /// there are as many as there may be, or no room to count another user.
    pub(crate) fn take_seat(self: &Arc<Self>, user: Option<&str>, max: SeatsMax) -> Result<Seat, Refusal> {
        let user = user.map(|user| self.users.hashed(name_without_expiry(user)));
        if let Some(user) = user {
            self.users.add(user, max.of_user.unwrap_or(u32::MAX))?;
        }
        let one_more = |count: u32| (count < max.in_all.unwrap_or(u32::MAX)).then_some(count + 1);
        let counted = self
            .allocations
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if counted.is_err() {
            if let Some(user) = user {
                self.users.remove(user);
            }
            return Err(Refusal::InsufficientCapacity);
        }
        Ok(Seat {
            quotas: Arc::clone(self),
            user,
        })
    }

    /// Takes bytes from what all allocations together may relay one way.
    pub(crate) fn take_bytes(&self, now: Instant, way: Way, per_s: u32, bytes: usize) -> bool {
        self.bucket(way).take(self.since_start_ns(now), per_s, bytes as u64)
    }

    /// Takes them when they were relayed already.
    pub(crate) fn pay_bytes(&self, now: Instant, way: Way, per_s: u32, bytes: usize) {
        self.bucket(way).pay(self.since_start_ns(now), per_s, bytes as u64);
    }

    /// Tells from when on a TCP relay may go on one way, if all allocations together are over their limit now. That is
    /// after something is left: datagrams do not wait, and shall get some of it.
    pub(crate) fn bytes_empty_until(&self, now: Instant, way: Way, per_s: u32) -> Option<Instant> {
        let empty_for = self.bucket(way).empty_for(self.since_start_ns(now), per_s)?;
        Some(now + empty_for * 3 / 2)
    }

    fn bucket(&self, way: Way) -> &SharedBucket {
        match way {
            Way::ToPeer => &self.to_peers,
            Way::ToClient => &self.to_clients,
        }
    }

    fn since_start_ns(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(*self.start.get_or_init(|| now));
        passed.as_nanos() as u64
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.quotas.allocations.fetch_sub(1, Ordering::Relaxed);
        if let Some(user) = self.user {
            self.quotas.users.remove(user);
        }
    }
}

impl From<CountError> for Refusal {
    fn from(error: CountError) -> Self {
        match error {
            CountError::Max => Self::AllocationQuotaReached,
            CountError::Full => Self::InsufficientCapacity,
        }
    }
}
