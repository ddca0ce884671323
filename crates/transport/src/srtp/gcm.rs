//! AES-GCM (RFC 7714).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::cipher::ENCRYPTED;
use super::keys::{Profile, SessionKeys};

pub(super) const TAG_BYTES: usize = 16;

/// Length of the RTCP header that stays readable: version word and SSRC.
const RTCP_HEADER_BYTES: usize = 8;

/// Length of the word with E bit and index behind the tag.
const WORD_BYTES: usize = 4;

/// AES-GCM keyed for SRTP or for SRTCP.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Gcm {
    pub(super) fn new(keys: &SessionKeys) -> Self {
        let (algorithm, key) = match keys.profile {
            Profile::AeadAes256Gcm => (&AES_256_GCM, &keys.key[..]),
            _ => (&AES_128_GCM, &keys.key[..16]),
        };
        let key = UnboundKey::new(algorithm, key).expect("the key was cut to the algorithm's length above");
        let mut salt = [0; 12];
        salt.copy_from_slice(&keys.salt[..12]);
        Self {
            key: LessSafeKey::new(key),
            salt,
        }
    }

    pub(super) fn seal_rtp(&self, buf: &mut [u8], header: usize, len: usize, ssrc: u32, index: u64) -> Option<usize> {
        let (aad, rest) = buf.split_at_mut(header);
        let (payload, tag) = rest[..len - header + TAG_BYTES].split_at_mut(len - header);
        let nonce = self.rtp_nonce(ssrc, index);
        self.key
            .seal_in_place_scatter(nonce, Aad::from(&*aad), payload, &[], tag)
            .ok()?;
        Some(len + TAG_BYTES)
    }

    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        let len = packet.len().checked_sub(TAG_BYTES)?;
        let (aad, rest) = packet.split_at_mut(header);
        let (payload, tag) = rest.split_at_mut_checked(len.checked_sub(header)?)?;
        let nonce = self.rtp_nonce(ssrc, index);
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(&*aad), tag, payload)
            .ok()?;
        Some(len)
    }

    pub(super) fn seal_rtcp(&self, buf: &mut [u8], len: usize, ssrc: u32, index: u32) -> Option<usize> {
        let word = (ENCRYPTED | index).to_be_bytes();
        let (header, rest) = buf.split_at_mut(RTCP_HEADER_BYTES);
        let (payload, rest) = rest.split_at_mut(len - RTCP_HEADER_BYTES);
        let (tag, rest) = rest.split_at_mut(TAG_BYTES);
        let aad = encrypted_rtcp_aad(header, word);
        let nonce = self.rtcp_nonce(ssrc, index);
        self.key
            .seal_in_place_scatter(nonce, Aad::from(&aad), payload, &[], tag)
            .ok()?;
        rest[..WORD_BYTES].copy_from_slice(&word);
        Some(len + TAG_BYTES + WORD_BYTES)
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Option<usize> {
        let sealed = packet.len().checked_sub(WORD_BYTES)?;
        let len = sealed.checked_sub(TAG_BYTES)?;
        let nonce = self.rtcp_nonce(ssrc, word & !ENCRYPTED);
        if word & ENCRYPTED == 0 {
            return self.check_rtcp(packet, len, nonce);
        }
        let (header, rest) = packet[..sealed].split_at_mut_checked(RTCP_HEADER_BYTES)?;
        let aad = encrypted_rtcp_aad(header, word.to_be_bytes());
        let (payload, tag) = rest.split_at_mut_checked(len.checked_sub(RTCP_HEADER_BYTES)?)?;
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(&aad), tag, payload)
            .ok()?;
        Some(len)
    }

    /// An SRTCP packet that is only authenticated: all of it and the word are associated data (RFC 7714 §9.3).
    ///
    /// The word is moved in front of the tag for the check, so that what is authenticated lies in one piece.
    fn check_rtcp(&self, packet: &mut [u8], len: usize, nonce: Nonce) -> Option<usize> {
        packet[len..].rotate_right(WORD_BYTES);
        let (aad, tag) = packet.split_at_mut(len + WORD_BYTES);
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(&*aad), tag, &mut [])
            .ok()?;
        Some(len)
    }

    /// RFC 7714 §8.1: two zero bytes, SSRC, ROC, sequence number, exclusive-or salt.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], ssrc.to_be_bytes());
        xor(&mut nonce[6..12], index.to_be_bytes()[2..].iter().copied());
        Nonce::assume_unique_for_key(nonce)
    }

    /// RFC 7714 §9.1: two zero bytes, SSRC, two zero bytes, 31-bit index, exclusive-or salt.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], ssrc.to_be_bytes());
        xor(&mut nonce[8..12], index.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

fn encrypted_rtcp_aad(header: &[u8], word: [u8; WORD_BYTES]) -> [u8; RTCP_HEADER_BYTES + WORD_BYTES] {
    let mut aad = [0; RTCP_HEADER_BYTES + WORD_BYTES];
    aad[..RTCP_HEADER_BYTES].copy_from_slice(header);
    aad[RTCP_HEADER_BYTES..].copy_from_slice(&word);
    aad
}

fn xor(target: &mut [u8], with: impl IntoIterator<Item = u8>) {
    target.iter_mut().zip(with).for_each(|(t, w)| *t ^= w);
}
