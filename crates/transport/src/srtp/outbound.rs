//! Protecting what we send.

use voex_base::Label;

use super::cipher::Cipher;
use super::keys::{MasterKey, Profile};
use super::ssrc_table::{Slot, SsrcTable};
use super::window::{INDEX_MAX, Verdict, Window};
use super::{PROTECT_OVERHEAD_BYTES, rtp_header_len, u32_at};

/// Why a packet was not protected. Nothing has been changed, neither state nor buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProtectError {
    /// There are no keys yet, or no longer.
    NoKeys,
    /// Not an RTP or RTCP packet, or shorter than its header says.
    Malformed,
    /// The buffer does not reach [`PROTECT_OVERHEAD_BYTES`] behind the packet.
    NoRoom,
    /// This sequence number of this SSRC was sent, or is too old to know, or the SSRC itself is. Sealing another packet under the same index
    /// would repeat a keystream, and with GCM give the authentication key away; retransmit by RTX (RFC 4588).
    IndexReused,
    /// As many SSRCs as are remembered came and went under this key; see [`SSRCS_MAX`](super::SSRCS_MAX).
    SsrcTableFull,
    /// 2^48 RTP or 2^31 RTCP packets were sent under this key (RFC 3711 §9.2).
    KeyExhausted,
}

impl Label for ProtectError {
    const ALL: &'static [Self] = &[
        Self::NoKeys,
        Self::Malformed,
        Self::NoRoom,
        Self::IndexReused,
        Self::SsrcTableFull,
        Self::KeyExhausted,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::NoKeys => "no_keys",
            Self::Malformed => "malformed",
            Self::NoRoom => "no_room",
            Self::IndexReused => "index_reused",
            Self::SsrcTableFull => "ssrc_table_full",
            Self::KeyExhausted => "key_exhausted",
        }
    }
}

/// The sending direction of one SRTP session.
pub struct Outbound {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    streams: SsrcTable,
    /// One count for all SSRCs: unique for each is all that RFC 3711 §3.4 asks.
    rtcp_index: u32,
}

/// SRTCP indices have 31 bits.
const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

impl Outbound {
    /// Derives the session keys and starts with every rollover counter at zero.
    pub fn new(master: &MasterKey) -> Self {
        let (rtp, rtcp) = master.ciphers();
        Self::with_ciphers(master.profile(), rtp, rtcp)
    }

    pub(super) fn with_ciphers(profile: Profile, rtp: Cipher, rtcp: Cipher) -> Self {
        Self {
            profile,
            rtp,
            rtcp,
            streams: SsrcTable::default(),
            rtcp_index: 0,
        }
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Protects the RTP packet in `buf[..len]` in place and gives its new length.
    ///
    /// Sequence numbers of an SSRC may come out of order within 1024 packets.
    ///
    /// # Errors
    /// See [`ProtectError`].
    pub fn protect_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let packet = packet(buf, len)?;
        let header = rtp_header_len(packet).ok_or(ProtectError::Malformed)?;
        let sequence_number = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = u32_at(packet, 8);

        let slot = self.slot(ssrc)?;
        let index = self.fresh_index(slot, sequence_number)?;
        let sealed = self
            .rtp
            .seal_rtp(buf, header, len, ssrc, index)
            .ok_or(ProtectError::Malformed)?;
        self.streams.accept(slot, ssrc, index);
        Ok(sealed)
    }

    /// Protects the RTCP compound packet in `buf[..len]` in place, encrypted, and gives its new length.
    ///
    /// # Errors
    /// See [`ProtectError`].
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let packet = packet(buf, len)?;
        if len < 8 || packet[0] >> 6 != 2 {
            return Err(ProtectError::Malformed);
        }
        if self.rtcp_index >= RTCP_INDEX_MAX {
            return Err(ProtectError::KeyExhausted);
        }
        let ssrc = u32_at(packet, 4);
        let index = self.rtcp_index + 1;
        let sealed = self
            .rtcp
            .seal_rtcp(buf, len, ssrc, index)
            .ok_or(ProtectError::Malformed)?;
        self.rtcp_index = index;
        Ok(sealed)
    }

    /// Finds the window of an SSRC, or makes room for one. An SSRC whose window was given up stays barred: which of its
    /// indices were used is not known any more.
    fn slot(&mut self, ssrc: u32) -> Result<Slot, ProtectError> {
        match self.streams.find(ssrc) {
            known @ Slot::Known(_) => Ok(known),
            _ if self.streams.is_retired(ssrc) => Err(ProtectError::IndexReused),
            Slot::Full if !self.streams.retire_oldest() => Err(ProtectError::SsrcTableFull),
            Slot::Full => Ok(self.streams.find(ssrc)),
            free @ Slot::Free(_) => Ok(free),
        }
    }

    fn fresh_index(&self, slot: Slot, sequence_number: u16) -> Result<u64, ProtectError> {
        let Some(window) = self.streams.window(slot) else {
            return Ok(sequence_number.into());
        };
        match window.guess(sequence_number) {
            Some(index) if index > INDEX_MAX => Err(ProtectError::KeyExhausted),
            Some(index) if Window::check(window, index) == Verdict::Fresh => Ok(index),
            _ => Err(ProtectError::IndexReused),
        }
    }

    #[cfg(test)]
    pub(super) fn set_rtcp_index(&mut self, sent: u32) {
        self.rtcp_index = sent;
    }
}

fn packet(buf: &[u8], len: usize) -> Result<&[u8], ProtectError> {
    let packet = buf.get(..len).ok_or(ProtectError::NoRoom)?;
    if buf.len() - len < PROTECT_OVERHEAD_BYTES {
        return Err(ProtectError::NoRoom);
    }
    Ok(packet)
}
