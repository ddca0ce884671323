//! Unprotecting what we receive.

use super::cipher::{Cipher, ENCRYPTED};
use super::keys::{MasterKey, Profile};
use super::ssrc_table::{Slot, SsrcTable};
use super::window::{INDEX_MAX, Verdict};
use super::{rtp_header_len, u32_at};

/// Why a packet was not accepted. The state is as if it had never come; the buffer's content is unspecified.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnprotectError {
    /// Not an SRTP or SRTCP packet, or shorter than its header and tag.
    Malformed,
    /// The tag is not that of our keys.
    NotAuthentic,
    /// The packet was received before.
    Replayed,
    /// More than 1024 packets older than the newest, or older than the first.
    TooOld,
    /// More than [`SSRCS_MAX`](super::SSRCS_MAX) SSRCs.
    SsrcTableFull,
}

/// The receiving direction of one SRTP session.
pub struct Inbound {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_streams: SsrcTable,
    rtcp_streams: SsrcTable,
}

/// Word with E bit and index of SRTCP.
const WORD_BYTES: usize = 4;

impl Inbound {
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
            rtp_streams: SsrcTable::default(),
            rtcp_streams: SsrcTable::default(),
        }
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// SSRCs whose packets were accepted, of RTP and of RTCP together.
    pub fn ssrcs(&self) -> usize {
        self.rtp_streams.len() + self.rtcp_streams.len()
    }

    /// Unprotects an SRTP packet in place; gives the length of the plain RTP packet at the front of `packet`.
    ///
    /// # Errors
    /// See [`UnprotectError`].
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, UnprotectError> {
        let plain = packet
            .len()
            .checked_sub(self.rtp.tag_len())
            .ok_or(UnprotectError::Malformed)?;
        let header = rtp_header_len(&packet[..plain]).ok_or(UnprotectError::Malformed)?;
        let sequence_number = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = u32_at(packet, 8);

        let slot = self.rtp_streams.find(ssrc);
        let index = match self.rtp_streams.window(slot) {
            Some(window) => window.guess(sequence_number),
            None => Some(sequence_number.into()),
        };
        let index = index
            .filter(|index| *index <= INDEX_MAX)
            .ok_or(UnprotectError::TooOld)?;
        check(&self.rtp_streams, slot, index)?;
        let len = self
            .rtp
            .open_rtp(packet, header, ssrc, index)
            .ok_or(UnprotectError::NotAuthentic)?;
        self.rtp_streams.accept(slot, ssrc, index);
        Ok(len)
    }

    /// Unprotects an SRTCP packet in place, encrypted or only authenticated; gives the length of the plain RTCP
    /// compound packet at the front of `packet`.
    ///
    /// # Errors
    /// See [`UnprotectError`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, UnprotectError> {
        let tag = self.rtcp.tag_len();
        let plain = packet.len().checked_sub(tag + WORD_BYTES);
        let plain = plain.filter(|plain| *plain >= 8).ok_or(UnprotectError::Malformed)?;
        if packet[0] >> 6 != 2 {
            return Err(UnprotectError::Malformed);
        }
        // GCM puts the word behind the tag (RFC 7714 §9.2), counter mode in front of it (RFC 3711 §3.4).
        let word = match self.rtcp {
            Cipher::Gcm(_) => u32_at(packet, plain + tag),
            Cipher::Cm(_) => u32_at(packet, plain),
        };
        let ssrc = u32_at(packet, 4);
        let index = u64::from(word & !ENCRYPTED);

        let slot = self.rtcp_streams.find(ssrc);
        check(&self.rtcp_streams, slot, index)?;
        let len = self
            .rtcp
            .open_rtcp(packet, ssrc, word)
            .ok_or(UnprotectError::NotAuthentic)?;
        self.rtcp_streams.accept(slot, ssrc, index);
        Ok(len)
    }
}

fn check(streams: &SsrcTable, slot: Slot, index: u64) -> Result<(), UnprotectError> {
    if matches!(slot, Slot::Full) {
        return Err(UnprotectError::SsrcTableFull);
    }
    match streams
        .window(slot)
        .map_or(Verdict::Fresh, |window| window.check(index))
    {
        Verdict::Fresh => Ok(()),
        Verdict::Replayed => Err(UnprotectError::Replayed),
        Verdict::TooOld => Err(UnprotectError::TooOld),
    }
}
