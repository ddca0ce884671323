//! RTP and RTCP socket pairs for plain legs, opened by the control plane and served by a worker.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::Socket;
use voex_base::{Rng, SocketId, WorkerId};

use crate::ports::PortPool;
use crate::queue::{CommandSender, Order};
use crate::socket::{Sharing, bind_udp};

/// Addresses that may have a port pool of their own.
pub const RTP_ADDRESSES_MAX: usize = 64;
/// Ports tried for one pair before giving up, when other programs sit in the range.
const TRIES_MAX: usize = 64;

/// Hands out socket ids; never the same twice.
#[derive(Debug)]
pub(crate) struct SocketIds(AtomicU64);

impl SocketIds {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    pub(crate) fn next(&self) -> SocketId {
        SocketId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Opens RTP pairs. Clones share the pools.
#[derive(Clone)]
pub struct RtpPorts(Arc<Shared>);

struct Shared {
    range: RangeInclusive<u16>,
    reserved: Vec<u16>,
    ids: Arc<SocketIds>,
    senders: Vec<CommandSender>,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    pools: BTreeMap<IpAddr, PortPool>,
    /// Pairs whose worker could not be told yet; at most one for each pair that was ever open at once.
    unclosed: Vec<(WorkerId, [SocketId; 2])>,
}

/// Why no pair was opened.
#[derive(thiserror::Error, Debug)]
pub enum PortError {
    /// Every pair of the range is in use on this address.
    #[error("every RTP port pair of {0} is in use")]
    Exhausted(IpAddr),
    /// More different addresses than [`RTP_ADDRESSES_MAX`].
    #[error("too many addresses with RTP ports")]
    TooManyAddresses,
    /// There is no such worker.
    #[error("there is no worker {0}")]
    UnknownWorker(WorkerId),
    /// The worker's command queue is full.
    #[error("the command queue of worker {0} is full")]
    QueueFull(WorkerId),
    /// The system refused the socket.
    #[error("cannot bind an RTP socket on {0}: {1}")]
    Bind(SocketAddr, io::Error),
}

/// An even/odd pair of sockets that a worker serves; closed and given back when dropped.
pub struct RtpPair {
    ports: RtpPorts,
    worker: WorkerId,
    rtp: (SocketId, SocketAddr),
    rtcp: (SocketId, SocketAddr),
}

impl RtpPair {
    /// Gives the worker that serves the pair.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Gives the id of the RTP socket.
    pub fn rtp(&self) -> SocketId {
        self.rtp.0
    }

    /// Gives the id of the RTCP socket.
    pub fn rtcp(&self) -> SocketId {
        self.rtcp.0
    }

    /// Gives the address of the RTP socket; its port is even.
    pub fn rtp_address(&self) -> SocketAddr {
        self.rtp.1
    }

    /// Gives the address of the RTCP socket: the next port.
    pub fn rtcp_address(&self) -> SocketAddr {
        self.rtcp.1
    }
}

impl Drop for RtpPair {
    fn drop(&mut self) {
        let mut state = self.ports.state();
        state.unclosed.push((self.worker, [self.rtp.0, self.rtcp.0]));
        self.ports.close_unclosed(&mut state);
        if let Some(pool) = state.pools.get_mut(&self.rtp.1.ip()) {
            pool.give_back(self.rtp.1.port());
        }
    }
}

impl RtpPorts {
    pub(crate) fn new(
        range: RangeInclusive<u16>,
        reserved: Vec<u16>,
        rng: Rng,
        ids: Arc<SocketIds>,
        senders: Vec<CommandSender>,
    ) -> Self {
        let state = State {
            rng,
            pools: BTreeMap::new(),
            unclosed: Vec::new(),
        };
        Self(Arc::new(Shared {
            range,
            reserved,
            ids,
            senders,
            state: Mutex::new(state),
        }))
    }

    /// Opens a pair on `ip` and hands it to `worker`, ahead of any command sent to that worker afterwards.
    pub fn open_pair(&self, worker: WorkerId, ip: IpAddr) -> Result<RtpPair, PortError> {
        let sender = self
            .0
            .senders
            .get(usize::from(worker.0))
            .ok_or(PortError::UnknownWorker(worker))?;
        let mut state = self.state();
        self.close_unclosed(&mut state);
        let pool = self.pool_of(&mut state, ip)?;
        let (port, sockets) = bind_pair(pool, ip)?;
        let ids = [self.0.ids.next(), self.0.ids.next()];
        let [rtp, rtcp] = sockets;
        if sender
            .order(Order::AdoptRtp(Box::new([(ids[0], rtp), (ids[1], rtcp)])))
            .is_err()
        {
            pool.give_back(port);
            return Err(PortError::QueueFull(worker));
        }
        let address = |port| SocketAddr::new(ip, port);
        Ok(RtpPair {
            ports: self.clone(),
            worker,
            rtp: (ids[0], address(port)),
            rtcp: (ids[1], address(port + 1)),
        })
    }

    fn pool_of<'a>(&self, state: &'a mut State, ip: IpAddr) -> Result<&'a mut PortPool, PortError> {
        if !state.pools.contains_key(&ip) && state.pools.len() == RTP_ADDRESSES_MAX {
            return Err(PortError::TooManyAddresses);
        }
        let State { rng, pools, .. } = state;
        let Shared { range, reserved, .. } = &*self.0;
        Ok(pools
            .entry(ip)
            .or_insert_with(|| PortPool::new(range.clone(), |port| reserved.contains(&port), rng)))
    }

    fn close_unclosed(&self, state: &mut State) {
        let senders = &self.0.senders;
        state
            .unclosed
            .retain(|(worker, ids)| senders[usize::from(worker.0)].order(Order::CloseRtp(*ids)).is_err());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds the next free pair, passing over ports that other programs hold.
fn bind_pair(pool: &mut PortPool, ip: IpAddr) -> Result<(u16, [Socket; 2]), PortError> {
    let mut refused = None;
    for _ in 0..TRIES_MAX {
        let Some(port) = pool.take() else { break };
        match bind_both(ip, port) {
            Ok(sockets) => return Ok((port, sockets)),
            Err((address, error)) => {
                pool.give_back(port);
                let in_use = error.kind() == io::ErrorKind::AddrInUse;
                refused = Some(PortError::Bind(address, error));
                if !in_use {
                    break;
                }
            }
        }
    }
    Err(refused.unwrap_or(PortError::Exhausted(ip)))
}

fn bind_both(ip: IpAddr, port: u16) -> Result<[Socket; 2], (SocketAddr, io::Error)> {
    let bind = |port| {
        let address = SocketAddr::new(ip, port);
        bind_udp(address, Sharing::Exclusive, false).map_err(|error| (address, error))
    };
    Ok([bind(port)?, bind(port + 1)?])
}
