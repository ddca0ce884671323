//! Counters that the media path can afford: one writer, many readers, no lock and no locked instruction.
//!
//! A crate defines a struct of these per shard, hands an `Arc` of it to the telemetry crate and counts while it works,
//! so a scrape sees a session while it lives.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows. One thread writes it, any thread reads it.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Must be called from the one owning thread: it loads and stores without a locked instruction.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Reads the value; any thread.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. One thread writes it, any thread reads it.
#[derive(Default, Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`, which may be negative; from the one owning thread.
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Reads the value; any thread.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// An enum whose variants name the members of a [`CounterSet`]: drop reasons, error codes, message kinds.
pub trait Label: Copy + 'static {
    /// Every variant, in the order of `index`.
    const ALL: &'static [Self];

    /// Position of this variant in `ALL`.
    fn index(self) -> usize;

    /// Name of this variant in metrics, `snake_case`.
    fn name(self) -> &'static str;
}

/// One [`Counter`] for each variant of an enum.
#[derive(Debug)]
pub struct CounterSet<L> {
    counters: Box<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Default for CounterSet<L> {
    fn default() -> Self {
        Self {
            counters: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L: Label> CounterSet<L> {
    /// Gives the counter of one variant.
    pub fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }

    /// Gives each variant's name and value, in the order of `L::ALL`.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        L::ALL.iter().map(|label| (label.name(), self.of(*label).value()))
    }
}

/// A histogram with bounds fixed at compile time.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [Counter; N],
    above: Counter,
    sum: Counter,
}

impl<const N: usize> Histogram<N> {
    /// Makes an empty histogram; `bounds` are inclusive upper bounds, ascending, in the unit of the samples.
    pub fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| Counter::default()),
            above: Counter::default(),
            sum: Counter::default(),
        }
    }

    /// Counts one sample.
    pub fn record(&self, sample: u64) {
        self.sum.add(sample);
        match self.bounds.iter().position(|bound| sample <= *bound) {
            Some(bucket) => self.buckets[bucket].inc(),
            None => self.above.inc(),
        }
    }

    /// Gives (upper bound, samples in this bucket); the last bound is `u64::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.bounds
            .iter()
            .zip(&self.buckets)
            .map(|(b, c)| (*b, c.value()))
            .chain([(u64::MAX, self.above.value())])
    }

    /// Gives the sum of all samples.
    pub fn sum(&self) -> u64 {
        self.sum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_on_a_bound_falls_into_that_bucket_and_one_above_into_the_next() {
        let histogram = Histogram::new(&[10, 20]);
        for sample in [10, 11, 21] {
            histogram.record(sample);
        }
        assert_eq!(
            histogram.buckets().collect::<Vec<_>>(),
            [(10, 1), (20, 1), (u64::MAX, 1)]
        );
        assert_eq!(histogram.sum(), 42);
    }
}
