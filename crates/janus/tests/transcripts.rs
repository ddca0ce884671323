//! Replays conversations with the API out of text files and compares every byte that comes back.
//!
//! One file is one conversation on a fresh gateway. Lines:
//!
//! ```text
//! config KEY VALUE              before anything else: the names in `configure`
//! alice open | alice close      a connection; `alice open admin` speaks the admin API
//! events <- TEXT                 the next event for event handlers; `events <- *` every one so far
//! server starts | server stops
//! log <- level N | line N TEXT  what was to be logged
//! alice -> TEXT                 a message from alice; $name is replaced by what it was bound to
//! alice <- TEXT                 the next message to alice; $name binds or must be the same, $* is anything
//! media <- TEXT                 the next command to a worker, in the words of `describe`
//! media <- *                    every command so far
//! media -> up $T | down $T REASON | receiving $K | silent $K SECONDS
//! media -> talking $K SUM | quiet $K SUM            of 100 packets
//! media -> encoding $T $s LAYER | spatial $T $s LAYER | temporal $T $s LAYER
//! media -> says $T TEXT         a text message on a data channel
//! wait SECONDS                  time passes
//! ```
//!
//! `"@file"` in a message is the JSON string of tests/sdp/file. Whatever was not expected fails the test.
#![expect(clippy::disallowed_methods, reason = "the origin of virtual time")]

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Rng, SocketId, SubscriptionId, TrackId, TransportId, WallTime, WorkerId};
use voex_janus::{
    Candidate, Config, ConnectionId, Gateway, Metrics, Output, PortsExhausted, RecorderOrder, RtpPair, RtpPorts,
    WorkerMedia,
};
use voex_sfu::command::{
    Channel, Command, DataKind, DataMessage, DownReason, Event, LayerChange, Layers, Speech, TransportKind,
};

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                Replay::run(stringify!($name));
            }
        )*

        #[test]
        fn every_transcript_is_replayed() {
            let mut files: Vec<_> = std::fs::read_dir(folder("transcripts"))
                .expect("the folder is there")
                .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
                .collect();
            files.sort();
            let mut named: Vec<_> = [$(stringify!($name)),*].iter().map(|name| format!("{name}.txt")).collect();
            named.sort();
            assert_eq!(files, named);
        }
    };
}

transcripts! {
    core_errors
    core_sessions
    core_handles
    core_secret
    core_stored_tokens
    core_signed_tokens
    core_opaque_id
    events_of_the_core
    events_of_the_videoroom
    admin_sessions
    admin_settings
    admin_handle_info
    core_reclaim
    reclaim_with_media
    core_jsep
    core_trickle
    core_timeout
    string_ids
    room_management
    room_errors
    recording
    join_and_leave
    publish_and_subscribe
    publisher_dies
    renegotiation
    subscriber_updates
    switching
    simulcast
    svc
    moderation
    talking
    dummy_publisher
    rtp_forwarders
    admin_key
    kick_with_subscriptions
    key_frame_timer
    data
    echotest
    videocall
    textroom
}

fn folder(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

struct Replay {
    gateway: Option<Gateway>,
    config: Option<Config>,
    now: Instant,
    /// Connection names in the order of their ids.
    names: Vec<String>,
    sent: BTreeMap<String, VecDeque<String>>,
    commands: VecDeque<(WorkerId, String)>,
    logged: VecDeque<String>,
    events: VecDeque<String>,
    bound: BTreeMap<String, String>,
}

impl Replay {
    fn run(name: &str) {
        let path = folder("transcripts").join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&path).expect("the transcript is there");
        let mut replay = Self {
            gateway: None,
            config: Some(config()),
            now: Instant::now(),
            names: Vec::new(),
            sent: BTreeMap::new(),
            commands: VecDeque::new(),
            logged: VecDeque::new(),
            events: VecDeque::new(),
            bound: BTreeMap::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(problem) = replay.line(line) {
                panic!("{name}.txt:{}: {line}\n{problem}", number + 1);
            }
        }
        replay.assert_nothing_left(name);
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (who, rest) = line.split_once(' ').ok_or("a line has two words at least")?;
        match (who, rest.split_once(' ').unwrap_or((rest, ""))) {
            ("config", (key, value)) => self.configure(key, value),
            ("wait", (seconds, _)) => {
                self.now += Duration::from_secs_f64(seconds.parse().map_err(|_| "seconds")?);
                let now = self.now;
                self.gateway().handle_timeout(now);
            }
            ("media", ("<-", "*")) => self.commands.clear(),
            ("media", ("<-", expected)) => self.expect_command(expected)?,
            ("media", ("->", event)) => self.media_event(event)?,
            ("events", ("<-", "*")) => self.events.clear(),
            ("events", ("<-", expected)) => self.expect_event(expected)?,
            ("server", ("starts", _)) => {
                let now = self.now;
                self.gateway().handle_start(now, wall());
            }
            ("server", ("stops", _)) => {
                let now = self.now;
                self.gateway().handle_stop(now);
            }
            ("log", ("<-", expected)) => {
                let got = self.logged.pop_front().ok_or("nothing was logged")?;
                if got != expected {
                    return Err(format!("got {got}"));
                }
            }
            (name, ("open", kind)) => self.open(name, kind == "admin"),
            (name, ("close", _)) => {
                let (now, id) = (self.now, self.id(name));
                self.gateway().handle_close(now, id);
            }
            (name, ("->", message)) => {
                let message = with_files(&self.fill_in(message)?);
                let (now, id) = (self.now, self.id(name));
                self.gateway().handle_message(now, wall(), id, &message);
            }
            (name, ("<-", expected)) => self.expect_message(name, expected)?,
            _ => return Err("no such line".to_owned()),
        }
        self.collect();
        Ok(())
    }

    fn gateway(&mut self) -> &mut Gateway {
        let config = &mut self.config;
        self.gateway.get_or_insert_with(|| {
            let config = config.take().expect("made once");
            Gateway::new(config, Rng::from_number(7), Arc::new(Metrics::default()))
        })
    }

    fn configure(&mut self, key: &str, value: &str) {
        let config = self.config.as_mut().expect("configured before the first message");
        let seconds = || Duration::from_secs(value.parse().expect("seconds"));
        match key {
            "api_secret" => config.api_secret = Some(value.to_owned()),
            "session_timeout_s" => config.session_timeout = seconds(),
            "reclaim_timeout_s" => config.reclaim_timeout = seconds(),
            "events" => config.options.events = value == "true",
            "token_auth" => config.options.token_auth = value == "true",
            "token_secret" => config.options.token_secret = Some(value.to_owned()),
            "admin_secret" => {
                config.options.admin_secret = Some(value.to_owned());
                config.options.keep_descriptions = true;
            }
            "admin_key" => config.options.admin_key = Some(value.to_owned()),
            "lock_rtp_forward" => config.options.lock_rtp_forward = value == "true",
            "opaque_id_in_api" => config.options.opaque_id_in_api = value == "true",
            "recordings_dir" => config.options.recordings_dir = Some(value.into()),
            "string_ids" => config.options.string_ids = value == "true",
            "workers" => config.workers = (0..value.parse().expect("a number")).map(worker).collect(),
            other => panic!("no setting {other}"),
        }
    }

    fn open(&mut self, name: &str, is_admin: bool) {
        self.names.push(name.to_owned());
        self.sent.insert(name.to_owned(), VecDeque::new());
        let (now, id) = (self.now, self.id(name));
        let peer = IpAddr::from([127, 0, 0, 1]);
        if is_admin {
            self.gateway().handle_open_admin(now, id, peer);
        } else {
            self.gateway().handle_open(now, id, peer);
        }
    }

    fn id(&self, name: &str) -> ConnectionId {
        let index = self
            .names
            .iter()
            .position(|known| known == name)
            .expect("the connection is open");
        ConnectionId(index as u64)
    }

    fn media_event(&mut self, event: &str) -> Result<(), String> {
        let filled = self.fill_in(event)?;
        let words: Vec<_> = filled.split(' ').collect();
        let id = words.get(1).and_then(|id| id.parse().ok()).ok_or("an id")?;
        let event = match words.as_slice() {
            ["up", _] => Event::TransportUp(TransportId(id)),
            ["down", _, "dtls-alert"] => Event::TransportDown(TransportId(id), DownReason::DtlsAlert),
            ["down", _, "ice-failed"] => Event::TransportDown(TransportId(id), DownReason::IceFailed),
            ["talking" | "quiet", _, level] => {
                let speech = Speech {
                    is_talking: words[0] == "talking",
                    level_sum: level.parse::<u32>().map_err(|_| "a sum")?,
                    packets: 100,
                };
                Event::Speech(TrackId(id), speech)
            }
            ["receiving", _] => Event::TrackReceiving(TrackId(id)),
            ["silent", _, seconds] => Event::TrackSilent(
                TrackId(id),
                Duration::from_secs(seconds.parse().map_err(|_| "seconds")?),
            ),
            [what @ ("encoding" | "spatial" | "temporal"), _, subscription, layer] => {
                let subscription = SubscriptionId(subscription.parse().map_err(|_| "a subscription")?);
                let layer = layer.parse().map_err(|_| "a layer")?;
                let change = match *what {
                    "encoding" => LayerChange::Encoding(layer),
                    "spatial" => LayerChange::Spatial(layer),
                    _ => LayerChange::Temporal(layer),
                };
                Event::LayerChanged(TransportId(id), subscription, change)
            }
            ["says", ..] => Event::DataReceived(TransportId(id), said(&filled)),
            _ => return Err("no such event".to_owned()),
        };
        let now = self.now;
        self.gateway().handle_media_event(now, WorkerId(0), event);
        Ok(())
    }

    fn collect(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        while let Some(output) = gateway.poll_output() {
            match output {
                Output::Send { connection, text } => {
                    let name = &self.names[connection.0 as usize];
                    self.sent.get_mut(name).expect("opened").push_back(text);
                }
                Output::Close { connection } => panic!("closes {connection:?}"),
                Output::Media { worker, command } => self.commands.push_back((worker, describe(&command))),
                Output::Event { text, .. } => self.events.push_back(text),
                Output::Record(order) => self.commands.push_back((WorkerId(0), describe_order(&order))),
                Output::LogLevel(level) => self.logged.push_back(format!("level {}", level.0)),
                Output::LogLine { level, line } => self.logged.push_back(format!("line {} {line}", level.0)),
                Output::Sip(command) => panic!("{command:?}"),
                Output::Call(record) => panic!("{record}"),
            }
        }
    }

    fn expect_message(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let queue = self.sent.get_mut(name).ok_or("the connection is open")?;
        let got = queue.pop_front().ok_or("nothing was sent")?;
        if matches(expected, &got, &mut self.bound) {
            return Ok(());
        }
        Err(format!("got\n{got}\nwith {:?}", self.bound))
    }

    fn expect_event(&mut self, expected: &str) -> Result<(), String> {
        let got = self.events.pop_front().ok_or("no event was told")?;
        if matches(expected, &got, &mut self.bound) {
            return Ok(());
        }
        Err(format!("got\n{got}\nwith {:?}", self.bound))
    }

    fn expect_command(&mut self, expected: &str) -> Result<(), String> {
        let (_, got) = self.commands.pop_front().ok_or("no command was sent")?;
        if matches(expected, &got, &mut self.bound) {
            return Ok(());
        }
        Err(format!("got\n{got}\nwith {:?}", self.bound))
    }

    fn fill_in(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut parts = text.split('$');
        filled.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, rest) = split_name(part);
            filled.push_str(self.bound.get(name).ok_or_else(|| format!("${name} is not bound"))?);
            filled.push_str(rest);
        }
        Ok(filled)
    }

    fn assert_nothing_left(&self, transcript: &str) {
        for (name, queue) in &self.sent {
            assert!(queue.is_empty(), "{transcript}: unexpected for {name}: {queue:#?}");
        }
        assert!(self.events.is_empty(), "{transcript}: unexpected: {:#?}", self.events);
        assert!(self.logged.is_empty(), "{transcript}: unexpected: {:#?}", self.logged);
        assert!(
            self.commands.is_empty(),
            "{transcript}: unexpected: {:#?}",
            self.commands
        );
    }
}

/// Matches a pattern with `$name` and `$*` against a text, binding names.
fn matches(pattern: &str, text: &str, bound: &mut BTreeMap<String, String>) -> bool {
    let Some((literal, rest)) = pattern.split_once('$') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(literal) else {
        return false;
    };
    if let Some(rest) = rest.strip_prefix('*') {
        let ends = (0..=text.len()).filter(|end| text.is_char_boundary(*end));
        return ends.into_iter().any(|end| {
            let mut attempt = bound.clone();
            let is_match = matches(rest, &text[end..], &mut attempt);
            if is_match {
                *bound = attempt;
            }
            is_match
        });
    }
    let (name, rest) = split_name(rest);
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (value, after) = text.split_at(end);
    let known = bound.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    !value.is_empty() && known == value && matches(rest, after, bound)
}

fn describe_order(order: &RecorderOrder) -> String {
    match order {
        RecorderOrder::Open(spec) => format!(
            "record {} {} {:?} {} {:?} {:?} {}",
            spec.id.0 & 0xffff_ffff,
            spec.path.display(),
            spec.kind,
            spec.codec,
            spec.fmtp,
            spec.extensions,
            spec.is_encrypted,
        ),
        RecorderOrder::Close(id) => format!("record no more {}", id.0 & 0xffff_ffff),
    }
}

fn split_name(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Puts the content of files where `"@file"` stands.
fn with_files(text: &str) -> String {
    let mut filled = String::new();
    let mut parts = text.split("\"@");
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (file, rest) = part.split_once('"').expect("the name of a file ends");
        let sdp = std::fs::read_to_string(folder("sdp").join(file)).expect("the description is there");
        let sdp = sdp.replace('\n', "\r\n");
        filled.push_str(&serde_json::to_string(&sdp).expect("a string"));
        filled.push_str(rest);
    }
    filled
}

/// Writes a command in one line, with what a reader of a transcript wants to know.
fn describe(command: &Command) -> String {
    match command {
        Command::OpenTransport(spec) => match &spec.kind {
            TransportKind::WebRtc { .. } => format!("open {}", spec.id),
            TransportKind::Plain { .. } => format!("open plain {}", spec.id),
        },
        Command::SetRemote(id, remote) => {
            format!("remote {id} {}/{} {:?}", remote.ufrag, remote.pwd, remote.dtls_role)
        }
        Command::SetPlainRemote(id, remote) => format!("to {id} {} and {}", remote.rtp, remote.rtcp),
        Command::CloseTransport(id) => format!("close {id}"),
        Command::AddTrack(track) => {
            let types: Vec<_> = track
                .payloads
                .iter()
                .map(|p| format!("{:?}:{}/{:?}", p.codec, p.payload_type, p.rtx))
                .collect();
            let names = track.encodings.iter().map(|encoding| match encoding.ssrc {
                None => encoding.rid.clone(),
                Some((ssrc, rtx)) => format!("{ssrc}/{}", rtx.unwrap_or_default()),
            });
            let names: Vec<_> = names.collect();
            let simulcast = match names.len() {
                ..=1 => String::new(),
                _ => format!(" encodings {}", names.join(",")),
            };
            format!(
                "track {} of {} mid {} {}{simulcast}",
                track.id,
                track.transport,
                track.mid,
                types.join(",")
            )
        }
        Command::RemoveTrack(id) => format!("no track {id}"),
        Command::SetTrackRelayed(id, relayed) => format!("relayed {id} {relayed}"),
        Command::SetTrackSpeech(id, rule) => format!("speech {id} {} packets below {}", rule.packets, rule.level),
        Command::SetTrackBitrate(id, cap) => format!("bitrate {id} {}", cap.unwrap_or(0)),
        Command::RequestKeyFrame(id) => format!("key frame {id}"),
        Command::AddSubscription(s) => {
            format!(
                "subscription {} to {} on {} mid {} {:?} {}{}",
                s.id,
                s.track,
                s.transport,
                s.mid,
                s.payloads,
                s.active,
                layers(&s.layers)
            )
        }
        Command::SetSubscriptionActive(id, active) => format!("active {id} {active}"),
        Command::SetSubscriptionLayers(id, wanted) => format!("wanted {id}{}", layers(wanted)),
        Command::RemoveSubscription(id) => format!("no subscription {id}"),
        Command::OpenData(id, bytes) => format!("data {id} {bytes}"),
        Command::AddPipedTrack(home, track) => format!("piped {} from {}", track.id, home.0),
        Command::AddPipedDataTrack(home, track) => format!("piped data {} from {}", track.id, home.0),
        Command::SetDataReach(id, reach) => format!("reach {id} {} {}", reach.is_reported, reach.far_subscriptions),
        Command::AddDataTrack(track) => {
            let reported = if track.is_reported { " reported" } else { "" };
            format!("data track {} of {}{reported}", track.id, track.transport)
        }
        Command::AddDataSubscription(s) => {
            let prefix = if s.text_prefix.is_empty() {
                String::new()
            } else {
                format!(" with {:?}", s.text_prefix)
            };
            format!(
                "data subscription {} to {} on {} {}{prefix}",
                s.id, s.track, s.transport, s.active
            )
        }
        Command::SendPipedData(id, message) => format!("pass {id} {}", message.channel.label),
        Command::SendData(id, message) => {
            format!(
                "say {id} {} {}",
                message.channel.label,
                String::from_utf8_lossy(&message.payload)
            )
        }
    }
}

/// Layers that are wanted, where they are not all.
fn layers(wanted: &Layers) -> String {
    if *wanted == Layers::default() {
        return String::new();
    }
    let fallback = wanted.fallback.as_millis();
    format!(
        " encoding {} spatial {} temporal {} fallback {fallback} ms",
        wanted.encoding, wanted.spatial, wanted.temporal
    )
}

fn config() -> Config {
    Config {
        server_name: "test".to_owned(),
        version: "0.1.0".to_owned(),
        workers: vec![worker(0)],
        fingerprint_sha256: [0x60; 32],
        public_ip: IpAddr::from([203, 0, 113, 10]),
        session_timeout: Duration::from_secs(60),
        reclaim_timeout: Duration::ZERO,
        api_secret: None,
        rooms: Vec::new(),
        options: voex_janus::Options::default(),
        rtp_ports: Box::new(Ports { last: 0, open: 0 }),
    }
}

fn worker(index: u16) -> WorkerMedia {
    let address = |ip: [u8; 4]| Candidate {
        address: (ip, 26_412 + index).into(),
    };
    WorkerMedia {
        worker: WorkerId(index),
        candidates: vec![address([203, 0, 113, 10]), address([10, 77, 0, 1])],
    }
}

fn wall() -> WallTime {
    WallTime::from_unix(Duration::from_secs(1_790_000_000))
}

/// The message of a `says` line: what stands behind the second word.
fn said(event: &str) -> DataMessage {
    let text = event.splitn(3, ' ').nth(2).unwrap_or_default();
    DataMessage {
        channel: Arc::new(Channel::reliable("JanusDataChannel")),
        kind: DataKind::Text,
        payload: text.to_owned().into(),
    }
}

/// A pool of port pairs that counts how many are out.
struct Ports {
    last: u64,
    open: usize,
}

impl RtpPorts for Ports {
    fn open(&mut self, _worker: WorkerId, _toward: Option<IpAddr>) -> Result<RtpPair, PortsExhausted> {
        if self.open == 3 {
            return Err(PortsExhausted);
        }
        self.open += 1;
        self.last += 2;
        Ok(RtpPair {
            rtp: SocketId(self.last),
            rtcp: Some(SocketId(self.last + 1)),
            address: ([10, 77, 0, 1], 20_000).into(),
        })
    }

    fn close(&mut self, _worker: WorkerId, pair: RtpPair) {
        assert!(pair.rtp.0 <= self.last, "never opened");
        self.open -= 1;
    }
}
