//! Dummy publishers: somebody to subscribe to while nobody is there, for switches that need no offer later.

use indexmap::IndexMap;
use serde_json::{Map, Value};
use voex_sdp::Payload;
use voex_sfu::command::{EncodingSpec, MediaKind};

use super::codec::RoomCodec;
use super::negotiation::VIDEO_FEEDBACK;
use super::publisher::{Format, PublishedStream, Publisher, StreamKind};
use super::room::{Room, RoomConfig};
use crate::host::{HandleId, Host};
use crate::plugin::fields::Fields;
use crate::plugin::id::Ids;

/// What the dummy publisher of a room is to offer: format parameters by codec; `None` offers every codec of the room.
pub(crate) type DummyStreams = Option<IndexMap<String, Option<String>>>;

/// The handle of those who have none; ids of handles are above zero.
const NOBODY: HandleId = HandleId(0);

/// Reads `dummy_streams`; what is no object with a codec is left out.
pub(super) fn streams(body: &Map<String, Value>) -> DummyStreams {
    let listed = body.list("dummy_streams").filter(|list| !list.is_empty())?;
    let entry = |item: &Value| {
        let item = item.as_object()?;
        Some((item.text("codec")?.to_owned(), item.text("fmtp").map(str::to_owned)))
    };
    Some(listed.iter().filter_map(entry).collect())
}

impl Room {
    /// Puts the dummy publisher in, where the room has one.
    pub(super) fn add_dummy(&mut self, host: &mut Host, ids: Ids) {
        if !self.config.dummy_publisher {
            return;
        }
        let id = ids.draw(host, |id| self.publishers.contains_key(id));
        let streams = self.config.dummy_codecs();
        let streams = streams.into_iter().enumerate();
        let streams = streams
            .map(|(index, (codec, fmtp))| stream(host, index, codec, fmtp))
            .collect();
        let dummy = Publisher {
            display: Some("Dummy publisher".to_owned()),
            published: true,
            active: true,
            dummy: true,
            e2ee: self.config.require_e2ee || self.config.dummy_e2ee,
            streams,
            ..Publisher::new(id.clone(), NOBODY, 0)
        };
        self.publishers.insert(id, dummy);
    }
}

impl RoomConfig {
    /// Gives the codecs that the dummy publisher offers, with their format parameters.
    fn dummy_codecs(&self) -> Vec<(RoomCodec, Option<String>)> {
        let codecs = self.audio_codecs.iter().chain(&self.video_codecs);
        let offered = codecs.filter_map(|codec| match &self.dummy_streams {
            None => Some((*codec, None)),
            Some(listed) => Some((*codec, listed.get(codec.name())?.clone())),
        });
        offered.collect()
    }
}

/// Makes a stream on which nothing ever flows: no worker knows its track.
fn stream(host: &mut Host, index: usize, codec: RoomCodec, fmtp: Option<String>) -> PublishedStream {
    let is_video = codec.kind() == MediaKind::Video;
    let channels = if codec == RoomCodec::Opus { 2 } else { 1 };
    let mut payload = Payload::new(codec.payload_type(), codec.encoding(), codec.clock_rate(), channels);
    payload.fmtp = fmtp;
    if is_video {
        payload.rtcp_fb = VIDEO_FEEDBACK.iter().map(|feedback| (*feedback).to_owned()).collect();
    }
    let format = Format {
        codec,
        payload,
        rtx: None,
    };
    PublishedStream {
        kind: if is_video { StreamKind::Video } else { StreamKind::Audio },
        mindex: index,
        mid: index.to_string(),
        format: Some(format),
        track: Some(host.new_track_id()),
        recording: None,
        encodings: vec![EncodingSpec::default()],
        rids_rise: false,
        svc: false,
        description: None,
        msid: None,
        sending: true,
        moderated: false,
        has_level: false,
        talking: false,
    }
}
