//! Requests about rooms, by the API or on a data channel.

use indexmap::IndexSet;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::error::{Code, Error};
use super::room::{HISTORY_MAX, Room, RoomConfig};
use super::{KEPT_BYTES_MAX, ROOMS_MAX, TextRoom, WORD_BYTES_MAX, check_texts};
use crate::date::date;
use crate::host::{HandleId, Host};
use crate::plugin::fields::{Field, Fields, Type, optional, required};
use crate::plugin::id::Id;

const ROOM: [Field; 1] = [required("room", Type::Id)];
const CREATE: [Field; 10] = [
    optional("room", Type::Id),
    optional("admin_key", Type::String),
    optional("description", Type::String),
    optional("secret", Type::String),
    optional("pin", Type::String),
    optional("post", Type::String),
    optional("is_private", Type::Boolean),
    optional("history", Type::Unsigned),
    optional("allowed", Type::Array),
    optional("permanent", Type::Boolean),
];
const EDIT: [Field; 8] = [
    required("room", Type::Id),
    optional("secret", Type::String),
    optional("new_description", Type::String),
    optional("new_secret", Type::String),
    optional("new_pin", Type::String),
    optional("new_post", Type::String),
    optional("new_is_private", Type::Boolean),
    optional("permanent", Type::Boolean),
];
const DESTROY: [Field; 3] = [
    required("room", Type::Id),
    optional("secret", Type::String),
    optional("permanent", Type::Boolean),
];
const ALLOWED: [Field; 4] = [
    required("room", Type::Id),
    optional("secret", Type::String),
    required("action", Type::String),
    optional("allowed", Type::Array),
];
const KICK: [Field; 3] = [
    required("room", Type::Id),
    optional("secret", Type::String),
    required("username", Type::String),
];
const ANNOUNCEMENT: [Field; 3] = [
    required("room", Type::Id),
    optional("secret", Type::String),
    required("text", Type::String),
];
/// Most tokens that a room allows.
const ALLOWED_MAX: usize = 10_000;

impl TextRoom {
    /// Obeys a request about rooms; gives its answer.
    pub(super) fn manage(
        &mut self,
        host: &mut Host,
        handle: HandleId,
        request: &str,
        body: &Map<String, Value>,
    ) -> Result<Value, Error> {
        check_texts(body)?;
        match request {
            "list" => Ok(self.list()),
            "exists" => {
                self.ids.check(body, &ROOM)?;
                let id = self.ids.read_required(body, "room");
                let exists = self.rooms.contains_key(&id);
                Ok(json!({"textroom": "success", "room": id, "exists": exists}))
            }
            "create" => self.create(host, body),
            "edit" => self.edit(host, handle, body),
            "destroy" => self.destroy(host, handle, body),
            "allowed" => self.allowed(body),
            "kick" => self.kick(host, handle, body),
            "listparticipants" => {
                let room = self.room(body, &ROOM)?;
                Ok(json!({"room": room.id, "participants": room.others(None)}))
            }
            _ => self.announcement(host, handle, body),
        }
    }

    fn list(&self) -> Value {
        let public = self.rooms.values().filter(|room| !room.config.is_private);
        let list: Vec<_> = public.map(Room::list_entry).collect();
        json!({"textroom": "success", "list": list})
    }

    fn create(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &CREATE)?;
        check_secret(body, "admin_key", host.config.options.admin_key.as_deref())?;
        refuse_post(body, "post")?;
        if self.rooms.len() >= ROOMS_MAX {
            return Err(Error::new(Code::Unknown, "Too many rooms"));
        }
        let id = match self.ids.read(body, "room") {
            Some(taken) if self.rooms.contains_key(&taken) => {
                return Err(Error::new(Code::RoomExists, format!("Room {taken} already exists")));
            }
            Some(free) => free,
            None => self.ids.draw(host, |id| self.rooms.contains_key(id)),
        };
        let history = body.number("history").unwrap_or_default().min(HISTORY_MAX);
        let config = RoomConfig {
            description: text_of(body, "description"),
            secret: text_of(body, "secret"),
            pin: text_of(body, "pin"),
            is_private: body.flag("is_private").unwrap_or_default(),
            history: usize::try_from(history).unwrap_or_default(),
            allowed: body.contains_key("allowed").then(|| tokens(body)).transpose()?,
        };
        self.keep(0, config.bytes())?;
        self.rooms.insert(id.clone(), Room::new(id.clone(), config));
        Ok(json!({"textroom": "created", "room": id, "permanent": false}))
    }

    fn edit(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &EDIT)?;
        refuse_post(body, "new_post")?;
        let (id, mut config, copies) = (room.id.clone(), room.config.clone(), room.participants.len());
        self.afford(host, handle, copies)?;
        config.description = text_of(body, "new_description").or(config.description);
        config.secret = text_of(body, "new_secret").or(config.secret);
        config.pin = text_of(body, "new_pin").or(config.pin);
        config.is_private = body.flag("new_is_private").unwrap_or(config.is_private);
        self.configure(&id, config)?;
        self.tell_room(host, &id, &json!({"textroom": "edited", "room": id}));
        Ok(json!({"textroom": "edited", "room": id, "permanent": false}))
    }

    /// Takes over the settings of a room, when there is room for them.
    fn configure(&mut self, id: &Id, config: RoomConfig) -> Result<(), Error> {
        let before = self.rooms.get(id).map_or(0, |room| room.config.bytes());
        self.keep(before, config.bytes())?;
        if let Some(room) = self.rooms.get_mut(id) {
            room.config = config;
        }
        Ok(())
    }

    /// Counts that so many bytes are kept in the place of others, unless that were too many.
    pub(super) fn keep(&mut self, before: usize, after: usize) -> Result<(), Error> {
        let kept = (self.kept_bytes + after).saturating_sub(before);
        if after > before && kept > KEPT_BYTES_MAX {
            return Err(Error::new(Code::Unknown, "Rooms keep too much already"));
        }
        self.kept_bytes = kept;
        Ok(())
    }

    fn destroy(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &DESTROY)?;
        let (id, copies) = (room.id.clone(), room.participants.len());
        self.afford(host, handle, copies)?;
        self.tell_room(host, &id, &json!({"textroom": "destroyed", "room": id}));
        if let Some(gone) = self.rooms.shift_remove(&id) {
            self.keep(gone.config.bytes() + gone.history_bytes(), 0)?;
            for handle in gone.handles() {
                if let Some(client) = self.clients.get_mut(&handle) {
                    client.rooms.retain(|room| *room != id);
                }
            }
        }
        Ok(json!({"textroom": "destroyed", "room": id, "permanent": false}))
    }

    fn allowed(&mut self, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &ALLOWED)?;
        let (id, mut config) = (room.id.clone(), room.config.clone());
        let list = &mut config.allowed;
        match body.text("action").unwrap_or_default() {
            "disable" => *list = None,
            "enable" => {
                list.get_or_insert_default();
            }
            "add" => list.get_or_insert_default().extend(tokens(body)?),
            "remove" => {
                let gone = tokens(body)?;
                list.get_or_insert_default().retain(|token| !gone.contains(token));
            }
            _ => {
                let text = "Unsupported action (allowed should be enable, disable, add or remove)";
                return Err(Error::new(Code::InvalidElement, text));
            }
        }
        if list.as_ref().is_some_and(|list| list.len() > ALLOWED_MAX) {
            return Err(Error::new(Code::Unknown, "Too many tokens"));
        }
        let mut answer = json!({"textroom": "success", "room": id});
        if let Some(list) = &config.allowed {
            answer["allowed"] = list.iter().map(String::as_str).collect();
        }
        self.configure(&id, config)?;
        Ok(answer)
    }

    fn kick(&mut self, host: &mut Host, kicker: HandleId, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &KICK)?;
        let (id, name) = (room.id.clone(), body.text("username").unwrap_or_default().to_owned());
        let Some(handle) = room.participants.get(&name).map(|participant| participant.handle) else {
            let text = format!("No such user {name} in room {id}");
            return Err(Error::new(Code::NoSuchUser, text));
        };
        let copies = room.participants.len();
        self.afford(host, kicker, copies)?;
        let kicked = json!({"textroom": "kicked", "room": id, "username": name});
        self.tell_room(host, &id, &kicked);
        if let Some(room) = self.rooms.get_mut(&id) {
            room.participants.shift_remove(&name);
        }
        if let Some(client) = self.clients.get_mut(&handle) {
            client.rooms.retain(|room| *room != id);
        }
        Ok(json!({"textroom": "success"}))
    }

    fn announcement(&mut self, host: &mut Host, handle: HandleId, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &ANNOUNCEMENT)?;
        let (id, copies) = (room.id.clone(), room.participants.len());
        self.afford(host, handle, copies)?;
        let announcement = json!({
            "textroom": "announcement", "room": id, "date": date(host.wall()), "text": body.text("text"),
        });
        self.tell_room(host, &id, &announcement);
        self.remember(&id, announcement.to_string().into());
        Ok(json!({"textroom": "success"}))
    }

    /// Finds the room of a request that has passed a table.
    pub(super) fn room(&mut self, body: &Map<String, Value>, table: &[Field]) -> Result<&mut Room, Error> {
        self.ids.check(body, table)?;
        let id: Id = self.ids.read_required(body, "room");
        self.rooms.get_mut(&id).ok_or_else(|| Error::no_such_room(&id))
    }

    fn room_with_secret(&mut self, body: &Map<String, Value>, table: &[Field]) -> Result<&mut Room, Error> {
        let room = self.room(body, table)?;
        check_secret(body, "secret", room.config.secret.as_deref())?;
        Ok(room)
    }
}

/// Compares a secret or pin in constant time.
pub(super) fn check_secret(body: &Map<String, Value>, name: &str, expected: Option<&str>) -> Result<(), Error> {
    let Some(expected) = expected else { return Ok(()) };
    let Some(given) = body.text(name) else {
        let text = format!("Missing mandatory element ({name})");
        return Err(Error::new(Code::MissingElement, text));
    };
    if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
        Ok(())
    } else {
        Err(Error::new(Code::Unauthorized, format!("Unauthorized (wrong {name})")))
    }
}

fn text_of(body: &Map<String, Value>, name: &str) -> Option<String> {
    body.text(name).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn tokens(body: &Map<String, Value>) -> Result<IndexSet<String>, Error> {
    let list = body.list("allowed").map(Vec::as_slice).unwrap_or_default();
    let tokens: Option<IndexSet<_>> = list.iter().map(|token| Some(token.as_str()?.to_owned())).collect();
    let tokens = tokens.ok_or_else(|| {
        let text = "Invalid element in the allowed array (not a string)";
        Error::new(Code::InvalidElement, text)
    })?;
    if tokens.len() > ALLOWED_MAX || tokens.iter().any(|token| token.len() > WORD_BYTES_MAX) {
        let text = "Invalid element in the allowed array (too many, or too long)";
        return Err(Error::new(Code::InvalidElement, text));
    }
    Ok(tokens)
}

fn refuse_post(body: &Map<String, Value>, name: &str) -> Result<(), Error> {
    if body.text(name).is_some_and(|url| !url.is_empty()) {
        let text = format!("Invalid element ({name} is not supported by this server)");
        return Err(Error::new(Code::InvalidElement, text));
    }
    Ok(())
}
