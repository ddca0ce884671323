//! What a worker needs of the loop around it to let packets out.

use std::net::SocketAddr;

use voex_base::{Outbox, SocketId, WorkerId};

/// What passes from one worker to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crossed {
    /// A packet between two addresses of this host's media plane.
    HandOver,
    /// What a client sent to a TURN listener, for the worker that has its allocation.
    FromClient,
    /// What the client sends to the listener belongs to the sender of this from now on.
    Claim,
    /// It no longer does.
    Release,
    /// A message between the conference servers of two workers about a track that both have; without addresses.
    Piped,
}

/// An outbox that can also pass packets to other workers.
pub trait Egress: Outbox {
    /// Gives the bytes of the last reservation, as they were written; empty after a commit.
    fn reserved(&self) -> &[u8];

    /// Sends a packet with the DF bit: a path that it does not fit refuses it instead of cutting it (RFC 8656 §14).
    fn send_whole(&mut self, socket: SocketId, to: SocketAddr, packet: &[u8]);

    /// Queues something for another worker, `from` and `to` being addresses of this host or a client's; false when the way
    /// there is full.
    fn cross(&mut self, worker: WorkerId, what: Crossed, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> bool;
}
