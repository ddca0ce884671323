//! SRTP and SRTCP (RFC 3711, RFC 7714): [`Outbound`] protects, [`Inbound`] unprotects, both in the caller's buffer.
//!
//! ```text
//! MasterKey --RFC 3711 §4.3--> session keys --> Outbound: index from sequence number, seal
//!                                           \-> Inbound:  index guess, replay check, open, then (only then) state
//! ```
//!
//! DTLS-SRTP makes the master keys of a WebRTC transport; SDES (RFC 4568) can hand in its own. Neither direction
//! allocates for a packet of an SSRC it has seen. The key derivation rate is zero and there is no MKI.

mod cipher;
mod cm;
mod gcm;
mod inbound;
mod keys;
mod outbound;
mod ssrc_table;
mod window;

#[cfg(test)]
mod vectors;

use voex_base::Label;

pub use inbound::{Inbound, UnprotectError};
pub use keys::{MasterKey, MasterKeyError, Profile};
pub use outbound::{Outbound, ProtectError};

/// Room that protecting needs behind a packet: the longest tag (16 bytes) and the SRTCP index word (4).
pub const PROTECT_OVERHEAD_BYTES: usize = 20;

/// SSRCs that one direction of one session keeps windows for.
///
/// Received, a packet of one more is refused: evicting would forget which packets of the evicted SSRC were seen, and let
/// them be replayed. Sent, the SSRC that rested longest makes room and is barred from then on, since streams come and
/// go for as long as a meeting lasts; only when 65 536 are barred is a new one refused.
pub const SSRCS_MAX: usize = 1_024;

/// Length of the RTP header with CSRCs and extension, or `None` when `packet` does not hold it (RFC 3550 §5.1).
fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (len <= packet.len()).then_some(len)
}

fn u32_at(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

impl Label for Profile {
    const ALL: &'static [Self] = &[
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
        Self::Aes128CmSha1_80,
        Self::Aes128CmSha1_32,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "aead_aes_128_gcm",
            Self::AeadAes256Gcm => "aead_aes_256_gcm",
            Self::Aes128CmSha1_80 => "aes128_cm_hmac_sha1_80",
            Self::Aes128CmSha1_32 => "aes128_cm_hmac_sha1_32",
        }
    }
}
