//! What grows has a bound, and what reaches it is answered.
#![expect(clippy::disallowed_methods, reason = "the origin of virtual time")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Rng, WallTime, WorkerId};
use voex_janus::{
    Config, ConnectionId, Gateway, HANDLES_PER_SESSION_MAX, Metrics, Output, PortsExhausted, RtpPair, RtpPorts,
    SESSIONS_ENDED_AT_ONCE_MAX, SESSIONS_MAX,
};

const ALICE: ConnectionId = ConnectionId(0);

#[test]
fn create_is_refused_when_there_are_too_many_sessions() {
    let mut alice = Alice::new();
    for _ in 0..SESSIONS_MAX {
        assert!(
            alice
                .says(r#"{"janus":"create","transaction":"c"}"#)
                .contains("success")
        );
    }
    let refused = alice.says(r#"{"janus":"create","transaction":"c"}"#);
    assert_eq!(
        refused,
        r#"{"janus":"error","transaction":"c","error":{"code":472,"reason":"Currently not accepting new sessions"}}"#
    );
    assert_eq!(
        alice
            .metrics
            .errors
            .values()
            .find(|(name, _)| *name == "not_accepting_sessions")
            .map(|(_, n)| n),
        Some(1)
    );
}

#[test]
fn attach_is_refused_when_a_session_has_too_many_handles() {
    let mut alice = Alice::new();
    alice.says(r#"{"janus":"create","transaction":"c","id":1}"#);
    let attach = r#"{"janus":"attach","transaction":"a","session_id":1,"plugin":"janus.plugin.videoroom"}"#;
    for _ in 0..HANDLES_PER_SESSION_MAX {
        assert!(alice.says(attach).contains("success"));
    }
    assert!(alice.says(attach).contains(r#""code":461,"#));
    assert_eq!(alice.metrics.handles.value(), HANDLES_PER_SESSION_MAX as i64);
}

#[test]
fn a_message_over_one_mebibyte_is_refused_unread() {
    let mut alice = Alice::new();
    let long = format!(r#"{{"janus":"ping","transaction":"{}"}}"#, "t".repeat(1 << 20));
    assert_eq!(
        alice.says(&long),
        r#"{"janus":"error","error":{"code":450,"reason":"Transport specific error"}}"#
    );
}

#[test]
fn json_nested_without_end_is_refused_as_invalid() {
    let mut alice = Alice::new();
    assert!(alice.says(&"[".repeat(500_000)).contains(r#""code":454,"#));
}

#[test]
fn names_that_everybody_would_be_sent_have_a_length() {
    let mut alice = Alice::new();
    alice.says(r#"{"janus":"create","transaction":"c","id":1}"#);
    let attached =
        alice.says(r#"{"janus":"attach","transaction":"a","session_id":1,"plugin":"janus.plugin.videoroom"}"#);
    let handle: String = attached
        .chars()
        .rev()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    let handle: String = handle.chars().rev().collect();
    let body = |member: String| {
        format!(
            r#"{{"janus":"message","transaction":"m","session_id":1,"handle_id":{handle},"body":{{"request":"join","ptype":"publisher","room":1,{member}}}}}"#
        )
    };
    let display = alice.says(&body(format!(r#""display":"{}""#, "x".repeat(5_000))));
    assert!(
        display.contains(r#""error":"Invalid element (display is too long)"#),
        "{display}"
    );
    let metadata = alice.says(&body(format!(r#""metadata":{{"a":["{}"]}}"#, "x".repeat(70_000))));
    assert!(
        metadata.contains(r#""error":"Invalid element (metadata is too long)"#),
        "{metadata}"
    );
}

#[test]
fn a_lost_connection_ends_its_sessions_in_portions_and_tells_it_nothing() {
    const SESSIONS: i64 = 200;
    let mut alice = Alice::new();
    for session in 1..=SESSIONS {
        alice.says(&format!(r#"{{"janus":"create","transaction":"c","id":{session}}}"#));
        let handle = alice.attaches(session);
        if session == 1 {
            let create = r#"{"request":"create","room":5}"#;
            alice.sends(session, &handle, create);
        }
        alice.sends(session, &handle, r#"{"request":"join","ptype":"publisher","room":5}"#);
    }
    let now = alice.now;
    alice.gateway.handle_close(now, ALICE);
    let ended = SESSIONS_ENDED_AT_ONCE_MAX as i64;
    assert_eq!(alice.metrics.sessions.value(), SESSIONS - ended);
    for left in [SESSIONS - 2 * ended, SESSIONS - 3 * ended, 0] {
        assert!(alice.gateway.poll_timeout().is_some_and(|due| due <= now));
        alice.gateway.handle_timeout(now);
        assert_eq!(alice.metrics.sessions.value(), left);
    }
    assert!(alice.gateway.poll_output().is_none());
    assert_eq!(alice.metrics.session_timeouts.value(), 0);
    assert_eq!(alice.gateway.poll_timeout(), None);
}

/// A connection whose every message gets one reply.
struct Alice {
    gateway: Gateway,
    metrics: Arc<Metrics>,
    now: Instant,
}

impl Alice {
    fn new() -> Self {
        let metrics = Arc::new(Metrics::default());
        let mut gateway = Gateway::new(config(), Rng::from_number(1), Arc::clone(&metrics));
        let now = Instant::now();
        gateway.handle_open(now, ALICE, IpAddr::from([127, 0, 0, 1]));
        Self { gateway, metrics, now }
    }

    /// Attaches to the videoroom; gives the handle's id.
    fn attaches(&mut self, session: i64) -> String {
        let attached = self.says(&format!(
            r#"{{"janus":"attach","transaction":"a","session_id":{session},"plugin":"janus.plugin.videoroom"}}"#
        ));
        let (_, id) = attached.split_once(r#""data":{"id":"#).expect("attached");
        id.trim_end_matches('}').to_owned()
    }

    /// Sends a message, whatever comes back.
    fn sends(&mut self, session: i64, handle: &str, body: &str) {
        let wall = WallTime::from_unix(Duration::from_secs(1_790_000_000));
        let text = format!(
            r#"{{"janus":"message","transaction":"m","session_id":{session},"handle_id":{handle},"body":{body}}}"#
        );
        self.gateway.handle_message(self.now, wall, ALICE, &text);
        while self.gateway.poll_output().is_some() {}
    }

    fn says(&mut self, text: &str) -> String {
        let wall = WallTime::from_unix(Duration::from_secs(1_790_000_000));
        self.gateway.handle_message(self.now, wall, ALICE, text);
        match self.gateway.poll_output() {
            Some(Output::Send {
                connection: ALICE,
                text,
            }) => text,
            other => panic!("{other:?} for {text}"),
        }
    }
}

fn config() -> Config {
    Config {
        server_name: "test".to_owned(),
        version: "0.1.0".to_owned(),
        workers: vec![voex_janus::WorkerMedia {
            worker: WorkerId(0),
            candidates: Vec::new(),
        }],
        fingerprint_sha256: [0; 32],
        public_ip: IpAddr::from([192, 0, 2, 1]),
        session_timeout: Duration::from_secs(60),
        reclaim_timeout: Duration::ZERO,
        api_secret: None,
        rooms: Vec::new(),
        options: voex_janus::Options::default(),
        rtp_ports: Box::new(NoPorts),
    }
}

/// Conferences need no plain RTP.
struct NoPorts;

impl RtpPorts for NoPorts {
    fn open(&mut self, _worker: WorkerId, _toward: Option<IpAddr>) -> Result<RtpPair, PortsExhausted> {
        Err(PortsExhausted)
    }

    fn close(&mut self, _worker: WorkerId, _pair: RtpPair) {}
}
