//! Addresses and what they really mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::SocketId;

/// How a client reaches a listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// UDP datagrams.
    Udp,
    /// A TCP stream.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Dtls];

    /// Gives its name, as settings and the management API write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Dtls => "dtls",
        }
    }
}

/// The client's side of an allocation (RFC 8656 §3.2): which of our sockets it talks to, and from where.
///
/// The socket stands for protocol, local address and local port, so the five values are two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FiveTuple {
    /// Our listening socket or accepted stream.
    pub socket: SocketId,
    /// The client's address.
    pub client: SocketAddr,
}

/// Reduces an address to the one the packet will really reach, so that a policy written for IPv4 cannot be passed
/// in an IPv6 disguise.
///
/// Unwraps IPv4-mapped (`::ffff:0:0/96`), IPv4-compatible (`::/96`), NAT64 (`64:ff9b::/96`) and 6to4 (`2002::/16`)
/// forms. `::` and `::1` stay what they are.
pub fn canonical_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => embedded_v4(v6).map_or(ip, IpAddr::V4),
    }
}

/// Applies [`canonical_ip`] and keeps the port.
pub fn canonical_socket(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical_ip(address.ip()), address.port())
}

fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let low = || Some(v4(s[6], s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, _, _] => low(),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => low(),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, _, _] => low(),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        canonical_ip(text.parse().unwrap()).to_string()
    }

    #[test]
    fn every_ipv6_disguise_of_loopback_is_loopback() {
        for disguise in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:7f00:1:5::9",
        ] {
            assert_eq!(canonical(disguise), "127.0.0.1", "{disguise}");
        }
    }

    #[test]
    fn addresses_that_embed_nothing_stay_what_they_are() {
        for plain in ["::", "::1", "2001:db8::1", "fe80::1", "10.1.2.3"] {
            assert_eq!(canonical(plain), plain);
        }
    }
}
