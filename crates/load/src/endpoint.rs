//! One end of a flow: a client's or a peer's socket.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, sendmmsg, sendmsg};

use crate::batch::Batch;
use crate::client::Client;
use crate::framing::FRAME_BYTES_MAX;
use crate::link::Link;
use crate::pattern::BURST_MAX;
use crate::stream::{READ_BYTES, Stream};

/// One end of a flow.
#[derive(Debug)]
pub enum Endpoint {
    /// A client with its allocation.
    Client(Box<Client>),
    /// A peer, connected to a relayed transport address.
    Peer(UdpSocket),
    /// A client that reads nothing.
    Stalled(Box<Client>),
    /// A client whose connection has ended.
    Gone,
}

/// Buffers for what is received.
pub(crate) struct Inbox {
    batch: Batch,
    stream: Vec<u8>,
}

/// Buffers for one shot.
pub(crate) struct Outbox {
    headers: MultiHeaders<()>,
    frames: Vec<[u8; FRAME_BYTES_MAX]>,
    lens: [usize; BURST_MAX],
    count: usize,
}

impl Endpoint {
    /// Gives what to watch; nothing of a client that does not read, or is gone.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Client(client) => Some(client.link().fd()),
            Self::Peer(socket) => Some(socket.as_fd()),
            Self::Stalled(_) | Self::Gone => None,
        }
    }

    pub(crate) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    /// Gives the connection of a client that has one.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Client(client) => match client.link() {
                Link::Stream(stream) => Some(stream),
                Link::Datagrams(_) => None,
            },
            _ => None,
        }
    }

    /// Gives the connection of a client that has one.
    pub(crate) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Client(client) => match client.link_mut() {
                Link::Stream(stream) => Some(stream),
                Link::Datagrams(_) => None,
            },
            _ => None,
        }
    }

    fn datagrams(&self) -> Option<&UdpSocket> {
        match self {
            Self::Client(client) => match client.link() {
                Link::Datagrams(socket) => Some(socket),
                Link::Stream(_) => None,
            },
            Self::Peer(socket) => Some(socket),
            Self::Stalled(_) | Self::Gone => None,
        }
    }
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            batch: Batch::new(),
            stream: vec![0; READ_BYTES],
        }
    }

    /// Takes a bounded part of what an endpoint has received and gives each message to `each`.
    ///
    /// # Errors
    /// What ended a connection.
    pub(crate) fn take(&mut self, endpoint: &mut Endpoint, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
        if let Some(stream) = endpoint.stream_mut() {
            return stream.pull(&mut self.stream, each);
        }
        let Some(socket) = endpoint.datagrams() else {
            return Ok(());
        };
        for index in 0..self.batch.fill(socket) {
            each(self.batch.datagram(index));
        }
        Ok(())
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

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Tells how many bytes wait to be flushed.
    pub(crate) fn bytes(&self) -> usize {
        self.lens[..self.count].iter().sum()
    }

    /// Sends everything to where the endpoint is connected, and gives how many messages left, or wait in a stream.
    ///
    /// # Errors
    /// What ended a connection.
    pub(crate) fn flush(&mut self, endpoint: &mut Endpoint, gso: bool) -> std::io::Result<usize> {
        let count = std::mem::take(&mut self.count);
        if let Some(stream) = endpoint.stream_mut() {
            let frames = self.frames.iter().zip(self.lens).take(count);
            frames.for_each(|(frame, len)| stream.push(&frame[..len]));
            stream.flush()?;
            return Ok(count);
        }
        Ok(endpoint.datagrams().map_or(0, |socket| self.send(socket, count, gso)))
    }

    /// Sends datagrams and gives how many left.
    fn send(&mut self, socket: &UdpSocket, count: usize, gso: bool) -> usize {
        if count == 1 {
            return usize::from(socket.send(&self.frames[0][..self.lens[0]]).is_ok());
        }
        let parts = self.frames.iter().zip(self.lens).take(count);
        let mut slices = [IoSlice::new(&[]); BURST_MAX];
        for (slice, (frame, len)) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(&frame[..len]);
        }
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        if gso {
            let segment = u16::try_from(self.lens[0]).expect("frames are shorter than 64 kB");
            let control = [ControlMessage::UdpGsoSegments(&segment)];
            let sent = sendmsg::<()>(fd, &slices[..count], &control, flags, None);
            return if sent.is_ok() { count } else { 0 };
        }
        let slices = slices.map(|slice| [slice]);
        let sent = sendmmsg(fd, &mut self.headers, &slices[..count], [None; BURST_MAX], [], flags);
        sent.map_or(0, Iterator::count)
    }
}
