//! `janus.plugin.echotest`: whoever calls hears and sees what it sends.
//!
//! ```text
//!   message ──► ack ──► negotiate: a track of each m-line, and a subscription of the same transport to it
//!                       settings: relaying, bit rate, layers
//! ```
//!
//! Every request is acked. Recording is not built: `record: true` is refused with 413, `filename` is ignored.
//! `videoprofile`, `opusred` and playout delays are checked and ignored.

mod error;

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use voex_base::{SubscriptionId, TransportId};
use voex_sdp::{Direction, Kind};
use voex_sfu::command::{LayerChange, Layers, MediaKind};

pub use error::Code;

use error::Error;

use super::duplex::{Line, check_layers, want_layers};
use super::fields::{Field, Fields, Type, check, optional};
use super::videoroom::codec::RoomCodec;
use super::videoroom::negotiation::{Wishes, choose, encodings};
use super::videoroom::room::{RoomConfig, object};
use super::{Answer, MediaEvent, Message, Plugin};
use crate::host::{HandleId, Host};
use crate::jsep::{Jsep, JsepKind, LocalJsep};
use crate::peer_connection::is_data;

const FIELDS: [Field; 17] = [
    optional("audio", Type::Boolean),
    optional("video", Type::Boolean),
    optional("audiocodec", Type::String),
    optional("videocodec", Type::String),
    optional("videoprofile", Type::String),
    optional("opusred", Type::Boolean),
    optional("bitrate", Type::Unsigned),
    optional("substream", Type::Unsigned),
    optional("temporal", Type::Unsigned),
    optional("fallback", Type::Unsigned),
    optional("svc", Type::Boolean),
    optional("spatial_layer", Type::Unsigned),
    optional("temporal_layer", Type::Unsigned),
    optional("record", Type::Boolean),
    optional("filename", Type::String),
    optional("min_delay", Type::Unsigned),
    optional("max_delay", Type::Unsigned),
];
/// Fields that say something by themselves.
const SAYING: [&str; 16] = [
    "audio",
    "video",
    "audiocodec",
    "videocodec",
    "videoprofile",
    "opusred",
    "bitrate",
    "substream",
    "temporal",
    "fallback",
    "svc",
    "spatial_layer",
    "temporal_layer",
    "record",
    "min_delay",
    "max_delay",
];
/// `s=` of answers.
const SESSION_NAME: &str = "EchoTest";
/// What stands in front of text that comes back.
const TEXT_PREFIX: &str = "Janus EchoTest here! You wrote: ";

const AUDIO_CODECS: [RoomCodec; 5] = [
    RoomCodec::Opus,
    RoomCodec::G722,
    RoomCodec::Pcmu,
    RoomCodec::Pcma,
    RoomCodec::L16,
];
const VIDEO_CODECS: [RoomCodec; 5] = [
    RoomCodec::Vp8,
    RoomCodec::Vp9,
    RoomCodec::H264,
    RoomCodec::Av1,
    RoomCodec::H265,
];

/// State of the plugin.
pub(crate) struct EchoTest {
    clients: HashMap<HandleId, Client>,
    /// What is taken of an offer.
    config: RoomConfig,
}

impl Default for EchoTest {
    fn default() -> Self {
        Self {
            clients: HashMap::new(),
            config: RoomConfig {
                audio_codecs: AUDIO_CODECS.to_vec(),
                video_codecs: VIDEO_CODECS.to_vec(),
                ..RoomConfig::default()
            },
        }
    }
}

/// What a handle has.
struct Client {
    /// One for each m-line of the last offer; `None` where it was refused.
    lines: Vec<Option<Line>>,
    audio: bool,
    video: bool,
    /// In bit/s; zero is no cap.
    bitrate: u32,
    layers: Layers,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            audio: true,
            video: true,
            bitrate: 0,
            layers: Layers::default(),
        }
    }
}

impl Plugin for EchoTest {
    fn handle_attach(&mut self, _host: &mut Host, handle: HandleId) {
        self.clients.insert(handle, Client::default());
    }

    fn handle_message(&mut self, _host: &mut Host, _handle: HandleId, message: Message) -> Answer {
        Answer::Ack(message)
    }

    fn handle_acked(&mut self, host: &mut Host, handle: HandleId, message: Message) {
        let (body, answer) = match self.request(host, handle, &message) {
            Ok(answer) => (json!({"echotest": "event", "result": "ok"}), answer),
            Err(error) => {
                host.metrics.echotest_errors.of(error.code).inc();
                (error.to_json(), None)
            }
        };
        host.push_event(handle, Some(&message.transaction), body, answer.as_ref());
    }

    fn handle_media(&mut self, host: &mut Host, handle: HandleId, event: MediaEvent) {
        match event {
            MediaEvent::LayerChanged(subscription, change) => self.layer_changed(host, handle, subscription, change),
            MediaEvent::Hangup(_) => {
                self.clients.insert(handle, Client::default());
                let done = json!({"echotest": "event", "result": "done"});
                host.push_event(handle, None, done, None);
            }
            _ => {}
        }
    }

    fn handle_detach(&mut self, _host: &mut Host, handle: HandleId) {
        self.clients.remove(&handle);
    }
}

impl EchoTest {
    fn request(&mut self, host: &mut Host, handle: HandleId, message: &Message) -> Result<Option<LocalJsep>, Error> {
        let body = &message.body;
        check(body, &FIELDS)?;
        check_layers(body).map_err(|text| Error::new(Code::InvalidElement, text))?;
        if message.jsep.is_none() && !SAYING.iter().any(|name| body.contains_key(*name)) {
            let text = "Message error: no supported attributes found";
            return Err(Error::new(Code::InvalidElement, text));
        }
        if body.flag("record") == Some(true) {
            let text = "Invalid element (record is not supported by this server)";
            return Err(Error::new(Code::InvalidElement, text));
        }
        self.clients.entry(handle).or_default().set(body);
        let answer = match &message.jsep {
            Some(offer) if offer.kind == JsepKind::Offer => Some(self.negotiate(host, handle, body, offer)?),
            Some(_) => return Err(Error::new(Code::InvalidSdp, "Unknown SDP type 'answer'")),
            None => None,
        };
        if let Some(client) = self.clients.get(&handle) {
            client.apply(host, handle, body, answer.is_some());
        }
        Ok(answer)
    }

    fn negotiate(
        &mut self,
        host: &mut Host,
        handle: HandleId,
        body: &Map<String, Value>,
        jsep: &Jsep,
    ) -> Result<LocalJsep, Error> {
        let wishes = Wishes {
            audio: body
                .text("audiocodec")
                .and_then(|name| RoomCodec::parse(name, MediaKind::Audio)),
            video: body
                .text("videocodec")
                .and_then(|name| RoomCodec::parse(name, MediaKind::Video)),
        };
        let mut lines = self.lines(host, wishes, jsep);
        if lines.iter().all(Option::is_none) {
            return Err(Error::new(
                Code::InvalidSdp,
                "Error processing offer: no line can be echoed",
            ));
        }
        let sections: Vec<_> = lines.iter().map(|line| Some(line.as_ref()?.1.clone())).collect();
        let worker = host.least_loaded_worker();
        let mut answer = host
            .answer(handle, worker, SESSION_NAME, &jsep.description, |index, _| {
                sections.get(index)?.clone()
            })
            .map_err(|error| Error::new(Code::InvalidSdp, format!("Error processing offer: {error}")))?;
        answer.e2ee = jsep.e2ee;
        let Some(transport) = host.peer_connection(handle).map(|pc| pc.transport) else {
            return Ok(answer);
        };
        let client = self.clients.entry(handle).or_default();
        let mut before = std::mem::take(&mut client.lines).into_iter();
        for line in &mut lines {
            let before = before.next().flatten();
            let line = line.as_mut().map(|(line, _)| line);
            match (line, before) {
                (Some(line), Some(before)) => line.succeed(host, before),
                (None, Some(before)) => before.end(host),
                _ => {}
            }
        }
        for (line, _) in lines.iter_mut().flatten() {
            line.start(host, transport);
            if let Some(origin) = line.origin() {
                line.pass_on(host, transport, origin, client.layers, TEXT_PREFIX);
            }
        }
        client.lines = lines.into_iter().map(|line| line.map(|(line, _)| line)).collect();
        Ok(answer)
    }

    /// Makes the lines of an offer, with what is answered on each.
    fn lines(&self, host: &mut Host, wishes: Wishes, jsep: &Jsep) -> Vec<Option<(Line, voex_sdp::webrtc::Section)>> {
        let mut has_data = false;
        let media = jsep.description.media.iter().enumerate();
        media
            .map(|(index, media)| {
                // One association carries all channels.
                if is_data(media) && std::mem::replace(&mut has_data, true) {
                    return None;
                }
                let chosen = choose(&self.config, wishes, index, media, 0)?;
                let mid = media.mid.clone().unwrap_or_else(|| index.to_string());
                let rise = jsep.rids_rise.unwrap_or_default();
                let mut section = chosen.section;
                let mut line = Line::new(
                    host,
                    media.kind.clone(),
                    mid,
                    section.payloads.clone(),
                    section.extmaps.clone(),
                    encodings(media, rise),
                );
                line.set_svc(jsep.is_svc(index, media.mid.as_deref()).unwrap_or_default());
                line.receives = media.direction.receives();
                let ours = line.section(Direction::SendRecv);
                section.direction = ours.direction;
                (section.ssrc, section.msid, section.cname) = (ours.ssrc, ours.msid, ours.cname);
                Some((line, section))
            })
            .collect()
    }

    fn layer_changed(&mut self, host: &mut Host, handle: HandleId, subscription: SubscriptionId, change: LayerChange) {
        let Some(client) = self.clients.get_mut(&handle) else {
            return;
        };
        for line in client.lines.iter_mut().flatten() {
            if let Some((name, layer)) = line.note(subscription, change) {
                let event = object([
                    ("echotest", Some(json!("event"))),
                    ("mid", Some(json!(line.mid))),
                    (name, Some(json!(layer))),
                ]);
                host.push_event(handle, None, event, None);
            }
        }
    }
}

impl Client {
    /// Takes over what a request says.
    fn set(&mut self, body: &Map<String, Value>) {
        self.audio = body.flag("audio").unwrap_or(self.audio);
        self.video = body.flag("video").unwrap_or(self.video);
        self.bitrate = body.number32("bitrate").unwrap_or(self.bitrate);
        want_layers(&mut self.layers, body);
    }

    /// Tells the worker what a request changed, or everything for new lines.
    fn apply(&self, host: &mut Host, handle: HandleId, body: &Map<String, Value>, is_new: bool) {
        let Some(transport) = host.peer_connection(handle).map(|pc| pc.transport) else {
            return;
        };
        for line in self.lines.iter().flatten() {
            match line.kind {
                Kind::Audio if is_new || body.contains_key("audio") => line.set_relayed(host, self.audio),
                Kind::Video => self.apply_video(host, transport, line, body, is_new),
                _ => {}
            }
        }
    }

    fn apply_video(
        &self,
        host: &mut Host,
        transport: TransportId,
        line: &Line,
        body: &Map<String, Value>,
        is_new: bool,
    ) {
        const LAYERS: [&str; 5] = ["substream", "temporal", "fallback", "spatial_layer", "temporal_layer"];
        if is_new || body.contains_key("video") {
            line.set_relayed(host, self.video);
        }
        if is_new || body.contains_key("bitrate") {
            line.set_bitrate(host, self.bitrate);
        }
        if LAYERS.iter().any(|name| body.contains_key(*name)) {
            line.set_layers(host, transport, self.layers);
        }
    }
}
