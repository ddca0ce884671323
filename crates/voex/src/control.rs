//! The control task: owns the Janus gateway and the SIP endpoint, and carries between them, the WebSockets, the SIP
//! sockets and the media workers.
//!
//! ```text
//!  WebSockets ── ApiInput ──► ┌──────────┐ ── Send, Close ──► WebSockets
//!  workers ──── Event ──────► │ Gateway  │ ── Media ────────► workers
//!                             └──┬────▲──┘
//!                            Sip │    │ Event
//!                             ┌──▼────┴──┐ ── Transmit ─────► SIP sockets
//!  SIP sockets ── SipInput ─► │ Endpoint │ ── Resolve ──────► name service ── SipInput ──► back
//!                             └──────────┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time;
use tracing::level_filters::LevelFilter;
use voex_base::WallTime;
use voex_janus::{ConnectionId, Gateway, LogLevel};
use voex_net::Events;
use voex_sip::Endpoint;
use voex_telemetry::LogControl;

use crate::call_log::CallLog;
use crate::events::Handlers;
use crate::media::{Commands, RtpPairs};
use crate::recorder;
use crate::signalling::{SipInput, SipSockets};
use crate::websocket::{ApiInput, Front, Outgoing};

/// How soon commands are offered again to a worker whose queue was full.
const RETRY_AFTER: Duration = Duration::from_millis(2);
/// How long workers have, at the end, to tell what arrived in calls.
const LAST_REPORTS: Duration = Duration::from_millis(50);
/// Inputs taken in one pass before others get their turn.
const BATCH: usize = 64;

/// What the task is made of.
pub(crate) struct Control {
    pub(crate) gateway: Gateway,
    pub(crate) endpoint: Endpoint,
    pub(crate) sip: SipSockets,
    pub(crate) sip_inputs: mpsc::Sender<SipInput>,
    pub(crate) commands: Commands,
    pub(crate) pairs: RtpPairs,
    pub(crate) events: Events,
    pub(crate) wake: Arc<Notify>,
    pub(crate) connections: HashMap<ConnectionId, Outgoing>,
    pub(crate) backlog: bool,
    pub(crate) recorder: Option<recorder::Orders>,
    pub(crate) call_log: Option<CallLog>,
    pub(crate) logging: LogControl,
    pub(crate) event_handlers: Handlers,
}

/// Where inputs come from.
pub(crate) struct Inputs {
    pub(crate) api: mpsc::Receiver<ApiInput>,
    pub(crate) sip: mpsc::Receiver<SipInput>,
    /// Every session and call ends, then the task does.
    pub(crate) stop: oneshot::Receiver<()>,
}

impl Control {
    /// Works until it is told to stop, or until whoever would tell it is gone.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let (mut api, mut sip) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        // A role that is off has no senders: its closed channel is always ready and must not be asked again.
        let (mut api_open, mut sip_open) = (true, true);
        let wake = self.wake.clone();
        let now = Instant::now();
        self.gateway.handle_start(now, wall());
        self.drain(now);
        loop {
            let deadline = self.deadline();
            tokio::select! {
                _ = &mut inputs.stop => break,
                count = inputs.api.recv_many(&mut api, BATCH), if api_open => api_open = count > 0,
                count = inputs.sip.recv_many(&mut sip, BATCH), if sip_open => sip_open = count > 0,
                () = wake.notified() => {}
                () = time::sleep_until(deadline.into()) => {}
            }
            let now = Instant::now();
            api.drain(..).for_each(|input| self.handle_api(now, input));
            sip.drain(..).for_each(|input| self.handle_sip(now, input));
            self.handle_events(now);
            self.handle_timeouts(now);
        }
        self.stop().await;
    }

    fn handle_api(&mut self, now: Instant, input: ApiInput) {
        match input {
            ApiInput::Opened {
                connection,
                front,
                peer,
                outgoing,
            } => {
                self.connections.insert(connection, outgoing);
                match front {
                    Front::Api => self.gateway.handle_open(now, connection, peer),
                    Front::Admin => self.gateway.handle_open_admin(now, connection, peer),
                }
            }
            // What a connection said before it was closed for reading too slowly is no longer wanted.
            ApiInput::Message { connection, text } if self.connections.contains_key(&connection) => {
                self.gateway.handle_message(now, wall(), connection, &text);
            }
            ApiInput::Message { .. } => {}
            ApiInput::Closed { connection } => self.close(now, connection),
        }
        self.drain(now);
    }

    fn handle_sip(&mut self, now: Instant, input: SipInput) {
        match input {
            SipInput::Datagram { socket, from, bytes } => self.endpoint.handle_datagram(now, socket, from, &bytes),
            SipInput::Resolved { query, result } => self.endpoint.handle_resolved(now, query, result),
        }
        self.drain(now);
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some((worker, event)) = self.events.try_next() {
            self.gateway.handle_media_event(now, worker, event);
            self.drain(now);
        }
    }

    fn handle_timeouts(&mut self, now: Instant) {
        if self.backlog {
            self.backlog = self.commands.retry();
        }
        if self.gateway.poll_timeout().is_some_and(|due| due <= now) {
            self.gateway.handle_timeout(now);
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now);
        }
        self.drain(now);
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let retry = self.backlog.then(|| now + RETRY_AFTER);
        let due = [self.gateway.poll_timeout(), self.endpoint.poll_timeout(), retry];
        due.into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| now + Duration::from_secs(3600))
    }

    /// Obeys both machines until neither wants anything.
    fn drain(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.gateway.poll_output() {
                self.obey_gateway(now, output);
            } else if let Some(output) = self.endpoint.poll_output() {
                self.obey_endpoint(now, output);
            } else {
                break;
            }
        }
        self.backlog = self.commands.retry();
        if !self.backlog {
            self.pairs.drop_closed();
        }
    }

    fn obey_gateway(&mut self, now: Instant, output: voex_janus::Output) {
        use voex_janus::Output;
        match output {
            Output::Send { connection, text } => {
                let sent = self.connections.get(&connection).map(|outgoing| outgoing.send(text));
                if let Some(Err(_)) = sent {
                    self.close(now, connection);
                }
            }
            Output::Close { connection } => self.close(now, connection),
            Output::Media { worker, command } => self.commands.send(worker, voex_worker::Command::Sfu(command)),
            Output::Sip(command) => self.endpoint.handle_command(now, command),
            Output::Event { topic, text } => self.event_handlers.tell(topic, &text),
            Output::Record(order) => {
                if let Some(recorder) = &self.recorder {
                    recorder.send(order);
                }
            }
            Output::Call(record) => {
                if let Some(log) = &self.call_log {
                    log.write(record);
                }
            }
            Output::LogLevel(level) => self.logging.set_level(level_filter(level)),
            Output::LogLine { level, line } => log_line(level, &line),
        }
    }

    fn obey_endpoint(&mut self, now: Instant, output: voex_sip::Output) {
        use voex_sip::Output;
        match output {
            Output::Transmit { socket, to, bytes } => self.sip.transmit(socket, to, &bytes),
            Output::Event(event) => self.gateway.handle_sip_event(now, event),
            Output::Resolve { query, host, port } => self.sip.resolve(&self.sip_inputs, query, host, port),
        }
    }

    /// The workers tell what arrived in the calls that have just ended.
    async fn take_last_reports(&mut self) {
        if self.call_log.is_some() {
            time::sleep(LAST_REPORTS).await;
            self.handle_events(Instant::now());
        }
    }

    fn close(&mut self, now: Instant, connection: ConnectionId) {
        if self.connections.remove(&connection).is_some() {
            self.gateway.handle_close(now, connection);
        }
    }

    /// Ends what is left: calls with BYE, transports, connections.
    async fn stop(mut self) {
        let now = Instant::now();
        let mut connections: Vec<ConnectionId> = self.connections.keys().copied().collect();
        connections.sort_unstable();
        for connection in connections {
            self.close(now, connection);
            self.drain(now);
        }
        self.gateway.handle_stop(now);
        self.drain(now);
        self.take_last_reports().await;
        if let Some(log) = self.call_log.take() {
            // It writes what waits; a disk that hangs holds up the end only.
            let _ = tokio::task::spawn_blocking(|| log.stop()).await;
        }
        self.event_handlers.stop().await;
        // Lets the connections' tasks send what is queued and say goodbye.
        time::sleep(Duration::from_millis(50)).await;
    }
}

/// Gives what the log lets through at a level of the admin API.
fn level_filter(level: LogLevel) -> LevelFilter {
    match level.0 {
        0 => LevelFilter::OFF,
        1 | 2 => LevelFilter::ERROR,
        3 => LevelFilter::WARN,
        4 => LevelFilter::INFO,
        5 | 6 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

fn log_line(level: LogLevel, line: &str) {
    match level.0 {
        0..=2 => tracing::error!("admin API: {line}"),
        3 => tracing::warn!("admin API: {line}"),
        4 => tracing::info!("admin API: {line}"),
        _ => tracing::debug!("admin API: {line}"),
    }
}

fn wall() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
