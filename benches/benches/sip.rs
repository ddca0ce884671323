//! What SIP costs: parsing a message, and a whole incoming call through the endpoint.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use voex_base::{Rng, SocketId};
use voex_sip::{AccountId, AccountSpec, Command, Config, Endpoint, Event, Metrics, Output};
use voex_sip_wire::Message;

const SDP: &str = "v=0\r\no=- 3929 3929 IN IP4 10.1.2.3\r\ns=-\r\nc=IN IP4 10.1.2.3\r\nt=0 0\r\nm=audio 21044 RTP/AVP 8 0 101\r\n\
a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

fn invite() -> Vec<u8> {
    let head = "INVITE sip:1234@10.1.2.4:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.2.3:5060;rport;branch=z9hG4bKPj7f2c1a90\r\n\
Max-Forwards: 70\r\nFrom: \"Peter Example\" <sip:4711@10.1.2.3>;tag=1b2c3d4e\r\nTo: <sip:1234@10.1.2.4>\r\n\
Contact: <sip:4711@10.1.2.3:5060>\r\nCall-ID: 7b2d8f1e-55aa-4c1b-9b5d-0242ac110002\r\nCSeq: 21533 INVITE\r\n\
Allow: OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO, MESSAGE, REFER\r\n\
Supported: 100rel, timer, replaces, norefersub\r\nSession-Expires: 1800\r\nMin-SE: 90\r\nUser-Agent: PBX 20.5\r\n\
Content-Type: application/sdp\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{SDP}", SDP.len()).into_bytes()
}

fn ok() -> Vec<u8> {
    let head = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.1.2.4:5060;rport=5060;received=10.1.2.4;branch=z9hG4bK8sd7f6g5h4j3\r\n\
Record-Route: <sip:10.1.2.3:5060;lr>\r\nFrom: <sip:1234@10.1.2.4>;tag=k2j3h4g5\r\nTo: <sip:4711@10.1.2.3>;tag=as3f2e1d\r\n\
Call-ID: 5f4e3d2c1b0a@10.1.2.4\r\nCSeq: 1 BYE\r\nServer: PBX 20.5\r\n";
    format!("{head}Content-Length: 0\r\n\r\n").into_bytes()
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip_parse");
    for (name, message) in [("invite_with_sdp", invite()), ("ok", ok())] {
        assert!(Message::parse(&message).is_ok(), "{name} is a message");
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| Message::parse(black_box(&message))));
    }
    group.finish();
}

/// An endpoint that accepts every call, with a caller that plays INVITE, ACK, BYE.
struct Calls {
    endpoint: Endpoint,
    now: Instant,
    count: u64,
}

impl Calls {
    fn new() -> Self {
        let (socket, local) = (SocketId(1), SocketAddr::from(([10, 1, 2, 4], 5060)));
        let config = Config::new(socket, local);
        let mut endpoint = Endpoint::new(config, Rng::from_number(1), Arc::new(Metrics::default()));
        let now = Instant::now();
        let trunk = AccountSpec {
            catch_all: true,
            ..AccountSpec::guest(AccountId(1), "sip:trunk@10.1.2.3")
        };
        endpoint.handle_command(now, Command::Register(Box::new(trunk)));
        Self {
            endpoint,
            now,
            count: 0,
        }
    }

    /// One call; then 10 ms pass, as at 100 calls a second, so transactions end as others begin.
    fn call(&mut self) {
        self.count += 1;
        let invite = String::from_utf8(invite()).expect("the INVITE is text");
        let call = self.count.to_string();
        let invite = invite.replace("7f2c1a90", &call).replace("7b2d8f1e", &call);
        self.receive(&invite);
        let tag = self.drain();
        for method in ["ACK", "BYE"] {
            let cseq = if method == "ACK" { 21_533 } else { 21_534 };
            let to = format!("To: <sip:1234@10.1.2.4>;tag={tag}\r\nCSeq: {cseq} {method}\r\n");
            let head = format!(
                "{method} sip:trunk@10.1.2.4:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.2.3:5060;rport;branch=z9hG4bK{method}{call}\r\n\
                 From: \"Peter Example\" <sip:4711@10.1.2.3>;tag=1b2c3d4e\r\nCall-ID: {call}-55aa-4c1b-9b5d-0242ac110002\r\n"
            );
            self.receive(&format!("{head}{to}Content-Length: 0\r\n\r\n"));
            self.drain();
        }
        assert_eq!(self.endpoint.leg_count(), 0, "the call is over");
        self.now += Duration::from_millis(10);
        self.endpoint.handle_timeout(self.now);
    }

    fn receive(&mut self, datagram: &str) {
        let from = SocketAddr::from(([10, 1, 2, 3], 5060));
        self.endpoint
            .handle_datagram(self.now, SocketId(1), from, datagram.as_bytes());
    }

    /// Accepts what comes; gives our tag in the last answer.
    fn drain(&mut self) -> String {
        let mut tag = String::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Event(Event::IncomingCall(call)) => {
                    let (leg, sdp, headers) = (call.leg, SDP.as_bytes().to_vec(), Vec::new());
                    self.endpoint
                        .handle_command(self.now, Command::Accept { leg, sdp, headers });
                }
                Output::Transmit { bytes, .. } => {
                    if let Ok(Message::Response(_, parts)) = Message::parse(&bytes) {
                        tag = parts.to.tag().unwrap_or_default().to_owned();
                    }
                }
                _ => {}
            }
        }
        tag
    }
}

fn call(criterion: &mut Criterion) {
    let mut calls = Calls::new();
    // As many calls as leave their transactions behind for 32 s.
    (0..4_000).for_each(|_| calls.call());
    criterion.bench_function("sip_endpoint/incoming_call", |bencher| bencher.iter(|| calls.call()));
}

criterion_group!(benches, parse, call);
criterion_main!(benches);
