//! AES counter mode with HMAC-SHA-1 (RFC 3711 §4.1.1, §4.2.1).

use aes::Aes128;
use ctr::cipher::{InnerIvInit, KeyInit as _, StreamCipher};
use ctr::{Ctr128BE, CtrCore, flavors};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::cipher::ENCRYPTED;
use super::keys::SessionKeys;

/// Length of the RTCP header that stays readable: version word and SSRC.
const RTCP_HEADER_BYTES: usize = 8;

/// Length of the word with E bit and index, in front of the tag.
const WORD_BYTES: usize = 4;

/// AES-CM and HMAC-SHA-1 keyed for SRTP or for SRTCP.
pub(super) struct Cm {
    aes: Aes128,
    /// Keyed once: a packet clones the state behind the two key blocks instead of hashing them again.
    mac: Hmac<Sha1>,
    salt: [u8; 14],
    tag_len: usize,
}

impl Cm {
    pub(super) fn new(keys: &SessionKeys, tag_len: usize) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&keys.key[..16]);
        Self {
            aes: Aes128::new((&key).into()),
            mac: Hmac::new_from_slice(&keys.auth).expect("HMAC takes a key of any length"),
            salt: keys.salt,
            tag_len,
        }
    }

    pub(super) fn tag_len(&self) -> usize {
        self.tag_len
    }

    pub(super) fn seal_rtp(&self, buf: &mut [u8], header: usize, len: usize, ssrc: u32, index: u64) -> usize {
        self.apply_keystream(&mut buf[header..len], ssrc, index);
        let tag = self.tag(&buf[..len], roc(index));
        buf[len..len + self.tag_len].copy_from_slice(&tag[..self.tag_len]);
        len + self.tag_len
    }

    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        let len = packet.len().checked_sub(self.tag_len)?;
        if len < header || !self.is_authentic(&packet[..len], roc(index), &packet[len..]) {
            return None;
        }
        self.apply_keystream(&mut packet[header..len], ssrc, index);
        Some(len)
    }

    pub(super) fn seal_rtcp(&self, buf: &mut [u8], len: usize, ssrc: u32, index: u32) -> usize {
        self.apply_keystream(&mut buf[RTCP_HEADER_BYTES..len], ssrc, index.into());
        let word = (ENCRYPTED | index).to_be_bytes();
        let tag = self.tag(&buf[..len], word);
        let end = len + WORD_BYTES + self.tag_len;
        buf[len..len + WORD_BYTES].copy_from_slice(&word);
        buf[len + WORD_BYTES..end].copy_from_slice(&tag[..self.tag_len]);
        end
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Option<usize> {
        let tagged = packet.len().checked_sub(self.tag_len)?;
        let len = tagged.checked_sub(WORD_BYTES)?;
        if len < RTCP_HEADER_BYTES || !self.is_authentic(&packet[..len], word.to_be_bytes(), &packet[tagged..]) {
            return None;
        }
        if word & ENCRYPTED != 0 {
            let index = u64::from(word & !ENCRYPTED);
            self.apply_keystream(&mut packet[RTCP_HEADER_BYTES..len], ssrc, index);
        }
        Some(len)
    }

    /// Exclusive-ors the keystream of RFC 3711 §4.1.1: IV = salt * 2^16 ^ SSRC * 2^64 ^ index * 2^16.
    fn apply_keystream(&self, data: &mut [u8], ssrc: u32, index: u64) {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        let mixed = u128::from_be_bytes(iv) ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        let core = CtrCore::<&Aes128, flavors::Ctr128BE>::inner_iv_init(&self.aes, (&mixed.to_be_bytes()).into());
        Ctr128BE::from_core(core).apply_keystream(data);
    }

    /// Tag over the packet and the word behind it: the ROC for SRTP, E bit and index for SRTCP (RFC 3711 §4.2).
    fn tag(&self, packet: &[u8], word: [u8; WORD_BYTES]) -> [u8; 20] {
        let mut mac = self.mac.clone();
        mac.update(packet);
        mac.update(&word);
        mac.finalize().into_bytes().into()
    }

    fn is_authentic(&self, packet: &[u8], word: [u8; WORD_BYTES], tag: &[u8]) -> bool {
        self.tag(packet, word)[..self.tag_len].ct_eq(tag).into()
    }
}

fn roc(index: u64) -> [u8; WORD_BYTES] {
    ((index >> 16) as u32).to_be_bytes()
}
