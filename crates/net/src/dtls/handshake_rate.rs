//! How many handshakes a source may begin.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use std::hash::BuildHasher;

use super::table::ASSOCIATIONS_PER_SOURCE_MAX;
use crate::streams::network_of;

/// Handshakes that a source may begin in a second, once it has begun as many as it may have associations.
pub const DTLS_HANDSHAKES_PER_S: u32 = 64;
/// Buckets of the table: 64 kB a worker.
const BUCKETS: usize = 4_096;

/// A fixed table of token buckets, chosen by a keyed hash of the source: sources that collide share one.
pub(super) struct HandshakeRate {
    /// When each is full again.
    buckets: Box<[Option<Instant>]>,
    hash: SeedableRandomState,
}

impl HandshakeRate {
    /// `seed` keeps the network from choosing collisions.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            buckets: vec![None; BUCKETS].into(),
            hash: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
        }
    }

    /// Tells whether a source may begin one more, and counts it if so.
    pub(super) fn allows(&mut self, now: Instant, source: IpAddr) -> bool {
        const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / DTLS_HANDSHAKES_PER_S as u64);
        let slot = self.hash.hash_one(network_of(source)) as usize % BUCKETS;
        let full_at = self.buckets[slot].map_or(now, |at| at.max(now)) + INTERVAL;
        let allowed = full_at - now <= INTERVAL * ASSOCIATIONS_PER_SOURCE_MAX;
        if allowed {
            self.buckets[slot] = Some(full_at);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_begins_its_share_at_once_then_at_its_rate_and_others_do_not_suffer() {
        let mut rate = HandshakeRate::new(1);
        let mut now = Instant::now();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut begun = |now, source| (0..10_000).filter(|_| rate.allows(now, source)).count() as u32;
        assert_eq!(begun(now, one), ASSOCIATIONS_PER_SOURCE_MAX);
        now += Duration::from_secs(1);
        assert_eq!(begun(now, one), DTLS_HANDSHAKES_PER_S);
        assert_eq!(begun(now, other), ASSOCIATIONS_PER_SOURCE_MAX);
    }
}
