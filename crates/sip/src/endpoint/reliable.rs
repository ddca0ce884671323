//! Provisional answers that are acknowledged (RFC 3262): ours, repeated until their PRACK, and theirs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use voex_sip_wire::{Essentials, Header, HeaderFields, Method, Request, Response};

use super::client::Purpose;
use super::leg::{Leg, LegState};
use super::server::{Answer, Source};
use super::{Endpoint, fields};
use crate::{EndCause, Headers, LegId};

/// Answers that wait for the PRACK of the one before; more are left out.
const WAITING_MAX: usize = 8;
/// Forks of a call of ours whose provisional answers are followed; those of others are not acknowledged.
const FORKS_MAX: usize = 16;

/// How provisional answers of a leg are sent and taken.
#[derive(Default)]
pub(super) struct Reliability {
    /// What the caller says: it can, or it must.
    is_supported: bool,
    is_required: bool,
    /// The INVITE had no offer, so a reliable answer would have to be one.
    is_offerless: bool,
    last_rseq: u32,
    unacked: Option<Unacked>,
    /// The PRACK for the last one has not come, and a 200 has been sent since.
    is_late: bool,
    waiting: VecDeque<Waiting>,
    /// Last sequence number by the tag of each fork.
    theirs: Vec<(String, u32)>,
}

/// A provisional answer of ours that waits for its PRACK.
struct Unacked {
    source: Source,
    bytes: Vec<u8>,
    has_sdp: bool,
    interval: Duration,
    next_at: Instant,
    give_up_at: Instant,
}

/// What is to be sent after it.
enum Waiting {
    Provisional(u16, Option<Vec<u8>>, Headers),
    Accept(Vec<u8>, Headers),
}

impl Reliability {
    pub(super) fn of_invite(request: &Request, first_rseq: u32) -> Self {
        let is_required = fields::requires(&request.headers, "100rel");
        Self {
            is_supported: is_required || fields::supports(&request.headers, "100rel"),
            is_required,
            is_offerless: !fields::is_sdp(&request.headers),
            last_rseq: first_rseq,
            ..Self::default()
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let unacked = self.unacked.as_ref();
        unacked.map(|unacked| unacked.next_at.min(unacked.give_up_at))
    }

    /// Early media is worth an acknowledgement, where the caller can give it.
    fn is_for(&self, sdp: Option<&Vec<u8>>) -> bool {
        self.is_required || (self.is_supported && !self.is_offerless && sdp.is_some())
    }

    /// Whether a final answer has to wait: not before the answer in a provisional one has arrived (RFC 3262 §3).
    fn holds_back(&self) -> bool {
        self.unacked.as_ref().is_some_and(|unacked| unacked.has_sdp)
    }

    fn wait(&mut self, what: Waiting) -> bool {
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.push_back(what);
        }
        has_room
    }

    /// Notes a provisional answer of theirs; false when it came before, or out of order.
    fn takes(&mut self, tag: &str, rseq: u32) -> bool {
        let is_full = self.theirs.len() >= FORKS_MAX;
        match self.theirs.iter_mut().find(|(fork, _)| fork == tag) {
            Some((_, last)) if rseq == last.wrapping_add(1) => *last = rseq,
            None if !is_full => self.theirs.push((tag.to_owned(), rseq)),
            _ => return false,
        }
        true
    }
}

/// The sequence number of a provisional answer that wants a PRACK.
fn rseq(response: &Response) -> Option<u32> {
    let is_reliable = response.code > 100 && fields::requires(&response.headers, "100rel");
    let number = response.headers.get(Header::RSeq).filter(|_| is_reliable)?;
    number.trim().parse().ok()
}

impl Endpoint {
    /// Sends 180 or 183, once the one before has arrived.
    pub(super) fn provisional(&mut self, now: Instant, id: LegId, code: u16, sdp: Option<Vec<u8>>, headers: &Headers) {
        let Some((server, mut answer)) = self.answer_to_invite(id, code, headers) else {
            return self.ignore_command();
        };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let reliability = &mut leg.reliability;
        if !reliability.is_for(sdp.as_ref()) {
            answer.sdp = sdp;
            self.respond(now, server, answer);
            return self.remind_later(now, id);
        }
        if reliability.unacked.is_some() {
            if !reliability.wait(Waiting::Provisional(code, sdp, headers.clone())) {
                self.ignore_command();
            }
            return;
        }
        answer.sdp = sdp.filter(|_| !reliability.is_offerless);
        reliability.last_rseq += 1;
        answer.fields.push(Header::Require, "100rel");
        answer.fields.push(Header::RSeq, reliability.last_rseq.to_string());
        let has_sdp = answer.sdp.is_some();
        let bytes = self.respond(now, server, answer);
        let source = self.servers.get(&server).map(|server| server.source);
        let t1 = self.config.timers.t1;
        let sent = bytes.zip(source).map(|(bytes, source)| Unacked {
            source,
            bytes,
            has_sdp,
            interval: t1,
            next_at: now + t1,
            give_up_at: now + t1 * 64,
        });
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.reliability.unacked = sent;
        }
        self.remind_later(now, id);
    }

    /// Keeps a 200 back until the PRACK for early media has come. True: it will follow.
    pub(super) fn keeps_back(&mut self, id: LegId, sdp: &[u8], headers: &Headers) -> bool {
        let leg = self.legs.get_mut(&id).filter(|leg| leg.state == LegState::Incoming);
        let Some(reliability) = leg.map(|leg| &mut leg.reliability) else {
            return false;
        };
        if reliability.holds_back() {
            return reliability.wait(Waiting::Accept(sdp.to_vec(), headers.clone()));
        }
        reliability.is_late = reliability.unacked.take().is_some();
        reliability.waiting.clear();
        false
    }

    /// Sends the unacknowledged answer again; without a PRACK in 64 x T1 the call is refused (RFC 3262 §3).
    pub(super) fn handle_reliable_timeout(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(unacked) = &mut leg.reliability.unacked else {
            return;
        };
        if leg.state != LegState::Incoming {
            leg.reliability.unacked = None;
            return;
        }
        if unacked.give_up_at <= now {
            return self.refuse_leg(now, id, 504, None, &Headers::new(), EndCause::Timeout);
        }
        if unacked.next_at <= now {
            unacked.interval *= 2;
            unacked.next_at = now + unacked.interval;
            let (source, bytes) = (unacked.source, unacked.bytes.clone());
            self.metrics.retransmissions.inc();
            self.transmit(source.socket, source.address, bytes);
        }
    }

    /// Their PRACK.
    pub(super) fn handle_prack(
        &mut self,
        now: Instant,
        source: Source,
        id: LegId,
        request: &Request,
        parts: &Essentials,
    ) {
        let acked = request.headers.get(Header::RAck).unwrap_or_default();
        let words: Vec<_> = acked.split_ascii_whitespace().collect();
        let fits = |leg: &&mut Leg| {
            let rseq = leg.reliability.last_rseq.to_string();
            let cseq = leg.dialog.invite_cseq.to_string();
            let is_awaited = leg.reliability.unacked.is_some() || leg.reliability.is_late;
            is_awaited && words == [rseq.as_str(), cseq.as_str(), "INVITE"]
        };
        let Some(leg) = self.legs.get_mut(&id).filter(fits) else {
            return self.answer_simply(now, source, request, parts, 481);
        };
        leg.reliability.unacked = None;
        leg.reliability.is_late = false;
        let next = leg.reliability.waiting.pop_front();
        // Offers are exchanged by INVITE, re-INVITE and UPDATE here.
        let code = if request.body.is_empty() { 200 } else { 488 };
        self.answer_simply(now, source, request, parts, code);
        match next {
            Some(Waiting::Provisional(code, sdp, headers)) => self.provisional(now, id, code, sdp, &headers),
            Some(Waiting::Accept(sdp, headers)) => self.accept(now, id, sdp, &headers),
            None => {}
        }
        self.arm_leg(id);
    }

    fn answer_simply(&mut self, now: Instant, source: Source, request: &Request, parts: &Essentials, code: u16) {
        let fields = HeaderFields::new();
        let answer = Answer {
            code,
            fields,
            ..Answer::default()
        };
        self.answer(now, source, request, parts, answer);
    }

    /// Whether a provisional answer to our INVITE is news; a reliable one is when it comes in order.
    pub(super) fn is_news(&mut self, id: LegId, response: &Response, parts: &Essentials) -> bool {
        let Some(number) = rseq(response) else { return true };
        let tag = parts.to.tag().unwrap_or_default();
        self.legs
            .get_mut(&id)
            .is_some_and(|leg| leg.reliability.takes(tag, number))
    }

    /// Acknowledges a provisional answer, in the early dialog that it has just made.
    pub(super) fn acknowledge_provisional(&mut self, now: Instant, id: LegId, response: &Response, parts: &Essentials) {
        let Some(number) = rseq(response).filter(|_| parts.to.tag().is_some()) else {
            return;
        };
        let acked = format!("{number} {} INVITE", parts.cseq.number);
        self.send_in_dialog(now, id, Method::Prack, Purpose::Prack(id), |request, _| {
            request.headers.push(Header::RAck, acked);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provisional_answers_of_each_fork_are_taken_once_and_in_order() {
        let mut reliability = Reliability::default();
        let taken = [("a", 7), ("a", 7), ("b", 3), ("a", 9), ("a", 8), ("a", 9), ("b", 4)]
            .map(|(tag, rseq)| reliability.takes(tag, rseq));
        assert_eq!(taken, [true, false, true, false, true, true, true]);
        for fork in 2..FORKS_MAX {
            assert!(reliability.takes(&fork.to_string(), 1));
        }
        assert!(!reliability.takes("one too many", 1));
    }
}
