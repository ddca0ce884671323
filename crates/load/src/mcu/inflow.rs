//! One received stream: what arrived, what is missing, what to tell the server of it.

use std::collections::VecDeque;
use std::ops::Range;

use voex_rtp::rtcp::{ReportBlock, SenderInfo};
use voex_rtp::{Packet, Unwrapper};

use super::media::{self, Found};
use super::tally::Tally;
use crate::tracker::{Arrival, Arrivals};

/// Sequence numbers that are asked for at a time; older ones are given up.
const MISSING_MAX: usize = 256;
/// A gap is asked for when it is that old, again after as long as a browser waits without a round-trip time, and not
/// more often.
const ASK_AFTER_NS: u64 = 5_000_000;
const ASK_AGAIN_NS: u64 = 50_000_000;
const ASK_TIMES: u32 = 10;

/// A stream from the server.
pub(crate) struct Inflow {
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    /// Flows that may come in it: one, or the encodings of a simulcast, the best first.
    flows: Range<u32>,
    /// Bytes of an audio payload; video without.
    audio_bytes: Option<usize>,
    numbers: Unwrapper,
    first: Option<u64>,
    arrivals: Arrivals,
    run: Option<Run>,
    previous: Option<Run>,
    missing: VecDeque<Missing>,
    /// Packets that were expected and had arrived when the last report was written.
    reported: (u64, u64),
    last_report: Option<(u32, u64)>,
    /// When the first packet arrived, and the first of a key frame.
    pub(crate) first_ns: Option<u64>,
    pub(crate) key_frame_ns: Option<u64>,
}

/// Packets of one flow that follow one another.
#[derive(Clone, Copy)]
struct Run {
    flow: u32,
    /// Number in the flow without the sequence number it arrived with: the same for all.
    offset: i64,
    /// The newest number in the flow.
    newest: u64,
}

struct Missing {
    number: u64,
    due_ns: u64,
    times: u32,
}

impl Inflow {
    /// Expects a stream of these sources.
    pub(crate) fn new(ssrc: u32, rtx_ssrc: Option<u32>, flows: Range<u32>, audio_bytes: Option<usize>) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            flows,
            audio_bytes,
            numbers: Unwrapper::default(),
            first: None,
            arrivals: Arrivals::default(),
            run: None,
            previous: None,
            missing: VecDeque::new(),
            reported: (0, 0),
            last_report: None,
            first_ns: None,
            key_frame_ns: None,
        }
    }

    /// Tells whether there are gaps to be asked for.
    pub(crate) fn is_audio(&self) -> bool {
        self.audio_bytes.is_some()
    }

    /// Judges a packet; `sent` counts what left by flow.
    pub(crate) fn take(&mut self, packet: &Packet<'_>, now_ns: u64, sent: &[u64], tally: &mut Tally) {
        self.arrive(
            packet.sequence_number(),
            packet.payload(),
            Some(now_ns),
            now_ns,
            sent,
            tally,
        );
    }

    /// Judges a packet that was sent again.
    pub(crate) fn take_repair(&mut self, payload: &[u8], now_ns: u64, sent: &[u64], tally: &mut Tally) {
        // Without a payload it is a probe for bandwidth.
        if let Some((number, payload)) = voex_rtp::rtx::unwrap(payload) {
            self.arrive(number, payload, None, now_ns, sent, tally);
        }
    }

    fn arrive(
        &mut self,
        sequence: u16,
        payload: &[u8],
        mut timed_ns: Option<u64>,
        now_ns: u64,
        sent: &[u64],
        tally: &mut Tally,
    ) {
        let before = self.numbers.newest();
        let number = self.numbers.unwrap(sequence);
        let is_behind_gap = self.first.is_some() && self.arrivals.end() != number;
        match self.arrivals.arrive(number) {
            Arrival::Duplicate => {
                // A server may send again what came in the end.
                tally.faults.duplicated += u64::from(timed_ns.is_some());
                return;
            }
            Arrival::Reordered => {
                let asked = self.missing.iter().position(|missing| missing.number == number);
                let missing = asked.and_then(|at| self.missing.remove(at));
                if timed_ns.is_none() || missing.is_some_and(|missing| missing.times > 0) {
                    tally.recovered += 1;
                    timed_ns = None;
                } else {
                    tally.faults.reordered += 1;
                }
            }
            Arrival::InOrder | Arrival::Unsent => {
                if let Some(before) = before {
                    self.note_gap(before + 1..number, now_ns);
                }
            }
        }
        let first = self.first.get_or_insert(number);
        *first = number.min(*first);
        let found = match self.audio_bytes {
            Some(bytes) => media::read_audio(payload, bytes),
            None => media::read_video(payload),
        };
        match found {
            None => tally.faults.corrupt += 1,
            Some(found) if !self.is_expected(&found, sent) => tally.faults.misrouted += 1,
            Some(found) => {
                self.follow(&found, number, is_behind_gap, tally);
                self.first_ns.get_or_insert(now_ns);
                if found.starts_key_frame {
                    self.key_frame_ns.get_or_insert(now_ns);
                }
                tally.faults.early += u64::from(!self.is_audio() && self.key_frame_ns.is_none());
                tally.delivered += 1;
                tally.bytes += payload.len() as u64;
                if let Some(now_ns) = timed_ns {
                    tally.latencies.record(now_ns.saturating_sub(found.stamp.sent_ns));
                }
            }
        }
    }

    fn is_expected(&self, found: &Found, sent: &[u64]) -> bool {
        let stamp = found.stamp;
        self.flows.contains(&stamp.flow) && stamp.sequence < sent[stamp.flow as usize]
    }

    /// Compares the number in the flow with the sequence number: the two go on side by side, until the server changes
    /// to another encoding, which it may do at a key frame.
    fn follow(&mut self, found: &Found, number: u64, is_behind_gap: bool, tally: &mut Tally) {
        let stamp = found.stamp;
        let offset = stamp.sequence as i64 - number as i64;
        if self.flows.len() == 3 {
            tally.layers[(stamp.flow - self.flows.start) as usize] += 1;
        }
        let fits = |run: &Run| run.flow == stamp.flow && run.offset == offset;
        match &mut self.run {
            Some(run) if fits(run) => run.newest = run.newest.max(stamp.sequence),
            _ if self.previous.as_ref().is_some_and(fits) => {}
            Some(run) if run.flow == stamp.flow => {
                tally.faults.renumbered += 1;
                run.offset = offset;
                run.newest = run.newest.max(stamp.sequence);
            }
            _ => {
                tally.switches += u64::from(self.run.is_some());
                // What comes in front of the first key frame is no use, and no harm. Behind a gap the packet that starts
                // a key frame may only be late.
                let is_decodable = self.run.is_none() || found.starts_key_frame || is_behind_gap;
                tally.faults.undecodable += u64::from(!is_decodable);
                self.previous = self.run.replace(Run {
                    flow: stamp.flow,
                    offset,
                    newest: stamp.sequence,
                });
            }
        }
    }

    fn note_gap(&mut self, gap: Range<u64>, now_ns: u64) {
        if self.is_audio() {
            return;
        }
        for number in gap.rev().take(MISSING_MAX).collect::<Vec<_>>().into_iter().rev() {
            if self.missing.len() == MISSING_MAX {
                self.missing.pop_front();
            }
            self.missing.push_back(Missing {
                number,
                due_ns: now_ns + ASK_AFTER_NS,
                times: 0,
            });
        }
    }

    /// Gives the sequence numbers that are to be asked for now, in order.
    pub(crate) fn ask_again(&mut self, now_ns: u64) -> Vec<u16> {
        let mut due = Vec::new();
        self.missing.retain_mut(|missing| {
            if missing.due_ns <= now_ns {
                due.push(missing.number as u16);
                missing.due_ns = now_ns + ASK_AGAIN_NS;
                missing.times += 1;
            }
            missing.times < ASK_TIMES
        });
        due
    }

    /// Gives how many packets between the first and the newest have not arrived.
    pub(crate) fn gaps(&self) -> u64 {
        self.expected() - self.arrivals.count()
    }

    /// Gives how many packets that left after the newest that arrived are missing, once nothing is under way any more.
    pub(crate) fn tail(&self, sent: &[u64]) -> u64 {
        self.run
            .map_or(0, |run| sent[run.flow as usize].saturating_sub(run.newest + 1))
    }

    fn expected(&self) -> u64 {
        self.first.map_or(0, |first| self.arrivals.end() - first)
    }

    /// Takes note of a report of the server.
    pub(crate) fn note_report(&mut self, info: &SenderInfo, now_ns: u64) {
        self.last_report = Some(((info.ntp >> 16) as u32, now_ns));
    }

    /// Reports to the server; `None` before anything arrived.
    pub(crate) fn block(&mut self, now_ns: u64) -> Option<ReportBlock> {
        self.first?;
        let (expected, arrived) = (self.expected(), self.arrivals.count());
        let expected_since = expected - self.reported.0;
        let lost_since = expected_since.saturating_sub(arrived - self.reported.1);
        self.reported = (expected, arrived);
        let (last_sr, delay_since_last_sr) = match self.last_report {
            Some((ntp, at_ns)) => (ntp, ((u128::from(now_ns - at_ns) << 16) / 1_000_000_000) as u32),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (256 * lost_since / expected_since.max(1)).min(255) as u8,
            lost: i32::try_from(expected - arrived).unwrap_or(i32::MAX),
            // The numbers begin one cycle up.
            highest_sequence: (self.arrivals.end() - 1 - 0x1_0000) as u32,
            jitter: 0,
            last_sr,
            delay_since_last_sr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::media::Frame;
    use super::*;
    use crate::payload::Stamp;

    const SENT: [u64; 4] = [1000; 4];

    fn audio(flow: u32, sequence: u64) -> Vec<u8> {
        let mut payload = vec![0; 60];
        let stamp = Stamp {
            flow,
            sequence,
            sent_ns: 5,
        };
        media::write_audio(&mut payload, &stamp);
        payload
    }

    fn video(flow: u32, sequence: u64, is_key: bool) -> Vec<u8> {
        let mut payload = vec![0; 200];
        let frame = Frame {
            is_key,
            picture_id: 1,
            tl0: 0,
            size: (640, 360),
        };
        let stamp = Stamp {
            flow,
            sequence,
            sent_ns: 5,
        };
        media::write_video(&mut payload, frame, true, &stamp);
        payload
    }

    /// Lets (sequence number, payload) pairs arrive.
    fn arrive(inflow: &mut Inflow, packets: &[(u16, Vec<u8>)]) -> Tally {
        let mut tally = Tally::default();
        for (sequence, payload) in packets {
            inflow.arrive(*sequence, payload, Some(10), 10, &SENT, &mut tally);
        }
        tally
    }

    fn hearing() -> Inflow {
        Inflow::new(7, None, 1..2, Some(60))
    }

    fn seeing() -> Inflow {
        Inflow::new(7, Some(8), 0..3, None)
    }

    #[test]
    fn what_arrives_in_order_over_the_wrap_is_delivered_without_gaps() {
        let mut inflow = hearing();
        let packets: Vec<_> = (0..10)
            .map(|n| (65_530u16.wrapping_add(n), audio(1, n.into())))
            .collect();
        let tally = arrive(&mut inflow, &packets);
        assert_eq!((tally.delivered, tally.faults), (10, Default::default()));
        assert_eq!((inflow.gaps(), inflow.tail(&SENT)), (0, 990));
    }

    #[test]
    fn gaps_duplicates_and_strangers_are_told_apart() {
        let mut inflow = hearing();
        let mut damaged = audio(1, 5);
        damaged[40] ^= 1;
        let packets = [
            (100, audio(1, 0)),
            (103, audio(1, 3)),
            (103, audio(1, 3)),
            (102, audio(1, 2)),
            (104, audio(2, 4)),
            (105, damaged),
            (106, audio(1, 1_000_000)),
        ];
        let tally = arrive(&mut inflow, &packets);
        let faults = tally.faults;
        assert_eq!(
            (faults.duplicated, faults.reordered, faults.misrouted, faults.corrupt),
            (1, 1, 2, 1)
        );
        assert_eq!(inflow.gaps(), 1, "101 is missing");
        assert!(!faults.content_is_right());
    }

    #[test]
    fn a_server_that_hides_a_loss_by_its_numbers_is_found_out() {
        let mut inflow = hearing();
        let tally = arrive(&mut inflow, &[(1, audio(1, 1)), (2, audio(1, 3))]);
        assert_eq!(tally.faults.renumbered, 1);
    }

    #[test]
    fn an_encoding_is_changed_at_a_key_frame_only() {
        let mut inflow = seeing();
        let good = [
            (1, video(0, 9, true)),
            (2, video(0, 10, false)),
            (3, video(2, 50, true)),
        ];
        let tally = arrive(&mut inflow, &good);
        assert_eq!((tally.switches, tally.layers), (1, [2, 0, 1]));
        assert!(tally.faults.content_is_right());
        let tally = arrive(&mut inflow, &[(4, video(1, 70, false))]);
        assert_eq!(tally.faults.undecodable, 1);
    }

    #[test]
    fn what_comes_in_front_of_the_first_key_frame_is_counted_and_not_wrong() {
        let tally = arrive(
            &mut seeing(),
            &[
                (1, video(0, 9, false)),
                (2, video(0, 10, true)),
                (3, video(0, 11, false)),
            ],
        );
        assert_eq!(tally.faults.early, 1);
        assert!(tally.faults.content_is_right());
    }

    #[test]
    fn a_gap_is_asked_for_until_it_is_filled() {
        let mut inflow = seeing();
        arrive(&mut inflow, &[(1, video(0, 1, true)), (4, video(0, 4, false))]);
        assert_eq!(inflow.ask_again(10), [] as [u16; 0], "it may only be late");
        assert_eq!(inflow.ask_again(10 + ASK_AFTER_NS), [2, 3]);
        let mut tally = Tally::default();
        let repair = [&[0, 2][..], &video(0, 2, false)].concat();
        inflow.take_repair(&repair, 10, &SENT, &mut tally);
        assert_eq!((tally.recovered, tally.delivered), (1, 1));
        assert_eq!(tally.latencies.count(), 0, "a repair tells nothing of latency");
        let later = 10 + ASK_AFTER_NS + ASK_AGAIN_NS;
        assert_eq!(inflow.ask_again(later), [3]);
        inflow.take_repair(&repair, 10, &SENT, &mut tally);
        assert_eq!(
            tally.faults.duplicated, 0,
            "a server may send again what came in the end"
        );
        assert_eq!(inflow.gaps(), 1);
    }

    #[test]
    fn a_report_tells_loss_since_the_last_one_and_when_the_server_spoke() {
        let mut inflow = hearing();
        assert_eq!(inflow.block(0), None);
        arrive(&mut inflow, &[(10, audio(1, 0)), (13, audio(1, 3))]);
        let info = SenderInfo {
            ssrc: 7,
            ntp: 0x1234_5678_9abc_def0,
            rtp_timestamp: 0,
            packets: 0,
            octets: 0,
        };
        inflow.note_report(&info, 1_000_000_000);
        let block = inflow.block(1_500_000_000).unwrap();
        assert_eq!((block.fraction_lost, block.lost, block.highest_sequence), (128, 2, 13));
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x5678_9abc, 0x8000));
        assert_eq!(inflow.block(1_500_000_000).map(|block| block.fraction_lost), Some(0));
    }
}
