//! Calls that come to us (RFC 3261 §13.3, §9.2).

use std::time::{Duration, Instant};

use voex_sip_wire::{Essentials, Header, HeaderFields, Request, Uri};

use super::leg::{Leg, LegState, Unacked};
use super::receive::check_invite_body;
use super::reliable::Reliability;
use super::server::{Answer, Source, TAG_LENGTH};
use super::session_timer::check_session;
use super::{Endpoint, ServerId, fields};
use crate::dialog::Dialog;
use crate::{AccountId, EndCause, Event, Headers, IncomingCall, LegId};

/// How often a provisional answer is repeated while a call rings, so that no proxy gives up.
const REMIND: Duration = Duration::from_secs(60);

impl Endpoint {
    /// An INVITE outside dialogs, from somebody who may call.
    pub(super) fn handle_new_invite(&mut self, now: Instant, source: Source, request: Request, parts: &Essentials) {
        if let Err(answer) = check_invite_body(&request).and_then(|()| check_session(&request.headers)) {
            return self.refuse_with(source, &request.headers, answer);
        }
        let tag = self.rng.token(TAG_LENGTH);
        let cseq = self.rng.below(1 << 16) as u32;
        let dialog = match Dialog::of_invite(&request, parts, &tag, cseq) {
            Ok(dialog) => dialog,
            Err(error) => {
                let (code, reason) = (error.status(), Some(error.to_string()));
                return self.refuse_with(
                    source,
                    &request.headers,
                    Answer {
                        code,
                        reason,
                        ..Answer::default()
                    },
                );
            }
        };
        let Some(account) = self.find_callee(&request.uri, parts, source) else {
            return self.refuse(source, &request, 404);
        };
        let limits = self.config.limits;
        if self.legs.len() >= limits.legs_max || self.servers.len() >= limits.transactions_max {
            return self.refuse(source, &request, 503);
        }
        let server = self.start_invite_server(now, source, &request, parts, tag);
        self.insert_incoming_leg(now, account, dialog, server, source, request, parts);
    }

    /// By the user of the Request-URI, then of To, then whoever takes all. Among several, one whose own hosts the
    /// call comes from is preferred.
    fn find_callee(&self, request_uri: &Uri, parts: &Essentials, source: Source) -> Option<AccountId> {
        let users = [request_uri.user(), parts.to.uri.user()];
        let by_user = users.into_iter().flatten().find_map(|user| {
            let all = (user.clone(), AccountId(u64::MIN))..=(user, AccountId(u64::MAX));
            let named = || self.accounts_by_user.range(all.clone()).map(|(_, id)| *id).rev();
            named()
                .find(|id| self.is_host_of(*id, source.address))
                .or_else(|| named().next())
        });
        by_user.or_else(|| {
            let all = || self.catch_all.iter().copied();
            all()
                .find(|id| self.is_host_of(*id, source.address))
                .or_else(|| all().next())
        })
    }

    #[allow(clippy::too_many_arguments, reason = "everything that came with one INVITE")]
    fn insert_incoming_leg(
        &mut self,
        now: Instant,
        account: AccountId,
        dialog: Dialog,
        server: ServerId,
        source: Source,
        request: Request,
        parts: &Essentials,
    ) {
        let id = LegId(LegId::INCOMING_FIRST + self.next_id());
        let first_rseq = self.rng.below(1 << 16) as u32;
        let Some(owner) = self.accounts.get(&account) else {
            return;
        };
        let listen = self.config.listen.iter().find(|listen| listen.id == source.socket);
        let contact = listen
            .map(|listen| owner.contact(listen.advertised).to_string())
            .unwrap_or_default();
        let mut leg = Leg::new(LegState::Incoming, dialog, source.socket, contact);
        leg.user_agent = owner
            .spec
            .user_agent
            .clone()
            .unwrap_or_else(|| self.config.user_agent.clone());
        leg.credentials = owner.spec.credentials.clone();
        leg.note_allow(&request.headers);
        leg.session_interval = self.config.timers.session;
        leg.reliability = Reliability::of_invite(&request, first_rseq);
        leg.invite_server = Some(server);
        leg.give_up_at = Some(now + self.config.timers.ring);
        self.insert_leg(id, leg);
        let call = IncomingCall {
            leg: id,
            account,
            from: parts.from.uri.to_string(),
            display_name: parts.from.display_name.clone(),
            callee: parts.to.uri.to_string(),
            request_uri: request.uri.to_string(),
            call_id: parts.call_id.clone(),
            headers: fields::reported(&request.headers),
            sdp: fields::sdp(&request.headers, request.body),
            source: source.address,
            socket: source.socket,
        };
        self.event(Event::IncomingCall(Box::new(call)));
    }

    /// A call that rings says so again after a while.
    pub(super) fn remind_later(&mut self, now: Instant, id: LegId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.remind_at = Some(now + REMIND);
            self.arm_leg(id);
        }
    }

    pub(super) fn remind(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.remind_at = (leg.state == LegState::Incoming).then_some(now + REMIND);
        if let Some(server) = leg.invite_server {
            self.respond_again(server);
        }
    }

    pub(super) fn accept(&mut self, now: Instant, id: LegId, sdp: Vec<u8>, headers: &Headers) {
        if self.keeps_back(id, &sdp, headers) {
            return;
        }
        let Some((server, mut answer)) = self.answer_to_invite(id, 200, headers) else {
            return self.ignore_command();
        };
        answer.sdp = Some(sdp.clone());
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.state = LegState::Accepted;
            leg.sdp = sdp;
            (leg.give_up_at, leg.remind_at) = (None, None);
        }
        self.respond_until_acked(now, id, server, answer);
    }

    /// Makes an answer to the INVITE that began the leg; `None` unless it still waits for one.
    pub(super) fn answer_to_invite(&self, id: LegId, code: u16, headers: &Headers) -> Option<(ServerId, Answer)> {
        let leg = self.legs.get(&id).filter(|leg| leg.state == LegState::Incoming)?;
        let server = leg.invite_server?;
        let mut fields = self.dialog_fields(server, &leg.contact);
        fields::add(&mut fields, headers, None, &self.metrics);
        Some((
            server,
            Answer {
                code,
                fields,
                ..Answer::default()
            },
        ))
    }

    /// Gives what every answer that makes a dialog carries: Record-Route as received, and our Contact.
    pub(super) fn dialog_fields(&self, server: ServerId, contact: &str) -> HeaderFields {
        let mut fields = HeaderFields::new();
        let routes = self
            .server_request(server)
            .into_iter()
            .flat_map(|request| request.all(Header::RecordRoute));
        routes.for_each(|route| fields.push(Header::RecordRoute, route));
        fields.push(Header::Contact, contact);
        fields
    }

    /// Sends a 200 to INVITE and keeps it for repeating until its ACK comes.
    pub(super) fn respond_until_acked(&mut self, now: Instant, id: LegId, server: ServerId, mut answer: Answer) {
        let timers = self.config.timers;
        self.put_session(now, id, server, &mut answer);
        let request = self.server_request(server);
        let offerless = request.is_some_and(|request| !fields::is_sdp(request));
        let Some(bytes) = self.respond(now, server, answer) else {
            return;
        };
        let source = self.servers.get(&server).map(|server| server.source);
        let Some((leg, source)) = self.legs.get_mut(&id).zip(source) else {
            return;
        };
        leg.invite_server = None;
        leg.unacked = Some(Unacked {
            bytes,
            source,
            cseq: leg.dialog.invite_cseq,
            interval: timers.t1,
            next_at: now + timers.t1,
            give_up_at: now + timers.t1 * 64,
            offerless,
        });
        self.arm_leg(id);
    }

    pub(super) fn decline(&mut self, now: Instant, id: LegId, code: u16, reason: Option<String>, headers: &Headers) {
        let code = if (300..=699).contains(&code) { code } else { 486 };
        self.refuse_leg(now, id, code, reason, headers, EndCause::Declined);
    }

    /// Refuses the INVITE that began the leg, and ends the leg.
    pub(super) fn refuse_leg(
        &mut self,
        now: Instant,
        id: LegId,
        code: u16,
        reason: Option<String>,
        headers: &Headers,
        cause: EndCause,
    ) {
        let leg = self.legs.get(&id).filter(|leg| leg.state == LegState::Incoming);
        let Some(server) = leg.and_then(|leg| leg.invite_server) else {
            return self.ignore_command();
        };
        let mut fields = HeaderFields::new();
        fields::add(&mut fields, headers, Some(Header::Contact), &self.metrics);
        let phrase = reason
            .clone()
            .unwrap_or_else(|| voex_sip_wire::reason_phrase(code).to_owned());
        self.respond(
            now,
            server,
            Answer {
                code,
                reason,
                fields,
                sdp: None,
            },
        );
        self.end_leg(id, cause, code, &phrase, None);
    }

    /// CANCEL: answered itself with 200, its INVITE with 487 if that still waits (RFC 3261 §9.2).
    pub(super) fn handle_cancel(
        &mut self,
        now: Instant,
        source: Source,
        invite: Option<ServerId>,
        request: &Request,
        parts: &Essentials,
    ) {
        let Some(invite) = invite else {
            if !self.turns_away(source, request) {
                self.refuse(source, request, 481);
            }
            return;
        };
        let code = 200;
        self.respond_stateless(
            source,
            &request.headers,
            Answer {
                code,
                ..Answer::default()
            },
        );
        if !self.is_proceeding(invite) {
            return;
        }
        let code = 487;
        self.respond(
            now,
            invite,
            Answer {
                code,
                ..Answer::default()
            },
        );
        let leg = self.leg_of_invite(invite, parts);
        match leg.and_then(|id| Some((id, self.legs.get_mut(&id)?))) {
            Some((id, leg)) if leg.state == LegState::Incoming => {
                self.end_leg(
                    id,
                    EndCause::CancelledByRemote,
                    487,
                    "Request Terminated",
                    Some(&request.headers),
                );
            }
            Some((_, leg)) => leg.invite_server = None,
            None => {}
        }
    }

    fn leg_of_invite(&self, invite: ServerId, parts: &Essentials) -> Option<LegId> {
        let tag = &self.servers.get(&invite)?.to_tag;
        let id = self.legs_by_tag.get(parts.to.tag().unwrap_or(tag))?;
        let leg = self.legs.get(id)?;
        (leg.invite_server == Some(invite)).then_some(*id)
    }

    /// Deals with the ACK for a 200 of ours.
    pub(super) fn handle_ack(&mut self, now: Instant, request: Request, parts: &Essentials) {
        let found = self.find_leg(parts).and_then(|id| Some((id, self.legs.get_mut(&id)?)));
        let fits = |leg: &Leg| {
            leg.unacked
                .as_ref()
                .is_some_and(|unacked| unacked.cseq == parts.cseq.number)
        };
        let Some((id, leg)) = found.filter(|(_, leg)| fits(leg)) else {
            return self.metrics.dropped.of(crate::metrics::DropReason::StrayAck).inc();
        };
        let offerless = leg.unacked.take().is_some_and(|unacked| unacked.offerless);
        let ending = leg.ending.take().filter(|_| leg.state == LegState::Accepted);
        if leg.state == LegState::Accepted {
            leg.state = LegState::Established;
        }
        let terminating = leg.state == LegState::Terminating;
        self.arm_leg(id);
        if let Some(ending) = ending {
            return self.send_bye(now, id, ending);
        }
        if !terminating {
            let sdp = fields::sdp(&request.headers, request.body).filter(|_| offerless);
            self.event(Event::Confirmed { leg: id, sdp });
        }
    }

    /// Finds the leg of a request within a dialog: Call-ID and both tags must fit (RFC 3261 §12.2.2).
    pub(super) fn find_leg(&self, parts: &Essentials) -> Option<LegId> {
        let id = *self.legs_by_tag.get(parts.to.tag()?)?;
        let dialog = &self.legs.get(&id)?.dialog;
        let fits = dialog.call_id == parts.call_id && dialog.remote.tag() == parts.from.tag();
        fits.then_some(id)
    }
}
