//! Who is told when a participant becomes active, stops, leaves; the end of a room.

use serde_json::{Map, Value, json};
use voex_base::TrackId;
use voex_sfu::command::Command;

use super::error::Error;
use super::publisher::Publisher;
use super::room::{Room, object};
use super::tell::{tell_publisher, tell_room};
use super::{Role, VideoRoom};
use crate::host::{HangupReason, Host};
use crate::plugin::fields::{Field, Type, optional};
use crate::plugin::id::Id;

const DESTROY: [Field; 1] = [optional("permanent", Type::Boolean)];

impl VideoRoom {
    /// The PeerConnection of a publisher is up: the others are told.
    pub(super) fn publisher_up(&mut self, host: &mut Host, room_id: &Id, user: &Id) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let Some(publisher) = room.publishers.get_mut(user) else {
            return;
        };
        if !std::mem::replace(&mut publisher.active, true) {
            host.metrics.publishers.add(1);
            tell_publisher(host, room_id, publisher, "published");
        }
        self.announce(host, room_id, user);
    }

    /// Tells the others what an active publisher has; nothing when it is not active.
    pub(super) fn announce(&self, host: &mut Host, room_id: &Id, user: &Id) {
        let Some(room) = self.rooms.get(room_id) else { return };
        let Some(publisher) = room.publishers.get(user).filter(|publisher| publisher.active) else {
            return;
        };
        let publishers = json!([publisher.announcement()]);
        let event = json!({"videoroom": "event", "room": room_id, "publishers": publishers});
        room.notify_others(host, Some(user), &event);
    }

    /// The PeerConnection of a publisher is gone without the plugin's doing.
    pub(super) fn publisher_down(&mut self, host: &mut Host, room_id: &Id, user: &Id) {
        self.end_publication(host, room_id, user);
    }

    /// Closes the PeerConnection of a publisher and tells everybody.
    pub(super) fn close_publication(&mut self, host: &mut Host, room_id: &Id, user: &Id) {
        if let Ok(publisher) = self.publisher(room_id, user) {
            host.close_peer_connection(publisher.handle, HangupReason::ClosePc);
        }
        self.end_publication(host, room_id, user);
    }

    pub(super) fn leave(&mut self, host: &mut Host, room_id: &Id, user: &Id, transaction: &str) -> Result<(), Error> {
        let handle = self.publisher(room_id, user)?.handle;
        let leaving = json!({"videoroom": "event", "room": room_id, "leaving": "ok"});
        host.push_event(handle, Some(transaction), leaving, None);
        self.close_publication(host, room_id, user);
        self.roles.insert(handle, Role::Left);
        self.remove_publisher(host, room_id, user);
        Ok(())
    }

    /// Takes a participant out of its room and tells the others.
    pub(super) fn remove_publisher(&mut self, host: &mut Host, room_id: &Id, user: &Id) {
        self.end_publication(host, room_id, user);
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        if let Some(gone) = room.publishers.shift_remove(user) {
            let event = gone.farewell(room_id, "leaving");
            tell_publisher(host, room_id, &gone, "leaving");
            room.notify_others(host, None, &event);
        }
    }

    /// `destroy`: everybody is told and loses the PeerConnection.
    pub(super) fn destroy(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let id = self.room_with_secret(body, &DESTROY)?.id.clone();
        let Some(mut room) = self.rooms.swap_remove(&id) else {
            return Err(Error::no_such_room(&id));
        };
        if let Some(rooms) = self.rooms_on.get_mut(&room.worker) {
            *rooms -= 1;
        }
        host.metrics.rooms.set(self.rooms.len() as i64);
        tell_room(host, &id, "destroyed");
        let destroyed = json!({"videoroom": "destroyed", "room": id});
        for publisher in room.publishers.values_mut() {
            host.metrics
                .publishers
                .add(-i64::from(publisher.active && !publisher.dummy));
            publisher.stop_forwarders(host);
            if publisher.dummy {
                continue;
            }
            self.roles.insert(publisher.handle, Role::Left);
            publisher.stop_recordings(host);
            host.push_event(publisher.handle, None, destroyed.clone(), None);
            host.close_peer_connection(publisher.handle, HangupReason::ClosePc);
        }
        host.metrics.subscribers.add(-(room.subscribers.len() as i64));
        for handle in room.subscribers.keys() {
            self.roles.insert(*handle, Role::Left);
            host.close_peer_connection(*handle, HangupReason::ClosePc);
        }
        Ok(json!({"videoroom": "destroyed", "room": id, "permanent": false}))
    }

    /// Forgets what a participant published, tells the others when they knew of it, and takes its streams from the
    /// subscribers. The PeerConnection is the caller's business.
    fn end_publication(&mut self, host: &mut Host, room_id: &Id, user: &Id) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let Some(publisher) = room.publishers.get_mut(user) else {
            return;
        };
        let tracks: Vec<_> = publisher.streams.iter().filter_map(|stream| stream.track).collect();
        publisher.stop_forwarders(host);
        publisher.stop_recordings(host);
        publisher.streams.clear();
        publisher.published = false;
        if std::mem::replace(&mut publisher.active, false) {
            host.metrics.publishers.add(-1);
            let event = publisher.farewell(room_id, "unpublished");
            tell_publisher(host, room_id, publisher, "unpublished");
            room.notify_others(host, Some(user), &event);
        }
        self.detach_tracks(host, room_id, &tracks);
    }

    /// Asks the senders of some tracks for key frames.
    pub(super) fn request_key_frames(host: &mut Host, tracks: impl IntoIterator<Item = TrackId>) {
        for track in tracks {
            host.command_track(track, Command::RequestKeyFrame(track));
        }
    }
}

impl Room {
    /// Sends an event to every participant but one; subscribers hear of their own matters only.
    pub(super) fn notify_others(&self, host: &mut Host, except: Option<&Id>, event: &Value) {
        for publisher in self
            .publishers
            .values()
            .filter(|publisher| Some(&publisher.id) != except)
        {
            host.push_event(publisher.handle, None, event.clone(), None);
        }
    }
}

impl Publisher {
    /// Makes the event with which others hear of an end: `unpublished`, `leaving`.
    pub(super) fn farewell(&self, room: &Id, what: &'static str) -> Value {
        object([
            ("videoroom", Some(json!("event"))),
            ("room", Some(json!(room))),
            (what, Some(json!(self.id))),
            ("display", self.display.as_ref().map(|display| json!(display))),
        ])
    }
}
