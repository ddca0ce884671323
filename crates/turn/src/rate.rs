//! Limits of what passes in a second, as token buckets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::{DropReason, Quotas, Rates, Way};

/// What a bucket holds: one second's worth. Something is let through while anything is left, and may leave a debt, so that
/// no packet is too long for a limit.
const FULL: Duration = Duration::from_secs(1);
const FULL_NS: u64 = FULL.as_nanos() as u64;

/// A token bucket as the time at which it will be full again.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Bucket {
    full_at: Option<Instant>,
}

/// A token bucket of all shards, in nanoseconds from a common start.
#[derive(Default, Debug)]
pub(crate) struct SharedBucket {
    full_at: AtomicU64,
}

/// What one allocation has used of its limits. Only there while a limit is set.
#[derive(Default, Debug)]
pub(crate) struct Meters {
    to_peer: Meter,
    to_client: Meter,
    new_peers: Bucket,
}

#[derive(Default, Debug)]
struct Meter {
    packets: Bucket,
    bytes: Bucket,
}

impl Bucket {
    /// Takes one, if anything is left.
    pub(crate) fn take(&mut self, now: Instant, per_s: u32) -> bool {
        let has_some = self.has_some(now, per_s);
        if has_some {
            self.pay(now, per_s, 1);
        }
        has_some
    }

    /// Tells whether anything is left; always where there is no limit (0).
    fn has_some(&self, now: Instant, per_s: u32) -> bool {
        per_s == 0 || self.full_at.is_none_or(|at| at < now + FULL)
    }

    fn pay(&mut self, now: Instant, per_s: u32, amount: usize) {
        if per_s > 0 {
            let from = self.full_at.map_or(now, |at| at.max(now));
            self.full_at = Some(from + Duration::from_nanos(price_ns(amount as u64, per_s)));
        }
    }
}

impl SharedBucket {
    pub(crate) fn take(&self, now_ns: u64, per_s: u32, amount: u64) -> bool {
        let paid = |full_at: u64| (full_at < now_ns + FULL_NS).then(|| full_at.max(now_ns) + price_ns(amount, per_s));
        per_s == 0 || self.full_at.fetch_update(Relaxed, Relaxed, paid).is_ok()
    }
}

impl Meters {
    /// Makes them if there is anything to measure.
    pub(crate) fn new(rates: &Rates) -> Option<Box<Self>> {
        (*rates != Rates::default()).then(Box::default)
    }

    /// Lets one datagram of so many bytes of data pass, or tells which limit it is over.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        way: Way,
        bytes: usize,
        rates: &Rates,
        quotas: &Quotas,
    ) -> Result<(), DropReason> {
        let meter = match way {
            Way::ToPeer => &mut self.to_peer,
            Way::ToClient => &mut self.to_client,
        };
        if !meter.packets.has_some(now, rates.packets_per_s) {
            return Err(DropReason::PacketRate);
        }
        if !meter.bytes.has_some(now, rates.bytes_per_s) {
            return Err(DropReason::ByteRate);
        }
        if !quotas.take_bytes(now, way, rates.total_bytes_per_s, bytes) {
            return Err(DropReason::TotalByteRate);
        }
        meter.packets.pay(now, rates.packets_per_s, 1);
        meter.bytes.pay(now, rates.bytes_per_s, bytes);
        Ok(())
    }

    /// Lets a request with so many new peers pass.
    pub(crate) fn admit_peers(&mut self, now: Instant, count: usize, rates: &Rates) -> bool {
        let admits = count == 0 || self.new_peers.has_some(now, rates.new_peers_per_s);
        if admits {
            self.new_peers.pay(now, rates.new_peers_per_s, count);
        }
        admits
    }
}

/// What an amount costs: the time in which it is earned again, rounded up so that a limit is one.
fn price_ns(amount: u64, per_s: u32) -> u64 {
    (amount * FULL_NS).div_ceil(u64::from(per_s))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test starts at some instant")]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_is_good_for_a_second_and_then_for_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let mut granted = |now, amount| {
            let mut count = 0;
            while bucket.has_some(now, 1_000) && count < 10_000 {
                bucket.pay(now, 1_000, amount);
                count += 1;
            }
            count
        };
        assert_eq!(granted(start, 100), 10);
        assert_eq!(granted(start + Duration::from_millis(100), 100), 1);
        assert_eq!(granted(start + Duration::from_secs(60), 100), 10);
        assert_eq!(
            granted(start + Duration::from_secs(120), 5_000),
            1,
            "longer than a second's worth"
        );
        assert_eq!(
            granted(start + Duration::from_secs(124), 100),
            0,
            "and paid off before the next"
        );
        assert_eq!(granted(start + Duration::from_secs(125), 100), 10);
    }

    #[test]
    fn a_shared_bucket_counts_what_all_take() {
        let bucket = SharedBucket::default();
        let granted = |now_ns| (0..1_000).filter(|_| bucket.take(now_ns, 1_000, 100)).count();
        assert_eq!((granted(0), granted(100_000_000), granted(60 * FULL_NS)), (10, 1, 10));
        assert!((0..1_000).all(|_| bucket.take(0, 0, 65_507)), "0 is no limit");
    }
}
