//! What arrived of one source: order, duplicates, loss and jitter (RFC 3550 §6.4.1, A.1, A.3, A.8).

use std::time::{Duration, Instant};

use voex_rtp::Unwrapper;
use voex_rtp::rtcp::{ReportBlock, SenderInfo};

use crate::limits::{REORDER_PACKETS_MAX, SEQUENCE_JUMP_MAX};

/// State of one source, from its first packet on.
#[derive(Default)]
pub(crate) struct Reception {
    unwrapper: Unwrapper,
    /// Bit n: the packet n behind the newest arrived.
    window: [u64; WINDOW_WORDS],
    first: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Jitter in 1/16 timestamp units.
    jitter_16: u32,
    /// Relative transit time of the packet before.
    transit: Option<u32>,
    /// Sequence number that would confirm a jump.
    jump_expects: Option<u16>,
    sender_report: Option<SenderReportSeen>,
}

const WINDOW_WORDS: usize = (REORDER_PACKETS_MAX / 64) as usize;

/// The last SR of the source.
#[derive(Clone, Copy)]
pub(crate) struct SenderReportSeen {
    pub(crate) info: SenderInfo,
    pub(crate) at: Instant,
}

/// Where a packet stands among those before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Newer than all; so many were left out before it.
    Newest { sequence: u64, missing: u64 },
    /// Behind newer ones, for the first time.
    Late { sequence: u64 },
    /// Seen before.
    Duplicate,
    /// Too far behind to know.
    TooLate,
    /// Far away, and alone with it.
    Jump,
    /// Far away, as the packet before: the source started again.
    Restart,
}

impl Reception {
    /// Places a packet of the source by its sequence number.
    pub(crate) fn place(&mut self, sequence_number: u16) -> Place {
        let Some(newest) = self.unwrapper.newest() else {
            let sequence = self.unwrapper.unwrap(sequence_number);
            self.first = sequence;
            self.window[0] = 1;
            return Place::Newest { sequence, missing: 0 };
        };
        let sequence = self.unwrapper.peek(sequence_number);
        if sequence.abs_diff(newest) >= SEQUENCE_JUMP_MAX {
            let is_confirmed = self.jump_expects == Some(sequence_number);
            self.jump_expects = Some(sequence_number.wrapping_add(1));
            return if is_confirmed { Place::Restart } else { Place::Jump };
        }
        self.jump_expects = None;
        if sequence > newest {
            self.unwrapper.unwrap(sequence_number);
            self.advance(sequence - newest);
            let missing = sequence - newest - 1;
            return Place::Newest { sequence, missing };
        }
        self.place_behind(sequence, newest - sequence)
    }

    /// Places a packet that was sent again by its original sequence number. It cannot be newer than the newest.
    pub(crate) fn place_repaired(&mut self, sequence_number: u16) -> Place {
        let sequence = self.unwrapper.peek(sequence_number);
        match self.unwrapper.newest().and_then(|newest| newest.checked_sub(sequence)) {
            Some(behind) => self.place_behind(sequence, behind),
            None => Place::Jump,
        }
    }

    /// Counts a packet that came on the source's own SSRC. `at` is a time stamp of its arrival in units of the clock
    /// rate; `None` for packets whose timestamp does not tell when they were sent.
    pub(crate) fn count(&mut self, timestamp: u32, at: Option<u32>) {
        self.received += 1;
        let Some(at) = at else { return };
        let transit = at.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // RFC 3550 A.8: J += (|D| - J) / 16, kept in sixteenths.
            self.jitter_16 = (self.jitter_16 - ((self.jitter_16 + 8) >> 4)).saturating_add(difference.min(1 << 24));
        }
    }

    /// Remembers an SR of the source.
    pub(crate) fn handle_sender_report(&mut self, now: Instant, info: SenderInfo) {
        self.sender_report = Some(SenderReportSeen { info, at: now });
    }

    /// The last SR of the source.
    pub(crate) fn sender_report(&self) -> Option<SenderReportSeen> {
        self.sender_report
    }

    /// The newest extended sequence number.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.unwrapper.newest()
    }

    /// Packets that came and that should have come, from the first on.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let newest = self.unwrapper.newest();
        (self.received, newest.map_or(0, |newest| newest - self.first + 1))
    }

    /// Jitter in timestamp units.
    pub(crate) fn jitter(&self) -> u32 {
        self.jitter_16 >> 4
    }

    /// Makes the report block on the time since the last one; `None` before the first packet.
    pub(crate) fn report(&mut self, now: Instant, ssrc: u32) -> Option<ReportBlock> {
        let newest = self.unwrapper.newest()?;
        let expected = newest - self.first + 1;
        let expected_since = expected - self.expected_prior;
        let lost_since = expected_since.saturating_sub(self.received - self.received_prior);
        (self.expected_prior, self.received_prior) = (expected, self.received);
        let fraction_lost = (lost_since << 8).checked_div(expected_since).unwrap_or(0).min(255);
        let lost = i64::try_from(expected).unwrap_or(i64::MAX) - i64::try_from(self.received).unwrap_or(i64::MAX);
        let seen = self.sender_report;
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction_lost as u8,
            lost: lost.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            // The unwrapper starts one cycle up; on the wire cycles start at zero.
            highest_sequence: (newest as u32).wrapping_sub(0x1_0000),
            jitter: self.jitter(),
            last_sr: seen.map_or(0, |seen| (seen.info.ntp >> 16) as u32),
            delay_since_last_sr: seen.map_or(0, |seen| in_65536ths(now.saturating_duration_since(seen.at))),
        })
    }

    fn place_behind(&mut self, sequence: u64, behind: u64) -> Place {
        if behind >= REORDER_PACKETS_MAX {
            return Place::TooLate;
        }
        let (word, bit) = ((behind / 64) as usize, 1 << (behind % 64));
        if self.window[word] & bit != 0 {
            return Place::Duplicate;
        }
        self.window[word] |= bit;
        Place::Late { sequence }
    }

    /// Moves the window so that bit 0 is a packet so many further on, and marks it.
    fn advance(&mut self, by: u64) {
        let (words, bits) = ((by / 64) as usize, by % 64);
        for at in (0..WINDOW_WORDS).rev() {
            let word = |index: Option<usize>| index.map_or(0, |index| self.window[index]);
            let high = word(at.checked_sub(words)) << bits;
            let low = match bits {
                0 => 0,
                _ => word(at.checked_sub(words + 1)) >> (64 - bits),
            };
            self.window[at] = high | low;
        }
        self.window[0] |= 1;
    }
}

/// A duration in the unit of DLSR and of round-trip times, capped.
pub(crate) fn in_65536ths(duration: Duration) -> u32 {
    u32::try_from((duration.as_micros() << 16) / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use super::*;

    const CYCLE: u64 = 0x1_0000;

    fn newest(sequence: u64, missing: u64) -> Place {
        Place::Newest {
            sequence: CYCLE + sequence,
            missing,
        }
    }

    #[test]
    fn late_packets_count_once_and_far_ones_not_at_all() {
        let mut reception = Reception::default();
        assert_eq!(reception.place(1_000), newest(1_000, 0));
        assert_eq!(reception.place(1_003), newest(1_003, 2));
        assert_eq!(
            reception.place(1_001),
            Place::Late {
                sequence: CYCLE + 1_001
            }
        );
        assert_eq!(reception.place(1_001), Place::Duplicate);
        assert_eq!(reception.place(1_003), Place::Duplicate);
        assert_eq!(reception.place(1_003 + 100), newest(1_103, 99));
        assert_eq!(reception.place(1_001), Place::Duplicate, "remembered over word borders");
        assert_eq!(
            reception.place_repaired(1_002),
            Place::Late {
                sequence: CYCLE + 1_002
            }
        );
        assert_eq!(reception.place(1_002), Place::Duplicate, "came as a retransmission");
        assert_eq!(reception.place(1_103 - 512), Place::TooLate);
        assert_eq!(reception.place_repaired(1_200), Place::Jump);
    }

    #[test]
    fn two_packets_in_a_row_far_away_restart_the_source() {
        let mut reception = Reception::default();
        reception.place(100);
        assert_eq!(reception.place(20_000), Place::Jump);
        assert_eq!(reception.place(101), newest(101, 0), "a stray packet changes nothing");
        assert_eq!(reception.place(20_000), Place::Jump);
        assert_eq!(reception.place(20_001), Place::Restart);
    }

    #[test]
    fn reports_tell_loss_since_the_last_one_and_in_all() {
        let now = Instant::now();
        let mut reception = Reception::default();
        assert!(reception.report(now, 5).is_none());
        for sequence in [0, 1, 2, 4] {
            reception.place(sequence);
            reception.count(0, None);
        }
        let block = reception.report(now, 5).unwrap();
        assert_eq!((block.fraction_lost, block.lost, block.highest_sequence), (51, 1, 4));
        for sequence in 5..9 {
            reception.place(sequence);
            reception.count(0, None);
        }
        let block = reception.report(now, 5).unwrap();
        assert_eq!((block.fraction_lost, block.lost, block.highest_sequence), (0, 1, 8));
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0, 0));
    }

    #[test]
    fn a_report_names_the_last_sender_report_and_its_age() {
        let now = Instant::now();
        let mut reception = Reception::default();
        reception.place(0);
        let info = SenderInfo {
            ssrc: 5,
            ntp: 0x1111_2222_3333_4444,
            rtp_timestamp: 0,
            packets: 0,
            octets: 0,
        };
        reception.handle_sender_report(now, info);
        let block = reception.report(now + Duration::from_millis(500), 5).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x2222_3333, 0x8000));
    }

    #[test]
    fn jitter_follows_the_formula_of_rfc_3550() {
        let mut reception = Reception::default();
        // Every second packet is 16 units late: |D| is 16 each time, and J comes to it.
        for n in 0..200_u32 {
            reception.place(n as u16);
            reception.count(n * 160, Some(n * 160 + 16 * (n % 2)));
        }
        let jitter = reception.report(Instant::now(), 5).unwrap().jitter;
        assert!((14..=16).contains(&jitter), "{jitter}");
    }
}
