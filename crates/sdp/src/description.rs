//! The model of a session description.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::attribute::{
    Attribute, Bandwidth, Candidate, Connection, Crypto, Direction, Extmap, Fingerprint, Ice, Rid, Rtcp, Setup, Ssrc,
    SsrcGroup,
};
use crate::payload::Payload;

/// A session description.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Description {
    /// `o=`
    pub origin: Origin,
    /// `s=`; `-` is written when it is empty.
    pub session_name: String,
    /// `c=` of the session level.
    pub connection: Option<Connection>,
    /// `b=` of the session level.
    pub bandwidth: Vec<Bandwidth>,
    /// Mids of the (first) `a=group:BUNDLE`.
    pub bundle: Vec<String>,
    /// `a=ice-options` of the session level.
    pub ice_options: Option<String>,
    /// ICE credentials of the session level.
    pub ice: Option<Ice>,
    /// First usable fingerprint of the session level.
    pub fingerprint: Option<Fingerprint>,
    /// `a=setup` of the session level.
    pub setup: Option<Setup>,
    /// `a=extmap-allow-mixed` of the session level.
    pub extmap_allow_mixed: bool,
    /// `a=msid-semantic`, its value.
    pub msid_semantic: Option<String>,
    /// `a=ice-lite`
    pub ice_lite: bool,
    /// Attributes of the session level that have no field here.
    pub attributes: Vec<Attribute>,
    /// The m-lines.
    pub media: Vec<Media>,
}

/// The `o=` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// User name, `-` for none.
    pub username: String,
    /// Session id; larger numbers than fit are read as the largest.
    pub session_id: u64,
    /// Session version, one more with each change; read like the id.
    pub version: u64,
    /// Address of the creator.
    pub connection: Connection,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            username: "-".to_owned(),
            session_id: 0,
            version: 0,
            connection: IpAddr::V4(Ipv4Addr::UNSPECIFIED).into(),
        }
    }
}

/// Kind of an m-line.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Kind {
    /// `audio`
    #[default]
    Audio,
    /// `video`
    Video,
    /// `application`: data channels.
    Application,
    /// Anything else (`image`, `text`, `message`), as written.
    Other(String),
}

impl Kind {
    /// Gives the kind as the m-line names it.
    pub fn name(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Other(name) => name,
        }
    }
}

/// One m-line with its attributes, session-level defaults included.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Media {
    /// Kind.
    pub kind: Kind,
    /// Port; 0 rejects the m-line (unless `bundle_only`), 9 stands for "see ICE".
    pub port: u16,
    /// Transport protocol as written: `UDP/TLS/RTP/SAVPF`, `RTP/AVP`.
    pub protocol: String,
    /// Payload types in the order of preference, of an RTP protocol.
    pub payloads: Vec<Payload>,
    /// Formats, of any other protocol: `webrtc-datachannel`.
    pub formats: Vec<String>,
    /// Where media goes.
    pub connection: Option<Connection>,
    /// `b=`
    pub bandwidth: Vec<Bandwidth>,
    /// Which way media flows.
    pub direction: Direction,
    /// `a=mid`
    pub mid: Option<String>,
    /// `a=sctp-port`
    pub sctp_port: Option<u16>,
    /// `a=max-message-size` in bytes.
    pub max_message_size: Option<u64>,
    /// `a=rtcp`
    pub rtcp: Option<Rtcp>,
    /// `a=rtcp-mux`
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize`
    pub rtcp_rsize: bool,
    /// `a=bundle-only` (RFC 9143 §6): port 0 does not reject this m-line.
    pub bundle_only: bool,
    /// ICE credentials.
    pub ice: Option<Ice>,
    /// `a=ice-options`
    pub ice_options: Option<String>,
    /// First usable fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// SDES keys.
    pub crypto: Vec<Crypto>,
    /// `a=ptime` in milliseconds.
    pub ptime: Option<u16>,
    /// `a=maxptime` in milliseconds.
    pub maxptime: Option<u16>,
    /// `a=extmap-allow-mixed`
    pub extmap_allow_mixed: bool,
    /// Header extensions.
    pub extmaps: Vec<Extmap>,
    /// Simulcast stream ids.
    pub rids: Vec<Rid>,
    /// `a=simulcast`, its value: `send h;m;l`.
    pub simulcast: Option<String>,
    /// First `a=msid`, its value.
    pub msid: Option<String>,
    /// SSRCs.
    pub ssrcs: Vec<Ssrc>,
    /// SSRC groups.
    pub ssrc_groups: Vec<SsrcGroup>,
    /// ICE candidates.
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates`
    pub end_of_candidates: bool,
    /// Attributes that have no field here.
    pub attributes: Vec<Attribute>,
}

impl Description {
    /// Gives the first m-line of a kind that is not rejected, with its index.
    pub fn first(&self, kind: &Kind) -> Option<(usize, &Media)> {
        self.media
            .iter()
            .enumerate()
            .find(|(_, media)| media.kind == *kind && !media.is_rejected())
    }

    /// Gives the m-line of a mid.
    pub fn by_mid(&self, mid: &str) -> Option<&Media> {
        self.media.iter().find(|media| media.mid.as_deref() == Some(mid))
    }
}

impl Media {
    /// Tells whether the m-line is refused or retired (RFC 3264 §6).
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// Tells whether the protocol carries RTP.
    pub fn is_rtp(&self) -> bool {
        is_rtp(&self.protocol)
    }

    /// Gives a payload type.
    pub fn payload(&self, payload_type: u8) -> Option<&Payload> {
        self.payloads.iter().find(|p| p.payload_type == payload_type)
    }

    /// Gives the first payload type of an encoding.
    pub fn payload_named(&self, name: &str) -> Option<&Payload> {
        self.payloads.iter().find(|p| p.is(name))
    }

    /// Gives the payload type that carries retransmissions of another.
    pub fn rtx_of(&self, payload_type: u8) -> Option<&Payload> {
        self.payloads.iter().find(|p| p.apt() == Some(payload_type))
    }

    /// Gives the id of a header extension.
    pub fn extension(&self, uri: &str) -> Option<u16> {
        self.extmaps.iter().find(|e| e.uri == uri).map(|e| e.id)
    }

    /// Gives the SSRC of the medium and of its retransmissions: the first `FID` group, else the first SSRC.
    pub fn first_ssrc(&self) -> Option<(u32, Option<u32>)> {
        let fid = self.ssrc_groups.iter().find(|g| g.semantics == "FID");
        match fid.map(|g| g.ssrcs.as_slice()) {
            Some([media, rtx, ..]) => Some((*media, Some(*rtx))),
            _ => self.ssrcs.first().map(|s| (s.ssrc, None)),
        }
    }

    /// Gives the SSRCs of the layers of a `SIM` group in its order, each with that of its retransmissions; empty without
    /// such a group.
    pub fn simulcast_ssrcs(&self) -> Vec<(u32, Option<u32>)> {
        let group = |semantics: &'static str| self.ssrc_groups.iter().filter(move |g| g.semantics == semantics);
        let rtx_of = |layer: u32| {
            group("FID").find_map(|fid| match fid.ssrcs.as_slice() {
                [media, rtx, ..] if *media == layer => Some(*rtx),
                _ => None,
            })
        };
        let layers = group("SIM").next().map(|sim| sim.ssrcs.as_slice()).unwrap_or_default();
        layers.iter().map(|layer| (*layer, rtx_of(*layer))).collect()
    }

    /// Gives the rids that the writer sends, in the order of `a=simulcast` (of `a=rid` without it); alternatives and
    /// the pause mark `~` are passed over.
    pub fn sent_rids(&self) -> Vec<&str> {
        match self.simulcast.as_deref().and_then(simulcast_send) {
            Some(list) => list
                .split(';')
                .filter_map(|stream| stream.split(',').next())
                .map(|rid| rid.trim_start_matches('~'))
                .filter(|rid| self.rids.iter().any(|r| r.send && r.id == *rid))
                .collect(),
            None => self.rids.iter().filter(|r| r.send).map(|r| r.id.as_str()).collect(),
        }
    }

    /// Tells whether the writer holds: it does not want to receive, or says so by an unspecified address
    /// (RFC 3264 §8.4).
    pub fn is_hold(&self) -> bool {
        !self.direction.receives()
            || self
                .connection
                .as_ref()
                .and_then(Connection::ip)
                .is_some_and(|ip| ip.is_unspecified())
    }

    /// Gives the address of RTP; `None` when rejected or when a host name stands there.
    pub fn rtp_address(&self) -> Option<SocketAddr> {
        let ip = self.connection.as_ref()?.ip()?;
        (self.port != 0).then(|| SocketAddr::new(ip, self.port))
    }

    /// Gives the address of RTCP when it is not multiplexed with RTP: what `a=rtcp` says, else the next port.
    pub fn rtcp_address(&self) -> Option<SocketAddr> {
        let rtp = self.rtp_address()?;
        match &self.rtcp {
            Some(rtcp) => {
                let ip = rtcp.connection.as_ref().and_then(Connection::ip).unwrap_or(rtp.ip());
                Some(SocketAddr::new(ip, rtcp.port))
            }
            None => Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)),
        }
    }
}

/// Tells whether a protocol's formats are RTP payload types.
pub(crate) fn is_rtp(protocol: &str) -> bool {
    protocol.split('/').any(|part| part.eq_ignore_ascii_case("RTP"))
}

/// Gives the list after `send` in the value of `a=simulcast`.
fn simulcast_send(value: &str) -> Option<&str> {
    let mut words = value.split_ascii_whitespace();
    words.find(|word| *word == "send").and_then(|_| words.next())
}
