//! Opening UDP sockets the way the worker loop wants them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

/// Kernel buffer asked for in each direction; the kernel may grant less without CAP_NET_ADMIN.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Who else may bind the same address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    /// Nobody.
    Exclusive,
    /// The other workers: the kernel spreads five-tuples over them (`SO_REUSEPORT`).
    AmongWorkers,
}

/// Binds a non-blocking UDP socket. IPv6 sockets take no IPv4 traffic.
pub(crate) fn bind_udp(address: SocketAddr, sharing: Sharing, gro: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if sharing == Sharing::AmongWorkers {
        socket.set_reuse_port(true)?;
    }
    // Refusals only cost capacity: the kernel then keeps its own, smaller limit.
    if sys::force_receive_buffer(socket.as_fd(), SOCKET_BUFFER_BYTES).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    }
    if sys::force_send_buffer(socket.as_fd(), SOCKET_BUFFER_BYTES).is_err() {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    }
    if gro {
        sys::set_gro(socket.as_fd())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Gives the address a socket is bound to.
pub(crate) fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}
