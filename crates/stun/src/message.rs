use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::attribute::padded;
use crate::header::{MAGIC_COOKIE, split_type};
use crate::integrity::{SHA1_BYTES, SHA256_BYTES, SHA256_BYTES_MIN, equal};
use crate::{
    Attribute, AttributeError, AttributeType, Attributes, ChannelNumber, Class, ErrorCode, HEADER_BYTES,
    IntegrityError, IntegrityKey, IntegrityKeySha256, Method, ParseError, PasswordAlgorithm, TransactionId,
    UnknownAttributes, fingerprint, xor_address,
};

/// A STUN message, borrowed from its datagram.
///
/// Attributes behind MESSAGE-INTEGRITY are invisible, but for MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489
/// §14.5): they are not protected, so nobody may act on them.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    tail: Tail,
}

/// Where the attributes that close a message start, as offsets of their type field; zero where there is none.
#[derive(Clone, Copy, Default, Debug)]
struct Tail {
    /// End of the attributes that may be acted on.
    visible_end: u32,
    integrity: u32,
    integrity_sha256: u32,
    fingerprint: u32,
}

/// The transport protocol a relay shall speak (RFC 8656 §18.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestedTransport {
    /// Protocol 17.
    Udp,
    /// Protocol 6 (RFC 6062 §4.1).
    Tcp,
    /// Another protocol number.
    Other(u8),
}

/// An address family (RFC 8656 §18.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressFamily {
    /// 0x01.
    V4,
    /// 0x02.
    V6,
}

/// ICMP (RFC 8656 §18.13): why a packet did not reach a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Icmp {
    /// ICMP type, of ICMPv4 or ICMPv6 after the peer's family; below 128.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The MTU of the next hop where the packet was too big for it; else 0.
    pub data: u32,
}

/// EVEN-PORT (RFC 8656 §18.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvenPort {
    /// The next higher port shall be reserved.
    pub reserve_next: bool,
}

/// RESERVATION-TOKEN (RFC 8656 §18.10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReservationToken(pub [u8; 8]);

impl AddressFamily {
    /// Gives the family of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Gives the number on the wire (RFC 8489 §14.1).
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V4 => xor_address::FAMILY_V4,
            Self::V6 => xor_address::FAMILY_V6,
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a datagram that holds one message and nothing else. Checks the header and the bounds of every attribute.
    ///
    /// # Errors
    /// See [`ParseError`]; a message that fails here has no transaction that could be answered.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let head = datagram.first_chunk::<HEADER_BYTES>().ok_or(ParseError::Truncated)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        if kind & 0xc000 != 0 {
            return Err(ParseError::NotThisKind);
        }
        if head[4..8] != MAGIC_COOKIE.to_be_bytes() {
            return Err(ParseError::BadCookie);
        }
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if len % 4 != 0 || len != datagram.len() - HEADER_BYTES {
            return Err(ParseError::LengthMismatch);
        }
        let (class, method) = split_type(kind);
        Ok(Self {
            bytes: datagram,
            class,
            method,
            tail: find_tail(datagram)?,
        })
    }

    /// Gives the class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Gives the method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Gives the transaction id.
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        TransactionId(id)
    }

    /// Gives the bytes it was read from.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Walks the attributes that may be acted on; MESSAGE-INTEGRITY and what follows is not among them.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(&self.bytes[HEADER_BYTES..self.tail.visible_end as usize])
    }

    /// Gives the value of the first attribute of a type (RFC 8489 §14: later ones are ignored).
    #[inline]
    pub fn get(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attributes()
            .find(|attribute| attribute.kind == kind)
            .map(|attribute| attribute.value)
    }

    /// Gives where in the datagram a value stands that one of the getters gave.
    ///
    /// Returns `None` for bytes that are not part of this message.
    #[inline]
    pub fn range_of(&self, value: &[u8]) -> Option<Range<usize>> {
        let start = value.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        let end = start.checked_add(value.len())?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    /// Tells whether an attribute is there.
    pub fn has(&self, kind: AttributeType) -> bool {
        self.get(kind).is_some()
    }

    /// Collects the comprehension-required attributes that `knows` does not know.
    pub fn unknown_attributes(&self, knows: impl Fn(AttributeType) -> bool) -> UnknownAttributes {
        let mut unknown = UnknownAttributes::default();
        for Attribute { kind, .. } in self.attributes() {
            if kind.is_comprehension_required() && !knows(kind) {
                unknown.push(kind);
            }
        }
        unknown
    }
}

/// Integrity (RFC 8489 §14.5 to §14.7).
impl Message<'_> {
    /// Tells whether MESSAGE-INTEGRITY is there.
    pub fn has_integrity(&self) -> bool {
        self.tail.integrity != 0
    }

    /// Tells whether MESSAGE-INTEGRITY-SHA256 is there.
    pub fn has_integrity_sha256(&self) -> bool {
        self.tail.integrity_sha256 != 0
    }

    /// Tells whether MESSAGE-INTEGRITY-SHA256 is there and shorter than it could be, which a usage may forbid (RFC 8489
    /// §14.6).
    pub fn is_integrity_sha256_truncated(&self) -> bool {
        self.protected(self.tail.integrity_sha256)
            .is_some_and(|(_, claimed)| claimed.len() < SHA256_BYTES)
    }

    /// Checks MESSAGE-INTEGRITY in constant time.
    ///
    /// # Errors
    /// See [`IntegrityError`].
    pub fn check_integrity(&self, key: &IntegrityKey) -> Result<(), IntegrityError> {
        let (parts, claimed) = self.protected(self.tail.integrity).ok_or(IntegrityError::Missing)?;
        if equal(&key.compute(parts.borrowed()), claimed) {
            Ok(())
        } else {
            Err(IntegrityError::Mismatch)
        }
    }

    /// Checks MESSAGE-INTEGRITY-SHA256, truncated or not, in constant time.
    ///
    /// # Errors
    /// See [`IntegrityError`].
    pub fn check_integrity_sha256(&self, key: &IntegrityKeySha256) -> Result<(), IntegrityError> {
        let (parts, claimed) = self
            .protected(self.tail.integrity_sha256)
            .ok_or(IntegrityError::Missing)?;
        if equal(&key.compute(parts.borrowed()), claimed) {
            Ok(())
        } else {
            Err(IntegrityError::Mismatch)
        }
    }

    /// Checks FINGERPRINT; `None` when the message has none.
    pub fn fingerprint_fits(&self) -> Option<bool> {
        let at = self.tail.fingerprint as usize;
        (at != 0).then(|| self.bytes[at + 4..] == fingerprint::compute(&self.bytes[..at]).to_be_bytes())
    }

    /// Gives what an integrity attribute at `at` covers, and its value.
    fn protected(&self, at: u32) -> Option<(Protected<'_>, &[u8])> {
        let at = at as usize;
        if at == 0 {
            return None;
        }
        let value_len = usize::from(u16::from_be_bytes([self.bytes[at + 2], self.bytes[at + 3]]));
        let end = at + 4 + value_len;
        // The length field of the input counts up to and including this attribute, whatever follows it.
        let counted = (end - HEADER_BYTES) as u16;
        let mut head = [self.bytes[0], self.bytes[1], 0, 0];
        head[2..].copy_from_slice(&counted.to_be_bytes());
        Some((
            Protected {
                head,
                rest: &self.bytes[4..at],
            },
            &self.bytes[at + 4..end],
        ))
    }
}

struct Protected<'a> {
    head: [u8; 4],
    rest: &'a [u8],
}

impl Protected<'_> {
    fn borrowed(&self) -> [&[u8]; 3] {
        [&self.head, self.rest, &[]]
    }
}

/// Typed attributes. `Ok(None)` means absent, `Err` present but unusable.
impl<'a> Message<'a> {
    /// USERNAME (RFC 8489 §14.3): up to 508 bytes of UTF-8.
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Utf8`].
    pub fn username(&self) -> Result<Option<&'a str>, AttributeError> {
        self.text(AttributeType::USERNAME, 508)
    }

    /// USERHASH (RFC 8489 §14.4).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn user_hash(&self) -> Result<Option<[u8; 32]>, AttributeError> {
        self.typed(AttributeType::USERHASH, fixed)
    }

    /// PASSWORD-ALGORITHM (RFC 8489 §14.12).
    ///
    /// # Errors
    /// [`AttributeError::Length`]; [`AttributeError::Value`] for an algorithm that is unknown here.
    pub fn password_algorithm(&self) -> Result<Option<PasswordAlgorithm>, AttributeError> {
        self.typed(AttributeType::PASSWORD_ALGORITHM, PasswordAlgorithm::decode)
    }

    /// REALM (RFC 8489 §14.9): up to 763 bytes of UTF-8.
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Utf8`].
    pub fn realm(&self) -> Result<Option<&'a str>, AttributeError> {
        self.text(AttributeType::REALM, 763)
    }

    /// NONCE (RFC 8489 §14.10): up to 763 bytes.
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn nonce(&self) -> Result<Option<&'a [u8]>, AttributeError> {
        self.typed(AttributeType::NONCE, |value| {
            if value.len() <= 763 {
                Ok(value)
            } else {
                Err(AttributeError::Length)
            }
        })
    }

    /// SOFTWARE (RFC 8489 §14.14).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Utf8`].
    pub fn software(&self) -> Result<Option<&'a str>, AttributeError> {
        self.text(AttributeType::SOFTWARE, 763)
    }

    /// MAPPED-ADDRESS (RFC 8489 §14.1).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn mapped_address(&self) -> Result<Option<SocketAddr>, AttributeError> {
        self.typed(AttributeType::MAPPED_ADDRESS, xor_address::decode_plain)
    }

    /// ALTERNATE-SERVER (RFC 8489 §14.15).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn alternate_server(&self) -> Result<Option<SocketAddr>, AttributeError> {
        self.typed(AttributeType::ALTERNATE_SERVER, xor_address::decode_plain)
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn xor_mapped_address(&self) -> Result<Option<SocketAddr>, AttributeError> {
        self.address(AttributeType::XOR_MAPPED_ADDRESS)
    }

    /// XOR-RELAYED-ADDRESS (RFC 8656 §18.5).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn xor_relayed_address(&self) -> Result<Option<SocketAddr>, AttributeError> {
        self.address(AttributeType::XOR_RELAYED_ADDRESS)
    }

    /// The first XOR-PEER-ADDRESS (RFC 8656 §18.3).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    #[inline]
    pub fn xor_peer_address(&self) -> Result<Option<SocketAddr>, AttributeError> {
        self.address(AttributeType::XOR_PEER_ADDRESS)
    }

    /// Every XOR-PEER-ADDRESS, as CreatePermission carries them (RFC 8656 §10.1).
    pub fn xor_peer_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, AttributeError>> + 'a {
        self.addresses(AttributeType::XOR_PEER_ADDRESS)
    }

    /// Every XOR-RELAYED-ADDRESS: an allocation with relays of both families has two (RFC 8656 §7.2).
    pub fn xor_relayed_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, AttributeError>> + 'a {
        self.addresses(AttributeType::XOR_RELAYED_ADDRESS)
    }

    /// DATA (RFC 8656 §18.4).
    #[inline]
    pub fn data(&self) -> Option<&'a [u8]> {
        self.get(AttributeType::DATA)
    }

    /// CHANNEL-NUMBER (RFC 8656 §18.1).
    ///
    /// # Errors
    /// [`AttributeError::Length`]; [`AttributeError::Value`] outside 0x4000-0x7FFF.
    pub fn channel_number(&self) -> Result<Option<ChannelNumber>, AttributeError> {
        self.typed(AttributeType::CHANNEL_NUMBER, |value| {
            let [a, b, ..] = fixed::<4>(value)?;
            ChannelNumber::new(u16::from_be_bytes([a, b])).ok_or(AttributeError::Value)
        })
    }

    /// LIFETIME in seconds (RFC 8656 §18.2).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn lifetime_s(&self) -> Result<Option<u32>, AttributeError> {
        self.number(AttributeType::LIFETIME)
    }

    /// REQUESTED-TRANSPORT (RFC 8656 §18.8).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn requested_transport(&self) -> Result<Option<RequestedTransport>, AttributeError> {
        self.typed(AttributeType::REQUESTED_TRANSPORT, |value| {
            Ok(match fixed::<4>(value)? {
                [17, ..] => RequestedTransport::Udp,
                [6, ..] => RequestedTransport::Tcp,
                [other, ..] => RequestedTransport::Other(other),
            })
        })
    }

    /// REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn requested_address_family(&self) -> Result<Option<AddressFamily>, AttributeError> {
        self.typed(AttributeType::REQUESTED_ADDRESS_FAMILY, |value| {
            family(fixed::<4>(value)?[0])
        })
    }

    /// ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.11), by its number or, where that is absent, by the one of its draft.
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`].
    pub fn additional_address_family(&self) -> Result<Option<AddressFamily>, AttributeError> {
        let read = |value| family(fixed::<4>(value)?[0]);
        match self.typed(AttributeType::ADDITIONAL_ADDRESS_FAMILY, read)? {
            None => self.typed(AttributeType::DRAFT_ADDITIONAL_ADDRESS_FAMILY, read),
            family => Ok(family),
        }
    }

    /// ADDRESS-ERROR-CODE (RFC 8656 §18.12): the family that was not allocated, and why.
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Family`], [`AttributeError::Value`].
    pub fn address_error_code(&self) -> Result<Option<(AddressFamily, ErrorCode)>, AttributeError> {
        self.typed(AttributeType::ADDRESS_ERROR_CODE, |value| {
            let head = value.first_chunk::<4>().ok_or(AttributeError::Length)?;
            Ok((family(head[0])?, code(head)?))
        })
    }

    /// ICMP (RFC 8656 §18.13).
    ///
    /// # Errors
    /// [`AttributeError::Length`]; [`AttributeError::Value`] for a code that ICMP does not have.
    pub fn icmp(&self) -> Result<Option<Icmp>, AttributeError> {
        self.typed(AttributeType::ICMP, |value| {
            let [_, _, b0, b1, data @ ..] = fixed::<8>(value)?;
            if b0 & 1 != 0 {
                return Err(AttributeError::Value);
            }
            Ok(Icmp {
                kind: b0 >> 1,
                code: b1,
                data: u32::from_be_bytes(data),
            })
        })
    }

    /// MOBILITY-TICKET (RFC 8016 §3.4): empty where one is asked for.
    pub fn mobility_ticket(&self) -> Option<&'a [u8]> {
        self.get(AttributeType::MOBILITY_TICKET)
    }

    /// EVEN-PORT (RFC 8656 §18.7).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn even_port(&self) -> Result<Option<EvenPort>, AttributeError> {
        self.typed(AttributeType::EVEN_PORT, |value| {
            let [bits] = fixed::<1>(value)?;
            Ok(EvenPort {
                reserve_next: bits & 0x80 != 0,
            })
        })
    }

    /// RESERVATION-TOKEN (RFC 8656 §18.10).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn reservation_token(&self) -> Result<Option<ReservationToken>, AttributeError> {
        self.typed(AttributeType::RESERVATION_TOKEN, |value| {
            fixed(value).map(ReservationToken)
        })
    }

    /// CONNECTION-ID (RFC 6062 §6.2.1).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn connection_id(&self) -> Result<Option<u32>, AttributeError> {
        self.number(AttributeType::CONNECTION_ID)
    }

    /// ERROR-CODE (RFC 8489 §14.8).
    ///
    /// # Errors
    /// [`AttributeError::Length`], [`AttributeError::Value`].
    pub fn error_code(&self) -> Result<Option<ErrorCode>, AttributeError> {
        self.typed(AttributeType::ERROR_CODE, |value| {
            code(value.first_chunk::<4>().ok_or(AttributeError::Length)?)
        })
    }

    /// UNKNOWN-ATTRIBUTES (RFC 8489 §14.13), the first of them when there are many.
    pub fn listed_unknown_attributes(&self) -> UnknownAttributes {
        let mut listed = UnknownAttributes::default();
        for pair in self
            .get(AttributeType::UNKNOWN_ATTRIBUTES)
            .unwrap_or_default()
            .chunks_exact(2)
        {
            listed.push(AttributeType(u16::from_be_bytes([pair[0], pair[1]])));
        }
        listed
    }

    /// PRIORITY (RFC 8445 §16.1).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn priority(&self) -> Result<Option<u32>, AttributeError> {
        self.number(AttributeType::PRIORITY)
    }

    /// USE-CANDIDATE (RFC 8445 §16.1).
    pub fn use_candidate(&self) -> bool {
        self.has(AttributeType::USE_CANDIDATE)
    }

    /// The tie-breaker of ICE-CONTROLLED (RFC 8445 §16.1).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn ice_controlled(&self) -> Result<Option<u64>, AttributeError> {
        self.typed(AttributeType::ICE_CONTROLLED, |value| {
            fixed(value).map(u64::from_be_bytes)
        })
    }

    /// The tie-breaker of ICE-CONTROLLING (RFC 8445 §16.1).
    ///
    /// # Errors
    /// [`AttributeError::Length`].
    pub fn ice_controlling(&self) -> Result<Option<u64>, AttributeError> {
        self.typed(AttributeType::ICE_CONTROLLING, |value| {
            fixed(value).map(u64::from_be_bytes)
        })
    }

    #[inline]
    pub(crate) fn typed<T>(
        &self,
        kind: AttributeType,
        read: impl FnOnce(&'a [u8]) -> Result<T, AttributeError>,
    ) -> Result<Option<T>, AttributeError> {
        self.get(kind).map(read).transpose()
    }

    #[inline]
    fn address(&self, kind: AttributeType) -> Result<Option<SocketAddr>, AttributeError> {
        self.typed(kind, |value| xor_address::decode(value, &self.transaction_id()))
    }

    fn addresses(&self, kind: AttributeType) -> impl Iterator<Item = Result<SocketAddr, AttributeError>> + 'a {
        let id = self.transaction_id();
        self.attributes()
            .filter(move |attribute| attribute.kind == kind)
            .map(move |attribute| xor_address::decode(attribute.value, &id))
    }

    pub(crate) fn number(&self, kind: AttributeType) -> Result<Option<u32>, AttributeError> {
        self.typed(kind, |value| fixed(value).map(u32::from_be_bytes))
    }

    fn text(&self, kind: AttributeType, len_max: usize) -> Result<Option<&'a str>, AttributeError> {
        self.typed(kind, |value| {
            if value.len() > len_max {
                return Err(AttributeError::Length);
            }
            std::str::from_utf8(value).map_err(|_| AttributeError::Utf8)
        })
    }
}

fn family(number: u8) -> Result<AddressFamily, AttributeError> {
    match number {
        xor_address::FAMILY_V4 => Ok(AddressFamily::V4),
        xor_address::FAMILY_V6 => Ok(AddressFamily::V6),
        _ => Err(AttributeError::Family),
    }
}

/// Reads class and number of an error, which end the first four bytes of its attribute.
fn code(head: &[u8; 4]) -> Result<ErrorCode, AttributeError> {
    if head[3] > 99 {
        return Err(AttributeError::Value);
    }
    let number = u16::from(head[2] & 7) * 100 + u16::from(head[3]);
    ErrorCode::new(number).ok_or(AttributeError::Value)
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], AttributeError> {
    value.try_into().map_err(|_| AttributeError::Length)
}

/// Walks all attributes once, checks their bounds and notes the closing ones.
#[inline]
fn find_tail(bytes: &[u8]) -> Result<Tail, ParseError> {
    let mut tail = Tail::default();
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        if tail.fingerprint != 0 {
            return Err(ParseError::FingerprintNotLast);
        }
        let head = bytes[at..].first_chunk::<4>().ok_or(ParseError::AttributeOverrun)?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let end = at + 4 + padded(len);
        if end > bytes.len() {
            return Err(ParseError::AttributeOverrun);
        }
        tail.note(AttributeType(u16::from_be_bytes([head[0], head[1]])), at as u32, len)?;
        at = end;
    }
    if tail.visible_end == 0 {
        tail.visible_end = at as u32;
    }
    Ok(tail)
}

impl Tail {
    /// Takes note of one attribute. Offsets fit 32 bits because a message is at most 65 555 bytes long.
    #[inline]
    fn note(&mut self, kind: AttributeType, at: u32, len: usize) -> Result<(), ParseError> {
        let (slot, len_fits) = match kind {
            // Behind the SHA-256 code only FINGERPRINT counts (RFC 8489 §14.6).
            AttributeType::MESSAGE_INTEGRITY if self.integrity_sha256 == 0 => (&mut self.integrity, len == SHA1_BYTES),
            AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                let fits = (SHA256_BYTES_MIN..=SHA256_BYTES).contains(&len) && len.is_multiple_of(4);
                (&mut self.integrity_sha256, fits)
            }
            AttributeType::FINGERPRINT => (&mut self.fingerprint, len == 4),
            _ => return Ok(()),
        };
        if !len_fits {
            return Err(ParseError::BadIntegrityLength);
        }
        if *slot == 0 {
            *slot = at;
        }
        if self.visible_end == 0 {
            self.visible_end = at;
        }
        Ok(())
    }
}
