//! A room: its settings and who is in it.

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};
use voex_base::WorkerId;

use super::codec::RoomCodec;
use super::dummy::DummyStreams;
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use crate::host::HandleId;
use crate::plugin::id::Id;

/// Settings of a room, as `create` gives them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RoomConfig {
    /// Text for people; `None` is `Room ID`.
    pub(crate) description: Option<String>,
    /// Needed to edit, destroy and moderate.
    pub(crate) secret: Option<String>,
    /// Needed to join.
    pub(crate) pin: Option<String>,
    /// Hidden from `list`.
    pub(crate) is_private: bool,
    /// Tokens that may join; `None` lets anybody in.
    pub(crate) allowed: Option<IndexSet<String>>,
    /// Subscribers must name the private id of a participant.
    pub(crate) require_private_id: bool,
    /// Who joins needs a signed token that names the room.
    pub(crate) signed_tokens: bool,
    /// Most active publishers.
    pub(crate) publishers_max: u32,
    /// Cap on what a publisher may send, in bit/s; zero is none.
    pub(crate) bitrate_bps: u32,
    /// Publishers cannot ask for more than `bitrate_bps`.
    pub(crate) bitrate_cap: bool,
    /// Seconds between key frame requests to publishers; zero is none.
    pub(crate) fir_freq_s: u32,
    /// Audio codecs in the order of preference, one to five.
    pub(crate) audio_codecs: Vec<RoomCodec>,
    /// Video codecs in the order of preference, one to five.
    pub(crate) video_codecs: Vec<RoomCodec>,
    /// Opus in-band FEC.
    pub(crate) opus_fec: bool,
    /// Opus discontinuous transmission.
    pub(crate) opus_dtx: bool,
    /// Negotiate the audio level extension with publishers.
    pub(crate) audiolevel_ext: bool,
    /// Tell of who talks.
    pub(crate) audiolevel_event: bool,
    /// Packets over which the level is averaged.
    pub(crate) audio_active_packets: u32,
    /// Mean level in -dBov below which somebody talks.
    pub(crate) audio_level_average: u32,
    /// Negotiate the video orientation extension with publishers.
    pub(crate) videoorient_ext: bool,
    /// Negotiate the playout delay extension with publishers.
    pub(crate) playoutdelay_ext: bool,
    /// Negotiate the transport-wide sequence number extension with publishers.
    pub(crate) transport_wide_cc_ext: bool,
    /// Record publishers.
    pub(crate) record: bool,
    /// Where recordings go.
    pub(crate) rec_dir: Option<String>,
    /// Recording can be changed with the secret only.
    pub(crate) lock_record: bool,
    /// Tell everybody of participants that joined without publishing.
    pub(crate) notify_joining: bool,
    /// Only media that is encrypted end to end.
    pub(crate) require_e2ee: bool,
    /// Somebody to subscribe to is always there.
    pub(crate) dummy_publisher: bool,
    /// What that is to offer.
    pub(crate) dummy_streams: DummyStreams,
    /// It counts as encrypted end to end.
    pub(crate) dummy_e2ee: bool,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            description: None,
            secret: None,
            pin: None,
            is_private: false,
            allowed: None,
            require_private_id: false,
            signed_tokens: false,
            publishers_max: 3,
            bitrate_bps: 0,
            bitrate_cap: false,
            fir_freq_s: 0,
            audio_codecs: vec![RoomCodec::Opus],
            video_codecs: vec![RoomCodec::Vp8],
            opus_fec: true,
            opus_dtx: false,
            audiolevel_ext: true,
            audiolevel_event: false,
            audio_active_packets: 100,
            audio_level_average: 25,
            videoorient_ext: true,
            playoutdelay_ext: true,
            transport_wide_cc_ext: true,
            record: false,
            rec_dir: None,
            lock_record: false,
            notify_joining: false,
            require_e2ee: false,
            dummy_publisher: false,
            dummy_streams: None,
            dummy_e2ee: false,
        }
    }
}

/// A room that exists.
pub(crate) struct Room {
    pub(crate) id: Id,
    pub(crate) config: RoomConfig,
    /// Worker where the transports of the room go while it has room for them.
    pub(crate) worker: WorkerId,
    /// Joined participants by user id, in the order of joining.
    pub(crate) publishers: IndexMap<Id, Publisher>,
    /// Subscribers by handle.
    pub(crate) subscribers: IndexMap<HandleId, Subscriber>,
    /// A round of key frame requests is due some time.
    pub(crate) is_key_frame_scheduled: bool,
}

impl Room {
    pub(crate) fn new(id: Id, config: RoomConfig, worker: WorkerId) -> Self {
        Self {
            id,
            config,
            worker,
            publishers: IndexMap::new(),
            subscribers: IndexMap::new(),
            is_key_frame_scheduled: false,
        }
    }

    pub(crate) fn description(&self) -> String {
        let given = self.config.description.clone();
        given.unwrap_or_else(|| format!("Room {}", self.id))
    }

    /// Gives the room's entry in `list`.
    pub(crate) fn list_entry(&self) -> Value {
        let config = &self.config;
        let members = [
            ("room", Some(json!(self.id))),
            ("description", Some(json!(self.description()))),
            ("pin_required", Some(json!(config.pin.is_some()))),
            ("is_private", Some(json!(config.is_private))),
            ("max_publishers", Some(json!(config.publishers_max))),
            ("bitrate", Some(json!(config.bitrate_bps))),
            ("bitrate_cap", config.bitrate_cap.then(|| json!(true))),
            ("fir_freq", Some(json!(config.fir_freq_s))),
            ("require_pvtid", Some(json!(config.require_private_id))),
            ("require_e2ee", Some(json!(config.require_e2ee))),
            ("dummy_publisher", Some(json!(config.dummy_publisher))),
            ("notify_joining", Some(json!(config.notify_joining))),
            ("audiocodec", Some(json!(RoomCodec::join(&config.audio_codecs)))),
            ("videocodec", Some(json!(RoomCodec::join(&config.video_codecs)))),
            ("opus_fec", config.opus_fec.then(|| json!(true))),
            ("opus_dtx", config.opus_dtx.then(|| json!(true))),
            ("record", Some(json!(config.record))),
            ("rec_dir", config.rec_dir.as_ref().map(|dir| json!(dir))),
            ("lock_record", Some(json!(config.lock_record))),
            ("num_participants", Some(json!(self.publishers.len()))),
            ("audiolevel_ext", Some(json!(config.audiolevel_ext))),
            ("audiolevel_event", Some(json!(config.audiolevel_event))),
            (
                "audio_active_packets",
                config.audiolevel_event.then(|| json!(config.audio_active_packets)),
            ),
            (
                "audio_level_average",
                config.audiolevel_event.then(|| json!(config.audio_level_average)),
            ),
            ("videoorient_ext", Some(json!(config.videoorient_ext))),
            ("playoutdelay_ext", Some(json!(config.playoutdelay_ext))),
            ("transport_wide_cc_ext", Some(json!(config.transport_wide_cc_ext))),
        ];
        object(members)
    }
}

/// Builds an object of the members that are there, in order.
pub(crate) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}
