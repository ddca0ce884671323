//! Sender and receiver reports (RFC 3550 §6.4).

use crate::Error;
use crate::error::{u24_at, u32_at};

/// The sender information of an SR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// SSRC of the sender.
    pub ssrc: u32,
    /// Wall time of the report, as a 64-bit NTP timestamp.
    pub ntp: u64,
    /// The same moment in RTP time.
    pub rtp_timestamp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

impl SenderInfo {
    pub(super) const BYTES: usize = 24;

    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        if body.len() < Self::BYTES {
            return Err(Error::Truncated);
        }
        Ok(Self {
            ssrc: u32_at(body, 0),
            ntp: u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8)),
            rtp_timestamp: u32_at(body, 12),
            packets: u32_at(body, 16),
            octets: u32_at(body, 20),
        })
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.ntp.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.rtp_timestamp.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.packets.to_be_bytes());
        bytes[20..].copy_from_slice(&self.octets.to_be_bytes());
        bytes
    }
}

/// What a receiver says about one source.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReportBlock {
    /// SSRC of the source.
    pub ssrc: u32,
    /// Share lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all; negative when duplicates came. 24 bits on the wire: values outside are clamped.
    pub lost: i32,
    /// Highest sequence number with its cycles above.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last SR; zero when there was none.
    pub last_sr: u32,
    /// Time since that SR in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// Range of the 24-bit signed count of lost packets.
const LOST_MAX: i32 = 0x7f_ffff;

impl ReportBlock {
    pub(super) const BYTES: usize = 24;

    fn parse(block: &[u8; Self::BYTES]) -> Self {
        // Shift left and back, so that the sign of the 24-bit number is kept.
        let lost = (u24_at(block, 5) << 8) as i32 >> 8;
        Self {
            ssrc: u32_at(block, 0),
            fraction_lost: block[4],
            lost,
            highest_sequence: u32_at(block, 8),
            jitter: u32_at(block, 12),
            last_sr: u32_at(block, 16),
            delay_since_last_sr: u32_at(block, 20),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let lost = self.lost.clamp(-LOST_MAX - 1, LOST_MAX).to_be_bytes();
        bytes[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes[4..8].copy_from_slice(&[self.fraction_lost, lost[1], lost[2], lost[3]]);
        bytes[8..12].copy_from_slice(&self.highest_sequence.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.jitter.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.last_sr.to_be_bytes());
        bytes[20..].copy_from_slice(&self.delay_since_last_sr.to_be_bytes());
        bytes
    }

    /// Round-trip time in 1/65536 s, when the report arrives at `now`, the middle 32 bits of the NTP time by the clock
    /// that wrote the SR (RFC 3550 §6.4.1). `None` without SR, or when the clocks do not fit.
    pub fn round_trip(&self, now: u32) -> Option<u32> {
        if self.last_sr == 0 {
            return None;
        }
        let took = now.wrapping_sub(self.last_sr).wrapping_sub(self.delay_since_last_sr);
        // A negative time shows as a huge one: less than 2^31 is at most nine hours.
        (took < 1 << 31).then_some(took)
    }
}

/// The report blocks of an SR or RR.
#[derive(Clone, Debug)]
pub struct Reports<'a> {
    blocks: &'a [u8],
}

impl<'a> Reports<'a> {
    pub(super) fn parse(rest: &'a [u8], count: u8) -> Result<Self, Error> {
        let blocks = rest.get(..ReportBlock::BYTES * usize::from(count));
        Ok(Self {
            blocks: blocks.ok_or(Error::Truncated)?,
        })
    }
}

impl Iterator for Reports<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.blocks.split_first_chunk()?;
        self.blocks = rest;
        Some(ReportBlock::parse(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_is_the_example_of_rfc_3550_section_6_4_1() {
        // Figure 2: A = 46864.500 s, LSR = 46853.125 s, DLSR = 5.250 s gives 6.125 s.
        let block = ReportBlock {
            last_sr: 0xb705_2000,
            delay_since_last_sr: 0x0005_4000,
            ..ReportBlock::default()
        };
        assert_eq!(block.round_trip(0xb710_8000), Some(0x0006_2000));
        assert_eq!(ReportBlock::default().round_trip(5), None);
        assert_eq!(block.round_trip(0xb705_0000), None, "before the SR was sent");
    }

    #[test]
    fn lost_packets_keep_their_sign_and_are_clamped() {
        for (lost, read) in [(-1, -1), (-70_000, -70_000), (LOST_MAX, LOST_MAX), (i32::MAX, LOST_MAX)] {
            let block = ReportBlock {
                lost,
                ..ReportBlock::default()
            };
            assert_eq!(ReportBlock::parse(&block.to_bytes()).lost, read);
        }
    }
}
