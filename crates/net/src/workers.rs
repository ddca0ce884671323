//! Starting and stopping the workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use socket2::Socket;
use voex_base::{SocketId, WorkerId};
use voex_worker::{MediaSocket, Role, Topology, Worker};

use crate::capabilities::Capabilities;
use crate::config::{BindFailure, Config, Purpose, StartError, WORKERS_MAX};
use crate::crossing::{CrossingReceiver, CrossingSender, crossing};
use crate::metrics::Metrics;
use crate::queue::{CommandSender, EventSender, Events, commands};
use crate::rtp::{RtpPorts, SocketIds};
use crate::socket::{Sharing, bind_udp, local_address};
use crate::sys::{self, Epoll};
use crate::wake::Wake;
use crate::worker_loop::{self, Parts};

/// The running media plane. Stops when dropped.
pub struct Workers {
    running: Vec<Running>,
    topology: Arc<Topology>,
    turn_listeners: Vec<SocketAddr>,
    capabilities: Capabilities,
    rtp_ports: RtpPorts,
    stop: Arc<AtomicBool>,
}

struct Running {
    commands: CommandSender,
    metrics: Arc<Metrics>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

/// Says how many workers [`Workers::start`] makes of a setting: 0 means one for each core the process may use.
pub fn worker_count(configured: usize) -> usize {
    if configured == 0 {
        sys::allowed_cores().len().max(1)
    } else {
        configured
    }
}

/// A worker thread ended by a panic instead of by [`Workers::stop`].
#[derive(thiserror::Error, Debug)]
#[error("worker {0} panicked")]
pub struct WorkerPanicked(pub WorkerId);

impl Workers {
    /// Binds every address, then starts the workers.
    ///
    /// `make_worker` is called once for each worker, after binding, with the table of who owns what. Its TURN server
    /// must be made with the relay range of `config.relays` and its share among [`worker_count`] workers.
    pub fn start(
        config: Config,
        mut make_worker: impl FnMut(WorkerId, &Arc<Topology>) -> Worker,
    ) -> Result<(Self, Events), StartError> {
        let cores = sys::allowed_cores();
        let count = if config.workers == 0 {
            cores.len().max(1)
        } else {
            config.workers
        };
        if count > WORKERS_MAX {
            return Err(StartError::TooManyWorkers(count));
        }
        let capabilities = Capabilities::probe(config.gso, config.gro);
        let ids = Arc::new(SocketIds::new());
        let bound = Bound::bind(&config, count, capabilities.gro, &ids)?;
        let topology = Arc::new(Topology::new(bound.media, config.relays.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let wakes = (0..count)
            .map(|_| Ok(Arc::new(Wake::new()?)))
            .collect::<io::Result<Vec<_>>>()?;
        let crossings = crossings(&wakes);
        let mut events = Vec::new();
        let mut prepared = Vec::new();
        for ((index, sockets), (crossings_out, crossings_in)) in bound.sockets.into_iter().enumerate().zip(crossings) {
            let id = WorkerId(index as u16);
            let metrics = Arc::new(Metrics::default());
            let wake = wakes[index].clone();
            let (sender, orders) = commands(id, wake.clone());
            let (event_sender, consumer) = EventSender::new(config.event_wake.clone(), metrics.clone());
            events.push(consumer);
            let epoll = Epoll::new()?;
            epoll.add(wake.descriptor(), worker_loop::WAKE_TOKEN)?;
            let parts = Parts {
                worker: make_worker(id, &topology),
                sockets,
                wake: wake.clone(),
                stop: stop.clone(),
                orders,
                events: event_sender,
                crossings_out,
                crossings_in,
                ids: ids.clone(),
                capabilities,
                look_again_max: config.look_again_max,
                nap_max: config.nap_max,
                metrics: metrics.clone(),
                epoll,
            };
            prepared.push((
                parts,
                Running {
                    commands: sender,
                    metrics,
                    wake,
                    thread: None,
                },
            ));
        }
        let senders = prepared.iter().map(|(_, running)| running.commands.clone()).collect();
        let reserved = topology
            .media_sockets()
            .iter()
            .map(|media| media.local.port())
            .collect();
        let mut workers = Self {
            running: Vec::new(),
            topology,
            turn_listeners: bound.turn_listeners,
            capabilities,
            rtp_ports: RtpPorts::new(config.media_ports.clone(), reserved, config.seed, ids, senders),
            stop,
        };
        workers.spawn(prepared, if config.pin { cores } else { Vec::new() })?;
        Ok((workers, Events::new(events)))
    }

    fn spawn(&mut self, prepared: Vec<(Parts, Running)>, cores: Vec<usize>) -> io::Result<()> {
        for (index, (parts, mut running)) in prepared.into_iter().enumerate() {
            let cores = cores.clone();
            let thread = thread::Builder::new()
                .name(format!("voex-media-{index}"))
                .spawn(move || {
                    worker_loop::pin(WorkerId(index as u16), &cores);
                    worker_loop::run(parts);
                })?;
            running.thread = Some(thread);
            self.running.push(running);
        }
        Ok(())
    }

    /// Gives the number of workers.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// Gives the sender of commands to one worker.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn command_sender(&self, worker: WorkerId) -> CommandSender {
        self.running[usize::from(worker.0)].commands.clone()
    }

    /// Gives the addresses of TURN clients, with the ports that the system chose where 0 was asked for.
    pub fn turn_listeners(&self) -> &[SocketAddr] {
        &self.turn_listeners
    }

    /// Gives the WebRTC sockets of all workers: what the candidates of their transports point at.
    pub fn media_sockets(&self) -> &[MediaSocket] {
        self.topology.media_sockets()
    }

    /// Gives the table of who owns what.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Gives the opener of RTP pairs.
    pub fn rtp_ports(&self) -> RtpPorts {
        self.rtp_ports.clone()
    }

    /// Says which send and receive paths run.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Gives the counters of one worker's loop.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn metrics(&self, worker: WorkerId) -> &Arc<Metrics> {
        &self.running[usize::from(worker.0)].metrics
    }

    /// Says whether every worker still runs; false after a panic in one.
    pub fn all_running(&self) -> bool {
        self.running
            .iter()
            .all(|running| running.thread.as_ref().is_some_and(|thread| !thread.is_finished()))
    }

    /// Lets every worker finish its pass and send what it holds, then waits for it. Sockets are closed afterwards.
    pub fn stop(mut self) -> Result<(), WorkerPanicked> {
        self.join()
    }

    fn join(&mut self) -> Result<(), WorkerPanicked> {
        self.stop.store(true, Ordering::Release);
        for running in &self.running {
            running.wake.notify();
        }
        let mut result = Ok(());
        for (index, running) in self.running.iter_mut().enumerate() {
            let panicked = running.thread.take().is_some_and(|thread| thread.join().is_err());
            if panicked && result.is_ok() {
                result = Err(WorkerPanicked(WorkerId(index as u16)));
            }
        }
        result
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A panic was already reported by the panic hook.
        let _ = self.join();
    }
}

/// Sockets of all workers, bound before anything runs.
struct Bound {
    /// By worker.
    sockets: Vec<Vec<(SocketId, Role, Socket)>>,
    media: Vec<MediaSocket>,
    turn_listeners: Vec<SocketAddr>,
    failures: Vec<BindFailure>,
}

impl Bound {
    fn bind(config: &Config, workers: usize, gro: bool, ids: &SocketIds) -> Result<Self, StartError> {
        let mut this = Self {
            sockets: (0..workers).map(|_| Vec::new()).collect(),
            media: Vec::new(),
            turn_listeners: Vec::new(),
            failures: Vec::new(),
        };
        for address in &config.turn_listeners {
            if let Err(error) = this.bind_turn_listener(*address, gro, ids) {
                this.failures.push(BindFailure {
                    purpose: Purpose::TurnListener,
                    address: *address,
                    error,
                });
            }
        }
        this.bind_media(config, gro, ids);
        if this.failures.is_empty() {
            Ok(this)
        } else {
            Err(StartError::Bind(this.failures))
        }
    }

    /// Gives each worker a socket of its own on one address.
    fn bind_turn_listener(&mut self, address: SocketAddr, gro: bool, ids: &SocketIds) -> io::Result<()> {
        let workers = self.sockets.len();
        // Sharing would also let another process of this user in; the first bind finds out that nobody is there.
        let probe = bind_udp(address, Sharing::Exclusive, gro)?;
        let address = local_address(&probe)?;
        let sockets = if workers == 1 {
            vec![probe]
        } else {
            drop(probe);
            (0..workers)
                .map(|_| bind_udp(address, Sharing::AmongWorkers, gro))
                .collect::<io::Result<Vec<_>>>()?
        };
        for (mine, socket) in self.sockets.iter_mut().zip(sockets) {
            mine.push((ids.next(), Role::TurnListener, socket));
        }
        self.turn_listeners.push(address);
        Ok(())
    }

    /// Gives each worker one port, the lowest that is free on every media address.
    fn bind_media(&mut self, config: &Config, gro: bool, ids: &SocketIds) {
        if config.media_addresses.is_empty() {
            return;
        }
        let mut ports = config.media_ports.clone();
        for worker in 0..self.sockets.len() {
            match bind_media_port(config, &mut ports, gro) {
                Ok(sockets) => self.add_media(worker, config, sockets, ids),
                Err(failures) => return self.failures.extend(failures),
            }
        }
    }

    fn add_media(&mut self, worker: usize, config: &Config, sockets: Vec<(SocketAddr, Socket)>, ids: &SocketIds) {
        for (address, (local, socket)) in config.media_addresses.iter().zip(sockets) {
            let id = ids.next();
            self.sockets[worker].push((id, Role::Media, socket));
            let public = address
                .public
                .iter()
                .map(|ip| SocketAddr::new(*ip, local.port()))
                .collect();
            self.media.push(MediaSocket {
                worker: WorkerId(worker as u16),
                socket: id,
                local,
                public,
            });
        }
    }
}

/// Binds the next port of `ports` on every media address; passes over ports that somebody else has on any of them.
fn bind_media_port(
    config: &Config,
    ports: &mut impl Iterator<Item = u16>,
    gro: bool,
) -> Result<Vec<(SocketAddr, Socket)>, Vec<BindFailure>> {
    let mut in_use = Vec::new();
    for port in ports {
        let mut bound = Vec::new();
        let mut failures = Vec::new();
        for address in &config.media_addresses {
            let address = SocketAddr::new(address.local, port);
            match bind_udp(address, Sharing::Exclusive, gro) {
                Ok(socket) => bound.push((address, socket)),
                Err(error) => failures.push(BindFailure {
                    purpose: Purpose::Media,
                    address,
                    error,
                }),
            }
        }
        if failures.is_empty() {
            return Ok(bound);
        }
        if failures
            .iter()
            .any(|failure| failure.error.kind() != io::ErrorKind::AddrInUse)
        {
            failures.retain(|failure| failure.error.kind() != io::ErrorKind::AddrInUse);
            return Err(failures);
        }
        in_use = failures;
    }
    if in_use.is_empty() {
        let local = config
            .media_addresses
            .iter()
            .map(|address| SocketAddr::new(address.local, 0));
        in_use.extend(local.map(|address| BindFailure {
            purpose: Purpose::Media,
            address,
            error: io::Error::new(
                io::ErrorKind::AddrInUse,
                "media.ports has fewer ports than there are workers",
            ),
        }));
    }
    Err(in_use)
}

type Crossings = (Vec<Option<CrossingSender>>, Vec<CrossingReceiver>);

/// Makes a way from each worker to each other; gives both kinds of ends by worker.
fn crossings(wakes: &[Arc<Wake>]) -> Vec<Crossings> {
    let mut ends: Vec<Crossings> = wakes.iter().map(|_| (Vec::new(), Vec::new())).collect();
    for from in 0..wakes.len() {
        for (to, wake) in wakes.iter().enumerate() {
            if from == to {
                ends[from].0.push(None);
                continue;
            }
            let (sender, receiver) = crossing(wake.clone());
            ends[from].0.push(Some(sender));
            ends[to].1.push(receiver);
        }
    }
    ends
}
