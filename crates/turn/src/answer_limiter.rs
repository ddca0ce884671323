use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::SeedableRandomState;
use voex_base::Rng;

use crate::keyed::{hash_of, hash_state};

/// Bounds the answers that a source gets without having proved who it is, so that forged sources gain nothing.
///
/// A fixed table of token buckets, chosen by a keyed hash of the source: sources that collide share a bucket, and the
/// table never grows. IPv6 sources count by /64, which is what one host commands.
#[derive(Debug)]
pub(crate) struct AnswerLimiter {
    buckets: Box<[Bucket]>,
    hash: SeedableRandomState,
    /// Time that earns one answer.
    interval: Duration,
    /// Answers a source may have at once.
    burst: u32,
}

/// A bucket as the time at which it will be full again.
#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    full_at: Option<Instant>,
}

/// Buckets of the table: 32 kB a shard.
const BUCKETS: usize = 2_048;

impl AnswerLimiter {
    pub(crate) fn new(answers_per_s: u32, rng: &mut Rng) -> Self {
        let rate = answers_per_s.max(1);
        Self {
            buckets: vec![Bucket::default(); BUCKETS].into_boxed_slice(),
            hash: hash_state(rng),
            interval: Duration::from_secs(1) / rate,
            burst: rate.saturating_mul(2),
        }
    }

    /// Takes one answer from the source's share.
    pub(crate) fn allows(&mut self, now: Instant, source: IpAddr) -> bool {
        let slot = hash_of(&self.hash, counted_as(source)) as usize % BUCKETS;
        let bucket = &mut self.buckets[slot];
        let full_at = bucket.full_at.map_or(now, |at| at.max(now)) + self.interval;
        let allowed = full_at - now <= self.interval * self.burst;
        if allowed {
            bucket.full_at = Some(full_at);
        }
        allowed
    }
}

fn counted_as(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test starts at some instant")]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut limiter = AnswerLimiter::new(10, &mut Rng::from_number(1));
        let source = "192.0.2.1".parse().unwrap();
        let granted = |limiter: &mut AnswerLimiter, now| (0..100).filter(|_| limiter.allows(now, source)).count();
        assert_eq!(granted(&mut limiter, start), 20);
        assert_eq!(granted(&mut limiter, start + Duration::from_millis(99)), 0);
        assert_eq!(granted(&mut limiter, start + Duration::from_millis(100)), 1);
        assert_eq!(granted(&mut limiter, start + Duration::from_secs(60)), 20);
    }

    #[test]
    fn one_source_does_not_take_another_sources_share() {
        let start = Instant::now();
        let mut limiter = AnswerLimiter::new(10, &mut Rng::from_number(1));
        while limiter.allows(start, "192.0.2.1".parse().unwrap()) {}
        assert!(limiter.allows(start, "192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share() {
        let start = Instant::now();
        let mut limiter = AnswerLimiter::new(1, &mut Rng::from_number(1));
        assert!(limiter.allows(start, "2001:db8::1".parse().unwrap()));
        assert!(limiter.allows(start, "2001:db8::2".parse().unwrap()));
        assert!(!limiter.allows(start, "2001:db8::3".parse().unwrap()));
    }
}
