//! `sfu_*`: tracks, subscriptions, what is forwarded.

use std::fmt;
use std::sync::Arc;

use crate::families::{Expose, Families, sum, sum_set};

/// Figures of the SFU shards, one set for each worker.
pub struct Sfu(pub Vec<Arc<voex_sfu::Metrics>>);

impl Expose for Sfu {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let shards = &self.0;
        let gauges = [
            (
                "sfu_transports",
                "Transports, WebRTC and plain RTP.",
                sum(shards, |m| m.transports.value()),
            ),
            ("sfu_tracks", "Incoming media.", sum(shards, |m| m.tracks.value())),
            (
                "sfu_subscriptions",
                "Outgoing media.",
                sum(shards, |m| m.subscriptions.value()),
            ),
        ];
        for (name, help, value) in gauges {
            families.gauge(name, help, value)?;
        }
        let counters = [
            (
                "sfu_received_packets",
                "RTP packets received.",
                sum(shards, |m| m.received_packets.value()),
            ),
            (
                "sfu_received_bytes",
                "RTP bytes received.",
                sum(shards, |m| m.received_bytes.value()),
            ),
            (
                "sfu_forwarded_packets",
                "RTP packets forwarded.",
                sum(shards, |m| m.forwarded_packets.value()),
            ),
            (
                "sfu_forwarded_bytes",
                "RTP bytes forwarded.",
                sum(shards, |m| m.forwarded_bytes.value()),
            ),
            (
                "sfu_piped_packets",
                "RTP packets passed to other workers with subscribers.",
                sum(shards, |m| m.piped_packets.value()),
            ),
            (
                "sfu_pipe_drops",
                "Messages to other workers that found no room.",
                sum(shards, |m| m.pipe_drops.value()),
            ),
            (
                "sfu_retransmitted_packets",
                "Packets sent again after a NACK.",
                sum(shards, |m| m.retransmitted_packets.value()),
            ),
            (
                "sfu_recovered_packets",
                "Packets that came after we asked for them.",
                sum(shards, |m| m.recovered_packets.value()),
            ),
            (
                "sfu_nacks_sent",
                "Packets asked for again.",
                sum(shards, |m| m.nacks_sent.value()),
            ),
            (
                "sfu_nacks_received",
                "Packets we were asked for again.",
                sum(shards, |m| m.nacks_received.value()),
            ),
            (
                "sfu_plis_sent",
                "Key frames asked for.",
                sum(shards, |m| m.plis_sent.value()),
            ),
            (
                "sfu_plis_received",
                "Key frames we were asked for.",
                sum(shards, |m| m.plis_received.value()),
            ),
            (
                "sfu_commands_ignored",
                "Commands that named something gone.",
                sum(shards, |m| m.ignored_commands.value()),
            ),
            (
                "sfu_events_lost",
                "Events that nobody took before the queue was full.",
                sum(shards, |m| m.events_lost.value()),
            ),
        ];
        for (name, help, value) in counters {
            families.counter(name, help, value)?;
        }
        families.counters(
            "sfu_dropped",
            "Packets dropped.",
            "reason",
            sum_set(shards, |m| &m.drops),
        )
    }
}
