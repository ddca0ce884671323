//! What a client may say until its handshake is over.

use openssl::ssl::SslContext;

use super::client_hello::ClientHello;
use super::session::{Datagrams, Scratch, Session};
use crate::metrics::HandshakeFailure;

/// Datagrams of a handshake, those that come again included: a client that is answered needs three, and sends them again
/// four times at most before its time is up.
pub const DTLS_HANDSHAKE_DATAGRAMS_MAX: usize = 32;
/// Bytes in them.
pub const DTLS_HANDSHAKE_BYTES_MAX: usize = 32 << 10;
/// Longest message after the hello. There is one in the clear, with a point of a curve in it; OpenSSL makes room for what a
/// fragment announces, ten times over.
const MESSAGE_BYTES_MAX: usize = 1 << 10;
/// Sealed records that may come before the keys do, and how long the only one that belongs to a handshake is: Finished, in
/// a header, a nonce and a tag (RFC 5246 §7.4.9, RFC 5288 §3). OpenSSL keeps a read buffer of 16 KiB for each.
const SEALED_RECORDS_MAX: u32 = 4;
const SEALED_BYTES_MAX: usize = 12 + 12 + 8 + 16;
const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_HEADER_BYTES: usize = 12;

/// A handshake that was begun, and what of it waits for its turn.
pub(super) struct Handshake {
    session: Session,
    waiting: Datagrams,
    datagrams: usize,
    bytes: usize,
    sealed_records: u32,
}

/// What a datagram is to a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// Something of it waits for its turn.
    Waits,
    /// It has nothing to do with it.
    Foreign,
    /// No handshake is as long.
    TooMuch,
}

impl Handshake {
    /// Begins with a hello that waited for its turn.
    pub(super) fn begin(context: &SslContext, hello: &[u8], scratch: &mut Scratch) -> Result<Self, HandshakeFailure> {
        let mut session = Session::new(context).map_err(|_| HandshakeFailure::Internal)?;
        let hello = ClientHello::parse(hello).map_err(|_| HandshakeFailure::Malformed)?;
        session.begin(&hello, scratch)?;
        Ok(Self {
            session,
            waiting: Datagrams::default(),
            datagrams: 0,
            bytes: 0,
            sealed_records: 0,
        })
    }

    /// Keeps those records of a datagram that may belong to a handshake. Anybody can send others in the client's name, and
    /// OpenSSL would keep some and give up over the rest.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Taken {
        let fitting = records(datagram).filter(|record| fits(record, &mut self.sealed_records));
        let bytes = self.waiting.push_all(fitting);
        if bytes == 0 {
            return Taken::Foreign;
        }
        self.datagrams += 1;
        self.bytes += bytes;
        match self.datagrams > DTLS_HANDSHAKE_DATAGRAMS_MAX || self.bytes > DTLS_HANDSHAKE_BYTES_MAX {
            true => Taken::TooMuch,
            false => Taken::Waits,
        }
    }

    /// Goes on with what waits; tells whether the handshake is over.
    pub(super) fn go_on(&mut self, scratch: &mut Scratch) -> Result<bool, HandshakeFailure> {
        for datagram in std::mem::take(&mut self.waiting).iter() {
            if self.session.shake(datagram, scratch)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says again what the client has not answered for too long.
    pub(super) fn repeat(&mut self, scratch: &mut Scratch) -> Result<bool, HandshakeFailure> {
        self.session.shake(&[], scratch)
    }

    /// Gives the session, once the handshake is over.
    pub(super) fn into_session(self) -> Session {
        self.session
    }
}

/// Gives the records of a datagram, up to the first that does not end in it.
fn records(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = rest.get(11..RECORD_HEADER_BYTES)?;
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        let (record, behind) = rest.split_at_checked(RECORD_HEADER_BYTES + len)?;
        rest = behind;
        Some(record)
    })
}

/// Tells whether a record may be one of a handshake; counts those that are sealed.
fn fits(record: &[u8], sealed_records: &mut u32) -> bool {
    const CHANGE_CIPHER_SPEC: u8 = 20;
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let (header, content) = record.split_at(RECORD_HEADER_BYTES);
    match (header[0], u16::from_be_bytes([header[3], header[4]])) {
        (CHANGE_CIPHER_SPEC | ALERT, 0) => true,
        (HANDSHAKE, 0) => are_short(content),
        (HANDSHAKE, 1) if content.len() <= SEALED_BYTES_MAX && *sealed_records < SEALED_RECORDS_MAX => {
            *sealed_records += 1;
            true
        }
        _ => false,
    }
}

/// Tells whether no message that is in these fragments, or has a part in them, is longer than those of clients are.
fn are_short(mut fragments: &[u8]) -> bool {
    while !fragments.is_empty() {
        let Some((header, behind)) = fragments.split_at_checked(MESSAGE_HEADER_BYTES) else {
            return false;
        };
        let number =
            |at: usize| usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2]);
        let (len, fragment_len) = (number(1), number(9));
        if len > MESSAGE_BYTES_MAX || fragment_len > behind.len() {
            return false;
        }
        fragments = &behind[fragment_len..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, content: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0, 0, content.len() as u8];
        record.extend(content);
        record
    }

    fn fragment(message_len: usize, len: usize) -> Vec<u8> {
        let mut fragment = vec![
            16,
            0,
            (message_len >> 8) as u8,
            message_len as u8,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            len as u8,
        ];
        fragment.resize(MESSAGE_HEADER_BYTES + len, 7);
        fragment
    }

    fn fits_alone(record: &[u8]) -> bool {
        fits(record, &mut 0)
    }

    #[test]
    fn what_a_handshake_is_made_of_fits_and_nothing_else_does() {
        assert!(fits_alone(&record(20, 0, &[1])) && fits_alone(&record(21, 0, &[2, 40])));
        assert!(fits_alone(&record(22, 1, &[0; SEALED_BYTES_MAX])));
        assert!(fits_alone(&record(
            22,
            0,
            &[fragment(33, 33), fragment(66, 66)].concat()
        )));
        assert!(
            !fits_alone(&record(22, 1, &[0; SEALED_BYTES_MAX + 1])),
            "longer than Finished"
        );
        for (kind, epoch) in [(23, 0), (23, 1), (20, 1), (21, 1), (22, 2), (24, 0)] {
            assert!(!fits_alone(&record(kind, epoch, &[])), "{kind} {epoch}");
        }
    }

    #[test]
    fn a_fragment_that_announces_a_long_message_or_does_not_end_does_not_fit() {
        assert!(fits_alone(&record(22, 0, &fragment(MESSAGE_BYTES_MAX, 9))));
        assert!(!fits_alone(&record(22, 0, &fragment(MESSAGE_BYTES_MAX + 1, 9))));
        assert!(!fits_alone(&record(22, 0, &fragment(9, 9)[..20])));
        assert!(!fits_alone(&record(22, 0, &fragment(9, 9)[..11])));
    }

    #[test]
    fn few_sealed_records_fit() {
        let mut sealed_records = 0;
        let sealed = record(22, 1, &[0; SEALED_BYTES_MAX]);
        let fitting = (0..1_000).filter(|_| fits(&sealed, &mut sealed_records)).count();
        assert_eq!(fitting, SEALED_RECORDS_MAX as usize);
    }

    #[test]
    fn a_datagram_is_read_as_far_as_its_records_end() {
        let datagram = [record(22, 0, &[1; 9]), record(23, 0, &[]), record(22, 0, &[2; 9])].concat();
        let lengths = |datagram| records(datagram).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&datagram), [22, 13, 22]);
        assert_eq!(lengths(&datagram[..56]), [22, 13]);
        assert_eq!(lengths(&datagram[..12]), []);
    }
}
