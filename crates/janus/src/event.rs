//! Events for event handlers: what happens in the gateway, told to whoever watches it.
//!
//! They are made only where [`Options::events`](crate::Options::events) asks for them.

use serde_json::{Map, Value, json};
use voex_sdp::Description;

use crate::gateway::{ConnectionId, Output};
use crate::host::{HandleId, Host};
use crate::info::WEBSOCKETS;
use crate::jsep::{JsepKind, LocalJsep};
use crate::plugin::Kind;
use crate::session::SessionId;

/// What an event is about; handlers choose by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// A session was created, destroyed, timed out.
    Session,
    /// A handle was attached, detached.
    Handle,
    /// Somebody at the admin API sent it.
    External,
    /// A description was sent or received.
    Jsep,
    /// ICE, DTLS, a PeerConnection.
    WebRtc,
    /// Media come and go.
    Media,
    /// A plugin's own.
    Plugin,
    /// A connection of the API.
    Transport,
    /// The server.
    Core,
}

impl Topic {
    /// Every topic with its name in settings.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Session, "sessions"),
        (Self::Handle, "handles"),
        (Self::External, "external"),
        (Self::Jsep, "jsep"),
        (Self::WebRtc, "webrtc"),
        (Self::Media, "media"),
        (Self::Plugin, "plugins"),
        (Self::Transport, "transports"),
        (Self::Core, "core"),
    ];

    /// Gives the `type` of the event.
    pub fn number(self) -> u16 {
        match self {
            Self::Session => 1,
            Self::Handle => 2,
            Self::External => 4,
            Self::Jsep => 8,
            Self::WebRtc => 16,
            Self::Media => 32,
            Self::Plugin => 64,
            Self::Transport => 128,
            Self::Core => 256,
        }
    }
}

/// `subtype` of the events of ICE, of candidates, of DTLS, of a PeerConnection.
pub(crate) const ICE: u8 = 1;
const LOCAL_CANDIDATE: u8 = 2;
pub(crate) const DTLS: u8 = 5;
pub(crate) const PEER_CONNECTION: u8 = 6;
/// `subtype` of media that come and go.
pub(crate) const MEDIA_STATE: u8 = 1;

/// `subtype` of the start and of the stop of the server.
const STARTED: u8 = 1;
const STOPPED: u8 = 2;

impl Host {
    /// Tells of a session, and of what it is owned by.
    pub(crate) fn tell_session(&mut self, session: SessionId, name: &str, connection: Option<ConnectionId>) {
        if !self.config.options.events {
            return;
        }
        let mut event = Map::new();
        event.insert("name".into(), name.into());
        if let Some(connection) = connection {
            let transport = json!({"transport": WEBSOCKETS, "id": connection.0.to_string()});
            event.insert("transport".into(), transport);
        }
        self.tell(Topic::Session, 0, Some(session), None, Value::Object(event));
    }

    /// Tells that a handle was attached or detached.
    pub(crate) fn tell_handle(&mut self, handle: HandleId, name: &str) {
        let Some(known) = self.handles.get(&handle).filter(|_| self.config.options.events) else {
            return;
        };
        let session = known.session;
        let mut event = Map::new();
        event.insert("name".into(), name.into());
        event.insert("plugin".into(), known.plugin.about().package.into());
        // The token stays here: it is a credential, and handlers are other machines.
        if let Some(opaque_id) = &known.about.opaque_id {
            event.insert("opaque_id".into(), opaque_id.as_str().into());
        }
        self.tell(Topic::Handle, 0, Some(session), Some(handle), Value::Object(event));
    }

    /// Tells of something that happened to a handle.
    pub(crate) fn tell_of_handle(
        &mut self,
        topic: Topic,
        subtype: u8,
        handle: HandleId,
        event: impl FnOnce() -> Value,
    ) {
        if let Some(known) = self.handles.get(&handle).filter(|_| self.config.options.events) {
            self.tell(topic, subtype, Some(known.session), Some(handle), event());
        }
    }

    /// Tells of something that happened in a plugin, to a handle or to none in particular.
    pub(crate) fn tell_plugin(&mut self, plugin: Kind, handle: Option<HandleId>, data: impl FnOnce() -> Value) {
        if !self.config.options.events {
            return;
        }
        let session = handle.and_then(|handle| Some(self.handles.get(&handle)?.session));
        let event = json!({"plugin": plugin.about().package, "data": data()});
        self.tell(Topic::Plugin, 0, session, handle, event);
    }

    /// Tells that a description went out.
    pub(crate) fn tell_local(&mut self, handle: HandleId, jsep: &LocalJsep) {
        self.tell_jsep(handle, "local", jsep.kind, || jsep.sdp.as_str().into());
    }

    /// Tells that a description came in.
    pub(crate) fn tell_remote(&mut self, handle: HandleId, kind: JsepKind, description: &Description) {
        self.tell_jsep(handle, "remote", kind, || description.to_string().into());
    }

    /// Tells of a candidate of ours.
    pub(crate) fn tell_candidate(&mut self, handle: HandleId, candidate: &str) {
        self.tell_of_handle(
            Topic::WebRtc,
            LOCAL_CANDIDATE,
            handle,
            || json!({"local-candidate": candidate, "stream_id": 1, "component_id": 1}),
        );
    }

    /// Tells of a connection of one of the APIs.
    pub(crate) fn tell_connection(&mut self, connection: ConnectionId, data: impl FnOnce() -> Value) {
        if self.config.options.events {
            let event = json!({"transport": WEBSOCKETS, "id": connection.0.to_string(), "data": data()});
            self.tell(Topic::Transport, 0, None, None, event);
        }
    }

    /// Tells that the server is there.
    pub(crate) fn tell_start(&mut self) {
        if self.config.options.events {
            let mut info = crate::info::server_info(self, "");
            if let Value::Object(info) = &mut info {
                info.shift_remove("janus");
                info.shift_remove("transaction");
            }
            self.tell(
                Topic::Core,
                STARTED,
                None,
                None,
                json!({"status": "started", "info": info}),
            );
        }
    }

    /// Tells that the server goes.
    pub(crate) fn tell_stop(&mut self) {
        if self.config.options.events {
            self.tell(
                Topic::Core,
                STOPPED,
                None,
                None,
                json!({"status": "shutdown", "signum": 15}),
            );
        }
    }

    /// Tells what somebody at the admin API says.
    pub(crate) fn tell_external(&mut self, schema: &str, data: &Value) {
        if self.config.options.events {
            let event = json!({"schema": schema, "data": data});
            self.tell(Topic::External, 0, None, None, event);
        }
    }

    fn tell_jsep(&mut self, handle: HandleId, owner: &str, kind: JsepKind, sdp: impl FnOnce() -> Value) {
        self.tell_of_handle(
            Topic::Jsep,
            0,
            handle,
            || json!({"owner": owner, "jsep": {"type": kind.name(), "sdp": sdp()}}),
        );
    }

    fn tell(&mut self, topic: Topic, subtype: u8, session: Option<SessionId>, handle: Option<HandleId>, event: Value) {
        let mut told = Map::new();
        told.insert("emitter".into(), self.config.server_name.as_str().into());
        told.insert("type".into(), topic.number().into());
        if subtype > 0 {
            told.insert("subtype".into(), subtype.into());
        }
        let timestamp = u64::try_from(self.wall().since_unix().as_micros()).unwrap_or(u64::MAX);
        told.insert("timestamp".into(), timestamp.into());
        if let Some(session) = session {
            told.insert("session_id".into(), session.0.into());
        }
        if let Some(handle) = handle {
            told.insert("handle_id".into(), handle.0.into());
            let about = self.handles.get(&handle).map(|handle| &handle.about);
            if let Some(opaque_id) = about.and_then(|about| about.opaque_id.as_deref()) {
                told.insert("opaque_id".into(), opaque_id.into());
            }
        }
        told.insert("event".into(), event);
        let text = Value::Object(told).to_string();
        self.outputs.push_back(Output::Event { topic, text });
    }
}
