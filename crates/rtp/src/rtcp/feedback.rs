//! Feedback messages: NACK, FIR (RFC 4585, RFC 5104) and REMB.

use super::feedback_ssrcs;
use crate::Error;
use crate::error::{u16_at, u32_at};

/// A generic NACK (RFC 4585 §6.2.1).
#[derive(Clone, Debug)]
pub struct Nacks<'a> {
    /// SSRC of whoever asks.
    pub sender_ssrc: u32,
    /// SSRC of the medium.
    pub media_ssrc: u32,
    pairs: &'a [u8],
}

impl<'a> Nacks<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let (sender_ssrc, media_ssrc) = feedback_ssrcs(body)?;
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            pairs: &body[8..],
        })
    }

    /// The sequence numbers asked for.
    pub fn sequence_numbers(&self) -> SequenceNumbers<'a> {
        SequenceNumbers {
            pairs: self.pairs,
            packet: 0,
            bits: 0,
        }
    }
}

/// Iterator over the sequence numbers of a NACK.
#[derive(Clone, Debug)]
pub struct SequenceNumbers<'a> {
    pairs: &'a [u8],
    packet: u16,
    /// Still to be given, relative to `packet`.
    bits: u32,
}

impl Iterator for SequenceNumbers<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.bits == 0 {
            let (pair, rest) = self.pairs.split_first_chunk::<4>()?;
            self.pairs = rest;
            self.packet = u16_at(pair, 0);
            self.bits = 1 | u32::from(u16_at(pair, 2)) << 1;
        }
        let next = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(self.packet.wrapping_add(next as u16))
    }
}

/// Packs ascending sequence numbers into (packet id, bit mask of the sixteen behind it) pairs.
pub fn nack_pairs(sequence_numbers: impl Iterator<Item = u16>) -> impl Iterator<Item = (u16, u16)> {
    let mut numbers = sequence_numbers.peekable();
    std::iter::from_fn(move || {
        let packet = numbers.next()?;
        let mut mask = 0;
        while let Some(next) = numbers.peek() {
            let behind = next.wrapping_sub(packet);
            if !(1..=16).contains(&behind) {
                break;
            }
            mask |= 1 << (behind - 1);
            numbers.next();
        }
        Some((packet, mask))
    })
}

/// Full intra requests (RFC 5104 §4.3.1): (media SSRC, command sequence number).
#[derive(Clone, Debug)]
pub struct FullIntraRequests<'a> {
    entries: &'a [u8],
}

impl<'a> FullIntraRequests<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        feedback_ssrcs(body)?;
        Ok(Self { entries: &body[8..] })
    }
}

impl Iterator for FullIntraRequests<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let (entry, rest) = self.entries.split_first_chunk::<8>()?;
        self.entries = rest;
        Some((u32_at(entry, 0), entry[4]))
    }
}

/// Receiver estimated maximum bit rate (draft-alvestrand-rmcat-remb).
#[derive(Clone, Debug)]
pub struct Remb<'a> {
    /// Bit rate in bit/s.
    pub bitrate: u64,
    ssrcs: &'a [u8],
}

pub(super) const REMB_NAME: &[u8; 4] = b"REMB";

/// Bits of the mantissa.
const MANTISSA_BITS: u32 = 18;

impl<'a> Remb<'a> {
    pub(super) fn is_remb(body: &[u8]) -> bool {
        body.get(8..12) == Some(REMB_NAME)
    }

    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        if body.len() < 16 {
            return Err(Error::Truncated);
        }
        let count = usize::from(body[12]);
        let word = u32_at(body, 12) & 0x00ff_ffff;
        let (exponent, mantissa) = (word >> MANTISSA_BITS, word & ((1 << MANTISSA_BITS) - 1));
        let bitrate = u64::from(mantissa).checked_shl(exponent).unwrap_or(u64::MAX);
        if bitrate >> exponent != u64::from(mantissa) {
            return Err(Error::Format);
        }
        let ssrcs = body.get(16..16 + 4 * count).ok_or(Error::Truncated)?;
        Ok(Self { bitrate, ssrcs })
    }

    /// The SSRCs that share the bit rate.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.ssrcs.chunks_exact(4).map(|word| u32_at(word, 0))
    }
}

/// Exponent and mantissa of a bit rate, rounded down.
pub(super) fn remb_bitrate(bitrate: u64) -> (u8, u32) {
    let exponent = (64 - bitrate.leading_zeros()).saturating_sub(MANTISSA_BITS);
    (exponent as u8, (bitrate >> exponent) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_cover_sixteen_numbers_behind_the_first_also_over_the_wrap() {
        let numbers = [65_534, 65_535, 14, 15, 100];
        let pairs: Vec<_> = nack_pairs(numbers.into_iter()).collect();
        assert_eq!(pairs, [(65_534, 0x8001), (15, 0), (100, 0)]);
        let bytes: Vec<u8> = pairs
            .iter()
            .flat_map(|(packet, mask)| [packet.to_be_bytes(), mask.to_be_bytes()].concat())
            .collect();
        let body = [&[0, 0, 0, 1, 0, 0, 0, 2][..], &bytes].concat();
        let nacks = Nacks::parse(&body).unwrap();
        assert_eq!((nacks.sender_ssrc, nacks.media_ssrc), (1, 2));
        assert_eq!(nacks.sequence_numbers().collect::<Vec<_>>(), numbers);
    }

    #[test]
    fn bit_rates_keep_eighteen_bits() {
        assert_eq!(remb_bitrate(0), (0, 0));
        assert_eq!(remb_bitrate(0x3_ffff), (0, 0x3_ffff));
        assert_eq!(remb_bitrate(1_000_000), (2, 250_000));
        assert_eq!(remb_bitrate(u64::MAX), (46, 0x3_ffff));
    }

    #[test]
    fn a_bit_rate_beyond_64_bits_is_refused() {
        let mut body = [0; 16];
        body[8..12].copy_from_slice(REMB_NAME);
        body[13..].copy_from_slice(&[0xff, 0xff, 0xff]);
        assert_eq!(Remb::parse(&body).map(|_| ()), Err(Error::Format));
    }
}
