//! Values of single lines.

use std::fmt;
use std::net::IpAddr;

/// Which way media flows, seen from who wrote the description (RFC 8866 §6.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Direction {
    /// Both ways; what an absent attribute means.
    #[default]
    SendRecv,
    /// Away from the writer only.
    SendOnly,
    /// To the writer only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Makes a direction out of its two halves.
    pub const fn new(send: bool, recv: bool) -> Self {
        match (send, recv) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer wants to receive.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Gives the same flow as the other side writes it.
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// Gives the flows that both directions have, each seen from the same side.
    pub const fn and(self, other: Self) -> Self {
        Self::new(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// Gives the attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Reads the attribute's name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.name() == name)
    }
}

/// Who opens the DTLS connection (RFC 8842 §5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Setup {
    /// Either; only in offers.
    Actpass,
    /// The writer sends the ClientHello.
    Active,
    /// The writer waits for the ClientHello.
    Passive,
    /// Not now.
    Holdconn,
}

impl Setup {
    /// Gives what an answer says to this offer: `active` unless the offerer is active itself.
    pub const fn answered(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Actpass | Self::Passive => Self::Active,
            Self::Holdconn => Self::Holdconn,
        }
    }

    /// Gives the attribute's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Actpass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Holdconn => "holdconn",
        }
    }

    /// Reads the attribute's value.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Actpass, Self::Active, Self::Passive, Self::Holdconn]
            .into_iter()
            .find(|setup| setup.name() == name)
    }
}

/// The address of a `c=` line, without time-to-live and count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// `IP6` rather than `IP4`.
    pub ip6: bool,
    /// Address or host name.
    pub address: String,
}

impl Connection {
    /// Gives the address unless a host name stands there.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}

impl From<IpAddr> for Connection {
    fn from(ip: IpAddr) -> Self {
        Self {
            ip6: ip.is_ipv6(),
            address: ip.to_string(),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IN {} {}", if self.ip6 { "IP6" } else { "IP4" }, self.address)
    }
}

/// ICE credentials of one side (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ice {
    /// User name fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

/// Certificate fingerprint (RFC 8122 §5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// Hash function, as written: `sha-256`.
    pub hash: String,
    /// Digest.
    pub bytes: Vec<u8>,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)?;
        for (i, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// An ICE candidate (RFC 8839 §5.1). Text fields are kept as written: a browser may name an mDNS host as address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Foundation.
    pub foundation: String,
    /// 1 is RTP, 2 is RTCP.
    pub component: u16,
    /// `udp` or `tcp`, as written.
    pub transport: String,
    /// Priority.
    pub priority: u32,
    /// Address or host name.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: String,
    /// The rest of the line: `raddr .. rport ..`, `tcptype passive`; empty when there is none.
    pub rest: String,
}

impl Candidate {
    /// Makes a host candidate of component 1 over UDP.
    pub fn host_udp(foundation: u32, priority: u32, address: IpAddr, port: u16) -> Self {
        Self {
            foundation: foundation.to_string(),
            component: 1,
            transport: "udp".to_owned(),
            priority,
            address: address.to_string(),
            port,
            kind: "host".to_owned(),
            rest: String::new(),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} typ {}",
            self.foundation, self.component, self.transport, self.priority, self.address, self.port, self.kind
        )?;
        if !self.rest.is_empty() {
            write!(f, " {}", self.rest)?;
        }
        Ok(())
    }
}

/// An RTP header extension (RFC 8285 §5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extmap {
    /// Id: 1-14 in one-byte headers, to 255 in two-byte headers.
    pub id: u16,
    /// Direction, when written.
    pub direction: Option<Direction>,
    /// Name of the extension.
    pub uri: String,
    /// Extension attributes after the name; empty when there are none.
    pub attributes: String,
}

/// A stream id of a simulcast sender or receiver (RFC 8851).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rid {
    /// Name.
    pub id: String,
    /// `send` rather than `recv`, seen from the writer.
    pub send: bool,
    /// Restrictions (`pt=96;max-width=1280`); empty when there are none.
    pub restrictions: String,
}

/// What is said of one SSRC (RFC 5576 §4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ssrc {
    /// The SSRC.
    pub ssrc: u32,
    /// Canonical name.
    pub cname: Option<String>,
    /// Media stream and track id.
    pub msid: Option<String>,
}

/// SSRCs that belong together (RFC 5576 §4.2): `FID` is media and its retransmission, `SIM` are layers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SsrcGroup {
    /// `FID`, `SIM`, `FEC-FR` ...
    pub semantics: String,
    /// Members, in order.
    pub ssrcs: Vec<u32>,
}

/// Where RTCP goes when it is not the next port (RFC 3605).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rtcp {
    /// Port.
    pub port: u16,
    /// Address, when it differs from `c=`.
    pub connection: Option<Connection>,
}

impl fmt::Display for Rtcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.connection {
            Some(connection) => write!(f, "{} {connection}", self.port),
            None => write!(f, "{}", self.port),
        }
    }
}

/// An SDES key offer (RFC 4568 §9.1). Its `Debug` prints no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Tag that an answer repeats.
    pub tag: u32,
    /// Crypto suite.
    pub suite: String,
    /// Keys and session parameters, as written.
    pub keys: String,
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crypto({} {} ***)", self.tag, self.suite)
    }
}

/// A `b=` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bandwidth {
    /// `AS`, `TIAS`, `RR` ...
    pub kind: String,
    /// In the kind's unit: kbit/s for `AS`, bit/s for `TIAS`.
    pub value: u64,
}

/// An attribute that this crate gives no meaning to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Value; `None` for a property without colon.
    pub value: Option<String>,
}
