//! The state machine of the whole API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use voex_base::{Rng, WallTime, WorkerId};
use voex_sfu::command::{Command, DataMessage, DownReason, Event};

use crate::admin::LogLevel;
use crate::config::Config;
use crate::error::{Code, Error};
use crate::event::Topic;
use crate::host::{AboutHandle, Handle, HandleId, HangupReason, Host};
use crate::info;
use crate::jsep;
use crate::metrics::Metrics;
use crate::peer_connection::kind_name;
use crate::plugin::id::Ids;
use crate::plugin::videoroom::VideoRoom;
use crate::plugin::{Answer, Kind, MediaEvent, Message, Plugins};
use crate::recording::RecorderOrder;
use crate::reply::{self, Sender};
use crate::request::NAME_BYTES_MAX;
use crate::request::{self, Refused, Request};
use crate::session::{JanusSession, Limits, SessionId};
use crate::trickle;

/// A WebSocket connection; ids are the shell's and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// What the shell has to carry out, in order.
#[derive(Debug)]
pub enum Output {
    /// Send a text message.
    Send {
        /// To whom; ignore it when the connection is gone.
        connection: ConnectionId,
        /// The message, one JSON object.
        text: String,
    },
    /// Close a connection.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Hand a command to a media worker. When its queue is full the command must be kept, not dropped.
    Media {
        /// The worker.
        worker: WorkerId,
        /// The command.
        command: Command,
    },
    /// Hand a command to the SIP endpoint.
    Sip(voex_sip::Command),
    /// Hand an event to the event handlers that want its topic.
    Event {
        /// What it is about.
        topic: Topic,
        /// The event, one JSON object.
        text: String,
    },
    /// Hand an order to the recorder, before any command that follows.
    Record(RecorderOrder),
    /// Keep the record of a call that is over: one JSON object.
    Call(String),
    /// Log as much as this from now on.
    LogLevel(LogLevel),
    /// Log a line of somebody at the admin API.
    LogLine {
        /// At this level.
        level: LogLevel,
        /// What to log, of any length up to that of a message.
        line: String,
    },
}

/// Most sessions at once; `create` beyond is answered 472.
pub const SESSIONS_MAX: usize = 65_536;

/// Most sessions that end in one call: each may be news to everybody in its rooms, and the next call is due at once.
pub const SESSIONS_ENDED_AT_ONCE_MAX: usize = 64;

/// Most handles of one session; `attach` beyond is answered 461.
pub const HANDLES_PER_SESSION_MAX: usize = 16_384;

/// Most handles at once; `attach` beyond is answered 461.
pub const HANDLES_MAX: usize = 262_144;

/// Control plane of the conference server and of the SIP plugin: the Janus API without sockets.
///
/// After any `handle_*`, drain [`poll_output`](Self::poll_output) until `None`, in order; then ask
/// [`poll_timeout`](Self::poll_timeout) anew.
pub struct Gateway {
    pub(crate) host: Host,
    pub(crate) plugins: Plugins,
    connections: BTreeMap<ConnectionId, Connection>,
}

/// What is known of a connection.
struct Connection {
    /// Sessions it owns, in the order of creation or claim.
    sessions: Vec<SessionId>,
    /// It speaks the admin API.
    is_admin: bool,
}

/// Where a request came from and what must be repeated in the reply.
pub(crate) struct Origin<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) transaction: &'a str,
}

impl Gateway {
    /// Makes a gateway with the static rooms of `config`.
    pub fn new(config: Config, rng: Rng, metrics: Arc<Metrics>) -> Self {
        let mut host = Host::new(config, rng, metrics);
        let ids = Ids::of(host.config.options.string_ids);
        let plugins = Plugins::new(VideoRoom::new(&mut host), ids);
        Self {
            host,
            plugins,
            connections: BTreeMap::new(),
        }
    }

    /// The server is up; `wall` is the time of all events until a message brings a later one.
    pub fn handle_start(&mut self, now: Instant, wall: WallTime) {
        self.host.set_time(now);
        self.host.set_wall(wall);
        self.host.tell_start();
    }

    /// The server goes; nothing but ends of connections follows.
    pub fn handle_stop(&mut self, now: Instant) {
        self.host.set_time(now);
        // Those too that somebody might still have claimed.
        let sessions: Vec<_> = self.host.sessions.ids().collect();
        for session in sessions {
            self.end_session(session);
        }
        self.host.tell_stop();
    }

    /// A connection was opened and may send requests. `peer` has passed the access list of the shell.
    pub fn handle_open(&mut self, now: Instant, connection: ConnectionId, peer: IpAddr) {
        self.open(now, connection, peer, false);
    }

    /// A connection of the admin API was opened. `peer` has passed the access list of the shell.
    pub fn handle_open_admin(&mut self, now: Instant, connection: ConnectionId, peer: IpAddr) {
        self.open(now, connection, peer, true);
    }

    /// A text message arrived. Messages of unknown connections are ignored.
    pub fn handle_message(&mut self, now: Instant, wall: WallTime, connection: ConnectionId, text: &str) {
        if !self.connections.contains_key(&connection) {
            return;
        }
        self.host.set_time(now);
        self.host.set_wall(wall);
        self.host.metrics.requests.inc();
        let is_admin = self.connections.get(&connection).is_some_and(|known| known.is_admin);
        match request::parse(text) {
            Ok(request) if is_admin => self.handle_admin_request(connection, &request),
            Ok(request) => self.handle_request(connection, &request),
            Err(Refused { session, error }) => self.refuse(connection, session, None, &error),
        }
    }

    /// A connection is gone: its sessions end, now or when nobody claims them in time.
    pub fn handle_close(&mut self, now: Instant, connection: ConnectionId) {
        self.host.set_time(now);
        let Some(gone) = self.connections.remove(&connection) else {
            return;
        };
        self.host.metrics.connections.set(self.connections.len() as i64);
        self.host
            .tell_connection(connection, || json!({"event": "disconnected"}));
        // First all of them lose the connection, so that none is told of the others' ends.
        let limits = self.limits();
        for session in gone.sessions {
            self.host.sessions.orphan(now, limits, session);
        }
        self.end_expired(now);
    }

    /// A media worker reports.
    pub fn handle_media_event(&mut self, now: Instant, _worker: WorkerId, event: Event) {
        self.host.set_time(now);
        match event {
            Event::TransportUp(transport) => self.transport_up(transport),
            Event::TransportDown(transport, reason) => self.transport_down(transport, reason),
            Event::TrackReceiving(track) => self.track_event(track, MediaEvent::Receiving(track)),
            Event::TrackSilent(track, silence) => self.track_event(track, MediaEvent::Silent(track, silence)),
            Event::LayerChanged(transport, subscription, change) => {
                self.layer_changed(transport, MediaEvent::LayerChanged(subscription, change));
            }
            Event::Speech(track, speech) => self.track_event(track, MediaEvent::Speech(track, speech)),
            Event::Digit(track, digit, duration) => {
                self.track_event(track, MediaEvent::Digit(track, digit, duration));
            }
            Event::DataReceived(transport, message) => self.data_received(transport, &message),
            Event::PlainClosed(transport, report) => self.plugins.plain_closed(&mut self.host, transport, &report),
        }
    }

    /// The SIP endpoint reports.
    pub fn handle_sip_event(&mut self, now: Instant, event: voex_sip::Event) {
        self.host.set_time(now);
        self.plugins.handle_sip_event(&mut self.host, event);
    }

    /// Time has passed: ends sessions without a sign of life and runs the plugins' timers.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.host.set_time(now);
        self.end_expired(now);
        self.plugins.handle_timeout(&mut self.host);
    }

    /// Gives the time at which [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.host.sessions.poll_timeout();
        sessions.into_iter().chain(self.plugins.poll_timeout()).min()
    }

    /// Gives the next thing to carry out.
    pub fn poll_output(&mut self) -> Option<Output> {
        while let Some(handle) = self.host.detaching.pop() {
            self.detach_handle(handle);
        }
        self.host.outputs.pop_front()
    }

    fn open(&mut self, now: Instant, connection: ConnectionId, peer: IpAddr, is_admin: bool) {
        self.host.set_time(now);
        let opened = Connection {
            sessions: Vec::new(),
            is_admin,
        };
        self.connections.insert(connection, opened);
        self.host.tell_connection(
            connection,
            || json!({"event": "connected", "admin_api": is_admin, "ip": peer.to_string()}),
        );
        self.host.metrics.connections.set(self.connections.len() as i64);
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            session_timeout: self.host.config.session_timeout,
            reclaim_timeout: self.host.config.reclaim_timeout,
        }
    }
}

/// Requests, from the envelope down to the verb.
impl Gateway {
    fn handle_request(&mut self, connection: ConnectionId, request: &Request) {
        let origin = Origin {
            connection,
            transaction: &request.transaction,
        };
        let result = match (request.session, request.handle) {
            (None, None | Some(0)) => self.server_request(&origin, request),
            (None, Some(_)) => Err(Error::default_text(Code::SessionNotFound)),
            (Some(_), Some(0)) => Err(Error::default_text(Code::HandleNotFound)),
            (Some(session), handle) => self.session_request(&origin, request, session, handle),
        };
        if let Err(error) = result {
            // `create` with a taken id names that session in its reply.
            let taken = (error.code == Code::SessionConflict)
                .then(|| chosen_id(&request.members))
                .flatten();
            self.refuse(
                connection,
                request.session.or(taken),
                Some(&request.transaction),
                &error,
            );
        }
    }

    fn server_request(&mut self, origin: &Origin, request: &Request) -> Result<(), Error> {
        match request.verb.to_ascii_lowercase().as_str() {
            "info" => {
                let info = info::server_info(&self.host, origin.transaction);
                self.host.send(origin.connection, info);
                Ok(())
            }
            "ping" => {
                self.reply(origin, "pong", None);
                Ok(())
            }
            "create" => {
                self.authorise(&request.members)?;
                self.create(origin, chosen_id(&request.members))
            }
            _ => Err(unhandled(&request.verb)),
        }
    }

    fn session_request(
        &mut self,
        origin: &Origin,
        request: &Request,
        session: u64,
        handle: Option<u64>,
    ) -> Result<(), Error> {
        self.authorise(&request.members)?;
        let id = SessionId(session);
        if !self.host.sessions.touch(self.host.now(), id) {
            return Err(Error::new(Code::SessionNotFound, format!("No such session {session}")));
        }
        let handle = handle.map(|handle| self.handle_of(id, handle)).transpose()?;
        match (request.verb.to_ascii_lowercase().as_str(), handle) {
            ("keepalive", _) => {
                self.reply(origin, "ack", Some(id));
                Ok(())
            }
            ("claim", _) => {
                self.claim(origin, id);
                Ok(())
            }
            ("attach", None) => self.attach(origin, id, &request.members),
            ("destroy", None) => {
                self.end_session(id);
                self.reply(origin, "success", Some(id));
                Ok(())
            }
            ("detach", Some(handle)) => {
                self.detach(origin, id, handle);
                Ok(())
            }
            ("hangup", Some(handle)) => {
                self.reply(origin, "success", Some(id));
                self.hang_up(handle, HangupReason::JanusApi);
                Ok(())
            }
            ("message", Some(handle)) => self.message(origin, id, handle, &request.members),
            ("trickle", Some(handle)) => {
                trickle::check(&request.members, self.host.has_remote(handle))?;
                self.reply(origin, "ack", Some(id));
                Ok(())
            }
            ("attach" | "destroy" | "detach" | "hangup" | "message" | "trickle", _) => Err(unhandled(&request.verb)),
            _ => Err(Error::new(
                Code::UnknownRequest,
                format!("Unknown request '{}'", request.verb),
            )),
        }
    }

    fn authorise(&self, members: &Map<String, Value>) -> Result<(), Error> {
        let is_right = self.host.auth.allows(self.host.wall(), members);
        is_right.then_some(()).ok_or(Error::default_text(Code::Unauthorized))
    }

    fn create(&mut self, origin: &Origin, chosen: Option<u64>) -> Result<(), Error> {
        if !self.host.switches.accepts_sessions || self.host.sessions.len() >= SESSIONS_MAX {
            return Err(Error::default_text(Code::NotAcceptingSessions));
        }
        let id = match chosen.map(SessionId) {
            Some(taken) if self.host.sessions.contains(taken) => {
                return Err(Error::default_text(Code::SessionConflict));
            }
            Some(free) => free,
            None => self.new_session_id(),
        };
        let limits = self.limits();
        self.host
            .sessions
            .insert(self.host.now(), limits, id, origin.connection);
        if let Some(connection) = self.connections.get_mut(&origin.connection) {
            connection.sessions.push(id);
        }
        self.host.metrics.sessions.add(1);
        self.host.tell_session(id, "created", Some(origin.connection));
        self.host
            .send(origin.connection, reply::created(None, origin.transaction, id.0));
        Ok(())
    }

    fn claim(&mut self, origin: &Origin, session: SessionId) {
        let before = self.host.sessions.claim(session, origin.connection);
        if let Some(before) = before.and_then(|before| self.connections.get_mut(&before)) {
            before.sessions.retain(|other| *other != session);
        }
        if let Some(connection) = self.connections.get_mut(&origin.connection) {
            connection.sessions.push(session);
        }
        self.reply(origin, "success", Some(session));
    }

    fn attach(&mut self, origin: &Origin, session: SessionId, members: &Map<String, Value>) -> Result<(), Error> {
        let package = request::required_string(members, "plugin")?;
        if members.get("opaque_id").is_some_and(|id| !id.is_string()) {
            return Err(Error::wrong_type("opaque_id", "a string"));
        }
        let is_long = |name: &&str| {
            let text = members.get(*name).and_then(Value::as_str);
            text.is_some_and(|text| text.len() > NAME_BYTES_MAX)
        };
        if let Some(name) = ["opaque_id", "token"].into_iter().find(is_long) {
            return Err(Error::wrong_type(name, "at most 1024 bytes long"));
        }
        if members.get("loop_index").is_some_and(|index| index.as_u64().is_none()) {
            return Err(Error::wrong_type("loop_index", "a positive integer"));
        }
        let plugin = Kind::of_package(package)
            .ok_or_else(|| Error::new(Code::PluginNotFound, format!("No such plugin '{package}'")))?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let token = text("token").filter(|_| self.host.auth.has_tokens());
        if !self.host.auth.allows_plugin(self.host.wall(), token, plugin) {
            let text = format!("Provided token can't access plugin '{package}'");
            return Err(Error::new(Code::UnauthorizedPlugin, text));
        }
        let about = AboutHandle {
            opaque_id: text("opaque_id").map(str::to_owned),
            token: token.map(str::to_owned),
        };
        let id = self.new_handle_id();
        let full = self.host.handles.len() >= HANDLES_MAX;
        let entry = self.host.sessions.get_mut(session);
        match entry.filter(|entry| !full && entry.handles.len() < HANDLES_PER_SESSION_MAX) {
            Some(entry) => entry.handles.push(id),
            None => return Err(Error::new(Code::PluginAttach, "Couldn't attach to plugin: error '-1'")),
        }
        let handle = Handle::new(session, plugin, about, self.host.now());
        self.host.handles.insert(id, handle);
        self.host.metrics.handles.add(1);
        self.plugins.of(plugin).handle_attach(&mut self.host, id);
        self.host.tell_handle(id, "attached");
        let reply = reply::created(Some(session), origin.transaction, id.0);
        self.host.send(origin.connection, reply);
        Ok(())
    }

    fn detach(&mut self, origin: &Origin, session: SessionId, handle: HandleId) {
        self.reply(origin, "success", Some(session));
        self.detach_handle(handle);
    }

    fn message(
        &mut self,
        origin: &Origin,
        session: SessionId,
        handle: HandleId,
        members: &Map<String, Value>,
    ) -> Result<(), Error> {
        let body = match members.get("body") {
            None => return Err(Error::missing("body")),
            Some(Value::Object(body)) => body.clone(),
            Some(_) => return Err(Error::wrong_type("body", "an object")),
        };
        let offered = self.host.peer_connection(handle).is_some_and(|pc| pc.awaits_answer);
        let jsep = members
            .get("jsep")
            .map(|value| jsep::parse(value, offered))
            .transpose()?;
        let Some(plugin) = self.host.handles.get(&handle).map(|handle| handle.plugin) else {
            return Ok(());
        };
        let e2ee = jsep.as_ref().is_some_and(|jsep| jsep.e2ee);
        if let Some(jsep) = &jsep {
            self.host.tell_remote(handle, jsep.kind, &jsep.description);
        }
        let message = Message {
            transaction: origin.transaction.to_owned(),
            body,
            jsep,
        };
        match self.plugins.of(plugin).handle_message(&mut self.host, handle, message) {
            Answer::Success(data) => {
                let sender = self.host.sender(handle);
                let reply = reply::plugin_success(session, origin.transaction, sender, plugin, data);
                self.host.send(origin.connection, reply);
            }
            Answer::Ack(message) => {
                let ack = reply::ack(session, origin.transaction, plugin.hint());
                self.host.send(origin.connection, ack);
                self.plugins.of(plugin).handle_acked(&mut self.host, handle, message);
            }
        }
        if let Some(pc) = self.host.peer_connection_mut(handle) {
            pc.e2ee |= e2ee;
        }
        Ok(())
    }

    pub(crate) fn handle_of(&self, session: SessionId, handle: u64) -> Result<HandleId, Error> {
        let id = HandleId(handle);
        match self.host.handles.get(&id) {
            Some(found) if found.session == session => Ok(id),
            _ => Err(Error::new(
                Code::HandleNotFound,
                format!("No such handle {handle} in session {session}", session = session.0),
            )),
        }
    }

    pub(crate) fn reply(&mut self, origin: &Origin, janus: &str, session: Option<SessionId>) {
        let reply = reply::plain(janus, session, origin.transaction);
        self.host.send(origin.connection, reply);
    }

    pub(crate) fn refuse(
        &mut self,
        connection: ConnectionId,
        session: Option<u64>,
        transaction: Option<&str>,
        error: &Error,
    ) {
        self.host.metrics.errors.of(error.code).inc();
        self.host.send(connection, reply::error(session, transaction, error));
    }

    fn new_session_id(&mut self) -> SessionId {
        loop {
            let id = SessionId(self.host.new_api_id());
            if !self.host.sessions.contains(id) {
                return id;
            }
        }
    }

    fn new_handle_id(&mut self) -> HandleId {
        loop {
            let id = HandleId(self.host.new_api_id());
            if !self.host.handles.contains_key(&id) {
                return id;
            }
        }
    }
}

/// Ends of sessions, handles and PeerConnections.
impl Gateway {
    /// Ends sessions whose time is over; those beyond the bound are due at the next
    /// [`handle_timeout`](Self::handle_timeout).
    fn end_expired(&mut self, now: Instant) {
        let limits = self.limits();
        for _ in 0..SESSIONS_ENDED_AT_ONCE_MAX {
            let Some(session) = self.host.sessions.next_expired(now, limits) else {
                return;
            };
            let has_connection = self.host.sessions.connection_of(session).is_some();
            if has_connection || !limits.reclaim_timeout.is_zero() {
                self.host.metrics.session_timeouts.inc();
                self.host.send_to_session(session, reply::timeout(session));
            }
            self.end_session_for(session, if has_connection { "timeout" } else { "destroyed" });
        }
    }

    pub(crate) fn end_session(&mut self, session: SessionId) {
        self.end_session_for(session, "destroyed");
    }

    fn end_session_for(&mut self, session: SessionId, reason: &str) {
        let Some(JanusSession {
            connection, handles, ..
        }) = self.host.sessions.remove(session)
        else {
            return;
        };
        self.host.metrics.sessions.add(-1);
        if let Some(connection) = connection.and_then(|connection| self.connections.get_mut(&connection)) {
            connection.sessions.retain(|other| *other != session);
        }
        for handle in handles {
            self.end_handle(handle);
        }
        self.host.tell_session(session, reason, None);
    }

    /// Lets the plugin forget a handle, then takes down what the core holds for it.
    fn end_handle(&mut self, handle: HandleId) {
        let Some(plugin) = self.host.handles.get(&handle).map(|handle| handle.plugin) else {
            return;
        };
        self.plugins.of(plugin).handle_detach(&mut self.host, handle);
        self.host.drop_peer_connection(handle, true);
        self.host.tell_handle(handle, "detached");
        if let Some(gone) = self.host.handles.remove(&handle) {
            self.host.metrics.handles.add(-1);
            for transport in gone.plain {
                self.host.close_plain(transport);
            }
        }
    }

    /// Ends a handle while its session goes on, and tells the client.
    pub(crate) fn detach_handle(&mut self, handle: HandleId) {
        let Some(session) = self.host.handles.get(&handle).map(|handle| handle.session) else {
            return;
        };
        if let Some(session) = self.host.sessions.get_mut(session) {
            session.handles.retain(|other| *other != handle);
        }
        let had_peer_connection = self.host.peer_connection(handle).is_some();
        let opaque_id = self.host.sender(handle).opaque_id.map(str::to_owned);
        self.end_handle(handle);
        let sender = Sender {
            handle,
            opaque_id: opaque_id.as_deref(),
        };
        if had_peer_connection {
            let reason = json!({ "reason": HangupReason::Detach.text() });
            let hangup = reply::core_event("hangup", session, sender, reason);
            self.host.send_to_session(session, hangup);
        }
        let detached = reply::core_event("detached", session, sender, Value::Null);
        self.host.send_to_session(session, detached);
    }

    /// Ends a PeerConnection for a reason that is not the plugin's.
    pub(crate) fn hang_up(&mut self, handle: HandleId, reason: HangupReason) {
        let Some(owner) = self
            .host
            .handles
            .get(&handle)
            .filter(|owner| owner.peer_connection.is_some())
        else {
            return;
        };
        let plugin = owner.plugin;
        self.plugins
            .of(plugin)
            .handle_media(&mut self.host, handle, MediaEvent::Hangup(reason));
        let close = !matches!(reason, HangupReason::Down(_));
        if self.host.drop_peer_connection(handle, close) {
            self.host.push_hangup(handle, reason);
        }
    }
}

/// News from the media workers.
impl Gateway {
    fn transport_up(&mut self, transport: voex_base::TransportId) {
        let now = self.host.now();
        let Some(handle) = self.host.transports.get(&transport).map(|owner| owner.handle) else {
            return;
        };
        let Some(owner) = self.host.handles.get_mut(&handle) else {
            return;
        };
        let plugin = owner.plugin;
        match &mut owner.peer_connection {
            Some(pc) if pc.transport == transport && !pc.up => (pc.up, pc.up_at) = (true, Some(now)),
            _ => return,
        }
        self.host.tell_up(handle);
        self.host.push_core_event(handle, "webrtcup", Value::Null);
        self.plugins
            .of(plugin)
            .handle_media(&mut self.host, handle, MediaEvent::Up);
    }

    fn data_received(&mut self, transport: voex_base::TransportId, message: &DataMessage) {
        let Some(handle) = self.host.transports.get(&transport).map(|owner| owner.handle) else {
            return;
        };
        let is_wanted = self.host.send_far_data(transport, message);
        let plugin = self.host.handles.get(&handle).map(|handle| handle.plugin);
        if let Some(plugin) = plugin.filter(|_| is_wanted) {
            self.plugins.of(plugin).handle_data(&mut self.host, handle, message);
        }
    }

    fn layer_changed(&mut self, transport: voex_base::TransportId, event: MediaEvent) {
        let Some(handle) = self.host.transports.get(&transport).map(|owner| owner.handle) else {
            return;
        };
        if let Some(plugin) = self.host.handles.get(&handle).map(|handle| handle.plugin) {
            self.plugins.of(plugin).handle_media(&mut self.host, handle, event);
        }
    }

    fn transport_down(&mut self, transport: voex_base::TransportId, reason: DownReason) {
        let Some(owner) = self.host.transports.get(&transport) else {
            return;
        };
        let (handle, is_plain) = (owner.handle, owner.plain.is_some());
        if is_plain {
            let Some(plugin) = self.host.handles.get(&handle).map(|handle| handle.plugin) else {
                return;
            };
            self.plugins
                .of(plugin)
                .handle_media(&mut self.host, handle, MediaEvent::PlainDown(transport));
            self.host.close_plain(transport);
        } else {
            self.hang_up(handle, HangupReason::Down(reason));
        }
    }

    /// Tells the client (of a WebRTC track) and the plugin (of any).
    fn track_event(&mut self, track: voex_base::TrackId, event: MediaEvent) {
        let Some(owner) = self.host.tracks.get(&track) else {
            return;
        };
        let Some(transport) = self.host.transports.get(&owner.transport) else {
            return;
        };
        let (handle, is_webrtc) = (transport.handle, transport.plain.is_none());
        let report = match event {
            MediaEvent::Receiving(_) if is_webrtc => {
                Some(json!({"mid": owner.mid, "type": owner.kind.map(kind_name), "receiving": true}))
            }
            MediaEvent::Silent(_, silence) if is_webrtc => Some(
                json!({"mid": owner.mid, "type": owner.kind.map(kind_name), "receiving": false, "seconds": whole_seconds(silence)}),
            ),
            _ => None,
        };
        if let Some(report) = report {
            self.host.tell_media(handle, &report);
            self.host.push_core_event(handle, "media", report);
        }
        if let Some(plugin) = self.host.handles.get(&handle).map(|handle| handle.plugin) {
            self.plugins.of(plugin).handle_media(&mut self.host, handle, event);
        }
    }
}

fn whole_seconds(silence: Duration) -> u64 {
    silence.as_secs().max(1)
}

fn chosen_id(members: &Map<String, Value>) -> Option<u64> {
    members.get("id").and_then(request::positive)
}

pub(crate) fn unhandled(verb: &str) -> Error {
    Error::new(Code::InvalidPath, format!("Unhandled request '{verb}' at this path"))
}
