//! What a conference load found out.

use std::fmt;

use serde::Serialize;

use super::tally::{Faults, Feedback};
use crate::figures::{Latency, ServerCost};
use crate::histogram::Histogram;

/// Figures of one load. Rates, latencies and the server's cost are those of the measured time; counts and faults are
/// those of the whole load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// The measured time.
    pub seconds: f64,
    /// Packets that receivers got in the measured time.
    pub delivered: u64,
    /// Their rate.
    pub delivered_per_s: f64,
    /// Media that receivers got, in Mbit/s.
    pub mbit_per_s: f64,
    /// How long packets were under way, those that were sent again excepted.
    pub latency: Latency,
    /// All of their times.
    #[serde(skip)]
    pub latencies: Histogram,
    /// Packets that receivers got in all, and those that they should have got beside them.
    pub arrived: u64,
    /// The latter.
    pub lost: u64,
    /// Packets that arrived after they had been asked for again.
    pub recovered: u64,
    /// Packets that were thrown away on purpose.
    pub thrown_away: u64,
    /// Streams of receivers that brought nothing.
    pub silent_streams: usize,
    /// Streams of all receivers.
    pub streams: usize,
    /// What should not happen.
    pub faults: Faults,
    /// What the server said to publishers.
    pub feedback: Feedback,
    /// Key frames that publishers sent.
    pub key_frames: u64,
    /// Packets that receivers asked for again.
    pub asked_again: u64,
    /// Messages of transport feedback that receivers sent.
    pub feedback_sent: u64,
    /// Packets of each encoding of a simulcast, the best first.
    pub layers: [u64; 3],
    /// Changes from one encoding to another.
    pub switches: u64,
    /// SRTP profile of receivers.
    pub srtp_profile: &'static str,
    /// From the request to join until keys are agreed on.
    pub join: Latency,
    /// From the request to join until every stream has brought a packet.
    pub first_packet: Latency,
    /// From the request to join until every video has brought a key frame.
    pub first_frame: Latency,
    /// Subscriptions.
    pub receivers: usize,
    /// Memory of the server for each subscription, in bytes.
    pub bytes_each: Option<f64>,
    /// Share of the measured time in which this process had something to do.
    pub generator_busy: f64,
    /// Cost of the server, when its process is known.
    pub server: Option<ServerCost>,
}

impl Figures {
    /// Gives the share of expected packets that never arrived.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / (self.lost + self.arrived).max(1) as f64
    }

    /// Tells whether all that arrived was whole, single and in the right place.
    pub fn content_is_right(&self) -> bool {
        self.faults.content_is_right()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (latency, faults, feedback) = (self.latency, self.faults, self.feedback);
        writeln!(
            f,
            "delivered   {} in {:.1} s = {:.0}/s, {:.1} Mbit/s, {}",
            self.delivered, self.seconds, self.delivered_per_s, self.mbit_per_s, self.srtp_profile
        )?;
        writeln!(
            f,
            "latency     p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, p999 {:.0} us, max {:.0} us",
            latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us
        )?;
        let (all, percent) = (self.arrived + self.lost, 100.0 * self.loss());
        writeln!(
            f,
            "lost        {} of {all} = {percent:.4} %; {} of {} streams silent",
            self.lost, self.silent_streams, self.streams
        )?;
        writeln!(
            f,
            "content     {} duplicated, {} corrupt, {} misrouted, {} renumbered, {} undecodable: {}",
            faults.duplicated,
            faults.corrupt,
            faults.misrouted,
            faults.renumbered,
            faults.undecodable,
            if self.content_is_right() { "right" } else { "WRONG" }
        )?;
        writeln!(
            f,
            "also        {} reordered, {} before a key frame, {} foreign, {} unsent, {} skipped, {} closed",
            faults.reordered, faults.early, faults.foreign, faults.unsent, faults.skipped, faults.closed
        )?;
        writeln!(
            f,
            "feedback    {} key frames asked for, {} sent; {} packets asked for, {} sent again; {} transport, {} REMB",
            feedback.key_frame_requests,
            self.key_frames,
            feedback.nacked,
            feedback.sent_again,
            feedback.transport,
            feedback.remb
        )?;
        if self.asked_again + self.thrown_away > 0 {
            writeln!(
                f,
                "repair      {} thrown away on purpose, {} asked for, {} recovered",
                self.thrown_away, self.asked_again, self.recovered
            )?;
        }
        if self.layers != [0; 3] {
            let [h, m, l] = self.layers;
            writeln!(
                f,
                "simulcast   {h} packets of the best, {m}, {l} of the least; {} changes",
                self.switches
            )?;
        }
        let ms = |latency: Latency| {
            format!(
                "{:.1}, {:.1}, {:.1} ms",
                latency.p50_us / 1e3,
                latency.p99_us / 1e3,
                latency.max_us / 1e3
            )
        };
        writeln!(
            f,
            "join        keys {}; first packet {} (p50, p99, max)",
            ms(self.join),
            ms(self.first_packet)
        )?;
        writeln!(
            f,
            "            first key frame {}; {} subscriptions",
            ms(self.first_frame),
            self.receivers
        )?;
        if let Some(bytes) = self.bytes_each {
            writeln!(f, "memory      {:.1} kB a subscription", bytes / 1024.0)?;
        }
        writeln!(f, "generator   {:.0} % of a core", 100.0 * self.generator_busy)?;
        if let Some(server) = self.server {
            writeln!(
                f,
                "server      {:.3} us CPU a packet, {:.0} % of a core, {} kB resident",
                server.cpu_us_per_packet,
                100.0 * server.busy,
                server.resident_kb
            )?;
        }
        Ok(())
    }
}
