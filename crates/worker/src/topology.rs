//! Who owns what on this host: the table that decides whether a packet stays in the process.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use rustc_hash::FxHashMap;
use voex_base::{SocketId, WorkerId};

/// The addresses of this host's media plane; fixed at start, shared by all workers.
#[derive(Debug)]
pub struct Topology {
    workers: u16,
    media: Vec<MediaSocket>,
    media_by_address: FxHashMap<SocketAddr, MediaPlace>,
    media_ports: RangeInclusive<u16>,
    relays: Option<RelayRange>,
}

/// A WebRTC media socket: what candidates of one worker point at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaSocket {
    /// Worker that owns it.
    pub worker: WorkerId,
    /// Its id.
    pub socket: SocketId,
    /// Address it is bound to.
    pub local: SocketAddr,
    /// Addresses under which the outside reaches it, when a NAT maps one to one; same port.
    pub public: Vec<SocketAddr>,
}

/// Where TURN allocations get their relayed transport addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayRange {
    /// Addresses of relays.
    pub addresses: Vec<RelayAddress>,
    /// Ports of relays; which worker owns a port follows from its number.
    pub ports: RangeInclusive<u16>,
}

/// An address of relays, seen from both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayAddress {
    /// Address that relay sockets are bound to.
    pub local: IpAddr,
    /// Address that clients are told (`turn.external`); the same when there is no NAT.
    pub public: IpAddr,
}

/// Which of its two names an address was called by.
///
/// A packet that is handed over shows its receiver the source in the same form as the destination it was sent to, so
/// that the answer comes back to the name the client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The address that is bound.
    Local,
    /// The address that the outside is told.
    Public,
}

/// A destination on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A media socket.
    Media(MediaPlace),
    /// A port of the relay range; whether an allocation has it, its worker knows.
    Relay {
        /// Worker that owns the port.
        worker: WorkerId,
        /// Local form of the address.
        local: SocketAddr,
        /// Form that was asked for.
        form: Form,
    },
}

/// A media socket as a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaPlace {
    /// Worker that owns it.
    pub worker: WorkerId,
    /// Its id.
    pub socket: SocketId,
    /// Form that was asked for; `Local` when both are the same.
    pub form: Form,
}

impl Topology {
    /// Makes the table for `workers` workers.
    pub fn new(workers: u16, media: Vec<MediaSocket>, relays: Option<RelayRange>) -> Self {
        let mut media_by_address = FxHashMap::default();
        for socket in &media {
            let place = |form| MediaPlace {
                worker: socket.worker,
                socket: socket.socket,
                form,
            };
            for public in &socket.public {
                media_by_address.insert(*public, place(Form::Public));
            }
            media_by_address.insert(socket.local, place(Form::Local));
        }
        let ports = media.iter().map(|socket| socket.local.port());
        let media_ports = ports.clone().min().unwrap_or(1)..=ports.max().unwrap_or(0);
        Self {
            workers,
            media,
            media_by_address,
            media_ports,
            relays,
        }
    }

    /// Gives the number of workers.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// Gives every media socket of the host.
    pub fn media_sockets(&self) -> &[MediaSocket] {
        &self.media
    }

    /// Gives the media sockets of one worker: the candidates of the transports that live there.
    pub fn media_of(&self, worker: WorkerId) -> impl Iterator<Item = &MediaSocket> {
        self.media.iter().filter(move |socket| socket.worker == worker)
    }

    /// Gives where relays live, if TURN runs.
    pub fn relays(&self) -> Option<&RelayRange> {
        self.relays.as_ref()
    }

    /// Finds whether an address is one of ours. For foreign addresses this is a few comparisons.
    pub fn place(&self, address: SocketAddr) -> Option<Place> {
        self.media_place(address)
            .map(Place::Media)
            .or_else(|| self.relay_place(address))
    }

    /// Finds the media socket behind an address.
    pub fn media_place(&self, address: SocketAddr) -> Option<MediaPlace> {
        if !self.media_ports.contains(&address.port()) {
            return None;
        }
        self.media_by_address.get(&address).copied()
    }

    /// Finds the owner of a relayed transport address.
    pub fn relay_place(&self, address: SocketAddr) -> Option<Place> {
        let relays = self.relays.as_ref()?;
        if !relays.ports.contains(&address.port()) {
            return None;
        }
        let ip = address.ip();
        let of_form = |form, known: &RelayAddress| Place::Relay {
            worker: self.owner_of_relay_port(relays, address.port()),
            local: SocketAddr::new(known.local, address.port()),
            form,
        };
        let local = relays
            .addresses
            .iter()
            .find(|known| known.local == ip)
            .map(|known| of_form(Form::Local, known));
        local.or_else(|| {
            relays
                .addresses
                .iter()
                .find(|known| known.public == ip)
                .map(|known| of_form(Form::Public, known))
        })
    }

    /// Gives the name of a relay in one form, from its local address.
    pub fn relay_name(&self, local: SocketAddr, form: Form) -> SocketAddr {
        let known = self
            .relays
            .iter()
            .flat_map(|relays| &relays.addresses)
            .find(|known| known.local == local.ip());
        match (form, known) {
            (Form::Public, Some(known)) => SocketAddr::new(known.public, local.port()),
            _ => local,
        }
    }

    /// Gives the name under which a media socket sends to a relay that was called by `form`.
    ///
    /// A relay without NAT has one name only; its client then knows the media socket by its public name if it has one.
    pub fn media_name(&self, socket: SocketId, relay: SocketAddr, form: Form) -> Option<SocketAddr> {
        let media = self.media.iter().find(|media| media.socket == socket)?;
        let relay_has_one_name = self.relay_name(relay, Form::Public) == relay;
        let public = media.public.iter().find(|public| public.is_ipv4() == relay.is_ipv4());
        match public {
            Some(public) if form == Form::Public || relay_has_one_name => Some(*public),
            _ => Some(media.local),
        }
    }

    fn owner_of_relay_port(&self, relays: &RelayRange, port: u16) -> WorkerId {
        WorkerId((port - relays.ports.start()) % self.workers.max(1))
    }
}
