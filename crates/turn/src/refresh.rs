//! Refresh (RFC 8656 §8.2), CreatePermission (§10.2) and ChannelBind (§12.2).

use std::net::SocketAddr;
use std::time::Duration;

use voex_stun::AddressFamily;

use crate::channel_binding::BindingError;
use crate::permission::Full;
use crate::request::{Granted, Identity, Request};
use crate::{Refusal, Server};

impl Server {
    pub(crate) fn refresh(&mut self, request: &Request<'_>, identity: &Identity<'_>) -> Result<Granted, Refusal> {
        let id = self.own_allocation(request, identity)?;
        let asked_s = request.message.lifetime_s()?;
        let family = request.message.requested_address_family()?;
        if family.is_some_and(|family| family != self.table.get(id).family()) {
            return Err(Refusal::PeerAddressFamilyMismatch);
        }
        if asked_s == Some(0) {
            self.report_refreshed(id, 0);
            return Ok(Granted::Released(id));
        }
        let lifetime_s = self.granted_lifetime_s(asked_s, identity, request.wall);
        self.table.get_mut(id).expires = request.now + Duration::from_secs(lifetime_s.into());
        self.table.reschedule(id);
        self.report_refreshed(id, lifetime_s);
        Ok(Granted::Refreshed(lifetime_s))
    }

    /// Installs all permissions of a request or none.
    pub(crate) fn create_permission(
        &mut self,
        request: &Request<'_>,
        identity: &Identity<'_>,
    ) -> Result<Granted, Refusal> {
        let id = self.own_allocation(request, identity)?;
        let allocation = self.table.get(id);
        let family = allocation.family();
        let mut peers = 0;
        for peer in request.message.xor_peer_addresses() {
            self.check_peer(peer?, family)?;
            peers += 1;
        }
        if peers == 0 {
            return Err(Refusal::BadRequest);
        }
        let ips = || request.message.xor_peer_addresses().flatten().map(|peer| peer.ip());
        if !allocation.permissions.has_room_for(ips()) {
            return Err(Refusal::InsufficientCapacity);
        }
        let expires = request.now + self.config.lifetimes.permission;
        let allocation = self.table.get_mut(id);
        ips().try_for_each(|ip| allocation.permissions.install(ip, expires))?;
        self.table.reschedule(id);
        Ok(Granted::Done)
    }

    /// Binds a channel; that installs a permission too.
    pub(crate) fn bind_channel(&mut self, request: &Request<'_>, identity: &Identity<'_>) -> Result<Granted, Refusal> {
        let id = self.own_allocation(request, identity)?;
        let (Some(number), Some(peer)) = (request.message.channel_number()?, request.message.xor_peer_address()?)
        else {
            return Err(Refusal::BadRequest);
        };
        if !number.is_rfc8656() && !self.config.rfc5766_channel_numbers {
            return Err(Refusal::BadRequest);
        }
        self.check_peer(peer, self.table.get(id).family())?;
        if !self.policy.permits_port(peer) {
            return Err(Refusal::Forbidden);
        }
        let lifetimes = self.config.lifetimes;
        let allocation = self.table.get_mut(id);
        allocation.channels.check(number, peer)?;
        allocation
            .permissions
            .install(peer.ip(), request.now + lifetimes.permission)?;
        allocation
            .channels
            .bind(number, peer, request.now + lifetimes.channel)?;
        self.table.reschedule(id);
        Ok(Granted::Done)
    }

    fn check_peer(&self, peer: SocketAddr, family: AddressFamily) -> Result<(), Refusal> {
        if !self.policy.permits_ip(peer.ip()) {
            return Err(Refusal::Forbidden);
        }
        // An IPv4-mapped address is of neither family: no packet of an IPv6 relay can go there.
        let is_mapped = peer.ip().to_canonical() != peer.ip();
        if is_mapped || peer.is_ipv4() != (family == AddressFamily::V4) {
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
