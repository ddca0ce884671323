//! Requests within a dialog: BYE, INFO and what is unknown there.

use std::time::Instant;

use voex_sip_wire::{Essentials, Header, HeaderFields, Method, Request};

use super::client::Purpose;
use super::leg::{Leg, LegState};
use super::server::{Answer, Source};
use super::{Endpoint, fields};
use crate::metrics::DropReason;
use crate::{EndCause, Event, Headers, LegId};

impl Endpoint {
    /// A request with a To tag that repeats none before it.
    pub(super) fn handle_in_dialog(&mut self, now: Instant, source: Source, request: Request, parts: Essentials) {
        let Some(id) = self.find_leg(&parts) else {
            if !self.turns_away(source, &request) {
                self.refuse_unknown_dialog(source, &request);
            }
            return;
        };
        if self.servers.len() >= self.config.limits.transactions_max {
            return self.refuse(source, &request, 503);
        }
        if !self.takes_cseq(id, parts.cseq.number) {
            self.metrics.dropped.of(DropReason::OutOfOrder).inc();
            return self.refuse(source, &request, 500);
        }
        if let Err(answer) = self.inspect(&request) {
            return self.answer(now, source, &request, &parts, answer);
        }
        match request.method {
            Method::Invite => self.handle_reinvite(now, source, id, request, &parts),
            Method::Bye => self.handle_bye(now, source, id, &request, &parts),
            Method::Info => self.handle_info(now, source, id, request, &parts),
            Method::Prack => self.handle_prack(now, source, id, &request, &parts),
            Method::Update => self.handle_update(now, source, id, request, &parts),
            Method::Refer => self.handle_refer(now, source, id, &request, &parts),
            Method::Notify => self.handle_notify(now, source, id, request, &parts),
            _ => {
                let mut fields = HeaderFields::new();
                fields.push(Header::Accept, fields::SDP);
                self.answer(
                    now,
                    source,
                    &request,
                    &parts,
                    Answer {
                        code: 200,
                        fields,
                        ..Answer::default()
                    },
                );
            }
        }
    }

    fn refuse_unknown_dialog(&mut self, source: Source, request: &Request) {
        match self.inspect(request) {
            Ok(()) => self.refuse(source, request, 481),
            Err(answer) => self.refuse_with(source, &request.headers, answer),
        }
    }

    /// Notes the remote's sequence number; false when a later one has been seen (RFC 3261 §12.2.2).
    fn takes_cseq(&mut self, id: LegId, number: u32) -> bool {
        let Some(leg) = self.legs.get_mut(&id) else {
            return false;
        };
        let in_order = leg.dialog.remote_cseq.is_none_or(|last| number > last);
        if in_order {
            leg.dialog.remote_cseq = Some(number);
        }
        in_order
    }

    fn handle_bye(&mut self, now: Instant, source: Source, id: LegId, request: &Request, parts: &Essentials) {
        self.answer(
            now,
            source,
            request,
            parts,
            Answer {
                code: 200,
                ..Answer::default()
            },
        );
        self.refuse_open_reinvite(now, id);
        let ending = self.legs.get_mut(&id).and_then(|leg| leg.ending.take());
        match ending {
            Some(ending) => self.end_leg(id, ending.cause, ending.code, ending.reason, Some(&request.headers)),
            None => self.end_leg(
                id,
                EndCause::ByeByRemote,
                200,
                "Session Terminated",
                Some(&request.headers),
            ),
        }
    }

    fn handle_info(&mut self, now: Instant, source: Source, leg: LegId, request: Request, parts: &Essentials) {
        self.answer(
            now,
            source,
            &request,
            parts,
            Answer {
                code: 200,
                ..Answer::default()
            },
        );
        self.event(Event::Info {
            leg,
            from: parts.from.uri.to_string(),
            display_name: parts.from.display_name.clone(),
            content_type: request.headers.get(Header::ContentType).unwrap_or_default().to_owned(),
            headers: fields::reported(&request.headers),
            body: request.body,
        });
    }

    /// Sends INFO, in an early dialog too.
    pub(super) fn info(&mut self, now: Instant, id: LegId, content_type: String, body: Vec<u8>, headers: &Headers) {
        let ready = |leg: &Leg| match leg.state {
            LegState::Established | LegState::Accepted => true,
            LegState::Proceeding | LegState::Incoming => leg.dialog.remote.tag().is_some(),
            _ => false,
        };
        if !self.legs.get(&id).is_some_and(ready) {
            return self.ignore_command();
        }
        let metrics = self.metrics.clone();
        self.send_in_dialog(now, id, Method::Info, Purpose::Info(id), |request, _| {
            fields::add(&mut request.headers, headers, None, &metrics);
            request.headers.push(Header::ContentType, content_type);
            request.body = body;
        });
    }

    pub(super) fn info_done(&mut self, leg: LegId, code: u16, reason: String) {
        if self.legs.contains_key(&leg) {
            self.event(Event::InfoDone { leg, code, reason });
        }
    }
}
