//! Entry for the fuzzer: bytes of any kind into an established transport.

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::{Outbox, SocketId};

use crate::{Transport, binding_request_ufrag};

/// Feeds `data` as a run of datagrams, each behind two bytes of length, over a pair the transport knows. Panics are the
/// finding; what comes back is of no interest.
pub fn feed(transport: &mut Transport, now: Instant, pair: (SocketId, SocketAddr), data: &[u8], out: &mut impl Outbox) {
    let mut rest = data;
    while let [high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let mut datagram = tail[..len].to_vec();
        let _ = binding_request_ufrag(&datagram);
        let _ = transport.handle_datagram(now, pair.0, pair.1, &mut datagram, out);
        rest = &tail[len..];
    }
}
