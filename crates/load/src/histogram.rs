//! Latencies, kept to three percent.

use std::time::Duration;

/// Buckets of one octave: the widest bucket is 1/32 of its value.
const PER_OCTAVE: usize = 32;
const OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();
/// From a nanosecond to about 70 seconds; what is longer is counted in the last bucket.
const BUCKETS: usize = 33 * PER_OCTAVE;

/// Durations counted in buckets of equal relative width.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            max_ns: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.buckets[bucket_of(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Gives how many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Gives the longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// Gives the duration that `share` (0.0-1.0) of all do not exceed; zero when nothing was counted.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if index < BUCKETS - 1 && seen >= wanted && seen > 0 {
                return Duration::from_nanos(upper_edge(index).min(self.max_ns));
            }
        }
        self.max()
    }

    /// Gives what share of all does not exceed which time in nanoseconds, from the shortest to the longest.
    pub fn points(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut seen = 0;
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(move |(index, count)| {
            seen += count;
            (seen as f64 / self.count as f64, upper_edge(index).min(self.max_ns))
        })
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < PER_OCTAVE as u64 {
        return ns as usize;
    }
    let shift = ns.ilog2() - OCTAVE_BITS;
    let within = (ns >> shift) as usize - PER_OCTAVE;
    ((shift as usize + 1) * PER_OCTAVE + within).min(BUCKETS - 1)
}

/// Largest value of a bucket.
fn upper_edge(index: usize) -> u64 {
    if index < PER_OCTAVE {
        return index as u64;
    }
    let shift = index / PER_OCTAVE - 1;
    let within = (index % PER_OCTAVE + PER_OCTAVE) as u64;
    ((within + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_uniform_distribution_are_right_to_three_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|us| histogram.record(us * 1000));
        for (share, us) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((found / us - 1.0).abs() < 0.032, "{share}: {found} instead of {us}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(100));
        assert_eq!(histogram.quantile(1.0), histogram.max());
    }

    #[test]
    fn every_value_lies_within_its_bucket() {
        for ns in (0..40).map(|bit| 1u64 << bit).flat_map(|v| [v - 1, v, v + 1]) {
            let bucket = bucket_of(ns);
            if bucket == BUCKETS - 1 {
                continue;
            }
            assert!(ns <= upper_edge(bucket), "{ns}");
            assert!(bucket == 0 || ns > upper_edge(bucket - 1), "{ns}");
        }
    }

    #[test]
    fn points_rise_to_all_and_the_longest() {
        let mut histogram = Histogram::default();
        [5, 5, 900, 70_000].into_iter().for_each(|ns| histogram.record(ns));
        let points: Vec<_> = histogram.points().collect();
        assert_eq!(points[0], (0.5, 5));
        assert_eq!(points.last(), Some(&(1.0, 70_000)));
        assert!(points.is_sorted_by(|a, b| a < b), "{points:?}");
    }

    #[test]
    fn an_empty_histogram_and_an_endless_latency_do_no_harm() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile(0.5), histogram.max());
    }
}
