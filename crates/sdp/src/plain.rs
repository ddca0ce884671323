//! Offers and answers of a plain RTP endpoint, as telephones and exchanges speak: one audio m-line over RTP/AVP.

use std::net::IpAddr;

use crate::attribute::{Direction, Rtcp};
use crate::description::{Description, Kind, Media, Origin};
use crate::payload::Payload;

/// Transport protocol of our offers.
pub const PROTOCOL: &str = "RTP/AVP";

/// What an endpoint says of itself in every description.
#[derive(Clone, Debug)]
pub struct Local {
    /// User name in `o=`.
    pub username: String,
    /// Session id in `o=`, the same for the life of a call.
    pub session_id: u64,
    /// Version in `o=`, one more with each change.
    pub version: u64,
    /// `s=`
    pub session_name: String,
    /// Address in `o=` and `c=`: the one that the remote reaches.
    pub address: IpAddr,
    /// Port of RTP.
    pub rtp_port: u16,
    /// Port of RTCP; written when it is not the next one.
    pub rtcp_port: u16,
}

/// What an endpoint says on its audio m-line.
#[derive(Clone, Debug)]
pub struct Section {
    /// Which way media flows, seen from us. An answer never allows more than the offer.
    pub direction: Direction,
    /// Payload types, the preferred one first.
    pub payloads: Vec<Payload>,
    /// Milliseconds of audio in a packet.
    pub ptime: Option<u16>,
}

/// Builds an offer of one audio m-line.
pub fn offer(local: &Local, section: Section) -> Description {
    let mut description = session(local);
    description.media.push(audio(local, PROTOCOL, section));
    description
}

/// Builds an answer: as many m-lines as the offer has; the first audio m-line for which `choose` gives a section is
/// accepted, all others are refused.
pub fn answer(offer: &Description, local: &Local, mut choose: impl FnMut(&Media) -> Option<Section>) -> Description {
    let mut description = session(local);
    let mut taken = false;
    for offered in &offer.media {
        let usable = !taken && offered.kind == Kind::Audio && offered.is_rtp() && !offered.is_rejected();
        let media = match usable.then(|| choose(offered)).flatten() {
            Some(mut section) => {
                taken = true;
                section.direction = section.direction.and(offered.direction.reversed());
                audio(local, &offered.protocol, section)
            }
            None => refused(offered, local),
        };
        description.media.push(Media {
            mid: offered.mid.clone(),
            ..media
        });
    }
    description
}

fn session(local: &Local) -> Description {
    Description {
        origin: Origin {
            username: local.username.clone(),
            session_id: local.session_id,
            version: local.version,
            connection: local.address.into(),
        },
        session_name: local.session_name.clone(),
        connection: Some(local.address.into()),
        ..Description::default()
    }
}

fn audio(local: &Local, protocol: &str, section: Section) -> Media {
    let next = local.rtp_port.checked_add(1) == Some(local.rtcp_port);
    Media {
        kind: Kind::Audio,
        port: local.rtp_port,
        protocol: protocol.to_owned(),
        payloads: section.payloads,
        connection: Some(local.address.into()),
        direction: section.direction,
        rtcp: (!next).then_some(Rtcp {
            port: local.rtcp_port,
            connection: None,
        }),
        ptime: section.ptime,
        ..Media::default()
    }
}

fn refused(offered: &Media, local: &Local) -> Media {
    Media {
        kind: offered.kind.clone(),
        protocol: offered.protocol.clone(),
        payloads: offered
            .payloads
            .first()
            .map(|p| Payload::new(p.payload_type, "", 0, 1))
            .into_iter()
            .collect(),
        formats: offered.formats.first().cloned().into_iter().collect(),
        connection: Some(local.address.into()),
        direction: Direction::Inactive,
        ..Media::default()
    }
}
