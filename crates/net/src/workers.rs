//! Starting and stopping the workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rtrb::Consumer;
use socket2::Socket;
use voex_base::{Protocol, Rng, SocketId, WorkerId};
use voex_worker::{MediaSocket, Role, Topology, Worker};

use crate::bind::Bound;
use crate::capabilities::Capabilities;
use crate::config::{Config, StartError, WORKERS_MAX};
use crate::crossing::{CrossingReceiver, CrossingSender, crossing, crossing_bytes};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::queue::{CommandSender, EventSender, Events, Order, TurnEvents, commands};
use crate::recorded::{Recorded, RecordedSender, recorded};
use crate::rtp::{RtpPorts, SocketIds};
use crate::streams::{MoveReceiver, MoveSender, moves};
use crate::sys::{self, Epoll};
use crate::wake::Wake;
use crate::worker_loop::{self, Parts, Secrets, Serves};

/// The running media plane. Stops when dropped.
pub struct Workers {
    running: Vec<Running>,
    topology: Arc<Topology>,
    turn_listeners: Vec<SocketAddr>,
    shows_identity: bool,
    capabilities: Capabilities,
    rtp_ports: RtpPorts,
    recorded: Vec<Recorded>,
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

/// A worker's command queue is full.
#[derive(thiserror::Error, Debug)]
#[error("the command queue of worker {0} is full")]
pub struct WorkerBusy(pub WorkerId);

impl Workers {
    /// Binds every address, then starts the workers.
    ///
    /// `make_worker` is called once for each worker, after binding, with the table of who owns what. Its TURN server
    /// must be made with the relay range of `config.relays` and its share among [`worker_count`] workers.
    pub fn start(
        config: Config,
        mut make_worker: impl FnMut(WorkerId, &Arc<Topology>) -> Worker,
    ) -> Result<(Self, Events, TurnEvents), StartError> {
        let count = worker_count(config.workers);
        if count > WORKERS_MAX {
            return Err(StartError::TooManyWorkers(count));
        }
        let capabilities = Capabilities::probe(config.gso, config.gro);
        let ids = Arc::new(SocketIds::new());
        let bound = Bound::bind(&config, count, capabilities.gro, &ids)?;
        let topology = Arc::new(Topology::new(bound.media, config.relays.clone()));
        let wakes = (0..count)
            .map(|_| Ok(Arc::new(Wake::new()?)))
            .collect::<io::Result<Vec<_>>>()?;
        let (secrets, rtp_order) = secrets(config.seed);
        let wiring = Wiring {
            config: &config,
            ids: &ids,
            capabilities,
            stop: Arc::default(),
            secrets,
        };
        let (mut prepared, mut events, mut turn_events) = (Vec::new(), Vec::new(), Vec::new());
        let mut to_record = Vec::new();
        let ends = wakes.iter().zip(ways(&wakes));
        let sockets = bound.sockets.into_iter().zip(bound.stream_listeners);
        for (index, (sockets, (wake, ways))) in sockets.zip(ends).enumerate() {
            let id = WorkerId(index as u16);
            let (recorder, packets) = config.records.then(recorded).unzip();
            to_record.extend(packets);
            let worker = make_worker(id, &topology);
            let (parts, running, queues) = wiring.prepare(id, worker, sockets, wake, ways, recorder)?;
            prepared.push((parts, running));
            events.push(queues.0);
            turn_events.push(queues.1);
        }
        let stop = wiring.stop;
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
            shows_identity: config.turn_protocols.iter().any(|protocol| needs_identity(*protocol)),
            capabilities,
            rtp_ports: RtpPorts::new(config.media_ports.clone(), reserved, rtp_order, ids, senders),
            recorded: to_record,
            stop,
        };
        let cores = if config.pin { sys::allowed_cores() } else { Vec::new() };
        workers.spawn(prepared, &cores)?;
        Ok((workers, Events::new(events), Events::new(turn_events)))
    }

    fn spawn(&mut self, prepared: Vec<(Parts, Running)>, cores: &[usize]) -> io::Result<()> {
        for (index, (parts, mut running)) in prepared.into_iter().enumerate() {
            let cores = cores.to_vec();
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

    /// Shows `identity` to TLS and DTLS clients from now on. Sessions that exist go on with what they began with. Does
    /// nothing where both are off.
    ///
    /// # Errors
    /// When a worker's command queue is full; the others have taken it, and the call can be repeated.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), WorkerBusy> {
        if !self.shows_identity {
            return Ok(());
        }
        let busy = self.running.iter().map(|running| &running.commands);
        let mut busy = busy.filter(|commands| commands.order(Order::SetIdentity(identity.clone())).is_err());
        busy.next()
            .map_or(Ok(()), |commands| Err(WorkerBusy(commands.worker())))
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

    /// Gives what is to be recorded, of each worker, to whoever asks first.
    pub fn recorded(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.recorded)
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

fn needs_identity(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Tls | Protocol::Dtls)
}

/// What all workers are made with.
struct Wiring<'a> {
    config: &'a Config,
    ids: &'a Arc<SocketIds>,
    capabilities: Capabilities,
    stop: Arc<AtomicBool>,
    secrets: Secrets,
}

/// Draws what the network must not foresee; the order of RTP ports, which it sees, is drawn from numbers of its own.
fn secrets(seed: [u8; 32]) -> (Secrets, Rng) {
    let mut rng = Rng::from_seed(seed);
    let (mut tables, mut cookies, rtp_order) = (rng.split(), rng.split(), rng.split());
    let mut secrets = Secrets {
        table_seed: tables.u64(),
        cookie: [0; 32],
    };
    cookies.fill(&mut secrets.cookie);
    (secrets, rtp_order)
}

impl Wiring<'_> {
    /// Joins a worker to its queues; gives what its thread runs, what we keep of it, and where its events come out.
    fn prepare(
        &self,
        id: WorkerId,
        worker: Worker,
        (sockets, stream_listeners): Sockets,
        wake: &Arc<Wake>,
        ways: Ways,
        recorder: Option<RecordedSender>,
    ) -> io::Result<(Parts, Running, EventQueues)> {
        let metrics = Arc::new(Metrics::default());
        let (commands, orders) = commands(id, wake.clone());
        let (events, queue) = EventSender::new(self.config.event_wake.clone(), metrics.clone());
        let (turn_events, turn_queue) = EventSender::new(self.config.turn_event_wake.clone(), metrics.clone());
        let epoll = Epoll::new()?;
        epoll.add(wake.descriptor(), worker_loop::WAKE_TOKEN)?;
        let serves = |protocol| self.config.turn_protocols.contains(&protocol);
        let parts = Parts {
            id,
            worker,
            sockets,
            stream_listeners,
            serves: Serves {
                udp: serves(Protocol::Udp),
                tcp: serves(Protocol::Tcp),
                tls: serves(Protocol::Tls),
                dtls: serves(Protocol::Dtls),
            },
            identity: self.config.identity.clone(),
            wake: wake.clone(),
            stop: self.stop.clone(),
            orders,
            events,
            turn_events,
            crossings_out: ways.crossings_out,
            crossings_in: ways.crossings_in,
            moves_out: ways.moves_out,
            moves_in: ways.moves_in,
            recorder,
            ids: self.ids.clone(),
            capabilities: self.capabilities,
            look_again_max: self.config.look_again_max,
            nap_max: self.config.nap_max,
            metrics: metrics.clone(),
            epoll,
            secrets: self.secrets,
        };
        let running = Running {
            commands,
            metrics,
            wake: wake.clone(),
            thread: None,
        };
        Ok((parts, running, (queue, turn_queue)))
    }
}

/// Where the events of one worker come out: of its conference server, of its TURN server.
type EventQueues = (Consumer<voex_sfu::Event>, Consumer<voex_turn::Event>);

type Sockets = (Vec<(SocketId, Role, Socket)>, Vec<(SocketAddr, Socket)>);
/// The ends of one worker of all ways between workers, for packets and for streams.
#[derive(Default)]
struct Ways {
    crossings_out: Vec<Option<CrossingSender>>,
    crossings_in: Vec<(WorkerId, CrossingReceiver)>,
    moves_out: Vec<Option<MoveSender>>,
    moves_in: Vec<MoveReceiver>,
}

/// Makes the ways from each worker to each other; gives their ends by worker.
fn ways(wakes: &[Arc<Wake>]) -> Vec<Ways> {
    let mut ends: Vec<Ways> = wakes.iter().map(|_| Ways::default()).collect();
    let bytes = crossing_bytes(wakes.len());
    for from in 0..wakes.len() {
        for (to, wake) in wakes.iter().enumerate() {
            if from == to {
                ends[from].crossings_out.push(None);
                ends[from].moves_out.push(None);
                continue;
            }
            let (sender, receiver) = crossing(wake.clone(), bytes);
            ends[from].crossings_out.push(Some(sender));
            ends[to].crossings_in.push((WorkerId(from as u16), receiver));
            let (sender, receiver) = moves(wake.clone());
            ends[from].moves_out.push(Some(sender));
            ends[to].moves_in.push(receiver);
        }
    }
    ends
}
