//! Opus into Ogg (RFC 7845).

use std::io::{self, Write};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

/// Rate of Opus in Ogg, whatever was encoded.
pub(crate) const CLOCK_RATE: u32 = 48_000;
/// One stream in a file needs no other number.
const SERIAL: u32 = 0x7665_6f78;

/// Writes packets, and fills gaps with what a decoder conceals.
pub(crate) struct OggOpus<'a, W: Write> {
    writer: PacketWriter<'a, W>,
    /// Packet to be written when the next is there, with its end.
    last: Option<(Vec<u8>, u64)>,
}

/// How long a packet plays, in samples of 48 kHz (RFC 6716 §3.1); `None` when it is no packet.
pub(crate) fn samples(packet: &[u8]) -> Option<u64> {
    let toc = *packet.first()?;
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0x3f),
    };
    let samples = samples_of_frame(toc) * count;
    (1..=5_760).contains(&samples).then_some(samples)
}

fn samples_of_frame(toc: u8) -> u64 {
    let configuration = toc >> 3;
    match configuration {
        0..12 => [480, 960, 1_920, 2_880][usize::from(configuration & 3)],
        12..16 => [480, 960][usize::from(configuration & 1)],
        _ => [120, 240, 480, 960][usize::from(configuration & 3)],
    }
}

/// What stands in front of a stream, in Ogg and in Matroska (RFC 7845 §5.1).
pub(crate) fn head() -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(0_u16.to_le_bytes());
    head.extend(CLOCK_RATE.to_le_bytes());
    head.extend([0, 0, 0]);
    head
}

impl<W: Write> OggOpus<'_, W> {
    pub(crate) fn new(output: W) -> io::Result<Self> {
        let mut writer = PacketWriter::new(output);
        writer.write_packet(head(), SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        let mut tags = b"OpusTags".to_vec();
        tags.extend(4_u32.to_le_bytes());
        tags.extend(b"voex");
        tags.extend(0_u32.to_le_bytes());
        writer.write_packet(tags, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self { writer, last: None })
    }

    /// Writes a packet that plays from `time` on, in samples.
    pub(crate) fn put(&mut self, time: u64, packet: Vec<u8>) -> io::Result<()> {
        let Some(length) = samples(&packet) else {
            return Ok(());
        };
        let mut end = self.last.as_ref().map_or(0, |(_, end)| *end);
        // A frame without a body says that it was lost or not sent.
        let filler = packet[0] & 0xfc;
        let step = samples_of_frame(filler);
        while end + step <= time {
            end += step;
            self.push(vec![filler], end)?;
        }
        self.push(packet, end + length)
    }

    /// Ends the stream.
    pub(crate) fn end(mut self) -> io::Result<()> {
        if let Some((packet, end)) = self.last.take() {
            self.writer
                .write_packet(packet, SERIAL, PacketWriteEndInfo::EndStream, end)?;
        }
        Ok(())
    }

    fn push(&mut self, packet: Vec<u8>, end: u64) -> io::Result<()> {
        if let Some((before, before_end)) = self.last.replace((packet, end)) {
            // A page a second, so that players find their way.
            let is_full = before_end / u64::from(CLOCK_RATE) != end / u64::from(CLOCK_RATE);
            let info = match is_full {
                true => PacketWriteEndInfo::EndPage,
                false => PacketWriteEndInfo::NormalPacket,
            };
            self.writer.write_packet(before, SERIAL, info, before_end)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ogg::PacketReader;

    use super::*;

    #[test]
    fn durations_follow_the_table_of_the_standard() {
        assert_eq!(samples(&[0x78]), Some(960), "20 ms of hybrid");
        assert_eq!(samples(&[0xfc, 1]), Some(960), "20 ms of CELT");
        assert_eq!(samples(&[0x19]), Some(5_760), "two of 60 ms of SILK");
        assert_eq!(samples(&[0xe3, 0x04]), Some(480), "four of 2.5 ms");
        assert_eq!(samples(&[0x1b, 0x03]), None, "180 ms are too long");
        assert_eq!(samples(&[0x03, 0x00]), None);
        assert_eq!(samples(&[]), None);
    }

    #[test]
    fn a_gap_is_filled_with_frames_that_a_decoder_conceals() {
        let mut file = Vec::new();
        let mut opus = OggOpus::new(&mut file).expect("memory is writable");
        for (time, packet) in [(0, vec![0xfc, 1]), (960, vec![0xfc, 2]), (3_840, vec![0xfc, 3])] {
            opus.put(time, packet).expect("memory is writable");
        }
        opus.end().expect("memory is writable");
        let mut reader = PacketReader::new(Cursor::new(file));
        let mut packets = Vec::new();
        let mut end = 0;
        while let Some(packet) = reader.read_packet().expect("a stream as the standard has it") {
            end = packet.absgp_page();
            packets.push(packet.data);
        }
        assert!(packets[0].starts_with(b"OpusHead"));
        assert!(packets[1].starts_with(b"OpusTags"));
        let expected = [vec![0xfc, 1], vec![0xfc, 2], vec![0xfc], vec![0xfc], vec![0xfc, 3]];
        assert_eq!(packets[2..], expected);
        assert_eq!(end, 4_800);
    }
}
