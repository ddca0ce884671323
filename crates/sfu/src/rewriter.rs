//! Sequence numbers and timestamps of one outgoing stream: arithmetic without a clock of its own.

use std::time::Instant;

/// Maps numbers of the source to numbers of the stream that a receiver sees, which has no gap but those of packets
/// lost on the way to us, whatever was paused, left out or switched.
///
/// ```text
///  source A   100 101 102 │ paused 103..200 │ 201 202      source B  7  8
///  stream      50  51  52 │                 │  53  54   ───────────► 55 56
/// ```
///
/// Sequence numbers are extended to 64 bits on both sides. The newest ranges are remembered, so that late packets and
/// requests for packets sent before a pause find their place.
#[derive(Clone, Debug)]
pub(crate) struct Rewriter {
    /// Range that grows.
    current: Range,
    /// Newest of the stream.
    newest: u64,
    newest_timestamp: u32,
    newest_at: Option<Instant>,
    timestamp_offset: u32,
    /// Closed ranges of the same source, newest first.
    past: [Range; PAST_RANGES],
}

/// Closed ranges that are remembered.
const PAST_RANGES: usize = 4;

/// Source numbers from `first` to `last`, both included, become themselves minus `offset`. Empty when `last < first`.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u64,
    last: u64,
    offset: u64,
}

const EMPTY: Range = Range {
    first: 1,
    last: 0,
    offset: 0,
};

impl Range {
    fn contains(self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence)
    }

    fn is_empty(self) -> bool {
        self.last < self.first
    }
}

impl Rewriter {
    /// Makes a stream whose first packet will have the sequence number behind `sequence` and timestamp `timestamp`.
    pub(crate) fn new(sequence: u16, timestamp: u32) -> Self {
        Self {
            current: EMPTY,
            newest: 0x1_0000 + u64::from(sequence),
            newest_timestamp: timestamp,
            newest_at: None,
            timestamp_offset: 0,
            past: [EMPTY; PAST_RANGES],
        }
    }

    /// Goes on with source packet `sequence` as the next packet of the stream, after a pause.
    pub(crate) fn resume(&mut self, sequence: u64) {
        self.close_current();
        self.open(sequence);
    }

    /// Goes on with another source, whose packet `sequence` becomes the next packet of the stream. Its timestamp is the
    /// newest one and what has passed since.
    pub(crate) fn switch(&mut self, now: Instant, sequence: u64, timestamp: u32, clock_rate: u32) {
        self.past = [EMPTY; PAST_RANGES];
        self.open(sequence);
        let elapsed = self.newest_at.map_or(0, |at| {
            let passed = now.saturating_duration_since(at).as_micros() * u128::from(clock_rate) / 1_000_000;
            // Two packets of different sources never share a timestamp: a receiver would take them for one frame.
            (passed as u32).max(1)
        });
        self.timestamp_offset = self.newest_timestamp.wrapping_add(elapsed).wrapping_sub(timestamp);
    }

    /// Gives the stream's (sequence number, timestamp) of a source packet, or `None` when it has no place: it is from
    /// before the start, out of a pause, or too old.
    #[inline]
    pub(crate) fn rewrite(&mut self, now: Instant, sequence: u64, timestamp: u32) -> Option<(u16, u32)> {
        let timestamp = self.timestamp(timestamp);
        if sequence < self.current.first {
            let range = self.past.iter().find(|range| range.contains(sequence))?;
            return Some((sequence.wrapping_sub(range.offset) as u16, timestamp));
        }
        let rewritten = sequence.wrapping_sub(self.current.offset);
        if sequence > self.current.last {
            self.current.last = sequence;
        }
        if rewritten > self.newest {
            self.newest = rewritten;
            self.newest_timestamp = timestamp;
            self.newest_at = Some(now);
        }
        Some((rewritten as u16, timestamp))
    }

    /// Leaves a source packet out of the stream without a gap. Late ones leave one.
    pub(crate) fn skip(&mut self, sequence: u64) {
        if sequence < self.current.first || (sequence <= self.current.last && !self.current.is_empty()) {
            return;
        }
        let offset = self.current.offset.wrapping_add(1);
        if sequence > self.current.first {
            // What is missing in front of it may still come.
            self.current.last = sequence - 1;
            self.newest = self.newest.max((sequence - 1).wrapping_sub(self.current.offset));
            self.close_current();
        }
        self.current = Range {
            first: sequence + 1,
            last: sequence,
            offset,
        };
    }

    /// Gives the source packet that became `sequence_number` of the stream.
    pub(crate) fn source_of(&self, sequence_number: u16) -> Option<u64> {
        let behind = (self.newest as u16).wrapping_sub(sequence_number);
        let rewritten = self.newest.checked_sub(u64::from(behind))?;
        std::iter::once(&self.current).chain(&self.past).find_map(|range| {
            let sequence = rewritten.wrapping_add(range.offset);
            range.contains(sequence).then_some(sequence)
        })
    }

    /// Gives the stream's sequence number of a source packet that was rewritten before.
    pub(crate) fn sequence_number_of(&self, sequence: u64) -> Option<u16> {
        let mut ranges = std::iter::once(&self.current).chain(&self.past);
        let range = ranges.find(|range| range.contains(sequence))?;
        Some(sequence.wrapping_sub(range.offset) as u16)
    }

    /// Gives the stream's timestamp of a source timestamp.
    pub(crate) fn timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    fn open(&mut self, sequence: u64) {
        self.current = Range {
            first: sequence,
            last: sequence - 1,
            offset: sequence.wrapping_sub(self.newest + 1),
        };
    }

    fn close_current(&mut self) {
        if !self.current.is_empty() {
            self.past.rotate_right(1);
            self.past[0] = self.current;
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use std::time::Duration;

    use super::*;

    const START: u64 = 0x1_0000;

    fn started(now: Instant) -> Rewriter {
        let mut rewriter = Rewriter::new(49, 1_000);
        rewriter.switch(now, START + 100, 5_000, 8_000);
        assert_eq!(rewriter.rewrite(now, START + 100, 5_000), Some((50, 1_000)));
        rewriter
    }

    #[test]
    fn gaps_of_the_source_stay_gaps_and_late_packets_fill_them() {
        let now = Instant::now();
        let mut rewriter = started(now);
        assert_eq!(rewriter.rewrite(now, START + 103, 5_480), Some((53, 1_480)));
        assert_eq!(rewriter.rewrite(now, START + 102, 5_320), Some((52, 1_320)));
        assert_eq!(rewriter.rewrite(now, START + 99, 4_840), None, "from before the start");
    }

    #[test]
    fn a_pause_leaves_no_gap_in_numbers_and_the_right_one_in_time() {
        let now = Instant::now();
        let mut rewriter = started(now);
        rewriter.resume(START + 200);
        assert_eq!(rewriter.rewrite(now, START + 200, 21_000), Some((51, 17_000)));
        assert_eq!(rewriter.rewrite(now, START + 150, 13_000), None, "out of the pause");
        assert_eq!(rewriter.source_of(50), Some(START + 100));
        assert_eq!(rewriter.source_of(51), Some(START + 200));
        assert_eq!(rewriter.source_of(52), None);
    }

    #[test]
    fn packets_left_out_leave_no_gap() {
        let now = Instant::now();
        let mut rewriter = started(now);
        rewriter.skip(START + 101);
        rewriter.skip(START + 102);
        assert_eq!(rewriter.rewrite(now, START + 103, 5_480), Some((51, 1_480)));
        rewriter.skip(START + 106);
        assert_eq!(
            rewriter.rewrite(now, START + 107, 6_120),
            Some((54, 2_120)),
            "104 and 105 may come"
        );
        assert_eq!(rewriter.rewrite(now, START + 105, 5_800), Some((53, 1_800)));
        assert_eq!(rewriter.source_of(53), Some(START + 105));
        assert_eq!(rewriter.source_of(50), Some(START + 100));
    }

    #[test]
    fn another_source_goes_on_where_time_has_come_to() {
        let now = Instant::now();
        let mut rewriter = started(now);
        rewriter.switch(now + Duration::from_millis(250), START + 7, 77_777, 8_000);
        let at = now + Duration::from_millis(250);
        assert_eq!(rewriter.rewrite(at, START + 7, 77_777), Some((51, 3_000)));
        assert_eq!(rewriter.source_of(50), None, "a packet of the source before");
        rewriter.switch(at, START + 9_000, 1, 8_000);
        assert_eq!(rewriter.rewrite(at, START + 9_000, 1), Some((52, 3_001)));
    }

    #[test]
    fn numbers_wrap_on_both_sides() {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(65_534, u32::MAX);
        rewriter.switch(now, START + 65_535, 10, 8_000);
        assert_eq!(rewriter.rewrite(now, START + 65_535, 10), Some((65_535, u32::MAX)));
        assert_eq!(rewriter.rewrite(now, START + 65_536, 170), Some((0, 159)));
        assert_eq!(rewriter.source_of(65_535), Some(START + 65_535));
        assert_eq!(rewriter.source_of(0), Some(START + 65_536));
    }
}
