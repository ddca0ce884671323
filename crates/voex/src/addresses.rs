//! Which addresses of this host the roles use, and under which the outside knows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use if_addrs::Interface;
use voex_config::{External, Settings};
use voex_net::MediaAddress;
use voex_turn::RelayAddress;

/// A documentation address: asking for the route to it finds the source address of the default route.
const ANYWHERE_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ANYWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The addresses of all roles.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Every usable address of the host, the best first: default routes, others, container bridges, loopback.
    pub(crate) host: Vec<IpAddr>,
    /// Where TURN listens.
    pub(crate) turn: Vec<IpAddr>,
    /// Where relays live: every address that TURN listens on, the best of each family first. Loopback only where its
    /// family has nothing else: from there a relay would reach nobody.
    pub(crate) relays: Vec<RelayAddress>,
    /// Where media sockets are bound.
    pub(crate) media: Vec<MediaAddress>,
    /// Which candidates media sockets make, the best first: bound address, address shown.
    pub(crate) candidates: Vec<(IpAddr, IpAddr)>,
}

impl Addresses {
    /// Works them out; every setting that this host cannot fulfil makes an error line.
    pub(crate) fn of(settings: &Settings, interfaces: &[Interface]) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let host = usable(interfaces);
        let external = external_interface(settings, interfaces, &mut errors);
        let turn = match &settings.turn.listen[..] {
            [] if external.is_empty() => host.clone(),
            [] => external.clone(),
            listen => checked("turn.listen", listen, &host, &mut errors),
        };
        let bound = match &settings.media.listen[..] {
            [] => host.clone(),
            listen => checked("media.listen", listen, &host, &mut errors),
        };
        if settings.turn.enabled && turn.is_empty() && errors.is_empty() {
            errors.push(no_address_to_listen_on(settings, &host));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let preferred = settings
            .turn
            .listen
            .iter()
            .chain(&external)
            .copied()
            .collect::<Vec<_>>();
        let media = media(settings, &bound, &preferred);
        Ok(Self {
            relays: relays(&turn, &settings.turn.external),
            candidates: candidates(settings, &media),
            host,
            turn,
            media,
        })
    }

    /// Shows relays under other addresses (`turn.external`) from now on.
    pub(crate) fn rename_relays(&mut self, external: &[External]) {
        for address in &mut self.relays {
            *address = relay(address.local, external);
        }
    }

    /// Says what of TURN this host does not serve for want of an address.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let left_out = |(family, v4)| {
            let of_family = || self.turn.iter().filter(move |address| address.is_ipv4() == v4);
            let [listening, outside] = [
                of_family().count(),
                of_family().filter(|own| !own.is_loopback()).count(),
            ];
            match (listening, outside) {
                (0, _) => Some(format!(
                    "TURN: no {family} address here: clients over {family} are not served, relays of {family} are refused with 440"
                )),
                (_, 0) => Some(format!(
                    "TURN: loopback is the only {family} address here: clients and peers of other hosts are not reached over {family}"
                )),
                _ => None,
            }
        };
        [("IPv4", true), ("IPv6", false)]
            .into_iter()
            .filter_map(left_out)
            .collect()
    }

    /// The address that stands for the host where only one can be given.
    pub(crate) fn primary(&self) -> IpAddr {
        self.host.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Spreads a socket that is bound to the unspecified address over the addresses of the host.
    pub(crate) fn spread(&self, socket: SocketAddr) -> Vec<SocketAddr> {
        if !socket.ip().is_unspecified() {
            return vec![socket];
        }
        self.host.iter().map(|ip| SocketAddr::new(*ip, socket.port())).collect()
    }
}

/// Gives the address that packets to `remote` leave from, as the routing table says; sends nothing.
pub(crate) fn toward(remote: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((remote, 9)).ok()?;
    let local = socket.local_addr().ok()?.ip();
    (!local.is_unspecified()).then_some(local)
}

/// Tells whether a socket can be bound to an address of this host, listed by an interface or not.
pub(crate) fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn usable(interfaces: &[Interface]) -> Vec<IpAddr> {
    let routes: Vec<IpAddr> = [ANYWHERE_V4.into(), ANYWHERE_V6.into()]
        .into_iter()
        .filter_map(toward)
        .collect();
    let rank = |interface: &Interface| {
        let address = interface.ip();
        let is_bridge = ["docker", "br-", "veth", "virbr"]
            .iter()
            .any(|name| interface.name.starts_with(name));
        (
            address.is_loopback(),
            is_bridge,
            !routes.contains(&address),
            address.is_ipv6(),
        )
    };
    let mut ranked: Vec<&Interface> = interfaces
        .iter()
        .filter(|interface| !needs_scope(interface.ip()))
        .collect();
    ranked.sort_by_key(|interface| rank(interface));
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in ranked.into_iter().map(Interface::ip) {
        // An address that is still being checked for duplicates is listed and cannot be bound.
        if !addresses.contains(&address) && is_ours(address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Link-local IPv6 means nothing without the interface it belongs to, which SDP and TURN cannot carry.
fn needs_scope(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Gives the addresses of `external_interface`. A name that does not exist is an error when the addresses depend on it.
fn external_interface(settings: &Settings, interfaces: &[Interface], errors: &mut Vec<String>) -> Vec<IpAddr> {
    let Some(name) = &settings.voex.external_interface else {
        return Vec::new();
    };
    let of_interface = interfaces
        .iter()
        .filter(|interface| interface.name == *name)
        .map(Interface::ip);
    let addresses: Vec<IpAddr> = of_interface.filter(|address| !needs_scope(*address)).collect();
    if addresses.is_empty() {
        let mut names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        names.dedup();
        let text = format!(
            "external_interface = \"{name}\": this host has no such interface with an address; it has {}",
            names.join(", ")
        );
        match settings.turn.listen.is_empty() {
            true => errors.push(text),
            false => tracing::warn!("{text}; turn.listen is used"),
        }
    }
    addresses
}

fn checked(key: &str, listen: &[IpAddr], host: &[IpAddr], errors: &mut Vec<String>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in listen {
        if address.is_unspecified() {
            addresses.extend(host.iter().filter(|own| own.is_ipv4() == address.is_ipv4()));
        } else if is_ours(*address) {
            addresses.push(*address);
        } else {
            let has = named(host);
            errors.push(format!(
                "{key} = \"{address}\": this host has no such address; it has {has}"
            ));
        }
    }
    addresses
}

fn no_address_to_listen_on(settings: &Settings, host: &[IpAddr]) -> String {
    let listen = named(&settings.turn.listen);
    match host.is_empty() {
        true => "turn.listen: this host has no address at all, not even loopback; bring an interface up".to_owned(),
        false => format!(
            "turn.listen = \"{listen}\": this host has no address of that family; it has {}",
            named(host)
        ),
    }
}

fn named(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn relays(turn: &[IpAddr], external: &[External]) -> Vec<RelayAddress> {
    let of_family = |v4: bool| {
        let all = turn.iter().filter(move |local| local.is_ipv4() == v4);
        let outside: Vec<_> = all.clone().filter(|local| !local.is_loopback()).collect();
        if outside.is_empty() { all.collect() } else { outside }
    };
    let (v4, v6) = (of_family(true), of_family(false));
    let best = v4.first().into_iter().chain(v6.first());
    let others = v4.iter().skip(1).chain(v6.iter().skip(1));
    best.chain(others).map(|local| relay(**local, external)).collect()
}

fn relay(local: IpAddr, external: &[External]) -> RelayAddress {
    let same_family = |external: &&External| external.public.is_ipv4() == local.is_ipv4() && !local.is_loopback();
    let exact = external.iter().find(|external| external.private == Some(local));
    let general = || {
        external
            .iter()
            .filter(same_family)
            .find(|external| external.private.is_none())
    };
    let public = exact.or_else(general).map_or(local, |external| external.public);
    RelayAddress { local, public }
}

/// One-to-one NAT maps a public address to one of ours: to the external one of its family.
fn media(settings: &Settings, bound: &[IpAddr], preferred: &[IpAddr]) -> Vec<MediaAddress> {
    let mut media: Vec<MediaAddress> = bound
        .iter()
        .map(|local| MediaAddress {
            local: *local,
            public: Vec::new(),
        })
        .collect();
    for public in &settings.media.public_address {
        let fits = |local: &IpAddr| local.is_ipv4() == public.is_ipv4() && !local.is_loopback();
        let behind = preferred
            .iter()
            .chain(bound)
            .find(|local| fits(local) && bound.contains(local));
        if let Some(address) = media.iter_mut().find(|address| Some(&address.local) == behind) {
            address.public.push(*public);
        }
    }
    media
}

/// Our own addresses first, then what stands for them outside, loopback last. With a public address and without
/// `media.keep_private`, only public ones.
fn candidates(settings: &Settings, media: &[MediaAddress]) -> Vec<(IpAddr, IpAddr)> {
    let mapped = media.iter().any(|address| !address.public.is_empty());
    let own = |loopback: bool| {
        let of_kind = media
            .iter()
            .filter(move |address| address.local.is_loopback() == loopback);
        of_kind.map(|address| (address.local, address.local))
    };
    let public = media
        .iter()
        .flat_map(|address| address.public.iter().map(|public| (address.local, *public)));
    if mapped && !settings.media.keep_private {
        return public.collect();
    }
    own(false).chain(public).chain(own(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(sets: &[&str]) -> Settings {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        voex_config::load(None, &sets, true).unwrap().settings
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn shown(settings: &Settings, bound: &[&str], preferred: &[&str]) -> Vec<String> {
        let (bound, preferred): (Vec<_>, Vec<_>) = (
            bound.iter().map(|a| ip(a)).collect(),
            preferred.iter().map(|a| ip(a)).collect(),
        );
        let media = media(settings, &bound, &preferred);
        candidates(settings, &media)
            .into_iter()
            .map(|(local, shown)| format!("{shown} of {local}"))
            .collect()
    }

    #[test]
    fn without_nat_every_address_is_a_candidate_and_loopback_the_last() {
        let candidates = shown(&settings(&[]), &["127.0.0.1", "10.0.0.1", "2001:db8::5"], &[]);
        assert_eq!(
            candidates,
            [
                "10.0.0.1 of 10.0.0.1",
                "2001:db8::5 of 2001:db8::5",
                "127.0.0.1 of 127.0.0.1"
            ]
        );
    }

    #[test]
    fn a_public_address_replaces_the_private_ones_and_stands_for_the_external_one() {
        let settings = settings(&["media.public_address=1.2.3.4"]);
        let candidates = shown(&settings, &["172.17.0.1", "10.0.0.1", "127.0.0.1"], &["10.0.0.1"]);
        assert_eq!(candidates, ["1.2.3.4 of 10.0.0.1"]);
    }

    #[test]
    fn keep_private_offers_both_and_prefers_the_private_one() {
        let settings = settings(&["media.public_address=1.2.3.4", "media.keep_private=yes"]);
        let candidates = shown(&settings, &["10.0.0.1", "127.0.0.1"], &[]);
        assert_eq!(
            candidates,
            ["10.0.0.1 of 10.0.0.1", "1.2.3.4 of 10.0.0.1", "127.0.0.1 of 127.0.0.1"]
        );
    }

    #[test]
    fn a_relay_shows_its_own_external_address_before_the_general_one_and_loopback_none() {
        let settings = settings(&["turn.external=1.2.3.4,5.6.7.8/10.0.0.2"]);
        let public = |local| relay(ip(local), &settings.turn.external).public;
        assert_eq!(public("10.0.0.1"), ip("1.2.3.4"));
        assert_eq!(public("10.0.0.2"), ip("5.6.7.8"));
        assert_eq!(public("127.0.0.1"), ip("127.0.0.1"));
        assert_eq!(public("2001:db8::5"), ip("2001:db8::5"));
    }

    #[test]
    fn relays_live_where_turn_listens_the_best_of_each_family_first_and_on_loopback_for_want_of_better() {
        let lives = |listen: &[&str]| {
            let listen: Vec<IpAddr> = listen.iter().map(|a| ip(a)).collect();
            let all = relays(&listen, &[]).into_iter().map(|relay| relay.local.to_string());
            all.collect::<Vec<_>>()
        };
        let all = ["10.0.0.1", "10.0.0.2", "2001:db8::5", "2001:db8::6", "127.0.0.1", "::1"];
        assert_eq!(lives(&all), ["10.0.0.1", "2001:db8::5", "10.0.0.2", "2001:db8::6"]);
        assert_eq!(lives(&["127.0.0.1", "2001:db8::5"]), ["127.0.0.1", "2001:db8::5"]);
        assert_eq!(lives(&["127.0.0.1", "127.0.0.2"]), ["127.0.0.1", "127.0.0.2"]);
    }

    #[test]
    fn an_address_that_this_host_does_not_have_is_named_with_those_it_has() {
        let settings = settings(&["turn.listen=192.0.2.254", "media.listen=192.0.2.253"]);
        let errors = Addresses::of(&settings, &if_addrs::get_if_addrs().unwrap()).unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(
            errors[0].starts_with("turn.listen = \"192.0.2.254\"") && errors[0].contains("127.0.0.1"),
            "{errors:?}"
        );
    }
}
