//! Requests of subscribers, and what becomes of their streams when publishers come and go.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use voex_base::{TrackId, WorkerId};

use super::error::{Code, Error};
use super::layers::check_layers;
use super::publish::{check_objects, objects};
use super::publisher::{Publisher, StreamKind};
use super::room::Room;
use super::subscriber::Subscriber;
use super::tell::tell_subscriber;
use super::wish::{join_wishes, update_wishes};
use super::{Role, VideoRoom};
use crate::host::{HandleId, HangupReason, Host};
use crate::jsep::JsepKind;
use crate::plugin::Message;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::plugin::id::Id;

const JOIN: [Field; 12] = [
    optional("feed", Type::Id),
    optional("private_id", Type::Unsigned),
    optional("streams", Type::Array),
    optional("use_msid", Type::Boolean),
    optional("autoupdate", Type::Boolean),
    optional("audio", Type::Boolean),
    optional("video", Type::Boolean),
    optional("data", Type::Boolean),
    optional("offer_audio", Type::Boolean),
    optional("offer_video", Type::Boolean),
    optional("offer_data", Type::Boolean),
    optional("close_pc", Type::Boolean),
];
const CONFIGURE: [Field; 6] = [
    optional("audio", Type::Boolean),
    optional("video", Type::Boolean),
    optional("data", Type::Boolean),
    optional("streams", Type::Array),
    optional("restart", Type::Boolean),
    optional("update", Type::Boolean),
];
const CONFIGURE_STREAM: [Field; 2] = [required("mid", Type::String), optional("send", Type::Boolean)];

impl VideoRoom {
    pub(super) fn join_subscriber(
        &mut self,
        host: &mut Host,
        handle: HandleId,
        room_id: &Id,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        self.ids.check(body, &JOIN)?;
        if message.jsep.as_ref().is_some_and(|jsep| jsep.kind == JsepKind::Offer) {
            return Err(Error::new(
                Code::InvalidSdpType,
                "Can't send an offer to create subscribers",
            ));
        }
        let wishes = join_wishes(self.ids, body)?;
        let room = self
            .rooms
            .get_mut(room_id)
            .ok_or_else(|| Error::no_such_room(room_id))?;
        check_private_id(room, body)?;
        let autoupdate = body.flag("autoupdate").unwrap_or(true);
        let mut subscriber = Subscriber::new(handle, autoupdate, body.flag("use_msid").unwrap_or(false));
        subscriber.private_id = body.number("private_id");
        subscriber.add_all(host, room.find_all(&wishes, 0)?);
        if subscriber.lines.is_empty() {
            return Err(Error::new(Code::InvalidSdp, "Can't offer an SDP with no stream"));
        }
        let worker = host.worker_near(room.worker);
        let jsep = subscriber.offer(host, room_id, worker);
        let streams = subscriber.stream_list(&room.publishers);
        tell_subscriber(host, room_id, handle, "subscribing", Some(&streams));
        let attached = json!({"videoroom": "attached", "room": room_id, "streams": streams});
        host.push_event(handle, Some(&message.transaction), attached, Some(&jsep));
        room.subscribers.insert(handle, subscriber);
        self.roles.insert(handle, Role::Subscriber { room: room_id.clone() });
        host.metrics.subscribers.add(1);
        Ok(())
    }

    /// `start`: with an answer to the last offer, or without to go on after `pause`.
    pub(super) fn start(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        handle: HandleId,
        message: &Message,
    ) -> Result<(), Error> {
        let (view, subscriber) = self.subscriber(room_id, handle)?;
        match &message.jsep {
            Some(jsep) if jsep.kind == JsepKind::Answer => {
                host.accept_answer(handle, &jsep.description)
                    .map_err(|error| Error::new(Code::InvalidSdp, format!("Error parsing answer: {error}")))?;
                subscriber.accept(host, &jsep.description);
            }
            Some(_) => return Err(Error::new(Code::InvalidSdpType, "Only publishers send offers")),
            None => {}
        }
        if std::mem::replace(&mut subscriber.is_paused, false) {
            subscriber.apply_active(host);
            Self::request_key_frames(host, subscriber.video_tracks());
        }
        let started = json!({"videoroom": "event", "room": room_id, "started": "ok"});
        host.push_event(handle, Some(&message.transaction), started, None);
        if subscriber.is_stale && message.jsep.is_some() {
            view.push_update(host, subscriber, None);
        }
        Ok(())
    }

    pub(super) fn pause(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        handle: HandleId,
        message: &Message,
    ) -> Result<(), Error> {
        let (_, subscriber) = self.subscriber(room_id, handle)?;
        subscriber.is_paused = true;
        subscriber.apply_active(host);
        let paused = json!({"videoroom": "event", "room": room_id, "paused": "ok"});
        host.push_event(handle, Some(&message.transaction), paused, None);
        Ok(())
    }

    /// `configure` of a subscriber.
    pub(super) fn configure_subscriber(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        handle: HandleId,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        check(body, &CONFIGURE)?;
        check_layers(body)?;
        check_objects(self.ids, body, "streams", &CONFIGURE_STREAM)?;
        for stream in objects(body, "streams") {
            check_layers(stream)?;
        }
        if body.flag("restart") == Some(true) {
            let text = "An ICE restart of a subscriber is not supported by this server";
            return Err(Error::new(Code::InvalidRequest, text));
        }
        let (_, subscriber) = self.subscriber(room_id, handle)?;
        subscriber.choose(body);
        subscriber.choose_layers(host, room_id, body);
        subscriber.apply_active(host);
        let configured = json!({"videoroom": "event", "room": room_id, "configured": "ok"});
        host.push_event(handle, Some(&message.transaction), configured, None);
        Ok(())
    }

    /// `subscribe`, `unsubscribe` and `update`, which is both.
    pub(super) fn update(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        handle: HandleId,
        request: &str,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        let ids = self.ids;
        let (wishes, removals) = update_wishes(ids, request, body)?;
        let room = self
            .rooms
            .get_mut(room_id)
            .ok_or_else(|| Error::no_such_room(room_id))?;
        let lines = room
            .subscribers
            .get(&handle)
            .map_or(0, |subscriber| subscriber.lines.len());
        let found = room.find_all(&wishes, lines)?;
        let (view, subscriber) = self.subscriber(room_id, handle)?;
        let mut is_changed = false;
        for removal in &removals {
            is_changed |= subscriber.remove(host, |line, source| {
                removal.text("sub_mid").is_none_or(|mid| line.mid == mid)
                    && ids.read(removal, "feed").is_none_or(|feed| source.feed == feed)
                    && removal.text("mid").is_none_or(|mid| source.feed_mid == mid)
            });
        }
        is_changed |= subscriber.add_all(host, found);
        let transaction = Some(message.transaction.as_str());
        if is_changed {
            view.push_update(host, subscriber, transaction);
        } else {
            let updated = json!({"videoroom": "updated", "room": room_id});
            host.push_event(handle, transaction, updated, None);
        }
        Ok(())
    }

    pub(super) fn leave_subscriber(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        handle: HandleId,
        message: &Message,
    ) -> Result<(), Error> {
        let left = json!({"videoroom": "event", "room": room_id, "left": "ok"});
        host.push_event(handle, Some(&message.transaction), left, None);
        host.close_peer_connection(handle, HangupReason::ClosePc);
        self.remove_subscriber(host, room_id, handle);
        self.roles.insert(handle, Role::Left);
        Ok(())
    }

    /// The transport of a subscriber is up.
    pub(super) fn subscriber_up(&mut self, host: &mut Host, room_id: &Id, handle: HandleId) {
        if let Ok((_, subscriber)) = self.subscriber(room_id, handle) {
            subscriber.is_up = true;
            subscriber.become_ready(host);
            tell_subscriber(host, room_id, handle, "subscribed", None);
        }
    }

    /// The transport of a subscriber is gone; the handle can subscribe anew.
    pub(super) fn subscriber_down(&mut self, _host: &mut Host, room_id: &Id, handle: HandleId) {
        if let Ok((_, subscriber)) = self.subscriber(room_id, handle) {
            subscriber.forget_sources();
        }
    }

    /// Forgets a subscriber; its PeerConnection is the caller's business.
    pub(super) fn remove_subscriber(&mut self, host: &mut Host, room_id: &Id, handle: HandleId) {
        if let Some(room) = self.rooms.get_mut(room_id)
            && room.subscribers.swap_remove(&handle).is_some()
        {
            host.metrics.subscribers.add(-1);
        }
    }

    /// Takes tracks that are gone from every subscriber of the room; those that want it get a new offer.
    pub(super) fn detach_tracks(&mut self, host: &mut Host, room_id: &Id, gone: &[TrackId]) {
        let Some(room) = self.rooms.get_mut(room_id).filter(|_| !gone.is_empty()) else {
            return;
        };
        let view = RoomView {
            id: &room.id,
            worker: room.worker,
            publishers: &room.publishers,
        };
        for subscriber in room.subscribers.values_mut() {
            let is_changed = subscriber.remove(host, |_, source| gone.contains(&source.track));
            if is_changed && subscriber.autoupdate && host.peer_connection(subscriber.handle).is_some() {
                view.push_update(host, subscriber, None);
            }
        }
    }

    /// Finds a subscriber, with what else of its room it needs.
    pub(super) fn subscriber(
        &mut self,
        room_id: &Id,
        handle: HandleId,
    ) -> Result<(RoomView<'_>, &mut Subscriber), Error> {
        let room = self
            .rooms
            .get_mut(room_id)
            .ok_or_else(|| Error::no_such_room(room_id))?;
        let view = RoomView {
            id: &room.id,
            worker: room.worker,
            publishers: &room.publishers,
        };
        match room.subscribers.get_mut(&handle) {
            Some(subscriber) => Ok((view, subscriber)),
            None => Err(Error::new(Code::AlreadyJoined, "Not in a room (create a new handle)")),
        }
    }
}

/// What a subscriber needs of its room.
#[derive(Clone, Copy)]
pub(super) struct RoomView<'a> {
    pub(super) id: &'a Id,
    pub(super) worker: WorkerId,
    pub(super) publishers: &'a IndexMap<Id, Publisher>,
}

impl RoomView<'_> {
    /// Sends `updated` with a new offer; while an earlier offer waits for its answer only `updating`, and that to who
    /// asked.
    pub(super) fn push_update(self, host: &mut Host, subscriber: &mut Subscriber, transaction: Option<&str>) {
        let waits = host
            .peer_connection(subscriber.handle)
            .is_some_and(|pc| pc.awaits_answer);
        subscriber.is_stale = waits;
        if waits && transaction.is_none() {
            return;
        }
        let worker = host.worker_near(self.worker);
        let jsep = (!waits).then(|| subscriber.offer(host, self.id, worker));
        let streams = subscriber.stream_list(self.publishers);
        let what = if waits { "updating" } else { "updated" };
        if !waits {
            tell_subscriber(host, self.id, subscriber.handle, what, Some(&streams));
        }
        let event = json!({"videoroom": what, "room": self.id, "streams": streams});
        host.push_event(subscriber.handle, transaction, event, jsep.as_ref());
    }
}

fn check_private_id(room: &Room, body: &Map<String, Value>) -> Result<(), Error> {
    if !room.config.require_private_id {
        return Ok(());
    }
    let given = body.number("private_id").filter(|id| *id != 0);
    let is_known = given.is_some_and(|id| room.publishers.values().any(|other| u64::from(other.private_id) == id));
    is_known.then_some(()).ok_or_else(|| {
        Error::new(
            Code::Unauthorized,
            "Unauthorized (this room requires a valid private_id)",
        )
    })
}

impl Subscriber {
    /// Applies what a `configure` says of packets that are wanted.
    fn choose(&mut self, body: &Map<String, Value>) {
        for kind in [StreamKind::Audio, StreamKind::Video, StreamKind::Data] {
            if let Some(send) = body.flag(kind.name()) {
                let lines = self.lines.iter_mut().filter(|line| line.kind == kind);
                lines.for_each(|line| line.send = send);
            }
        }
        for stream in objects(body, "streams") {
            let mid = stream.text("mid").unwrap_or_default();
            let line = self.lines.iter_mut().find(|line| line.mid == mid);
            if let (Some(line), Some(send)) = (line, stream.flag("send")) {
                line.send = send;
            }
        }
    }
}
