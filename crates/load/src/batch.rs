//! Datagrams taken from a socket in one call.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};

/// Most datagrams of one call.
const DATAGRAMS: usize = 32;
const DATAGRAM_BYTES: usize = 2048;

/// Buffers for what is received.
pub(crate) struct Batch {
    headers: MultiHeaders<()>,
    buffers: Vec<[u8; DATAGRAM_BYTES]>,
    lens: [usize; DATAGRAMS],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(DATAGRAMS, None),
            buffers: vec![[0; DATAGRAM_BYTES]; DATAGRAMS],
            lens: [0; DATAGRAMS],
        }
    }

    /// Takes what a socket has, at most a batch, and gives how many datagrams that were.
    pub(crate) fn fill(&mut self, socket: &UdpSocket) -> usize {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = Vec::with_capacity(DATAGRAMS);
        slices.extend(self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]));
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let mut count = 0;
        // An error is "nothing there", or an ICMP error of an earlier packet, which then counts as lost.
        if let Ok(received) = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None) {
            for (len, message) in self.lens.iter_mut().zip(received) {
                *len = message.bytes;
                count += 1;
            }
        }
        count
    }

    /// Gives a datagram of the last fill.
    pub(crate) fn datagram(&mut self, index: usize) -> &mut [u8] {
        &mut self.buffers[index][..self.lens[index]]
    }
}
