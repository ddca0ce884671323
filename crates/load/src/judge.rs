//! What arrived, against what was sent.

use crate::figures::Faults;
use crate::flow::Flow;
use crate::histogram::Histogram;
use crate::payload::Stamp;
use crate::tracker::Arrival;

/// Counts packets and judges each one that arrives.
#[derive(Debug)]
pub(crate) struct Judge {
    /// Packets that left and should arrive.
    pub(crate) sent: u64,
    /// Packets that left for clients that do not read.
    pub(crate) unexpected: u64,
    /// Packets that arrived for the first time, whole and where they belong.
    pub(crate) arrived: u64,
    /// What happened to others.
    pub(crate) faults: Faults,
    /// How long those that arrived were under way.
    pub(crate) latencies: Histogram,
    payload_bytes: usize,
}

impl Judge {
    /// Expects payloads of so many bytes.
    pub(crate) fn new(payload_bytes: usize) -> Self {
        Self {
            sent: 0,
            unexpected: 0,
            arrived: 0,
            faults: Faults::default(),
            latencies: Histogram::default(),
            payload_bytes,
        }
    }

    /// Judges what arrived at endpoint `at`; `None` is a message without a payload.
    pub(crate) fn judge(&mut self, flows: &mut [Flow], at: usize, payload: Option<&[u8]>, now_ns: u64) {
        let Some(payload) = payload else {
            self.faults.foreign += 1;
            return;
        };
        let Some(stamp) = Stamp::read(payload, self.payload_bytes) else {
            self.faults.corrupt += 1;
            return;
        };
        let Some(flow) = flows.get_mut(stamp.flow as usize).filter(|flow| flow.to == at) else {
            self.faults.misrouted += 1;
            return;
        };
        match flow.arrive(stamp.sequence, now_ns) {
            Arrival::InOrder => {}
            Arrival::Reordered => self.faults.reordered += 1,
            Arrival::Duplicate => {
                self.faults.duplicated += 1;
                return;
            }
            Arrival::Unsent => {
                self.faults.misrouted += 1;
                return;
            }
        }
        self.arrived += 1;
        self.latencies.record(now_ns.saturating_sub(stamp.sent_ns));
    }
}
