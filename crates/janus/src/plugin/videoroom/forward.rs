//! RTP forwarders: streams of a publisher sent as plain RTP to hosts that the API names.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value, json};
use voex_base::{SubscriptionId, TrackId, TransportId};
use voex_sfu::command::{Command, Extensions, Feedback, Layers, PlainRemote, SubscriptionSpec};

use super::error::{Code, Error};
use super::management::check_secret;
use super::publish::{check_objects, objects};
use super::publisher::{PublishedStream, Publisher, StreamKind};
use super::room::object;
use super::{VideoRoom, tell};
use crate::host::Host;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::plugin::id::Id;

/// Most forwarders of one publisher; each takes a pair of ports. One more is answered 499.
const FORWARDERS_MAX: usize = 64;
/// Most forwarders in all, so that calls to SIP find ports too. One more is answered 499.
const FORWARDERS_TOTAL_MAX: usize = 1_024;

/// How long an encoding that was asked for may be silent: a forwarder of one encoding never sends another.
const NO_FALLBACK: Duration = Duration::from_secs(24 * 3600);

const HOST: [Field; 6] = [
    optional("secret", Type::String),
    required("host", Type::String),
    optional("host_family", Type::String),
    optional("srtp_suite", Type::Unsigned),
    optional("srtp_crypto", Type::String),
    optional("streams", Type::Array),
];
const PUBLISHER: [Field; 2] = [required("room", Type::Id), required("publisher_id", Type::Id)];
const STOP: [Field; 1] = [required("stream_id", Type::Unsigned)];
const STREAM: [Field; 16] = [
    required("mid", Type::String),
    optional("host", Type::String),
    optional("host_family", Type::String),
    required("port", Type::Unsigned),
    optional("rtcp_port", Type::Unsigned),
    optional("ssrc", Type::Unsigned),
    optional("pt", Type::Unsigned),
    optional("simulcast", Type::Boolean),
    optional("srtp_suite", Type::Unsigned),
    optional("srtp_crypto", Type::String),
    optional("port_2", Type::Unsigned),
    optional("ssrc_2", Type::Unsigned),
    optional("pt_2", Type::Unsigned),
    optional("port_3", Type::Unsigned),
    optional("ssrc_3", Type::Unsigned),
    optional("pt_3", Type::Unsigned),
];
const OLD: [Field; 15] = [
    optional("audio_port", Type::Unsigned),
    optional("audio_rtcp_port", Type::Unsigned),
    optional("audio_ssrc", Type::Unsigned),
    optional("audio_pt", Type::Unsigned),
    optional("video_port", Type::Unsigned),
    optional("video_rtcp_port", Type::Unsigned),
    optional("video_ssrc", Type::Unsigned),
    optional("video_pt", Type::Unsigned),
    optional("video_port_2", Type::Unsigned),
    optional("video_ssrc_2", Type::Unsigned),
    optional("video_pt_2", Type::Unsigned),
    optional("video_port_3", Type::Unsigned),
    optional("video_ssrc_3", Type::Unsigned),
    optional("video_pt_3", Type::Unsigned),
    optional("data_port", Type::Unsigned),
];

/// A stream that is forwarded, or one encoding of it.
pub(crate) struct Forwarder {
    id: u32,
    kind: StreamKind,
    mid: String,
    /// The track that flows.
    track: TrackId,
    to: SocketAddr,
    rtcp_port: Option<u16>,
    ssrc: Option<u32>,
    payload_type: Option<u8>,
    substream: Option<u8>,
    transport: TransportId,
    subscription: SubscriptionId,
}

/// What a request asks to forward.
struct Wish {
    mid: String,
    to: SocketAddr,
    rtcp_port: Option<u16>,
    ssrc: Option<u32>,
    payload_type: Option<u8>,
    substream: Option<u8>,
}

impl VideoRoom {
    pub(super) fn rtp_forward(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        check(body, &HOST)?;
        check(body, &OLD)?;
        self.ids.check(body, &PUBLISHER)?;
        check_lock(host, body)?;
        let address = address(body)?;
        let ids = self.ids;
        check_objects(ids, body, "streams", &STREAM)?;
        let is_encrypted = |fields: &Map<String, Value>| fields.contains_key("srtp_suite");
        if is_encrypted(body) || objects(body, "streams").any(is_encrypted) {
            return Err(Error::new(
                Code::InvalidRequest,
                "SRTP forwarders are not supported by this server",
            ));
        }
        let everywhere = self.rooms.values().flat_map(|room| room.publishers.values());
        let in_all: usize = everywhere.map(|publisher| publisher.forwarders.len()).sum();
        let room = self.room_with_secret(body, &[])?;
        let room_id = room.id.clone();
        let user = ids.read_required(body, "publisher_id");
        // A dummy sends nothing.
        let publisher = room.publishers.get_mut(&user).filter(|publisher| !publisher.dummy);
        let publisher = publisher.ok_or_else(|| Error::no_such_feed(&user))?;
        let is_new = body.list("streams").is_some_and(|streams| !streams.is_empty());
        let wishes = match is_new {
            true => new_wishes(body, address, publisher)?,
            false => old_wishes(body, address, publisher)?,
        };
        let is_full = in_all + wishes.len() > FORWARDERS_TOTAL_MAX;
        if is_full || publisher.forwarders.len() + wishes.len() > FORWARDERS_MAX {
            return Err(Error::new(Code::Unknown, "Too many RTP forwarders"));
        }
        let before = publisher.forwarders.len();
        for wish in wishes {
            if let Err(error) = publisher.forward(host, wish) {
                // Nobody would know of those made so far.
                for made in publisher.forwarders.split_off(before) {
                    host.close_plain(made.transport);
                }
                return Err(error);
            }
        }
        let made = &publisher.forwarders[before..];
        for forwarder in made {
            let event = forwarder.event(&room_id, &user);
            tell::tell_event(host, event);
        }
        Ok(object([
            ("videoroom", Some(json!("rtp_forward"))),
            ("room", Some(json!(room_id))),
            ("publisher_id", Some(json!(user))),
            (
                "forwarders",
                is_new.then(|| made.iter().map(Forwarder::to_json).collect()),
            ),
            ("rtp_stream", (!is_new).then(|| old_answer(address, made))),
        ]))
    }

    pub(super) fn stop_rtp_forward(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &PUBLISHER)?;
        check(body, &STOP)?;
        check_lock(host, body)?;
        let user = self.ids.read_required(body, "publisher_id");
        let room = self.room_with_secret(body, &[])?;
        let room_id = room.id.clone();
        let publisher = room
            .publishers
            .get_mut(&user)
            .ok_or_else(|| Error::no_such_feed(&user))?;
        let id = body.number("stream_id").unwrap_or_default();
        let found = publisher
            .forwarders
            .iter()
            .position(|forwarder| u64::from(forwarder.id) == id);
        let found = found.ok_or_else(|| Error::new(Code::NoSuchFeed, format!("No such stream ({id})")))?;
        host.close_plain(publisher.forwarders.remove(found).transport);
        let stopped = json!({"event": "stop_rtp_forward", "room": room_id, "publisher_id": user, "stream_id": id});
        tell::tell_event(host, stopped);
        Ok(json!({"videoroom": "stop_rtp_forward", "room": room_id, "publisher_id": user, "stream_id": id}))
    }

    pub(super) fn list_forwarders(&mut self, host: &Host, body: &Map<String, Value>) -> Result<Value, Error> {
        self.ids.check(body, &PUBLISHER[..1])?;
        check_lock(host, body)?;
        let room = self.room_with_secret(body, &[])?;
        let forwarding = room
            .publishers
            .values()
            .filter(|publisher| !publisher.forwarders.is_empty());
        let publishers = forwarding.map(|publisher| {
            let forwarders: Value = publisher.forwarders.iter().map(Forwarder::to_json).collect();
            json!({"publisher_id": publisher.id, "forwarders": forwarders})
        });
        let publishers: Value = publishers.collect();
        Ok(json!({"videoroom": "forwarders", "room": room.id, "publishers": publishers}))
    }

    /// The transport of a forwarder is gone.
    pub(super) fn forwarder_down(&mut self, room_id: &Id, user: &Id, transport: TransportId) {
        let room = self.rooms.get_mut(room_id);
        if let Some(publisher) = room.and_then(|room| room.publishers.get_mut(user)) {
            publisher
                .forwarders
                .retain(|forwarder| forwarder.transport != transport);
        }
    }
}

impl Publisher {
    /// Starts to forward one stream.
    fn forward(&mut self, host: &mut Host, wish: Wish) -> Result<(), Error> {
        let failed = || Error::new(Code::Unknown, "Could not open UDP socket for RTP stream");
        let stream = self.enabled_stream(&wish.mid).ok_or_else(failed)?;
        let (Some(track), Some(format)) = (stream.track, &stream.format) else {
            return Err(failed());
        };
        let kind = stream.kind;
        let arriving = format.payload.payload_type;
        let worker = host.worker_of_track(track).ok_or_else(failed)?;
        let plain = host
            .open_plain(self.handle, worker, Some(wish.to.ip()))
            .map_err(|_| failed())?;
        // Without a port for RTCP nobody wants reports.
        let remote = PlainRemote {
            rtp: wish.to,
            rtcp: SocketAddr::new(wish.to.ip(), wish.rtcp_port.unwrap_or(0)),
            latch: false,
        };
        host.media(worker, Command::SetPlainRemote(plain.id, remote));
        let taken: Vec<_> = self.forwarders.iter().map(|forwarder| forwarder.id).collect();
        let id = loop {
            let id = host.rng.u32();
            if id != 0 && !taken.contains(&id) {
                break id;
            }
        };
        let forwarder = Forwarder {
            id,
            kind,
            mid: wish.mid,
            track,
            to: wish.to,
            rtcp_port: wish.rtcp_port,
            ssrc: wish.ssrc,
            payload_type: wish.payload_type,
            substream: wish.substream,
            transport: plain.id,
            subscription: host.new_subscription_id(),
        };
        forwarder.subscribe(host, arriving);
        self.forwarders.push(forwarder);
        Ok(())
    }

    /// After a negotiation: forwarders whose stream has another track now follow it, those whose stream is gone end.
    /// Gives the ids of those that ended.
    pub(super) fn follow_forwarded(&mut self, host: &mut Host) -> Vec<u32> {
        let mut ended = Vec::new();
        for mut forwarder in std::mem::take(&mut self.forwarders) {
            let stream = self.enabled_stream(&forwarder.mid);
            let flowing = stream.and_then(|stream| Some((stream.track?, stream.format.as_ref()?.payload.payload_type)));
            let Some((track, arriving)) = flowing else {
                host.close_plain(forwarder.transport);
                ended.push(forwarder.id);
                continue;
            };
            if std::mem::replace(&mut forwarder.track, track) != track {
                forwarder.subscribe(host, arriving);
            }
            self.forwarders.push(forwarder);
        }
        ended
    }

    /// Ends every forwarder.
    pub(super) fn stop_forwarders(&mut self, host: &mut Host) {
        for forwarder in std::mem::take(&mut self.forwarders) {
            host.close_plain(forwarder.transport);
        }
    }
}

impl Forwarder {
    /// Lets its track, which arrives with that payload type, flow to it.
    fn subscribe(&self, host: &mut Host, arriving: u8) {
        let ssrc = self.ssrc.unwrap_or_else(|| host.new_ssrc());
        let layers = match self.substream {
            None => Layers::default(),
            Some(encoding) => Layers {
                encoding,
                fallback: NO_FALLBACK,
                ..Layers::default()
            },
        };
        host.add_subscription(SubscriptionSpec {
            id: self.subscription,
            track: self.track,
            transport: self.transport,
            mid: String::new(),
            ssrc,
            rtx_ssrc: None,
            payloads: vec![(arriving, self.payload_type.unwrap_or(arriving), None)],
            extensions: Extensions::default(),
            feedback: Feedback::default(),
            cname: "janus".to_owned(),
            active: true,
            layers,
        });
    }

    fn to_json(&self) -> Value {
        object([
            ("stream_id", Some(json!(self.id))),
            ("type", Some(json!(self.kind.name()))),
            ("host", Some(json!(self.to.ip().to_string()))),
            ("port", Some(json!(self.to.port()))),
            ("remote_rtcp_port", self.rtcp_port.map(|port| json!(port))),
            ("ssrc", self.ssrc.map(|ssrc| json!(ssrc))),
            ("pt", self.payload_type.map(|pt| json!(pt))),
            ("substream", self.substream.map(|substream| json!(substream))),
        ])
    }

    fn event(&self, room: &Id, publisher: &Id) -> Value {
        json!({
            "event": "rtp_forward", "room": room, "publisher_id": publisher, "media": self.kind.name(),
            "stream_id": self.id, "host": self.to.ip().to_string(), "port": self.to.port(),
        })
    }
}

/// Where forwarders are locked, requests for them need the key of the administrator.
fn check_lock(host: &Host, body: &Map<String, Value>) -> Result<(), Error> {
    let options = &host.config.options;
    match options.lock_rtp_forward {
        true => check_secret(body, "admin_key", options.admin_key.as_deref()),
        false => Ok(()),
    }
}

/// Reads `host`: an address, since no name is looked up here.
fn address(fields: &Map<String, Value>) -> Result<IpAddr, Error> {
    let host = fields.text("host").unwrap_or_default();
    let address: Option<IpAddr> = host.parse().ok();
    let is_wanted = |address: &IpAddr| match fields.text("host_family").map(str::to_ascii_lowercase).as_deref() {
        None => Some(true),
        Some("ipv4") => Some(address.is_ipv4()),
        Some("ipv6") => Some(address.is_ipv6()),
        Some(_) => None,
    };
    match address.map(|address| (address, is_wanted(&address))) {
        Some((address, Some(true))) => Ok(address),
        Some((_, None)) => {
            let family = fields.text("host_family").unwrap_or_default();
            Err(Error::invalid(format!("Unsupported protocol family ({family})")))
        }
        _ => Err(Error::invalid(format!("Could not resolve address ({host})..."))),
    }
}

fn port(fields: &Map<String, Value>, name: &str) -> Option<u16> {
    let port = fields.number(name)?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Reads what goes where for up to three encodings of one stream: `names` are those of port, SSRC and payload type.
fn wishes_of(
    fields: &Map<String, Value>,
    stream: &PublishedStream,
    address: IpAddr,
    (prefix, rtcp_port): (&str, Option<u16>),
) -> Vec<Wish> {
    let follows = fields.flag("simulcast") == Some(true);
    let is_simulcast = stream.is_simulcast() && !follows;
    let suffixes = [("", 0), ("_2", 1), ("_3", 2)];
    let taken = suffixes.into_iter().take(if is_simulcast { 3 } else { 1 });
    let wish = |(suffix, substream): (&str, u8)| {
        let name = |what: &str| format!("{prefix}{what}{suffix}");
        Some(Wish {
            mid: stream.mid.clone(),
            to: SocketAddr::new(address, port(fields, &name("port"))?),
            rtcp_port: rtcp_port.filter(|_| substream == 0),
            ssrc: fields.number32(&name("ssrc")).filter(|ssrc| *ssrc != 0),
            payload_type: fields
                .number(&name("pt"))
                .and_then(|pt| u8::try_from(pt).ok())
                .filter(|pt| (1..128).contains(pt)),
            substream: is_simulcast.then_some(substream),
        })
    };
    taken.filter_map(wish).collect()
}

fn new_wishes(body: &Map<String, Value>, global: IpAddr, publisher: &Publisher) -> Result<Vec<Wish>, Error> {
    let mut wishes = Vec::new();
    for fields in objects(body, "streams") {
        let address = if fields.contains_key("host") {
            address(fields)?
        } else {
            global
        };
        let mid = fields.text("mid").unwrap_or_default();
        let Some(stream) = publisher.enabled_stream(mid) else {
            continue;
        };
        check_kind(stream)?;
        wishes.extend(wishes_of(fields, stream, address, ("", port(fields, "rtcp_port"))));
    }
    Ok(wishes)
}

/// Reads the old form: the first stream of each kind.
fn old_wishes(body: &Map<String, Value>, address: IpAddr, publisher: &Publisher) -> Result<Vec<Wish>, Error> {
    let mut wishes = Vec::new();
    for kind in [StreamKind::Audio, StreamKind::Video, StreamKind::Data] {
        let prefix = format!("{}_", kind.name());
        let first = publisher.enabled_streams().find(|stream| stream.kind == kind);
        let Some(stream) = first.filter(|_| port(body, &format!("{prefix}port")).is_some()) else {
            continue;
        };
        check_kind(stream)?;
        let rtcp_port = port(body, &format!("{prefix}rtcp_port"));
        wishes.extend(wishes_of(body, stream, address, (&prefix, rtcp_port)));
    }
    Ok(wishes)
}

fn check_kind(stream: &PublishedStream) -> Result<(), Error> {
    match stream.kind {
        StreamKind::Audio | StreamKind::Video => Ok(()),
        StreamKind::Data => {
            let text = "Forwarders of data are not supported by this server";
            Err(Error::new(Code::InvalidRequest, text))
        }
    }
}

/// Writes the answer to the old form.
fn old_answer(address: IpAddr, made: &[Forwarder]) -> Value {
    let mut answer = Map::new();
    answer.insert("host".into(), address.to_string().into());
    for forwarder in made {
        let kind = forwarder.kind.name();
        let suffix = match forwarder.substream {
            None | Some(0) => "",
            Some(1) => "_2",
            Some(_) => "_3",
        };
        answer.insert(format!("{kind}_stream_id{suffix}"), forwarder.id.into());
        answer.insert(format!("{kind}{suffix}"), forwarder.to.port().into());
        if let Some(rtcp_port) = forwarder.rtcp_port {
            answer.insert(format!("{kind}_rtcp"), rtcp_port.into());
        }
    }
    answer.insert("warning".into(), "deprecated_api".into());
    Value::Object(answer)
}
