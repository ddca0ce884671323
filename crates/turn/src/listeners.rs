use std::net::{IpAddr, SocketAddr};

use voex_base::{Protocol, SocketId};
use voex_stun::ChangeRequest;

use crate::{ClientPath, RelayAddress};

/// The UDP listeners of a shard, each with those that answer in its stead in NAT behaviour discovery.
///
/// ```text
///                 asked for   nothing   other port   other address   both      (RFC 5780 §6.1, table 1)
///  request came to A1:P1      A1:P1     A1:P2        A2:P1           A2:P2
/// ```
///
/// Addresses of a family, and ports of an address, stand in pairs: first and second, third and fourth; a last one alone
/// has the first. Only addresses that reach equally far stand in for each other, as clients know them: a container bridge is
/// no other address of a public one.
#[derive(Default, Debug)]
pub(crate) struct Listeners {
    /// Sorted by address.
    udp: Vec<Listener>,
    /// Which public addresses stand for ours.
    relays: Vec<RelayAddress>,
}

/// A UDP listener and who answers in its stead.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    local: SocketAddr,
    socket: SocketId,
    /// Whether the address and whether the port is another; `None` where there is no such listener.
    answering: [[Option<Answering>; 2]; 2],
}

/// The socket that an answer leaves from, and its address as clients know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answering {
    pub(crate) socket: SocketId,
    pub(crate) shown: SocketAddr,
}

/// How far an address reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Host,
    Site,
    World,
}

impl Reach {
    fn of(ip: IpAddr) -> Self {
        let is_site = match ip {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || (v4.to_bits() >> 22) == 0x191,
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        match (ip.is_loopback(), is_site) {
            (true, _) => Self::Host,
            (false, true) => Self::Site,
            (false, false) => Self::World,
        }
    }
}

impl Listeners {
    pub(crate) fn new(relays: &[RelayAddress]) -> Self {
        Self {
            udp: Vec::new(),
            relays: relays.to_vec(),
        }
    }

    /// Takes over which public addresses stand for ours.
    pub(crate) fn set_relays(&mut self, relays: &[RelayAddress]) {
        self.relays = relays.to_vec();
        self.pair();
    }

    /// Takes note of a socket of clients, if it is a UDP listener on an address of its own.
    pub(crate) fn insert(&mut self, socket: SocketId, path: &ClientPath) {
        if path.protocol == Protocol::Udp && !path.local.ip().is_unspecified() {
            self.udp.push(Listener {
                local: path.local,
                socket,
                answering: Default::default(),
            });
            self.udp.sort_unstable_by_key(|listener| listener.local);
            self.pair();
        }
    }

    /// Forgets a socket.
    pub(crate) fn remove(&mut self, socket: SocketId) {
        let before = self.udp.len();
        self.udp.retain(|listener| listener.socket != socket);
        if self.udp.len() < before {
            self.pair();
        }
    }

    /// Finds a listener by its socket.
    #[inline]
    pub(crate) fn get(&self, socket: SocketId) -> Option<&Listener> {
        self.udp.iter().find(|listener| listener.socket == socket)
    }

    /// Tells whether clients know a listener by this address.
    pub(crate) fn is_shown(&self, address: SocketAddr) -> bool {
        let mut shown = self
            .udp
            .iter()
            .map(|listener| (self.shown(listener.local.ip()), listener.local.port()));
        shown.any(|(ip, port)| SocketAddr::new(ip, port) == address)
    }

    fn pair(&mut self) {
        for at in 0..self.udp.len() {
            let local = self.udp[at].local;
            let (ips, ports) = (
                [Some(local.ip()), self.other_ip(local)],
                [Some(local.port()), self.other_port(local)],
            );
            self.udp[at].answering = ips.map(|ip| ports.map(|port| self.find(SocketAddr::new(ip?, port?))));
        }
    }

    fn find(&self, local: SocketAddr) -> Option<Answering> {
        let found = self.udp.iter().find(|listener| listener.local == local)?;
        Some(Answering {
            socket: found.socket,
            shown: SocketAddr::new(self.shown(local.ip()), local.port()),
        })
    }

    fn shown(&self, ip: IpAddr) -> IpAddr {
        let mapped = self.relays.iter().find(|relay| relay.local == ip);
        mapped.map_or(ip, |relay| relay.public)
    }

    fn other_ip(&self, local: SocketAddr) -> Option<IpAddr> {
        let ips = self.udp.iter().map(|listener| listener.local.ip());
        let reach = |ip: IpAddr| (ip.is_ipv4(), Reach::of(self.shown(ip)));
        let mut alike: Vec<_> = ips.filter(|ip| reach(*ip) == reach(local.ip())).collect();
        alike.dedup();
        partner(&alike, &local.ip())
    }

    fn other_port(&self, local: SocketAddr) -> Option<u16> {
        let of_ip = self.udp.iter().filter(|listener| listener.local.ip() == local.ip());
        let ports: Vec<_> = of_ip.map(|listener| listener.local.port()).collect();
        partner(&ports, &local.port())
    }
}

impl Listener {
    /// Gives who answers what came to this one.
    pub(crate) fn answering(&self, change: ChangeRequest) -> Option<Answering> {
        self.answering[usize::from(change.ip)][usize::from(change.port)]
    }
}

fn partner<T: Copy + PartialEq>(sorted: &[T], one: &T) -> Option<T> {
    let at = sorted.iter().position(|other| other == one)?;
    let partner = sorted.get(at ^ 1).or(sorted.first()).copied();
    partner.filter(|partner| partner != one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(addresses: &[&str]) -> Listeners {
        let mut listeners = Listeners::default();
        for (id, address) in addresses.iter().enumerate() {
            let path = ClientPath::udp(address.parse().unwrap());
            listeners.insert(SocketId(id as u64), &path);
        }
        listeners
    }

    fn answering(listeners: &Listeners, socket: u64, ip: bool, port: bool) -> Option<String> {
        let listener = listeners.get(SocketId(socket)).unwrap();
        let answering = listener.answering(ChangeRequest { ip, port });
        answering.map(|listener| listener.shown.to_string())
    }

    #[test]
    fn four_listeners_answer_as_the_table_of_the_rfc_says() {
        let all = listeners(&["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"]);
        for (socket, ip, port, expected) in [
            (0, false, false, "192.0.2.1:3478"),
            (0, false, true, "192.0.2.1:3479"),
            (0, true, false, "192.0.2.2:3478"),
            (0, true, true, "192.0.2.2:3479"),
            (3, true, true, "192.0.2.1:3478"),
        ] {
            assert_eq!(answering(&all, socket, ip, port).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_not_there_answers_nothing() {
        let one_port = listeners(&["192.0.2.1:3478", "192.0.2.2:3478", "[2001:db8::1]:3478"]);
        assert_eq!(answering(&one_port, 0, true, false).as_deref(), Some("192.0.2.2:3478"));
        assert_eq!(answering(&one_port, 0, false, true), None);
        assert_eq!(answering(&one_port, 0, true, true), None);
        assert_eq!(
            answering(&one_port, 2, true, false),
            None,
            "the other family is no other address"
        );
        let uneven = listeners(&["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478"]);
        assert_eq!(answering(&uneven, 0, true, true), None);
        assert_eq!(answering(&uneven, 1, true, false), None);
    }

    #[test]
    fn ports_and_addresses_stand_in_pairs_and_a_last_one_has_the_first() {
        let many = listeners(&[
            "192.0.2.1:5350",
            "192.0.2.1:3478",
            "192.0.2.1:5349",
            "192.0.2.1:3479",
            "192.0.2.1:9000",
        ]);
        for (socket, expected) in [
            (1, "192.0.2.1:3479"),
            (2, "192.0.2.1:5350"),
            (0, "192.0.2.1:5349"),
            (4, "192.0.2.1:3478"),
        ] {
            assert_eq!(answering(&many, socket, false, true).as_deref(), Some(expected));
        }
    }

    #[test]
    fn only_addresses_that_reach_equally_far_stand_in_for_each_other() {
        let mut mixed = listeners(&[
            "10.0.0.5:3478",
            "10.0.0.6:3478",
            "127.0.0.1:3478",
            "172.17.0.1:3478",
            "100.64.0.1:3478",
            "203.0.113.1:3478",
        ]);
        assert_eq!(answering(&mixed, 0, true, false).as_deref(), Some("10.0.0.6:3478"));
        assert_eq!(answering(&mixed, 3, true, false).as_deref(), Some("100.64.0.1:3478"));
        assert_eq!(answering(&mixed, 2, true, false), None);
        assert_eq!(answering(&mixed, 5, true, false), None);
        // Behind a one-to-one NAT it is the public address that counts, and that clients are told.
        let relay = |local: &str, public: &str| RelayAddress {
            local: local.parse().unwrap(),
            public: public.parse().unwrap(),
        };
        mixed.set_relays(&[relay("10.0.0.5", "203.0.113.2")]);
        assert_eq!(answering(&mixed, 0, true, false).as_deref(), Some("203.0.113.1:3478"));
        assert_eq!(answering(&mixed, 5, true, false).as_deref(), Some("203.0.113.2:3478"));
        assert_eq!(answering(&mixed, 1, true, false).as_deref(), Some("100.64.0.1:3478"));
    }

    #[test]
    fn streams_wildcards_and_closed_sockets_are_no_listeners() {
        let mut some = listeners(&["0.0.0.0:3478", "192.0.2.1:3478", "192.0.2.1:3479"]);
        let stream = ClientPath {
            protocol: Protocol::Tcp,
            ..ClientPath::udp("192.0.2.1:3480".parse().unwrap())
        };
        some.insert(SocketId(9), &stream);
        assert!(some.get(SocketId(0)).is_none() && some.get(SocketId(9)).is_none());
        some.remove(SocketId(2));
        assert_eq!(answering(&some, 1, false, true), None);
    }
}
