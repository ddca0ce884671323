//! Accepting streams.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::socket::Sharing;

/// Connections that may wait for a worker to accept them.
const BACKLOG: i32 = 1_024;
/// Silence after which the kernel asks a client whether it is still there, how often, and how many times.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMES: u32 = 4;
/// How long a listener rests when the system has no descriptors or memory for another stream.
pub(crate) const LISTENER_REST: Duration = Duration::from_millis(100);

/// One worker's listener on one address.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) local: SocketAddr,
    /// Not watched until then.
    pub(crate) rests_until: Option<Instant>,
}

/// Binds a non-blocking listener. What is set on it holds for every stream that it accepts: no Nagle delay, since writes
/// are collected already, and keep-alive. IPv6 listeners take no IPv4 connections.
pub(crate) fn bind_tcp(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Streams of an earlier run that the kernel still remembers must not keep the port.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::AmongWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    keep_alive(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Has the kernel ask whether the other side is still there.
pub(crate) fn keep_alive(socket: &Socket) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE_AFTER)
        .with_interval(KEEP_ALIVE_EVERY)
        .with_retries(KEEP_ALIVE_TIMES);
    socket.set_tcp_keepalive(&keep_alive)
}

/// Tells errors of the system as a whole from those of one connection.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
