//! Entry for the fuzzer: packets of SCTP that passed DTLS, out of the hands of a remote that means ill.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::HELD_CHUNKS_MAX;
use super::packet::CRC32C;
use super::{
    Channel, Data, DataKind, DataMessage, MESSAGE_BYTES_MAX, PACKET_BYTES_MAX, RECEIVE_BYTES_MAX, SEND_QUEUE_BYTES_MAX,
};
use crate::{DtlsRole, Metrics};

/// What an association keeps of what came: payload, or the packets that it came in.
const RECEIVED_BYTES_MAX: usize = {
    let packets = HELD_CHUNKS_MAX as usize * PACKET_BYTES_MAX;
    if packets > RECEIVE_BYTES_MAX {
        packets
    } else {
        RECEIVE_BYTES_MAX
    }
};
/// What an association keeps beside its two queues: what was handed on and is not acknowledged.
const KEPT_BYTES_MAX: i64 = (RECEIVED_BYTES_MAX + 2 * SEND_QUEUE_BYTES_MAX + 2 * MESSAGE_BYTES_MAX) as i64;

/// Plays `data` as a run of packets, each behind two bytes of length and one of time. Header and checksum are made good,
/// the tags of the association filled in and its cookie brought back, so that what stands behind those checks is reached.
/// Gives how many events there were.
///
/// # Panics
/// When more is kept than the bounds allow. Any other panic is a finding too.
pub fn play(now: Instant, data: &[u8]) -> usize {
    let mut events = 0;
    let metrics = Arc::new(Metrics::default());
    let mut target = Data::new(DtlsRole::Server, MESSAGE_BYTES_MAX, Arc::clone(&metrics));
    let (mut now, mut tag) = (now, None);
    let mut cookie_echo: Option<Vec<u8>> = None;
    let reply = DataMessage {
        channel: Arc::new(Channel::reliable("fuzz")),
        kind: DataKind::Binary,
        payload: vec![0; 3_000].into(),
    };
    let mut rest = data;
    while let [high, low, time, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let packet = with_header(&tail[..length], tag);
        now += Duration::from_millis(u64::from(*time) * 20);
        target.handle_timeout(now);
        target.handle_packet(now, &packet);
        target.flush(now, |packet| {
            tag = tag.or(tag_of_init_ack(packet));
            cookie_echo = cookie_echo.take().or(answer_to_init_ack(packet));
        });
        if let Some(echo) = cookie_echo.take().filter(|echo| !echo.is_empty()) {
            target.handle_packet(now, &with_header(&echo, tag));
            cookie_echo = Some(Vec::new());
        }
        while target.poll().is_some() {
            events += 1;
            // Refused while there is no association, and when the queue is full.
            let _ = target.send(&reply, None);
        }
        target.flush(now, |_| {});
        assert!(metrics.data_bytes.value() <= KEPT_BYTES_MAX, "more is kept than may be");
        rest = &tail[length..];
    }
    drop(target);
    assert_eq!(metrics.data_bytes.value(), 0, "something stays charged");
    events
}

/// The tag that our INIT ACK asks for.
fn tag_of_init_ack(packet: &[u8]) -> Option<[u8; 4]> {
    let is_init_ack = packet.get(12) == Some(&2);
    packet.get(16..20).filter(|_| is_init_ack)?.try_into().ok()
}

/// COOKIE ECHO with the cookie of our INIT ACK (RFC 9260 §3.3.3: parameter 7).
fn answer_to_init_ack(packet: &[u8]) -> Option<Vec<u8>> {
    tag_of_init_ack(packet)?;
    let mut parameters = packet.get(32..)?;
    loop {
        let [high, kind, length_high, length_low, ..] = *parameters else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if (high, kind) == (0, 7) {
            let cookie = parameters.get(4..length)?;
            let mut echo = vec![10, 0, length_high, length_low];
            echo.extend(cookie);
            return Some(echo);
        }
        parameters = parameters.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn with_header(chunks: &[u8], tag: Option<[u8; 4]>) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    let is_init = chunks.first() == Some(&1);
    packet.extend(tag.filter(|_| !is_init).unwrap_or_default());
    packet.extend([0; 4]);
    packet.extend(chunks);
    packet.resize(packet.len().next_multiple_of(4), 0);
    let checksum = CRC32C.checksum(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}
