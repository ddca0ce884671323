//! What the loop does with streams: between the table that has them and the worker that serves them.

use std::time::Instant;

use voex_base::{FiveTuple, SocketId};
use voex_worker::Role;

use super::{Clock, WorkerLoop};

impl WorkerLoop {
    /// Writes on to a stream that has room again, and takes what it has sent; gives how many messages that were.
    pub(super) fn serve_stream(&mut self, id: SocketId, is_writable: bool, clock: Clock) -> u32 {
        if is_writable {
            self.egress.streams.writable(id);
        }
        let Some(mut arrived) = self.egress.streams.receive(id, &mut self.stream_room, clock.now) else {
            return 0;
        };
        let client = arrived.client;
        if let Some(path) = arrived.opened {
            self.worker.add_socket(id, Role::TurnClient(path, client));
        }
        let (worker, egress) = (&mut self.worker, &mut self.egress);
        let taken = arrived.framer.take(self.stream_room.messages(), |message| {
            worker.handle_datagram(clock.now, clock.wall, id, client, message, egress);
        });
        let messages = *taken.as_ref().unwrap_or(&0);
        egress.streams.took(id, arrived, taken);
        if egress.streams.is_stranger(id) && worker.serves(&FiveTuple { socket: id, client }) {
            egress.streams.is_known(id);
        }
        messages
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
