//! What a worker needs of the loop around it to let packets out.

use std::net::SocketAddr;

use voex_base::{Outbox, SocketId, WorkerId};

/// An outbox that can also pass packets to other workers.
pub trait Egress: Outbox {
    /// Gives the bytes of the last reservation, as they were written; empty after a commit.
    fn reserved(&self) -> &[u8];

    /// Sends a packet with the DF bit: a path that it does not fit refuses it instead of cutting it (RFC 8656 §14).
    fn send_whole(&mut self, socket: SocketId, to: SocketAddr, packet: &[u8]);

    /// Queues a packet for the worker that owns `to`, as if it came from `from`; false when the way there is full.
    fn cross(&mut self, worker: WorkerId, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> bool;
}
