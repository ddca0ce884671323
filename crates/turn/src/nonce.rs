use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use voex_base::WallTime;
use voex_stun::PasswordAlgorithm;

/// Makes and checks nonces without remembering any.
///
/// ```text
/// obMatJos2 │ base64 of the features (4 characters) │ base64 of: issue time in seconds (4 bytes) │ MAC (4) │ MAC (4)
/// └─ nonce cookie (RFC 8489 §9.2) ────────────────┘
/// ```
///
/// The MACs are HMAC-SHA256 over what is offered, time, and the client's IP address; the second one's over its port too. A nonce
/// holds for the address it was sent to, so using one proves that its holder receives there. It is short because it goes
/// to strangers, whose requests are short too: guessing one for an address where the answers are not seen takes 2^63 tries
/// within its lifetime.
pub(crate) struct NonceSource {
    mac: Hmac<Sha256>,
    lifetime: Duration,
    cookie: [u8; COOKIE_BYTES],
}

/// What challenges offer. A nonce tells it too, so that nobody in between can hide it (RFC 8489 §9.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SecurityFeatures<'a> {
    /// PASSWORD-ALGORITHMS; empty is none.
    pub(crate) password_algorithms: &'a [PasswordAlgorithm],
    /// USERHASH may stand for USERNAME.
    pub(crate) username_anonymity: bool,
}

/// Characters of a nonce; twelve bytes need no padding.
pub(crate) const NONCE_BYTES: usize = COOKIE_BYTES + RAW_BYTES / 3 * 4;
const COOKIE: &[u8; 9] = b"obMatJos2";
const COOKIE_BYTES: usize = COOKIE.len() + 4;
const RAW_BYTES: usize = TIME_BYTES + 2 * MAC_BYTES;
const TIME_BYTES: usize = 4;
const MAC_BYTES: usize = 4;

impl SecurityFeatures<'_> {
    /// Bit 0 is the highest bit of the first byte (RFC 8489 §9.2).
    fn cookie(self) -> [u8; COOKIE_BYTES] {
        let bits = u8::from(!self.password_algorithms.is_empty()) << 7 | u8::from(self.username_anonymity) << 6;
        let mut cookie = [0; COOKIE_BYTES];
        let (head, tail) = cookie.split_at_mut(COOKIE.len());
        head.copy_from_slice(COOKIE);
        STANDARD_NO_PAD
            .encode_slice([bits, 0, 0], tail)
            .expect("3 bytes are 4 characters of base64");
        cookie
    }
}

impl NonceSource {
    pub(crate) fn new(signing_key: &[u8; 32], lifetime: Duration, features: SecurityFeatures<'_>) -> Self {
        let mut mac = Hmac::new_from_slice(signing_key).expect("HMAC takes keys of every length");
        mac.update(b"nonce");
        let cookie = features.cookie();
        mac.update(&cookie);
        for algorithm in features.password_algorithms {
            mac.update(&algorithm.number().to_be_bytes());
        }
        mac.update(&[0; 2]);
        Self { mac, lifetime, cookie }
    }

    pub(crate) fn issue(&self, wall: WallTime, client: SocketAddr) -> [u8; NONCE_BYTES] {
        self.at(wall.unix_s() as u32, client)
    }

    /// Tells whether this nonce was issued to this client, with the features of now, and is not too old.
    pub(crate) fn holds(&self, wall: WallTime, client: SocketAddr, nonce: &[u8]) -> bool {
        let holds = |issued_s| self.codes(issued_s, client);
        self.read(wall, nonce)
            .is_some_and(|(issued_s, codes)| bool::from(holds(issued_s).ct_eq(&codes)))
    }

    /// Tells the same of a nonce that was issued to any port of the client's address.
    pub(crate) fn holds_at_host(&self, wall: WallTime, client: SocketAddr, nonce: &[u8]) -> bool {
        let holds = |issued_s| self.codes(issued_s, client);
        self.read(wall, nonce)
            .is_some_and(|(issued_s, codes)| bool::from(holds(issued_s)[..MAC_BYTES].ct_eq(&codes[..MAC_BYTES])))
    }

    /// Takes a nonce that is not too old apart: when it was issued, and its codes.
    fn read(&self, wall: WallTime, nonce: &[u8]) -> Option<(u32, [u8; 2 * MAC_BYTES])> {
        let mut raw = [0; RAW_BYTES];
        let coded = nonce.strip_prefix(&self.cookie)?;
        if nonce.len() != NONCE_BYTES || STANDARD_NO_PAD.decode_slice(coded, &mut raw) != Ok(RAW_BYTES) {
            return None;
        }
        let [t0, t1, t2, t3, codes @ ..] = raw;
        let issued_s = u32::from_be_bytes([t0, t1, t2, t3]);
        let age_s = u64::from((wall.unix_s() as u32).wrapping_sub(issued_s));
        (age_s < self.lifetime.as_secs()).then_some((issued_s, codes))
    }

    fn at(&self, time_s: u32, client: SocketAddr) -> [u8; NONCE_BYTES] {
        let mut raw = [0; RAW_BYTES];
        raw[..TIME_BYTES].copy_from_slice(&time_s.to_be_bytes());
        raw[TIME_BYTES..].copy_from_slice(&self.codes(time_s, client));
        let mut nonce = [0; NONCE_BYTES];
        let (cookie, coded) = nonce.split_at_mut(COOKIE_BYTES);
        cookie.copy_from_slice(&self.cookie);
        STANDARD_NO_PAD
            .encode_slice(raw, coded)
            .expect("12 bytes are 16 characters of base64");
        nonce
    }

    fn codes(&self, time_s: u32, client: SocketAddr) -> [u8; 2 * MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&time_s.to_be_bytes());
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        let with_port = mac.clone().chain_update(client.port().to_be_bytes());
        let mut codes = [0; 2 * MAC_BYTES];
        for (code, mac) in codes.chunks_exact_mut(MAC_BYTES).zip([mac, with_port]) {
            code.copy_from_slice(&mac.finalize().into_bytes()[..MAC_BYTES]);
        }
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: WallTime = WallTime::from_unix(Duration::from_secs(1_800_000_000));

    fn source() -> NonceSource {
        NonceSource::new(&[7; 32], Duration::from_secs(600), SecurityFeatures::default())
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
        let other_key = NonceSource::new(&[8; 32], Duration::from_secs(600), SecurityFeatures::default());
        assert!(!other_key.holds(ISSUED, client, &nonce));
    }

    #[test]
    fn every_port_of_a_host_may_show_a_nonce_where_only_the_host_is_asked_for() {
        let client = "192.0.2.1:5000".parse().unwrap();
        let (nonce, later) = (source().issue(ISSUED, client), ISSUED + Duration::from_secs(600));
        let other_port = "192.0.2.1:5001".parse().unwrap();
        assert!(source().holds_at_host(ISSUED, other_port, &nonce));
        assert!(!source().holds_at_host(later, other_port, &nonce));
        assert!(!source().holds_at_host(ISSUED, "192.0.2.2:5000".parse().unwrap(), &nonce));
        for at in 0..NONCE_BYTES - 6 {
            let mut altered = nonce;
            altered[at] ^= 1;
            assert!(!source().holds_at_host(ISSUED, client, &altered), "{at}");
        }
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

    #[test]
    fn a_nonce_holds_for_the_algorithms_it_was_issued_with() {
        let client = "192.0.2.1:5000".parse().unwrap();
        fn with(password_algorithms: &[PasswordAlgorithm]) -> NonceSource {
            let features = SecurityFeatures {
                password_algorithms,
                username_anonymity: false,
            };
            NonceSource::new(&[7; 32], Duration::from_secs(600), features)
        }
        let [md5, sha256] = PasswordAlgorithm::ALL;
        let nonce = with(&[sha256, md5]).issue(ISSUED, client);
        assert!(with(&[sha256, md5]).holds(ISSUED, client, &nonce));
        for other in [&[md5, sha256][..], &[sha256], &[md5]] {
            assert!(!with(other).holds(ISSUED, client, &nonce), "{other:?}");
        }
    }

    #[test]
    fn features_are_the_highest_bits_of_the_cookie_and_cannot_be_changed() {
        let client = "192.0.2.1:5000".parse().unwrap();
        let (none, both) = (&[][..], &PasswordAlgorithm::ALL[..]);
        let sources = [(none, false), (both, false), (none, true), (both, true)].map(|(algorithms, anonymity)| {
            let features = SecurityFeatures {
                password_algorithms: algorithms,
                username_anonymity: anonymity,
            };
            NonceSource::new(&[7; 32], Duration::from_secs(600), features)
        });
        for (source, cookie) in sources.iter().zip(["AAAA", "gAAA", "QAAA", "wAAA"]) {
            let nonce = source.issue(ISSUED, client);
            assert_eq!(nonce[..13], *format!("obMatJos2{cookie}").as_bytes());
            for other in &sources {
                let mut moved = nonce;
                moved[..13].copy_from_slice(&other.cookie);
                assert_eq!(other.holds(ISSUED, client, &moved), other.cookie == source.cookie);
            }
        }
    }
}
