//! SCTP packets (RFC 9260 §3) as far as the guard looks into them.
//!
//! A packet is judged here and then read by the library, and both must see the same chunks: where the library takes the
//! length of a chunk from what it found in it, that must come to the length in the chunk's header.

use crc::{CRC_32_ISCSI, Crc, Table};

pub(super) const HEADER_BYTES: usize = 12;
pub(super) const CHUNK_HEADER_BYTES: usize = 4;
/// TSN, stream, sequence number and payload protocol in front of the payload of a DATA chunk.
pub(super) const DATA_HEADER_BYTES: usize = 12;

pub(super) const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
pub(super) const INIT_ACK: u8 = 2;
pub(super) const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
pub(super) const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;

/// Parameters of RE-CONFIG (RFC 6525 §4.1, §4.4).
const OUTGOING_RESET: u16 = 13;
const RESET_RESPONSE: u16 = 16;
const RESET_RESPONSE_BYTES: usize = 12;
const OUTGOING_RESET_BYTES: usize = 16;

/// The checksum of SCTP (RFC 9260 appendix A).
pub(super) const CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// One chunk.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) kind: u8,
    /// What follows its header, without padding.
    pub(super) value: &'a [u8],
}

/// A request to reset streams of the remote's.
pub(super) struct Reset<'a> {
    /// Last TSN that it sent on them.
    pub(super) last_tsn: u32,
    streams: &'a [u8],
}

impl Reset<'_> {
    /// The streams; none means all.
    pub(super) fn streams(&self) -> impl Iterator<Item = u16> {
        self.streams
            .chunks_exact(2)
            .map(|id| u16::from_be_bytes([id[0], id[1]]))
    }
}

/// Gives the verification tag of a packet whose checksum is right and which ends with a whole chunk.
pub(super) fn tag(packet: &[u8]) -> Option<u32> {
    if packet.len() < HEADER_BYTES + CHUNK_HEADER_BYTES || !packet.len().is_multiple_of(4) {
        return None;
    }
    let mut sum = CRC32C.digest();
    sum.update(&packet[..8]);
    sum.update(&[0; 4]);
    sum.update(&packet[HEADER_BYTES..]);
    (sum.finalize().to_le_bytes() == packet[8..12]).then(|| word(packet, 4))?
}

/// Chunks of a packet; `None` once where it is cut short.
pub(super) fn chunks(packet: &[u8]) -> impl Iterator<Item = Option<Chunk<'_>>> {
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
        let padding = rest.get(length..length.next_multiple_of(4)).unwrap_or(&[1]);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The library refuses a packet for padding with something in it, where it looks.
        Some(padding.iter().all(|byte| *byte == 0).then_some(Chunk { kind, value }))
    })
}

impl<'a> Chunk<'a> {
    /// Whether the library knows the kind of chunk, and would find it as long as its header says.
    pub(super) fn is_whole(&self) -> bool {
        let value = self.value;
        match self.kind {
            // RFC 9260 §3.3.1: one without payload is answered by an abort.
            DATA => value.len() > DATA_HEADER_BYTES,
            INIT => value.len() >= 16,
            SACK => is_sack(value),
            HEARTBEAT => half(value, 2).map(usize::from) == Some(value.len()),
            SHUTDOWN => value.len() == 4,
            COOKIE_ACK | SHUTDOWN_ACK | SHUTDOWN_COMPLETE => value.is_empty(),
            COOKIE_ECHO => true,
            // The association ends with them, so what the library would find behind them does not matter.
            ABORT | ERROR => true,
            RE_CONFIG => self.parameters().is_some(),
            FORWARD_TSN => value.len() >= 4 && value.len().is_multiple_of(4),
            _ => false,
        }
    }

    /// What a RE-CONFIG asks to be reset.
    pub(super) fn resets(&self) -> impl Iterator<Item = Reset<'a>> {
        let both = (self.kind == RE_CONFIG).then(|| self.parameters()).flatten();
        both.into_iter().flatten().flatten().filter_map(|parameter| {
            let is_reset = half(parameter, 0) == Some(OUTGOING_RESET);
            Some(Reset {
                last_tsn: word(parameter, 12).filter(|_| is_reset)?,
                streams: parameter.get(OUTGOING_RESET_BYTES..)?,
            })
        })
    }

    /// The one or two parameters of a RE-CONFIG: requests that remotes of data channels make, and answers to ours.
    fn parameters(&self) -> Option<[Option<&'a [u8]>; 2]> {
        let first = reset_parameter(self.value)?;
        let rest = self.value.get(first.len().next_multiple_of(4)..).unwrap_or_default();
        if rest.is_empty() {
            return (first.len() == self.value.len()).then_some([Some(first), None]);
        }
        let second = reset_parameter(rest)?;
        (second.len() == rest.len()).then_some([Some(first), Some(second)])
    }
}

fn reset_parameter(value: &[u8]) -> Option<&[u8]> {
    let length = usize::from(half(value, 2)?);
    let is_whole = match half(value, 0)? {
        OUTGOING_RESET => length >= OUTGOING_RESET_BYTES && length.is_multiple_of(2),
        RESET_RESPONSE => length == RESET_RESPONSE_BYTES,
        _ => false,
    };
    value.get(..length).filter(|_| is_whole)
}

/// Whether gaps are in order and do not touch, and nothing stands behind them but what is said to be there twice.
fn is_sack(value: &[u8]) -> bool {
    let (Some(gaps), Some(twice)) = (half(value, 8), half(value, 10)) else {
        return false;
    };
    let (gaps, twice) = (usize::from(gaps), usize::from(twice));
    if value.len() != 12 + 4 * (gaps + twice) {
        return false;
    }
    let mut before = 0;
    (0..gaps).all(|gap| {
        let (start, end) = (half(value, 12 + 4 * gap), half(value, 14 + 4 * gap));
        let is_next = start > Some(before) && start <= end;
        before = end.unwrap_or(u16::MAX);
        is_next
    })
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet with a right checksum; chunks are kind and value.
    pub(in super::super) fn packet(tag: u32, chunks: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut packet = vec![0x13, 0x88, 0x13, 0x88];
        packet.extend(tag.to_be_bytes());
        packet.extend([0; 4]);
        for (kind, value) in chunks {
            let length = (CHUNK_HEADER_BYTES + value.len()) as u16;
            packet.extend([*kind, if *kind == DATA { 3 } else { 0 }]);
            packet.extend(length.to_be_bytes());
            packet.extend(value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        sealed(packet)
    }

    /// The packet with a right checksum.
    pub(in super::super) fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
        packet[8..12].fill(0);
        let sum = CRC32C.checksum(&packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        packet
    }

    fn is_whole(kind: u8, value: &[u8]) -> bool {
        Chunk { kind, value }.is_whole()
    }

    #[test]
    fn a_packet_with_a_wrong_checksum_or_a_cut_has_no_tag() {
        let good = packet(7, &[(COOKIE_ACK, vec![])]);
        assert_eq!(tag(&good), Some(7));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(tag(&bad), None, "{at}");
            assert_eq!(tag(&good[..at]), None, "{at}");
        }
    }

    #[test]
    fn acknowledged_gaps_stand_in_order_apart_and_alone() {
        let sack = |gaps: &[(u16, u16)], twice: u16, more: usize| {
            let mut value = vec![0; 8];
            value.extend((gaps.len() as u16).to_be_bytes());
            value.extend(twice.to_be_bytes());
            for (start, end) in gaps {
                value.extend(start.to_be_bytes());
                value.extend(end.to_be_bytes());
            }
            value.resize(value.len() + more, 0);
            value
        };
        assert!(is_whole(SACK, &sack(&[], 0, 0)));
        assert!(is_whole(SACK, &sack(&[(1, 1), (3, 9)], 2, 8)));
        for bad in [
            sack(&[(0, 1)], 0, 0),
            sack(&[(3, 2)], 0, 0),
            sack(&[(5, 6), (1, 2)], 0, 0),
            sack(&[(1, 4), (4, 5)], 0, 0),
            sack(&[], 0, 4),
            sack(&[], 1, 0),
            vec![0; 8],
        ] {
            assert!(!is_whole(SACK, &bad), "{bad:?}");
        }
    }

    #[test]
    fn chunks_that_the_library_would_find_shorter_than_they_say_are_not_whole() {
        for kind in [COOKIE_ACK, SHUTDOWN_ACK, SHUTDOWN_COMPLETE] {
            assert!(is_whole(kind, &[]));
            assert!(!is_whole(kind, &[0; 16]));
        }
        assert!(is_whole(HEARTBEAT, &[0, 1, 0, 8, 1, 2, 3, 4]));
        assert!(!is_whole(HEARTBEAT, &[0, 1, 0, 4, 1, 2, 3, 4]));
        assert!(is_whole(SHUTDOWN, &[0; 4]) && !is_whole(SHUTDOWN, &[0; 8]));
        assert!(is_whole(FORWARD_TSN, &[0; 8]) && !is_whole(FORWARD_TSN, &[0; 7]));
        assert!(is_whole(DATA, &[0; 13]) && !is_whole(DATA, &[0; 12]));
        for unknown in [INIT_ACK, 5, 12, 13, 64, 194, 255] {
            assert!(!is_whole(unknown, &[0; 16]), "{unknown}");
        }
    }

    #[test]
    fn resets_name_their_streams_and_stand_alone_or_with_an_answer() {
        let request = [0, 13, 0, 20, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 9, 0, 4, 0, 6];
        let answer = [0, 16, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1];
        let both = [answer.as_slice(), &request].concat();
        for value in [request.as_slice(), &both] {
            let chunk = Chunk { kind: RE_CONFIG, value };
            assert!(chunk.is_whole());
            let resets: Vec<_> = chunk.resets().map(|r| (r.last_tsn, r.streams().collect())).collect();
            assert_eq!(resets, [(9, vec![4, 6])]);
        }
        assert!(is_whole(RE_CONFIG, &answer));
        let long_answer = [0, 16, 0, 20, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let trailing = [both.as_slice(), &[0; 4]].concat();
        for bad in [long_answer.as_slice(), &trailing, &request[..19], &[0, 18, 0, 4], &[]] {
            assert!(!is_whole(RE_CONFIG, bad), "{bad:?}");
        }
    }
}
