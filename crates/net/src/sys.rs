//! Every system call that the standard library and `socket2` do not offer, each behind a safe function.
//!
//! This module and what is inside it are all of the project that holds `unsafe`; each block says why it is sound.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void};
use socket2::SockAddr;
use voex_base::DATAGRAM_BYTES_MAX;

pub(crate) mod error_queue;

/// `setsockopt` level of UDP.
const SOL_UDP: c_int = 17;
/// Segment size of a GSO message (linux/udp.h), as option and as control message.
const UDP_SEGMENT: c_int = 103;
/// Receive offload (linux/udp.h), as option and as control message.
const UDP_GRO: c_int = 104;

/// Most segments that the kernel takes in one GSO message (`UDP_MAX_SEGMENTS` of kernels before 6.9).
pub(crate) const SEGMENTS_MAX: usize = 64;
/// Messages taken in one receive call.
pub(crate) const RECEIVE_BATCH: usize = 16;
/// Room for one received message: the largest datagram or GRO train, and a pad that keeps the starts of buffers out of
/// one cache set.
const BUFFER_STRIDE: usize = 65_536 + 320;
/// Room for control messages of one message, in 8-byte words.
const CONTROL_WORDS: usize = 8;

/// An epoll instance, level-triggered: a socket that was not emptied is reported again, so no list of leftovers is kept
/// and no receive call is spent on hearing "empty".
pub(crate) struct Epoll(OwnedFd);

/// What a descriptor is watched for. The end of a connection is reported whatever is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interest {
    pub(crate) input: bool,
    /// Room to write.
    pub(crate) output: bool,
}

impl Interest {
    pub(crate) const INPUT: Self = Self {
        input: true,
        output: false,
    };

    fn bits(self) -> u32 {
        let input = if self.input { libc::EPOLLIN } else { 0 };
        let output = if self.output { libc::EPOLLOUT } else { 0 };
        (input | output) as u32
    }
}

/// Tokens of the descriptors that became ready.
pub(crate) struct Ready {
    events: Vec<libc::epoll_event>,
    len: usize,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; the result is checked before use.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` was just created and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `fd` for input and reports it as `token`.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.add_for(fd, token, Interest::INPUT)
    }

    /// Watches `fd` for what is of interest and reports it as `token`.
    pub(crate) fn add_for(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Watches `fd`, which is watched already, for something else.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    fn control(&self, operation: c_int, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.bits(),
            u64: token,
        };
        // SAFETY: both descriptors are open for the call, `event` lives through it.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }

    /// Stops watching `fd`.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let none = std::ptr::null_mut();
        // SAFETY: both descriptors are open for the call; the event pointer is ignored by EPOLL_CTL_DEL.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), none) })?;
        Ok(())
    }

    /// Waits until something is ready or `timeout` is over; `None` waits for ever, zero only looks.
    ///
    /// A signal ends the wait early with nothing ready.
    pub(crate) fn wait(&self, ready: &mut Ready, timeout: Option<Duration>) -> io::Result<()> {
        ready.len = 0;
        let timeout = timeout.map(|t| libc::timespec {
            tv_sec: t.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: t.subsec_nanos().into(),
        });
        let timeout_ptr = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let capacity = ready.events.len() as c_int;
        // SAFETY: `events` holds `capacity` initialised entries; `timeout` outlives the call or the pointer is null.
        let count = unsafe {
            libc::epoll_pwait2(
                self.0.as_raw_fd(),
                ready.events.as_mut_ptr(),
                capacity,
                timeout_ptr,
                std::ptr::null(),
            )
        };
        match check(count) {
            Ok(count) => ready.len = count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What happened to a descriptor, besides that it may have input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReadyEvent {
    /// It has room to write, which was asked for.
    pub(crate) is_writable: bool,
    /// Nothing can be written any more, and once what has arrived is read nothing comes.
    pub(crate) is_broken: bool,
}

impl Ready {
    /// Makes room for `capacity` descriptors a call.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            events: vec![libc::epoll_event { events: 0, u64: 0 }; capacity],
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Gives the token of the `index`th ready descriptor.
    pub(crate) fn token(&self, index: usize) -> u64 {
        self.events[index].u64
    }

    /// Gives what happened to the `index`th ready descriptor.
    pub(crate) fn event(&self, index: usize) -> ReadyEvent {
        let bits = self.events[index].events;
        ReadyEvent {
            is_writable: bits & libc::EPOLLOUT as u32 != 0,
            is_broken: bits & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0,
        }
    }
}

/// A counter that epoll can wait for: how other threads wake a sleeping worker.
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; the result is checked before use.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: `fd` was just created and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes the descriptor readable.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // SAFETY: writes the 8 bytes of `one`. The call fails only when the counter is full, and then it is readable.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast::<c_void>(), size_of::<u64>()) };
    }

    /// Makes the descriptor unreadable until the next signal.
    pub(crate) fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: reads 8 bytes into `count`. The call fails only when there is nothing to clear.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast::<c_void>(), size_of::<u64>()) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Buffers for one `recvmmsg` call.
pub(crate) struct ReceiveBatch {
    bytes: Vec<u8>,
    names: [libc::sockaddr_storage; RECEIVE_BATCH],
    controls: [[u64; CONTROL_WORDS]; RECEIVE_BATCH],
    results: [Received; RECEIVE_BATCH],
}

/// What arrived in one buffer.
#[derive(Clone, Copy)]
struct Received {
    len: usize,
    segment: usize,
    truncated: bool,
}

/// One datagram, or a train of datagrams of equal length (the last may be shorter) from one source.
pub(crate) struct Message<'a> {
    /// Source; `None` when the kernel gave an address of another family.
    pub(crate) from: Option<SocketAddr>,
    /// Length of each datagram in `bytes`, at least 1.
    pub(crate) segment: usize,
    /// Whether bytes were cut off.
    pub(crate) truncated: bool,
    /// The payload.
    pub(crate) bytes: &'a mut [u8],
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; RECEIVE_BATCH * BUFFER_STRIDE],
            // SAFETY: `sockaddr_storage` is plain integers, for which all zeroes is a value.
            names: unsafe { zeroed() },
            controls: [[0; CONTROL_WORDS]; RECEIVE_BATCH],
            results: [Received {
                len: 0,
                segment: 1,
                truncated: false,
            }; RECEIVE_BATCH],
        }
    }

    /// Takes up to [`RECEIVE_BATCH`] messages off a socket without waiting; gives how many.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: both types are plain integers and raw pointers, for which all zeroes is a value.
        let mut vectors: [libc::iovec; RECEIVE_BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { zeroed() };
        for (i, buffer) in self.bytes.chunks_exact_mut(BUFFER_STRIDE).enumerate() {
            vectors[i] = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: DATAGRAM_BYTES_MAX + 1,
            };
        }
        for (i, header) in headers.iter_mut().enumerate() {
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut self.names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut vectors[i];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].as_mut_ptr().cast();
            header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>() as _;
        }
        // SAFETY: every pointer in `headers` points into `self` or `vectors`, which outlive the call, with the true
        // length beside it; no two headers share a buffer.
        let count = check(unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE_BATCH as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        })? as usize;
        for (result, header) in self.results.iter_mut().zip(&headers[..count]) {
            let len = header.msg_len as usize;
            *result = Received {
                len,
                segment: gro_segment(&header.msg_hdr).unwrap_or(len).max(1),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
        }
        Ok(count)
    }

    /// Gives the `index`th message of the last [`ReceiveBatch::receive`].
    pub(crate) fn message(&mut self, index: usize) -> Message<'_> {
        let Received {
            len,
            segment,
            truncated,
        } = self.results[index];
        let start = index * BUFFER_STRIDE;
        Message {
            from: address(&self.names[index]),
            segment,
            truncated,
            bytes: &mut self.bytes[start..start + len],
        }
    }
}

/// Reads the GRO segment size out of a received header's control messages.
fn gro_segment(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel filled `msg_control` and set `msg_controllen` to what it wrote; the macros stay inside.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: a non-null result of the macros points at a whole control header in the buffer.
        let (level, kind) = unsafe { ((*control).cmsg_level, (*control).cmsg_type) };
        if level == SOL_UDP && kind == UDP_GRO {
            // SAFETY: a UDP_GRO control message carries one `int`; read without an alignment demand.
            let size = unsafe { libc::CMSG_DATA(control).cast::<c_int>().read_unaligned() };
            return usize::try_from(size).ok();
        }
        // SAFETY: `control` came from the same header.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    None
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let storage = std::ptr::from_ref(storage);
    // SAFETY: the family says which of the two layouts the kernel wrote; both fit into the storage and are plain
    // integers.
    unsafe {
        match c_int::from((*storage).ss_family) {
            libc::AF_INET => {
                let v4 = &*storage.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                let v6 = &*storage.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// Control buffer of a GSO message: one header and a 16-bit size, aligned as the kernel wants it.
#[repr(C)]
struct SegmentControl {
    header: libc::cmsghdr,
    segment: u16,
    pad: [u8; 6],
}

/// Sends one datagram; never waits. Cheaper than a message with vectors, which the kernel must copy first.
pub(crate) fn send(socket: BorrowedFd<'_>, to: &SockAddr, payload: &[u8]) -> io::Result<usize> {
    // SAFETY: payload and address outlive the call and have the lengths beside them; sendto writes to neither.
    past_old_error(|| unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            to.as_ptr().cast(),
            to.len(),
        )
    })
}

/// Makes a call that sends, and makes it again where it told of what became of an earlier datagram instead
/// ([`error_queue`]): an ICMP message about one peer shall cost no other its packet.
fn past_old_error(send: impl Fn() -> libc::ssize_t) -> io::Result<usize> {
    let tried = || match send() {
        sent if sent < 0 => Err(io::Error::last_os_error()),
        sent => Ok(sent as usize),
    };
    match tried() {
        Err(error) if error.raw_os_error().is_some_and(is_of_icmp) => tried(),
        result => result,
    }
}

/// Tells whether the kernel makes this error of an ICMP message.
fn is_of_icmp(error: c_int) -> bool {
    matches!(
        error,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EMSGSIZE
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EACCES
    )
}

/// Sends `parts` as one GSO message, cut into datagrams of `segment` bytes; never waits.
pub(crate) fn send_train(
    socket: BorrowedFd<'_>,
    to: &SockAddr,
    parts: &[IoSlice<'_>],
    segment: u16,
) -> io::Result<usize> {
    // SAFETY: `msghdr` and `cmsghdr` are plain integers and raw pointers, for which all zeroes is a value.
    let (mut header, mut control_header): (libc::msghdr, libc::cmsghdr) = unsafe { zeroed() };
    control_header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<u16>()) as _;
    control_header.cmsg_level = SOL_UDP;
    control_header.cmsg_type = UDP_SEGMENT;
    let mut control = SegmentControl {
        header: control_header,
        segment,
        pad: [0; 6],
    };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    // `IoSlice` is guaranteed to have the layout of `iovec`.
    header.msg_iov = parts.as_ptr().cast_mut().cast();
    header.msg_iovlen = parts.len() as _;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<SegmentControl>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: address, vectors and control buffer outlive the call and have the lengths beside them; sendmsg writes to
    // none of them.
    past_old_error(|| unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) })
}

/// Asks the kernel to hand over trains of datagrams from one source in one message.
pub(crate) fn set_gro(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, SOL_UDP, UDP_GRO, 1)
}

/// Sets the receive buffer beyond the system's limit; needs CAP_NET_ADMIN.
pub(crate) fn force_receive_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes as c_int)
}

/// Sets the send buffer beyond the system's limit; needs CAP_NET_ADMIN.
pub(crate) fn force_send_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes as c_int)
}

/// Sends one IPv4 datagram with the DF bit; never waits. One that does not fit the path is refused instead of cut.
///
/// Linux has the bit by socket, not by datagram, so this takes three calls more than [`send`].
pub(crate) fn send_whole(socket: BorrowedFd<'_>, to: &SockAddr, payload: &[u8]) -> io::Result<usize> {
    let before = path_mtu_discovery(socket)?;
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
    let sent = send(socket, to, payload);
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, before)?;
    sent
}

/// Gives how an IPv4 socket treats the DF bit.
pub(crate) fn path_mtu_discovery(socket: BorrowedFd<'_>) -> io::Result<c_int> {
    get_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
}

/// Turns checksums off, which makes the kernel refuse trains on this socket.
#[cfg(test)]
pub(crate) fn refuse_trains(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)
}

fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) })?;
    Ok(())
}

fn get_option(socket: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let (mut value, mut length) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the pointers describe `value` and `length`, which outlive the call.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &mut length) })?;
    Ok(value)
}

/// Lists the cores that this process may run on.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: `cpu_set_t` is plain integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the length is that of `set`.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: the index stays below CPU_SETSIZE, the number of bits in `set`.
    (0..libc::CPU_SETSIZE as usize)
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect()
}

/// Binds the calling thread to one core.
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    // SAFETY: `cpu_set_t` is plain integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `core` was just checked against the number of bits in `set`.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the length is that of `set`; 0 means the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) })?;
    Ok(())
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
