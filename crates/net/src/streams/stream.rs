//! One stream: what carries its messages, and what waits for its reader.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;
use voex_base::{Protocol, SocketId};
use voex_stun::PacketKind;
use voex_turn::ClientPath;

use super::data::Data;
use super::framer::Framer;
use super::outgoing::{Outgoing, Spares};
use super::tls::{Taken, Tls};
use crate::metrics::{HandshakeFailure, Metrics, StreamEnd};
use crate::peers::Ending;
use crate::sys::{Epoll, Interest};

/// Bytes read from one stream in one pass, so that a flood gets its turn and no more.
pub(crate) const READ_BYTES_PER_PASS: usize = 16 << 10;
/// First byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Where a worker reads its streams into, one after another.
pub(crate) struct Room {
    bytes: Vec<u8>,
    len: usize,
    plain: Vec<u8>,
    is_sealed: bool,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            len: 0,
            plain: Vec::new(),
            is_sealed: false,
        }
    }

    /// Gives what the client sent, decrypted.
    pub(crate) fn messages(&mut self) -> &mut [u8] {
        match self.is_sealed {
            true => &mut self.plain,
            false => &mut self.bytes[..self.len],
        }
    }
}

/// What streams may begin as.
pub(super) struct Beginnings {
    /// STUN, without TLS around it.
    pub(super) plain: bool,
    /// TLS, with this.
    pub(super) tls: Option<Arc<ServerConfig>>,
}

/// What carries the messages of a stream.
pub(super) enum Layer {
    /// Nothing was heard yet: the first byte tells.
    Unknown,
    Plain,
    Tls(Box<Tls>),
}

pub(super) struct Stream {
    pub(super) id: SocketId,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    socket: TcpStream,
    pub(super) layer: Layer,
    pub(super) framer: Framer,
    /// Messages that wait.
    pub(super) out: Outgoing,
    /// Sealed bytes that wait; written before anything else is sealed.
    wire: Outgoing,
    /// Stands in the list of streams to be looked at after the pass.
    pub(super) is_touched: bool,
    /// The kernel took less than it was offered, and has not said yet that it takes more.
    pub(super) is_blocked: bool,
    /// What epoll was asked for; `None` when it does not watch.
    watched: Option<Interest>,
    /// Its last message took it away from here: it is not read until it is gone.
    pub(super) is_held: bool,
    /// Nothing follows what was read with that message.
    pub(super) has_said_all: bool,
    /// Set when it carries no messages any more, but bytes of a peer.
    pub(super) data: Option<Box<Data>>,
    /// Counts among its source's streams, until it has an allocation.
    pub(super) is_stranger: bool,
    /// The worker knows it: its client may send messages.
    pub(super) is_open: bool,
    /// Why it ends, once what waits was offered to the kernel.
    pub(super) ending: Option<StreamEnd>,
    pub(super) heard_at: Instant,
    pub(super) deadline: Instant,
}

/// What a read brought.
pub(super) enum Heard {
    /// Nothing, for now.
    Nothing,
    /// Bytes, in the room; none of them may be messages while a handshake runs.
    Bytes,
    /// The last bytes, in the room.
    LastBytes,
    /// The stream is over.
    End(StreamEnd),
}

impl Stream {
    pub(super) fn new(id: SocketId, socket: TcpStream, client: SocketAddr, local: SocketAddr, now: Instant) -> Self {
        Self {
            id,
            client,
            local,
            socket,
            layer: Layer::Unknown,
            framer: Framer::default(),
            out: Outgoing::default(),
            wire: Outgoing::default(),
            is_touched: false,
            is_blocked: false,
            watched: Some(Interest::INPUT),
            is_held: false,
            has_said_all: false,
            data: None,
            is_stranger: true,
            is_open: false,
            ending: None,
            heard_at: now,
            deadline: now,
        }
    }

    /// Becomes a stream of another worker.
    pub(super) fn settle(&mut self, id: SocketId, now: Instant) {
        self.id = id;
        self.is_touched = false;
        self.is_blocked = false;
        self.is_stranger = true;
        self.is_held = false;
        self.heard_at = now;
        self.deadline = now;
    }

    /// Bytes that wait for the reader.
    pub(super) fn queued(&self) -> usize {
        self.out.len() + self.wire.len()
    }

    /// Tells whether a handshake runs.
    pub(super) fn is_shaking_hands(&self) -> bool {
        matches!(&self.layer, Layer::Tls(tls) if !tls.is_up())
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self.layer {
            Layer::Tls(_) => Protocol::Tls,
            _ => Protocol::Tcp,
        }
    }

    /// Tells how the client talks, once that is known.
    pub(super) fn path(&self) -> Option<ClientPath> {
        let tls = match &self.layer {
            Layer::Plain => None,
            Layer::Tls(tls) if tls.is_up() => Some(tls.session()),
            Layer::Unknown | Layer::Tls(_) => return None,
        };
        Some(ClientPath {
            protocol: self.protocol(),
            local: self.local,
            tls,
        })
    }

    /// Reads once. `sealed` is scratch; `beginnings` says what a stream may be that says its first words.
    pub(super) fn read(
        &mut self,
        room: &mut Room,
        beginnings: &Beginnings,
        sealed: &mut Vec<u8>,
        spares: &mut Spares,
        metrics: &Metrics,
    ) -> Heard {
        let pending = match &self.layer {
            Layer::Tls(tls) => tls.pending(),
            _ => &[],
        };
        let start = pending.len();
        if room.bytes.len() < start + READ_BYTES_PER_PASS {
            room.bytes.resize(start + READ_BYTES_PER_PASS, 0);
        }
        room.bytes[..start].copy_from_slice(pending);
        let len = match self.socket.read(&mut room.bytes[start..start + READ_BYTES_PER_PASS]) {
            Ok(0) => return Heard::End(StreamEnd::ClosedByClient),
            Ok(len) => len,
            Err(error) if is_transient(&error) => return Heard::Nothing,
            Err(_) => return Heard::End(StreamEnd::Broken),
        };
        metrics.stream_reads.inc();
        metrics.stream_received_bytes.add(len as u64);
        room.len = start + len;
        if let Layer::Unknown = self.layer
            && let Err(end) = self.recognise(&room.bytes[..room.len], beginnings)
        {
            return Heard::End(end);
        }
        room.is_sealed = self.protocol() == Protocol::Tls;
        match &mut self.layer {
            Layer::Tls(tls) => {
                room.plain.clear();
                sealed.clear();
                let was_up = tls.is_up();
                let taken = tls.take(&mut room.bytes[..room.len], &mut room.plain, sealed);
                self.wire.push_bytes(sealed, spares);
                match taken {
                    Ok(Taken::Open) => Heard::Bytes,
                    Ok(Taken::ClosedByClient) => Heard::LastBytes,
                    Err(_) if was_up => Heard::End(StreamEnd::TlsBroken),
                    Err(error) => {
                        metrics.handshakes_failed.of(HandshakeFailure::of(&error)).inc();
                        Heard::End(StreamEnd::HandshakeFailed)
                    }
                }
            }
            _ => Heard::Bytes,
        }
    }

    /// Tells by the first byte what the client talks, as every port takes both.
    fn recognise(&mut self, bytes: &[u8], beginnings: &Beginnings) -> Result<(), StreamEnd> {
        self.layer = if bytes.first() == Some(&TLS_HANDSHAKE) {
            let config = beginnings.tls.as_ref().ok_or(StreamEnd::ProtocolOff)?;
            let tls = Tls::new(config).map_err(|_| StreamEnd::HandshakeFailed)?;
            Layer::Tls(Box::new(tls))
        } else if PacketKind::of(bytes) != PacketKind::Stun {
            // Nobody has a channel yet: whoever begins with anything but STUN does not talk TURN.
            return Err(StreamEnd::NotTurn);
        } else if beginnings.plain {
            Layer::Plain
        } else {
            return Err(StreamEnd::ProtocolOff);
        };
        Ok(())
    }

    /// Writes what waits until the kernel takes no more. `sealed` is scratch.
    pub(super) fn write(
        &mut self,
        sealed: &mut Vec<u8>,
        spares: &mut Spares,
        metrics: &Metrics,
    ) -> Result<(), StreamEnd> {
        while !self.is_blocked {
            let (queue, is_wire) = match &mut self.layer {
                _ if !self.wire.is_empty() => (&mut self.wire, true),
                Layer::Plain if !self.out.is_empty() => (&mut self.out, false),
                Layer::Tls(tls) if tls.is_up() && !self.out.is_empty() => {
                    sealed.clear();
                    let (waiting, messages_len) = (self.out.waiting(), self.out.messages_len());
                    let len = tls
                        .seal(waiting, messages_len, sealed)
                        .map_err(|_| StreamEnd::TlsBroken)?;
                    self.out.wrote(len, spares);
                    self.wire.push_bytes(sealed, spares);
                    (&mut self.wire, true)
                }
                _ => return Ok(()),
            };
            let waiting = queue.len();
            metrics.stream_writes.inc();
            let written = match self.socket.write(queue.waiting()) {
                Ok(written) => written,
                Err(error) if is_transient(&error) => 0,
                Err(_) => return Err(StreamEnd::Broken),
            };
            queue.wrote(written, spares);
            metrics.stream_sent_bytes.add(written as u64);
            self.is_blocked = written < waiting;
            if !is_wire {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks epoll for what it is to wait for now.
    pub(super) fn watch(&mut self, epoll: &Epoll) {
        let wanted = Interest {
            input: !self.is_held && self.data.as_ref().is_none_or(|data| data.is_read()),
            output: self.is_blocked,
        };
        if self.watched == Some(wanted) {
            return;
        }
        let watched = match self.watched {
            Some(_) => epoll.watch(self.socket.as_fd(), self.id.0, wanted),
            None => epoll.add_for(self.socket.as_fd(), self.id.0, wanted),
        };
        self.watched = watched.ok().map(|()| wanted);
    }

    /// Stops waiting: the kernel reports the end of a connection whether it was asked to or not, again and again.
    pub(super) fn unwatch(&mut self, epoll: &Epoll) {
        if self.watched.take().is_some() {
            let _ = epoll.remove(self.socket.as_fd());
        }
    }

    /// Says on a data connection, once nothing else waits, that nothing follows, if that is wanted.
    pub(super) fn say_end(
        &mut self,
        sealed: &mut Vec<u8>,
        spares: &mut Spares,
        metrics: &Metrics,
    ) -> Result<(), StreamEnd> {
        let is_wanted = self.data.as_ref().is_some_and(|data| data.ending == Ending::Wanted);
        if !is_wanted || self.queued() > 0 {
            return Ok(());
        }
        if let (Layer::Tls(tls), Some(data)) = (&mut self.layer, &mut self.data)
            && !std::mem::replace(&mut data.is_end_sealed, true)
        {
            sealed.clear();
            tls.seal_end(sealed).map_err(|_| StreamEnd::TlsBroken)?;
            self.wire.push_bytes(sealed, spares);
            self.write(sealed, spares, metrics)?;
        }
        if let Some(data) = self.data.as_mut().filter(|_| self.wire.is_empty()) {
            data.ending = Ending::Said;
            self.socket.shutdown(Shutdown::Write).map_err(|_| StreamEnd::Broken)?;
        }
        Ok(())
    }

    /// Tells the client over TLS that the stream ends, if the kernel takes it.
    pub(super) fn say_goodbye(&mut self, sealed: &mut Vec<u8>) {
        let is_idle = self.queued() == 0 && self.data.as_ref().is_none_or(|data| data.ending == Ending::Open);
        if let Layer::Tls(tls) = &mut self.layer
            && tls.is_up()
            && is_idle
        {
            sealed.clear();
            if tls.seal_end(sealed).is_ok() {
                let _ = self.socket.write(sealed);
            }
        }
    }
}

pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
