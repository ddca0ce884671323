//! What the builders write, line by line, and that another parser agrees.

use voex_sdp::{Candidate, Description, Direction, Extmap, Fingerprint, Ice, Kind, Payload, plain, webrtc};

fn local() -> webrtc::Local {
    let host = |address: &str| Candidate::host_udp(1, 2_015_363_327, address.parse().expect("is an address"), 26_412);
    webrtc::Local {
        session_name: "VideoRoom 900004".to_owned(),
        address: "203.0.113.10".parse().expect("is an address"),
        ice: Ice {
            ufrag: "ZhcK".to_owned(),
            pwd: "mNfL4LBGJSXgOvaVMxQruo".to_owned(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".to_owned(),
            bytes: vec![0x60, 0x07],
        },
        candidates: vec![host("203.0.113.10"), host("10.77.0.1")],
        ice_lite: true,
    }
}

fn extmap(id: u16, uri: &str) -> Extmap {
    Extmap {
        id,
        direction: None,
        uri: uri.to_owned(),
        attributes: String::new(),
    }
}

fn publisher_offer() -> Description {
    Description::parse(include_bytes!("../../../fuzz/corpus/sdp/chromium-publisher.sdp")).expect("the sample parses")
}

/// Answers like a conference room: Opus, VP8 with retransmissions and all rids, data.
fn room_answer() -> Description {
    webrtc::answer(&publisher_offer(), &local(), |_, offered| {
        let (payloads, ssrc) = match offered.kind {
            Kind::Audio => (vec![offered.payload(111)?.clone()], Some((3_444_894_943, None))),
            Kind::Video => (
                vec![offered.payload(96)?.clone(), offered.rtx_of(96)?.clone()],
                Some((5, Some(6))),
            ),
            _ => return Some(webrtc::Section::default()),
        };
        let mid = "urn:ietf:params:rtp-hdrext:sdes:mid";
        let video = offered.kind == Kind::Video;
        Some(webrtc::Section {
            direction: Direction::SendRecv,
            payloads,
            extmaps: vec![extmap(offered.extension(mid)?, mid)],
            rids: offered
                .rids
                .iter()
                .cloned()
                .map(|rid| voex_sdp::Rid { send: false, ..rid })
                .collect(),
            simulcast: video.then(|| "recv h;m;l".to_owned()),
            msid: Some(format!("janus janus{}", usize::from(video))),
            ssrc,
            cname: "janus".to_owned(),
        })
    })
}

#[test]
fn an_answer_has_the_lines_and_the_order_that_clients_know() {
    let expected = "\
v=0
o=- 7966593786031776734 2 IN IP4 203.0.113.10
s=VideoRoom 900004
t=0 0
a=group:BUNDLE 0 1 2
a=ice-options:trickle
a=fingerprint:sha-256 60:07
a=extmap-allow-mixed
a=msid-semantic: WMS *
a=ice-lite
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 203.0.113.10
a=recvonly
a=mid:0
a=rtcp-mux
a=ice-ufrag:ZhcK
a=ice-pwd:mNfL4LBGJSXgOvaVMxQruo
a=ice-options:trickle
a=setup:active
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=rtcp-fb:111 transport-cc
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=msid:janus janus0
a=ssrc:3444894943 cname:janus
a=candidate:1 1 udp 2015363327 203.0.113.10 26412 typ host
a=candidate:1 1 udp 2015363327 10.77.0.1 26412 typ host
a=end-of-candidates
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 203.0.113.10
a=recvonly
a=mid:1
a=rtcp-mux
a=ice-ufrag:ZhcK
a=ice-pwd:mNfL4LBGJSXgOvaVMxQruo
a=ice-options:trickle
a=setup:active
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 transport-cc
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rid:h recv
a=rid:m recv
a=rid:l recv
a=simulcast:recv h;m;l
a=msid:janus janus1
a=ssrc:5 cname:janus
a=ssrc:6 cname:janus
a=ssrc-group:FID 5 6
a=candidate:1 1 udp 2015363327 203.0.113.10 26412 typ host
a=candidate:1 1 udp 2015363327 10.77.0.1 26412 typ host
a=end-of-candidates
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 203.0.113.10
a=sendrecv
a=mid:2
a=sctp-port:5000
a=ice-ufrag:ZhcK
a=ice-pwd:mNfL4LBGJSXgOvaVMxQruo
a=ice-options:trickle
a=setup:active
a=candidate:1 1 udp 2015363327 203.0.113.10 26412 typ host
a=candidate:1 1 udp 2015363327 10.77.0.1 26412 typ host
a=end-of-candidates
";
    assert_eq!(room_answer().to_string().replace("\r\n", "\n"), expected);
}

#[test]
fn a_refused_m_line_keeps_its_place_with_port_zero_and_leaves_the_bundle() {
    let answer = webrtc::answer(&publisher_offer(), &local(), |index, _| {
        (index == 2).then(webrtc::Section::default)
    });
    assert_eq!(answer.bundle, ["2"]);
    let text = answer.to_string();
    assert!(
        text.contains("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 203.0.113.10\r\na=inactive\r\na=mid:0\r\nm=video 0")
    );
}

#[test]
fn an_offer_is_actpass_and_a_retired_m_line_stays_as_inactive() {
    let section = webrtc::Section {
        direction: Direction::SendOnly,
        payloads: vec![Payload::new(111, "opus", 48_000, 2)],
        msid: Some("janus janus0".to_owned()),
        ssrc: Some((7, None)),
        cname: "janus".to_owned(),
        ..webrtc::Section::default()
    };
    let media = vec![
        webrtc::Offered {
            kind: Kind::Video,
            mid: "0".to_owned(),
            section: None,
        },
        webrtc::Offered {
            kind: Kind::Audio,
            mid: "1".to_owned(),
            section: Some(section),
        },
    ];
    let offer = webrtc::offer(&local(), 99, 3, media);
    assert_eq!(offer.bundle, ["1"]);
    let text = offer.to_string();
    assert!(text.contains("o=- 99 3 IN IP4 203.0.113.10\r\n"));
    assert!(text.contains("m=video 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 203.0.113.10\r\na=inactive\r\na=mid:0\r\n"));
    assert!(
        text.contains(
            "a=setup:actpass\r\na=rtpmap:111 opus/48000/2\r\na=msid:janus janus0\r\na=ssrc:7 cname:janus\r\n"
        )
    );
}

fn telephone() -> plain::Local {
    plain::Local {
        username: "alice".to_owned(),
        session_id: 10,
        version: 1,
        session_name: "call".to_owned(),
        address: "192.0.2.5".parse().expect("is an address"),
        rtp_port: 20_000,
        rtcp_port: 20_001,
    }
}

#[test]
fn a_plain_offer_is_what_exchanges_expect() {
    let payloads = vec![
        Payload::new(8, "PCMA", 8_000, 1),
        Payload::new(101, "telephone-event", 8_000, 1).with_fmtp("0-16"),
    ];
    let section = plain::Section {
        direction: Direction::SendRecv,
        payloads,
        ptime: Some(20),
    };
    let expected = "v=0\r\no=alice 10 1 IN IP4 192.0.2.5\r\ns=call\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n\
        m=audio 20000 RTP/AVP 8 101\r\na=sendrecv\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n";
    assert_eq!(plain::offer(&telephone(), section).to_string(), expected);
}

#[test]
fn a_plain_answer_takes_one_audio_line_refuses_the_rest_and_allows_no_more_than_the_offer() {
    let offer = Description::parse(
        "v=0\nc=IN IP4 192.0.2.9\nm=image 5000 udptl t38\nm=audio 4000 RTP/AVP 8\na=sendonly\nm=audio 4002 RTP/AVP 0\n",
    )
    .expect("parses");
    let answer = plain::answer(&offer, &telephone(), |offered| {
        Some(plain::Section {
            direction: Direction::SendRecv,
            payloads: offered.payloads.clone(),
            ptime: None,
        })
    });
    let ports: Vec<_> = answer.media.iter().map(|m| (m.port, m.direction)).collect();
    assert_eq!(
        ports,
        [
            (0, Direction::Inactive),
            (20_000, Direction::RecvOnly),
            (0, Direction::Inactive)
        ]
    );
    assert_eq!(answer.media[0].formats, ["t38"]);
}

#[test]
fn no_value_can_begin_a_line_of_its_own() {
    let name = "room\r\na=ice-lite\r\nm=audio 1 RTP/AVP 0".to_owned();
    let description = Description {
        session_name: name,
        ..Description::default()
    };
    let read = Description::parse(description.to_string()).expect("parses");
    assert!(read.media.is_empty() && !read.ice_lite);
}

#[test]
fn another_parser_reads_the_same() {
    for description in [room_answer(), publisher_offer()] {
        let text = description.to_string();
        let read = rtc_sdp::SessionDescription::unmarshal(&mut std::io::Cursor::new(text.as_bytes()));
        let read = read.expect("the other parser accepts what is written");
        assert_eq!(read.origin.session_id, description.origin.session_id);
        assert_eq!(read.media_descriptions.len(), description.media.len());
        for (theirs, ours) in read.media_descriptions.iter().zip(&description.media) {
            assert_eq!(theirs.media_name.port.value, ours.port as isize);
            assert_eq!(theirs.attribute("mid").flatten(), ours.mid.as_deref());
            assert_eq!(
                theirs.media_name.formats.len(),
                ours.payloads.len() + ours.formats.len()
            );
        }
    }
}
