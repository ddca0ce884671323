//! Via (RFC 3261 §20.42, RFC 3581).

use std::fmt;
use std::net::SocketAddr;

use crate::token::{Params, is_space, is_token, trim};
use crate::uri::parse_host_port;
use crate::{Error, Header, Host};

/// The start of every branch made by RFC 3261 §8.1.1.7.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Via {
    /// `UDP`, `TCP`, `TLS`, ... as received.
    pub transport: String,
    /// The host of sent-by.
    pub host: Host,
    /// The port of sent-by.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params,
}

impl Via {
    /// Parses one value; white space may stand around every separator.
    ///
    /// # Errors
    /// `Bad(Via)`, for versions other than SIP/2.0 too.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_parts(text).ok_or(Error::Bad(Header::Via))
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        if !trim(name).eq_ignore_ascii_case("SIP") || trim(version) != "2.0" {
            return None;
        }
        let (transport, rest) = trim(rest).split_once(is_space)?;
        let (sent_by, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        let (host, port) = parse_host_port(trim(sent_by)).ok()?;
        is_token(transport).then_some(Self {
            transport: transport.to_owned(),
            host,
            port,
            params: Params::parse_header(params).ok()?,
        })
    }

    /// Makes our own Via: asks for `rport`.
    pub fn new(transport: &str, sent_by: SocketAddr, branch: &str) -> Self {
        let mut params = Params::default();
        params.set("branch", Some(branch.to_owned()));
        params.set("rport", None);
        Self {
            transport: transport.to_owned(),
            host: Host::Address(sent_by.ip()),
            port: Some(sent_by.port()),
            params,
        }
    }

    /// Gives the branch parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    /// Gives the branch when it is a unique transaction id: magic cookie and something after it.
    pub fn unique_branch(&self) -> Option<&str> {
        let branch = self.branch()?;
        let cookie = branch.get(..MAGIC_COOKIE.len())?;
        (cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && branch.len() > MAGIC_COOKIE.len()).then_some(branch)
    }

    /// Notes where the request really came from: `received` always when it differs from sent-by or `rport` was asked
    /// for, the value of `rport` where asked for (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn note_source(&mut self, source: SocketAddr) {
        let ip = source.ip().to_canonical();
        let asked = self.params.has("rport");
        if asked {
            self.params.set("rport", Some(source.port().to_string()));
        }
        if asked || self.host != Host::Address(ip) {
            self.params.set("received", Some(ip.to_string()));
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_separators_does_not_matter() {
        let via = Via::parse("SIP  / 2.0  / TCP     spindle.example.com  : 5061 ;  branch  =   z9hG4bK9ikj8").unwrap();
        assert_eq!(
            via.to_string(),
            "SIP/2.0/TCP spindle.example.com:5061;branch=z9hG4bK9ikj8"
        );
    }

    #[test]
    fn rport_is_filled_in_and_brings_received() {
        let mut via = Via::parse("SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKa").unwrap();
        via.note_source("192.0.2.1:777".parse().unwrap());
        assert_eq!(
            via.to_string(),
            "SIP/2.0/UDP 10.0.0.1:5060;rport=777;branch=z9hG4bKa;received=192.0.2.1"
        );
    }

    #[test]
    fn an_honest_sent_by_without_rport_stays_as_it_is() {
        let text = "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa";
        let mut via = Via::parse(text).unwrap();
        via.note_source("10.0.0.1:5060".parse().unwrap());
        assert_eq!(via.to_string(), text);
    }

    #[test]
    fn the_bare_cookie_is_no_unique_branch() {
        let via = |branch: &str| Via::parse(&format!("SIP/2.0/UDP h;branch={branch}")).unwrap();
        assert_eq!(via("z9hG4bK").unique_branch(), None);
        assert_eq!(via("1").unique_branch(), None);
        assert_eq!(via("Z9HG4BKx").unique_branch(), Some("Z9HG4BKx"));
    }

    #[test]
    fn broken_values_are_refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/7.0/UDP h",
            "SIP/2.0/UDP h;;a",
            "SIP/2.0/UDP h:x",
            "XXX/2.0/UDP h",
        ] {
            assert_eq!(Via::parse(text), Err(Error::Bad(Header::Via)), "{text}");
        }
    }
}
