//! Bounds that the SCTP library does not have: a look at every packet on its way in and out.
//!
//! The library bounds the payload of messages that wait to be complete or read. It does not bound how many chunks those
//! bytes come in, nor how far ahead of a gap it keeps what it delivered already: with one chunk left out and one byte in
//! each other a remote could make it keep anything, and sort it at each step. It keeps generations of streams that were
//! reset while something of them is missing, and believes a SACK whatever gaps it names. An INIT that comes again when the
//! association is up ends it.
//!
//! So only what the remote could honestly have sent passes: with our tag, its checksum right, chunks of known kinds that
//! fill their length, and nothing in a state that the counts here do not cover.

use super::packet::{self, Chunk, DATA, DATA_HEADER_BYTES, INIT, INIT_ACK, SACK, chunks, half, word};
use super::{DataDrop, PACKET_BYTES_MAX, STREAMS_MAX};

/// How far ahead of the first missing chunk one may be. The gaps of so many fit into one SACK.
pub(super) const WINDOW_CHUNKS: u32 = 512;
/// Chunks that are kept of messages that are not complete or not read yet.
pub(super) const HELD_CHUNKS_MAX: u32 = 512;

const WORDS: usize = WINDOW_CHUNKS as usize / 64;

/// What passed by, as far as the bounds need it.
pub(super) struct Guard {
    /// Our tag, as our INIT ACK said.
    tag: Option<u32>,
    /// Tag and first TSN of the remote's INIT.
    init: Option<(u32, u32)>,
    /// Last chunk before the first missing one, as our last SACK said; the remote's INIT before that.
    acknowledged: Option<u32>,
    /// Chunks of the window that came, by number modulo its size.
    seen: [u64; WORDS],
    held_chunks: u32,
    held_bytes: usize,
    /// Of the chunks held, those of each stream.
    held_of: [u16; STREAMS_MAX as usize],
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
            tag: None,
            init: None,
            acknowledged: None,
            seen: [0; WORDS],
            held_chunks: 0,
            held_bytes: 0,
            held_of: [0; STREAMS_MAX as usize],
            sent: None,
            remote_acknowledged: None,
            remote_window: 0,
            window_bytes,
        }
    }

    /// Bytes that the library keeps of what came. A chunk keeps the packet alive that it came in, however short it is.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes.max(self.held_chunks as usize * PACKET_BYTES_MAX)
    }

    /// Whether the remote has everything that was ever sent to it, and room for more. With nothing left to send, the
    /// library then keeps nothing.
    pub(super) fn has_remote_all(&self) -> bool {
        self.sent == self.remote_acknowledged && self.remote_window > 2 * super::PACKET_BYTES_MAX as u32
    }

    /// Judges a packet that came; what is refused may come again. `is_full` is a bound above this one.
    pub(super) fn admit(&mut self, packet: &[u8], is_handshaking: bool, is_full: bool) -> Result<(), DataDrop> {
        let tag = packet::tag(packet).ok_or(DataDrop::BadPacket)?;
        let mut new_chunks = 0;
        let mut sacks = 0;
        for chunk in chunks(packet) {
            let chunk = chunk.filter(Chunk::is_whole).ok_or(DataDrop::BadPacket)?;
            let is_fitting = match chunk.kind {
                INIT => is_handshaking && self.is_our_init(tag, packet, chunk.value),
                _ if self.tag != Some(tag) => false,
                _ => true,
            };
            if !is_fitting {
                return Err(DataDrop::BadPacket);
            }
            new_chunks += u32::from(chunk.kind == DATA && self.is_new(chunk.value)?);
            sacks += u32::from(chunk.kind == SACK);
            self.judge_resets(&chunk)?;
        }
        if sacks > 1 {
            return Err(DataDrop::BadPacket);
        }
        if new_chunks > 0 && (is_full || self.held_chunks + new_chunks > HELD_CHUNKS_MAX) {
            return Err(DataDrop::ReceiveFull);
        }
        self.take_in(packet);
        Ok(())
    }

    /// Whether an INIT stands alone (RFC 9260 §3.1) and is the first, or the first again.
    fn is_our_init(&self, tag: u32, packet: &[u8], value: &[u8]) -> bool {
        let is_alone =
            packet.len() == packet::HEADER_BYTES + packet::CHUNK_HEADER_BYTES + value.len().next_multiple_of(4);
        let is_same = self.init.is_none_or(|init| Some(init) == init_of(value));
        tag == 0 && is_alone && is_same
    }

    /// Whether a chunk of data has not come before; one that is too far ahead is refused.
    fn is_new(&self, value: &[u8]) -> Result<bool, DataDrop> {
        let (Some(tsn), Some(acknowledged)) = (word(value, 0), self.acknowledged) else {
            return Err(DataDrop::BadPacket);
        };
        let ahead = tsn.wrapping_sub(acknowledged);
        if is_ahead(ahead) && ahead > WINDOW_CHUNKS {
            return Err(DataDrop::BadPacket);
        }
        Ok(is_ahead(ahead) && !self.is_seen(tsn))
    }

    /// A stream is reset when everything before came and was read: the remote asks again, and meanwhile repeats what is
    /// missing.
    fn judge_resets(&self, chunk: &Chunk<'_>) -> Result<(), DataDrop> {
        for reset in chunk.resets() {
            let is_complete = self
                .contiguous()
                .is_some_and(|all| !is_ahead(reset.last_tsn.wrapping_sub(all)));
            let is_held = |stream: u16| self.held_of.get(usize::from(stream)).is_some_and(|held| *held > 0);
            let is_all = reset.streams().next().is_none();
            if !is_complete || (is_all && self.held_chunks > 0) || reset.streams().any(is_held) {
                return Err(DataDrop::EarlyReset);
            }
        }
        Ok(())
    }

    /// Last chunk up to which all came.
    fn contiguous(&self) -> Option<u32> {
        let mut last = self.acknowledged?;
        for _ in 0..WINDOW_CHUNKS {
            if !self.is_seen(last.wrapping_add(1)) {
                break;
            }
            last = last.wrapping_add(1);
        }
        Some(last)
    }

    fn take_in(&mut self, packet: &[u8]) {
        for Chunk { kind, value } in chunks(packet).flatten() {
            match (kind, word(value, 0)) {
                (INIT, _) if self.init.is_none() => {
                    self.init = init_of(value);
                    self.acknowledged = self.init.map(|(_, first)| first.wrapping_sub(1));
                    self.remote_window = word(value, 4).unwrap_or(0);
                }
                (DATA, Some(tsn)) => self.take_in_data(tsn, value),
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

    fn take_in_data(&mut self, tsn: u32, value: &[u8]) {
        if self.is_new(value) != Ok(true) {
            return;
        }
        self.seen[word_of(tsn)] |= 1 << (tsn % 64);
        self.held_chunks += 1;
        self.held_bytes += value.len() - DATA_HEADER_BYTES;
        // Another stream than we have ends the association.
        if let Some(held) = half(value, 4).and_then(|stream| self.held_of.get_mut(usize::from(stream))) {
            *held += 1;
        }
    }

    /// Notes a packet that leaves.
    pub(super) fn note_sent(&mut self, packet: &[u8]) {
        for Chunk { kind, value } in chunks(packet).flatten() {
            match (kind, word(value, 0)) {
                (INIT_ACK, tag) => self.tag = tag,
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
                        self.held_of = [0; STREAMS_MAX as usize];
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes a message that was taken out of the library.
    pub(super) fn note_read(&mut self, stream: u16, chunks: usize, bytes: usize) {
        let chunks = u16::try_from(chunks).unwrap_or(u16::MAX);
        self.held_chunks = self.held_chunks.saturating_sub(u32::from(chunks));
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        if let Some(held) = self.held_of.get_mut(usize::from(stream)) {
            *held = held.saturating_sub(chunks);
        }
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

/// Tag and first TSN that an INIT says.
fn init_of(value: &[u8]) -> Option<(u32, u32)> {
    Some((word(value, 0)?, word(value, 12)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_BYTES: u32 = 1_000;

    const TAG: u32 = 0xfeed;

    fn packet(chunks: &[(u8, Vec<u8>)]) -> Vec<u8> {
        packet::tests::packet(TAG, chunks)
    }

    fn data(tsn: u32) -> (u8, Vec<u8>) {
        data_of(tsn, 0)
    }

    fn data_of(tsn: u32, stream: u16) -> (u8, Vec<u8>) {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend(stream.to_be_bytes());
        value.extend([0; 6]);
        value.push(b'x');
        (DATA, value)
    }

    fn sack(tsn: u32, window: u32) -> (u8, Vec<u8>) {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend(window.to_be_bytes());
        value.extend([0; 4]);
        (SACK, value)
    }

    fn init(tag: u32, first: u32) -> Vec<u8> {
        let mut init = tag.to_be_bytes().to_vec();
        init.extend([0; 8]);
        init.extend(first.to_be_bytes());
        packet::tests::packet(0, &[(INIT, init)])
    }

    /// A guard that has seen an INIT whose first chunk will be `first`, and our answer to it.
    fn guard(first: u32) -> Guard {
        let mut guard = Guard::new(WINDOW_BYTES);
        assert_eq!(guard.admit(&init(9, first), true, false), Ok(()));
        let mut answer = TAG.to_be_bytes().to_vec();
        answer.extend([0; 12]);
        guard.note_sent(&packet::tests::packet(9, &[(INIT_ACK, answer)]));
        guard
    }

    fn reset(last_tsn: u32, streams: &[u16]) -> Vec<u8> {
        let length = 16 + 2 * streams.len() as u16;
        let mut value = vec![0, 13];
        value.extend(length.to_be_bytes());
        value.extend([0; 8]);
        value.extend(last_tsn.to_be_bytes());
        value.extend(streams.iter().flat_map(|stream| stream.to_be_bytes()));
        packet(&[(packet::RE_CONFIG, value)])
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
        guard.note_read(0, 1, 1);
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
    fn data_before_an_init_and_packets_that_are_cut_short_are_refused() {
        let mut fresh = Guard::new(WINDOW_BYTES);
        assert_eq!(fresh.admit(&packet(&[data(1)]), true, false), Err(DataDrop::BadPacket));
        let whole = packet(&[data(1)]);
        for cut in 0..whole.len() {
            let cut = if cut < packet::HEADER_BYTES {
                whole[..cut].to_vec()
            } else {
                packet::tests::sealed(whole[..cut].to_vec())
            };
            assert_eq!(guard(1).admit(&cut, false, false), Err(DataDrop::BadPacket), "{cut:?}");
        }
    }

    #[test]
    fn chunks_without_payload_do_not_slip_past_the_bounds() {
        let empty = (DATA, data(1).1[..DATA_HEADER_BYTES].to_vec());
        assert_eq!(
            guard(1).admit(&packet(&[empty]), false, false),
            Err(DataDrop::BadPacket)
        );
    }

    #[test]
    fn what_bears_another_tag_or_a_wrong_checksum_changes_nothing() {
        let mut guard = guard(1);
        guard.note_sent(&packet(&[data(7)]));
        let mut forged = packet(&[sack(7, 65_536)]);
        forged[8] ^= 1;
        for packet in [forged, packet::tests::packet(TAG + 1, &[sack(7, 65_536)])] {
            assert_eq!(guard.admit(&packet, false, false), Err(DataDrop::BadPacket));
            assert!(!guard.has_remote_all());
        }
        assert_eq!(guard.admit(&packet(&[sack(7, 65_536)]), false, false), Ok(()));
        assert!(guard.has_remote_all());
        let two = packet(&[sack(7, 65_536), sack(7, 65_536)]);
        assert_eq!(guard.admit(&two, false, false), Err(DataDrop::BadPacket));
    }

    #[test]
    fn an_init_may_come_again_but_not_another_and_not_when_the_association_is_up() {
        let mut guard = guard(1);
        assert_eq!(guard.admit(&init(9, 1), true, false), Ok(()));
        for other in [init(9, 500), init(8, 1)] {
            assert_eq!(guard.admit(&other, true, false), Err(DataDrop::BadPacket));
        }
        assert_eq!(guard.admit(&init(9, 1), false, false), Err(DataDrop::BadPacket));
    }

    #[test]
    fn a_stream_is_reset_only_when_all_of_it_came_and_was_read() {
        let mut guard = guard(1);
        assert_eq!(guard.admit(&packet(&[data_of(1, 4)]), false, false), Ok(()));
        assert_eq!(
            guard.admit(&reset(1, &[6]), false, false),
            Ok(()),
            "nothing of it is held"
        );
        for early in [reset(1, &[4]), reset(1, &[]), reset(2, &[6])] {
            assert_eq!(guard.admit(&early, false, false), Err(DataDrop::EarlyReset));
        }
        guard.note_read(4, 1, 1);
        for due in [reset(1, &[4]), reset(1, &[])] {
            assert_eq!(guard.admit(&due, false, false), Ok(()), "before our SACK has left");
        }
        assert_eq!(guard.admit(&packet(&[data_of(3, 4)]), false, false), Ok(()));
        assert_eq!(
            guard.admit(&reset(3, &[6]), false, false),
            Err(DataDrop::EarlyReset),
            "2 is missing"
        );
    }
}
