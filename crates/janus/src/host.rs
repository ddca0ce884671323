//! What a plugin can do: the state of the API core behind one set of verbs.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use voex_base::{Rng, SubscriptionId, TrackId, TransportId, WallTime, WorkerId};
use voex_sfu::command::{Command, DownReason, TransportKind, TransportSpec};

use crate::admin::Switches;
use crate::auth::Auth;
use crate::config::{Config, PortsExhausted, RtpPair};
use crate::gateway::{ConnectionId, Output};
use crate::jsep::LocalJsep;
use crate::metrics::Metrics;
use crate::peer_connection::PeerConnection;
use crate::plugin;
use crate::recording::RecorderOrder;
use crate::reply::{self, Sender};
use crate::session::{SessionId, Sessions};
use crate::spread::TrackOwner;

/// A handle's id on the wire; unique over all sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct HandleId(pub(crate) u64);

/// Why a PeerConnection is gone, as `hangup` events tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HangupReason {
    /// The plugin closed it.
    ClosePc,
    /// The `hangup` verb.
    JanusApi,
    /// `hangup_webrtc` of the admin API.
    AdminApi,
    /// The handle was detached.
    Detach,
    /// The media worker gave it up.
    Down(DownReason),
}

impl HangupReason {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ClosePc => "Close PC",
            Self::JanusApi => "Janus API",
            Self::AdminApi => "Admin API",
            Self::Detach => "Detach",
            Self::Down(DownReason::DtlsAlert) => "DTLS alert",
            Self::Down(DownReason::DtlsError) => "DTLS error",
            Self::Down(DownReason::DtlsTimeout) => "DTLS timeout",
            Self::Down(DownReason::IceFailed) => "ICE failed",
        }
    }
}

/// One use of a plugin by a session.
pub(crate) struct Handle {
    pub(crate) session: SessionId,
    pub(crate) plugin: plugin::Kind,
    pub(crate) peer_connection: Option<PeerConnection>,
    /// Plain transports, in the order of opening.
    pub(crate) plain: Vec<TransportId>,
    /// What the client said of it when it attached.
    pub(crate) about: AboutHandle,
    /// When it was attached.
    pub(crate) created: Instant,
}

/// What a client says of a handle for others to find it by.
#[derive(Default, Debug)]
pub(crate) struct AboutHandle {
    /// Its own name for the handle.
    pub(crate) opaque_id: Option<String>,
    /// The token that attached it.
    pub(crate) token: Option<String>,
}

impl Handle {
    pub(crate) fn new(session: SessionId, plugin: plugin::Kind, about: AboutHandle, created: Instant) -> Self {
        Self {
            about,
            created,
            session,
            plugin,
            peer_connection: None,
            plain: Vec::new(),
        }
    }
}

/// A plain RTP transport that was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainTransport {
    pub(crate) id: TransportId,
    pub(crate) pair: RtpPair,
}

/// Whose a transport is and where it lives.
pub(crate) struct TransportOwner {
    pub(crate) handle: HandleId,
    pub(crate) worker: WorkerId,
    /// Ports of a plain transport; `None` for WebRTC.
    pub(crate) plain: Option<RtpPair>,
    /// Tracks that arrive on it.
    pub(crate) tracks: Vec<TrackId>,
    /// What leaves by it, and the track of each.
    pub(crate) subscriptions: HashMap<SubscriptionId, TrackId>,
}

/// State of the API core, as plugins reach it.
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) metrics: Arc<Metrics>,
    now: Option<Instant>,
    /// The first time there was.
    began: Option<Instant>,
    /// When we learnt what time it is on the wall, and that.
    wall: Option<(Instant, WallTime)>,
    pub(crate) auth: Auth,
    pub(crate) switches: Switches,
    pub(crate) sessions: Sessions,
    pub(crate) handles: HashMap<HandleId, Handle>,
    pub(crate) transports: HashMap<TransportId, TransportOwner>,
    /// Number of transports and subscriptions on each worker.
    pub(crate) load: HashMap<WorkerId, usize>,
    pub(crate) tracks: HashMap<TrackId, TrackOwner>,
    pub(crate) outputs: VecDeque<Output>,
    /// Handles that plugins have ended.
    pub(crate) detaching: Vec<HandleId>,
    last_media_id: u64,
}

impl Host {
    /// Hands the record of a call out.
    pub(crate) fn tell_call(&mut self, record: Value) {
        self.outputs.push_back(Output::Call(record.to_string()));
    }

    /// Detaches a handle for its plugin, once that is through with what it does now.
    pub(crate) fn detach_later(&mut self, handle: HandleId) {
        self.detaching.push(handle);
    }

    pub(crate) fn new(config: Config, rng: Rng, metrics: Arc<Metrics>) -> Self {
        Self {
            rng,
            metrics,
            now: None,
            began: None,
            wall: None,
            auth: Auth::new(config.api_secret.clone(), &config.options),
            switches: Switches::default(),
            sessions: Sessions::default(),
            handles: HashMap::new(),
            transports: HashMap::new(),
            load: HashMap::new(),
            tracks: HashMap::new(),
            outputs: VecDeque::new(),
            detaching: Vec::new(),
            last_media_id: 0,
            config,
        }
    }

    pub(crate) fn set_time(&mut self, now: Instant) {
        self.now = Some(now);
        self.began.get_or_insert(now);
    }

    /// Learns what time it is on the wall.
    pub(crate) fn set_wall(&mut self, wall: WallTime) {
        self.wall = Some((self.now(), wall));
    }

    /// Gives the time on the wall, as far as it was ever told.
    pub(crate) fn wall(&self) -> WallTime {
        let Some((at, wall)) = self.wall else {
            return WallTime::from_unix(Duration::ZERO);
        };
        WallTime::from_unix(wall.since_unix() + self.now().saturating_duration_since(at))
    }

    /// Gives a time in microseconds since the first that there was.
    pub(crate) fn monotonic_us(&self, at: Instant) -> u64 {
        let since = self
            .began
            .map_or(Duration::ZERO, |began| at.saturating_duration_since(began));
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Gives the time of the call being handled.
    pub(crate) fn now(&self) -> Instant {
        self.now.expect("every handle_* of the gateway sets the time first")
    }

    /// Sends an event of a handle to the connection that owns its session; nowhere when the session has none.
    pub(crate) fn push_event(
        &mut self,
        handle: HandleId,
        transaction: Option<&str>,
        data: Value,
        jsep: Option<&LocalJsep>,
    ) {
        let Some(owner) = self.handles.get(&handle) else { return };
        let (session, plugin) = (owner.session, owner.plugin);
        if let Some(jsep) = jsep {
            self.tell_local(handle, jsep);
        }
        if self.sessions.connection_of(session).is_none() {
            return;
        }
        let sender = self.sender(handle);
        let event = reply::plugin_event(session, transaction, sender, plugin, data, jsep);
        self.send_to_session(session, event);
    }

    /// Gives how a handle is named in replies and events.
    pub(crate) fn sender(&self, handle: HandleId) -> Sender<'_> {
        let about = self.handles.get(&handle).map(|handle| &handle.about);
        let opaque_id = about.and_then(|about| about.opaque_id.as_deref());
        Sender {
            handle,
            opaque_id: opaque_id.filter(|_| self.config.options.opaque_id_in_api),
        }
    }

    /// Sends a command to a worker.
    pub(crate) fn media(&mut self, worker: WorkerId, command: Command) {
        self.outputs.push_back(Output::Media { worker, command });
    }

    /// Sends an order to the recorder.
    pub(crate) fn record(&mut self, order: RecorderOrder) {
        self.outputs.push_back(Output::Record(order));
    }

    /// Sends a command to the SIP endpoint.
    pub(crate) fn sip(&mut self, command: voex_sip::Command) {
        self.outputs.push_back(Output::Sip(command));
    }

    /// Draws an id of the API: 1 to 2^53 - 1, exact in a double.
    pub(crate) fn new_api_id(&mut self) -> u64 {
        self.rng.below((1 << 53) - 1) + 1
    }

    /// Draws an id for a transport; ids of transports, tracks and subscriptions come from one sequence.
    pub(crate) fn new_transport_id(&mut self) -> TransportId {
        TransportId(self.next_media_id())
    }

    /// Draws an id for a track.
    pub(crate) fn new_track_id(&mut self) -> TrackId {
        TrackId(self.next_media_id())
    }

    /// Draws an id for a subscription.
    pub(crate) fn new_subscription_id(&mut self) -> SubscriptionId {
        SubscriptionId(self.next_media_id())
    }

    /// Draws an SSRC, never zero.
    pub(crate) fn new_ssrc(&mut self) -> u32 {
        self.rng.u32().max(1)
    }

    /// Opens a plain RTP transport for a handle, on the local address that reaches `toward`.
    pub(crate) fn open_plain(
        &mut self,
        handle: HandleId,
        worker: WorkerId,
        toward: Option<IpAddr>,
    ) -> Result<PlainTransport, PortsExhausted> {
        let pair = self.config.rtp_ports.open(worker, toward)?;
        let id = self.new_transport_id();
        let cname = self.rng.token(16);
        self.own_transport(id, handle, worker, Some(pair));
        if let Some(owner) = self.handles.get_mut(&handle) {
            owner.plain.push(id);
        }
        let kind = TransportKind::Plain {
            rtp: pair.rtp,
            rtcp: pair.rtcp,
            cname,
        };
        self.media(worker, Command::OpenTransport(Box::new(TransportSpec { id, kind })));
        Ok(PlainTransport { id, pair })
    }

    /// Closes a plain transport with its tracks and gives the ports back; unknown ids are ignored.
    pub(crate) fn close_plain(&mut self, transport: TransportId) {
        if let Some(owner) = self.forget_transport(transport) {
            if let Some(handle) = self.handles.get_mut(&owner.handle) {
                handle.plain.retain(|plain| *plain != transport);
            }
            self.media(owner.worker, Command::CloseTransport(transport));
            self.release_ports(&owner);
        }
    }

    /// Takes an incoming medium away, with the subscriptions to it.
    pub(crate) fn remove_track(&mut self, track: TrackId) {
        if let Some(worker) = self.worker_of_track(track) {
            self.forget_track(track);
            self.media(worker, Command::RemoveTrack(track));
        }
    }

    /// Tells whether a track is there.
    pub(crate) fn has_track(&self, track: TrackId) -> bool {
        self.tracks.contains_key(&track)
    }

    /// Sends a command that names a track to its worker; ignored when the track is gone.
    pub(crate) fn command_track(&mut self, track: TrackId, command: Command) {
        if let Some(worker) = self.worker_of_track(track) {
            self.media(worker, command);
        }
    }

    /// Gives the worker of a transport.
    pub(crate) fn worker_of(&self, transport: TransportId) -> Option<WorkerId> {
        self.transports.get(&transport).map(|owner| owner.worker)
    }

    pub(crate) fn own_transport(
        &mut self,
        id: TransportId,
        handle: HandleId,
        worker: WorkerId,
        plain: Option<RtpPair>,
    ) {
        let owner = TransportOwner {
            handle,
            worker,
            plain,
            tracks: Vec::new(),
            subscriptions: HashMap::new(),
        };
        self.transports.insert(id, owner);
        *self.load.entry(worker).or_default() += 1;
    }

    /// Forgets a transport and its tracks.
    pub(crate) fn forget_transport(&mut self, transport: TransportId) -> Option<TransportOwner> {
        let owner = self.transports.remove(&transport)?;
        self.unload(&owner);
        for track in &owner.tracks {
            if let Some(gone) = self.tracks.remove(track) {
                self.end_pipes(*track, &gone);
            }
        }
        Some(owner)
    }

    pub(crate) fn release_ports(&mut self, owner: &TransportOwner) {
        if let Some(pair) = owner.plain {
            self.config.rtp_ports.close(owner.worker, pair);
        }
    }

    pub(crate) fn send_to_session(&mut self, session: SessionId, event: Value) {
        if let Some(connection) = self.sessions.connection_of(session) {
            self.metrics.events.inc();
            self.send(connection, event);
        }
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, message: Value) {
        self.outputs.push_back(Output::Send {
            connection,
            text: message.to_string(),
        });
    }

    fn forget_track(&mut self, track: TrackId) {
        let Some(owner) = self.tracks.remove(&track) else {
            return;
        };
        self.end_pipes(track, &owner);
        if let Some(transport) = self.transports.get_mut(&owner.transport) {
            transport.tracks.retain(|other| *other != track);
        }
    }

    /// Gives the worker that a track arrives on.
    pub(crate) fn worker_of_track(&self, track: TrackId) -> Option<WorkerId> {
        self.worker_of(self.tracks.get(&track)?.transport)
    }

    fn next_media_id(&mut self) -> u64 {
        self.last_media_id += 1;
        self.last_media_id
    }
}
