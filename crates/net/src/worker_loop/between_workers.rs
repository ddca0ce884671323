//! What the loop takes from other workers, and tells them.

use super::{Clock, WorkerLoop};

/// Packets taken from each other worker in one pass.
const CROSSED_PER_PASS: usize = 128;

impl WorkerLoop {
    /// Takes what other workers have queued; gives how much that was.
    pub(super) fn take_crossed(&mut self, clock: Clock) -> u32 {
        let mut found = 0;
        for (by, crossing) in &mut self.crossings_in {
            for _ in 0..CROSSED_PER_PASS {
                let Some(arrival) = crossing.pop(&mut self.crossed) else {
                    break;
                };
                let packet = &mut self.crossed[..arrival.len];
                self.worker.handle_crossed(
                    clock.now,
                    clock.wall,
                    *by,
                    arrival.what,
                    arrival.from,
                    arrival.to,
                    packet,
                    &mut self.egress,
                );
                found += 1;
            }
        }
        found
    }
}
