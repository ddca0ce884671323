//! Where state machines put the datagrams they want sent.

use std::net::SocketAddr;

use crate::SocketId;

/// A bounded arena of outgoing datagrams.
///
/// A state machine reserves room, writes a packet in place and commits it; the worker loop groups what was committed
/// by socket and destination and sends runs of equal size as one GSO message. An implementation that is full sends
/// what it holds and goes on, so `reserve` always succeeds and never allocates on the media path.
///
/// Datagrams with one socket and destination leave in the order of their commits.
pub trait Outbox {
    /// Gives at least `len_max` writable bytes (`len_max` at most [`DATAGRAM_BYTES_MAX`](crate::DATAGRAM_BYTES_MAX)).
    /// Their content is unspecified. A second `reserve` without a `commit` takes the first one back.
    fn reserve(&mut self, len_max: usize) -> &mut [u8];

    /// Queues the first `len` bytes of the last reservation.
    fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize);

    /// Queues a datagram made of `head` and `body`, copied.
    fn send(&mut self, socket: SocketId, to: SocketAddr, head: &[u8], body: &[u8]) {
        let len = head.len() + body.len();
        let room = self.reserve(len);
        room[..head.len()].copy_from_slice(head);
        room[head.len()..len].copy_from_slice(body);
        self.commit(socket, to, len);
    }
}

/// An outbox for tests and simulations: keeps every datagram as it was committed.
#[derive(Default)]
pub struct VecOutbox {
    /// What was committed, in order.
    pub sent: Vec<(SocketId, SocketAddr, Vec<u8>)>,
    room: Vec<u8>,
}

impl Outbox for VecOutbox {
    fn reserve(&mut self, len_max: usize) -> &mut [u8] {
        self.room.resize(len_max, 0xee);
        &mut self.room
    }

    fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize) {
        self.sent.push((socket, to, self.room[..len].to_vec()));
    }
}
