//! INVITE within a dialog, either way (RFC 3261 §14).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voex_sip_wire::{Essentials, Header, HeaderFields, Method, Request, Response};

use super::call_out::put_sdp;
use super::client::Purpose;
use super::leg::{Ending, LegState, Retry};
use super::receive::check_invite_body;
use super::server::{Answer, Source};
use super::session_timer::check_session;
use super::{ClientId, Endpoint, fields};
use crate::{Event, Headers, LegId};

impl Endpoint {
    /// Their re-INVITE.
    pub(super) fn handle_reinvite(
        &mut self,
        now: Instant,
        source: Source,
        id: LegId,
        request: Request,
        parts: &Essentials,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let tag = leg.dialog.local_tag().to_owned();
        let answer = if leg.invite_server.is_some() || leg.unacked.is_some() {
            let mut fields = HeaderFields::new();
            fields.push(Header::RetryAfter, self.rng.below(11).to_string());
            Err(Answer {
                code: 500,
                fields,
                ..Answer::default()
            })
        } else if leg.invite_client.is_some() {
            Err(Answer {
                code: 491,
                ..Answer::default()
            })
        } else if leg.state != LegState::Established {
            Err(Answer {
                code: 481,
                ..Answer::default()
            })
        } else {
            check_invite_body(&request).and_then(|()| check_session(&request.headers))
        };
        let server = self.start_invite_server(now, source, &request, parts, tag);
        if let Err(answer) = answer {
            self.respond(now, server, answer);
            return;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.dialog.refresh_target(&request.headers);
        leg.dialog.invite_cseq = parts.cseq.number;
        leg.invite_server = Some(server);
        let answered = leg.auto_answer_reinvites;
        let sdp = leg.sdp.clone();
        let headers = fields::reported(&request.headers);
        let offer = fields::sdp(&request.headers, request.body);
        self.event(Event::Reinvite {
            leg: id,
            sdp: offer,
            answered,
            headers,
        });
        if answered {
            self.answer_reinvite(now, id, Ok(sdp), &Headers::new());
        }
    }

    pub(super) fn answer_reinvite(&mut self, now: Instant, id: LegId, answer: Result<Vec<u8>, u16>, headers: &Headers) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.state == LegState::Established) else {
            return self.ignore_command();
        };
        if let Some(server) = leg.update_server.take() {
            return self.answer_pending_update(now, id, server, answer, headers);
        }
        let Some(server) = leg.invite_server else {
            return self.ignore_command();
        };
        let contact = leg.contact.clone();
        match answer {
            Ok(sdp) => {
                leg.sdp.clone_from(&sdp);
                let mut fields = self.dialog_fields(server, &contact);
                fields::add(&mut fields, headers, None, &self.metrics);
                let (code, sdp) = (200, Some(sdp));
                self.respond_until_acked(
                    now,
                    id,
                    server,
                    Answer {
                        code,
                        fields,
                        sdp,
                        reason: None,
                    },
                );
            }
            Err(code) => {
                leg.invite_server = None;
                let code = if (300..=699).contains(&code) { code } else { 488 };
                let mut fields = HeaderFields::new();
                fields::add(&mut fields, headers, None, &self.metrics);
                self.respond(
                    now,
                    server,
                    Answer {
                        code,
                        fields,
                        ..Answer::default()
                    },
                );
            }
        }
    }

    /// A re-INVITE or UPDATE that nobody answered before the call ended.
    pub(super) fn refuse_open_reinvite(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        for server in [leg.invite_server.take(), leg.update_server.take()]
            .into_iter()
            .flatten()
        {
            self.respond(
                now,
                server,
                Answer {
                    code: 487,
                    ..Answer::default()
                },
            );
        }
    }

    /// Our re-INVITE.
    pub(super) fn reinvite(&mut self, now: Instant, id: LegId, sdp: Vec<u8>, headers: Headers) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.state == LegState::Established) else {
            return self.ignore_command();
        };
        if leg.has_invite_under_way() {
            return self.retry_later(now, id, sdp, headers);
        }
        leg.retry = None;
        leg.offer = Some((sdp.clone(), headers.clone()));
        let metrics = self.metrics.clone();
        self.send_in_dialog(now, id, Method::Invite, Purpose::Reinvite(id), |request, _| {
            fields::add(&mut request.headers, &headers, None, &metrics);
            put_sdp(request, &sdp);
        });
        self.arm_leg(id);
    }

    /// Who made the Call-ID waits 2.1-4 s, the other up to 2 s, in steps of 10 ms (RFC 3261 §14.1).
    fn retry_later(&mut self, now: Instant, id: LegId, sdp: Vec<u8>, headers: Headers) {
        let steps = if id.is_incoming() {
            self.rng.below(201)
        } else {
            210 + self.rng.below(191)
        };
        let at = now + Duration::from_millis(10 * steps);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.retry = Some(Retry { at, sdp, headers });
            self.arm_leg(id);
        }
    }

    pub(super) fn retry_reinvite(&mut self, now: Instant, id: LegId) {
        let retry = self.legs.get_mut(&id).and_then(|leg| leg.retry.take());
        if let Some(Retry { sdp, headers, .. }) = retry {
            self.reinvite(now, id, sdp, headers);
        }
    }

    pub(super) fn handle_reinvite_response(
        &mut self,
        now: Instant,
        id: LegId,
        client: ClientId,
        from: SocketAddr,
        response: Response,
        parts: &Essentials,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match response.code {
            0..=199 => {}
            200..=299 if leg.invite_client.is_none() => self.repeat_ack(id),
            200..=299 => {
                leg.invite_client = None;
                if let Some((sdp, _)) = leg.offer.take() {
                    leg.sdp = sdp;
                }
                leg.dialog.refresh_target(&response.headers);
                leg.note_allow(&response.headers);
                leg.take_session(now, &response.headers);
                let is_refresh = std::mem::take(&mut leg.is_refreshing);
                let terminating = leg.state == LegState::Terminating;
                self.acknowledge(now, id, client, from, &parts.cseq);
                self.arm_leg(id);
                if !terminating && !is_refresh {
                    let headers = fields::reported(&response.headers);
                    let sdp = fields::sdp(&response.headers, response.body);
                    self.event(Event::ReinviteAnswered { leg: id, sdp, headers });
                }
            }
            491 => {
                leg.invite_client = None;
                let is_refresh = std::mem::take(&mut leg.is_refreshing);
                let is_again = leg.state == LegState::Established && !is_refresh;
                if let Some((sdp, headers)) = leg.offer.take().filter(|_| is_again) {
                    self.retry_later(now, id, sdp, headers);
                }
            }
            _ => self.reinvite_failed(now, id, response),
        }
    }

    /// Refused, or nobody there. 408 and 481 end the call (RFC 3261 §12.2.1.2).
    pub(super) fn reinvite_failed(&mut self, now: Instant, id: LegId, response: Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        (leg.invite_client, leg.offer) = (None, None);
        let is_refresh = std::mem::take(&mut leg.is_refreshing);
        if leg.state != LegState::Established {
            return;
        }
        if matches!(response.code, 408 | 481) {
            return self.send_bye(now, id, Ending::timeout());
        }
        if is_refresh {
            return;
        }
        let (code, reason) = (response.code, response.reason);
        self.event(Event::ReinviteFailed { leg: id, code, reason });
    }
}
