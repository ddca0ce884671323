use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::SeedableRandomState;
use voex_base::Rng;

use crate::AnswerRate;
use crate::keyed::{hash_of, hash_state};

/// Bounds what a source gets without having proved who it is, so that forged sources gain nothing.
///
/// An answer at most half again as long as its request amplifies nothing worth having and is always due. Longer ones are
/// counted in a fixed table of token buckets, chosen by a keyed hash of the source: sources that collide share a bucket,
/// and the table never grows. IPv6 sources count by /64, which is what one host commands.
#[derive(Debug)]
pub(crate) struct AnswerLimiter {
    buckets: Box<[Bucket]>,
    hash: SeedableRandomState,
    /// Time that earns one answer.
    interval: Duration,
    /// Answers a source may have at once.
    burst: u32,
}

/// What one request of a stranger may be answered with.
pub(crate) struct Allowance<'a> {
    pub(crate) limiter: &'a mut AnswerLimiter,
    pub(crate) now: Instant,
    pub(crate) source: IpAddr,
    pub(crate) request_bytes: usize,
}

/// A bucket as the time at which it will be full again.
#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    full_at: Option<Instant>,
}

/// Buckets of the table: 64 kB a shard.
const BUCKETS: usize = 4_096;

impl Allowance<'_> {
    /// Tells whether an answer of this length is due, and takes it from the source's share if it is a long one.
    pub(crate) fn admits(&mut self, answer_bytes: usize) -> bool {
        2 * answer_bytes <= 3 * self.request_bytes || self.limiter.allows(self.now, self.source)
    }
}

impl AnswerLimiter {
    pub(crate) fn new(rate: AnswerRate, rng: &mut Rng) -> Self {
        Self {
            buckets: vec![Bucket::default(); BUCKETS].into_boxed_slice(),
            hash: hash_state(rng),
            interval: Duration::from_secs(1) / rate.per_s.max(1),
            burst: rate.burst.max(1),
        }
    }

    /// Takes one answer, or whatever else is counted here, from the source's share.
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

    fn limiter(per_s: u32, burst: u32) -> AnswerLimiter {
        AnswerLimiter::new(AnswerRate { per_s, burst }, &mut Rng::from_number(1))
    }

    #[test]
    fn a_source_gets_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut limiter = limiter(10, 20);
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
        let mut limiter = limiter(10, 20);
        while limiter.allows(start, "192.0.2.1".parse().unwrap()) {}
        assert!(limiter.allows(start, "192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share() {
        let start = Instant::now();
        let mut limiter = limiter(1, 2);
        assert!(limiter.allows(start, "2001:db8::1".parse().unwrap()));
        assert!(limiter.allows(start, "2001:db8::2".parse().unwrap()));
        assert!(!limiter.allows(start, "2001:db8::3".parse().unwrap()));
    }

    #[test]
    fn an_answer_that_amplifies_nothing_is_always_due() {
        let mut limiter = limiter(1, 1);
        let (now, source) = (Instant::now(), "192.0.2.1".parse().unwrap());
        let mut admits = |answer_bytes| {
            Allowance {
                limiter: &mut limiter,
                now,
                source,
                request_bytes: 40,
            }
            .admits(answer_bytes)
        };
        assert!(admits(61), "the source's share");
        assert!(!admits(61), "is used up");
        assert!((0..100).all(|_| admits(60)), "but half again as long is free");
    }
}
