//! A secret that cannot be printed by accident.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A password or shared secret. `Debug` and `Display` show asterisks; only [`Secret::reveal`] gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives the text; for the one place that needs it, never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// MD5 of `user:realm:password`, as user databases store it. It is as good as the password, and as secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UserKey([u8; 16]);

impl UserKey {
    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let key = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        Some(Self(key.to_be_bytes()))
    }

    /// Gives the key; for the one place that needs it, never for a log.
    pub fn reveal(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Key of the access tokens of one `kid` (RFC 7635), shared with the authorization server: 16 bytes for AES-128-GCM, 32
/// for AES-256-GCM.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey(Box<[u8]>);

impl TokenKey {
    /// Reads base64 of 16 or 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text).ok()?;
        matches!(key.len(), 16 | 32).then(|| Self(key.into()))
    }

    /// Gives the key; for the one place that needs it, never for a log.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(format!("{:?}", UserKey([7; 16])), "***");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn a_token_key_is_base64_of_sixteen_or_thirty_two_bytes() {
        let key = TokenKey::parse("MTIzNDU2Nzg5MDEyMzQ1Ng==").unwrap();
        assert_eq!(key.reveal(), b"1234567890123456");
        assert_eq!(format!("{key:?}"), "***");
        assert!(TokenKey::parse(&STANDARD.encode([7; 32])).is_some());
        for wrong in ["", "MTIz", "MTIzNDU2Nzg5MDEyMzQ1Ngo=", "not base64, really!!"] {
            assert!(TokenKey::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_thirty_two_hexadecimal_digits() {
        let key = UserKey::parse("38ea77b3222a6572d2bb78cfa6468419").unwrap();
        assert_eq!((key.reveal()[0], key.reveal()[15]), (0x38, 0x19));
        for wrong in [
            "",
            "38ea",
            "+8ea77b3222a6572d2bb78cfa6468419",
            "38ea77b3222a6572d2bb78cfa646841x",
        ] {
            assert!(UserKey::parse(wrong).is_none(), "{wrong}");
        }
    }
}
