//! The streams of one worker.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use socket2::Socket;
use voex_base::{FiveTuple, Protocol, SocketId, WorkerId};
use voex_stun::ParseError;
use voex_turn::ClientPath;

use super::data::DataNews;
use super::framer::{Framed, Framer};
use super::id::{listener_of, listener_token, slot_of, stream_id};
use super::listener::{LISTENER_REST, Listener, is_exhaustion};
use super::outgoing::{Spares, Urgency};
use super::sources::{STREAMS_PER_SOURCE_MAX, Sources};
use super::stream::{Beginnings, Heard, Layer, Room, Stream};
use crate::identity::Identity;
use crate::metrics::{DropReason, HandshakeFailure, Metrics, StreamEnd, StreamRefusal};
use crate::sys::Epoll;

/// Streams of one worker.
pub const STREAMS_MAX: usize = 16_384;
/// Bytes that may wait for all slow readers of one worker together.
pub const STREAM_QUEUES_BYTES_MAX: usize = 64 << 20;
/// How long a stream without an allocation may be silent.
pub const STREAM_IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
pub const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Steps of handshakes in one pass. A signature with an RSA key takes most of a millisecond, and media must not wait for
/// many of them; whoever has to wait is served in a later pass.
const HANDSHAKES_PER_PASS: usize = 2;
/// Connections accepted on one listener in one pass.
const ACCEPTS_PER_PASS: usize = 64;
/// Deadlines fall on multiples of this, so that idle streams share a wake-up.
const DEADLINE_GRAIN: Duration = Duration::from_secs(1);
/// Streams whose deadlines are looked at in one pass, and DTLS associations likewise; the rest stays due.
pub(crate) const EXPIRIES_PER_PASS: usize = 256;

/// The streams of one worker, with what is read from them and what waits to be written.
pub(crate) struct Streams {
    pub(super) worker: WorkerId,
    pub(super) epoll: Rc<Epoll>,
    listeners: Vec<Listener>,
    pub(super) streams: Slab<Stream>,
    pub(super) generation: u64,
    pub(super) sources: Sources,
    /// Streams with something to write or to end after this pass, each once.
    pub(super) touched: Vec<SocketId>,
    ended: Vec<SocketId>,
    deadlines: BTreeSet<(Instant, usize)>,
    start: Instant,
    pub(super) spares: Spares,
    /// Scratch for sealed bytes.
    pub(super) sealed: Vec<u8>,
    /// Streams that begin otherwise are closed.
    pub(super) beginnings: Beginnings,
    handshakes_left: usize,
    pub(super) queued_bytes: usize,
    /// What data connections did while they were written.
    pub(super) news: Vec<(SocketId, DataNews)>,
    pub(super) metrics: Arc<Metrics>,
}

/// What was read from a stream.
pub(crate) struct Arrived {
    pub(crate) client: SocketAddr,
    /// Where a message that began earlier waits; given back by [`Streams::took`].
    pub(crate) framer: Framer,
    /// Set once, when it is known how the client talks.
    pub(crate) opened: Option<ClientPath>,
    /// Set when nothing will follow.
    end: Option<StreamEnd>,
}

impl Streams {
    /// Watches the listeners. `plain` says whether clients may do without TLS.
    pub(crate) fn new(
        worker: WorkerId,
        listeners: Vec<(SocketAddr, Socket)>,
        plain: bool,
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
            sources: Sources::new(seed, STREAMS_PER_SOURCE_MAX),
            touched: Vec::new(),
            ended: Vec::new(),
            deadlines: BTreeSet::new(),
            start,
            spares: Spares::default(),
            sealed: Vec::new(),
            beginnings: Beginnings { plain, tls: None },
            handshakes_left: HANDSHAKES_PER_PASS,
            queued_bytes: 0,
            news: Vec::new(),
            metrics,
        };
        for index in 0..this.listeners.len() {
            this.watch_listener(index, start);
        }
        this
    }

    /// Sets what TLS sessions start with from now on; those that exist go on as they began.
    pub(crate) fn set_identity(&mut self, identity: Identity) {
        self.beginnings.tls = Some(identity.tls);
    }

    fn watch_listener(&mut self, index: usize, now: Instant) {
        let listener = &mut self.listeners[index];
        let watched = self.epoll.add(listener.socket.as_fd(), listener_token(index));
        // Out of kernel memory or over the watch limit, for now.
        listener.rests_until = watched.is_err().then(|| now + LISTENER_REST);
    }

    /// Accepts what waits, up to a bound.
    pub(crate) fn accept(&mut self, token: u64, now: Instant) {
        let index = listener_of(token);
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
        self.generation += 1;
        let id = stream_id(self.worker, self.generation, slot);
        let watched = socket
            .set_nonblocking(true)
            .and_then(|()| self.epoll.add(socket.as_fd(), id.0));
        if watched.is_err() {
            self.sources.remove(client.ip());
            return self.refuse(StreamRefusal::NoResources);
        }
        self.streams.insert(Stream::new(id, socket, client, local, now));
        self.schedule(slot, now + STREAM_IDLE_MAX);
        self.metrics.sockets.add(1);
    }

    pub(super) fn refuse(&self, refusal: StreamRefusal) {
        self.metrics.streams_refused.of(refusal).inc();
    }

    /// Reads once from a stream into `room`. `None` when no message can have come; handshakes and the end of the stream
    /// are taken care of.
    pub(crate) fn receive(&mut self, id: SocketId, room: &mut Room, now: Instant) -> Option<Arrived> {
        let slot = slot_of(id)?;
        let stream = self.streams.get_mut(slot)?;
        if stream.id != id
            || stream.is_held
            || stream.ending.is_some()
            || (!stream.is_open && self.handshakes_left == 0)
        {
            return None;
        }
        let (was_queued, was_unknown) = (stream.queued(), matches!(stream.layer, Layer::Unknown));
        let (beginnings, metrics) = (&self.beginnings, &self.metrics);
        let heard = stream.read(room, beginnings, &mut self.sealed, &mut self.spares, metrics);
        let queued = stream.queued() - was_queued;
        let is_shaking_hands = stream.is_shaking_hands();
        if !stream.is_open && stream.protocol() == Protocol::Tls {
            self.handshakes_left -= 1;
        }
        self.queued_bytes += queued;
        if queued > 0 {
            self.touch(id);
        }
        match heard {
            Heard::Nothing => None,
            Heard::End(end) => {
                self.end(id, end);
                None
            }
            Heard::Bytes if is_shaking_hands => {
                if was_unknown {
                    self.schedule(slot, now + TLS_HANDSHAKE_MAX);
                }
                None
            }
            Heard::Bytes => Some(self.arrived(slot, None, now)),
            Heard::LastBytes => Some(self.arrived(slot, Some(StreamEnd::ClosedByClient), now)),
        }
    }

    fn arrived(&mut self, slot: usize, end: Option<StreamEnd>, now: Instant) -> Arrived {
        let stream = &mut self.streams[slot];
        stream.heard_at = now;
        let opened = if stream.is_open { None } else { stream.path() };
        let arrived = Arrived {
            client: stream.client,
            framer: std::mem::take(&mut stream.framer),
            opened,
            end,
        };
        if opened.is_some() {
            stream.is_open = true;
            let protocol = stream.protocol();
            self.metrics.streams_of(protocol).add(1);
            if protocol == Protocol::Tls {
                self.metrics.tls_handshakes.inc();
            }
            self.schedule(slot, now + STREAM_IDLE_MAX);
        }
        arrived
    }

    /// Gives what a stream brought with it that came from another worker, as if it had been read just now.
    pub(crate) fn resume(&mut self, id: SocketId) -> Option<(Arrived, Vec<u8>)> {
        let stream = self.get_mut(id)?;
        let unread = std::mem::take(&mut stream.framer).into_unread();
        let arrived = Arrived {
            client: stream.client,
            framer: Framer::default(),
            opened: None,
            end: stream.has_said_all.then_some(StreamEnd::ClosedByClient),
        };
        Some((arrived, unread))
    }

    /// Takes back what [`receive`](Self::receive) lent, with what came of its messages.
    pub(crate) fn took(&mut self, id: SocketId, arrived: Arrived, taken: Result<Framed, ParseError>) {
        let departs = taken.as_ref().is_ok_and(|framed| framed.departure.is_some());
        if let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot)) {
            stream.framer = arrived.framer;
            stream.is_held = departs;
            stream.has_said_all = departs && arrived.end.is_some();
            stream.watch(&self.epoll);
        }
        match (taken, arrived.end) {
            (Err(_), _) => self.end(id, StreamEnd::NotTurn),
            (Ok(_), Some(end)) if !departs => self.end(id, end),
            (Ok(_), _) => {}
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
        let full = stream.queued() + message.len() > urgency.queue_max();
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
        self.handshakes_left = HANDSHAKES_PER_PASS;
        while let Some(id) = self.touched.pop() {
            let Some(stream) = self.get_mut(id) else { continue };
            stream.is_touched = false;
            self.write(id);
            self.look_at_data(id);
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

    /// Ends streams that were silent too long and have no allocation, as `serves` says; wakes listeners that rested. What is
    /// beyond a bound stays due.
    pub(crate) fn expire(&mut self, now: Instant, serves: impl Fn(&FiveTuple) -> bool) {
        for index in 0..self.listeners.len() {
            if self.listeners[index].rests_until.is_some_and(|until| until <= now) {
                self.watch_listener(index, now);
            }
        }
        for _ in 0..EXPIRIES_PER_PASS {
            let Some((_, slot)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) else {
                return;
            };
            let stream = &self.streams[slot];
            let (id, client) = (stream.id, stream.client);
            if let Some(end) = stream.data.as_ref().and_then(|data| data.closing) {
                self.remove(id, end);
                continue;
            }
            let is_served = serves(&FiveTuple { socket: id, client });
            let next = match is_served {
                true => now + STREAM_IDLE_MAX,
                false => stream.heard_at + STREAM_IDLE_MAX,
            };
            if stream.is_shaking_hands() {
                self.metrics.handshakes_failed.of(HandshakeFailure::TimedOut).inc();
                self.remove(id, StreamEnd::HandshakeFailed);
            } else if next <= now || (!is_served && !self.counts_again(slot)) {
                self.remove(id, StreamEnd::Idle);
            } else {
                self.schedule(slot, next);
            }
        }
    }

    /// Counts a stream among its source's again that has no allocation any more; false when the source has as many as it
    /// may.
    fn counts_again(&mut self, slot: usize) -> bool {
        let stream = &mut self.streams[slot];
        stream.is_stranger = stream.is_stranger || self.sources.add(stream.client.ip());
        stream.is_stranger
    }

    /// Moves the deadline of a stream.
    pub(super) fn schedule(&mut self, slot: usize, at: Instant) {
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
        let queued = stream.queued();
        let (sealed, spares, metrics) = (&mut self.sealed, &mut self.spares, &self.metrics);
        let written = stream.write(sealed, spares, metrics);
        let written = written.and_then(|()| stream.say_end(sealed, spares, metrics));
        // Sealing adds a little to what waits.
        self.queued_bytes = self.queued_bytes - queued + stream.queued();
        stream.watch(&self.epoll);
        if let Err(end) = written {
            self.end(id, end);
        }
    }

    /// Has a stream end after this pass, when what waits for it was offered to the kernel once more.
    pub(super) fn end(&mut self, id: SocketId, end: StreamEnd) {
        if let Some(stream) = self.get_mut(id) {
            stream.ending.get_or_insert(end);
            self.touch(id);
        }
    }

    pub(super) fn touch(&mut self, id: SocketId) {
        if let Some(stream) = self.get_mut(id)
            && !std::mem::replace(&mut stream.is_touched, true)
        {
            self.touched.push(id);
        }
    }

    pub(super) fn remove(&mut self, id: SocketId, end: StreamEnd) {
        let Some(slot) = slot_of(id).filter(|slot| self.streams.get(*slot).is_some_and(|stream| stream.id == id))
        else {
            return;
        };
        let mut stream = self.forget(slot);
        stream.say_goodbye(&mut self.sealed);
        stream.unwatch(&self.epoll);
        if stream.is_open {
            self.ended.push(id);
        } else if stream.is_shaking_hands() && end != StreamEnd::HandshakeFailed {
            self.metrics.handshakes_failed.of(HandshakeFailure::Abandoned).inc();
        }
        self.metrics.streams_ended.of(end).inc();
    }

    /// Takes a stream out of all books but those of how it ended.
    pub(super) fn forget(&mut self, slot: usize) -> Stream {
        let stream = self.streams.remove(slot);
        self.deadlines.remove(&(stream.deadline, slot));
        self.queued_bytes -= stream.queued();
        if stream.is_stranger {
            self.sources.remove(stream.client.ip());
        }
        if stream.is_open {
            self.metrics.streams_of(stream.protocol()).add(-1);
        }
        self.metrics.sockets.add(-1);
        stream
    }

    pub(super) fn get(&self, id: SocketId) -> Option<&Stream> {
        self.streams.get(slot_of(id)?).filter(|stream| stream.id == id)
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Stream> {
        self.streams.get_mut(slot_of(id)?).filter(|stream| stream.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::socket::{Sharing, local_address};
    use crate::streams::bind_tcp;

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
                streams: Streams::new(WorkerId(3), vec![(address, listener)], true, epoll, 1, metrics.clone()),
                metrics,
                address,
                now: Instant::now(),
            }
        }

        fn connect(&mut self) -> (TcpStream, SocketId) {
            let client = TcpStream::connect(self.address).unwrap();
            self.streams.accept(listener_token(0), self.now);
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
        let mut room = Room::new();
        let arrived = bench.streams.receive(id, &mut room, bench.now).unwrap();
        assert_eq!(room.messages(), [0, 1]);
        assert_eq!(arrived.opened.map(|path| path.protocol), Some(Protocol::Tcp));
        bench.streams.took(id, arrived, Ok(Framed::default()));
        bench.expire(STREAM_IDLE_MAX - SECOND, false);
        assert_eq!(bench.idle(), 0);
        bench.expire(SECOND * 2, false);
        assert_eq!((bench.idle(), bench.streams.poll_ended()), (1, Some(id)));
    }

    #[test]
    fn a_stream_that_has_lost_its_allocation_counts_for_its_source_again() {
        let mut bench = Bench::new();
        let (mut client, id) = bench.connect();
        bench.streams.is_known(id);
        bench.now += STREAM_IDLE_MAX - SECOND * 5;
        client.write_all(&[0, 1]).unwrap();
        let arrived = bench.streams.receive(id, &mut Room::new(), bench.now).unwrap();
        bench.streams.took(id, arrived, Ok(Framed::default()));
        bench.now += STREAM_IDLE_MAX;
        client.write_all(&[0, 1]).unwrap();
        let arrived = bench.streams.receive(id, &mut Room::new(), bench.now).unwrap();
        bench.streams.took(id, arrived, Ok(Framed::default()));
        assert!(!bench.streams.is_stranger(id));
        bench.expire(SECOND * 2, false);
        assert!(bench.streams.is_stranger(id));
        bench.expire(STREAM_IDLE_MAX, false);
        assert_eq!(bench.idle(), 1);
    }

    #[test]
    fn the_id_of_a_stream_that_ended_finds_nobody_though_its_slot_has_a_new_one() {
        let mut bench = Bench::new();
        let (client, old) = bench.connect();
        drop(client);
        let mut room = Room::new();
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
        assert_eq!((ready.len(), ready.token(0)), (1, listener_token(0)));
    }
}
