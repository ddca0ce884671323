use std::net::SocketAddr;

use crate::attribute::padded;
use crate::header::{MAGIC_COOKIE, message_type};
use crate::integrity::{SHA1_BYTES, SHA256_BYTES};
use crate::password_algorithm::PASSWORD_ALGORITHM_BYTES;
use crate::{
    AddressFamily, AttributeType, ChannelNumber, Class, ErrorCode, HEADER_BYTES, Icmp, IntegrityKey,
    IntegrityKeySha256, Method, PasswordAlgorithm, ReservationToken, TransactionId, UNKNOWN_ATTRIBUTES_MAX,
    UnknownAttributes, WriteError, fingerprint, xor_address,
};

/// Writes one STUN message into the caller's buffer, attribute by attribute.
///
/// Every method takes and gives the writer, so a message is one chain. Running out of room is remembered and told
/// once, by [`finish`](Self::finish). Padding is always zero: nothing that stood in the buffer leaks.
///
/// The order that RFC 8489 §14.5 asks for is the caller's: ordinary attributes, then integrity, then fingerprint.
#[derive(Debug)]
#[must_use = "a message is complete after `finish`"]
pub struct MessageWriter<'b> {
    out: &'b mut [u8],
    len: usize,
    id: TransactionId,
    full: bool,
}

impl<'b> MessageWriter<'b> {
    /// Starts a message.
    #[inline]
    pub fn new(out: &'b mut [u8], class: Class, method: Method, id: TransactionId) -> Self {
        let mut writer = Self {
            out,
            len: 0,
            id,
            full: false,
        };
        if let Some(head) = writer.take(HEADER_BYTES) {
            head[..2].copy_from_slice(&message_type(class, method).to_be_bytes());
            head[2..4].fill(0);
            head[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            head[8..].copy_from_slice(&id.0);
        }
        writer
    }

    /// Ends the message and gives its length.
    ///
    /// # Errors
    /// [`WriteError`] when the buffer was too short; its content is then unusable.
    #[inline]
    pub fn finish(mut self) -> Result<usize, WriteError> {
        if self.full || self.len - HEADER_BYTES > usize::from(u16::MAX) {
            return Err(WriteError);
        }
        self.set_length(self.len);
        Ok(self.len)
    }

    /// Writes an attribute of any type.
    #[inline]
    pub fn attribute(mut self, kind: AttributeType, value: &[u8]) -> Self {
        if let Some(room) = self.open(kind, value.len()) {
            room[..value.len()].copy_from_slice(value);
        }
        self
    }

    /// Writes an attribute that is absent when `value` is.
    pub fn optional(self, kind: AttributeType, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.attribute(kind, value),
            None => self,
        }
    }

    /// Writes an attribute of 32 bits.
    pub fn number(self, kind: AttributeType, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// MAPPED-ADDRESS (RFC 8489 §14.1).
    pub fn mapped_address(self, address: SocketAddr) -> Self {
        self.plain_address(AttributeType::MAPPED_ADDRESS, address)
    }

    /// ALTERNATE-SERVER (RFC 8489 §14.15).
    pub fn alternate_server(self, address: SocketAddr) -> Self {
        self.plain_address(AttributeType::ALTERNATE_SERVER, address)
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    pub fn xor_mapped_address(self, address: SocketAddr) -> Self {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address)
    }

    /// XOR-RELAYED-ADDRESS (RFC 8656 §18.5).
    pub fn xor_relayed_address(self, address: SocketAddr) -> Self {
        self.xor_address(AttributeType::XOR_RELAYED_ADDRESS, address)
    }

    /// XOR-PEER-ADDRESS (RFC 8656 §18.3).
    #[inline]
    pub fn xor_peer_address(self, address: SocketAddr) -> Self {
        self.xor_address(AttributeType::XOR_PEER_ADDRESS, address)
    }

    /// DATA (RFC 8656 §18.4).
    #[inline]
    pub fn data(self, payload: &[u8]) -> Self {
        self.attribute(AttributeType::DATA, payload)
    }

    /// USERNAME (RFC 8489 §14.3).
    pub fn username(self, name: &str) -> Self {
        self.attribute(AttributeType::USERNAME, name.as_bytes())
    }

    /// USERHASH (RFC 8489 §14.4).
    pub fn user_hash(self, hash: &[u8; 32]) -> Self {
        self.attribute(AttributeType::USERHASH, hash)
    }

    /// PASSWORD-ALGORITHM (RFC 8489 §14.12).
    pub fn password_algorithm(self, algorithm: PasswordAlgorithm) -> Self {
        self.attribute(AttributeType::PASSWORD_ALGORITHM, &algorithm.encode())
    }

    /// PASSWORD-ALGORITHMS in order of preference (RFC 8489 §14.11).
    pub fn password_algorithms(mut self, algorithms: &[PasswordAlgorithm]) -> Self {
        let len = algorithms.len() * PASSWORD_ALGORITHM_BYTES;
        if let Some(room) = self.open(AttributeType::PASSWORD_ALGORITHMS, len) {
            for (slot, byte) in room.iter_mut().zip(PasswordAlgorithm::encode_list(algorithms)) {
                *slot = byte;
            }
        }
        self
    }

    /// REALM (RFC 8489 §14.9).
    pub fn realm(self, realm: &str) -> Self {
        self.attribute(AttributeType::REALM, realm.as_bytes())
    }

    /// NONCE (RFC 8489 §14.10).
    pub fn nonce(self, nonce: &[u8]) -> Self {
        self.attribute(AttributeType::NONCE, nonce)
    }

    /// SOFTWARE (RFC 8489 §14.14); nothing when `name` is empty.
    pub fn software(self, name: &str) -> Self {
        if name.is_empty() {
            self
        } else {
            self.attribute(AttributeType::SOFTWARE, name.as_bytes())
        }
    }

    /// LIFETIME in seconds (RFC 8656 §18.2).
    pub fn lifetime_s(self, seconds: u32) -> Self {
        self.number(AttributeType::LIFETIME, seconds)
    }

    /// CHANNEL-NUMBER (RFC 8656 §18.1).
    pub fn channel_number(self, channel: ChannelNumber) -> Self {
        self.number(AttributeType::CHANNEL_NUMBER, u32::from(channel.number()) << 16)
    }

    /// REQUESTED-TRANSPORT for UDP (RFC 8656 §18.8).
    pub fn requested_transport_udp(self) -> Self {
        self.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    }

    /// REQUESTED-TRANSPORT for TCP (RFC 6062 §4.1).
    pub fn requested_transport_tcp(self) -> Self {
        self.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0])
    }

    /// CONNECTION-ID (RFC 6062 §6.2.1).
    pub fn connection_id(self, id: u32) -> Self {
        self.number(AttributeType::CONNECTION_ID, id)
    }

    /// REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6).
    pub fn requested_address_family(self, family: AddressFamily) -> Self {
        self.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family.number(), 0, 0, 0])
    }

    /// ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.11).
    pub fn additional_address_family(self, family: AddressFamily) -> Self {
        self.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[family.number(), 0, 0, 0])
    }

    /// ADDRESS-ERROR-CODE with the registered reason phrase (RFC 8656 §18.12).
    pub fn address_error_code(self, family: AddressFamily, code: ErrorCode) -> Self {
        self.code(AttributeType::ADDRESS_ERROR_CODE, family.number(), code)
    }

    /// ICMP (RFC 8656 §18.13): after 16 reserved bits seven of the type and nine of the code.
    pub fn icmp(self, icmp: Icmp) -> Self {
        let [d0, d1, d2, d3] = icmp.data.to_be_bytes();
        self.attribute(AttributeType::ICMP, &[0, 0, icmp.kind << 1, icmp.code, d0, d1, d2, d3])
    }

    /// RESERVATION-TOKEN (RFC 8656 §18.10).
    pub fn reservation_token(self, token: ReservationToken) -> Self {
        self.attribute(AttributeType::RESERVATION_TOKEN, &token.0)
    }

    /// ERROR-CODE with the registered reason phrase (RFC 8489 §14.8).
    pub fn error_code(self, code: ErrorCode) -> Self {
        self.code(AttributeType::ERROR_CODE, 0, code)
    }

    /// UNKNOWN-ATTRIBUTES (RFC 8489 §14.13).
    pub fn unknown_attributes(self, unknown: &UnknownAttributes) -> Self {
        let mut value = [0; 2 * UNKNOWN_ATTRIBUTES_MAX];
        let types = unknown.types();
        let len = 2 * types.len();
        for (slot, kind) in value.chunks_exact_mut(2).zip(types) {
            slot.copy_from_slice(&kind.0.to_be_bytes());
        }
        self.attribute(AttributeType::UNKNOWN_ATTRIBUTES, &value[..len])
    }

    /// PRIORITY (RFC 8445 §16.1).
    pub fn priority(self, priority: u32) -> Self {
        self.number(AttributeType::PRIORITY, priority)
    }

    /// USE-CANDIDATE (RFC 8445 §16.1).
    pub fn use_candidate(self) -> Self {
        self.attribute(AttributeType::USE_CANDIDATE, &[])
    }

    /// ICE-CONTROLLED with its tie-breaker (RFC 8445 §16.1).
    pub fn ice_controlled(self, tie_breaker: u64) -> Self {
        self.attribute(AttributeType::ICE_CONTROLLED, &tie_breaker.to_be_bytes())
    }

    /// ICE-CONTROLLING with its tie-breaker (RFC 8445 §16.1).
    pub fn ice_controlling(self, tie_breaker: u64) -> Self {
        self.attribute(AttributeType::ICE_CONTROLLING, &tie_breaker.to_be_bytes())
    }

    /// MESSAGE-INTEGRITY over what stands so far (RFC 8489 §14.5).
    pub fn message_integrity(mut self, key: &IntegrityKey) -> Self {
        let covered = self.len;
        self.set_length(covered + 4 + SHA1_BYTES);
        let code = key.compute([self.out.get(..covered).unwrap_or_default(), &[], &[]]);
        self.attribute(AttributeType::MESSAGE_INTEGRITY, &code)
    }

    /// MESSAGE-INTEGRITY-SHA256, untruncated, over what stands so far (RFC 8489 §14.6).
    pub fn message_integrity_sha256(mut self, key: &IntegrityKeySha256) -> Self {
        let covered = self.len;
        self.set_length(covered + 4 + SHA256_BYTES);
        let code = key.compute([self.out.get(..covered).unwrap_or_default(), &[], &[]]);
        self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &code)
    }

    /// FINGERPRINT over what stands so far (RFC 8489 §14.7); nothing may follow.
    pub fn fingerprint(mut self) -> Self {
        let covered = self.len;
        self.set_length(covered + 8);
        let code = fingerprint::compute(self.out.get(..covered).unwrap_or_default());
        self.number(AttributeType::FINGERPRINT, code)
    }

    fn code(mut self, kind: AttributeType, first: u8, code: ErrorCode) -> Self {
        let (number, reason) = (code.number(), code.reason().as_bytes());
        if let Some(room) = self.open(kind, 4 + reason.len()) {
            room[..4].copy_from_slice(&[first, 0, (number / 100) as u8, (number % 100) as u8]);
            room[4..4 + reason.len()].copy_from_slice(reason);
        }
        self
    }

    #[inline]
    fn xor_address(self, kind: AttributeType, address: SocketAddr) -> Self {
        let mut value = [0; xor_address::XOR_ADDRESS_BYTES_MAX];
        let len = xor_address::encode(address, &self.id, &mut value);
        self.attribute(kind, &value[..len])
    }

    pub(crate) fn plain_address(self, kind: AttributeType, address: SocketAddr) -> Self {
        let mut value = [0; xor_address::XOR_ADDRESS_BYTES_MAX];
        let len = xor_address::encode_plain(address, &mut value);
        self.attribute(kind, &value[..len])
    }

    /// Writes an attribute's header and padding, and gives its value's room, padding included.
    #[inline]
    pub(crate) fn open(&mut self, kind: AttributeType, len: usize) -> Option<&mut [u8]> {
        let Ok(claimed) = u16::try_from(len) else {
            self.full = true;
            return None;
        };
        let room = self.take(4 + padded(len))?;
        room[..2].copy_from_slice(&kind.0.to_be_bytes());
        room[2..4].copy_from_slice(&claimed.to_be_bytes());
        room[4 + len..].fill(0);
        Some(&mut room[4..])
    }

    #[inline]
    fn take(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.len;
        if self.full || len > self.out.len() - start {
            self.full = true;
            return None;
        }
        self.len += len;
        Some(&mut self.out[start..start + len])
    }

    /// Sets the length field as if the message ended at `end`.
    fn set_length(&mut self, end: usize) {
        if !self.full {
            let counted = (end - HEADER_BYTES) as u16;
            self.out[2..4].copy_from_slice(&counted.to_be_bytes());
        }
    }
}
