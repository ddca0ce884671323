//! What a client speaks through.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Doing as _, LoadError};
use crate::rig::Target;
use crate::stream::{READ_BYTES, Stream};
use crate::transport::Transport;

/// Room in the kernel for what a server sends faster than this process reads, so that loss is the server's.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// A client's way to the server. Nothing here blocks but [`await_message`](Self::await_message).
#[derive(Debug)]
pub(crate) enum Link {
    /// A socket connected to the server.
    Datagrams(UdpSocket),
    /// A connection.
    Stream(Box<Stream>),
}

impl Link {
    /// Opens the way, from a port of its own.
    pub(crate) fn open(target: &Target) -> Result<Self, LoadError> {
        if target.transport.is_stream() {
            let tls = target.tls.as_ref().filter(|_| target.transport == Transport::Tls);
            return Ok(Self::Stream(Box::new(Stream::connect(
                target.address,
                tls,
                target.cut,
            )?)));
        }
        let any = match target.address.ip() {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let socket = udp_socket(any)?;
        let address = target.address;
        let connected = socket.connect(address);
        connected.map_err(|source| LoadError::Unreachable { address, source })?;
        Ok(Self::Datagrams(socket))
    }

    /// Gives this end of it.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr, LoadError> {
        match self {
            Self::Datagrams(socket) => socket.local_addr().doing(|| "reading a local address".into()),
            Self::Stream(stream) => stream.local_addr(),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(socket) => socket.as_fd(),
            Self::Stream(stream) => stream.fd(),
        }
    }

    /// Tells whether a message once given to it arrives, if anything does.
    pub(crate) fn is_reliable(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => match socket.send(message) {
                // A refusal by ICMP surfaces here or in the receive; it means "not yet" while a server starts.
                Err(error) if !is_passing(error.kind()) => Err(error),
                _ => Ok(()),
            },
            Self::Stream(stream) => {
                stream.push(message);
                stream.flush()
            }
        }
    }

    /// Waits for a message that is wanted; others are thrown away. Gives `None` when none comes in time.
    pub(crate) fn await_message(
        &mut self,
        until: Instant,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut scratch = vec![0; READ_BYTES];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let is_blocked = matches!(self, Self::Stream(stream) if stream.is_blocked());
            let events = if is_blocked {
                PollFlags::POLLIN | PollFlags::POLLOUT
            } else {
                PollFlags::POLLIN
            };
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.fd(), events)], timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut found = None;
            let keep = |message: &[u8]| {
                if found.is_none() && wanted(message) {
                    found = Some(message.to_vec());
                }
            };
            self.pull(&mut scratch, keep)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn pull(&mut self, scratch: &mut [u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => match socket.recv(scratch) {
                Ok(len) => each(&scratch[..len]),
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => return Err(error),
            },
            Self::Stream(stream) => {
                stream.flush()?;
                stream.pull(scratch, each)?;
            }
        }
        Ok(())
    }
}

/// Makes a UDP socket with room for a burst, bound to `address`; port 0 lets the kernel choose.
pub(crate) fn udp_socket(address: IpAddr) -> Result<UdpSocket, LoadError> {
    let address = SocketAddr::new(address, 0);
    let make = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok::<_, io::Error>(socket.into())
    };
    make().doing(|| format!("making a UDP socket on {address}"))
}

/// Errors after which a UDP socket is as good as before.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
    )
}
