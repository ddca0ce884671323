use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;
use voex_base::{FiveTuple, Rng, SocketId};
use voex_stun::AddressFamily;

use crate::Traffic;
use crate::allocation::{Allocation, Ended};
use crate::keyed::{KeyedMap, keyed_map};
use crate::relays::{Relay, RelaySocket};
use crate::request::Identity;
use crate::timer::{AllocationId, Timer, Timers};

/// Most ports that are kept for reservation tokens at a time; EVEN-PORT with more is refused with 508.
pub(crate) const RESERVATIONS_MAX: usize = 1_024;

/// All allocations of a shard under every name by which they are looked up, and all that expires.
pub(crate) struct Allocations {
    slab: Slab<Allocation>,
    by_five_tuple: KeyedMap<FiveTuple, AllocationId>,
    by_relay: KeyedMap<SocketId, AllocationId>,
    /// Local and public form of every relayed transport address.
    by_address: KeyedMap<SocketAddr, AllocationId>,
    by_bind_request: KeyedMap<u64, (AllocationId, AddressFamily)>,
    /// Local addresses kept for reservation tokens, and until when.
    reserved: KeyedMap<SocketAddr, Instant>,
    timers: Timers,
}

impl Allocations {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            slab: Slab::new(),
            by_five_tuple: keyed_map(rng),
            by_relay: keyed_map(rng),
            by_address: keyed_map(rng),
            by_bind_request: keyed_map(rng),
            reserved: keyed_map(rng),
            timers: Timers::default(),
        }
    }

    /// Finds the allocation whose client sends from there; its relays may be past their time.
    #[inline]
    pub(crate) fn of_client_mut(&mut self, five_tuple: &FiveTuple) -> Option<&mut Allocation> {
        Some(&mut self.slab[self.by_five_tuple.get(five_tuple)?.0 as usize])
    }

    /// Finds the allocation that may carry data of a peer now.
    #[inline]
    pub(crate) fn live_of_relay(
        &mut self,
        relay: SocketId,
        family: AddressFamily,
        now: Instant,
    ) -> Option<&mut Allocation> {
        let allocation = &mut self.slab[self.by_relay.get(&relay)?.0 as usize];
        let own = allocation.relays.get(family)?.live_socket(now)?;
        (own == relay).then_some(allocation)
    }

    pub(crate) fn id_of_client(&self, five_tuple: &FiveTuple) -> Option<AllocationId> {
        self.by_five_tuple.get(five_tuple).copied()
    }

    pub(crate) fn id_of_relay(&self, relay: SocketId) -> Option<AllocationId> {
        self.by_relay.get(&relay).copied()
    }

    /// Gives the counters of a client's allocation.
    pub(crate) fn traffic_of_client(&self, five_tuple: &FiveTuple) -> Option<Arc<Traffic>> {
        let id = self.id_of_client(five_tuple)?;
        Some(Arc::clone(&self.get(id).traffic))
    }

    /// Remembers the key that a client has just proved itself with: a user whose password has changed goes on under the
    /// new one.
    pub(crate) fn adopt_key(&mut self, id: AllocationId, identity: &Identity<'_>) {
        let own = self.get_mut(id);
        if *own.user == *identity.user || (own.origin.is_token() && identity.origin.is_token()) {
            own.key = Arc::clone(&identity.key);
            own.origin = identity.origin;
        }
    }

    /// Finds allocations by what they are.
    pub(crate) fn find(&self, is_wanted: impl Fn(&Allocation) -> bool) -> Vec<AllocationId> {
        let wanted = self.slab.iter().filter(|(_, allocation)| is_wanted(allocation));
        wanted.map(|(index, _)| AllocationId(index as u32)).collect()
    }

    pub(crate) fn of_address(&self, address: SocketAddr) -> Option<&Allocation> {
        self.by_address.get(&address).map(|id| self.get(*id))
    }

    pub(crate) fn of_relay(&self, relay: SocketId) -> Option<&Allocation> {
        self.by_relay.get(&relay).map(|id| self.get(*id))
    }

    pub(crate) fn get(&self, id: AllocationId) -> &Allocation {
        &self.slab[id.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, id: AllocationId) -> &mut Allocation {
        &mut self.slab[id.0 as usize]
    }

    /// Gives the allocation that has a place now.
    pub(crate) fn at(&self, id: AllocationId) -> Option<&Allocation> {
        self.slab.get(id.0 as usize)
    }

    /// Lets an allocation's client be heard over one more five-tuple.
    pub(crate) fn add_path(&mut self, five_tuple: FiveTuple, id: AllocationId) {
        self.by_five_tuple.insert(five_tuple, id);
    }

    /// Hears an allocation's client over a five-tuple no more.
    pub(crate) fn remove_path(&mut self, five_tuple: &FiveTuple) {
        self.by_five_tuple.remove(five_tuple);
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Tells whether a local address has a relay or is kept for one.
    pub(crate) fn is_taken(&self, local: SocketAddr) -> bool {
        self.by_address.contains_key(&local) || self.reserved.contains_key(&local)
    }

    pub(crate) fn insert(&mut self, allocation: Allocation) -> AllocationId {
        let five_tuple = allocation.five_tuple;
        let id = AllocationId(self.slab.insert(allocation) as u32);
        self.by_five_tuple.insert(five_tuple, id);
        id
    }

    pub(crate) fn remove(&mut self, id: AllocationId) -> Allocation {
        let allocation = self.slab.remove(id.0 as usize);
        for five_tuple in allocation.five_tuples() {
            self.by_five_tuple.remove(&five_tuple);
        }
        for relay in allocation.relays.iter() {
            self.forget_relay(relay);
        }
        if let Some(at) = allocation.timer {
            self.timers.stop(at, Timer::Allocation(id));
        }
        allocation
    }

    /// Takes one relay away from an allocation that keeps the other.
    pub(crate) fn remove_relay(&mut self, id: AllocationId, family: AddressFamily) -> Option<Relay> {
        let relay = self.slab[id.0 as usize].remove_relay(family)?;
        self.forget_relay(&relay);
        self.reschedule(id);
        Some(relay)
    }

    fn forget_relay(&mut self, relay: &Relay) {
        let relayed = relay.relayed();
        // While its socket was refused, an address may have become somebody else's.
        match &relay.socket {
            RelaySocket::Bound(socket) => {
                self.by_relay.remove(socket);
            }
            RelaySocket::Binding(binding) if self.by_bind_request.remove(&binding.request).is_none() => return,
            RelaySocket::Binding(_) => {}
        }
        self.by_address.remove(&relayed.local);
        self.by_address.remove(&relayed.public);
    }

    /// Gives a relay the address that is about to be bound under `request`.
    pub(crate) fn set_binding(&mut self, id: AllocationId, family: AddressFamily, request: u64) {
        let Some(relay) = self.slab[id.0 as usize].relays.get_mut(family) else {
            return;
        };
        if let Some(binding) = relay.binding_mut() {
            binding.request = request;
        }
        let relayed = relay.relayed();
        self.by_bind_request.insert(request, (id, family));
        self.by_address.insert(relayed.public, id);
        self.by_address.insert(relayed.local, id);
    }

    /// Takes back what [`set_binding`](Self::set_binding) did, and gives whose it was.
    pub(crate) fn take_binding(&mut self, request: u64) -> Option<(AllocationId, AddressFamily)> {
        let (id, family) = self.by_bind_request.remove(&request)?;
        let relayed = self.get(id).relays.get(family)?.relayed();
        self.by_address.remove(&relayed.local);
        self.by_address.remove(&relayed.public);
        Some((id, family))
    }

    /// Gives a relay its socket.
    pub(crate) fn set_bound(&mut self, id: AllocationId, family: AddressFamily, socket: SocketId) {
        let Some(relay) = self.slab[id.0 as usize].relays.get_mut(family) else {
            return;
        };
        relay.socket = RelaySocket::Bound(socket);
        let relayed = relay.relayed();
        self.by_relay.insert(socket, id);
        self.by_address.insert(relayed.public, id);
        self.by_address.insert(relayed.local, id);
    }

    /// Sets the timer of an allocation to what of it ends next.
    pub(crate) fn reschedule(&mut self, id: AllocationId) {
        let allocation = &mut self.slab[id.0 as usize];
        let next = allocation.next_expiry();
        if next == allocation.timer {
            return;
        }
        if let Some(at) = allocation.timer {
            self.timers.stop(at, Timer::Allocation(id));
        }
        allocation.timer = next;
        if let Some(at) = next {
            self.timers.start(at, Timer::Allocation(id));
        }
    }

    pub(crate) fn has_room_to_reserve(&self) -> bool {
        self.reserved.len() < RESERVATIONS_MAX
    }

    pub(crate) fn reserve(&mut self, local: SocketAddr, expires: Instant) {
        self.release_reserved(local);
        self.reserved.insert(local, expires);
        self.timers.start(expires, Timer::Reservation(local));
    }

    pub(crate) fn release_reserved(&mut self, local: SocketAddr) {
        if let Some(at) = self.reserved.remove(&local) {
            self.timers.stop(at, Timer::Reservation(local));
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Lets everything end whose time has come, and gives one allocation or relay that has; `None` when none is left.
    pub(crate) fn pop_ended(&mut self, now: Instant) -> Option<Ended> {
        loop {
            match self.timers.pop_due(now)? {
                Timer::Reservation(local) => {
                    self.reserved.remove(&local);
                }
                Timer::Allocation(id) => {
                    let allocation = self.get_mut(id);
                    allocation.timer = None;
                    if let Some(ended) = allocation.ended(id, now) {
                        return Some(ended);
                    }
                    allocation.expire(now);
                    self.reschedule(id);
                }
            }
        }
    }
}
