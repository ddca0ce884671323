//! Allocate (RFC 8656 §7.2): from the request to the wish for a socket, and the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use voex_base::{Outbox, WallTime};
use voex_stun::{AddressFamily, AttributeType, EvenPort, Message, RequestedTransport};

use crate::allocation::{Allocation, Binding, PortPlan, Relay, RelayedAddress};
use crate::answer::Proof;
use crate::relay::BIND_TRIES_MAX;
use crate::relay_port::PortWish;
use crate::report::EVENTS_WAITING_MAX;
use crate::request::{Granted, Identity, Request};
use crate::timer::AllocationId;
use crate::{Refusal, Server, SessionId, TRAFFIC_REPORT_PACKETS};

/// What an Allocate request asks for, as far as it can be judged by itself.
struct Wanted {
    relay: RelayWanted,
    dont_fragment: bool,
    lifetime_s: Option<u32>,
}

enum RelayWanted {
    Drawn { family: AddressFamily, wish: PortWish },
    Reserved(voex_stun::ReservationToken),
}

impl Server {
    pub(crate) fn allocate(&mut self, request: &Request<'_>, identity: &Identity<'_>) -> Result<Granted, Refusal> {
        if let Some(id) = self.table.id_of_client(&request.five_tuple) {
            return self.allocate_again(request, id);
        }
        let wanted = read_wanted(&request.message)?;
        let (relay_index, port) = self.plan_relay(request, identity, &wanted.relay)?;
        self.check_capacity(identity, port)?;
        let relay_address = self.config.relays[usize::from(relay_index)];
        self.last_session += 1;
        let id = self.table.insert(Allocation {
            session: SessionId::new(self.config.shard, self.last_session),
            five_tuple: request.five_tuple,
            user: identity.user.into(),
            key: Arc::clone(&identity.key),
            origin: identity.origin,
            relayed: RelayedAddress {
                local: SocketAddr::new(relay_address.local, 0),
                public: SocketAddr::new(relay_address.public, 0),
            },
            dont_fragment: wanted.dont_fragment,
            made_by: request.reply_to(),
            lifetime_s: self.granted_lifetime_s(wanted.lifetime_s, identity, request.wall),
            reservation: None,
            relay: Relay::Binding(Box::new(Binding {
                request: 0,
                relay_index,
                port,
                tries_left: BIND_TRIES_MAX,
                probing_next: false,
            })),
            expires: request.now,
            permissions: Default::default(),
            channels: Default::default(),
            traffic: Arc::default(),
            reported: Box::default(),
            report_at: TRAFFIC_REPORT_PACKETS,
            timer: None,
        });
        let request_bytes = request.message.as_bytes().len();
        self.table.get(id).traffic.from_client.count(request_bytes);
        self.bind_relay(id).inspect_err(|_| {
            self.table.remove(id);
        })?;
        Ok(Granted::Later)
    }

    /// Clamps a lifetime that is not zero (RFC 8656 §7.2): at least the default, at most the maximum, and never
    /// longer than an access token is good.
    pub(crate) fn granted_lifetime_s(&self, asked_s: Option<u32>, identity: &Identity<'_>, wall: WallTime) -> u32 {
        let lifetimes = &self.config.lifetimes;
        let asked = asked_s.map_or(lifetimes.allocation_default, |s| Duration::from_secs(s.into()));
        asked
            .min(lifetimes.allocation_max)
            .max(lifetimes.allocation_default)
            .as_secs()
            .min(identity.origin.lifetime_max_s(wall).into()) as u32
    }

    pub(crate) fn answer_allocated(&self, allocation: &Allocation, out: &mut impl Outbox) {
        let mut client = allocation.five_tuple.client;
        client.set_ip(client.ip().to_canonical());
        let len = self
            .answers
            .grant(&allocation.made_by, Proof::Key(&allocation.key), out, |writer| {
                let token = allocation.reservation.map(|token| token.0);
                writer
                    .xor_relayed_address(allocation.relayed.public)
                    .lifetime_s(allocation.lifetime_s)
                    .optional(AttributeType::RESERVATION_TOKEN, token.as_ref().map(|token| &token[..]))
                    .xor_mapped_address(client)
            });
        allocation.traffic.to_client.count(len);
    }

    /// A five-tuple has one allocation; a retransmission of the request that made it gets the same answer.
    fn allocate_again(&self, request: &Request<'_>, id: AllocationId) -> Result<Granted, Refusal> {
        let existing = self.table.get(id);
        match (
            existing.made_by.id == request.message.transaction_id(),
            existing.socket(),
        ) {
            (true, Some(_)) => Ok(Granted::Allocated(id)),
            (true, None) => Ok(Granted::Later),
            (false, _) => Err(Refusal::AllocationMismatch),
        }
    }

    fn plan_relay(
        &self,
        request: &Request<'_>,
        identity: &Identity<'_>,
        wanted: &RelayWanted,
    ) -> Result<(u8, PortPlan), Refusal> {
        match *wanted {
            RelayWanted::Drawn { family, wish } => {
                let is_v4 = family == AddressFamily::V4;
                let index = self
                    .config
                    .relays
                    .iter()
                    .position(|relay| relay.local.is_ipv4() == is_v4);
                let index = index.ok_or(Refusal::AddressFamilyNotSupported)?;
                let index = u8::try_from(index).map_err(|_| Refusal::AddressFamilyNotSupported)?;
                Ok((index, PortPlan::Draw(wish)))
            }
            RelayWanted::Reserved(token) => {
                let reserved = self.tokens.redeem(request.wall, identity.user, token);
                let reserved = reserved.ok_or(Refusal::InsufficientCapacity)?;
                // The code of a token is short. One that was guessed may at least open no port but a relay's.
                let exists = usize::from(reserved.relay_index) < self.config.relays.len();
                if !exists || !self.config.ports.is_relay_port(reserved.port) {
                    return Err(Refusal::InsufficientCapacity);
                }
                Ok((reserved.relay_index, PortPlan::Reserved(reserved)))
            }
        }
    }

    fn check_capacity(&self, identity: &Identity<'_>, port: PortPlan) -> Result<(), Refusal> {
        let user_max = self.config.allocations_per_user_max.unwrap_or(u32::MAX);
        if !identity.origin.is_token() && self.table.of_user(identity.user) >= user_max {
            return Err(Refusal::AllocationQuotaReached);
        }
        let can_reserve = port != PortPlan::Draw(PortWish::EvenAndNext) || self.table.has_room_to_reserve();
        let is_full = self.table.len() >= self.config.allocations_max || self.events.len() >= EVENTS_WAITING_MAX;
        if self.draining || is_full || !can_reserve {
            return Err(Refusal::InsufficientCapacity);
        }
        Ok(())
    }
}

/// Reads an Allocate request in the order of RFC 8656 §7.2.
fn read_wanted(message: &Message<'_>) -> Result<Wanted, Refusal> {
    match message.requested_transport()? {
        None => return Err(Refusal::BadRequest),
        Some(RequestedTransport::Other(_)) => return Err(Refusal::UnsupportedTransportProtocol),
        Some(RequestedTransport::Udp) => {}
    }
    Ok(Wanted {
        relay: read_relay_wanted(message)?,
        dont_fragment: message.has(AttributeType::DONT_FRAGMENT),
        lifetime_s: message.lifetime_s()?,
    })
}

fn read_relay_wanted(message: &Message<'_>) -> Result<RelayWanted, Refusal> {
    let even_port = message.even_port()?;
    let family = match message.requested_address_family() {
        // A family that does not exist is one we do not support (RFC 8656 §7.2).
        Err(voex_stun::AttributeError::Family) => return Err(Refusal::AddressFamilyNotSupported),
        family => family?,
    };
    match (message.reservation_token()?, even_port, family) {
        (Some(token), None, None) => Ok(RelayWanted::Reserved(token)),
        (Some(_), _, _) => Err(Refusal::BadRequest),
        (None, even_port, family) => {
            let wish = match even_port {
                None => PortWish::Any,
                Some(EvenPort { reserve_next: false }) => PortWish::Even,
                Some(EvenPort { reserve_next: true }) => PortWish::EvenAndNext,
            };
            Ok(RelayWanted::Drawn {
                family: family.unwrap_or(AddressFamily::V4),
                wish,
            })
        }
    }
}
