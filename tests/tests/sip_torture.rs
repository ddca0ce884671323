//! The real server and SIP that is meant to hurt: the messages of RFC 4475, and worse.
#![forbid(unsafe_code)]

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use voex_base::Rng;
use voex_tests::{ADDRESS, Namespace, Server};

/// Whoever asks is answered within this, whatever came before.
const PATIENCE: Duration = Duration::from_millis(100);
const ROUNDS: u32 = 100;
/// Rounds until buffers and tables have the size that they keep.
const WARM: u32 = 20;
/// Growth that is none: allocator slack.
const GROWTH_KB_MAX: u64 = 2_000;

/// Final answers that are right for a gateway, by RFC 4475 and what it leaves open; none where nothing may be answered.
const ANY: &[u16] = &[0];
const ANSWERS: [(&str, &[u16]); 49] = [
    ("badaspec", &[400, 200, 403, 404, 405, 501]),
    ("badbranch", &[200, 400, 403, 404, 405, 501]),
    ("baddate", &[400, 404, 403, 200, 488, 606]),
    ("baddn", &[400, 200, 403, 404, 405, 501]),
    ("badinv01", &[400]),
    ("badvers", &[505, 400]),
    ("bcast", &[]),
    ("bext01", &[420]),
    ("bigcode", &[]),
    ("clerr", &[400]),
    ("cparam01", &[200, 401, 403, 404, 405, 501]),
    ("cparam02", &[200, 401, 403, 404, 405, 501]),
    ("dblreq", &[200, 401, 403, 404, 405, 501]),
    ("esc01", ANY),
    ("esc02", &[405, 501]),
    ("escnull", &[200, 401, 403, 404, 405, 501]),
    ("escruri", &[400, 404, 403, 200, 488]),
    ("insuf", &[400]),
    ("intmeth", &[405, 501, 481, 404]),
    ("inv2543", ANY),
    ("invut", &[415, 403, 404]),
    ("longreq", ANY),
    ("ltgtruri", &[400, 404, 403, 200, 488, 606]),
    ("lwsdisp", &[200, 404, 405, 501, 403]),
    ("lwsruri", &[400]),
    ("lwsstart", &[400, 404, 403, 200, 488, 606]),
    ("mcl01", &[400]),
    ("mismatch01", &[400]),
    ("mismatch02", &[501, 405, 400]),
    ("mpart01", &[200, 202, 404, 405, 415, 501, 403]),
    ("multi01", &[400]),
    ("ncl", &[400]),
    ("noreason", &[]),
    ("novelsc", &[416, 400, 404]),
    ("quotbal", &[400, 404, 403, 200, 488, 606]),
    ("regaut01", &[401, 403, 405, 501]),
    ("regbadct", &[400, 401, 405, 501, 403]),
    ("regescrt", &[200, 400, 401, 403, 404, 405, 501]),
    ("scalar02", &[400, 405, 501, 403]),
    ("scalarlg", &[]),
    ("sdp01", &[406, 403, 404]),
    ("semiuri", &[200, 404, 405, 501, 403]),
    ("transports", &[200, 404, 405, 501, 403]),
    ("trws", &[400, 200, 403, 404, 405, 501]),
    ("unkscm", &[416, 400, 404]),
    ("unksm2", &[400, 403, 404, 405, 416, 501]),
    ("unreason", &[]),
    ("wsinv", ANY),
    ("zeromf", &[200, 403, 404, 405, 483, 501]),
];

/// A peer that the server talks to.
struct Peer {
    socket: UdpSocket,
    asked: u32,
}

impl Peer {
    fn new(namespace: &Namespace) -> Self {
        let socket = namespace.inside(|| UdpSocket::bind((ADDRESS, 5_077)).expect("a free port"));
        socket.connect((ADDRESS, 5_060)).expect("an address of the namespace");
        socket.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
        Self { socket, asked: 0 }
    }

    /// Sends a datagram and OPTIONS right behind it; gives the status codes that came before those of OPTIONS.
    fn provoke(&mut self, what: &str, datagram: &[u8]) -> Vec<u16> {
        self.socket.send(datagram).expect("a datagram that fits");
        self.asked += 1;
        let id = format!("ping-{}", self.asked);
        let options = format!(
            "OPTIONS sip:{ADDRESS} SIP/2.0\r\nVia: SIP/2.0/UDP {ADDRESS}:5077;rport;branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
             From: <sip:t@{ADDRESS}>;tag=t\r\nTo: <sip:{ADDRESS}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let start = Instant::now();
        self.socket.send(options.as_bytes()).expect("a small datagram");
        let mut codes = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("{what}: no answer to OPTIONS after it: {error}"));
            assert!(start.elapsed() < PATIENCE, "{what}: OPTIONS was answered late");
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if answer.contains(&id) {
                assert!(answer.starts_with("SIP/2.0 200"), "{what}: {answer}");
                return codes;
            }
            codes.extend(answer.get(8..11).and_then(|code| code.parse::<u16>().ok()));
        }
    }
}

fn torture(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../crates/sip-wire/tests/torture/{name}.dat",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A request with these fields added and this body.
fn request(method: &str, fields: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} sip:nobody@{ADDRESS} SIP/2.0\r\nVia: SIP/2.0/UDP {ADDRESS}:5077;rport;branch=z9hG4bK{method}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:t@{ADDRESS}>;tag=t\r\nTo: <sip:nobody@{ADDRESS}>\r\nCall-ID: hostile\r\n\
         CSeq: 1 {method}\r\nContact: <sip:t@{ADDRESS}:5077>\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What no standard describes.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let repeated = |text: &str, times: usize| text.repeat(times);
    let sdp = "Content-Type: application/sdp\r\n";
    let with_tag = |method: &str| {
        let text = String::from_utf8(request(method, "RAck: 1 1 INVITE\r\n", "")).expect("text");
        text.replace("To: <sip:nobody", "To: <sip:x@h>;tag=zz\r\nX: <sip:nobody")
            .into_bytes()
    };
    let invite = request("INVITE", sdp, "v=0\r\n");
    let mut rng = Rng::from_number(4_475);
    let mut noise = vec![0; 1_400];
    rng.fill(&mut noise);
    let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    binding.extend([7; 12]);
    let mut nul = invite.clone();
    nul[40] = 0;
    vec![
        (
            "a field of 60 kB",
            request("INVITE", &format!("X: {}\r\n", repeated("y", 60_000)), ""),
        ),
        ("4000 fields", request("INVITE", &repeated("X-A: b\r\n", 4_000), "")),
        (
            "a field of 5000 folds",
            request("OPTIONS", &format!("X: a{}\r\n", repeated("\r\n b", 5_000)), ""),
        ),
        (
            "500 Vias",
            request("OPTIONS", &repeated("Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\n", 500), ""),
        ),
        (
            "a Via of 2000 values",
            request(
                "OPTIONS",
                &format!("Via: SIP/2.0/UDP h{}\r\n", repeated(", SIP/2.0/UDP h", 2_000)),
                "",
            ),
        ),
        (
            "400 Record-Routes",
            request("INVITE", &repeated("Record-Route: <sip:p;lr>\r\n", 400), "v=0\r\n"),
        ),
        (
            "5000 parameters",
            request("INVITE", &format!("Accept: a/b{}\r\n", repeated(";p=q", 5_000)), ""),
        ),
        (
            "quotes without end",
            request("INVITE", &format!("Subject: {}\r\n", repeated("\"\\", 10_000)), ""),
        ),
        ("a method of 30 kB", request(&repeated("M", 20_000), "", "")),
        (
            "a session of 3000 media",
            request("INVITE", sdp, &repeated("m=audio 1 RTP/AVP 0\r\n", 2_800)),
        ),
        ("two lengths", request("INVITE", "Content-Length: 5\r\n", "hello")),
        (
            "a length of 20 digits",
            request("INVITE", "l: 99999999999999999999\r\n", ""),
        ),
        (
            "an interval of 20 digits",
            request(
                "INVITE",
                "Supported: timer\r\nSession-Expires: 99999999999999999999\r\n",
                "",
            ),
        ),
        (
            "credentials of 50 kB",
            request(
                "INVITE",
                &format!("Authorization: Digest {}\r\n", repeated("a=\"b\",", 8_000)),
                "",
            ),
        ),
        ("an INVITE cut in half", invite[..invite.len() / 2].to_vec()),
        ("an INVITE with a NUL", nul),
        ("an ACK for nothing", with_tag("ACK")),
        ("a BYE for nothing", with_tag("BYE")),
        ("a CANCEL for nothing", with_tag("CANCEL")),
        ("a PRACK for nothing", with_tag("PRACK")),
        ("an UPDATE for nothing", with_tag("UPDATE")),
        ("a REFER for nothing", with_tag("REFER")),
        ("a NOTIFY for nothing", with_tag("NOTIFY")),
        (
            "a response to nothing",
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.77.0.1:5060;branch=z9hG4bKq\r\nCSeq: 1 INVITE\r\n\r\n".to_vec(),
        ),
        ("a response without fields", b"SIP/2.0 180 Ringing\r\n\r\n".to_vec()),
        ("line breaks", repeated("\r\n", 2_000).into_bytes()),
        ("STUN", binding),
        ("noise", noise),
        ("one octet", vec![0]),
        (
            "UTF-8 cut short",
            request("OPTIONS", "Subject: \u{43f}\u{440}\r\n", "")
                .into_iter()
                .take(420)
                .chain([0xd0])
                .collect(),
        ),
    ]
}

#[test]
fn torture_and_hostility_are_answered_as_they_should_survived_and_leave_no_memory() {
    let namespace = Namespace::new();
    let trunk = format!("sip.trunks: [{{ name: pbx, server: {ADDRESS}, allow: [{ADDRESS}] }}]\n");
    let server = Server::start(&namespace, &trunk);
    let mut peer = Peer::new(&namespace);
    for (name, right) in ANSWERS {
        let codes = peer.provoke(name, &torture(name));
        let last: Vec<_> = codes.into_iter().filter(|code| *code >= 200).collect();
        let is_right = match (right, last.as_slice()) {
            ([], []) => true,
            ([0], [_]) => true,
            (right, [code]) => right.contains(code),
            _ => false,
        };
        assert!(is_right, "{name} was answered {last:?}, not one of {right:?}");
    }
    let hostile = hostile();
    let mut warm = 0;
    for round in 0..ROUNDS {
        for (what, datagram) in &hostile {
            peer.provoke(what, datagram);
        }
        for (name, _) in ANSWERS {
            peer.provoke(name, &torture(name));
        }
        if round + 1 == WARM {
            warm = server.memory_kb();
        }
    }
    let grown = server.memory_kb().saturating_sub(warm);
    assert!(grown < GROWTH_KB_MAX, "{grown} kB more after {ROUNDS} rounds");
    assert_eq!(server.metric("sip_dialogs"), 0.0);
    server.stop();
}
