//! A leg: one INVITE, the dialog it makes, and everything under way in it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use voex_base::SocketId;
use voex_sip_wire::{Header, HeaderFields, Method, Request, Response};

use super::client::{Outgoing, Purpose};
use super::reliable::Reliability;
use super::server::Source;
use super::session_timer::Session;
use super::{ClientId, Endpoint, ServerId, TimerOwner, fields};
use crate::dialog::Dialog;
use crate::digest::DigestState;
use crate::{Credentials, EndCause, Ended, Event, Headers, LegId, ReferId};

/// A leg of a call.
pub(super) struct Leg {
    pub(super) state: LegState,
    pub(super) dialog: Dialog,
    pub(super) socket: SocketId,
    /// Our Contact value.
    pub(super) contact: String,
    pub(super) user_agent: String,
    pub(super) credentials: Option<Credentials>,
    pub(super) digest: DigestState,
    /// The SDP of ours that holds.
    pub(super) sdp: Vec<u8>,
    /// What our re-INVITE under way offers, and the fields added to it.
    pub(super) offer: Option<(Vec<u8>, Headers)>,
    pub(super) auto_answer_reinvites: bool,
    /// The transaction of our INVITE, from its sending to its final answer.
    pub(super) invite_client: Option<ClientId>,
    /// The transaction of their INVITE, until our final answer.
    pub(super) invite_server: Option<ServerId>,
    /// Our 200 to their INVITE, until its ACK.
    pub(super) unacked: Option<Unacked>,
    /// Our ACK to their 200, to be sent again with each of its repeats.
    pub(super) ack: Option<SentAck>,
    /// When ringing or cancelling has lasted too long.
    pub(super) give_up_at: Option<Instant>,
    /// When the last provisional answer is sent again (RFC 3261 §13.3.1.1).
    pub(super) remind_at: Option<Instant>,
    /// How provisional answers are sent and taken.
    pub(super) reliability: Reliability,
    /// An UPDATE of theirs that waits for our answer.
    pub(super) update_server: Option<ServerId>,
    /// The remote takes UPDATE.
    pub(super) allows_update: bool,
    /// What ends the call when nobody refreshes it.
    pub(super) session: Option<Session>,
    /// The interval that we propose for it, and the least that the remote takes, where it has said so.
    pub(super) session_interval: Duration,
    pub(super) session_least: Option<Duration>,
    /// An UPDATE or a re-INVITE of ours is under way that only refreshes: nobody waits for its answer.
    pub(super) is_updating: bool,
    pub(super) is_refreshing: bool,
    /// The transfer that this call of ours follows, until it is answered or refused.
    pub(super) refer: Option<ReferId>,
    /// The remote has asked for a transfer before.
    pub(super) was_referred: bool,
    /// A re-INVITE of ours that met one of theirs, and when to try again.
    pub(super) retry: Option<Retry>,
    /// How the leg will have ended once the last answer is in.
    pub(super) ending: Option<Ending>,
}

/// ```text
///  Calling ──1xx──► Proceeding ──2xx──► Established ──Hangup──► Terminating ──► (gone)
///     │ Hangup          │ Hangup             ▲
///     ▼                 ▼                    │ ACK
///  CancelWaiting ─1xx─► Cancelling        Accepted ◄──Accept── Incoming
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LegState {
    /// Our INVITE has no answer yet.
    Calling,
    /// To be cancelled as soon as a provisional answer comes.
    CancelWaiting,
    /// Our INVITE has a provisional answer.
    Proceeding,
    /// CANCEL has been sent.
    Cancelling,
    /// Their INVITE waits for our final answer.
    Incoming,
    /// Our 200 waits for its ACK.
    Accepted,
    /// Both sides are in the call.
    Established,
    /// BYE has been sent.
    Terminating,
}

/// A 200 to INVITE that is repeated until its ACK comes (RFC 3261 §13.3.1.4).
pub(super) struct Unacked {
    pub(super) bytes: Vec<u8>,
    pub(super) source: Source,
    pub(super) cseq: u32,
    pub(super) interval: Duration,
    pub(super) next_at: Instant,
    pub(super) give_up_at: Instant,
    /// The INVITE had no offer, so the ACK carries the answer.
    pub(super) offerless: bool,
}

/// An ACK as sent.
pub(super) struct SentAck {
    pub(super) bytes: Vec<u8>,
    pub(super) to: SocketAddr,
}

/// A re-INVITE to try again.
pub(super) struct Retry {
    pub(super) at: Instant,
    pub(super) sdp: Vec<u8>,
    pub(super) headers: Headers,
}

/// How a leg ends, kept until the remote has agreed.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) cause: EndCause,
    pub(super) code: u16,
    pub(super) reason: &'static str,
    /// Fields for the BYE or CANCEL that is still to be sent.
    pub(super) headers: Headers,
}

impl Ending {
    pub(super) fn by_bye(headers: Headers) -> Self {
        let (cause, code, reason) = (EndCause::ByeByUs, 200, "to BYE");
        Self {
            cause,
            code,
            reason,
            headers,
        }
    }

    pub(super) fn cancelled(headers: Headers) -> Self {
        let (cause, code, reason) = (EndCause::CancelledByUs, 487, "Request Terminated");
        Self {
            cause,
            code,
            reason,
            headers,
        }
    }

    /// Nobody refreshed the session (RFC 4028 §10).
    pub(super) fn session_expired() -> Self {
        let reason = r#"SIP;cause=408;text="Session expired""#;
        Self {
            cause: EndCause::Timeout,
            code: 408,
            reason: "Session Expired",
            headers: vec![("Reason".to_owned(), reason.to_owned())],
        }
    }

    pub(super) fn timeout() -> Self {
        let (cause, code, reason) = (EndCause::Timeout, 408, "Request Timeout");
        Self {
            cause,
            code,
            reason,
            headers: Headers::new(),
        }
    }
}

impl Leg {
    pub(super) fn new(state: LegState, dialog: Dialog, socket: SocketId, contact: String) -> Self {
        Self {
            state,
            dialog,
            socket,
            contact,
            user_agent: String::new(),
            credentials: None,
            digest: DigestState::default(),
            sdp: Vec::new(),
            offer: None,
            auto_answer_reinvites: false,
            invite_client: None,
            invite_server: None,
            unacked: None,
            ack: None,
            give_up_at: None,
            remind_at: None,
            reliability: Reliability::default(),
            update_server: None,
            allows_update: false,
            session: None,
            session_interval: Duration::ZERO,
            session_least: None,
            is_updating: false,
            is_refreshing: false,
            refer: None,
            was_referred: false,
            retry: None,
            ending: None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let unacked = self
            .unacked
            .as_ref()
            .map(|unacked| unacked.next_at.min(unacked.give_up_at));
        let retry = self.retry.as_ref().map(|retry| retry.at);
        let session = self.session.as_ref().map(Session::deadline);
        let session = session.filter(|_| self.state == LegState::Established);
        let reliable = self.reliability.deadline();
        [self.give_up_at, self.remind_at, unacked, retry, session, reliable]
            .into_iter()
            .flatten()
            .min()
    }

    /// Notes whether the remote takes UPDATE, when it says what it takes.
    pub(super) fn note_allow(&mut self, headers: &HeaderFields) {
        if headers.get(Header::Allow).is_some() {
            self.allows_update = fields::has(headers, Header::Allow, "UPDATE");
        }
    }

    /// Says whether an INVITE transaction is under way in either direction (RFC 3261 §14.1).
    pub(super) fn has_invite_under_way(&self) -> bool {
        self.invite_client.is_some() || self.invite_server.is_some() || self.unacked.is_some()
    }
}

impl Endpoint {
    pub(super) fn insert_leg(&mut self, id: LegId, leg: Leg) {
        self.legs_by_tag.insert(leg.dialog.local_tag().to_owned(), id);
        self.legs.insert(id, leg);
        self.count_legs();
        self.arm_leg(id);
    }

    fn count_legs(&self) {
        self.metrics
            .dialogs
            .set(i64::try_from(self.legs.len()).unwrap_or(i64::MAX));
    }

    pub(super) fn arm_leg(&mut self, id: LegId) {
        let deadline = self.legs.get(&id).and_then(Leg::deadline);
        self.timers.arm(TimerOwner::Leg(id), deadline);
    }

    /// Sends a request within the dialog, with our answers to challenges met before.
    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        id: LegId,
        method: Method,
        purpose: Purpose,
        dress: impl FnOnce(&mut Request, &Leg),
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let cseq = leg.dialog.next_cseq();
        let mut request = leg.dialog.request(method, cseq);
        if matches!(purpose, Purpose::Invite(_) | Purpose::Reinvite(_) | Purpose::Update(_)) {
            request.headers.push(Header::Contact, leg.contact.as_str());
            request.headers.push(Header::Allow, fields::ALLOW);
            request.headers.push(Header::Supported, fields::SUPPORTED.join(", "));
            leg.propose_session(&mut request);
        }
        request.headers.push(Header::UserAgent, leg.user_agent.as_str());
        dress(&mut request, leg);
        if let Some(credentials) = &leg.credentials {
            leg.digest.authorize(&mut request, credentials, &mut self.rng);
        }
        let socket = Some(leg.socket);
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

    /// Sends BYE; the leg ends with its answer.
    pub(super) fn send_bye(&mut self, now: Instant, id: LegId, ending: Ending) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.state = LegState::Terminating;
        (leg.give_up_at, leg.remind_at, leg.retry) = (None, None, None);
        let headers = ending.headers.clone();
        leg.ending = Some(ending);
        self.arm_leg(id);
        let metrics = self.metrics.clone();
        self.send_in_dialog(now, id, Method::Bye, Purpose::Bye(id), |request, _| {
            fields::add(&mut request.headers, &headers, None, &metrics);
        });
    }

    /// The answer to our BYE, or none.
    pub(super) fn finish_leg(&mut self, id: LegId, response: Response) {
        let ending = self.legs.get(&id).and_then(|leg| leg.ending.clone());
        let ending = ending.unwrap_or_else(|| Ending::by_bye(Headers::new()));
        self.end_leg(id, ending.cause, ending.code, ending.reason, Some(&response.headers));
    }

    /// Forgets the leg and reports it. An INVITE of ours that is still open is given up.
    pub(super) fn end_leg(&mut self, id: LegId, cause: EndCause, code: u16, reason: &str, last: Option<&HeaderFields>) {
        let Some(leg) = self.legs.remove(&id) else { return };
        self.legs_by_tag.remove(leg.dialog.local_tag());
        self.forget_refers(id);
        if let Some(refer) = leg.refer {
            self.note_refer(refer, code.max(300), reason);
        }
        self.timers.arm(TimerOwner::Leg(id), None);
        let open = leg
            .invite_client
            .filter(|id| self.clients.get(id).is_some_and(|client| client.is_pending_invite()));
        if let Some(client) = open {
            self.remove_client(client);
        }
        self.count_legs();
        let ended = Ended {
            leg: id,
            cause,
            code,
            reason: reason.to_owned(),
            reason_header: last.and_then(fields::reason),
            headers: last.map(fields::reported).unwrap_or_default(),
        };
        self.event(Event::Ended(Box::new(ended)));
    }

    /// A leg that never began.
    pub(super) fn end_unborn(&mut self, leg: LegId, code: u16, reason: &str) {
        let ended = Ended {
            leg,
            cause: EndCause::Local,
            code,
            reason: reason.to_owned(),
            reason_header: None,
            headers: Headers::new(),
        };
        self.event(Event::Ended(Box::new(ended)));
    }

    /// Hangs up in whatever state.
    pub(super) fn hangup(&mut self, now: Instant, id: LegId, headers: Headers) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return self.ignore_command();
        };
        match leg.state {
            LegState::Calling if leg.invite_client.is_none() => {
                self.end_leg(id, EndCause::CancelledByUs, 487, "Request Terminated", None);
            }
            LegState::Calling => {
                leg.state = LegState::CancelWaiting;
                leg.ending = Some(Ending::cancelled(headers));
            }
            LegState::Proceeding => self.send_cancel(now, id, Ending::cancelled(headers)),
            LegState::Incoming => self.decline(now, id, 480, None, &headers),
            // No BYE before the ACK (RFC 3261 §15); its absence ends the leg as well.
            LegState::Accepted => leg.ending = Some(Ending::by_bye(headers)),
            LegState::Established => {
                self.refuse_open_reinvite(now, id);
                self.send_bye(now, id, Ending::by_bye(headers));
            }
            LegState::CancelWaiting | LegState::Cancelling | LegState::Terminating => self.ignore_command(),
        }
    }

    pub(super) fn handle_leg_timeout(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (gave_up, remind) = (due(leg.give_up_at), due(leg.remind_at));
        let unacked = leg
            .unacked
            .as_ref()
            .map(|unacked| unacked.next_at.min(unacked.give_up_at));
        let retry = leg.retry.as_ref().map(|retry| retry.at);
        let (unacked, retry) = (due(unacked), due(retry));
        if gave_up {
            self.give_up(now, id);
        }
        if remind {
            self.remind(now, id);
        }
        if unacked {
            self.repeat_unacked(now, id);
        }
        if retry {
            self.retry_reinvite(now, id);
        }
        self.handle_reliable_timeout(now, id);
        self.handle_session_timeout(now, id);
        self.arm_leg(id);
    }

    /// Ringing or cancelling has lasted too long.
    fn give_up(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.give_up_at = None;
        match leg.state {
            LegState::Calling => self.end_leg(id, EndCause::Timeout, 408, "Request Timeout", None),
            LegState::Proceeding => self.send_cancel(now, id, Ending::timeout()),
            LegState::Incoming => self.refuse_leg(now, id, 480, None, &Headers::new(), EndCause::Timeout),
            LegState::CancelWaiting | LegState::Cancelling => {
                let ending = leg.ending.take().unwrap_or_else(Ending::timeout);
                self.end_leg(id, ending.cause, ending.code, ending.reason, None);
            }
            LegState::Accepted | LegState::Established | LegState::Terminating => {}
        }
    }

    /// Sends the 200 again; without an ACK in 64 x T1 the call is ended (RFC 3261 §13.3.1.4).
    fn repeat_unacked(&mut self, now: Instant, id: LegId) {
        let t2 = self.config.timers.t2;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(unacked) = &mut leg.unacked else { return };
        if unacked.give_up_at <= now {
            leg.unacked = None;
            if leg.state != LegState::Terminating {
                let ending = leg.ending.take().unwrap_or_else(Ending::timeout);
                self.send_bye(now, id, ending);
            }
            return;
        }
        unacked.interval = (unacked.interval * 2).min(t2);
        unacked.next_at = now + unacked.interval;
        let (source, bytes) = (unacked.source, unacked.bytes.clone());
        self.metrics.retransmissions.inc();
        self.transmit(source.socket, source.address, bytes);
    }
}
