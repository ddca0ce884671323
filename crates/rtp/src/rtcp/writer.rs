//! Writing compound packets.

use super::feedback::{REMB_NAME, remb_bitrate};
use super::{HEADER_BYTES, ReportBlock, SenderInfo, TwccHeader, format, packet_type, twcc};
use crate::Error;

/// Appends RTCP packets to a buffer. A packet that does not fit is not written at all, and
/// [`Error::NoRoom`] tells so; what stands before it remains good to send.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    length: usize,
}

/// Most items that the five-bit count of a header tells.
const COUNT_MAX: usize = 31;
/// SDES item type of the canonical name.
const CNAME: u8 = 1;

impl<'a> Writer<'a> {
    /// Starts at the start of `buf`.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, length: 0 }
    }

    /// Length of what was written so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was written so far.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends an SR with at most 31 report blocks.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::Format`] for more blocks.
    pub fn sender_report(&mut self, info: SenderInfo, blocks: &[ReportBlock]) -> Result<(), Error> {
        self.report(packet_type::SENDER_REPORT, &info.to_bytes(), blocks)
    }

    /// Appends an RR with at most 31 report blocks.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::Format`] for more blocks.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), Error> {
        self.report(packet_type::RECEIVER_REPORT, &ssrc.to_be_bytes(), blocks)
    }

    /// Appends an SDES with the canonical name of each source; at most 31 sources, names of at most 255 bytes.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::Format`] for more sources or longer names.
    pub fn source_descriptions<'n>(&mut self, names: impl Iterator<Item = (u32, &'n str)>) -> Result<(), Error> {
        let start = self.length;
        let mut count = 0;
        let written = self.packet(packet_type::SOURCE_DESCRIPTION, 0, |body| {
            for (ssrc, name) in names {
                count += 1;
                let length = u8::try_from(name.len()).map_err(|_| Error::Format)?;
                body.put(&ssrc.to_be_bytes())?;
                body.put(&[CNAME, length])?;
                body.put(name.as_bytes())?;
                // The item list ends with a zero byte and is padded with more to a word.
                let end = (body.at + 1).next_multiple_of(4);
                body.zero(end - body.at)?;
            }
            if count > COUNT_MAX { Err(Error::Format) } else { Ok(()) }
        });
        if written.is_ok() {
            self.buf[start] |= count as u8;
        }
        written
    }

    /// Appends a BYE of one source.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub fn bye(&mut self, ssrc: u32) -> Result<(), Error> {
        self.packet(packet_type::BYE, 1, |body| body.put(&ssrc.to_be_bytes()))
    }

    /// Appends a generic NACK; see [`nack_pairs`](super::nack_pairs).
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        pairs: impl Iterator<Item = (u16, u16)>,
    ) -> Result<(), Error> {
        self.packet(packet_type::TRANSPORT_FEEDBACK, format::NACK, |body| {
            body.put(&sender_ssrc.to_be_bytes())?;
            body.put(&media_ssrc.to_be_bytes())?;
            for (packet, mask) in pairs {
                body.put(&packet.to_be_bytes())?;
                body.put(&mask.to_be_bytes())?;
            }
            Ok(())
        })
    }

    /// Appends a picture loss indication.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub fn picture_loss(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), Error> {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::PLI, |body| {
            body.put(&sender_ssrc.to_be_bytes())?;
            body.put(&media_ssrc.to_be_bytes())
        })
    }

    /// Appends a full intra request; `command` grows by one for each new request (RFC 5104 §4.3.1.1).
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub fn full_intra(&mut self, sender_ssrc: u32, media_ssrc: u32, command: u8) -> Result<(), Error> {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::FIR, |body| {
            body.put(&sender_ssrc.to_be_bytes())?;
            body.put(&[0; 4])?;
            body.put(&media_ssrc.to_be_bytes())?;
            body.put(&[command, 0, 0, 0])
        })
    }

    /// Appends a receiver estimated maximum bit rate for at most 255 sources, in bit/s, rounded down to 18 bits.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::Format`] for more sources.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) -> Result<(), Error> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| Error::Format)?;
        let (exponent, mantissa) = remb_bitrate(bitrate);
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::APPLICATION, |body| {
            body.put(&sender_ssrc.to_be_bytes())?;
            body.put(&[0; 4])?;
            body.put(REMB_NAME)?;
            let word = u32::from(count) << 24 | u32::from(exponent) << 18 | mantissa;
            body.put(&word.to_be_bytes())?;
            ssrcs.iter().try_for_each(|ssrc| body.put(&ssrc.to_be_bytes()))
        })
    }

    /// Appends transport-wide congestion control feedback on the packets from the base on: the delta of each to the one
    /// received before it in 250 µs, the first to the reference time; `None` for one not received.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::Format`] for more than 65,535 packets.
    pub fn transport_feedback(
        &mut self,
        header: TwccHeader,
        deltas: impl Iterator<Item = Option<i16>> + Clone,
    ) -> Result<(), Error> {
        self.packet(packet_type::TRANSPORT_FEEDBACK, format::TWCC, |body| {
            body.at += twcc::write(&mut body.buf[body.at..], header, deltas)?;
            Ok(())
        })
    }

    fn report(&mut self, packet_type: u8, head: &[u8], blocks: &[ReportBlock]) -> Result<(), Error> {
        if blocks.len() > COUNT_MAX {
            return Err(Error::Format);
        }
        self.packet(packet_type, blocks.len() as u8, |body| {
            body.put(head)?;
            blocks.iter().try_for_each(|block| body.put(&block.to_bytes()))
        })
    }

    fn packet(
        &mut self,
        packet_type: u8,
        count: u8,
        write: impl FnOnce(&mut Body<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let packet = &mut self.buf[self.length..];
        if packet.len() < HEADER_BYTES {
            return Err(Error::NoRoom);
        }
        let mut body = Body {
            buf: packet,
            at: HEADER_BYTES,
        };
        write(&mut body)?;
        let length = body.at;
        let words = u16::try_from(length / 4 - 1).map_err(|_| Error::NoRoom)?;
        packet[..2].copy_from_slice(&[0x80 | count, packet_type]);
        packet[2..4].copy_from_slice(&words.to_be_bytes());
        self.length += length;
        Ok(())
    }
}

struct Body<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl Body<'_> {
    fn room(&mut self, length: usize) -> Result<&mut [u8], Error> {
        let room = self.buf.get_mut(self.at..self.at + length).ok_or(Error::NoRoom)?;
        self.at += length;
        Ok(room)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, length: usize) -> Result<(), Error> {
        self.room(length)?.fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compound, Packet};
    use super::*;

    const INFO: SenderInfo = SenderInfo {
        ssrc: 1,
        ntp: 0x0102_0304_0506_0708,
        rtp_timestamp: 9,
        packets: 10,
        octets: 11,
    };

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buf = [0xee; 512];
        let mut writer = Writer::new(&mut buf);
        write(&mut writer);
        let length = writer.len();
        buf[..length].to_vec()
    }

    #[test]
    fn a_compound_of_everything_reads_back() {
        let block = ReportBlock {
            ssrc: 20,
            fraction_lost: 21,
            lost: -22,
            highest_sequence: 23,
            jitter: 24,
            last_sr: 25,
            delay_since_last_sr: 26,
        };
        let bytes = written(|w| {
            w.sender_report(INFO, &[block]).unwrap();
            w.receiver_report(2, &[block, block]).unwrap();
            w.source_descriptions([(1, "abc"), (2, "")].into_iter()).unwrap();
            w.nack(1, 3, [(5, 1)].into_iter()).unwrap();
            w.picture_loss(1, 4).unwrap();
            w.full_intra(1, 5, 6).unwrap();
            w.remb(1, 1_000_000, &[7, 8]).unwrap();
            w.bye(1).unwrap();
        });
        let compound = Compound::parse(&bytes).unwrap();
        let packets: Vec<_> = compound.packets().map(Result::unwrap).collect();
        assert!(matches!(&packets[0], Packet::SenderReport(info, reports)
            if *info == INFO && reports.clone().eq([block])));
        assert!(matches!(&packets[1], Packet::ReceiverReport(2, reports) if reports.clone().eq([block, block])));
        assert!(matches!(&packets[2], Packet::SourceDescription));
        assert!(matches!(&packets[3], Packet::Nack(nacks)
            if nacks.media_ssrc == 3 && nacks.sequence_numbers().eq([5, 6])));
        assert!(matches!(&packets[4], Packet::PictureLoss { media_ssrc: 4 }));
        assert!(matches!(&packets[5], Packet::FullIntra(requests) if requests.clone().eq([(5, 6)])));
        assert!(matches!(&packets[6], Packet::Remb(remb)
            if remb.bitrate == 1_000_000 && remb.ssrcs().eq([7, 8])));
        assert!(matches!(&packets[7], Packet::Bye(sources) if sources.clone().eq([1])));
        assert_eq!(packets.len(), 8);
    }

    #[test]
    fn source_descriptions_end_each_chunk_with_a_zero_and_a_word() {
        let bytes = written(|w| w.source_descriptions([(1, "abc"), (2, "ab")].into_iter()).unwrap());
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0x82, 202, 0, 6,
            0, 0, 0, 1, 1, 3, b'a', b'b', b'c', 0, 0, 0,
            0, 0, 0, 2, 1, 2, b'a', b'b', 0, 0, 0, 0,
        ]);
    }

    #[test]
    fn a_packet_that_does_not_fit_leaves_the_ones_before_it() {
        let mut buf = [0; 30];
        let mut writer = Writer::new(&mut buf);
        writer.sender_report(INFO, &[]).unwrap();
        assert_eq!(writer.picture_loss(1, 2), Err(Error::NoRoom));
        assert_eq!(writer.len(), 28);
        assert!(Compound::parse(&buf[..28]).is_ok());
    }
}
