use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::SessionId;
use crate::timer::AllocationId;

/// Makes and reads mobility tickets (RFC 8016 §3.1.2) without remembering any.
///
/// ```text
/// base64 of: HMAC-SHA256 of what the ticket says, first 13 bytes │ what it says (11), XOR HMAC-SHA256 of those 13 bytes
/// ```
///
/// The kernel may hand the client's new five-tuple to another shard than the one that has the allocation: that one reads
/// from the ticket whose it is. To its holder a ticket says nothing, and no two are alike. It is text of 32 characters
/// because coturn's client takes no other: it cuts tickets at the first zero and drops longer ones.
pub(crate) struct MobilityTickets {
    code: Hmac<Sha256>,
    mask: Hmac<Sha256>,
}

/// What a ticket says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    /// Number of the shard among those that share the relay ports.
    pub(crate) shard: u16,
    /// The place of the allocation, of which 24 bits are kept.
    pub(crate) allocation: AllocationId,
    /// Tells the allocation from others that had its place.
    pub(crate) mark: u32,
    /// Which of its tickets this is.
    pub(crate) number: u16,
}

pub(crate) const TICKET_BYTES: usize = RAW_BYTES / 3 * 4;
const RAW_BYTES: usize = CODE_BYTES + CONTENT_BYTES;
const CODE_BYTES: usize = 13;
const CONTENT_BYTES: usize = 2 + 3 + 4 + 2;

impl MobilityTickets {
    pub(crate) fn new(signing_key: &[u8; 32]) -> Self {
        let keyed = |purpose: &[u8]| {
            let mut mac = Hmac::new_from_slice(signing_key).expect("HMAC takes keys of every length");
            mac.update(purpose);
            mac
        };
        Self {
            code: keyed(b"mobility code"),
            mask: keyed(b"mobility mask"),
        }
    }

    pub(crate) fn issue(&self, ticket: &Ticket) -> [u8; TICKET_BYTES] {
        let mut content = ticket.to_bytes();
        let mut raw = [0; RAW_BYTES];
        let (code, masked) = raw.split_at_mut(CODE_BYTES);
        code.copy_from_slice(&self.code(&content));
        self.mask(code, &mut content);
        masked.copy_from_slice(&content);
        let mut text = [0; TICKET_BYTES];
        STANDARD_NO_PAD
            .encode_slice(raw, &mut text)
            .expect("24 bytes are 32 characters of base64");
        text
    }

    /// Reads a ticket that one of our shards has issued.
    pub(crate) fn read(&self, text: &[u8]) -> Option<Ticket> {
        let mut raw = [0; RAW_BYTES];
        if text.len() != TICKET_BYTES || STANDARD_NO_PAD.decode_slice(text, &mut raw) != Ok(RAW_BYTES) {
            return None;
        }
        let (code, masked) = raw.split_first_chunk::<CODE_BYTES>()?;
        let mut content = <[u8; CONTENT_BYTES]>::try_from(masked).ok()?;
        self.mask(code, &mut content);
        bool::from(self.code(&content).ct_eq(code)).then(|| Ticket::from_bytes(content))
    }

    fn code(&self, content: &[u8; CONTENT_BYTES]) -> [u8; CODE_BYTES] {
        let mut code = [0; CODE_BYTES];
        let mac = self.code.clone().chain_update(content).finalize().into_bytes();
        code.copy_from_slice(&mac[..CODE_BYTES]);
        code
    }

    fn mask(&self, code: &[u8], content: &mut [u8; CONTENT_BYTES]) {
        let mask = self.mask.clone().chain_update(code).finalize().into_bytes();
        content.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

impl Ticket {
    fn to_bytes(self) -> [u8; CONTENT_BYTES] {
        let [s0, s1] = self.shard.to_be_bytes();
        let [_, a0, a1, a2] = self.allocation.0.to_be_bytes();
        let [m0, m1, m2, m3] = self.mark.to_be_bytes();
        let [n0, n1] = self.number.to_be_bytes();
        [s0, s1, a0, a1, a2, m0, m1, m2, m3, n0, n1]
    }

    fn from_bytes([s0, s1, a0, a1, a2, m0, m1, m2, m3, n0, n1]: [u8; CONTENT_BYTES]) -> Self {
        Self {
            shard: u16::from_be_bytes([s0, s1]),
            allocation: AllocationId(u32::from_be_bytes([0, a0, a1, a2])),
            mark: u32::from_be_bytes([m0, m1, m2, m3]),
            number: u16::from_be_bytes([n0, n1]),
        }
    }
}

/// Gives the mark of a session in its tickets: the next four thousand million sessions of the shard have others.
pub(crate) fn mark_of(session: SessionId) -> u32 {
    session.to_bits() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(number: u16) -> Ticket {
        Ticket {
            shard: 3,
            allocation: AllocationId(77),
            mark: mark_of(SessionId::new(3, 12_345)),
            number,
        }
    }

    fn tickets() -> MobilityTickets {
        MobilityTickets::new(&[7; 32])
    }

    #[test]
    fn a_ticket_is_read_by_every_shard_that_has_the_key_and_by_nobody_else() {
        let bytes = tickets().issue(&ticket(5));
        assert_eq!(tickets().read(&bytes), Some(ticket(5)));
        assert_eq!(MobilityTickets::new(&[8; 32]).read(&bytes), None);
    }

    #[test]
    fn an_altered_ticket_is_worth_nothing() {
        let bytes = tickets().issue(&ticket(5));
        for at in 0..TICKET_BYTES {
            let mut altered = bytes;
            altered[at] ^= 1;
            assert_eq!(tickets().read(&altered), None, "{at}");
        }
        for len in 0..TICKET_BYTES {
            assert_eq!(tickets().read(&bytes[..len]), None, "{len}");
        }
        assert_eq!(tickets().read(&[&bytes[..], b"A"].concat()), None);
    }

    #[test]
    fn tickets_of_one_allocation_have_nothing_in_common_that_shows() {
        let (one, other) = (tickets().issue(&ticket(5)), tickets().issue(&ticket(6)));
        assert!(one.is_ascii() && !one.contains(&0));
        let alike = one.iter().zip(other).filter(|(a, b)| **a == *b).count();
        assert!(alike < 6, "{alike} of {TICKET_BYTES} bytes");
    }
}
