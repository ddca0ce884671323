//! When packets of a transport arrived, for transport-wide congestion control feedback.

use std::time::Instant;

use voex_rtp::rtcp::{TwccHeader, Writer};
use voex_rtp::{Error, Unwrapper};

use crate::limits::TWCC_PACKETS_MAX;

/// Arrival times by transport-wide sequence number.
pub(crate) struct Arrivals {
    /// Origin of the times that the feedback tells; its receiver only looks at differences.
    origin: Instant,
    unwrapper: Unwrapper,
    /// (sequence, ticks) by sequence modulo the length.
    seen: Box<[(u64, u64)]>,
    /// First packet of the next message.
    base: Option<u64>,
    messages: u8,
}

/// Deltas count 250 µs; the reference time counts 64 ms.
const TICK_US: u128 = 250;
const TICKS_PER_REFERENCE: u64 = 256;

impl Arrivals {
    /// Makes an empty record.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            unwrapper: Unwrapper::default(),
            seen: vec![(0, 0); TWCC_PACKETS_MAX].into_boxed_slice(),
            base: None,
            messages: 0,
        }
    }

    /// Notes a packet.
    pub(crate) fn note(&mut self, now: Instant, sequence_number: u16) {
        let sequence = self.unwrapper.unwrap(sequence_number);
        let ticks = (now.saturating_duration_since(self.origin).as_micros() / TICK_US) as u64;
        let slot = (sequence % TWCC_PACKETS_MAX as u64) as usize;
        if self.seen[slot].0 > sequence {
            return;
        }
        self.seen[slot] = (sequence, ticks);
        // One that comes late is told late: the sender takes it back from the lost ones.
        self.base = Some(self.base.map_or(sequence, |base| base.min(sequence)));
    }

    /// Writes one feedback message on what came since the last, as far as it fits; `Ok(false)` when nothing came.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when not even the smallest message fits.
    pub(crate) fn write(&mut self, writer: &mut Writer<'_>, sender_ssrc: u32, media_ssrc: u32) -> Result<bool, Error> {
        let (Some(base), Some(newest)) = (self.base, self.unwrapper.newest()) else {
            return Ok(false);
        };
        let oldest = (newest + 1).saturating_sub(TWCC_PACKETS_MAX as u64);
        let Some(first) = (base.max(oldest)..=newest).find(|sequence| self.at(*sequence).is_some()) else {
            self.base = None;
            return Ok(false);
        };
        let reference = self.at(first).unwrap_or(0) / TICKS_PER_REFERENCE;
        let end = self.end_of_message(first, newest, reference * TICKS_PER_REFERENCE);
        let header = TwccHeader {
            sender_ssrc,
            media_ssrc,
            base_sequence: first as u16,
            reference_time: reference as u32 & 0x00ff_ffff,
            feedback_count: self.messages,
        };
        let deltas = Deltas {
            arrivals: self,
            next: first,
            end,
            before: reference * TICKS_PER_REFERENCE,
        };
        writer.transport_feedback(header, deltas)?;
        self.messages = self.messages.wrapping_add(1);
        self.base = (end <= newest).then_some(end);
        Ok(true)
    }

    fn at(&self, sequence: u64) -> Option<u64> {
        let (seen, ticks) = self.seen[(sequence % TWCC_PACKETS_MAX as u64) as usize];
        (seen == sequence).then_some(ticks)
    }

    /// A message ends where a delta would not fit its 16 bits, or at [`MESSAGE_PACKETS_MAX`].
    fn end_of_message(&self, first: u64, newest: u64, mut before: u64) -> u64 {
        let last = newest.min(first + MESSAGE_PACKETS_MAX - 1);
        for sequence in first..=last {
            if let Some(ticks) = self.at(sequence) {
                if delta(ticks, before).is_none() {
                    return sequence;
                }
                before = ticks;
            }
        }
        last + 1
    }
}

/// Packets in one message, so that it fits an RTCP packet with two bytes a delta.
const MESSAGE_PACKETS_MAX: u64 = 400;

fn delta(ticks: u64, before: u64) -> Option<i16> {
    i16::try_from(ticks as i64 - before as i64).ok()
}

#[derive(Clone)]
struct Deltas<'a> {
    arrivals: &'a Arrivals,
    next: u64,
    end: u64,
    before: u64,
}

impl Iterator for Deltas<'_> {
    type Item = Option<i16>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let arrived = self.arrivals.at(self.next);
        self.next += 1;
        Some(arrived.and_then(|ticks| {
            let delta = delta(ticks, self.before);
            self.before = ticks;
            delta
        }))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use std::time::Duration;

    use voex_rtp::rtcp::{Compound, Packet};

    use super::*;

    /// (sequence number, arrival in ticks) of one message.
    fn told(arrivals: &mut Arrivals) -> Vec<(u16, Option<i64>)> {
        let mut buf = [0; 1_200];
        let mut writer = Writer::new(&mut buf);
        if !arrivals.write(&mut writer, 1, 2).unwrap() {
            return Vec::new();
        }
        let length = writer.len();
        let compound = Compound::parse(&buf[..length]).unwrap();
        let Some(Ok(Packet::TransportFeedback(feedback))) = compound.packets().next() else {
            panic!("not feedback")
        };
        let mut at = i64::from(feedback.header.reference_time) * 256;
        let told = feedback.arrivals().unwrap();
        told.map(|(sequence, delta)| {
            let ticks = delta.map(|delta| {
                at += i64::from(delta);
                at
            });
            (sequence, ticks)
        })
        .collect()
    }

    #[test]
    fn times_and_gaps_are_told_and_late_packets_told_later() {
        let now = Instant::now();
        let mut arrivals = Arrivals::new(now);
        let at = |ticks: u64| now + Duration::from_micros(250 * ticks);
        arrivals.note(at(1_000), 65_534);
        arrivals.note(at(1_300), 0);
        arrivals.note(at(1_304), 1);
        let expected = [
            (65_534, Some(1_000)),
            (65_535, None),
            (0, Some(1_300)),
            (1, Some(1_304)),
        ];
        assert_eq!(told(&mut arrivals), expected);
        assert_eq!(told(&mut arrivals), []);
        arrivals.note(at(1_310), 65_535);
        assert_eq!(told(&mut arrivals)[0], (65_535, Some(1_310)));
        assert_eq!(told(&mut arrivals), []);
    }

    #[test]
    fn a_long_silence_starts_another_message() {
        let now = Instant::now();
        let mut arrivals = Arrivals::new(now);
        arrivals.note(now, 1);
        arrivals.note(now + Duration::from_secs(30), 2);
        assert_eq!(told(&mut arrivals), [(1, Some(0))]);
        assert_eq!(told(&mut arrivals), [(2, Some(120_000))]);
    }

    #[test]
    fn more_than_is_kept_tells_the_newest() {
        let now = Instant::now();
        let mut arrivals = Arrivals::new(now);
        for sequence in 0..5_000_u16 {
            arrivals.note(now, sequence);
        }
        let mut all = Vec::new();
        loop {
            let message = told(&mut arrivals);
            if message.is_empty() {
                break;
            }
            all.extend(message);
        }
        assert_eq!(all.len(), TWCC_PACKETS_MAX);
        assert_eq!(all.last().unwrap().0, 4_999);
    }
}
