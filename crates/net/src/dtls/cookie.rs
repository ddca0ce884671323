//! Cookies that prove that a client receives where it says it is, without remembering any.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::client_hello::{COOKIE_BYTES, ClientHello};

/// Cookies are of one epoch and hold in the next: ten seconds at least, which is what a handshake has, twenty at most.
pub(crate) const COOKIE_EPOCH: Duration = Duration::from_secs(10);

/// Makes and checks cookies.
///
/// A cookie is HMAC-SHA256 over the epoch, both addresses and what the client must say again, cut to half its length
/// (RFC 2104 §5). It holds for one client on one listener, and for the one handshake that it was asked for in.
pub(crate) struct Cookies {
    mac: Hmac<Sha256>,
    start: Instant,
}

impl Cookies {
    /// `secret` is the process's own.
    pub(crate) fn new(secret: &[u8; 32], start: Instant) -> Self {
        let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of every length");
        mac.update(b"dtls cookie");
        Self { mac, start }
    }

    /// Gives the cookie for a client that said `hello` to us at `local`.
    pub(crate) fn issue(
        &self,
        now: Instant,
        local: SocketAddr,
        client: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_BYTES] {
        self.of_epoch(self.epoch(now), local, client, hello)
    }

    /// Tells whether the hello brings a cookie that this client was given for it, and not too long ago.
    pub(crate) fn holds(&self, now: Instant, local: SocketAddr, client: SocketAddr, hello: &ClientHello<'_>) -> bool {
        let epoch = self.epoch(now);
        let of_epoch = |epoch| self.of_epoch(epoch, local, client, hello).ct_eq(hello.cookie());
        hello.cookie().len() == COOKIE_BYTES && (of_epoch(epoch) | of_epoch(epoch.wrapping_sub(1))).into()
    }

    fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / COOKIE_EPOCH.as_secs()
    }

    fn of_epoch(
        &self,
        epoch: u64,
        local: SocketAddr,
        client: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&epoch.to_be_bytes());
        for address in [local, client] {
            match address.ip() {
                IpAddr::V4(ip) => mac.update(&ip.to_ipv6_mapped().octets()),
                IpAddr::V6(ip) => mac.update(&ip.octets()),
            }
            mac.update(&address.port().to_be_bytes());
        }
        for said in hello.parameters() {
            mac.update(said);
        }
        let mut cookie = [0; COOKIE_BYTES];
        cookie.copy_from_slice(&mac.finalize().into_bytes()[..COOKIE_BYTES]);
        cookie
    }
}

#[cfg(test)]
mod tests {
    use super::super::client_hello::tests::hello;
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn cookies(start: Instant) -> (Cookies, SocketAddr, SocketAddr) {
        let (local, client) = (at("198.51.100.1:5349"), at("192.0.2.1:4000"));
        (Cookies::new(&[1; 32], start), local, client)
    }

    #[test]
    fn a_cookie_holds_for_its_client_its_listener_and_its_process() {
        let start = Instant::now();
        let (cookies, local, client) = cookies(start);
        let bare = hello(0, 0, &[]);
        let cookie = cookies.issue(start, local, client, &ClientHello::parse(&bare).unwrap());
        let again = hello(1, 1, &cookie);
        let again = ClientHello::parse(&again).unwrap();
        assert!(cookies.holds(start, local, client, &again));
        assert!(!cookies.holds(start, local, at("192.0.2.1:4001"), &again));
        assert!(!cookies.holds(start, local, at("192.0.2.2:4000"), &again));
        assert!(!cookies.holds(start, at("198.51.100.1:5350"), client, &again));
        assert!(!Cookies::new(&[2; 32], start).holds(start, local, client, &again));
    }

    #[test]
    fn no_cookie_a_forged_one_and_one_for_another_hello_do_not_hold() {
        let start = Instant::now();
        let (cookies, local, client) = cookies(start);
        let bare = hello(0, 0, &[]);
        let bare = ClientHello::parse(&bare).unwrap();
        assert!(!cookies.holds(start, local, client, &bare));
        let cookie = cookies.issue(start, local, client, &bare);
        for len in 0..COOKIE_BYTES {
            let cut = hello(1, 1, &cookie[..len]);
            assert!(!cookies.holds(start, local, client, &ClientHello::parse(&cut).unwrap()));
        }
        let mut forged = cookie;
        forged[15] ^= 1;
        let forged = hello(1, 1, &forged);
        assert!(!cookies.holds(start, local, client, &ClientHello::parse(&forged).unwrap()));
        // Version, random, cipher suite, compression method.
        let len = hello(1, 1, &cookie).len();
        for at in [26, 27, 58, len - 3, len - 1] {
            let mut other = hello(1, 1, &cookie);
            other[at] ^= 1;
            let other = ClientHello::parse(&other).unwrap();
            assert!(!cookies.holds(start, local, client, &other), "byte {at}");
        }
    }

    #[test]
    fn a_cookie_outlives_its_epoch_by_one() {
        let start = Instant::now();
        let (cookies, local, client) = cookies(start);
        let bare = hello(0, 0, &[]);
        let issued = start + COOKIE_EPOCH - Duration::from_secs(1);
        let cookie = cookies.issue(issued, local, client, &ClientHello::parse(&bare).unwrap());
        let again = hello(1, 1, &cookie);
        let again = ClientHello::parse(&again).unwrap();
        assert!(cookies.holds(issued + COOKIE_EPOCH, local, client, &again));
        assert!(!cookies.holds(issued + COOKIE_EPOCH * 2, local, client, &again));
    }
}
