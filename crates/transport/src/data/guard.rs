//! Bounds that the SCTP library does not have: a look at every packet on its way in and out.
//!
//! The library bounds the payload of messages that wait to be complete or read. It does not bound how many chunks those
//! bytes come in, nor how far ahead of a gap it keeps what it delivered already: with one chunk left out and one byte in
//! each other a remote could make it keep anything, and sort it at each step.

use super::DataDrop;

/// How far ahead of the first missing chunk one may be. The gaps of so many fit into one SACK.
pub(super) const WINDOW_CHUNKS: u32 = 512;
/// Chunks that are kept of messages that are not complete or not read yet.
pub(super) const HELD_CHUNKS_MAX: u32 = 4_096;

const WORDS: usize = WINDOW_CHUNKS as usize / 64;
const HEADER_BYTES: usize = 12;
const CHUNK_HEADER_BYTES: usize = 4;

const DATA: u8 = 0;
const INIT: u8 = 1;
const SACK: u8 = 3;

/// What passed by, as far as the bounds need it.
pub(super) struct Guard {
    /// Last chunk before the first missing one, as our last SACK said; the remote's INIT before that.
    acknowledged: Option<u32>,
    /// Chunks of the window that came, by number modulo its size.
    seen: [u64; WORDS],
    held_chunks: u32,
    held_bytes: usize,
    /// Our last chunk sent, the last that the remote acknowledged with all before it, and its window in bytes.
    sent: Option<u32>,
    remote_acknowledged: Option<u32>,
    remote_window: u32,
    /// What our SACK offers while nothing is held.
    window_bytes: u32,
}

impl Guard {
    pub(super) fn new(window_bytes: u32) -> Self {
        Self {
            acknowledged: None,
            seen: [0; WORDS],
            held_chunks: 0,
            held_bytes: 0,
            sent: None,
            remote_acknowledged: None,
            remote_window: 0,
            window_bytes,
        }
    }

    /// Payload bytes that the library keeps of what came.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether the remote has everything that was ever sent to it, and room for more. With nothing left to send, the
    /// library then keeps nothing.
    pub(super) fn has_remote_all(&self) -> bool {
        self.sent == self.remote_acknowledged && self.remote_window > 2 * super::PACKET_BYTES_MAX as u32
    }

    /// Judges a packet that came; what is refused may come again. `is_full` is a bound above this one.
    pub(super) fn admit(&mut self, packet: &[u8], is_handshaking: bool, is_full: bool) -> Result<(), DataDrop> {
        let mut new_chunks = 0;
        for chunk in chunks(packet) {
            let Chunk { kind, value } = chunk.ok_or(DataDrop::BadPacket)?;
            match kind {
                INIT if is_handshaking => {
                    let initial = word(value, 12).ok_or(DataDrop::BadPacket)?;
                    self.acknowledged = Some(initial.wrapping_sub(1));
                    self.remote_window = word(value, 4).unwrap_or(0);
                }
                DATA => {
                    let tsn = word(value, 0).ok_or(DataDrop::BadPacket)?;
                    let ahead = tsn.wrapping_sub(self.acknowledged.ok_or(DataDrop::BadPacket)?);
                    if is_ahead(ahead) && ahead > WINDOW_CHUNKS {
                        return Err(DataDrop::BadPacket);
                    }
                    new_chunks += u32::from(is_ahead(ahead) && !self.is_seen(tsn));
                }
                _ => {}
            }
        }
        if new_chunks > 0 && (is_full || self.held_chunks + new_chunks > HELD_CHUNKS_MAX) {
            return Err(DataDrop::ReceiveFull);
        }
        self.take_in(packet);
        Ok(())
    }

    fn take_in(&mut self, packet: &[u8]) {
        for Chunk { kind, value } in chunks(packet).flatten() {
            match (kind, word(value, 0)) {
                (DATA, Some(tsn)) => {
                    let ahead = self
                        .acknowledged
                        .map_or(0, |acknowledged| tsn.wrapping_sub(acknowledged));
                    if is_ahead(ahead) && !self.is_seen(tsn) {
                        self.seen[word_of(tsn)] |= 1 << (tsn % 64);
                        self.held_chunks += 1;
                        self.held_bytes += value.len().saturating_sub(HEADER_BYTES);
                    }
                }
                (SACK, Some(tsn)) => {
                    let is_newer = |before: u32| tsn.wrapping_sub(before) <= i32::MAX as u32;
                    if self.remote_acknowledged.is_none_or(is_newer) {
                        self.remote_acknowledged = Some(tsn);
                        self.remote_window = word(value, 4).unwrap_or(0);
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes a packet that leaves.
    pub(super) fn note_sent(&mut self, packet: &[u8]) {
        for Chunk { kind, value } in chunks(packet).flatten() {
            match (kind, word(value, 0)) {
                (DATA, Some(tsn)) => {
                    let is_newer = |before: u32| is_ahead(tsn.wrapping_sub(before));
                    if self.sent.is_none_or(is_newer) {
                        self.sent = Some(tsn);
                    }
                }
                (SACK, Some(tsn)) => {
                    self.move_window(tsn);
                    // The library holds nothing, whatever was counted: messages may have been abandoned or reset.
                    if word(value, 4) == Some(self.window_bytes) {
                        (self.held_chunks, self.held_bytes) = (0, 0);
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes a message that was taken out of the library.
    pub(super) fn note_read(&mut self, chunks: usize, bytes: usize) {
        self.held_chunks = self
            .held_chunks
            .saturating_sub(u32::try_from(chunks).unwrap_or(u32::MAX));
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
    }

    fn move_window(&mut self, tsn: u32) {
        let by = self.acknowledged.map_or(u32::MAX, |before| tsn.wrapping_sub(before));
        if by >= WINDOW_CHUNKS {
            self.seen = [0; WORDS];
        } else {
            for passed in 0..by {
                let tsn = tsn.wrapping_sub(passed);
                self.seen[word_of(tsn)] &= !(1 << (tsn % 64));
            }
        }
        self.acknowledged = Some(tsn);
    }

    fn is_seen(&self, tsn: u32) -> bool {
        self.seen[word_of(tsn)] & (1 << (tsn % 64)) != 0
    }
}

fn word_of(tsn: u32) -> usize {
    (tsn % WINDOW_CHUNKS) as usize / 64
}

/// Serial number arithmetic (RFC 1982): whether a distance is one forward.
fn is_ahead(distance: u32) -> bool {
    distance != 0 && distance <= i32::MAX as u32
}

fn word(value: &[u8], at: usize) -> Option<u32> {
    let bytes = value.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

struct Chunk<'a> {
    kind: u8,
    value: &'a [u8],
}

/// Chunks of a packet (RFC 9260 §3.2); `None` once where it is cut short.
fn chunks(packet: &[u8]) -> impl Iterator<Item = Option<Chunk<'_>>> {
    let mut rest = packet.get(HEADER_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let [kind, _, high, low, ..] = *rest else {
            rest = &[];
            return Some(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(value) = rest.get(CHUNK_HEADER_BYTES..length) else {
            rest = &[];
            return Some(None);
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Some(Chunk { kind, value }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_BYTES: u32 = 1_000;

    fn packet(chunks: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_BYTES];
        for (kind, value) in chunks {
            let length = (CHUNK_HEADER_BYTES + value.len()) as u16;
            packet.extend([*kind, 3]);
            packet.extend(length.to_be_bytes());
            packet.extend(value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }

    fn data(tsn: u32) -> (u8, Vec<u8>) {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend([0; 8]);
        value.push(b'x');
        (DATA, value)
    }

    fn sack(tsn: u32, window: u32) -> (u8, Vec<u8>) {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend(window.to_be_bytes());
        value.extend([0; 4]);
        (SACK, value)
    }

    /// A guard that has seen an INIT whose first chunk will be `first`.
    fn guard(first: u32) -> Guard {
        let mut guard = Guard::new(WINDOW_BYTES);
        let mut init = vec![0; 12];
        init.extend(first.to_be_bytes());
        assert_eq!(guard.admit(&packet(&[(INIT, init)]), true, false), Ok(()));
        guard
    }

    #[test]
    fn nothing_further_ahead_of_a_gap_than_the_window_is_taken() {
        for first in [1, u32::MAX - 5] {
            let mut guard = guard(first);
            let at = |offset: u32| packet(&[data(first.wrapping_add(offset))]);
            assert_eq!(guard.admit(&at(WINDOW_CHUNKS - 1), false, false), Ok(()));
            assert_eq!(guard.admit(&at(WINDOW_CHUNKS), false, false), Err(DataDrop::BadPacket));
            guard.note_sent(&packet(&[sack(first, WINDOW_BYTES)]));
            assert_eq!(guard.admit(&at(WINDOW_CHUNKS), false, false), Ok(()));
        }
    }

    #[test]
    fn chunks_of_messages_that_nobody_can_read_are_counted_once_and_bounded() {
        let mut guard = guard(1);
        let mut tsn = 0;
        while guard.held_chunks < HELD_CHUNKS_MAX {
            tsn += 1;
            for _ in 0..2 {
                assert_eq!(guard.admit(&packet(&[data(tsn)]), false, false), Ok(()));
            }
            // Everything is acknowledged, but one byte of each is still held.
            guard.note_sent(&packet(&[sack(tsn, WINDOW_BYTES - 1)]));
        }
        assert_eq!(tsn, HELD_CHUNKS_MAX);
        let next = packet(&[data(tsn + 1)]);
        assert_eq!(guard.admit(&next, false, false), Err(DataDrop::ReceiveFull));
        guard.note_read(1, 1);
        assert_eq!(guard.admit(&next, false, false), Ok(()));
        guard.note_sent(&packet(&[sack(tsn + 1, WINDOW_BYTES)]));
        assert_eq!(
            (guard.held_chunks, guard.held_bytes()),
            (0, 0),
            "the library says that it holds nothing"
        );
    }

    #[test]
    fn the_remote_has_all_when_it_acknowledged_the_last_chunk_and_has_room() {
        let mut guard = guard(1);
        guard.note_sent(&packet(&[data(7)]));
        guard.note_sent(&packet(&[data(8)]));
        guard.note_sent(&packet(&[data(7)]));
        for (acknowledged, window, expected) in [(7, 65_536, false), (8, 0, false), (8, 65_536, true), (7, 0, true)] {
            assert_eq!(
                guard.admit(&packet(&[sack(acknowledged, window)]), false, false),
                Ok(())
            );
            assert_eq!(guard.has_remote_all(), expected, "{acknowledged} {window}");
        }
    }

    #[test]
    fn data_before_an_init_and_chunks_that_are_cut_short_are_refused() {
        let mut fresh = Guard::new(WINDOW_BYTES);
        assert_eq!(fresh.admit(&packet(&[data(1)]), true, false), Err(DataDrop::BadPacket));
        let whole = packet(&[data(1)]);
        for cut in HEADER_BYTES + 1..HEADER_BYTES + 17 {
            assert_eq!(
                guard(1).admit(&whole[..cut], false, false),
                Err(DataDrop::BadPacket),
                "{cut}"
            );
        }
    }
}
