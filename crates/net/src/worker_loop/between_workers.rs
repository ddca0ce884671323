//! What the loop takes from other workers, and tells them.

use std::collections::VecDeque;

use voex_base::{FiveTuple, WorkerId};

use super::{Clock, WorkerLoop};
use crate::metrics::DropReason;

/// Packets taken from each other worker in one pass.
const CROSSED_PER_PASS: usize = 128;

/// Claims and releases that may wait for the ways to other workers: as many as all allocations of a worker have paths.
const CLAIMS_WAITING_MAX: usize = 32_768;

/// What another worker is to be told of a client that one of its listeners hears.
pub(super) struct Claim {
    pub(super) worker: WorkerId,
    pub(super) client: FiveTuple,
    pub(super) holds: bool,
}

/// Claims that wait for room, in order.
#[derive(Default)]
pub(super) struct Claims(VecDeque<Claim>);

impl Claims {
    /// Appends one; false when as many wait as may, and it is lost.
    fn push(&mut self, claim: Claim) -> bool {
        let has_room = self.0.len() < CLAIMS_WAITING_MAX;
        if has_room {
            self.0.push_back(claim);
        }
        has_room
    }
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

    /// Has a claim wait for its turn. One that is lost is made good when its client sends again.
    pub(super) fn queue_claim(&mut self, claim: Claim) {
        if !self.claims.push(claim) {
            self.metrics.dropped.of(DropReason::ClaimsFull).inc();
        }
    }

    /// Passes claims on, in order; false when some have to wait for room.
    pub(super) fn pass_claims(&mut self) -> bool {
        while let Some(Claim { worker, client, holds }) = self.claims.0.front() {
            if !self.worker.claim(*worker, *client, *holds, &mut self.egress) {
                return false;
            }
            self.claims.0.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use voex_base::SocketId;

    use super::*;

    #[test]
    fn claims_wait_up_to_their_bound_and_one_that_is_passed_on_makes_room() {
        let claim = || Claim {
            worker: WorkerId(1),
            client: FiveTuple {
                socket: SocketId(7),
                client: ([192, 0, 2, 1], 5_000).into(),
            },
            holds: true,
        };
        let mut claims = Claims::default();
        assert!((0..CLAIMS_WAITING_MAX).all(|_| claims.push(claim())));
        assert!(!claims.push(claim()));
        claims.0.pop_front();
        assert!(claims.push(claim()) && !claims.push(claim()));
    }
}
