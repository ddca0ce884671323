//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::feedback_ssrcs;
use crate::Error;
use crate::error::{u16_at, u24_at};

/// The fixed part of a feedback message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TwccHeader {
    /// SSRC of whoever reports.
    pub sender_ssrc: u32,
    /// SSRC of a medium of the transport.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first packet reported on.
    pub base_sequence: u16,
    /// Reference time in 64 ms; 24 bits, signed by the draft.
    pub reference_time: u32,
    /// Count of feedback messages, to see lost ones.
    pub feedback_count: u8,
}

/// Symbols of the packet chunks.
const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// Length of the message before its chunks: SSRCs, base, count, reference time, feedback count.
const FIXED_BYTES: usize = 16;
/// Symbols in a vector chunk of two-bit symbols.
const VECTOR_SYMBOLS: usize = 7;
/// Longest run a run-length chunk tells.
const RUN_MAX: usize = 0x1fff;

/// A feedback message.
#[derive(Clone, Debug)]
pub struct TransportFeedback<'a> {
    /// Its fixed part.
    pub header: TwccHeader,
    /// Packets reported on.
    pub packets: u16,
    rest: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let (sender_ssrc, media_ssrc) = feedback_ssrcs(body)?;
        if body.len() < FIXED_BYTES {
            return Err(Error::Truncated);
        }
        let header = TwccHeader {
            sender_ssrc,
            media_ssrc,
            base_sequence: u16_at(body, 8),
            reference_time: u24_at(body, 12),
            feedback_count: body[15],
        };
        Ok(Self {
            header,
            packets: u16_at(body, 10),
            rest: &body[FIXED_BYTES..],
        })
    }

    /// Gives each packet reported on: its sequence number, and its delta to the packet received before it in 250 µs
    /// (the first: to the reference time), or `None` when it was not received.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the message does not hold the chunks and deltas that its packet count asks for;
    /// [`Error::Format`] for the reserved symbol.
    pub fn arrivals(&self) -> Result<Arrivals<'a>, Error> {
        let (mut chunks, mut covered, mut delta_bytes) = (0, 0, 0);
        while covered < usize::from(self.packets) {
            let chunk = self.chunk(chunks)?;
            let symbols = chunk.symbols().min(usize::from(self.packets) - covered);
            delta_bytes += chunk.delta_bytes(symbols)?;
            covered += symbols;
            chunks += 1;
        }
        let deltas = self.rest.get(2 * chunks..2 * chunks + delta_bytes);
        Ok(Arrivals {
            feedback: self.clone(),
            deltas: deltas.ok_or(Error::Truncated)?,
            next: 0,
            chunk: 0,
            symbol: 0,
        })
    }

    fn chunk(&self, at: usize) -> Result<Chunk, Error> {
        let word = self.rest.get(2 * at..2 * at + 2).ok_or(Error::Truncated)?;
        let chunk = Chunk(u16_at(word, 0));
        // An empty run would never cover the packets.
        if chunk.symbols() == 0 {
            Err(Error::Format)
        } else {
            Ok(chunk)
        }
    }
}

#[derive(Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    fn symbols(self) -> usize {
        match self.0 >> 14 {
            0 | 1 => usize::from(self.0 & 0x1fff),
            2 => 14,
            _ => VECTOR_SYMBOLS,
        }
    }

    fn symbol(self, at: usize) -> u8 {
        let bits = match self.0 >> 14 {
            0 | 1 => self.0 >> 13 & 3,
            2 => self.0 >> (13 - at) & 1,
            _ => self.0 >> (12 - 2 * at) & 3,
        };
        bits as u8
    }

    fn delta_bytes(self, symbols: usize) -> Result<usize, Error> {
        if self.0 >> 15 == 0 {
            return Ok(symbol_delta_bytes(self.symbol(0))? * symbols);
        }
        (0..symbols).try_fold(0, |sum, at| Ok(sum + symbol_delta_bytes(self.symbol(at))?))
    }
}

fn symbol_delta_bytes(symbol: u8) -> Result<usize, Error> {
    match symbol {
        NOT_RECEIVED => Ok(0),
        SMALL_DELTA => Ok(1),
        LARGE_DELTA => Ok(2),
        _ => Err(Error::Format),
    }
}

/// Iterator over the packets of a feedback message.
#[derive(Clone, Debug)]
pub struct Arrivals<'a> {
    feedback: TransportFeedback<'a>,
    deltas: &'a [u8],
    next: u16,
    chunk: usize,
    symbol: usize,
}

impl Iterator for Arrivals<'_> {
    type Item = (u16, Option<i16>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.feedback.packets {
            return None;
        }
        let mut chunk = self.feedback.chunk(self.chunk).ok()?;
        if self.symbol == chunk.symbols() {
            self.chunk += 1;
            self.symbol = 0;
            chunk = self.feedback.chunk(self.chunk).ok()?;
        }
        let symbol = chunk.symbol(self.symbol);
        let sequence = self.feedback.header.base_sequence.wrapping_add(self.next);
        self.symbol += 1;
        self.next += 1;
        let delta = match (symbol, self.deltas) {
            (SMALL_DELTA, [delta, rest @ ..]) => {
                self.deltas = rest;
                Some(i16::from(*delta))
            }
            (LARGE_DELTA, [high, low, rest @ ..]) => {
                self.deltas = rest;
                Some(i16::from_be_bytes([*high, *low]))
            }
            _ => None,
        };
        Some((sequence, delta))
    }
}

/// Writes the body of a feedback message on packets in order from the base; gives its length, a multiple of four.
pub(super) fn write(
    buf: &mut [u8],
    header: TwccHeader,
    deltas: impl Iterator<Item = Option<i16>> + Clone,
) -> Result<usize, Error> {
    let mut out = Cursor { buf, at: FIXED_BYTES };
    let packets = write_chunks(&mut out, deltas.clone())?;
    for delta in deltas.flatten() {
        match u8::try_from(delta) {
            Ok(small) => out.put(&[small])?,
            Err(_) => out.put(&delta.to_be_bytes())?,
        }
    }
    while !out.at.is_multiple_of(4) {
        out.put(&[0])?;
    }
    let (length, buf) = (out.at, out.buf);
    let fixed = buf.get_mut(..FIXED_BYTES).ok_or(Error::NoRoom)?;
    fixed[..4].copy_from_slice(&header.sender_ssrc.to_be_bytes());
    fixed[4..8].copy_from_slice(&header.media_ssrc.to_be_bytes());
    fixed[8..10].copy_from_slice(&header.base_sequence.to_be_bytes());
    fixed[10..12].copy_from_slice(&packets.to_be_bytes());
    fixed[12..].copy_from_slice(&(header.reference_time << 8 | u32::from(header.feedback_count)).to_be_bytes());
    Ok(length)
}

struct Cursor<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let room = self.buf.get_mut(self.at..self.at + bytes.len()).ok_or(Error::NoRoom)?;
        room.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }
}

fn symbol_of(delta: Option<i16>) -> u8 {
    match delta {
        None => NOT_RECEIVED,
        Some(0..=255) => SMALL_DELTA,
        Some(_) => LARGE_DELTA,
    }
}

/// Writes a run where one is longer than a vector, else a vector of seven; gives how many packets there are.
fn write_chunks(out: &mut Cursor<'_>, deltas: impl Iterator<Item = Option<i16>> + Clone) -> Result<u16, Error> {
    let mut symbols = deltas.map(symbol_of);
    let mut packets: u16 = 0;
    loop {
        let ahead = symbols.clone();
        let Some(first) = ahead.clone().next() else {
            return Ok(packets);
        };
        let run = ahead
            .clone()
            .take(RUN_MAX)
            .take_while(|symbol| *symbol == first)
            .count();
        let covered = if run >= VECTOR_SYMBOLS {
            out.put(&(u16::from(first) << 13 | run as u16).to_be_bytes())?;
            run
        } else {
            let mut chunk = 0b11 << 14;
            let mut covered = 0;
            for symbol in ahead.take(VECTOR_SYMBOLS) {
                chunk |= u16::from(symbol) << (12 - 2 * covered);
                covered += 1;
            }
            out.put(&chunk.to_be_bytes())?;
            covered
        };
        symbols.nth(covered - 1);
        packets = packets.checked_add(covered as u16).ok_or(Error::Format)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: TwccHeader = TwccHeader {
        sender_ssrc: 1,
        media_ssrc: 2,
        base_sequence: 65_530,
        reference_time: 0x00ab_cdef,
        feedback_count: 7,
    };

    #[test]
    fn runs_vectors_losses_and_large_deltas_read_back() {
        let mut deltas = vec![Some(4); 20];
        deltas.extend([None, Some(300), Some(-1), Some(0), None]);
        deltas.extend([None; 9]);
        deltas.push(Some(255));
        let mut buf = [0xee; 256];
        let length = write(&mut buf, HEADER, deltas.iter().copied()).unwrap();
        let feedback = TransportFeedback::parse(&buf[..length]).unwrap();
        assert_eq!(feedback.header, HEADER);
        let arrivals: Vec<_> = feedback.arrivals().unwrap().collect();
        assert_eq!(arrivals.iter().map(|(_, delta)| *delta).collect::<Vec<_>>(), deltas);
        assert_eq!(arrivals[7].0, 1, "sequence numbers wrap");
    }

    #[test]
    fn one_bit_vectors_are_understood() {
        // Base 5, nine packets: bits 1 0 1 1 0 0 0 0 1, then four deltas.
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 9, 0, 0, 1, 0];
        body.extend((0x8000_u16 | 0b10_1100_0010_0000).to_be_bytes());
        body.extend([10, 20, 30, 40, 0, 0]);
        let feedback = TransportFeedback::parse(&body).unwrap();
        let received: Vec<_> = feedback
            .arrivals()
            .unwrap()
            .filter_map(|(sequence, delta)| Some((sequence, delta?)))
            .collect();
        assert_eq!(received, [(5, 10), (7, 20), (8, 30), (13, 40)]);
    }

    #[test]
    fn a_count_that_asks_for_more_than_is_there_is_refused() {
        let mut buf = [0; 64];
        let length = write(&mut buf, HEADER, [Some(1); 3].into_iter()).unwrap();
        buf[10..12].copy_from_slice(&60_000_u16.to_be_bytes());
        let feedback = TransportFeedback::parse(&buf[..length]).unwrap();
        assert!(feedback.arrivals().is_err());
    }

    #[test]
    fn a_buffer_that_is_too_short_is_told() {
        for room in 0..24 {
            let written = write(&mut vec![0; room], HEADER, [Some(1); 6].into_iter());
            assert_eq!(written, Err(Error::NoRoom), "{room}");
        }
    }
}
