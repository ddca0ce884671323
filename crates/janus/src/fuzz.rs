//! What the fuzz target and the property tests feed the gateway, and what must hold whatever they feed.
//!
//! An input is lines of text. The first character says what happens:
//!
//! | line | meaning |
//! |---|---|
//! | `0TEXT` .. `3TEXT` | a message from that connection, opened when it is not |
//! | `c0` .. `c3` | that connection is closed |
//! | `w5` | five seconds pass |
//! | `u0` | the first transport that was opened comes up, when it is there still |
//! | `d0` | it goes down |
//! | `r0` | its first track receives |
//! | `m0TEXT` | a text comes on a data channel of the first transport |
//! | `l0` | the first subscription that was made forwards other layers |
//!
//! In a message `$A` .. `$Z` is the handle that was attached first, second, ...; `@offer`, `@simulcast`, `@talk`,
//! `@data` and `@answer` are
//! the JSON strings of descriptions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Rng, SocketId, SubscriptionId, TrackId, TransportId, WallTime, WorkerId};
use voex_sfu::command::{Channel, Command, DataKind, DataMessage, DownReason, Event, LayerChange};

use crate::{
    Candidate, Config, ConnectionId, Gateway, Metrics, Output, PortsExhausted, RtpPair, RtpPorts, WorkerMedia,
};

const OFFER: &str = include_str!("../tests/sdp/chromium-publisher.sdp");
const SIMULCAST: &str = include_str!("../tests/sdp/chromium-publisher-simulcast.sdp");
const TALK: &str = include_str!("../tests/sdp/chromium-talker-data.sdp");
const DATA: &str = include_str!("../tests/sdp/chromium-subscriber-data.sdp");
const ANSWER: &str = include_str!("../tests/sdp/chromium-subscriber.sdp");

/// Most lines of one input that are played.
const LINES_MAX: usize = 400;

/// Plays an input and checks the invariants.
///
/// # Panics
/// When a request gets no reply, when a command names a transport or track that is not there, when something is left
/// after every connection has closed.
pub fn play(origin: Instant, input: &[u8]) {
    let mut player = Player::new(origin);
    for line in String::from_utf8_lossy(input).lines().take(LINES_MAX) {
        player.line(line);
    }
    player.close_everything();
}

struct Player {
    gateway: Gateway,
    metrics: Arc<Metrics>,
    now: Instant,
    is_open: [bool; 4],
    /// Ids of handles in the order of attaching.
    handles: Vec<u64>,
    /// Transports in the order of opening.
    opened: Vec<TransportId>,
    /// Subscriptions in the order of making, and where they leave.
    subscriptions: Vec<(TransportId, SubscriptionId)>,
    /// Transports whose data channels are reported.
    reported: Vec<TransportId>,
    /// Transports that exist on the workers, with their tracks.
    transports: BTreeMap<TransportId, Vec<TrackId>>,
}

impl Player {
    fn new(origin: Instant) -> Self {
        let metrics = Arc::new(Metrics::default());
        Self {
            gateway: Gateway::new(config(), Rng::from_number(7), Arc::clone(&metrics)),
            metrics,
            now: origin,
            is_open: [false; 4],
            handles: Vec::new(),
            opened: Vec::new(),
            subscriptions: Vec::new(),
            reported: Vec::new(),
            transports: BTreeMap::new(),
        }
    }

    fn line(&mut self, line: &str) {
        let mut rest = line.chars();
        let Some(first) = rest.next() else { return };
        let rest = rest.as_str();
        let number = rest.parse::<usize>().unwrap_or(0);
        match first {
            '0'..='3' => self.message(first as usize - '0' as usize, rest),
            'c' => self.close(number % 4),
            'w' => {
                self.now += Duration::from_secs((number % 100) as u64);
                self.gateway.handle_timeout(self.now);
            }
            'u' | 'd' | 'r' => self.media(first, number),
            'l' => self.change_layers(number),
            'm' => self.say(rest),
            _ => {}
        }
        self.collect(None);
        self.check_gauges();
    }

    fn message(&mut self, index: usize, text: &str) {
        let connection = ConnectionId(index as u64);
        if !self.is_open[index] {
            self.is_open[index] = true;
            self.gateway
                .handle_open(self.now, connection, IpAddr::from([127, 0, 0, 1]));
        }
        let text = self.fill_in(text);
        let wall = WallTime::from_unix(Duration::from_secs(1_790_000_000));
        self.gateway.handle_message(self.now, wall, connection, &text);
        assert!(self.collect(Some(connection)), "no reply to {text}");
    }

    fn close(&mut self, index: usize) {
        self.is_open[index] = false;
        self.gateway.handle_close(self.now, ConnectionId(index as u64));
    }

    fn media(&mut self, what: char, number: usize) {
        let Some(transport) = self.opened.get(number).copied() else {
            return;
        };
        let worker = WorkerId(0);
        let event = match what {
            'u' => Event::TransportUp(transport),
            'd' => {
                self.transports.remove(&transport);
                Event::TransportDown(transport, DownReason::DtlsAlert)
            }
            _ => match self.transports.get(&transport).and_then(|tracks| tracks.first()) {
                Some(track) => Event::TrackReceiving(*track),
                None => return,
            },
        };
        self.gateway.handle_media_event(self.now, worker, event);
    }

    /// Says something on a data channel, where its messages are reported.
    fn say(&mut self, what: &str) {
        let (number, text) = what.split_at_checked(1).unwrap_or_default();
        let transport = number.parse::<usize>().ok().and_then(|number| self.opened.get(number));
        let Some(transport) = transport.filter(|transport| self.reported.contains(transport)) else {
            return;
        };
        let message = DataMessage {
            channel: Arc::new(Channel::reliable("fuzz")),
            kind: DataKind::Text,
            payload: text.to_owned().into(),
        };
        let event = Event::DataReceived(*transport, message);
        self.gateway.handle_media_event(self.now, WorkerId(0), event);
    }

    /// A track that is named must be there, and so must the transport that it is sent by.
    fn check_subscription(&self, track: TrackId, transport: TransportId) {
        let is_there = self.transports.values().any(|tracks| tracks.contains(&track));
        assert!(is_there, "a subscription to a track that is not there");
        assert!(self.transports.contains_key(&transport), "its transport is there");
    }

    fn change_layers(&mut self, number: usize) {
        let Some((transport, subscription)) = self.subscriptions.get(number).copied() else {
            return;
        };
        for change in [
            LayerChange::Encoding(1),
            LayerChange::Spatial(0),
            LayerChange::Temporal(2),
        ] {
            let event = Event::LayerChanged(transport, subscription, change);
            self.gateway.handle_media_event(self.now, WorkerId(0), event);
        }
    }

    /// Obeys what the gateway wants; true when `connection` was sent something.
    fn collect(&mut self, connection: Option<ConnectionId>) -> bool {
        let mut is_answered = false;
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Send { connection: to, text } => {
                    is_answered |= Some(to) == connection;
                    self.read_reply(&text);
                }
                Output::Media { command, .. } => self.obey(&command),
                Output::Close { .. }
                | Output::Sip(_)
                | Output::Event { .. }
                | Output::Record(_)
                | Output::Call(_)
                | Output::LogLevel(_)
                | Output::LogLine { .. } => {}
            }
        }
        is_answered
    }

    /// Every message is one JSON object; the ids of handles are collected.
    fn read_reply(&mut self, text: &str) {
        let reply: serde_json::Value = serde_json::from_str(text).expect("what we send is JSON");
        assert!(reply.get("janus").is_some(), "{text}");
        let is_attached = reply.get("session_id").is_some() && reply.get("sender").is_none();
        if let Some(id) = reply
            .pointer("/data/id")
            .and_then(serde_json::Value::as_u64)
            .filter(|_| is_attached)
        {
            self.handles.push(id);
        }
    }

    /// Keeps the books of a worker: what is named must be there, but for what went down on its own.
    fn obey(&mut self, command: &Command) {
        match command {
            Command::OpenTransport(spec) => {
                assert!(self.transports.insert(spec.id, Vec::new()).is_none(), "opened twice");
                self.opened.push(spec.id);
            }
            Command::CloseTransport(id) => {
                assert!(self.transports.remove(id).is_some(), "closed without being there");
            }
            Command::AddTrack(track) => {
                let tracks = self
                    .transports
                    .get_mut(&track.transport)
                    .expect("its transport is there");
                tracks.push(track.id);
            }
            Command::AddDataTrack(track) => {
                let tracks = self
                    .transports
                    .get_mut(&track.transport)
                    .expect("its transport is there");
                tracks.push(track.id);
                if track.is_reported {
                    self.reported.push(track.transport);
                }
            }
            Command::AddDataSubscription(subscription) => {
                self.check_subscription(subscription.track, subscription.transport);
            }
            Command::RemoveTrack(track) => {
                self.transports
                    .values_mut()
                    .for_each(|tracks| tracks.retain(|other| other != track));
            }
            Command::AddSubscription(subscription) => {
                self.check_subscription(subscription.track, subscription.transport);
                self.subscriptions.push((subscription.transport, subscription.id));
            }
            _ => {}
        }
    }

    fn check_gauges(&self) {
        for gauge in [
            &self.metrics.sessions,
            &self.metrics.handles,
            &self.metrics.publishers,
            &self.metrics.subscribers,
        ] {
            assert!(gauge.value() >= 0);
        }
    }

    /// When everybody has gone nothing is left but rooms.
    fn close_everything(&mut self) {
        for index in 0..4 {
            self.close(index);
        }
        self.collect(None);
        assert!(self.transports.is_empty(), "left open: {:?}", self.transports);
        let left = [
            &self.metrics.connections,
            &self.metrics.sessions,
            &self.metrics.handles,
            &self.metrics.peer_connections,
            &self.metrics.publishers,
            &self.metrics.subscribers,
        ];
        assert_eq!(left.map(|gauge| gauge.value()), [0; 6]);
    }

    fn fill_in(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut parts = text.split('$');
        filled.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let index = part
                .chars()
                .next()
                .filter(char::is_ascii_uppercase)
                .map(|c| c as usize - 'A' as usize);
            match index.and_then(|index| self.handles.get(index)) {
                Some(handle) => {
                    filled.push_str(&handle.to_string());
                    filled.push_str(&part[1..]);
                }
                None => {
                    filled.push('$');
                    filled.push_str(part);
                }
            }
        }
        filled
            .replace("@offer", &escaped(OFFER))
            .replace("@simulcast", &escaped(SIMULCAST))
            .replace("@talk", &escaped(TALK))
            .replace("@data", &escaped(DATA))
            .replace("@answer", &escaped(ANSWER))
    }
}

fn escaped(sdp: &str) -> String {
    sdp.replace('\n', "\\r\\n")
}

fn config() -> Config {
    Config {
        server_name: "fuzz".to_owned(),
        version: "0.1.0".to_owned(),
        workers: vec![WorkerMedia {
            worker: WorkerId(0),
            candidates: vec![Candidate {
                address: ([192, 0, 2, 1], 20_000).into(),
            }],
        }],
        fingerprint_sha256: [7; 32],
        public_ip: IpAddr::from([192, 0, 2, 1]),
        session_timeout: Duration::from_secs(60),
        reclaim_timeout: Duration::ZERO,
        api_secret: None,
        rooms: Vec::new(),
        options: crate::Options::default(),
        rtp_ports: Box::new(Ports {
            next: 0,
            free: PORT_PAIRS,
        }),
    }
}

/// Pairs of ports that exist.
const PORT_PAIRS: u32 = 8;

/// A small pool of ports.
struct Ports {
    next: u64,
    free: u32,
}

impl RtpPorts for Ports {
    fn open(&mut self, _worker: WorkerId, _toward: Option<IpAddr>) -> Result<RtpPair, PortsExhausted> {
        self.free = self.free.checked_sub(1).ok_or(PortsExhausted)?;
        self.next += 2;
        Ok(RtpPair {
            rtp: SocketId(self.next),
            rtcp: Some(SocketId(self.next + 1)),
            address: ([192, 0, 2, 1], 30_000).into(),
        })
    }

    fn close(&mut self, _worker: WorkerId, _pair: RtpPair) {
        self.free += 1;
        assert!(self.free <= PORT_PAIRS, "given back twice");
    }
}
