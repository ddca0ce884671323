use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use voex_base::FiveTuple;
use voex_stun::{AddressFamily, ReservationToken};

use crate::answer::ReplyTo;
use crate::channel_binding::ChannelBindings;
use crate::client_key::ClientKey;
use crate::credentials::Origin;
use crate::mobility::Mobility;
use crate::permission::Permissions;
use crate::quotas::Seat;
use crate::rate::{Bucket, Meters};
use crate::relays::{Relay, Relays};
use crate::request::Identity;
use crate::timer::AllocationId;
use crate::{
    DropReason, Flow, Quotas, Rates, Refusal, RelayTransport, SessionId, TRAFFIC_REPORT_PACKETS, Traffic, Way,
};

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
    /// Over which its client is served.
    pub(crate) five_tuple: FiveTuple,
    /// What lets its client go on over another, if it has asked for that.
    pub(crate) mobility: Option<Box<Mobility>>,
    pub(crate) user: Arc<str>,
    pub(crate) key: Arc<ClientKey>,
    /// Where `key` comes from.
    pub(crate) origin: Origin,
    pub(crate) transport: RelayTransport,
    pub(crate) relays: Relays,
    pub(crate) making: Box<Making>,
    pub(crate) permissions: Permissions,
    pub(crate) channels: ChannelBindings,
    /// Its place in the counts of all shards.
    pub(crate) _seat: Seat,
    /// What it has used of [`Rates`]; `None` while there are none.
    pub(crate) meters: Option<Box<Meters>>,
    /// What its client was told of ICMP.
    pub(crate) icmp: Bucket,
    pub(crate) traffic: Arc<Traffic>,
    /// What of `traffic` has been reported, on the client's and on the peers' side.
    pub(crate) reported: Box<(Flow, Flow)>,
    /// Packets of both sides at which the next report is due.
    pub(crate) report_at: u64,
    /// The timer that is set for it.
    pub(crate) timer: Option<Instant>,
}

/// How an allocation was made: what a retransmission of its request is answered with, and rarely looked at.
pub(crate) struct Making {
    pub(crate) request: ReplyTo,
    pub(crate) lifetime_s: u32,
    /// The family that was asked for and could not be had (RFC 8656 §7.2, ADDRESS-ERROR-CODE).
    pub(crate) missing: Option<(AddressFamily, Refusal)>,
    pub(crate) reservation: Option<ReservationToken>,
}

/// What of an allocation is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// All of it.
    Allocation(AllocationId),
    /// One of its two relays.
    Relay(AllocationId, AddressFamily),
}

impl Allocation {
    /// Tells whether it belongs to who sends a request. A new token may be of another `kid`; who comes with one has no
    /// other name.
    pub(crate) fn is_of(&self, identity: &Identity<'_>) -> bool {
        let both_tokens = self.origin.is_token() && identity.origin.is_token();
        *self.user == *identity.user || both_tokens
    }

    /// Tells whether it lives: while its relays are being bound it only keeps its place.
    pub(crate) fn has_begun(&self) -> bool {
        self.relays.are_bound()
    }

    /// Tells whether its client has been given a ticket.
    pub(crate) fn may_be_resumed(&self) -> bool {
        self.mobility.is_some() && self.has_begun()
    }

    /// Tells whether its client has gone without saying where to.
    #[inline]
    pub(crate) fn is_away(&self) -> bool {
        self.mobility.as_ref().is_some_and(|mobility| mobility.is_away)
    }

    /// Tells whether its client is awaited on a five-tuple that does not serve it yet.
    #[inline]
    pub(crate) fn is_awaited_on(&self, five_tuple: &FiveTuple) -> bool {
        let next = self.mobility.as_ref().and_then(|mobility| mobility.next);
        next.is_some_and(|next| next.five_tuple == *five_tuple)
    }

    /// Gives the five-tuples over which its client is heard.
    pub(crate) fn five_tuples(&self) -> impl Iterator<Item = FiveTuple> {
        let next = self.mobility.as_ref().and_then(|mobility| mobility.next);
        [Some(self.five_tuple), next.map(|next| next.five_tuple)]
            .into_iter()
            .flatten()
    }

    /// Drops permissions and channel bindings that have ended.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.permissions.expire(now);
        self.channels.expire(now);
    }

    /// Takes a relay away, with all permissions and channels of its family (RFC 8656 §8.1).
    pub(crate) fn remove_relay(&mut self, family: AddressFamily) -> Option<Relay> {
        self.permissions.retain(|ip| AddressFamily::of(ip) != family);
        self.channels.retain(|peer, _| AddressFamily::of(peer.ip()) != family);
        self.relays.remove(family)
    }

    /// Lets data of so many bytes pass, or tells which limit it is over.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        way: Way,
        bytes: usize,
        rates: &Rates,
        quotas: &Quotas,
    ) -> Result<(), DropReason> {
        match &mut self.meters {
            None => Ok(()),
            Some(meters) => meters.admit(now, way, bytes, rates, quotas),
        }
    }

    /// Takes bytes of a TCP relay, which have passed already, from what may pass.
    pub(crate) fn pay_bytes(&mut self, now: Instant, way: Way, bytes: usize, rates: &Rates, quotas: &Quotas) {
        if let Some(meters) = &mut self.meters {
            meters.pay_bytes(now, way, bytes, rates, quotas);
        }
    }

    /// Tells from when on a TCP relay may carry on one way, if it is over a limit now.
    pub(crate) fn bytes_empty_until(
        &mut self,
        now: Instant,
        way: Way,
        rates: &Rates,
        quotas: &Quotas,
    ) -> Option<Instant> {
        self.meters.as_mut()?.bytes_empty_until(now, way, rates, quotas)
    }

    /// Lets a request with so many new peers pass, or refuses it with 508.
    pub(crate) fn admit_peers(&mut self, now: Instant, count: usize, rates: &Rates) -> Result<(), Refusal> {
        let meters = self.meters.as_mut();
        let admits = meters.is_none_or(|meters| meters.admit_peers(now, count, rates));
        admits.then_some(()).ok_or(Refusal::InsufficientCapacity)
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

    /// Gives what of it is over.
    pub(crate) fn ended(&self, id: AllocationId, now: Instant) -> Option<Ended> {
        let mut over = self.relays.iter().filter(|relay| relay.expires <= now);
        let first = over.next()?;
        if self.relays.iter().all(|relay| relay.expires <= now) {
            return Some(Ended::Allocation(id));
        }
        Some(Ended::Relay(id, first.family()))
    }

    /// Gives when something of it ends next; `None` while its relays are being bound.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        if !self.has_begun() {
            return None;
        }
        let relays = self.relays.iter().map(|relay| relay.expires);
        relays
            .chain(self.permissions.next_expiry())
            .chain(self.channels.next_expiry())
            .min()
    }
}

/// Kept small on purpose: an idle allocation shall cost little.
const _: () = assert!(size_of::<Allocation>() <= 512 && size_of::<AllocationId>() == 4);
