//! Conversations with `janus.plugin.sip`: what a client sends and hears, what the SIP endpoint and the media worker
//! are told.
#![expect(clippy::disallowed_methods, reason = "the origin of virtual time")]

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

const OFFER: &str = include_str!("../../../fuzz/corpus/sdp/chromium-call.sdp");
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

#[test]
fn registration_is_reported_when_the_registrar_answers() {
    let mut client = Client::new();
    let transaction = client.asks(
        json!({"request": "register", "username": "sip:alice@127.0.0.1", "display_name": "Alice",
        "secret": "pw", "proxy": "sip:127.0.0.1:5066", "incoming_header_prefixes": ["X-"], "headers": {"X-Own": "1"}}),
    );
    let heard = client.hears("registering");
    assert_eq!(heard.transaction, Some(transaction));
    assert_eq!(heard.data, json!({"sip": "event", "result": {"event": "registering"}}));
    let Sip::Register(spec) = client.told_sip() else {
        panic!("no REGISTER")
    };
    assert_eq!(
        (spec.aor.as_str(), spec.display_name.as_deref()),
        ("sip:alice@127.0.0.1", Some("Alice"))
    );
    assert_eq!(spec.proxy.as_deref(), Some("sip:127.0.0.1:5066"));
    let registration = spec.registration.expect("registers");
    assert_eq!(
        (registration.ttl, registration.headers),
        (Duration::from_secs(3_600), fields(&[("X-Own", "1")]))
    );
    let credentials = spec.credentials.expect("has a secret");
    assert!(credentials.user == "alice" && credentials.secret == Secret::Password("pw".to_owned()));

    let ttl = Duration::from_secs(3_600);
    let headers = fields(&[("X-Test", "hello"), ("Contact", "c")]);
    client.sip_says(Event::Registered {
        account: spec.id,
        ttl,
        headers,
    });
    let heard = client.hears("registered");
    assert_eq!(heard.transaction, None);
    let master = heard.data["result"]["master_id"].clone();
    assert!(master.is_u64());
    assert_eq!(
        heard.data["result"],
        json!({"event": "registered", "username": "alice", "register_sent": true,
        "master_id": master, "headers": {"X-Test": "hello"}})
    );

    client.asks(json!({"request": "register", "username": "sip:alice@127.0.0.1", "secret": "pw"}));
    assert_eq!(client.is_refused(), (445, "Already registered (alice)".to_owned()));

    client.asks(json!({"request": "unregister"}));
    client.hears("unregistering");
    assert!(matches!(client.told_sip(), Sip::Unregister { account } if account == spec.id));
    client.sip_says(Event::Unregistered {
        account: spec.id,
        headers: Headers::new(),
    });
    let heard = client.hears("unregistered");
    assert_eq!(
        heard.data["result"],
        json!({"event": "unregistered", "username": "alice"})
    );
    client.asks(json!({"request": "unregister"}));
    assert_eq!(client.is_refused(), (447, "Wrong state (not registered)".to_owned()));
}

#[test]
fn a_refused_registration_may_be_tried_again() {
    let mut client = Client::new();
    let register = json!({"request": "register", "username": "sip:alice@127.0.0.1", "secret": "wrong"});
    client.asks(register.clone());
    client.hears("registering");
    let failed = Event::RegistrationFailed {
        account: AccountId(1),
        code: 403,
        reason: "Forbidden".to_owned(),
        headers: Headers::new(),
    };
    client.sip_says(failed);
    let heard = client.hears("registration_failed");
    assert_eq!(
        heard.data["result"],
        json!({"event": "registration_failed", "code": 403, "reason": "Forbidden"})
    );
    client.asks_with(json!({"request": "call", "uri": "sip:b@127.0.0.1"}), offer());
    assert_eq!(client.is_refused(), (447, "Wrong state (register first)".to_owned()));
    client.asks(register);
    client.hears("registering");
}

#[test]
fn a_guest_is_registered_at_once_and_cannot_unregister() {
    let mut client = Client::new();
    let transaction =
        client.asks(json!({"request": "register", "type": "guest", "username": "sip:guest@127.0.0.1", "proxy": "sip:127.0.0.1:5066"}));
    let heard = client.hears("registered");
    assert_eq!(heard.transaction, Some(transaction));
    let master = heard.data["result"]["master_id"].clone();
    assert_eq!(
        heard.data["result"],
        json!({"event": "registered", "username": "guest", "register_sent": false, "master_id": master})
    );
    assert!(matches!(client.told_sip(), Sip::Register(spec) if spec.registration.is_none()));
    client.sip_says(Event::Registered {
        account: GUEST,
        ttl: Duration::ZERO,
        headers: Headers::new(),
    });
    client.hears_nothing();
    client.asks(json!({"request": "unregister"}));
    assert_eq!(client.is_refused(), (447, "Wrong state (not registered)".to_owned()));
}

#[test]
fn send_register_false_needs_no_secret_and_sends_nothing() {
    let mut client = Client::new();
    client.asks(json!({"request": "register", "send_register": false, "username": "sip:t@127.0.0.1"}));
    assert_eq!(client.hears("registered").data["result"]["register_sent"], false);
    assert!(matches!(client.told_sip(), Sip::Register(spec) if spec.registration.is_none()));
}

#[test]
fn wrong_requests_are_acked_and_then_refused_with_the_codes_that_clients_know() {
    let mut client = Client::new();
    let register = |more: Value| {
        let mut body = json!({"request": "register"});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        body
    };
    let name = "sip:alice@127.0.0.1";
    for (body, code, text) in [
        (json!({}), 443, "Missing mandatory element (request)"),
        (json!({"request": "fly"}), 442, "Unknown request (fly)"),
        (
            json!({"request": "transfer", "uri": "sip:x@y"}),
            442,
            "Unknown request (transfer)",
        ),
        (register(json!({})), 443, "Missing mandatory element (username)"),
        (
            register(json!({"username": name})),
            443,
            "Missing element (secret or ha1_secret)",
        ),
        (
            register(json!({"username": name, "secret": "a", "ha1_secret": "b"})),
            444,
            "Conflicting elements specified (secret and ha1_secret)",
        ),
        (
            register(json!({"username": "bad uri", "secret": "a"})),
            446,
            "Invalid user address bad uri\n",
        ),
        (
            register(json!({"username": name, "secret": "a", "proxy": "x"})),
            446,
            "Invalid proxy address x\n",
        ),
        (
            register(json!({"username": name, "secret": 5})),
            444,
            "Invalid element type (secret should be a string)",
        ),
        (
            register(json!({"username": name, "type": "helper"})),
            453,
            "Helper handles are not supported",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y"}),
            447,
            "Wrong state (register first)",
        ),
        (
            json!({"request": "accept"}),
            447,
            "Wrong state (not invited? status=idle)",
        ),
        (json!({"request": "hold"}), 447, "Wrong state (not in a call?)"),
        (
            json!({"request": "dtmf_info", "digit": "1"}),
            447,
            "Wrong state (not in a call?)",
        ),
    ] {
        client.asks(body.clone());
        assert_eq!(client.is_refused(), (code, text.to_owned()), "{body}");
    }
    assert!(client.sip.is_empty(), "{:?}", client.sip);
}

#[test]
fn wrong_calls_of_a_registered_client_are_refused() {
    let mut client = Client::guest();
    for (body, jsep, code, text) in [
        (
            json!({"request": "call"}),
            Value::Null,
            443,
            "Missing mandatory element (uri)",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y"}),
            Value::Null,
            448,
            "Missing SDP",
        ),
        (
            json!({"request": "call", "uri": "mailto:x"}),
            offer(),
            446,
            "Invalid user address mailto:x\n",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y", "srtp": "dtls"}),
            offer(),
            444,
            "Invalid element (srtp can only be sdes_optional or sdes_mandatory)",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y", "srtp": "sdes_mandatory"}),
            offer(),
            452,
            "Media encryption unsupported by this plugin",
        ),
    ] {
        client.asks_with(body.clone(), jsep);
        assert_eq!(client.is_refused(), (code, text.to_owned()), "{body}");
    }
    client.calls();
    client.asks_with(json!({"request": "call", "uri": "sip:x@y"}), offer());
    assert_eq!(
        client.is_refused(),
        (447, "Wrong state (already in a call? status=inviting)".to_owned())
    );
}

#[test]
fn hangup_and_decline_without_a_call_are_acked_and_nothing_follows() {
    let mut client = Client::guest();
    client.asks(json!({"request": "hangup"}));
    client.asks(json!({"request": "decline"}));
    client.hears_nothing();
    assert!(client.sip.is_empty());
}

#[test]
fn a_call_rings_is_answered_and_ended_by_the_remote() {
    let mut client = Client::guest();
    let call = json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066", "headers": {"X-Own": "1"}});
    let transaction = Some(client.asks_with(call, offer()));
    let heard = client.hears("calling");
    assert_eq!(heard.transaction, transaction);
    let id = heard.data["call_id"].clone();
    assert_eq!(heard.data["result"]["call_id"], id);
    let Sip::Call(spec) = client.told_sip() else {
        panic!("no INVITE")
    };
    assert_eq!((spec.account, spec.uri.as_str()), (GUEST, "sip:echo@127.0.0.1:5066"));
    assert_eq!(
        (spec.call_id.as_deref(), &spec.headers),
        (id.as_str(), &fields(&[("X-Own", "1")]))
    );
    assert!(
        !spec.auto_answer_reinvites,
        "re-INVITEs want an answer with the right direction"
    );
    let text = String::from_utf8(spec.sdp).expect("text");
    assert!(
        text.contains("c=IN IP4 192.0.2.5\r\n") && text.contains("m=audio 20000 RTP/AVP 111 9 0 8 "),
        "{text}"
    );

    client.sip_says(provisional(spec.leg, 180, None));
    let heard = client.hears("ringing");
    assert_eq!((heard.transaction, &heard.data["call_id"]), (transaction.clone(), &id));
    assert!(heard.data["result"].get("headers").is_none(), "no prefix was asked for");
    assert_eq!(
        client.hears("proceeding").data["result"],
        json!({"event": "proceeding", "code": 180})
    );

    client.sip_says(answered(spec.leg, Some(TELEPHONE)));
    let heard = client.hears("accepted");
    assert_eq!(
        (&heard.transaction, &heard.data["result"]["username"]),
        (&transaction, &json!("sip:echo@127.0.0.1:5066"))
    );
    let jsep = heard.description("answer");
    assert_eq!(types(&jsep), [8, 0, 126]);
    assert!(jsep.ice_lite && jsep.media[0].end_of_candidates);
    let opened = std::mem::take(&mut client.media);
    assert!(matches!(&opened[0], Media::OpenTransport(spec) if matches!(spec.kind, TransportKind::Plain { .. })));
    assert!(matches!(&opened[1], Media::OpenTransport(spec) if matches!(spec.kind, TransportKind::WebRtc { .. })));
    assert!(matches!(&opened[2], Media::SetRemote(_, remote) if remote.ufrag == "Xk2p"));
    assert!(matches!(&opened[3], Media::SetPlainRemote(_, remote) if remote.rtp.port() == 4_000));
    assert_eq!(opened[4..].len(), 4, "a track and a subscription each way: {opened:?}");

    let reason = ReasonHeader {
        protocol: "Q.850".to_owned(),
        cause: Some("16".to_owned()),
        text: Some("Bye".to_owned()),
    };
    client.sip_says(Event::Ended(Box::new(Ended {
        leg: spec.leg,
        cause: EndCause::ByeByRemote,
        code: 200,
        reason: "Session Terminated".to_owned(),
        reason_header: Some(reason),
        headers: Headers::new(),
    })));
    let heard = client.hears("hangup");
    assert_eq!((heard.transaction, &heard.data["call_id"]), (transaction, &id));
    assert_eq!(
        heard.data["result"],
        json!({"event": "hangup", "code": 200, "reason": "Session Terminated",
        "reason_header": "Bye", "reason_header_protocol": "Q.850", "reason_header_cause": "16"})
    );
    assert_eq!(client.hears_core("hangup")["reason"], "Close PC");
    client.is_idle(&opened);
    assert_eq!(
        (
            client.metrics.calls.outgoing.value(),
            client.metrics.calls.answered.value()
        ),
        (1, 1)
    );
    client.calls();
}

#[test]
fn early_media_flows_with_progress_and_the_200_brings_no_second_answer() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    client.sip_says(provisional(leg, 183, Some(TELEPHONE)));
    let heard = client.hears("progress");
    assert_eq!(heard.data["result"]["username"], "sip:echo@127.0.0.1:5066");
    assert_eq!(types(&heard.description("answer")), [8, 0, 126]);
    assert_eq!(client.hears("proceeding").data["result"]["code"], 183);
    assert!(
        client
            .media
            .iter()
            .any(|command| matches!(command, Media::AddSubscription(_)))
    );
    client.media.clear();
    client.sip_says(answered(leg, None));
    assert!(client.hears("accepted").jsep.is_null());
    assert!(client.media.is_empty(), "{:?}", client.media);
}

#[test]
fn a_busy_remote_ends_the_call_and_gives_everything_back() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    client.sip_says(ended(leg, EndCause::Refused, 486, "Busy Here"));
    let heard = client.hears("hangup");
    assert_eq!(
        heard.data["result"],
        json!({"event": "hangup", "code": 486, "reason": "Busy Here"})
    );
    assert_eq!(
        client.hears_core("hangup")["reason"],
        "Close PC",
        "the browser's half is to close, too"
    );
    client.hears_nothing();
    client.is_idle(&[]);
    let failed: Vec<_> = client
        .metrics
        .calls
        .failed
        .values()
        .filter(|(_, count)| *count == 1)
        .collect();
    assert_eq!(failed, [("486", 1)]);
}

#[test]
fn a_call_is_cancelled_once() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    let transaction = client.asks(json!({"request": "hangup", "headers": {"X-Why": "bored"}}));
    assert_eq!(client.hears("hangingup").transaction, Some(transaction));
    assert!(
        matches!(client.told_sip(), Sip::Hangup { leg: l, headers } if l == leg && headers == fields(&[("X-Why", "bored")]))
    );
    client.asks(json!({"request": "hangup"}));
    client.hears_nothing();
    // The 200 crossed the CANCEL: the endpoint ends that call by itself.
    client.sip_says(answered(leg, Some(TELEPHONE)));
    client.hears_nothing();
    client.sip_says(ended(leg, EndCause::CancelledByUs, 487, "Request Terminated"));
    assert_eq!(client.hears("hangup").data["result"]["code"], 487);
    assert!(client.sip.is_empty());
}

#[test]
fn an_answer_without_common_codec_is_hung_up() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    client.sip_says(answered(
        leg,
        Some("v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 18\r\n"),
    ));
    client.hears_nothing();
    assert!(matches!(client.told_sip(), Sip::Hangup { leg: l, .. } if l == leg));
    client.sip_says(ended(leg, EndCause::ByeByUs, 200, "to BYE"));
    assert_eq!(client.hears("hangup").data["result"]["reason"], "to BYE");
    client.is_idle(&[]);
}

#[test]
fn no_free_ports_refuse_the_call() {
    let mut client = Client::with_ports(0);
    client.asks(json!({"request": "register", "type": "guest", "username": "sip:g@127.0.0.1"}));
    client.hears("registered");
    client.sip.clear();
    client.asks_with(json!({"request": "call", "uri": "sip:x@127.0.0.1"}), offer());
    assert_eq!(
        client.is_refused(),
        (450, "Could not allocate RTP/RTCP ports".to_owned())
    );
    assert!(client.sip.is_empty() && client.metrics.calls.outgoing.value() == 0);
}

#[test]
fn an_incoming_call_is_offered_to_the_browser_accepted_and_ended_by_it() {
    let mut client = Client::guest();
    client.sip_says(incoming(94, GUEST, Some(TELEPHONE)));
    let heard = client.hears("incomingcall");
    assert_eq!(heard.transaction, None);
    assert_eq!(heard.data["call_id"], "in-94");
    assert_eq!(
        heard.data["result"],
        json!({"event": "incomingcall", "username": "sip:peer@127.0.0.1", "call_id": "in-94",
        "displayname": "\"Peer\"", "callee": "sip:alice@127.0.0.1", "referred_by": "<sip:carol@127.0.0.1>"})
    );
    let jsep = heard.description("offer");
    assert_eq!(types(&jsep), [8, 0, 126]);
    let text = jsep.to_string();
    assert!(
        text.contains("a=setup:actpass\r\n") && text.contains("a=ice-lite\r\n"),
        "{text}"
    );
    let leg = match client.told_sip() {
        Sip::Ring { leg, .. } => leg,
        other => panic!("{other:?}"),
    };

    let transaction = client.asks_with(json!({"request": "accept", "headers": {"X-Own": "1"}}), answer());
    let heard = client.hears("accepted");
    assert_eq!(
        (heard.transaction, heard.data["result"].clone()),
        (Some(transaction), json!({"event": "accepted"}))
    );
    let Sip::Accept {
        sdp: accepted, headers, ..
    } = client.told_sip()
    else {
        panic!("no 200")
    };
    assert_eq!(
        (types(&sdp(&accepted)), headers),
        (vec![8, 126], fields(&[("X-Own", "1")]))
    );
    let opened = std::mem::take(&mut client.media);
    assert!(
        opened
            .iter()
            .any(|c| matches!(c, Media::SetRemote(_, remote) if remote.ufrag == "brow"))
    );
    let subscriptions = opened.iter().filter(|c| matches!(c, Media::AddSubscription(_)));
    assert_eq!(subscriptions.count(), 2);

    client.sip_says(Event::Confirmed { leg, sdp: None });
    client.hears_nothing();
    client.asks(json!({"request": "hangup"}));
    client.hears("hangingup");
    assert!(matches!(client.told_sip(), Sip::Hangup { .. }));
    client.sip_says(ended(leg, EndCause::ByeByUs, 200, "to BYE"));
    let heard = client.hears("hangup");
    assert_eq!(
        heard.data["result"],
        json!({"event": "hangup", "code": 200, "reason": "to BYE"})
    );
    client.hears_core("hangup");
    client.is_idle(&opened);
}

#[test]
fn early_media_of_ours_goes_out_with_progress_and_accept_repeats_it() {
    let mut client = Client::guest();
    client.sip_says(incoming(1, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    client.sip.clear();
    client.asks_with(json!({"request": "progress"}), answer());
    client.hears("progressed");
    let Sip::Progress { sdp: early, .. } = client.told_sip() else {
        panic!("no 183")
    };
    client.asks(json!({"request": "accept"}));
    client.hears("accepted");
    assert!(matches!(client.told_sip(), Sip::Accept { sdp, .. } if sdp == early));
}

#[test]
fn a_call_without_offer_is_offered_by_the_browser_and_accepted_with_the_ack() {
    let mut client = Client::guest();
    client.sip_says(incoming(2, GUEST, None));
    assert!(client.hears("incomingcall").jsep.is_null());
    client.sip.clear();
    client.asks_with(json!({"request": "accept"}), offer());
    client.hears("accepting");
    let Sip::Accept { leg, sdp: ours, .. } = client.told_sip() else {
        panic!("no 200")
    };
    assert_eq!(types(&sdp(&ours)), [111, 9, 0, 8, 13, 110, 126]);
    client.sip_says(Event::Confirmed {
        leg,
        sdp: Some(TELEPHONE.as_bytes().to_vec()),
    });
    assert_eq!(types(&client.hears("accepted").description("answer")), [8, 0, 126]);
    assert!(
        client
            .media
            .iter()
            .any(|command| matches!(command, Media::AddSubscription(_)))
    );
}

#[test]
fn an_incoming_call_is_declined_with_the_clients_code() {
    let mut client = Client::guest();
    client.sip_says(incoming(3, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    client.sip.clear();
    client.asks(json!({"request": "decline", "code": 480}));
    let heard = client.hears("declining");
    assert_eq!(
        heard.data["result"],
        json!({"event": "declining", "code": 480, "call_id": "in-3"})
    );
    let Sip::Decline { leg, code, .. } = client.told_sip() else {
        panic!("no refusal")
    };
    assert_eq!(code, 480);
    client.sip_says(ended(leg, EndCause::Declined, 480, "Temporarily Unavailable"));
    assert_eq!(
        client.hears("hangup").data["result"],
        json!({"event": "hangup", "code": 480, "reason": "Temporarily Unavailable"})
    );
    assert_eq!(client.hears_core("hangup")["reason"], "Close PC");
    client.is_idle(&[]);
}

#[test]
fn a_decline_that_does_not_refuse_becomes_486() {
    for code in [200, 302, 99_999] {
        let mut client = Client::guest();
        client.sip_says(incoming(3, GUEST, Some(TELEPHONE)));
        client.hears("incomingcall");
        client.sip.clear();
        client.asks_with(json!({"request": "decline", "code": code}), Value::Null);
        assert!(matches!(client.told_sip(), Sip::Decline { code: 486, .. }));
    }
}

#[test]
fn a_second_incoming_call_finds_the_handle_busy() {
    let mut client = Client::guest();
    client.talks();
    client.sip_says(incoming(4, GUEST, Some(TELEPHONE)));
    assert!(matches!(client.told_sip(), Sip::Decline { code: 486, .. }));
    let heard = client.hears("missed_call");
    assert_eq!(
        heard.data["result"],
        json!({"event": "missed_call", "caller": "sip:peer@127.0.0.1",
        "displayname": "\"Peer\"", "callee": "sip:alice@127.0.0.1"})
    );
    client.sip_says(ended(
        LegId(LegId::INCOMING_FIRST + 4),
        EndCause::Declined,
        486,
        "Busy Here",
    ));
    client.hears_nothing();
}

#[test]
fn an_offer_that_no_browser_can_take_is_refused_without_ringing() {
    for (offer, status) in [("v=0\r\nm=audio 4000 RTP/SAVP 8\r\n", 488), ("nonsense", 400)] {
        let mut client = Client::guest();
        client.sip_says(incoming(5, GUEST, Some(offer)));
        assert!(matches!(client.told_sip(), Sip::Decline { code, .. } if code == status));
        client.hears_nothing();
        client.is_idle(&[]);
    }
}

#[test]
fn a_caller_who_gives_up_is_reported_with_487() {
    let mut client = Client::guest();
    client.sip_says(incoming(6, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    client.sip_says(ended(
        LegId(LegId::INCOMING_FIRST + 6),
        EndCause::CancelledByRemote,
        487,
        "Request Terminated",
    ));
    assert_eq!(client.hears("hangup").data["result"]["code"], 487);
    client.hears_core("hangup");
    client.asks_with(json!({"request": "accept"}), Value::Null);
    assert_eq!(
        client.is_refused(),
        (447, "Wrong state (not invited? status=idle)".to_owned())
    );
    client.is_idle(&[]);
}

#[test]
fn automatic_ringing_can_be_left_to_the_client() {
    let mut client = Client::new();
    client.asks(
        json!({"request": "register", "type": "guest", "username": "sip:g@127.0.0.1", "automatic_ringing": false}),
    );
    client.hears("registered");
    client.sip.clear();
    client.sip_says(incoming(7, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    assert!(client.sip.is_empty());
    client.asks(json!({"request": "send_ringing"}));
    client.hears("ringing");
    assert!(matches!(client.told_sip(), Sip::Ring { .. }));
}

fn direction(description: &[u8]) -> Direction {
    sdp(description).media[0].direction
}

#[test]
fn hold_by_the_remote_is_answered_without_a_word_to_the_client() {
    let mut client = Client::guest();
    let leg = client.talks();
    let hold = TELEPHONE.replace("a=rtpmap", "a=sendonly\r\na=rtpmap").into_bytes();
    client.sip_says(Event::Reinvite {
        leg,
        sdp: Some(hold),
        answered: false,
        headers: Headers::new(),
    });
    let Sip::AnswerReinvite { answer: Ok(answer), .. } = client.told_sip() else {
        panic!("no 200")
    };
    assert_eq!(direction(&answer), Direction::RecvOnly);
    assert!(
        matches!(client.media.as_slice(), [Media::SetSubscriptionActive(_, false)]),
        "{:?}",
        client.media
    );
    client.hears_nothing();

    let other_codec = b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 18\r\n".to_vec();
    client.sip_says(Event::Reinvite {
        leg,
        sdp: Some(other_codec),
        answered: false,
        headers: Headers::new(),
    });
    assert!(matches!(
        client.told_sip(),
        Sip::AnswerReinvite { answer: Err(488), .. }
    ));

    client.sip_says(Event::Reinvite {
        leg,
        sdp: None,
        answered: false,
        headers: Headers::new(),
    });
    let Sip::AnswerReinvite { answer: Ok(ours), .. } = client.told_sip() else {
        panic!("no 200")
    };
    assert_eq!(direction(&ours), Direction::SendRecv);
    client.media.clear();
    client.sip_says(Event::Confirmed {
        leg,
        sdp: Some(TELEPHONE.as_bytes().to_vec()),
    });
    assert!(
        matches!(client.media.as_slice(), [Media::SetSubscriptionActive(_, true)]),
        "{:?}",
        client.media
    );
}

#[test]
fn the_client_holds_and_resumes_by_reinvite() {
    let mut client = Client::guest();
    let leg = client.talks();
    client.asks(json!({"request": "hold", "direction": "sideways"}));
    assert_eq!(
        client.is_refused(),
        (
            444,
            "Invalid direction (can only be sendonly, recvonly or inactive)".to_owned()
        )
    );
    client.asks(json!({"request": "hold"}));
    client.hears("holding");
    let Sip::Reinvite { sdp: ours, .. } = client.told_sip() else {
        panic!("no re-INVITE")
    };
    assert_eq!(direction(&ours), Direction::SendOnly);
    let held = TELEPHONE.replace("a=rtpmap", "a=recvonly\r\na=rtpmap").into_bytes();
    client.sip_says(Event::ReinviteAnswered {
        leg,
        sdp: Some(held),
        headers: Headers::new(),
    });
    assert!(
        matches!(client.media.as_slice(), [Media::SetSubscriptionActive(_, false)]),
        "{:?}",
        client.media
    );
    client.asks(json!({"request": "unhold"}));
    client.hears("resuming");
    let Sip::Reinvite { sdp: ours, .. } = client.told_sip() else {
        panic!("no re-INVITE")
    };
    assert_eq!(direction(&ours), Direction::SendRecv);
    client.sip_says(Event::ReinviteFailed {
        leg,
        code: 500,
        reason: String::new(),
    });
    client.asks(json!({"request": "unhold"}));
    client.hears("resuming");
}

#[test]
fn digits_and_info_go_both_ways() {
    let mut client = Client::guest();
    let leg = client.talks();
    client.asks(json!({"request": "dtmf_info", "digit": "55"}));
    assert_eq!(
        client.is_refused(),
        (444, "Invalid element (digit should be one character)".to_owned())
    );
    client.asks(json!({"request": "dtmf_info", "digit": "5"}));
    client.hears("dtmfsent");
    let Sip::Info { content_type, body, .. } = client.told_sip() else {
        panic!("no INFO")
    };
    assert_eq!(
        (content_type.as_str(), body.as_slice()),
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160".as_slice())
    );
    client.asks(json!({"request": "info", "type": "text/plain\r\nX: y", "content": "a"}));
    assert_eq!(client.is_refused().0, 444);
    client.asks(json!({"request": "info", "type": "text/plain", "content": "a"}));
    client.hears("infosent");

    let info = |content_type: &str, body: &str| Event::Info {
        leg,
        from: "sip:echo@127.0.0.1:5066".to_owned(),
        display_name: None,
        content_type: content_type.to_owned(),
        body: body.as_bytes().to_vec(),
        headers: Headers::new(),
    };
    client.sip_says(info("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"));
    let heard = client.hears("dtmf");
    assert_eq!(
        heard.data["result"],
        json!({"event": "dtmf", "sender": "sip:echo@127.0.0.1:5066", "signal": "5", "duration": 160})
    );
    assert_eq!(heard.transaction.as_deref(), Some("t2"), "the transaction of the call");
    client.sip_says(info("text/plain", "hello"));
    assert_eq!(
        client.hears("info").data["result"],
        json!({"event": "info", "sender": "sip:echo@127.0.0.1:5066", "type": "text/plain", "content": "hello"})
    );
}

#[test]
fn a_browser_that_goes_away_ends_its_call() {
    let mut client = Client::guest();
    client.asks_with(json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066"}), offer());
    let Sip::Call(spec) = client.told_sip() else {
        panic!("no INVITE")
    };
    client.sip_says(answered(spec.leg, Some(TELEPHONE)));
    let webrtc = client.media.iter().find_map(|command| match command {
        Media::SetRemote(id, _) => Some(*id),
        _ => None,
    });
    client.heard.clear();
    client.worker_says(MediaEvent::TransportDown(
        webrtc.expect("opened"),
        DownReason::DtlsAlert,
    ));
    assert!(matches!(client.told_sip(), Sip::Hangup { leg, .. } if leg == spec.leg));
    assert_eq!(client.hears_core("hangup")["reason"], "DTLS alert");
    client.sip_says(ended(spec.leg, EndCause::ByeByUs, 200, "to BYE"));
    client.hears("hangup");
    client.hears_nothing();
    assert_eq!(client.ports.open.load(Relaxed), 0);
}

#[test]
fn a_detached_handle_ends_its_call_and_its_account() {
    let mut client = Client::guest();
    client.asks_with(json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066"}), offer());
    let Sip::Call(spec) = client.told_sip() else {
        panic!("no INVITE")
    };
    client.sip_says(answered(spec.leg, Some(TELEPHONE)));
    client.heard.clear();
    let handle = client.handle;
    client.says(&json!({"janus": "detach", "session_id": 1, "handle_id": handle, "transaction": "d"}));
    assert!(matches!(client.told_sip(), Sip::Hangup { leg, .. } if leg == spec.leg));
    assert!(matches!(client.told_sip(), Sip::Unregister { account } if account == GUEST));
    client.is_idle(&[]);
    let ignored = client.metrics.sip_events_ignored.value();
    client.sip_says(ended(spec.leg, EndCause::ByeByUs, 200, "to BYE"));
    assert_eq!(client.metrics.sip_events_ignored.value(), ignored + 1);
    client.sip_says(incoming(8, GUEST, Some(TELEPHONE)));
    assert!(
        matches!(client.told_sip(), Sip::Decline { code: 480, .. }),
        "nobody is there"
    );
}
