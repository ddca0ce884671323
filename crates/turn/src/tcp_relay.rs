//! TCP relays (RFC 6062): connections with peers, and the client data connections that are bound to them.
//!
//! ```text
//! control connection          this shard                          owner of sockets
//!  Allocate(TCP) ───────────► ListenRelay ──────────────────────► listens on the relayed transport address
//!  Connect(peer) ───────────► ConnectPeer ──────────────────────► connects from there
//!        ◄── CONNECTION-ID ── handle_peer_connected ◄────────────
//!        ◄ ConnectionAttempt─ handle_peer_accepted ◄───────────── a peer came in
//! data connection
//!  ConnectionBind(id) ──────► Bind ─────────────────────────────► from here on bytes go both ways, and handle_carried
//!                             MoveClient, where another shard has the id ► the stream goes there, its request with it
//! ```
//!
//! Whichever of the two connections ends, its owner ends the other when it has what was on its way; the shard hears of it
//! by [`Server::close_client`] or [`Server::handle_peer_closed`], and orders it itself with [`Output::ClosePeer`] when the
//! allocation ends, the time to bind is over, or the peer is closed to relays.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use voex_base::{FiveTuple, Outbox, SocketId};
use voex_stun::{AttributeType, Class, Message, MessageWriter, Method, RequestedTransport, TransactionId};

use crate::answer::{Proof, Refused, ReplyTo};
use crate::peer_connections::{CONNECTION_WAIT, PeerConnection, Stage};
use crate::report::report_traffic;
use crate::request::{Granted, Identity, Request};
use crate::timer::AllocationId;
use crate::{DropReason, Output, Refusal, Server};

/// Names a peer data connection (CONNECTION-ID, RFC 6062 §6.2.1). It tells which shard has it, and no more: whoever has
/// another cannot tell it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u32);

/// What an allocation's relayed transport address speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayTransport {
    /// UDP (RFC 8656).
    Udp,
    /// TCP (RFC 6062).
    Tcp,
}

impl RelayTransport {
    /// Gives its name, as administrators read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Which way bytes went between a client and its peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// From the client.
    ToPeer,
    /// To the client.
    ToClient,
}

/// Where a stream goes that its client no longer wants cut into messages here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// To its peer: what follows the message just handled is data.
    Bound,
    /// To another shard, which handles the message once more and what follows it.
    Moved,
}

impl Server {
    /// Takes the answer to [`Output::ConnectPeer`]; `false` is every way not to be connected.
    pub fn handle_peer_connected(&mut self, now: Instant, id: ConnectionId, connected: bool, out: &mut impl Outbox) {
        let Some(&PeerConnection { allocation, stage, .. }) = self.connections.get(id) else {
            return;
        };
        let Stage::Connecting { request, .. } = stage else {
            return;
        };
        if !connected {
            return self.fail_connect(id, out);
        }
        let until = now + CONNECTION_WAIT;
        self.connections.set_stage(id, Stage::Unbound { until });
        self.metrics.connections_total.inc();
        let allocation = self.table.get(allocation);
        let proof = Proof::Key(&allocation.key);
        let sent = self
            .answers
            .grant(&request, proof, out, |writer| writer.connection_id(id.0));
        allocation.traffic.to_client.count(sent);
    }

    /// Takes a connection that a peer made to a relay (RFC 6062 §5.3), and tells the relay's client of it.
    ///
    /// # Errors
    /// Why the connection is to be closed at once; it is counted.
    pub fn handle_peer_accepted(
        &mut self,
        now: Instant,
        relay: SocketId,
        peer: SocketAddr,
        out: &mut impl Outbox,
    ) -> Result<ConnectionId, DropReason> {
        self.handle_timeout(now, out);
        let accepted = self.accept_peer(now, relay, peer);
        let id = accepted.inspect_err(|reason| self.metrics.dropped.of(*reason).inc())?;
        self.send_attempt(id, peer, out);
        Ok(id)
    }

    /// Tells whether a peer with this address may come in to a relay now.
    pub fn permits_peer(&self, now: Instant, relay: SocketId, ip: IpAddr) -> bool {
        let owner = self.table.id_of_relay(relay);
        owner.is_some_and(|id| self.table.get(id).permissions.permits(ip, now))
    }

    /// Hears that a peer data connection is no more to which none of a client was bound.
    pub fn handle_peer_closed(&mut self, id: ConnectionId) {
        self.connections.remove(id);
        self.count_connections();
    }

    /// Counts bytes that a bound connection carried one way. Gives until when the side that said them is not to be read:
    /// [`throttled_until`](Self::throttled_until).
    #[must_use]
    pub fn handle_carried(&mut self, now: Instant, id: ConnectionId, way: Way, bytes: usize) -> Option<Instant> {
        let connection = self.connections.get(id)?;
        let allocation = self.table.get_mut(connection.allocation);
        allocation.pay_bytes(now, way, bytes, &self.config.rates, &self.quotas);
        let traffic = &allocation.traffic;
        match way {
            Way::ToPeer => {
                traffic.from_client.count(bytes);
                traffic.to_peer.count(bytes);
                self.metrics.count_to_peer(bytes);
            }
            Way::ToClient => {
                traffic.from_peer.count(bytes);
                traffic.to_client.count(bytes);
                self.metrics.count_to_client(bytes);
            }
        }
        report_traffic(allocation, &mut self.events);
        let until = self.throttled_until(now, id, way);
        if until.is_some() {
            self.metrics.reads_throttled.inc();
        }
        until
    }

    /// Tells until when nothing more is to be read that goes one way over a connection, since [`Rates`](crate::Rates) let
    /// no more through; then it is to be asked again. A limit that is lifted is so heard of within [`THROTTLED_MAX`].
    #[must_use]
    pub fn throttled_until(&mut self, now: Instant, id: ConnectionId, way: Way) -> Option<Instant> {
        let allocation = self.table.get_mut(self.connections.get(id)?.allocation);
        let until = allocation.bytes_empty_until(now, way, &self.config.rates, &self.quotas)?;
        Some(until.min(now + THROTTLED_MAX))
    }

    /// Tells, right after a message of a stream was handled, whether the stream departs with it. The outputs, which are
    /// to be polled next, say where to.
    pub fn departure(&self, client: SocketId) -> Option<Departure> {
        match self.outputs.back()? {
            Output::Bind { client: bound, .. } if bound.socket == client => Some(Departure::Bound),
            Output::MoveClient { client: moved, .. } if moved.socket == client => Some(Departure::Moved),
            _ => None,
        }
    }

    /// Serves a Connect request (RFC 6062 §5.2).
    pub(crate) fn connect(&mut self, request: &Request<'_>, identity: &Identity<'_>) -> Result<Granted, Refusal> {
        let id = self.own_allocation(request, identity)?;
        let allocation = self.table.get(id);
        if allocation.transport != RelayTransport::Tcp {
            return Err(Refusal::AllocationMismatch);
        }
        let peer = request.message.xor_peer_address()?.ok_or(Refusal::BadRequest)?;
        self.check_peer(peer, &allocation.relays)?;
        let relay = allocation.relays.toward(peer.ip(), request.now);
        let relay = relay.ok_or(Refusal::AllocationMismatch)?;
        if !self.policy.permits_port(peer) {
            return Err(Refusal::Forbidden);
        }
        if self.connections.has_peer(id, peer) {
            return Err(Refusal::ConnectionAlreadyExists);
        }
        self.table.get_mut(id).admit_peers(request.now, 1, &self.config.rates)?;
        let stage = Stage::Connecting {
            request: request.reply_to(),
            until: request.now + CONNECTION_WAIT,
        };
        let connection = self
            .add_connection(id, peer, stage)
            .ok_or(Refusal::InsufficientCapacity)?;
        self.outputs.push_back(Output::ConnectPeer {
            connection,
            relay,
            peer,
        });
        Ok(Granted::Later)
    }

    /// Serves a ConnectionBind request (RFC 6062 §5.4).
    pub(crate) fn bind_connection(
        &mut self,
        request: &Request<'_>,
        identity: &Identity<'_>,
    ) -> Result<Granted, Refusal> {
        let client = request.five_tuple.socket;
        let id = self.unbound_connection(&request.message);
        let id = id.filter(|_| self.may_become_data(&request.five_tuple));
        let id = id.ok_or(Refusal::BadRequest)?;
        let owner = self.connections.get(id).ok_or(Refusal::BadRequest)?.allocation;
        if !self.table.get(owner).is_of(identity) {
            return Err(Refusal::WrongCredentials);
        }
        self.connections.set_stage(id, Stage::Bound { client });
        self.count_connections();
        Ok(Granted::Bound(id))
    }

    /// Tells whether a client may have its five-tuple made a data connection: it is a stream, and no allocation's.
    fn may_become_data(&self, client: &FiveTuple) -> bool {
        !self.serves(client) && self.client_path(client.socket).is_stream()
    }

    /// Gives the shard to which a ConnectionBind belongs, if it is another.
    pub(crate) fn shard_of_connection(&self, request: &Request<'_>) -> Option<u16> {
        if !self.knows_tcp_relays || !self.may_become_data(&request.five_tuple) {
            return None;
        }
        let id = request.message.connection_id().ok().flatten()?;
        let shard = (id % u32::from(self.config.ports.count())) as u16;
        (shard != self.config.ports.index()).then_some(shard)
    }

    /// Tells whether an Allocate request may have a TCP relay (RFC 6062 §5.1): it came over a stream, and asks for nothing
    /// that only a UDP relay has.
    pub(crate) fn may_have_tcp_relay(&self, request: &Request<'_>) -> bool {
        let asks_too_much = NOT_OF_TCP.into_iter().any(|kind| request.message.has(kind));
        self.client_path(request.five_tuple.socket).is_stream() && !asks_too_much
    }

    /// Finds the allocation whose user sends a request: the one that has the five-tuple, or the connection to be bound.
    pub(crate) fn allocation_of(&self, request: &Request<'_>) -> Option<AllocationId> {
        match request.message.method() {
            Method::CONNECTION_BIND => {
                let id = self.unbound_connection(&request.message)?;
                self.connections.get(id).map(|connection| connection.allocation)
            }
            _ => self
                .resumed(request)
                .or_else(|| self.table.id_of_client(&request.five_tuple)),
        }
    }

    /// Ends connections of an allocation with some peers.
    pub(crate) fn close_connections(&mut self, allocation: AllocationId, with: impl Fn(&Self, SocketAddr) -> bool) {
        let of_one = self.connections.of_allocation(allocation);
        let ids: Vec<_> = of_one.filter(|(peer, _)| with(self, *peer)).map(|(_, id)| id).collect();
        for id in ids {
            self.close_connection(id);
        }
    }

    /// Tells whether a peer is closed to relays.
    pub(crate) fn is_closed_peer(&self, peer: SocketAddr) -> bool {
        !self.policy.permits_ip(peer.ip()) || !self.policy.permits_port(peer)
    }

    /// Ends the connection that a client data connection was bound to.
    pub(crate) fn close_connection_of_client(&mut self, client: &FiveTuple) {
        if let Some(id) = self.connections.of_client(client.socket) {
            self.close_connection(id);
        }
    }

    /// Ends connections that waited too long: for the peer, or for the client.
    pub(crate) fn expire_connections(&mut self, now: Instant, out: &mut impl Outbox) {
        while let Some(id) = self.connections.overdue(now) {
            match self.connections.get(id).map(|connection| connection.stage) {
                Some(Stage::Connecting { .. }) => {
                    self.outputs.push_back(Output::ClosePeer(id));
                    self.fail_connect(id, out);
                }
                _ => {
                    self.metrics.connections_unbound.inc();
                    self.close_connection(id);
                }
            }
        }
    }

    /// Answers a Connect request whose peer cannot be reached, and forgets the connection.
    fn fail_connect(&mut self, id: ConnectionId, out: &mut impl Outbox) {
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        self.count_connections();
        if let Stage::Connecting { request, .. } = connection.stage {
            self.refuse_connect(connection.allocation, &request, out);
        }
    }

    fn refuse_connect(&self, allocation: AllocationId, request: &ReplyTo, out: &mut impl Outbox) {
        let refusal = Refusal::ConnectionTimeoutOrFailure;
        self.metrics.refused.of(refusal).inc();
        let refused = Refused {
            refusal,
            unknown: &Default::default(),
            nonce: None,
            alternate: None,
        };
        let allocation = self.table.get(allocation);
        let sent = self.answers.refuse(request, Proof::Key(&allocation.key), out, &refused);
        allocation.traffic.to_client.count(sent);
    }

    fn accept_peer(&mut self, now: Instant, relay: SocketId, peer: SocketAddr) -> Result<ConnectionId, DropReason> {
        let owner = self.table.id_of_relay(relay).ok_or(DropReason::NoRelay)?;
        if self.table.get(owner).is_away() {
            return Err(DropReason::ClientAway);
        }
        if !self.table.get(owner).permissions.permits(peer.ip(), now) {
            return Err(DropReason::NoPermission);
        }
        let allocation = self.table.get_mut(owner);
        let admitted = allocation.admit_peers(now, 1, &self.config.rates);
        admitted.map_err(|_| DropReason::NewPeerRate)?;
        let until = now + CONNECTION_WAIT;
        let id = self.add_connection(owner, peer, Stage::Unbound { until });
        let id = id.ok_or(DropReason::ConnectionsFull)?;
        self.metrics.connections_total.inc();
        Ok(id)
    }

    /// Tells a client that a peer came in (RFC 6062 §5.3).
    fn send_attempt(&mut self, id: ConnectionId, peer: SocketAddr, out: &mut impl Outbox) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let allocation = self.table.get(connection.allocation);
        let mut transaction = TransactionId([0; 12]);
        self.rng.fill(&mut transaction.0);
        let room = out.reserve(ATTEMPT_BYTES_MAX);
        let written = MessageWriter::new(room, Class::Indication, Method::CONNECTION_ATTEMPT, transaction)
            .xor_peer_address(peer)
            .connection_id(id.0)
            .finish();
        // Always fits: the room is made for an IPv6 address.
        if let Ok(len) = written {
            let FiveTuple { socket, client } = allocation.five_tuple;
            out.commit(socket, client, len);
            allocation.traffic.to_client.count(len);
        }
    }

    fn add_connection(&mut self, allocation: AllocationId, peer: SocketAddr, stage: Stage) -> Option<ConnectionId> {
        if !self.connections.has_room(allocation) {
            return None;
        }
        let id = self.draw_connection_id();
        self.connections.insert(
            id,
            PeerConnection {
                allocation,
                peer,
                stage,
            },
        );
        self.count_connections();
        Some(id)
    }

    /// Draws an id that nobody has and nobody can foresee, of those that name this shard.
    fn draw_connection_id(&mut self) -> ConnectionId {
        let (index, count) = (self.config.ports.index(), self.config.ports.count());
        loop {
            let drawn = self.rng.below((1 << 32) / u64::from(count)) * u64::from(count) + u64::from(index);
            let id = ConnectionId(drawn as u32);
            if self.connections.get(id).is_none() {
                return id;
            }
        }
    }

    fn unbound_connection(&self, message: &Message<'_>) -> Option<ConnectionId> {
        let id = ConnectionId(message.connection_id().ok().flatten()?);
        let stage = self.connections.get(id)?.stage;
        matches!(stage, Stage::Unbound { .. }).then_some(id)
    }

    fn close_connection(&mut self, id: ConnectionId) {
        if self.connections.remove(id).is_some() {
            self.outputs.push_back(Output::ClosePeer(id));
            self.count_connections();
        }
    }

    fn count_connections(&self) {
        self.metrics.connections.set(self.connections.len() as i64);
        self.metrics.connections_waiting.set(self.connections.waiting() as i64);
    }
}

/// A ConnectionAttempt: header, an IPv6 XOR-PEER-ADDRESS, CONNECTION-ID.
const ATTEMPT_BYTES_MAX: usize = 20 + 24 + 8;

/// How long a limit may keep a connection from being read before it is asked again.
pub const THROTTLED_MAX: Duration = Duration::from_secs(1);

/// Tells whether an Allocate request asks for a TCP relay.
pub(crate) fn asks_for_tcp(message: &Message<'_>) -> bool {
    message.requested_transport() == Ok(Some(RequestedTransport::Tcp))
}

/// Attributes that no TCP allocation has (RFC 6062 §5.1).
const NOT_OF_TCP: [AttributeType; 3] = [
    AttributeType::DONT_FRAGMENT,
    AttributeType::EVEN_PORT,
    AttributeType::RESERVATION_TOKEN,
];
