//! What the loop does with DTLS clients: between their associations and the worker that serves them.

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::{FiveTuple, SocketId};
use voex_worker::{Role, Worker};

use super::{Clock, LoopEgress, Takes, WorkerLoop};
use crate::dtls::Opened;

impl WorkerLoop {
    /// Says what a socket takes.
    pub(super) fn taken_on(&self, role: Role) -> Takes {
        match role {
            Role::TurnListener(_) => Takes {
                plain: self.serves.udp,
                dtls: self.serves.dtls,
            },
            _ => Takes {
                plain: true,
                dtls: false,
            },
        }
    }

    /// Goes on with handshakes of DTLS clients, after the media of this pass; gives how many.
    pub(super) fn shake_hands(&mut self, now: Instant) -> u32 {
        let LoopEgress {
            arena, associations, ..
        } = &mut self.egress;
        let steps = associations.shake_hands(now, arena);
        self.welcome_opened();
        steps
    }

    /// Has the worker know clients whose handshake is over.
    fn welcome_opened(&mut self) {
        while let Some(Opened { id, client, path }) = self.egress.associations.poll_opened() {
            self.worker.add_socket(id, Role::TurnClient(path, client));
        }
    }

    pub(super) fn expire_associations(&mut self, now: Instant) {
        let LoopEgress {
            arena, associations, ..
        } = &mut self.egress;
        if associations.next_deadline().is_some_and(|at| at <= now) {
            let worker = &self.worker;
            associations.expire(now, |client| worker.serves(client), arena);
            self.welcome_opened();
        }
    }

    /// Tells DTLS clients that nothing follows, before the loop ends.
    pub(super) fn close_associations(&mut self) {
        let LoopEgress {
            arena, associations, ..
        } = &mut self.egress;
        associations.close_all(arena);
    }

    /// Has the worker forget associations that ended; their allocations end with them.
    pub(super) fn forget_ended_associations(&mut self) {
        while let Some(id) = self.egress.associations.poll_ended() {
            self.worker.remove_socket(id);
            // What the end of an allocation leaves to do waits for the next pass.
            self.outputs_left = true;
        }
    }
}

/// Takes a DTLS datagram that came to a listener, and gives the worker the messages in it.
pub(super) fn handle_dtls(
    worker: &mut Worker,
    egress: &mut LoopEgress,
    (listener, client): (SocketId, SocketAddr),
    datagram: &[u8],
    room: &mut [u8],
    clock: Clock,
) {
    let LoopEgress {
        arena, associations, ..
    } = &mut *egress;
    let Some(id) = associations.receive(listener, client, datagram, clock.now, arena) else {
        return;
    };
    let mut unread = datagram;
    loop {
        let LoopEgress {
            arena, associations, ..
        } = &mut *egress;
        let Some(len) = associations.read(id, unread, room, clock.now, arena) else {
            break;
        };
        unread = &[];
        worker.handle_datagram(clock.now, clock.wall, id, client, &mut room[..len], egress);
    }
    if egress.associations.is_stranger(id) && worker.serves(&FiveTuple { socket: id, client }) {
        egress.associations.is_known(id);
    }
}
