//! Conversations with `janus.plugin.sip`: what a client sends and hears, what the SIP endpoint and the media worker
//! are told.
#![expect(clippy::disallowed_methods, reason = "the origin of virtual time")]

mod helper;
mod in_call;
mod incoming;
mod outgoing;
mod record;
mod registration;
mod transfer;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use voex_base::{Rng, SocketId, WallTime, WorkerId};
use voex_janus::{
    Candidate, Config, ConnectionId, Gateway, Metrics, Output, PortsExhausted, RtpPair, RtpPorts, WorkerMedia,
};
use voex_sdp::{Description, Direction, Kind};
use voex_sfu::command::{Command as Media, DownReason, Event as MediaEvent, TransportKind};
use voex_sip::{AccountId, Command as Sip, EndCause, Ended, Event, Headers, IncomingCall, LegId, ReasonHeader, Secret};

const OFFER: &str = include_str!("../../../../fuzz/corpus/sdp/chromium-call.sdp");
const TELEPHONE: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 0 126\r\na=rtpmap:126 telephone-event/8000\r\n";
const BROWSER_ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 8 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:brow\r\na=ice-pwd:serserserserserserserse\r\n\
    a=fingerprint:sha-256 5B:9D\r\na=setup:active\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:126 telephone-event/8000\r\na=ssrc:77 cname:x\r\n";

/// Ports that count how many pairs are open.
#[derive(Clone)]
struct Ports {
    open: Arc<AtomicI64>,
    max: i64,
}

impl RtpPorts for Ports {
    fn open(&mut self, _worker: WorkerId, toward: Option<IpAddr>) -> Result<RtpPair, PortsExhausted> {
        if self.open.load(Relaxed) >= self.max {
            return Err(PortsExhausted);
        }
        self.open.fetch_add(1, Relaxed);
        // As the shell does, the address depends on whom the socket is to reach.
        let last = if toward.is_some() { 5 } else { 6 };
        Ok(RtpPair {
            rtp: SocketId(1),
            rtcp: Some(SocketId(2)),
            address: ([192, 0, 2, last], 20_000).into(),
        })
    }

    fn close(&mut self, _worker: WorkerId, _pair: RtpPair) {
        self.open.fetch_add(-1, Relaxed);
    }
}

/// A client with one handle.
struct Client {
    gateway: Gateway,
    metrics: Arc<Metrics>,
    ports: Ports,
    now: Instant,
    handle: u64,
    heard: VecDeque<Value>,
    sip: VecDeque<Sip>,
    media: Vec<Media>,
    records: Vec<Value>,
    requests: u32,
}

impl Client {
    fn new() -> Self {
        Self::with_ports(10)
    }

    fn with_ports(max: i64) -> Self {
        let ports = Ports {
            open: Arc::default(),
            max,
        };
        let metrics = Arc::new(Metrics::default());
        let gateway = Gateway::new(config(ports.clone()), Rng::from_number(7), Arc::clone(&metrics));
        let mut client = Self {
            gateway,
            metrics,
            ports,
            now: Instant::now(),
            handle: 0,
            heard: VecDeque::new(),
            sip: VecDeque::new(),
            media: Vec::new(),
            records: Vec::new(),
            requests: 0,
        };
        client
            .gateway
            .handle_open(client.now, ConnectionId(0), IpAddr::from([127, 0, 0, 1]));
        client.says(&json!({"janus": "create", "id": 1, "transaction": "c"}));
        client.says(&json!({"janus": "attach", "session_id": 1, "plugin": "janus.plugin.sip", "transaction": "a"}));
        client.heard.pop_front();
        client.handle = client
            .heard
            .pop_front()
            .and_then(|reply| reply["data"]["id"].as_u64())
            .expect("attached");
        client
    }

    /// A client with a guest account.
    fn guest() -> Self {
        let mut client = Self::new();
        client.asks(json!({"request": "register", "type": "guest", "username": "sip:guest@127.0.0.1"}));
        client.hears("registered");
        client.sip.clear();
        client
    }

    fn says(&mut self, message: &Value) {
        let wall = WallTime::from_unix(Duration::from_secs(1_790_000_000));
        self.gateway
            .handle_message(self.now, wall, ConnectionId(0), &message.to_string());
        self.collect();
    }

    /// Sends a request; its ack must come first. Gives its transaction.
    fn asks(&mut self, body: Value) -> String {
        self.asks_with(body, Value::Null)
    }

    fn asks_with(&mut self, body: Value, jsep: Value) -> String {
        self.requests += 1;
        let transaction = format!("t{}", self.requests);
        let mut message = json!({"janus": "message", "session_id": 1, "handle_id": self.handle, "body": body,
            "transaction": transaction});
        if !jsep.is_null() {
            message["jsep"] = jsep;
        }
        self.says(&message);
        let ack = self.heard.pop_front().expect("an answer");
        assert_eq!(
            ack,
            json!({"janus": "ack", "session_id": 1, "transaction": transaction})
        );
        transaction
    }

    fn sip_says(&mut self, event: Event) {
        self.gateway.handle_sip_event(self.now, event);
        self.collect();
    }

    fn worker_says(&mut self, event: MediaEvent) {
        self.gateway.handle_media_event(self.now, WorkerId(0), event);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Send { text, .. } => self.heard.push_back(serde_json::from_str(&text).expect("JSON")),
                Output::Sip(command) => self.sip.push_back(command),
                Output::Call(record) => self.records.push(serde_json::from_str(&record).expect("JSON")),
                other @ (Output::Event { .. } | Output::Record(_) | Output::LogLevel(_) | Output::LogLine { .. }) => {
                    panic!("{other:?}")
                }
                Output::Media { command, .. } => self.media.push(command),
                Output::Close { .. } => panic!("closes the connection"),
            }
        }
    }

    /// Takes the next event, which must have this name.
    fn hears(&mut self, name: &str) -> Heard {
        let event = self
            .heard
            .pop_front()
            .unwrap_or_else(|| panic!("nothing was said, not even {name}"));
        assert_eq!(event["janus"], "event", "{event}");
        let data = event["plugindata"]["data"].clone();
        assert_eq!(
            (&event["plugindata"]["plugin"], &data["sip"]),
            (&json!("janus.plugin.sip"), &json!("event"))
        );
        assert_eq!(data["result"]["event"], name, "{event}");
        Heard {
            transaction: event["transaction"].as_str().map(str::to_owned),
            data,
            jsep: event["jsep"].clone(),
        }
    }

    /// Takes the next event, which must be an error.
    fn is_refused(&mut self) -> (u64, String) {
        let event = self.heard.pop_front().expect("an error");
        let data = &event["plugindata"]["data"];
        let text = data["error"].as_str().unwrap_or_else(|| panic!("no error: {event}"));
        (data["error_code"].as_u64().expect("a code"), text.to_owned())
    }

    fn hears_core(&mut self, name: &str) -> Value {
        let event = self
            .heard
            .pop_front()
            .unwrap_or_else(|| panic!("nothing was said, not even {name}"));
        assert_eq!(event["janus"], name, "{event}");
        event
    }

    fn hears_nothing(&self) {
        assert!(self.heard.is_empty(), "{:?}", self.heard);
    }

    fn told_sip(&mut self) -> Sip {
        self.sip.pop_front().expect("SIP is told something")
    }

    fn calls(&mut self) -> (LegId, Description) {
        self.asks_with(json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066"}), offer());
        self.hears("calling");
        match self.told_sip() {
            Sip::Call(spec) => (spec.leg, sdp(&spec.sdp)),
            other => panic!("{other:?}"),
        }
    }

    /// An answered outgoing call with PCMA.
    fn talks(&mut self) -> LegId {
        let (leg, _) = self.calls();
        self.sip_says(answered(leg, Some(TELEPHONE)));
        self.hears("accepted");
        self.media.clear();
        leg
    }

    /// Nothing of a call is left: ports, transports, numbers.
    fn is_idle(&self, opened: &[Media]) {
        assert_eq!(self.ports.open.load(Relaxed), 0, "ports are given back");
        assert_eq!(self.metrics.calls.calls.value(), 0);
        let count = |wanted: fn(&Media) -> bool| self.media.iter().chain(opened).filter(|c| wanted(c)).count();
        let opens = count(|c| matches!(c, Media::OpenTransport(_)));
        let closes = count(|c| matches!(c, Media::CloseTransport(_)));
        assert_eq!(opens, closes, "every transport is closed once");
    }
}

struct Heard {
    transaction: Option<String>,
    data: Value,
    jsep: Value,
}

impl Heard {
    fn description(&self, kind: &str) -> Description {
        assert_eq!(self.jsep["type"], kind);
        sdp(self.jsep["sdp"].as_str().expect("text").as_bytes())
    }
}

fn config(ports: Ports) -> Config {
    Config {
        server_name: "test".to_owned(),
        version: "0.1.0".to_owned(),
        workers: vec![WorkerMedia {
            worker: WorkerId(0),
            candidates: vec![Candidate {
                address: ([203, 0, 113, 10], 26_412).into(),
            }],
        }],
        fingerprint_sha256: [0x60; 32],
        public_ip: IpAddr::from([203, 0, 113, 10]),
        session_timeout: Duration::from_secs(60),
        reclaim_timeout: Duration::ZERO,
        api_secret: None,
        rooms: Vec::new(),
        options: voex_janus::Options::default(),
        rtp_ports: Box::new(ports),
    }
}

fn sdp(bytes: &[u8]) -> Description {
    Description::parse(bytes).expect("a description")
}

fn offer() -> Value {
    json!({"type": "offer", "sdp": OFFER})
}

fn answer() -> Value {
    json!({"type": "answer", "sdp": BROWSER_ANSWER})
}

fn types(description: &Description) -> Vec<u8> {
    let (_, audio) = description.first(&Kind::Audio).expect("audio in use");
    audio.payloads.iter().map(|p| p.payload_type).collect()
}

fn fields(list: &[(&str, &str)]) -> Headers {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn provisional(leg: LegId, code: u16, sdp: Option<&str>) -> Event {
    let sdp = sdp.map(|sdp| sdp.as_bytes().to_vec());
    Event::Provisional {
        leg,
        code,
        reason: String::new(),
        sdp,
        headers: fields(&[("X-Test", "hello"), ("Via", "x")]),
    }
}

fn answered(leg: LegId, sdp: Option<&str>) -> Event {
    let sdp = sdp.map(|sdp| sdp.as_bytes().to_vec());
    Event::Answered {
        leg,
        sdp,
        remote: "sip:echo@127.0.0.1:5066".to_owned(),
        headers: Headers::new(),
    }
}

fn ended(leg: LegId, cause: EndCause, code: u16, reason: &str) -> Event {
    let reason = reason.to_owned();
    Event::Ended(Box::new(Ended {
        leg,
        cause,
        code,
        reason,
        reason_header: None,
        headers: Headers::new(),
    }))
}

fn incoming(leg: u64, account: AccountId, sdp: Option<&str>) -> Event {
    Event::IncomingCall(Box::new(IncomingCall {
        leg: LegId(LegId::INCOMING_FIRST + leg),
        account,
        from: "sip:peer@127.0.0.1".to_owned(),
        display_name: Some("\"Peer\"".to_owned()),
        callee: "sip:alice@127.0.0.1".to_owned(),
        request_uri: "sip:alice@127.0.0.1".to_owned(),
        call_id: format!("in-{leg}"),
        sdp: sdp.map(|sdp| sdp.as_bytes().to_vec()),
        headers: fields(&[("Referred-By", "<sip:carol@127.0.0.1>")]),
        source: ([192, 0, 2, 9], 5_060).into(),
        socket: SocketId(9),
    }))
}

const GUEST: AccountId = AccountId(1);
