//! A datagram in: what it is, whether it may be, and whose it is.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::time::Instant;

use voex_base::SocketId;
use voex_sip_wire::{Error, Essentials, Header, HeaderFields, Malformed, Message, Method, Request, Uri};

use super::Endpoint;
use super::admission::is_scanner;
use super::fields::{SDP, SUPPORTED};
use super::server::{Answer, ServerKey, Source, build, merge_key};
use crate::Strangers;
use crate::metrics::{DropReason, MethodLabel, RefusedCode, ResponseClass};

impl Endpoint {
    /// Takes a datagram that came to `socket` from `from`.
    pub fn handle_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, data: &[u8]) {
        let source = Source { socket, address: from };
        match Message::parse(data) {
            Ok(Message::Request(request, parts)) => self.handle_request(now, source, request, parts),
            Ok(Message::Response(response, parts)) => self.handle_response(now, from, response, &parts),
            Err(malformed) => self.handle_malformed(source, *malformed),
        }
        self.tell_refers(now);
    }

    fn drop_datagram(&self, reason: DropReason) {
        self.metrics.dropped.of(reason).inc();
    }

    fn handle_malformed(&mut self, source: Source, malformed: Malformed) {
        if malformed.error == Error::KeepAlive {
            return self.drop_datagram(DropReason::KeepAlive);
        }
        self.drop_datagram(DropReason::Malformed);
        let Some(headers) = malformed
            .answerable
            .filter(|headers| headers.get(Header::Via).is_some())
        else {
            return;
        };
        let silent = self.config.strangers == Strangers::Ignore && !self.admits(source.address);
        if !silent && !is_scanner(&headers) {
            let reason = Some(malformed.error.to_string());
            let code = malformed.error.status();
            self.refuse_with(
                source,
                &headers,
                Answer {
                    code,
                    reason,
                    ..Answer::default()
                },
            );
        }
    }

    fn handle_request(&mut self, now: Instant, source: Source, mut request: Request, mut parts: Essentials) {
        self.metrics.requests_in.of(MethodLabel::from(&request.method)).inc();
        note_source(&mut request.headers, &mut parts, source.address);
        let known = self.server_keys.get(&ServerKey::of(&request, &parts)).copied();
        match (&request.method, known) {
            (Method::Ack, Some(id)) if !self.is_accepted_by(id, &parts) => self.handle_refusal_ack(now, id),
            (Method::Ack, _) => self.handle_ack(now, request, &parts),
            (Method::Cancel, known) => self.handle_cancel(now, source, known, &request, &parts),
            (_, Some(id)) => self.handle_retransmitted_request(id),
            (_, None) if parts.to.tag().is_some() => self.handle_in_dialog(now, source, request, parts),
            (_, None) => self.handle_out_of_dialog(now, source, request, parts),
        }
    }

    /// An RFC 2543 peer's ACK for our 200 has the key of its INVITE; its To tag tells the two apart.
    fn is_accepted_by(&self, id: super::ServerId, parts: &Essentials) -> bool {
        let leg = parts.to.tag().and_then(|tag| self.legs_by_tag.get(tag));
        leg.and_then(|leg| self.legs.get(leg))
            .is_some_and(|leg| leg.unacked.is_some())
            && !self.is_proceeding(id)
    }

    /// A request outside dialogs. Everything but a good INVITE is answered without state.
    fn handle_out_of_dialog(&mut self, now: Instant, source: Source, request: Request, parts: Essentials) {
        if self.turns_away(source, &request) {
            return;
        }
        if let Err(answer) = self.inspect(&request) {
            return self.refuse_with(source, &request.headers, answer);
        }
        match request.method {
            Method::Invite if self.merges.contains_key(&merge_key(&parts)) => self.refuse(source, &request, 482),
            Method::Invite => self.handle_new_invite(now, source, request, &parts),
            Method::Options => self.answer_options(source, &request),
            _ => self.refuse(source, &request, 481),
        }
    }

    /// Deals with sources that may not talk to us. True: nothing is left to do.
    pub(super) fn turns_away(&mut self, source: Source, request: &Request) -> bool {
        if is_scanner(&request.headers) {
            self.drop_datagram(DropReason::Scanner);
            return true;
        }
        if self.admits(source.address) {
            return false;
        }
        self.drop_datagram(DropReason::Stranger);
        if self.config.strangers == Strangers::Refuse {
            self.refuse(source, request, 403);
        }
        true
    }

    /// Inspects method, Require and scheme (RFC 3261 §8.2.1, §8.2.2).
    pub(super) fn inspect(&self, request: &Request) -> Result<(), Answer> {
        let code = match request.method {
            Method::Invite | Method::Options | Method::Bye | Method::Info => 0,
            Method::Prack | Method::Update | Method::Refer | Method::Notify => 0,
            Method::Other(_) => 501,
            _ => 405,
        };
        if code != 0 {
            return Err(Answer {
                code,
                ..Answer::default()
            });
        }
        check_required(&request.headers)?;
        match request.uri {
            Uri::Other(_) => Err(Answer {
                code: 416,
                ..Answer::default()
            }),
            Uri::Sip(_) | Uri::Tel { .. } => Ok(()),
        }
    }

    fn answer_options(&mut self, source: Source, request: &Request) {
        let mut fields = HeaderFields::new();
        fields.push(Header::Accept, SDP);
        let answer = Answer {
            code: 200,
            fields,
            ..Answer::default()
        };
        self.respond_stateless(source, &request.headers, answer);
    }

    pub(super) fn refuse(&mut self, source: Source, request: &Request, code: u16) {
        self.refuse_with(
            source,
            &request.headers,
            Answer {
                code,
                ..Answer::default()
            },
        );
    }

    /// Refuses without state (RFC 3261 §8.2.7).
    pub(super) fn refuse_with(&mut self, source: Source, headers: &HeaderFields, mut answer: Answer) {
        if answer.code == 503 {
            self.drop_datagram(DropReason::TableFull);
            answer.fields.push(Header::RetryAfter, RETRY_AFTER_S.to_string());
        }
        self.metrics.refused.of(RefusedCode::from(answer.code)).inc();
        self.respond_stateless(source, headers, answer);
    }

    pub(super) fn respond_stateless(&mut self, source: Source, headers: &HeaderFields, answer: Answer) {
        self.metrics.responses_out.of(ResponseClass::from(answer.code)).inc();
        let tag = self.stateless_tag(headers);
        let bytes = build(headers, &tag, answer, &self.config.user_agent).to_bytes();
        self.transmit(source.socket, source.address, bytes);
    }

    /// The same request, sent again, gets the same To tag.
    fn stateless_tag(&self, headers: &HeaderFields) -> String {
        let mut hasher = DefaultHasher::new();
        self.tag_secret.hash(&mut hasher);
        for header in [Header::Via, Header::CallId, Header::From, Header::CSeq] {
            headers.get(header).hash(&mut hasher);
        }
        format!("s{:016x}", hasher.finish())
    }
}

/// Seconds in Retry-After when a table is full.
const RETRY_AFTER_S: u32 = 5;

/// Writes into the topmost Via where the request came from; other values stay as they are.
fn note_source(headers: &mut HeaderFields, parts: &mut Essentials, source: SocketAddr) {
    parts.via.note_source(source);
    let lines: Vec<String> = headers.all(Header::Via).map(str::to_owned).collect();
    let Some(first) = lines.first() else { return };
    let mut single = HeaderFields::new();
    single.push(Header::Via, first.as_str());
    let rest = single.list(Header::Via).unwrap_or_default();
    let others = rest
        .iter()
        .skip(1)
        .map(|via| (*via).to_owned())
        .chain(lines.iter().skip(1).cloned());
    let others: Vec<String> = others.collect();
    headers.set(Header::Via, parts.via.to_string());
    headers.insert_after_first(Header::Via, others);
}

/// Refuses what is required of us and we do not know.
fn check_required(headers: &HeaderFields) -> Result<(), Answer> {
    let bad = |_| Answer {
        code: 400,
        reason: Some("Bad Require Header Field".to_owned()),
        ..Answer::default()
    };
    let mut required = headers.list(Header::Require).map_err(bad)?;
    required.retain(|extension| !SUPPORTED.iter().any(|known| known.eq_ignore_ascii_case(extension)));
    required.extend(headers.list(Header::ProxyRequire).map_err(bad)?);
    if required.is_empty() {
        return Ok(());
    }
    let mut fields = HeaderFields::new();
    fields.push(Header::Unsupported, required.join(", "));
    Err(Answer {
        code: 420,
        fields,
        ..Answer::default()
    })
}

/// Inspects the body of an INVITE and what answers it may get (RFC 3261 §8.2.3).
pub(super) fn check_invite_body(request: &Request) -> Result<(), Answer> {
    let mut fields = HeaderFields::new();
    fields.push(Header::Accept, SDP);
    if !request.body.is_empty() && !super::fields::is_sdp(&request.headers) {
        return Err(Answer {
            code: 415,
            fields,
            ..Answer::default()
        });
    }
    if request
        .headers
        .get(Header::ContentEncoding)
        .is_some_and(|e| !e.eq_ignore_ascii_case("identity"))
    {
        return Err(Answer {
            code: 415,
            fields,
            ..Answer::default()
        });
    }
    let accepts = request.headers.list(Header::Accept).unwrap_or_default();
    let ours = |range: &&str| {
        let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        ["application/sdp", "application/*", "*/*"].contains(&range.as_str())
    };
    if !accepts.is_empty() && !accepts.iter().any(ours) {
        return Err(Answer {
            code: 406,
            fields,
            ..Answer::default()
        });
    }
    Ok(())
}
