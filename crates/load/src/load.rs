//! The loop that sends, receives and measures.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::LoadError;
use crate::endpoint::{Endpoint, Inbox, Outbox};
use crate::error::Doing as _;
use crate::figures::{Backpressure, Figures, Latency, ServerCost};
use crate::framing::unwrap;
use crate::histogram::Histogram;
use crate::interrupt;
use crate::judge::Judge;
use crate::pattern::{Pacing, Pattern};
use crate::payload::Stamp;
use crate::process::Process;
use crate::progress::Progress;
use crate::rig::{Rig, Target};

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
    let mut figures = load.run()?;
    // What was measured stands, whatever comes of the allocations.
    figures.release_failure = load.rig.release().err().map(|error| error.to_string());
    Ok(figures)
}

struct Load<'a> {
    rig: Rig,
    pattern: &'a Pattern,
    server: Option<&'a Process>,
    watch: Watch,
    inbox: Inbox,
    outbox: Outbox,
    start: Instant,
    schedule: Schedule,
    judge: Judge,
    first_end: Option<String>,
    progress: Progress,
}

/// Sockets that are watched.
struct Watch {
    epoll: Epoll,
    /// Endpoints whose stream is blocked, and therefore watched for room too.
    blocked: Vec<bool>,
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

impl Watch {
    fn new(rig: &Rig) -> Result<Self, LoadError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).doing(|| "making an epoll instance".into())?;
        for (index, endpoint) in rig.endpoints.iter().enumerate() {
            if let Some(fd) = endpoint.fd() {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
                epoll.add(fd, event).doing(|| "watching a socket".into())?;
            }
        }
        Ok(Self {
            epoll,
            blocked: vec![false; rig.endpoints.len()],
        })
    }

    /// Watches a stream for room as long as it is blocked.
    fn renew(&mut self, at: usize, endpoint: &Endpoint) {
        let is_blocked = endpoint.stream().is_some_and(|stream| stream.is_blocked());
        if is_blocked == self.blocked[at] {
            return;
        }
        self.blocked[at] = is_blocked;
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, is_blocked);
        if let Some(fd) = endpoint.fd() {
            self.epoll
                .modify(fd, &mut EpollEvent::new(flags, at as u64))
                .expect("the socket was added before");
        }
    }
}

impl<'a> Load<'a> {
    fn new(rig: Rig, pattern: &'a Pattern, server: Option<&'a Process>, quiet: bool) -> Result<Self, LoadError> {
        let interval_ns = match pattern.pacing {
            Pacing::Rate(rate) => {
                let of_a_flow = rate / pattern.direction.flows_per_client() as f64;
                1e9 / (of_a_flow * rig.flows.len() as f64)
            }
            Pacing::InFlight(_) => 0.0,
        };
        Ok(Self {
            watch: Watch::new(&rig)?,
            rig,
            pattern,
            server,
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            start: Instant::now(),
            schedule: Schedule {
                next_flow: 0,
                next_ns: 0.0,
                interval_ns,
            },
            judge: Judge::new(pattern.payload_bytes),
            first_end: None,
            progress: Progress::new(server, quiet),
        })
    }

    fn run(&mut self) -> Result<Figures, LoadError> {
        self.start = Instant::now();
        self.shoot_until(self.pattern.warm_up)?;
        self.judge.latencies = Histogram::default();
        let begin = self.mark()?;
        self.shoot_until(self.pattern.warm_up + self.pattern.measured)?;
        let end = self.mark()?;
        let mut figures = self.figures(&begin, &end)?;
        figures.backpressure = self.backpressure();
        self.drain(Duration::from_nanos(self.now_ns()) + DRAIN)?;
        figures.sent = self.judge.sent;
        figures.sent_to_stalled = self.judge.unexpected;
        figures.lost = self.judge.sent - self.judge.arrived;
        figures.faults = self.judge.faults;
        Ok(figures)
    }

    fn shoot_until(&mut self, until: Duration) -> Result<(), LoadError> {
        let until_ns = until.as_nanos() as u64;
        loop {
            let now_ns = self.now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            interrupt::check()?;
            match self.pattern.pacing {
                Pacing::Rate(_) => self.shoot_due(now_ns),
                Pacing::InFlight(shots) => self.shoot_free(shots * self.pattern.burst, now_ns),
            }
            self.receive()?;
            if self.progress.is_due(now_ns) {
                let (sent, arrived) = (self.judge.sent, self.judge.arrived);
                self.progress.tell(now_ns, sent, arrived, sent - arrived, self.server);
            }
        }
    }

    fn drain(&mut self, until: Duration) -> Result<(), LoadError> {
        let until_ns = until.as_nanos() as u64;
        while self.now_ns() < until_ns && self.judge.arrived < self.judge.sent {
            interrupt::check()?;
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
                self.judge.faults.skipped += 1;
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
        let endpoint = &mut self.rig.endpoints[flow.from];
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
        let bytes = self.outbox.bytes();
        let is_full = endpoint.stream().is_some_and(|stream| !stream.has_room(bytes));
        let left = if is_full {
            self.outbox.clear();
            self.judge.faults.held_back += 1;
            Ok(0)
        } else {
            self.outbox.flush(endpoint, self.pattern.gso)
        };
        let at = flow.from;
        let count = *left.as_ref().unwrap_or(&0);
        for _ in count..self.pattern.burst {
            flow.tracker.unsend();
            self.judge.faults.unsent += u64::from(!is_full);
        }
        let is_expected = self.rig.flows[index].is_expected;
        *(if is_expected {
            &mut self.judge.sent
        } else {
            &mut self.judge.unexpected
        }) += count as u64;
        match left {
            Ok(_) => self.watch.renew(at, &self.rig.endpoints[at]),
            Err(error) => self.end(at, &error),
        }
    }

    /// Takes what has arrived, without waiting.
    fn receive(&mut self) -> Result<(), LoadError> {
        let mut ready = [EpollEvent::empty(); READY_MAX];
        let count = match self.watch.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error).doing(|| "waiting for sockets".into()),
        };
        for event in &ready[..count] {
            let at = event.data() as usize;
            let taken = self.take(at);
            match taken {
                Ok(()) => self.watch.renew(at, &self.rig.endpoints[at]),
                Err(error) => self.end(at, &error),
            }
        }
        self.all_are_gone()
    }

    fn take(&mut self, at: usize) -> io::Result<()> {
        let (endpoint, flows) = (&mut self.rig.endpoints[at], &mut self.rig.flows);
        if let Some(stream) = endpoint.stream_mut() {
            stream.flush()?;
        }
        let now_ns = self.start.elapsed().as_nanos() as u64;
        let (is_client, judge) = (endpoint.is_client(), &mut self.judge);
        self.inbox.take(endpoint, |message| {
            let payload = if is_client { unwrap(message) } else { Some(message) };
            judge.judge(flows, at, payload, now_ns);
        })
    }

    /// Goes on without a client whose connection has ended.
    fn end(&mut self, at: usize, error: &io::Error) {
        self.judge.faults.closed += 1;
        self.first_end.get_or_insert_with(|| error.to_string());
        self.rig.endpoints[at] = Endpoint::Gone;
    }

    fn all_are_gone(&self) -> Result<(), LoadError> {
        match &self.first_end {
            Some(reason) if self.judge.faults.closed == self.pattern.clients as u64 => {
                Err(LoadError::AllClosed(reason.clone()))
            }
            _ => Ok(()),
        }
    }

    fn mark(&self) -> Result<Mark, LoadError> {
        Ok(Mark {
            cpu_time: self.server.map(Process::cpu_time).transpose()?,
            at_ns: self.now_ns(),
            arrived: self.judge.arrived,
        })
    }

    fn figures(&self, begin: &Mark, end: &Mark) -> Result<Figures, LoadError> {
        let seconds = (end.at_ns - begin.at_ns) as f64 / 1e9;
        let delivered = end.arrived - begin.arrived;
        let mut figures = Figures {
            seconds,
            delivered,
            delivered_per_s: delivered as f64 / seconds,
            latency: Latency::of(&self.judge.latencies),
            latencies: self.judge.latencies.clone(),
            ..Figures::default()
        };
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

    /// Gives what the streams that are left have felt since they were made.
    fn backpressure(&self) -> Option<Backpressure> {
        let pressures: Vec<_> = self
            .rig
            .endpoints
            .iter()
            .filter_map(|e| Some(e.stream()?.pressure()))
            .collect();
        let blocked_s: f64 = pressures.iter().map(|pressure| pressure.blocked.as_secs_f64()).sum();
        let whole_s = pressures.len() as f64 * self.start.elapsed().as_secs_f64();
        Some(Backpressure {
            blocked_share: blocked_s / whole_s,
            waiting_bytes_max: pressures.iter().map(|pressure| pressure.waiting_bytes_max).max()?,
        })
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}
