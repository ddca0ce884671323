//! Offers and answers as Chromium writes them, and what is read from a server's.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use voex_sdp::{Description, Kind, Media, Setup};

use crate::LoadError;

/// Payload types of Chromium's offers.
pub(crate) const OPUS: u8 = 111;
pub(crate) const VP8: u8 = 96;
pub(crate) const RTX: u8 = 97;

/// Header extensions that a sender writes.
pub(crate) mod uri {
    pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    pub(crate) const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    pub(crate) const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    pub(crate) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    pub(crate) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    pub(crate) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
}

/// Ids of the extensions that are offered.
const AUDIO_EXTENSIONS: &[(u8, &str)] = &[
    (1, uri::AUDIO_LEVEL),
    (2, uri::ABS_SEND_TIME),
    (3, uri::TRANSPORT_CC),
    (4, uri::MID),
];
const VIDEO_EXTENSIONS: &[(u8, &str)] = &[
    (2, uri::ABS_SEND_TIME),
    (3, uri::TRANSPORT_CC),
    (4, uri::MID),
    (10, uri::RID),
    (11, uri::REPAIRED_RID),
];

/// What both sides of a peer connection tell of themselves.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) address: SocketAddr,
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    /// SHA-256 of the certificate as hexadecimal pairs.
    pub(crate) fingerprint: String,
}

/// A medium that is offered.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// Opus.
    Audio {
        /// Its source.
        ssrc: u32,
    },
    /// VP8 in one encoding.
    Video {
        /// Its source.
        ssrc: u32,
        /// Source of its retransmissions.
        rtx_ssrc: u32,
    },
    /// VP8 in several, told apart by these rids; sources are not told beforehand.
    Simulcast(Vec<&'static str>),
}

/// A server's transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remote {
    pub(crate) address: SocketAddr,
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    /// Hash function and value.
    pub(crate) fingerprint: (String, Vec<u8>),
    /// It lets us do the checking (RFC 8445 §2.5).
    pub(crate) is_lite: bool,
    /// It begins the DTLS handshake.
    pub(crate) is_dtls_client: bool,
}

/// Writes the offer of a sender.
pub(crate) fn offer(local: &Local, media: &[Sent]) -> String {
    let mids: Vec<String> = (0..media.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = head(&mids);
    for (mid, sent) in mids.iter().zip(media) {
        match sent {
            Sent::Audio { ssrc } => {
                line_of(&mut sdp, "audio", &format!("{OPUS}"), local, mid, "actpass");
                extensions(&mut sdp, AUDIO_EXTENSIONS);
                let opus = [
                    format!("a=rtpmap:{OPUS} opus/48000/2"),
                    format!("a=rtcp-fb:{OPUS} transport-cc"),
                    format!("a=fmtp:{OPUS} minptime=10;useinbandfec=1"),
                ];
                push(&mut sdp, ["a=sendonly", "a=msid:load audio"]);
                push(&mut sdp, opus);
                push(&mut sdp, [format!("a=ssrc:{ssrc} cname:load")]);
            }
            Sent::Video { ssrc, rtx_ssrc } => {
                video(&mut sdp, local, mid, &VIDEO_EXTENSIONS[..3]);
                push(&mut sdp, [format!("a=ssrc-group:FID {ssrc} {rtx_ssrc}")]);
                push(
                    &mut sdp,
                    [ssrc, rtx_ssrc].map(|ssrc| format!("a=ssrc:{ssrc} cname:load")),
                );
            }
            Sent::Simulcast(rids) => {
                video(&mut sdp, local, mid, VIDEO_EXTENSIONS);
                push(&mut sdp, rids.iter().map(|rid| format!("a=rid:{rid} send")));
                push(&mut sdp, [format!("a=simulcast:send {}", rids.join(";"))]);
            }
        }
    }
    sdp
}

/// Writes the answer of a receiver that takes everything it is offered.
pub(crate) fn answer(local: &Local, offer: &Description) -> String {
    let mids = offer
        .media
        .iter()
        .filter(|m| !m.is_rejected())
        .filter_map(|m| m.mid.clone());
    let mut sdp = head(&mids.collect::<Vec<_>>());
    for media in &offer.media {
        let types: Vec<String> = media.payloads.iter().map(|p| p.payload_type.to_string()).collect();
        let mid = media.mid.as_deref().unwrap_or_default();
        line_of(&mut sdp, media.kind.name(), &types.join(" "), local, mid, "active");
        let known = [uri::ABS_SEND_TIME, uri::TRANSPORT_CC, uri::MID];
        let kept = known.iter().filter_map(|uri| Some((media.extension(uri)?, uri)));
        push(&mut sdp, kept.map(|(id, uri)| format!("a=extmap:{id} {uri}")));
        push(&mut sdp, ["a=recvonly"]);
        for payload in &media.payloads {
            let payload_type = payload.payload_type;
            let channels = if payload.channels > 1 {
                format!("/{}", payload.channels)
            } else {
                String::new()
            };
            let (name, clock_rate) = (&payload.name, payload.clock_rate);
            push(
                &mut sdp,
                [format!("a=rtpmap:{payload_type} {name}/{clock_rate}{channels}")],
            );
            push(
                &mut sdp,
                payload.rtcp_fb.iter().map(|f| format!("a=rtcp-fb:{payload_type} {f}")),
            );
            push(
                &mut sdp,
                payload.fmtp.iter().map(|f| format!("a=fmtp:{payload_type} {f}")),
            );
        }
    }
    sdp
}

/// Reads a server's description.
pub(crate) fn parse(sdp: &str) -> Result<Description, LoadError> {
    Description::parse(sdp).map_err(|error| LoadError::Sdp(format!("{error}")))
}

/// Finds the transport of a bundle, and of its candidates the first that `from` can reach.
pub(crate) fn remote(description: &Description, from: IpAddr) -> Result<Remote, LoadError> {
    let lacks = |what: &str| LoadError::Sdp(format!("it lacks {what}"));
    let media = description.media.iter().find(|media| !media.is_rejected());
    let media = media.ok_or_else(|| lacks("a medium that is not rejected"))?;
    let ice = media.ice.clone().ok_or_else(|| lacks("ICE credentials"))?;
    let fingerprint = media.fingerprint.clone().ok_or_else(|| lacks("a fingerprint"))?;
    let address = media.candidates.iter().find_map(|candidate| {
        let ip: IpAddr = candidate.address.parse().ok()?;
        let fits = candidate.component == 1 && candidate.transport.eq_ignore_ascii_case("udp");
        (fits && ip.is_ipv4() == from.is_ipv4()).then(|| SocketAddr::new(ip, candidate.port))
    });
    Ok(Remote {
        address: address.ok_or_else(|| lacks("a UDP candidate of our address family"))?,
        ufrag: ice.ufrag,
        pwd: ice.pwd,
        fingerprint: (fingerprint.hash, fingerprint.bytes),
        is_lite: description.ice_lite,
        is_dtls_client: media.setup == Some(Setup::Active),
    })
}

/// Gives the id of an extension that is short enough for the one-byte form.
pub(crate) fn extension(media: &Media, uri: &str) -> Option<u8> {
    u8::try_from(media.extension(uri)?).ok().filter(|id| *id <= 14)
}

/// Tells audio from video; other kinds are not received.
pub(crate) fn is_audio(media: &Media) -> Option<bool> {
    match media.kind {
        Kind::Audio => Some(true),
        Kind::Video => Some(false),
        _ => None,
    }
}

fn head(mids: &[String]) -> String {
    let mut sdp = String::with_capacity(2048);
    let bundle = format!("a=group:BUNDLE {}", mids.join(" "));
    push(&mut sdp, ["v=0", "o=- 4611732439 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]);
    push(
        &mut sdp,
        [bundle.as_str(), "a=extmap-allow-mixed", "a=msid-semantic: WMS load"],
    );
    sdp
}

/// Begins an m-section with what belongs to the transport.
fn line_of(sdp: &mut String, kind: &str, types: &str, local: &Local, mid: &str, setup: &str) {
    let Local {
        address,
        ufrag,
        pwd,
        fingerprint,
    } = local;
    let (ip, port) = (address.ip(), address.port());
    let transport = [
        format!("m={kind} 9 UDP/TLS/RTP/SAVPF {types}"),
        "c=IN IP4 0.0.0.0".into(),
        "a=rtcp:9 IN IP4 0.0.0.0".into(),
        format!("a=candidate:1 1 udp 2122260223 {ip} {port} typ host generation 0"),
        "a=end-of-candidates".into(),
        format!("a=ice-ufrag:{ufrag}"),
        format!("a=ice-pwd:{pwd}"),
        "a=ice-options:trickle".into(),
        format!("a=fingerprint:sha-256 {fingerprint}"),
        format!("a=setup:{setup}"),
        format!("a=mid:{mid}"),
        "a=rtcp-mux".into(),
        "a=rtcp-rsize".into(),
    ];
    push(sdp, transport);
}

fn video(sdp: &mut String, local: &Local, mid: &str, offered: &[(u8, &str)]) {
    line_of(sdp, "video", &format!("{VP8} {RTX}"), local, mid, "actpass");
    extensions(sdp, offered);
    push(sdp, ["a=sendonly", "a=msid:load video"]);
    push(sdp, [format!("a=rtpmap:{VP8} VP8/90000")]);
    let feedback = ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"];
    push(sdp, feedback.map(|feedback| format!("a=rtcp-fb:{VP8} {feedback}")));
    push(
        sdp,
        [format!("a=rtpmap:{RTX} rtx/90000"), format!("a=fmtp:{RTX} apt={VP8}")],
    );
}

fn extensions(sdp: &mut String, extensions: &[(u8, &str)]) {
    push(sdp, extensions.iter().map(|(id, uri)| format!("a=extmap:{id} {uri}")));
}

fn push<T: AsRef<str>>(sdp: &mut String, lines: impl IntoIterator<Item = T>) {
    for line in lines {
        write!(sdp, "{}\r\n", line.as_ref()).expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local {
            address: "192.0.2.7:4000".parse().unwrap(),
            ufrag: "abcd".into(),
            pwd: "a password of 22 chars".into(),
            fingerprint: "AB:CD".into(),
        }
    }

    #[test]
    fn an_offer_tells_a_server_what_it_needs() {
        let video = Sent::Video { ssrc: 2, rtx_ssrc: 3 };
        let offered = parse(&offer(&local(), &[Sent::Audio { ssrc: 1 }, video])).unwrap();
        assert_eq!(offered.bundle, ["0", "1"]);
        assert_eq!(offered.media[0].first_ssrc(), Some((1, None)));
        assert_eq!(offered.media[1].first_ssrc(), Some((2, Some(3))));
        assert_eq!(offered.media[1].rtx_of(VP8).unwrap().payload_type, RTX);
        assert_eq!(extension(&offered.media[1], uri::TRANSPORT_CC), Some(3));
        let remote = remote(&offered, IpAddr::from([192, 0, 2, 1])).unwrap();
        assert_eq!(remote.address, local().address);
        assert_eq!(remote.fingerprint, ("sha-256".into(), vec![0xab, 0xcd]));
        assert!(!remote.is_lite && !remote.is_dtls_client);
    }

    #[test]
    fn encodings_of_a_simulcast_are_told_by_rid() {
        let offered = parse(&offer(&local(), &[Sent::Simulcast(vec!["h", "m", "l"])])).unwrap();
        assert_eq!(offered.media[0].sent_rids(), ["h", "m", "l"]);
        assert_eq!(offered.media[0].first_ssrc(), None);
        assert_eq!(extension(&offered.media[0], uri::RID), Some(10));
    }

    #[test]
    fn an_answer_takes_what_was_offered_under_the_same_numbers() {
        let theirs = offer(
            &local(),
            &[Sent::Audio { ssrc: 1 }, Sent::Video { ssrc: 2, rtx_ssrc: 3 }],
        );
        let theirs = theirs.replace("a=extmap:3 ", "a=extmap:7 ");
        let ours = parse(&answer(&local(), &parse(&theirs).unwrap())).unwrap();
        assert_eq!(ours.media.len(), 2);
        assert_eq!(ours.media[0].payload(OPUS).unwrap().channels, 2);
        assert_eq!(ours.media[1].payload(VP8).unwrap().rtcp_fb.len(), 5);
        assert_eq!(extension(&ours.media[1], uri::TRANSPORT_CC), Some(7));
        assert_eq!(ours.media[1].setup, Some(Setup::Active));
        assert!(!ours.media[1].direction.sends());
    }

    #[test]
    fn a_description_without_a_candidate_that_can_be_reached_says_so() {
        let offered = parse(&offer(&local(), &[Sent::Audio { ssrc: 1 }])).unwrap();
        let error = remote(&offered, IpAddr::from([0; 16])).unwrap_err();
        assert!(error.to_string().contains("candidate"), "{error}");
    }
}
