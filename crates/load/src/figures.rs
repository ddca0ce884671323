//! What a load found out.

use std::fmt;

use serde::Serialize;

use crate::histogram::Histogram;

/// Figures of one load. Rates, latencies and the server's cost are those of the measured time; counts, faults and
/// backpressure are those of the whole load, warm-up and drain included.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// The measured time.
    pub seconds: f64,
    /// Packets that arrived in the measured time.
    pub delivered: u64,
    /// Their rate.
    pub delivered_per_s: f64,
    /// How long they were under way.
    pub latency: Latency,
    /// All of their times.
    #[serde(skip)]
    pub latencies: Histogram,
    /// Packets sent in all.
    pub sent: u64,
    /// Packets sent beside them to clients that read nothing.
    pub sent_to_stalled: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// What happened to others.
    pub faults: Faults,
    /// What streams felt of a server that read slowly.
    pub backpressure: Option<Backpressure>,
    /// Cost of the server, when its process is known.
    pub server: Option<ServerCost>,
    /// Why allocations were left to expire.
    pub release_failure: Option<String>,
}

/// Quantiles of a histogram, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_us: f64,
    /// What nine of ten did not exceed.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1000.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
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
    /// Messages that carry no payload.
    pub foreign: u64,
    /// Refused by the kernel when sending, or for a client whose connection had ended.
    pub unsent: u64,
    /// Shots left out because this process could not keep the pace.
    pub skipped: u64,
    /// Shots left out because the server read a stream too slowly.
    pub held_back: u64,
    /// Connections that the server ended.
    pub closed: u64,
}

/// What streams felt of a server that read slowly.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Backpressure {
    /// Share of the time in which bytes waited, mean over all connections.
    pub blocked_share: f64,
    /// Most bytes that waited in one connection, what the kernel holds excepted.
    pub waiting_bytes_max: usize,
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

impl Latency {
    /// Takes quantiles from a histogram.
    pub fn of(histogram: &Histogram) -> Self {
        let us = |share| histogram.quantile(share).as_secs_f64() * 1e6;
        Self {
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: histogram.max().as_secs_f64() * 1e6,
        }
    }
}

impl Figures {
    /// Gives the share of sent packets that never arrived.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }

    /// Tells whether every packet that arrived was whole, single and in the right place.
    pub fn content_is_right(&self) -> bool {
        (self.faults.duplicated, self.faults.corrupt, self.faults.misrouted) == (0, 0, 0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (latency, faults) = (self.latency, self.faults);
        writeln!(
            f,
            "delivered   {} in {:.1} s = {:.0}/s",
            self.delivered, self.seconds, self.delivered_per_s
        )?;
        writeln!(
            f,
            "latency     p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, p999 {:.0} us, max {:.0} us",
            latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us
        )?;
        let percent = 100.0 * self.loss();
        writeln!(f, "lost        {} of {} = {percent:.4} %", self.lost, self.sent)?;
        writeln!(
            f,
            "content     {} duplicated, {} corrupt, {} misrouted: {}",
            faults.duplicated,
            faults.corrupt,
            faults.misrouted,
            if self.content_is_right() { "right" } else { "WRONG" }
        )?;
        writeln!(
            f,
            "also        {} reordered, {} foreign, {} unsent, {} skipped",
            faults.reordered, faults.foreign, faults.unsent, faults.skipped
        )?;
        if self.sent_to_stalled > 0 {
            writeln!(f, "beside it   {} to clients that read nothing", self.sent_to_stalled)?;
        }
        if let Some(pressure) = self.backpressure {
            writeln!(
                f,
                "streams     {} closed, {} held back, blocked {:.2} % of the time, at most {} bytes waited",
                faults.closed,
                faults.held_back,
                100.0 * pressure.blocked_share,
                pressure.waiting_bytes_max
            )?;
        }
        if let Some(server) = self.server {
            writeln!(
                f,
                "server      {:.3} us CPU a packet, {:.0} % of a core, {} kB resident",
                server.cpu_us_per_packet,
                100.0 * server.busy,
                server.resident_kb
            )?;
        }
        if let Some(failure) = &self.release_failure {
            writeln!(f, "left over   allocations, to expire: {failure}")?;
        }
        Ok(())
    }
}
