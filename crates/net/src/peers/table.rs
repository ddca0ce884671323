//! The connections of one worker with peers.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;
use voex_base::SocketId;
use voex_turn::{ConnectionId, Way};

use super::id::{listener_of, listener_token, peer_token, slot_of};
use super::listener::{PeerListener, connect, listen};
use super::peer::{Ending, Peer, Stage};
use crate::metrics::Metrics;
use crate::streams::{LISTENER_REST, READ_BYTES_PER_PASS, Spares, is_exhaustion};
use crate::sys::{Epoll, ReadyEvent};

/// How long what waits for a peer or a client may take to be delivered after their connection was ended.
pub const LINGER_MAX: Duration = Duration::from_secs(10);
/// Connections accepted on one relay in one pass.
pub const PEERS_ACCEPTED_PER_PASS: usize = 16;

/// Listeners of TCP relays and connections with peers. How many there may be is the TURN shard's to say.
pub(crate) struct Peers {
    epoll: Rc<Epoll>,
    listeners: Slab<PeerListener>,
    by_relay: FxHashMap<SocketId, usize>,
    peers: Slab<Peer>,
    by_connection: FxHashMap<ConnectionId, u64>,
    by_client: FxHashMap<SocketId, u64>,
    lingering: BTreeSet<(Instant, u64)>,
    resting: BTreeSet<(Instant, usize)>,
    /// Sides of connections that limits keep from being read, by the way that their bytes go.
    throttled: BTreeSet<(Instant, u64, Way)>,
    generation: u64,
    spares: Spares,
    /// Where peers are read into.
    room: Vec<u8>,
    metrics: Arc<Metrics>,
}

/// What a peer did.
pub(crate) enum Heard {
    /// Nothing that anybody waits for.
    Nothing,
    /// It took the connection.
    Connected(ConnectionId),
    /// It did not.
    NotConnected(ConnectionId),
    /// It broke a connection that no client came for yet.
    Gone(ConnectionId),
    /// It said this many bytes, in the room, for a client.
    Bytes(ConnectionId, SocketId, usize),
    /// It has no more to say to a client.
    End(SocketId),
    /// Everything for it was taken: its client may say more.
    Drained(SocketId),
    /// It broke the connection with a client, and is forgotten.
    Broken(SocketId),
}

impl Peers {
    pub(crate) fn new(epoll: Rc<Epoll>, metrics: Arc<Metrics>) -> Self {
        Self {
            epoll,
            listeners: Slab::new(),
            by_relay: FxHashMap::default(),
            peers: Slab::new(),
            by_connection: FxHashMap::default(),
            by_client: FxHashMap::default(),
            lingering: BTreeSet::new(),
            resting: BTreeSet::new(),
            throttled: BTreeSet::new(),
            generation: 0,
            spares: Spares::default(),
            room: Vec::new(),
            metrics,
        }
    }

    /// Listens for the peers of a relay.
    pub(crate) fn listen(&mut self, relay: SocketId, local: SocketAddr) -> io::Result<()> {
        let socket = listen(local)?;
        let entry = self.listeners.vacant_entry();
        let index = entry.key();
        self.epoll.add(socket.as_fd(), listener_token(index))?;
        entry.insert(PeerListener {
            relay,
            socket,
            local,
            rests_until: None,
        });
        self.by_relay.insert(relay, index);
        self.metrics.sockets.add(1);
        Ok(())
    }

    /// Stops listening; false when the socket is no listener of peers.
    pub(crate) fn unlisten(&mut self, relay: SocketId) -> bool {
        let Some(index) = self.by_relay.remove(&relay) else {
            return false;
        };
        let listener = self.listeners.remove(index);
        match listener.rests_until {
            Some(until) => drop(self.resting.remove(&(until, index))),
            None => drop(self.epoll.remove(listener.socket.as_fd())),
        }
        self.metrics.sockets.add(-1);
        true
    }

    /// Accepts a connection that waits, and tells at which relay.
    pub(crate) fn accept(&mut self, token: u64, now: Instant) -> Option<(SocketId, TcpStream, SocketAddr)> {
        let index = listener_of(token);
        loop {
            let listener = self.listeners.get(index)?;
            match listener.socket.accept() {
                Ok((socket, peer)) => return Some((listener.relay, socket, peer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if is_exhaustion(&error) => {
                    self.rest(index, now);
                    return None;
                }
                // This connection ended before it was accepted.
                Err(_) => {}
            }
        }
    }

    /// Keeps an accepted connection until a client comes for it; false when the system cannot.
    pub(crate) fn keep(&mut self, connection: ConnectionId, socket: TcpStream) -> bool {
        let kept = socket.set_nonblocking(true).is_ok() && self.insert(connection, socket, Stage::Unbound);
        if kept {
            self.watch(connection);
        }
        kept
    }

    /// Begins to connect a relay with a peer; false when that cannot even begin.
    pub(crate) fn connect(&mut self, connection: ConnectionId, relay: SocketId, peer: SocketAddr) -> bool {
        let local = self.by_relay.get(&relay).map(|index| self.listeners[*index].local);
        let begun = local
            .and_then(|local| connect(local, peer).ok())
            .is_some_and(|socket| self.insert(connection, socket, Stage::Connecting));
        if begun {
            self.watch(connection);
        }
        begun
    }

    /// Binds a connection that stands to a client's stream; false when it stands no more.
    pub(crate) fn bind(&mut self, connection: ConnectionId, client: SocketId) -> bool {
        let Some(peer) = self
            .of_connection(connection)
            .filter(|peer| peer.stage == Stage::Unbound)
        else {
            return false;
        };
        peer.stage = Stage::Bound(client);
        let token = peer.token;
        self.by_client.insert(client, token);
        self.watch(connection);
        true
    }

    /// Gives the connection that a client's stream is bound to.
    pub(crate) fn connection_of(&self, client: SocketId) -> Option<ConnectionId> {
        self.get(*self.by_client.get(&client)?).map(|peer| peer.connection)
    }

    /// Sends what a client said to its peer; false when some of it waits, and the client is to wait too.
    pub(crate) fn carry(&mut self, client: SocketId, bytes: &[u8]) -> bool {
        let spares = &mut self.spares;
        let Some(peer) = of_client(&self.by_client, &mut self.peers, client) else {
            return true;
        };
        // What breaks here is reported by epoll too, and taken care of then.
        let _ = peer.send(bytes, spares);
        peer.watch(&self.epoll);
        peer.out.is_empty()
    }

    /// Tells a peer, behind what waits for it, that its client has no more to say.
    pub(crate) fn finish(&mut self, client: SocketId) {
        let spares = &mut self.spares;
        if let Some(peer) = of_client(&self.by_client, &mut self.peers, client)
            && peer.ending == Ending::Open
        {
            peer.ending = Ending::Wanted;
            let _ = peer.flush(spares);
            peer.watch(&self.epoll);
        }
    }

    /// Tells whether neither a client nor its peer has more to say to the other.
    pub(crate) fn is_over(&self, client: SocketId) -> bool {
        let token = self.by_client.get(&client);
        token.and_then(|token| self.get(*token)).is_some_and(Peer::is_over)
    }

    /// Stops or goes on reading the peer of a client.
    pub(crate) fn pause(&mut self, client: SocketId, is_paused: bool) {
        if let Some(peer) = of_client(&self.by_client, &mut self.peers, client) {
            peer.is_paused = is_paused;
            peer.watch(&self.epoll);
        }
    }

    /// Has the side whose bytes go one way left unread for a while; with [`Way::ToPeer`] that is the client's stream, which
    /// others see to.
    pub(crate) fn throttle(&mut self, client: SocketId, way: Way, until: Instant) {
        self.set_throttled(client, way, Some(until));
    }

    /// Goes on reading that side.
    pub(crate) fn unthrottle(&mut self, client: SocketId, way: Way) {
        self.set_throttled(client, way, None);
    }

    /// Gives a side that was left unread for long enough: it is to be throttled again, or no more.
    pub(crate) fn poll_throttled(&mut self, now: Instant) -> Option<(ConnectionId, SocketId, Way)> {
        loop {
            let (_, token, way) = self.throttled.first().copied().filter(|(until, ..)| *until <= now)?;
            self.throttled.pop_first();
            if let Some(peer) = self.get(token)
                && let Some(client) = peer.client()
            {
                return Some((peer.connection, client, way));
            }
        }
    }

    /// Ends a connection: what waits for its peer is still delivered, for [`LINGER_MAX`] at most. Gives the client's stream
    /// that it was bound to.
    pub(crate) fn close(&mut self, connection: ConnectionId, now: Instant) -> Option<SocketId> {
        let token = self.by_connection.remove(&connection)?;
        self.forget_throttled(token);
        let peer = &mut self.peers[slot_of(token)];
        let client = peer.client();
        if let Some(client) = client {
            self.by_client.remove(&client);
        }
        let until = now + LINGER_MAX;
        peer.stage = Stage::Lingering(until);
        if peer.ending == Ending::Open {
            peer.ending = Ending::Wanted;
        }
        let flushed = peer.flush(&mut self.spares);
        if client.is_none() || flushed.is_err() || peer.is_over() {
            self.remove(token);
        } else {
            peer.watch(&self.epoll);
            self.lingering.insert((until, token));
        }
        client
    }

    /// Takes what a peer did, as epoll reports it.
    pub(crate) fn receive(&mut self, token: u64, event: ReadyEvent) -> Heard {
        let ReadyEvent { is_writable, is_broken } = event;
        let Some(peer) = self.peers.get_mut(slot_of(token)).filter(|peer| peer.token == token) else {
            return Heard::Nothing;
        };
        match peer.stage {
            Stage::Connecting if is_writable || is_broken => self.judge_connecting(token),
            Stage::Unbound if is_broken => {
                let connection = peer.connection;
                self.remove(token);
                Heard::Gone(connection)
            }
            Stage::Bound(client) => self.serve_bound(token, client, is_writable, is_broken),
            Stage::Lingering(_) => {
                self.serve_lingering(token);
                Heard::Nothing
            }
            Stage::Connecting | Stage::Unbound => Heard::Nothing,
        }
    }

    /// Gives what the last peer said.
    pub(crate) fn said(&self, len: usize) -> &[u8] {
        &self.room[..len]
    }

    /// Gives when [`expire`](Self::expire) or [`poll_throttled`](Self::poll_throttled) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let lingering = self.lingering.first().map(|(until, _)| *until);
        let resting = self.resting.first().map(|(until, _)| *until);
        let throttled = self.throttled.first().map(|(until, ..)| *until);
        [lingering, resting, throttled].into_iter().flatten().min()
    }

    /// Forgets connections that were ended and could not deliver; wakes listeners that rested.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((_, token)) = self.lingering.first().copied().filter(|(until, _)| *until <= now) {
            self.remove(token);
        }
        while let Some((until, index)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, index));
            let listener = &mut self.listeners[index];
            listener.rests_until = None;
            if self.epoll.add(listener.socket.as_fd(), listener_token(index)).is_err() {
                self.rest(index, now);
            }
        }
    }

    fn judge_connecting(&mut self, token: u64) -> Heard {
        let peer = &mut self.peers[slot_of(token)];
        let connection = peer.connection;
        if !peer.is_connected() {
            self.remove(token);
            return Heard::NotConnected(connection);
        }
        peer.stage = Stage::Unbound;
        peer.watch(&self.epoll);
        Heard::Connected(connection)
    }

    fn serve_bound(&mut self, token: u64, client: SocketId, is_writable: bool, is_broken: bool) -> Heard {
        let peer = &mut self.peers[slot_of(token)];
        let waited = !peer.out.is_empty();
        if is_writable && waited {
            if peer.flush(&mut self.spares).is_err() {
                self.remove(token);
                return Heard::Broken(client);
            }
            peer.watch(&self.epoll);
            if peer.out.is_empty() {
                return Heard::Drained(client);
            }
        }
        if peer.is_paused || peer.peer_throttled.is_some() || peer.heard_end {
            // Nothing is left to read and nothing can be said.
            if is_broken && peer.heard_end && peer.ending != Ending::Said {
                self.remove(token);
                return Heard::Broken(client);
            }
            if is_broken {
                peer.unwatch(&self.epoll);
            }
            return Heard::Nothing;
        }
        self.room.resize(READ_BYTES_PER_PASS, 0);
        match peer.read(&mut self.room) {
            Ok(None) => Heard::Nothing,
            Ok(Some(0)) => {
                peer.heard_end = true;
                peer.watch(&self.epoll);
                Heard::End(client)
            }
            Ok(Some(len)) => Heard::Bytes(peer.connection, client, len),
            Err(_) => {
                self.remove(token);
                Heard::Broken(client)
            }
        }
    }

    fn serve_lingering(&mut self, token: u64) {
        self.room.resize(READ_BYTES_PER_PASS, 0);
        let peer = &mut self.peers[slot_of(token)];
        let read = peer.read(&mut self.room);
        peer.heard_end |= matches!(read, Ok(Some(0)));
        let flushed = peer.flush(&mut self.spares);
        if read.is_err() || flushed.is_err() || peer.is_over() {
            return self.remove(token);
        }
        peer.watch(&self.epoll);
    }

    /// A listener whose connections cannot be accepted would be reported for ever.
    fn rest(&mut self, index: usize, now: Instant) {
        let listener = &mut self.listeners[index];
        let until = now + LISTENER_REST;
        listener.rests_until = Some(until);
        let _ = self.epoll.remove(listener.socket.as_fd());
        self.resting.insert((until, index));
    }

    fn insert(&mut self, connection: ConnectionId, socket: TcpStream, stage: Stage) -> bool {
        let slot = self.peers.vacant_key();
        self.generation += 1;
        let token = peer_token(self.generation, slot);
        if self.epoll.add(socket.as_fd(), token).is_err() {
            return false;
        }
        self.peers.insert(Peer::new(token, connection, socket, stage));
        self.by_connection.insert(connection, token);
        self.metrics.sockets.add(1);
        self.metrics.peers.add(1);
        true
    }

    fn set_throttled(&mut self, client: SocketId, way: Way, until: Option<Instant>) {
        let Some(peer) = of_client(&self.by_client, &mut self.peers, client) else {
            return;
        };
        if let Some(before) = std::mem::replace(peer.throttled(way), until) {
            self.throttled.remove(&(before, peer.token, way));
        }
        self.throttled.extend(until.map(|until| (until, peer.token, way)));
        peer.watch(&self.epoll);
    }

    fn forget_throttled(&mut self, token: u64) {
        let peer = &mut self.peers[slot_of(token)];
        for way in [Way::ToPeer, Way::ToClient] {
            if let Some(until) = peer.throttled(way).take() {
                self.throttled.remove(&(until, token, way));
            }
        }
    }

    fn remove(&mut self, token: u64) {
        self.forget_throttled(token);
        let mut peer = self.peers.remove(slot_of(token));
        peer.unwatch(&self.epoll);
        match peer.stage {
            Stage::Bound(client) => drop(self.by_client.remove(&client)),
            Stage::Lingering(until) => drop(self.lingering.remove(&(until, token))),
            Stage::Connecting | Stage::Unbound => {}
        }
        if self.by_connection.get(&peer.connection) == Some(&token) {
            self.by_connection.remove(&peer.connection);
        }
        self.metrics.sockets.add(-1);
        self.metrics.peers.add(-1);
    }

    fn watch(&mut self, connection: ConnectionId) {
        let epoll = Rc::clone(&self.epoll);
        if let Some(peer) = self.of_connection(connection) {
            peer.watch(&epoll);
        }
    }

    fn get(&self, token: u64) -> Option<&Peer> {
        self.peers.get(slot_of(token)).filter(|peer| peer.token == token)
    }

    fn of_connection(&mut self, connection: ConnectionId) -> Option<&mut Peer> {
        let token = *self.by_connection.get(&connection)?;
        self.peers.get_mut(slot_of(token))
    }
}

fn of_client<'a>(
    by_client: &FxHashMap<SocketId, u64>,
    peers: &'a mut Slab<Peer>,
    client: SocketId,
) -> Option<&'a mut Peer> {
    peers.get_mut(slot_of(*by_client.get(&client)?))
}
