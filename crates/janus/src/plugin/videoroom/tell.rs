//! What event handlers are told of rooms and of those in them.

use serde_json::{Value, json};

use super::publisher::Publisher;
use super::room::object;
use crate::host::{HandleId, Host};
use crate::plugin::Kind;
use crate::plugin::id::Id;

/// Tells of a room: `created`, `edited`, `destroyed`.
pub(super) fn tell_room(host: &mut Host, room: &Id, event: &str) {
    host.tell_plugin(Kind::VideoRoom, None, || json!({"event": event, "room": room}));
}

/// Tells of a participant: `joined`, `published`, `updated`, `configured`, `unpublished`, `leaving`, `kicked`.
pub(super) fn tell_publisher(host: &mut Host, room: &Id, publisher: &Publisher, event: &str) {
    let handle = Some(publisher.handle);
    host.tell_plugin(Kind::VideoRoom, handle, || {
        let has_streams = matches!(event, "published" | "updated" | "configured");
        object([
            ("event", Some(json!(event))),
            ("room", Some(json!(room))),
            ("id", Some(json!(publisher.id))),
            ("private_id", (event == "joined").then(|| json!(publisher.private_id))),
            ("display", publisher.display.as_ref().map(|display| json!(display))),
            ("metadata", publisher.metadata.clone().map(Value::Object)),
            ("bitrate", (event == "configured").then(|| json!(publisher.bitrate_bps))),
            ("streams", has_streams.then(|| publisher.stream_list())),
        ])
    });
}

/// Tells of a subscriber: `subscribing`, `subscribed`, `updated`, `switched`, with its streams where they are news.
pub(super) fn tell_subscriber(host: &mut Host, room: &Id, handle: HandleId, event: &str, streams: Option<&Value>) {
    host.tell_plugin(Kind::VideoRoom, Some(handle), || {
        object([
            ("event", Some(json!(event))),
            ("room", Some(json!(room))),
            ("streams", streams.cloned()),
        ])
    });
}

/// Tells that somebody began to talk, or ended, as those in the room are told.
pub(super) fn tell_speech(host: &mut Host, handle: HandleId, event: &Value) {
    host.tell_plugin(Kind::VideoRoom, Some(handle), || event.clone());
}

/// Tells of something in the plugin that belongs to no handle.
pub(super) fn tell_event(host: &mut Host, event: Value) {
    host.tell_plugin(Kind::VideoRoom, None, || event);
}
