//! One direction between two endpoints, through the server.

use crate::framing::Framing;
use crate::tracker::{Arrival, Tracker};

/// A flow that is full and hears nothing for so long takes what is under way for lost.
const PATIENCE_NS: u64 = 50_000_000;

/// Packets from one endpoint to another.
#[derive(Debug)]
pub struct Flow {
    /// Index of the endpoint that sends.
    pub from: usize,
    /// Index of the endpoint that receives.
    pub to: usize,
    /// How the sender wraps payloads.
    pub framing: Framing,
    /// Whether anybody expects its packets to arrive.
    pub is_expected: bool,
    pub(crate) tracker: Tracker,
    /// Of the missing packets, those that no longer count as under way.
    written_off: u64,
    /// Written-off packets have lower numbers than this.
    written_off_below: u64,
    /// When something was last sent or arrived.
    active_ns: u64,
}

impl Flow {
    /// Makes a flow that has sent nothing.
    pub fn new(from: usize, to: usize, framing: Framing) -> Self {
        Self {
            from,
            to,
            framing,
            is_expected: true,
            tracker: Tracker::default(),
            written_off: 0,
            written_off_below: 0,
            active_ns: 0,
        }
    }

    /// Notes that a shot leaves.
    pub(crate) fn touch(&mut self, now_ns: u64) {
        self.active_ns = now_ns;
    }

    /// Notes the arrival of a number.
    pub(crate) fn arrive(&mut self, sequence: u64, now_ns: u64) -> Arrival {
        let arrival = self.tracker.arrive(sequence);
        let is_first = matches!(arrival, Arrival::InOrder | Arrival::Reordered);
        if is_first && sequence < self.written_off_below {
            self.written_off -= 1;
        }
        self.active_ns = now_ns;
        arrival
    }

    /// Tells whether `burst` more packets may be under way when `max` may be in all.
    pub(crate) fn has_room(&mut self, burst: usize, max: usize, now_ns: u64) -> bool {
        let missing = self.tracker.missing();
        if missing - self.written_off + burst as u64 <= max as u64 {
            return true;
        }
        if now_ns.saturating_sub(self.active_ns) > PATIENCE_NS {
            self.written_off = missing;
            self.written_off_below = self.tracker.sent();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_flow_waits_for_arrivals_and_gives_up_on_the_lost() {
        let mut flow = Flow::new(0, 1, Framing::Raw);
        for _ in 0..2 {
            flow.tracker.send();
        }
        assert!(!flow.has_room(1, 2, 0));
        assert_eq!(flow.arrive(0, 10), Arrival::InOrder);
        assert!(flow.has_room(1, 2, 10));
        flow.tracker.send();
        assert!(!flow.has_room(1, 2, 10 + PATIENCE_NS));
        assert!(flow.has_room(1, 2, 11 + PATIENCE_NS));
    }

    #[test]
    fn what_arrives_after_it_was_given_up_does_not_open_the_flow_further() {
        let mut flow = Flow::new(0, 1, Framing::Raw);
        for _ in 0..2 {
            flow.tracker.send();
        }
        assert!(flow.has_room(2, 2, PATIENCE_NS + 1));
        for _ in 0..2 {
            flow.tracker.send();
        }
        flow.touch(PATIENCE_NS + 1);
        assert!(!flow.has_room(1, 2, PATIENCE_NS + 2));
        assert_eq!(flow.arrive(0, PATIENCE_NS + 2), Arrival::InOrder);
        assert!(
            !flow.has_room(1, 2, PATIENCE_NS + 2),
            "packet 0 had not counted any more"
        );
        assert_eq!(flow.arrive(2, PATIENCE_NS + 2), Arrival::InOrder);
        assert!(flow.has_room(1, 2, PATIENCE_NS + 2));
    }
}
