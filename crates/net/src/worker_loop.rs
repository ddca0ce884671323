//! One media worker: an epoll loop around its state machines.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rtrb::Consumer;
use rustc_hash::FxHashMap;
use socket2::Socket;
use voex_base::{Outbox, SocketId, WallTime, WorkerId};
use voex_stun::PacketKind;
use voex_turn::BindError;
use voex_worker::{Crossed, Egress, Output, Role, Worker};

use crate::arena::SendArena;
use crate::capabilities::Capabilities;
use crate::crossing::{CrossingReceiver, CrossingSender};
use crate::dtls::{Associations, ROOM_BYTES, is_association};
use crate::identity::Identity;
use crate::look_again::{LookAgain, Next, Outcome};
use crate::metrics::{DropReason, Metrics};
use crate::peers::{Peers, is_peer, is_peer_listener};
use crate::queue::{EventSender, Order};
use crate::recorded::RecordedSender;
use crate::rtp::SocketIds;
use crate::socket::{Sharing, bind_udp};
use crate::streams::{MoveReceiver, MoveSender, Room, Streams, is_listener, is_stream};
use crate::sys::{self, Epoll, RECEIVE_BATCH, Ready, ReceiveBatch};
use crate::wake::Wake;
use serve_associations::handle_dtls;

mod between_workers;
mod serve_associations;
mod serve_peers;
mod serve_streams;

/// Descriptors served in one pass; the rest is reported again by the next wait.
const READY_MAX: usize = 256;
/// Receive calls on one socket in one pass. Many packets a pass make long trains, and their own latency no worse: all
/// of them must be sent by this thread anyway.
const BATCHES_PER_PASS: usize = 8;
/// Commands taken in one pass, so that a burst of them cannot hold up media.
const COMMANDS_PER_PASS: u32 = 64;
/// Errors taken from one socket in one pass, so that whoever provokes them holds nobody else up.
const ERRORS_PER_PASS: usize = 16;
/// Sockets bound or closed in one pass.
const OUTPUTS_PER_PASS: usize = 64;
/// How soon events and claims that wait for room are tried again.
const BACKLOG_RETRY: Duration = Duration::from_millis(5);
/// Token of the wake descriptor; sockets have their slot's index, streams their id.
pub(crate) const WAKE_TOKEN: u64 = u64::MAX;

/// Everything that a worker thread is made of. Built by the starting thread, run by its own.
pub(crate) struct Parts {
    pub(crate) id: WorkerId,
    pub(crate) worker: Worker,
    pub(crate) sockets: Vec<(SocketId, Role, Socket)>,
    /// Listeners of TURN streams, with their addresses.
    pub(crate) stream_listeners: Vec<(SocketAddr, Socket)>,
    pub(crate) serves: Serves,
    /// What TLS and DTLS clients are shown.
    pub(crate) identity: Option<Identity>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) orders: Consumer<Order>,
    pub(crate) events: EventSender<voex_sfu::Event>,
    pub(crate) turn_events: EventSender<voex_turn::Event>,
    /// Ways to the other workers, by their number; none to itself.
    pub(crate) crossings_out: Vec<Option<CrossingSender>>,
    pub(crate) crossings_in: Vec<(WorkerId, CrossingReceiver)>,
    /// Likewise for streams.
    pub(crate) moves_out: Vec<Option<MoveSender>>,
    pub(crate) moves_in: Vec<MoveReceiver>,
    /// Way to the recorder, if there is one.
    pub(crate) recorder: Option<RecordedSender>,
    pub(crate) ids: Arc<SocketIds>,
    pub(crate) capabilities: Capabilities,
    pub(crate) look_again_max: Duration,
    pub(crate) nap_max: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) epoll: Epoll,
    pub(crate) secrets: Secrets,
}

/// What the network must not foresee. All workers have the same, so that none depends on where the kernel sends a client's
/// next datagram.
#[derive(Clone, Copy)]
pub(crate) struct Secrets {
    /// Seed of the hashes of tables.
    pub(crate) table_seed: u64,
    /// What DTLS cookies are made with.
    pub(crate) cookie: [u8; 32],
}

/// What TURN clients may come over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serves {
    pub(crate) udp: bool,
    pub(crate) tcp: bool,
    pub(crate) tls: bool,
    pub(crate) dtls: bool,
}

/// Runs a worker until it is told to stop.
pub(crate) fn run(parts: Parts) {
    let stop = parts.stop.clone();
    let mut worker_loop = WorkerLoop::new(parts);
    let mut wait = Next::Sleep;
    while !stop.load(Ordering::Acquire) {
        wait = worker_loop.pass(wait);
    }
    worker_loop.close_associations();
    worker_loop.egress.flush();
}

struct WorkerLoop {
    worker: Worker,
    egress: LoopEgress,
    epoll: Rc<Epoll>,
    ready: Ready,
    batch: ReceiveBatch,
    serves: Serves,
    /// Where streams are read into.
    stream_room: Room,
    /// Where messages of DTLS clients are decrypted into.
    dtls_room: Box<[u8]>,
    sockets: SocketTable,
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    orders: Consumer<Order>,
    events: EventSender<voex_sfu::Event>,
    turn_events: EventSender<voex_turn::Event>,
    crossings_in: Vec<(WorkerId, CrossingReceiver)>,
    /// Connections with peers of TCP relays.
    peers: Peers,
    /// Ways to the other workers for streams, by their number; none to itself.
    moves_out: Vec<Option<MoveSender>>,
    moves_in: Vec<MoveReceiver>,
    /// Where a packet from another worker is looked at.
    crossed: Box<[u8]>,
    ids: Arc<SocketIds>,
    gro: bool,
    outputs_left: bool,
    /// The way to another worker was full: what it is to be told of clients waits in the TURN shard.
    claims_left: bool,
    /// The way to the control plane was full: events may wait in the TURN shard.
    turn_events_left: bool,
    look_again: LookAgain,
    metrics: Arc<Metrics>,
}

/// The two clocks, read together once a pass.
#[derive(Clone, Copy)]
struct Clock {
    now: Instant,
    wall: WallTime,
}

impl Clock {
    fn read() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            now: Instant::now(),
            wall: WallTime::from_unix(since_epoch),
        }
    }
}

impl WorkerLoop {
    fn new(parts: Parts) -> Self {
        let metrics = parts.metrics;
        metrics.gro.set(parts.capabilities.gro.into());
        let arena = SendArena::new(parts.capabilities.gso, metrics.clone());
        let epoll = Rc::new(parts.epoll);
        let streams = Streams::new(
            parts.id,
            parts.stream_listeners,
            parts.serves.tcp,
            epoll.clone(),
            parts.secrets.table_seed,
            metrics.clone(),
        );
        let associations = Associations::new(parts.id, parts.secrets, metrics.clone());
        let mut this = Self {
            worker: parts.worker,
            egress: LoopEgress {
                arena,
                streams,
                associations,
                crossings: parts.crossings_out,
                recorder: parts.recorder,
                wall: Clock::read().wall,
                metrics: metrics.clone(),
            },
            peers: Peers::new(epoll.clone(), metrics.clone()),
            moves_out: parts.moves_out,
            moves_in: parts.moves_in,
            epoll,
            ready: Ready::new(READY_MAX),
            batch: ReceiveBatch::new(),
            serves: parts.serves,
            stream_room: Room::new(),
            dtls_room: vec![0; ROOM_BYTES].into(),
            sockets: SocketTable::default(),
            wake: parts.wake,
            stop: parts.stop,
            orders: parts.orders,
            events: parts.events,
            turn_events: parts.turn_events,
            crossings_in: parts.crossings_in,
            crossed: vec![0; usize::from(u16::MAX)].into(),
            ids: parts.ids,
            gro: parts.capabilities.gro,
            outputs_left: false,
            claims_left: false,
            turn_events_left: false,
            look_again: LookAgain::new(parts.look_again_max, parts.nap_max),
            metrics,
        };
        if let Some(identity) = parts.identity {
            this.set_identity(identity);
        }
        for (id, role, socket) in parts.sockets {
            this.adopt(id, role, socket);
        }
        this
    }

    /// Shows this to those who begin a session from now on.
    fn set_identity(&mut self, identity: Identity) {
        if self.serves.dtls
            && let Some(context) = &identity.dtls
        {
            self.egress.associations.set_context(context.clone());
        }
        if self.serves.tls {
            self.egress.streams.set_identity(identity);
        }
    }

    /// One pass: wait, receive, obey, time out, send. Gives how the next pass waits.
    fn pass(&mut self, wait: Next) -> Next {
        self.wait(wait);
        let clock = Clock::read();
        self.egress.wall = clock.wall;
        // Orders first: what the control plane ordered before it answered a client must stand when that client's first
        // packet is looked at, and both may have come while this worker slept.
        let mut found = self.take_orders(clock);
        found += self.receive_ready(clock);
        found += self.take_crossed(clock);
        found += self.take_moved(clock);
        found += self.shake_hands(clock.now);
        self.run_timers(clock);
        self.outputs_left = self.obey_outputs(clock);
        self.claims_left = !self.worker.pass_claims(&mut self.egress);
        while let Some(event) = self.worker.poll_event() {
            self.events.push(event);
        }
        self.events.announce();
        self.report_turn();
        self.egress.flush();
        self.hear_of_data();
        self.forget_ended_streams();
        self.forget_ended_associations();
        self.after_pass(clock.now, found)
    }

    /// Reports what TURN has to tell as far as there is room; the shard keeps the rest.
    fn report_turn(&mut self) {
        self.turn_events_left = false;
        while self.turn_events.has_room() {
            match self.worker.poll_turn_event() {
                Some(event) => self.turn_events.push(event),
                None => return self.turn_events.announce(),
            }
        }
        self.turn_events_left = true;
        self.turn_events.announce();
    }

    fn after_pass(&mut self, now: Instant, found: u32) -> Next {
        if found > 0 {
            self.metrics.busy_passes.inc();
        }
        let (next, outcome) = self.look_again.after_pass(now, found);
        match outcome {
            Outcome::Hit => self.metrics.look_again_hits.inc(),
            Outcome::Miss => self.metrics.look_again_misses.inc(),
            Outcome::Neutral => {}
        }
        next
    }

    fn wait(&mut self, wait: Next) {
        let timeout = match wait {
            Next::Look => Some(Duration::ZERO),
            Next::Nap(time) => {
                self.nap(time);
                Some(Duration::ZERO)
            }
            Next::Sleep => self.sleep_time(),
        };
        // The only errors are a closed or foreign descriptor; both would be a defect of this file.
        self.epoll
            .wait(&mut self.ready, timeout)
            .expect("the epoll descriptor is ours and open");
        self.wake.woke();
    }

    /// Sleeps whatever comes, but not over a timer.
    fn nap(&mut self, time: Duration) {
        let timer = self.until_timer();
        self.metrics.naps.inc();
        thread::sleep(timer.map_or(time, |timer| timer.min(time)));
    }

    fn until_timer(&self) -> Option<Duration> {
        let due = [
            self.worker.poll_timeout(),
            self.egress.streams.next_deadline(),
            self.egress.associations.next_deadline(),
            self.peers.next_deadline(),
        ];
        let due = due.into_iter().flatten().min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Says how long nothing can happen but packets: zero if a queue holds something already.
    fn sleep_time(&mut self) -> Option<Duration> {
        self.wake.prepare_to_sleep();
        let queued = self.outputs_left
            || self.egress.associations.has_waiting()
            || !self.orders.is_empty()
            || self.crossings_in.iter().any(|(_, crossing)| !crossing.is_empty())
            || self.moves_in.iter().any(|moves| !moves.is_empty())
            || self.stop.load(Ordering::Acquire);
        if queued {
            return Some(Duration::ZERO);
        }
        let timer = self.until_timer();
        if timer != Some(Duration::ZERO) {
            self.metrics.sleeps.inc();
        }
        let kept_back = self.turn_events_left || self.claims_left || self.events.has_backlog();
        let backlog = kept_back.then_some(BACKLOG_RETRY);
        [timer, backlog].into_iter().flatten().min()
    }

    fn receive_ready(&mut self, clock: Clock) -> u32 {
        let mut found = 0;
        for index in 0..self.ready.len() {
            match self.ready.token(index) {
                WAKE_TOKEN => self.wake.clear(),
                token if is_stream(token) => {
                    found += self.serve_stream(SocketId(token), self.ready.event(index), clock);
                }
                token if is_peer(token) => found += self.serve_peer(token, self.ready.event(index), clock),
                token if is_peer_listener(token) => self.accept_peers(token, clock),
                token if is_listener(token) => self.egress.streams.accept(token, clock.now),
                token => {
                    if self.ready.event(index).is_broken {
                        self.take_errors(token as usize, clock);
                    }
                    found += self.receive(token as usize, clock);
                }
            }
        }
        found
    }

    /// Takes what a socket has, up to a bound; what is left is reported again by the next wait, after everybody else's
    /// turn.
    fn receive(&mut self, slot: usize, clock: Clock) -> u32 {
        let mut found = 0;
        for _ in 0..BATCHES_PER_PASS {
            let (messages, packets) = self.receive_batch(slot, clock);
            found += packets;
            if messages < RECEIVE_BATCH {
                break;
            }
        }
        found
    }

    /// Takes errors of a relay's socket, up to a bound.
    fn take_errors(&mut self, slot: usize, clock: Clock) {
        let Some(open) = self.sockets.at(slot) else { return };
        let (id, socket) = (open.id, open.socket.clone());
        for _ in 0..ERRORS_PER_PASS {
            let Ok(error) = sys::error_queue::take_error(socket.as_fd()) else {
                return;
            };
            self.metrics.errors_received.inc();
            if let Some(error) = error {
                self.worker
                    .handle_peer_error(clock.now, id, error.peer, error.icmp, &mut self.egress);
            }
        }
    }

    /// Takes one batch off a socket; gives how many messages it was, and how many packets were in them.
    fn receive_batch(&mut self, slot: usize, clock: Clock) -> (usize, u32) {
        // A socket closed earlier in this pass may still be on the list.
        let Some(open) = self.sockets.at(slot) else {
            return (0, 0);
        };
        let (id, takes) = (open.id, open.takes);
        let Ok(messages) = self.batch.receive(open.socket.as_fd()) else {
            return (0, 0);
        };
        self.metrics.receive_calls.inc();
        let mut found = 0;
        for index in 0..messages {
            let message = self.batch.message(index);
            if message.truncated {
                self.metrics.dropped.of(DropReason::ReceiveTruncated).inc();
                continue;
            }
            let Some(from) = message.from else {
                self.metrics.dropped.of(DropReason::ReceiveNoSource).inc();
                continue;
            };
            self.metrics.received_bytes.add(message.bytes.len() as u64);
            let mut packets = 0;
            for packet in message.bytes.chunks_mut(message.segment) {
                packets += 1;
                if takes.dtls && PacketKind::of(packet) == PacketKind::Dtls {
                    let (worker, egress, room) = (&mut self.worker, &mut self.egress, &mut self.dtls_room);
                    handle_dtls(worker, egress, (id, from), packet, room, clock);
                } else if takes.plain {
                    self.worker
                        .handle_datagram(clock.now, clock.wall, id, from, packet, &mut self.egress);
                } else {
                    self.metrics.dropped.of(DropReason::ProtocolOff).inc();
                }
            }
            found += packets;
            if packets > 1 {
                self.metrics.received_trains.inc();
            }
        }
        self.metrics.received_packets.add(found.into());
        (messages, found)
    }

    fn take_orders(&mut self, clock: Clock) -> u32 {
        for taken in 0..COMMANDS_PER_PASS {
            let Ok(order) = self.orders.pop() else { return taken };
            self.metrics.commands.inc();
            match order {
                Order::Command(command) => {
                    self.worker
                        .handle_command(clock.now, clock.wall, command, &mut self.egress);
                }
                Order::SetIdentity(identity) => self.set_identity(identity),
                Order::AdoptRtp(pair) => {
                    for (id, socket) in *pair {
                        self.adopt(id, Role::PlainRtp, socket);
                    }
                }
                Order::CloseRtp(pair) => {
                    for id in pair {
                        self.close(id);
                    }
                }
            }
        }
        COMMANDS_PER_PASS
    }

    fn run_timers(&mut self, clock: Clock) {
        if self.worker.poll_timeout().is_some_and(|at| at <= clock.now) {
            self.worker.handle_timeout(clock.now, clock.wall, &mut self.egress);
        }
        self.expire_streams(clock.now);
        self.expire_associations(clock.now);
        if self.peers.next_deadline().is_some_and(|at| at <= clock.now) {
            self.peers.expire(clock.now);
            self.unthrottle(clock);
        }
    }

    /// Binds and closes relay sockets; says whether more wait for the next pass.
    fn obey_outputs(&mut self, clock: Clock) -> bool {
        for _ in 0..OUTPUTS_PER_PASS {
            let Some(output) = self.worker.poll_output() else {
                return false;
            };
            match output {
                Output::BindRelay { request, address } => {
                    let bound = self.bind_relay(address);
                    self.worker
                        .handle_relay_bound(clock.now, clock.wall, request, bound, &mut self.egress);
                }
                Output::CloseRelay(socket) => self.close_relay(socket),
                output => self.obey_of_peers(output, clock),
            }
        }
        true
    }

    fn bind_relay(&mut self, address: SocketAddr) -> Result<SocketId, BindError> {
        let socket = bind_udp(address, Sharing::Exclusive, self.gro).map_err(|error| bind_error(&error))?;
        // Without it clients only hear less: what ICMP says stays with the kernel.
        let _ = sys::error_queue::keep_errors(socket.as_fd(), address);
        let id = self.ids.next();
        self.adopt(id, Role::Relay(address), socket);
        Ok(id)
    }

    fn adopt(&mut self, id: SocketId, role: Role, socket: Socket) {
        let socket = Rc::new(socket);
        let takes = self.taken_on(role);
        if let Role::TurnListener(path) = role {
            self.egress.associations.listen(id, path.local);
        }
        let slot = self.sockets.insert(id, socket.clone(), takes);
        if self.epoll.add(socket.as_fd(), slot as u64).is_err() {
            // Out of kernel memory or over the watch limit: the socket sends but hears nothing; its owner times out.
            self.metrics.dropped.of(DropReason::SocketClosed).inc();
        }
        self.worker.add_socket(id, role);
        self.egress.arena.add_socket(id, socket);
        self.metrics.sockets.add(1);
    }

    fn close(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.remove(id) else { return };
        self.worker.remove_socket(id);
        self.egress.arena.remove_socket(id);
        // Closing would do, were the descriptor not possibly shared with a child process.
        let _ = self.epoll.remove(socket.as_fd());
        self.metrics.sockets.add(-1);
    }
}

fn bind_error(error: &io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::AddressInUse,
        _ => BindError::Failed,
    }
}

/// Sockets by slot (what epoll reports) and by id (what the state machines say).
#[derive(Default)]
struct SocketTable {
    slots: Vec<Option<OpenSocket>>,
    free: Vec<usize>,
    by_id: FxHashMap<SocketId, usize>,
}

struct OpenSocket {
    id: SocketId,
    socket: Rc<Socket>,
    takes: Takes,
}

/// What a socket takes of what arrives.
#[derive(Clone, Copy, Debug)]
struct Takes {
    plain: bool,
    /// DTLS of TURN clients; that of WebRTC is the worker's.
    dtls: bool,
}

impl SocketTable {
    fn insert(&mut self, id: SocketId, socket: Rc<Socket>, takes: Takes) -> usize {
        let open = Some(OpenSocket { id, socket, takes });
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = open;
        self.by_id.insert(id, slot);
        slot
    }

    fn remove(&mut self, id: SocketId) -> Option<Rc<Socket>> {
        let slot = self.by_id.remove(&id)?;
        self.free.push(slot);
        self.slots[slot].take().map(|open| open.socket)
    }

    fn at(&self, slot: usize) -> Option<&OpenSocket> {
        self.slots.get(slot)?.as_ref()
    }
}

/// Where the state machines put what leaves: the kernel, or another worker.
struct LoopEgress {
    arena: SendArena,
    streams: Streams,
    associations: Associations,
    crossings: Vec<Option<CrossingSender>>,
    recorder: Option<RecordedSender>,
    /// Time of the pass.
    wall: WallTime,
    metrics: Arc<Metrics>,
}

impl LoopEgress {
    /// Hands the packet that is reserved to the recorder.
    #[inline(never)]
    fn record(&mut self, recording: SocketId, len: usize) {
        let packet = &self.arena.reserved()[..len];
        let pushed = self
            .recorder
            .as_mut()
            .is_some_and(|recorder| recorder.push(recording, self.wall, packet));
        self.arena.take_back();
        if pushed {
            self.metrics.recorded_packets.inc();
        } else {
            self.metrics.dropped.of(DropReason::RecordingFull).inc();
        }
    }

    fn flush(&mut self) {
        if !self.arena.is_empty() {
            self.arena.flush();
        }
        self.streams.flush();
        for crossing in self.crossings.iter_mut().flatten() {
            crossing.announce();
        }
    }
}

impl Outbox for LoopEgress {
    fn reserve(&mut self, len_max: usize) -> &mut [u8] {
        self.arena.reserve(len_max)
    }

    fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize) {
        if is_stream(socket.0) {
            self.streams.commit(socket, &self.arena.reserved()[..len]);
            self.arena.take_back();
        } else if is_association(socket) {
            let sealed = self.associations.seal(socket, &self.arena.reserved()[..len]);
            self.arena.take_back();
            if let Some((listener, client, record)) = sealed {
                self.arena.send(listener, client, record, &[]);
            }
        } else if socket.is_recording() {
            self.record(socket, len);
        } else {
            self.arena.commit(socket, to, len);
        }
    }
}

impl Egress for LoopEgress {
    fn reserved(&self) -> &[u8] {
        self.arena.reserved()
    }

    fn send_whole(&mut self, socket: SocketId, to: SocketAddr, packet: &[u8]) {
        self.arena.send_whole(socket, to, packet);
    }

    fn cross(&mut self, worker: WorkerId, what: Crossed, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> bool {
        let way = self.crossings.get_mut(usize::from(worker.0)).and_then(Option::as_mut);
        let crossed = way.is_some_and(|way| way.push(what, from, to, packet));
        if crossed {
            self.metrics.crossed_packets.inc();
        } else if matches!(what, Crossed::HandOver | Crossed::FromClient) {
            self.metrics.dropped.of(DropReason::CrossingFull).inc();
        }
        crossed
    }
}

/// Binds the calling thread to the core of its worker, as far as the process may.
pub(crate) fn pin(worker: WorkerId, cores: &[usize]) {
    if let Some(core) = cores.get(usize::from(worker.0) % cores.len().max(1)) {
        // A container may forbid it; the worker then runs wherever the scheduler likes.
        let _ = sys::pin_to(*core);
    }
}
