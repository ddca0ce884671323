//! Requests that make, show and end rooms.

use indexmap::IndexSet;
use serde_json::{Map, Value, json};
use voex_sfu::command::MediaKind;

use super::codec::RoomCodec;
use super::error::{Code, Error};
use super::room::{Room, RoomConfig};
use super::tell::tell_room;
use super::{ROOMS_MAX, VideoRoom, dummy};
use crate::host::Host;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::plugin::id::Id;

const CREATE: [Field; 36] = [
    optional("room", Type::Id),
    optional("description", Type::String),
    optional("is_private", Type::Boolean),
    optional("allowed", Type::Array),
    optional("secret", Type::String),
    optional("pin", Type::String),
    optional("require_pvtid", Type::Boolean),
    optional("signed_tokens", Type::Boolean),
    optional("bitrate", Type::Unsigned),
    optional("bitrate_cap", Type::Boolean),
    optional("fir_freq", Type::Unsigned),
    optional("publishers", Type::Unsigned),
    optional("audiocodec", Type::String),
    optional("videocodec", Type::String),
    optional("vp9_profile", Type::String),
    optional("h264_profile", Type::String),
    optional("opus_fec", Type::Boolean),
    optional("opus_dtx", Type::Boolean),
    optional("audiolevel_ext", Type::Boolean),
    optional("audiolevel_event", Type::Boolean),
    optional("audio_active_packets", Type::Unsigned),
    optional("audio_level_average", Type::Unsigned),
    optional("videoorient_ext", Type::Boolean),
    optional("playoutdelay_ext", Type::Boolean),
    optional("transport_wide_cc_ext", Type::Boolean),
    optional("record", Type::Boolean),
    optional("rec_dir", Type::String),
    optional("lock_record", Type::Boolean),
    optional("permanent", Type::Boolean),
    optional("notify_joining", Type::Boolean),
    optional("require_e2ee", Type::Boolean),
    optional("dummy_publisher", Type::Boolean),
    optional("dummy_streams", Type::Array),
    optional("dummy_e2ee", Type::Boolean),
    optional("video_svc", Type::Boolean),
    optional("threads", Type::Unsigned),
];

const EDIT: [Field; 12] = [
    optional("secret", Type::String),
    optional("new_description", Type::String),
    optional("new_is_private", Type::Boolean),
    optional("new_secret", Type::String),
    optional("new_pin", Type::String),
    optional("new_require_pvtid", Type::Boolean),
    optional("new_bitrate", Type::Unsigned),
    optional("new_fir_freq", Type::Unsigned),
    optional("new_publishers", Type::Unsigned),
    optional("new_lock_record", Type::Boolean),
    optional("new_rec_dir", Type::String),
    optional("permanent", Type::Boolean),
];

const ROOM: [Field; 1] = [required("room", Type::Id)];
const ADMIN_KEY: [Field; 1] = [optional("admin_key", Type::String)];
const SECRET: [Field; 1] = [optional("secret", Type::String)];
const ALLOWED: [Field; 3] = [
    optional("secret", Type::String),
    required("action", Type::String),
    optional("allowed", Type::Array),
];

/// Least cap on a publisher, in bit/s; smaller ones are raised to it.
const BITRATE_MIN_BPS: u32 = 64_000;

impl VideoRoom {
    pub(super) fn create(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &CREATE)?;
        check(body, &ADMIN_KEY)?;
        check_secret(body, "admin_key", host.config.options.admin_key.as_deref())?;
        Self::check_folder(host, body, "rec_dir")?;
        let config = RoomConfig::of_create(body)?;
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
        let created = json!({"videoroom": "created", "room": id, "permanent": false});
        tell_room(host, &id, "created");
        self.add_room(host, id, config);
        Ok(created)
    }

    pub(super) fn edit(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &EDIT)?;
        Self::check_folder(host, body, "new_rec_dir")?;
        let config = &mut room.config;
        let text = |name: &str| body.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
        config.description = text("new_description").or(config.description.take());
        config.secret = text("new_secret").or(config.secret.take());
        config.pin = text("new_pin").or(config.pin.take());
        config.rec_dir = text("new_rec_dir").or(config.rec_dir.take());
        config.is_private = body.flag("new_is_private").unwrap_or(config.is_private);
        config.require_private_id = body.flag("new_require_pvtid").unwrap_or(config.require_private_id);
        config.lock_record = body.flag("new_lock_record").unwrap_or(config.lock_record);
        config.fir_freq_s = body.number32("new_fir_freq").unwrap_or(config.fir_freq_s);
        config.bitrate_bps = body
            .number32("new_bitrate")
            .map_or(config.bitrate_bps, at_least_minimum);
        config.publishers_max = body.number32("new_publishers").unwrap_or(config.publishers_max);
        tell_room(host, &room.id, "edited");
        Ok(json!({"videoroom": "edited", "room": room.id, "permanent": false}))
    }

    pub(super) fn exists(&self, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &ROOM)?;
        let id = self.ids.read_required(body, "room");
        let exists = self.rooms.contains_key(&id);
        Ok(json!({"videoroom": "success", "room": id, "exists": exists}))
    }

    /// Lists the rooms; those that are private only for who has the key of the administrator.
    pub(super) fn list(&self, host: &Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let key = host.config.options.admin_key.as_deref();
        let shows_all = match (key, body.text("admin_key")) {
            (Some(_), Some(_)) => check_secret(body, "admin_key", key).map(|()| true)?,
            _ => false,
        };
        let shown = self.rooms.values().filter(|room| shows_all || !room.config.is_private);
        let list: Vec<_> = shown.map(Room::list_entry).collect();
        Ok(json!({"videoroom": "success", "list": list}))
    }

    pub(super) fn list_participants(&self, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &ROOM)?;
        let room = self.room(body)?;
        let participants: Vec<_> = room
            .publishers
            .values()
            .map(|publisher| publisher.list_entry())
            .collect();
        Ok(json!({"videoroom": "participants", "room": room.id, "participants": participants}))
    }

    pub(super) fn allowed(&mut self, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &ALLOWED)?;
        let action = body.text("action").unwrap_or_default();
        let tokens = match action {
            "add" | "remove" => strings(body.list("allowed"), "allowed")?,
            _ => IndexSet::new(),
        };
        let list = &mut room.config.allowed;
        match action {
            "enable" => {
                list.get_or_insert_default();
            }
            "disable" => *list = None,
            "add" => {
                let list = list.get_or_insert_default();
                if list.len() + tokens.len() > ALLOWED_MAX {
                    return Err(Error::invalid(
                        "Invalid element in the allowed array (too many)".to_owned(),
                    ));
                }
                list.extend(tokens);
            }
            "remove" => list.get_or_insert_default().retain(|token| !tokens.contains(token)),
            other => return Err(Error::invalid(format!("Unsupported action '{other}' (allowed)"))),
        }
        let mut reply = Map::from_iter([
            ("videoroom".to_owned(), json!("success")),
            ("room".to_owned(), json!(room.id)),
        ]);
        if let Some(list) = list {
            reply.insert("allowed".into(), list.iter().map(String::as_str).collect());
        }
        Ok(Value::Object(reply))
    }

    /// Finds the room of `room`, which `check` has passed.
    pub(super) fn room(&self, body: &Map<String, Value>) -> Result<&Room, Error> {
        let id = self.ids.read_required(body, "room");
        self.rooms.get(&id).ok_or_else(|| Error::no_such_room(&id))
    }

    /// Checks the fields, finds the room and compares its secret.
    pub(super) fn room_with_secret(&mut self, body: &Map<String, Value>, table: &[Field]) -> Result<&mut Room, Error> {
        self.ids.check(body, &ROOM)?;
        check(body, &SECRET)?;
        self.ids.check(body, table)?;
        let id = self.ids.read_required(body, "room");
        let room = self.rooms.get_mut(&id).ok_or_else(|| Error::no_such_room(&id))?;
        check_secret(body, "secret", room.config.secret.as_deref())?;
        Ok(room)
    }

    pub(super) fn add_room(&mut self, host: &mut Host, id: Id, config: RoomConfig) {
        let worker = self.home_worker(host);
        let mut room = Room::new(id.clone(), config, worker);
        room.add_dummy(host, self.ids);
        self.rooms.insert(id, room);
        *self.rooms_on.entry(worker).or_default() += 1;
        host.metrics.rooms.set(self.rooms.len() as i64);
    }
}

/// Most tokens in the list of a room, and the longest one.
const ALLOWED_MAX: usize = 10_000;
const TOKEN_BYTES_MAX: usize = 256;

/// Compares a secret or a pin in constant time; passes when none is set.
pub(super) fn check_secret(body: &Map<String, Value>, name: &str, expected: Option<&str>) -> Result<(), Error> {
    use subtle::ConstantTimeEq;
    let Some(expected) = expected else { return Ok(()) };
    let Some(given) = body.text(name) else {
        return Err(Error::new(
            Code::MissingElement,
            format!("Missing mandatory element ({name})"),
        ));
    };
    if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
        Ok(())
    } else {
        Err(Error::new(Code::Unauthorized, format!("Unauthorized (wrong {name})")))
    }
}

/// Raises a cap to the least that makes sense; zero stays "no cap".
pub(super) fn at_least_minimum(bitrate_bps: u32) -> u32 {
    match bitrate_bps {
        0 => 0,
        small => small.max(BITRATE_MIN_BPS),
    }
}

impl RoomConfig {
    /// Reads the fields of `create`, which `check` has passed.
    pub(super) fn of_create(body: &Map<String, Value>) -> Result<Self, Error> {
        let default = Self::default();
        let text = |name: &str| body.text(name).map(str::to_owned);
        let flag = |name: &str, default: bool| body.flag(name).unwrap_or(default);
        let allowed = match body.list("allowed") {
            Some(list) => Some(strings(Some(list), "allowed")?),
            None => None,
        };
        Ok(Self {
            description: text("description").filter(|text| !text.is_empty()),
            secret: text("secret"),
            pin: text("pin"),
            is_private: flag("is_private", false),
            allowed,
            require_private_id: flag("require_pvtid", false),
            signed_tokens: flag("signed_tokens", false),
            publishers_max: body
                .number32("publishers")
                .filter(|n| *n > 0)
                .unwrap_or(default.publishers_max),
            bitrate_bps: body.number32("bitrate").map_or(0, at_least_minimum),
            bitrate_cap: flag("bitrate_cap", false),
            fir_freq_s: body.number32("fir_freq").unwrap_or(0),
            audio_codecs: codecs(body, "audiocodec", MediaKind::Audio, default.audio_codecs)?,
            video_codecs: codecs(body, "videocodec", MediaKind::Video, default.video_codecs)?,
            opus_fec: flag("opus_fec", true),
            opus_dtx: flag("opus_dtx", false),
            audiolevel_ext: flag("audiolevel_ext", true),
            audiolevel_event: flag("audiolevel_event", false),
            audio_active_packets: body
                .number32("audio_active_packets")
                .unwrap_or(default.audio_active_packets),
            audio_level_average: body
                .number32("audio_level_average")
                .unwrap_or(default.audio_level_average),
            videoorient_ext: flag("videoorient_ext", true),
            playoutdelay_ext: flag("playoutdelay_ext", true),
            transport_wide_cc_ext: flag("transport_wide_cc_ext", true),
            record: flag("record", false),
            rec_dir: text("rec_dir"),
            lock_record: flag("lock_record", false),
            notify_joining: flag("notify_joining", false),
            require_e2ee: flag("require_e2ee", false),
            dummy_publisher: flag("dummy_publisher", false),
            dummy_streams: dummy::streams(body),
            dummy_e2ee: flag("dummy_e2ee", false),
        })
    }
}

fn codecs(
    body: &Map<String, Value>,
    name: &str,
    kind: MediaKind,
    default: Vec<RoomCodec>,
) -> Result<Vec<RoomCodec>, Error> {
    match body.text(name) {
        None | Some("") => Ok(default),
        Some(list) => RoomCodec::parse_list(list, kind).ok_or_else(|| {
            // Clients know these very texts; the lists in them are not all that is taken.
            let known = match kind {
                MediaKind::Audio => "opus, isac32, isac16, pcmu, pcma or g722",
                MediaKind::Video => "vp8, vp9, av1, h264 or h265",
            };
            Error::invalid(format!("Invalid element ({name} can only be or contain {known})"))
        }),
    }
}

fn strings(list: Option<&Vec<Value>>, name: &str) -> Result<IndexSet<String>, Error> {
    let invalid = |why: &str| Error::invalid(format!("Invalid element in the {name} array ({why})"));
    let texts = list.into_iter().flatten().map(|item| item.as_str().map(str::to_owned));
    let texts: Option<IndexSet<_>> = texts.collect();
    let texts = texts.ok_or_else(|| invalid("not a string"))?;
    if texts.len() > ALLOWED_MAX || texts.iter().any(|text| text.len() > TOKEN_BYTES_MAX) {
        return Err(invalid("too many, or too long"));
    }
    Ok(texts)
}
