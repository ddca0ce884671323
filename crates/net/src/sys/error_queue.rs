//! What became of datagrams that a socket sent before: the kernel keeps it in the socket's error queue (`IP_RECVERR`).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_int;
use voex_turn::Icmp;

use super::{address, check, set_option};

/// Room for one control message with its `sock_extended_err` and the address of who complained, in 8-byte words.
const CONTROL_WORDS: usize = 16;

/// A datagram that did not reach a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PeerError {
    /// Where the datagram was sent.
    pub(crate) peer: SocketAddr,
    /// Why it did not arrive.
    pub(crate) icmp: Icmp,
}

/// Has the kernel keep errors of what a socket sends. From then on an ICMP message also makes the next call on the socket
/// fail, once: see [`send`](super::send).
pub(crate) fn keep_errors(socket: BorrowedFd<'_>, local: SocketAddr) -> io::Result<()> {
    match local {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// Takes the oldest error off the queue without waiting: `None` when it says nothing of a peer.
///
/// # Errors
/// When the queue is empty.
pub(crate) fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<PeerError>> {
    // SAFETY: both types are plain integers and raw pointers, for which all zeroes is a value.
    let (mut header, mut name): (libc::msghdr, libc::sockaddr_storage) = unsafe { zeroed() };
    let mut control = [0u64; CONTROL_WORDS];
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: name and control buffer outlive the call and have their lengths beside them; there is no room for payload.
    check(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) } as c_int)?;
    let peer = address(&name);
    Ok(extended_error(&header).and_then(|error| {
        let peer = peer?;
        Some(PeerError {
            peer,
            icmp: icmp_of(&error, peer)?,
        })
    }))
}

fn extended_error(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: the kernel filled `msg_control` and set `msg_controllen` to what it wrote; the macros stay inside.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: a non-null result of the macros points at a whole control header in the buffer.
        let kind = unsafe { ((*control).cmsg_level, (*control).cmsg_type) };
        if matches!(
            kind,
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        ) {
            // SAFETY: such a control message begins with the structure, plain integers, read without an alignment demand.
            return Some(unsafe {
                libc::CMSG_DATA(control)
                    .cast::<libc::sock_extended_err>()
                    .read_unaligned()
            });
        }
        // SAFETY: `control` came from the same header.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    None
}

/// Gives an error as the ICMP message that it is, or that the kernel would have got had it not known the path's MTU
/// already.
fn icmp_of(error: &libc::sock_extended_err, peer: SocketAddr) -> Option<Icmp> {
    let too_big = if peer.is_ipv4() { (3, 4) } else { (2, 0) };
    let (kind, code) = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => (error.ee_type, error.ee_code),
        libc::SO_EE_ORIGIN_LOCAL if error.ee_errno == libc::EMSGSIZE as u32 => too_big,
        _ => return None,
    };
    let data = if (kind, code) == too_big { error.ee_info } else { 0 };
    Some(Icmp { kind, code, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(origin: u8, kind: u8, code: u8, errno: c_int) -> libc::sock_extended_err {
        libc::sock_extended_err {
            ee_errno: errno as u32,
            ee_origin: origin,
            ee_type: kind,
            ee_code: code,
            ee_pad: 0,
            ee_info: 1_280,
            ee_data: 0,
        }
    }

    #[test]
    fn an_error_is_told_as_icmp_with_the_mtu_where_that_is_what_it_is_about() {
        let (v4, v6) = ("192.0.2.1:9".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap());
        let icmp = |kind, code, data| Some(Icmp { kind, code, data });
        let (of_v4, of_v6) = (libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6);
        assert_eq!(icmp_of(&error(of_v4, 3, 3, libc::ECONNREFUSED), v4), icmp(3, 3, 0));
        assert_eq!(icmp_of(&error(of_v4, 3, 4, libc::EMSGSIZE), v4), icmp(3, 4, 1_280));
        assert_eq!(icmp_of(&error(of_v6, 2, 0, libc::EMSGSIZE), v6), icmp(2, 0, 1_280));
        let local = libc::SO_EE_ORIGIN_LOCAL;
        assert_eq!(icmp_of(&error(local, 0, 0, libc::EMSGSIZE), v4), icmp(3, 4, 1_280));
        assert_eq!(icmp_of(&error(local, 0, 0, libc::EMSGSIZE), v6), icmp(2, 0, 1_280));
        assert_eq!(icmp_of(&error(local, 0, 0, libc::EACCES), v4), None);
        assert_eq!(icmp_of(&error(libc::SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 0), v4), None);
    }
}
