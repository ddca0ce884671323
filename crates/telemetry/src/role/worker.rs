//! `worker_*`: what stayed in the process.

use std::fmt;
use std::sync::Arc;

use crate::families::{Expose, Families, sum, sum_set};

/// Figures of the workers beside their shards.
pub struct Workers(pub Vec<Arc<voex_worker::Metrics>>);

impl Expose for Workers {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        families.counters(
            "worker_handed_over_packets",
            "Packets that stayed in the process instead of passing through the kernel twice.",
            "kind",
            sum_set(&self.0, |m| &m.handed_over_packets),
        )?;
        families.counters(
            "worker_crossed_packets",
            "Of the packets handed over, those that went on to another worker.",
            "kind",
            sum_set(&self.0, |m| &m.crossed_packets),
        )?;
        families.counters(
            "worker_dropped",
            "Packets dropped between the shards.",
            "reason",
            sum_set(&self.0, |m| &m.dropped),
        )?;
        families.counter(
            "worker_commands_ignored",
            "Commands for a shard that the worker does not have.",
            sum(&self.0, |m| m.commands_ignored.value()),
        )
    }
}
