//! What the loop does with streams: between the table that has them and the worker that serves them.

use std::time::Instant;

use voex_base::{FiveTuple, SocketId};
use voex_worker::{Role, Worker};

use super::{Clock, LoopEgress, WorkerLoop};
use crate::streams::Arrived;
use crate::sys::ReadyEvent;

/// Streams taken from each other worker in one pass.
const MOVED_PER_PASS: usize = 8;

impl WorkerLoop {
    /// Writes on to a stream that has room again, and takes what it has sent; gives how much that was.
    pub(super) fn serve_stream(&mut self, id: SocketId, event: ReadyEvent, clock: Clock) -> u32 {
        if event.is_writable {
            self.egress.streams.writable(id);
        }
        if self.egress.streams.is_data(id) {
            return self.serve_data(id, event, clock);
        }
        let Some(arrived) = self.egress.streams.receive(id, &mut self.stream_room, clock.now) else {
            return 0;
        };
        if let Some(path) = arrived.opened {
            self.worker.add_socket(id, Role::TurnClient(path, arrived.client));
        }
        let bytes = self.stream_room.messages();
        handle_messages(&mut self.worker, &mut self.egress, id, arrived, bytes, clock)
    }

    /// Takes in streams of which other workers found that they belong here; gives how many messages these brought.
    pub(super) fn take_moved(&mut self, clock: Clock) -> u32 {
        let mut found = 0;
        for way in &mut self.moves_in {
            for _ in 0..MOVED_PER_PASS {
                let Some(moving) = way.pop() else { break };
                let Some(arrival) = self.egress.streams.arrive(moving, clock.now) else {
                    continue;
                };
                let role = Role::TurnClient(arrival.path, arrival.client);
                self.worker.add_socket(arrival.id, role);
                if let Some((arrived, mut unread)) = self.egress.streams.resume(arrival.id) {
                    let (worker, egress) = (&mut self.worker, &mut self.egress);
                    found += handle_messages(worker, egress, arrival.id, arrived, &mut unread, clock);
                }
            }
        }
        found
    }

    /// Has the worker forget streams that ended; their allocations end with them.
    pub(super) fn forget_ended_streams(&mut self) {
        while let Some(id) = self.egress.streams.poll_ended() {
            self.worker.remove_socket(id);
            // What the end of an allocation leaves to do waits for the next pass.
            self.outputs_left = true;
        }
    }

    pub(super) fn expire_streams(&mut self, now: Instant) {
        if self.egress.streams.next_deadline().is_some_and(|at| at <= now) {
            let worker = &self.worker;
            self.egress.streams.expire(now, |client| worker.serves(client));
        }
    }
}

/// Cuts what a stream has sent into messages for the worker; gives how many these were.
fn handle_messages(
    worker: &mut Worker,
    egress: &mut LoopEgress,
    id: SocketId,
    mut arrived: Arrived,
    bytes: &mut [u8],
    clock: Clock,
) -> u32 {
    let client = arrived.client;
    let taken = arrived.framer.take(bytes, |message| {
        worker.handle_datagram(clock.now, clock.wall, id, client, message, egress);
        worker.departure(id)
    });
    let messages = taken.as_ref().map_or(0, |framed| framed.messages);
    egress.streams.took(id, arrived, taken);
    if egress.streams.is_stranger(id) && worker.serves(&FiveTuple { socket: id, client }) {
        egress.streams.is_known(id);
    }
    messages
}
