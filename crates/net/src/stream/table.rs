//! The streams of one worker.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use socket2::Socket;
use voex_base::{FiveTuple, Protocol, SocketId, WorkerId};
use voex_stun::{PacketKind, ParseError};
use voex_turn::ClientPath;

use super::framer::Framer;
use super::listener::{LISTENER_REST, Listener, is_exhaustion};
use super::outgoing::{Outgoing, Spares, Urgency};
use super::sources::Sources;
use crate::metrics::{DropReason, Metrics, StreamEnd, StreamRefusal};
use crate::sys::Epoll;

/// Streams of one worker.
pub const STREAMS_MAX: usize = 16_384;
/// Bytes that may wait for all slow readers of one worker together.
pub const STREAM_QUEUES_BYTES_MAX: usize = 64 << 20;
/// How long a stream without an allocation may be silent.
pub const STREAM_IDLE_MAX: Duration = Duration::from_secs(30);
/// Bytes read from one stream in one pass, so that a flood gets its turn and no more.
pub(crate) const READ_BYTES_PER_PASS: usize = 16 << 10;
/// Connections accepted on one listener in one pass.
const ACCEPTS_PER_PASS: usize = 64;
/// Deadlines fall on multiples of this, so that idle streams share a wake-up.
const DEADLINE_GRAIN: Duration = Duration::from_secs(1);

/// Marks the ids of streams: the rest is worker, generation and slot. What epoll reports of a stream is its id, so a
/// report for one that ended in the same pass finds nobody.
const STREAM: u64 = 1 << 63;
/// Marks what epoll reports of listeners; the rest is an index.
const LISTENER: u64 = 1 << 62;
const WORKER_SHIFT: u32 = 54;
const SLOT_BITS: u32 = 20;
const GENERATION_MASK: u64 = (1 << (WORKER_SHIFT - SLOT_BITS)) - 1;

/// Tells whether an id, or a token of epoll, is that of a stream.
#[inline]
pub(crate) fn is_stream(id: u64) -> bool {
    id & STREAM != 0
}

/// Tells whether a token of epoll is that of a listener.
pub(crate) fn is_listener(token: u64) -> bool {
    token & (STREAM | LISTENER) == LISTENER
}

/// The streams of one worker, with what is read from them and what waits to be written.
pub(crate) struct Streams {
    worker: WorkerId,
    epoll: Rc<Epoll>,
    listeners: Vec<Listener>,
    streams: Slab<Stream>,
    generation: u64,
    sources: Sources,
    /// Streams with something to write or to end after this pass, each once.
    touched: Vec<SocketId>,
    ended: Vec<SocketId>,
    deadlines: BTreeSet<(Instant, usize)>,
    start: Instant,
    spares: Spares,
    queued_bytes: usize,
    metrics: Arc<Metrics>,
}

struct Stream {
    id: SocketId,
    socket: TcpStream,
    client: SocketAddr,
    local: SocketAddr,
    /// What carries the messages; unknown until the first byte.
    protocol: Option<Protocol>,
    framer: Framer,
    out: Outgoing,
    /// Stands in `touched`.
    is_touched: bool,
    /// The kernel took less than it was offered, and has not said yet that it takes more.
    is_blocked: bool,
    /// The kernel was asked to say so.
    is_awaited: bool,
    /// Counts among its source's streams, until it has an allocation.
    is_stranger: bool,
    /// Why it ends, once what waits was offered to the kernel.
    ending: Option<StreamEnd>,
    heard_at: Instant,
    deadline: Instant,
}

/// What was read from a stream.
pub(crate) struct Arrived {
    pub(crate) client: SocketAddr,
    /// Length of what was read, at the front of the buffer.
    pub(crate) len: usize,
    /// Where a message that began earlier waits; given back by [`Streams::took`].
    pub(crate) framer: Framer,
    /// Set once, when it is known how the client talks.
    pub(crate) opened: Option<ClientPath>,
}

impl Streams {
    /// Watches the listeners.
    pub(crate) fn new(
        worker: WorkerId,
        listeners: Vec<(SocketAddr, Socket)>,
        epoll: Rc<Epoll>,
        seed: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        let listeners: Vec<Listener> = listeners
            .into_iter()
            .map(|(local, socket)| Listener {
                socket: socket.into(),
                local,
                rests_until: None,
            })
            .collect();
        let start = Instant::now();
        let mut this = Self {
            worker,
            epoll,
            listeners,
            streams: Slab::new(),
            generation: 0,
            sources: Sources::new(seed),
            touched: Vec::new(),
            ended: Vec::new(),
            deadlines: BTreeSet::new(),
            start,
            spares: Spares::default(),
            queued_bytes: 0,
            metrics,
        };
        for index in 0..this.listeners.len() {
            this.watch_listener(index, start);
        }
        this
    }

    fn watch_listener(&mut self, index: usize, now: Instant) {
        let listener = &mut self.listeners[index];
        let watched = self.epoll.add(listener.socket.as_fd(), LISTENER | index as u64);
        // Out of kernel memory or over the watch limit, for now.
        listener.rests_until = watched.is_err().then(|| now + LISTENER_REST);
    }

    /// Accepts what waits, up to a bound.
    pub(crate) fn accept(&mut self, token: u64, now: Instant) {
        let index = (token & !LISTENER) as usize;
        for _ in 0..ACCEPTS_PER_PASS {
            let listener = &self.listeners[index];
            match listener.socket.accept() {
                Ok((socket, client)) => self.adopt(socket, client, listener.local, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_exhaustion(&error) => {
                    self.refuse(StreamRefusal::NoResources);
                    return self.rest(index, now);
                }
                // This connection ended before it was accepted.
                Err(_) => {}
            }
        }
    }

    /// A listener whose connections cannot be accepted would be reported for ever.
    fn rest(&mut self, index: usize, now: Instant) {
        let listener = &mut self.listeners[index];
        let _ = self.epoll.remove(listener.socket.as_fd());
        listener.rests_until = Some(now + LISTENER_REST);
    }

    fn adopt(&mut self, socket: TcpStream, client: SocketAddr, local: SocketAddr, now: Instant) {
        self.metrics.streams_accepted.inc();
        if self.streams.len() == STREAMS_MAX {
            return self.refuse(StreamRefusal::TooMany);
        }
        if !self.sources.add(client.ip()) {
            return self.refuse(StreamRefusal::TooManyFromSource);
        }
        let slot = self.streams.vacant_key();
        self.generation = (self.generation + 1) & GENERATION_MASK;
        let id = STREAM | u64::from(self.worker.0) << WORKER_SHIFT | self.generation << SLOT_BITS | slot as u64;
        let watched = socket
            .set_nonblocking(true)
            .and_then(|()| self.epoll.add(socket.as_fd(), id));
        if watched.is_err() {
            self.sources.remove(client.ip());
            return self.refuse(StreamRefusal::NoResources);
        }
        let deadline = self.on_grain(now + STREAM_IDLE_MAX);
        self.deadlines.insert((deadline, slot));
        self.streams.insert(Stream {
            id: SocketId(id),
            socket,
            client,
            local,
            protocol: None,
            framer: Framer::default(),
            out: Outgoing::default(),
            is_touched: false,
            is_blocked: false,
            is_awaited: false,
            is_stranger: true,
            ending: None,
            heard_at: now,
            deadline,
        });
        self.metrics.sockets.add(1);
    }

    fn refuse(&self, refusal: StreamRefusal) {
        self.metrics.streams_refused.of(refusal).inc();
    }

    /// Reads once from a stream into `room`. `None` when nothing came; the end of the stream is taken care of.
    pub(crate) fn receive(&mut self, id: SocketId, room: &mut [u8], now: Instant) -> Option<Arrived> {
        let stream = self.get_mut(id).filter(|stream| stream.ending.is_none())?;
        let len = match stream.socket.read(room) {
            Ok(0) => {
                self.end(id, StreamEnd::ClosedByClient);
                return None;
            }
            Ok(len) => len,
            Err(error) if is_transient(&error) => return None,
            Err(_) => {
                self.end(id, StreamEnd::Broken);
                return None;
            }
        };
        stream.heard_at = now;
        // Nobody has a channel yet: whoever begins with anything but STUN does not talk TURN.
        if stream.protocol.is_none() && PacketKind::of(room) != PacketKind::Stun {
            self.end(id, StreamEnd::NotTurn);
            return None;
        }
        let opened = stream.protocol.is_none().then_some(ClientPath {
            protocol: Protocol::Tcp,
            local: stream.local,
            tls: None,
        });
        stream.protocol = Some(Protocol::Tcp);
        let arrived = Arrived {
            client: stream.client,
            len,
            framer: std::mem::take(&mut stream.framer),
            opened,
        };
        self.metrics.stream_reads.inc();
        self.metrics.stream_received_bytes.add(len as u64);
        if opened.is_some() {
            self.metrics.streams_of(Protocol::Tcp).add(1);
        }
        Some(arrived)
    }

    /// Takes back what [`receive`](Self::receive) lent, with what the framer made of it.
    pub(crate) fn took(&mut self, id: SocketId, framer: Framer, taken: Result<u32, ParseError>) {
        match (taken, self.get_mut(id)) {
            (Ok(_), Some(stream)) => stream.framer = framer,
            (Err(_), _) => self.end(id, StreamEnd::NotTurn),
            (Ok(_), None) => {}
        }
    }

    /// Tells whether a stream has not been seen with an allocation yet.
    pub(crate) fn is_stranger(&self, id: SocketId) -> bool {
        self.get(id).is_some_and(|stream| stream.is_stranger)
    }

    /// Says that a stream has an allocation: quotas bound it from now on, not the count of its source.
    pub(crate) fn is_known(&mut self, id: SocketId) {
        if let Some(stream) = self.get_mut(id)
            && std::mem::take(&mut stream.is_stranger)
        {
            let source = stream.client.ip();
            self.sources.remove(source);
        }
    }

    /// Queues a message; it is written after the pass.
    pub(crate) fn commit(&mut self, id: SocketId, message: &[u8]) {
        let urgency = Urgency::of(message);
        let full_house = self.queued_bytes + message.len() > STREAM_QUEUES_BYTES_MAX;
        let Some(stream) = slot_of(id)
            .and_then(|slot| self.streams.get_mut(slot))
            .filter(|stream| stream.id == id && stream.ending.is_none())
        else {
            return self.metrics.dropped.of(DropReason::SocketClosed).inc();
        };
        let full = stream.out.len() + message.len() > urgency.queue_max();
        if full || (full_house && urgency == Urgency::Media) {
            self.metrics.dropped.of(DropReason::StreamQueueFull).inc();
            if urgency == Urgency::Answer {
                self.end(id, StreamEnd::SlowReader);
            }
            return;
        }
        let before = stream.out.len();
        stream.out.push(message, &mut self.spares);
        self.queued_bytes += stream.out.len() - before;
        if !std::mem::replace(&mut stream.is_touched, true) {
            self.touched.push(id);
        }
    }

    /// Writes on, after the kernel said that it takes more.
    pub(crate) fn writable(&mut self, id: SocketId) {
        if let Some(stream) = self.get_mut(id) {
            stream.is_blocked = false;
            self.touch(id);
        }
    }

    /// Writes what the pass has left for each stream, in one call each, and ends what is to end.
    pub(crate) fn flush(&mut self) {
        while let Some(id) = self.touched.pop() {
            let Some(stream) = self.get_mut(id) else { continue };
            stream.is_touched = false;
            self.write(id);
            if let Some(end) = self.get(id).and_then(|stream| stream.ending) {
                self.remove(id, end);
            }
        }
    }

    /// Gives the next stream that has ended; the worker must forget it.
    pub(crate) fn poll_ended(&mut self) -> Option<SocketId> {
        self.ended.pop()
    }

    /// Gives when [`expire`](Self::expire) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let idle = self.deadlines.first().map(|(at, _)| *at);
        let rest = self.listeners.iter().filter_map(|listener| listener.rests_until).min();
        [idle, rest].into_iter().flatten().min()
    }

    /// Ends streams that were silent too long and have no allocation, as `serves` says; wakes listeners that rested.
    pub(crate) fn expire(&mut self, now: Instant, serves: impl Fn(&FiveTuple) -> bool) {
        for index in 0..self.listeners.len() {
            if self.listeners[index].rests_until.is_some_and(|until| until <= now) {
                self.watch_listener(index, now);
            }
        }
        while let Some((_, slot)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let stream = &self.streams[slot];
            let (id, client) = (stream.id, stream.client);
            let next = match serves(&FiveTuple { socket: id, client }) {
                true => now + STREAM_IDLE_MAX,
                false => stream.heard_at + STREAM_IDLE_MAX,
            };
            if next <= now {
                self.remove(id, StreamEnd::Idle);
            } else {
                self.reschedule(slot, next);
            }
        }
    }

    fn reschedule(&mut self, slot: usize, at: Instant) {
        let at = self.on_grain(at);
        let stream = &mut self.streams[slot];
        self.deadlines.remove(&(stream.deadline, slot));
        stream.deadline = at;
        self.deadlines.insert((at, slot));
    }

    fn on_grain(&self, at: Instant) -> Instant {
        let grains = at.saturating_duration_since(self.start).as_secs() + 1;
        self.start + DEADLINE_GRAIN * u32::try_from(grains).unwrap_or(u32::MAX)
    }

    fn write(&mut self, id: SocketId) {
        let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot)) else {
            return;
        };
        if stream.is_blocked || stream.out.is_empty() {
            return;
        }
        self.metrics.stream_writes.inc();
        let waiting = stream.out.len();
        let written = match stream.socket.write(stream.out.waiting()) {
            Ok(written) => written,
            Err(error) if is_transient(&error) => 0,
            Err(_) => return self.end(id, StreamEnd::Broken),
        };
        stream.out.wrote(written, &mut self.spares);
        self.queued_bytes -= written;
        self.metrics.stream_sent_bytes.add(written as u64);
        stream.is_blocked = written < waiting;
        if stream.is_awaited != stream.is_blocked {
            stream.is_awaited = stream.is_blocked;
            // Cannot fail: the descriptor is open and watched.
            let _ = self.epoll.watch(stream.socket.as_fd(), id.0, stream.is_blocked);
        }
    }

    /// Has a stream end after this pass, when what waits for it was offered to the kernel once more.
    fn end(&mut self, id: SocketId, end: StreamEnd) {
        if let Some(stream) = self.get_mut(id) {
            stream.ending.get_or_insert(end);
            self.touch(id);
        }
    }

    fn touch(&mut self, id: SocketId) {
        if let Some(stream) = self.get_mut(id)
            && !std::mem::replace(&mut stream.is_touched, true)
        {
            self.touched.push(id);
        }
    }

    fn remove(&mut self, id: SocketId, end: StreamEnd) {
        let Some(slot) = slot_of(id).filter(|slot| self.streams.get(*slot).is_some_and(|stream| stream.id == id))
        else {
            return;
        };
        let stream = self.streams.remove(slot);
        let _ = self.epoll.remove(stream.socket.as_fd());
        self.deadlines.remove(&(stream.deadline, slot));
        self.queued_bytes -= stream.out.len();
        if stream.is_stranger {
            self.sources.remove(stream.client.ip());
        }
        if let Some(protocol) = stream.protocol {
            self.metrics.streams_of(protocol).add(-1);
            self.ended.push(id);
        }
        self.metrics.sockets.add(-1);
        self.metrics.streams_ended.of(end).inc();
    }

    fn get(&self, id: SocketId) -> Option<&Stream> {
        self.streams.get(slot_of(id)?).filter(|stream| stream.id == id)
    }

    fn get_mut(&mut self, id: SocketId) -> Option<&mut Stream> {
        self.streams.get_mut(slot_of(id)?).filter(|stream| stream.id == id)
    }
}

fn slot_of(id: SocketId) -> Option<usize> {
    is_stream(id.0).then_some((id.0 & ((1 << SLOT_BITS) - 1)) as usize)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::socket::{Sharing, local_address};
    use crate::stream::bind_tcp;

    const SECOND: Duration = Duration::from_secs(1);

    /// A table with one listener on loopback.
    struct Bench {
        streams: Streams,
        metrics: Arc<Metrics>,
        address: SocketAddr,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let listener = bind_tcp((Ipv4Addr::LOCALHOST, 0).into(), Sharing::Exclusive).unwrap();
            let address = local_address(&listener).unwrap();
            let metrics = Arc::<Metrics>::default();
            let epoll = Rc::new(Epoll::new().unwrap());
            Self {
                streams: Streams::new(WorkerId(3), vec![(address, listener)], epoll, 1, metrics.clone()),
                metrics,
                address,
                now: Instant::now(),
            }
        }

        fn connect(&mut self) -> (TcpStream, SocketId) {
            let client = TcpStream::connect(self.address).unwrap();
            self.streams.accept(LISTENER, self.now);
            let (_, stream) = self.streams.streams.iter().next_back().unwrap();
            (client, stream.id)
        }

        fn expire(&mut self, after: Duration, serves: bool) {
            self.now += after;
            self.streams.expire(self.now, |_| serves);
        }

        fn idle(&self) -> u64 {
            self.metrics.streams_ended.of(StreamEnd::Idle).value()
        }
    }

    #[test]
    fn a_silent_stream_without_an_allocation_ends_after_the_idle_limit() {
        let mut bench = Bench::new();
        let (_client, id) = bench.connect();
        bench.expire(STREAM_IDLE_MAX - SECOND, false);
        assert_eq!(bench.idle(), 0);
        bench.expire(SECOND * 2, false);
        assert_eq!(bench.idle(), 1);
        assert!(bench.streams.get(id).is_none());
        assert_eq!(bench.streams.next_deadline(), None);
        assert_eq!(bench.streams.poll_ended(), None, "the worker never heard of it");
    }

    #[test]
    fn an_allocation_or_a_message_keeps_a_stream() {
        let mut bench = Bench::new();
        let (mut client, id) = bench.connect();
        bench.expire(STREAM_IDLE_MAX * 3, true);
        bench.now += STREAM_IDLE_MAX;
        client.write_all(&[0, 1]).unwrap();
        let mut room = [0; 100];
        let arrived = bench.streams.receive(id, &mut room, bench.now).unwrap();
        assert_eq!(
            (arrived.len, arrived.opened.map(|path| path.protocol)),
            (2, Some(Protocol::Tcp))
        );
        bench.streams.took(id, arrived.framer, Ok(0));
        bench.expire(STREAM_IDLE_MAX - SECOND, false);
        assert_eq!(bench.idle(), 0);
        bench.expire(SECOND * 2, false);
        assert_eq!((bench.idle(), bench.streams.poll_ended()), (1, Some(id)));
    }

    #[test]
    fn the_id_of_a_stream_that_ended_finds_nobody_though_its_slot_has_a_new_one() {
        let mut bench = Bench::new();
        let (client, old) = bench.connect();
        drop(client);
        let mut room = [0; 100];
        assert!(bench.streams.receive(old, &mut room, bench.now).is_none());
        bench.streams.flush();
        let (_client, new) = bench.connect();
        assert_eq!(slot_of(old), slot_of(new));
        assert_ne!(old, new);
        bench.streams.commit(old, &[1, 1, 0, 0]);
        assert_eq!(bench.metrics.dropped.of(DropReason::SocketClosed).value(), 1);
    }

    #[test]
    fn a_listener_that_found_no_descriptor_rests_and_then_serves_again() {
        let mut bench = Bench::new();
        let _waiting = TcpStream::connect(bench.address).unwrap();
        bench.streams.rest(0, bench.now);
        assert_eq!(bench.streams.next_deadline(), Some(bench.now + LISTENER_REST));
        bench.expire(LISTENER_REST, false);
        assert_eq!(bench.streams.next_deadline(), None);
        let mut ready = crate::sys::Ready::new(4);
        bench.streams.epoll.wait(&mut ready, Some(SECOND)).unwrap();
        assert_eq!((ready.len(), ready.token(0)), (1, LISTENER));
    }
}
