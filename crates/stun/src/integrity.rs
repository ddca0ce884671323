use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A key for MESSAGE-INTEGRITY (RFC 8489 §14.5) that holds the keyed HMAC-SHA1 state.
///
/// Keying costs two hash blocks; whoever keeps the key for the life of an allocation or an ICE session saves them on
/// every message.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

/// A key for MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6) that holds the keyed HMAC-SHA256 state.
#[derive(Clone)]
pub struct IntegrityKeySha256(Hmac<Sha256>);

/// Bytes of a MESSAGE-INTEGRITY value.
pub(crate) const SHA1_BYTES: usize = 20;
/// Bytes of an untruncated MESSAGE-INTEGRITY-SHA256 value.
pub(crate) const SHA256_BYTES: usize = 32;
/// Shortest truncated MESSAGE-INTEGRITY-SHA256 value (RFC 8489 §14.6).
pub(crate) const SHA256_BYTES_MIN: usize = 16;

/// Derives the key of the long-term credential mechanism: MD5 of `user:realm:password` (RFC 8489 §9.2.2).
pub fn long_term_key(user: &str, realm: &str, password: &str) -> [u8; 16] {
    joined::<Md5>(user, realm, password).finalize().into()
}

/// Derives the key of the long-term credential mechanism under the SHA-256 password algorithm (RFC 8489 §18.5.1.2).
pub fn long_term_key_sha256(user: &str, realm: &str, password: &str) -> [u8; 32] {
    joined::<Sha256>(user, realm, password).finalize().into()
}

/// Derives the value of USERHASH, which stands in for a name that shall not be seen (RFC 8489 §14.4).
pub fn user_hash(user: &str, realm: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    [user, ":", realm]
        .iter()
        .for_each(|part| digest.update(part.as_bytes()));
    digest.finalize().into()
}

fn joined<D: Digest>(user: &str, realm: &str, password: &str) -> D {
    let mut digest = D::new();
    [user, ":", realm, ":", password]
        .iter()
        .for_each(|part| digest.update(part.as_bytes()));
    digest
}

impl IntegrityKey {
    /// Keys from bytes: a [`long_term_key`], or the password itself in the short-term mechanism (RFC 8489 §9.1.1).
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// Keys for the long-term mechanism.
    pub fn long_term(user: &str, realm: &str, password: &str) -> Self {
        Self::new(&long_term_key(user, realm, password))
    }

    pub(crate) fn compute(&self, parts: [&[u8]; 3]) -> [u8; SHA1_BYTES] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl IntegrityKeySha256 {
    /// Keys from bytes, see [`IntegrityKey::new`].
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    pub(crate) fn compute(&self, parts: [&[u8]; 3]) -> [u8; SHA256_BYTES] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(..)")
    }
}

impl fmt::Debug for IntegrityKeySha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKeySha256(..)")
    }
}

/// Compares without telling by its duration where two codes differ; `claimed` may be a truncation of `computed`.
pub(crate) fn equal(computed: &[u8], claimed: &[u8]) -> bool {
    computed
        .get(..claimed.len())
        .is_some_and(|head| bool::from(head.ct_eq(claimed)))
}
