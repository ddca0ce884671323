//! Offers and answers of a WebRTC endpoint with ICE lite: one BUNDLE, rtcp-mux, DTLS-SRTP.

use std::net::IpAddr;

use crate::attribute::{Candidate, Direction, Extmap, Fingerprint, Ice, Rid, Setup, Ssrc, SsrcGroup};
use crate::description::{Description, Kind, Media, Origin};
use crate::payload::Payload;

/// Transport protocol of RTP m-lines.
pub const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
/// Transport protocol of data channels.
pub const DATA_PROTOCOL: &str = "UDP/DTLS/SCTP";
/// Port that says nothing: the candidates count.
const DISCARD_PORT: u16 = 9;
/// SCTP port of data channels.
const SCTP_PORT: u16 = 5_000;

/// What an endpoint says of itself in every description.
#[derive(Clone, Debug)]
pub struct Local {
    /// `s=`
    pub session_name: String,
    /// Public address in `o=` and `c=`.
    pub address: IpAddr,
    /// ICE credentials of the transport.
    pub ice: Ice,
    /// Fingerprint of the DTLS certificate.
    pub fingerprint: Fingerprint,
    /// Every candidate; they are repeated on every m-line.
    pub candidates: Vec<Candidate>,
    /// Whether to write `a=ice-lite`.
    pub ice_lite: bool,
}

/// What an endpoint says on one m-line. The default is a data channel's.
#[derive(Clone, Default, Debug)]
pub struct Section {
    /// Which way media flows, seen from us. An answer never allows more than the offer.
    pub direction: Direction,
    /// Payload types, the preferred one first; empty for data.
    pub payloads: Vec<Payload>,
    /// Header extensions.
    pub extmaps: Vec<Extmap>,
    /// Simulcast stream ids.
    pub rids: Vec<Rid>,
    /// Value of `a=simulcast`.
    pub simulcast: Option<String>,
    /// Value of `a=msid`.
    pub msid: Option<String>,
    /// What we send, as SSRC and SSRC of retransmissions.
    pub ssrc: Option<(u32, Option<u32>)>,
    /// Canonical name beside the SSRCs.
    pub cname: String,
}

/// One m-line of an offer.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Kind.
    pub kind: Kind,
    /// Its mid.
    pub mid: String,
    /// What it says; `None` writes a retired m-line (port 0, inactive).
    pub section: Option<Section>,
}

/// Builds an answer: as many m-lines as the offer has, each either what `choose` gives for it or refused with port 0.
/// `choose` is not asked for what the offer itself retired.
pub fn answer(
    offer: &Description,
    local: &Local,
    mut choose: impl FnMut(usize, &Media) -> Option<Section>,
) -> Description {
    let mut description = session(local, offer.origin.session_id, offer.origin.version);
    description.extmap_allow_mixed = offer.extmap_allow_mixed || offer.media.iter().any(|m| m.extmap_allow_mixed);
    for (index, offered) in offer.media.iter().enumerate() {
        let section = if offered.is_rejected() {
            None
        } else {
            choose(index, offered)
        };
        let media = match section {
            Some(mut section) => {
                section.direction = section.direction.and(offered.direction.reversed());
                let setup = offered.setup.unwrap_or(Setup::Actpass).answered();
                accepted(
                    &offered.kind,
                    &offered.protocol,
                    offered.mid.clone(),
                    section,
                    local,
                    setup,
                )
            }
            None => refused(
                &offered.kind,
                &offered.protocol,
                offered.mid.clone(),
                format_of(offered),
                local,
            ),
        };
        push(&mut description, media, |mid| offer.bundle.iter().any(|m| m == mid));
    }
    description
}

/// Builds an offer, `a=setup:actpass` on every m-line. `version` is one more with each offer of a session.
pub fn offer(local: &Local, session_id: u64, version: u64, media: Vec<Offered>) -> Description {
    let mut description = session(local, session_id, version);
    description.extmap_allow_mixed = true;
    for Offered { kind, mid, section } in media {
        let data = kind == Kind::Application;
        let protocol = if data { DATA_PROTOCOL } else { PROTOCOL };
        let media = match section {
            Some(section) => accepted(&kind, protocol, Some(mid), section, local, Setup::Actpass),
            None => {
                let format = if data { "webrtc-datachannel" } else { "0" };
                refused(&kind, protocol, Some(mid), format.to_owned(), local)
            }
        };
        push(&mut description, media, |_| true);
    }
    description
}

fn session(local: &Local, session_id: u64, version: u64) -> Description {
    Description {
        origin: Origin {
            username: "-".to_owned(),
            session_id,
            version,
            connection: local.address.into(),
        },
        session_name: local.session_name.clone(),
        ice_options: Some("trickle".to_owned()),
        fingerprint: Some(local.fingerprint.clone()),
        msid_semantic: Some("WMS *".to_owned()),
        ice_lite: local.ice_lite,
        ..Description::default()
    }
}

fn push(description: &mut Description, mut media: Media, bundled: impl Fn(&str) -> bool) {
    media.extmap_allow_mixed = description.extmap_allow_mixed;
    let mid = media.mid.as_deref().filter(|mid| !media.is_rejected() && bundled(mid));
    description.bundle.extend(mid.map(str::to_owned));
    description.media.push(media);
}

fn accepted(kind: &Kind, protocol: &str, mid: Option<String>, section: Section, local: &Local, setup: Setup) -> Media {
    let data = *kind == Kind::Application;
    let (ssrcs, ssrc_groups) = streams(&section);
    Media {
        kind: kind.clone(),
        port: DISCARD_PORT,
        protocol: protocol.to_owned(),
        formats: data.then(|| "webrtc-datachannel".to_owned()).into_iter().collect(),
        payloads: section.payloads,
        connection: Some(local.address.into()),
        direction: section.direction,
        mid,
        sctp_port: data.then_some(SCTP_PORT),
        rtcp_mux: !data,
        ice: Some(local.ice.clone()),
        ice_options: Some("trickle".to_owned()),
        fingerprint: Some(local.fingerprint.clone()),
        setup: Some(setup),
        extmaps: section.extmaps,
        rids: section.rids,
        simulcast: section.simulcast,
        msid: section.msid,
        ssrcs,
        ssrc_groups,
        candidates: local.candidates.clone(),
        end_of_candidates: true,
        ..Media::default()
    }
}

fn streams(section: &Section) -> (Vec<Ssrc>, Vec<SsrcGroup>) {
    let Some((media, rtx)) = section.ssrc else {
        return Default::default();
    };
    let named = |ssrc| Ssrc {
        ssrc,
        cname: Some(section.cname.clone()),
        msid: None,
    };
    let group = rtx.map(|rtx| SsrcGroup {
        semantics: "FID".to_owned(),
        ssrcs: vec![media, rtx],
    });
    (
        [media].into_iter().chain(rtx).map(named).collect(),
        group.into_iter().collect(),
    )
}

fn refused(kind: &Kind, protocol: &str, mid: Option<String>, format: String, local: &Local) -> Media {
    let number = crate::description::is_rtp(protocol).then(|| format.parse().unwrap_or(0));
    Media {
        kind: kind.clone(),
        port: 0,
        protocol: protocol.to_owned(),
        payloads: number
            .map(|number| Payload::new(number, "", 0, 1))
            .into_iter()
            .collect(),
        formats: number.is_none().then_some(format).into_iter().collect(),
        connection: Some(local.address.into()),
        direction: Direction::Inactive,
        mid,
        fingerprint: Some(local.fingerprint.clone()),
        ..Media::default()
    }
}

/// Gives the first format of an m-line: what a refusal repeats.
pub(crate) fn format_of(media: &Media) -> String {
    match (media.payloads.first(), media.formats.first()) {
        (Some(payload), _) => payload.payload_type.to_string(),
        (None, Some(format)) => format.clone(),
        (None, None) => "0".to_owned(),
    }
}
