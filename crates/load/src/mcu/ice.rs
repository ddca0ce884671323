//! The client's side of ICE: one socket, one candidate of the server, checks both ways (RFC 8445).

use std::net::SocketAddr;

use voex_stun::{AttributeType, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId};

/// Longest check or answer that is written.
pub(crate) const CHECK_BYTES_MAX: usize = 256;

/// Priority of a peer-reflexive candidate, in checks: any value between 1 and 2^31-1 that is not a host's.
const PRIORITY: u32 = 1_853_824_767;

/// Credentials of both sides, and the check that is under way.
pub(crate) struct Ice {
    local_key: IntegrityKey,
    remote: Option<RemoteSide>,
    tie_breaker: u64,
    /// Counts checks; the last one's number is its transaction.
    checks: u64,
    answered: u64,
    is_valid: bool,
}

struct RemoteSide {
    key: IntegrityKey,
    /// USERNAME of our checks.
    name: String,
    /// We are in control.
    is_controlled_by_us: bool,
}

/// What a STUN message was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// A check that this many bytes of the buffer answer.
    Answer(usize),
    /// The answer to our check.
    Valid,
    /// Neither.
    Nothing,
}

impl Ice {
    pub(crate) fn new(local_pwd: &str, tie_breaker: u64) -> Self {
        Self {
            local_key: IntegrityKey::new(local_pwd.as_bytes()),
            remote: None,
            tie_breaker,
            checks: 0,
            answered: 0,
            is_valid: false,
        }
    }

    /// Takes the server's credentials. Who offered is in control, unless the server is lite (RFC 8445 §6.1.1).
    pub(crate) fn set_remote(&mut self, local_ufrag: &str, ufrag: &str, pwd: &str, is_controlled_by_us: bool) {
        self.remote = Some(RemoteSide {
            key: IntegrityKey::new(pwd.as_bytes()),
            name: format!("{ufrag}:{local_ufrag}"),
            is_controlled_by_us,
        });
    }

    /// Whether a check of ours was answered.
    pub(crate) fn is_valid(&self) -> bool {
        self.is_valid
    }

    /// Checks since the last answered one.
    pub(crate) fn unanswered(&self) -> u64 {
        self.checks - self.answered
    }

    /// Writes a check, which nominates where that is ours to do; gives its length, or `None` without a remote.
    pub(crate) fn write_check(&mut self, out: &mut [u8]) -> Option<usize> {
        let remote = self.remote.as_ref()?;
        self.checks += 1;
        let id = self.transaction(self.checks);
        let check = MessageWriter::new(out, Class::Request, Method::BINDING, id).username(&remote.name);
        let check = if remote.is_controlled_by_us {
            check.ice_controlling(self.tie_breaker).use_candidate()
        } else {
            check.ice_controlled(self.tie_breaker)
        };
        let check = check.priority(PRIORITY).message_integrity(&remote.key).fingerprint();
        check.finish().ok()
    }

    /// Takes a STUN message from `from`, and writes the answer to a check into `out`.
    pub(crate) fn handle(&mut self, datagram: &[u8], from: SocketAddr, out: &mut [u8]) -> Outcome {
        let Ok(message) = Message::parse(datagram) else {
            return Outcome::Nothing;
        };
        match message.class() {
            Class::Request if message.check_integrity(&self.local_key).is_ok() => {
                let answer = MessageWriter::new(out, Class::Success, Method::BINDING, message.transaction_id())
                    .xor_mapped_address(from)
                    .message_integrity(&self.local_key)
                    .fingerprint();
                answer.finish().map_or(Outcome::Nothing, Outcome::Answer)
            }
            Class::Success if self.is_ours(&message) => {
                self.answered = self.checks;
                self.is_valid = true;
                Outcome::Valid
            }
            _ => Outcome::Nothing,
        }
    }

    fn is_ours(&self, message: &Message<'_>) -> bool {
        let recent = (self.answered + 1..=self.checks).any(|check| message.transaction_id() == self.transaction(check));
        let key = self.remote.as_ref().map(|remote| &remote.key);
        recent
            && message.has(AttributeType::XOR_MAPPED_ADDRESS)
            && key.is_some_and(|key| message.check_integrity(key).is_ok())
    }

    fn transaction(&self, check: u64) -> TransactionId {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.tie_breaker.to_be_bytes()[..4]);
        id[4..].copy_from_slice(&check.to_be_bytes());
        TransactionId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "192.0.2.1:9";

    fn pair() -> (Ice, Ice) {
        let (mut a, mut b) = (Ice::new("pwd of a", 1 << 40), Ice::new("pwd of b", 2 << 40));
        a.set_remote("a", "b", "pwd of b", true);
        b.set_remote("b", "a", "pwd of a", false);
        (a, b)
    }

    #[test]
    fn a_check_that_is_answered_makes_the_path_valid() {
        let (mut a, mut b) = pair();
        let (mut check, mut answer) = ([0; CHECK_BYTES_MAX], [0; CHECK_BYTES_MAX]);
        let len = a.write_check(&mut check).unwrap();
        let message = Message::parse(&check[..len]).unwrap();
        assert_eq!(message.username(), Ok(Some("b:a")));
        assert!(message.use_candidate());
        let from = SERVER.parse().unwrap();
        let Outcome::Answer(len) = b.handle(&check[..len], from, &mut answer) else {
            panic!("the check is authentic");
        };
        assert!(!a.is_valid());
        assert_eq!(a.handle(&answer[..len], from, &mut check), Outcome::Valid);
        assert!(a.is_valid() && a.unanswered() == 0);
    }

    #[test]
    fn another_password_answers_nothing() {
        let (mut a, _) = pair();
        let mut stranger = Ice::new("guessed", 3);
        let (mut check, mut answer) = ([0; CHECK_BYTES_MAX], [0; CHECK_BYTES_MAX]);
        let len = a.write_check(&mut check).unwrap();
        let outcome = stranger.handle(&check[..len], SERVER.parse().unwrap(), &mut answer);
        assert_eq!(outcome, Outcome::Nothing);
        assert_eq!(a.unanswered(), 1);
    }
}
