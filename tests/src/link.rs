//! A line between the server's namespace and clients elsewhere, as good or bad as a test wants it.
//!
//! Kernels of CI machines often have no netem. This line is a pair of TUN devices, one in each namespace, and threads
//! that carry IP packets from one to the other, late, in order, and some of them never. What is lost follows a seed.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::{DeviceBuilder, SyncDevice};
use voex_base::Rng;

use crate::namespace::{ADDRESS, Namespace};

const SERVER_END: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 253);
const CLIENT_END: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
const MTU: u16 = 1500;
/// A carrier looks this often whether the test is over or its line has changed.
const LOOK: Duration = Duration::from_millis(50);
/// Packets that one direction holds back; more are lost, as in a router.
const QUEUE_MAX: usize = 4096;

/// What one direction of a line does to packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// Share of packets that get lost, 0 to 1.
    pub loss: f64,
    /// How long a packet is under way.
    pub delay: Duration,
    /// What one packet takes longer than another at most; none overtakes another.
    pub jitter: Duration,
    /// Bits that pass a second; what waits longer than 200 ms for its turn is lost. Zero is no limit.
    pub bits_per_s: u64,
}

/// A line between two namespaces that lives as long as this value.
pub struct Link {
    /// Where clients run; they reach the server at [`ADDRESS`].
    pub clients: Namespace,
    up: Arc<Direction>,
    down: Arc<Direction>,
    carriers: Vec<JoinHandle<()>>,
}

/// One direction, as the test and its carrier share it.
#[derive(Default)]
struct Direction {
    impairment: Mutex<Impairment>,
    carried: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

impl Link {
    /// Joins a new namespace for clients to the server's with a perfect line; `seed` decides what it loses later.
    ///
    /// # Panics
    /// Without root or `/dev/net/tun`.
    pub fn to(server: &Namespace, seed: u64) -> Self {
        let clients = Namespace::alone();
        let near = Arc::new(device(server, SERVER_END));
        let far = Arc::new(device(&clients, CLIENT_END));
        clients.ip(&format!("route add {ADDRESS} via {SERVER_END}"));
        let (up, down) = (Arc::<Direction>::default(), Arc::<Direction>::default());
        let carriers = vec![carrier(&far, &near, &up, seed), carrier(&near, &far, &down, !seed)];
        Self {
            clients,
            up,
            down,
            carriers,
        }
    }

    /// Changes what happens to packets from clients to the server, and back.
    pub fn impair(&self, up: Impairment, down: Impairment) {
        *locked(&self.up.impairment) = up;
        *locked(&self.down.impairment) = down;
    }

    /// Packets so far that were carried and lost, of both directions.
    pub fn counts(&self) -> (u64, u64) {
        let sum = |of: fn(&Direction) -> &AtomicU64| {
            of(&self.up).load(Ordering::Relaxed) + of(&self.down).load(Ordering::Relaxed)
        };
        (sum(|direction| &direction.carried), sum(|direction| &direction.lost))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for direction in [&self.up, &self.down] {
            direction.over.store(true, Ordering::Relaxed);
        }
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}

fn device(namespace: &Namespace, address: Ipv4Addr) -> SyncDevice {
    namespace.inside(move || {
        let device = DeviceBuilder::new()
            .name("line")
            .ipv4(address, 30, None)
            .mtu(MTU)
            .build_sync()
            .expect("root may make TUN devices in a namespace");
        device.set_nonblocking(true).expect("TUN devices need not block");
        device
    })
}

fn carrier(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, direction: &Arc<Direction>, seed: u64) -> JoinHandle<()> {
    let (from, to, direction) = (Arc::clone(from), Arc::clone(to), Arc::clone(direction));
    std::thread::spawn(move || Carrier::new(seed).carry(&from, &to, &direction))
}

/// Packets of one direction that are under way.
struct Carrier {
    rng: Rng,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    /// When the line has sent everything that is in front of the next packet.
    free_at: Instant,
}

impl Carrier {
    /// Longest wait for the line; a packet that would wait longer is lost.
    const WAIT_MAX: Duration = Duration::from_millis(200);

    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::from_number(seed),
            waiting: VecDeque::new(),
            free_at: Instant::now(),
        }
    }

    fn carry(mut self, from: &SyncDevice, to: &SyncDevice, direction: &Direction) {
        let mut bytes = [0; MTU as usize + 64];
        while !direction.over.load(Ordering::Relaxed) {
            let now = Instant::now();
            while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
                if let Some((_, packet)) = self.waiting.pop_front() {
                    // A full device loses packets, as any.
                    let _ = to.send(&packet);
                }
            }
            match from.recv(&mut bytes) {
                Ok(length) => self.take(now, &bytes[..length], direction),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(now, from),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, now: Instant, packet: &[u8], direction: &Direction) {
        let Impairment {
            loss,
            delay,
            jitter,
            bits_per_s,
        } = *locked(&direction.impairment);
        let sent = match bits_per_s {
            0 => now,
            rate => now.max(self.free_at) + Duration::from_secs_f64(packet.len() as f64 * 8.0 / rate as f64),
        };
        let is_lost = share(&mut self.rng) < loss || sent > now + Self::WAIT_MAX || self.waiting.len() == QUEUE_MAX;
        if is_lost {
            direction.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.free_at = sent;
        direction.carried.fetch_add(1, Ordering::Relaxed);
        let due = sent + delay + jitter.mul_f64(share(&mut self.rng));
        let due = self.waiting.back().map_or(due, |(before, _)| due.max(*before));
        self.waiting.push_back((due, packet.to_vec()));
    }

    fn wait(&self, now: Instant, from: &SyncDevice) {
        let next = self.waiting.front().map_or(LOOK, |(due, _)| *due - now).min(LOOK);
        // Rounded up: a wait of zero would burn the core that the server needs.
        let timeout = PollTimeout::try_from(next + Duration::from_micros(900)).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], timeout);
    }
}

fn locked(impairment: &Mutex<Impairment>) -> std::sync::MutexGuard<'_, Impairment> {
    impairment.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Draws from 0 up to 1.
fn share(rng: &mut Rng) -> f64 {
    f64::from(rng.u32()) / (f64::from(u32::MAX) + 1.0)
}
