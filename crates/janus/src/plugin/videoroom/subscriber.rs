//! Subscribers: their m-lines, what flows on each, and the offers that say so.

use indexmap::IndexMap;
use serde_json::{Value, json};
use voex_base::{SubscriptionId, TrackId, TransportId, WorkerId};
use voex_bridge::media::{self, uri};
use voex_sdp::webrtc::{Offered, Section};
use voex_sdp::{Description, Direction, Extmap, Kind};
use voex_sfu::command::{Command, DataSubscriptionSpec, SubscriptionSpec};

use super::layers::{LayerWish, LineLayers};
use super::negotiation::{TRANSPORT_CC, extmap};
use super::publisher::{Format, PublishedStream, Publisher, StreamKind};
use super::room::object;
use super::wish::Found;
use crate::host::{HandleId, Host};
use crate::jsep::LocalJsep;
use crate::plugin::id::Id;

/// Most m-lines of one subscriber; a subscription beyond is answered 499.
pub(super) const LINES_MAX: usize = 240;

/// Canonical name in RTCP and descriptions.
const CNAME: &str = "janus";

/// A handle that receives.
pub(crate) struct Subscriber {
    pub(crate) handle: HandleId,
    pub(crate) lines: Vec<Line>,
    /// Offer anew by itself when a publisher goes.
    pub(crate) autoupdate: bool,
    /// Offers carry the publishers' msid.
    pub(crate) use_msid: bool,
    /// The private id of the participant that it said it belongs to.
    pub(crate) private_id: Option<u64>,
    pub(crate) is_paused: bool,
    pub(crate) is_up: bool,
    pub(crate) e2ee: bool,
    /// The lines changed while an offer waits for its answer.
    pub(crate) is_stale: bool,
}

/// One m-line of a subscriber; it never disappears, and may be used again for another stream of its kind.
pub(crate) struct Line {
    pub(crate) kind: StreamKind,
    pub(crate) mid: String,
    /// The subscriber wants packets.
    pub(crate) send: bool,
    pub(crate) crossrefid: Option<String>,
    /// What the m-line says; that of the last stream when nothing flows.
    /// `None` for data.
    format: Option<Format>,
    /// The answer took the m-line, as far as it came.
    is_accepted: bool,
    /// What flows; `None` is an inactive line.
    pub(crate) source: Option<Source>,
    /// What flows beside it: one line carries the data of any number of publishers.
    pub(crate) more: Vec<Source>,
}

/// What flows on a line.
pub(crate) struct Source {
    pub(crate) feed: Id,
    pub(crate) feed_mid: String,
    pub(crate) track: TrackId,
    /// Payload type on arrival.
    arriving: u8,
    msid: Option<String>,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    /// Set when the worker knows of it.
    pub(super) subscription: Option<SubscriptionId>,
    pub(super) layers: LineLayers,
    /// The client can receive it: transport up and m-line answered.
    is_ready: bool,
}

/// What became of a line that was to be switched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Switched {
    /// It stays what it is: the same stream, another kind or codec, or no such line.
    Nothing,
    /// The other stream flows without an offer.
    Flows,
    /// Nothing flowed on it: an offer has to tell of the stream.
    NeedsOffer,
}

impl Source {
    fn new(
        host: &mut Host,
        (feed, stream): (&Id, &PublishedStream),
        track: TrackId,
        format: Option<&Format>,
        wish: &LayerWish,
    ) -> Self {
        Self {
            feed: feed.clone(),
            feed_mid: stream.mid.clone(),
            track,
            arriving: format.map_or(0, |format| format.payload.payload_type),
            msid: stream.msid.clone(),
            ssrc: host.new_ssrc(),
            rtx_ssrc: format.and_then(|format| format.rtx.as_ref()).map(|_| host.new_ssrc()),
            subscription: None,
            layers: LineLayers::new(stream, wish),
            is_ready: false,
        }
    }
}

impl Subscriber {
    /// Makes a subscriber without streams.
    pub(super) fn new(handle: HandleId, autoupdate: bool, use_msid: bool) -> Self {
        Self {
            handle,
            lines: Vec::new(),
            autoupdate,
            use_msid,
            private_id: None,
            is_paused: false,
            is_up: false,
            e2ee: false,
            is_stale: false,
        }
    }

    /// Adds a stream on a free line of its kind, or on a new one. False when nothing new has to be offered: it is there
    /// already, or is data for a line that carries some already.
    pub(super) fn add(&mut self, host: &mut Host, found: Found) -> bool {
        let stream = &found.stream;
        let Some(track) = stream.track.filter(|track| !self.has(*track)) else {
            return false;
        };
        let source = Source::new(
            host,
            (&found.feed, stream),
            track,
            stream.format.as_ref(),
            &found.layers,
        );
        let is_shared = |line: &&mut Line| line.kind == StreamKind::Data && line.source.is_some();
        if stream.kind == StreamKind::Data
            && let Some(line) = self.lines.iter_mut().find(is_shared)
        {
            line.more.push(source);
            if let Some(transport) = host.peer_connection(self.handle).map(|pc| pc.transport) {
                line.start(host, transport, self.is_paused);
            }
            return false;
        }
        let is_free = |line: &Line| line.source.is_none() && line.kind == stream.kind;
        let free = self.lines.iter().position(is_free);
        let line = Line {
            kind: stream.kind,
            mid: free.unwrap_or(self.lines.len()).to_string(),
            send: found.send,
            crossrefid: found.crossrefid,
            format: stream.format.as_ref().map(|format| self.format_for(format, free)),
            is_accepted: true,
            source: Some(source),
            more: Vec::new(),
        };
        match free {
            Some(free) => self.lines[free] = line,
            None => self.lines.push(line),
        }
        true
    }

    /// Puts another stream on a line. What flows goes on with the numbers of the one before; a line on which nothing
    /// flows needs an offer.
    pub(super) fn switch(
        &mut self,
        host: &mut Host,
        index: usize,
        (feed, stream): (&Id, &PublishedStream),
        wish: &LayerWish,
    ) -> Switched {
        let Some(track) = stream.track else {
            return Switched::Nothing;
        };
        let codec = |format: &Option<Format>| format.as_ref().map(|format| format.codec);
        let Some(line) = self.lines.get(index).filter(|line| line.kind == stream.kind) else {
            return Switched::Nothing;
        };
        match &line.source {
            Some(source) if source.track == track || codec(&line.format) != codec(&stream.format) => {
                return Switched::Nothing;
            }
            None => {
                let (source, format) = (
                    Source::new(host, (feed, stream), track, stream.format.as_ref(), wish),
                    stream
                        .format
                        .as_ref()
                        .map(|format| self.format_for(format, Some(index))),
                );
                let line = &mut self.lines[index];
                (line.source, line.format) = (Some(source), format);
                return Switched::NeedsOffer;
            }
            Some(_) => {}
        }
        let is_paused = self.is_paused;
        let transport = host.peer_connection(self.handle).map(|pc| pc.transport);
        let line = &mut self.lines[index];
        if let Some(source) = &mut line.source {
            (source.feed, source.feed_mid, source.track) = (feed.clone(), stream.mid.clone(), track);
            source.arriving = stream.format.as_ref().map_or(0, |format| format.payload.payload_type);
            source.msid = stream.msid.clone();
            source.layers = LineLayers::new(stream, wish);
        }
        if let (Some(transport), Some(source)) = (transport, &line.source) {
            line.subscribe(host, source, transport, is_paused);
        }
        Switched::Flows
    }

    /// Takes the streams away whose source is `gone`; true when there were any. The worker is told unless their track
    /// is gone already.
    pub(super) fn remove(&mut self, host: &mut Host, gone: impl Fn(&Line, &Source) -> bool) -> bool {
        let transport = self.transport(host);
        let mut is_changed = false;
        for line in &mut self.lines {
            let was_active = line.source.is_some();
            let sources = line.source.take().into_iter().chain(std::mem::take(&mut line.more));
            let (leaving, staying): (Vec<_>, Vec<_>) = sources.partition(|source| gone(line, source));
            for source in leaving {
                if let (Some(subscription), Some(transport)) = (source.subscription, transport) {
                    host.end_subscription(transport, subscription);
                }
            }
            let mut staying = staying.into_iter();
            line.source = staying.next();
            line.more = staying.collect();
            is_changed |= was_active && line.source.is_none();
        }
        is_changed
    }

    /// Offers the lines as they are, and starts what is new on them.
    pub(super) fn offer(&mut self, host: &mut Host, room: &Id, worker: WorkerId) -> LocalJsep {
        self.is_stale = false;
        let lines = self.lines.iter().enumerate();
        let media = lines.map(|(index, line)| line.offered(index, self.use_msid)).collect();
        let mut jsep = host.offer(self.handle, worker, &format!("VideoRoom {room}"), media);
        jsep.e2ee = self.e2ee;
        let is_paused = self.is_paused;
        if let Some(transport) = host.peer_connection(self.handle).map(|pc| pc.transport) {
            for line in &mut self.lines {
                line.start(host, transport, is_paused);
            }
        }
        jsep
    }

    /// Takes over what an answer says of each line.
    pub(super) fn accept(&mut self, host: &mut Host, answer: &Description) {
        for (line, media) in self.lines.iter_mut().zip(&answer.media) {
            line.is_accepted = !media.is_rejected() && media.direction.receives();
        }
        self.apply_active(host);
        if self.is_up {
            self.become_ready(host);
        }
    }

    /// Everything that was answered can flow: key frames are asked for on what is new.
    pub(super) fn become_ready(&mut self, host: &mut Host) {
        for line in &mut self.lines {
            let video = line.kind == StreamKind::Video;
            let sources = line.source.iter_mut().chain(&mut line.more);
            for source in sources.filter(|source| !source.is_ready) {
                source.is_ready = true;
                if video {
                    host.command_track(source.track, Command::RequestKeyFrame(source.track));
                }
            }
        }
    }

    /// Tells the worker which subscriptions forward.
    pub(super) fn apply_active(&self, host: &mut Host) {
        let Some(transport) = self.transport(host) else { return };
        for line in &self.lines {
            let active = line.is_active(self.is_paused);
            for source in line.sources() {
                if let Some(subscription) = source.subscription {
                    host.set_subscription_active(transport, subscription, active);
                }
            }
        }
    }

    /// Gives the tracks that have key frames.
    pub(super) fn video_tracks(&self) -> Vec<TrackId> {
        let video = self.lines.iter().filter(|line| line.kind == StreamKind::Video);
        video
            .filter_map(|line| line.source.as_ref())
            .map(|source| source.track)
            .collect()
    }

    /// Forgets what flowed: the transport is gone.
    pub(super) fn forget_sources(&mut self) {
        self.is_up = false;
        self.is_stale = false;
        for line in &mut self.lines {
            line.source = None;
            line.more.clear();
        }
    }

    /// Gives the stream objects.
    pub(super) fn stream_list(&self, publishers: &IndexMap<Id, Publisher>) -> Value {
        self.lines
            .iter()
            .enumerate()
            .map(|(index, line)| line.to_json(index, publishers))
            .collect()
    }

    fn has(&self, track: TrackId) -> bool {
        let mut sources = self.lines.iter().flat_map(Line::sources);
        sources.any(|source| source.track == track)
    }

    fn transport(&self, host: &Host) -> Option<TransportId> {
        host.peer_connection(self.handle).map(|pc| pc.transport)
    }

    /// Gives a publisher's format with payload types that mean nothing else on the other lines, since one BUNDLE has
    /// one table of payload types (RFC 9143 §10.1.1). They stay what they are wherever possible.
    fn format_for(&self, format: &Format, replaced: Option<usize>) -> Format {
        let mut format = format.clone();
        format.payload.rtcp_fb.retain(|feedback| feedback != TRANSPORT_CC);
        let others = self
            .lines
            .iter()
            .enumerate()
            .filter(|(index, _)| Some(*index) != replaced);
        let others: Vec<_> = others.filter_map(|(_, line)| line.format.as_ref()).collect();
        if others.iter().all(|other| other.can_share_bundle(&format)) {
            return format;
        }
        let is_free = |number: &u8| !others.iter().any(|other| other.uses(*number));
        let mut free = (96..=127).chain(35..=63).filter(is_free);
        if let Some(number) = free.next() {
            format.payload.payload_type = number;
        }
        if let (Some(rtx), Some(number)) = (&mut format.rtx, free.next()) {
            rtx.payload_type = number;
            rtx.fmtp = Some(format!("apt={}", format.payload.payload_type));
        }
        format
    }
}

impl Format {
    fn uses(&self, number: u8) -> bool {
        self.payload.payload_type == number || self.rtx.as_ref().is_some_and(|rtx| rtx.payload_type == number)
    }

    /// Tells whether both may stand in one BUNDLE: equal, or without a payload type in common.
    fn can_share_bundle(&self, other: &Self) -> bool {
        let same = self.payload.same_format(&other.payload)
            && self.payload.fmtp == other.payload.fmtp
            && self.payload.payload_type == other.payload.payload_type
            && self.rtx == other.rtx;
        let rtx = other.rtx.as_ref().map(|rtx| rtx.payload_type);
        same || !(self.uses(other.payload.payload_type) || rtx.is_some_and(|rtx| self.uses(rtx)))
    }
}

impl Line {
    fn is_active(&self, is_paused: bool) -> bool {
        self.send && self.is_accepted && !is_paused
    }

    /// Gives everything that flows.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.source.iter().chain(&self.more)
    }

    fn offered(&self, index: usize, use_msid: bool) -> Offered {
        let Some(format) = &self.format else {
            return self.offered_data();
        };
        let kind = if self.kind == StreamKind::Video {
            Kind::Video
        } else {
            Kind::Audio
        };
        let source = self.source.as_ref();
        let own_msid = || format!("janus janus{index}");
        let msid = source
            .and_then(|source| source.msid.clone())
            .filter(|_| use_msid)
            .unwrap_or_else(own_msid);
        let section = Section {
            direction: if source.is_some() {
                Direction::SendOnly
            } else {
                Direction::Inactive
            },
            payloads: [format.payload.clone()].into_iter().chain(format.rtx.clone()).collect(),
            extmaps: self.extmaps(),
            msid: source.map(|_| msid),
            ssrc: source.map(|source| (source.ssrc, source.rtx_ssrc)),
            cname: CNAME.to_owned(),
            ..Section::default()
        };
        Offered {
            kind,
            mid: self.mid.clone(),
            section: Some(section),
        }
    }

    fn offered_data(&self) -> Offered {
        let section = Section {
            direction: if self.source.is_some() {
                Direction::SendOnly
            } else {
                Direction::Inactive
            },
            ..Section::default()
        };
        Offered {
            kind: Kind::Application,
            mid: self.mid.clone(),
            section: Some(section),
        }
    }

    /// Gives the extensions with the ids that subscribers have always seen.
    fn extmaps(&self) -> Vec<Extmap> {
        match self.kind {
            StreamKind::Video => vec![
                extmap(4, uri::MID),
                extmap(12, uri::PLAYOUT_DELAY),
                extmap(13, uri::VIDEO_ORIENTATION),
            ],
            _ => vec![extmap(1, uri::AUDIO_LEVEL), extmap(4, uri::MID)],
        }
    }

    /// Starts the subscriptions of sources that the worker does not know yet.
    fn start(&mut self, host: &mut Host, transport: TransportId, is_paused: bool) {
        let mut started = Vec::new();
        for source in self.source.iter_mut().chain(&mut self.more) {
            if source.subscription.is_none() {
                source.subscription = Some(host.new_subscription_id());
                started.push(source.track);
            }
        }
        for source in self.sources().filter(|source| started.contains(&source.track)) {
            self.subscribe(host, source, transport, is_paused);
        }
    }

    /// Tells the worker of a subscription that has been named.
    fn subscribe(&self, host: &mut Host, source: &Source, transport: TransportId, is_paused: bool) {
        let Some(id) = source.subscription else { return };
        let Some(format) = &self.format else {
            return host.add_data_subscription(DataSubscriptionSpec {
                id,
                track: source.track,
                transport,
                text_prefix: String::new(),
                active: self.is_active(is_paused),
            });
        };
        let rtx = format.rtx.as_ref().map(|rtx| rtx.payload_type);
        host.add_subscription(SubscriptionSpec {
            id,
            track: source.track,
            transport,
            mid: self.mid.clone(),
            ssrc: source.ssrc,
            rtx_ssrc: source.rtx_ssrc,
            payloads: vec![(source.arriving, format.payload.payload_type, rtx)],
            extensions: media::extensions(&self.extmaps()),
            feedback: media::feedback(&format.payload),
            cname: CNAME.to_owned(),
            active: self.is_active(is_paused),
            layers: source.layers.wanted,
        });
    }

    fn to_json(&self, index: usize, publishers: &IndexMap<Id, Publisher>) -> Value {
        let Some(source) = &self.source else {
            return json!({
                "type": self.kind.name(), "active": false, "mindex": index, "mid": self.mid, "ready": false, "send": true,
            });
        };
        let Some(format) = &self.format else {
            let feeds: Vec<_> = self.sources().map(|source| &source.feed).collect();
            return object([
                ("type", Some(json!(self.kind.name()))),
                ("active", Some(json!(true))),
                ("mindex", Some(json!(index))),
                ("mid", Some(json!(self.mid))),
                ("crossrefid", self.crossrefid.as_ref().map(|id| json!(id))),
                ("ready", Some(json!(source.is_ready))),
                ("send", Some(json!(self.send))),
                ("sources", Some(json!(feeds.len()))),
                ("source_ids", Some(json!(feeds))),
            ]);
        };
        let [simulcast, svc] = source.layers.to_json();
        let feed = publishers.get(&source.feed);
        let description = feed.and_then(|feed| feed.enabled_stream(&source.feed_mid)?.description.clone());
        object([
            ("type", Some(json!(self.kind.name()))),
            ("active", Some(json!(true))),
            ("mindex", Some(json!(index))),
            ("mid", Some(json!(self.mid))),
            ("crossrefid", self.crossrefid.as_ref().map(|id| json!(id))),
            ("ready", Some(json!(source.is_ready))),
            ("send", Some(json!(self.send))),
            ("feed_id", Some(json!(source.feed))),
            (
                "feed_display",
                feed.and_then(|feed| feed.display.as_ref())
                    .map(|display| json!(display)),
            ),
            (
                "feed_metadata",
                feed.and_then(|feed| feed.metadata.clone()).map(Value::Object),
            ),
            ("feed_mid", Some(json!(source.feed_mid))),
            ("feed_description", description.map(|text| json!(text))),
            ("codec", Some(json!(format.codec.name()))),
            ("h264-profile", format.h264_profile()),
            ("vp9-profile", format.vp9_profile()),
            ("simulcast", simulcast),
            ("svc", svc),
        ])
    }
}
