//! What the loop takes from other workers, and tells them.

use voex_base::{FiveTuple, WorkerId};

use super::{Clock, WorkerLoop};

/// Packets taken from each other worker in one pass.
const CROSSED_PER_PASS: usize = 128;

/// What another worker is to be told of a client that one of its listeners hears.
pub(super) struct Claim {
    pub(super) worker: WorkerId,
    pub(super) client: FiveTuple,
    pub(super) holds: bool,
}

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

    /// Passes claims on, in order; false when some have to wait for room.
    pub(super) fn pass_claims(&mut self) -> bool {
        while let Some(Claim { worker, client, holds }) = self.claims.front() {
            if !self.worker.claim(*worker, *client, *holds, &mut self.egress) {
                return false;
            }
            self.claims.pop_front();
        }
        true
    }
}
