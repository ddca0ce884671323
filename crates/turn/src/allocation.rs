use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use voex_base::{FiveTuple, SocketId};
use voex_stun::{AddressFamily, ReservationToken};

use crate::answer::ReplyTo;
use crate::channel_binding::ChannelBindings;
use crate::client_key::ClientKey;
use crate::credentials::Origin;
use crate::permission::Permissions;
use crate::relay_port::PortWish;
use crate::reservation::ReservedPort;
use crate::timer::AllocationId;
use crate::{Flow, SessionId, TRAFFIC_REPORT_PACKETS, Traffic};

/// A relayed transport address, seen from both sides of a one-to-one NAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayedAddress {
    /// What the relay's socket is bound to.
    pub local: SocketAddr,
    /// What the client was told and peers see.
    pub public: SocketAddr,
}

/// An allocation (RFC 8656 §3.2), from the request that asks for it until it is refreshed no more.
pub(crate) struct Allocation {
    pub(crate) session: SessionId,
    pub(crate) five_tuple: FiveTuple,
    pub(crate) user: Arc<str>,
    pub(crate) key: Arc<ClientKey>,
    /// Where `key` comes from.
    pub(crate) origin: Origin,
    pub(crate) relayed: RelayedAddress,
    pub(crate) dont_fragment: bool,
    /// The request that made it, so that a retransmission gets the same answer.
    pub(crate) made_by: ReplyTo,
    pub(crate) lifetime_s: u32,
    pub(crate) reservation: Option<ReservationToken>,
    pub(crate) relay: Relay,
    /// When it ends; already past while its relay is being bound, so that it carries no data.
    pub(crate) expires: Instant,
    pub(crate) permissions: Permissions,
    pub(crate) channels: ChannelBindings,
    pub(crate) traffic: Arc<Traffic>,
    /// What of `traffic` has been reported, on the client's and on the peers' side.
    pub(crate) reported: Box<(Flow, Flow)>,
    /// Packets of both sides at which the next report is due.
    pub(crate) report_at: u64,
    /// The timer that is set for it.
    pub(crate) timer: Option<Instant>,
}

/// How far the relay's socket has come.
#[derive(Debug)]
pub(crate) enum Relay {
    Binding(Box<Binding>),
    Bound(SocketId),
}

/// A relay whose socket the owner of sockets has been asked for.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) request: u64,
    pub(crate) relay_index: u8,
    pub(crate) port: PortPlan,
    pub(crate) tries_left: u8,
    /// The odd port that will be reserved is tried first.
    pub(crate) probing_next: bool,
}

/// Where a relay's port comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PortPlan {
    /// Drawn from the shard's share.
    Draw(PortWish),
    /// Kept by an earlier allocation.
    Reserved(ReservedPort),
}

impl Allocation {
    pub(crate) fn socket(&self) -> Option<SocketId> {
        match self.relay {
            Relay::Bound(socket) => Some(socket),
            Relay::Binding(_) => None,
        }
    }

    pub(crate) fn family(&self) -> AddressFamily {
        if self.relayed.local.is_ipv4() {
            AddressFamily::V4
        } else {
            AddressFamily::V6
        }
    }

    /// Drops permissions and channel bindings that have ended.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.permissions.expire(now);
        self.channels.expire(now);
    }

    /// Tells whether it is time to report what was relayed.
    #[inline]
    pub(crate) fn is_report_due(&self) -> bool {
        self.traffic.packets() >= self.report_at
    }

    /// Gives what was relayed since the last report, and counts it as reported.
    pub(crate) fn report(&mut self) -> (Flow, Flow) {
        let (client, peer) = (self.traffic.client(), self.traffic.peer());
        self.report_at = client.packets() + peer.packets() + TRAFFIC_REPORT_PACKETS;
        let (client_before, peer_before) = std::mem::replace(&mut *self.reported, (client, peer));
        (client.since(client_before), peer.since(peer_before))
    }

    /// Gives when something of it ends next; `None` while its relay is being bound.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.socket()?;
        let others = self
            .permissions
            .next_expiry()
            .into_iter()
            .chain(self.channels.next_expiry());
        Some(others.fold(self.expires, Instant::min))
    }
}

/// Kept small on purpose: an idle allocation shall cost little.
const _: () = assert!(size_of::<Allocation>() <= 512 && size_of::<AllocationId>() == 4);
