//! Requests of subscribers, and what becomes of their streams when publishers come and go.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use voex_base::{TrackId, WorkerId};

use super::error::{Code, Error};
use super::publish::{check_objects, objects};
use super::publisher::{PublishedStream, Publisher, StreamKind};
use super::room::Room;
use super::subscriber::{LINES_MAX, Subscriber};
use super::{Role, VideoRoom};
use crate::host::{HandleId, HangupReason, Host};
use crate::jsep::JsepKind;
use crate::plugin::Message;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};

const JOIN: [Field; 12] = [
    optional("feed", Type::Unsigned),
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
const SUBSCRIBE: [Field; 4] = [
    required("feed", Type::Unsigned),
    optional("mid", Type::String),
    optional("crossrefid", Type::String),
    optional("send", Type::Boolean),
];
const UNSUBSCRIBE: [Field; 3] = [
    optional("feed", Type::Unsigned),
    optional("mid", Type::String),
    optional("sub_mid", Type::String),
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
/// Layer choices: checked, and without effect on a publisher that sends one encoding.
const LAYERS: [Field; 5] = [
    optional("substream", Type::Unsigned),
    optional("temporal", Type::Unsigned),
    optional("fallback", Type::Unsigned),
    optional("spatial_layer", Type::Unsigned),
    optional("temporal_layer", Type::Unsigned),
];

impl VideoRoom {
    pub(super) fn join_subscriber(
        &mut self,
        host: &mut Host,
        handle: HandleId,
        room_id: u64,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        check(body, &JOIN)?;
        if message.jsep.as_ref().is_some_and(|jsep| jsep.kind == JsepKind::Offer) {
            return Err(Error::new(
                Code::InvalidSdpType,
                "Can't send an offer to create subscribers",
            ));
        }
        let wishes = join_wishes(body)?;
        let room = self
            .rooms
            .get_mut(&room_id)
            .ok_or_else(|| Error::no_such_room(room_id))?;
        check_private_id(room, body)?;
        let mut subscriber = Subscriber {
            handle,
            lines: Vec::new(),
            autoupdate: body.flag("autoupdate").unwrap_or(true),
            use_msid: body.flag("use_msid").unwrap_or(false),
            is_paused: false,
            is_up: false,
            e2ee: false,
            is_stale: false,
        };
        subscriber.add_all(host, room.find_all(&wishes, 0)?);
        if subscriber.lines.is_empty() {
            return Err(Error::new(Code::InvalidSdp, "Can't offer an SDP with no stream"));
        }
        let jsep = subscriber.offer(host, room_id, room.worker);
        let streams = subscriber.stream_list(&room.publishers);
        let attached = json!({"videoroom": "attached", "room": room_id, "streams": streams});
        host.push_event(handle, Some(&message.transaction), attached, Some(&jsep));
        room.subscribers.insert(handle, subscriber);
        self.roles.insert(handle, Role::Subscriber { room: room_id });
        host.metrics.subscribers.add(1);
        Ok(())
    }

    /// `start`: with an answer to the last offer, or without to go on after `pause`.
    pub(super) fn start(
        &mut self,
        host: &mut Host,
        room_id: u64,
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
        room_id: u64,
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
        room_id: u64,
        handle: HandleId,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        check(body, &CONFIGURE)?;
        check_layers(body)?;
        check_objects(body, "streams", &CONFIGURE_STREAM)?;
        for stream in objects(body, "streams") {
            check_layers(stream)?;
        }
        if body.flag("restart") == Some(true) {
            let text = "An ICE restart of a subscriber is not supported by this server";
            return Err(Error::new(Code::InvalidRequest, text));
        }
        let (_, subscriber) = self.subscriber(room_id, handle)?;
        for (name, kind) in [("audio", StreamKind::Audio), ("video", StreamKind::Video)] {
            if let Some(send) = body.flag(name) {
                subscriber
                    .lines
                    .iter_mut()
                    .filter(|line| line.kind == kind)
                    .for_each(|line| line.send = send);
            }
        }
        for stream in objects(body, "streams") {
            let mid = stream.text("mid").unwrap_or_default();
            let line = subscriber.lines.iter_mut().find(|line| line.mid == mid);
            if let (Some(line), Some(send)) = (line, stream.flag("send")) {
                line.send = send;
            }
        }
        subscriber.apply_active(host);
        let configured = json!({"videoroom": "event", "room": room_id, "configured": "ok"});
        host.push_event(handle, Some(&message.transaction), configured, None);
        Ok(())
    }

    /// `subscribe`, `unsubscribe` and `update`, which is both.
    pub(super) fn update(
        &mut self,
        host: &mut Host,
        room_id: u64,
        handle: HandleId,
        request: &str,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        let (wishes, removals) = update_wishes(request, body)?;
        let room = self
            .rooms
            .get_mut(&room_id)
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
                let is_sub_mid = removal.text("sub_mid").is_none_or(|mid| line.mid == mid);
                let is_feed = removal.number("feed").is_none_or(|feed| source.feed == feed);
                let is_mid = removal.text("mid").is_none_or(|mid| source.feed_mid == mid);
                is_sub_mid && is_feed && is_mid
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
        room_id: u64,
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
    pub(super) fn subscriber_up(&mut self, host: &mut Host, room_id: u64, handle: HandleId) {
        if let Ok((_, subscriber)) = self.subscriber(room_id, handle) {
            subscriber.is_up = true;
            subscriber.become_ready(host);
        }
    }

    /// The transport of a subscriber is gone; the handle can subscribe anew.
    pub(super) fn subscriber_down(&mut self, _host: &mut Host, room_id: u64, handle: HandleId) {
        if let Ok((_, subscriber)) = self.subscriber(room_id, handle) {
            subscriber.forget_sources();
        }
    }

    /// Forgets a subscriber; its PeerConnection is the caller's business.
    pub(super) fn remove_subscriber(&mut self, host: &mut Host, room_id: u64, handle: HandleId) {
        if let Some(room) = self.rooms.get_mut(&room_id)
            && room.subscribers.swap_remove(&handle).is_some()
        {
            host.metrics.subscribers.add(-1);
        }
    }

    /// Takes tracks that are gone from every subscriber of the room; those that want it get a new offer.
    pub(super) fn detach_tracks(&mut self, host: &mut Host, room_id: u64, gone: &[TrackId]) {
        let Some(room) = self.rooms.get_mut(&room_id).filter(|_| !gone.is_empty()) else {
            return;
        };
        let view = RoomView {
            id: room.id,
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
    fn subscriber(&mut self, room_id: u64, handle: HandleId) -> Result<(RoomView<'_>, &mut Subscriber), Error> {
        let room = self
            .rooms
            .get_mut(&room_id)
            .ok_or_else(|| Error::no_such_room(room_id))?;
        let view = RoomView {
            id: room.id,
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
struct RoomView<'a> {
    id: u64,
    worker: WorkerId,
    publishers: &'a IndexMap<u64, Publisher>,
}

impl RoomView<'_> {
    /// Sends `updated` with a new offer; while an earlier offer waits for its answer only `updating`, and that to who
    /// asked.
    fn push_update(self, host: &mut Host, subscriber: &mut Subscriber, transaction: Option<&str>) {
        let waits = host
            .peer_connection(subscriber.handle)
            .is_some_and(|pc| pc.awaits_answer);
        subscriber.is_stale = waits;
        if waits && transaction.is_none() {
            return;
        }
        let jsep = (!waits).then(|| subscriber.offer(host, self.id, self.worker));
        let streams = subscriber.stream_list(self.publishers);
        let what = if waits { "updating" } else { "updated" };
        let event = json!({"videoroom": what, "room": self.id, "streams": streams});
        host.push_event(subscriber.handle, transaction, event, jsep.as_ref());
    }
}

/// Streams that a request asks for.
struct Wish {
    feed: u64,
    /// One stream; `None` is every stream of the feed.
    mid: Option<String>,
    crossrefid: Option<String>,
    /// Kinds that are left out, as the old form of `join` says.
    skipped: Vec<StreamKind>,
    /// Kinds that do not flow at first.
    muted: Vec<StreamKind>,
}

/// A stream that was found, with how it is wanted.
struct Found {
    feed: u64,
    e2ee: bool,
    stream: PublishedStream,
    send: bool,
    crossrefid: Option<String>,
}

impl Room {
    /// Finds the streams of some wishes, for a subscriber that has `lines` m-lines already.
    fn find_all(&self, wishes: &[Wish], lines: usize) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for wish in wishes {
            found.extend(self.find(wish)?);
            if lines + found.len() > LINES_MAX {
                return Err(Error::new(Code::Unknown, "Too many streams"));
            }
        }
        Ok(found)
    }

    fn find(&self, wish: &Wish) -> Result<Vec<Found>, Error> {
        let feed = self.publishers.get(&wish.feed).filter(|publisher| publisher.active);
        let feed = feed.ok_or_else(|| Error::no_such_feed(wish.feed))?;
        let is_wanted = |stream: &&PublishedStream| {
            wish.mid.as_ref().is_none_or(|mid| stream.mid == *mid) && !wish.skipped.contains(&stream.kind)
        };
        let found: Vec<_> = feed
            .enabled_streams()
            .filter(is_wanted)
            .map(|stream| wish.found(feed, stream))
            .collect();
        match &wish.mid {
            Some(mid) if found.is_empty() => {
                let text = format!("No such mid '{mid}' in feed ({})", wish.feed);
                Err(Error::new(Code::NoSuchFeed, text))
            }
            _ => Ok(found),
        }
    }
}

impl Wish {
    fn found(&self, feed: &Publisher, stream: &PublishedStream) -> Found {
        Found {
            feed: feed.id,
            e2ee: feed.e2ee,
            stream: stream.clone(),
            send: !self.muted.contains(&stream.kind),
            crossrefid: self.crossrefid.clone(),
        }
    }

    /// Reads an object of `streams`.
    fn of_stream(stream: &Map<String, Value>) -> Self {
        let muted = match stream.flag("send") {
            Some(false) => vec![StreamKind::Audio, StreamKind::Video],
            _ => Vec::new(),
        };
        Self {
            feed: stream.number("feed").unwrap_or_default(),
            mid: stream.text("mid").map(str::to_owned),
            crossrefid: stream.text("crossrefid").map(str::to_owned),
            skipped: Vec::new(),
            muted,
        }
    }

    /// Reads the old form of `join`: one feed.
    fn of_feed(feed: u64, body: &Map<String, Value>) -> Self {
        let kinds = [("audio", StreamKind::Audio), ("video", StreamKind::Video)];
        let off = |prefix: &str| -> Vec<_> {
            let is_off = |name: &str| body.flag(&format!("{prefix}{name}")) == Some(false);
            kinds
                .iter()
                .filter(|(name, _)| is_off(name))
                .map(|(_, kind)| *kind)
                .collect()
        };
        Self {
            feed,
            mid: None,
            crossrefid: None,
            skipped: off("offer_"),
            muted: off(""),
        }
    }
}

impl Subscriber {
    /// Adds streams; true when one was not there before.
    fn add_all(&mut self, host: &mut Host, found: Vec<Found>) -> bool {
        let mut is_changed = false;
        for found in found {
            self.e2ee |= found.e2ee;
            is_changed |= self.add(host, found.feed, &found.stream, found.send, found.crossrefid);
        }
        is_changed
    }
}

fn join_wishes(body: &Map<String, Value>) -> Result<Vec<Wish>, Error> {
    check_streams(body, "streams")?;
    match (body.list("streams"), body.number("feed")) {
        (Some(streams), _) if streams.is_empty() => {
            Err(Error::invalid("Invalid element (streams should not be an empty array)"))
        }
        (Some(_), _) => Ok(objects(body, "streams").map(Wish::of_stream).collect()),
        (None, Some(feed)) => Ok(vec![Wish::of_feed(feed, body)]),
        (None, None) => {
            let text = "At least one between 'streams' and 'feed' must be specified";
            Err(Error::new(Code::MissingElement, text))
        }
    }
}

/// What an update adds, and the objects that say what it removes.
type Update<'a> = (Vec<Wish>, Vec<&'a Map<String, Value>>);

/// Reads what `subscribe`, `unsubscribe` or `update` adds and removes.
fn update_wishes<'a>(request: &str, body: &'a Map<String, Value>) -> Result<Update<'a>, Error> {
    let (added, removed) = match request {
        "subscribe" => (Some("streams"), None),
        "unsubscribe" => (None, Some("streams")),
        _ => (Some("subscribe"), Some("unsubscribe")),
    };
    if request != "update" {
        check(body, &[required("streams", Type::Array)])?;
    } else if body.get("subscribe").is_none() && body.get("unsubscribe").is_none() {
        let text = "At least one of either 'subscribe' or 'unsubscribe' must be present";
        return Err(Error::new(Code::MissingElement, text));
    }
    check(
        body,
        &[optional("subscribe", Type::Array), optional("unsubscribe", Type::Array)],
    )?;
    if let Some(name) = added {
        check_streams(body, name)?;
    }
    if let Some(name) = removed {
        check_objects(body, name, &UNSUBSCRIBE)?;
    }
    let wishes = added
        .into_iter()
        .flat_map(|name| objects(body, name))
        .map(Wish::of_stream)
        .collect();
    Ok((
        wishes,
        removed.into_iter().flat_map(|name| objects(body, name)).collect(),
    ))
}

fn check_streams(body: &Map<String, Value>, name: &str) -> Result<(), Error> {
    check_objects(body, name, &SUBSCRIBE)?;
    objects(body, name).try_for_each(check_layers)
}

fn check_layers(body: &Map<String, Value>) -> Result<(), Error> {
    check(body, &LAYERS)?;
    let too_high = |names: [&str; 2]| {
        names
            .iter()
            .any(|name| body.number(name).is_some_and(|layer| layer > 2))
    };
    if too_high(["spatial_layer", "substream"]) {
        return Err(Error::invalid(
            "Invalid value (substream/spatial_layer should be 0, 1 or 2)",
        ));
    }
    if too_high(["temporal_layer", "temporal"]) {
        return Err(Error::invalid(
            "Invalid value (temporal/temporal_layer should be 0, 1 or 2)",
        ));
    }
    Ok(())
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
