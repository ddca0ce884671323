//! The loop that brings participants in, sends, receives and measures.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use voex_base::Rng;

use super::api::Api;
use super::connection::{Connection, Got};
use super::dtls::Identity;
use super::peer::{Peer, Role, State, peers};
use super::plan::{AUDIO_FRAME_NS, Plan};
use super::publisher::Publisher;
use super::tally::Tally;
use crate::LoadError;
use crate::batch::Batch;
use crate::error::Doing as _;
use crate::interrupt;
use crate::process::Process;
use crate::progress::{Count, Progress};

/// Sockets looked at before media is sent again.
const READY_MAX: usize = 64;
/// Timers that fire before sockets are looked at again.
const TIMERS_A_PASS: usize = 64;
/// Frames sent before sockets are looked at again.
const FRAMES_A_PASS: usize = 16;
/// A frame that is later than this is left out, so that lateness does not make bursts.
const LATE_NS: u64 = 20_000_000;
/// What watches the connection of the API.
const API: u64 = u64::MAX;

const CONNECT_TICK_NS: u64 = 10_000_000;
const CONSENT_TICK_NS: u64 = 500_000_000;
const REPORT_NS: u64 = 1_000_000_000;
const FEEDBACK_NS: u64 = 50_000_000;
const API_TICK_NS: u64 = 5_000_000;

/// Longest wait for participants, on top of the time that their pace takes.
const PATIENCE_NS: u64 = 20_000_000_000;
/// For streams that do not begin once everybody is in.
const SILENCE_NS: u64 = 5_000_000_000;
/// Time for the last packets to arrive, and to be asked for again.
const DRAIN_MIN_NS: u64 = 100_000_000;
const DRAIN_MAX_NS: u64 = 2_000_000_000;
/// Seconds between 1900 and 1970.
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// The server under test, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Target {
    /// ws://HOST:PORT of its Janus API.
    pub url: String,
    /// Secret of the API.
    pub secret: Option<String>,
    /// Number of the first room that is made.
    pub first_room: u64,
    /// Address of this host for media, when not the one from which the API is reached.
    pub media: Option<IpAddr>,
}

/// What is due at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// ICE and DTLS of a connection that is not up yet; then consent.
    Connect,
    /// Reports of sender or receiver.
    Report,
    /// Requests for what is missing, and transport feedback.
    FeedBack,
    /// The API's connection.
    Api,
}

pub(super) struct Load<'a> {
    pub(super) plan: &'a Plan,
    pub(super) server: Option<&'a Process>,
    pub(super) api: Api,
    pub(super) admin: u64,
    pub(super) rooms: Vec<u64>,
    /// Where media is sent from and to.
    pub(super) local: IpAddr,
    pub(super) identity: Identity,
    pub(super) rng: Rng,
    pub(super) peers: Vec<Peer>,
    pub(super) by_handle: HashMap<u64, usize>,
    epoll: Epoll,
    batch: Batch,
    timers: BinaryHeap<Reverse<(u64, usize, Timer)>>,
    /// Packets that left, by flow.
    pub(super) sent: Vec<u64>,
    pub(super) tally: Tally,
    start: Instant,
    pub(super) ntp_begin: u64,
    cameras: [Schedule; 2],
    is_sending: bool,
    pub(super) is_ending: bool,
    /// Time in passes that found something to do.
    pub(super) busy_ns: u64,
    progress: Progress,
    quiet: bool,
}

/// Which publisher sends next, and when.
struct Schedule {
    is_audio: bool,
    next: usize,
    next_ns: f64,
    interval_ns: f64,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        target: &Target,
        plan: &'a Plan,
        server: Option<&'a Process>,
        quiet: bool,
    ) -> Result<Self, LoadError> {
        let mut seed = [0; 32];
        let drawn = getrandom::fill(&mut seed).map_err(std::io::Error::other);
        drawn.doing(|| "drawing random numbers".into())?;
        let mut rng = Rng::from_seed(seed);
        let mut api = Api::connect(&target.url, target.secret.as_deref())?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).doing(|| "making an epoll instance".into())?;
        let watched = epoll.add(api.fd(), EpollEvent::new(EpollFlags::EPOLLIN, API));
        watched.doing(|| "watching a socket".into())?;
        let publishers = plan.rooms * plan.publishers;
        let video_ns = plan.video.map_or(f64::INFINITY, |video| 1e9 / f64::from(video.fps));
        let audio_ns = plan.audio_bytes.map_or(f64::INFINITY, |_| AUDIO_FRAME_NS as f64);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            plan,
            server,
            admin: api.attach()?,
            local: target.media.unwrap_or(api.local_ip()),
            api,
            rooms: (0..plan.rooms as u64).map(|room| target.first_room + room).collect(),
            identity: Identity::make()?,
            peers: peers(plan, &mut rng),
            rng,
            by_handle: HashMap::new(),
            epoll,
            batch: Batch::new(),
            timers: BinaryHeap::from([Reverse((0, 0, Timer::Api))]),
            sent: vec![0; publishers * Publisher::flows(plan) as usize],
            tally: Tally::default(),
            start: Instant::now(),
            ntp_begin: (since_1970.as_secs() + NTP_OFFSET_S) << 32,
            cameras: [(true, audio_ns), (false, video_ns)].map(|(is_audio, period_ns)| Schedule {
                is_audio,
                next: 0,
                next_ns: period_ns,
                interval_ns: period_ns / publishers as f64,
            }),
            is_sending: true,
            is_ending: false,
            busy_ns: 0,
            progress: Progress::new(server, quiet),
            quiet,
        })
    }

    /// Lets participants come at their pace, and waits until all are in and receive.
    pub(super) fn bring_in(&mut self, range: std::ops::Range<usize>) -> Result<(), LoadError> {
        let (begun_ns, wanted) = (self.now_ns(), range.len());
        let interval_ns = 1e9 / self.plan.joins_per_s;
        let until_ns = begun_ns + (wanted as f64 * interval_ns) as u64 + PATIENCE_NS;
        let mut next = range.start;
        let mut count = Count::new("participants are in", wanted, self.quiet);
        let mut all_up_ns = None;
        // Looking at everybody takes its time; whoever is ready stays so.
        let mut ready = range.start;
        loop {
            let now_ns = self.now_ns();
            while next < range.end && (next - range.start) as f64 * interval_ns <= (now_ns - begun_ns) as f64 {
                self.begin(next)?;
                next += 1;
            }
            self.pass()?;
            while ready < range.end && (self.peers[ready].is_ready() || self.peers[ready].state == State::Gone) {
                ready += 1;
            }
            if ready == range.end {
                return Ok(());
            }
            let up = || {
                self.peers[ready..range.end]
                    .iter()
                    .filter(|peer| peer.state == State::Up)
                    .count()
            };
            if next == range.end && all_up_ns.is_none() && ready + up() == range.end {
                all_up_ns = Some(now_ns);
            }
            // Streams that stay silent are counted, and the others measured.
            if all_up_ns.is_some_and(|at_ns| now_ns - at_ns > SILENCE_NS) {
                return Ok(());
            }
            if now_ns > until_ns {
                return Err(LoadError::TooSlow {
                    seconds: (now_ns - begun_ns) / 1_000_000_000,
                    made: ready - range.start + up(),
                    wanted,
                });
            }
            count.tell(ready - range.start);
        }
    }

    pub(super) fn go_on(&mut self, time: Duration) -> Result<(), LoadError> {
        let until_ns = self.now_ns() + time.as_nanos() as u64;
        while self.now_ns() < until_ns {
            self.pass()?;
            let now_ns = self.now_ns();
            if self.progress.is_due(now_ns) {
                let (sent, gaps) = (self.sent.iter().sum(), self.inflows().map(|inflow| inflow.gaps()).sum());
                self.progress
                    .tell(now_ns, sent, self.tally.delivered, gaps, self.server);
            }
        }
        Ok(())
    }

    /// Sends nothing more, until everything has arrived or will not.
    pub(super) fn drain(&mut self) -> Result<(), LoadError> {
        self.is_sending = false;
        let begun_ns = self.now_ns();
        loop {
            self.pass()?;
            let waited_ns = self.now_ns() - begun_ns;
            if waited_ns > DRAIN_MAX_NS || (waited_ns > DRAIN_MIN_NS && self.lost() == 0) {
                return Ok(());
            }
        }
    }

    fn pass(&mut self) -> Result<(), LoadError> {
        interrupt::check()?;
        let begun_ns = self.now_ns();
        let mut has_worked = self.is_sending && self.send_due();
        has_worked |= self.receive()?;
        has_worked |= self.fire()?;
        if has_worked {
            self.busy_ns += self.now_ns() - begun_ns;
        }
        Ok(())
    }

    /// Sends frames whose time has come; gives whether there were any.
    fn send_due(&mut self) -> bool {
        let mut has_sent = false;
        let publishers = self.plan.rooms * self.plan.publishers;
        let start = self.start;
        let clock = || start.elapsed().as_nanos() as u64;
        for schedule in &mut self.cameras {
            for _ in 0..FRAMES_A_PASS {
                let now_ns = clock();
                let due_ns = schedule.next_ns as u64;
                if due_ns > now_ns {
                    break;
                }
                let peer = &mut self.peers[schedule.next];
                schedule.next = (schedule.next + 1) % publishers;
                schedule.next_ns += schedule.interval_ns;
                let (Role::Publisher { media, .. }, Some(connection), State::Up) =
                    (&mut peer.role, &mut peer.connection, peer.state)
                else {
                    continue;
                };
                if now_ns - due_ns > LATE_NS {
                    self.tally.faults.skipped += 1;
                } else {
                    media.send(schedule.is_audio, connection, clock, &mut self.sent, &mut self.tally);
                    has_sent = true;
                }
            }
        }
        has_sent
    }

    /// Takes what has arrived, without waiting; gives whether there was anything.
    fn receive(&mut self) -> Result<bool, LoadError> {
        let mut ready = [EpollEvent::empty(); READY_MAX];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error).doing(|| "waiting for sockets".into()),
        };
        for event in &ready[..count] {
            if event.data() == API {
                self.hear()?;
            } else {
                self.take(event.data() as usize)?;
            }
        }
        Ok(count > 0)
    }

    fn take(&mut self, index: usize) -> Result<(), LoadError> {
        let Some(connection) = &mut self.peers[index].connection else {
            return Ok(());
        };
        let count = self.batch.fill(&connection.socket);
        let now = Instant::now();
        let now_ns = (now - self.start).as_nanos() as u64;
        for datagram in 0..count {
            self.take_datagram(index, datagram, now, now_ns)?;
        }
        Ok(())
    }

    fn take_datagram(&mut self, index: usize, datagram: usize, now: Instant, now_ns: u64) -> Result<(), LoadError> {
        let Some(connection) = &mut self.peers[index].connection else {
            return Ok(());
        };
        let datagram = self.batch.datagram(datagram);
        let got = connection.handle(datagram, &self.identity, now)?;
        let peer = &mut self.peers[index];
        match (got, &mut peer.role, &mut peer.connection) {
            (Got::Rtp(len), Role::Subscriber { media, .. }, _) => {
                media.handle_rtp(&datagram[..len], now_ns, &self.sent, &mut self.tally);
            }
            (Got::Rtcp(len), Role::Subscriber { media, .. }, _) => {
                media.handle_rtcp(&datagram[..len], now_ns, &mut self.tally);
            }
            (Got::Rtcp(len), Role::Publisher { media, .. }, Some(connection)) => {
                media.handle_rtcp(&datagram[..len], connection, &mut self.tally);
            }
            (Got::Up, ..) => self.note_up(index),
            (Got::Rtp(_) | Got::Bad, ..) => self.tally.faults.foreign += 1,
            (Got::Closed, ..) if !self.is_ending && peer.state != State::Gone => {
                peer.state = State::Gone;
                self.tally.faults.closed += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_up(&mut self, index: usize) {
        let now_ns = self.now_ns();
        let peer = &mut self.peers[index];
        peer.state = State::Up;
        peer.up_ns = Some(now_ns);
        // Spread over a second, as those of people are.
        let apart_ns = REPORT_NS / 64 * (index as u64 % 64);
        self.timers.push(Reverse((now_ns + apart_ns, index, Timer::Report)));
        let media = self.peers[index].subscriber();
        if media.is_some_and(|media| media.gives_transport_feedback() || media.inflows.iter().any(|i| !i.is_audio())) {
            let apart_ns = FEEDBACK_NS / 64 * (index as u64 % 64);
            self.timers.push(Reverse((now_ns + apart_ns, index, Timer::FeedBack)));
        }
    }

    /// Lets timers fire that are due; gives whether there were any.
    fn fire(&mut self) -> Result<bool, LoadError> {
        let mut has_fired = false;
        for _ in 0..TIMERS_A_PASS {
            let now_ns = self.now_ns();
            let Some(Reverse((due_ns, index, timer))) = self.timers.peek().copied() else {
                break;
            };
            if due_ns > now_ns {
                break;
            }
            self.timers.pop();
            has_fired = true;
            if let Some(after_ns) = self.fire_one(index, timer, now_ns)? {
                // A loop that is late does not make up for it.
                self.timers.push(Reverse((now_ns.max(due_ns) + after_ns, index, timer)));
            }
        }
        Ok(has_fired)
    }

    /// Gives after what time the timer is due again.
    fn fire_one(&mut self, index: usize, timer: Timer, now_ns: u64) -> Result<Option<u64>, LoadError> {
        if timer == Timer::Api {
            self.api.tick()?;
            // Messages may wait in the connection's buffer, where epoll does not see them.
            self.hear()?;
            return Ok(Some(API_TICK_NS));
        }
        let ntp = self.ntp();
        let peer = &mut self.peers[index];
        let Some(connection) = peer.connection.as_mut().filter(|_| peer.state != State::Gone) else {
            return Ok(None);
        };
        match (timer, &mut peer.role) {
            (Timer::Connect, _) => {
                if connection.tick(now_ns, Instant::now())? {
                    self.note_up(index);
                }
                let is_up = self.peers[index].state == State::Up;
                Ok(Some(if is_up { CONSENT_TICK_NS } else { CONNECT_TICK_NS }))
            }
            (Timer::Report, Role::Publisher { media, .. }) => {
                media.report(connection, ntp);
                Ok(Some(REPORT_NS))
            }
            (Timer::Report, Role::Subscriber { media, .. }) => {
                media.report(connection, now_ns, &mut self.tally);
                Ok(Some(REPORT_NS))
            }
            (Timer::FeedBack, Role::Subscriber { media, .. }) => {
                media.feed_back(connection, now_ns, &mut self.tally);
                Ok(Some(FEEDBACK_NS))
            }
            (Timer::FeedBack, Role::Publisher { .. }) | (Timer::Api, _) => Ok(None),
        }
    }

    /// Lets a timer fire at once.
    pub(super) fn wake(&mut self, index: usize, timer: Timer) {
        self.timers.push(Reverse((self.now_ns(), index, timer)));
    }

    /// Watches a connection's socket.
    pub(super) fn watch(&self, connection: &Connection, index: usize) -> Result<(), LoadError> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        let watched = self.epoll.add(connection.socket.as_fd(), event);
        watched.doing(|| "watching a socket".into())
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}
