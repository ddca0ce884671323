//! What a room takes of a publisher's m-line: one codec, its retransmissions, and the extensions that are forwarded.
//!
//! Video is steered by transport-wide congestion control where both sides have it, and capped by REMB.
//! Of a simulcast as many encodings are taken as a track may have.

use voex_bridge::media::uri;
use voex_sdp::webrtc::Section;
use voex_sdp::{Direction, Extmap, Kind, Media, Payload, Rid};
use voex_sfu::command::EncodingSpec;
use voex_sfu::limits::ENCODINGS_PER_TRACK_MAX;

use super::codec::RoomCodec;
use super::publisher::{Format, StreamKind};
use super::room::RoomConfig;
use crate::peer_connection::is_data;

/// What to answer on one m-line.
pub(in crate::plugin) struct Chosen {
    /// `None` for data.
    pub(in crate::plugin) format: Option<Format>,
    pub(in crate::plugin) section: Section,
}

impl Chosen {
    /// Tells whether packets will tell how loud they are.
    pub(super) fn has_level(&self) -> bool {
        self.section.extmaps.iter().any(|extmap| extmap.uri == uri::AUDIO_LEVEL)
    }
}

/// Codecs that the publisher wants out of those that the room allows.
#[derive(Clone, Copy, Default)]
pub(in crate::plugin) struct Wishes {
    pub(in crate::plugin) audio: Option<RoomCodec>,
    pub(in crate::plugin) video: Option<RoomCodec>,
}

/// Feedback on video that the media plane understands.
pub(super) const VIDEO_FEEDBACK: [&str; 4] = ["ccm fir", "nack", "nack pli", "goog-remb"];

/// Transport-wide feedback, of use with its header extension only.
pub(super) const TRANSPORT_CC: &str = "transport-cc";

/// Gives the kind of stream of an m-line; kinds that no API object can show count as data.
pub(super) fn stream_kind(media: &Media) -> StreamKind {
    match media.kind {
        Kind::Audio => StreamKind::Audio,
        Kind::Video => StreamKind::Video,
        Kind::Application | Kind::Other(_) => StreamKind::Data,
    }
}

/// Chooses what to receive on an m-line; `None` refuses it. `ssrc` is our own, for reports.
pub(in crate::plugin) fn choose(
    config: &RoomConfig,
    wishes: Wishes,
    index: usize,
    media: &Media,
    ssrc: u32,
) -> Option<Chosen> {
    if is_data(media) {
        let section = Section {
            direction: Direction::RecvOnly,
            ..Section::default()
        };
        return Some(Chosen { format: None, section });
    }
    if media.is_rejected() || !media.is_rtp() {
        return None;
    }
    let (codecs, wish) = match stream_kind(media) {
        StreamKind::Audio => (&config.audio_codecs, wishes.audio),
        StreamKind::Video => (&config.video_codecs, wishes.video),
        StreamKind::Data => return None,
    };
    let wish = wish.filter(|wish| codecs.contains(wish));
    let format = wish
        .iter()
        .chain(codecs)
        .find_map(|codec| format(config, *codec, media))?;
    let rids = simulcast_rids(media);
    let received = |rid: &&str| Rid {
        id: (*rid).to_owned(),
        send: false,
        restrictions: String::new(),
    };
    let section = Section {
        direction: Direction::RecvOnly,
        rids: rids.iter().map(received).collect(),
        simulcast: (!rids.is_empty()).then(|| format!("recv {}", rids.join(";"))),
        payloads: [format.payload.clone()].into_iter().chain(format.rtx.clone()).collect(),
        extmaps: extmaps(config, media),
        msid: Some(format!("janus janus{index}")),
        ssrc: Some((ssrc, None)),
        cname: "janus".to_owned(),
    };
    Some(Chosen {
        format: Some(format),
        section,
    })
}

/// Gives the rids that are taken of a simulcast, in the order of the offer.
fn simulcast_rids(media: &Media) -> Vec<&str> {
    let can_tell = media.kind == Kind::Video && media.extension(uri::RID).is_some();
    let mut rids = match &media.simulcast {
        Some(_) if can_tell => media.sent_rids(),
        _ => Vec::new(),
    };
    rids.truncate(ENCODINGS_PER_TRACK_MAX);
    rids
}

/// Gives the encodings of an m-line, the lowest first. Rids are listed from the highest down unless they `rise`, SSRCs
/// from the lowest up.
pub(in crate::plugin) fn encodings(media: &Media, rise: bool) -> Vec<EncodingSpec> {
    let named = |rid: &str| EncodingSpec {
        rid: rid.to_owned(),
        ssrc: None,
    };
    let mut encodings: Vec<_> = simulcast_rids(media).into_iter().map(named).collect();
    if !rise {
        encodings.reverse();
    }
    if encodings.is_empty() && media.kind == Kind::Video {
        let layers = media.simulcast_ssrcs().into_iter();
        encodings.extend(layers.take(ENCODINGS_PER_TRACK_MAX).map(|ssrc| EncodingSpec {
            rid: String::new(),
            ssrc: Some(ssrc),
        }));
    }
    if encodings.is_empty() {
        encodings.push(EncodingSpec {
            rid: String::new(),
            ssrc: media.first_ssrc(),
        });
    }
    encodings
}

fn format(config: &RoomConfig, codec: RoomCodec, media: &Media) -> Option<Format> {
    let offered = offered_payload(codec, media)?;
    let mut payload = Payload::new(
        offered.payload_type,
        &offered.name,
        offered.clock_rate,
        offered.channels,
    );
    payload.fmtp = match codec {
        RoomCodec::Opus => opus_parameters(config, offered),
        _ => offered.fmtp.clone(),
    };
    if media.kind == Kind::Video {
        let both = VIDEO_FEEDBACK.iter().filter(|feedback| offered.has_feedback(feedback));
        payload.rtcp_fb = both.map(|feedback| (*feedback).to_owned()).collect();
        if has_transport_cc(config, media) && offered.has_feedback(TRANSPORT_CC) {
            payload.rtcp_fb.push(TRANSPORT_CC.to_owned());
        }
    }
    let rtx = media.rtx_of(offered.payload_type).map(|rtx| {
        let apt = format!("apt={}", offered.payload_type);
        Payload::new(rtx.payload_type, "rtx", rtx.clock_rate, 1).with_fmtp(&apt)
    });
    Some(Format { codec, payload, rtx })
}

/// Finds a codec among the payload types; of several H.264 or VP9 the one that most receivers decode.
fn offered_payload(codec: RoomCodec, media: &Media) -> Option<&Payload> {
    let is_codec = |payload: &&Payload| payload.is(codec.encoding()) && payload.clock_rate == codec.clock_rate();
    let is_common = |payload: &&Payload| match codec {
        RoomCodec::H264 => {
            payload.parameter("packetization-mode") == Some("1")
                && payload
                    .parameter("profile-level-id")
                    .is_some_and(|profile| profile.starts_with("42"))
        }
        RoomCodec::Vp9 => payload.parameter("profile-id").is_none_or(|profile| profile == "0"),
        _ => true,
    };
    let mut offered = media.payloads.iter().filter(is_codec);
    let first = offered.clone().next();
    offered.find(is_common).or(first)
}

fn opus_parameters(config: &RoomConfig, offered: &Payload) -> Option<String> {
    let stereo = offered.parameter("stereo") == Some("1");
    let parameters: Vec<_> = [
        (config.opus_fec, "useinbandfec=1"),
        (config.opus_dtx, "usedtx=1"),
        (stereo, "stereo=1"),
    ]
    .into_iter()
    .filter_map(|(is_set, parameter)| is_set.then_some(parameter))
    .collect();
    (!parameters.is_empty()).then(|| parameters.join(";"))
}

/// Gives the extensions that are taken, with the ids of the offer.
fn extmaps(config: &RoomConfig, media: &Media) -> Vec<Extmap> {
    let video = media.kind == Kind::Video;
    let simulcast = !simulcast_rids(media).is_empty();
    let wanted = [
        (uri::AUDIO_LEVEL, !video && config.audiolevel_ext),
        (uri::VIDEO_ORIENTATION, video && config.videoorient_ext),
        (uri::TRANSPORT_CC, video && has_transport_cc(config, media)),
        (uri::PLAYOUT_DELAY, video && config.playoutdelay_ext),
        (uri::MID, true),
        (uri::RID, simulcast),
        (uri::REPAIRED_RID, simulcast),
    ];
    let taken = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
    taken
        .filter_map(|(uri, _)| Some(extmap(media.extension(uri)?, uri)))
        .collect()
}

fn has_transport_cc(config: &RoomConfig, media: &Media) -> bool {
    config.transport_wide_cc_ext && media.extension(uri::TRANSPORT_CC).is_some()
}

/// Makes the line of one extension.
pub(super) fn extmap(id: u16, uri: &str) -> Extmap {
    Extmap {
        id,
        direction: None,
        uri: uri.to_owned(),
        attributes: String::new(),
    }
}
