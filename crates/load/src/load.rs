//! The loop that sends, receives and measures.

use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::LoadError;
use crate::endpoint::{Endpoint, Inbox, Outbox};
use crate::error::Doing as _;
use crate::figures::{Faults, Figures, ServerCost};
use crate::framing::unwrap;
use crate::histogram::Histogram;
use crate::pattern::{Pacing, Pattern};
use crate::payload::Stamp;
use crate::process::Process;
use crate::progress::Progress;
use crate::rig::{Rig, Target};
use crate::tracker::Arrival;

/// Shots sent before sockets are looked at again.
const SHOTS_A_PASS: usize = 32;
/// Sockets looked at before shots are sent again.
const READY_MAX: usize = 64;
/// A paced shot that is later than this is left out, so that lateness does not make bursts.
const LATE_NS: u64 = 2_000_000;
/// Time for the last packets to arrive; over as soon as they have.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs a pattern against a server, from allocation to release.
///
/// # Errors
/// See [`LoadError`].
pub fn run(target: &Target, pattern: &Pattern, server: Option<&Process>, quiet: bool) -> Result<Figures, LoadError> {
    let rig = Rig::build(target, pattern)?;
    let mut load = Load::new(rig, pattern, server, quiet)?;
    let figures = load.run()?;
    load.rig.release()?;
    Ok(figures)
}

struct Load<'a> {
    rig: Rig,
    pattern: &'a Pattern,
    server: Option<&'a Process>,
    epoll: Epoll,
    inbox: Inbox,
    outbox: Outbox,
    start: Instant,
    schedule: Schedule,
    totals: Totals,
    latencies: Histogram,
    progress: Progress,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    sent: u64,
    arrived: u64,
    faults: Faults,
}

/// Where the measured time began or ended.
struct Mark {
    at_ns: u64,
    arrived: u64,
    cpu_time: Option<Duration>,
}

/// Which flow shoots next, and when.
struct Schedule {
    next_flow: usize,
    next_ns: f64,
    interval_ns: f64,
}

impl<'a> Load<'a> {
    fn new(rig: Rig, pattern: &'a Pattern, server: Option<&'a Process>, quiet: bool) -> Result<Self, LoadError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).doing(|| "making an epoll instance".into())?;
        for (index, endpoint) in rig.endpoints.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            epoll.add(endpoint.fd(), event).doing(|| "watching a socket".into())?;
        }
        let interval_ns = match pattern.pacing {
            Pacing::Rate(rate) => 1e9 / (rate * pattern.clients as f64),
            Pacing::InFlight(_) => 0.0,
        };
        Ok(Self {
            rig,
            pattern,
            server,
            epoll,
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            start: Instant::now(),
            schedule: Schedule {
                next_flow: 0,
                next_ns: 0.0,
                interval_ns,
            },
            totals: Totals::default(),
            latencies: Histogram::default(),
            progress: Progress::new(server, quiet),
        })
    }

    fn run(&mut self) -> Result<Figures, LoadError> {
        self.start = Instant::now();
        self.shoot_until(self.pattern.warm_up)?;
        self.latencies = Histogram::default();
        let begin = self.mark()?;
        self.shoot_until(self.pattern.warm_up + self.pattern.measured)?;
        let end = self.mark()?;
        let mut figures = self.figures(&begin, &end)?;
        self.drain(Duration::from_nanos(self.now_ns()) + DRAIN)?;
        figures.sent = self.totals.sent;
        figures.lost = self.totals.sent - self.totals.arrived;
        figures.faults = self.totals.faults;
        Ok(figures)
    }

    fn shoot_until(&mut self, until: Duration) -> Result<(), LoadError> {
        let until_ns = until.as_nanos() as u64;
        loop {
            let now_ns = self.now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            match self.pattern.pacing {
                Pacing::Rate(_) => self.shoot_due(now_ns),
                Pacing::InFlight(shots) => self.shoot_free(shots * self.pattern.burst, now_ns),
            }
            self.receive()?;
            if self.progress.is_due(now_ns) {
                let (sent, arrived) = (self.totals.sent, self.totals.arrived);
                self.progress.tell(now_ns, sent, arrived, self.server);
            }
        }
    }

    fn drain(&mut self, until: Duration) -> Result<(), LoadError> {
        let until_ns = until.as_nanos() as u64;
        while self.now_ns() < until_ns && self.totals.arrived < self.totals.sent {
            self.receive()?;
        }
        Ok(())
    }

    /// Sends the paced shots whose time has come.
    fn shoot_due(&mut self, now_ns: u64) {
        for _ in 0..SHOTS_A_PASS {
            let due_ns = self.schedule.next_ns as u64;
            if due_ns > now_ns {
                return;
            }
            self.schedule.next_ns += self.schedule.interval_ns;
            if now_ns - due_ns > LATE_NS {
                self.totals.faults.skipped += 1;
            } else {
                self.shoot(self.schedule.next_flow);
            }
            self.schedule.next_flow = (self.schedule.next_flow + 1) % self.rig.flows.len();
        }
    }

    /// Sends a shot on flows that have room, in turn.
    fn shoot_free(&mut self, under_way_max: usize, now_ns: u64) {
        let flows = self.rig.flows.len();
        let mut shots = 0;
        for _ in 0..flows {
            let index = self.schedule.next_flow;
            self.schedule.next_flow = (index + 1) % flows;
            if self.rig.flows[index].has_room(self.pattern.burst, under_way_max, now_ns) {
                self.shoot(index);
                shots += 1;
                if shots == SHOTS_A_PASS {
                    return;
                }
            }
        }
    }

    fn shoot(&mut self, index: usize) {
        let sent_ns = self.now_ns();
        let flow = &mut self.rig.flows[index];
        flow.touch(sent_ns);
        for _ in 0..self.pattern.burst {
            let stamp = Stamp {
                flow: index as u32,
                sequence: flow.tracker.send(),
                sent_ns,
            };
            let framing = flow.framing;
            self.outbox
                .push(|out| framing.write(&stamp, self.pattern.payload_bytes, out));
        }
        let left = self.outbox.flush(&self.rig.endpoints[flow.from], self.pattern.gso);
        for _ in left..self.pattern.burst {
            flow.tracker.unsend();
            self.totals.faults.unsent += 1;
        }
        self.totals.sent += left as u64;
    }

    /// Takes what has arrived, without waiting.
    fn receive(&mut self) -> Result<(), LoadError> {
        let mut ready = [EpollEvent::empty(); READY_MAX];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error).doing(|| "waiting for sockets".into()),
        };
        for event in &ready[..count] {
            let at = event.data() as usize;
            let endpoint = &self.rig.endpoints[at];
            self.inbox.fill(endpoint);
            let now_ns = self.start.elapsed().as_nanos() as u64;
            let is_client = matches!(endpoint, Endpoint::Client(_));
            for datagram in self.inbox.datagrams() {
                let payload = if is_client { unwrap(datagram) } else { Some(datagram) };
                let Some(payload) = payload else {
                    self.totals.faults.foreign += 1;
                    continue;
                };
                let latency_ns = arrive(&mut self.rig, &mut self.totals, self.pattern, at, payload, now_ns);
                if let Some(latency_ns) = latency_ns {
                    self.latencies.record(latency_ns);
                }
            }
        }
        Ok(())
    }

    fn mark(&self) -> Result<Mark, LoadError> {
        Ok(Mark {
            cpu_time: self.server.map(Process::cpu_time).transpose()?,
            at_ns: self.now_ns(),
            arrived: self.totals.arrived,
        })
    }

    fn figures(&self, begin: &Mark, end: &Mark) -> Result<Figures, LoadError> {
        let seconds = (end.at_ns - begin.at_ns) as f64 / 1e9;
        let delivered = end.arrived - begin.arrived;
        let mut figures = Figures {
            seconds,
            delivered,
            delivered_per_s: delivered as f64 / seconds,
            ..Figures::default()
        };
        figures.set_latencies(&self.latencies);
        if let (Some(server), Some(before), Some(after)) = (self.server, begin.cpu_time, end.cpu_time) {
            let cpu_s = after.saturating_sub(before).as_secs_f64();
            figures.server = Some(ServerCost {
                cpu_us_per_packet: 1e6 * cpu_s / delivered.max(1) as f64,
                busy: cpu_s / seconds,
                resident_kb: server.resident_bytes()? / 1024,
            });
        }
        Ok(figures)
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// Judges one payload that arrived at endpoint `at`; gives its latency when it came for the first time.
fn arrive(
    rig: &mut Rig,
    totals: &mut Totals,
    pattern: &Pattern,
    at: usize,
    payload: &[u8],
    now_ns: u64,
) -> Option<u64> {
    let faults = &mut totals.faults;
    let Some(stamp) = Stamp::read(payload, pattern.payload_bytes) else {
        faults.corrupt += 1;
        return None;
    };
    let Some(flow) = rig.flows.get_mut(stamp.flow as usize).filter(|flow| flow.to == at) else {
        faults.misrouted += 1;
        return None;
    };
    match flow.arrive(stamp.sequence, now_ns) {
        Arrival::InOrder => {}
        Arrival::Reordered => faults.reordered += 1,
        Arrival::Duplicate => {
            faults.duplicated += 1;
            return None;
        }
        Arrival::Unsent => {
            faults.misrouted += 1;
            return None;
        }
    }
    totals.arrived += 1;
    Some(now_ns.saturating_sub(stamp.sent_ns))
}
