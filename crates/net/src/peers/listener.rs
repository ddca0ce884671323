//! Sockets of TCP relays.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};
use voex_base::SocketId;

use crate::socket::Sharing;
use crate::streams::{bind_tcp, keep_alive};

/// Where peers of one TCP relay come in.
pub(super) struct PeerListener {
    pub(super) relay: SocketId,
    pub(super) socket: TcpListener,
    pub(super) local: SocketAddr,
    /// Not watched until then.
    pub(super) rests_until: Option<Instant>,
}

/// Listens on a relayed transport address that nobody else has.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind_tcp(address, Sharing::Exclusive)?;
    // Only now, when it is known that the address was free: our own connections shall leave from it too.
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// Begins to connect to a peer from a relayed transport address. The socket is writable when it is known what came of it.
pub(super) fn connect(local: SocketAddr, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    keep_alive(&socket)?;
    socket.bind(&local.into())?;
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}
