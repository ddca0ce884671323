//! Limits of what passes in a second, as token buckets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::{DropReason, Quotas, Rates, Way};

/// What a bucket holds: one second's worth. Something is let through while anything is left, and may leave a debt, so that
/// no packet is too long for a limit.
const FULL: Duration = Duration::from_secs(1);
const FULL_NS: u64 = FULL.as_nanos() as u64;

/// By which something is left after nothing was.
const INSTANT: Duration = Duration::from_nanos(1);

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

    /// Tells from when on anything is left, if nothing is now.
    fn empty_until(&self, now: Instant, per_s: u32) -> Option<Instant> {
        let full_at = self.full_at.filter(|_| !self.has_some(now, per_s))?;
        Some(full_at - FULL + INSTANT)
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

    /// Takes what is owed for what has passed already.
    pub(crate) fn pay(&self, now_ns: u64, per_s: u32, amount: u64) {
        if per_s > 0 {
            let paid = |full_at: u64| Some(full_at.max(now_ns) + price_ns(amount, per_s));
            // Never fails: what it is given is always paid.
            let _ = self.full_at.fetch_update(Relaxed, Relaxed, paid);
        }
    }

    /// Tells how long nothing is left; `None` while there is.
    pub(crate) fn empty_for(&self, now_ns: u64, per_s: u32) -> Option<Duration> {
        let owed = self.full_at.load(Relaxed).checked_sub(now_ns + FULL_NS)?;
        (per_s > 0).then(|| Duration::from_nanos(owed) + INSTANT)
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
        let meter = self.meter(way);
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

    /// Takes bytes of a stream, which have passed already.
    pub(crate) fn pay_bytes(&mut self, now: Instant, way: Way, bytes: usize, rates: &Rates, quotas: &Quotas) {
        self.meter(way).bytes.pay(now, rates.bytes_per_s, bytes);
        quotas.pay_bytes(now, way, rates.total_bytes_per_s, bytes);
    }

    /// Tells from when on a stream may go on one way, if it is over a limit now.
    pub(crate) fn bytes_empty_until(
        &mut self,
        now: Instant,
        way: Way,
        rates: &Rates,
        quotas: &Quotas,
    ) -> Option<Instant> {
        let own = self.meter(way).bytes.empty_until(now, rates.bytes_per_s);
        own.max(quotas.bytes_empty_until(now, way, rates.total_bytes_per_s))
    }

    fn meter(&mut self, way: Way) -> &mut Meter {
        match way {
            Way::ToPeer => &mut self.to_peer,
            Way::ToClient => &mut self.to_client,
        }
    }

    /// Lets so many new peers pass.
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

    #[test]
    fn what_is_owed_is_paid_off_exactly_when_a_bucket_says_so() {
        let start = Instant::now();
        let (mut own, shared) = (Bucket::default(), SharedBucket::default());
        own.pay(start, 1_000, 999);
        shared.pay(0, 1_000, 999);
        assert_eq!(
            (own.empty_until(start, 1_000), shared.empty_for(0, 1_000)),
            (None, None)
        );
        own.pay(start, 1_000, 5_001);
        shared.pay(0, 1_000, 5_001);
        let (until, time) = (own.empty_until(start, 1_000), shared.empty_for(0, 1_000));
        assert_eq!(until, time.map(|time| start + time));
        let until = until.expect("5 seconds are owed");
        assert!(until - start >= Duration::from_secs(5) && until - start < Duration::from_millis(5_001));
        assert!(own.has_some(until, 1_000) && !own.has_some(until - INSTANT, 1_000));
        let until_ns = (until - start).as_nanos() as u64;
        assert!(!shared.take(until_ns - 1, 1_000, 1) && shared.take(until_ns, 1_000, 1));
        assert_eq!((own.empty_until(start, 0), shared.empty_for(0, 0)), (None, None));
    }
}
