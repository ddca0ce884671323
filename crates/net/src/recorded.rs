//! What goes from a worker to the recorder: a bounded ring of bytes.

use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use voex_base::{SocketId, WallTime};

/// Bytes of packets and their headers that may wait for the recorder, of one worker: more than a second of 25 Mbit/s while a
/// disk hangs. A full ring drops.
pub const RECORDED_BYTES: usize = 4 << 20;

/// Recording (8 bytes), microseconds since 1970 (8), length of the packet (2).
const HEADER_BYTES: usize = 8 + 8 + 2;

/// Writing end, at the worker.
pub(crate) struct RecordedSender(Producer<u8>);

/// Reading end, at the recorder.
pub struct Recorded(Consumer<u8>);

/// A packet that is to be recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordedPacket<'a> {
    /// The recording that it belongs to.
    pub recording: SocketId,
    /// When it left the conference server.
    pub at: WallTime,
    /// The RTP packet.
    pub bytes: &'a [u8],
}

/// Makes the way from a worker to the recorder.
pub(crate) fn recorded() -> (RecordedSender, Recorded) {
    let (producer, consumer) = RingBuffer::new(RECORDED_BYTES);
    (RecordedSender(producer), Recorded(consumer))
}

impl RecordedSender {
    /// Queues a packet; false when the ring is full.
    pub(crate) fn push(&mut self, recording: SocketId, at: WallTime, packet: &[u8]) -> bool {
        let Ok(len) = u16::try_from(packet.len()) else {
            return false;
        };
        if self.0.slots() < HEADER_BYTES + packet.len() {
            return false;
        }
        let at = at.since_unix().as_micros() as u64;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&recording.0.to_be_bytes());
        header[8..16].copy_from_slice(&at.to_be_bytes());
        header[16..].copy_from_slice(&len.to_be_bytes());
        let pushed = self
            .0
            .push_entire_slice(&header)
            .and_then(|()| self.0.push_entire_slice(packet));
        pushed.expect("only this end writes, so the room just seen is still there");
        true
    }
}

impl Recorded {
    /// Takes the oldest packet: its bytes go to the start of `room`, which holds at least 65535 bytes.
    pub fn pop<'a>(&mut self, room: &'a mut [u8]) -> Option<RecordedPacket<'a>> {
        let mut header = [0; HEADER_BYTES];
        // Dropping the chunk uncommitted leaves it in the ring: the packet may still be on its way.
        let chunk = self.0.read_chunk(HEADER_BYTES).ok()?;
        let (first, second) = chunk.as_slices();
        header[..first.len()].copy_from_slice(first);
        header[first.len()..].copy_from_slice(second);
        let number = |at: usize| header[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let len = usize::from(header[16]) << 8 | usize::from(header[17]);
        let (recording, at) = (SocketId(number(0)), Duration::from_micros(number(8)));
        if self.0.slots() < HEADER_BYTES + len {
            return None;
        }
        let bytes = &mut room[..len];
        let popped = self
            .0
            .pop_entire_slice(&mut header)
            .and_then(|()| self.0.pop_entire_slice(bytes));
        popped.expect("only this end reads, so the bytes just seen are still there");
        Some(RecordedPacket {
            recording,
            at: WallTime::from_unix(at),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> WallTime {
        WallTime::from_unix(Duration::from_micros(us))
    }

    #[test]
    fn packets_arrive_in_order_with_recording_and_time_over_many_turns_of_the_ring() {
        let (mut sender, mut receiver) = recorded();
        let mut room = vec![0; 65_536];
        let now = 1_795_000_000_000_000;
        for round in 0..12_000_usize {
            let (id, len) = (SocketId::recording(round as u64 % 7), round * 37 % 1_400);
            let packet = vec![round as u8; len];
            assert!(sender.push(id, at(now + round as u64), &packet));
            let expected = RecordedPacket {
                recording: id,
                at: at(now + round as u64),
                bytes: &packet,
            };
            assert_eq!(receiver.pop(&mut room), Some(expected));
            assert_eq!(receiver.pop(&mut room), None);
        }
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_when_read() {
        let (mut sender, mut receiver) = recorded();
        let packet = [7; 1_200];
        let mut taken = 0;
        while sender.push(SocketId::recording(1), at(1), &packet) {
            taken += 1;
        }
        assert_eq!(taken, RECORDED_BYTES / (HEADER_BYTES + packet.len()));
        assert!(receiver.pop(&mut vec![0; 65_536]).is_some());
        assert!(sender.push(SocketId::recording(1), at(1), &packet));
    }
}
