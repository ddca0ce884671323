//! An endpoint on a virtual clock, and the other side as a script.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing has failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test begins at the real time and goes on virtually"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Rng, SocketId};
use voex_sip::{
    AccountId, AccountSpec, CallSpec, Command, Config, Credentials, Endpoint, Event, LegId, Metrics, Output, QueryId,
    Secret,
};
use voex_sip_wire::{Header, Message, Method, Request, Response};

pub(crate) const SOCKET: SocketId = SocketId(1);
pub(crate) const ALICE: AccountId = AccountId(1);
pub(crate) const LEG: LegId = LegId(7);
pub(crate) const OFFER: &[u8] = b"v=0\r\ns=offer\r\n";
pub(crate) const ANSWER: &[u8] = b"v=0\r\ns=answer\r\n";

/// The endpoint under test at 10.0.0.1, everything it did in order of doing.
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) now: Instant,
    pub(crate) sent: VecDeque<(SocketAddr, Message)>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) lookups: VecDeque<(QueryId, String, Option<u16>)>,
}

pub(crate) fn here() -> SocketAddr {
    "10.0.0.1:5060".parse().unwrap()
}

/// The PBX, registrar and everything else on the other side.
pub(crate) fn there() -> SocketAddr {
    "10.0.0.2:5070".parse().unwrap()
}

pub(crate) fn config() -> Config {
    Config::new(SOCKET, here())
}

pub(crate) fn credentials() -> Credentials {
    Credentials {
        user: "alice".into(),
        secret: Secret::Password("pw".into()),
    }
}

/// A guest whose proxy is `there`.
pub(crate) fn guest() -> AccountSpec {
    AccountSpec {
        proxy: Some("sip:10.0.0.2:5070".into()),
        display_name: Some("Alice".into()),
        credentials: Some(credentials()),
        ..AccountSpec::guest(ALICE, "sip:alice@example.com")
    }
}

pub(crate) fn call_spec() -> CallSpec {
    CallSpec::new(LEG, ALICE, "sip:bob@10.0.0.2:5070", OFFER.to_vec())
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Host {
    pub(crate) fn new(config: Config) -> Self {
        let metrics = Arc::new(Metrics::default());
        Self {
            endpoint: Endpoint::new(config, Rng::from_number(1), metrics.clone()),
            metrics,
            now: Instant::now(),
            sent: VecDeque::new(),
            events: VecDeque::new(),
            lookups: VecDeque::new(),
        }
    }

    /// An endpoint with the guest account Alice.
    pub(crate) fn with_guest() -> Self {
        let mut host = Self::new(config());
        host.command(Command::Register(Box::new(guest())));
        assert!(matches!(host.event(), Event::Registered { .. }));
        host
    }

    /// Alice has called Bob; his INVITE is in the result.
    pub(crate) fn calling() -> (Self, Request) {
        let mut host = Self::with_guest();
        host.command(Command::Call(Box::new(call_spec())));
        let invite = host.request(Method::Invite);
        (host, invite)
    }

    /// Alice has called Bob and he has answered.
    pub(crate) fn in_call() -> (Self, Request) {
        let (mut host, invite) = Self::calling();
        host.answer(&ok(&invite));
        host.request(Method::Ack);
        assert!(matches!(host.event(), Event::Answered { .. }));
        (host, invite)
    }

    /// Bob calls Alice; her leg is in the result.
    pub(crate) fn called() -> (Self, LegId) {
        let mut host = Self::with_guest();
        host.receive(&invite());
        host.response(100);
        let Event::IncomingCall(call) = host.event() else {
            panic!("an incoming call")
        };
        (host, call.leg)
    }

    /// Bob has called Alice, she has accepted, his ACK has come. Her 200 is in the result.
    pub(crate) fn accepted() -> (Self, LegId, Response) {
        let (mut host, leg) = Self::called();
        host.command(Command::Accept {
            leg,
            sdp: ANSWER.to_vec(),
            headers: Vec::new(),
        });
        let ok = host.response(200);
        host.receive(&in_dialog("ACK", 1, &ok, ""));
        assert_eq!(host.event(), Event::Confirmed { leg, sdp: None });
        (host, leg, ok)
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.endpoint.handle_command(self.now, command);
        self.drain();
    }

    pub(crate) fn hangup(&mut self, leg: LegId) {
        self.command(Command::Hangup {
            leg,
            headers: Vec::new(),
        });
    }

    pub(crate) fn receive(&mut self, datagram: &str) {
        self.receive_from(there(), datagram.as_bytes());
    }

    pub(crate) fn receive_from(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(self.now, SOCKET, from, datagram);
        self.drain();
    }

    pub(crate) fn answer(&mut self, response: &Response) {
        self.receive_from(there(), &response.to_bytes());
    }

    pub(crate) fn resolve(&mut self, query: QueryId, addresses: &[SocketAddr]) {
        self.endpoint.handle_resolved(self.now, query, Ok(addresses.to_vec()));
        self.drain();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.endpoint.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { socket, to, bytes } => {
                    assert_eq!(socket, SOCKET);
                    self.sent
                        .push_back((to, Message::parse(&bytes).expect("what we send, we can read")));
                }
                Output::Event(event) => self.events.push_back(event),
                Output::Resolve { query, host, port } => self.lookups.push_back((query, host, port)),
            }
        }
    }

    /// Takes the next message sent, which must be a request of this method to `there`.
    pub(crate) fn request(&mut self, method: Method) -> Request {
        match self.sent.pop_front() {
            Some((to, Message::Request(request, _))) if request.method == method => {
                assert_eq!(to, there());
                request
            }
            other => panic!("{method} was expected, not {other:?}"),
        }
    }

    /// Takes the next message sent, which must be a response with this code to `there`.
    pub(crate) fn response(&mut self, code: u16) -> Response {
        match self.sent.pop_front() {
            Some((to, Message::Response(response, _))) if response.code == code => {
                assert_eq!(to, there());
                response
            }
            other => panic!("{code} was expected, not {other:?}"),
        }
    }

    pub(crate) fn event(&mut self) -> Event {
        self.events.pop_front().expect("an event was expected")
    }

    /// Takes the end of a leg: its code.
    pub(crate) fn ended(&mut self) -> voex_sip::Ended {
        match self.event() {
            Event::Ended(ended) => *ended,
            other => panic!("the end of a leg was expected, not {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn quiet_but_for_events(&self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    #[track_caller]
    pub(crate) fn quiet(&self) {
        assert!(
            self.sent.is_empty() && self.events.is_empty(),
            "{:?} {:?}",
            self.sent,
            self.events
        );
    }
}

/// Bob's response to a request of Alice's, with his tag and Contact.
pub(crate) fn respond(request: &Request, code: u16) -> Response {
    let mut response = Response::answering(&request.headers, code, None);
    let to = response.headers.get(Header::To).unwrap().to_owned();
    if code > 100 && !to.contains("tag=") {
        response.headers.set(Header::To, format!("{to};tag=bob"));
    }
    response.headers.push(Header::Contact, "<sip:bob@10.0.0.2:5070>");
    response
}

/// Bob's 200 with an answer.
pub(crate) fn ok(invite: &Request) -> Response {
    let mut response = respond(invite, 200);
    response.headers.push(Header::ContentType, "application/sdp");
    response.body = ANSWER.to_vec();
    response
}

pub(crate) fn challenge(request: &Request, code: u16, nonce: &str) -> Response {
    let mut response = respond(request, code);
    let header = if code == 407 {
        Header::ProxyAuthenticate
    } else {
        Header::WwwAuthenticate
    };
    response
        .headers
        .push(header, format!("Digest realm=\"pbx\", nonce=\"{nonce}\", qop=\"auth\""));
    response
}

/// Bob's INVITE for Alice.
pub(crate) fn invite() -> String {
    invite_with(
        "z9hG4bKinvite",
        "Content-Type: application/sdp\r\n",
        "v=0\r\ns=offer\r\n",
    )
}

pub(crate) fn invite_with(branch: &str, fields: &str, body: &str) -> String {
    format!(
        "INVITE sip:alice@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5070;rport;branch={branch}\r\nMax-Forwards: 70\r\n\
         From: \"Bob\" <sip:bob@example.com>;tag=bob\r\nTo: <sip:alice@example.com>\r\nCall-ID: in-1\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:bob@10.0.0.2:5070>\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request of Bob's within the dialog of his INVITE that `ok` answered.
pub(crate) fn in_dialog(method: &str, cseq: u32, ok: &Response, rest: &str) -> String {
    let to = ok.headers.get(Header::To).unwrap();
    let rest = if rest.is_empty() { "\r\n" } else { rest };
    format!(
        "{method} sip:alice@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5070;rport;branch=z9hG4bK{method}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: \"Bob\" <sip:bob@example.com>;tag=bob\r\nTo: {to}\r\nCall-ID: in-1\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:bob@10.0.0.2:5070>\r\n{rest}"
    )
}

/// A body for `in_dialog`.
pub(crate) fn body(content_type: &str, body: &str) -> String {
    format!(
        "Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
