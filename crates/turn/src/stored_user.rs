use std::fmt;
use std::sync::Arc;

use crate::Secret;

/// What a credential store knows of a user.
#[derive(Clone, Default)]
pub struct StoredUser {
    /// MD5 of `user:realm:password`.
    pub md5_key: Option<[u8; 16]>,
    /// SHA-256 of the same (RFC 8489 §18.5.1.2).
    pub sha256_key: Option<[u8; 32]>,
    /// Secrets of time-limited users of the realm; any one may fit.
    pub secrets: Arc<[Secret]>,
}

/// The key of an access token (RFC 7635).
#[derive(Clone)]
pub struct TokenKey {
    /// Long-term key shared with the authorization server. Of a longer one the algorithm takes as much as it needs, and a
    /// shorter one is filled with zeros.
    pub key: Box<[u8]>,
    /// How tokens are encrypted under it.
    pub algorithm: TokenAlgorithm,
    /// When the key became valid, in seconds since 1970; 0 = always was.
    pub timestamp_s: u64,
    /// How long it is valid, in seconds; 0 = for ever.
    pub lifetime_s: u64,
}

/// How an access token is encrypted (RFC 7635 §6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenAlgorithm {
    /// AEAD_AES_128_GCM.
    Aes128Gcm,
    /// AEAD_AES_256_GCM.
    Aes256Gcm,
}

impl StoredUser {
    /// Tells whether the store has a key of this user, as opposed to secrets that may fit anybody.
    pub fn exists(&self) -> bool {
        self.md5_key.is_some() || self.sha256_key.is_some()
    }
}

impl fmt::Debug for StoredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "StoredUser(exists: {}, secrets: {})",
            self.exists(),
            self.secrets.len()
        )
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}
