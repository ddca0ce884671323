//! The running host: everything that was bound, and the tasks that serve it.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time;
use voex_base::Rng;
use voex_config::Settings;
use voex_janus::Gateway;
use voex_net::{WorkerPanicked, Workers};
use voex_sip::Endpoint;
use voex_telemetry::{LogControl, Pages, Process, role};
use voex_transport::Certificate;

use crate::addresses::Addresses;
use crate::control::{Control, Inputs, Order};
use crate::figures::{Listeners, Loops, State, Status};
use crate::media::{self, Media, RtpPairs, TurnUsers};
use crate::serve::Failure;
use crate::signalling::{self, SipSockets};
use crate::{websocket, welcome};

/// API messages that may wait for the control task; then connections are not read.
const API_INPUTS_MAX: usize = 1_024;

/// Everything that runs.
pub(crate) struct Host {
    /// What health and the main task look at.
    pub(crate) state: Arc<State>,
    status: Arc<Status>,
    workers: Workers,
    access: watch::Sender<Arc<Settings>>,
    orders: mpsc::Sender<Order>,
    control: JoinHandle<()>,
    accepting: Arc<Notify>,
    serving: Arc<Notify>,
}

/// The listeners of the control plane, bound before anything runs.
struct Bound {
    http: TcpListener,
    api: Option<TcpListener>,
    sip: SipSockets,
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
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| system(&error))?;
        let mut rng = Rng::from_seed(seed);
        let certificate = Arc::new(Certificate::generate().map_err(|error| system(&error))?);
        let bound = Bound::bind(settings, &addresses).await?;
        let (users, made) = turn_users(settings, embedded, &mut rng);
        let own = bound.own_sockets(settings, &addresses);
        let media =
            media::start(settings, &addresses, &users, &certificate, own, &mut rng).map_err(|error| system(&error))?;
        let (janus, sip) = (
            Arc::<voex_janus::Metrics>::default(),
            Arc::<voex_sip::Metrics>::default(),
        );
        let state = Arc::new(State {
            workers_running: AtomicBool::new(true),
            draining: AtomicBool::new(false),
        });
        let status = Arc::new(Status {
            started,
            listeners: listeners(settings, &addresses, &bound, &media),
            media_path: media.workers.capabilities().to_string(),
            media: media.metrics.clone(),
            janus: janus.clone(),
            sip: sip.clone(),
            images: settings.voex.images.clone(),
            relay_ports: addresses.relays.len() as i64 * i64::from(settings.turn.relay_ports.count()),
        });
        status
            .listeners
            .iter()
            .for_each(|(name, at)| tracing::info!("listening: {name}: {at}"));
        tracing::info!("{} media workers, {}", media.workers.count(), status.media_path);
        if let Some((user, password)) = &made {
            welcome::print(settings, &addresses, user, password);
        }

        let (access, settings_now) = watch::channel(Arc::new(settings.clone()));
        let api_metrics = Arc::<websocket::Metrics>::default();
        let figures = Listeners {
            api: api_metrics.clone(),
            sip: bound.sip.metrics(),
        };
        let pages = pages(&state, &status, &settings_now, figures, logging);
        let (accepting, serving) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let stop = serving.clone();
        tokio::spawn(pages.serve(bound.http, async move { stop.notified().await }));

        let (api_tx, api) = mpsc::channel(API_INPUTS_MAX);
        let (sip_tx, sip_rx) = mpsc::channel(signalling::DATAGRAMS_MAX);
        let (orders, orders_rx) = mpsc::channel(4);
        bound.sip.receive(&sip_tx);
        if let Some(listener) = bound.api {
            tokio::spawn(websocket::accept(
                listener,
                settings_now,
                api_tx,
                api_metrics,
                accepting.clone(),
            ));
        }
        let pairs = RtpPairs::new(&media, settings, &addresses);
        let gateway = gateway(settings, &addresses, &media, &certificate, pairs.clone());
        let endpoint = sip_config(settings, &bound.sip);
        let control = Control {
            gateway: Gateway::new(gateway, rng.split(), janus),
            endpoint: Endpoint::new(endpoint, rng.split(), sip),
            sip: bound.sip,
            sip_inputs: sip_tx,
            commands: media.commands(),
            pairs,
            events: media.events,
            wake: media.wake,
            connections: HashMap::new(),
            backlog: false,
        };
        let control = tokio::spawn(control.run(Inputs {
            api,
            sip: sip_rx,
            orders: orders_rx,
        }));
        Ok(Self {
            state,
            status,
            workers: media.workers,
            access,
            orders,
            control,
            accepting,
            serving,
        })
    }

    /// Says whether every media thread runs.
    pub(crate) fn workers_running(&self) -> bool {
        self.workers.all_running() && !self.control.is_finished()
    }

    /// Counts what an end would cut off.
    pub(crate) fn in_use(&self) -> i64 {
        self.status.in_use()
    }

    /// Changes who may use the API and read the console.
    pub(crate) fn set_access(&self, settings: &Settings) {
        self.access.send_replace(Arc::new(settings.clone()));
    }

    /// Takes no new connections and allocations.
    pub(crate) async fn drain(&self) {
        self.state.draining.store(true, Relaxed);
        self.accepting.notify_one();
        // The control task is gone only after `stop`.
        let _ = self.orders.send(Order::Drain).await;
    }

    /// Ends calls, sessions and connections, then the media threads, then the console.
    pub(crate) async fn stop(self) -> Result<(), WorkerPanicked> {
        self.accepting.notify_one();
        let _ = self.orders.send(Order::Stop).await;
        if time::timeout(Duration::from_secs(2), self.control).await.is_err() {
            tracing::warn!("the control task did not end in time");
        }
        self.serving.notify_one();
        self.workers.stop()
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
            (Some(http), Some(sip)) if failures.is_empty() => Ok(Self { http, api, sip }),
            _ => Err(Failure::System(
                failures.into_iter().map(|line| format!("cannot bind {line}")).collect(),
            )),
        }
    }

    /// Gives the addresses that no relay may reach.
    fn own_sockets(&self, settings: &Settings, addresses: &Addresses) -> Vec<SocketAddr> {
        let tcp = [Some(&self.http), self.api.as_ref()].into_iter().flatten();
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

/// Gives the users of TURN; on the embedded default with none given, one is made, and told.
fn turn_users(settings: &Settings, embedded: bool, rng: &mut Rng) -> (TurnUsers, Option<(String, String)>) {
    let turn = &settings.turn;
    let mut users = TurnUsers {
        fixed: turn.users_static.clone(),
        secrets: turn.users_secrets.clone(),
    };
    let none = users.fixed.is_empty() && users.secrets.is_empty();
    if !(embedded && none && turn.enabled) {
        return (users, None);
    }
    let made = ("voex".to_owned(), rng.token(22));
    users
        .fixed
        .push((made.0.clone(), voex_config::Secret::new(made.1.clone())));
    (users, Some(made))
}

fn gateway(
    settings: &Settings,
    addresses: &Addresses,
    media: &Media,
    certificate: &Certificate,
    pairs: RtpPairs,
) -> voex_janus::Config {
    let workers = media.candidates(addresses);
    let first = workers.first().and_then(|worker| worker.candidates.first());
    voex_janus::Config {
        server_name: settings.turn.realm.clone().unwrap_or_else(media::host_name),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint_sha256: certificate.fingerprint_sha256(),
        public_ip: first.map_or_else(|| addresses.primary(), |candidate| candidate.address.ip()),
        workers,
        session_timeout: Duration::from_secs(settings.mcu.session_timeout_s.into()),
        reclaim_timeout: Duration::from_secs(settings.mcu.reclaim_timeout_s.into()),
        api_secret: settings
            .mcu
            .api_secret
            .as_ref()
            .map(|secret| secret.reveal().to_owned()),
        rooms: settings.mcu.rooms.iter().map(room).collect(),
        rtp_ports: Box::new(pairs),
    }
}

fn room(room: &voex_config::StaticRoom) -> (u64, voex_janus::RoomConfig) {
    let reveal = |secret: &Option<voex_config::Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
    let default = voex_janus::RoomConfig::default();
    let config = voex_janus::RoomConfig {
        description: room.description.clone(),
        secret: reveal(&room.secret),
        pin: reveal(&room.pin),
        is_private: room.is_private,
        publishers_max: room.publishers.unwrap_or(default.publishers_max),
        bitrate_bps: room.bitrate_bps.unwrap_or(default.bitrate_bps),
        ..default
    };
    (room.id, config)
}

fn sip_config(settings: &Settings, sockets: &SipSockets) -> voex_sip::Config {
    voex_sip::Config {
        listen: sockets.listens(),
        user_agent: concat!("voex/", env!("CARGO_PKG_VERSION")).to_owned(),
        timers: voex_sip::TimerConfig::default(),
        allow: settings
            .sip
            .trunks
            .iter()
            .flat_map(|trunk| trunk.allow.clone())
            .collect(),
        allow_account_hosts: true,
        strangers: voex_sip::Strangers::Refuse,
        limits: voex_sip::Limits::default(),
    }
}

fn pages(
    state: &Arc<State>,
    status: &Arc<Status>,
    settings: &watch::Receiver<Arc<Settings>>,
    listeners: Listeners,
    logging: &LogControl,
) -> Pages {
    let (health, figures) = (state.clone(), status.clone());
    let (shown, access) = (status.clone(), settings.clone());
    let mut pages = Pages::new(
        move || health.health(figures.relay_ports_percent()),
        move || shown.to_json(),
        move |client| access.borrow().may_read_console(client),
    );
    let media = &status.media;
    pages.register(Process {
        version: env!("CARGO_PKG_VERSION"),
        dropped_log_lines: logging.dropped_lines(),
    });
    pages.register(role::Turn(media.turn.clone()));
    pages.register(role::Sfu(media.sfu.clone()));
    pages.register(role::Transports(
        media.sfu.iter().map(|sfu| sfu.transport.clone()).collect(),
    ));
    pages.register(role::Workers(media.workers.clone()));
    pages.register(role::Janus(status.janus.clone()));
    pages.register(role::Sip(status.sip.clone()));
    pages.register(Loops(media.net.clone()));
    pages.register(listeners);
    pages
}

/// Names every listener and where it is.
fn listeners(settings: &Settings, addresses: &Addresses, bound: &Bound, media: &Media) -> Vec<(String, String)> {
    let joined = |items: Vec<String>| items.join(", ");
    let mut lines = Vec::new();
    let turn = media.workers.turn_listeners();
    if !turn.is_empty() {
        let at = turn.iter().map(|at| format!("{at}/udp")).collect();
        lines.push(("STUN and TURN".to_owned(), joined(at)));
        let shown = |relay: &voex_turn::RelayAddress| match relay.local == relay.public {
            true => relay.local.to_string(),
            false => format!("{} as {}", relay.local, relay.public),
        };
        let on = joined(addresses.relays.iter().map(shown).collect());
        lines.push((
            "TURN relays".to_owned(),
            format!("{}/udp on {on}", settings.turn.relay_ports),
        ));
    }
    let sockets = media.workers.media_sockets();
    if !sockets.is_empty() {
        let at = sockets.iter().map(|socket| format!("{}/udp", socket.local)).collect();
        lines.push(("conference media".to_owned(), joined(at)));
    }
    let tcp = |listener: &TcpListener| listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
    if let Some(api) = &bound.api {
        lines.push(("Janus API".to_owned(), format!("ws://{}", tcp(api))));
    }
    for listen in bound.sip.listens() {
        lines.push(("SIP".to_owned(), format!("udp:{}", listen.advertised)));
    }
    lines.push((
        "metrics, health, console".to_owned(),
        format!("http://{}", tcp(&bound.http)),
    ));
    lines
}
