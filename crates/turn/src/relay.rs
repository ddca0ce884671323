//! Binding an allocation's relay: the owner of sockets does it, at once or later.
//!
//! ```text
//! bind_relay ── BindRelay(even port) ──► Ok ► the allocation lives, its client is told
//!     ▲  │                           └─► AddressInUse ► another port, at most 16 times
//!     │  └─ for EVEN-PORT with reservation first: BindRelay(odd port) ► Ok ► CloseRelay, then the even port
//!     └──────────────────────────────────────────────────────────────┘ AddressInUse
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voex_base::{Outbox, SocketId, WallTime};
use voex_stun::UnknownAttributes;

use crate::allocation::{Binding, PortPlan, Relay};
use crate::answer::{Proof, Refused};
use crate::relay_port::PortWish;
use crate::reservation::ReservedPort;
use crate::timer::AllocationId;
use crate::{BindError, BindRequest, Output, Refusal, Server};

/// Ports tried for one allocation before it is refused with 508.
pub(crate) const BIND_TRIES_MAX: u8 = 16;

impl Server {
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
            (Some(id), Ok(socket)) if self.is_probing(id) => self.end_probe(id, socket),
            (Some(id), Ok(socket)) => self.start(now, wall, id, socket, out),
            (Some(id), Err(BindError::AddressInUse)) if self.bind_relay(id).is_ok() => {}
            (Some(id), Err(_)) => self.give_up(id, out),
            (None, Ok(socket)) => self.outputs.push_back(Output::CloseRelay(socket)),
            (None, Err(_)) => {}
        }
    }

    /// Chooses a port for an allocation's relay and asks for its socket.
    pub(crate) fn bind_relay(&mut self, id: AllocationId) -> Result<(), Refusal> {
        let allocation = self.table.get(id);
        let (ip, binding) = (
            allocation.relayed.local.ip(),
            self.binding(id).ok_or(Refusal::InsufficientCapacity)?,
        );
        let (plan, tries_left) = (binding.port, binding.tries_left);
        if tries_left == 0 {
            return Err(Refusal::InsufficientCapacity);
        }
        let port = self
            .choose_port(plan, |port| SocketAddr::new(ip, port))
            .ok_or(Refusal::InsufficientCapacity)?;
        let allocation = self.table.get_mut(id);
        allocation.relayed.local.set_port(port);
        allocation.relayed.public.set_port(port);
        if let Relay::Binding(binding) = &mut allocation.relay {
            // A reserved port is the only one that will do.
            binding.tries_left = if matches!(plan, PortPlan::Reserved(_)) {
                0
            } else {
                tries_left - 1
            };
            // What is promised to a token has to be free outside this process too.
            binding.probing_next = plan == PortPlan::Draw(PortWish::EvenAndNext);
        }
        self.ask_for_socket(id);
        Ok(())
    }

    fn ask_for_socket(&mut self, id: AllocationId) {
        let allocation = self.table.get(id);
        let (mut address, dont_fragment) = (allocation.relayed.local, allocation.dont_fragment);
        if self.is_probing(id) {
            address.set_port(address.port() | 1);
        }
        self.last_bind_request += 1;
        self.table.set_binding(id, self.last_bind_request);
        let request = BindRequest(self.last_bind_request);
        self.outputs.push_back(Output::BindRelay {
            request,
            address,
            dont_fragment,
        });
    }

    fn end_probe(&mut self, id: AllocationId, socket: SocketId) {
        self.outputs.push_back(Output::CloseRelay(socket));
        if let Relay::Binding(binding) = &mut self.table.get_mut(id).relay {
            binding.probing_next = false;
        }
        self.ask_for_socket(id);
    }

    fn is_probing(&self, id: AllocationId) -> bool {
        self.binding(id).is_some_and(|binding| binding.probing_next)
    }

    fn binding(&self, id: AllocationId) -> Option<&Binding> {
        match &self.table.get(id).relay {
            Relay::Binding(binding) => Some(binding),
            Relay::Bound(_) => None,
        }
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
            .refuse(&allocation.made_by, Proof::Key(&allocation.key), out, &refused);
    }
}
