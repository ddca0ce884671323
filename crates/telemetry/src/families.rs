//! Metric families: what a scrape is made of.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use voex_base::{CounterSet, Histogram, Label};

/// Something whose figures are read at each scrape.
pub trait Expose: Send + Sync + 'static {
    /// Writes the figures as they are now.
    ///
    /// # Errors
    /// Only those of the writer.
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result;
}

/// Writes metric families. Names are `<role>_<noun>_<unit>`; the `_total` of counters is added here.
pub struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    /// Writes a counter.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// Writes a counter under exactly this name: what dashboards that were written for another server ask for.
    /// Its type is told as unknown: counters of OpenMetrics end in `_total`, and some parsers add that where it lacks.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn exact_counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Unknown)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// Writes one such counter for each value of a label.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn exact_counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Unknown)?;
        for (of, value) in values {
            let labels = [(label, of)];
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Writes a gauge.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// Writes a gauge that is not a whole number.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn gauge_fraction(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// Writes a counter that is not a whole number.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn counter_fraction(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// Writes one counter for each value of a label.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels = [(label, of)];
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Writes one gauge for each value of a label.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'v str, i64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            let labels = [(label, of)];
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Writes a histogram, its bounds multiplied by `unit` (0.001 turns milliseconds into seconds).
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: f64,
        histogram: &Histogram<N>,
    ) -> fmt::Result {
        let bound = |bound: u64| {
            if bound == u64::MAX {
                f64::INFINITY
            } else {
                bound as f64 * unit
            }
        };
        let buckets: Vec<(f64, u64)> = histogram
            .buckets()
            .map(|(upper, count)| (bound(upper), count))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(histogram.sum() as f64 * unit, count, &buckets, None)
    }

    /// Writes a constant 1 whose labels say something.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn fact(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(1i64).encode(encoder.encode_family(&labels)?)
    }
}

/// Adds up one figure over shards.
pub fn sum<M, N: std::iter::Sum>(shards: &[std::sync::Arc<M>], figure: impl Fn(&M) -> N) -> N {
    shards.iter().map(|shard| figure(shard)).sum()
}

/// Adds up a set of counters over shards, label by label.
pub fn sum_set<M, L: Label>(
    shards: &[std::sync::Arc<M>],
    set: impl Fn(&M) -> &CounterSet<L>,
) -> Vec<(&'static str, u64)> {
    let of = |label: L| sum(shards, |shard| set(shard).of(label).value());
    L::ALL.iter().map(|label| (label.name(), of(*label))).collect()
}

/// Adapts an [`Expose`] to the registry.
pub(crate) struct Source(pub(crate) Box<dyn Expose>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.expose(&mut Families(encoder))
    }
}
