//! Packets in the order in which they were sent, on one time line.

use std::collections::BTreeMap;

use voex_rtp::Packet;

/// Packets that wait for one that is late.
const WAITING_MAX: usize = 256;
/// A jump of sequence numbers this far is a source that began anew.
const JUMP_MAX: i64 = 3_000;
/// Time stamps this far from when packets came are another clock's.
const DRIFT_MAX_MS: i64 = 10_000;
/// Longest time line, a day: what a damaged file says of time does not fill a disk with silence.
const LENGTH_MAX_MS: u32 = 86_400_000;

/// A packet in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ordered {
    /// Time since the first packet, in units of the clock rate.
    pub(crate) time: u64,
    /// Packets before it that are missing, or it is the first of a source.
    pub(crate) is_after_gap: bool,
    /// The marker bit.
    pub(crate) marker: bool,
    /// What it carries.
    pub(crate) payload: Vec<u8>,
}

/// Puts packets in order. Sources that begin anew, and clocks that jump, go on where they came.
#[derive(Debug)]
pub(crate) struct Order {
    clock_rate: u32,
    waiting: BTreeMap<i64, Ordered>,
    newest: Option<Newest>,
    /// Number that comes next.
    next: i64,
    /// Payload types beside the first are other formats: telephone events, comfort noise.
    payload_type: Option<u8>,
    /// What came and could not be used: no RTP, twice, too late, of another format.
    pub(crate) unused: u64,
    /// Packets that are missing.
    pub(crate) lost: u64,
    /// Packets given out.
    pub(crate) used: u64,
}

#[derive(Debug)]
struct Newest {
    ssrc: u32,
    sequence: i64,
    sequence_number: u16,
    timestamp: u32,
    time: i64,
}

impl Order {
    /// Makes an order for packets with this clock rate in Hz.
    pub(crate) fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            waiting: BTreeMap::new(),
            newest: None,
            next: 0,
            payload_type: None,
            unused: 0,
            lost: 0,
            used: 0,
        }
    }

    /// Takes a packet that came so long after the first.
    pub(crate) fn put(&mut self, since_first_ms: u32, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.unused += 1;
            return;
        };
        let is_format = *self.payload_type.get_or_insert(packet.payload_type()) == packet.payload_type();
        if packet.payload().is_empty() || !is_format {
            let (sequence, ..) = self.note(since_first_ms, &packet);
            // Its number is no gap.
            self.next += i64::from(sequence == self.next);
            self.unused += 1;
            return;
        }
        let (sequence, time, begins) = self.note(since_first_ms, &packet);
        if sequence < self.next || self.waiting.contains_key(&sequence) {
            self.unused += 1;
            return;
        }
        self.waiting.insert(
            sequence,
            Ordered {
                time: u64::try_from(time).unwrap_or(0),
                is_after_gap: begins,
                marker: packet.marker(),
                payload: packet.payload().to_vec(),
            },
        );
    }

    /// Gives the next packet once nothing is likely to come before it, or, at the end, whatever is left.
    pub(crate) fn take(&mut self, is_end: bool) -> Option<Ordered> {
        let (sequence, _) = self.waiting.first_key_value()?;
        let is_next = *sequence == self.next;
        if !is_next && !is_end && self.waiting.len() <= WAITING_MAX {
            return None;
        }
        let (sequence, mut packet) = self.waiting.pop_first()?;
        if sequence != self.next {
            self.lost += (sequence - self.next).unsigned_abs();
            packet.is_after_gap = true;
        }
        self.next = sequence + 1;
        self.used += 1;
        Some(packet)
    }

    /// Gives number and time of a packet, and whether a source begins with it.
    fn note(&mut self, since_first_ms: u32, packet: &Packet<'_>) -> (i64, i64, bool) {
        let came = i64::from(since_first_ms.min(LENGTH_MAX_MS)) * i64::from(self.clock_rate) / 1_000;
        let (number, timestamp) = (packet.sequence_number(), packet.timestamp());
        let Some(newest) = &self.newest else {
            let newest = Newest {
                ssrc: packet.ssrc(),
                sequence: 0,
                sequence_number: number,
                timestamp,
                time: came,
            };
            self.newest = Some(newest);
            return (0, came, true);
        };
        let step = i64::from(number.wrapping_sub(newest.sequence_number) as i16);
        let begins = newest.ssrc != packet.ssrc() || step.abs() > JUMP_MAX;
        let sequence = if begins {
            newest.sequence + 1
        } else {
            newest.sequence + step
        };
        let mut time = newest.time + i64::from(timestamp.wrapping_sub(newest.timestamp) as i32);
        let drift_max = DRIFT_MAX_MS * i64::from(self.clock_rate) / 1_000;
        if begins || (time - came).abs() > drift_max {
            time = came.max(newest.time);
        }
        if sequence > newest.sequence {
            self.newest = Some(Newest {
                ssrc: packet.ssrc(),
                sequence,
                sequence_number: number,
                timestamp,
                time,
            });
        }
        (sequence, time, begins)
    }
}

#[cfg(test)]
mod tests {
    use voex_rtp::FixedHeader;

    use super::*;

    fn packet(ssrc: u32, sequence_number: u16, timestamp: u32) -> Vec<u8> {
        let header = FixedHeader {
            has_extension: false,
            marker: false,
            payload_type: 111,
            sequence_number,
            timestamp,
            ssrc,
        };
        [&header.to_bytes()[..], &sequence_number.to_be_bytes()].concat()
    }

    /// Times, numbers and gaps of what comes out.
    fn run(order: &mut Order, packets: &[(u32, Vec<u8>)]) -> Vec<(u64, u16, bool)> {
        let mut out = Vec::new();
        let mut note = |packet: Ordered| {
            let number = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            out.push((packet.time, number, packet.is_after_gap));
        };
        for (ms, bytes) in packets {
            order.put(*ms, bytes);
            while let Some(packet) = order.take(false) {
                note(packet);
            }
        }
        while let Some(packet) = order.take(true) {
            note(packet);
        }
        out
    }

    #[test]
    fn late_packets_stand_in_their_place_over_both_wraps_and_gaps_are_told() {
        let mut order = Order::new(48_000);
        let step = |n: u32| {
            packet(
                1,
                65_534_u16.wrapping_add(n as u16),
                (u32::MAX - 959).wrapping_add(960 * n),
            )
        };
        let packets: Vec<_> = [0, 2, 1, 2, 5, 4].iter().map(|n| (n * 20, step(*n))).collect();
        let out = run(&mut order, &packets);
        let expected = [
            (0, 65_534, true),
            (960, 65_535, false),
            (1_920, 0, false),
            (3_840, 2, true),
            (4_800, 3, false),
        ];
        assert_eq!(out, expected);
        assert_eq!((order.used, order.lost, order.unused), (5, 1, 1));
    }

    #[test]
    fn a_source_that_begins_anew_goes_on_when_it_came() {
        let mut order = Order::new(48_000);
        let packets = [
            (0, packet(1, 10, 5_000)),
            (20, packet(1, 11, 5_960)),
            (3_000, packet(2, 40_000, 777)),
            (3_020, packet(2, 40_001, 777 + 960)),
            (3_040, packet(2, 7, 777 + 1_920)),
        ];
        let out = run(&mut order, &packets);
        let second = 144_000;
        let expected = [
            (0, 10, true),
            (960, 11, false),
            (second, 40_000, true),
            (second + 960, 40_001, false),
            (second + 1_920, 7, true),
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn a_clock_that_jumps_does_not_make_the_recording_longer_than_it_took() {
        let mut order = Order::new(48_000);
        let packets = [
            (0, packet(1, 1, 0)),
            (20, packet(1, 2, 0x7000_0000)),
            (40, packet(1, 3, 0x7000_03c0)),
        ];
        let out = run(&mut order, &packets);
        assert_eq!(out, [(0, 1, true), (960, 2, false), (1_920, 3, false)]);
    }

    #[test]
    fn a_missing_packet_is_waited_for_within_bounds() {
        let mut order = Order::new(48_000);
        order.put(0, &packet(1, 0, 0));
        assert!(order.take(false).is_some());
        for n in 2..=(WAITING_MAX as u16 + 1) {
            order.put(0, &packet(1, n, 0));
            assert!(order.take(false).is_none());
        }
        order.put(0, &packet(1, 1_000, 0));
        assert!(order.take(false).is_some_and(|packet| packet.is_after_gap));
    }
}
