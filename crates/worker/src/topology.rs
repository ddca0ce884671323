//! Who owns what on this host: the table that decides whether a packet stays in the process.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rustc_hash::FxHashMap;
use voex_base::{SocketId, WorkerId};
use voex_turn::RelayAddress;

/// The addresses of this host's media plane, shared by all workers.
///
/// Everything is fixed at start but the owners of relay ports: a worker enters itself when it has bound one. Looking
/// up is a few comparisons for a foreign address and one relaxed load for a port of ours.
#[derive(Debug)]
pub struct Topology {
    media: Vec<MediaSocket>,
    media_by_address: FxHashMap<SocketAddr, MediaPlace>,
    media_ports: RangeInclusive<u16>,
    relays: Vec<RelayHost>,
}

/// One address of relays and who has which of its ports.
#[derive(Debug)]
struct RelayHost {
    address: RelayAddress,
    /// Public addresses that it had before, the newest first: allocations keep the name they were made under.
    former: Vec<IpAddr>,
    ports: RangeInclusive<u16>,
    /// By port from the first of `ports`: number of the worker plus one, zero for nobody.
    owners: Arc<[AtomicU16]>,
}

/// Former public addresses of a relay address that are still answered to; the oldest make room.
const FORMER_NAMES_MAX: usize = 8;

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
    /// Ports of relays.
    pub ports: RangeInclusive<u16>,
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
    /// The relayed transport address of an allocation.
    Relay(RelayPlace),
}

/// A relay as a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayPlace {
    /// Worker that has the allocation.
    pub worker: WorkerId,
    /// Local form of the address.
    pub local: SocketAddr,
    /// Form that was asked for; `Local` when both are the same.
    pub form: Form,
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
    /// Makes the table; no relay port has an owner yet.
    pub fn new(media: Vec<MediaSocket>, relays: Option<RelayRange>) -> Self {
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
        let relays = relays.iter().flat_map(RelayRange::hosts).collect();
        Self {
            media,
            media_by_address,
            media_ports,
            relays,
        }
    }

    /// Makes a table in which relays have other public addresses, those of `relays` with the same local one. Their
    /// former names stay known, and both tables share who has which port.
    #[must_use]
    pub fn renamed(&self, relays: &[RelayAddress]) -> Self {
        let renamed = |host: &RelayHost| {
            let now = relays.iter().find(|relay| relay.local == host.address.local);
            host.renamed(now.map_or(host.address.public, |relay| relay.public))
        };
        Self {
            media: self.media.clone(),
            media_by_address: self.media_by_address.clone(),
            media_ports: self.media_ports.clone(),
            relays: self.relays.iter().map(renamed).collect(),
        }
    }

    /// Gives every media socket of the host.
    pub fn media_sockets(&self) -> &[MediaSocket] {
        &self.media
    }

    /// Gives the media sockets of one worker: the candidates of the transports that live there.
    pub fn media_of(&self, worker: WorkerId) -> impl Iterator<Item = &MediaSocket> {
        self.media.iter().filter(move |socket| socket.worker == worker)
    }

    /// Finds whether an address is one of ours. For foreign addresses this is a few comparisons.
    pub fn place(&self, address: SocketAddr) -> Option<Place> {
        let media = self.media_place(address).map(Place::Media);
        media.or_else(|| self.relay_place(address).map(Place::Relay))
    }

    /// Finds the media socket behind an address.
    pub fn media_place(&self, address: SocketAddr) -> Option<MediaPlace> {
        if !self.media_ports.contains(&address.port()) {
            return None;
        }
        self.media_by_address.get(&address).copied()
    }

    /// Finds the allocation that has a relayed transport address.
    pub fn relay_place(&self, address: SocketAddr) -> Option<RelayPlace> {
        let ip = address.ip();
        self.relays.iter().find_map(|host| {
            let form = host.form_of(ip)?;
            let worker = host.owner_of(address.port())?;
            Some(RelayPlace {
                worker,
                local: SocketAddr::new(host.address.local, address.port()),
                form,
            })
        })
    }

    /// Gives the local name of a relay port of this host from a public one that a NAT has for it.
    pub(crate) fn local_relay(&self, public: SocketAddr) -> Option<SocketAddr> {
        let is_ours =
            |host: &&RelayHost| host.form_of(public.ip()) == Some(Form::Public) && host.ports.contains(&public.port());
        let host = self.relays.iter().find(is_ours)?;
        Some(SocketAddr::new(host.address.local, public.port()))
    }

    /// Gives the public name of a relay port of this host from its local one, if it has another.
    pub(crate) fn public_relay(&self, local: SocketAddr) -> Option<SocketAddr> {
        let is_ours = |host: &&RelayHost| host.address.local == local.ip() && host.ports.contains(&local.port());
        let host = self.relays.iter().find(is_ours)?;
        Some(SocketAddr::new(host.address.public, local.port())).filter(|public| *public != local)
    }

    /// Enters or, with `None`, strikes out the owner of a relay by its local address.
    pub(crate) fn set_relay_owner(&self, local: SocketAddr, owner: Option<WorkerId>) {
        for host in self.relays.iter().filter(|host| host.address.local == local.ip()) {
            if let Some(entry) = host.entry(local.port()) {
                entry.store(owner.map_or(0, |worker| worker.0 + 1), Ordering::Relaxed);
            }
        }
    }

    /// Gives the name of a relay in one form, from its local address.
    pub fn relay_name(&self, local: SocketAddr, form: Form) -> SocketAddr {
        let host = self.relays.iter().find(|host| host.address.local == local.ip());
        match (form, host) {
            (Form::Public, Some(host)) => SocketAddr::new(host.address.public, local.port()),
            _ => local,
        }
    }

    /// Gives the name under which a media socket sends to a relay that was called by its name in `place`.
    ///
    /// A relay without NAT has one name only; its client then knows the media socket by its public name if it has one.
    pub fn media_name(&self, socket: SocketId, place: &RelayPlace) -> Option<SocketAddr> {
        let media = self.media.iter().find(|media| media.socket == socket)?;
        let relay_has_one_name = self.relay_name(place.local, Form::Public) == place.local;
        let public = media
            .public
            .iter()
            .find(|public| public.is_ipv4() == place.local.is_ipv4());
        match public {
            Some(public) if place.form == Form::Public || relay_has_one_name => Some(*public),
            _ => Some(media.local),
        }
    }
}

impl RelayRange {
    fn hosts(&self) -> impl Iterator<Item = RelayHost> + '_ {
        self.addresses.iter().map(|address| RelayHost {
            address: *address,
            former: Vec::new(),
            ports: self.ports.clone(),
            owners: self.ports.clone().map(|_| AtomicU16::new(0)).collect(),
        })
    }
}

impl RelayHost {
    fn form_of(&self, ip: IpAddr) -> Option<Form> {
        if self.address.local == ip {
            Some(Form::Local)
        } else if self.address.public == ip || self.former.contains(&ip) {
            Some(Form::Public)
        } else {
            None
        }
    }

    /// Makes the same host under another public address; both share who has which port.
    fn renamed(&self, public: IpAddr) -> Self {
        let mut former = self.former.clone();
        if public != self.address.public {
            former.retain(|name| *name != public);
            former.insert(0, self.address.public);
            former.truncate(FORMER_NAMES_MAX);
        }
        Self {
            address: RelayAddress { public, ..self.address },
            former,
            ports: self.ports.clone(),
            owners: self.owners.clone(),
        }
    }

    fn owner_of(&self, port: u16) -> Option<WorkerId> {
        let owner = self.entry(port)?.load(Ordering::Relaxed);
        owner.checked_sub(1).map(WorkerId)
    }

    fn entry(&self, port: u16) -> Option<&AtomicU16> {
        self.owners.get(usize::from(port.checked_sub(*self.ports.start())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn behind_nat() -> Topology {
        let media = MediaSocket {
            worker: WorkerId(1),
            socket: SocketId(5),
            local: at("10.0.0.1:20001"),
            public: vec![at("203.0.113.1:20001")],
        };
        let address = RelayAddress {
            local: at("10.0.0.1:0").ip(),
            public: at("203.0.113.1:0").ip(),
        };
        Topology::new(
            vec![media],
            Some(RelayRange {
                addresses: vec![address],
                ports: 50_000..=50_009,
            }),
        )
    }

    #[test]
    fn a_media_address_is_known_by_both_names() {
        let place = |form| {
            Some(Place::Media(MediaPlace {
                worker: WorkerId(1),
                socket: SocketId(5),
                form,
            }))
        };
        assert_eq!(behind_nat().place(at("10.0.0.1:20001")), place(Form::Local));
        assert_eq!(behind_nat().place(at("203.0.113.1:20001")), place(Form::Public));
        assert_eq!(behind_nat().place(at("203.0.113.1:20002")), None);
        assert_eq!(behind_nat().place(at("203.0.113.2:20001")), None);
    }

    #[test]
    fn a_relay_port_is_ours_only_while_an_allocation_has_it() {
        let topology = behind_nat();
        assert_eq!(topology.place(at("203.0.113.1:50009")), None);
        topology.set_relay_owner(at("10.0.0.1:50009"), Some(WorkerId(0)));
        let place = RelayPlace {
            worker: WorkerId(0),
            local: at("10.0.0.1:50009"),
            form: Form::Public,
        };
        assert_eq!(topology.place(at("203.0.113.1:50009")), Some(Place::Relay(place)));
        topology.set_relay_owner(at("10.0.0.1:50009"), None);
        assert_eq!(topology.place(at("203.0.113.1:50009")), None);
        assert_eq!(topology.place(at("203.0.113.1:50010")), None);
        assert_eq!(topology.place(at("203.0.113.1:49999")), None);
    }

    #[test]
    fn the_answer_comes_from_the_name_that_was_called() {
        let topology = behind_nat();
        topology.set_relay_owner(at("10.0.0.1:50000"), Some(WorkerId(0)));
        for (relay, media) in [
            ("10.0.0.1:50000", "10.0.0.1:20001"),
            ("203.0.113.1:50000", "203.0.113.1:20001"),
        ] {
            let place = topology.relay_place(at(relay)).unwrap();
            assert_eq!(topology.media_name(SocketId(5), &place), Some(at(media)));
            assert_eq!(topology.relay_name(place.local, place.form), at(relay));
        }
    }
}
