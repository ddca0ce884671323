//! Binding an allocation's relays: the owner of sockets does it, at once or later.
//!
//! ```text
//! bind_relay ── BindRelay(even port) ──► Ok ► no other relay is waited for ► the allocation lives, its client is told
//!     ▲  │                           └─► AddressInUse ► another port, at most 16 times
//!     │  └─ for EVEN-PORT with reservation first: BindRelay(odd port) ► Ok ► CloseRelay, then the even port
//!     └──────────────────────────────────────────────────────────────┘ AddressInUse
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voex_base::{Outbox, SocketId, WallTime};
use voex_stun::{AddressFamily, UnknownAttributes};

use crate::answer::{Proof, Refused};
use crate::relay_port::PortWish;
use crate::relays::PortPlan;
use crate::reservation::ReservedPort;
use crate::timer::AllocationId;
use crate::{BindError, BindRequest, Output, Refusal, RelayTransport, Server};

/// Ports tried for one relay before it is given up with 508.
pub(crate) const BIND_TRIES_MAX: u8 = 16;

impl Server {
    /// Takes the answer to [`Output::BindRelay`] or [`Output::ListenRelay`]. A socket nobody waits for any more is closed.
    pub fn handle_relay_bound(
        &mut self,
        now: Instant,
        wall: WallTime,
        request: BindRequest,
        bound: Result<SocketId, BindError>,
        out: &mut impl Outbox,
    ) {
        match (self.table.take_binding(request.0), bound) {
            (Some((id, family)), Ok(socket)) if self.is_probing(id, family) => self.end_probe(id, family, socket),
            (Some((id, family)), Ok(socket)) => {
                self.keep_next(now, wall, id, family);
                self.table.set_bound(id, family, socket);
                self.settle(now, wall, id, out);
            }
            (Some((id, family)), Err(error)) => {
                let again = error == BindError::AddressInUse && self.bind_relay(id, family).is_ok();
                if !again {
                    self.give_up_relay(id, family);
                    self.settle(now, wall, id, out);
                }
            }
            (None, Ok(socket)) => self.outputs.push_back(Output::CloseRelay(socket)),
            (None, Err(_)) => {}
        }
    }

    /// Asks for the sockets of a new allocation; one that can get none is removed.
    pub(crate) fn bind_relays(&mut self, id: AllocationId) -> Result<(), Refusal> {
        for family in [AddressFamily::V4, AddressFamily::V6] {
            if self.table.get(id).relays.get(family).is_some() && self.bind_relay(id, family).is_err() {
                self.give_up_relay(id, family);
            }
        }
        if self.table.get(id).relays.is_empty() {
            self.table.remove(id);
            return Err(Refusal::InsufficientCapacity);
        }
        Ok(())
    }

    /// Chooses a port for a relay and asks for its socket.
    fn bind_relay(&mut self, id: AllocationId, family: AddressFamily) -> Result<(), Refusal> {
        let relay = self.table.get(id).relays.get(family);
        let (ip, binding) = relay
            .and_then(|relay| Some((relay.address.local, relay.binding()?)))
            .ok_or(Refusal::InsufficientCapacity)?;
        let (plan, tries_left) = (binding.port, binding.tries_left);
        if tries_left == 0 {
            return Err(Refusal::InsufficientCapacity);
        }
        let port = self
            .choose_port(plan, |port| SocketAddr::new(ip, port))
            .ok_or(Refusal::InsufficientCapacity)?;
        if let Some(relay) = self.table.get_mut(id).relays.get_mut(family) {
            relay.port = port;
            if let Some(binding) = relay.binding_mut() {
                // A reserved port is the only one that will do.
                binding.tries_left = if matches!(plan, PortPlan::Reserved(_)) {
                    0
                } else {
                    tries_left - 1
                };
                // What is promised to a token has to be free outside this process too.
                binding.probing_next = plan == PortPlan::Draw(PortWish::EvenAndNext);
            }
        }
        self.ask_for_socket(id, family);
        Ok(())
    }

    fn ask_for_socket(&mut self, id: AllocationId, family: AddressFamily) {
        let allocation = self.table.get(id);
        let transport = allocation.transport;
        let Some(relay) = allocation.relays.get(family) else {
            return;
        };
        let mut address = relay.relayed().local;
        if self.is_probing(id, family) {
            address.set_port(address.port() | 1);
        }
        self.last_bind_request += 1;
        self.table.set_binding(id, family, self.last_bind_request);
        let request = BindRequest(self.last_bind_request);
        self.outputs.push_back(match transport {
            RelayTransport::Udp => Output::BindRelay { request, address },
            RelayTransport::Tcp => Output::ListenRelay { request, address },
        });
    }

    fn end_probe(&mut self, id: AllocationId, family: AddressFamily, socket: SocketId) {
        self.outputs.push_back(Output::CloseRelay(socket));
        let relay = self.table.get_mut(id).relays.get_mut(family);
        if let Some(binding) = relay.and_then(|relay| relay.binding_mut()) {
            binding.probing_next = false;
        }
        self.ask_for_socket(id, family);
    }

    fn is_probing(&self, id: AllocationId, family: AddressFamily) -> bool {
        let relay = self.table.get(id).relays.get(family);
        relay
            .and_then(|relay| relay.binding())
            .is_some_and(|binding| binding.probing_next)
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

    /// Keeps the port above a relay's for the token that its client gets, if it asked for that.
    fn keep_next(&mut self, now: Instant, wall: WallTime, id: AllocationId, family: AddressFamily) {
        let allocation = self.table.get_mut(id);
        let Some((mut next, binding)) = allocation
            .relays
            .get(family)
            .and_then(|relay| Some((relay.relayed().local, relay.binding()?)))
        else {
            return;
        };
        if binding.port != PortPlan::Draw(PortWish::EvenAndNext) {
            return;
        }
        next.set_port(next.port() + 1);
        let reserved = ReservedPort {
            relay_index: binding.relay_index,
            port: next.port(),
        };
        allocation.making.reservation = Some(self.tokens.issue(wall, &allocation.user, reserved));
        self.table.reserve(next, now + self.config.lifetimes.reservation);
    }

    /// Does without a relay that cannot be bound; its client is told if the other one can.
    fn give_up_relay(&mut self, id: AllocationId, family: AddressFamily) {
        let allocation = self.table.get_mut(id);
        allocation.relays.remove(family);
        allocation.making.missing = Some((family, Refusal::InsufficientCapacity));
    }

    /// Answers when every socket is there or given up.
    fn settle(&mut self, now: Instant, wall: WallTime, id: AllocationId, out: &mut impl Outbox) {
        let relays = &self.table.get(id).relays;
        if relays.is_empty() {
            self.give_up(id, out);
        } else if relays.are_bound() {
            self.start(now, wall, id, out);
        }
    }

    /// The relays are bound: the allocation begins to live and its client is told.
    fn start(&mut self, now: Instant, wall: WallTime, id: AllocationId, out: &mut impl Outbox) {
        let allocation = self.table.get_mut(id);
        let expires = now + Duration::from_secs(allocation.making.lifetime_s.into());
        for relay in allocation.relays.iter_mut() {
            relay.expires = expires;
        }
        self.table.reschedule(id);
        self.metrics.allocations.add(1);
        self.metrics.allocations_total.inc();
        self.answer_allocated(id, out);
        self.report_began(wall, id);
    }

    fn give_up(&mut self, id: AllocationId, out: &mut impl Outbox) {
        let allocation = self.table.remove(id);
        let refusal = Refusal::InsufficientCapacity;
        self.metrics.refused.of(refusal).inc();
        let refused = Refused {
            refusal,
            unknown: &UnknownAttributes::default(),
            nonce: None,
            alternate: None,
        };
        self.answers
            .refuse(&allocation.making.request, Proof::Key(&allocation.key), out, &refused);
    }
}
