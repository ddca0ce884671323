//! Reads what browsers and telephones send.

use voex_sdp::{Description, Direction, ErrorKind, Kind, Setup};

macro_rules! sample {
    ($name:literal) => {
        Description::parse(include_bytes!(concat!("../../../fuzz/corpus/sdp/", $name))).expect("a sample parses")
    };
}

fn refused(text: &str) -> (ErrorKind, u16) {
    let error = Description::parse(text).expect_err("is refused");
    (error.kind, error.line)
}

#[test]
fn chromium_publisher_offer_gives_three_bundled_media() {
    let offer = sample!("chromium-publisher.sdp");
    assert_eq!(offer.bundle, ["0", "1", "2"]);
    assert_eq!(
        (offer.origin.session_id, offer.origin.version),
        (7_966_593_786_031_776_734, 2)
    );
    assert!(offer.extmap_allow_mixed && !offer.ice_lite);
    let kinds: Vec<_> = offer.media.iter().map(|m| m.kind.clone()).collect();
    assert_eq!(kinds, [Kind::Audio, Kind::Video, Kind::Application]);
    for media in &offer.media {
        assert_eq!(media.ice.as_ref().map(|ice| ice.ufrag.as_str()), Some("nAX3"));
        assert_eq!(media.setup, Some(Setup::Actpass));
        assert_eq!(
            media.fingerprint.as_ref().map(|f| (f.hash.as_str(), f.bytes.len())),
            Some(("sha-256", 32))
        );
    }
    assert_eq!(offer.media[2].sctp_port, Some(5_000));
    assert_eq!(offer.media[2].formats, ["webrtc-datachannel"]);
}

#[test]
fn chromium_video_gives_codecs_with_feedback_retransmission_and_simulcast() {
    let offer = sample!("chromium-publisher.sdp");
    let (index, video) = offer.first(&Kind::Video).expect("has video");
    assert_eq!((index, video.direction), (1, Direction::SendOnly));
    let vp8 = video.payload_named("VP8").expect("offers VP8");
    assert_eq!((vp8.payload_type, vp8.clock_rate, vp8.channels), (96, 90_000, 1));
    assert_eq!(
        vp8.rtcp_fb,
        ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"]
    );
    assert_eq!(video.rtx_of(96).map(|p| p.payload_type), Some(97));
    assert_eq!(video.sent_rids(), ["h", "m", "l"]);
    assert_eq!(video.extension("urn:ietf:params:rtp-hdrext:sdes:mid"), Some(4));
}

#[test]
fn the_layers_of_a_sim_group_stand_in_its_order_each_with_its_retransmissions() {
    let offer = Description::parse(
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ssrc-group:FID 3 4\r\na=ssrc-group:SIM 1 3 5\r\n\
         a=ssrc-group:FID 1 2\r\na=ssrc-group:SIM 7 8\r\n",
    );
    let video = &offer.expect("parses").media[0];
    assert_eq!(video.simulcast_ssrcs(), [(1, Some(2)), (3, Some(4)), (5, None)]);
    let without = Description::parse("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ssrc-group:FID 3 4\r\n");
    assert_eq!(without.expect("parses").media[0].simulcast_ssrcs(), []);
}

#[test]
fn chromium_audio_gives_the_ssrc_with_its_stream() {
    let offer = sample!("chromium-publisher.sdp");
    let audio = &offer.media[0];
    assert_eq!(audio.first_ssrc(), Some((2_365_791_418, None)));
    assert_eq!(audio.ssrcs.len(), 1);
    assert!(audio.ssrcs[0].cname.is_some() && audio.ssrcs[0].msid.is_some());
    let opus = audio.payload(111).expect("offers Opus");
    assert_eq!(
        (opus.name.as_str(), opus.clock_rate, opus.channels),
        ("opus", 48_000, 2)
    );
    assert_eq!(opus.parameter("useinbandfec"), Some("1"));
    assert_eq!(audio.candidates[1].rest, "tcptype active generation 0 network-id 1");
}

#[test]
fn an_mdns_candidate_keeps_its_name() {
    let offer = sample!("chromium-call.sdp");
    assert!(offer.media[0].candidates[0].address.ends_with(".local"));
}

#[test]
fn firefox_media_inherit_the_session_fingerprint_and_a_bundle_only_m_line_is_not_rejected() {
    let offer = sample!("firefox-offer.sdp");
    assert_eq!(offer.media[0].fingerprint, offer.fingerprint);
    assert!(offer.fingerprint.is_some());
    let video = &offer.media[1];
    assert_eq!(video.port, 0);
    assert!(video.bundle_only && !video.is_rejected());
    assert_eq!(video.first_ssrc(), Some((925_683_146, Some(4_149_431_209))));
    assert_eq!(offer.media[0].extmaps[1].direction, Some(Direction::RecvOnly));
}

#[test]
fn a_telephone_offer_gives_its_addresses_from_the_session_level() {
    let offer = sample!("baresip-offer.sdp");
    let audio = &offer.media[0];
    assert_eq!(audio.rtp_address(), "10.77.0.3:20002".parse().ok());
    assert_eq!(audio.rtcp_address(), "10.77.0.3:20003".parse().ok());
    let types: Vec<_> = audio.payloads.iter().map(|p| p.payload_type).collect();
    assert_eq!(types, [8, 0, 9, 96, 101]);
    assert_eq!(audio.ptime, Some(20));
    assert_eq!(audio.bandwidth[0].value, 125);
    assert_eq!(audio.attributes[0].name, "label");
    assert_eq!(offer.attributes[0].value.as_deref(), Some("baresip 1.0.0"));
}

#[test]
fn a_static_payload_type_needs_no_rtpmap() {
    let offer = sample!("hold-sendonly.sdp");
    let audio = &offer.media[0];
    assert_eq!(
        audio.payload(0).map(|p| (p.name.as_str(), p.clock_rate)),
        Some(("PCMU", 8_000))
    );
    assert_eq!(audio.payload(8).map(|p| p.name.as_str()), Some("PCMA"));
    assert_eq!(audio.payload(101).map(|p| p.name.as_str()), Some("telephone-event"));
}

#[test]
fn hold_is_seen_in_every_form() {
    assert!(
        sample!("hold-sendonly.sdp").media[0].is_hold(),
        "direction of the session level"
    );
    assert!(
        sample!("hold-zero-address.sdp").media[0].is_hold(),
        "address of RFC 2543"
    );
    assert!(sample!("odd-lines.sdp").media[2].direction == Direction::RecvOnly);
    assert!(!sample!("baresip-offer.sdp").media[0].is_hold());
    let inactive = Description::parse("v=0\nm=audio 4000 RTP/AVP 0\na=inactive\n").expect("parses");
    assert!(inactive.media[0].is_hold());
}

#[test]
fn a_refused_m_line_without_format_does_not_spoil_the_rest() {
    let answer = sample!("odd-lines.sdp");
    assert_eq!(answer.media[0].kind, Kind::Other("foo".to_owned()));
    assert!(answer.media[0].is_rejected());
    assert_eq!(
        sample!("asterisk-answer.sdp")
            .first(&Kind::Audio)
            .map(|(index, _)| index),
        Some(0)
    );
    assert!(sample!("asterisk-answer.sdp").first(&Kind::Video).is_none());
}

#[test]
fn the_first_of_two_contradicting_lines_counts() {
    let odd = sample!("odd-lines.sdp");
    let audio = &odd.media[2];
    assert_eq!(audio.mid.as_deref(), Some("first"));
    assert_eq!(audio.payload(96).map(|p| p.name.as_str()), Some("iLBC"));
    assert_eq!(audio.payloads.len(), 3, "a payload type named twice is one");
    assert!(
        audio.payloads.iter().all(|p| p.has_feedback("nack")),
        "rtcp-fb:* is everybody's"
    );
    assert_eq!(
        audio.connection.as_ref().map(|c| c.address.as_str()),
        Some("198.51.100.8")
    );
}

#[test]
fn sdes_keys_and_ipv6_are_read_and_keys_are_not_printed() {
    let offer = sample!("srtp-offer.sdp");
    let audio = &offer.media[0];
    assert_eq!(audio.crypto.len(), 2);
    assert_eq!(audio.crypto[0].suite, "AES_CM_128_HMAC_SHA1_80");
    assert!(audio.crypto[0].keys.ends_with("FEC_ORDER=FEC_SRTP"));
    assert!(!format!("{offer:?}").contains("PS1uQCVe"));
    assert_eq!(audio.rtp_address(), "[2001:db8::17]:49170".parse().ok());
}

#[test]
fn an_origin_id_longer_than_64_bits_is_no_reason_to_refuse() {
    let text = "v=0\no=- 123456789012345678901234567890 1 IN IP4 192.0.2.1\ns=-\nt=0 0\n";
    assert_eq!(Description::parse(text).expect("parses").origin.session_id, u64::MAX);
}

#[test]
fn refusals_name_the_reason_and_the_line() {
    assert_eq!(refused(""), (ErrorKind::Version, 1));
    assert_eq!(refused("v=1\r\n"), (ErrorKind::Version, 1));
    assert_eq!(refused("v=0\r\nnonsense\r\n"), (ErrorKind::Syntax, 2));
    assert_eq!(refused("v=0\r\no=- 1 IN IP4 1.2.3.4\r\n"), (ErrorKind::Origin, 2));
    assert_eq!(refused("v=0\r\no=- x 1 IN IP4 1.2.3.4\r\n"), (ErrorKind::Origin, 2));
    assert_eq!(refused("v=0\r\ns=-\r\nc=IN IP4\r\n"), (ErrorKind::Connection, 3));
    assert_eq!(refused("v=0\r\nm=audio 9 RTP/AVP\r\n"), (ErrorKind::Media, 2));
    assert_eq!(refused("v=0\r\nm=audio 65536 RTP/AVP 0\r\n"), (ErrorKind::Media, 2));
    assert_eq!(refused("v=0\r\nm=audio 9 RTP/AVP 128\r\n"), (ErrorKind::PayloadType, 2));
    assert_eq!(refused("v=0\r\ns=a\0b\r\n"), (ErrorKind::Character, 2));
}

#[test]
fn bounds_hold() {
    let lines = format!("v=0\n{}", "a=x\n".repeat(voex_sdp::LINES_MAX));
    assert_eq!(refused(&lines).0, ErrorKind::TooManyLines);
    let media = |count| format!("v=0\n{}", "m=audio 9 RTP/AVP 0\n".repeat(count));
    assert_eq!(
        Description::parse(media(voex_sdp::MEDIA_MAX)).map(|d| d.media.len()),
        Ok(voex_sdp::MEDIA_MAX)
    );
    assert_eq!(refused(&media(voex_sdp::MEDIA_MAX + 1)).0, ErrorKind::TooManyMedia);
    assert_eq!(refused(&"v".repeat(voex_sdp::BYTES_MAX + 1)).0, ErrorKind::TooLong);
}
