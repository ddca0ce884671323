//! Sequence numbers, timestamps and picture numbers of one outgoing stream: arithmetic without a clock of its own.

use std::time::Instant;

use crate::layering::{LayerLimits, Numbers, Shift};

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
    /// Picture id and TL0PICIDX of the newest packet that has them.
    newest_numbers: Option<(u16, u8)>,
    /// Closed ranges of the same source, in a circle.
    past: Box<[Range]>,
    /// Where the next closed range goes.
    past_at: usize,
}

/// Source numbers from `first` to `last`, both included, become themselves minus `offset`. Empty when `last < first`.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u64,
    last: u64,
    offset: u64,
    shift: Shift,
    /// Layers that passed.
    limits: LayerLimits,
}

const EMPTY: Range = Range {
    first: 1,
    last: 0,
    offset: 0,
    shift: Shift { picture: 0, base: 0 },
    limits: LayerLimits::NONE,
};

/// What a source packet becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rewritten {
    pub(crate) sequence_number: u16,
    pub(crate) timestamp: u32,
    /// Taken off its picture numbers.
    pub(crate) shift: Shift,
    /// Layers that passed when it got its number.
    pub(crate) limits: LayerLimits,
}

/// First packet of another source.
#[derive(Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) clock_rate: u32,
    pub(crate) numbers: Numbers,
    /// Timestamp that the source before has at the same moment, where that is known.
    pub(crate) moment: Option<u32>,
}

/// How far a timestamp may be ahead of the time that has passed, in seconds, to be believed.
const AHEAD_MAX_S: u32 = 1;

impl Range {
    fn contains(self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence)
    }

    fn is_empty(self) -> bool {
        self.last < self.first
    }

    #[inline]
    fn rewritten(self, sequence: u64, timestamp: u32) -> Rewritten {
        Rewritten {
            sequence_number: sequence.wrapping_sub(self.offset) as u16,
            timestamp,
            shift: self.shift,
            limits: self.limits,
        }
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
            newest_numbers: None,
            past: Box::default(),
            past_at: 0,
        }
    }

    /// Forgets the source, but not where the stream stands, and remembers so many closed ranges of the next.
    pub(crate) fn remember(&mut self, ranges: usize) {
        self.current = EMPTY;
        self.past = vec![EMPTY; ranges].into_boxed_slice();
        self.past_at = 0;
    }

    /// Goes on with source packet `sequence` as the next packet of the stream, after a pause.
    pub(crate) fn resume(&mut self, sequence: u64, numbers: Numbers) {
        self.close_current();
        self.open(sequence, numbers);
    }

    /// Goes on with another source, whose first packet becomes the next packet of the stream. Its timestamp is that of
    /// the same moment in the source before, or the newest one and what has passed since.
    pub(crate) fn switch(&mut self, now: Instant, entry: Entry) {
        self.past.fill(EMPTY);
        self.open(entry.sequence, entry.numbers);
        let elapsed = self.newest_at.map_or(0, |at| {
            let passed = now.saturating_duration_since(at).as_micros() * u128::from(entry.clock_rate) / 1_000_000;
            // Two packets of different sources never share a timestamp: a receiver would take them for one frame.
            (passed as u32).max(1)
        });
        let bound = elapsed
            .saturating_add(AHEAD_MAX_S * entry.clock_rate)
            .min(i32::MAX as u32) as i32;
        let ahead = entry.moment.filter(|_| self.newest_at.is_some()).map(|moment| {
            let ahead = self.timestamp(moment).wrapping_sub(self.newest_timestamp) as i32;
            ahead.max(1)
        });
        let ahead = ahead
            .filter(|ahead| *ahead <= bound)
            .map_or(elapsed, |ahead| ahead as u32);
        self.timestamp_offset = self.newest_timestamp.wrapping_add(ahead).wrapping_sub(entry.timestamp);
    }

    /// Gives what a source packet becomes, or `None` when it has no place: it is from before the start, out of a pause,
    /// or too old.
    #[inline]
    pub(crate) fn rewrite(
        &mut self,
        now: Instant,
        sequence: u64,
        timestamp: u32,
        numbers: Numbers,
    ) -> Option<Rewritten> {
        let timestamp = self.timestamp(timestamp);
        if sequence < self.current.first {
            return self.find(sequence).map(|range| range.rewritten(sequence, timestamp));
        }
        let rewritten = sequence.wrapping_sub(self.current.offset);
        if sequence > self.current.last {
            self.current.last = sequence;
        }
        if rewritten > self.newest {
            self.newest = rewritten;
            self.newest_timestamp = timestamp;
            self.newest_at = Some(now);
            if numbers.are_told() {
                self.newest_numbers = Some(numbers.shifted(self.current.shift));
            }
        }
        Some(self.current.rewritten(sequence, timestamp))
    }

    /// Leaves a source packet out of the stream without a gap, and with `frees_id` the picture id of its frame. Late
    /// ones leave a gap.
    pub(crate) fn skip(&mut self, sequence: u64, frees_id: bool) {
        if sequence < self.current.first || (sequence <= self.current.last && !self.current.is_empty()) {
            return;
        }
        let offset = self.current.offset.wrapping_add(1);
        let mut shift = self.current.shift;
        shift.picture = shift.picture.wrapping_add(frees_id.into());
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
            shift,
            limits: self.current.limits,
        };
    }

    /// Notes which layers pass from a source packet on: it and those behind it are the newest.
    pub(crate) fn limit(&mut self, sequence: u64, limits: LayerLimits) {
        if self.current.limits == limits {
            return;
        }
        let (offset, shift) = (self.current.offset, self.current.shift);
        if sequence > self.current.first {
            // What is missing in front of it may still come.
            self.current.last = sequence - 1;
            self.newest = self.newest.max((sequence - 1).wrapping_sub(offset));
        }
        self.close_current();
        self.current = Range {
            first: sequence.max(self.current.first),
            last: sequence.max(self.current.first) - 1,
            offset,
            shift,
            limits,
        };
    }

    /// Gives the layers that passed when a source packet got its number.
    pub(crate) fn limits_at(&self, sequence: u64) -> Option<LayerLimits> {
        if sequence >= self.current.first {
            return Some(self.current.limits);
        }
        self.find(sequence).map(|range| range.limits)
    }

    /// Gives the source packet that became `sequence_number` of the stream.
    pub(crate) fn source_of(&self, sequence_number: u16) -> Option<u64> {
        let behind = (self.newest as u16).wrapping_sub(sequence_number);
        let rewritten = self.newest.checked_sub(u64::from(behind))?;
        std::iter::once(&self.current).chain(&*self.past).find_map(|range| {
            let sequence = rewritten.wrapping_add(range.offset);
            range.contains(sequence).then_some(sequence)
        })
    }

    /// Gives again what a source packet became.
    pub(crate) fn again(&self, sequence: u64, timestamp: u32) -> Option<Rewritten> {
        let current = Some(&self.current).filter(|range| range.contains(sequence));
        let range = current.or_else(|| self.find(sequence))?;
        Some(range.rewritten(sequence, self.timestamp(timestamp)))
    }

    /// Gives the stream's timestamp of a source timestamp.
    pub(crate) fn timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    fn find(&self, sequence: u64) -> Option<&Range> {
        self.past.iter().find(|range| range.contains(sequence))
    }

    fn open(&mut self, sequence: u64, numbers: Numbers) {
        let last = self.newest_numbers.filter(|_| numbers.are_told());
        self.current = Range {
            first: sequence,
            last: sequence - 1,
            offset: sequence.wrapping_sub(self.newest + 1),
            shift: last.map_or(Shift::default(), |last| Shift::behind(last, numbers)),
            limits: self.current.limits,
        };
    }

    fn close_current(&mut self) {
        let current = self.current;
        if let Some(oldest) = self.past.get_mut(self.past_at).filter(|_| !current.is_empty()) {
            *oldest = current;
            self.past_at = (self.past_at + 1) % self.past.len();
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use std::time::Duration;

    use super::*;

    const START: u64 = 0x1_0000;

    fn entry(sequence: u64, timestamp: u32) -> Entry {
        Entry {
            sequence,
            timestamp,
            clock_rate: 8_000,
            ..Entry::default()
        }
    }

    fn rewrite(rewriter: &mut Rewriter, now: Instant, sequence: u64, timestamp: u32) -> Option<(u16, u32)> {
        let rewritten = rewriter.rewrite(now, sequence, timestamp, Numbers::default())?;
        Some((rewritten.sequence_number, rewritten.timestamp))
    }

    fn started(now: Instant) -> Rewriter {
        let mut rewriter = Rewriter::new(49, 1_000);
        rewriter.remember(4);
        rewriter.switch(now, entry(START + 100, 5_000));
        assert_eq!(rewrite(&mut rewriter, now, START + 100, 5_000), Some((50, 1_000)));
        rewriter
    }

    #[test]
    fn gaps_of_the_source_stay_gaps_and_late_packets_fill_them() {
        let now = Instant::now();
        let mut rewriter = started(now);
        assert_eq!(rewrite(&mut rewriter, now, START + 103, 5_480), Some((53, 1_480)));
        assert_eq!(rewrite(&mut rewriter, now, START + 102, 5_320), Some((52, 1_320)));
        assert_eq!(
            rewrite(&mut rewriter, now, START + 99, 4_840),
            None,
            "from before the start"
        );
    }

    #[test]
    fn a_pause_leaves_no_gap_in_numbers_and_the_right_one_in_time() {
        let now = Instant::now();
        let mut rewriter = started(now);
        rewriter.resume(START + 200, Numbers::default());
        assert_eq!(rewrite(&mut rewriter, now, START + 200, 21_000), Some((51, 17_000)));
        assert_eq!(
            rewrite(&mut rewriter, now, START + 150, 13_000),
            None,
            "out of the pause"
        );
        assert_eq!(rewriter.source_of(50), Some(START + 100));
        assert_eq!(rewriter.source_of(51), Some(START + 200));
        assert_eq!(rewriter.source_of(52), None);
    }

    #[test]
    fn packets_left_out_leave_no_gap() {
        let now = Instant::now();
        let mut rewriter = started(now);
        rewriter.skip(START + 101, false);
        rewriter.skip(START + 102, false);
        assert_eq!(rewrite(&mut rewriter, now, START + 103, 5_480), Some((51, 1_480)));
        rewriter.skip(START + 106, false);
        assert_eq!(
            rewrite(&mut rewriter, now, START + 107, 6_120),
            Some((54, 2_120)),
            "104 and 105 may come"
        );
        assert_eq!(rewrite(&mut rewriter, now, START + 105, 5_800), Some((53, 1_800)));
        assert_eq!(rewriter.source_of(53), Some(START + 105));
        assert_eq!(rewriter.source_of(50), Some(START + 100));
    }

    #[test]
    fn another_source_goes_on_where_time_has_come_to() {
        let now = Instant::now();
        let mut rewriter = started(now);
        rewriter.switch(now + Duration::from_millis(250), entry(START + 7, 77_777));
        let at = now + Duration::from_millis(250);
        assert_eq!(rewrite(&mut rewriter, at, START + 7, 77_777), Some((51, 3_000)));
        assert_eq!(rewriter.source_of(50), None, "a packet of the source before");
        rewriter.switch(at, entry(START + 9_000, 1));
        assert_eq!(rewrite(&mut rewriter, at, START + 9_000, 1), Some((52, 3_001)));
    }

    #[test]
    fn another_source_whose_clock_is_known_keeps_the_moment() {
        let now = Instant::now();
        let at = now + Duration::from_millis(250);
        let known = |moment| Entry {
            moment: Some(moment),
            ..entry(START + 7, 77_777)
        };
        let mut rewriter = started(now);
        rewriter.switch(at, known(5_000 + 1_600));
        assert_eq!(
            rewriter.timestamp(77_777),
            1_000 + 1_600,
            "sent 200 ms later, came after 250"
        );
        let mut rewriter = started(now);
        rewriter.switch(at, known(5_000));
        assert_eq!(rewriter.timestamp(77_777), 1_001, "the same picture, but another frame");
        let mut rewriter = started(now);
        rewriter.switch(at, known(5_000 + 20_000));
        assert_eq!(rewriter.timestamp(77_777), 3_000, "a clock that cannot be right");
    }

    #[test]
    fn numbers_wrap_on_both_sides() {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(65_534, u32::MAX);
        rewriter.switch(now, entry(START + 65_535, 10));
        assert_eq!(
            rewrite(&mut rewriter, now, START + 65_535, 10),
            Some((65_535, u32::MAX))
        );
        assert_eq!(rewrite(&mut rewriter, now, START + 65_536, 170), Some((0, 159)));
        assert_eq!(rewriter.source_of(65_535), Some(START + 65_535));
        assert_eq!(rewriter.source_of(0), Some(START + 65_536));
    }
}
