//! A TCP or TLS connection that never waits.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustls::ClientConnection;

use crate::deframer::Deframer;
use crate::error::{Doing as _, LoadError};
use crate::tls::Tls;

/// Most bytes that wait in a stream for a server that does not read; what comes on top is held back and counted.
pub(crate) const WAITING_BYTES_MAX: usize = 256 << 10;
/// Room for what is read in one call.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Reads of one stream before others have their turn.
const READS_MAX: usize = 4;
/// Plain bytes that are encrypted at once: the largest record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 << 10;
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A connection to the server that carries messages both ways.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    deframer: Deframer,
    /// Plain bytes that wait to be sent, those before `sent` excepted.
    waiting: Vec<u8>,
    sent: usize,
    /// Most bytes of one write.
    write_bytes: usize,
    blocked_since: Option<Instant>,
    pressure: Pressure,
}

/// How a server that read too slowly was felt.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Pressure {
    /// Time in which bytes waited because the kernel took no more.
    pub(crate) blocked: Duration,
    /// Most bytes that waited.
    pub(crate) waiting_bytes_max: usize,
}

impl Stream {
    /// Connects; a TLS handshake begins with the first [`flush`](Self::flush). No write is longer than `cut` bytes.
    pub(crate) fn connect(address: SocketAddr, tls: Option<&Tls>, cut: Option<usize>) -> Result<Self, LoadError> {
        let connect = || {
            let socket = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let socket = connect().map_err(|source| LoadError::Unreachable { address, source })?;
        Ok(Self {
            socket,
            tls: tls.map(Tls::connection).transpose()?.map(Box::new),
            deframer: Deframer::default(),
            waiting: Vec::new(),
            sent: 0,
            write_bytes: cut.unwrap_or(usize::MAX),
            blocked_since: None,
            pressure: Pressure::default(),
        })
    }

    pub(crate) fn local_addr(&self) -> Result<SocketAddr, LoadError> {
        self.socket.local_addr().doing(|| "reading a local address".into())
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Tells whether `len` more bytes may wait.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.waiting.len() - self.sent + len <= WAITING_BYTES_MAX
    }

    /// Tells whether bytes wait for the kernel.
    pub(crate) fn is_blocked(&self) -> bool {
        self.sent < self.waiting.len() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Adds a message to what waits.
    pub(crate) fn push(&mut self, message: &[u8]) {
        self.waiting.extend_from_slice(message);
    }

    /// Gives what pressure was felt until now.
    pub(crate) fn pressure(&self) -> Pressure {
        let since = self.blocked_since.map_or(Duration::ZERO, |since| since.elapsed());
        Pressure {
            blocked: self.pressure.blocked + since,
            ..self.pressure
        }
    }

    /// Hands the kernel as much as it takes.
    ///
    /// # Errors
    /// Any but "not now"; the connection is over then.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.is_blocked() {
            match self.write_some() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.note_blocked();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.waiting.clear();
        self.sent = 0;
        if let Some(since) = self.blocked_since.take() {
            self.pressure.blocked += since.elapsed();
        }
        Ok(())
    }

    fn write_some(&mut self) -> io::Result<()> {
        let plain = &self.waiting[self.sent..];
        let plain = &plain[..plain.len().min(self.write_bytes)];
        match &mut self.tls {
            None => self.sent += self.socket.write(plain)?,
            Some(tls) if tls.wants_write() => {
                tls.write_tls(&mut self.socket)?;
            }
            // Encrypted only when nothing encrypted waits, so that this buffer is the only one that grows. What is
            // written during the handshake, a request at most, leaves with its last flight.
            Some(tls) => {
                let plain = &plain[..plain.len().min(RECORD_BYTES)];
                self.sent += tls.writer().write(plain)?;
            }
        }
        Ok(())
    }

    fn note_blocked(&mut self) {
        self.waiting.drain(..self.sent);
        self.sent = 0;
        self.pressure.waiting_bytes_max = self.pressure.waiting_bytes_max.max(self.waiting.len());
        self.blocked_since.get_or_insert_with(Instant::now);
    }

    /// Reads what has arrived and gives each whole message to `each`. `scratch` holds [`READ_BYTES`].
    ///
    /// # Errors
    /// What ended the connection: [`ErrorKind::UnexpectedEof`] when the server closed it, [`ErrorKind::InvalidData`]
    /// when it sent what is neither STUN nor ChannelData, or TLS that cannot be accepted.
    pub(crate) fn pull(&mut self, scratch: &mut [u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        for _ in 0..READS_MAX {
            let more = if self.tls.is_some() {
                self.pull_tls(scratch, &mut each)
            } else {
                self.pull_plain(scratch, &mut each)
            };
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads once; tells whether more may have arrived.
    fn pull_plain(&mut self, scratch: &mut [u8], each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let len = self.socket.read(scratch)?;
        if len == 0 {
            return Err(closed());
        }
        feed(&mut self.deframer, &scratch[..len], each)?;
        Ok(len == scratch.len())
    }

    fn pull_tls(&mut self, scratch: &mut [u8], each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let tls = self.tls.as_mut().expect("only called with TLS");
        let len = tls.read_tls(&mut self.socket)?;
        if let Err(error) = tls.process_new_packets() {
            let _ = tls.write_tls(&mut self.socket);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        loop {
            match tls.reader().read(scratch) {
                Ok(0) => return Err(closed()),
                Ok(len) => feed(&mut self.deframer, &scratch[..len], each)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if len == 0 {
            return Err(closed());
        }
        self.flush()?;
        Ok(true)
    }
}

fn feed(deframer: &mut Deframer, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let fed = deframer.feed(bytes, each);
    fed.map_err(|_| {
        io::Error::new(
            ErrorKind::InvalidData,
            "the server sent what is neither STUN nor ChannelData",
        )
    })
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")
}
