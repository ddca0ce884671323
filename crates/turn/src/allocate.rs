//! Allocate (RFC 8656 §7.2): from the request over the bound socket to the answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voex_base::{Outbox, SocketId, WallTime};
use voex_stun::{AddressFamily, AttributeType, EvenPort, Message, RequestedTransport, UnknownAttributes};

use crate::allocation::{Allocation, Binding, PortPlan, Relay, RelayedAddress};
use crate::answer::Refused;
use crate::relay_port::PortWish;
use crate::request::{Granted, Identity, Request};
use crate::reservation::ReservedPort;
use crate::timer::AllocationId;
use crate::{BindError, BindRequest, Output, Refusal, Server};

/// Ports tried for one allocation before it is refused with 508.
const BIND_TRIES_MAX: u8 = 16;

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
        let id = self.table.insert(Allocation {
            five_tuple: request.five_tuple,
            user: identity.user.into(),
            key: identity.key.clone(),
            relayed: RelayedAddress {
                local: SocketAddr::new(relay_address.local, 0),
                public: SocketAddr::new(relay_address.public, 0),
            },
            dont_fragment: wanted.dont_fragment,
            made_by: request.reply_to(),
            lifetime_s: self.granted_lifetime_s(wanted.lifetime_s),
            reservation: None,
            relay: Relay::Binding(Box::new(Binding {
                request: 0,
                relay_index,
                port,
                tries_left: BIND_TRIES_MAX,
            })),
            expires: request.now,
            permissions: Default::default(),
            channels: Default::default(),
            timer: None,
        });
        self.bind(id).inspect_err(|_| {
            self.table.remove(id);
        })?;
        Ok(Granted::Later)
    }

    /// Takes the answer to [`Output::BindRelay`]. A socket nobody waits for any more is closed.
    pub fn handle_relay_bound(
        &mut self,
        now: Instant,
        wall: WallTime,
        request: BindRequest,
        bound: Result<SocketId, BindError>,
        out: &mut impl Outbox,
    ) {
        match (self.table.take_binding(request.0), bound) {
            (Some(id), Ok(socket)) => self.start(now, wall, id, socket, out),
            (Some(id), Err(BindError::AddressInUse)) if self.bind(id).is_ok() => {}
            (Some(id), Err(_)) => self.give_up(id, out),
            (None, Ok(socket)) => self.outputs.push_back(Output::CloseRelay(socket)),
            (None, Err(_)) => {}
        }
    }

    /// Clamps a lifetime that is not zero (RFC 8656 §7.2): at least the default, at most the maximum.
    pub(crate) fn granted_lifetime_s(&self, asked_s: Option<u32>) -> u32 {
        let lifetimes = &self.config.lifetimes;
        let asked = asked_s.map_or(lifetimes.allocation_default, |s| Duration::from_secs(s.into()));
        asked
            .min(lifetimes.allocation_max)
            .max(lifetimes.allocation_default)
            .as_secs() as u32
    }

    pub(crate) fn answer_allocated(&self, allocation: &Allocation, out: &mut impl Outbox) {
        let mut client = allocation.five_tuple.client;
        client.set_ip(client.ip().to_canonical());
        self.answers
            .grant(&allocation.made_by, Some(&allocation.key), out, |writer| {
                let token = allocation.reservation.map(|token| token.0);
                writer
                    .xor_relayed_address(allocation.relayed.public)
                    .lifetime_s(allocation.lifetime_s)
                    .optional(AttributeType::RESERVATION_TOKEN, token.as_ref().map(|token| &token[..]))
                    .xor_mapped_address(client)
            });
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
                if usize::from(reserved.relay_index) >= self.config.relays.len() {
                    return Err(Refusal::InsufficientCapacity);
                }
                Ok((reserved.relay_index, PortPlan::Reserved(reserved)))
            }
        }
    }

    fn check_capacity(&self, identity: &Identity<'_>, port: PortPlan) -> Result<(), Refusal> {
        let user_max = self.config.allocations_per_user_max.unwrap_or(u32::MAX);
        if self.table.of_user(identity.user) >= user_max {
            return Err(Refusal::AllocationQuotaReached);
        }
        let can_reserve = port != PortPlan::Draw(PortWish::EvenAndNext) || self.table.has_room_to_reserve();
        if self.draining || self.table.len() >= self.config.allocations_max || !can_reserve {
            return Err(Refusal::InsufficientCapacity);
        }
        Ok(())
    }

    /// Chooses a port for an allocation's relay and asks for its socket.
    fn bind(&mut self, id: AllocationId) -> Result<(), Refusal> {
        let allocation = self.table.get(id);
        let Relay::Binding(binding) = &allocation.relay else {
            return Err(Refusal::InsufficientCapacity);
        };
        let (plan, tries_left, ip) = (binding.port, binding.tries_left, allocation.relayed.local.ip());
        if tries_left == 0 {
            return Err(Refusal::InsufficientCapacity);
        }
        let port = self
            .choose_port(plan, |port| SocketAddr::new(ip, port))
            .ok_or(Refusal::InsufficientCapacity)?;
        let allocation = self.table.get_mut(id);
        if let Relay::Binding(binding) = &mut allocation.relay {
            // A reserved port is the only one that will do.
            binding.tries_left = if matches!(plan, PortPlan::Reserved(_)) {
                0
            } else {
                tries_left - 1
            };
        }
        allocation.relayed.local.set_port(port);
        allocation.relayed.public.set_port(port);
        let (address, dont_fragment) = (allocation.relayed.local, allocation.dont_fragment);
        self.last_bind_request += 1;
        self.table.set_binding(id, self.last_bind_request);
        let request = BindRequest(self.last_bind_request);
        self.outputs.push_back(Output::BindRelay {
            request,
            address,
            dont_fragment,
        });
        Ok(())
    }

    fn choose_port(&mut self, plan: PortPlan, local: impl Fn(u16) -> SocketAddr) -> Option<u16> {
        match plan {
            PortPlan::Draw(wish) => {
                let table = &self.table;
                self.config
                    .ports
                    .draw(&mut self.rng, wish, |port| !table.is_taken(local(port)))
            }
            PortPlan::Reserved(ReservedPort { port, .. }) => {
                self.table.release_reserved(local(port));
                (!self.table.is_taken(local(port))).then_some(port)
            }
        }
    }

    /// The relay is bound: the allocation begins to live and its client is told.
    fn start(&mut self, now: Instant, wall: WallTime, id: AllocationId, socket: SocketId, out: &mut impl Outbox) {
        let allocation = self.table.get_mut(id);
        allocation.expires = now + Duration::from_secs(allocation.lifetime_s.into());
        if let Relay::Binding(binding) = &allocation.relay
            && binding.port == PortPlan::Draw(PortWish::EvenAndNext)
        {
            let relay_index = binding.relay_index;
            let mut next = allocation.relayed.local;
            next.set_port(next.port() + 1);
            let reserved = ReservedPort {
                relay_index,
                port: next.port(),
            };
            allocation.reservation = Some(self.tokens.issue(wall, &allocation.user, reserved));
            self.table.reserve(next, now + self.config.lifetimes.reservation);
        }
        self.table.set_bound(id, socket);
        self.table.reschedule(id);
        self.metrics.allocations.add(1);
        self.metrics.allocations_total.inc();
        self.answer_allocated(self.table.get(id), out);
    }

    fn give_up(&mut self, id: AllocationId, out: &mut impl Outbox) {
        let allocation = self.table.remove(id);
        let refusal = Refusal::InsufficientCapacity;
        self.metrics.refused.of(refusal).inc();
        let refused = Refused {
            refusal,
            unknown: &UnknownAttributes::default(),
            nonce: None,
        };
        self.answers
            .refuse(&allocation.made_by, Some(&allocation.key), out, &refused);
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
