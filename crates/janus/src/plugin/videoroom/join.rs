//! Entering a room as publisher or as subscriber.

use serde_json::{Map, Value, json};

use super::error::{Code, Error};
use super::management::check_secret;
use super::publisher::Publisher;
use super::recording::Wanted;
use super::room::{Room, object};
use super::tell::tell_publisher;
use super::{Role, VideoRoom};
use crate::host::{HandleId, Host};
use crate::jsep::JsepKind;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::plugin::id::Id;
use crate::plugin::{Kind, Message};

const ROOM: [Field; 1] = [required("room", Type::Id)];
const PIN: [Field; 1] = [optional("pin", Type::String)];
const JOIN: [Field; 5] = [
    required("ptype", Type::String),
    optional("audio", Type::Boolean),
    optional("video", Type::Boolean),
    optional("data", Type::Boolean),
    optional("token", Type::String),
];
const PUBLISHER: [Field; 3] = [
    optional("display", Type::String),
    optional("metadata", Type::Object),
    optional("id", Type::Id),
];
const RECORDING: [Field; 2] = [optional("record", Type::Boolean), optional("filename", Type::String)];

/// Most participants of a room, publishing or not: what one does is told to all others. `join` beyond is answered 499.
const PARTICIPANTS_MAX: usize = 2_048;

impl VideoRoom {
    /// `join` and `joinandconfigure` on a handle that has no role yet.
    pub(super) fn join(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<(), Error> {
        let body = &message.body;
        self.ids.check(body, &ROOM)?;
        check(body, &JOIN)?;
        let room = self.room(body)?;
        check_signature(host, room, body)?;
        check(body, &PIN)?;
        check_secret(body, "pin", room.config.pin.as_deref())?;
        let room = &room.id.clone();
        let ptype = body.text("ptype").unwrap_or_default();
        match ptype.to_ascii_lowercase().as_str() {
            "publisher" => self.join_publisher(host, handle, room, message),
            "subscriber" | "listener" => self.join_subscriber(host, handle, room, message),
            _ => Err(Error::invalid("Invalid element (ptype)")),
        }
    }

    fn join_publisher(&mut self, host: &mut Host, handle: HandleId, room: &Id, message: &Message) -> Result<(), Error> {
        let body = &message.body;
        self.ids.check(body, &PUBLISHER)?;
        check(body, &RECORDING)?;
        Self::check_recording(host, body)?;
        let configures = body.text("request") == Some("joinandconfigure");
        let offer = message
            .jsep
            .as_ref()
            .filter(|jsep| configures && jsep.kind == JsepKind::Offer);
        let user = &self.admit(host, room, handle, body)?;
        let role = Role::Publisher {
            room: room.clone(),
            user: user.clone(),
        };
        self.roles.insert(handle, role);
        self.rooms[room].apply_recording(host, user, body);
        let jsep = match offer {
            Some(offer) => match self.negotiate(host, room, user, body, offer) {
                Ok(answer) => Some(answer),
                Err(error) => {
                    // The join failed as a whole, so that it can be tried again.
                    self.roles.remove(&handle);
                    self.rooms[room].publishers.shift_remove(user);
                    return Err(error);
                }
            },
            None => None,
        };
        let room = &self.rooms[room];
        let joined = joined(room, user);
        if let Some(publisher) = room.publishers.get(user) {
            tell_publisher(host, &room.id, publisher, "joined");
        }
        host.push_event(handle, Some(&message.transaction), joined, jsep.as_ref());
        if room.config.notify_joining
            && let Some(publisher) = room.publishers.get(user)
        {
            let joining = json!({"videoroom": "event", "room": room.id, "joining": publisher.attendee()});
            room.notify_others(host, Some(user), &joining);
        }
        Ok(())
    }

    /// Checks whether a participant may enter and enters it; gives its id.
    fn admit(&mut self, host: &mut Host, room: &Id, handle: HandleId, body: &Map<String, Value>) -> Result<Id, Error> {
        let ids = self.ids;
        let room = self.rooms.get_mut(room).ok_or_else(|| Error::no_such_room(room))?;
        check_token(room, body)?;
        if room.publishers.len() >= PARTICIPANTS_MAX {
            return Err(Error::new(Code::Unknown, "Too many participants"));
        }
        let id = match ids.read(body, "id") {
            Some(taken) if room.publishers.contains_key(&taken) => {
                return Err(Error::new(Code::IdExists, format!("User ID {taken} already exists")));
            }
            Some(free) => free,
            None => ids.draw(host, |id| room.publishers.contains_key(id)),
        };
        let private_id = room.new_private_id(host);
        let publisher = Publisher {
            display: body.text("display").map(str::to_owned),
            metadata: body.get("metadata").and_then(Value::as_object).cloned(),
            bitrate_bps: room.config.bitrate_bps,
            recording: Wanted::of_room(&room.config),
            ..Publisher::new(id.clone(), handle, private_id)
        };
        room.publishers.insert(id.clone(), publisher);
        Ok(id)
    }
}

impl Room {
    fn new_private_id(&self, host: &mut Host) -> u32 {
        loop {
            let id = host.rng.u32();
            if id != 0 && !self.publishers.values().any(|publisher| publisher.private_id == id) {
                return id;
            }
        }
    }
}

/// Rooms with signed tokens want one that names them, where the server knows how to read it.
fn check_signature(host: &Host, room: &Room, body: &Map<String, Value>) -> Result<(), Error> {
    if !room.config.signed_tokens {
        return Ok(());
    }
    let what = format!("room={}", room.id);
    match host.auth.opens(host.wall(), body.text("token"), Kind::VideoRoom, &what) {
        Some(false) => Err(Error::new(Code::Unauthorized, "Unauthorized (wrong token)")),
        Some(true) | None => Ok(()),
    }
}

fn check_token(room: &Room, body: &Map<String, Value>) -> Result<(), Error> {
    let Some(allowed) = &room.config.allowed else {
        return Ok(());
    };
    match body.text("token") {
        Some(token) if allowed.contains(token) => Ok(()),
        _ => Err(Error::new(Code::Unauthorized, "Unauthorized (not in the allowed list)")),
    }
}

fn joined(room: &Room, user: &Id) -> Value {
    let others = || room.publishers.values().filter(|publisher| publisher.id != *user);
    let publishers: Vec<_> = others()
        .filter(|other| other.active)
        .map(Publisher::introduction)
        .collect();
    let attendees = || -> Value {
        others()
            .filter(|other| !other.active)
            .map(Publisher::attendee)
            .collect()
    };
    let private_id = room.publishers.get(user).map(|publisher| json!(publisher.private_id));
    object([
        ("videoroom", Some(json!("joined"))),
        ("room", Some(json!(room.id))),
        ("description", Some(json!(room.description()))),
        ("id", Some(json!(user))),
        ("private_id", private_id),
        ("publishers", Some(json!(publishers))),
        ("attendees", room.config.notify_joining.then(attendees)),
    ])
}
