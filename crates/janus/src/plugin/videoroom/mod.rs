//! `janus.plugin.videoroom`: each publisher is forwarded to any number of subscribers.
//!
//! A room is at home on one media worker, and so are the transports of its participants as long as that worker is not much
//! busier than another; then further ones go to other workers, see [`spread`](crate::spread).

mod about;
pub(in crate::plugin) mod codec;
mod dummy;
mod error;
mod forward;
mod join;
mod layers;
mod management;
mod membership;
mod moderation;
pub(in crate::plugin) mod negotiation;
mod publish;
pub(in crate::plugin) mod publisher;
mod recording;
pub(in crate::plugin) mod room;
mod speech;
mod subscribe;
mod subscriber;
mod switch;
mod tell;
mod wish;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde_json::{Map, Value};
use voex_base::WorkerId;

pub use error::Code;

use room::RoomConfig;

use error::Error;
use publisher::Publisher;
use room::Room;

use super::fields::{self, Fields, Type, required};
use super::id::{Id, Ids};
use super::{Answer, MediaEvent, Message, Plugin};
use crate::host::{HandleId, Host};

/// Most rooms at once; `create` beyond is answered 499.
pub(crate) const ROOMS_MAX: usize = 65_536;
/// Load that a room is reckoned to bring, so that rooms that are made ahead of time do not all get the same worker.
const ROOM_LOAD: usize = 16;

/// State of the plugin.
pub(crate) struct VideoRoom {
    /// Rooms by id, in the order of creation as long as none is destroyed.
    rooms: IndexMap<Id, Room>,
    /// Number of rooms on each worker.
    rooms_on: HashMap<WorkerId, usize>,
    /// What each handle is; handles that never joined are not in it.
    roles: HashMap<HandleId, Role>,
    /// What ids of rooms and of those in them are.
    ids: Ids,
    /// When rooms ask their publishers for key frames (`fir_freq`).
    key_frames_due: BTreeSet<(Instant, Id)>,
}

/// Longest text in a request, in bytes; names and descriptions are repeated to everybody.
const TEXT_BYTES_MAX: usize = 4_096;

/// Largest `metadata`, in bytes of its JSON.
const METADATA_BYTES_MAX: usize = 65_536;

/// What a handle is in the plugin, for good: a handle joins once in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    /// A participant that may publish.
    Publisher { room: Id, user: Id },
    /// A subscriber.
    Subscriber { room: Id },
    /// It left or was kicked, or its room is gone.
    Left,
}

/// Requests that are acked and answered by an event.
const ASYNCHRONOUS: [&str; 12] = [
    "join",
    "joinandconfigure",
    "configure",
    "publish",
    "unpublish",
    "start",
    "pause",
    "switch",
    "subscribe",
    "unsubscribe",
    "update",
    "leave",
];

/// Requests of the API that this server does not serve; they are told from typing errors.
const UNSUPPORTED: [&str; 7] = [
    "publish_remotely",
    "unpublish_remotely",
    "listremotes",
    "list_remotes",
    "add_remote_publisher",
    "update_remote_publisher",
    "remove_remote_publisher",
];

impl VideoRoom {
    /// Makes the plugin with the rooms of the configuration.
    pub(crate) fn new(host: &mut Host) -> Self {
        let mut plugin = Self {
            rooms: IndexMap::new(),
            rooms_on: HashMap::new(),
            roles: HashMap::new(),
            ids: Ids::of(host.config.options.string_ids),
            key_frames_due: BTreeSet::new(),
        };
        for (id, body) in std::mem::take(&mut host.config.rooms) {
            if let Ok(config) = RoomConfig::of_create(&body) {
                plugin.add_room(host, id, config);
            }
        }
        plugin
    }

    /// Answers the requests that are answered at once; `None` when the request is not one of them.
    fn synchronous(
        &mut self,
        host: &mut Host,
        request: &str,
        body: &Map<String, Value>,
    ) -> Option<Result<Value, Error>> {
        Some(match request {
            "create" => self.create(host, body),
            "edit" => self.edit(host, body),
            "destroy" => self.destroy(host, body),
            "exists" => self.exists(body),
            "list" => self.list(host, body),
            "listparticipants" => self.list_participants(body),
            "allowed" => self.allowed(body),
            "kick" => self.kick(host, body),
            "moderate" => self.moderate(host, body),
            "rtp_forward" => self.rtp_forward(host, body),
            "stop_rtp_forward" => self.stop_rtp_forward(host, body),
            "listforwarders" => self.list_forwarders(host, body),
            "enable_recording" => self.enable_recording(host, body),
            _ => return None,
        })
    }

    /// Works on an acked request; what it answers has been pushed when it returns `Ok`.
    fn asynchronous(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let request = message.body.text("request").unwrap_or_default();
        match self.roles.get(&handle).cloned() {
            None => match request {
                "join" | "joinandconfigure" => self.join(host, handle, message),
                _ => Err(Error::new(
                    Code::JoinFirst,
                    "Invalid request on unconfigured participant",
                )),
            },
            Some(Role::Left) => Err(match request {
                "join" | "joinandconfigure" => Error::new(Code::AlreadyJoined, "Not in a room (create a new handle)"),
                _ => Error::new(Code::NoSuchRoom, "No such room"),
            }),
            Some(Role::Publisher { room, user }) => self.publisher_request(host, &room, &user, request, message),
            Some(Role::Subscriber { room }) => self.subscriber_request(host, &room, handle, request, message),
        }
    }

    fn publisher_request(
        &mut self,
        host: &mut Host,
        room: &Id,
        user: &Id,
        request: &str,
        message: &Message,
    ) -> Result<(), Error> {
        match request {
            "join" | "joinandconfigure" => Err(Error::new(
                Code::AlreadyJoined,
                "Already in as a publisher on this handle",
            )),
            "publish" | "configure" => self.publish(host, room, user, request, message),
            "unpublish" => self.unpublish(host, room, user, &message.transaction),
            "leave" => self.leave(host, room, user, &message.transaction),
            other => Err(unknown(other)),
        }
    }

    fn subscriber_request(
        &mut self,
        host: &mut Host,
        room: &Id,
        handle: HandleId,
        request: &str,
        message: &Message,
    ) -> Result<(), Error> {
        match request {
            "join" | "joinandconfigure" => Err(Error::new(
                Code::AlreadyJoined,
                "Already in as a subscriber on this handle",
            )),
            "start" => self.start(host, room, handle, message),
            "pause" => self.pause(host, room, handle, message),
            "configure" => self.configure_subscriber(host, room, handle, message),
            "subscribe" | "unsubscribe" | "update" => self.update(host, room, handle, request, message),
            "switch" => self.switch(host, room, handle, message),
            "leave" => self.leave_subscriber(host, room, handle, message),
            other => Err(unknown(other)),
        }
    }

    /// Starts the clock of a room that asks for key frames regularly; once is enough.
    fn schedule_key_frames(&mut self, host: &Host, room_id: &Id) {
        let Some(room) = self.rooms.get_mut(room_id).filter(|room| room.config.fir_freq_s != 0) else {
            return;
        };
        if !std::mem::replace(&mut room.is_key_frame_scheduled, true) {
            let period = Duration::from_secs(u64::from(room.config.fir_freq_s));
            self.key_frames_due.insert((host.now() + period, room_id.clone()));
        }
    }

    /// Gives the worker with the lowest load, that which its rooms may yet bring counted in.
    fn home_worker(&self, host: &Host) -> WorkerId {
        let rooms_on = |worker: &WorkerId| self.rooms_on.get(worker).copied().unwrap_or_default();
        let workers = host.config.workers.iter().map(|media| media.worker);
        let key = |worker: &WorkerId| host.load_of(*worker) + rooms_on(worker) * ROOM_LOAD;
        workers.min_by_key(key).unwrap_or(WorkerId(0))
    }
}

impl Plugin for VideoRoom {
    fn handle_attach(&mut self, _host: &mut Host, _handle: HandleId) {}

    fn handle_message(&mut self, host: &mut Host, _handle: HandleId, mut message: Message) -> Answer {
        if let Err(error) = fields::check(&message.body, &[required("request", Type::String)]) {
            return Answer::Success(refusal(host, &error.into()));
        }
        if let Err(error) = check_sizes(&message.body) {
            return Answer::Success(refusal(host, &error));
        }
        let written = message.body.text("request").unwrap_or_default().to_owned();
        let request = written.to_ascii_lowercase();
        match self.synchronous(host, &request, &message.body) {
            Some(Ok(answer)) => Answer::Success(answer),
            Some(Err(error)) => Answer::Success(refusal(host, &error)),
            None if ASYNCHRONOUS.contains(&request.as_str()) => {
                message.body.insert("request".into(), request.into());
                Answer::Ack(message)
            }
            None => Answer::Success(refusal(host, &unknown(&written))),
        }
    }

    fn handle_acked(&mut self, host: &mut Host, handle: HandleId, message: Message) {
        if let Err(error) = self.asynchronous(host, handle, &message) {
            let body = refusal(host, &error);
            host.push_event(handle, Some(&message.transaction), body, None);
        }
    }

    fn handle_media(&mut self, host: &mut Host, handle: HandleId, event: MediaEvent) {
        match (event, self.roles.get(&handle).cloned()) {
            (MediaEvent::Up, Some(Role::Publisher { room, user })) => self.publisher_up(host, &room, &user),
            (MediaEvent::Up, Some(Role::Subscriber { room })) => self.subscriber_up(host, &room, handle),
            (MediaEvent::LayerChanged(subscription, change), Some(Role::Subscriber { room })) => {
                self.layer_changed(host, &room, handle, subscription, change);
            }
            (MediaEvent::Speech(track, speech), Some(Role::Publisher { room, user })) => {
                self.speech_changed(host, &room, &user, track, speech);
            }
            (MediaEvent::PlainDown(transport), Some(Role::Publisher { room, user })) => {
                self.forwarder_down(&room, &user, transport);
            }
            (MediaEvent::Hangup(_), Some(Role::Publisher { room, user })) => self.publisher_down(host, &room, &user),
            (MediaEvent::Hangup(_), Some(Role::Subscriber { room })) => self.subscriber_down(host, &room, handle),
            _ => {}
        }
    }

    fn handle_admin(&mut self, host: &mut Host, body: &Map<String, Value>) -> Option<Value> {
        let request = body.text("request").unwrap_or_default().to_ascii_lowercase();
        let checked = fields::check(body, &[required("request", Type::String)]).map_err(Error::from);
        let answer = checked.and_then(|()| check_sizes(body)).and_then(|()| {
            self.synchronous(host, &request, body)
                .unwrap_or_else(|| Err(unknown(body.text("request").unwrap_or_default())))
        });
        Some(answer.unwrap_or_else(|error| refusal(host, &error)))
    }

    fn describe(&self, host: &Host, handle: HandleId) -> Option<Value> {
        Some(self.describe_handle(host, handle))
    }

    fn handle_timeout(&mut self, host: &mut Host) {
        while self.key_frames_due.first().is_some_and(|(at, _)| *at <= host.now()) {
            let Some((_, id)) = self.key_frames_due.pop_first() else {
                break;
            };
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            room.is_key_frame_scheduled = false;
            let tracks: Vec<_> = room.publishers.values().flat_map(Publisher::video_tracks).collect();
            if !tracks.is_empty() {
                Self::request_key_frames(host, tracks);
                self.schedule_key_frames(host, &id);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.key_frames_due.first().map(|(at, _)| *at)
    }

    fn handle_detach(&mut self, host: &mut Host, handle: HandleId) {
        match self.roles.remove(&handle) {
            Some(Role::Publisher { room, user }) => self.remove_publisher(host, &room, &user),
            Some(Role::Subscriber { room }) => self.remove_subscriber(host, &room, handle),
            _ => {}
        }
    }
}

/// Refuses texts and metadata that are too long to be kept and repeated.
fn check_sizes(body: &Map<String, Value>) -> Result<(), Error> {
    let too_long = |name: &str| Error::invalid(format!("Invalid element ({name} is too long)"));
    for (name, value) in body {
        match value {
            Value::Object(_) if value.to_string().len() > METADATA_BYTES_MAX => return Err(too_long(name)),
            Value::String(text) if text.len() > TEXT_BYTES_MAX => return Err(too_long(name)),
            Value::Array(items) if items.iter().any(has_long_text) => return Err(too_long(name)),
            _ => {}
        }
    }
    Ok(())
}

/// Tells whether an item of a list, or a member of it, is a text that is too long.
fn has_long_text(item: &Value) -> bool {
    let is_long = |value: &Value| value.as_str().is_some_and(|text| text.len() > TEXT_BYTES_MAX);
    is_long(item) || item.as_object().is_some_and(|members| members.values().any(is_long))
}

/// Counts a refusal and gives its body.
fn refusal(host: &Host, error: &Error) -> Value {
    host.metrics.videoroom_errors.of(error.code).inc();
    error.to_json()
}

fn unknown(request: &str) -> Error {
    let text = if UNSUPPORTED.contains(&request) {
        format!("Request '{request}' is not supported by this server")
    } else {
        format!("Unknown request '{request}'")
    };
    Error::new(Code::InvalidRequest, text)
}
