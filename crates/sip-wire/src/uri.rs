//! URIs (RFC 3261 §19.1, RFC 3966).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Error;
use crate::token::Params;

/// A URI. Two URIs are `==` when their parts are spelled alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(Box<SipUri>),
    /// `tel:` (RFC 3966).
    Tel {
        /// The number, separators included.
        number: String,
        /// `;phone-context=...` and others.
        params: Params,
    },
    /// Any other scheme, kept as received.
    Other(String),
}

/// A `sip:` or `sips:` URI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SipUri {
    /// `sips`.
    pub secure: bool,
    /// The user part as received, escapes and password included.
    pub user_info: Option<String>,
    /// The host.
    pub host: Host,
    /// The port, if written.
    pub port: Option<u16>,
    /// The URI's parameters.
    pub params: Params,
    /// What stands after `?`, as received.
    pub headers: Option<String>,
}

/// A host in a URI or a Via.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// An address; version 6 is written in brackets.
    Address(IpAddr),
    /// A name.
    Name(String),
}

impl Uri {
    /// Parses a URI that stands alone: no brackets, no display name, no white space.
    ///
    /// # Errors
    /// `BadUri`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = text.split_once(':').ok_or(Error::BadUri)?;
        if !is_scheme(scheme) || rest.is_empty() || !is_uri_text(rest) {
            return Err(Error::BadUri);
        }
        if scheme.eq_ignore_ascii_case("sip") {
            SipUri::parse_rest(false, rest)
        } else if scheme.eq_ignore_ascii_case("sips") {
            SipUri::parse_rest(true, rest)
        } else if scheme.eq_ignore_ascii_case("tel") {
            let (number, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
            let params = Params::parse_uri(params).map_err(|_| Error::BadUri)?;
            let number = number.to_owned();
            (!number.is_empty())
                .then_some(Self::Tel { number, params })
                .ok_or(Error::BadUri)
        } else {
            Ok(Self::Other(text.to_owned()))
        }
    }

    /// Gives the parts of a `sip:` or `sips:` URI.
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            _ => None,
        }
    }

    /// Gives the user, escapes resolved, or the number of a `tel:` URI.
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Sip(uri) => uri.user(),
            Self::Tel { number, .. } => Some(number.clone()),
            Self::Other(_) => None,
        }
    }
}

impl SipUri {
    fn parse_rest(secure: bool, rest: &str) -> Result<Uri, Error> {
        let (user_info, rest) = match rest.split_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if rest.contains('@') || user_info.is_some_and(|user| user.is_empty() || !has_valid_escapes(user)) {
            return Err(Error::BadUri);
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers.to_owned())),
            None => (rest, None),
        };
        let (host_port, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        let (host, port) = parse_host_port(host_port)?;
        if !has_valid_escapes(params) {
            return Err(Error::BadUri);
        }
        Ok(Uri::Sip(Box::new(Self {
            secure,
            user_info: user_info.map(str::to_owned),
            host,
            port,
            params: Params::parse_uri(params).map_err(|_| Error::BadUri)?,
            headers,
        })))
    }

    /// Gives the user without password, escapes resolved (octets that are not UTF-8 become U+FFFD).
    pub fn user(&self) -> Option<String> {
        let user = self.user_info.as_deref()?;
        Some(unescape(user.split_once(':').map_or(user, |(user, _)| user)))
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(uri) => uri.fmt(f),
            Self::Tel { number, params } => write!(f, "tel:{number}{params}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user_info {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        self.headers.iter().try_for_each(|headers| write!(f, "?{headers}"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Parses `host[:port]` with white space allowed around the colon (Via).
pub(crate) fn parse_host_port(text: &str) -> Result<(Host, Option<u16>), Error> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(Error::BadUri)?;
            let address: Ipv6Addr = address.parse().map_err(|_| Error::BadUri)?;
            (Host::Address(address.into()), rest)
        }
        None => {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (parse_host(crate::token::trim(host))?, rest)
        }
    };
    let rest = crate::token::trim(rest);
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(parse_port(crate::token::trim(port))?),
        None if rest.is_empty() => None,
        None => return Err(Error::BadUri),
    };
    Ok((host, port))
}

fn parse_host(text: &str) -> Result<Host, Error> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let named = !text.is_empty() && text.len() <= HOST_NAME_BYTES_MAX && text.bytes().all(valid);
    named.then(|| Host::Name(text.to_owned())).ok_or(Error::BadUri)
}

fn parse_port(text: &str) -> Result<u16, Error> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.filter(|port| *port != 0).ok_or(Error::BadUri)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Printable, and nothing that ends or quotes a URI elsewhere in a message.
fn is_uri_text(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"'))
}

fn has_valid_escapes(text: &str) -> bool {
    let mut pieces = text.split('%');
    pieces.next();
    pieces.all(|piece| piece.len() >= 2 && piece.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

/// Writes `%xx` for everything that may not stand in a header field of a URI (RFC 3261 §25.1: `hvalue`, unreserved only).
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Resolves `%xx`; what is no escape stays.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(byte)) if bytes[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Longest host name: DNS ends at 253; the long names of RFC 4475 §3.1.1.7 must pass.
const HOST_NAME_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(text: &str) -> SipUri {
        let uri = Uri::parse(text).unwrap();
        assert_eq!(uri.to_string(), text);
        uri.as_sip().unwrap().clone()
    }

    #[test]
    fn every_part_of_a_sip_uri_is_found_and_written_back() {
        let uri = sip("sips:al%40ice:pw@[2001:db8::1]:5071;transport=tcp;lr?Subject=a%20b&x=y");
        assert!(uri.secure);
        assert_eq!(uri.user().as_deref(), Some("al@ice"));
        assert_eq!(uri.host, Host::Address("2001:db8::1".parse().unwrap()));
        assert_eq!(uri.port, Some(5071));
        assert_eq!(uri.params.value("transport"), Some("tcp"));
        assert!(uri.params.has("lr"));
        assert_eq!(uri.headers.as_deref(), Some("Subject=a%20b&x=y"));
    }

    #[test]
    fn semicolons_and_question_marks_before_the_at_belong_to_the_user() {
        let uri = sip("sip:user;par=u%40example.net?x@example.com");
        assert_eq!(uri.user().as_deref(), Some("user;par=u@example.net?x"));
        assert_eq!(uri.host, Host::Name("example.com".into()));
        assert_eq!(uri.params, Params::default());
    }

    #[test]
    fn an_escaped_null_does_not_cut_the_user() {
        assert_eq!(
            sip("sip:null-%00-null@example.com").user().as_deref(),
            Some("null-\0-null")
        );
    }

    #[test]
    fn tel_and_unknown_schemes_are_kept() {
        for text in [
            "tel:+7-495-123;phone-context=x",
            "soap.beep://192.0.2.103:3002",
            "isbn:2983792873",
        ] {
            assert_eq!(Uri::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Uri::parse("tel:+1;ext=2").unwrap().user().as_deref(), Some("+1"));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "alice",
            "sip:",
            ":x",
            "<sip:a@b>",
            "sip:a b@c",
            "sip:a@b@c",
            "sip:@b",
            "sip:a@",
            "sip:a@b:",
            "sip:a@b:0",
            "sip:a@b:65536",
            "sip:a@b:+1",
            "sip:a%4@b",
            "sip:a%zz@b",
            "sip:a@[::1",
            "sip:a@[1.2.3.4]",
            "sip:a@b;;lr",
            "sip:a@b\n",
            "sip:a@b\u{0}",
            "1sip:a@b",
            "tel:",
            "tel:;a",
        ] {
            assert_eq!(Uri::parse(text), Err(Error::BadUri), "{text}");
        }
    }
}
