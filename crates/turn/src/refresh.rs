//! Refresh (RFC 8656 §8.2), CreatePermission (§10.2) and ChannelBind (§12.2).

use std::net::SocketAddr;
use std::time::Duration;

use voex_stun::AddressFamily;

use crate::channel_binding::BindingError;
use crate::permission::Full;
use crate::relays::Relays;
use crate::request::{Granted, Identity, Request};
use crate::timer::AllocationId;
use crate::{Refusal, RelayTransport, Server};

impl Server {
    pub(crate) fn refresh(&mut self, request: &Request<'_>, identity: &Identity<'_>) -> Result<Granted, Refusal> {
        if let Some(ticket) = request.message.mobility_ticket() {
            return self.resume(request, identity, ticket);
        }
        let id = self.own_allocation(request, identity)?;
        self.prolong(id, request, identity)
    }

    /// Gives an allocation, or one of its relays, the lifetime that a Refresh asks for.
    pub(crate) fn prolong(
        &mut self,
        id: AllocationId,
        request: &Request<'_>,
        identity: &Identity<'_>,
    ) -> Result<Granted, Refusal> {
        let asked_s = request.message.lifetime_s()?;
        let family = request.message.requested_address_family()?;
        let relays = &self.table.get(id).relays;
        if family.is_some_and(|family| relays.get(family).is_none()) {
            return Err(Refusal::PeerAddressFamilyMismatch);
        }
        let is_one_of_two = family.is_some() && relays.iter().count() == 2;
        match (asked_s, family) {
            (Some(0), Some(family)) if is_one_of_two => {
                self.end_relay(id, family);
                Ok(Granted::Refreshed(0))
            }
            (Some(0), _) => {
                self.report_refreshed(id, 0);
                Ok(Granted::Released(id))
            }
            _ => {
                let lifetime_s = self.granted_lifetime_s(asked_s, identity, request.wall);
                let expires = request.now + Duration::from_secs(lifetime_s.into());
                let relays = self.table.get_mut(id).relays.iter_mut();
                for relay in relays.filter(|relay| family.is_none_or(|family| family == relay.family())) {
                    relay.expires = expires;
                }
                self.table.reschedule(id);
                self.report_refreshed(id, lifetime_s);
                Ok(Granted::Refreshed(lifetime_s))
            }
        }
    }

    /// Installs all permissions of a request or none.
    pub(crate) fn create_permission(
        &mut self,
        request: &Request<'_>,
        identity: &Identity<'_>,
    ) -> Result<Granted, Refusal> {
        let id = self.own_allocation(request, identity)?;
        let allocation = self.table.get(id);
        let mut peers = 0;
        for peer in request.message.xor_peer_addresses() {
            self.check_peer(peer?, &allocation.relays)?;
            peers += 1;
        }
        if peers == 0 {
            return Err(Refusal::BadRequest);
        }
        let ips = || request.message.xor_peer_addresses().flatten().map(|peer| peer.ip());
        let added = allocation.permissions.count_new(ips());
        if !allocation.permissions.has_room_for(added) {
            return Err(Refusal::InsufficientCapacity);
        }
        let expires = request.now + self.config.lifetimes.permission;
        let allocation = self.table.get_mut(id);
        allocation.admit_peers(request.now, added, &self.config.rates)?;
        ips().try_for_each(|ip| allocation.permissions.install(ip, expires))?;
        self.table.reschedule(id);
        Ok(Granted::Done)
    }

    /// Binds a channel; that installs a permission too.
    pub(crate) fn bind_channel(&mut self, request: &Request<'_>, identity: &Identity<'_>) -> Result<Granted, Refusal> {
        let id = self.own_allocation(request, identity)?;
        // A TCP allocation has no channels (RFC 6062 §4.5): its data takes connections of its own.
        if self.table.get(id).transport == RelayTransport::Tcp {
            return Err(Refusal::BadRequest);
        }
        let (Some(number), Some(peer)) = (request.message.channel_number()?, request.message.xor_peer_address()?)
        else {
            return Err(Refusal::BadRequest);
        };
        if !number.is_rfc8656() && !self.config.rfc5766_channel_numbers {
            return Err(Refusal::BadRequest);
        }
        self.check_peer(peer, &self.table.get(id).relays)?;
        if !self.policy.permits_port(peer) {
            return Err(Refusal::Forbidden);
        }
        let lifetimes = self.config.lifetimes;
        let allocation = self.table.get_mut(id);
        allocation.channels.check(number, peer)?;
        let added = allocation.permissions.count_new(std::iter::once(peer.ip()));
        allocation.admit_peers(request.now, added, &self.config.rates)?;
        allocation
            .permissions
            .install(peer.ip(), request.now + lifetimes.permission)?;
        allocation
            .channels
            .bind(number, peer, request.now + lifetimes.channel)?;
        self.table.reschedule(id);
        Ok(Granted::Done)
    }

    pub(crate) fn check_peer(&self, peer: SocketAddr, relays: &Relays) -> Result<(), Refusal> {
        if !self.policy.permits_ip(peer.ip()) {
            return Err(Refusal::Forbidden);
        }
        // An IPv4-mapped address is of neither family: no packet of an IPv6 relay can go there.
        let is_mapped = peer.ip().to_canonical() != peer.ip();
        if is_mapped || relays.get(AddressFamily::of(peer.ip())).is_none() {
            return Err(Refusal::PeerAddressFamilyMismatch);
        }
        Ok(())
    }
}

impl From<BindingError> for Refusal {
    fn from(error: BindingError) -> Self {
        match error {
            BindingError::Conflict => Self::BadRequest,
            BindingError::Full => Self::InsufficientCapacity,
        }
    }
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Self::InsufficientCapacity
    }
}
