//! Values of coturn's options in the form that the settings have.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// Reads an address.
pub(super) fn address(value: &str) -> Result<IpAddr, String> {
    let value = value.trim_start_matches('[').trim_end_matches(']');
    value.parse().map_err(|_| "an IP address is expected".to_owned())
}

/// Reads `PUBLIC` or `PUBLIC/PRIVATE`.
pub(super) fn external(value: &str) -> Result<String, String> {
    match value.split_once('/') {
        None => Ok(address(value)?.to_string()),
        Some((public, private)) => Ok(format!("{}/{}", address(public)?, address(private)?)),
    }
}

/// Reads `IP` or `IP-IP` into the fewest networks that make up exactly that.
pub(super) fn networks(value: &str) -> Result<Vec<String>, String> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let networks: Vec<IpNet> = match (address(first.trim())?, address(last.trim())?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::from).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::from).collect()
        }
        _ => return Err("two addresses of one family are expected, the smaller one first".to_owned()),
    };
    Ok(networks.iter().map(IpNet::to_string).collect())
}

/// Reads `ADDRESS:PORT`, or an address alone.
pub(super) fn endpoint(value: &str, default_port: u16) -> Result<SocketAddr, String> {
    match value.parse() {
        Ok(endpoint) => Ok(endpoint),
        Err(_) => Ok(SocketAddr::new(address(value)?, default_port)),
    }
}

/// Reads a port.
pub(super) fn port(value: &str) -> Result<u16, String> {
    match value.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("a port from 1 to 65535 is expected".to_owned()),
    }
}

/// Reads a whole number.
pub(super) fn number(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| "a whole number is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_becomes_the_networks_that_make_it_up_exactly() {
        for (range, expected) in [
            ("10.0.0.0-10.255.255.255", &["10.0.0.0/8"][..]),
            ("192.0.2.7", &["192.0.2.7/32"]),
            (
                "192.168.1.1-192.168.1.6",
                &["192.168.1.1/32", "192.168.1.2/31", "192.168.1.4/31", "192.168.1.6/32"],
            ),
            ("0.0.0.0-255.255.255.255", &["0.0.0.0/0"]),
            ("fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["fc00::/7"]),
            ("::1", &["::1/128"]),
        ] {
            assert_eq!(networks(range).unwrap(), expected, "{range}");
        }
        for wrong in ["", "10.0.0.2-10.0.0.1", "10.0.0.1-::1", "10.0.0.0/8", "a-b"] {
            assert!(networks(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endpoints_may_lack_a_port() {
        assert_eq!(endpoint("192.0.2.1:80", 3478).unwrap().to_string(), "192.0.2.1:80");
        assert_eq!(endpoint("192.0.2.1", 3478).unwrap().to_string(), "192.0.2.1:3478");
        assert_eq!(
            endpoint("[2001:db8::1]:80", 3478).unwrap().to_string(),
            "[2001:db8::1]:80"
        );
        assert_eq!(
            endpoint("[2001:db8::1]", 3478).unwrap().to_string(),
            "[2001:db8::1]:3478"
        );
        assert!(endpoint("turn.example.org", 3478).is_err());
    }
}
