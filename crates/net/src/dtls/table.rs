//! The associations of one worker.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use openssl::ssl::SslContext;
use rustc_hash::FxHashMap;
use slab::Slab;
use voex_base::{FiveTuple, Outbox, SocketId, WorkerId};
use voex_turn::ClientPath;

use super::association::{Association, Pair, Stage};
use super::client_hello::{ClientHello, HelloError, is_client_hello};
use super::cookie::Cookies;
use super::handshake::{Handshake, Taken};
use super::handshake_rate::HandshakeRate;
use super::id::{association_id, slot_of};
use super::session::{Over, RECORD_MESSAGE_BYTES_MAX, Scratch};
use crate::metrics::{AssociationEnd, DropReason, HandshakeFailure, HelloRefusal, Metrics};
use crate::streams::{EXPIRIES_PER_PASS, STREAM_IDLE_MAX, Sources, TLS_HANDSHAKE_MAX};
use crate::worker_loop::Secrets;

/// DTLS associations of one worker, those that shake hands included.
pub const ASSOCIATIONS_MAX: usize = 8_192;
/// Associations of one source address, on one worker, that have no allocation.
pub const ASSOCIATIONS_PER_SOURCE_MAX: u32 = 256;
/// Handshakes of one worker that may wait for a step before more are begun: a second's work or so, after which the client
/// has said its hello again.
pub const DTLS_HANDSHAKES_WAITING_MAX: usize = 1_024;
/// Longest datagram with a ClientHello.
pub const DTLS_HELLO_BYTES_MAX: usize = 4 << 10;
/// Steps of handshakes in one pass; one takes a signature and another a key agreement, and media must not wait for many.
const HANDSHAKE_STEPS_PER_PASS: usize = 2;
/// How often a handshake is looked at for what must be sent again. OpenSSL says what: after 1, 2, 4 and 8 s without an answer.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Deadlines of associations that stand fall on multiples of this, so that they share a wake-up.
const DEADLINE_GRAIN: Duration = Duration::from_secs(1);
/// Room for one message.
pub(crate) const ROOM_BYTES: usize = RECORD_MESSAGE_BYTES_MAX;

/// The associations of one worker. A client gets one by a cookie that proves where it receives; before that nothing is
/// remembered of it.
pub(crate) struct Associations {
    worker: WorkerId,
    /// What sessions begin with; without it none do.
    context: Option<SslContext>,
    cookies: Cookies,
    /// Our addresses that clients talk to.
    listeners: FxHashMap<SocketId, SocketAddr>,
    slots: Slab<Association>,
    by_client: HashMap<FiveTuple, Pair, SeedableRandomState>,
    generation: u64,
    sources: Sources,
    rate: HandshakeRate,
    /// Those in line for a step of their handshake, each once; some may have ended meanwhile.
    waiting: VecDeque<SocketId>,
    opened: Vec<SocketId>,
    ended: Vec<SocketId>,
    deadlines: BTreeSet<(Instant, usize)>,
    start: Instant,
    scratch: Scratch,
    /// For what is sealed: the caller sends it, and nothing of it may stay where flights are gathered.
    sealed: Scratch,
    metrics: Arc<Metrics>,
}

/// A client whose handshake is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    pub(crate) id: SocketId,
    pub(crate) client: SocketAddr,
    pub(crate) path: ClientPath,
}

impl Associations {
    pub(crate) fn new(worker: WorkerId, secrets: Secrets, metrics: Arc<Metrics>) -> Self {
        let seed = secrets.table_seed;
        let start = Instant::now();
        Self {
            worker,
            context: None,
            cookies: Cookies::new(&secrets.cookie, start),
            listeners: FxHashMap::default(),
            slots: Slab::new(),
            by_client: HashMap::with_hasher(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed())),
            generation: 0,
            sources: Sources::new(seed, ASSOCIATIONS_PER_SOURCE_MAX),
            rate: HandshakeRate::new(seed),
            waiting: VecDeque::new(),
            opened: Vec::new(),
            ended: Vec::new(),
            deadlines: BTreeSet::new(),
            start,
            scratch: Scratch::default(),
            sealed: Scratch::default(),
            metrics,
        }
    }

    /// Makes a socket known that clients come in by.
    pub(crate) fn listen(&mut self, socket: SocketId, local: SocketAddr) {
        self.listeners.insert(socket, local);
    }

    /// Sets what sessions begin with from now on; those that exist go on as they began.
    pub(crate) fn set_context(&mut self, context: SslContext) {
        self.context = Some(context);
    }

    /// Takes a datagram that is DTLS; tells whose messages it may hold, which [`read`](Self::read) gives.
    pub(crate) fn receive(
        &mut self,
        socket: SocketId,
        client: SocketAddr,
        datagram: &[u8],
        now: Instant,
        out: &mut impl Outbox,
    ) -> Option<SocketId> {
        let key = FiveTuple { socket, client };
        if is_client_hello(datagram) {
            self.hear_hello(key, datagram, now, out);
            return None;
        }
        let pair = self.by_client.get(&key).copied().unwrap_or_default();
        let Some(slot) = pair.addressee(datagram) else {
            self.refuse(HelloRefusal::NoAssociation);
            return None;
        };
        match &self.slots[slot].stage {
            // Nothing follows a hello that was not answered.
            Stage::Hello(_) => self.refuse(HelloRefusal::NotHandshake),
            Stage::ShakingHands(_) => self.hear_handshake(slot, datagram),
            Stage::Open(_) => return Some(self.slots[slot].id),
        }
        None
    }

    fn hear_hello(&mut self, key: FiveTuple, datagram: &[u8], now: Instant, out: &mut impl Outbox) {
        if datagram.len() > DTLS_HELLO_BYTES_MAX {
            return self.refuse(HelloRefusal::TooLong);
        }
        let hello = match ClientHello::parse(datagram) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(HelloRefusal::of(error)),
        };
        let pair = self.by_client.get(&key).copied().unwrap_or_default();
        // Said again by a client that was not answered yet, or whose answer was lost and will be said again.
        if pair.all().any(|slot| self.slots[slot].random == hello.random) {
            return;
        }
        self.greet(key, pair, &hello, now, out);
    }

    /// Answers a client that nothing is known of: without a good cookie it gets one, with it an association.
    fn greet(&mut self, key: FiveTuple, pair: Pair, hello: &ClientHello<'_>, now: Instant, out: &mut impl Outbox) {
        let FiveTuple { socket, client } = key;
        let Some(local) = self.listeners.get(&socket).copied().filter(|_| self.context.is_some()) else {
            return self.refuse(HelloRefusal::NoIdentity);
        };
        if !self.cookies.holds(now, local, client, hello) {
            let cookie = self.cookies.issue(now, local, client, hello);
            self.metrics.dtls_cookies.inc();
            return out.send(socket, client, &hello.verify_request(&cookie), &[]);
        }
        // One handshake at a time: the client has left the one before.
        if let Some(coming) = pair.coming {
            let association = &mut self.slots[coming];
            if let Stage::Hello(waiting) = &mut association.stage {
                hello.datagram().clone_into(waiting);
                association.random = hello.random;
                return;
            }
            self.fail(coming, HandshakeFailure::Abandoned);
        }
        match self.admit(client, now) {
            Ok(()) => self.begin(key, local, hello, now),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Tells whether one more handshake may begin, and counts it if so.
    fn admit(&mut self, client: SocketAddr, now: Instant) -> Result<(), HelloRefusal> {
        if self.slots.len() >= ASSOCIATIONS_MAX {
            return Err(HelloRefusal::TooMany);
        }
        if self.waiting.len() >= DTLS_HANDSHAKES_WAITING_MAX {
            return Err(HelloRefusal::TooManyWaiting);
        }
        if !self.rate.allows(now, client.ip()) {
            return Err(HelloRefusal::TooFastFromSource);
        }
        match self.sources.add(client.ip()) {
            true => Ok(()),
            false => Err(HelloRefusal::TooManyFromSource),
        }
    }

    fn begin(&mut self, key: FiveTuple, local: SocketAddr, hello: &ClientHello<'_>, now: Instant) {
        self.generation += 1;
        let slot = self.slots.vacant_key();
        self.slots.insert(Association {
            id: association_id(self.worker, self.generation, slot),
            key,
            local,
            stage: Stage::Hello(hello.datagram().to_vec()),
            is_waiting: false,
            random: hello.random,
            is_stranger: true,
            heard_at: now,
            deadline: now,
        });
        self.by_client.entry(key).or_default().coming = Some(slot);
        self.schedule(slot, now + LOOK_EVERY);
        self.stand_in_line(slot);
    }

    /// Takes what a client says while its handshake runs.
    fn hear_handshake(&mut self, slot: usize, datagram: &[u8]) {
        let Stage::ShakingHands(handshake) = &mut self.slots[slot].stage else {
            return;
        };
        match handshake.take(datagram) {
            Taken::Waits => self.stand_in_line(slot),
            Taken::Foreign => self.refuse(HelloRefusal::NotHandshake),
            Taken::TooMuch => self.fail(slot, HandshakeFailure::TooLong),
        }
    }

    fn stand_in_line(&mut self, slot: usize) {
        let association = &mut self.slots[slot];
        if !std::mem::replace(&mut association.is_waiting, true) {
            self.waiting.push_back(association.id);
        }
    }

    /// Tells whether a handshake waits for its turn.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Goes on with handshakes that wait, up to a bound; gives how many. [`poll_opened`](Self::poll_opened) gives those
    /// that are over.
    pub(crate) fn shake_hands(&mut self, now: Instant, out: &mut impl Outbox) -> u32 {
        let mut steps = 0;
        while steps < HANDSHAKE_STEPS_PER_PASS
            && let Some(id) = self.waiting.pop_front()
        {
            let Some(slot) = self.find(id) else { continue };
            steps += 1;
            let association = &mut self.slots[slot];
            association.is_waiting = false;
            let scratch = &mut self.scratch;
            let shaken = match (&mut association.stage, &self.context) {
                (Stage::Hello(hello), Some(context)) => Handshake::begin(context, hello, scratch).map(|handshake| {
                    association.stage = Stage::ShakingHands(handshake);
                    false
                }),
                (Stage::ShakingHands(handshake), _) => handshake.go_on(scratch),
                (Stage::Hello(_), None) | (Stage::Open(_), _) => Ok(false),
            };
            self.shaken(slot, shaken, now, out);
        }
        steps as u32
    }

    /// Sends what a step of a handshake left to send, and does what came of it.
    fn shaken(&mut self, slot: usize, is_over: Result<bool, HandshakeFailure>, now: Instant, out: &mut impl Outbox) {
        self.send_flight(slot, out);
        match is_over {
            Ok(false) => {}
            Ok(true) => self.open(slot, now),
            Err(failure) => self.fail(slot, failure),
        }
    }

    /// Gives the next client whose handshake is over; the worker must come to know it before anything is read of it.
    pub(crate) fn poll_opened(&mut self) -> Option<Opened> {
        while let Some(id) = self.opened.pop() {
            let association = self.find(id).map(|slot| &mut self.slots[slot]);
            if let Some(association) = association
                && let Some(path) = association.path()
            {
                let client = association.key.client;
                return Some(Opened { id, client, path });
            }
        }
        None
    }

    /// Lets messages pass. An association of the same client that stood until now is over.
    fn open(&mut self, slot: usize, now: Instant) {
        let association = &mut self.slots[slot];
        let stage = std::mem::replace(&mut association.stage, Stage::Hello(Vec::new()));
        let Stage::ShakingHands(handshake) = stage else { return };
        association.stage = Stage::Open(handshake.into_session());
        association.heard_at = now;
        self.opened.push(association.id);
        let key = association.key;
        let replaced = self.by_client.get(&key).and_then(|pair| pair.standing);
        if let Some(replaced) = replaced {
            self.remove(replaced, AssociationEnd::Replaced);
        }
        let pair = Pair {
            standing: Some(slot),
            coming: None,
        };
        self.by_client.insert(key, pair);
        self.metrics.dtls_handshakes.inc();
        self.metrics.associations.add(1);
        self.schedule(slot, now + STREAM_IDLE_MAX);
    }

    /// Reads the first message of a datagram into `room`, or with an empty one the next; gives its length. An association
    /// that its client ends with it is forgotten.
    pub(crate) fn read(
        &mut self,
        id: SocketId,
        datagram: &[u8],
        room: &mut [u8],
        now: Instant,
        out: &mut impl Outbox,
    ) -> Option<usize> {
        let slot = self.find(id)?;
        let association = &mut self.slots[slot];
        let session = association.session()?;
        let read = session.read(datagram, room, &mut self.scratch);
        if read == Err(Over::ClosedByClient) {
            session.close(&mut self.scratch);
        }
        if let Ok(Some(_)) = read {
            association.heard_at = now;
        }
        self.send_flight(slot, out);
        match read {
            Ok(len) => len,
            Err(over) => {
                let end = match over {
                    Over::ClosedByClient => AssociationEnd::ClosedByClient,
                    Over::Broken => AssociationEnd::Broken,
                };
                self.remove(slot, end);
                None
            }
        }
    }

    /// Tells whether an association has not been seen with an allocation yet.
    pub(crate) fn is_stranger(&self, id: SocketId) -> bool {
        self.find(id).is_some_and(|slot| self.slots[slot].is_stranger)
    }

    /// Says that an association has an allocation: quotas bound it from now on, not the count of its source.
    pub(crate) fn is_known(&mut self, id: SocketId) {
        if let Some(slot) = self.find(id)
            && std::mem::take(&mut self.slots[slot].is_stranger)
        {
            self.sources.remove(self.slots[slot].key.client.ip());
        }
    }

    /// Seals a message; gives the record with the socket that it leaves by and the client that it goes to.
    pub(crate) fn seal(&mut self, id: SocketId, message: &[u8]) -> Option<(SocketId, SocketAddr, &[u8])> {
        let association = self.find(id).map(|slot| &mut self.slots[slot]);
        let Some(association) = association.filter(|association| association.is_open()) else {
            self.metrics.dropped.of(DropReason::SocketClosed).inc();
            return None;
        };
        if message.len() > RECORD_MESSAGE_BYTES_MAX {
            self.metrics.dropped.of(DropReason::RecordTooLong).inc();
            return None;
        }
        self.sealed.flight.clear();
        let (socket, client) = (association.key.socket, association.key.client);
        if !association.session()?.seal(message, &mut self.sealed) {
            self.metrics.dropped.of(DropReason::SocketClosed).inc();
            return None;
        }
        let record = self.sealed.flight.iter().next()?;
        Some((socket, client, record))
    }

    /// Gives the next association that has ended; the worker must forget it.
    pub(crate) fn poll_ended(&mut self) -> Option<SocketId> {
        self.ended.pop()
    }

    /// Gives when [`expire`](Self::expire) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Goes on with handshakes that were not answered, and ends them when they take too long; ends associations that were
    /// silent too long and have no allocation, as `serves` says. What is beyond a bound stays due.
    pub(crate) fn expire(&mut self, now: Instant, serves: impl Fn(&FiveTuple) -> bool, out: &mut impl Outbox) {
        for _ in 0..EXPIRIES_PER_PASS {
            let Some((_, slot)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) else {
                return;
            };
            let association = &self.slots[slot];
            let (id, client, heard_at) = (association.id, association.key.client, association.heard_at);
            if !association.is_open() {
                if heard_at + TLS_HANDSHAKE_MAX <= now {
                    self.fail(slot, HandshakeFailure::TimedOut);
                    continue;
                }
                self.schedule(slot, now + LOOK_EVERY);
                if let Stage::ShakingHands(handshake) = &mut self.slots[slot].stage {
                    let repeated = handshake.repeat(&mut self.scratch);
                    self.shaken(slot, repeated, now, out);
                }
                continue;
            }
            let is_served = serves(&FiveTuple { socket: id, client });
            let next = match is_served {
                true => now + STREAM_IDLE_MAX,
                false => heard_at + STREAM_IDLE_MAX,
            };
            if next <= now || (!is_served && !self.counts_again(slot)) {
                self.close(slot, out);
                self.remove(slot, AssociationEnd::Idle);
            } else {
                self.schedule(slot, next);
            }
        }
    }

    /// Counts an association among its source's again that has no allocation any more; false when the source has as many
    /// as it may.
    fn counts_again(&mut self, slot: usize) -> bool {
        let association = &mut self.slots[slot];
        association.is_stranger = association.is_stranger || self.sources.add(association.key.client.ip());
        association.is_stranger
    }

    /// Tells every client that nothing follows.
    pub(crate) fn close_all(&mut self, out: &mut impl Outbox) {
        let slots: Vec<_> = self.slots.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.close(slot, out);
        }
    }

    fn close(&mut self, slot: usize, out: &mut impl Outbox) {
        if let Some(session) = self.slots[slot].session() {
            session.close(&mut self.scratch);
        }
        self.send_flight(slot, out);
    }

    /// Moves the deadline of an association.
    fn schedule(&mut self, slot: usize, at: Instant) {
        let association = &mut self.slots[slot];
        let at = match association.stage {
            Stage::Open(_) => {
                let grains = at.saturating_duration_since(self.start).as_secs() + 1;
                self.start + DEADLINE_GRAIN * u32::try_from(grains).unwrap_or(u32::MAX)
            }
            Stage::Hello(_) | Stage::ShakingHands(_) => at,
        };
        self.deadlines.remove(&(association.deadline, slot));
        association.deadline = at;
        self.deadlines.insert((at, slot));
    }

    /// Sends what a session has to send, and nothing else.
    fn send_flight(&mut self, slot: usize, out: &mut impl Outbox) {
        let association = &self.slots[slot];
        for datagram in self.scratch.flight.iter() {
            out.send(association.key.socket, association.key.client, datagram, &[]);
        }
        self.scratch.flight.clear();
    }

    fn fail(&mut self, slot: usize, failure: HandshakeFailure) {
        self.metrics.handshakes_failed.of(failure).inc();
        self.remove(slot, AssociationEnd::HandshakeFailed);
    }

    fn remove(&mut self, slot: usize, end: AssociationEnd) {
        let association = self.slots.remove(slot);
        self.deadlines.remove(&(association.deadline, slot));
        if association.is_stranger {
            self.sources.remove(association.key.client.ip());
        }
        let key = association.key;
        if let Entry::Occupied(mut entry) = self.by_client.entry(key) {
            *entry.get_mut() = entry.get().without(slot);
            if *entry.get() == Pair::default() {
                entry.remove();
            }
        }
        if association.is_open() {
            self.metrics.associations.add(-1);
            self.ended.push(association.id);
        }
        self.metrics.associations_ended.of(end).inc();
    }

    fn refuse(&self, refusal: HelloRefusal) {
        self.metrics.dtls_refused.of(refusal).inc();
    }

    fn find(&self, id: SocketId) -> Option<usize> {
        slot_of(id).filter(|slot| self.slots.get(*slot).is_some_and(|association| association.id == id))
    }
}

impl HelloRefusal {
    fn of(error: HelloError) -> Self {
        match error {
            HelloError::Malformed => Self::Malformed,
            HelloError::Fragmented => Self::Fragmented,
        }
    }
}

#[cfg(test)]
mod tests;
