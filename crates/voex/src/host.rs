//! The running host: everything that was bound, and the tasks that serve it.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time;
use voex_base::Rng;
use voex_config::Settings;
use voex_janus::Gateway;
use voex_net::{TurnEvents, WorkerPanicked, Workers};
use voex_sip::Endpoint;
use voex_telemetry::LogControl;
use voex_transport::Certificate;
use voex_turn::Selection;
use voex_worker::Topology;

use crate::addresses::Addresses;
use crate::api::Api;
use crate::call_log::CallLog;
use crate::control::{Control, Inputs};
use crate::databases::Databases;
use crate::drain::Drain;
use crate::events::Handlers;
use crate::figures::{Listeners, State, Status};
use crate::media::{self, Commands, Media, RtpPairs};
use crate::recorder::Recorder;
use crate::serve::Failure;
use crate::signalling::{self, SipSockets};
use crate::turn_config::{TurnBasis, turn_config};
use crate::turn_desk::{self, Desk, Order};
use crate::turn_sessions::{Filter, Sessions};
use crate::websocket::{Door, Front};
use crate::{certificate, console, machines, websocket, welcome};

/// API messages that may wait for the control task; then connections are not read.
const API_INPUTS_MAX: usize = 1_024;
/// How long the end of all TURN sessions may take.
const END_MAX: Duration = Duration::from_secs(1);
/// How long workers with full queues may take to learn of a new certificate, and how often they are offered it.
const TAKE_MAX: Duration = Duration::from_secs(2);
const TAKE_AGAIN: Duration = Duration::from_millis(20);

/// Everything that runs.
pub(crate) struct Host {
    /// What health and the main task look at.
    pub(crate) state: Arc<State>,
    /// Whether the process drains.
    pub(crate) drain: Arc<Drain>,
    workers: Workers,
    recorder: Option<Recorder>,
    access: watch::Sender<Arc<Settings>>,
    addresses: Addresses,
    turn: TurnBasis,
    topology: Arc<Topology>,
    sessions: Arc<Sessions>,
    databases: Databases,
    certificate: certificate::Watch,
    desk: mpsc::Sender<Order>,
    desk_task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    control: JoinHandle<()>,
    /// Turned to true when no new connections of the API are taken.
    accepting: watch::Sender<bool>,
    serving: Arc<Notify>,
}

/// The listeners of the control plane, bound before anything runs.
pub(crate) struct Bound {
    /// Metrics, health, console.
    pub(crate) http: TcpListener,
    /// The Janus API, when that role is on.
    pub(crate) api: Option<TcpListener>,
    /// The admin API, when it has an address.
    pub(crate) admin: Option<TcpListener>,
    /// SIP; empty when that role is off.
    pub(crate) sip: SipSockets,
}

/// What was bound and made, before it serves.
struct Parts {
    addresses: Addresses,
    turn: TurnBasis,
    bound: Bound,
    certificate: certificate::Watch,
    media: Media,
    recorder: Option<Recorder>,
    call_log: Option<CallLog>,
    pairs: RtpPairs,
    gateway: Gateway,
    endpoint: Endpoint,
    status: Arc<Status>,
}

impl Host {
    /// Binds every listener, then starts serving. `embedded` is the start without a settings file.
    pub(crate) async fn start(
        settings: &Settings,
        addresses: Addresses,
        embedded: bool,
        logging: &LogControl,
        started: Instant,
    ) -> Result<Self, Failure> {
        let system = |error: &dyn Display| Failure::System(vec![error.to_string()]);
        let mut rng = Rng::from_seed(entropy()?);
        let shown = certificate::shown(settings, &addresses).map_err(|line| Failure::Settings(vec![line]))?;
        let identity = shown.as_ref().map(|shown| shown.identity.clone());
        let watch = certificate::Watch::new(settings, shown);
        let certificate = Arc::new(Certificate::generate().map_err(|error| system(&error))?);
        let bound = Bound::bind(settings, &addresses).await?;
        let turn = TurnBasis {
            signing_key: media::seed(&mut rng),
            made_user: made_user(settings, embedded, &mut rng),
            own_sockets: bound.own_sockets(settings, &addresses),
        };
        let mut media = media::start(settings, &addresses, &turn, &certificate, identity, &mut rng)
            .map_err(|error| system(&error))?;
        let status = Arc::new(Status {
            started,
            listeners: console::listeners(settings, &addresses, &bound, &media),
            media_path: media.workers.capabilities().to_string(),
            media: media.metrics.clone(),
            janus: Arc::default(),
            sip: Arc::default(),
            recorder: Arc::default(),
            images: settings.voex.images.clone(),
            relay_ports: addresses.relays.len() as i64 * i64::from(settings.turn.relay_ports.count()),
        });
        announce(&status, media.workers.count());
        if settings.turn.enabled {
            addresses.left_out().iter().for_each(|line| tracing::info!("{line}"));
        }
        if let Some((user, password)) = &turn.made_user {
            welcome::print(settings, &addresses, user, password.reveal());
        }
        let recorder = match settings
            .mcu
            .recordings_dir
            .as_ref()
            .filter(|_| media::records(settings))
        {
            Some(folder) => Some(
                Recorder::start(folder, media.workers.recorded(), status.recorder.clone())
                    .map_err(|error| system(&error))?,
            ),
            None => None,
        };
        let call_log = match settings.sip.calls_dir.as_ref().filter(|_| settings.sip.enabled) {
            Some(folder) => {
                let kept = Duration::from_secs(settings.sip.calls_kept_s.into());
                Some(CallLog::start(folder, kept).map_err(|error| system(&error))?)
            }
            None => None,
        };
        let pairs = RtpPairs::new(&media, settings, &addresses);
        let gateway = machines::gateway(settings, &addresses, &media, &certificate, pairs.clone());
        let gateway = Gateway::new(gateway, rng.split(), status.janus.clone());
        let endpoint = Endpoint::new(
            machines::endpoint(settings, &bound.sip),
            rng.split(),
            status.sip.clone(),
        );
        let parts = Parts {
            addresses,
            turn,
            bound,
            certificate: watch,
            media,
            recorder,
            call_log,
            pairs,
            gateway,
            endpoint,
            status,
        };
        Ok(Self::serve(settings, parts, logging).await)
    }

    /// Starts the tasks.
    async fn serve(settings: &Settings, parts: Parts, logging: &LogControl) -> Self {
        let Parts {
            addresses,
            turn,
            bound,
            certificate,
            media,
            recorder,
            call_log,
            pairs,
            gateway,
            endpoint,
            status,
        } = parts;
        let (access, settings_now) = watch::channel(Arc::new(settings.clone()));
        let drain = Arc::new(Drain::new(status.clone(), settings_now.clone()));
        let state = Arc::new(State {
            workers_running: AtomicBool::new(true),
            drain: drain.clone(),
            redis: Arc::default(),
            certificate: certificate.figures(),
        });
        let topology = media.workers.topology().clone();
        let (commands, turn_commands) = (media.commands(), media.commands());
        let sessions = Arc::<Sessions>::default();
        let (desk, orders) = mpsc::channel(turn_desk::ORDERS_MAX);
        let databases = Databases::open(settings, state.redis.clone(), sessions.clone(), desk.clone()).await;
        let desk_task = start_desk(
            media.turn_events,
            media.turn_wake,
            turn_commands,
            orders,
            &databases,
            &sessions,
        );
        let (accepting, not_accepting) = watch::channel(false);
        let serving = Arc::new(Notify::new());
        let (event_handlers, event_figures) = Handlers::start(&settings.mcu.events);
        let figures = Listeners {
            events: event_figures,
            api: Arc::default(),
            sip: bound.sip.metrics(),
        };
        let api_metrics = figures.api.clone();
        let api = Api {
            sessions: sessions.clone(),
            desk: desk.clone(),
            drain: drain.clone(),
        };
        let pages =
            console::pages(&state, &status, &settings_now, figures, &sessions, logging).with_management(api.routes());
        let stop = serving.clone();
        tokio::spawn(pages.serve(bound.http, async move { stop.notified().await }));

        let (api_tx, api) = mpsc::channel(API_INPUTS_MAX);
        let (sip_tx, sip) = mpsc::channel(signalling::DATAGRAMS_MAX);
        let (stop_tx, stop) = oneshot::channel();
        bound.sip.receive(&sip_tx);
        let door = Door {
            front: Front::Api,
            settings: settings_now,
            inputs: api_tx,
            metrics: api_metrics,
            ids: websocket::Ids::default(),
        };
        for (front, listener) in [(Front::Api, bound.api), (Front::Admin, bound.admin)] {
            if let Some(listener) = listener {
                let door = Door { front, ..door.clone() };
                tokio::spawn(websocket::accept(listener, door, not_accepting.clone()));
            }
        }
        drop(door);
        let control = Control {
            gateway,
            endpoint,
            sip: bound.sip,
            sip_inputs: sip_tx,
            commands,
            pairs,
            events: media.events,
            wake: media.wake,
            connections: HashMap::new(),
            backlog: false,
            recorder: recorder.as_ref().map(Recorder::orders),
            call_log,
            logging: logging.clone(),
            event_handlers,
        };
        Self {
            state,
            drain,
            workers: media.workers,
            recorder,
            access,
            addresses,
            turn,
            topology,
            sessions,
            databases,
            certificate,
            desk,
            desk_task,
            stop: stop_tx,
            control: tokio::spawn(control.run(Inputs { api, sip, stop })),
            accepting,
            serving,
        }
    }

    /// Says whether every media thread runs, and the tasks that speak to them.
    pub(crate) fn workers_running(&self) -> bool {
        self.workers.all_running() && !self.control.is_finished() && !self.desk_task.is_finished()
    }

    /// Takes over settings that were read again: who may use API and console, and all of TURN but its listeners.
    pub(crate) async fn reload(&mut self, settings: &Settings) {
        let before = self.access.send_replace(Arc::new(settings.clone()));
        if settings.turn.external != before.turn.external {
            self.addresses.rename_relays(&settings.turn.external);
            self.topology = Arc::new(self.topology.renamed(&self.addresses.relays));
        }
        if settings.tls.certificate.is_some() || before.tls.certificate.is_some() {
            self.reload_certificate(settings).await;
        }
        self.databases.reload(settings).await;
        self.reconfigure_turn().await;
    }

    /// Waits until Redis says something else of the realm; then [`reconfigure_turn`](Self::reconfigure_turn) is due.
    pub(crate) async fn rules_changed(&mut self) {
        self.databases.rules_changed().await;
    }

    /// Tells the TURN shards what settings and Redis say now.
    pub(crate) async fn reconfigure_turn(&self) {
        let settings = self.access.borrow().clone();
        if !settings.turn.enabled {
            return;
        }
        let rules = self.databases.rules();
        let config = Box::new(turn_config(&settings, &self.addresses, &self.turn, &rules));
        let topology = self.topology.clone();
        // The desk is gone only after `stop`.
        let _ = self.desk.send(Order::Reconfigure { config, topology }).await;
    }

    /// Takes over a certificate that was changed on disk, and reminds of the end of the one in force. Due every second.
    pub(crate) async fn watch_certificate(&mut self) {
        let settings = self.access.borrow().clone();
        if self.certificate.has_changed(&settings) {
            self.reload_certificate(&settings).await;
        }
        self.certificate.remind();
    }

    /// Shows new clients the certificate as it is on disk now. A wrong one leaves that in force.
    async fn reload_certificate(&mut self, settings: &Settings) {
        let Some(fresh) = self.certificate.read(settings, &self.addresses) else {
            return;
        };
        let deadline = Instant::now() + TAKE_MAX;
        while let Err(busy) = self.workers.set_identity(&fresh.identity) {
            if Instant::now() > deadline {
                return self.certificate.postpone(&format!(
                    "not every worker took the new one, which is tried again: {busy}"
                ));
            }
            time::sleep(TAKE_AGAIN).await;
        }
        self.certificate.take(fresh);
    }

    /// Takes no new connections and allocations.
    pub(crate) async fn refuse_new(&self) {
        self.accepting.send_replace(true);
        // The desk is gone only after `stop`.
        let _ = self.desk.send(Order::RefuseNewAllocations).await;
    }

    /// Ends every TURN session, so that whoever follows them hears of it.
    async fn end_sessions(&self) {
        let living = self.sessions.list(&Filter::default(), None, usize::MAX);
        let ids: Vec<_> = living.iter().map(|entry| entry.session.id).collect();
        let told = self.desk.send(Order::End(Selection::All)).await;
        if told.is_ok() && self.sessions.gone(&ids, END_MAX).await > 0 {
            tracing::warn!("TURN: not every session ended in time");
        }
        let (report, reported) = oneshot::channel();
        if self.desk.send(Order::Report(report)).await.is_ok() {
            // The desk is gone only when it fell; that was told when it happened.
            let _ = reported.await;
        }
    }

    /// Ends calls, sessions and connections, then the media threads, then the console.
    pub(crate) async fn stop(self) -> Result<(), WorkerPanicked> {
        self.accepting.send_replace(true);
        self.end_sessions().await;
        self.databases.close().await;
        // The control task is gone when it fell; that was told when it happened.
        let _ = self.stop.send(());
        if time::timeout(Duration::from_secs(2), self.control).await.is_err() {
            tracing::warn!("the control task did not end in time");
        }
        self.serving.notify_one();
        let stopped = self.workers.stop();
        if let Some(recorder) = self.recorder {
            // Waits for the disk, and for nobody else any more.
            let _ = tokio::task::spawn_blocking(move || recorder.stop()).await;
        }
        stopped
    }
}

impl Bound {
    /// Binds everything of the control plane; every address that fails makes a line.
    async fn bind(settings: &Settings, addresses: &Addresses) -> Result<Self, Failure> {
        let mut failures = Vec::new();
        let http = bind_tcp("HTTP", settings.http.listen, &mut failures).await;
        let api = match settings.mcu.enabled {
            true => bind_tcp("Janus API", settings.mcu.ws_listen, &mut failures).await,
            false => None,
        };
        let admin = match settings.mcu.admin_listen.filter(|_| settings.mcu.enabled) {
            Some(listen) => bind_tcp("Janus admin API", listen, &mut failures).await,
            None => None,
        };
        let listen = if settings.sip.enabled {
            &settings.sip.listen[..]
        } else {
            &[]
        };
        let sip = SipSockets::bind(listen, addresses)
            .await
            .map_err(|lines| failures.extend(lines))
            .ok();
        match (http, sip) {
            (Some(http), Some(sip)) if failures.is_empty() => Ok(Self { http, api, admin, sip }),
            _ => Err(Failure::System(
                failures.into_iter().map(|line| format!("cannot bind {line}")).collect(),
            )),
        }
    }

    /// Gives the addresses that no relay may reach.
    fn own_sockets(&self, settings: &Settings, addresses: &Addresses) -> Vec<SocketAddr> {
        let tcp = [Some(&self.http), self.api.as_ref(), self.admin.as_ref()];
        let tcp = tcp.into_iter().flatten();
        let tcp = tcp.filter_map(|listener| listener.local_addr().ok());
        let sip = settings
            .sip
            .listen
            .iter()
            .filter(|_| settings.sip.enabled)
            .map(|listen| listen.address);
        tcp.chain(sip).flat_map(|socket| addresses.spread(socket)).collect()
    }
}

async fn bind_tcp(purpose: &str, address: SocketAddr, failures: &mut Vec<String>) -> Option<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            failures.push(format!("{purpose} {address} ({error})"));
            None
        }
    }
}

/// Draws a seed from the operating system.
fn entropy() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::System(vec![error.to_string()]))?;
    Ok(seed)
}

fn announce(status: &Status, workers: usize) {
    for (name, at) in &status.listeners {
        tracing::info!("listening: {name}: {at}");
    }
    tracing::info!("{workers} media workers, {}", status.media_path);
}

/// Makes a user for the embedded default when nobody else could use TURN.
fn made_user(settings: &Settings, embedded: bool, rng: &mut Rng) -> Option<(String, voex_config::Secret)> {
    let turn = &settings.turn;
    let nobody = turn.users_static.is_empty()
        && turn.users_keys.is_empty()
        && turn.users_secrets.is_empty()
        && turn.users_redis.is_none();
    (embedded && nobody && turn.enabled).then(|| ("voex".to_owned(), voex_config::Secret::new(rng.token(22))))
}

/// Starts the TURN desk; it works until its last sender is dropped.
fn start_desk(
    events: TurnEvents,
    wake: Arc<Notify>,
    commands: Commands,
    orders: mpsc::Receiver<Order>,
    databases: &Databases,
    sessions: &Arc<Sessions>,
) -> JoinHandle<()> {
    let (answers_tx, answers) = mpsc::channel(turn_desk::ANSWERS_MAX);
    let desk = Desk {
        events,
        wake,
        commands,
        sessions: sessions.clone(),
        stores: databases.stores(answers_tx),
    };
    tokio::spawn(desk.run(turn_desk::Inputs { orders, answers }))
}
