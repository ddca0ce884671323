//! The worker: routes packets by the role of the socket they arrived on, and keeps those for this host in the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use voex_base::{DATAGRAM_BYTES_MAX, FiveTuple, SocketId, WallTime, WorkerId};
use voex_sfu::Shard;
use voex_turn::{BindError, BindRequest, ClientPath, ClientVerdict, Icmp, Server};

use crate::crossing::Crossing;
use crate::{Crossed, DropReason, Egress, Form, HandOver, Metrics, Place, Topology};

/// An order to a worker.
#[derive(Debug)]
pub enum Command {
    /// For the SFU shard.
    Sfu(voex_sfu::Command),
    /// For the TURN shard.
    Turn(voex_turn::Command),
    /// The outside knows the relays by other names now: [`Topology::renamed`] of the one in use.
    Topology(Arc<Topology>),
}

/// What a worker wants done with sockets.
pub type Output = voex_turn::Output;

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// TURN and STUN clients, whoever sends.
    TurnListener(ClientPath),
    /// One TURN and STUN client: an accepted stream, or a DTLS association.
    TurnClient(ClientPath, SocketAddr),
    /// A relayed transport address, by the local address it is bound to.
    Relay(SocketAddr),
    /// The relayed transport address of a TCP allocation, by the local address it listens on.
    TcpRelay(SocketAddr),
    /// WebRTC media.
    Media,
    /// Plain RTP or RTCP of one leg.
    PlainRtp,
}

/// One media worker.
///
/// After any call that takes `out`, [`poll_output`](Self::poll_output), [`poll_event`](Self::poll_event) and
/// [`poll_turn_event`](Self::poll_turn_event) may have something; drain them before waiting, and call
/// [`pass_claims`](Self::pass_claims).
pub struct Worker {
    id: WorkerId,
    pub(crate) topology: Arc<Topology>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) roles: FxHashMap<SocketId, Role>,
    /// Relays of this worker by local address; bounded by the ports of the relay range.
    pub(crate) relays: FxHashMap<SocketAddr, SocketId>,
    /// UDP listeners of this worker by local address.
    pub(crate) listeners: FxHashMap<SocketAddr, SocketId>,
    pub(crate) turn: Option<Server>,
    pub(crate) sfu: Option<Shard>,
    /// Where a packet from the conference server to a relay waits while TURN writes its header.
    room: Box<[u8]>,
}

impl Worker {
    /// Makes a worker without shards; all its packets are dropped and counted.
    pub fn new(id: WorkerId, topology: Arc<Topology>, metrics: Arc<Metrics>) -> Self {
        Self {
            id,
            topology,
            metrics,
            roles: FxHashMap::default(),
            relays: FxHashMap::default(),
            listeners: FxHashMap::default(),
            turn: None,
            sfu: None,
            room: vec![0; DATAGRAM_BYTES_MAX].into(),
        }
    }

    /// Adds the TURN shard.
    #[must_use]
    pub fn with_turn(mut self, server: Server) -> Self {
        self.turn = Some(server);
        self
    }

    /// Adds the SFU shard.
    #[must_use]
    pub fn with_sfu(mut self, shard: Shard) -> Self {
        self.sfu = Some(shard);
        self
    }

    /// Makes a socket known that was bound for this worker.
    pub fn add_socket(&mut self, id: SocketId, role: Role) {
        match (role, &mut self.turn) {
            (Role::Relay(local), _) => {
                self.relays.insert(local, id);
                self.topology.set_relay_owner(local, Some(self.id));
            }
            (Role::TurnListener(path), Some(turn)) => {
                self.listeners.insert(path.local, id);
                turn.add_client_socket(id, path);
            }
            (Role::TurnClient(path, _), Some(turn)) => turn.add_client_socket(id, path),
            _ => {}
        }
        self.roles.insert(id, role);
    }

    /// Forgets a socket that is being closed.
    pub fn remove_socket(&mut self, id: SocketId) {
        match (self.roles.remove(&id), &mut self.turn) {
            (Some(Role::Relay(local)), _) => {
                self.relays.remove(&local);
                self.topology.set_relay_owner(local, None);
            }
            (Some(Role::TurnListener(path)), Some(turn)) => {
                self.listeners.remove(&path.local);
                turn.remove_client_socket(id);
            }
            (Some(Role::TurnClient(_, client)), Some(turn)) => {
                turn.close_client(FiveTuple { socket: id, client });
                turn.remove_client_socket(id);
            }
            _ => {}
        }
    }

    /// Tells whether a client has an allocation, or one is being made for it.
    pub fn serves(&self, client: &FiveTuple) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.serves(client))
    }

    /// Takes a datagram off a socket. `data` is decrypted and rewritten in place.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        wall: WallTime,
        socket: SocketId,
        from: SocketAddr,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        match self.roles.get(&socket) {
            Some(Role::TurnListener(_) | Role::TurnClient(..)) => {
                self.handle_client(now, wall, FiveTuple { socket, client: from }, data, out)
            }
            Some(Role::Relay(_)) => self.deliver_to_relay(now, socket, from, data, out),
            Some(Role::Media | Role::PlainRtp) => self.deliver_to_media(now, wall, socket, from, data, out),
            // Peers of a TCP relay do not send packets.
            Some(Role::TcpRelay(_)) | None => self.drop(DropReason::UnknownSocket),
        }
    }

    /// Takes news from the network that a datagram of a relay did not reach its peer.
    pub fn handle_peer_error(
        &mut self,
        now: Instant,
        socket: SocketId,
        peer: SocketAddr,
        icmp: Icmp,
        out: &mut impl Egress,
    ) {
        if let (Some(Role::Relay(_)), Some(turn)) = (self.roles.get(&socket), &mut self.turn) {
            // The shard counts its refusals itself.
            let _ = turn.handle_peer_error(now, socket, peer, icmp, out);
        }
    }

    /// Takes an order of the control plane.
    pub fn handle_command(&mut self, now: Instant, wall: WallTime, command: Command, out: &mut impl Egress) {
        match command {
            Command::Sfu(command) => match self.split(now, out) {
                (Some(sfu), mut crossing) => {
                    sfu.handle_command(now, command, &mut crossing);
                    self.pass_piped(out);
                }
                (None, _) => self.metrics.commands_ignored.inc(),
            },
            Command::Turn(command) => match &mut self.turn {
                Some(turn) => turn.handle_command(now, wall, command, out),
                None => self.metrics.commands_ignored.inc(),
            },
            Command::Topology(topology) => self.topology = topology,
        }
    }

    /// Takes the answer to [`Output::BindRelay`]. A bound socket was made known by [`add_socket`](Self::add_socket).
    pub fn handle_relay_bound(
        &mut self,
        now: Instant,
        wall: WallTime,
        request: BindRequest,
        bound: Result<SocketId, BindError>,
        out: &mut impl Egress,
    ) {
        if let Some(turn) = &mut self.turn {
            turn.handle_relay_bound(now, wall, request, bound, out);
        }
    }

    /// Gives when [`handle_timeout`](Self::handle_timeout) is due: the earlier of both shards.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let turn = self.turn.as_ref().and_then(Server::poll_timeout);
        let sfu = self.sfu.as_ref().and_then(Shard::poll_timeout);
        [turn, sfu].into_iter().flatten().min()
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant, wall: WallTime, out: &mut impl Egress) {
        if let Some(turn) = &mut self.turn {
            turn.handle_timeout(now, out);
        }
        if let (Some(sfu), mut out) = self.split(now, out) {
            sfu.handle_timeout(now, wall, &mut out);
        }
        self.pass_piped(out);
    }

    /// Gives the next event of the conference server for the control plane. Nothing keeps these back.
    pub fn poll_event(&mut self) -> Option<voex_sfu::Event> {
        self.sfu.as_mut().and_then(Shard::poll_event)
    }

    /// Gives the next event of the TURN server, to be asked for while the way to the control plane has room: the shard
    /// keeps its events, and refuses allocations when too many wait.
    pub fn poll_turn_event(&mut self) -> Option<voex_turn::Event> {
        self.turn.as_mut().and_then(Server::poll_event)
    }

    /// Gives what is to be done with sockets next.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.turn.as_mut().and_then(Server::poll_output)?;
        Some(self.by_local_name(output))
    }

    fn handle_client(
        &mut self,
        now: Instant,
        wall: WallTime,
        client: FiveTuple,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        let Some(turn) = &mut self.turn else {
            return self.drop(DropReason::NoShard);
        };
        let verdict = turn.handle_client_datagram(now, wall, client, data, out);
        self.obey(now, wall, client, verdict, data, out);
    }

    /// Does what the TURN shard has decided about what a client sent.
    #[inline]
    pub(crate) fn obey(
        &mut self,
        now: Instant,
        wall: WallTime,
        client: FiveTuple,
        verdict: ClientVerdict,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        match verdict {
            ClientVerdict::ToPeer {
                relay,
                peer,
                payload,
                dont_fragment,
            } => {
                let packet = &mut data[payload];
                match self.topology.place(peer) {
                    Some(place) => self.deliver_to_peer(now, wall, relay, peer, place, packet, out),
                    None if dont_fragment => out.send_whole(relay, peer, packet),
                    None => out.send(relay, peer, packet, &[]),
                }
            }
            ClientVerdict::Elsewhere { shard } => self.give_on(WorkerId(shard), client, data, out),
            ClientVerdict::Handled | ClientVerdict::Drop(_) => {}
        }
    }

    /// Hands what a client sends to a peer of this host over: TURN has checked permission and policy already.
    #[allow(clippy::too_many_arguments)] // the two clocks and the packet's way, none of which belongs to another
    fn deliver_to_peer(
        &mut self,
        now: Instant,
        wall: WallTime,
        relay: SocketId,
        peer: SocketAddr,
        place: Place,
        packet: &mut [u8],
        out: &mut impl Egress,
    ) {
        let Some(Role::Relay(local)) = self.roles.get(&relay) else {
            return self.drop(DropReason::UnknownSocket);
        };
        match place {
            Place::Media(media) => {
                let from = self.name_of(relay, *local, media.form);
                self.metrics.handed_over_packets.of(HandOver::RelayToMedia).inc();
                if media.worker != self.id {
                    return self.cross(HandOver::RelayToMedia, media.worker, from, peer, packet, out);
                }
                self.deliver_to_media(now, wall, media.socket, from, packet, out);
            }
            Place::Relay(other) => {
                let from = self.name_of(relay, *local, other.form);
                self.metrics.handed_over_packets.of(HandOver::RelayToRelay).inc();
                if other.worker != self.id {
                    return self.cross(HandOver::RelayToRelay, other.worker, from, peer, packet, out);
                }
                match self.relays.get(&other.local).copied() {
                    Some(relay) => self.deliver_to_relay(now, relay, from, packet, out),
                    None => self.drop(DropReason::NoAllocation),
                }
            }
        }
    }

    /// Gives the name of a relay in one form, as its client was told when it was allocated.
    fn name_of(&self, relay: SocketId, local: SocketAddr, form: Form) -> SocketAddr {
        let told = || self.turn.as_ref()?.relayed_address(relay);
        match form {
            Form::Local => local,
            Form::Public => told().map_or(local, |told| told.public),
        }
    }

    fn cross(
        &self,
        kind: HandOver,
        worker: WorkerId,
        from: SocketAddr,
        to: SocketAddr,
        packet: &[u8],
        out: &mut impl Egress,
    ) {
        self.metrics.crossed_packets.of(kind).inc();
        if !out.cross(worker, Crossed::HandOver, from, to, packet) {
            self.drop(DropReason::CrossingFull);
        }
    }

    /// Gives a relay what a peer sent it. What TURN sends to its client always leaves through the kernel, which is what
    /// bounds a hand-over: no packet is handed over more than twice.
    pub(crate) fn deliver_to_relay(
        &mut self,
        now: Instant,
        relay: SocketId,
        from: SocketAddr,
        data: &[u8],
        out: &mut impl Egress,
    ) {
        match &mut self.turn {
            // The shard counts its refusals itself.
            Some(turn) => drop(turn.handle_peer_datagram(now, relay, from, data, out)),
            None => self.drop(DropReason::NoShard),
        }
    }

    pub(crate) fn deliver_to_media(
        &mut self,
        now: Instant,
        wall: WallTime,
        socket: SocketId,
        from: SocketAddr,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        match self.split(now, out) {
            // The shard counts its refusals itself.
            (Some(sfu), mut out) => drop(sfu.handle_datagram(now, wall, socket, from, data, &mut out)),
            (None, _) => return self.drop(DropReason::NoShard),
        }
        self.pass_piped(out);
    }

    /// Splits the worker into its conference server and the outbox that hands over to everything else.
    pub(crate) fn split<'a, E: Egress>(
        &'a mut self,
        now: Instant,
        out: &'a mut E,
    ) -> (Option<&'a mut Shard>, Crossing<'a, E>) {
        let crossing = Crossing {
            now,
            id: self.id,
            inner: out,
            turn: self.turn.as_mut(),
            topology: &self.topology,
            relays: &self.relays,
            room: &mut self.room,
            metrics: &self.metrics,
        };
        (self.sfu.as_mut(), crossing)
    }

    pub(crate) fn drop(&self, reason: DropReason) {
        self.metrics.dropped.of(reason).inc();
    }
}
