//! What the admin API is told of a handle.

use serde_json::{Value, json};

use super::publisher::Publisher;
use super::room::{Room, object};
use super::subscriber::Subscriber;
use super::{Role, VideoRoom};
use crate::host::{HandleId, Host};

impl VideoRoom {
    pub(super) fn describe_handle(&self, host: &Host, handle: HandleId) -> Value {
        let about = match self.roles.get(&handle) {
            Some(Role::Publisher { room, user }) => self
                .rooms
                .get(room)
                .and_then(|room| Some(room.publishers.get(user)?.describe(room))),
            Some(Role::Subscriber { room }) => self
                .rooms
                .get(room)
                .and_then(|room| Some(room.subscribers.get(&handle)?.describe(host, room))),
            Some(Role::Left) | None => None,
        };
        about.unwrap_or_else(|| json!({"type": "none", "hangingup": 0, "destroyed": 0}))
    }
}

impl Publisher {
    fn describe(&self, room: &Room) -> Value {
        let streams = self.streams.iter().map(|stream| {
            let subscribers = room.subscribers.values().flat_map(|subscriber| &subscriber.lines);
            let subscribers = subscribers.filter_map(|line| line.source.as_ref());
            let count = subscribers.filter(|source| Some(source.track) == stream.track).count();
            object([
                ("type", Some(json!(stream.kind.name()))),
                ("mindex", Some(json!(stream.mindex))),
                ("mid", Some(json!(stream.mid))),
                ("description", stream.description.as_ref().map(|text| json!(text))),
                ("codec", stream.format.as_ref().map(|format| json!(format.codec.name()))),
                ("simulcast", stream.is_simulcast().then(|| json!(true))),
                ("svc", stream.svc.then(|| json!(true))),
                ("subscribers", Some(json!(count))),
            ])
        });
        object([
            ("type", Some(json!("publisher"))),
            ("room", Some(json!(room.id))),
            ("id", Some(json!(self.id))),
            ("private_id", Some(json!(self.private_id))),
            ("display", self.display.as_ref().map(|display| json!(display))),
            ("metadata", self.metadata.clone().map(Value::Object)),
            ("bitrate", Some(json!(self.bitrate_bps))),
            ("e2ee", self.e2ee.then(|| json!(true))),
            ("streams", Some(streams.collect())),
            ("hangingup", Some(json!(0))),
            ("destroyed", Some(json!(0))),
        ])
    }
}

impl Subscriber {
    fn describe(&self, host: &Host, room: &Room) -> Value {
        let pc = host.peer_connection(self.handle);
        let (answered, waits) = (
            pc.is_some_and(|pc| pc.has_remote()),
            pc.is_some_and(|pc| pc.awaits_answer),
        );
        object([
            ("type", Some(json!("subscriber"))),
            ("room", Some(json!(room.id))),
            ("private_id", Some(json!(self.private_id.unwrap_or(0)))),
            ("answered", Some(json!(answered))),
            ("pending_offer", Some(json!(waits && self.is_stale))),
            ("pending_restart", Some(json!(false))),
            ("paused", Some(json!(self.is_paused))),
            ("e2ee", self.e2ee.then(|| json!(true))),
            ("streams", Some(self.stream_list(&room.publishers))),
            ("hangingup", Some(json!(0))),
            ("destroyed", Some(json!(0))),
        ])
    }
}
