//! What was received of an encoding, kept for retransmission: once, in the clear, for all its subscriptions.

use crate::limits::{RING_BYTES, RING_PACKETS};
use crate::packet::MediaPacket;

/// Payloads one behind the other in a circle of bytes, and a table of where each packet is. Both are made once; the
/// pages of the circle cost memory only as packets come.
pub(crate) struct Ring {
    bytes: Box<[u8]>,
    slots: Box<[Slot]>,
    /// Bytes ever written; the position in the circle is the remainder.
    written: u64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    sequence: u64,
    /// Value of `written` at its first byte.
    at: u64,
    length: u16,
    /// The packet without its payload.
    head: MediaPacket<'static>,
}

impl Ring {
    /// Makes an empty ring.
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; RING_BYTES].into_boxed_slice(),
            slots: vec![Slot::default(); RING_PACKETS].into_boxed_slice(),
            // A slot never written has sequence 0, which no source has.
            written: 0,
        }
    }

    /// Keeps a packet, in place of the oldest ones.
    pub(crate) fn insert(&mut self, packet: &MediaPacket<'_>) {
        let (length, circle) = (packet.payload.len(), self.bytes.len());
        let mut at = (self.written % circle as u64) as usize;
        if at + length > circle {
            self.written += (circle - at) as u64;
            at = 0;
        }
        self.bytes[at..at + length].copy_from_slice(packet.payload);
        let slot = self.slot(packet.sequence);
        self.slots[slot] = Slot {
            sequence: packet.sequence,
            at: self.written,
            length: length as u16,
            head: MediaPacket {
                payload: &[],
                ..*packet
            },
        };
        self.written += length as u64;
    }

    /// Finds a packet by its extended sequence number.
    pub(crate) fn find(&self, sequence: u64) -> Option<MediaPacket<'_>> {
        let slot = &self.slots[self.slot(sequence)];
        let is_kept = slot.sequence == sequence && self.written - slot.at <= self.bytes.len() as u64;
        if !is_kept {
            return None;
        }
        let at = (slot.at % self.bytes.len() as u64) as usize;
        Some(MediaPacket {
            payload: &self.bytes[at..at + usize::from(slot.length)],
            ..slot.head
        })
    }

    /// Forgets everything: the numbers of another source mean other packets.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(Slot::default());
    }

    fn slot(&self, sequence: u64) -> usize {
        (sequence % self.slots.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u64, payload: &[u8]) -> MediaPacket<'_> {
        MediaPacket {
            sequence,
            timestamp: sequence as u32,
            payload,
            ..MediaPacket::default()
        }
    }

    #[test]
    fn packets_are_found_until_newer_ones_take_their_place() {
        let mut ring = Ring::new();
        let payload = [7; 1_200];
        let first = 0x1_0000;
        let count = (RING_BYTES / 1_200) as u64 + 10;
        for sequence in first..first + count {
            ring.insert(&packet(sequence, &payload));
        }
        assert!(ring.find(first).is_none(), "overwritten");
        let newest = ring.find(first + count - 1).unwrap();
        assert_eq!(
            (newest.payload, newest.timestamp),
            (&payload[..], (first + count - 1) as u32)
        );
        assert!(ring.find(first + count).is_none(), "never seen");
        let kept = (first..first + count)
            .filter(|sequence| ring.find(*sequence).is_some())
            .count();
        assert!(kept * 1_200 > RING_BYTES * 9 / 10, "{kept} packets kept");
    }

    #[test]
    fn small_packets_are_bounded_by_their_count() {
        let mut ring = Ring::new();
        for sequence in 0..RING_PACKETS as u64 + 1 {
            ring.insert(&packet(0x1_0000 + sequence, &[sequence as u8]));
        }
        assert!(ring.find(0x1_0000).is_none());
        assert_eq!(ring.find(0x1_0001).unwrap().payload, [1]);
        ring.clear();
        assert!(ring.find(0x1_0001).is_none());
    }
}
