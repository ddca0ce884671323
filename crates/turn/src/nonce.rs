use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use voex_base::WallTime;

/// Makes and checks nonces without remembering any.
///
/// ```text
/// base64 of: issue time in seconds (4 bytes) │ HMAC-SHA256 over time and client address, first 8 bytes
/// ```
///
/// A nonce holds for the address it was sent to, so using one proves that its holder receives there. It is short because
/// it goes to strangers, whose requests are short too: guessing one takes 2^63 tries within its lifetime.
pub(crate) struct NonceSource {
    mac: Hmac<Sha256>,
    lifetime: Duration,
}

/// Characters of a nonce; twelve bytes need no padding.
pub(crate) const NONCE_BYTES: usize = RAW_BYTES / 3 * 4;
const RAW_BYTES: usize = TIME_BYTES + MAC_BYTES;
const TIME_BYTES: usize = 4;
const MAC_BYTES: usize = 8;

impl NonceSource {
    pub(crate) fn new(signing_key: &[u8; 32], lifetime: Duration) -> Self {
        let mut mac = Hmac::new_from_slice(signing_key).expect("HMAC takes keys of every length");
        mac.update(b"nonce");
        Self { mac, lifetime }
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    pub(crate) fn issue(&self, wall: WallTime, client: SocketAddr) -> [u8; NONCE_BYTES] {
        self.at(wall.unix_s() as u32, client)
    }

    /// Tells whether this nonce was issued to this client and is not too old.
    pub(crate) fn holds(&self, wall: WallTime, client: SocketAddr, nonce: &[u8]) -> bool {
        let mut raw = [0; RAW_BYTES];
        if nonce.len() != NONCE_BYTES || STANDARD_NO_PAD.decode_slice(nonce, &mut raw) != Ok(RAW_BYTES) {
            return false;
        }
        let issued_s = u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]);
        let age_s = u64::from((wall.unix_s() as u32).wrapping_sub(issued_s));
        age_s < self.lifetime.as_secs() && bool::from(self.code(issued_s, client).ct_eq(&raw[TIME_BYTES..]))
    }

    fn at(&self, time_s: u32, client: SocketAddr) -> [u8; NONCE_BYTES] {
        let mut raw = [0; RAW_BYTES];
        raw[..TIME_BYTES].copy_from_slice(&time_s.to_be_bytes());
        raw[TIME_BYTES..].copy_from_slice(&self.code(time_s, client));
        let mut nonce = [0; NONCE_BYTES];
        STANDARD_NO_PAD
            .encode_slice(raw, &mut nonce)
            .expect("12 bytes are 16 characters of base64");
        nonce
    }

    fn code(&self, time_s: u32, client: SocketAddr) -> [u8; MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&time_s.to_be_bytes());
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        let mut code = [0; MAC_BYTES];
        code.copy_from_slice(&mac.finalize().into_bytes()[..MAC_BYTES]);
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: WallTime = WallTime::from_unix(Duration::from_secs(1_800_000_000));

    fn source() -> NonceSource {
        NonceSource::new(&[7; 32], Duration::from_secs(600))
    }

    #[test]
    fn a_nonce_holds_until_its_lifetime_ends() {
        let client = "192.0.2.1:5000".parse().unwrap();
        let nonce = source().issue(ISSUED, client);
        assert!(source().holds(ISSUED + Duration::from_secs(599), client, &nonce));
        assert!(!source().holds(ISSUED + Duration::from_secs(600), client, &nonce));
    }

    #[test]
    fn a_nonce_holds_for_its_client_and_key_only() {
        let client = "192.0.2.1:5000".parse().unwrap();
        let nonce = source().issue(ISSUED, client);
        assert!(!source().holds(ISSUED, "192.0.2.1:5001".parse().unwrap(), &nonce));
        assert!(!source().holds(ISSUED, "192.0.2.2:5000".parse().unwrap(), &nonce));
        assert!(!NonceSource::new(&[8; 32], Duration::from_secs(600)).holds(ISSUED, client, &nonce));
    }

    #[test]
    fn a_nonce_from_the_future_or_altered_does_not_hold() {
        let client = "192.0.2.1:5000".parse().unwrap();
        let nonce = source().issue(ISSUED + Duration::from_secs(5), client);
        assert!(!source().holds(ISSUED, client, &nonce));
        let nonce = source().issue(ISSUED, client);
        for at in 0..NONCE_BYTES {
            let mut altered = nonce;
            altered[at] ^= 1;
            assert!(!source().holds(ISSUED, client, &altered), "{at}");
        }
        assert!(!source().holds(ISSUED, client, b""));
        assert!(!source().holds(ISSUED, client, &nonce[..12]));
        assert!(!source().holds(ISSUED, client, &[&nonce[..], b"AAAA"].concat()));
    }
}
