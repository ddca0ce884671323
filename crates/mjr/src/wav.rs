//! G.711 into WAV.

use std::io::{self, Seek, SeekFrom, Write};

/// Rate of G.711.
pub(crate) const CLOCK_RATE: u32 = 8_000;
const HEADER_BYTES: usize = 44;
const BYTES_PER_SAMPLE: u64 = 2;

/// The two forms of G.711.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Law {
    /// A-law.
    A,
    /// µ-law.
    Mu,
}

/// Writes samples of 16 bits, with silence where packets are missing.
pub(crate) struct Wav<W> {
    output: W,
    law: Law,
    samples: u64,
}

impl Law {
    /// Gives the linear sample of a byte (ITU-T G.711).
    pub(crate) fn linear(self, byte: u8) -> i16 {
        match self {
            Self::A => {
                let byte = byte ^ 0x55;
                let (exponent, mantissa) = (byte >> 4 & 7, i16::from(byte & 0x0f));
                let magnitude = match exponent {
                    0 => mantissa << 4 | 8,
                    exponent => (mantissa << 4 | 0x108) << (exponent - 1),
                };
                if byte & 0x80 != 0 { magnitude } else { -magnitude }
            }
            Self::Mu => {
                let byte = !byte;
                let magnitude = ((i16::from(byte & 0x0f) << 3 | 0x84) << (byte >> 4 & 7)) - 0x84;
                if byte & 0x80 != 0 { -magnitude } else { magnitude }
            }
        }
    }
}

impl<W: Write + Seek> Wav<W> {
    pub(crate) fn new(mut output: W, law: Law) -> io::Result<Self> {
        output.write_all(&header(0))?;
        Ok(Self {
            output,
            law,
            samples: 0,
        })
    }

    /// Writes what plays from `time` on, in samples.
    pub(crate) fn put(&mut self, time: u64, bytes: &[u8]) -> io::Result<()> {
        for _ in self.samples..time {
            self.output.write_all(&[0; BYTES_PER_SAMPLE as usize])?;
        }
        for byte in bytes {
            self.output.write_all(&self.law.linear(*byte).to_le_bytes())?;
        }
        self.samples = self.samples.max(time) + bytes.len() as u64;
        Ok(())
    }

    /// Says in the header how long it became.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.output.seek(SeekFrom::Start(0))?;
        self.output.write_all(&header(self.samples * BYTES_PER_SAMPLE))?;
        self.output.flush()
    }
}

fn header(bytes: u64) -> Vec<u8> {
    let length = |more: u64| u32::try_from(bytes + more).unwrap_or(u32::MAX).to_le_bytes();
    let mut header = b"RIFF".to_vec();
    header.extend(length(HEADER_BYTES as u64 - 8));
    header.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    header.extend(CLOCK_RATE.to_le_bytes());
    header.extend((CLOCK_RATE * BYTES_PER_SAMPLE as u32).to_le_bytes());
    header.extend(b"\x02\0\x10\0data");
    header.extend(length(0));
    header
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn both_laws_decode_as_the_standard_has_it() {
        // First, last and some values of the tables of G.711.
        for (byte, sample) in [
            (0xd5, 8),
            (0x55, -8),
            (0xaa, 32_256),
            (0x2a, -32_256),
            (0x80, 5_504),
            (0x00, -5_504),
        ] {
            assert_eq!(Law::A.linear(byte), sample, "A-law {byte:#x}");
        }
        for (byte, sample) in [
            (0xff, 0),
            (0x7f, 0),
            (0x80, 32_124),
            (0x00, -32_124),
            (0xf0, 120),
            (0x70, -120),
        ] {
            assert_eq!(Law::Mu.linear(byte), sample, "µ-law {byte:#x}");
        }
    }

    #[test]
    fn a_file_says_how_long_it_is_and_has_silence_where_packets_are_missing() {
        let mut file = Cursor::new(Vec::new());
        let mut wav = Wav::new(&mut file, Law::Mu).expect("memory is writable");
        wav.put(0, &[0x80, 0x00]).expect("memory is writable");
        wav.put(4, &[0x80]).expect("memory is writable");
        wav.end().expect("memory is writable");
        let file = file.into_inner();
        assert_eq!(file.len(), HEADER_BYTES + 10);
        assert_eq!(file[4..8], (HEADER_BYTES as u32 - 8 + 10).to_le_bytes());
        assert_eq!(file[40..44], 10_u32.to_le_bytes());
        let samples: Vec<_> = file[44..]
            .chunks(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(samples, [32_124, -32_124, 0, 0, 32_124]);
    }
}
