//! Transfers (RFC 3515, RFC 3891): REFER of theirs and of ours, and the NOTIFYs that tell what became of it.

use std::time::Instant;

use voex_sip_wire::{Essentials, Header, HeaderFields, Method, NameAddr, Request, Response, Uri, escape};

use super::client::Purpose;
use super::leg::{Leg, LegState};
use super::server::{Answer, Source};
use super::{Endpoint, fields};
use crate::dialog::without_headers;
use crate::{Event, Headers, LegId, ReferId, Referral};

/// Transfers that one leg may ask for before any of them has come to an end.
const REFERS_MAX: usize = 4;
/// How long, in seconds, a transferor may expect news: as long as a call may ring.
const EXPIRES_S: u64 = 180;
const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// A transfer that was asked of us.
pub(super) struct Refer {
    leg: LegId,
    /// `Event` of its NOTIFYs: all but the first of a leg are told apart by the number of their REFER.
    event: String,
}

/// What became of a transfer, to be told.
pub(super) struct ReferNews {
    pub(super) refer: ReferId,
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Endpoint {
    /// Their REFER.
    pub(super) fn handle_refer(
        &mut self,
        now: Instant,
        source: Source,
        id: LegId,
        request: &Request,
        parts: &Essentials,
    ) {
        let target = match self.judge_refer(id, request) {
            Ok(target) => target,
            Err(answer) => return self.answer(now, source, request, parts, answer),
        };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let mut fields = HeaderFields::new();
        fields.push(Header::Contact, leg.contact.as_str());
        let number = parts.cseq.number;
        let event = if std::mem::replace(&mut leg.was_referred, true) {
            format!("refer;id={number}")
        } else {
            "refer".to_owned()
        };
        let answer = Answer {
            code: 202,
            fields,
            ..Answer::default()
        };
        self.answer(now, source, request, parts, answer);
        let refer = self.new_refer_id();
        self.refers.insert(refer, Refer { leg: id, event });
        self.note_refer(refer, 100, "Trying");
        self.event(Event::Refer(Box::new(Referral {
            leg: id,
            refer,
            replaces: replaces(&target.uri),
            to: without_headers(&target.uri).to_string(),
            referred_by: request.headers.get(Header::ReferredBy).map(str::to_owned),
            headers: fields::reported(&request.headers),
        })));
    }

    /// Nobody but the application that is told should guess it.
    fn new_refer_id(&mut self) -> ReferId {
        loop {
            let refer = ReferId(1 + self.rng.below(u64::from(u32::MAX)));
            if !self.refers.contains_key(&refer) {
                return refer;
            }
        }
    }

    fn judge_refer(&self, id: LegId, request: &Request) -> Result<NameAddr, Answer> {
        let refuse = |code: u16, reason: Option<&str>| Answer {
            code,
            reason: reason.map(str::to_owned),
            ..Answer::default()
        };
        let bad = || refuse(400, Some("Bad Refer-To"));
        let targets = request.headers.list(Header::ReferTo).map_err(|_| bad())?;
        let [target] = targets[..] else { return Err(bad()) };
        let target = NameAddr::parse(target).map_err(|_| bad())?;
        if !self.legs.get(&id).is_some_and(|leg| leg.state == LegState::Established) {
            return Err(refuse(480, None));
        }
        let of_leg = self.refers.values().filter(|refer| refer.leg == id);
        if of_leg.count() >= REFERS_MAX {
            return Err(refuse(486, None));
        }
        Ok(target)
    }

    /// Keeps in mind to tell what became of a transfer.
    pub(super) fn note_refer(&mut self, refer: ReferId, code: u16, reason: &str) {
        let reason = reason.to_owned();
        self.refer_news.push(ReferNews { refer, code, reason });
    }

    /// Tells transferors the news; the final one is the last.
    pub(super) fn tell_refers(&mut self, now: Instant) {
        for ReferNews { refer, code, reason } in std::mem::take(&mut self.refer_news) {
            let Some(known) = self.refers.get(&refer) else { continue };
            let (leg, event) = (known.leg, known.event.clone());
            let state = if code < 200 {
                format!("active;expires={EXPIRES_S}")
            } else {
                self.refers.remove(&refer);
                "terminated;reason=noresource".to_owned()
            };
            self.send_in_dialog(now, leg, Method::Notify, Purpose::Notify(leg), |request, leg| {
                let headers = &mut request.headers;
                headers.push(Header::Contact, leg.contact.as_str());
                headers.push(Header::Event, event);
                headers.push(Header::SubscriptionState, state);
                headers.push(Header::ContentType, SIPFRAG);
                request.body = format!("SIP/2.0 {code} {reason}\r\n").into_bytes();
            });
        }
    }

    /// The application does not follow a transfer.
    pub(super) fn decline_refer(&mut self, refer: ReferId, code: u16) {
        if !self.refers.contains_key(&refer) {
            return self.ignore_command();
        }
        let code = if (300..=699).contains(&code) { code } else { 603 };
        self.note_refer(refer, code, voex_sip_wire::reason_phrase(code));
    }

    /// Transfers that a leg asked for go with it.
    pub(super) fn forget_refers(&mut self, leg: LegId) {
        self.refers.retain(|_, refer| refer.leg != leg);
    }

    /// Asks the remote of an answered call to call somebody, in the place of another call of ours if one is named.
    pub(super) fn refer(&mut self, now: Instant, id: LegId, to: &str, replaces: Option<&str>, headers: &Headers) {
        let is_ready = self.legs.get(&id).is_some_and(|leg| leg.state == LegState::Established);
        let Some(target) = Uri::parse(to).ok().filter(|_| is_ready) else {
            return self.ignore_command();
        };
        let mut target = target.to_string();
        if let Some(call_id) = replaces {
            let Some(other) = self.answered_leg(call_id) else {
                return self.refer_answered(id, 481, "No Such Call To Replace".to_owned());
            };
            target = format!("{target}?Replaces={}", escape(&replaces_of(other)));
        }
        let metrics = self.metrics.clone();
        self.send_in_dialog(now, id, Method::Refer, Purpose::Refer(id), |request, leg| {
            let mut from = leg.dialog.local.clone();
            from.params.remove("tag");
            request.headers.push(Header::Contact, leg.contact.as_str());
            request.headers.push(Header::ReferTo, format!("<{target}>"));
            request.headers.push(Header::ReferredBy, from.to_string());
            fields::add(&mut request.headers, headers, None, &metrics);
        });
    }

    fn answered_leg(&self, call_id: &str) -> Option<&Leg> {
        let mut legs = self.legs.values();
        legs.find(|leg| leg.state == LegState::Established && leg.dialog.call_id == call_id)
    }

    /// The answer to our REFER, or none. What became of it comes by NOTIFY.
    pub(super) fn refer_answered(&mut self, leg: LegId, code: u16, reason: String) {
        if self.legs.contains_key(&leg) {
            self.event(Event::ReferAnswered { leg, code, reason });
        }
    }

    /// Their NOTIFY within a call: what became of a transfer of ours, mostly.
    pub(super) fn handle_notify(
        &mut self,
        now: Instant,
        source: Source,
        leg: LegId,
        request: Request,
        parts: &Essentials,
    ) {
        let event = request.headers.get(Header::Event).map(str::to_owned);
        let code = if event.is_some() { 200 } else { 489 };
        let answer = Answer {
            code,
            ..Answer::default()
        };
        self.answer(now, source, &request, parts, answer);
        let Some(event) = event else { return };
        let text = |header| request.headers.get(header).unwrap_or_default().to_owned();
        self.event(Event::Notify {
            leg,
            event,
            state: text(Header::SubscriptionState),
            content_type: text(Header::ContentType),
            headers: fields::reported(&request.headers),
            body: request.body,
        });
    }

    /// A transferor that does not know of its transfer any more is told nothing further.
    pub(super) fn notify_answered(&mut self, leg: LegId, response: &Response) {
        if matches!(response.code, 408 | 481) {
            self.forget_refers(leg);
        }
    }
}

/// What a dialog is called in Replaces, by whoever is to take its place (RFC 3891 §6.1).
fn replaces_of(leg: &Leg) -> String {
    let dialog = &leg.dialog;
    let remote = dialog.remote.tag().unwrap_or_default();
    format!("{};to-tag={remote};from-tag={}", dialog.call_id, dialog.local_tag())
}

/// The Replaces among the header fields of a URI.
fn replaces(uri: &Uri) -> Option<String> {
    let fields = uri.as_sip()?.headers.as_deref()?;
    let field = fields.split('&').find_map(|field| {
        let (name, value) = field.split_once('=')?;
        name.eq_ignore_ascii_case("Replaces").then_some(value)
    });
    field.map(voex_sip_wire::unescape)
}
