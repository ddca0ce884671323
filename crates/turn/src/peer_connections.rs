use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voex_base::{Rng, SocketId};

use crate::ConnectionId;
use crate::answer::ReplyTo;
use crate::keyed::{KeyedMap, keyed_map};
use crate::timer::AllocationId;

/// Peer data connections of one allocation; Connect is refused with 508 beyond, and who comes in is turned away.
pub(crate) const CONNECTIONS_OF_ALLOCATION_MAX: usize = 64;
/// Those of one shard.
pub(crate) const CONNECTIONS_MAX: usize = 8_192;
/// Of them, those that no client data connection was bound to yet: each may hold a kernel buffer full of what its peer
/// has sent.
pub(crate) const CONNECTIONS_WAITING_MAX: usize = 1_024;
/// And of one allocation's, those that are still being made included: nobody takes the room of all, and ten clients of
/// coturn's that connect each to each at once find room.
pub(crate) const CONNECTIONS_WAITING_OF_ALLOCATION_MAX: usize = 16;
/// How long a peer may take to answer, and then a client to come for it (RFC 6062 §5.2, §5.3).
pub(crate) const CONNECTION_WAIT: Duration = Duration::from_secs(30);

/// The peer data connections of a shard (RFC 6062 §5).
pub(crate) struct PeerConnections {
    by_id: KeyedMap<ConnectionId, PeerConnection>,
    by_allocation: BTreeSet<(AllocationId, SocketAddr, ConnectionId)>,
    by_client: KeyedMap<SocketId, ConnectionId>,
    /// Until when each that waits may do so.
    deadlines: BTreeSet<(Instant, ConnectionId)>,
}

/// A connection between a relayed transport address and a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PeerConnection {
    pub(crate) allocation: AllocationId,
    pub(crate) peer: SocketAddr,
    pub(crate) stage: Stage,
}

/// How far a peer data connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The peer has not answered yet; the Connect request is answered when it does, or at `until`.
    Connecting { request: ReplyTo, until: Instant },
    /// Its client is to come for it before `until`.
    Unbound { until: Instant },
    /// Bytes go to and from a client data connection.
    Bound { client: SocketId },
}

impl Stage {
    /// Tells whether no client data connection is bound yet.
    fn waits(&self) -> bool {
        !matches!(self, Self::Bound { .. })
    }
}

impl PeerConnections {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            by_id: keyed_map(rng),
            by_allocation: BTreeSet::new(),
            by_client: keyed_map(rng),
            deadlines: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Counts those that no client data connection is bound to.
    pub(crate) fn waiting(&self) -> usize {
        self.deadlines.len()
    }

    /// Tells whether there is room for one more of an allocation.
    pub(crate) fn has_room(&self, allocation: AllocationId) -> bool {
        let waits = |id| self.get(id).is_some_and(|connection| connection.stage.waits());
        let mine = || self.of_allocation(allocation).map(|(_, id)| id);
        self.len() < CONNECTIONS_MAX
            && self.waiting() < CONNECTIONS_WAITING_MAX
            && mine().count() < CONNECTIONS_OF_ALLOCATION_MAX
            && mine().filter(|id| waits(*id)).count() < CONNECTIONS_WAITING_OF_ALLOCATION_MAX
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&PeerConnection> {
        self.by_id.get(&id)
    }

    /// Gives the connections of an allocation.
    pub(crate) fn of_allocation(&self, allocation: AllocationId) -> impl Iterator<Item = (SocketAddr, ConnectionId)> {
        let of_one = self.by_allocation.range((allocation, LOWEST, ConnectionId(0))..);
        of_one
            .take_while(move |(owner, ..)| *owner == allocation)
            .map(|(_, peer, id)| (*peer, *id))
    }

    /// Tells whether an allocation has a connection with a peer, or makes one.
    pub(crate) fn has_peer(&self, allocation: AllocationId, peer: SocketAddr) -> bool {
        let first = (allocation, peer, ConnectionId(0));
        let last = (allocation, peer, ConnectionId(u32::MAX));
        self.by_allocation.range(first..=last).next().is_some()
    }

    /// Finds the connection that a client data connection is bound to.
    pub(crate) fn of_client(&self, client: SocketId) -> Option<ConnectionId> {
        self.by_client.get(&client).copied()
    }

    /// Gives when the next one has waited long enough.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Gives one that has waited long enough.
    pub(crate) fn overdue(&self, now: Instant) -> Option<ConnectionId> {
        self.deadlines
            .first()
            .filter(|(until, _)| *until <= now)
            .map(|(_, id)| *id)
    }

    pub(crate) fn insert(&mut self, id: ConnectionId, connection: PeerConnection) {
        self.by_allocation.insert((connection.allocation, connection.peer, id));
        self.index(id, connection.stage);
        self.by_id.insert(id, connection);
    }

    /// Takes a connection to its next stage.
    pub(crate) fn set_stage(&mut self, id: ConnectionId, stage: Stage) {
        let Some(connection) = self.by_id.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut connection.stage, stage);
        self.unindex(id, before);
        self.index(id, stage);
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<PeerConnection> {
        let connection = self.by_id.remove(&id)?;
        self.by_allocation.remove(&(connection.allocation, connection.peer, id));
        self.unindex(id, connection.stage);
        Some(connection)
    }

    fn index(&mut self, id: ConnectionId, stage: Stage) {
        match stage {
            Stage::Connecting { until, .. } | Stage::Unbound { until } => drop(self.deadlines.insert((until, id))),
            Stage::Bound { client } => drop(self.by_client.insert(client, id)),
        }
    }

    fn unindex(&mut self, id: ConnectionId, stage: Stage) {
        match stage {
            Stage::Connecting { until, .. } | Stage::Unbound { until } => drop(self.deadlines.remove(&(until, id))),
            Stage::Bound { client } => drop(self.by_client.remove(&client)),
        }
    }
}

/// The address before every other.
const LOWEST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
