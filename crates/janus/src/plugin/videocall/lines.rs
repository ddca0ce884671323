//! The lines of a call: what the callee is offered, what the caller is answered, and what flows.

use voex_base::TransportId;
use voex_sdp::webrtc::{Offered, Section};
use voex_sdp::{Description, Direction, Kind, Media, Payload};
use voex_sfu::command::{EncodingSpec, Layers};

use crate::host::Host;
use crate::peer_connection::is_data;
use crate::plugin::duplex::{CNAME, Line, known_extmaps};
use crate::plugin::videoroom::negotiation::encodings;

/// Feedback that the media plane understands.
const FEEDBACK: [&str; 5] = ["ccm fir", "nack", "nack pli", "goog-remb", "transport-cc"];
/// Payload formats that the media plane cannot pass on.
const UNKNOWN_FORMATS: [&str; 3] = ["red", "ulpfec", "flexfec-03"];

/// A line that both agreed on.
pub(super) struct Agreed {
    callers: Line,
    callees: Line,
    /// What the caller is answered.
    pub(super) section: Section,
}

impl Agreed {
    /// Gives the caller's line and the callee's.
    pub(super) fn split(agreed: Option<Self>) -> (Option<Line>, Option<Line>) {
        agreed.map(|agreed| (agreed.callers, agreed.callees)).unzip()
    }
}

/// Offers the callee what the caller offers.
pub(super) fn offered(host: &mut Host, offer: &Description) -> Vec<Offered> {
    let mut has_data = false;
    let lines = offer.media.iter().enumerate();
    lines
        .map(|(index, media)| Offered {
            kind: media.kind.clone(),
            mid: mid_of(index, media),
            section: section_of(host, media, &mut has_data),
        })
        .collect()
}

fn section_of(host: &mut Host, media: &Media, has_data: &mut bool) -> Option<Section> {
    if is_data(media) && !std::mem::replace(has_data, true) {
        return Some(Section::default());
    }
    let payloads = payloads_of(media);
    if media.is_rejected() || !media.is_rtp() || payloads.is_empty() {
        return None;
    }
    let has_rtx = payloads.iter().any(|payload| payload.apt().is_some());
    let sends = media.direction.sends();
    Some(Section {
        direction: media.direction,
        payloads,
        extmaps: known_extmaps(&media.extmaps),
        msid: sends.then(|| format!("{CNAME} {CNAME}{}", media.mid.as_deref().unwrap_or_default())),
        ssrc: sends.then(|| (host.new_ssrc(), has_rtx.then(|| host.new_ssrc()))),
        cname: CNAME.to_owned(),
        ..Section::default()
    })
}

/// SSRCs that the callee was told, line by line.
pub(super) type Ssrcs = Vec<Option<(u32, Option<u32>)>>;

/// Finds what an answer took of an offer, line by line.
pub(super) fn agreed(host: &mut Host, offer: &Description, ssrcs: &Ssrcs, answer: &Description) -> Vec<Option<Agreed>> {
    let lines = offer.media.iter().zip(&answer.media).enumerate();
    let mut agreed: Vec<_> = lines
        .map(|(index, (offered, answered))| {
            let mut agreed = agree(host, index, offered, answered)?;
            if let Some(told) = ssrcs.get(index).copied().flatten() {
                agreed.callees.set_ssrc(told);
            }
            Some(agreed)
        })
        .collect();
    agreed.resize_with(offer.media.len(), || None);
    agreed
}

fn agree(host: &mut Host, index: usize, offered: &Media, answered: &Media) -> Option<Agreed> {
    if offered.is_rejected() || answered.is_rejected() || offered.kind != answered.kind {
        return None;
    }
    let payloads: Vec<_> = payloads_of(answered)
        .into_iter()
        .filter(|payload| {
            offered
                .payload(payload.payload_type)
                .is_some_and(|same| same.is(&payload.name))
        })
        .collect();
    if payloads.is_empty() && !is_data(answered) {
        return None;
    }
    let extmaps = known_extmaps(&answered.extmaps);
    let mut line = |media: &Media, encodings: Vec<EncodingSpec>| {
        let mut line = Line::new(
            host,
            media.kind.clone(),
            mid_of(index, media),
            payloads.clone(),
            extmaps.clone(),
            encodings,
        );
        line.receives = media.direction.receives();
        line
    };
    // Simulcast is not passed on: the caller's is answered without.
    let single = |media: &Media| -> Vec<EncodingSpec> {
        let mut all = encodings(media, false);
        all.truncate(1);
        all.iter_mut().for_each(|encoding| encoding.rid.clear());
        all
    };
    let callers = line(offered, single(offered));
    let callees = line(answered, single(answered));
    let direction = match answered.kind {
        Kind::Application => Direction::SendRecv,
        _ => answered.direction,
    };
    let section = callers.section(direction);
    Some(Agreed {
        callers,
        callees,
        section,
    })
}

/// Makes what each sends a track, and lets the other have it.
pub(super) fn connect(
    host: &mut Host,
    agreed: &mut [Option<Agreed>],
    [callers, callees]: [TransportId; 2],
    [callers_layers, callees_layers]: [Layers; 2],
) {
    for line in agreed.iter_mut().flatten() {
        line.callers.start(host, callers);
        line.callees.start(host, callees);
        if let Some(origin) = line.callers.origin() {
            line.callees.pass_on(host, callees, origin, callees_layers, "");
        }
        if let Some(origin) = line.callees.origin() {
            line.callers.pass_on(host, callers, origin, callers_layers, "");
        }
    }
}

/// Gives the payload types of an m-line that can be passed on.
fn payloads_of(media: &Media) -> Vec<Payload> {
    let is_known = |payload: &Payload| !UNKNOWN_FORMATS.iter().any(|unknown| payload.is(unknown));
    let passed: Vec<_> = media.payloads.iter().filter(|payload| is_known(payload)).collect();
    // Retransmissions of what is left out are left out too.
    let is_whole = |payload: &&&Payload| {
        payload
            .apt()
            .is_none_or(|apt| passed.iter().any(|other| other.payload_type == apt))
    };
    let kept = passed.iter().filter(is_whole);
    kept.map(|payload| {
        let mut payload = (*payload).clone();
        payload.rtcp_fb.retain(|feedback| FEEDBACK.contains(&feedback.as_str()));
        payload
    })
    .collect()
}

fn mid_of(index: usize, media: &Media) -> String {
    media.mid.clone().unwrap_or_else(|| index.to_string())
}
