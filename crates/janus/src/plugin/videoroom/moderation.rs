//! `kick` and `moderate`.

use serde_json::{Map, Value, json};

use super::error::{Code, Error};
use super::publish::no_user;
use super::room::Room;
use super::subscriber::Subscriber;
use super::tell::tell_publisher;
use super::{Role, VideoRoom};
use crate::host::{HangupReason, Host};
use crate::plugin::fields::{Field, Fields, Type, required};

const KICK: [Field; 1] = [required("id", Type::Id)];
const MODERATE: [Field; 3] = [
    required("id", Type::Id),
    required("mid", Type::String),
    required("mute", Type::Boolean),
];

impl VideoRoom {
    pub(super) fn kick(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &KICK)?;
        let room = &self.room_with_secret(body, &[])?.id.clone();
        let user = &self.ids.read_required(body, "id");
        let kicked = self.publisher(room, user)?;
        if kicked.dummy {
            return Err(Error::new(Code::NoSuchFeed, "Can't kick dummy users"));
        }
        let (handle, private_id) = (kicked.handle, u64::from(kicked.private_id));
        // Without a name, for which clients would take it as news of the name.
        let event = json!({"videoroom": "event", "room": room, "kicked": user});
        let leaving = json!({"videoroom": "event", "room": room, "leaving": "ok", "reason": "kicked"});
        host.push_event(handle, None, leaving, None);
        self.close_publication(host, room, user);
        self.roles.insert(handle, Role::Left);
        if let Some(room) = self.rooms.get_mut(room) {
            if let Some(kicked) = room.publishers.shift_remove(user) {
                tell_publisher(host, &room.id, &kicked, "kicked");
            }
            room.notify_others(host, None, &event);
            if room.config.require_private_id {
                room.close_subscriptions_of(host, private_id);
            }
        }
        Ok(json!({"videoroom": "success"}))
    }

    pub(super) fn moderate(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &MODERATE[..1])?;
        let user = &self.ids.read_required(body, "id");
        let room = self.room_with_secret(body, &MODERATE)?;
        let room_id = &room.id.clone();
        let (mid, mute) = (body.text("mid").unwrap_or_default(), body.flag("mute").unwrap_or(false));
        let publisher = room.publishers.get_mut(user).ok_or_else(|| no_user(room_id, user))?;
        let stream = publisher
            .streams
            .iter_mut()
            .find(|stream| stream.mid == mid)
            .ok_or_else(|| Error::new(Code::NoSuchFeed, format!("No such stream {mid}")))?;
        if stream.moderated != mute {
            stream.moderated = mute;
            stream.apply_relayed(host);
            let moderation = if mute { "muted" } else { "unmuted" };
            let event = json!({
                "videoroom": "event", "room": room_id, "id": user, "mid": mid, "moderation": moderation,
            });
            room.notify_others(host, None, &event);
        }
        Ok(json!({"videoroom": "success"}))
    }
}

impl Room {
    /// Closes the PeerConnections of the subscribers that named a private id.
    fn close_subscriptions_of(&mut self, host: &mut Host, private_id: u64) {
        let theirs = |subscriber: &&mut Subscriber| subscriber.private_id == Some(private_id);
        for subscriber in self.subscribers.values_mut().filter(theirs) {
            host.close_peer_connection(subscriber.handle, HangupReason::ClosePc);
            subscriber.forget_sources();
        }
    }
}
