use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use voex_base::WallTime;
use voex_stun::ReservationToken;

/// Makes and reads reservation tokens (RFC 8656 §18.10) without remembering any.
///
/// ```text
/// port (2) │ relay address index (1) │ expiry, low 16 bits of seconds (2) │ HMAC-SHA256 with the user, first 3 bytes
/// ```
///
/// The kernel may hand the second five-tuple of a pair to another shard than the first. A token that speaks for itself
/// can be redeemed there: that shard binds the port, and the one that reserved it leaves it alone for as long as the
/// token holds. Binding is what makes a token work only once.
pub(crate) struct ReservationTokens {
    mac: Hmac<Sha256>,
    lifetime: Duration,
}

/// A port kept for a later allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReservedPort {
    pub(crate) relay_index: u8,
    pub(crate) port: u16,
}

const MAC_BYTES: usize = 3;

impl ReservationTokens {
    pub(crate) fn new(signing_key: &[u8; 32], lifetime: Duration) -> Self {
        let mut mac = Hmac::new_from_slice(signing_key).expect("HMAC takes keys of every length");
        mac.update(b"reservation");
        Self { mac, lifetime }
    }

    pub(crate) fn issue(&self, wall: WallTime, user: &str, reserved: ReservedPort) -> ReservationToken {
        let expiry = (wall + self.lifetime).unix_s() as u16;
        let [p0, p1] = reserved.port.to_be_bytes();
        let [e0, e1] = expiry.to_be_bytes();
        let head = [p0, p1, reserved.relay_index, e0, e1];
        let [m0, m1, m2] = self.code(head, user);
        ReservationToken([p0, p1, reserved.relay_index, e0, e1, m0, m1, m2])
    }

    /// Reads a token of this user that has not expired.
    pub(crate) fn redeem(&self, wall: WallTime, user: &str, token: ReservationToken) -> Option<ReservedPort> {
        let [p0, p1, relay_index, e0, e1, code @ ..] = token.0;
        let genuine = bool::from(self.code([p0, p1, relay_index, e0, e1], user).ct_eq(&code));
        let left_s = u16::from_be_bytes([e0, e1]).wrapping_sub(wall.unix_s() as u16);
        let holds = left_s > 0 && u64::from(left_s) <= self.lifetime.as_secs();
        (genuine && holds).then_some(ReservedPort {
            relay_index,
            port: u16::from_be_bytes([p0, p1]),
        })
    }

    fn code(&self, head: [u8; 5], user: &str) -> [u8; MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&head);
        mac.update(user.as_bytes());
        let code = mac.finalize().into_bytes();
        [code[0], code[1], code[2]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVED: ReservedPort = ReservedPort {
        relay_index: 1,
        port: 50_001,
    };

    fn tokens() -> ReservationTokens {
        ReservationTokens::new(&[7; 32], Duration::from_secs(30))
    }

    #[test]
    fn a_token_is_good_for_its_user_until_it_expires_even_across_the_wrap_of_its_clock() {
        let issued = WallTime::from_unix(Duration::from_secs(0x1_0000 * 27_000 - 10));
        let token = tokens().issue(issued, "alice", RESERVED);
        assert_eq!(tokens().redeem(issued, "alice", token), Some(RESERVED));
        assert_eq!(
            tokens().redeem(issued + Duration::from_secs(29), "alice", token),
            Some(RESERVED)
        );
        assert_eq!(tokens().redeem(issued + Duration::from_secs(30), "alice", token), None);
        assert_eq!(tokens().redeem(issued, "bob", token), None);
    }

    #[test]
    fn an_altered_token_is_worth_nothing() {
        let issued = WallTime::from_unix(Duration::from_secs(1_800_000_000));
        let token = tokens().issue(issued, "alice", RESERVED);
        for at in 0..8 {
            let mut altered = token;
            altered.0[at] ^= 1;
            assert_eq!(tokens().redeem(issued, "alice", altered), None, "{at}");
        }
    }
}
