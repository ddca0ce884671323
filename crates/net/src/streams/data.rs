//! Streams that have become client data connections (RFC 6062 §4.5): bytes instead of messages.

use std::time::Instant;

use voex_base::SocketId;

use super::id::slot_of;
use super::stream::{Heard, Room};
use super::table::{STREAM_QUEUES_BYTES_MAX, Streams};
use crate::metrics::StreamEnd;
use crate::peers::{Ending, LINGER_MAX};

/// Bytes that may wait for the reader of a data connection; then its peer is not read until half of them are written.
/// One read more may come on top.
pub const DATA_QUEUE_BYTES_MAX: usize = 64 << 10;

/// What a stream is besides, when it carries bytes.
#[derive(Debug)]
pub(super) struct Data {
    /// The peer is slow: the client is not read.
    is_paused: bool,
    /// A limit is reached: the client is not read.
    is_throttled: bool,
    /// What the client sent behind its request; no more than one read brought.
    first: Vec<u8>,
    /// The client has said that it sends no more.
    heard_end: bool,
    pub(super) ending: Ending,
    /// The end of the TLS session stands behind what waits.
    pub(super) is_end_sealed: bool,
    /// The peer was stopped from being read.
    is_full: bool,
    /// Why it ends, when what waits was written; what its client says is not heard any more.
    pub(super) closing: Option<StreamEnd>,
}

/// What the client of a data connection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DataHeard {
    /// Nothing that anybody waits for.
    Nothing,
    /// It said what is in the room.
    Bytes,
    /// It said what is in the room, and has no more to say.
    LastBytes,
    /// It has no more to say.
    End,
}

/// What came of writing to a data connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DataNews {
    /// There is room again for what its peer says.
    Drained,
    /// The client was told that nothing follows.
    EndSaid,
}

impl Data {
    /// Tells whether its client is to be read.
    pub(super) fn is_read(&self) -> bool {
        let is_stopped = self.is_paused || self.is_throttled;
        !self.heard_end && (!is_stopped || self.closing.is_some())
    }
}

impl Streams {
    /// Makes a stream a data connection; false when the stream is no more, or ends.
    pub(crate) fn begin_data(&mut self, id: SocketId) -> bool {
        let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot)) else {
            return false;
        };
        if stream.id != id || stream.ending.is_some() {
            return false;
        }
        stream.data = Some(Box::new(Data {
            is_paused: false,
            is_throttled: false,
            first: std::mem::take(&mut stream.framer).into_unread(),
            heard_end: stream.has_said_all,
            ending: Ending::Open,
            is_end_sealed: false,
            is_full: false,
            closing: None,
        }));
        stream.is_held = false;
        stream.watch(&self.epoll);
        true
    }

    /// Gives what the client of a data connection has sent behind its request, once, and whether that is all.
    pub(crate) fn take_first_data(&mut self, id: SocketId) -> (Vec<u8>, bool) {
        let data = self.get_mut(id).and_then(|stream| stream.data.as_mut());
        data.map(|data| (std::mem::take(&mut data.first), data.heard_end))
            .unwrap_or_default()
    }

    /// Tells whether a stream is a data connection.
    pub(crate) fn is_data(&self, id: SocketId) -> bool {
        self.get(id).is_some_and(|stream| stream.data.is_some())
    }

    /// Reads once from a data connection into `room`; what ends it by force is taken care of.
    pub(crate) fn receive_data(&mut self, id: SocketId, room: &mut Room, is_broken: bool, now: Instant) -> DataHeard {
        let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot)) else {
            return DataHeard::Nothing;
        };
        let Some(data) = stream
            .data
            .as_ref()
            .filter(|_| stream.id == id && stream.ending.is_none())
        else {
            return DataHeard::Nothing;
        };
        if !data.is_read() {
            let (is_lost, end) = (
                data.heard_end && data.ending != Ending::Said,
                data.closing.unwrap_or(StreamEnd::Broken),
            );
            match is_broken {
                // Nothing is left to read and nothing can be said.
                true if is_lost => self.end(id, end),
                true => stream.unwatch(&self.epoll),
                false => {}
            }
            return DataHeard::Nothing;
        }
        let is_closing = data.closing.is_some();
        let was_queued = stream.queued();
        let heard = stream.read(
            room,
            &self.beginnings,
            &mut self.sealed,
            &mut self.spares,
            &self.metrics,
        );
        stream.heard_at = now;
        // TLS may have something to say of its own.
        let queued = stream.queued() - was_queued;
        self.queued_bytes += queued;
        let heard = match heard {
            Heard::Nothing => return DataHeard::Nothing,
            Heard::Bytes => DataHeard::Bytes,
            Heard::LastBytes => DataHeard::LastBytes,
            Heard::End(StreamEnd::ClosedByClient) => DataHeard::End,
            Heard::End(end) => {
                self.end(id, end);
                return DataHeard::Nothing;
            }
        };
        if heard != DataHeard::Bytes
            && let Some(data) = &mut stream.data
        {
            data.heard_end = true;
            stream.watch(&self.epoll);
        }
        if queued > 0 || is_closing {
            self.touch(id);
        }
        if is_closing { DataHeard::Nothing } else { heard }
    }

    /// Queues what a peer said; it is written after the pass. False when enough waits, and the peer is to wait too.
    pub(crate) fn send_data(&mut self, id: SocketId, bytes: &[u8]) -> bool {
        let is_scarce = self.queued_bytes > STREAM_QUEUES_BYTES_MAX / 2;
        let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot)) else {
            return true;
        };
        let Some(data) = stream.data.as_mut().filter(|_| stream.id == id) else {
            return true;
        };
        if stream.ending.is_some() || data.closing.is_some() {
            return true;
        }
        stream.out.push_bytes(bytes, &mut self.spares);
        self.queued_bytes += bytes.len();
        let is_full = is_scarce || stream.out.len() >= DATA_QUEUE_BYTES_MAX;
        data.is_full |= is_full;
        self.touch(id);
        !is_full
    }

    /// Stops or goes on reading a data connection.
    pub(crate) fn pause_data(&mut self, id: SocketId, is_paused: bool) {
        if let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot))
            && stream.id == id
            && let Some(data) = &mut stream.data
        {
            data.is_paused = is_paused;
            stream.watch(&self.epoll);
        }
    }

    /// Stops or goes on reading a data connection as limits want it.
    pub(crate) fn throttle_data(&mut self, id: SocketId, is_throttled: bool) {
        if let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot))
            && stream.id == id
            && let Some(data) = &mut stream.data
        {
            data.is_throttled = is_throttled;
            stream.watch(&self.epoll);
        }
    }

    /// Tells the client of a data connection, behind what waits for it, that its peer has no more to say.
    pub(crate) fn finish_data(&mut self, id: SocketId) {
        if let Some(data) = self.get_mut(id).and_then(|stream| stream.data.as_mut())
            && data.ending == Ending::Open
        {
            data.ending = Ending::Wanted;
            self.touch(id);
        }
    }

    /// Ends a data connection once what waits for its client was written and the client has closed it too, or after
    /// [`LINGER_MAX`]. Until then what the client sends is taken and forgotten: to leave it unread would have the kernel
    /// throw away what the client has not read yet.
    pub(crate) fn close_data(&mut self, id: SocketId, end: StreamEnd, now: Instant) {
        self.finish_data(id);
        let Some(slot) = slot_of(id).filter(|_| self.is_data(id)) else {
            return;
        };
        let stream = &mut self.streams[slot];
        if let Some(data) = &mut stream.data {
            data.closing.get_or_insert(end);
        }
        stream.watch(&self.epoll);
        self.schedule(slot, now + LINGER_MAX);
        self.touch(id);
    }

    /// Tells whether the client of a data connection was told that nothing follows.
    pub(crate) fn is_end_said(&self, id: SocketId) -> bool {
        let data = self.get(id).and_then(|stream| stream.data.as_ref());
        data.is_some_and(|data| data.ending == Ending::Said)
    }

    /// Ends a data connection over which nothing is left to be said.
    pub(crate) fn end_data(&mut self, id: SocketId) {
        self.end(id, StreamEnd::PeerEnded);
    }

    /// Gives the next thing that came of writing to data connections.
    pub(crate) fn poll_data(&mut self) -> Option<(SocketId, DataNews)> {
        self.news.pop()
    }

    /// Sees what writing changed.
    pub(super) fn look_at_data(&mut self, id: SocketId) {
        let Some(stream) = slot_of(id).and_then(|slot| self.streams.get_mut(slot)) else {
            return;
        };
        let queued = stream.queued();
        let Some(data) = &mut stream.data else { return };
        if data.is_full && queued <= DATA_QUEUE_BYTES_MAX / 2 {
            data.is_full = false;
            self.news.push((id, DataNews::Drained));
        }
        if data.ending != Ending::Said {
            return;
        }
        match data.closing {
            Some(end) if data.heard_end => self.end(id, end),
            Some(_) => {}
            None => self.news.push((id, DataNews::EndSaid)),
        }
    }
}
