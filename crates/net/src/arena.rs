//! The send arena: collects what one loop pass wants sent, groups it by destination, sends trains as GSO messages.

use std::hash::{Hash, Hasher};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};
use socket2::{SockAddr, Socket};
use voex_base::{DATAGRAM_BYTES_MAX, Outbox, SocketId};

use crate::metrics::{DropReason, Metrics};
use crate::sys;

/// Bytes one arena holds before it sends by itself; several passes of a busy worker. A frame of four packets to 800
/// subscribers fits: half of it would leave in trains of two, at 1.3 times the cost. Untouched, it takes no memory.
pub const ARENA_BYTES: usize = 4 << 20;
/// Datagrams one arena holds before it sends by itself.
pub const ARENA_DATAGRAMS_MAX: usize = 4_096;
/// Destinations one arena holds before it sends by itself.
pub const ARENA_DESTINATIONS_MAX: usize = 2_048;
/// Longest datagram that is sent as part of a train: fits a 1500-byte link under IPv6.
pub const TRAIN_SEGMENT_BYTES_MAX: usize = 1_452;

/// Slots of the destination table; twice the destinations, so that probing stays short.
const TABLE_SLOTS: usize = ARENA_DESTINATIONS_MAX * 2;
/// End of a chain of entries.
const NONE: u32 = u32::MAX;

/// Outgoing datagrams of one worker, and the sockets they leave by.
///
/// Packets to one destination leave together even if others were committed between them, in the order of their commits.
/// When bytes, datagrams or destinations run out the arena sends what it holds and goes on.
pub(crate) struct SendArena {
    bytes: Vec<u8>,
    used: usize,
    reserved: usize,
    entries: Vec<Entry>,
    groups: Vec<Group>,
    table: Vec<Slot>,
    /// Entries of `table` of another pass are free.
    pass: u32,
    sockets: FxHashMap<SocketId, Rc<Socket>>,
    gso: bool,
    metrics: Arc<Metrics>,
}

/// One datagram.
#[derive(Clone, Copy)]
struct Entry {
    offset: u32,
    len: u32,
    next: u32,
}

/// The datagrams of one socket to one destination.
#[derive(Clone, Copy)]
struct Group {
    socket: SocketId,
    to: SocketAddr,
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    pass: u32,
    group: u32,
}

impl SendArena {
    /// Makes an empty arena. `gso` says whether trains may be sent.
    pub(crate) fn new(gso: bool, metrics: Arc<Metrics>) -> Self {
        metrics.gso.set(gso.into());
        Self {
            bytes: vec![0; ARENA_BYTES],
            used: 0,
            reserved: 0,
            entries: Vec::with_capacity(ARENA_DATAGRAMS_MAX),
            groups: Vec::with_capacity(ARENA_DESTINATIONS_MAX),
            table: vec![Slot { pass: 0, group: 0 }; TABLE_SLOTS],
            pass: 1,
            sockets: FxHashMap::default(),
            gso,
            metrics,
        }
    }

    /// Makes a socket known.
    pub(crate) fn add_socket(&mut self, id: SocketId, socket: Rc<Socket>) {
        self.sockets.insert(id, socket);
    }

    /// Forgets a socket, after sending what waits.
    pub(crate) fn remove_socket(&mut self, id: SocketId) {
        self.flush();
        self.sockets.remove(&id);
    }

    /// Gives the bytes of the last reservation as its owner left them.
    pub(crate) fn reserved(&self) -> &[u8] {
        &self.bytes[self.used..self.used + self.reserved]
    }

    /// Takes the last reservation back.
    pub(crate) fn take_back(&mut self) {
        self.reserved = 0;
    }

    /// Sends a datagram with the DF bit, past what waits: who asks for that looks for the path's MTU.
    pub(crate) fn send_whole(&mut self, socket: SocketId, to: SocketAddr, packet: &[u8]) {
        let Some(socket) = self.sockets.get(&socket) else {
            return self.metrics.dropped.of(DropReason::SocketClosed).inc();
        };
        self.metrics.send_calls.inc();
        match sys::send_whole(socket.as_fd(), &SockAddr::from(to), packet) {
            Ok(_) => {
                self.metrics.sent_packets.inc();
                self.metrics.sent_bytes.add(packet.len() as u64);
            }
            Err(error) => self.count_failure(&error, 1),
        }
    }

    /// Says whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sends everything that waits.
    pub(crate) fn flush(&mut self) {
        for index in 0..self.groups.len() {
            self.send_group(self.groups[index]);
        }
        self.groups.clear();
        self.entries.clear();
        self.used = 0;
        self.pass = self.pass.wrapping_add(1);
    }

    fn send_group(&mut self, group: Group) {
        let Some(socket) = self.sockets.get(&group.socket).cloned() else {
            let lost = self.chain(group.first).count();
            return self.metrics.dropped.of(DropReason::SocketClosed).add(lost as u64);
        };
        let to = SockAddr::from(group.to);
        let mut next = group.first;
        while next != NONE {
            let run = self.run_from(next);
            self.send_run(&socket, &to, next, run);
            next = run.next;
        }
    }

    /// Finds how many entries from `first` on make one message.
    fn run_from(&self, first: u32) -> Run {
        let head = self.entries[first as usize];
        let segment = head.len as usize;
        let mut run = Run {
            count: 1,
            bytes: segment,
            segment,
            next: head.next,
        };
        if !self.gso || segment == 0 || segment > TRAIN_SEGMENT_BYTES_MAX {
            return run;
        }
        for entry in self.chain(head.next) {
            let len = entry.len as usize;
            let full = run.count == sys::SEGMENTS_MAX || run.bytes + len > DATAGRAM_BYTES_MAX;
            if full || len > segment || len == 0 {
                break;
            }
            run.count += 1;
            run.bytes += len;
            run.next = entry.next;
            if len < segment {
                break;
            }
        }
        run
    }

    fn send_run(&mut self, socket: &Socket, to: &SockAddr, first: u32, run: Run) {
        if run.count == 1 {
            return self.send_single(socket, to, self.entries[first as usize]);
        }
        let mut parts = [IoSlice::new(&[]); sys::SEGMENTS_MAX];
        for (part, entry) in parts.iter_mut().zip(self.chain(first).take(run.count)) {
            *part = IoSlice::new(self.payload(entry));
        }
        self.metrics.send_calls.inc();
        match sys::send_train(socket.as_fd(), to, &parts[..run.count], run.segment as u16) {
            Ok(_) => {
                self.metrics.sent_trains.inc();
                self.metrics.sent_packets.add(run.count as u64);
                self.metrics.sent_bytes.add(run.bytes as u64);
            }
            Err(error) if train_refused(&error) => self.send_singly(socket, to, first, run, &error),
            Err(error) => self.count_failure(&error, run.count),
        }
    }

    /// The fallback when the path of one destination takes no trains.
    fn send_singly(&mut self, socket: &Socket, to: &SockAddr, first: u32, run: Run, error: &io::Error) {
        if error.raw_os_error() == Some(libc::EIO) {
            // The device cannot offload checksums: no train will ever leave by it.
            self.gso = false;
            self.metrics.gso.set(0);
        }
        for entry in self.chain(first).take(run.count) {
            self.send_single(socket, to, entry);
        }
    }

    fn send_single(&self, socket: &Socket, to: &SockAddr, entry: Entry) {
        self.metrics.send_calls.inc();
        match sys::send(socket.as_fd(), to, self.payload(entry)) {
            Ok(_) => {
                self.metrics.sent_packets.inc();
                self.metrics.sent_bytes.add(entry.len.into());
            }
            Err(error) => self.count_failure(&error, 1),
        }
    }

    fn count_failure(&self, error: &io::Error, packets: usize) {
        let reason = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::SendBufferFull,
            _ => DropReason::SendRefused,
        };
        self.metrics.dropped.of(reason).add(packets as u64);
    }

    fn payload(&self, entry: Entry) -> &[u8] {
        &self.bytes[entry.offset as usize..][..entry.len as usize]
    }

    fn chain(&self, first: u32) -> impl Iterator<Item = Entry> + '_ {
        let mut next = first;
        std::iter::from_fn(move || {
            let entry = *self.entries.get(next as usize)?;
            next = entry.next;
            Some(entry)
        })
    }

    /// Finds the group of a destination, or makes it.
    fn group_of(&mut self, socket: SocketId, to: SocketAddr) -> usize {
        if let Some(last) = self.groups.last()
            && last.socket == socket
            && last.to == to
        {
            return self.groups.len() - 1;
        }
        let mut hasher = FxHasher::default();
        (socket, to).hash(&mut hasher);
        let mut slot = hasher.finish() as usize % TABLE_SLOTS;
        while self.table[slot].pass == self.pass {
            let index = self.table[slot].group as usize;
            if self.groups[index].socket == socket && self.groups[index].to == to {
                return index;
            }
            slot = (slot + 1) % TABLE_SLOTS;
        }
        self.table[slot] = Slot {
            pass: self.pass,
            group: self.groups.len() as u32,
        };
        self.groups.push(Group {
            socket,
            to,
            first: NONE,
            last: NONE,
        });
        self.groups.len() - 1
    }
}

impl Outbox for SendArena {
    fn reserve(&mut self, len_max: usize) -> &mut [u8] {
        let full = self.used + len_max > self.bytes.len()
            || self.entries.len() == ARENA_DATAGRAMS_MAX
            || self.groups.len() == ARENA_DESTINATIONS_MAX;
        if full {
            self.flush();
        }
        self.reserved = len_max;
        &mut self.bytes[self.used..self.used + len_max]
    }

    fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize) {
        assert!(len <= self.reserved, "a commit stays within its reservation");
        let index = self.group_of(socket, to);
        let entry = self.entries.len() as u32;
        self.entries.push(Entry {
            offset: self.used as u32,
            len: len as u32,
            next: NONE,
        });
        let group = &mut self.groups[index];
        match group.last {
            NONE => group.first = entry,
            last => self.entries[last as usize].next = entry,
        }
        group.last = entry;
        self.used += len;
        self.reserved = 0;
    }
}

/// Consecutive datagrams of one group that leave as one message.
#[derive(Clone, Copy)]
struct Run {
    count: usize,
    bytes: usize,
    segment: usize,
    /// First entry after the run.
    next: u32,
}

/// Tells refusals of the train (no offload, path MTU below the segment) from refusals of the packets.
fn train_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP)
    )
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::socket::{Sharing, bind_udp, local_address};

    const ID: SocketId = SocketId(7);

    struct Bench {
        arena: SendArena,
        socket: Rc<Socket>,
        metrics: Arc<Metrics>,
    }

    impl Bench {
        fn new(gso: bool) -> Self {
            let metrics = Arc::new(Metrics::default());
            let mut arena = SendArena::new(gso, metrics.clone());
            let socket = Rc::new(bind_udp("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive, false).unwrap());
            arena.add_socket(ID, socket.clone());
            Self { arena, socket, metrics }
        }

        fn send(&mut self, to: &UdpSocket, payload: &[u8]) {
            self.arena.send(ID, to.local_addr().unwrap(), payload, &[]);
        }
    }

    fn receiver() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut room = vec![0; 65_536];
        let len = socket.recv(&mut room).expect("a packet arrives");
        room.truncate(len);
        room
    }

    /// Ten packets to each of three destinations, interleaved, the last of each shorter.
    fn interleaved(bench: &mut Bench) {
        let receivers = [receiver(), receiver(), receiver()];
        for n in 0..10u8 {
            for to in &receivers {
                bench.send(to, &vec![n; if n == 9 { 100 } else { 1_200 }]);
            }
        }
        bench.arena.flush();
        for from in &receivers {
            for n in 0..10u8 {
                assert_eq!(receive(from), vec![n; if n == 9 { 100 } else { 1_200 }]);
            }
        }
        assert_eq!(bench.metrics.sent_packets.value(), 30);
        assert_eq!(bench.metrics.sent_bytes.value(), 3 * (9 * 1_200 + 100));
    }

    #[test]
    fn interleaved_packets_leave_as_one_train_for_each_destination() {
        let mut bench = Bench::new(true);
        interleaved(&mut bench);
        assert_eq!(bench.metrics.sent_trains.value(), 3);
        assert_eq!(bench.metrics.send_calls.value(), 3);
    }

    #[test]
    fn without_gso_every_packet_leaves_singly_and_in_order() {
        let mut bench = Bench::new(false);
        interleaved(&mut bench);
        assert_eq!(bench.metrics.sent_trains.value(), 0);
        assert_eq!(bench.metrics.send_calls.value(), 30);
    }

    #[test]
    fn a_refused_train_is_sent_singly() {
        let mut bench = Bench::new(true);
        sys::refuse_trains(bench.socket.as_fd()).unwrap();
        interleaved(&mut bench);
        assert_eq!(bench.metrics.sent_trains.value(), 0);
        assert_eq!(bench.metrics.dropped.of(DropReason::SendRefused).value(), 0);
    }

    #[test]
    fn a_train_ends_where_sizes_grow_where_it_is_full_and_where_segments_are_too_long() {
        let mut bench = Bench::new(true);
        let to = receiver();
        let lengths: Vec<usize> = [vec![200, 300, 300, 100, 300], vec![50; 70], vec![1_500, 1_500]].concat();
        for len in &lengths {
            bench.send(&to, &vec![1; *len]);
        }
        bench.arena.flush();
        for len in &lengths {
            assert_eq!(receive(&to).len(), *len);
        }
        // 200 | 300 300 100 | 300 50 | 50 x 64 | 50 x 5 | 1500 | 1500
        assert_eq!(bench.metrics.send_calls.value(), 7);
        assert_eq!(bench.metrics.sent_trains.value(), 4);
    }

    #[test]
    fn a_full_arena_sends_by_itself_and_loses_nothing() {
        let mut bench = Bench::new(true);
        let to = receiver();
        let total = ARENA_DATAGRAMS_MAX + 10;
        let mut heard = 0usize;
        for n in 0..total {
            bench.send(&to, &(n as u32).to_be_bytes());
            // Emptied on the way, since the kernel of a test host may grant small buffers.
            if n == ARENA_DATAGRAMS_MAX {
                to.set_nonblocking(true).unwrap();
                let mut room = [0; 16];
                while to.recv(&mut room).is_ok() {
                    assert_eq!(room[..4], (heard as u32).to_be_bytes());
                    heard += 1;
                }
            }
        }
        assert!(heard > 0, "the arena was full before the last packets");
        bench.arena.flush();
        assert_eq!(bench.metrics.sent_packets.value(), total as u64);
    }

    #[test]
    fn more_destinations_than_fit_are_all_served() {
        let mut bench = Bench::new(true);
        for n in 0..ARENA_DESTINATIONS_MAX + 100 {
            let to = SocketAddr::from(([127, 77, (n / 250) as u8, (n % 250) as u8 + 1], 9));
            bench.arena.send(ID, to, b"x", b"y");
        }
        bench.arena.flush();
        assert_eq!(bench.metrics.sent_packets.value(), ARENA_DESTINATIONS_MAX as u64 + 100);
    }

    #[test]
    fn packets_of_a_closed_socket_are_counted() {
        let mut bench = Bench::new(true);
        let to = local_address(&bench.socket).unwrap();
        bench.arena.remove_socket(ID);
        bench.arena.send(ID, to, b"late", b"");
        bench.arena.flush();
        assert_eq!(bench.metrics.dropped.of(DropReason::SocketClosed).value(), 1);
    }

    #[test]
    fn a_datagram_sent_whole_arrives_and_the_next_may_be_cut_as_before() {
        let mut bench = Bench::new(true);
        let to = receiver();
        let before = sys::path_mtu_discovery(bench.socket.as_fd()).unwrap();
        bench.arena.send_whole(ID, to.local_addr().unwrap(), b"whole");
        assert_eq!(receive(&to), b"whole");
        assert_eq!(sys::path_mtu_discovery(bench.socket.as_fd()).unwrap(), before);
        assert_eq!(bench.metrics.sent_packets.value(), 1);
    }

    #[test]
    fn the_reservation_can_be_read_until_it_is_committed() {
        let mut bench = Bench::new(true);
        bench.arena.reserve(100)[..3].copy_from_slice(b"abc");
        assert_eq!(&bench.arena.reserved()[..3], b"abc");
        bench.arena.commit(ID, "127.0.0.1:9".parse().unwrap(), 3);
        assert!(bench.arena.reserved().is_empty());
    }
}
