//! The first words of DTLS (RFC 6347 §4.2.1): a ClientHello is read, and answered or told on, without remembering anything.

use std::ops::Range;

/// Content type of handshake records, and the message types that open a handshake.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// Version of records before one is agreed on, and of every HelloVerifyRequest: DTLS 1.0, whatever comes of it.
const DTLS_1_0: [u8; 2] = [0xfe, 0xff];
const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_HEADER_BYTES: usize = 12;
const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;
/// Start of the message's body.
const BODY: usize = RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES;

/// Bytes of our cookies.
pub(crate) const COOKIE_BYTES: usize = 16;
/// Length of a HelloVerifyRequest: shorter than any ClientHello, so that nothing is amplified.
pub(crate) const VERIFY_REQUEST_BYTES: usize = BODY + 2 + 1 + COOKIE_BYTES;
/// Highest number of a ClientHello in its handshake: one without a cookie, one with one that is too old, and some to spare.
const MESSAGE_SEQUENCE_MAX: u16 = 3;

/// A ClientHello that came whole in one datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientHello<'a> {
    datagram: &'a [u8],
    /// Number of its record.
    pub(crate) record_sequence: u64,
    /// Number of the message in its handshake.
    pub(crate) message_sequence: u16,
    /// What tells one handshake from another.
    pub(crate) random: [u8; RANDOM_BYTES],
    /// Where its cookie stands, without the length in front.
    cookie_start: usize,
    cookie_len: usize,
    /// Where its extensions begin, or it ends.
    extensions_start: usize,
}

/// Why a datagram that begins as a ClientHello is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HelloError {
    /// It does not end where it says, or something in it does not.
    Malformed,
    /// It is the part of a message: nothing is put together for those who have no cookie yet.
    Fragmented,
}

/// Tells whether a datagram begins as a ClientHello in the clear.
pub(crate) fn is_client_hello(datagram: &[u8]) -> bool {
    datagram.first() == Some(&HANDSHAKE)
        && datagram.get(3..5) == Some(&[0, 0])
        && datagram.get(RECORD_HEADER_BYTES) == Some(&CLIENT_HELLO)
}

impl<'a> ClientHello<'a> {
    /// Reads a datagram that begins as a ClientHello.
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, HelloError> {
        use HelloError::Malformed;
        let mut reader = Reader { bytes: datagram, at: 0 };
        let header: [u8; 11] = reader.array()?;
        if !is_client_hello(datagram) || header[1] != DTLS_1_0[0] || reader.length_of_two()? != reader.rest() {
            return Err(Malformed);
        }
        reader.take(1)?;
        let len = reader.number(3)?;
        let message_sequence = reader.number(2)? as u16;
        let (offset, fragment_len) = (reader.number(3)?, reader.number(3)?);
        if offset != 0 || fragment_len != len {
            return Err(HelloError::Fragmented);
        }
        let record_sequence = be(&header[5..]);
        // Each of a client's hellos has a record of its own.
        let is_numbered = message_sequence <= MESSAGE_SEQUENCE_MAX && record_sequence >= message_sequence.into();
        if len != reader.rest() as u64 || !is_numbered {
            return Err(Malformed);
        }
        reader.take(2)?;
        let random = reader.array()?;
        if reader.vector(1, 0..=SESSION_ID_BYTES_MAX)?.len() > SESSION_ID_BYTES_MAX {
            return Err(Malformed);
        }
        let cookie = reader.vector(1, 0..=255)?;
        let suites = reader.vector(2, 2..=usize::from(u16::MAX))?;
        reader.vector(1, 1..=255)?;
        let extensions_start = reader.at;
        if reader.rest() > 0 {
            reader.vector(2, 0..=usize::from(u16::MAX))?;
        }
        if suites.len() % 2 != 0 || reader.rest() > 0 {
            return Err(Malformed);
        }
        Ok(Self {
            datagram,
            record_sequence,
            message_sequence,
            random,
            cookie_start: cookie.start,
            cookie_len: cookie.len(),
            extensions_start,
        })
    }

    /// Gives the cookie; empty when the client has none.
    pub(crate) fn cookie(&self) -> &'a [u8] {
        &self.datagram[self.cookie_start..][..self.cookie_len]
    }

    /// Gives what a client must say again as it said it (RFC 6347 §4.2.1): version, random and session id; cipher suites and
    /// compression methods.
    pub(crate) fn parameters(&self) -> [&'a [u8]; 2] {
        let behind = self.cookie_start + self.cookie_len;
        [
            &self.datagram[BODY..self.cookie_start - 1],
            &self.datagram[behind..self.extensions_start],
        ]
    }

    /// Gives the whole datagram.
    pub(crate) fn datagram(&self) -> &'a [u8] {
        self.datagram
    }

    /// Writes the HelloVerifyRequest that hands out `cookie`. It has the numbers of this hello, as nothing remembers others.
    pub(crate) fn verify_request(&self, cookie: &[u8; COOKIE_BYTES]) -> [u8; VERIFY_REQUEST_BYTES] {
        const BODY_BYTES: usize = VERIFY_REQUEST_BYTES - BODY;
        let mut request = [0; VERIFY_REQUEST_BYTES];
        request[0] = HANDSHAKE;
        request[1..3].copy_from_slice(&DTLS_1_0);
        put(&mut request[5..11], self.record_sequence);
        put(&mut request[11..13], (MESSAGE_HEADER_BYTES + BODY_BYTES) as u64);
        request[13] = HELLO_VERIFY_REQUEST;
        put(&mut request[14..17], BODY_BYTES as u64);
        put(&mut request[17..19], self.message_sequence.into());
        put(&mut request[22..25], BODY_BYTES as u64);
        request[25..27].copy_from_slice(&DTLS_1_0);
        request[27] = COOKIE_BYTES as u8;
        request[28..].copy_from_slice(cookie);
        request
    }

    /// Writes the hello without a cookie that the client sent `earlier` hellos before this one, or could have sent.
    pub(crate) fn predecessor(&self, earlier: u16) -> Vec<u8> {
        let mut hello = self.datagram.to_vec();
        hello.drain(self.cookie_start..self.cookie_start + self.cookie_len);
        hello[self.cookie_start - 1] = 0;
        let message = hello.len() - RECORD_HEADER_BYTES;
        let body = (message - MESSAGE_HEADER_BYTES) as u64;
        put(&mut hello[5..11], self.record_sequence - u64::from(earlier));
        put(&mut hello[11..13], message as u64);
        put(&mut hello[14..17], body);
        put(&mut hello[17..19], (self.message_sequence - earlier).into());
        put(&mut hello[22..25], body);
        hello
    }
}

/// Adds `offset` to the sequence numbers of the records of a datagram that are in the clear: nothing vouches for those.
pub(crate) fn renumber(datagram: &mut [u8], offset: u64) {
    let mut rest = datagram;
    while rest.len() >= RECORD_HEADER_BYTES {
        let len = be(&rest[11..13]) as usize;
        if rest[3..5] == [0, 0] {
            let sequence = be(&rest[5..11]).wrapping_add(offset);
            put(&mut rest[5..11], sequence);
        }
        let end = (RECORD_HEADER_BYTES + len).min(rest.len());
        rest = &mut rest[end..];
    }
}

/// Reads a number as the network writes it.
fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Writes a number as the network reads it; what does not fit is cut off in front.
fn put(room: &mut [u8], number: u64) {
    let bytes = number.to_be_bytes();
    room.copy_from_slice(&bytes[bytes.len() - room.len()..]);
}

/// Reads from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: usize) -> Result<Range<usize>, HelloError> {
        if len > self.rest() {
            return Err(HelloError::Malformed);
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HelloError> {
        let mut array = [0; N];
        let range = self.take(N)?;
        array.copy_from_slice(&self.bytes[range]);
        Ok(array)
    }

    fn number(&mut self, len: usize) -> Result<u64, HelloError> {
        let range = self.take(len)?;
        Ok(be(&self.bytes[range]))
    }

    fn length_of_two(&mut self) -> Result<usize, HelloError> {
        Ok(self.number(2)? as usize)
    }

    /// Reads what has its length in front, in `prefix` bytes; gives where it stands.
    fn vector(&mut self, prefix: usize, lengths: std::ops::RangeInclusive<usize>) -> Result<Range<usize>, HelloError> {
        let len = self.number(prefix)? as usize;
        if !lengths.contains(&len) {
            return Err(HelloError::Malformed);
        }
        self.take(len)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A ClientHello with one cipher suite and no extensions: the shortest there is.
    pub(crate) fn hello(record_sequence: u64, message_sequence: u16, cookie: &[u8]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; RANDOM_BYTES]);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend(cookie);
        body.extend([0, 2, 0xc0, 0x2f, 1, 0]);
        let mut datagram = vec![0; BODY];
        datagram[0] = HANDSHAKE;
        datagram[1..3].copy_from_slice(&DTLS_1_0);
        put(&mut datagram[5..11], record_sequence);
        put(&mut datagram[11..13], (MESSAGE_HEADER_BYTES + body.len()) as u64);
        datagram[13] = CLIENT_HELLO;
        put(&mut datagram[14..17], body.len() as u64);
        put(&mut datagram[17..19], message_sequence.into());
        put(&mut datagram[22..25], body.len() as u64);
        datagram.extend(body);
        datagram
    }

    #[test]
    fn a_hello_tells_its_numbers_its_random_and_its_cookie() {
        let datagram = hello(5, 1, &[9; COOKIE_BYTES]);
        let parsed = ClientHello::parse(&datagram).unwrap();
        assert_eq!((parsed.record_sequence, parsed.message_sequence), (5, 1));
        assert_eq!(parsed.random, [7; RANDOM_BYTES]);
        assert_eq!(parsed.cookie(), [9; COOKIE_BYTES]);
    }

    #[test]
    fn every_truncation_of_a_hello_is_refused() {
        let datagram = hello(0, 0, &[]);
        for len in 0..datagram.len() {
            assert_eq!(
                ClientHello::parse(&datagram[..len]).err(),
                Some(HelloError::Malformed),
                "{len}"
            );
        }
        assert!(ClientHello::parse(&[&datagram[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_part_of_a_hello_is_named_as_such() {
        let mut part = hello(0, 0, &[]);
        part[24] -= 1;
        assert_eq!(ClientHello::parse(&part).err(), Some(HelloError::Fragmented));
        let mut later = hello(0, 0, &[]);
        later[21] = 1;
        assert_eq!(ClientHello::parse(&later).err(), Some(HelloError::Fragmented));
    }

    #[test]
    fn a_hello_with_numbers_that_no_client_comes_to_is_refused() {
        assert!(
            ClientHello::parse(&hello(0, 1, &[])).is_err(),
            "two hellos in one record"
        );
        assert!(ClientHello::parse(&hello(9, MESSAGE_SEQUENCE_MAX + 1, &[])).is_err());
        assert!(ClientHello::parse(&hello(9, MESSAGE_SEQUENCE_MAX, &[])).is_ok());
    }

    #[test]
    fn the_answer_has_the_numbers_of_the_hello_and_is_shorter_than_the_shortest() {
        let datagram = hello(0x0102_0304_0506, 1, &[]);
        let request = ClientHello::parse(&datagram)
            .unwrap()
            .verify_request(&[5; COOKIE_BYTES]);
        assert!(request.len() < datagram.len());
        let head = [22, 0xfe, 0xff, 0, 0, 1, 2, 3, 4, 5, 6, 0, 31, 3, 0, 0, 19, 0, 1];
        assert_eq!(request[..19], head);
        assert_eq!(request[19..28], [0, 0, 0, 0, 0, 19, 0xfe, 0xff, 16]);
        assert_eq!(request[28..], [5; COOKIE_BYTES]);
    }

    #[test]
    fn a_predecessor_is_the_hello_without_its_cookie_and_with_earlier_numbers() {
        let datagram = hello(7, 2, &[9; 20]);
        let parsed = ClientHello::parse(&datagram).unwrap();
        assert_eq!(parsed.predecessor(2), hello(5, 0, &[]));
        assert_eq!(parsed.predecessor(1), hello(6, 1, &[]));
    }

    #[test]
    fn records_in_the_clear_are_renumbered_and_sealed_ones_left_alone() {
        let clear = |sequence| [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, sequence, 0, 2, 1, 1];
        let sealed = [22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let mut datagram = [&clear(0)[..], &clear(1), &sealed, &[22, 0xfe]].concat();
        renumber(&mut datagram, 4);
        assert_eq!(datagram, [&clear(4)[..], &clear(5), &sealed, &[22, 0xfe]].concat());
    }
}
