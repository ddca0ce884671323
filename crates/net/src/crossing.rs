//! What goes from one worker to another: a bounded ring of bytes for each ordered pair of workers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

use voex_worker::Crossed;

use crate::wake::Wake;

/// Bytes of packets and their headers that may wait on all ways between workers, shared evenly.
const CROSSINGS_BYTES: usize = 64 << 20;
/// The least and the most of it for one way; a full one drops.
const CROSSING_BYTES: RangeInclusive<usize> = 256 << 10..=2 << 20;

/// What it is (1 byte), length of the payload (2), source and destination.
const HEADER_BYTES: usize = ADDRESSES_AT + 2 * ADDRESS_BYTES;
const ADDRESSES_AT: usize = 1 + 2;
/// IPv6 address (IPv4 mapped) and port, after a byte that says which.
const ADDRESS_BYTES: usize = 1 + 16 + 2;

/// Writing end, at the sending worker.
pub(crate) struct CrossingSender {
    ring: Producer<u8>,
    half: usize,
    wake: Arc<Wake>,
    unannounced: bool,
}

/// Reading end, at the receiving worker.
pub(crate) struct CrossingReceiver {
    ring: Consumer<u8>,
}

/// What came out of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arrival {
    pub(crate) what: Crossed,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) len: usize,
}

/// What may pass, by the number that stands for it in a ring.
const KINDS: [Crossed; 5] = [
    Crossed::HandOver,
    Crossed::FromClient,
    Crossed::Claim,
    Crossed::Release,
    Crossed::Piped,
];

/// Gives the bytes that may wait on each way between so many workers.
pub(crate) fn crossing_bytes(workers: usize) -> usize {
    let ways = workers * workers.saturating_sub(1);
    (CROSSINGS_BYTES / ways.max(1)).clamp(*CROSSING_BYTES.start(), *CROSSING_BYTES.end())
}

/// Makes the way to the worker behind `wake`, on which so many bytes may wait.
pub(crate) fn crossing(wake: Arc<Wake>, bytes: usize) -> (CrossingSender, CrossingReceiver) {
    let (producer, consumer) = RingBuffer::new(bytes);
    (
        CrossingSender {
            ring: producer,
            half: bytes / 2,
            wake,
            unannounced: false,
        },
        CrossingReceiver { ring: consumer },
    )
}

impl CrossingSender {
    /// Queues something; false when the ring is full.
    pub(crate) fn push(&mut self, what: Crossed, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> bool {
        let Ok(len) = u16::try_from(payload.len()) else {
            return false;
        };
        if self.ring.slots() < HEADER_BYTES + payload.len() {
            return false;
        }
        let mut header = [0; HEADER_BYTES];
        header[0] = what as u8;
        header[1..ADDRESSES_AT].copy_from_slice(&len.to_be_bytes());
        let (source, destination) = header[ADDRESSES_AT..].split_at_mut(ADDRESS_BYTES);
        write_address(source, from);
        write_address(destination, to);
        let pushed = self
            .ring
            .push_entire_slice(&header)
            .and_then(|()| self.ring.push_entire_slice(payload));
        pushed.expect("only this end writes, so the room just seen is still there");
        self.unannounced = true;
        // A long pass must not fill the ring of a worker that sleeps.
        if self.ring.slots() < self.half {
            self.wake.notify();
        }
        true
    }

    /// Wakes the receiver if it sleeps and something was queued since the last call.
    pub(crate) fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced) {
            self.wake.notify();
        }
    }
}

impl CrossingReceiver {
    /// Takes the oldest: its payload goes to the start of `room`, which holds at least 65535 bytes.
    pub(crate) fn pop(&mut self, room: &mut [u8]) -> Option<Arrival> {
        let mut header = [0; HEADER_BYTES];
        self.peek(&mut header)?;
        let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
        if self.ring.slots() < HEADER_BYTES + len {
            return None;
        }
        let popped = self
            .ring
            .pop_entire_slice(&mut header)
            .and_then(|()| self.ring.pop_entire_slice(&mut room[..len]));
        popped.expect("only this end reads, so the bytes just seen are still there");
        let (source, destination) = header[ADDRESSES_AT..].split_at(ADDRESS_BYTES);
        Some(Arrival {
            what: KINDS[usize::from(header[0])],
            from: read_address(source),
            to: read_address(destination),
            len,
        })
    }

    /// Says whether a whole or partial packet waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    fn peek(&mut self, header: &mut [u8; HEADER_BYTES]) -> Option<()> {
        // Dropping the chunk uncommitted leaves it in the ring: the payload may still be on its way.
        let chunk = self.ring.read_chunk(HEADER_BYTES).ok()?;
        let (first, second) = chunk.as_slices();
        header[..first.len()].copy_from_slice(first);
        header[first.len()..].copy_from_slice(second);
        Some(())
    }
}

fn write_address(room: &mut [u8], address: SocketAddr) {
    let (kind, ip) = match address.ip() {
        IpAddr::V4(v4) => (4, v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => (6, v6),
    };
    room[0] = kind;
    room[1..17].copy_from_slice(&ip.octets());
    room[17..19].copy_from_slice(&address.port().to_be_bytes());
}

fn read_address(bytes: &[u8]) -> SocketAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[1..17]);
    let port = u16::from_be_bytes([bytes[17], bytes[18]]);
    match bytes[0] {
        4 => (Ipv4Addr::from([octets[12], octets[13], octets[14], octets[15]]), port).into(),
        _ => (Ipv6Addr::from(octets), port).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 256 << 10;

    fn pair() -> (CrossingSender, CrossingReceiver) {
        crossing(Arc::new(Wake::new().unwrap()), BYTES)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn packets_arrive_in_order_with_their_addresses_over_many_turns_of_the_ring() {
        let (mut sender, mut receiver) = pair();
        let mut room = vec![0; 65_536];
        let (v4, v6) = (address("192.0.2.1:3478"), address("[2001:db8::1]:50000"));
        for round in 0..2_000usize {
            let len = round * 37 % 1_400;
            let what = KINDS[round % KINDS.len()];
            assert!(sender.push(what, v4, v6, &vec![round as u8; len]));
            assert!(sender.push(Crossed::HandOver, v6, v4, b"second"));
            let arrival = |what, from, to, len| Some(Arrival { what, from, to, len });
            assert_eq!(receiver.pop(&mut room), arrival(what, v4, v6, len));
            assert!(room[..len].iter().all(|byte| *byte == round as u8));
            assert_eq!(receiver.pop(&mut room), arrival(Crossed::HandOver, v6, v4, 6));
            assert_eq!(receiver.pop(&mut room), None);
        }
    }

    #[test]
    fn what_may_wait_between_two_workers_depends_on_how_many_there_are() {
        let sizes = [1, 2, 8, 16, 64].map(|workers| crossing_bytes(workers) >> 10);
        assert_eq!(sizes, [2048, 2048, 1170, 273, 256]);
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_when_read() {
        let (mut sender, mut receiver) = pair();
        let (from, to) = (address("192.0.2.1:1"), address("192.0.2.2:2"));
        let payload = [7; 1_200];
        let mut taken = 0;
        while sender.push(Crossed::HandOver, from, to, &payload) {
            taken += 1;
        }
        assert_eq!(taken, BYTES / (HEADER_BYTES + payload.len()));
        let mut room = vec![0; 65_536];
        assert!(receiver.pop(&mut room).is_some());
        assert!(sender.push(Crossed::HandOver, from, to, &payload));
    }
}
