//! What a load found out.

use serde::Serialize;

use crate::histogram::Histogram;

/// Figures of one load. Rates, latencies and the server's cost are those of the measured time; counts and faults are
/// those of the whole load, warm-up and drain included.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// The measured time.
    pub seconds: f64,
    /// Packets that arrived in the measured time.
    pub delivered: u64,
    /// Their rate.
    pub delivered_per_s: f64,
    /// Median of their latency, in microseconds.
    pub p50_us: f64,
    /// Its 99th percentile.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Packets sent in all.
    pub sent: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// What happened to others.
    pub faults: Faults,
    /// Cost of the server, when its process is known.
    pub server: Option<ServerCost>,
}

/// Counts of what should not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Faults {
    /// Arrived more than once.
    pub duplicated: u64,
    /// Arrived behind a packet that was sent later.
    pub reordered: u64,
    /// Arrived with another content or length.
    pub corrupt: u64,
    /// Arrived at an endpoint it was not for, or was never sent.
    pub misrouted: u64,
    /// Datagrams that carry no payload.
    pub foreign: u64,
    /// Refused by the kernel when sending.
    pub unsent: u64,
    /// Shots left out because this process could not keep the pace.
    pub skipped: u64,
}

/// What the load cost the server in the measured time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerCost {
    /// Processor time over delivered packets, in microseconds.
    pub cpu_us_per_packet: f64,
    /// Share of one core.
    pub busy: f64,
    /// Resident memory at the end, in kilobytes.
    pub resident_kb: u64,
}

impl Figures {
    /// Takes latencies from a histogram.
    pub(crate) fn set_latencies(&mut self, latencies: &Histogram) {
        let us = |share| latencies.quantile(share).as_secs_f64() * 1e6;
        (self.p50_us, self.p99_us) = (us(0.5), us(0.99));
        self.max_us = latencies.max().as_secs_f64() * 1e6;
    }

    /// Gives the share of sent packets that never arrived.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }

    /// Tells whether every packet that arrived was whole, single and in the right place.
    pub fn content_is_right(&self) -> bool {
        (self.faults.duplicated, self.faults.corrupt, self.faults.misrouted) == (0, 0, 0)
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Faults {
            duplicated,
            reordered,
            corrupt,
            misrouted,
            foreign,
            unsent,
            skipped,
        } = self.faults;
        writeln!(
            f,
            "delivered   {} in {:.1} s = {:.0}/s",
            self.delivered, self.seconds, self.delivered_per_s
        )?;
        writeln!(
            f,
            "latency     p50 {:.0} us, p99 {:.0} us, max {:.0} us",
            self.p50_us, self.p99_us, self.max_us
        )?;
        writeln!(
            f,
            "lost        {} of {} = {:.4} %",
            self.lost,
            self.sent,
            100.0 * self.loss()
        )?;
        writeln!(
            f,
            "content     {duplicated} duplicated, {corrupt} corrupt, {misrouted} misrouted"
        )?;
        writeln!(
            f,
            "also        {reordered} reordered, {foreign} foreign, {unsent} unsent, {skipped} skipped"
        )?;
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
