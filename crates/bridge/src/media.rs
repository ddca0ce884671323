//! What a description says, in the words of the media plane.
//!
//! `sdp` stands below `sfu` and does not know its types; this is the one place where the two meet.

use voex_sdp as sdp;
use voex_sfu::command::{Codec, DtlsRole, Extensions, Feedback, MediaKind, Payload, PlainRemote, RemoteParameters};

/// Names of RTP header extensions, as `a=extmap` has them.
pub mod uri {
    /// Mid of BUNDLE (RFC 9143 §15).
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// Client-to-mixer audio level (RFC 6464).
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    /// Transport-wide sequence number.
    pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    /// Absolute send time.
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// Coordination of video orientation (3GPP TS 26.114).
    pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
    /// Playout delay.
    pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    /// RTP stream id (RFC 8852).
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// Stream id of what a retransmission repairs (RFC 8852).
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
}

/// Gives the codec of a payload type.
pub fn codec(payload: &sdp::Payload) -> Codec {
    const NAMES: [(&str, Codec); 12] = [
        ("opus", Codec::Opus),
        ("PCMU", Codec::Pcmu),
        ("PCMA", Codec::Pcma),
        ("G722", Codec::G722),
        ("VP8", Codec::Vp8),
        ("VP9", Codec::Vp9),
        ("H264", Codec::H264),
        ("H265", Codec::H265),
        ("AV1", Codec::Av1),
        ("AV1X", Codec::Av1),
        ("telephone-event", Codec::TelephoneEvent),
        ("CN", Codec::ComfortNoise),
    ];
    let known = NAMES.iter().find(|(name, _)| payload.is(name));
    known.map_or(Codec::Other, |(_, codec)| *codec)
}

/// Gives the kind of a medium that carries RTP.
pub fn kind(kind: &sdp::Kind) -> Option<MediaKind> {
    match kind {
        sdp::Kind::Audio => Some(MediaKind::Audio),
        sdp::Kind::Video => Some(MediaKind::Video),
        sdp::Kind::Application | sdp::Kind::Other(_) => None,
    }
}

/// Gives the payload types of an m-line in its order; a retransmission type stands with the type it repeats.
pub fn payloads(list: &[sdp::Payload]) -> Vec<Payload> {
    let rtx = |of: u8| list.iter().find(|p| p.apt() == Some(of)).map(|p| p.payload_type);
    list.iter()
        .filter(|p| p.apt().is_none())
        .map(|p| Payload {
            payload_type: p.payload_type,
            codec: codec(p),
            clock_rate: p.clock_rate,
            rtx: rtx(p.payload_type),
        })
        .collect()
}

/// Gives the ids of the header extensions that the media plane reads or writes.
pub fn extensions(extmaps: &[sdp::Extmap]) -> Extensions {
    let id = |uri: &str| {
        let extmap = extmaps.iter().find(|extmap| extmap.uri == uri)?;
        u8::try_from(extmap.id).ok().filter(|id| *id != 0)
    };
    Extensions {
        mid: id(uri::MID),
        audio_level: id(uri::AUDIO_LEVEL),
        transport_cc: id(uri::TRANSPORT_CC),
        abs_send_time: id(uri::ABS_SEND_TIME),
        video_orientation: id(uri::VIDEO_ORIENTATION),
        playout_delay: id(uri::PLAYOUT_DELAY),
        rid: id(uri::RID),
        repaired_rid: id(uri::REPAIRED_RID),
    }
}

/// Gives the feedback of a payload type.
pub fn feedback(payload: &sdp::Payload) -> Feedback {
    Feedback {
        nack: payload.has_feedback("nack"),
        pli: payload.has_feedback("nack pli"),
        fir: payload.has_feedback("ccm fir"),
        remb: payload.has_feedback("goog-remb"),
        transport_cc: payload.has_feedback("transport-cc"),
    }
}

/// Gives the remote side of a WebRTC transport: out of the first m-line that is in use and has ICE and DTLS
/// parameters. `None` when there is none.
///
/// An offer of `actpass` was answered `active`, and an answer takes the other role: so we are the DTLS client unless
/// the remote says that it is.
pub fn remote_parameters(description: &sdp::Description) -> Option<RemoteParameters> {
    let in_use = description.media.iter().filter(|media| !media.is_rejected());
    in_use.into_iter().find_map(|media| {
        let (ice, fingerprint) = (media.ice.as_ref()?, media.fingerprint.as_ref()?);
        Some(RemoteParameters {
            ufrag: ice.ufrag.clone(),
            pwd: ice.pwd.clone(),
            fingerprint_hash: fingerprint.hash.to_ascii_lowercase(),
            fingerprint: fingerprint.bytes.clone(),
            dtls_role: match media.setup {
                Some(sdp::Setup::Active) => DtlsRole::Server,
                _ => DtlsRole::Client,
            },
        })
    })
}

/// Gives the remote side of a plain transport; `None` when the m-line is refused or names a host instead of an address.
/// Hold by `c=0.0.0.0` gives an unspecified address. RTCP has a port of its own: our plain descriptions never say
/// `rtcp-mux`, so a remote that offers it may not use it.
pub fn plain_remote(media: &sdp::Media, latch: bool) -> Option<PlainRemote> {
    Some(PlainRemote {
        rtp: media.rtp_address()?,
        rtcp: media.rtcp_address()?,
        latch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retransmission_type_stands_with_the_type_it_repeats() {
        let list = [
            sdp::Payload::new(96, "VP8", 90_000, 1),
            sdp::Payload::new(97, "rtx", 90_000, 1).with_fmtp("apt=96"),
            sdp::Payload::new(98, "vp9", 90_000, 1),
        ];
        let mapped: Vec<_> = payloads(&list)
            .iter()
            .map(|p| (p.payload_type, p.codec, p.rtx))
            .collect();
        assert_eq!(mapped, [(96, Codec::Vp8, Some(97)), (98, Codec::Vp9, None)]);
    }

    #[test]
    fn the_remote_of_an_offer_is_its_first_m_line_in_use_and_we_are_client() {
        let offer = sdp::Description::parse(
            "v=0\r\na=fingerprint:SHA-256 0A:0B\r\na=setup:actpass\r\n\
             m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:old\r\na=ice-pwd:old\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=ice-ufrag:uf\r\na=ice-pwd:pw\r\n",
        );
        let remote = remote_parameters(&offer.expect("parses")).expect("has parameters");
        assert_eq!((remote.ufrag.as_str(), remote.pwd.as_str()), ("uf", "pw"));
        assert_eq!(
            (remote.fingerprint_hash.as_str(), remote.fingerprint),
            ("sha-256", vec![10, 11])
        );
        assert_eq!(remote.dtls_role, DtlsRole::Client);
    }

    #[test]
    fn an_answer_that_is_active_makes_us_server() {
        let answer = sdp::Description::parse(
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 0A\r\na=setup:active\r\n\
             a=ice-ufrag:u\r\na=ice-pwd:p\r\n",
        );
        let remote = remote_parameters(&answer.expect("parses")).expect("has parameters");
        assert_eq!(remote.dtls_role, DtlsRole::Server);
    }

    #[test]
    fn a_telephone_that_offers_rtcp_mux_still_gets_rtcp_on_the_next_port() {
        let text = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 8\r\na=rtcp-mux\r\n";
        let offer = sdp::Description::parse(text).expect("parses");
        let remote = plain_remote(&offer.media[0], true).expect("has an address");
        assert_eq!((remote.rtp.port(), remote.rtcp.port()), (4_000, 4_001));
    }

    #[test]
    fn extension_ids_outside_the_two_byte_range_count_as_absent() {
        let extmap = |id| sdp::Extmap {
            id,
            direction: None,
            uri: uri::MID.to_owned(),
            attributes: String::new(),
        };
        assert_eq!(extensions(&[extmap(4)]).mid, Some(4));
        assert_eq!(extensions(&[extmap(300)]).mid, None);
        assert_eq!(extensions(&[extmap(0)]).mid, None);
    }
}
