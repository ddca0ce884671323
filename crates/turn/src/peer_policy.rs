use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use voex_base::{canonical_ip, canonical_socket};

use crate::PeerRules;

/// Judges peers by the address a packet would really reach.
#[derive(Debug)]
pub(crate) struct PeerPolicy {
    rules: PeerRules,
}

impl PeerPolicy {
    pub(crate) fn new(mut rules: PeerRules) -> Self {
        rules
            .own_sockets
            .iter_mut()
            .for_each(|own| *own = canonical_socket(*own));
        Self { rules }
    }

    /// Tells whether an address may get a permission.
    pub(crate) fn permits_ip(&self, ip: IpAddr) -> bool {
        let ip = canonical_ip(ip);
        let closed = match ip {
            IpAddr::V4(v4) => self.is_closed_v4(v4),
            IpAddr::V6(v6) => self.is_closed_v6(v6),
        };
        !closed && (!within(&self.rules.deny, ip) || within(&self.rules.allow, ip))
    }

    /// Tells whether data may go to a port of an address that has a permission.
    #[inline]
    pub(crate) fn permits_port(&self, peer: SocketAddr) -> bool {
        peer.port() != 0 && !self.rules.own_sockets.contains(&canonical_socket(peer))
    }

    fn is_closed_v4(&self, ip: Ipv4Addr) -> bool {
        (ip.is_loopback() && !self.rules.allow_loopback)
            || METADATA_V4.contains(&ip)
            || ip.octets()[0] == 0
            || ip.is_link_local()
            || ip.is_multicast()
            || ip.is_broadcast()
    }

    fn is_closed_v6(&self, ip: Ipv6Addr) -> bool {
        // fec0::/10 was link-scope's sibling, site-local; stacks that still honour it treat it as inside.
        let is_site_local = ip.segments()[0] & 0xffc0 == 0xfec0;
        (ip.is_loopback() && !self.rules.allow_loopback)
            || ip == METADATA_V6
            || ip.is_unspecified()
            || ip.is_unicast_link_local()
            || ip.is_multicast()
            || is_site_local
    }
}

/// Where clouds keep a machine's credentials outside the link-local 169.254.169.254, which is closed with its range:
/// Alibaba, Oracle, Azure; and Amazon over IPv6.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn within(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(rules: PeerRules, ip: &str) -> bool {
        PeerPolicy::new(rules).permits_ip(ip.parse().unwrap())
    }

    #[test]
    fn ranges_that_are_not_the_outside_are_closed_in_every_disguise() {
        for closed in [
            "127.0.0.1",
            "127.255.1.2",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::ffff:0.0.0.0",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::ffff:100.100.100.200",
            "fd00:ec2::254",
        ] {
            assert!(!permits(PeerRules::default(), closed), "{closed}");
        }
    }

    #[test]
    fn private_and_global_addresses_are_open_by_default() {
        for open in [
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "8.8.8.8",
            "fd00::1",
            "fd00:ec2::253",
            "100.100.100.201",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(permits(PeerRules::default(), open), "{open}");
        }
    }

    #[test]
    fn loopback_opens_on_request_and_nothing_else_with_it() {
        let rules = || PeerRules {
            allow_loopback: true,
            ..PeerRules::default()
        };
        assert!(permits(rules(), "127.0.0.1"));
        assert!(permits(rules(), "::1"));
        assert!(!permits(rules(), "0.0.0.0"));
        assert!(!permits(rules(), "::"));
    }

    #[test]
    fn the_allow_list_wins_over_the_deny_list_but_not_over_closed_ranges() {
        let rules = || PeerRules {
            allow: vec!["10.1.0.0/16".parse().unwrap(), "169.254.0.0/16".parse().unwrap()],
            deny: vec!["10.0.0.0/8".parse().unwrap()],
            ..PeerRules::default()
        };
        assert!(permits(rules(), "10.1.2.3"));
        assert!(!permits(rules(), "10.2.2.3"));
        assert!(!permits(rules(), "::ffff:10.2.2.3"));
        assert!(!permits(rules(), "169.254.1.1"));
    }

    #[test]
    fn own_sockets_are_closed_by_port_and_in_every_disguise() {
        let policy = PeerPolicy::new(PeerRules {
            own_sockets: vec!["10.0.0.5:8188".parse().unwrap()],
            ..PeerRules::default()
        });
        assert!(policy.permits_port("10.0.0.5:8189".parse().unwrap()));
        assert!(!policy.permits_port("10.0.0.5:8188".parse().unwrap()));
        assert!(!policy.permits_port("[::ffff:10.0.0.5]:8188".parse().unwrap()));
        assert!(!policy.permits_port("10.0.0.6:0".parse().unwrap()));
    }
}
