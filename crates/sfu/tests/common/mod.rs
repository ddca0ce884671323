//! A shard on a virtual clock, and plain RTP legs that talk to it.
#![allow(dead_code, unreachable_pub)] // every test file uses its own part
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a failed unwrap is a failed test; the clock is read once

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Rng, SocketId, SubscriptionId, TrackId, TransportId, VecOutbox, WallTime};
use voex_rtp::extension::{Form, Writer as ExtensionWriter};
use voex_rtp::rtcp::{Compound, Packet as Rtcp, Writer};
use voex_rtp::{FixedHeader, Packet};
use voex_sfu::command::{
    Codec, Extensions, Feedback, Layers, MediaKind, Payload, PlainRemote, SubscriptionSpec, TrackSpec, TransportKind,
    TransportSpec,
};
use voex_sfu::{Command, Config, DropReason, Event, Metrics, Shard};
use voex_transport::Certificate;

pub mod browser;
pub mod sctp;

pub const PCMU: Payload = payload(0, Codec::Pcmu, 8_000, None);
pub const PCMA: Payload = payload(8, Codec::Pcma, 8_000, None);
pub const TELEPHONE_EVENT: Payload = payload(101, Codec::TelephoneEvent, 8_000, None);
pub const OPUS: Payload = payload(111, Codec::Opus, 48_000, None);
pub const VP8: Payload = payload(96, Codec::Vp8, 90_000, Some(97));

/// VP8 payloads: descriptor with S bit, then a header with or without the inverse key frame bit.
pub const KEY_FRAME: &[u8] = &[0x10, 0x50, 1, 2, 3];
pub const DELTA_FRAME: &[u8] = &[0x10, 0x51, 4, 5, 6];

pub const VIDEO_FEEDBACK: Feedback = Feedback {
    nack: true,
    pli: true,
    fir: true,
    remb: true,
    transport_cc: false,
};

const fn payload(payload_type: u8, codec: Codec, clock_rate: u32, rtx: Option<u8>) -> Payload {
    Payload {
        payload_type,
        codec,
        clock_rate,
        rtx,
    }
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub struct World {
    pub shard: Shard,
    pub metrics: Arc<Metrics>,
    pub now: Instant,
    pub wall: WallTime,
    pub out: VecOutbox,
}

/// A plain leg: its number names its ids, sockets and addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leg(pub u64);

impl Leg {
    pub fn transport(self) -> TransportId {
        TransportId(self.0)
    }

    pub fn rtp_socket(self) -> SocketId {
        SocketId(self.0 * 10)
    }

    pub fn rtcp_socket(self) -> SocketId {
        SocketId(self.0 * 10 + 1)
    }

    pub fn rtp(self) -> SocketAddr {
        format!("192.0.2.{}:4000", self.0).parse().unwrap()
    }

    pub fn rtcp(self) -> SocketAddr {
        format!("192.0.2.{}:4001", self.0).parse().unwrap()
    }
}

/// An RTP packet as a test sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rtp {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Rtp {
    pub fn new(payload_type: u8, ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            payload_type,
            marker: false,
            sequence,
            timestamp,
            ssrc,
            extensions: Vec::new(),
            payload: vec![sequence as u8; 20],
        }
    }

    pub fn with_payload(self, payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            ..self
        }
    }

    pub fn with_extension(mut self, id: u8, content: &[u8]) -> Self {
        self.extensions.push((id, content.to_vec()));
        self
    }

    pub fn parse(data: &[u8]) -> Self {
        let packet = Packet::parse(data).unwrap();
        Self {
            payload_type: packet.payload_type(),
            marker: packet.marker(),
            sequence: packet.sequence_number(),
            timestamp: packet.timestamp(),
            ssrc: packet.ssrc(),
            extensions: packet.elements().map(|(id, content)| (id, content.to_vec())).collect(),
            payload: packet.payload().to_vec(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut extension = [0; 128];
        let mut writer = ExtensionWriter::new(&mut extension, Form::OneByte);
        for (id, content) in &self.extensions {
            writer.push(*id, content).unwrap();
        }
        let length = writer.finish().unwrap();
        let header = FixedHeader {
            has_extension: length > 0,
            marker: self.marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        [&header.to_bytes()[..], &extension[..length], &self.payload].concat()
    }

    pub fn numbers(&self) -> (u16, u32) {
        (self.sequence, self.timestamp)
    }
}

pub fn compound(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buf = [0; 1500];
    let mut writer = Writer::new(&mut buf);
    write(&mut writer);
    let length = writer.len();
    buf[..length].to_vec()
}

/// What is in some RTCP, in short words.
pub fn told(compounds: &[Vec<u8>]) -> Vec<String> {
    let mut words = Vec::new();
    for data in compounds {
        for packet in Compound::parse(data).unwrap().packets() {
            words.push(match packet.unwrap() {
                Rtcp::SenderReport(info, blocks) => format!("sr {} blocks {}", info.ssrc, blocks.count()),
                Rtcp::ReceiverReport(_, blocks) => format!("rr blocks {}", blocks.count()),
                Rtcp::SourceDescription => "sdes".to_owned(),
                Rtcp::Bye(_) => "bye".to_owned(),
                Rtcp::Nack(nacks) => {
                    let numbers: Vec<_> = nacks.sequence_numbers().collect();
                    format!("nack {} {numbers:?}", nacks.media_ssrc)
                }
                Rtcp::PictureLoss { media_ssrc } => format!("pli {media_ssrc}"),
                Rtcp::FullIntra(mut requests) => format!("fir {}", requests.next().unwrap().0),
                Rtcp::Remb(remb) => format!("remb {} {:?}", remb.bitrate, remb.ssrcs().collect::<Vec<_>>()),
                Rtcp::TransportFeedback(feedback) => {
                    let seen = feedback.arrivals().unwrap().filter(|(_, delta)| delta.is_some());
                    format!("twcc {:?}", seen.map(|(sequence, _)| sequence).collect::<Vec<_>>())
                }
                Rtcp::Other { .. } => "other".to_owned(),
            });
        }
    }
    words
}

impl World {
    pub fn new() -> Self {
        let certificate = Arc::new(Certificate::generate().unwrap());
        let metrics = Arc::new(Metrics::default());
        Self {
            shard: Shard::new(Config::new(certificate), Rng::from_number(1), metrics.clone()),
            metrics,
            now: Instant::now(),
            wall: WallTime::from_unix(Duration::from_secs(1_700_000_000)),
            out: VecOutbox::default(),
        }
    }

    pub fn command(&mut self, command: Command) {
        self.shard.handle_command(self.now, command, &mut self.out);
    }

    /// Lets time pass; timers fire when they are due.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.shard.poll_timeout().filter(|at| *at <= end) {
            self.step_to(at.max(self.now));
            self.shard.handle_timeout(self.now, self.wall, &mut self.out);
        }
        self.step_to(end);
    }

    fn step_to(&mut self, at: Instant) {
        self.wall = self.wall + (at - self.now);
        self.now = at;
    }

    pub fn datagram(&mut self, socket: SocketId, from: SocketAddr, data: &[u8]) -> Result<(), DropReason> {
        let mut data = data.to_vec();
        self.shard
            .handle_datagram(self.now, self.wall, socket, from, &mut data, &mut self.out)
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.shard.poll_event()).collect()
    }

    /// Opens a plain leg that sends to, and is heard from, the leg's own addresses.
    pub fn leg(&mut self, number: u64) -> Leg {
        let leg = Leg(number);
        self.open_leg(leg);
        self.set_plain_remote(leg, leg.rtp(), false);
        leg
    }

    pub fn open_leg(&mut self, leg: Leg) {
        let kind = TransportKind::Plain {
            rtp: leg.rtp_socket(),
            rtcp: Some(leg.rtcp_socket()),
            cname: format!("leg{}", leg.0),
        };
        let spec = TransportSpec {
            id: leg.transport(),
            kind,
        };
        self.command(Command::OpenTransport(Box::new(spec)));
    }

    pub fn set_plain_remote(&mut self, leg: Leg, rtp: SocketAddr, latch: bool) {
        let remote = PlainRemote {
            rtp,
            rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1),
            latch,
        };
        self.command(Command::SetPlainRemote(leg.transport(), remote));
    }

    pub fn rtp(&mut self, leg: Leg, packet: &Rtp) -> Result<(), DropReason> {
        self.datagram(leg.rtp_socket(), leg.rtp(), &packet.bytes())
    }

    pub fn rtcp(&mut self, leg: Leg, write: impl FnOnce(&mut Writer<'_>)) {
        self.datagram(leg.rtcp_socket(), leg.rtcp(), &compound(write)).unwrap();
    }

    /// What was sent from a socket since the last call.
    pub fn take(&mut self, socket: SocketId) -> Vec<Vec<u8>> {
        let sent = std::mem::take(&mut self.out.sent);
        let (mine, others) = sent.into_iter().partition(|(from, ..)| *from == socket);
        self.out.sent = others;
        let mine: Vec<(SocketId, SocketAddr, Vec<u8>)> = mine;
        mine.into_iter().map(|(_, _, data)| data).collect()
    }

    pub fn heard(&mut self, leg: Leg) -> Vec<Rtp> {
        self.take(leg.rtp_socket())
            .iter()
            .map(|data| Rtp::parse(data))
            .collect()
    }

    pub fn told(&mut self, leg: Leg) -> Vec<String> {
        told(&self.take(leg.rtcp_socket()))
    }

    /// What was told to a leg but for empty receiver reports and names.
    pub fn asked(&mut self, leg: Leg) -> Vec<String> {
        let mut words = self.told(leg);
        words.retain(|word| word != "sdes" && word != "rr blocks 0");
        words
    }

    pub fn forget(&mut self) {
        self.out.sent.clear();
    }

    pub fn audio_track(&mut self, leg: Leg, track: u64) {
        self.track(audio(leg, track));
    }

    pub fn video_track(&mut self, leg: Leg, track: u64) {
        self.track(video(leg, track));
    }

    pub fn track(&mut self, spec: TrackSpec) {
        self.command(Command::AddTrack(Box::new(spec)));
    }

    pub fn subscribe(&mut self, spec: SubscriptionSpec) {
        self.command(Command::AddSubscription(Box::new(spec)));
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.metrics.drops.of(reason).value()
    }
}

pub fn audio(leg: Leg, track: u64) -> TrackSpec {
    TrackSpec {
        id: TrackId(track),
        transport: leg.transport(),
        mid: String::new(),
        kind: MediaKind::Audio,
        payloads: vec![PCMU, PCMA, TELEPHONE_EVENT],
        encodings: Vec::new(),
        extensions: Extensions::default(),
        feedback: Feedback::default(),
    }
}

pub fn video(leg: Leg, track: u64) -> TrackSpec {
    TrackSpec {
        kind: MediaKind::Video,
        payloads: vec![VP8],
        feedback: VIDEO_FEEDBACK,
        ..audio(leg, track)
    }
}

/// A subscription whose id is also its SSRC, and whose payload types stay as they are.
pub fn subscription(id: u64, track: u64, leg: Leg) -> SubscriptionSpec {
    SubscriptionSpec {
        id: SubscriptionId(id),
        track: TrackId(track),
        transport: leg.transport(),
        mid: String::new(),
        ssrc: id as u32,
        rtx_ssrc: None,
        payloads: vec![
            (0, 0, None),
            (8, 8, None),
            (101, 101, None),
            (96, 96, Some(97)),
            (111, 111, None),
        ],
        extensions: Extensions::default(),
        feedback: VIDEO_FEEDBACK,
        cname: "host".to_owned(),
        active: true,
        layers: Layers::default(),
    }
}
