//! Requests and responses, and how they are written.

use std::fmt::Write as _;

use crate::token::is_token;
use crate::{Header, HeaderFields, Method, NameAddr, Uri, Via};

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    /// Header fields, without Content-Length.
    pub headers: HeaderFields,
    /// The body.
    pub body: Vec<u8>,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status code, 100..=699.
    pub code: u16,
    /// The reason phrase.
    pub reason: String,
    /// Header fields, without Content-Length.
    pub headers: HeaderFields,
    /// The body.
    pub body: Vec<u8>,
}

/// A message as parsed: its fields, and the mandatory ones as values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// A request.
    Request(Request, Essentials),
    /// A response.
    Response(Response, Essentials),
}

/// The mandatory header fields, parsed (RFC 3261 §8.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Essentials {
    /// The topmost Via.
    pub via: Via,
    /// Number of Via values; a response with more than one is not for us (RFC 3261 §8.1.3.3).
    pub via_count: usize,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// CSeq.
    pub cseq: CSeq,
}

/// A CSeq value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CSeq {
    /// The number, below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl Request {
    /// Makes a request with no header fields and no body.
    pub fn new(method: Method, uri: Uri) -> Self {
        Self {
            method,
            uri,
            headers: HeaderFields::new(),
            body: Vec::new(),
        }
    }

    /// Writes the request; Content-Length is added.
    pub fn to_bytes(&self) -> Vec<u8> {
        let start = format!("{} {} SIP/2.0\r\n", self.method, self.uri);
        write(start, &self.headers, &self.body)
    }
}

impl Response {
    /// Makes the response to a request with these header fields: Via, From, To, Call-ID and CSeq are copied as they
    /// stand (RFC 3261 §8.2.6.2). `reason` defaults to the standard's phrase.
    pub fn answering(request: &HeaderFields, code: u16, reason: Option<&str>) -> Self {
        let mut headers = HeaderFields::new();
        for via in request.all(Header::Via) {
            headers.push(Header::Via, via);
        }
        for header in [Header::From, Header::To, Header::CallId, Header::CSeq] {
            if let Some(value) = request.get(header) {
                headers.push(header, value);
            }
        }
        Self {
            code,
            reason: reason.unwrap_or_else(|| reason_phrase(code)).to_owned(),
            headers,
            body: Vec::new(),
        }
    }

    /// Writes the response; Content-Length is added.
    pub fn to_bytes(&self) -> Vec<u8> {
        let reason = self.reason.replace(['\r', '\n'], " ");
        let start = format!("SIP/2.0 {:03} {}\r\n", self.code, reason);
        write(start, &self.headers, &self.body)
    }
}

/// Fields that would break the message apart (line breaks in the value, a name that is no token) are left out.
fn write(start: String, headers: &HeaderFields, body: &[u8]) -> Vec<u8> {
    let mut head = start;
    for (name, value) in headers.iter() {
        if is_safe_field(name, value) && !name.eq_ignore_ascii_case(Header::ContentLength.name()) {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Says whether a field can be written as one header line: the name is a token, the value holds no line break.
pub fn is_safe_field(name: &str, value: &str) -> bool {
    is_token(name) && !value.contains(['\r', '\n'])
}

/// Gives the standard's reason phrase for a status code; classes have a phrase of their own for unknown codes.
pub fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match code / 100 {
            1 => "Session Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_line_break_is_left_out() {
        let mut request = Request::new(Method::Options, Uri::parse("sip:a@b").unwrap());
        request.headers.push_by_name("X-Good", "1");
        request.headers.push_by_name("X-Bad", "1\r\nX-Injected: 2");
        request.headers.push_by_name("X Bad", "1");
        request.body = b"abc".to_vec();
        assert_eq!(
            request.to_bytes(),
            b"OPTIONS sip:a@b SIP/2.0\r\nX-Good: 1\r\nContent-Length: 3\r\n\r\nabc"
        );
    }
}
