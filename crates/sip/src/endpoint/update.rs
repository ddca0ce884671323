//! UPDATE of theirs (RFC 3311): a refresh, or another offer without a three-way handshake.

use std::time::Instant;

use voex_sip_wire::{Essentials, Header, HeaderFields, Request};

use super::leg::LegState;
use super::receive::check_invite_body;
use super::server::{Answer, Source};
use super::session_timer::check_session;
use super::{Endpoint, ServerId, fields};
use crate::{Event, Headers, LegId};

impl Endpoint {
    pub(super) fn handle_update(
        &mut self,
        now: Instant,
        source: Source,
        id: LegId,
        request: Request,
        parts: &Essentials,
    ) {
        let has_offer = !request.body.is_empty();
        let refusal = check_session(&request.headers)
            .and_then(|()| check_invite_body(&request))
            .and_then(|()| if has_offer { self.may_offer(id) } else { Ok(()) });
        if let Err(answer) = refusal {
            return self.answer(now, source, &request, parts, answer);
        }
        let server = self.start_server(now, source, &request, parts);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.dialog.refresh_target(&request.headers);
        leg.update_server = Some(server);
        if !has_offer {
            return self.answer_update(now, id, server, None, &Headers::new());
        }
        let (answered, sdp) = (leg.auto_answer_reinvites, leg.sdp.clone());
        self.event(Event::Reinvite {
            leg: id,
            sdp: fields::sdp(&request.headers, request.body),
            answered,
            headers: fields::reported(&request.headers),
        });
        if answered {
            self.answer_update(now, id, server, Some(sdp), &Headers::new());
        }
    }

    /// Whether they may offer now (RFC 3311 §5.2): not while an offer either way waits for its answer.
    fn may_offer(&mut self, id: LegId) -> Result<(), Answer> {
        let Some(leg) = self.legs.get(&id) else { return Ok(()) };
        let waits = leg
            .update_server
            .is_some_and(|server| self.servers.contains_key(&server));
        if leg.invite_client.is_some() && leg.state == LegState::Established {
            return Err(Answer {
                code: 491,
                ..Answer::default()
            });
        }
        // A call that is not answered yet has one offer and one answer here.
        if waits || leg.invite_server.is_some() || leg.unacked.is_some() || leg.state != LegState::Established {
            let mut fields = HeaderFields::new();
            fields.push(Header::RetryAfter, self.rng.below(11).to_string());
            return Err(Answer {
                code: 500,
                fields,
                ..Answer::default()
            });
        }
        Ok(())
    }

    /// The application's answer to an UPDATE that offered.
    pub(super) fn answer_pending_update(
        &mut self,
        now: Instant,
        id: LegId,
        server: ServerId,
        answer: Result<Vec<u8>, u16>,
        headers: &Headers,
    ) {
        match answer {
            Ok(sdp) => self.answer_update(now, id, server, Some(sdp), headers),
            Err(code) => {
                let code = if (300..=699).contains(&code) { code } else { 488 };
                let mut fields = HeaderFields::new();
                fields::add(&mut fields, headers, None, &self.metrics);
                let answer = Answer {
                    code,
                    fields,
                    ..Answer::default()
                };
                self.respond(now, server, answer);
            }
        }
    }

    /// Answers an UPDATE with 200.
    pub(super) fn answer_update(
        &mut self,
        now: Instant,
        id: LegId,
        server: ServerId,
        sdp: Option<Vec<u8>>,
        headers: &Headers,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.update_server = None;
        let contact = leg.contact.clone();
        if let Some(sdp) = &sdp {
            leg.sdp.clone_from(sdp);
        }
        let mut answer = Answer {
            code: 200,
            fields: self.dialog_fields(server, &contact),
            sdp,
            reason: None,
        };
        fields::add(&mut answer.fields, headers, None, &self.metrics);
        self.put_session(now, id, server, &mut answer);
        self.respond(now, server, answer);
        self.arm_leg(id);
    }
}
