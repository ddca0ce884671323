//! Requests about rooms, by the API or on a data channel.

use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::error::{Code, Error};
use super::room::{HISTORY_MAX, Room, RoomConfig};
use super::talk::date;
use super::{ROOMS_MAX, TextRoom, check_texts};
use crate::host::Host;
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
    pub(super) fn manage(&mut self, host: &mut Host, request: &str, body: &Map<String, Value>) -> Result<Value, Error> {
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
            "edit" => self.edit(host, body),
            "destroy" => self.destroy(host, body),
            "allowed" => self.allowed(body),
            "kick" => self.kick(host, body),
            "listparticipants" => {
                let room = self.room(body, &ROOM)?;
                Ok(json!({"textroom": "success", "room": room.id, "participants": room.others(None)}))
            }
            _ => self.announcement(host, body),
        }
    }

    fn list(&self) -> Value {
        let public = self.rooms.values().filter(|room| !room.config.is_private);
        let list: Vec<_> = public.map(Room::list_entry).collect();
        json!({"textroom": "success", "list": list})
    }

    fn create(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &CREATE)?;
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
        self.rooms.insert(id.clone(), Room::new(id.clone(), config));
        Ok(json!({"textroom": "created", "room": id, "permanent": false}))
    }

    fn edit(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &EDIT)?;
        refuse_post(body, "new_post")?;
        let config = &mut room.config;
        config.description = text_of(body, "new_description").or(config.description.take());
        config.secret = text_of(body, "new_secret").or(config.secret.take());
        config.pin = text_of(body, "new_pin").or(config.pin.take());
        config.is_private = body.flag("new_is_private").unwrap_or(config.is_private);
        let id = room.id.clone();
        self.tell_room(host, &id, &json!({"textroom": "edited", "room": id}));
        Ok(json!({"textroom": "edited", "room": id, "permanent": false}))
    }

    fn destroy(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let id = self.room_with_secret(body, &DESTROY)?.id.clone();
        self.tell_room(host, &id, &json!({"textroom": "destroyed", "room": id}));
        if let Some(gone) = self.rooms.shift_remove(&id) {
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
        let list = &mut room.config.allowed;
        match body.text("action").unwrap_or_default() {
            "disable" => *list = None,
            "enable" => {
                list.get_or_insert_default();
            }
            action @ ("add" | "remove") => {
                let tokens = tokens(body)?;
                let list = list.get_or_insert_default();
                list.retain(|known| !tokens.contains(known));
                if action == "add" {
                    list.extend(tokens);
                }
                if list.len() > ALLOWED_MAX {
                    list.truncate(ALLOWED_MAX);
                    return Err(Error::new(Code::Unknown, "Too many tokens"));
                }
            }
            _ => {
                let text = "Unsupported action (allowed should be enable, disable, add or remove)";
                return Err(Error::new(Code::InvalidElement, text));
            }
        }
        let mut answer = json!({"textroom": "success", "room": room.id});
        if let Some(list) = &room.config.allowed {
            answer["allowed"] = json!(list);
        }
        Ok(answer)
    }

    fn kick(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &KICK)?;
        let (id, name) = (room.id.clone(), body.text("username").unwrap_or_default().to_owned());
        let Some(handle) = room.participants.get(&name).map(|participant| participant.handle) else {
            let text = format!("No such user {name} in room {id}");
            return Err(Error::new(Code::NoSuchUser, text));
        };
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

    fn announcement(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &ANNOUNCEMENT)?;
        let (id, copies) = (room.id.clone(), room.participants.len());
        self.afford(host, copies)?;
        let announcement = json!({
            "textroom": "announcement", "room": id, "date": date(host.wall()), "text": body.text("text"),
        });
        self.tell_room(host, &id, &announcement);
        if let Some(room) = self.rooms.get_mut(&id) {
            room.remember(announcement.to_string().into());
        }
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

fn tokens(body: &Map<String, Value>) -> Result<Vec<String>, Error> {
    let list = body.list("allowed").map(Vec::as_slice).unwrap_or_default();
    let tokens: Option<Vec<_>> = list.iter().map(|token| Some(token.as_str()?.to_owned())).collect();
    tokens.filter(|tokens| tokens.len() <= ALLOWED_MAX).ok_or_else(|| {
        let text = "Invalid element in the allowed array (not a string)";
        Error::new(Code::InvalidElement, text)
    })
}

fn refuse_post(body: &Map<String, Value>, name: &str) -> Result<(), Error> {
    if body.text(name).is_some_and(|url| !url.is_empty()) {
        let text = format!("Invalid element ({name} is not supported by this server)");
        return Err(Error::new(Code::InvalidElement, text));
    }
    Ok(())
}
