//! `janus.plugin.videocall`: calls between two clients that know each other by names.
//!
//! ```text
//!  caller                      here                       callee
//!    call + offer  ──────────►  the same lines, our ICE ──► incomingcall + offer
//!    accepted + answer  ◄─────  the same lines, our ICE ◄── accept + answer
//!        media ◄─────── a track each, a subscription to the other's ──────► media
//! ```
//!
//! Both PeerConnections live on one worker. What codecs the two agree on is their business: payload types are the same on
//! both sides. Every request is acked. A `set` with a JSEP, which negotiates anew, and recording are not built: they are
//! refused with 472 and 474.

mod error;
mod lines;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};
use voex_base::{SubscriptionId, WorkerId};
use voex_bridge::media::remote_parameters;
use voex_sdp::{Description, Kind};
use voex_sfu::command::{LayerChange, Layers};

pub use error::Code;

use error::Error;

use super::duplex::{Line, check_layers, want_layers};
use super::fields::{Field, Fields, Type, check, optional, required};
use super::videoroom::room::object;
use super::{Answer, MediaEvent, Message, Plugin};
use crate::host::{HandleId, HangupReason, Host};
use crate::jsep::{Jsep, JsepKind, LocalJsep};
use crate::peer_connection::NegotiationError;

const REQUEST: [Field; 1] = [required("request", Type::String)];
const USERNAME: [Field; 1] = [required("username", Type::String)];
const SET: [Field; 9] = [
    optional("audio", Type::Boolean),
    optional("video", Type::Boolean),
    optional("bitrate", Type::Unsigned),
    optional("record", Type::Boolean),
    optional("filename", Type::String),
    optional("restart", Type::Boolean),
    optional("substream", Type::Unsigned),
    optional("temporal", Type::Unsigned),
    optional("fallback", Type::Unsigned),
];
/// `s=` of descriptions.
const SESSION_NAME: &str = "VideoCall";
/// Longest name.
const USERNAME_BYTES_MAX: usize = 256;

/// State of the plugin.
#[derive(Default)]
pub(crate) struct VideoCall {
    clients: HashMap<HandleId, Client>,
    /// Who has which name.
    names: BTreeMap<String, HandleId>,
}

/// What a handle has.
#[derive(Default)]
struct Client {
    name: Option<String>,
    call: Option<Call>,
    settings: Settings,
}

/// What `set` says.
struct Settings {
    audio: bool,
    video: bool,
    /// In bit/s; zero is no cap.
    bitrate: u32,
    layers: Layers,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            audio: true,
            video: true,
            bitrate: 0,
            layers: Layers::default(),
        }
    }
}

/// A handle's side of a call.
struct Call {
    peer: HandleId,
    role: Role,
    /// One for each m-line, once it was accepted; `None` where it was refused.
    lines: Vec<Option<Line>>,
}

enum Role {
    /// Waits for the other to accept. The offer is kept until then.
    Calling(Box<Description>, lines::Ssrcs, WorkerId),
    /// Was called.
    Called,
    Talking,
}

impl Plugin for VideoCall {
    fn handle_attach(&mut self, _host: &mut Host, handle: HandleId) {
        self.clients.insert(handle, Client::default());
    }

    fn handle_message(&mut self, _host: &mut Host, _handle: HandleId, message: Message) -> Answer {
        Answer::Ack(message)
    }

    fn handle_acked(&mut self, host: &mut Host, handle: HandleId, message: Message) {
        if let Err(error) = self.request(host, handle, &message) {
            host.metrics.videocall_errors.of(error.code).inc();
            host.push_event(handle, Some(&message.transaction), error.to_json(), None);
        }
    }

    fn handle_media(&mut self, host: &mut Host, handle: HandleId, event: MediaEvent) {
        match event {
            MediaEvent::LayerChanged(subscription, change) => self.layer_changed(host, handle, subscription, change),
            MediaEvent::Hangup(_) => self.end_call(host, handle, "Remote WebRTC hangup"),
            _ => {}
        }
    }

    fn handle_detach(&mut self, host: &mut Host, handle: HandleId) {
        self.end_call(host, handle, "Remote WebRTC hangup");
        if let Some(name) = self.clients.remove(&handle).and_then(|client| client.name) {
            self.names.remove(&name);
        }
    }
}

impl VideoCall {
    fn request(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let body = &message.body;
        check(body, &REQUEST)?;
        let request = body.text("request").unwrap_or_default();
        let transaction = Some(message.transaction.as_str());
        match request.to_ascii_lowercase().as_str() {
            "list" => {
                let names: Vec<_> = self.names.keys().collect();
                push(host, handle, transaction, json!({ "list": names }), None);
                Ok(())
            }
            "register" => self.register(host, handle, message),
            "call" => self.call(host, handle, message),
            "accept" => self.accept(host, handle, message),
            "set" => self.set(host, handle, message),
            "hangup" => {
                let reason = body.text("reason").unwrap_or("Explicit hangup").to_owned();
                self.hang_up(host, handle, transaction, &reason);
                Ok(())
            }
            _ => {
                let text = format!("Unknown request ({request})");
                Err(Error::new(Code::InvalidRequest, text))
            }
        }
    }

    fn client(&mut self, handle: HandleId) -> &mut Client {
        self.clients.entry(handle).or_default()
    }

    fn register(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        if let Some(name) = &self.client(handle).name {
            let text = format!("Already registered ({name})");
            return Err(Error::new(Code::AlreadyRegistered, text));
        }
        let name = username(&message.body)?;
        if self.names.contains_key(name) {
            let text = format!("Username '{name}' already taken");
            return Err(Error::new(Code::UsernameTaken, text));
        }
        self.names.insert(name.to_owned(), handle);
        self.client(handle).name = Some(name.to_owned());
        let registered = json!({"event": "registered", "username": name});
        push(host, handle, Some(&message.transaction), registered, None);
        Ok(())
    }

    fn call(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let caller = self.client(handle);
        let own = caller.name.clone().ok_or(Error::default_text(Code::RegisterFirst))?;
        if caller.call.is_some() {
            return Err(Error::default_text(Code::AlreadyInCall));
        }
        let name = username(&message.body)?;
        let callee = self.names.get(name).copied();
        let callee = callee.ok_or_else(|| {
            let text = format!("Username '{name}' doesn't exist");
            Error::new(Code::NoSuchUsername, text)
        })?;
        if callee == handle {
            return Err(Error::default_text(Code::UseEchoTest));
        }
        let offer = jsep_of(message, JsepKind::Offer)?;
        if remote_parameters(&offer.description).is_none() {
            let text = format!("Error parsing offer: {}", NegotiationError::NoTransport);
            return Err(Error::new(Code::InvalidSdp, text));
        }
        let transaction = Some(message.transaction.as_str());
        if self.client(callee).call.is_some() {
            let busy = json!({"event": "hangup", "username": own, "reason": "User busy"});
            push(host, handle, transaction, busy, None);
            return Ok(());
        }
        let worker = host.least_loaded_worker();
        let offered = lines::offered(host, &offer.description);
        let ssrcs = offered.iter().map(|line| line.section.as_ref()?.ssrc).collect();
        let mut jsep = host.offer(callee, worker, SESSION_NAME, offered);
        jsep.e2ee = offer.e2ee;
        let calling = json!({"event": "calling", "username": name});
        push(host, handle, transaction, calling, None);
        let incoming = json!({"event": "incomingcall", "username": own});
        push(host, callee, None, incoming, Some(&jsep));
        self.client(handle).call = Some(Call {
            peer: callee,
            role: Role::Calling(Box::new(offer.description.clone()), ssrcs, worker),
            lines: Vec::new(),
        });
        self.client(callee).call = Some(Call {
            peer: handle,
            role: Role::Called,
            lines: Vec::new(),
        });
        Ok(())
    }

    fn accept(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let called = self.client(handle).call.as_ref();
        let caller = called
            .filter(|call| matches!(call.role, Role::Called))
            .map(|call| call.peer);
        let caller = caller.ok_or(Error::default_text(Code::NoCall))?;
        let answer = jsep_of(message, JsepKind::Answer)?;
        let Some(Role::Calling(offer, ssrcs, worker)) = self.client(caller).call.as_ref().map(|call| &call.role) else {
            return Err(Error::default_text(Code::NoCall));
        };
        let (offer, ssrcs, worker) = (offer.clone(), ssrcs.clone(), *worker);
        host.accept_answer(handle, &answer.description)
            .map_err(|error| Error::new(Code::InvalidSdp, format!("Error parsing answer: {error}")))?;
        let mut agreed = lines::agreed(host, &offer, &ssrcs, &answer.description);
        let sections: Vec<_> = agreed.iter().map(|line| Some(line.as_ref()?.section.clone())).collect();
        let answered = host.answer(caller, worker, SESSION_NAME, &offer, |index, _| {
            sections.get(index)?.clone()
        });
        let mut jsep = match answered {
            Ok(jsep) => jsep,
            Err(error) => {
                self.end_call(host, handle, "Invalid SDP");
                host.close_peer_connection(handle, HangupReason::ClosePc);
                let text = format!("Error parsing offer: {error}");
                return Err(Error::new(Code::InvalidSdp, text));
            }
        };
        jsep.e2ee = answer.e2ee;
        let transports = [caller, handle].map(|side| host.peer_connection(side).map(|pc| pc.transport));
        if let [Some(callers), Some(callees)] = transports {
            let layers = [caller, handle].map(|side| self.client(side).settings.layers);
            lines::connect(host, &mut agreed, [callers, callees], layers);
        }
        let own = self.client(handle).name.clone().unwrap_or_default();
        push(
            host,
            handle,
            Some(&message.transaction),
            json!({"event": "accepted"}),
            None,
        );
        let accepted = json!({"event": "accepted", "username": own});
        push(host, caller, None, accepted, Some(&jsep));
        let (callers, callees): (Vec<_>, Vec<_>) = agreed.into_iter().map(lines::Agreed::split).unzip();
        for (side, lines) in [(caller, callers), (handle, callees)] {
            let client = self.client(side);
            if let Some(call) = &mut client.call {
                (call.lines, call.role) = (lines, Role::Talking);
            }
            client.apply(host, side, None);
        }
        Ok(())
    }

    fn set(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let body = &message.body;
        check(body, &SET)?;
        check_layers(body).map_err(|text| Error::new(Code::InvalidElement, text))?;
        if message.jsep.is_some() || body.flag("restart") == Some(true) {
            let text = "Negotiating a call anew is not supported by this server";
            return Err(Error::new(Code::InvalidRequest, text));
        }
        if body.flag("record") == Some(true) {
            let text = "Invalid element (record is not supported by this server)";
            return Err(Error::new(Code::InvalidElement, text));
        }
        let client = self.client(handle);
        let settings = &mut client.settings;
        settings.audio = body.flag("audio").unwrap_or(settings.audio);
        settings.video = body.flag("video").unwrap_or(settings.video);
        settings.bitrate = body.number32("bitrate").unwrap_or(settings.bitrate);
        want_layers(&mut settings.layers, body);
        client.apply(host, handle, Some(body));
        push(host, handle, Some(&message.transaction), json!({"event": "set"}), None);
        Ok(())
    }

    /// Ends the call of a handle by its own wish; both are told.
    fn hang_up(&mut self, host: &mut Host, handle: HandleId, transaction: Option<&str>, reason: &str) {
        let own = self.client(handle).name.clone();
        let hangup = hangup(own.as_deref(), reason);
        push(host, handle, transaction, hangup, None);
        let had_call = self.client(handle).call.is_some();
        self.end_call(host, handle, reason);
        if had_call {
            host.close_peer_connection(handle, HangupReason::ClosePc);
        }
    }

    /// Ends the call of a handle whose own PeerConnection somebody else closes; the other is told and hung up.
    fn end_call(&mut self, host: &mut Host, handle: HandleId, reason: &str) {
        let client = self.client(handle);
        let Some(call) = client.call.take() else { return };
        let hangup = hangup(client.name.as_deref(), reason);
        let peer = self.client(call.peer).call.take_if(|others| others.peer == handle);
        for line in call.lines.into_iter().flatten() {
            line.end(host);
        }
        if let Some(others) = peer {
            for line in others.lines.into_iter().flatten() {
                line.end(host);
            }
            push(host, call.peer, None, hangup, None);
            host.close_peer_connection(call.peer, HangupReason::ClosePc);
        }
    }

    fn layer_changed(&mut self, host: &mut Host, handle: HandleId, subscription: SubscriptionId, change: LayerChange) {
        let call = self.clients.get_mut(&handle).and_then(|client| client.call.as_mut());
        for line in call.into_iter().flat_map(|call| call.lines.iter_mut().flatten()) {
            if let Some((name, layer)) = line.note(subscription, change) {
                let told = object([
                    ("event", Some(json!("simulcast"))),
                    (
                        "videocodec",
                        line.payloads
                            .first()
                            .map(|payload| json!(payload.name.to_ascii_lowercase())),
                    ),
                    (name, Some(json!(layer))),
                ]);
                push(host, handle, None, told, None);
            }
        }
    }
}

impl Client {
    /// Tells the worker what a request changed, or everything of a new call.
    fn apply(&self, host: &mut Host, handle: HandleId, body: Option<&Map<String, Value>>) {
        let (Some(call), Some(transport)) = (&self.call, host.peer_connection(handle).map(|pc| pc.transport)) else {
            return;
        };
        let is_meant = |name: &str| body.is_none_or(|body| body.contains_key(name));
        for line in call.lines.iter().flatten() {
            match line.kind {
                Kind::Audio if is_meant("audio") => line.set_relayed(host, self.settings.audio),
                Kind::Video => {
                    if is_meant("video") {
                        line.set_relayed(host, self.settings.video);
                    }
                    if is_meant("bitrate") {
                        line.set_bitrate(host, self.settings.bitrate);
                    }
                    if body.is_some() && ["substream", "temporal", "fallback"].into_iter().any(is_meant) {
                        line.set_layers(host, transport, self.settings.layers);
                    }
                }
                _ => {}
            }
        }
    }
}

fn username(body: &Map<String, Value>) -> Result<&str, Error> {
    check(body, &USERNAME)?;
    match body.text("username").unwrap_or_default() {
        name if name.is_empty() || name.len() > USERNAME_BYTES_MAX => {
            Err(Error::new(Code::InvalidElement, "Invalid element (username)"))
        }
        name => Ok(name),
    }
}

fn jsep_of(message: &Message, kind: JsepKind) -> Result<&Jsep, Error> {
    let jsep = message.jsep.as_ref().filter(|jsep| jsep.kind == kind);
    jsep.ok_or(Error::default_text(Code::MissingSdp))
}

fn hangup(name: Option<&str>, reason: &str) -> Value {
    object([
        ("event", Some(json!("hangup"))),
        ("username", name.map(|name| json!(name))),
        ("reason", Some(json!(reason))),
    ])
}

fn push(host: &mut Host, handle: HandleId, transaction: Option<&str>, result: Value, jsep: Option<&LocalJsep>) {
    let event = json!({"videocall": "event", "result": result});
    host.push_event(handle, transaction, event, jsep);
}
