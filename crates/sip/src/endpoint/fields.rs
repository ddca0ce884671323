//! Header fields that many messages share, and those that applications add or see.

use voex_sip_wire::{Header, HeaderFields, Params, is_safe_field, unquote};

use crate::{Headers, Metrics, ReasonHeader};

/// Methods that this endpoint takes.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";

/// Extensions that this endpoint knows.
pub(super) const SUPPORTED: [&str; 2] = ["100rel", "timer"];

/// The one body that sessions are described with.
pub(super) const SDP: &str = "application/sdp";

/// Fields that belong to the endpoint.
const RESERVED: [Header; 21] = [
    Header::Via,
    Header::From,
    Header::To,
    Header::CallId,
    Header::CSeq,
    Header::Contact,
    Header::MaxForwards,
    Header::ContentType,
    Header::ContentLength,
    Header::Route,
    Header::RecordRoute,
    Header::Allow,
    Header::Supported,
    Header::Require,
    Header::ProxyRequire,
    Header::Unsupported,
    Header::Authorization,
    Header::ProxyAuthorization,
    Header::WwwAuthenticate,
    Header::ProxyAuthenticate,
    Header::Expires,
];

/// Adds an application's fields; reserved ones (but `except`) and those that cannot be written are left out.
pub(super) fn add(to: &mut HeaderFields, fields: &Headers, except: Option<Header>, metrics: &Metrics) {
    for (name, value) in fields {
        let header = Header::from_name(name);
        let reserved = header != except && header.is_some_and(|header| RESERVED.contains(&header));
        // A NUL ends the line for peers written in C.
        let controls = value.contains(|c: char| c.is_control() && c != '\t');
        if reserved || controls || !is_safe_field(name, value) {
            metrics.fields_left_out.inc();
        } else {
            to.push_by_name(name, value.as_str());
        }
    }
}

/// Gives a message's fields to the application.
pub(super) fn reported(headers: &HeaderFields) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Reads the first value of Reason (RFC 3326).
pub(super) fn reason(headers: &HeaderFields) -> Option<ReasonHeader> {
    let values = headers.list(Header::Reason).ok()?;
    let first = values.first()?;
    let (protocol, params) = first.split_at(first.find(';').unwrap_or(first.len()));
    let params = Params::parse_header(params).ok()?;
    Some(ReasonHeader {
        protocol: protocol.trim().to_owned(),
        cause: params.value("cause").map(str::to_owned),
        text: params.value("text").map(unquote),
    })
}

/// Says whether the other side knows an extension.
pub(super) fn supports(headers: &HeaderFields, extension: &str) -> bool {
    has(headers, Header::Supported, extension) || requires(headers, extension)
}

/// Says whether the other side insists on an extension.
pub(super) fn requires(headers: &HeaderFields, extension: &str) -> bool {
    has(headers, Header::Require, extension)
}

/// Says whether a list has an element.
pub(super) fn has(headers: &HeaderFields, list: Header, element: &str) -> bool {
    let list = headers.list(list).unwrap_or_default();
    list.iter().any(|other| other.eq_ignore_ascii_case(element))
}

/// Says whether a body is SDP by its Content-Type; parameters do not matter.
pub(super) fn is_sdp(headers: &HeaderFields) -> bool {
    let value = headers.get(Header::ContentType).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(SDP)
}

/// Gives the SDP of a message, if it has any.
pub(super) fn sdp(headers: &HeaderFields, body: Vec<u8>) -> Option<Vec<u8>> {
    (!body.is_empty() && is_sdp(headers)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_add_neither_reserved_fields_nor_line_breaks() {
        let fields = [
            ("X-A", "1"),
            ("v", "SIP/2.0/UDP x"),
            ("Call-ID", "x"),
            ("X-B", "1\r\nVia: x"),
            ("X C", "1"),
            ("X-D", "1\0"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let (mut headers, metrics) = (HeaderFields::new(), Metrics::default());
        add(&mut headers, &fields, None, &metrics);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("X-A", "1")]);
        assert_eq!(metrics.fields_left_out.value(), 5);
    }

    #[test]
    fn the_first_reason_is_read_with_its_text_unquoted() {
        let mut headers = HeaderFields::new();
        headers.push(Header::Reason, r#"Q.850 ;cause=16;text="Normal, ok", SIP;cause=200"#);
        let expected = ReasonHeader {
            protocol: "Q.850".into(),
            cause: Some("16".into()),
            text: Some("Normal, ok".into()),
        };
        assert_eq!(reason(&headers), Some(expected));
    }
}
