//! What is measured of a load, and what comes of it.

use std::time::Duration;

use serde::Serialize;
use voex_base::Label as _;

use super::conference::{Load, Target};
use super::figures::Figures;
use super::inflow::Inflow;
use super::peer::{Peer, Role};
use super::plan::Plan;
use crate::LoadError;
use crate::figures::{Latency, ServerCost};
use crate::histogram::Histogram;
use crate::process::Process;

/// Subscriptions that are there before memory is counted, at most.
const MEMORY_WARM_UP_MAX: usize = 50;

/// A load that has grown is too large when more packets than this are lost, or one in a hundred is later.
const LOSS_MAX: f64 = 0.001;
/// The latter.
const P99_MAX: Duration = Duration::from_millis(20);
/// Time at the end of a load with losses in which there are none.
const LOSSLESS: Duration = Duration::from_millis(300);
/// Share of its time beyond which the generator is what is measured.
const GENERATOR_BUSY_MAX: f64 = 0.9;
/// A load grows by this share at least, once it is larger than its first step.
const GROWTH: f64 = 0.15;
/// Time for a load that has grown to settle, and the time it is looked at.
const SETTLE: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(1_200);

/// Where the measured time began or ended.
struct Mark {
    at_ns: u64,
    delivered: u64,
    bytes: u64,
    busy_ns: u64,
    gaps: u64,
    cpu_time: Option<Duration>,
}

/// How large a load can get.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    /// Subscriptions that the server served without being too slow or losing too much.
    pub most: usize,
    /// What stood in the way of more.
    pub limit: String,
    /// Whether that was the server.
    pub is_the_servers: bool,
    /// What the most cost, and how late it was.
    pub figures: Option<Figures>,
}

/// Runs a plan against a server, from the first room to the last.
///
/// # Errors
/// See [`LoadError`].
pub fn run(target: &Target, plan: &Plan, server: Option<&Process>, quiet: bool) -> Result<Figures, LoadError> {
    let mut load = Load::new(target, plan, server, quiet)?;
    load.make_rooms()?;
    let figures = load.run();
    load.is_ending = true;
    // What was measured stands, and an error that came first is the one to tell.
    let removed = load.remove_rooms();
    let figures = figures?;
    removed?;
    Ok(figures)
}

/// Lets a plan grow, a step of participants at a time, until the server is too slow or all are in.
///
/// A step is `first` subscribers of every room, or a room of a mesh.
///
/// # Errors
/// See [`LoadError`].
pub fn grow(target: &Target, plan: &Plan, first: usize, server: Option<&Process>) -> Result<Growth, LoadError> {
    let mut load = Load::new(target, plan, server, true)?;
    load.make_rooms()?;
    let growth = load.grow(first);
    load.is_ending = true;
    // A server that was driven into the ground is stopped, not asked.
    if growth.as_ref().is_ok_and(|growth| !growth.is_the_servers) {
        load.remove_rooms()?;
    }
    growth
}

/// Tells whether too much is lost or late.
fn is_too_much(figures: &Figures) -> bool {
    figures.latency.p99_us > P99_MAX.as_secs_f64() * 1e6 || figures.loss() > LOSS_MAX
}

impl Load<'_> {
    fn run(&mut self) -> Result<Figures, LoadError> {
        let publishers = self.plan.rooms * self.plan.publishers;
        let warm = publishers + (self.plan.receivers() / 4).min(MEMORY_WARM_UP_MAX);
        self.bring_in(0..publishers)?;
        self.bring_in(publishers..warm)?;
        let before = self.server.map(Process::resident_bytes).transpose()?;
        self.bring_in(warm..self.peers.len())?;
        let after = self.server.map(Process::resident_bytes).transpose()?;
        self.go_on(self.plan.warm_up)?;
        self.tally.latencies = Histogram::default();
        let begin = self.mark()?;
        self.go_on(self.plan.measured)?;
        let end = self.mark()?;
        let latencies = self.tally.latencies.clone();
        let resident = self.server.map(Process::resident_bytes).transpose()?;
        self.lose_nothing()?;
        self.drain()?;
        let mut figures = self.figures(&begin, &end, latencies);
        if let (Some(before), Some(after)) = (before, after) {
            let more = after.saturating_sub(before) as f64;
            figures.bytes_each = Some(more / (self.peers.len() - warm).max(1) as f64);
        }
        if let (Some(server), Some(resident)) = (&mut figures.server, resident) {
            server.resident_kb = resident / 1024;
        }
        Ok(figures)
    }

    /// Throws nothing away for a while: nobody can miss the last packet of a stream.
    fn lose_nothing(&mut self) -> Result<(), LoadError> {
        if self.plan.loss == 0.0 {
            return Ok(());
        }
        for peer in &mut self.peers {
            match &mut peer.role {
                Role::Publisher { media, .. } => media.loss.end(),
                Role::Subscriber { media, .. } => media.loss.end(),
            }
        }
        self.go_on(LOSSLESS)
    }

    fn grow(&mut self, first: usize) -> Result<Growth, LoadError> {
        let publishers = self.plan.rooms * self.plan.publishers;
        let all = self.plan.receivers();
        let mut growth = Growth {
            most: 0,
            limit: "all that were planned were served".into(),
            is_the_servers: false,
            figures: None,
        };
        if !self.plan.mesh {
            self.bring_in(0..publishers)?;
        }
        let mut there = 0;
        while there < all {
            // Whole rooms of a mesh.
            let more = (there as f64 * GROWTH) as usize / first * first;
            let more = more.max(first).min(all - there);
            if self.plan.mesh {
                self.bring_in(there..there + more)?;
            }
            let came = self.bring_in(publishers + there..publishers + there + more);
            there += more;
            match came {
                Ok(()) => {}
                Err(LoadError::Interrupted) => return Err(LoadError::Interrupted),
                Err(error) => {
                    growth.limit = format!("{there}: {error}");
                    growth.is_the_servers = true;
                    return Ok(growth);
                }
            }
            let mut figures = self.look()?;
            if is_too_much(&figures) {
                // Once may have been the machine's other work.
                figures = self.look()?;
            }
            let is_full = figures.generator_busy > GENERATOR_BUSY_MAX;
            if is_too_much(&figures) {
                let (p99_ms, loss) = (figures.latency.p99_us / 1e3, 100.0 * figures.loss());
                let whose = if is_full {
                    ", with a generator that cannot do more"
                } else {
                    ""
                };
                growth.limit = format!("{there}: p99 {p99_ms:.1} ms, loss {loss:.2} %{whose}");
                growth.is_the_servers = !is_full;
                return Ok(growth);
            }
            growth.most = there;
            growth.figures = Some(figures);
            if is_full {
                growth.limit = format!("{there}: this generator cannot do more");
                return Ok(growth);
            }
        }
        Ok(growth)
    }

    /// Measures a load that has grown, and gives the loss of that time only.
    fn look(&mut self) -> Result<Figures, LoadError> {
        self.go_on(SETTLE)?;
        self.tally.latencies = Histogram::default();
        let begin = self.mark()?;
        self.go_on(LOOK)?;
        let end = self.mark()?;
        let latencies = self.tally.latencies.clone();
        let mut figures = self.figures(&begin, &end, latencies);
        figures.arrived = figures.delivered;
        figures.lost = end.gaps.saturating_sub(begin.gaps);
        Ok(figures)
    }

    pub(super) fn inflows(&self) -> impl Iterator<Item = &Inflow> {
        self.peers
            .iter()
            .filter_map(Peer::subscriber)
            .flat_map(|media| &media.inflows)
    }

    pub(super) fn lost(&self) -> u64 {
        self.inflows()
            .map(|inflow| inflow.gaps() + inflow.tail(&self.sent))
            .sum()
    }

    fn mark(&self) -> Result<Mark, LoadError> {
        Ok(Mark {
            cpu_time: self.server.map(Process::cpu_time).transpose()?,
            at_ns: self.now_ns(),
            delivered: self.tally.delivered,
            bytes: self.tally.bytes,
            busy_ns: self.busy_ns,
            gaps: self.inflows().map(Inflow::gaps).sum(),
        })
    }

    fn figures(&self, begin: &Mark, end: &Mark, latencies: Histogram) -> Figures {
        let seconds = (end.at_ns - begin.at_ns) as f64 / 1e9;
        let delivered = end.delivered - begin.delivered;
        let tally = &self.tally;
        let mut times = [(); 3].map(|()| Histogram::default());
        for peer in &self.peers {
            let (Some(media), Some(up_ns)) = (peer.subscriber(), peer.up_ns) else {
                continue;
            };
            times[0].record(up_ns - peer.asked_ns);
            if let Some((packet_ns, frame_ns)) = media.begun_ns() {
                times[1].record(packet_ns.saturating_sub(peer.asked_ns));
                times[2].record(frame_ns.saturating_sub(peer.asked_ns));
            }
        }
        let [join, first_packet, first_frame] = times.map(|histogram| Latency::of(&histogram));
        let profile = self
            .peers
            .iter()
            .rev()
            .find_map(|peer| peer.connection.as_ref()?.profile());
        let server = begin.cpu_time.zip(end.cpu_time).map(|(before, after)| {
            let cpu_s = after.saturating_sub(before).as_secs_f64();
            ServerCost {
                cpu_us_per_packet: 1e6 * cpu_s / delivered.max(1) as f64,
                busy: cpu_s / seconds,
                resident_kb: 0,
            }
        });
        Figures {
            seconds,
            delivered,
            delivered_per_s: delivered as f64 / seconds,
            mbit_per_s: 8.0 * (end.bytes - begin.bytes) as f64 / seconds / 1e6,
            latency: Latency::of(&latencies),
            latencies,
            arrived: tally.delivered,
            lost: self.lost(),
            recovered: tally.recovered,
            thrown_away: tally.thrown_away,
            silent_streams: self.inflows().filter(|inflow| inflow.first_ns.is_none()).count(),
            streams: self.inflows().count(),
            faults: tally.faults,
            feedback: tally.feedback,
            key_frames: tally.key_frames,
            asked_again: tally.asked_again,
            feedback_sent: tally.feedback_sent,
            layers: tally.layers,
            switches: tally.switches,
            srtp_profile: profile.map_or("no SRTP", |profile| profile.name()),
            join,
            first_packet,
            first_frame,
            receivers: self.plan.receivers(),
            generator_busy: (end.busy_ns - begin.busy_ns) as f64 / 1e9 / seconds,
            bytes_each: None,
            server,
        }
    }
}
