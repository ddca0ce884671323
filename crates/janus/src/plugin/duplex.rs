//! Lines of a PeerConnection on which media flows both ways, as the echo test and calls between two clients have them.

use serde_json::{Map, Value};
use voex_base::{SubscriptionId, TrackId, TransportId};
use voex_bridge::media::{self, uri};
use voex_sdp::webrtc::Section;
use voex_sdp::{Direction, Extmap, Kind, Payload};
use voex_sfu::command::{
    Command, DataSubscriptionSpec, DataTrackSpec, EncodingSpec, LayerChange, Layers, SubscriptionSpec, TrackSpec,
};

use super::fields::Fields;
use crate::host::Host;

/// Canonical name in RTCP and descriptions.
pub(crate) const CNAME: &str = "janus";
/// Highest layer that a request may name.
const LAYER_MAX: u64 = 2;

/// One m-line.
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) mid: String,
    /// What was negotiated, the main codec first; empty for data.
    pub(crate) payloads: Vec<Payload>,
    extmaps: Vec<Extmap>,
    encodings: Vec<EncodingSpec>,
    /// The client sends layers of one stream.
    svc: bool,
    /// What we send to the client.
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    /// The client takes what we send.
    pub(crate) receives: bool,
    /// What the client sends.
    track: Option<TrackId>,
    /// What leaves to the client.
    subscription: Option<SubscriptionId>,
    flowing: [Option<u8>; 2],
}

/// What a line sends, for another line to pass on.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    track: TrackId,
    has_encodings: bool,
    svc: bool,
}

impl Line {
    pub(crate) fn new(
        host: &mut Host,
        kind: Kind,
        mid: String,
        payloads: Vec<Payload>,
        extmaps: Vec<Extmap>,
        encodings: Vec<EncodingSpec>,
    ) -> Self {
        let has_rtx = payloads.iter().any(|payload| payload.apt().is_some());
        Self {
            kind,
            mid,
            extmaps,
            encodings,
            svc: false,
            ssrc: host.new_ssrc(),
            rtx_ssrc: has_rtx.then(|| host.new_ssrc()),
            payloads,
            receives: true,
            track: None,
            subscription: None,
            flowing: [None; 2],
        }
    }

    /// Sends under SSRCs that the client has been told already.
    pub(crate) fn set_ssrc(&mut self, (ssrc, rtx_ssrc): (u32, Option<u32>)) {
        (self.ssrc, self.rtx_ssrc) = (ssrc, rtx_ssrc);
    }

    pub(crate) fn set_svc(&mut self, svc: bool) {
        self.svc = svc;
    }

    /// Takes over what goes on under a new description, when the medium is the same.
    pub(crate) fn succeed(&mut self, host: &mut Host, before: Self) {
        let same = self.kind == before.kind
            && self.mid == before.mid
            && self.payloads == before.payloads
            && self.encodings == before.encodings;
        if same && before.track.is_some_and(|track| host.has_track(track)) {
            (self.track, self.subscription) = (before.track, before.subscription);
            (self.ssrc, self.rtx_ssrc) = (before.ssrc, before.rtx_ssrc);
            self.flowing = before.flowing;
        } else {
            before.end(host);
        }
    }

    /// Takes the line's medium away, with what others have of it.
    pub(crate) fn end(self, host: &mut Host) {
        if let Some(track) = self.track {
            host.remove_track(track);
        }
    }

    /// What we say on the line.
    pub(crate) fn section(&self, direction: Direction) -> Section {
        if self.kind == Kind::Application {
            return Section::default();
        }
        Section {
            direction,
            payloads: self.payloads.clone(),
            extmaps: self.extmaps.clone(),
            msid: Some(format!("janus janus{}", self.mid)),
            ssrc: Some((self.ssrc, self.rtx_ssrc)),
            cname: CNAME.to_owned(),
            ..Section::default()
        }
    }

    /// Makes what the client sends known to the worker, unless it is.
    pub(crate) fn start(&mut self, host: &mut Host, transport: TransportId) {
        if self.track.is_some() {
            return;
        }
        let id = host.new_track_id();
        self.track = Some(id);
        let Some(kind) = media::kind(&self.kind) else {
            let spec = DataTrackSpec {
                id,
                transport,
                is_reported: false,
            };
            return host.add_data_track(spec, self.mid.clone());
        };
        host.add_track(TrackSpec {
            id,
            transport,
            mid: self.mid.clone(),
            kind,
            payloads: media::payloads(&self.payloads),
            encodings: self.encodings.clone(),
            extensions: media::extensions(&self.extmaps),
            feedback: self.payloads.first().map(media::feedback).unwrap_or_default(),
        });
    }

    pub(crate) fn origin(&self) -> Option<Origin> {
        Some(Origin {
            track: self.track?,
            has_encodings: self.encodings.len() > 1,
            svc: self.svc,
        })
    }

    /// Sends what another line brings by this one; `text_prefix` stands in front of text on data channels.
    pub(crate) fn pass_on(
        &mut self,
        host: &mut Host,
        transport: TransportId,
        origin: Origin,
        layers: Layers,
        text_prefix: &str,
    ) {
        if self.subscription.is_some() {
            return;
        }
        let id = host.new_subscription_id();
        self.subscription = Some(id);
        self.svc |= origin.svc && !origin.has_encodings;
        if self.kind == Kind::Application {
            return host.add_data_subscription(DataSubscriptionSpec {
                id,
                track: origin.track,
                transport,
                text_prefix: text_prefix.to_owned(),
                active: true,
            });
        }
        let same = media::payloads(&self.payloads);
        let mut extensions = media::extensions(&self.extmaps);
        (extensions.rid, extensions.repaired_rid) = (None, None);
        host.add_subscription(SubscriptionSpec {
            id,
            track: origin.track,
            transport,
            mid: self.mid.clone(),
            ssrc: self.ssrc,
            rtx_ssrc: self.rtx_ssrc,
            payloads: same.iter().map(|p| (p.payload_type, p.payload_type, p.rtx)).collect(),
            extensions,
            feedback: self.payloads.first().map(media::feedback).unwrap_or_default(),
            cname: CNAME.to_owned(),
            active: self.receives,
            layers,
        });
    }

    /// Starts or stops what the client sends, for everybody; video goes on with a key frame.
    pub(crate) fn set_relayed(&self, host: &mut Host, relayed: bool) {
        let Some(track) = self.track else { return };
        host.set_track_relayed(track, relayed);
        if relayed && self.kind == Kind::Video {
            host.command_track(track, Command::RequestKeyFrame(track));
        }
    }

    /// Caps what the client sends of video, in bit/s; zero is no cap.
    pub(crate) fn set_bitrate(&self, host: &mut Host, bitrate: u32) {
        if let Some(track) = self.track.filter(|_| self.kind == Kind::Video) {
            let cap = (bitrate != 0).then_some(bitrate);
            host.command_track(track, Command::SetTrackBitrate(track, cap));
        }
    }

    /// Chooses layers of what leaves by the line.
    pub(crate) fn set_layers(&self, host: &mut Host, transport: TransportId, layers: Layers) {
        if let (Some(subscription), Some(worker)) = (self.subscription, host.worker_of(transport))
            && self.kind == Kind::Video
        {
            host.media(worker, Command::SetSubscriptionLayers(subscription, layers));
        }
    }

    /// Notes that other layers leave by the line; gives the name and number to tell.
    pub(crate) fn note(&mut self, subscription: SubscriptionId, change: LayerChange) -> Option<(&'static str, u8)> {
        if self.subscription != Some(subscription) {
            return None;
        }
        let (at, name, layer) = match change {
            LayerChange::Encoding(layer) => (0, "substream", layer),
            LayerChange::Spatial(layer) => (0, "spatial_layer", layer),
            LayerChange::Temporal(layer) if self.svc => (1, "temporal_layer", layer),
            LayerChange::Temporal(layer) => (1, "temporal", layer),
        };
        let before = self.flowing[at].replace(layer);
        (before != Some(layer)).then_some((name, layer))
    }
}

/// Keeps those extensions that the media plane reads or writes.
pub(crate) fn known_extmaps(offered: &[Extmap]) -> Vec<Extmap> {
    const KNOWN: [&str; 5] = [
        uri::MID,
        uri::AUDIO_LEVEL,
        uri::TRANSPORT_CC,
        uri::VIDEO_ORIENTATION,
        uri::PLAYOUT_DELAY,
    ];
    let known = offered.iter().filter(|extmap| KNOWN.contains(&extmap.uri.as_str()));
    known.cloned().collect()
}

/// Refuses layers that there cannot be.
pub(crate) fn check_layers(body: &Map<String, Value>) -> Result<(), String> {
    for name in ["substream", "temporal", "spatial_layer", "temporal_layer"] {
        if body.number(name).is_some_and(|layer| layer > LAYER_MAX) {
            return Err(format!("Invalid value ({name} should be 0, 1 or 2)"));
        }
    }
    Ok(())
}

/// Takes over the layers that a request names.
pub(crate) fn want_layers(layers: &mut Layers, body: &Map<String, Value>) {
    let layer = |name: &str| body.number(name).and_then(|layer| u8::try_from(layer).ok());
    layers.encoding = layer("substream").unwrap_or(layers.encoding);
    layers.spatial = layer("spatial_layer").unwrap_or(layers.spatial);
    layers.temporal = layer("temporal")
        .or_else(|| layer("temporal_layer"))
        .unwrap_or(layers.temporal);
    if let Some(us) = body.number("fallback").filter(|us| *us > 0) {
        layers.fallback = std::time::Duration::from_micros(us);
    }
}
