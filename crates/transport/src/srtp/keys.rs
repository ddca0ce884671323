//! Master keys, and the session keys derived from them.

use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

use super::cipher::Cipher;

/// SRTP protection profiles (RFC 5764 §4.1.2, RFC 7714 §14.2), which SDES calls crypto suites.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    /// AES-128 in GCM, 16-byte tag.
    AeadAes128Gcm,
    /// AES-256 in GCM, 16-byte tag.
    AeadAes256Gcm,
    /// AES-128 in counter mode, HMAC-SHA-1 cut to 80 bits.
    Aes128CmSha1_80,
    /// AES-128 in counter mode, HMAC-SHA-1 cut to 32 bits for SRTP; SRTCP keeps 80 bits.
    Aes128CmSha1_32,
}

impl Profile {
    /// Length of the master key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    /// Length of the master salt in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 14,
        }
    }

    /// Bytes that SRTP adds to a packet.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
            Self::Aes128CmSha1_32 => 4,
        }
    }

    /// Length of the SRTCP tag, without the index word.
    pub(super) const fn rtcp_tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 10,
        }
    }
}

/// Why a [`MasterKey`] could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MasterKeyError {
    /// The key does not have the profile's length.
    KeyLength,
    /// The salt does not have the profile's length.
    SaltLength,
}

/// Master key and salt of one direction.
#[derive(Clone)]
pub struct MasterKey {
    profile: Profile,
    key: [u8; 32],
    /// Filled with zeros on the right when the profile's salt is shorter (RFC 7714 §11).
    salt: [u8; SALT_BYTES],
}

const SALT_BYTES: usize = 14;

impl MasterKey {
    /// Takes key and salt as SDES carries them.
    ///
    /// # Errors
    /// When a length is not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, MasterKeyError> {
        if key.len() != profile.key_len() {
            return Err(MasterKeyError::KeyLength);
        }
        if salt.len() != profile.salt_len() {
            return Err(MasterKeyError::SaltLength);
        }
        let mut master = Self {
            profile,
            key: [0; 32],
            salt: [0; SALT_BYTES],
        };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        Ok(master)
    }

    /// Splits what the DTLS exporter gave into the client's and the server's master key (RFC 5764 §4.2).
    ///
    /// # Errors
    /// When `material` is too short for two keys and two salts.
    pub fn pair_from_dtls(profile: Profile, material: &[u8]) -> Result<(Self, Self), MasterKeyError> {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        let (keys, salts) = material.split_at_checked(2 * key).ok_or(MasterKeyError::KeyLength)?;
        let salts = salts.get(..2 * salt).ok_or(MasterKeyError::SaltLength)?;
        Ok((
            Self::new(profile, &keys[..key], &salts[..salt])?,
            Self::new(profile, &keys[key..], &salts[salt..])?,
        ))
    }

    /// The profile it is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Derives the ciphers of SRTP and of SRTCP (RFC 3711 §4.3.1 and §4.3.2, RFC 7714 §11).
    pub(super) fn ciphers(&self) -> (Cipher, Cipher) {
        (self.session(LABELS_RTP).rtp(), self.session(LABELS_RTCP).rtcp())
    }

    fn session(&self, labels: [u8; 3]) -> SessionKeys {
        let mut keys = SessionKeys {
            profile: self.profile,
            key: [0; 32],
            auth: [0; 20],
            salt: [0; SALT_BYTES],
        };
        self.derive(labels[0], &mut keys.key[..self.profile.key_len()]);
        self.derive(labels[1], &mut keys.auth);
        self.derive(labels[2], &mut keys.salt[..self.profile.salt_len()]);
        keys
    }

    /// AES-CM as a pseudo-random function of a label, index zero (RFC 3711 §4.3.3).
    fn derive(&self, label: u8, out: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..SALT_BYTES].copy_from_slice(&self.salt);
        iv[7] ^= label;
        out.fill(0);
        if self.profile.key_len() == 32 {
            Ctr128BE::<Aes256>::new((&self.key).into(), (&iv).into()).apply_keystream(out);
        } else {
            let mut key = [0; 16];
            key.copy_from_slice(&self.key[..16]);
            Ctr128BE::<Aes128>::new((&key).into(), (&iv).into()).apply_keystream(out);
        }
    }
}

/// Labels of encryption key, authentication key and salt.
const LABELS_RTP: [u8; 3] = [0, 1, 2];
const LABELS_RTCP: [u8; 3] = [3, 4, 5];

/// Session keys of one direction, of SRTP or of SRTCP.
pub(super) struct SessionKeys {
    pub(super) profile: Profile,
    pub(super) key: [u8; 32],
    pub(super) auth: [u8; 20],
    pub(super) salt: [u8; SALT_BYTES],
}

impl SessionKeys {
    pub(super) fn rtp(&self) -> Cipher {
        Cipher::new(self, self.profile.rtp_overhead())
    }

    pub(super) fn rtcp(&self) -> Cipher {
        Cipher::new(self, self.profile.rtcp_tag_len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::hex;
    use super::*;

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let master = MasterKey::new(
            Profile::Aes128CmSha1_80,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .unwrap();
        let keys = master.session(LABELS_RTP);
        assert_eq!(keys.key[..16], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(keys.salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(keys.auth[..], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn the_keystream_is_that_of_rfc_3711_appendix_b_2() {
        let mut keystream = [0; 48];
        let key: [u8; 16] = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap();
        let iv: [u8; 16] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
        Ctr128BE::<Aes128>::new((&key).into(), (&iv).into()).apply_keystream(&mut keystream);
        assert_eq!(
            keystream[..],
            hex(concat!(
                "E03EAD0935C95E80E166B16DD92B4EB4",
                "D23513162B02D0F72A43A2FE4A5F97AB",
                "41E95B3BB0A2E8DD477901E4FCA894C0"
            ))
        );
    }

    #[test]
    fn the_dtls_exporter_gives_keys_first_and_salts_behind_them() {
        let material: Vec<u8> = (0..56).collect();
        let (client, server) = MasterKey::pair_from_dtls(Profile::AeadAes128Gcm, &material).unwrap();
        assert_eq!((client.key[0], server.key[0]), (0, 16));
        assert_eq!((client.salt[0], server.salt[0]), (32, 44));
        assert!(MasterKey::pair_from_dtls(Profile::AeadAes128Gcm, &material[..55]).is_err());
    }
}
