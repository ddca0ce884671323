//! `publish`, `configure` and `unpublish` of a publisher.

use serde_json::{Map, Value, json};
use voex_base::TransportId;
use voex_bridge::media;
use voex_sdp::{Description, Media};
use voex_sfu::command::{Command, DataTrackSpec, EncodingSpec, MediaKind, TrackSpec};

use super::VideoRoom;
use super::codec::RoomCodec;
use super::error::{Code, Error};
use super::management::at_least_minimum;
use super::negotiation::{Chosen, Wishes, choose, encodings, stream_kind};
use super::publisher::{PublishedStream, Publisher, StreamKind};
use super::room::{Room, object};
use super::tell::{tell_event, tell_publisher};
use crate::host::Host;
use crate::jsep::{Jsep, JsepKind, LocalJsep};
use crate::plugin::Message;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::plugin::id::{Id, Ids};

const PUBLISH: [Field; 19] = [
    optional("audio", Type::Boolean),
    optional("video", Type::Boolean),
    optional("data", Type::Boolean),
    optional("audiocodec", Type::String),
    optional("videocodec", Type::String),
    optional("bitrate", Type::Unsigned),
    optional("keyframe", Type::Boolean),
    optional("record", Type::Boolean),
    optional("filename", Type::String),
    optional("display", Type::String),
    optional("metadata", Type::Object),
    optional("secret", Type::String),
    optional("audio_level_average", Type::Unsigned),
    optional("audio_level_averge", Type::Unsigned),
    optional("audio_active_packets", Type::Unsigned),
    optional("streams", Type::Array),
    optional("descriptions", Type::Array),
    optional("update", Type::Boolean),
    optional("restart", Type::Boolean),
];
const STREAM: [Field; 3] = [
    optional("mid", Type::String),
    optional("keyframe", Type::Boolean),
    optional("send", Type::Boolean),
];
const DESCRIPTION: [Field; 2] = [required("mid", Type::String), required("description", Type::String)];

impl VideoRoom {
    /// `publish` and `configure`, with or without an offer.
    pub(super) fn publish(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        user: &Id,
        request: &str,
        message: &Message,
    ) -> Result<(), Error> {
        let body = &message.body;
        check_fields(self.ids, body)?;
        Self::check_recording(host, body)?;
        let publisher = self.publisher(room_id, user)?;
        let (handle, was_active) = (publisher.handle, publisher.active);
        if request == "publish" && was_active {
            return Err(Error::new(Code::AlreadyPublished, "Can't publish, already published"));
        }
        if message.jsep.is_none() {
            publisher.check_mids(body)?;
        }
        let answer = match &message.jsep {
            Some(offer) if offer.kind == JsepKind::Offer => Some(self.negotiate(host, room_id, user, body, offer)?),
            Some(_) => return Err(Error::new(Code::InvalidSdpType, "Unknown SDP type 'answer'")),
            None => None,
        };
        let configured = self.configured(room_id, user, answer.is_some())?;
        host.push_event(handle, Some(&message.transaction), configured, answer.as_ref());
        self.apply_settings(host, room_id, user, body)
    }

    pub(super) fn unpublish(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        user: &Id,
        transaction: &str,
    ) -> Result<(), Error> {
        let publisher = self.publisher(room_id, user)?;
        if !publisher.published {
            return Err(Error::new(Code::NotPublished, "Can't unpublish, not published"));
        }
        let handle = publisher.handle;
        let unpublished = json!({"videoroom": "event", "room": room_id, "unpublished": "ok"});
        host.push_event(handle, Some(transaction), unpublished, None);
        self.close_publication(host, room_id, user);
        Ok(())
    }

    /// Answers the offer of a publisher and brings its tracks in line with it.
    pub(super) fn negotiate(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        user: &Id,
        body: &Map<String, Value>,
        jsep: &Jsep,
    ) -> Result<LocalJsep, Error> {
        let wishes = wishes(body)?;
        let room = self
            .rooms
            .get_mut(room_id)
            .ok_or_else(|| Error::no_such_room(room_id))?;
        room.check_place(user)?;
        if room.config.require_e2ee && !jsep.e2ee {
            return Err(Error::new(
                Code::Unauthorized,
                "Room requires end-to-end encrypted media",
            ));
        }
        let offer = &jsep.description;
        let chosen = room.choose(host, wishes, offer)?;
        let handle = room
            .publishers
            .get(user)
            .map(|publisher| publisher.handle)
            .ok_or_else(|| no_user(room_id, user))?;
        let name = format!("VideoRoom {room_id}");
        let section = |index: usize| chosen.get(index)?.as_ref().map(|chosen| chosen.section.clone());
        let mut answer = host
            .answer(handle, host.worker_near(room.worker), &name, offer, |index, _| {
                section(index)
            })
            .map_err(|error| Error::new(Code::InvalidSdp, format!("Error parsing offer: {error}")))?;
        answer.e2ee = jsep.e2ee;
        if let Some(publisher) = room.publishers.get_mut(user) {
            publisher.e2ee = jsep.e2ee;
        }
        self.replace_streams(host, room_id, user, jsep, chosen);
        Ok(answer)
    }

    /// Makes the streams of a publisher what its new offer says; tracks that go on are kept.
    fn replace_streams(&mut self, host: &mut Host, room_id: &Id, user: &Id, jsep: &Jsep, chosen: Vec<Option<Chosen>>) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let Some(publisher) = room.publishers.get_mut(user) else {
            return;
        };
        let Some(transport) = host.peer_connection(publisher.handle).map(|pc| pc.transport) else {
            return;
        };
        let recordings = publisher.take_recordings();
        let mut old = std::mem::take(&mut publisher.streams).into_iter();
        let mut gone = Vec::new();
        let mut is_changed = false;
        for (index, (media, chosen)) in jsep.description.media.iter().zip(chosen).enumerate() {
            let before = old.next();
            let mut stream = new_stream(index, jsep, media, chosen.as_ref(), before.as_ref());
            let chosen = chosen.filter(|_| media.direction.sends());
            let known = before
                .as_ref()
                .filter(|before| chosen.is_some() && before.is_same_medium(&stream));
            stream.track = known
                .and_then(|before| before.track)
                .filter(|track| host.has_track(*track));
            if let Some(track) = before
                .and_then(|before| before.track)
                .filter(|track| Some(*track) != stream.track)
            {
                host.remove_track(track);
                gone.push(track);
            }
            if let Some(chosen) = chosen.filter(|_| stream.track.is_none()) {
                stream.start(host, transport, &chosen);
                is_changed = true;
            }
            publisher.streams.push(stream);
        }
        publisher.published = true;
        publisher.apply_bitrate(host);
        publisher.apply_speech(host, &room.config);
        publisher.return_recordings(host, recordings);
        for id in publisher.follow_forwarded(host) {
            let ended = json!({"event": "stop_rtp_forward", "room": room_id, "publisher_id": user, "stream_id": id});
            tell_event(host, ended);
        }
        room.follow_recording(host, user);
        is_changed |= !gone.is_empty();
        self.detach_tracks(host, room_id, &gone);
        self.schedule_key_frames(host, room_id);
        if is_changed {
            if let Ok(publisher) = self.publisher(room_id, user)
                && publisher.active
            {
                tell_publisher(host, room_id, publisher, "updated");
            }
            self.announce(host, room_id, user);
        }
    }

    /// Applies the fields of `publish` and `configure` that need no offer.
    fn apply_settings(
        &mut self,
        host: &mut Host,
        room_id: &Id,
        user: &Id,
        body: &Map<String, Value>,
    ) -> Result<(), Error> {
        let room = self
            .rooms
            .get_mut(room_id)
            .ok_or_else(|| Error::no_such_room(room_id))?;
        let cap = room
            .config
            .bitrate_cap
            .then_some(room.config.bitrate_bps)
            .filter(|cap| *cap != 0);
        let publisher = room.publishers.get_mut(user).ok_or_else(|| no_user(room_id, user))?;
        if let Some(asked) = body.number32("bitrate").map(at_least_minimum) {
            publisher.bitrate_bps = match cap {
                Some(cap) if asked == 0 || asked > cap => cap,
                _ => asked,
            };
            publisher.apply_bitrate(host);
        }
        let own = (body.number32("audio_active_packets"), level_average(body));
        if own != (None, None) {
            publisher.audio_active_packets = own.0.or(publisher.audio_active_packets);
            publisher.audio_level_average = own.1.or(publisher.audio_level_average);
            publisher.apply_speech(host, &room.config);
        }
        room.apply_recording(host, user, body);
        let publisher = room.publishers.get_mut(user).ok_or_else(|| no_user(room_id, user))?;
        publisher.apply_flags(host, body);
        publisher.apply_streams(host, body);
        let is_described = publisher.apply_descriptions(body);
        let news = publisher.rename(body);
        tell_publisher(host, room_id, publisher, "configured");
        if let Some(news) = news {
            room.notify_others(host, Some(user), &news);
        }
        if is_described {
            self.announce(host, room_id, user);
        }
        Ok(())
    }

    fn configured(&self, room_id: &Id, user: &Id, is_negotiated: bool) -> Result<Value, Error> {
        let publisher = self.publisher(room_id, user)?;
        let negotiated = |value: Option<Value>| value.filter(|_| is_negotiated);
        Ok(object([
            ("videoroom", Some(json!("event"))),
            ("room", Some(json!(room_id))),
            ("configured", Some(json!("ok"))),
            ("audio_codec", negotiated(publisher.codec_of(StreamKind::Audio))),
            ("video_codec", negotiated(publisher.codec_of(StreamKind::Video))),
            ("streams", negotiated(Some(publisher.stream_list()))),
        ]))
    }

    pub(super) fn publisher(&self, room_id: &Id, user: &Id) -> Result<&Publisher, Error> {
        let room = self.rooms.get(room_id).ok_or_else(|| Error::no_such_room(room_id))?;
        room.publishers.get(user).ok_or_else(|| no_user(room_id, user))
    }
}

impl Room {
    /// Refuses an offer when the room has its publishers already.
    fn check_place(&self, user: &Id) -> Result<(), Error> {
        let others = self
            .publishers
            .values()
            .filter(|other| other.published && !other.dummy && other.id != *user)
            .count();
        let max = self.config.publishers_max;
        if others < max as usize {
            return Ok(());
        }
        let text = format!("Maximum number of publishers ({max}) already reached");
        Err(Error::new(Code::PublishersFull, text))
    }

    /// Chooses what to receive on each m-line.
    fn choose(&self, host: &mut Host, wishes: Wishes, offer: &Description) -> Result<Vec<Option<Chosen>>, Error> {
        let lines = offer.media.iter().enumerate();
        let mut chosen: Vec<_> = lines
            .map(|(index, media)| choose(&self.config, wishes, index, media, host.new_ssrc()))
            .collect();
        // One association carries all channels, so one m-line of data is all there is (RFC 8841 §9).
        let data = chosen
            .iter_mut()
            .filter(|line| line.as_ref().is_some_and(|line| line.format.is_none()));
        data.skip(1).for_each(|line| *line = None);
        if chosen.iter().all(Option::is_none) {
            return Err(Error::new(Code::InvalidSdp, "Can't offer an SDP with no stream"));
        }
        Ok(chosen)
    }
}

impl Publisher {
    /// Applies the old switches for all streams of a kind, and a key frame asked for all.
    fn apply_flags(&mut self, host: &mut Host, body: &Map<String, Value>) {
        for kind in [StreamKind::Audio, StreamKind::Video, StreamKind::Data] {
            if let Some(sending) = body.flag(kind.name()) {
                for stream in self.streams.iter_mut().filter(|stream| stream.kind == kind) {
                    stream.set_sending(host, sending);
                }
            }
        }
        if body.flag("keyframe") == Some(true) {
            for track in self.video_tracks() {
                host.command_track(track, Command::RequestKeyFrame(track));
            }
        }
    }

    /// Refuses `streams` that name a mid which is not published; an object without a mid says nothing.
    fn check_mids(&self, body: &Map<String, Value>) -> Result<(), Error> {
        let mut mids = objects(body, "streams").filter_map(|wish| wish.text("mid"));
        match mids.find(|mid| !self.streams.iter().any(|stream| stream.mid == *mid)) {
            Some(unknown) => Err(Error::new(
                Code::NoSuchFeed,
                format!("No such mid '{unknown}' published"),
            )),
            None => Ok(()),
        }
    }

    /// Applies `streams`: key frames and relaying, stream by stream. Mids that a new offer does not have are ignored.
    fn apply_streams(&mut self, host: &mut Host, body: &Map<String, Value>) {
        for wish in objects(body, "streams") {
            let mid = wish.text("mid");
            let Some(stream) = self.streams.iter_mut().find(|stream| Some(&*stream.mid) == mid) else {
                continue;
            };
            if let Some(sending) = wish.flag("send") {
                stream.set_sending(host, sending);
            }
            if let Some(track) = stream.track.filter(|_| wish.flag("keyframe") == Some(true)) {
                host.command_track(track, Command::RequestKeyFrame(track));
            }
        }
    }

    /// Applies `descriptions`; true when one changed.
    fn apply_descriptions(&mut self, body: &Map<String, Value>) -> bool {
        let mut is_changed = false;
        for description in objects(body, "descriptions") {
            let (mid, text) = (
                description.text("mid").unwrap_or_default(),
                description.text("description"),
            );
            let Some(stream) = self.streams.iter_mut().find(|stream| stream.mid == mid) else {
                continue;
            };
            let text = text.map(str::to_owned);
            is_changed |= stream.description != text;
            stream.description = text;
        }
        is_changed
    }

    /// Applies `display` and `metadata`; gives the event for the others when one changed.
    fn rename(&mut self, body: &Map<String, Value>) -> Option<Value> {
        let display = body
            .text("display")
            .filter(|display| self.display.as_deref() != Some(*display));
        let metadata = body.get("metadata").and_then(Value::as_object);
        let metadata = metadata.filter(|metadata| self.metadata.as_ref() != Some(*metadata));
        if display.is_none() && metadata.is_none() {
            return None;
        }
        let news = object([
            ("videoroom", Some(json!("event"))),
            ("id", Some(json!(self.id))),
            ("display", display.map(|display| json!(display))),
            ("metadata", metadata.map(|metadata| json!(metadata))),
        ]);
        self.display = display.map(str::to_owned).or(self.display.take());
        self.metadata = metadata.cloned().or(self.metadata.take());
        Some(news)
    }
}

impl PublishedStream {
    /// Makes the stream known to the worker.
    fn start(&mut self, host: &mut Host, transport: TransportId, chosen: &Chosen) {
        let id = host.new_track_id();
        self.track = Some(id);
        let Some(format) = &chosen.format else {
            let track = DataTrackSpec {
                id,
                transport,
                is_reported: false,
            };
            host.add_data_track(track, self.mid.clone());
            return self.apply_relayed(host);
        };
        host.add_track(TrackSpec {
            id,
            transport,
            mid: self.mid.clone(),
            kind: self.kind.media().unwrap_or(MediaKind::Audio),
            payloads: media::payloads(&chosen.section.payloads),
            encodings: self.encodings.clone(),
            extensions: media::extensions(&chosen.section.extmaps),
            feedback: media::feedback(&format.payload),
        });
        self.apply_relayed(host);
    }

    fn set_sending(&mut self, host: &mut Host, sending: bool) {
        self.sending = sending;
        self.apply_relayed(host);
    }

    /// Tells whether the track of `self` can go on as the track of `other`.
    fn is_same_medium(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.mid == other.mid
            && self.format == other.format
            && self.has_same_encodings(other)
    }

    /// The SSRC of a rid, or of the only encoding, may change: packets tell where they belong. Of several encodings
    /// without rids only the SSRCs do.
    fn has_same_encodings(&self, other: &Self) -> bool {
        let is_known_by_ssrc = |encoding: &EncodingSpec| encoding.rid.is_empty() && self.is_simulcast();
        let is_same = |(ours, theirs): (&EncodingSpec, &EncodingSpec)| {
            ours.rid == theirs.rid && (!is_known_by_ssrc(ours) || ours.ssrc == theirs.ssrc)
        };
        self.encodings.len() == other.encodings.len() && self.encodings.iter().zip(&other.encodings).all(is_same)
    }
}

/// Makes the stream of an m-line; what the API and earlier offers said of the one before it stays true.
fn new_stream(
    index: usize,
    jsep: &Jsep,
    media: &Media,
    chosen: Option<&Chosen>,
    before: Option<&PublishedStream>,
) -> PublishedStream {
    let (kind, mid) = (
        stream_kind(media),
        media.mid.clone().unwrap_or_else(|| index.to_string()),
    );
    let same = before.filter(|before| before.kind == kind && before.mid == mid);
    let rids_rise = jsep
        .rids_rise
        .unwrap_or_else(|| same.is_some_and(|before| before.rids_rise));
    let encodings = encodings(media, rids_rise);
    let has_layers = chosen
        .and_then(|chosen| chosen.format.as_ref())
        .is_some_and(|format| format.codec == RoomCodec::Vp9);
    let svc = jsep
        .is_svc(index, media.mid.as_deref())
        .unwrap_or_else(|| same.is_some_and(|before| before.svc));
    PublishedStream {
        kind,
        mindex: index,
        mid,
        format: chosen.and_then(|chosen| chosen.format.clone()),
        track: None,
        recording: None,
        rids_rise,
        svc: svc && has_layers && encodings.len() == 1,
        encodings,
        description: before.and_then(|before| before.description.clone()),
        msid: media.msid.clone(),
        sending: before.is_none_or(|before| before.sending),
        moderated: before.is_some_and(|before| before.moderated),
        has_level: chosen.is_some_and(Chosen::has_level),
        talking: same.is_some_and(|before| before.talking),
    }
}

/// Reads the limit of talking, in the spelling of the API or of its code.
fn level_average(body: &Map<String, Value>) -> Option<u32> {
    let average = body.number32("audio_level_average");
    average.or_else(|| body.number32("audio_level_averge"))
}

fn wishes(body: &Map<String, Value>) -> Result<Wishes, Error> {
    let read = |name: &str, kind| match body.text(name) {
        None => Ok(None),
        Some(text) => match RoomCodec::parse(text, kind) {
            Some(codec) => Ok(Some(codec)),
            None => Err(Error::invalid(format!("Invalid element ({name})"))),
        },
    };
    Ok(Wishes {
        audio: read("audiocodec", MediaKind::Audio)?,
        video: read("videocodec", MediaKind::Video)?,
    })
}

fn check_fields(ids: Ids, body: &Map<String, Value>) -> Result<(), Error> {
    check(body, &PUBLISH)?;
    check_objects(ids, body, "streams", &STREAM)?;
    check_objects(ids, body, "descriptions", &DESCRIPTION)
}

/// Checks an array of objects, each by the same table.
pub(super) fn check_objects(ids: Ids, body: &Map<String, Value>, name: &str, table: &[Field]) -> Result<(), Error> {
    for item in body.list(name).into_iter().flatten() {
        match item.as_object() {
            Some(item) => ids.check(item, table)?,
            None => {
                return Err(Error::invalid(format!(
                    "Invalid element in the {name} array (not an object)"
                )));
            }
        }
    }
    Ok(())
}

/// Gives the objects of an array that `check_objects` has passed.
pub(super) fn objects<'a>(body: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    body.list(name).into_iter().flatten().filter_map(Value::as_object)
}

/// The error of a user that a room does not have.
pub(super) fn no_user(room: &Id, user: &Id) -> Error {
    Error::new(Code::NoSuchFeed, format!("No such user {user} in room {room}"))
}
