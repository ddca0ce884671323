//! Streams that go from one worker to another: a bounded ring for each ordered pair of workers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use voex_base::SocketId;
use voex_turn::ClientPath;

use super::id::{slot_of, stream_id};
use super::stream::Stream;
use super::table::{STREAM_IDLE_MAX, STREAMS_MAX, Streams};
use crate::metrics::{StreamEnd, StreamRefusal};
use crate::wake::Wake;

/// Streams that may be on their way between two workers; more are closed and counted.
pub const STREAM_MOVES_MAX: usize = 64;

/// A stream on its way, with what was read from it and not handled, and what waits to be written.
pub(crate) struct Moving(Box<Stream>);

/// A stream that arrived.
pub(crate) struct Arrival {
    pub(crate) id: SocketId,
    pub(crate) path: ClientPath,
    pub(crate) client: SocketAddr,
}

/// Writing end, at the worker that the kernel gave the stream to.
pub(crate) struct MoveSender {
    ring: Producer<Moving>,
    wake: Arc<Wake>,
}

/// Reading end, at the worker that has what the client asked for.
pub(crate) struct MoveReceiver {
    ring: Consumer<Moving>,
}

/// Makes the way to the worker behind `wake`.
pub(crate) fn moves(wake: Arc<Wake>) -> (MoveSender, MoveReceiver) {
    let (producer, consumer) = RingBuffer::new(STREAM_MOVES_MAX);
    (MoveSender { ring: producer, wake }, MoveReceiver { ring: consumer })
}

impl MoveSender {
    fn push(&mut self, moving: Moving) -> Result<(), Moving> {
        self.ring.push(moving).map_err(|PushError::Full(moving)| moving)?;
        self.wake.notify();
        Ok(())
    }
}

impl MoveReceiver {
    pub(crate) fn pop(&mut self) -> Option<Moving> {
        self.ring.pop().ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

impl Streams {
    /// Sends a stream to another worker, for which this one knows it no more. It is closed when the way there is full.
    pub(crate) fn depart(&mut self, id: SocketId, way: Option<&mut MoveSender>) {
        let Some(slot) = slot_of(id).filter(|_| self.get(id).is_some_and(|stream| stream.ending.is_none())) else {
            return;
        };
        let Some(way) = way else {
            return self.end(id, StreamEnd::NotMoved);
        };
        let mut stream = self.forget(slot);
        stream.unwatch(&self.epoll);
        self.metrics.streams_moved.inc();
        if way.push(Moving(Box::new(stream))).is_err() {
            self.metrics.streams_ended.of(StreamEnd::NotMoved).inc();
        }
    }

    /// Takes a stream in that another worker sent; `None` when it must be closed.
    pub(crate) fn arrive(&mut self, moving: Moving, now: Instant) -> Option<Arrival> {
        let mut stream = *moving.0;
        let client = stream.client;
        let refusal = if self.streams.len() >= STREAMS_MAX {
            Some(StreamRefusal::TooMany)
        } else if !self.sources.add(client.ip()) {
            Some(StreamRefusal::TooManyFromSource)
        } else {
            None
        };
        // Only what is open has been handled anywhere.
        let path = stream.path();
        let (None, Some(path)) = (refusal, path) else {
            self.refuse(refusal.unwrap_or(StreamRefusal::NoResources));
            return None;
        };
        let slot = self.streams.vacant_key();
        self.generation += 1;
        let id = stream_id(self.worker, self.generation, slot);
        stream.settle(id, now);
        self.queued_bytes += stream.queued();
        self.streams.insert(stream);
        self.schedule(slot, now + STREAM_IDLE_MAX);
        self.streams[slot].watch(&self.epoll);
        self.metrics.sockets.add(1);
        self.metrics.streams_of(path.protocol).add(1);
        self.touch(id);
        Some(Arrival { id, path, client })
    }
}
