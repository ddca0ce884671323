//! `janus.plugin.textroom`: rooms of people who write to each other over data channels.
//!
//! ```text
//!  message ──► list, create, edit, destroy, exists, allowed, kick, listparticipants, announcement      answered at once
//!              setup, ack, restart                                                   acked: the PeerConnection
//!  data channel ──► the same but the last three, and join, leave, message            answered on the channel
//! ```
//!
//! What came on a data channel is told by the media worker at a bounded rate, and what leaves is paced here: a message for
//! more than may be written to now is refused with 499. `post` is not built and refused with 414.

mod error;
mod management;
mod room;
mod talk;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use voex_sdp::Kind;
use voex_sdp::webrtc::{Offered, Section};
use voex_sfu::command::{Channel, Command, DataKind, DataMessage, DataTrackSpec};

pub use error::Code;

use error::Error;
use room::Room;

use super::fields::{self, Fields, Type, required};
use super::id::{Id, Ids};
use super::{Answer, MediaEvent, Message, Plugin};
use crate::host::{HandleId, Host};
use crate::jsep::{JsepKind, LocalJsep};

/// Most rooms at once; `create` beyond is answered 499.
const ROOMS_MAX: usize = 65_536;
/// Most participants of a room, and rooms of a handle; `join` beyond is answered 499.
const PARTICIPANTS_MAX: usize = 1_000;
const ROOMS_OF_HANDLE_MAX: usize = 256;
/// Longest text in a request; a message on a data channel may be 64 KiB with all that stands around it.
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Longest description, and longest secret, pin, token or name.
const DESCRIPTION_BYTES_MAX: usize = 1_024;
const WORD_BYTES_MAX: usize = 256;
/// What rooms may keep together: settings, tokens, messages for those who come later. What would go beyond is answered
/// 499; messages are not kept then.
const KEPT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What one message to one participant takes of a second, and how many seconds may be taken ahead: of the time of all, and
/// of that of each client, who can take a quarter of it.
const COPY_TIME: Duration = Duration::from_micros(50);
const COPY_TIME_OF_CLIENT: Duration = Duration::from_micros(200);
const AHEAD_MAX: Duration = Duration::from_secs(1);
/// `s=` of offers.
const SESSION_NAME: &str = "TextRoom";
/// Label of our channel where the client has not written on one of its own yet.
const LABEL: &str = "JanusDataChannel";

const MANAGEMENT: [&str; 9] = [
    "list",
    "exists",
    "create",
    "edit",
    "destroy",
    "allowed",
    "kick",
    "listparticipants",
    "announcement",
];

/// State of the plugin.
pub(crate) struct TextRoom {
    /// In the order of creation as long as none is destroyed.
    rooms: IndexMap<Id, Room>,
    clients: HashMap<HandleId, Client>,
    ids: Ids,
    /// Bytes that rooms keep.
    kept_bytes: usize,
    /// Until when what was sent takes up the time of sending.
    busy_until: Option<Instant>,
}

/// What a handle has.
struct Client {
    rooms: Vec<Id>,
    /// The channel that it wrote on last: answers go there.
    channel: Arc<Channel>,
    /// Until when what it had sent takes up its share of the time of sending.
    busy_until: Option<Instant>,
}

impl TextRoom {
    pub(crate) fn new(ids: Ids) -> Self {
        Self {
            rooms: IndexMap::new(),
            clients: HashMap::new(),
            ids,
            kept_bytes: 0,
            busy_until: None,
        }
    }
}

impl Plugin for TextRoom {
    fn handle_attach(&mut self, _host: &mut Host, handle: HandleId) {
        let client = Client {
            rooms: Vec::new(),
            channel: Arc::new(Channel::reliable(LABEL)),
            busy_until: None,
        };
        self.clients.insert(handle, client);
    }

    fn handle_message(&mut self, host: &mut Host, handle: HandleId, message: Message) -> Answer {
        let body = &message.body;
        let checked = fields::check(body, &[required("request", Type::String)]);
        let request = body.text("request").unwrap_or_default();
        let done = match (checked, request) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), "setup" | "ack" | "restart") => return Answer::Ack(message),
            (Ok(()), request) if MANAGEMENT.contains(&request) => self.manage(host, handle, request, body),
            (Ok(()), request) => Err(Error::new(Code::InvalidRequest, format!("Unknown request '{request}'"))),
        };
        Answer::Success(done.unwrap_or_else(|error| refusal(host, &error, None)))
    }

    fn handle_acked(&mut self, host: &mut Host, handle: HandleId, message: Message) {
        let (body, offer) = match self.set_up(host, handle, &message) {
            Ok(offer) => (json!({"textroom": "event", "result": "ok"}), offer),
            Err(error) => (refusal(host, &error, None), None),
        };
        host.push_event(handle, Some(&message.transaction), body, offer.as_ref());
    }

    fn handle_media(&mut self, host: &mut Host, handle: HandleId, event: MediaEvent) {
        if let MediaEvent::Hangup(_) = event {
            self.leave_all(host, handle);
        }
    }

    fn handle_data(&mut self, host: &mut Host, handle: HandleId, message: &DataMessage) {
        let Some(client) = self.clients.get_mut(&handle).filter(|_| message.kind == DataKind::Text) else {
            return;
        };
        client.channel = Arc::clone(&message.channel);
        let parsed = serde_json::from_slice::<Value>(&message.payload);
        let Ok(Value::Object(body)) = parsed else {
            let text = match parsed {
                Err(error) => format!("JSON error: {error}"),
                Ok(_) => "JSON error: not an object".to_owned(),
            };
            let error = refusal(host, &Error::new(Code::InvalidJson, text), Some(""));
            return self.send(host, handle, error.to_string().into());
        };
        self.talk(host, handle, &body);
    }

    fn handle_detach(&mut self, host: &mut Host, handle: HandleId) {
        self.leave_all(host, handle);
        self.clients.remove(&handle);
    }
}

impl TextRoom {
    /// `setup`, `ack` and `restart`.
    fn set_up(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<Option<LocalJsep>, Error> {
        let has_one = host.peer_connection(handle).is_some();
        match message.body.text("request").unwrap_or_default() {
            "setup" if has_one => Err(Error::new(Code::AlreadySetup, "PeerConnection already setup")),
            "setup" => Ok(Some(offer(host, handle))),
            "restart" if has_one => Ok(Some(offer(host, handle))),
            "restart" => Err(Error::new(Code::NoMessage, "No PeerConnection to restart")),
            _ => {
                let answer = message.jsep.as_ref().filter(|jsep| jsep.kind == JsepKind::Answer);
                if let Some(answer) = answer {
                    host.accept_answer(handle, &answer.description)
                        .map_err(|error| Error::new(Code::Unknown, format!("Error parsing answer: {error}")))?;
                    start(host, handle);
                }
                Ok(None)
            }
        }
    }

    /// Sends a text on the client's channel.
    fn send(&self, host: &mut Host, handle: HandleId, text: Bytes) {
        let Some(client) = self.clients.get(&handle) else {
            return;
        };
        let Some((worker, transport)) = host.peer_connection(handle).map(|pc| (pc.worker, pc.transport)) else {
            return;
        };
        let message = DataMessage {
            channel: Arc::clone(&client.channel),
            kind: DataKind::Text,
            payload: text,
        };
        host.media(worker, Command::SendData(transport, message));
    }

    /// Sends an event to some of those in a room.
    fn tell(&self, host: &mut Host, handles: &[HandleId], event: &Value) {
        let text = Bytes::from(event.to_string());
        for handle in handles {
            self.send(host, *handle, text.clone());
        }
    }

    fn tell_room(&self, host: &mut Host, room: &Id, event: &Value) {
        let handles: Vec<_> = self.rooms.get(room).into_iter().flat_map(Room::handles).collect();
        self.tell(host, &handles, event);
    }

    /// Takes the time that so many messages of a client need, when there is some.
    fn afford(&mut self, host: &Host, handle: HandleId, copies: usize) -> Result<(), Error> {
        let now = host.now();
        let free_at = |until: Option<Instant>| until.map_or(now, |until| until.max(now));
        let of_client = self.clients.get_mut(&handle).map(|client| &mut client.busy_until);
        let mut nobodys = None;
        let of_client = of_client.unwrap_or(&mut nobodys);
        let (from, from_of_client) = (free_at(self.busy_until), free_at(*of_client));
        if from.max(from_of_client) > now + AHEAD_MAX {
            return Err(Error::new(Code::Unknown, "Too many messages, try again later"));
        }
        let copies = u32::try_from(copies).unwrap_or(u32::MAX);
        *of_client = Some(from_of_client + COPY_TIME_OF_CLIENT.saturating_mul(copies));
        self.busy_until = Some(from + COPY_TIME.saturating_mul(copies));
        Ok(())
    }

    fn leave_all(&mut self, host: &mut Host, handle: HandleId) {
        let rooms = self
            .clients
            .get_mut(&handle)
            .map(|client| std::mem::take(&mut client.rooms));
        for room in rooms.unwrap_or_default() {
            self.remove_from(host, &room, handle);
        }
    }

    /// Takes somebody out of a room and tells the others.
    fn remove_from(&mut self, host: &mut Host, room_id: &Id, handle: HandleId) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let Some(name) = room.name_of(handle).map(str::to_owned) else {
            return;
        };
        room.participants.shift_remove(&name);
        if let Some(client) = self.clients.get_mut(&handle) {
            client.rooms.retain(|other| other != room_id);
        }
        let left = json!({"textroom": "leave", "room": room_id, "username": name});
        self.tell_room(host, room_id, &left);
    }
}

fn offer(host: &mut Host, handle: HandleId) -> LocalJsep {
    let worker = host.least_loaded_worker();
    let data = Offered {
        kind: Kind::Application,
        mid: "0".to_owned(),
        section: Some(Section::default()),
    };
    host.offer(handle, worker, SESSION_NAME, vec![data])
}

/// Has what arrives on the handle's data channels reported, once.
fn start(host: &mut Host, handle: HandleId) {
    let Some(transport) = host.peer_connection(handle).map(|pc| pc.transport) else {
        return;
    };
    let has_track = host
        .transports
        .get(&transport)
        .is_some_and(|owner| !owner.tracks.is_empty());
    if !has_track {
        let track = DataTrackSpec {
            id: host.new_track_id(),
            transport,
            is_reported: true,
        };
        host.add_data_track(track, "0".to_owned());
    }
}

/// Counts a refusal and gives what says it.
fn refusal(host: &Host, error: &Error, transaction: Option<&str>) -> Value {
    host.metrics.textroom_errors.of(error.code).inc();
    error.to_json(transaction)
}

/// Refuses texts that are too long to be repeated to everybody, or kept.
fn check_texts(body: &Map<String, Value>) -> Result<(), Error> {
    let is_long = |(name, value): &(&String, &Value)| {
        let bytes_max = match name.as_str() {
            "description" | "new_description" => DESCRIPTION_BYTES_MAX,
            "text" => TEXT_BYTES_MAX,
            _ => WORD_BYTES_MAX,
        };
        value.as_str().is_some_and(|text| text.len() > bytes_max)
    };
    match body.iter().find(is_long) {
        Some((name, _)) => Err(Error::new(
            Code::InvalidElement,
            format!("Invalid element ({name} is too long)"),
        )),
        None => Ok(()),
    }
}
