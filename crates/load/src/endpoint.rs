//! A socket of the load: a client's or a peer's.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, recvmmsg, sendmmsg, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::Client;
use crate::error::{Doing as _, LoadError};
use crate::framing::FRAME_BYTES_MAX;
use crate::pattern::BURST_MAX;

/// Datagrams taken from a socket in one call.
pub(crate) const RECEIVE_BATCH: usize = 32;
const RECEIVE_BYTES: usize = 2048;
/// Room in the kernel for what a server sends faster than this process reads, so that loss is the server's.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// One end of a flow.
#[derive(Debug)]
pub enum Endpoint {
    /// A client with its allocation.
    Client(Box<Client>),
    /// A peer, connected to a relayed transport address.
    Peer(UdpSocket),
}

/// Buffers for batches of received datagrams.
pub(crate) struct Inbox {
    headers: MultiHeaders<()>,
    buffers: Vec<[u8; RECEIVE_BYTES]>,
    lens: [usize; RECEIVE_BATCH],
    count: usize,
}

/// Buffers for one shot.
pub(crate) struct Outbox {
    headers: MultiHeaders<()>,
    frames: Vec<[u8; FRAME_BYTES_MAX]>,
    lens: [usize; BURST_MAX],
    count: usize,
}

impl Endpoint {
    pub(crate) fn socket(&self) -> &UdpSocket {
        match self {
            Self::Client(client) => client.socket(),
            Self::Peer(socket) => socket,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// Makes a UDP socket with room for a burst, bound to `address`; port 0 lets the kernel choose.
pub(crate) fn udp_socket(address: IpAddr) -> Result<UdpSocket, LoadError> {
    let address = SocketAddr::new(address, 0);
    let make = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        Ok::<_, io::Error>(socket.into())
    };
    make().doing(|| format!("making a UDP socket on {address}"))
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(RECEIVE_BATCH, None),
            buffers: vec![[0; RECEIVE_BYTES]; RECEIVE_BATCH],
            lens: [0; RECEIVE_BATCH],
            count: 0,
        }
    }

    /// Takes what a socket has, at most a batch; afterwards [`datagrams`](Self::datagrams) gives it.
    pub(crate) fn fill(&mut self, endpoint: &Endpoint) {
        self.count = 0;
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = Vec::with_capacity(RECEIVE_BATCH);
        slices.extend(self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]));
        let fd = endpoint.socket().as_raw_fd();
        // An error is "nothing there", or an ICMP error of an earlier packet, which then counts as lost.
        if let Ok(received) = recvmmsg(fd, &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            for (len, message) in self.lens.iter_mut().zip(received) {
                *len = message.bytes;
                self.count += 1;
            }
        }
    }

    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers
            .iter()
            .zip(self.lens)
            .take(self.count)
            .map(|(buffer, len)| &buffer[..len])
    }
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BURST_MAX, None),
            frames: vec![[0; FRAME_BYTES_MAX]; BURST_MAX],
            lens: [0; BURST_MAX],
            count: 0,
        }
    }

    /// Adds a datagram that `write` fills and tells the length of.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut [u8; FRAME_BYTES_MAX]) -> usize) {
        self.lens[self.count] = write(&mut self.frames[self.count]);
        self.count += 1;
    }

    /// Sends everything to where the socket is connected, and gives how many datagrams left.
    pub(crate) fn flush(&mut self, endpoint: &Endpoint, gso: bool) -> usize {
        let count = std::mem::take(&mut self.count);
        let socket = endpoint.socket();
        if count == 1 {
            return usize::from(socket.send(&self.frames[0][..self.lens[0]]).is_ok());
        }
        let parts = self.frames.iter().zip(self.lens).take(count);
        let mut slices = [IoSlice::new(&[]); BURST_MAX];
        for (slice, (frame, len)) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(&frame[..len]);
        }
        if gso {
            let segment = u16::try_from(self.lens[0]).expect("frames are shorter than 64 kB");
            let control = [ControlMessage::UdpGsoSegments(&segment)];
            let sent = sendmsg::<()>(
                socket.as_raw_fd(),
                &slices[..count],
                &control,
                MsgFlags::MSG_DONTWAIT,
                None,
            );
            return if sent.is_ok() { count } else { 0 };
        }
        let slices = slices.map(|slice| [slice]);
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &slices[..count],
            [None; BURST_MAX],
            [],
            MsgFlags::MSG_DONTWAIT,
        );
        sent.map_or(0, Iterator::count)
    }
}
