//! Participants that may publish, and what they publish.

use serde_json::{Map, Value, json};
use voex_base::TrackId;
use voex_sdp::Payload;
use voex_sfu::command::{Command, EncodingSpec, MediaKind};

use super::codec::RoomCodec;
use super::forward::Forwarder;
use super::recording::{Recording, Wanted};
use super::room::object;
use crate::host::{HandleId, Host};
use crate::plugin::id::Id;

/// A participant of a room that joined as publisher, active or not.
pub(crate) struct Publisher {
    pub(crate) id: Id,
    pub(crate) handle: HandleId,
    /// Proves to subscriptions that they come from a participant.
    pub(crate) private_id: u32,
    pub(crate) display: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
    /// What the publisher may send, in bit/s; zero is no cap.
    pub(crate) bitrate_bps: u32,
    /// An offer was answered and its PeerConnection is not gone.
    pub(crate) published: bool,
    /// The PeerConnection is up: others have been told of the streams.
    pub(crate) active: bool,
    /// The media is encrypted end to end.
    pub(crate) e2ee: bool,
    /// Nobody: a placeholder to subscribe to.
    pub(crate) dummy: bool,
    /// Its own rule of who talks, in place of the room's; zero is the room's too.
    pub(crate) audio_active_packets: Option<u32>,
    pub(crate) audio_level_average: Option<u32>,
    /// What is to be recorded.
    pub(crate) recording: Wanted,
    /// One for each m-line of the last offer.
    pub(crate) streams: Vec<PublishedStream>,
    /// Streams that go to other hosts, too.
    pub(crate) forwarders: Vec<Forwarder>,
}

/// One m-line of a publisher.
#[derive(Clone, Debug)]
pub(crate) struct PublishedStream {
    pub(crate) kind: StreamKind,
    pub(crate) mindex: usize,
    pub(crate) mid: String,
    /// What arrives; `None` for data, and when the m-line was refused.
    pub(crate) format: Option<Format>,
    /// The medium on the worker; `None` when nothing is sent: the stream is disabled.
    pub(crate) track: Option<TrackId>,
    /// The recording of the track.
    pub(crate) recording: Option<Recording>,
    /// Encodings that it comes in, the lowest first.
    pub(crate) encodings: Vec<EncodingSpec>,
    /// The publisher lists its rids from the lowest up.
    pub(crate) rids_rise: bool,
    /// The publisher said that it sends layers of one stream.
    pub(crate) svc: bool,
    /// Text of the publisher for people.
    pub(crate) description: Option<String>,
    /// `a=msid` of the publisher.
    pub(crate) msid: Option<String>,
    /// Relayed as far as the publisher is concerned.
    pub(crate) sending: bool,
    /// Muted by a moderator.
    pub(crate) moderated: bool,
    /// Packets tell how loud they are.
    pub(crate) has_level: bool,
    /// Somebody talks.
    pub(crate) talking: bool,
}

/// A negotiated codec with its payload types, as subscribers see them too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Format {
    pub(crate) codec: RoomCodec,
    pub(crate) payload: Payload,
    pub(crate) rtx: Option<Payload>,
}

/// Kind of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StreamKind {
    Audio,
    Video,
    Data,
}

impl StreamKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Data => "data",
        }
    }

    /// Gives the kind of RTP medium; `None` for data.
    pub(crate) fn media(self) -> Option<MediaKind> {
        match self {
            Self::Audio => Some(MediaKind::Audio),
            Self::Video => Some(MediaKind::Video),
            Self::Data => None,
        }
    }
}

impl Publisher {
    /// Makes a participant that does not publish.
    pub(crate) fn new(id: Id, handle: HandleId, private_id: u32) -> Self {
        Self {
            id,
            handle,
            private_id,
            display: None,
            metadata: None,
            bitrate_bps: 0,
            published: false,
            active: false,
            e2ee: false,
            dummy: false,
            audio_active_packets: None,
            audio_level_average: None,
            recording: Wanted::default(),
            streams: Vec::new(),
            forwarders: Vec::new(),
        }
    }

    /// Gives the participant's entry in `listparticipants`.
    pub(crate) fn list_entry(&self) -> Value {
        let [id, display, metadata] = self.name_members();
        let talking = self.talking().filter(|_| self.active);
        object([
            id,
            display,
            metadata,
            ("dummy", self.dummy.then(|| json!(true))),
            ("publisher", Some(json!(self.active))),
            ("talking", talking.map(|talking| json!(talking))),
        ])
    }

    /// Gives the participant as `attendees` and `joining` show it.
    pub(crate) fn attendee(&self) -> Value {
        object(self.name_members())
    }

    /// Gives the publisher as `publishers` shows it to those who were there, without who talks.
    pub(crate) fn announcement(&self) -> Value {
        self.described(self.stream_list(), None)
    }

    /// Gives the publisher as `joined` shows it.
    pub(crate) fn introduction(&self) -> Value {
        let streams = self.streams.iter().map(|stream| {
            let mut shown = stream.to_json();
            if let Value::Object(shown) = &mut shown
                && stream.has_level
                && stream.track.is_some()
            {
                shown.insert("talking".into(), stream.talking.into());
            }
            shown
        });
        self.described(streams.collect(), self.talking())
    }

    fn described(&self, streams: Value, talking: Option<bool>) -> Value {
        let [id, display, metadata] = self.name_members();
        object([
            id,
            display,
            metadata,
            ("dummy", self.dummy.then(|| json!(true))),
            ("audio_codec", self.codec_of(StreamKind::Audio)),
            ("video_codec", self.codec_of(StreamKind::Video)),
            ("streams", Some(streams)),
            ("talking", talking.map(|talking| json!(talking))),
        ])
    }

    /// Gives the name of the first codec of a kind that is published.
    pub(crate) fn codec_of(&self, kind: StreamKind) -> Option<Value> {
        let stream = self
            .streams
            .iter()
            .find(|stream| stream.kind == kind && stream.track.is_some())?;
        stream.format.as_ref().map(|format| json!(format.codec.name()))
    }

    /// Gives the stream objects.
    pub(crate) fn stream_list(&self) -> Value {
        self.streams.iter().map(PublishedStream::to_json).collect()
    }

    /// Gives the streams that are there to subscribe to.
    pub(crate) fn enabled_streams(&self) -> impl Iterator<Item = &PublishedStream> {
        self.streams.iter().filter(|stream| stream.track.is_some())
    }

    /// Finds an enabled stream by its mid.
    pub(crate) fn enabled_stream(&self, mid: &str) -> Option<&PublishedStream> {
        self.enabled_streams().find(|stream| stream.mid == mid)
    }

    /// Tells the worker what the publisher may send: the cap is shared out evenly among its video tracks.
    pub(crate) fn apply_bitrate(&self, host: &mut Host) {
        let tracks: Vec<_> = self.video_tracks().collect();
        let share = self.bitrate_bps / u32::try_from(tracks.len().max(1)).unwrap_or(u32::MAX);
        for track in tracks {
            let cap = (self.bitrate_bps != 0).then_some(share);
            host.command_track(track, Command::SetTrackBitrate(track, cap));
        }
    }

    /// Gives the tracks that have key frames.
    pub(crate) fn video_tracks(&self) -> impl Iterator<Item = TrackId> {
        let video = self.streams.iter().filter(|stream| stream.kind == StreamKind::Video);
        video.filter_map(|stream| stream.track)
    }

    fn name_members(&self) -> [(&'static str, Option<Value>); 3] {
        [
            ("id", Some(json!(self.id))),
            ("display", self.display.as_ref().map(|display| json!(display))),
            ("metadata", self.metadata.clone().map(Value::Object)),
        ]
    }
}

impl PublishedStream {
    /// Gives the stream object.
    pub(crate) fn to_json(&self) -> Value {
        let place = [
            ("type", Some(json!(self.kind.name()))),
            ("mindex", Some(json!(self.mindex))),
            ("mid", Some(json!(self.mid))),
        ];
        let [r#type, mindex, mid] = place;
        let description = ("description", self.description.as_ref().map(|text| json!(text)));
        let moderated = ("moderated", self.moderated.then(|| json!(true)));
        let format = match (&self.format, self.track) {
            (_, None) => return object([r#type, mindex, mid, ("disabled", Some(json!(true)))]),
            (None, Some(_)) => return object([r#type, mindex, mid, description, moderated]),
            (Some(format), Some(_)) => format,
        };
        let opus = |name: &str| {
            let set = format.codec == RoomCodec::Opus && format.payload.parameter(name) == Some("1");
            set.then(|| json!(true))
        };
        object([
            r#type,
            mindex,
            mid,
            ("codec", Some(json!(format.codec.name()))),
            description,
            ("stereo", opus("stereo")),
            ("fec", opus("useinbandfec")),
            ("dtx", opus("usedtx")),
            ("h264_profile", format.h264_profile()),
            ("vp9_profile", format.vp9_profile()),
            moderated,
            ("simulcast", self.is_simulcast().then(|| json!(true))),
            ("svc", self.svc.then(|| json!(true))),
        ])
    }

    /// Tells whether there are several encodings to choose from.
    pub(crate) fn is_simulcast(&self) -> bool {
        self.encodings.len() > 1
    }

    /// Tells the worker whether the track is relayed to anybody.
    pub(crate) fn apply_relayed(&self, host: &mut Host) {
        if let Some(track) = self.track {
            let relayed = self.sending && !self.moderated;
            host.set_track_relayed(track, relayed);
        }
    }
}

impl Format {
    pub(crate) fn h264_profile(&self) -> Option<Value> {
        self.parameter_of(RoomCodec::H264, "profile-level-id")
    }

    pub(crate) fn vp9_profile(&self) -> Option<Value> {
        self.parameter_of(RoomCodec::Vp9, "profile-id")
    }

    fn parameter_of(&self, codec: RoomCodec, name: &str) -> Option<Value> {
        let parameter = self.payload.parameter(name).filter(|_| self.codec == codec)?;
        Some(json!(parameter))
    }
}
