use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use voex_base::SocketId;
use voex_stun::AddressFamily;

use crate::relay_port::PortWish;
use crate::reservation::ReservedPort;
use crate::{RelayAddress, RelayedAddress};

/// The relays of an allocation: one, or one of each family (RFC 8656 §7.2).
#[derive(Default, Debug)]
pub(crate) struct Relays([Option<Relay>; 2]);

/// A relayed transport address, from the wish for its socket until it is refreshed no more.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: RelayAddress,
    /// Zero until one is drawn.
    pub(crate) port: u16,
    /// When it ends; already past while sockets are being bound, so that it carries no data.
    pub(crate) expires: Instant,
    pub(crate) socket: RelaySocket,
}

/// How far a relay's socket has come.
#[derive(Debug)]
pub(crate) enum RelaySocket {
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

impl Relays {
    pub(crate) fn insert(&mut self, relay: Relay) {
        let slot = &mut self.0[slot_of(relay.family())];
        *slot = Some(relay);
    }

    pub(crate) fn remove(&mut self, family: AddressFamily) -> Option<Relay> {
        self.0[slot_of(family)].take()
    }

    #[inline]
    pub(crate) fn get(&self, family: AddressFamily) -> Option<&Relay> {
        self.0[slot_of(family)].as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, family: AddressFamily) -> Option<&mut Relay> {
        self.0[slot_of(family)].as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Relay> {
        self.0.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Relay> {
        self.0.iter_mut().flatten()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Tells whether no socket is waited for any more.
    pub(crate) fn are_bound(&self) -> bool {
        self.iter().all(|relay| relay.socket().is_some())
    }

    /// Gives the socket that data for a peer leaves by now.
    #[inline]
    pub(crate) fn toward(&self, peer: IpAddr, now: Instant) -> Option<SocketId> {
        self.get(AddressFamily::of(peer))?.live_socket(now)
    }

    /// Gives the relay that has a socket.
    pub(crate) fn of_socket(&self, socket: SocketId) -> Option<&Relay> {
        self.iter().find(|relay| relay.socket() == Some(socket))
    }
}

impl Relay {
    pub(crate) fn family(&self) -> AddressFamily {
        AddressFamily::of(self.address.local)
    }

    pub(crate) fn relayed(&self) -> RelayedAddress {
        RelayedAddress {
            local: SocketAddr::new(self.address.local, self.port),
            public: SocketAddr::new(self.address.public, self.port),
        }
    }

    pub(crate) fn socket(&self) -> Option<SocketId> {
        match self.socket {
            RelaySocket::Bound(socket) => Some(socket),
            RelaySocket::Binding(_) => None,
        }
    }

    /// Gives its socket while it may carry data.
    #[inline]
    pub(crate) fn live_socket(&self, now: Instant) -> Option<SocketId> {
        self.socket().filter(|_| now < self.expires)
    }

    pub(crate) fn binding(&self) -> Option<&Binding> {
        match &self.socket {
            RelaySocket::Binding(binding) => Some(binding),
            RelaySocket::Bound(_) => None,
        }
    }

    pub(crate) fn binding_mut(&mut self) -> Option<&mut Binding> {
        match &mut self.socket {
            RelaySocket::Binding(binding) => Some(binding),
            RelaySocket::Bound(_) => None,
        }
    }
}

#[inline]
fn slot_of(family: AddressFamily) -> usize {
    match family {
        AddressFamily::V4 => 0,
        AddressFamily::V6 => 1,
    }
}
