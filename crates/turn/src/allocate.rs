//! Allocate (RFC 8656 §7.2): from the request to the wish for sockets, and the answer.

use std::sync::Arc;
use std::time::Duration;

use voex_base::{Outbox, WallTime};
use voex_stun::{AddressFamily, AttributeError, AttributeType, EvenPort, Message, RequestedTransport};

use crate::allocation::{Allocation, Making};
use crate::answer::Proof;
use crate::mobility::Ticketed;
use crate::quotas::{Seat, SeatsMax};
use crate::rate::Meters;
use crate::relay::BIND_TRIES_MAX;
use crate::relay_port::PortWish;
use crate::relays::{Binding, PortPlan, Relay, RelaySocket, Relays};
use crate::report::EVENTS_WAITING_MAX;
use crate::request::{Granted, Identity, Request};
use crate::timer::AllocationId;
use crate::{Refusal, RelayTransport, Server, SessionId, TRAFFIC_REPORT_PACKETS};

/// What an Allocate request asks for, as far as it can be judged by itself.
struct Wanted {
    transport: RelayTransport,
    relays: RelaysWanted,
    lifetime_s: Option<u32>,
    /// Its client may go on over another path.
    is_mobile: bool,
}

#[derive(Clone, Copy)]
enum RelaysWanted {
    One { family: AddressFamily, wish: PortWish },
    OneOfEach { wish: PortWish },
    Reserved(voex_stun::ReservationToken),
}

/// Where one relay shall live.
#[derive(Clone, Copy)]
struct RelayPlan {
    index: u8,
    port: PortPlan,
}

impl Server {
    pub(crate) fn allocate(&mut self, request: &Request<'_>, identity: &Identity<'_>) -> Result<Granted, Refusal> {
        if let Some(id) = self.table.id_of_client(&request.five_tuple) {
            return self.allocate_again(request, id);
        }
        let wanted = self.read_wanted(request)?;
        let (first, second, missing) = self.plan_relays(request, identity, wanted.relays)?;
        let seat = self.take_seat(identity)?;
        self.check_capacity(first.port)?;
        self.last_session += 1;
        let mut relays = Relays::default();
        for plan in [Some(first), second].into_iter().flatten() {
            relays.insert(self.unbound_relay(request, plan));
        }
        let id = self.table.insert(Allocation {
            session: SessionId::new(self.config.shard, self.last_session),
            five_tuple: request.five_tuple,
            mobility: wanted.is_mobile.then(Box::default),
            user: identity.user.into(),
            key: Arc::clone(&identity.key),
            origin: identity.origin,
            transport: wanted.transport,
            relays,
            making: Box::new(Making {
                request: request.reply_to(),
                lifetime_s: self.granted_lifetime_s(wanted.lifetime_s, identity, request.wall),
                missing,
                reservation: None,
            }),
            permissions: Default::default(),
            channels: Default::default(),
            _seat: seat,
            meters: Meters::new(&self.config.rates),
            icmp: Default::default(),
            traffic: Arc::default(),
            reported: Box::default(),
            report_at: TRAFFIC_REPORT_PACKETS,
            timer: None,
        });
        let request_bytes = request.message.as_bytes().len();
        self.table.get(id).traffic.from_client.count(request_bytes);
        self.bind_relays(id)?;
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

    pub(crate) fn answer_allocated(&self, id: AllocationId, out: &mut impl Outbox) {
        let allocation = self.table.get(id);
        let ticket = self.ticket_of(id, Ticketed::Serving);
        let mut client = allocation.five_tuple.client;
        client.set_ip(client.ip().to_canonical());
        let making = &allocation.making;
        let len = self
            .answers
            .grant(&making.request, Proof::Key(&allocation.key), out, |mut writer| {
                for relay in allocation.relays.iter() {
                    writer = writer.xor_relayed_address(relay.relayed().public);
                }
                if let Some((family, refusal)) = making.missing {
                    writer = writer.address_error_code(family, refusal.stun_code());
                }
                let token = making.reservation.map(|token| token.0);
                writer
                    .lifetime_s(making.lifetime_s)
                    .optional(AttributeType::RESERVATION_TOKEN, token.as_ref().map(|token| &token[..]))
                    .optional(
                        AttributeType::MOBILITY_TICKET,
                        ticket.as_ref().map(|ticket| &ticket[..]),
                    )
                    .xor_mapped_address(client)
            });
        allocation.traffic.to_client.count(len);
    }

    /// Reads an Allocate request in the order of RFC 8656 §7.2 and RFC 6062 §5.1.
    fn read_wanted(&self, request: &Request<'_>) -> Result<Wanted, Refusal> {
        let message = &request.message;
        let transport = match message.requested_transport()? {
            None => return Err(Refusal::BadRequest),
            Some(RequestedTransport::Udp) => RelayTransport::Udp,
            Some(RequestedTransport::Tcp) if self.config.tcp_relays => RelayTransport::Tcp,
            Some(_) => return Err(Refusal::UnsupportedTransportProtocol),
        };
        if transport == RelayTransport::Tcp && !self.may_have_tcp_relay(request) {
            return Err(Refusal::BadRequest);
        }
        Ok(Wanted {
            transport,
            relays: read_relays_wanted(message)?,
            lifetime_s: message.lifetime_s()?,
            is_mobile: self.read_mobile(message)?,
        })
    }

    /// Tells whether an Allocate request asks for a ticket (RFC 8016 §3.1.2).
    fn read_mobile(&self, message: &Message<'_>) -> Result<bool, Refusal> {
        match message.mobility_ticket() {
            None => Ok(false),
            Some([_, ..]) => Err(Refusal::BadRequest),
            Some([]) if self.config.mobility => Ok(true),
            Some([]) => Err(Refusal::MobilityForbidden),
        }
    }

    /// A five-tuple has one allocation; a retransmission of the request that made it gets the same answer.
    fn allocate_again(&self, request: &Request<'_>, id: AllocationId) -> Result<Granted, Refusal> {
        let existing = self.table.get(id);
        match (
            existing.making.request.id == request.message.transaction_id(),
            existing.has_begun(),
        ) {
            (true, true) => Ok(Granted::Allocated(id)),
            (true, false) => Ok(Granted::Later),
            (false, _) => Err(Refusal::AllocationMismatch),
        }
    }

    /// Finds an address for each relay. Of a pair the second may be missing, not the first: IPv4 is what a request
    /// without REQUESTED-ADDRESS-FAMILY stands on (RFC 8656 §7.2, step 7).
    #[expect(clippy::type_complexity, reason = "named where it is taken apart, which is once")]
    fn plan_relays(
        &self,
        request: &Request<'_>,
        identity: &Identity<'_>,
        wanted: RelaysWanted,
    ) -> Result<(RelayPlan, Option<RelayPlan>, Option<(AddressFamily, Refusal)>), Refusal> {
        match wanted {
            RelaysWanted::One { family, wish } => Ok((self.plan_relay(request, family, wish)?, None, None)),
            RelaysWanted::OneOfEach { wish } => {
                let first = self.plan_relay(request, AddressFamily::V4, wish)?;
                match self.plan_relay(request, AddressFamily::V6, wish) {
                    Ok(second) => Ok((first, Some(second), None)),
                    Err(refusal) => Ok((first, None, Some((AddressFamily::V6, refusal)))),
                }
            }
            RelaysWanted::Reserved(token) => {
                let reserved = self.tokens.redeem(request.wall, identity.user, token);
                let reserved = reserved.ok_or(Refusal::InsufficientCapacity)?;
                // The code of a token is short. One that was guessed may at least open no port but a relay's.
                let exists = usize::from(reserved.relay_index) < self.config.relays.len();
                if !exists || !self.config.ports.is_relay_port(reserved.port) {
                    return Err(Refusal::InsufficientCapacity);
                }
                let plan = RelayPlan {
                    index: reserved.relay_index,
                    port: PortPlan::Reserved(reserved),
                };
                Ok((plan, None, None))
            }
        }
    }

    /// Takes the address that the client talks to, where relays may live there; else the first of the family.
    fn plan_relay(&self, request: &Request<'_>, family: AddressFamily, wish: PortWish) -> Result<RelayPlan, Refusal> {
        let relays = &self.config.relays;
        let listener = self.client_path(request.five_tuple.socket).local.ip();
        let own = relays.iter().position(|relay| relay.local == listener);
        let of_family = |index: &usize| AddressFamily::of(relays[*index].local) == family;
        let index = own
            .filter(of_family)
            .or_else(|| (0..relays.len()).find(of_family))
            .and_then(|index| u8::try_from(index).ok())
            .ok_or(Refusal::AddressFamilyNotSupported)?;
        Ok(RelayPlan {
            index,
            port: PortPlan::Draw(wish),
        })
    }

    fn unbound_relay(&self, request: &Request<'_>, plan: RelayPlan) -> Relay {
        Relay {
            address: self.config.relays[usize::from(plan.index)],
            port: 0,
            expires: request.now,
            socket: RelaySocket::Binding(Box::new(Binding {
                request: 0,
                relay_index: plan.index,
                port: plan.port,
                tries_left: BIND_TRIES_MAX,
                probing_next: false,
            })),
        }
    }

    /// Counts the allocation in the quotas. Who comes with a token is counted by none of users.
    fn take_seat(&self, identity: &Identity<'_>) -> Result<Seat, Refusal> {
        let user = (!identity.origin.is_token()).then_some(identity.user);
        let max = SeatsMax {
            of_user: self.config.allocations_per_user_max,
            in_all: self.config.allocations_total_max,
        };
        self.quotas.take_seat(user, max)
    }

    fn check_capacity(&self, port: PortPlan) -> Result<(), Refusal> {
        let can_reserve = port != PortPlan::Draw(PortWish::EvenAndNext) || self.table.has_room_to_reserve();
        let is_full = self.table.len() >= self.config.allocations_max || self.events.len() >= EVENTS_WAITING_MAX;
        if self.draining || is_full || !can_reserve {
            return Err(Refusal::InsufficientCapacity);
        }
        Ok(())
    }
}

fn read_relays_wanted(message: &Message<'_>) -> Result<RelaysWanted, Refusal> {
    let even_port = message.even_port()?;
    let family = match message.requested_address_family() {
        // A family that does not exist is one we do not support (RFC 8656 §7.2).
        Err(AttributeError::Family) => return Err(Refusal::AddressFamilyNotSupported),
        family => family?,
    };
    let wish = match even_port {
        None => PortWish::Any,
        Some(EvenPort { reserve_next: false }) => PortWish::Even,
        Some(EvenPort { reserve_next: true }) => PortWish::EvenAndNext,
    };
    match (message.reservation_token()?, message.additional_address_family()?) {
        (Some(token), None) if even_port.is_none() && family.is_none() => Ok(RelaysWanted::Reserved(token)),
        (Some(_), _) => Err(Refusal::BadRequest),
        // It means IPv6 beside IPv4, goes with no other family, and there is one token for one pair of ports.
        (None, Some(AddressFamily::V6)) if family.is_none() && wish != PortWish::EvenAndNext => {
            Ok(RelaysWanted::OneOfEach { wish })
        }
        (None, Some(_)) => Err(Refusal::BadRequest),
        (None, None) => Ok(RelaysWanted::One {
            family: family.unwrap_or(AddressFamily::V4),
            wish,
        }),
    }
}
