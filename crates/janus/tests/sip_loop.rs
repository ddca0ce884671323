//! Two hosts call each other: the API, the bridge and the SIP endpoint of each, with real SIP messages in between.
#![expect(clippy::disallowed_methods, reason = "the origin of virtual time")]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use voex_base::{Rng, SocketId, WallTime, WorkerId};
use voex_janus::{
    Candidate, Config, ConnectionId, Gateway, Metrics, Output, PortsExhausted, RtpPair, RtpPorts, WorkerMedia,
};
use voex_sdp::{Description, Kind};
use voex_sfu::command::Command as Media;
use voex_sip::Endpoint;

const OFFER: &str = include_str!("../../../fuzz/corpus/sdp/chromium-call.sdp");
const SIP_SOCKET: SocketId = SocketId(1);

struct Ports(IpAddr, Arc<AtomicI64>);

impl RtpPorts for Ports {
    fn open(&mut self, _worker: WorkerId, _toward: Option<IpAddr>) -> Result<RtpPair, PortsExhausted> {
        self.1.fetch_add(1, Relaxed);
        Ok(RtpPair {
            rtp: SocketId(2),
            rtcp: Some(SocketId(3)),
            address: (self.0, 20_000).into(),
        })
    }

    fn close(&mut self, _worker: WorkerId, _pair: RtpPair) {
        self.1.fetch_add(-1, Relaxed);
    }
}

/// One host with one client on its API.
struct Site {
    gateway: Gateway,
    endpoint: Endpoint,
    address: SocketAddr,
    handle: u64,
    heard: VecDeque<Value>,
    media: Vec<Media>,
    ports: Arc<AtomicI64>,
}

/// Both hosts and the wire between them.
struct World {
    sites: [Site; 2],
    now: Instant,
    messages: u32,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            sites: [site(1), site(2)],
            now: Instant::now(),
            messages: 0,
        };
        for who in 0..2 {
            let (now, site) = (world.now, &mut world.sites[who]);
            site.gateway
                .handle_open(now, ConnectionId(0), IpAddr::from([127, 0, 0, 1]));
            world.says(who, &json!({"janus": "create", "id": 1, "transaction": "c"}));
            let attach = json!({"janus": "attach", "session_id": 1, "plugin": "janus.plugin.sip", "transaction": "a"});
            world.says(who, &attach);
            let site = &mut world.sites[who];
            site.heard.pop_front();
            site.handle = site
                .heard
                .pop_front()
                .and_then(|reply| reply["data"]["id"].as_u64())
                .expect("attached");
            let other = world.sites[1 - who].address;
            let name = format!("sip:user{who}@{}", world.sites[who].address);
            let register =
                json!({"request": "register", "type": "guest", "username": name, "proxy": format!("sip:{other}")});
            world.asks(who, register, Value::Null);
            world.hears(who, "registered");
        }
        world
    }

    fn says(&mut self, who: usize, message: &Value) {
        let wall = WallTime::from_unix(Duration::from_secs(1_790_000_000));
        self.sites[who]
            .gateway
            .handle_message(self.now, wall, ConnectionId(0), &message.to_string());
        self.settle();
    }

    fn asks(&mut self, who: usize, body: Value, jsep: Value) {
        let mut message = json!({"janus": "message", "session_id": 1, "handle_id": self.sites[who].handle, "body": body,
            "transaction": "t"});
        if !jsep.is_null() {
            message["jsep"] = jsep;
        }
        let before = self.sites[who].heard.len();
        self.says(who, &message);
        let ack = self.sites[who].heard.remove(before).expect("an answer");
        assert_eq!(ack["janus"], "ack", "{ack}");
    }

    fn hears(&mut self, who: usize, name: &str) -> Value {
        let event = self.sites[who]
            .heard
            .pop_front()
            .unwrap_or_else(|| panic!("user{who} hears no {name}"));
        assert_eq!(event["plugindata"]["data"]["result"]["event"], name, "{event}");
        event
    }

    /// Carries messages until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let quiet = (0..2).all(|who| self.carry(who));
            if quiet {
                return;
            }
        }
    }

    /// Carries out what one host wants; true when it wants nothing.
    fn carry(&mut self, who: usize) -> bool {
        let now = self.now;
        let [first, second] = &mut self.sites;
        let (site, other) = if who == 0 { (first, second) } else { (second, first) };
        let mut quiet = true;
        while let Some(output) = site.gateway.poll_output() {
            quiet = false;
            match output {
                Output::Send { text, .. } => site.heard.push_back(serde_json::from_str(&text).expect("JSON")),
                Output::Sip(command) => site.endpoint.handle_command(now, command),
                Output::Call(_) => {}
                other @ (Output::Event { .. } | Output::Record(_) | Output::LogLevel(_) | Output::LogLine { .. }) => {
                    panic!("{other:?}")
                }
                Output::Media { command, .. } => site.media.push(command),
                Output::Close { .. } => panic!("closes the connection"),
            }
        }
        while let Some(output) = site.endpoint.poll_output() {
            quiet = false;
            match output {
                voex_sip::Output::Transmit { to, bytes, .. } => {
                    assert_eq!(to, other.address, "{}", String::from_utf8_lossy(&bytes));
                    self.messages += 1;
                    other.endpoint.handle_datagram(now, SIP_SOCKET, site.address, &bytes);
                }
                voex_sip::Output::Event(event) => site.gateway.handle_sip_event(now, event),
                voex_sip::Output::Resolve { host, .. } => panic!("looks up {host}"),
            }
        }
        quiet
    }

    /// user0 calls user1, who accepts.
    fn talk(&mut self) {
        let uri = format!("sip:user1@{}", self.sites[1].address);
        self.asks(
            0,
            json!({"request": "call", "uri": uri}),
            json!({"type": "offer", "sdp": OFFER}),
        );
        self.hears(0, "calling");
        let invited = self.hears(1, "incomingcall");
        self.hears(0, "ringing");
        self.hears(0, "proceeding");
        let offered = Description::parse(invited["jsep"]["sdp"].as_str().expect("an offer")).expect("a description");
        let types: Vec<_> = offered.media[0].payloads.iter().map(|p| p.payload_type).collect();
        assert_eq!(types, [111, 9, 0, 8, 13, 110, 126], "both browsers could speak Opus");
        self.asks(
            1,
            json!({"request": "accept"}),
            json!({"type": "answer", "sdp": answer("111 126")}),
        );
        self.hears(1, "accepted");
        let accepted = self.hears(0, "accepted");
        let answered = Description::parse(accepted["jsep"]["sdp"].as_str().expect("an answer")).expect("a description");
        let (_, audio) = answered.first(&Kind::Audio).expect("audio in use");
        assert_eq!(
            audio.payloads.iter().map(|p| p.payload_type).collect::<Vec<_>>(),
            [111, 126]
        );
    }
}

fn site(number: u8) -> Site {
    let ip = IpAddr::from([10, 0, 0, number]);
    let address = SocketAddr::from((ip, 5_060));
    let ports = Arc::new(AtomicI64::new(0));
    let config = Config {
        server_name: "test".to_owned(),
        version: "0.1.0".to_owned(),
        workers: vec![WorkerMedia {
            worker: WorkerId(0),
            candidates: vec![Candidate {
                address: (ip, 26_412).into(),
            }],
        }],
        fingerprint_sha256: [0x60; 32],
        public_ip: ip,
        session_timeout: Duration::from_secs(60),
        reclaim_timeout: Duration::ZERO,
        api_secret: None,
        rooms: Vec::new(),
        options: voex_janus::Options::default(),
        rtp_ports: Box::new(Ports(ip, Arc::clone(&ports))),
    };
    let sip = voex_sip::Config::new(SIP_SOCKET, address);
    let seed = u64::from(number);
    Site {
        gateway: Gateway::new(config, Rng::from_number(seed), Arc::new(Metrics::default())),
        endpoint: Endpoint::new(sip, Rng::from_number(seed + 10), Arc::new(voex_sip::Metrics::default())),
        address,
        handle: 0,
        heard: VecDeque::new(),
        media: Vec::new(),
        ports,
    }
}

fn answer(formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:brow\r\na=ice-pwd:serserserserserserserse\r\n\
         a=fingerprint:sha-256 5B:9D\r\na=setup:active\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\na=ssrc:77 cname:x\r\n"
    )
}

fn remote_of(media: &[Media]) -> Option<SocketAddr> {
    media.iter().rev().find_map(|command| match command {
        Media::SetPlainRemote(_, remote) => Some(remote.rtp),
        _ => None,
    })
}

fn active_changes(media: &[Media]) -> Vec<bool> {
    let change = |command: &Media| match command {
        Media::SetSubscriptionActive(_, active) => Some(*active),
        _ => None,
    };
    media.iter().filter_map(change).collect()
}

#[test]
fn a_call_between_two_hosts_is_set_up_and_the_caller_hangs_up() {
    let mut world = World::new();
    world.talk();
    assert_eq!(remote_of(&world.sites[0].media), Some(([10, 0, 0, 2], 20_000).into()));
    assert_eq!(remote_of(&world.sites[1].media), Some(([10, 0, 0, 1], 20_000).into()));
    world.asks(0, json!({"request": "hangup"}), Value::Null);
    world.hears(0, "hangingup");
    assert_eq!(
        world.hears(0, "hangup")["plugindata"]["data"]["result"]["reason"],
        "to BYE"
    );
    assert_eq!(
        world.hears(1, "hangup")["plugindata"]["data"]["result"]["reason"],
        "Session Terminated"
    );
    for site in &world.sites {
        assert_eq!(site.ports.load(Relaxed), 0);
        assert_eq!(
            site.heard.front().map(|event| event["reason"].clone()),
            Some("Close PC".into())
        );
    }
    assert!(
        world.messages < 12,
        "INVITE, 100, 180, 200, ACK, BYE, 200: {} messages",
        world.messages
    );
}

#[test]
fn the_called_side_hangs_up() {
    let mut world = World::new();
    world.talk();
    world.asks(1, json!({"request": "hangup"}), Value::Null);
    world.hears(1, "hangingup");
    world.hears(1, "hangup");
    assert_eq!(world.hears(0, "hangup")["plugindata"]["data"]["result"]["code"], 200);
    assert_eq!(
        (world.sites[0].ports.load(Relaxed), world.sites[1].ports.load(Relaxed)),
        (0, 0)
    );
}

#[test]
fn hold_and_resume_cross_the_wire() {
    let mut world = World::new();
    world.talk();
    for site in &mut world.sites {
        site.media.clear();
    }
    world.asks(0, json!({"request": "hold"}), Value::Null);
    world.hears(0, "holding");
    assert_eq!(
        active_changes(&world.sites[0].media),
        [false],
        "nothing more to the browser that holds"
    );
    assert_eq!(
        active_changes(&world.sites[1].media),
        [false],
        "nothing more from the browser that is held"
    );
    world.asks(0, json!({"request": "unhold"}), Value::Null);
    world.hears(0, "resuming");
    assert_eq!(active_changes(&world.sites[0].media), [false, true]);
    assert_eq!(active_changes(&world.sites[1].media), [false, true]);
}

#[test]
fn a_digit_crosses_the_wire_as_info() {
    let mut world = World::new();
    world.talk();
    world.asks(1, json!({"request": "dtmf_info", "digit": "#"}), Value::Null);
    world.hears(1, "dtmfsent");
    let heard = world.hears(0, "dtmf");
    assert_eq!(heard["plugindata"]["data"]["result"]["signal"], "#");
}

#[test]
fn a_declined_call_and_a_cancelled_one_leave_nothing_behind() {
    let mut world = World::new();
    let uri = format!("sip:user1@{}", world.sites[1].address);
    let call = json!({"request": "call", "uri": uri});
    world.asks(0, call.clone(), json!({"type": "offer", "sdp": OFFER}));
    world.asks(1, json!({"request": "decline", "code": 480}), Value::Null);
    for name in ["calling", "ringing", "proceeding"] {
        world.hears(0, name);
    }
    let result = &world.hears(0, "hangup")["plugindata"]["data"]["result"];
    assert_eq!(
        *result,
        json!({"event": "hangup", "code": 480, "reason": "Temporarily Unavailable"})
    );
    for name in ["incomingcall", "declining"] {
        world.hears(1, name);
    }
    assert_eq!(world.hears(1, "hangup")["plugindata"]["data"]["result"]["code"], 480);

    for site in &mut world.sites {
        site.heard.clear();
    }
    world.asks(0, call, json!({"type": "offer", "sdp": OFFER}));
    world.asks(0, json!({"request": "hangup"}), Value::Null);
    for name in ["calling", "ringing", "proceeding", "hangingup"] {
        world.hears(0, name);
    }
    assert_eq!(world.hears(0, "hangup")["plugindata"]["data"]["result"]["code"], 487);
    world.hears(1, "incomingcall");
    assert_eq!(world.hears(1, "hangup")["plugindata"]["data"]["result"]["code"], 487);
    assert_eq!(
        (world.sites[0].ports.load(Relaxed), world.sites[1].ports.load(Relaxed)),
        (0, 0)
    );
}
