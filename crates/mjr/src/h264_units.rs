//! Units of H.264: out of packets (RFC 6184), and what parameter sets say.

/// Joins the units of a frame, each behind its length in 32 bits, as Matroska wants them.
#[derive(Default, Debug)]
pub(crate) struct Units {
    /// Where the length of a unit stands whose fragments come.
    open_at: Option<usize>,
}

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const SPS: u8 = 7;
const PPS: u8 = 8;

impl Units {
    /// Adds what a packet carries; `None` when it makes no sense.
    pub(crate) fn put(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let first = *payload.first()?;
        match first & 0x1f {
            1..=23 if self.is_at_rest() => append(payload, out),
            STAP_A if self.is_at_rest() => {
                let mut rest = &payload[1..];
                while let [high, low, units @ ..] = rest {
                    let (unit, others) = units.split_at_checked(usize::from(*high) << 8 | usize::from(*low))?;
                    append(unit, out)?;
                    rest = others;
                }
                rest.is_empty().then_some(())
            }
            FU_A => self.put_fragment(first, payload, out),
            _ => None,
        }
    }

    fn put_fragment(&mut self, first: u8, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let fu = *payload.get(1)?;
        if fu & 0x80 != 0 {
            self.open_at = Some(out.len());
            out.extend([0; 4]);
            out.push(first & 0xe0 | fu & 0x1f);
        }
        let at = self.open_at?;
        out.extend(&payload[2..]);
        if fu & 0x40 != 0 {
            let length = u32::try_from(out.len() - at - 4).ok()?;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            self.open_at = None;
        }
        Some(())
    }

    /// Whether no fragment is missing.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.open_at.is_none()
    }
}

fn append(unit: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if unit.is_empty() {
        return None;
    }
    out.extend(u32::try_from(unit.len()).ok()?.to_be_bytes());
    out.extend(unit);
    Some(())
}

/// What a decoder is told of a stream before its frames: the configuration record (ISO 14496-15 §5.3.3.1), width, height.
pub(crate) fn configuration(frame: &[u8]) -> Option<(Vec<u8>, u32, u32)> {
    let (sps, pps) = (find(frame, SPS)?, find(frame, PPS)?);
    let [_, profile, constraints, level, ..] = *sps else {
        return None;
    };
    let (width, height) = picture_size(sps)?;
    let mut record = vec![1, profile, constraints, level, 0xff, 0xe1];
    for (at, set) in [sps, pps].into_iter().enumerate() {
        if at == 1 {
            record.push(1);
        }
        record.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
        record.extend(set);
    }
    Some((record, width, height))
}

/// Finds a unit in a frame of units with lengths.
fn find(frame: &[u8], kind: u8) -> Option<&[u8]> {
    let mut rest = frame;
    while let Some((length, units)) = rest.split_first_chunk() {
        let (unit, others) = units.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if unit.first().is_some_and(|first| first & 0x1f == kind) {
            return Some(unit);
        }
        rest = others;
    }
    None
}

/// Reads width and height out of a sequence parameter set (H.264 §7.3.2.1.1).
fn picture_size(sps: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(sps.get(1..)?);
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.number()?;
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128) {
        chroma = bits.number()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.number()?;
        bits.number()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            // Scaling matrices: none of our senders uses them.
            return None;
        }
    }
    bits.number()?;
    match bits.number()? {
        0 => {
            bits.number()?;
        }
        1 => {
            bits.take(1)?;
            bits.number()?;
            bits.number()?;
            for _ in 0..bits.number()?.min(255) {
                bits.number()?;
            }
        }
        _ => {}
    }
    bits.number()?;
    bits.take(1)?;
    let (columns, rows) = (bits.number()?.checked_add(1)?, bits.number()?.checked_add(1)?);
    let fields = 2 - bits.take(1)?;
    if fields == 2 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let (mut width, mut height) = (columns.checked_mul(16)?, rows.checked_mul(16 * fields)?);
    if bits.take(1)? == 1 {
        let (left, right, top, bottom) = (bits.number()?, bits.number()?, bits.number()?, bits.number()?);
        let (across, down) = match chroma {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        width = width.checked_sub(left.checked_add(right)?.checked_mul(across)?)?;
        height = height.checked_sub(top.checked_add(bottom)?.checked_mul(down * fields)?)?;
    }
    (width > 0 && height > 0).then_some((width, height))
}

/// Bits of a unit, without the bytes that keep start codes out.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn new(unit: &[u8]) -> Self {
        let mut bytes = Vec::new();
        let mut zeros = 0;
        for byte in unit {
            if zeros >= 2 && *byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            bytes.push(*byte);
        }
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// An unsigned Exp-Golomb number (H.264 §9.1).
    fn number(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Constrained baseline, 640x480, as libwebrtc's encoder sends it.
    const SPS_640X480: [u8; 13] = [
        0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0xd0, 0x0f, 0x08, 0x84,
    ];

    #[test]
    fn a_parameter_set_tells_the_size_of_the_picture() {
        assert_eq!(picture_size(&SPS_640X480), Some((640, 480)));
        for end in 0..8 {
            assert_eq!(picture_size(&SPS_640X480[..end]), None);
        }
    }

    #[test]
    fn cropping_takes_a_multiple_of_sixteen_lines_down_to_the_real_ones() {
        // profile 66, level 31, id 0, log2 0, order 2, refs 1, no gaps, 80 x 45 macroblocks (720), frames, direct, crop 0 0 0 0.
        let mut bits = String::from("0100001011000000000111111");
        for number in ["1", "011", "010"] {
            bits.push_str(number);
        }
        bits.push('0');
        bits.push_str("0000001010000"); // 79
        bits.push_str("00000101110"); // 45
        bits.push_str("111"); // frames only, direct, cropped
        bits.push_str("11100101"); // 0, 0, 0, 4
        while bits.len() % 8 != 0 {
            bits.push('0');
        }
        let bytes: Vec<_> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')))
            .collect();
        let sps = [&[0x67][..], &bytes].concat();
        assert_eq!(picture_size(&sps), Some((1_280, 46 * 16 - 8)));
    }

    #[test]
    fn the_configuration_record_holds_both_parameter_sets() {
        let mut frame = Vec::new();
        for unit in [&SPS_640X480[..], &[0x68, 0xce, 0x3c, 0x80], &[0x65, 1]] {
            append(unit, &mut frame).expect("short enough");
        }
        let (record, width, height) = configuration(&frame).expect("both sets");
        assert_eq!((width, height), (640, 480));
        let expected = [
            &[1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, 13][..],
            &SPS_640X480,
            &[1, 0, 4, 0x68, 0xce, 0x3c, 0x80],
        ];
        assert_eq!(record, expected.concat());
        assert_eq!(configuration(&frame[..8]), None);
    }
}
