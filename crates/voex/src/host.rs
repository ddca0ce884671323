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
use voex_telemetry::LogControl;
use voex_transport::Certificate;

use crate::addresses::Addresses;
use crate::control::{Control, Inputs, Order};
use crate::figures::{Listeners, State, Status};
use crate::media::{self, Media, RtpPairs, TurnUsers};
use crate::serve::Failure;
use crate::signalling::{self, SipSockets};
use crate::{console, machines, websocket, welcome};

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
pub(crate) struct Bound {
    /// Metrics, health, console.
    pub(crate) http: TcpListener,
    /// The Janus API, when that role is on.
    pub(crate) api: Option<TcpListener>,
    /// SIP; empty when that role is off.
    pub(crate) sip: SipSockets,
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
        let certificate = Arc::new(Certificate::generate().map_err(|error| system(&error))?);
        let bound = Bound::bind(settings, &addresses).await?;
        let (users, made) = turn_users(settings, embedded, &mut rng);
        let own = bound.own_sockets(settings, &addresses);
        let media =
            media::start(settings, &addresses, &users, &certificate, own, &mut rng).map_err(|error| system(&error))?;
        let status = Arc::new(Status {
            started,
            listeners: console::listeners(settings, &addresses, &bound, &media),
            media_path: media.workers.capabilities().to_string(),
            media: media.metrics.clone(),
            janus: Arc::default(),
            sip: Arc::default(),
            images: settings.voex.images.clone(),
            relay_ports: addresses.relays.len() as i64 * i64::from(settings.turn.relay_ports.count()),
        });
        announce(&status, media.workers.count());
        if let Some((user, password)) = &made {
            welcome::print(settings, &addresses, user, password);
        }
        let pairs = RtpPairs::new(&media, settings, &addresses);
        let gateway = machines::gateway(settings, &addresses, &media, &certificate, pairs.clone());
        let gateway = Gateway::new(gateway, rng.split(), status.janus.clone());
        let endpoint = Endpoint::new(
            machines::endpoint(settings, &bound.sip),
            rng.split(),
            status.sip.clone(),
        );
        Ok(Self::serve(
            settings, bound, media, pairs, gateway, endpoint, status, logging,
        ))
    }

    /// Starts the tasks.
    #[expect(clippy::too_many_arguments, reason = "the parts of the process, each once")]
    fn serve(
        settings: &Settings,
        bound: Bound,
        media: Media,
        pairs: RtpPairs,
        gateway: Gateway,
        endpoint: Endpoint,
        status: Arc<Status>,
        logging: &LogControl,
    ) -> Self {
        let state = Arc::new(State {
            workers_running: AtomicBool::new(true),
            draining: AtomicBool::new(false),
        });
        let (access, settings_now) = watch::channel(Arc::new(settings.clone()));
        let (accepting, serving) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let figures = Listeners {
            api: Arc::default(),
            sip: bound.sip.metrics(),
        };
        let api_metrics = figures.api.clone();
        let pages = console::pages(&state, &status, &settings_now, figures, logging);
        let stop = serving.clone();
        tokio::spawn(pages.serve(bound.http, async move { stop.notified().await }));

        let (api_tx, api) = mpsc::channel(API_INPUTS_MAX);
        let (sip_tx, sip) = mpsc::channel(signalling::DATAGRAMS_MAX);
        let (orders_tx, orders) = mpsc::channel(4);
        bound.sip.receive(&sip_tx);
        if let Some(listener) = bound.api {
            let accept = websocket::accept(listener, settings_now, api_tx, api_metrics, accepting.clone());
            tokio::spawn(accept);
        }
        let control = Control {
            gateway,
            endpoint,
            sip: bound.sip,
            sip_inputs: sip_tx,
            commands: media.commands(),
            pairs,
            events: media.events,
            wake: media.wake,
            connections: HashMap::new(),
            backlog: false,
        };
        Self {
            state,
            status,
            workers: media.workers,
            access,
            orders: orders_tx,
            control: tokio::spawn(control.run(Inputs { api, sip, orders })),
            accepting,
            serving,
        }
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
