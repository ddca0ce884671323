//! One connection with a peer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

use voex_base::SocketId;
use voex_turn::{ConnectionId, Way};

use crate::streams::{Outgoing, Spares, is_transient};
use crate::sys::{Epoll, Interest};

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The peer has not answered.
    Connecting,
    /// It stands, and is not read: what the peer sends waits in the kernel.
    Unbound,
    /// Bytes go to and from a client's stream.
    Bound(SocketId),
    /// It ends: what waits is delivered until then, and what the peer says is not heard any more.
    Lingering(Instant),
}

/// How far one side is with saying that it sends no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// More may come.
    Open,
    /// It is said behind what waits.
    Wanted,
    /// It was said.
    Said,
}

pub(super) struct Peer {
    pub(super) token: u64,
    pub(super) connection: ConnectionId,
    socket: TcpStream,
    pub(super) stage: Stage,
    /// Bytes that the kernel has not taken.
    pub(super) out: Outgoing,
    /// The client is slow: the peer is not read.
    pub(super) is_paused: bool,
    /// Until when limits keep the client, and the peer, from being read.
    pub(super) client_throttled: Option<Instant>,
    pub(super) peer_throttled: Option<Instant>,
    /// The peer has said that it sends no more.
    pub(super) heard_end: bool,
    pub(super) ending: Ending,
    /// What epoll was asked for; `None` when it does not watch.
    watched: Option<Interest>,
}

impl Peer {
    /// Makes a connection that epoll watches, for input.
    pub(super) fn new(token: u64, connection: ConnectionId, socket: TcpStream, stage: Stage) -> Self {
        Self {
            token,
            connection,
            socket,
            stage,
            out: Outgoing::default(),
            is_paused: false,
            client_throttled: None,
            peer_throttled: None,
            heard_end: false,
            ending: Ending::Open,
            watched: Some(Interest::INPUT),
        }
    }

    /// Gives the client's stream that it is bound to.
    pub(super) fn client(&self) -> Option<SocketId> {
        match self.stage {
            Stage::Bound(client) => Some(client),
            _ => None,
        }
    }

    /// Gives until when limits keep the side from being read whose bytes go one way.
    pub(super) fn throttled(&mut self, way: Way) -> &mut Option<Instant> {
        match way {
            Way::ToPeer => &mut self.client_throttled,
            Way::ToClient => &mut self.peer_throttled,
        }
    }

    /// Tells what came of connecting.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.socket.take_error(), Ok(None)) && self.socket.peer_addr().is_ok()
    }

    /// Asks epoll for what it is to wait for now.
    pub(super) fn watch(&mut self, epoll: &Epoll) {
        let wanted = Interest {
            input: !self.heard_end
                && match self.stage {
                    Stage::Bound(_) => !self.is_paused && self.peer_throttled.is_none(),
                    Stage::Lingering(_) => true,
                    Stage::Connecting | Stage::Unbound => false,
                },
            output: self.stage == Stage::Connecting || !self.out.is_empty(),
        };
        if self.watched == Some(wanted) {
            return;
        }
        let watched = match self.watched {
            Some(_) => epoll.watch(self.socket.as_fd(), self.token, wanted),
            None => epoll.add_for(self.socket.as_fd(), self.token, wanted),
        };
        self.watched = watched.ok().map(|()| wanted);
    }

    /// Stops waiting: the kernel reports the end of a connection whether it was asked to or not, again and again.
    pub(super) fn unwatch(&mut self, epoll: &Epoll) {
        if self.watched.take().is_some() {
            let _ = epoll.remove(self.socket.as_fd());
        }
    }

    /// Reads once. `Ok(None)` is nothing for now, `Ok(Some(0))` the end.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.read(room) {
            Ok(len) => Ok(Some(len)),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends bytes behind those that wait.
    pub(super) fn send(&mut self, mut bytes: &[u8], spares: &mut Spares) -> io::Result<()> {
        if self.out.is_empty() {
            bytes = &bytes[self.write_now(bytes)?..];
        }
        if !bytes.is_empty() {
            self.out.push_bytes(bytes, spares);
        }
        Ok(())
    }

    /// Writes what waits, and says the end behind it if it is wanted.
    pub(super) fn flush(&mut self, spares: &mut Spares) -> io::Result<()> {
        if !self.out.is_empty() {
            let written = write(&self.socket, self.out.waiting())?;
            self.out.wrote(written, spares);
        }
        if self.out.is_empty() && self.ending == Ending::Wanted {
            self.ending = Ending::Said;
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Tells whether neither side has more to say.
    pub(super) fn is_over(&self) -> bool {
        self.heard_end && self.ending == Ending::Said
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        write(&self.socket, bytes)
    }
}

fn write(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if is_transient(&error) => Ok(0),
        Err(error) => Err(error),
    }
}
