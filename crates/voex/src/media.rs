//! The media plane: settings turned into workers, and the ways between them and the control task.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use voex_base::{Rng, SocketId, WorkerId};
use voex_config::{PortRange, Settings};
use voex_janus::{Candidate, PortsExhausted, WorkerMedia};
use voex_net::{CommandSender, Events, Identity, QueueFull, StartError, TurnEvents, Workers};
use voex_store::RealmRules;
use voex_transport::Certificate;
use voex_turn::{PortShare, Quotas};
use voex_worker::{Command, RelayRange, Worker};

use crate::addresses::{Addresses, is_ours, toward};
use crate::turn_config::{TurnBasis, turn_config};

/// Commands that are kept for a worker whose queue is full; more than that and the worker has stopped.
const BACKLOG_COMMANDS_MAX: usize = 65_536;

/// The running media plane.
pub(crate) struct Media {
    /// The worker threads.
    pub(crate) workers: Workers,
    /// What their conference servers report.
    pub(crate) events: Events,
    /// Wakes whoever reads `events`.
    pub(crate) wake: Arc<Notify>,
    /// What their TURN servers report.
    pub(crate) turn_events: TurnEvents,
    /// Wakes whoever reads `turn_events`.
    pub(crate) turn_wake: Arc<Notify>,
    /// What they count.
    pub(crate) metrics: Metrics,
}

/// Counters of all workers, by worker.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    /// Of the workers themselves.
    pub(crate) workers: Vec<Arc<voex_worker::Metrics>>,
    /// Of their TURN shards.
    pub(crate) turn: Vec<Arc<voex_turn::Metrics>>,
    /// Of their SFU shards.
    pub(crate) sfu: Vec<Arc<voex_sfu::Metrics>>,
    /// Of their loops.
    pub(crate) net: Vec<Arc<voex_net::Metrics>>,
}

/// Binds every media and TURN address and starts the workers.
pub(crate) fn start(
    settings: &Settings,
    addresses: &Addresses,
    turn: &TurnBasis,
    certificate: &Arc<Certificate>,
    identity: Option<Identity>,
    rng: &mut Rng,
) -> Result<Media, StartError> {
    let (wake, turn_wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut config = net_config(settings, addresses, [wake.clone(), turn_wake.clone()], rng);
    config.identity = identity;
    let count = worker_count(settings);
    let mut metrics = Metrics::default();
    let turn = turn_config(settings, addresses, turn, &RealmRules::default());
    let quotas = Arc::new(Quotas::new(allocations_max(settings, &turn), rng));
    let (workers, events, turn_events) = Workers::start(config, |id, topology| {
        let counters = Arc::new(voex_worker::Metrics::default());
        let mut worker = Worker::new(id, topology.clone(), counters.clone());
        metrics.workers.push(counters);
        if settings.turn.enabled {
            let counters = Arc::new(voex_turn::Metrics::default());
            let mut turn = turn.clone();
            turn.shard = id.0;
            turn.ports = PortShare::new(range(settings.turn.relay_ports), id.0, count);
            let server = voex_turn::Server::new(turn, rng.split(), counters.clone());
            worker = worker.with_turn(server.with_quotas(quotas.clone()));
            metrics.turn.push(counters);
        }
        let counters = Arc::new(voex_sfu::Metrics::default());
        let config = voex_sfu::Config::new(certificate.clone());
        worker = worker.with_sfu(voex_sfu::Shard::new(config, rng.split(), counters.clone()));
        metrics.sfu.push(counters);
        worker
    })?;
    metrics.net = (0..workers.count())
        .map(|id| workers.metrics(WorkerId(id as u16)).clone())
        .collect();
    Ok(Media {
        workers,
        events,
        wake,
        turn_events,
        turn_wake,
        metrics,
    })
}

/// Says how many allocations there can be at a time: each has a port of an address, or two.
fn allocations_max(settings: &Settings, turn: &voex_turn::Config) -> usize {
    let of_workers = turn.allocations_max * usize::from(worker_count(settings));
    of_workers.min(range(settings.turn.relay_ports).len() * turn.relays.len())
}

fn net_config(
    settings: &Settings,
    addresses: &Addresses,
    [wake, turn_wake]: [Arc<Notify>; 2],
    rng: &mut Rng,
) -> voex_net::Config {
    let has_media = settings.mcu.enabled || settings.sip.enabled;
    let mut config = voex_net::Config {
        workers: usize::from(worker_count(settings)),
        media_ports: range(settings.media.ports),
        records: records(settings),
        event_wake: Arc::new(move || wake.notify_one()),
        turn_event_wake: Arc::new(move || turn_wake.notify_one()),
        seed: seed(rng),
        ..voex_net::Config::default()
    };
    if has_media {
        config.media_addresses.clone_from(&addresses.media);
    }
    if settings.turn.enabled {
        config.turn_listeners = turn_listeners(settings, addresses);
        config.turn_protocols.clone_from(&settings.turn.transports);
        config.relays = Some(RelayRange {
            addresses: addresses.relays.clone(),
            ports: range(settings.turn.relay_ports),
        });
    }
    config
}

impl Media {
    /// Says where clients reach each worker.
    pub(crate) fn candidates(&self, addresses: &Addresses) -> Vec<WorkerMedia> {
        let sockets = self.workers.media_sockets();
        let of_worker = |worker: WorkerId| {
            let candidate = |(local, shown): &(IpAddr, IpAddr)| {
                let socket = sockets.iter().find(|s| s.worker == worker && s.local.ip() == *local)?;
                Some(Candidate {
                    address: SocketAddr::new(*shown, socket.local.port()),
                })
            };
            WorkerMedia {
                worker,
                candidates: addresses.candidates.iter().filter_map(candidate).collect(),
            }
        };
        (0..self.workers.count())
            .map(|id| of_worker(WorkerId(id as u16)))
            .collect()
    }

    /// Gives the way to the workers.
    pub(crate) fn commands(&self) -> Commands {
        let senders = (0..self.workers.count()).map(|id| self.workers.command_sender(WorkerId(id as u16)));
        Commands {
            queues: senders.map(|sender| (sender, VecDeque::new())).collect(),
        }
    }
}

/// The way to the workers: what a full queue does not take is kept, in order.
pub(crate) struct Commands {
    queues: Vec<(CommandSender, VecDeque<Command>)>,
}

impl Commands {
    /// Sends a command, or keeps it for [`retry`](Self::retry).
    pub(crate) fn send(&mut self, worker: WorkerId, command: Command) {
        let Some((sender, backlog)) = self.queues.get_mut(usize::from(worker.0)) else {
            return;
        };
        if backlog.is_empty() {
            match sender.send(command) {
                Ok(()) => {}
                Err(QueueFull { command, .. }) => backlog.push_back(command),
            }
        } else if backlog.len() < BACKLOG_COMMANDS_MAX {
            backlog.push_back(command);
        } else {
            tracing::error!("media worker {worker} takes no commands; one is lost");
        }
    }

    /// Sends what was kept. Says whether something is still kept.
    pub(crate) fn retry(&mut self) -> bool {
        for (sender, backlog) in &mut self.queues {
            while let Some(command) = backlog.pop_front() {
                if let Err(QueueFull { command, .. }) = sender.send(command) {
                    backlog.push_front(command);
                    break;
                }
            }
        }
        self.queues.iter().any(|(_, backlog)| !backlog.is_empty())
    }

    /// Sends the same command to every worker.
    pub(crate) fn send_to_all(&mut self, command: impl Fn() -> Command) {
        for worker in 0..self.queues.len() {
            self.send(WorkerId(worker as u16), command());
        }
    }
}

/// Port pairs for the API's plain RTP. A pair that is given back stays bound until the commands that end its transport
/// have been sent: [`RtpPairs::drop_closed`].
#[derive(Clone)]
pub(crate) struct RtpPairs {
    ports: voex_net::RtpPorts,
    /// `sip.media_address`.
    fixed: Option<IpAddr>,
    default: IpAddr,
    state: Arc<Mutex<PairState>>,
}

#[derive(Default)]
struct PairState {
    open: HashMap<SocketId, voex_net::RtpPair>,
    closed: Vec<voex_net::RtpPair>,
}

impl RtpPairs {
    /// Makes a source of pairs over the workers' port pool.
    pub(crate) fn new(media: &Media, settings: &Settings, addresses: &Addresses) -> Self {
        let bound = addresses.media.first().map(|address| address.local);
        Self {
            ports: media.workers.rtp_ports(),
            fixed: settings.sip.media_address,
            default: bound.unwrap_or_else(|| addresses.primary()),
            state: Arc::default(),
        }
    }

    /// Unbinds the pairs that were given back.
    pub(crate) fn drop_closed(&self) {
        self.state().closed.clear();
    }

    /// The address to bind, by the route to the other side, and the one to tell it.
    fn address(&self, remote: Option<IpAddr>) -> (IpAddr, IpAddr) {
        let routed = || remote.and_then(toward).unwrap_or(self.default);
        match self.fixed {
            Some(fixed) if is_ours(fixed) => (fixed, fixed),
            Some(public) => (routed(), public),
            None => {
                let local = routed();
                (local, local)
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, PairState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl voex_janus::RtpPorts for RtpPairs {
    fn open(&mut self, worker: WorkerId, remote: Option<IpAddr>) -> Result<voex_janus::RtpPair, PortsExhausted> {
        let (local, shown) = self.address(remote);
        let pair = self.ports.open_pair(worker, local).map_err(|error| {
            tracing::warn!("no RTP ports for a call: {error}");
            PortsExhausted
        })?;
        let opened = voex_janus::RtpPair {
            rtp: pair.rtp(),
            rtcp: Some(pair.rtcp()),
            address: SocketAddr::new(shown, pair.rtp_address().port()),
        };
        self.state().open.insert(pair.rtp(), pair);
        Ok(opened)
    }

    fn close(&mut self, _worker: WorkerId, pair: voex_janus::RtpPair) {
        let mut state = self.state();
        if let Some(pair) = state.open.remove(&pair.rtp) {
            state.closed.push(pair);
        }
    }
}

fn turn_listeners(settings: &Settings, addresses: &Addresses) -> Vec<SocketAddr> {
    let ports = settings.turn.ports();
    addresses
        .turn
        .iter()
        .flat_map(|ip| ports.iter().map(|port| SocketAddr::new(*ip, *port)))
        .collect()
}

/// Says whether there is a recorder.
pub(crate) fn records(settings: &Settings) -> bool {
    settings.mcu.enabled && settings.mcu.recordings_dir.is_some()
}

/// Says how many workers the settings make.
pub(crate) fn worker_count(settings: &Settings) -> u16 {
    // The settings allow 256 at most, and so does the system with cores.
    voex_net::worker_count(usize::from(settings.workers)) as u16
}

/// Name of this host; the realm where none is set.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "voex".to_owned(),
        name => name.to_owned(),
    }
}

/// Gives a range as the standard library has it.
pub(crate) fn range(ports: PortRange) -> RangeInclusive<u16> {
    ports.first..=ports.last
}

/// Draws a seed.
pub(crate) fn seed(rng: &mut Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill(&mut seed);
    seed
}
