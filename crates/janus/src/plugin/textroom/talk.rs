//! What comes on data channels: `join`, `leave`, `message`, and the requests about rooms.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::error::{Code, Error};
use super::management::check_secret;
use super::room::{Participant, Room};
use super::{KEPT_BYTES_MAX, MANAGEMENT, PARTICIPANTS_MAX, ROOMS_OF_HANDLE_MAX, TextRoom, check_texts, refusal};
use crate::date::date;
use crate::host::{HandleId, Host};
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::plugin::id::Id;
use crate::plugin::videoroom::room::object;

const ENVELOPE: [Field; 2] = [
    required("textroom", Type::String),
    required("transaction", Type::String),
];
const ROOM: [Field; 1] = [required("room", Type::Id)];
const JOIN: [Field; 6] = [
    required("room", Type::Id),
    required("username", Type::String),
    optional("pin", Type::String),
    optional("token", Type::String),
    optional("display", Type::String),
    optional("history", Type::Boolean),
];
const MESSAGE: [Field; 5] = [
    required("room", Type::Id),
    required("text", Type::String),
    optional("to", Type::String),
    optional("tos", Type::Array),
    optional("ack", Type::Boolean),
];

/// What an answer says beside `success`, or `None` for no answer.
type Answered = Option<Map<String, Value>>;

impl TextRoom {
    /// Obeys a request that came on a data channel, and answers there.
    pub(super) fn talk(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) {
        let transaction = body.text("transaction").unwrap_or_default();
        match self.obey(host, handle, body) {
            Ok(Some(mut answer)) => {
                answer.insert("transaction".into(), transaction.into());
                self.send(host, handle, Value::Object(answer).to_string().into());
                self.send_history(host, handle, body);
            }
            Ok(None) => {}
            Err(error) => {
                let error = refusal(host, &error, Some(transaction));
                self.send(host, handle, error.to_string().into());
            }
        }
    }

    fn obey(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) -> Result<Answered, Error> {
        check(body, &ENVELOPE)?;
        check_texts(body)?;
        match body.text("textroom").unwrap_or_default() {
            "join" => self.join(host, handle, body),
            "leave" => self.leave(host, handle, body),
            "message" => self.message(host, handle, body),
            request if MANAGEMENT.contains(&request) => {
                let answer = self.manage(host, handle, request, body)?;
                Ok(answer.as_object().cloned())
            }
            other => Err(Error::new(Code::InvalidRequest, format!("Unsupported request {other}"))),
        }
    }

    fn join(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) -> Result<Answered, Error> {
        let joined = self.clients.get(&handle).map_or(0, |client| client.rooms.len());
        let room = self.room(body, &JOIN)?;
        let id = room.id.clone();
        check_secret(body, "pin", room.config.pin.as_deref())?;
        check_token(room, body)?;
        if room.name_of(handle).is_some() {
            return Err(Error::new(Code::AlreadyInRoom, format!("Already in room {id}")));
        }
        let name = body.text("username").unwrap_or_default();
        if room.participants.contains_key(name) {
            return Err(Error::new(Code::UsernameExists, "Username already taken"));
        }
        if room.participants.len() >= PARTICIPANTS_MAX || joined >= ROOMS_OF_HANDLE_MAX {
            return Err(Error::new(Code::Unknown, "Too many participants, or rooms of one"));
        }
        let copies = room.participants.len() + 1;
        self.afford(host, handle, copies)?;
        let room = self.room(body, &JOIN)?;
        let display = body.text("display").map(str::to_owned);
        room.participants.insert(
            name.to_owned(),
            Participant {
                handle,
                display: display.clone(),
            },
        );
        let others = room.others(Some(name));
        if let Some(client) = self.clients.get_mut(&handle) {
            client.rooms.push(id.clone());
        }
        let join = object([
            ("textroom", Some(json!("join"))),
            ("room", Some(json!(id))),
            ("username", Some(json!(name))),
            ("display", display.map(|display| json!(display))),
        ]);
        self.tell_room(host, &id, &join);
        success([("participants", others)])
    }

    fn leave(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) -> Result<Answered, Error> {
        let room = self.room(body, &ROOM)?;
        let (id, copies) = (room.id.clone(), room.participants.len());
        if room.name_of(handle).is_none() {
            return Err(not_in(&id));
        }
        self.afford(host, handle, copies)?;
        self.remove_from(host, &id, handle);
        success([])
    }

    fn message(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) -> Result<Answered, Error> {
        let room = self.room(body, &MESSAGE)?;
        let id = room.id.clone();
        let Some(from) = room.name_of(handle).map(str::to_owned) else {
            return Err(not_in(&id));
        };
        let to = targets(body)?;
        let handle_of = |name: &String| room.participants.get(name).map(|participant| participant.handle);
        let (handles, sent): (Vec<_>, _) = match &to {
            None => (room.handles().collect(), None),
            Some(names) => {
                let sent: Map<_, _> = names
                    .iter()
                    .map(|name| (name.clone(), handle_of(name).is_some().into()))
                    .collect();
                (names.iter().filter_map(handle_of).collect(), Some(Value::Object(sent)))
            }
        };
        if let (true, Some(name)) = (handles.is_empty(), body.text("to")) {
            let text = format!("No such user {name} in room {id}");
            return Err(Error::new(Code::NoSuchUser, text));
        }
        self.afford(host, handle, handles.len())?;
        let message = object([
            ("textroom", Some(json!("message"))),
            ("room", Some(json!(id))),
            ("from", Some(json!(from))),
            ("date", Some(json!(date(host.wall())))),
            ("text", Some(json!(body.text("text")))),
            ("whisper", to.is_some().then(|| json!(true))),
        ]);
        self.tell(host, &handles, &message);
        if to.is_none() {
            self.remember(&id, message.to_string().into());
        }
        match (body.flag("ack"), sent) {
            (Some(false), _) => Ok(None),
            (_, Some(sent)) => success([("sent", sent)]),
            (_, None) => success([]),
        }
    }

    /// Keeps a message for those who come later, where there is room for it.
    pub(super) fn remember(&mut self, id: &Id, message: Bytes) {
        let is_full = self.kept_bytes + message.len() > KEPT_BYTES_MAX;
        let Some(room) = self.rooms.get_mut(id).filter(|_| !is_full) else {
            return;
        };
        let before = room.history_bytes();
        room.remember(message);
        self.kept_bytes = self.kept_bytes + room.history_bytes() - before;
    }

    /// Tells who has joined what was said before.
    fn send_history(&self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) {
        if body.text("textroom") != Some("join") || body.flag("history") == Some(false) {
            return;
        }
        let room = self.rooms.get(&self.ids.read_required(body, "room"));
        for message in room.into_iter().flat_map(Room::history) {
            self.send(host, handle, message.clone());
        }
    }
}

fn success<const N: usize>(members: [(&str, Value); N]) -> Result<Answered, Error> {
    let mut answer = Map::new();
    answer.insert("textroom".into(), "success".into());
    answer.extend(members.map(|(name, value)| (name.to_owned(), value)));
    Ok(Some(answer))
}

fn not_in(room: &Id) -> Error {
    Error::new(Code::NotInRoom, format!("Not in room {room}"))
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

/// Reads `to` or `tos`; `None` is everybody.
fn targets(body: &Map<String, Value>) -> Result<Option<Vec<String>>, Error> {
    if let Some(name) = body.text("to") {
        return Ok(Some(vec![name.to_owned()]));
    }
    let Some(list) = body.list("tos") else { return Ok(None) };
    let names: Option<Vec<_>> = list.iter().map(|name| Some(name.as_str()?.to_owned())).collect();
    let mut names = names.ok_or_else(|| {
        let text = "Invalid element in the tos array (not a string)";
        Error::new(Code::InvalidElement, text)
    })?;
    names.truncate(PARTICIPANTS_MAX);
    names.sort();
    names.dedup();
    Ok(Some(names))
}
