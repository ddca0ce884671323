//! From a datagram to a message.
//!
//! Strict where leniency would let two elements read one message differently (start line, lengths, repeated fields,
//! empty list elements), lenient where peers are known to be sloppy and nothing hangs on it (bare LF, white space
//! inside brackets, a missing Max-Forwards).

use std::borrow::Cow;

use crate::token::is_token;
use crate::token::{split_list, trim};
use crate::{CSeq, Error, Essentials, Header, HeaderFields, Message, Method, NameAddr, Request, Response, Uri, Via};

/// Largest message that is looked at, in octets: what a UDP datagram can carry.
pub const MESSAGE_BYTES_MAX: usize = voex_base::DATAGRAM_BYTES_MAX;

/// Most header fields in a message, repeated ones counted each.
pub const HEADER_FIELDS_MAX: usize = 256;

/// A datagram that is no good message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// The first thing wrong with it.
    pub error: Error,
    /// Its header fields as far as they could be read, when it is a request other than ACK: enough to answer
    /// `error.status()` if there is a Via among them. `None`: not to be answered.
    pub answerable: Option<HeaderFields>,
}

impl Message {
    /// Parses a datagram. Octets after the body are ignored (RFC 3261 §18.3); without Content-Length the body is
    /// the rest of the datagram.
    ///
    /// # Errors
    /// [`Malformed`], with what is needed for a 400.
    pub fn parse(datagram: &[u8]) -> Result<Self, Box<Malformed>> {
        if datagram.len() > MESSAGE_BYTES_MAX {
            return Err(unanswerable(Error::MessageTooLarge));
        }
        let start = datagram.iter().position(|b| !matches!(b, b'\r' | b'\n'));
        let message = &datagram[start.ok_or_else(|| unanswerable(Error::KeepAlive))?..];
        let (head, body) = split_head(message);
        let ended = body.map(|_| ()).ok_or(Error::HeadUnfinished);
        let body = body.unwrap_or_default();
        let text = String::from_utf8_lossy(head);
        let utf8 = matches!(text, Cow::Borrowed(_)).then_some(()).ok_or(Error::NotUtf8);
        let (start_line, fields) = text.split_once('\n').unwrap_or((&text, ""));
        let start_line = start_line.strip_suffix('\r').unwrap_or(start_line);
        let (headers, fields) = parse_fields(fields);
        let checked = utf8.and(fields).and(ended);
        if start_line.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("SIP/")) {
            parse_response(start_line, checked, headers, body).map_err(unanswerable)
        } else {
            parse_request(start_line, checked, headers, body)
        }
    }
}

fn unanswerable(error: Error) -> Box<Malformed> {
    let answerable = None;
    Box::new(Malformed { error, answerable })
}

fn parse_request(
    line: &str,
    checked: Result<(), Error>,
    mut headers: HeaderFields,
    body: &[u8],
) -> Result<Message, Box<Malformed>> {
    let parsed = parse_request_line(line).and_then(|(method, uri)| {
        checked?;
        let essentials = parse_essentials(&headers)?;
        if essentials.cseq.method != method {
            return Err(Error::MethodMismatch);
        }
        check_max_forwards(&headers)?;
        Ok((method, uri, essentials, cut_body(&headers, body)?))
    });
    match parsed {
        Ok((method, uri, essentials, body)) => {
            headers.remove(Header::ContentLength);
            let body = body.to_vec();
            let request = Request {
                method,
                uri,
                headers,
                body,
            };
            Ok(Message::Request(request, essentials))
        }
        Err(error) => {
            let answerable = (!line.starts_with("ACK ")).then_some(headers);
            Err(Box::new(Malformed { error, answerable }))
        }
    }
}

fn parse_response(
    line: &str,
    checked: Result<(), Error>,
    mut headers: HeaderFields,
    body: &[u8],
) -> Result<Message, Error> {
    let (code, reason) = parse_status_line(line)?;
    checked?;
    let essentials = parse_essentials(&headers)?;
    let body = cut_body(&headers, body)?.to_vec();
    headers.remove(Header::ContentLength);
    let reason = reason.to_owned();
    Ok(Message::Response(
        Response {
            code,
            reason,
            headers,
            body,
        },
        essentials,
    ))
}

/// Splits at the empty line; without one everything is head.
fn split_head(message: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut line_start = 0;
    while let Some(length) = message[line_start..].iter().position(|b| *b == b'\n') {
        let next = line_start + length + 1;
        if matches!(&message[line_start..next], b"\n" | b"\r\n") {
            return (&message[..line_start], Some(&message[next..]));
        }
        line_start = next;
    }
    (message, None)
}

/// Exactly one space between the three parts (RFC 3261 §7.1).
fn parse_request_line(line: &str) -> Result<(Method, Uri), Error> {
    let mut parts = line.split(' ');
    let (Some(method), Some(uri), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::BadStartLine);
    };
    let method = Method::parse(method).ok_or(Error::BadStartLine)?;
    check_version(version)?;
    let uri = Uri::parse(uri)?;
    match uri.as_sip() {
        Some(sip) if sip.headers.is_some() => Err(Error::HeadersInRequestUri),
        _ => Ok((method, uri)),
    }
}

fn parse_status_line(line: &str) -> Result<(u16, &str), Error> {
    let (version, rest) = line.split_once(' ').ok_or(Error::BadStartLine)?;
    check_version(version)?;
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
    match code.parse() {
        Ok(code @ 100..=699) if digits => Ok((code, trim(reason))),
        _ => Err(Error::BadStartLine),
    }
}

fn check_version(text: &str) -> Result<(), Error> {
    match text.get(..4) {
        Some(name) if name.eq_ignore_ascii_case("SIP/") && &text[4..] == "2.0" => Ok(()),
        Some(name) if name.eq_ignore_ascii_case("SIP/") => Err(Error::BadVersion),
        _ => Err(Error::BadStartLine),
    }
}

/// Reads what can be read; the error is the first.
fn parse_fields(text: &str) -> (HeaderFields, Result<(), Error>) {
    let mut headers = HeaderFields::new();
    let mut result = Ok(());
    let mut field: Option<(&str, Cow<'_, str>)> = None;
    for line in text.split_terminator('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match (&mut field, line.starts_with([' ', '\t'])) {
            (Some((_, value)), true) => {
                let value = value.to_mut();
                value.push(' ');
                value.push_str(trim(line));
            }
            (None, true) => result = result.and(Err(Error::BadHeaderField)),
            (_, false) => {
                result = result.and(push_field(&mut headers, field.take()));
                field = split_field(line);
                if field.is_none() {
                    result = result.and(Err(Error::BadHeaderField));
                }
            }
        }
        if headers.len() >= HEADER_FIELDS_MAX {
            return (headers, result.and(Err(Error::TooManyHeaderFields)));
        }
    }
    result = result.and(push_field(&mut headers, field));
    (headers, result)
}

fn split_field(line: &str) -> Option<(&str, Cow<'_, str>)> {
    let (name, value) = line.split_once(':')?;
    let name = trim(name);
    is_token(name).then(|| (name, Cow::Borrowed(trim(value))))
}

/// A carriage return of its own is refused: some peers would take it for a line end.
fn push_field(headers: &mut HeaderFields, field: Option<(&str, Cow<'_, str>)>) -> Result<(), Error> {
    let Some((name, value)) = field else { return Ok(()) };
    if value.contains('\r') {
        return Err(Error::BadHeaderField);
    }
    headers.push_by_name(name, trim(&value));
    Ok(())
}

fn parse_essentials(headers: &HeaderFields) -> Result<Essentials, Error> {
    let (via, via_count) = parse_vias(headers)?;
    let call_id = headers.single(Header::CallId)?;
    if !is_call_id(call_id) {
        return Err(Error::Bad(Header::CallId));
    }
    Ok(Essentials {
        via,
        via_count,
        from: parse_party(headers, Header::From)?,
        to: parse_party(headers, Header::To)?,
        call_id: call_id.to_owned(),
        cseq: parse_cseq(headers.single(Header::CSeq)?).ok_or(Error::Bad(Header::CSeq))?,
    })
}

fn parse_vias(headers: &HeaderFields) -> Result<(Via, usize), Error> {
    let (mut top, mut count) = (None, 0);
    for line in headers.all(Header::Via) {
        for value in split_list(line).map_err(|_| Error::Bad(Header::Via))? {
            let via = Via::parse(value)?;
            top.get_or_insert(via);
            count += 1;
        }
    }
    Ok((top.ok_or(Error::Missing(Header::Via))?, count))
}

fn parse_party(headers: &HeaderFields, header: Header) -> Result<NameAddr, Error> {
    NameAddr::parse(headers.single(header)?).map_err(|_| Error::Bad(header))
}

/// Says whether `text` can stand as a Call-ID: visible characters only.
pub fn is_call_id(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',')
}

/// The number must be below 2^31 (RFC 3261 §8.1.1.5).
fn parse_cseq(value: &str) -> Option<CSeq> {
    let (number, method) = value.split_once([' ', '\t'])?;
    let number = parse_digits(number).filter(|number| *number < 1 << 31)?;
    let method = Method::parse(trim(method))?;
    Some(CSeq { number, method })
}

/// RFC 2543 peers send none; more than 255 is out of range.
fn check_max_forwards(headers: &HeaderFields) -> Result<(), Error> {
    match headers.single(Header::MaxForwards) {
        Ok(value) if parse_digits(value).is_some_and(|hops| hops <= 255) => Ok(()),
        Ok(_) => Err(Error::Bad(Header::MaxForwards)),
        Err(Error::Missing(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Several equal lengths are one; different ones are an attack on framing.
fn cut_body<'a>(headers: &HeaderFields, rest: &'a [u8]) -> Result<&'a [u8], Error> {
    let mut length = None;
    for value in headers.all(Header::ContentLength) {
        let value = parse_digits(value).ok_or(Error::Bad(Header::ContentLength))?;
        if length.replace(value).is_some_and(|before| before != value) {
            return Err(Error::Repeated(Header::ContentLength));
        }
    }
    match length {
        Some(length) => rest.get(..length as usize).ok_or(Error::BodyShort),
        None => Ok(rest),
    }
}

/// Decimal digits only; leading zeros are fine, more than 32 bits are not.
fn parse_digits(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Reads delta-seconds at the start of a value (`3600;x`, `120 (busy)`): huge values become 2^32-1, others `None`.
pub fn parse_delta_seconds(value: &str) -> Option<u32> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let digits = &value[..digits];
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(u32::MAX))
}
