//! Calls that we make (RFC 3261 §13.2, §9.1).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use voex_sip_wire::{CSeq, Essentials, Header, Method, NameAddr, Request, Response, Uri, is_call_id};

use super::client::{Hop, Lookup, Outgoing, Purpose, first_hop};
use super::leg::{Ending, Leg, LegState, SentAck};
use super::server::TAG_LENGTH;
use super::{ClientId, Endpoint, fields};
use crate::dialog::Dialog;
use crate::metrics::MethodLabel;
use crate::{CallSpec, EndCause, Event, LegId};

impl Endpoint {
    pub(super) fn call(&mut self, now: Instant, spec: CallSpec) {
        let id = spec.leg;
        if self.legs.contains_key(&id) || id.is_incoming() {
            return self.ignore_command();
        }
        if self.legs.len() >= self.config.limits.legs_max {
            return self.end_unborn(id, 503, "Service Unavailable");
        }
        let leg = match self.new_outgoing_leg(now, &spec) {
            Ok(leg) => leg,
            Err((code, reason)) => {
                if let Some(refer) = spec.refer {
                    self.note_refer(refer, code, reason);
                }
                return self.end_unborn(id, code, reason);
            }
        };
        self.insert_leg(id, leg);
        let metrics = self.metrics.clone();
        self.send_in_dialog(now, id, Method::Invite, Purpose::Invite(id), |request, leg| {
            fields::add(&mut request.headers, &spec.headers, None, &metrics);
            put_sdp(request, &leg.sdp);
        });
    }

    fn new_outgoing_leg(&mut self, now: Instant, spec: &CallSpec) -> Result<Leg, (u16, &'static str)> {
        let account = self.accounts.get(&spec.account).ok_or((480, "No Such Account"))?;
        let target = Uri::parse(&spec.uri).map_err(|_| (400, "Bad URI"))?;
        if target.as_sip().is_some_and(|sip| sip.headers.is_some()) {
            return Err((400, "Header Fields In URI"));
        }
        if spec.call_id.as_deref().is_some_and(|id| !is_call_id(id)) {
            return Err((400, "Bad Call-ID"));
        }
        let call_id = spec.call_id.clone().unwrap_or_else(|| self.rng.token(TAG_LENGTH));
        let mut local = account.identity();
        local.params.set("tag", Some(self.rng.token(TAG_LENGTH)));
        let first_cseq = self.rng.below(1 << 16) as u32;
        let dialog = Dialog::to_call(call_id, local, target, account.outbound_proxy.clone(), first_cseq);
        let probe = dialog.request(Method::Invite, first_cseq);
        let socket = self
            .account_socket(account, first_hop(&probe).as_ref())
            .ok_or((503, "No Route"))?;
        let contact = account.contact(socket.advertised).to_string();
        let mut leg = Leg::new(LegState::Calling, dialog, socket.id, contact);
        leg.user_agent = account
            .spec
            .user_agent
            .clone()
            .unwrap_or_else(|| self.config.user_agent.clone());
        leg.credentials = spec.credentials.clone().or_else(|| account.spec.credentials.clone());
        leg.sdp = spec.sdp.clone();
        leg.auto_answer_reinvites = spec.auto_answer_reinvites;
        leg.session_interval = self.config.timers.session;
        leg.refer = spec.refer;
        leg.give_up_at = Some(now + self.config.timers.ring);
        Ok(leg)
    }

    pub(super) fn handle_invite_response(
        &mut self,
        now: Instant,
        id: LegId,
        client: ClientId,
        from: SocketAddr,
        response: Response,
        parts: &Essentials,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return self.drop_fork(now, client, &response, parts, from);
        };
        match (response.code, leg.state) {
            (100..=199, LegState::Calling | LegState::Proceeding) => {
                leg.state = LegState::Proceeding;
                if self.is_news(id, &response, parts) {
                    self.take_provisional(now, id, response, parts);
                }
            }
            (100..=199, LegState::CancelWaiting) => {
                let ending = leg.ending.take().unwrap_or_else(Ending::timeout);
                self.send_cancel(now, id, ending);
            }
            (100..=199, _) => {}
            (200..=299, LegState::Calling | LegState::Proceeding) => {
                self.confirm(now, id, client, from, &response, parts);
                self.report_answer(id, response);
            }
            (200..=299, LegState::CancelWaiting | LegState::Cancelling) => {
                let ending = leg.ending.take().unwrap_or_else(Ending::timeout);
                self.confirm(now, id, client, from, &response, parts);
                self.send_bye(now, id, ending);
            }
            (200..=299, _) if leg.dialog.remote.tag() == parts.to.tag() => self.repeat_ack(id),
            (200..=299, _) => self.drop_fork(now, client, &response, parts, from),
            _ => self.invite_failed(now, id, response),
        }
    }

    /// A final refusal of our INVITE, or nobody there.
    pub(super) fn invite_failed(&mut self, _now: Instant, id: LegId, response: Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.invite_client = None;
        let silent = response.headers.is_empty();
        let cause = match leg.ending.take() {
            Some(ending) if silent || matches!(response.code, 401 | 407) => {
                return self.end_leg(id, ending.cause, ending.code, ending.reason, None);
            }
            Some(ending) if response.code == 487 => ending.cause,
            None if silent && response.code == 408 => EndCause::Timeout,
            None if silent => EndCause::Local,
            _ => EndCause::Refused,
        };
        self.end_leg(id, cause, response.code, &response.reason, Some(&response.headers));
    }

    fn take_provisional(&mut self, now: Instant, leg: LegId, response: Response, parts: &Essentials) {
        if response.code == 100 {
            return;
        }
        if let Some(leg) = self.legs.get_mut(&leg).filter(|_| parts.to.tag().is_some()) {
            leg.dialog.learn(&response.headers, &parts.to);
            leg.note_allow(&response.headers);
        }
        self.acknowledge_provisional(now, leg, &response, parts);
        if let Some(refer) = self.legs.get(&leg).and_then(|leg| leg.refer) {
            self.note_refer(refer, response.code, &response.reason);
        }
        let headers = fields::reported(&response.headers);
        let sdp = fields::sdp(&response.headers, response.body);
        let (code, reason) = (response.code, response.reason);
        self.event(Event::Provisional {
            leg,
            code,
            reason,
            sdp,
            headers,
        });
    }

    fn report_answer(&mut self, id: LegId, response: Response) {
        if let Some(refer) = self.legs.get_mut(&id).and_then(|leg| leg.refer.take()) {
            self.note_refer(refer, response.code, &response.reason);
        }
        let remote = self.legs.get(&id).map(|leg| leg.dialog.remote.uri.to_string());
        let headers = fields::reported(&response.headers);
        let sdp = fields::sdp(&response.headers, response.body);
        let remote = remote.unwrap_or_default();
        self.event(Event::Answered {
            leg: id,
            sdp,
            remote,
            headers,
        });
    }

    /// Takes the dialog from a 200 and sends its ACK.
    fn confirm(
        &mut self,
        now: Instant,
        id: LegId,
        client: ClientId,
        from: SocketAddr,
        response: &Response,
        parts: &Essentials,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.dialog.learn(&response.headers, &parts.to);
        leg.note_allow(&response.headers);
        leg.take_session(now, &response.headers);
        leg.state = LegState::Established;
        (leg.give_up_at, leg.invite_client) = (None, None);
        self.arm_leg(id);
        self.acknowledge(now, id, client, from, &parts.cseq);
    }

    /// Sends the ACK for a 200 to our INVITE or re-INVITE. It carries the INVITE's answers to challenges
    /// (RFC 3261 §22.1).
    pub(super) fn acknowledge(&mut self, now: Instant, id: LegId, client: ClientId, from: SocketAddr, cseq: &CSeq) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.ack = None;
        let mut ack = leg.dialog.request(Method::Ack, cseq.number);
        if let Some(client) = self.clients.get(&client) {
            for header in [Header::Authorization, Header::ProxyAuthorization] {
                let values = client.outgoing.request.headers.all(header);
                values.for_each(|value| ack.headers.push(header, value));
            }
        }
        match first_hop(&ack) {
            Some(Hop::Address(to)) => self.send_ack(id, ack, to),
            Some(Hop::Name(host, port)) => self.look_up(now, Lookup::Ack(id, Box::new(ack), from), host, port),
            None => self.send_ack(id, ack, from),
        }
    }

    pub(super) fn send_ack(&mut self, id: LegId, mut ack: Request, to: SocketAddr) {
        let Some(socket) = self.legs.get(&id).map(|leg| leg.socket) else {
            return;
        };
        let Some(listen) = self.socket_towards(to, Some(socket)) else {
            return;
        };
        self.put_via(&mut ack, listen.advertised);
        let bytes = ack.to_bytes();
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.socket = listen.id;
            leg.ack = Some(SentAck { bytes, to });
        }
        self.metrics.requests_out.of(MethodLabel::Ack).inc();
        self.repeat_ack(id);
    }

    /// Sends our last ACK (again).
    pub(super) fn repeat_ack(&mut self, id: LegId) {
        let sent = self
            .legs
            .get(&id)
            .and_then(|leg| leg.ack.as_ref().map(|ack| (leg.socket, ack.to, ack.bytes.clone())));
        if let Some((socket, to, bytes)) = sent {
            self.transmit(socket, to, bytes);
        }
    }

    /// A 200 that nobody waits for (a second fork, or one after we gave up): ACK, then BYE. Sent where the 200 came
    /// from when its own route needs a look-up.
    fn drop_fork(&mut self, now: Instant, id: ClientId, response: &Response, parts: &Essentials, from: SocketAddr) {
        if !(200..=299).contains(&response.code) {
            return;
        }
        let Some(client) = self.clients.get(&id) else { return };
        let (wanted, target) = (client.socket, client.outgoing.request.uri.clone());
        let mut dialog = Dialog::to_call(
            parts.call_id.clone(),
            parts.from.clone(),
            target,
            None,
            parts.cseq.number,
        );
        dialog.learn(&response.headers, &parts.to);
        let mut ack = dialog.request(Method::Ack, parts.cseq.number);
        let to = match first_hop(&ack) {
            Some(Hop::Address(to)) => to,
            _ => from,
        };
        let Some(listen) = self.socket_towards(to, Some(wanted)) else {
            return;
        };
        self.put_via(&mut ack, listen.advertised);
        self.metrics.requests_out.of(MethodLabel::Ack).inc();
        self.transmit(listen.id, to, ack.to_bytes());
        let request = dialog.request(Method::Bye, parts.cseq.number + 1);
        let (purpose, socket) = (Purpose::StrayBye, Some(listen.id));
        self.send_request(
            now,
            Outgoing {
                request,
                purpose,
                socket,
                challenges: 0,
            },
        );
    }

    /// Sends CANCEL for an INVITE that has a provisional answer, and waits 64 x T1 for the final one.
    pub(super) fn send_cancel(&mut self, now: Instant, id: LegId, ending: Ending) {
        let limit = now + self.config.timers.t1 * 64;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.state = LegState::Cancelling;
        leg.give_up_at = Some(limit);
        let headers = ending.headers.clone();
        leg.ending = Some(ending);
        let client = leg.invite_client;
        self.arm_leg(id);
        let Some(client) = client.and_then(|client| self.clients.get(&client)) else {
            return;
        };
        let (branch, to) = (client.branch.clone(), client.to);
        let Some(listen) = self.socket_towards(to, Some(client.socket)) else {
            return;
        };
        let mut request = cancel(&client.outgoing.request);
        fields::add(&mut request.headers, &headers, None, &self.metrics);
        let (purpose, socket) = (Purpose::Cancel, Some(listen.id));
        let outgoing = Outgoing {
            request,
            purpose,
            socket,
            challenges: 0,
        };
        self.start_client_at(now, outgoing, branch, (listen, to), VecDeque::new());
    }
}

/// Makes the CANCEL of an INVITE, without Via (RFC 3261 §9.1).
fn cancel(invite: &Request) -> Request {
    let mut request = Request::new(Method::Cancel, invite.uri.clone());
    for header in [
        Header::Route,
        Header::MaxForwards,
        Header::From,
        Header::To,
        Header::CallId,
    ] {
        for value in invite.headers.all(header) {
            request.headers.push(header, value);
        }
    }
    let number = invite.headers.get(Header::CSeq).and_then(|cseq| cseq.split(' ').next());
    request
        .headers
        .push(Header::CSeq, format!("{} CANCEL", number.unwrap_or_default()));
    request
}

/// Puts SDP into a request.
pub(super) fn put_sdp(request: &mut Request, sdp: &[u8]) {
    request.headers.push(Header::ContentType, fields::SDP);
    request.body = sdp.to_vec();
}

/// Makes a From of ours.
pub(super) fn identity(aor: &Uri, display_name: Option<&str>) -> NameAddr {
    match display_name {
        Some(name) => NameAddr::with_display_name(aor.clone(), name),
        None => NameAddr::new(aor.clone()),
    }
}
