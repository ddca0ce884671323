//! Ids of streams, which are also what epoll reports of them.

use voex_base::{SocketId, WorkerId};

/// Marks the ids of streams; the rest is worker, generation and slot. What epoll reports of a stream is its id, so a
/// report for one that ended in the same pass finds nobody.
const STREAM: u64 = 1 << 63;
/// Marks what epoll reports of listeners; the rest is an index.
const LISTENER: u64 = 1 << 62;
const WORKER_SHIFT: u32 = 54;
const SLOT_BITS: u32 = 20;
const GENERATION_MASK: u64 = (1 << (WORKER_SHIFT - SLOT_BITS)) - 1;

/// Makes the id of the stream in a slot; `generation` counts the streams of a worker.
pub(super) fn stream_id(worker: WorkerId, generation: u64, slot: usize) -> SocketId {
    let generation = (generation & GENERATION_MASK) << SLOT_BITS;
    SocketId(STREAM | u64::from(worker.0) << WORKER_SHIFT | generation | slot as u64)
}

/// Gives the slot of a stream.
pub(super) fn slot_of(id: SocketId) -> Option<usize> {
    is_stream(id.0).then_some((id.0 & ((1 << SLOT_BITS) - 1)) as usize)
}

/// Tells whether an id, or a token of epoll, is that of a stream.
#[inline]
pub(crate) fn is_stream(id: u64) -> bool {
    id & STREAM != 0
}

/// Makes the token of a listener.
pub(super) fn listener_token(index: usize) -> u64 {
    LISTENER | index as u64
}

/// Gives the index of a listener.
pub(super) fn listener_of(token: u64) -> usize {
    (token & !LISTENER) as usize
}

/// Tells whether a token of epoll is that of a listener.
pub(crate) fn is_listener(token: u64) -> bool {
    token & (STREAM | LISTENER) == LISTENER
}
