//! Calls in both directions, as SDP in and out and commands for the media worker.

use voex_base::{SubscriptionId, TrackId, TransportId};
use voex_bridge::{Call, CallError, Ids, Leg, State, Transports};
use voex_sdp::{Candidate, Description, Direction, Fingerprint, Ice, Kind, plain, webrtc};
use voex_sfu::command::Command;

const TRANSPORTS: Transports = Transports {
    webrtc: TransportId(1),
    plain: TransportId(2),
};

#[derive(Default)]
struct Counting(u64);

impl Ids for Counting {
    fn track(&mut self) -> TrackId {
        self.0 += 1;
        TrackId(100 + self.0)
    }

    fn subscription(&mut self) -> SubscriptionId {
        self.0 += 1;
        SubscriptionId(100 + self.0)
    }

    fn ssrc(&mut self) -> u32 {
        self.0 += 1;
        9_000 + self.0 as u32
    }
}

fn leg(ssrc: u32, cname: &str) -> Leg {
    Leg {
        ssrc,
        cname: cname.to_owned(),
    }
}

fn local() -> plain::Local {
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

fn sdp(text: &str) -> Description {
    Description::parse(text).expect("the test's description parses")
}

/// A plain description of one audio m-line.
fn exchange(formats: &str, attributes: &[&str]) -> Description {
    let lines: String = attributes.iter().map(|line| format!("a={line}\r\n")).collect();
    sdp(&format!(
        "v=0\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP {formats}\r\n{lines}"
    ))
}

fn chromium_offer() -> Description {
    Description::parse(include_bytes!("../../../fuzz/corpus/sdp/chromium-call.sdp")).expect("the sample parses")
}

/// A browser's answer to an offer of ours.
fn browser_answer(formats: &str, attributes: &[&str]) -> Description {
    let lines: String = attributes.iter().map(|line| format!("a={line}\r\n")).collect();
    sdp(&format!(
        "v=0\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF {formats}\r\na=mid:0\r\na=ssrc:77 cname:x\r\n{lines}"
    ))
}

fn outgoing() -> (Call, Description) {
    let (call, offer) = Call::outgoing(leg(1_000, "janus"), leg(2_000, "pbx"), &chromium_offer(), local())
        .expect("the offer of a browser can be carried");
    (call, sdp(&offer))
}

fn jsep_answer(call: &Call) -> Description {
    let local = webrtc::Local {
        session_name: "SIP".to_owned(),
        address: "203.0.113.10".parse().expect("is an address"),
        ice: Ice {
            ufrag: "u".to_owned(),
            pwd: "p".to_owned(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".to_owned(),
            bytes: vec![1],
        },
        candidates: vec![Candidate::host_udp(
            1,
            1,
            "203.0.113.10".parse().expect("is an address"),
            20_000,
        )],
        ice_lite: true,
    };
    webrtc::answer(&chromium_offer(), &local, |_, media| call.jsep_section(Some(media)))
}

fn types(description: &Description) -> Vec<u8> {
    let (_, audio) = description.first(&Kind::Audio).expect("has audio");
    audio.payloads.iter().map(|p| p.payload_type).collect()
}

/// Destination, payload map and activity of a subscription.
type Relay = (TransportId, Vec<(u8, u8)>, bool);

/// Gives each subscription that is added.
fn subscriptions(commands: &[Command]) -> Vec<Relay> {
    let added = commands.iter().filter_map(|command| match command {
        Command::AddSubscription(spec) => Some(spec),
        _ => None,
    });
    added
        .map(|spec| {
            (
                spec.transport,
                spec.payloads.iter().map(|p| (p.0, p.1)).collect(),
                spec.active,
            )
        })
        .collect()
}

#[test]
fn the_invite_offers_what_the_browser_offers_without_webrtc_lines() {
    let (call, offer) = outgoing();
    assert_eq!(call.state(), State::Inviting);
    let text = offer.to_string();
    assert!(
        text.contains("m=audio 20000 RTP/AVP 111 9 0 8 13 110 126\r\n"),
        "all but redundancy: {text}"
    );
    assert!(text.contains("a=fmtp:111 minptime=10;useinbandfec=1\r\n"));
    for stripped in [
        "ice",
        "candidate",
        "fingerprint",
        "setup",
        "ssrc",
        "msid",
        "extmap",
        "rtcp-fb",
        "rtcp-mux",
        "mid:",
    ] {
        assert!(
            !text.contains(&format!("a={stripped}")),
            "{stripped} is left in: {text}"
        );
    }
}

#[test]
fn the_browser_is_answered_with_what_the_exchange_picked() {
    let (mut call, _) = outgoing();
    let answer = exchange("8 126", &["rtpmap:126 telephone-event/8000", "fmtp:126 0-16"]);
    call.handle_plain_answer(&answer).expect("a common format");
    call.answered();
    assert_eq!(call.state(), State::InCall);
    let jsep = jsep_answer(&call);
    assert_eq!(types(&jsep), [8, 126]);
    let text = jsep.to_string();
    assert!(text.contains("a=fmtp:126 0-16\r\n") && text.contains("a=ssrc:1000 cname:janus\r\n"));
    assert!(text.contains("a=msid:janus janus0\r\n") && text.contains("a=setup:active\r\n"));
}

#[test]
fn both_transports_are_joined_once_the_answer_is_there() {
    let (mut call, _) = outgoing();
    let mut ids = Counting::default();
    assert!(call.update(TRANSPORTS, &mut ids).is_empty(), "nothing is agreed yet");
    call.handle_plain_answer(&exchange("8", &[])).expect("a common format");
    let commands = call.update(TRANSPORTS, &mut ids);
    let [
        Command::SetPlainRemote(transport, remote),
        Command::AddTrack(up),
        Command::AddTrack(down),
        ..,
    ] = commands.as_slice()
    else {
        panic!("unexpected commands: {commands:?}");
    };
    assert_eq!(
        (*transport, remote.rtp, remote.rtcp, remote.latch),
        (
            TransportId(2),
            "192.0.2.9:4000".parse().expect("is an address"),
            "192.0.2.9:4001".parse().expect("is an address"),
            true
        )
    );
    assert_eq!(
        (up.transport, up.mid.as_str(), up.encodings[0].ssrc),
        (TransportId(1), "0", Some((1_001, None)))
    );
    assert_eq!(
        (down.transport, down.mid.as_str(), down.encodings.first()),
        (TransportId(2), "", None)
    );
    assert_eq!(
        subscriptions(&commands),
        [
            (TransportId(2), vec![(8, 8)], true),
            (TransportId(1), vec![(8, 8)], true)
        ]
    );
    assert!(call.update(TRANSPORTS, &mut ids).is_empty(), "nothing changed");
}

#[test]
fn renumbered_telephone_events_are_exchanged_on_the_way() {
    let (mut call, _) = outgoing();
    call.handle_plain_answer(&exchange("0 101", &["rtpmap:101 telephone-event/8000"]))
        .expect("a common format");
    assert_eq!(types(&jsep_answer(&call)), [0, 126], "the browser keeps its number");
    let commands = call.update(TRANSPORTS, &mut Counting::default());
    assert_eq!(
        subscriptions(&commands),
        [
            (TransportId(2), vec![(0, 0), (126, 101)], true),
            (TransportId(1), vec![(0, 0), (126, 126), (101, 126)], true),
        ]
    );
}

#[test]
fn an_answer_after_early_media_moves_the_remote_without_a_second_join() {
    let (mut call, _) = outgoing();
    let mut ids = Counting::default();
    call.handle_plain_answer(&exchange("8", &["sendonly"]))
        .expect("a common format");
    let early = call.update(TRANSPORTS, &mut ids);
    assert_eq!(
        subscriptions(&early).iter().map(|s| s.2).collect::<Vec<_>>(),
        [false, true]
    );
    let moved = sdp("v=0\r\nc=IN IP4 192.0.2.77\r\nm=audio 5000 RTP/AVP 8\r\n");
    call.handle_plain_answer(&moved).expect("a common format");
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(
        matches!(commands.as_slice(), [
            Command::SetPlainRemote(_, remote),
            Command::SetSubscriptionActive(_, true)
        ] if remote.rtp.port() == 5_000),
        "{commands:?}"
    );
}

#[test]
fn an_answer_without_common_sound_joins_nothing() {
    let (mut call, _) = outgoing();
    let events_only = exchange("126", &["rtpmap:126 telephone-event/8000"]);
    assert_eq!(call.handle_plain_answer(&events_only), Err(CallError::NoCommonFormat));
    assert_eq!(
        call.handle_plain_answer(&exchange("18", &[])),
        Err(CallError::NoCommonFormat)
    );
    assert_eq!(
        call.handle_plain_answer(&sdp("v=0\r\nm=audio 0 RTP/AVP 8\r\n")),
        Err(CallError::NoAudio)
    );
    assert!(call.update(TRANSPORTS, &mut Counting::default()).is_empty());
}

fn incoming(offer: Description) -> Call {
    Call::incoming(leg(1_000, "janus"), leg(2_000, "pbx"), Some(offer)).expect("the offer can be carried")
}

#[test]
fn a_telephone_offer_becomes_an_offer_to_the_browser_and_its_answer_a_plain_answer() {
    let offer = exchange(
        "8 0 101",
        &["rtpmap:101 telephone-event/8000", "fmtp:101 0-15", "ptime:20"],
    );
    let mut call = incoming(offer);
    assert_eq!(call.state(), State::Invited);
    let section = call.jsep_offer().remove(0).section.expect("audio is offered");
    let offered: Vec<_> = section
        .payloads
        .iter()
        .map(|p| (p.payload_type, p.name.as_str()))
        .collect();
    assert_eq!(offered, [(8, "PCMA"), (0, "PCMU"), (101, "telephone-event")]);
    assert_eq!(section.direction, Direction::SendRecv);

    let answer = browser_answer("0 101", &["rtpmap:101 telephone-event/8000", "sendrecv"]);
    let text = call.accept(&answer, local()).expect("a common format");
    assert!(text.contains("m=audio 20000 RTP/AVP 0 101\r\na=sendrecv\r\n"), "{text}");
    assert!(text.contains("a=fmtp:101 0-15\r\na=ptime:20\r\n"), "{text}");
    let commands = call.update(TRANSPORTS, &mut Counting::default());
    assert_eq!(
        subscriptions(&commands),
        [
            (TransportId(2), vec![(0, 0), (101, 101)], true),
            (TransportId(1), vec![(0, 0), (101, 101)], true)
        ]
    );
    assert_eq!(
        call.accept(&answer, local()),
        Err(CallError::NotOffered),
        "an offer is answered once"
    );
}

#[test]
fn video_of_a_telephone_is_refused_and_audio_taken() {
    let offer = sdp(
        "v=0\r\nc=IN IP4 192.0.2.9\r\nm=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\nm=audio 4000 RTP/AVP 8\r\n",
    );
    let text = incoming(offer)
        .accept(&browser_answer("8", &[]), local())
        .expect("a common format");
    assert!(
        text.contains("m=video 0 RTP/AVP 96\r\n") && text.contains("m=audio 20000 RTP/AVP 8\r\n"),
        "{text}"
    );
}

#[test]
fn offers_that_no_browser_can_take_are_refused_with_488() {
    let refused = |text: &str| {
        Call::incoming(leg(1, "a"), leg(2, "b"), Some(sdp(text)))
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(refused("v=0\r\nm=image 4 udptl t38\r\n"), CallError::NoAudio);
    assert_eq!(refused("v=0\r\nm=audio 4000 RTP/SAVP 8\r\n"), CallError::Encrypted);
    let error = refused("v=0\r\nm=audio 4000 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n");
    assert_eq!((error, error.sip_status()), (CallError::NoCommonFormat, 488));
}

#[test]
fn an_srtp_line_beside_a_plain_one_is_passed_over() {
    let offer = sdp("v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/SAVP 8\r\nm=audio 4002 RTP/AVP 8\r\n");
    let text = incoming(offer)
        .accept(&browser_answer("8", &[]), local())
        .expect("a common format");
    assert!(
        text.contains("m=audio 0 RTP/SAVP 8\r\n") && text.contains("m=audio 20000 RTP/AVP 8\r\n"),
        "{text}"
    );
}

#[test]
fn a_call_without_offer_is_offered_by_the_browser_and_answered_in_the_ack() {
    let mut call = Call::incoming(leg(1_000, "janus"), leg(2_000, "pbx"), None).expect("no offer is no error");
    assert!(!call.has_offer());
    let offer = sdp(&call.offer_for(&chromium_offer(), local()).expect("can be carried"));
    assert_eq!(types(&offer), [111, 9, 0, 8, 13, 110, 126]);
    call.handle_plain_answer(&exchange("8", &[])).expect("a common format");
    assert_eq!(types(&jsep_answer(&call)), [8]);
    assert_eq!(call.update(TRANSPORTS, &mut Counting::default()).len(), 5);
}

/// A call in progress with PCMA and telephone events, joined.
fn in_call() -> (Call, Counting) {
    let (mut call, _) = outgoing();
    let mut ids = Counting::default();
    call.handle_plain_answer(&exchange("8 126", &["rtpmap:126 telephone-event/8000"]))
        .expect("a common format");
    call.answered();
    call.update(TRANSPORTS, &mut ids);
    (call, ids)
}

fn answered_direction(text: &str) -> Direction {
    sdp(text).first(&Kind::Audio).expect("audio is accepted").1.direction
}

#[test]
fn hold_by_the_remote_is_answered_with_the_mirrored_direction_and_stops_what_it_does_not_want() {
    let (mut call, mut ids) = in_call();
    let answer = call
        .handle_reinvite(&exchange("8", &["sendonly"]))
        .expect("a common format");
    assert_eq!(answered_direction(&answer), Direction::RecvOnly);
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(
        matches!(commands.as_slice(), [Command::SetSubscriptionActive(_, false)]),
        "{commands:?}"
    );

    let answer = call
        .handle_reinvite(&exchange("8", &["inactive"]))
        .expect("a common format");
    assert_eq!(answered_direction(&answer), Direction::Inactive);
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(
        matches!(commands.as_slice(), [Command::SetSubscriptionActive(_, false)]),
        "{commands:?}"
    );

    let answer = call.handle_reinvite(&exchange("8", &[])).expect("a common format");
    assert_eq!(answered_direction(&answer), Direction::SendRecv);
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(
        matches!(
            commands.as_slice(),
            [
                Command::SetSubscriptionActive(_, true),
                Command::SetSubscriptionActive(_, true)
            ]
        ),
        "{commands:?}"
    );
}

#[test]
fn hold_by_an_unspecified_address_stops_sending() {
    let (mut call, mut ids) = in_call();
    let offer = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 8 126\r\na=rtpmap:126 telephone-event/8000\r\n";
    call.handle_reinvite(&sdp(offer)).expect("a common format");
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(
        matches!(commands.as_slice(), [Command::SetPlainRemote(_, remote), Command::SetSubscriptionActive(_, false)]
            if remote.rtp.ip().is_unspecified()),
        "{commands:?}"
    );
}

#[test]
fn a_reinvite_with_new_numbers_replaces_the_plain_track_and_both_subscriptions() {
    let (mut call, mut ids) = in_call();
    let offer = exchange("8 97", &["rtpmap:97 telephone-event/8000"]);
    let answer = call.handle_reinvite(&offer).expect("a common format");
    assert_eq!(types(&sdp(&answer)), [8, 97]);
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(matches!(commands[0], Command::RemoveSubscription(_)) && matches!(commands[1], Command::RemoveTrack(_)));
    let ssrcs = commands.iter().filter_map(|c| match c {
        Command::AddSubscription(spec) => Some(spec.ssrc),
        _ => None,
    });
    assert!(
        ssrcs.into_iter().all(|ssrc| ssrc > 9_000),
        "no SSRC is used for a second sequence of packets"
    );
    assert_eq!(
        subscriptions(&commands),
        [
            (TransportId(2), vec![(8, 8), (126, 97)], true),
            (TransportId(1), vec![(8, 8), (97, 126)], true),
        ]
    );
}

#[test]
fn a_reinvite_to_a_codec_that_the_browser_does_not_use_is_refused_and_changes_nothing() {
    let (mut call, mut ids) = in_call();
    assert_eq!(
        call.handle_reinvite(&exchange("0", &[])),
        Err(CallError::NoCommonFormat)
    );
    assert!(call.update(TRANSPORTS, &mut ids).is_empty());
}

#[test]
fn a_session_refresh_repeats_our_description_with_its_version() {
    let (mut call, _) = in_call();
    let offer = exchange("8 126", &["rtpmap:126 telephone-event/8000"]);
    let first = call.handle_reinvite(&offer).expect("a common format");
    let second = call.handle_reinvite(&offer).expect("a common format");
    assert_eq!(first, second, "RFC 3264 §8: the same version means the same text");
    assert!(
        first.contains("o=alice 10 2 "),
        "it differs from our first offer: {first}"
    );
}

#[test]
fn our_hold_offers_sendonly_and_takes_effect_with_the_answer() {
    let (mut call, mut ids) = in_call();
    let offer = call.hold(Direction::SendOnly).expect("a call is there to hold");
    assert_eq!(
        (answered_direction(&offer), call.state()),
        (Direction::SendOnly, State::InCallReinviting)
    );
    assert!(call.update(TRANSPORTS, &mut ids).is_empty(), "not agreed yet");
    let answer = exchange("8 126", &["rtpmap:126 telephone-event/8000", "recvonly"]);
    call.handle_plain_answer(&answer).expect("a common format");
    assert_eq!(call.state(), State::InCall);
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(
        matches!(commands.as_slice(), [Command::SetSubscriptionActive(_, false)]),
        "{commands:?}"
    );
    let resumed = call.hold(Direction::SendRecv).expect("a call is there to resume");
    assert_eq!(answered_direction(&resumed), Direction::SendRecv);
}

#[test]
fn a_reinvite_without_offer_gets_ours_and_its_answer_counts() {
    let (mut call, mut ids) = in_call();
    let offer = call.handle_reinvite_without_offer().expect("a call is there");
    assert_eq!(
        (types(&sdp(&offer)), call.state()),
        (vec![8, 126], State::InCallReinvited)
    );
    let moved =
        sdp("v=0\r\nc=IN IP4 192.0.2.50\r\nm=audio 6000 RTP/AVP 8 126\r\na=rtpmap:126 telephone-event/8000\r\n");
    call.handle_plain_answer(&moved).expect("a common format");
    assert_eq!(call.state(), State::InCall);
    let commands = call.update(TRANSPORTS, &mut ids);
    assert!(matches!(commands.as_slice(), [Command::SetPlainRemote(_, remote)] if remote.rtp.port() == 6_000));
}

#[test]
fn a_refused_hold_leaves_the_call_as_it_was() {
    let (mut call, mut ids) = in_call();
    call.hold(Direction::Inactive).expect("a call is there to hold");
    call.handle_refused_reinvite();
    assert_eq!(call.state(), State::InCall);
    assert!(call.update(TRANSPORTS, &mut ids).is_empty());
    let answer = call.handle_reinvite(&exchange("8", &[])).expect("a common format");
    assert_eq!(answered_direction(&answer), Direction::SendRecv);
}
