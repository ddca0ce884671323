//! Any input: parsing never panics, and what is written reads the same.

use proptest::prelude::*;
use voex_sdp::fuzz::parse_write_parse;

const LINES: &[&str] = &[
    "o=- 1 2 IN IP4 192.0.2.1",
    "s=name",
    "c=IN IP4 192.0.2.1/127",
    "c=IN IP6 ::1",
    "b=AS:64",
    "t=0 0",
    "k=x",
    "a=sendonly",
    "a=inactive",
    "a=group:BUNDLE 0 1",
    "a=group:LS 0 1",
    "a=ice-lite",
    "a=ice-options:trickle ice2",
    "a=ice-ufrag:abcd",
    "a=ice-pwd:0123456789012345678901",
    "a=fingerprint:sha-256 00:ff",
    "a=fingerprint:sha-256 0",
    "a=setup:actpass",
    "a=setup:what",
    "a=msid-semantic: WMS *",
    "a=extmap-allow-mixed",
    "a=extmap:1 urn:a",
    "a=extmap:1/recvonly urn:b attr x",
    "a=extmap:2 urn:a",
    "m=audio 9 UDP/TLS/RTP/SAVPF 0 8 111",
    "m=audio 0 RTP/AVP",
    "m=video 9/2 RTP/AVP 96 97",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "m=text 0 foo",
    "a=mid:0",
    "a=mid: 1 ",
    "a=rtpmap:111 opus/48000/2",
    "a=rtpmap:96 VP8/90000",
    "a=rtpmap:97 rtx/90000",
    "a=rtpmap:0 X/1/0",
    "a=fmtp:97 apt=96",
    "a=fmtp:96 x",
    "a=rtcp-fb:* nack",
    "a=rtcp-fb:96 nack  pli",
    "a=rtcp:9 IN IP4 0.0.0.0",
    "a=rtcp:9",
    "a=rtcp-mux",
    "a=bundle-only",
    "a=sctp-port:5000",
    "a=crypto:1 AES inline:x|y  z",
    "a=ssrc:1 cname:a",
    "a=ssrc:1 msid:b c",
    "a=ssrc:2",
    "a=ssrc:2 cname:",
    "a=ssrc-group:FID 1 2",
    "a=ssrc-group:FID",
    "a=rid:h send pt=96",
    "a=simulcast:send h",
    "a=msid:-",
    "a=candidate:1 1 udp 5 a.local 9 typ host raddr x",
    "a=end-of-candidates",
    "a=ptime:20",
    "a=ptime:x",
    "a=unknown",
    "a=unknown: value ",
    "a=:",
    "a=",
    "x=",
    "",
];

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse_write_parse(&bytes);
    }

    #[test]
    fn any_text_after_the_version(text in "v=0\n(.{0,40}\n){0,12}") {
        parse_write_parse(text.as_bytes());
    }

    #[test]
    fn any_order_of_known_lines(lines in proptest::collection::vec(proptest::sample::select(LINES), 0..60)) {
        parse_write_parse(format!("v=0\r\n{}\r\n", lines.join("\r\n")).as_bytes());
    }

    #[test]
    fn any_known_line_with_one_byte_changed(
        lines in proptest::collection::vec(proptest::sample::select(LINES), 1..30),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = format!("v=0\r\n{}\r\n", lines.join("\r\n")).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        parse_write_parse(&bytes);
    }
}

#[test]
fn the_fuzz_corpus() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/sdp");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("the corpus is committed") {
        let path = entry.expect("the directory is readable").path();
        parse_write_parse(&std::fs::read(path).expect("a corpus file is readable"));
        count += 1;
    }
    assert!(count >= 9, "only {count} files in the corpus");
}
