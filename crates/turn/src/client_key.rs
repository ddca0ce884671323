use voex_stun::{IntegrityKey, IntegrityKeySha256, Message, MessageWriter};

/// Which attribute protects a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Integrity {
    /// MESSAGE-INTEGRITY (RFC 8489 §14.5).
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6).
    Sha256,
}

/// The key that a client's requests fit and its answers are signed with, keyed for the attribute it uses.
#[derive(Clone)]
pub(crate) struct ClientKey {
    bytes: Box<[u8]>,
    keyed: Keyed,
}

#[derive(Clone)]
enum Keyed {
    Sha1(IntegrityKey),
    Sha256(Box<IntegrityKeySha256>),
}

impl Integrity {
    /// Gives what protects a request, the stronger where both are there (RFC 8489 §9.2.4), and then its answer: a client
    /// that was offered password algorithms uses SHA-256 and hears it, and one that does not know them hears what it knows.
    pub(crate) fn of(request: &Message<'_>) -> Option<Self> {
        if request.has_integrity_sha256() {
            Some(Self::Sha256)
        } else {
            request.has_integrity().then_some(Self::Sha1)
        }
    }
}

impl ClientKey {
    pub(crate) fn new(bytes: &[u8], integrity: Integrity) -> Self {
        let keyed = match integrity {
            Integrity::Sha1 => Keyed::Sha1(IntegrityKey::new(bytes)),
            Integrity::Sha256 => Keyed::Sha256(Box::new(IntegrityKeySha256::new(bytes))),
        };
        Self {
            bytes: bytes.into(),
            keyed,
        }
    }

    /// Tells whether a request was signed with this key; in constant time.
    pub(crate) fn fits(&self, request: &Message<'_>) -> bool {
        let checked = match (Integrity::of(request), &self.keyed) {
            (Some(Integrity::Sha256), Keyed::Sha256(key)) => request.check_integrity_sha256(key),
            (Some(Integrity::Sha256), Keyed::Sha1(_)) => {
                request.check_integrity_sha256(&IntegrityKeySha256::new(&self.bytes))
            }
            (_, Keyed::Sha1(key)) => request.check_integrity(key),
            (_, Keyed::Sha256(_)) => request.check_integrity(&IntegrityKey::new(&self.bytes)),
        };
        // TURN does not allow for a shorter code (RFC 8489 §14.6).
        checked.is_ok() && !request.is_integrity_sha256_truncated()
    }

    /// Signs what has been written so far.
    pub(crate) fn sign<'b>(&self, writer: MessageWriter<'b>, integrity: Integrity) -> MessageWriter<'b> {
        match (integrity, &self.keyed) {
            (Integrity::Sha1, Keyed::Sha1(key)) => writer.message_integrity(key),
            (Integrity::Sha1, Keyed::Sha256(_)) => writer.message_integrity(&IntegrityKey::new(&self.bytes)),
            (Integrity::Sha256, Keyed::Sha256(key)) => writer.message_integrity_sha256(key),
            (Integrity::Sha256, Keyed::Sha1(_)) => {
                writer.message_integrity_sha256(&IntegrityKeySha256::new(&self.bytes))
            }
        }
    }
}
