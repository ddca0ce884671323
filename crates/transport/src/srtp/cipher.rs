//! The four packet operations over whichever transform the profile names.

use super::cm::Cm;
use super::gcm::Gcm;
use super::keys::{Profile, SessionKeys};

/// A transform keyed for SRTP or for SRTCP.
///
/// `len` always counts the plain packet; `buf` reaches at least [`PROTECT_OVERHEAD_BYTES`](super::PROTECT_OVERHEAD_BYTES)
/// behind it when sealing. Callers have checked headers and lengths.
#[allow(clippy::large_enum_variant)] // one of each per direction and transport; a Box would cost the hot path a load
pub(super) enum Cipher {
    Gcm(Gcm),
    Cm(Cm),
}

/// SRTCP's E bit: the packet is encrypted, not only authenticated (RFC 3711 §3.4).
pub(super) const ENCRYPTED: u32 = 1 << 31;

impl Cipher {
    pub(super) fn new(keys: &SessionKeys, tag_len: usize) -> Self {
        match keys.profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(Gcm::new(keys)),
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => Self::Cm(Cm::new(keys, tag_len)),
        }
    }

    /// Length of the tag in bytes.
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Self::Gcm(_) => super::gcm::TAG_BYTES,
            Self::Cm(cm) => cm.tag_len(),
        }
    }

    /// Seals an RTP packet; gives its new length, or `None` when the transform refuses (longer than its limit).
    pub(super) fn seal_rtp(&self, buf: &mut [u8], header: usize, len: usize, ssrc: u32, index: u64) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtp(buf, header, len, ssrc, index),
            Self::Cm(cm) => Some(cm.seal_rtp(buf, header, len, ssrc, index)),
        }
    }

    /// Opens an SRTP packet; gives the plain length, or `None` when it is not authentic.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtp(packet, header, ssrc, index),
            Self::Cm(cm) => cm.open_rtp(packet, header, ssrc, index),
        }
    }

    /// Seals an RTCP compound packet under `index` with the E bit set.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], len: usize, ssrc: u32, index: u32) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtcp(buf, len, ssrc, index),
            Self::Cm(cm) => Some(cm.seal_rtcp(buf, len, ssrc, index)),
        }
    }

    /// Opens an SRTCP packet whose trailing word is `word` (E bit and index).
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, word),
            Self::Cm(cm) => cm.open_rtcp(packet, ssrc, word),
        }
    }
}
