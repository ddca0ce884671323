//! The shard itself: what it holds, and how its parts are called.

mod command;
mod data;
mod feedback;
mod forward;
mod piped;
mod receive;
mod report;
mod timer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxBuildHasher, FxHashMap};
use slab::Slab;
use voex_base::{Outbox, Rng, SocketId, SubscriptionId, TrackId, TransportId, WallTime, WorkerId};
use voex_transport::{Certificate, Timeouts};

use crate::command::{Command, DownReason, Event};
use crate::connection::{Connection, Link, RetiredStream};
use crate::data::DataTracks;
use crate::limits::EVENTS_MAX;
use crate::pipe::PipeQueue;
use crate::remotes::Remotes;
use crate::subscription::Phase;
use crate::timer_queue::TimerQueue;
use crate::track::Track;
use crate::{DropReason, Metrics};

/// What a shard needs from the start.
pub struct Config {
    /// Certificate of all its transports.
    pub certificate: Arc<Certificate>,
    /// Time-outs of ICE and DTLS.
    pub timeouts: Timeouts,
    /// After how long without a packet a track counts as silent.
    pub no_media_timer: Duration,
}

impl Config {
    /// Gives a configuration with the defaults: the time-outs of the transport crate, and silence after 1 s.
    pub fn new(certificate: Arc<Certificate>) -> Self {
        Self {
            certificate,
            timeouts: Timeouts::default(),
            no_media_timer: Duration::from_secs(1),
        }
    }
}

/// One worker's transports, tracks and subscriptions.
///
/// After each call that takes an outbox, drain [`poll_event`](Self::poll_event) and [`poll_pipe`](Self::poll_pipe), then
/// read [`poll_timeout`](Self::poll_timeout).
pub struct Shard {
    config: Config,
    rng: Rng,
    metrics: Arc<Metrics>,
    connections: Slab<Connection>,
    tracks: Slab<Track>,
    data: DataTracks,
    index: Index,
    timers: TimerQueue,
    events: VecDeque<Event>,
    pipes: PipeQueue,
    /// Connections that stand for tracks of other workers.
    piped: usize,
}

/// Slab keys by what datagrams and commands name.
struct Index {
    transports: FxHashMap<TransportId, usize>,
    tracks: FxHashMap<TrackId, usize>,
    subscriptions: FxHashMap<SubscriptionId, Position>,
    /// Chosen by us; a datagram only asks.
    ufrags: FxHashMap<Box<str>, usize>,
    remotes: Remotes,
    plain_sockets: FxHashMap<SocketId, usize>,
}

/// Where a subscription stands: slab key of its track, and place among the track's.
#[derive(Clone, Copy)]
struct Position {
    track: usize,
    at: usize,
}

impl Shard {
    /// Makes an empty shard. All randomness comes from `rng`, but for that of DTLS.
    pub fn new(config: Config, mut rng: Rng, metrics: Arc<Metrics>) -> Self {
        let remotes = Remotes::new(&mut rng);
        Self {
            config,
            rng,
            metrics,
            connections: Slab::new(),
            tracks: Slab::new(),
            data: DataTracks::new(),
            index: Index {
                transports: FxHashMap::with_hasher(FxBuildHasher),
                tracks: FxHashMap::with_hasher(FxBuildHasher),
                subscriptions: FxHashMap::with_hasher(FxBuildHasher),
                ufrags: FxHashMap::with_hasher(FxBuildHasher),
                remotes,
                plain_sockets: FxHashMap::with_hasher(FxBuildHasher),
            },
            timers: TimerQueue::default(),
            events: VecDeque::new(),
            pipes: PipeQueue::new(),
            piped: 0,
        }
    }

    /// Obeys a command. One that names an unknown id or goes over a bound is ignored and counted.
    pub fn handle_command(&mut self, now: Instant, command: Command, out: &mut impl Outbox) {
        if self.obey(now, command, out).is_none() {
            self.metrics.ignored_commands.inc();
        }
    }

    /// Takes one datagram from `from` to `socket`; SRTP is decrypted in place.
    ///
    /// # Errors
    /// Why it was dropped; counted already.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        wall: WallTime,
        socket: SocketId,
        from: SocketAddr,
        data: &mut [u8],
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        self.receive(now, wall, (socket, from), data, out)
            .inspect_err(|reason| self.metrics.drops.of(*reason).inc())
    }

    /// Lets timers fire that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, wall: WallTime, out: &mut impl Outbox) {
        while let Some((_, key)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.fire(key, now, wall, out);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| at)
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the next message to the shard of another worker, for its [`handle_piped`](Self::handle_piped).
    pub fn poll_pipe(&mut self) -> Option<(WorkerId, &[u8])> {
        self.pipes.pop()
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        } else {
            self.metrics.events_lost.inc();
        }
    }

    /// Puts a connection's earliest deadline into the queue.
    fn reschedule(&mut self, key: usize) {
        if let Some(connection) = self.connections.get(key) {
            self.timers.set(key, connection.timers.next());
        }
    }

    /// Brings a subscription into the phase that follows from its own state, its track's and its transport's.
    fn refresh(&mut self, now: Instant, position: Position, out: &mut impl Outbox) {
        let track = &mut self.tracks[position.track];
        let (needs_key_frame, flow) = (track.needs_key_frame(), track.flow());
        let connection = track.connection;
        let subscription = &mut track.subscriptions[position.at];
        let is_ready = self.connections[subscription.connection].is_ready();
        let can_flow = is_ready && subscription.cold.is_active && track.is_relayed;
        let was_off = subscription.phase == Phase::Off;
        let wanted = subscription.turn(now, can_flow, needs_key_frame, &flow);
        match (was_off, subscription.phase == Phase::Off) {
            (true, false) => self.watch(connection),
            (false, true) => self.unwatch(position.track),
            _ => {}
        }
        if let Some(encoding) = wanted {
            self.want_key_frame(now, position.track, encoding, out);
        }
    }

    /// Does [`refresh`](Self::refresh) for all that leaves by a transport.
    fn refresh_streams(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        for at in 0..self.connections[key].streams.len() {
            let id = self.connections[key].streams[at].id;
            if let Some(position) = self.index.subscriptions.get(&id).copied() {
                self.refresh(now, position, out);
            }
        }
    }

    /// Takes a transport away with its tracks and subscriptions, and says goodbye to its remote.
    fn close(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        if let Some(report) = self.leg_report(key) {
            self.tell(Event::PlainClosed(self.connections[key].id, report));
        }
        for track in std::mem::take(&mut self.connections[key].tracks) {
            self.remove_track(track);
        }
        for stream in std::mem::take(&mut self.connections[key].streams) {
            self.remove_subscription(stream.id);
        }
        self.close_data(now, key, out);
        self.timers.set(key, None);
        let mut connection = self.connections.remove(key);
        self.index.transports.remove(&connection.id);
        if let Some(ufrag) = &connection.local_ufrag {
            self.index.ufrags.remove(ufrag);
        }
        match &mut connection.link {
            Link::Piped(_) => {
                self.piped -= 1;
                return;
            }
            Link::WebRtc(transport) => {
                transport.close(out);
                for remote in transport.remotes() {
                    self.index.remotes.release(remote, key);
                }
            }
            Link::Plain(plain) => {
                self.index.plain_sockets.remove(&plain.rtp);
                plain.rtcp.map(|rtcp| self.index.plain_sockets.remove(&rtcp));
            }
        }
        self.metrics.transports.add(-1);
    }

    fn go_down(&mut self, now: Instant, key: usize, reason: DownReason, out: &mut impl Outbox) {
        let id = self.connections[key].id;
        self.close(now, key, out);
        self.tell(Event::TransportDown(id, reason));
    }

    fn remove_track(&mut self, key: usize) {
        while let Some(subscription) = self.tracks[key].subscriptions.last() {
            self.remove_subscription(subscription.cold.id);
        }
        let track = self.tracks.remove(key);
        self.index.tracks.remove(&track.id);
        self.metrics.tracks.add(-1);
        if let Some(connection) = self.connections.get_mut(track.connection) {
            connection.tracks.retain(|other| *other != key);
            connection.sources.retain(|source| source.track != key);
        }
    }

    /// Ends a subscription; its numbers are remembered on its transport.
    fn remove_subscription(&mut self, id: SubscriptionId) -> Option<()> {
        let position = self.index.subscriptions.remove(&id)?;
        let subscriptions = &mut self.tracks[position.track].subscriptions;
        let mut subscription = subscriptions.swap_remove(position.at);
        if let Some(moved) = subscriptions.get(position.at) {
            self.index.subscriptions.insert(moved.cold.id, position);
        }
        self.metrics.subscriptions.add(-1);
        self.unwatch(position.track);
        if let Some(connection) = self.connections.get_mut(subscription.connection) {
            connection.streams.retain(|stream| stream.id != id);
            // Its packets are another track's business from now on: only where it stands is kept.
            subscription.rewriter.remember(0);
            connection.retire(RetiredStream {
                ssrc: subscription.ssrc,
                rewriter: subscription.rewriter,
                rtx_sequence: subscription.cold.rtx_sequence,
            });
        }
        Some(())
    }
}
