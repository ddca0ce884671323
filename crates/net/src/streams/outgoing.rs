//! What waits to be written to one stream.

use voex_stun::PacketKind;

/// Media that may wait for one stream. A path of 100 Mbit/s and 40 ms holds 500 kB, and as much again lets it start.
pub const STREAM_QUEUE_BYTES_MAX: usize = 1 << 20;
/// Room beyond that which only answers may use, so that media never costs a client its control of the allocation.
pub const STREAM_ANSWER_BYTES_MAX: usize = 128 << 10;
/// Capacity with which an empty queue's memory is worth keeping for the next one.
const SPARE_BYTES_MAX: usize = 64 << 10;
/// Buffers that are kept.
const SPARES_MAX: usize = 64;

/// Whole messages in the order of their writing; the first may be written in part. Bytes as they are may follow.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// Where messages end and bytes begin.
    messages_end: usize,
}

/// How a message is treated when a stream's reader is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    /// Dropped when it would wait too long.
    Media,
    /// Must arrive: the client waits for it.
    Answer,
}

impl Urgency {
    /// Tells media from answers by the type of a message: ChannelData and Data indications are media.
    pub(crate) fn of(message: &[u8]) -> Self {
        const DATA_INDICATION: [u8; 2] = [0x00, 0x17];
        match PacketKind::of(message) {
            PacketKind::ChannelData => Self::Media,
            _ if message.starts_with(&DATA_INDICATION) => Self::Media,
            _ => Self::Answer,
        }
    }

    /// Bytes that may wait with a message of this kind.
    pub(crate) fn queue_max(self) -> usize {
        match self {
            Self::Media => STREAM_QUEUE_BYTES_MAX,
            Self::Answer => STREAM_QUEUE_BYTES_MAX + STREAM_ANSWER_BYTES_MAX,
        }
    }
}

impl Outgoing {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a message with the padding of a stream (RFC 8656 §12.5).
    pub(crate) fn push(&mut self, message: &[u8], spares: &mut Spares) {
        if self.bytes.capacity() == 0 {
            self.bytes = spares.take();
        }
        self.bytes.extend_from_slice(message);
        // Every message in the queue is padded, so its end is where the next may start.
        let padding = message.len().next_multiple_of(4) - message.len();
        self.bytes.extend_from_slice(&[0; 3][..padding]);
        self.messages_end = self.bytes.len();
    }

    /// Appends bytes as they are.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8], spares: &mut Spares) {
        if bytes.is_empty() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = spares.take();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives what waits.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Says how much of what waits is messages.
    pub(crate) fn messages_len(&self) -> usize {
        self.messages_end.saturating_sub(self.written)
    }

    /// Forgets the first `len` bytes, which were written.
    pub(crate) fn wrote(&mut self, len: usize, spares: &mut Spares) {
        self.written += len;
        if self.written == self.bytes.len() {
            (self.written, self.messages_end) = (0, 0);
            spares.give(std::mem::take(&mut self.bytes));
        } else if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.messages_end = self.messages_len();
            self.written = 0;
        }
    }
}

/// Buffers of queues that ran empty: a stream holds memory only while something waits for it.
#[derive(Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES_MAX && self.0.len() < SPARES_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_whole_messages_padded_to_four_bytes() {
        let (mut queue, mut spares) = (Outgoing::default(), Spares::default());
        queue.push(&[0x40, 0, 0, 1, 9], &mut spares);
        queue.push(&[0x40, 0, 0, 0], &mut spares);
        assert_eq!(queue.waiting(), [0x40, 0, 0, 1, 9, 0, 0, 0, 0x40, 0, 0, 0]);
        queue.wrote(3, &mut spares);
        assert_eq!(queue.waiting().len(), 9);
        queue.wrote(9, &mut spares);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes.capacity(), 0, "an empty queue holds no memory");
    }

    #[test]
    fn bytes_stand_behind_messages_and_are_told_from_them() {
        let (mut queue, mut spares) = (Outgoing::default(), Spares::default());
        queue.push(&[0x40, 0, 0, 1, 9], &mut spares);
        assert_eq!(queue.messages_len(), 8);
        queue.push_bytes(&[7; 5], &mut spares);
        assert_eq!((queue.len(), queue.messages_len()), (13, 8));
        queue.wrote(3, &mut spares);
        assert_eq!((queue.len(), queue.messages_len()), (10, 5));
        queue.wrote(6, &mut spares);
        assert_eq!((queue.len(), queue.messages_len()), (4, 0));
        queue.wrote(4, &mut spares);
        queue.push_bytes(&[7; 5], &mut spares);
        assert_eq!((queue.len(), queue.messages_len()), (5, 0));
    }

    #[test]
    fn channel_data_and_data_indications_are_media_and_everything_else_must_arrive() {
        assert_eq!(Urgency::of(&[0x40, 0, 0, 0]), Urgency::Media);
        assert_eq!(Urgency::of(&[0x00, 0x17, 0, 0]), Urgency::Media);
        assert_eq!(Urgency::of(&[0x01, 0x03, 0, 0]), Urgency::Answer);
        assert_eq!(Urgency::of(&[0x01, 0x13, 0, 0]), Urgency::Answer);
    }
}
