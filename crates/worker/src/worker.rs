//! The worker: routes packets by the role of the socket they arrived on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use voex_base::{SocketId, WallTime, WorkerId};

use crate::{DropReason, Egress, Metrics, Topology};

/// An order to a worker.
#[derive(Debug)]
pub enum Command {
    /// For the SFU shard.
    Sfu(voex_sfu::Command),
}

/// What a worker reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// From the SFU shard.
    Sfu(voex_sfu::Event),
}

/// What a worker wants done with sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Bind a UDP socket and answer with [`Worker::handle_relay_bound`].
    BindRelay {
        /// To be given back.
        request: RelayRequest,
        /// Address to bind.
        address: SocketAddr,
    },
    /// Close a relay's socket.
    CloseRelay {
        /// The socket.
        socket: SocketId,
    },
}

/// Names a bind request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayRequest(pub u64);

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// TURN and STUN clients.
    TurnListener,
    /// A relayed transport address, bound here.
    Relay(SocketAddr),
    /// WebRTC media.
    Media,
    /// Plain RTP or RTCP of one leg.
    PlainRtp,
}

/// One media worker.
pub struct Worker {
    id: WorkerId,
    topology: Arc<Topology>,
    metrics: Arc<Metrics>,
    roles: FxHashMap<SocketId, Role>,
}

impl Worker {
    /// Makes one.
    pub fn new(id: WorkerId, topology: Arc<Topology>, metrics: Arc<Metrics>) -> Self {
        Self {
            id,
            topology,
            metrics,
            roles: FxHashMap::default(),
        }
    }
    /// Makes a socket known that was bound for this worker.
    pub fn add_socket(&mut self, id: SocketId, role: Role) {
        self.roles.insert(id, role);
    }
    /// Forgets a socket.
    pub fn remove_socket(&mut self, id: SocketId) {
        self.roles.remove(&id);
    }
    /// Takes a datagram off a socket.
    pub fn handle_datagram(
        &mut self,
        _now: Instant,
        _wall: WallTime,
        socket: SocketId,
        from: SocketAddr,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        let _ = (self.id, &self.topology, from, data, out);
        let reason = if self.roles.contains_key(&socket) {
            DropReason::NoShard
        } else {
            DropReason::UnknownSocket
        };
        self.metrics.dropped.of(reason).inc();
    }
    /// Takes a packet that another worker handed over.
    pub fn handle_crossed(
        &mut self,
        _now: Instant,
        _wall: WallTime,
        _from: SocketAddr,
        _to: SocketAddr,
        _data: &mut [u8],
        _out: &mut impl Egress,
    ) {
    }
    /// Takes an order of the control plane.
    pub fn handle_command(&mut self, _now: Instant, _wall: WallTime, _command: Command, _out: &mut impl Egress) {}
    /// Takes the answer to [`Output::BindRelay`]; `None` when it could not be bound.
    pub fn handle_relay_bound(
        &mut self,
        _now: Instant,
        _wall: WallTime,
        _request: RelayRequest,
        _bound: Option<SocketId>,
        _out: &mut impl Egress,
    ) {
    }
    /// Gives when [`Worker::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// Runs what is due.
    pub fn handle_timeout(&mut self, _now: Instant, _wall: WallTime, _out: &mut impl Egress) {}
    /// Gives the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// Gives what is to be done with sockets next.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
}
