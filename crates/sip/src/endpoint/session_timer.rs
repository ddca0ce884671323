//! Session timers (RFC 4028): a call whose other side has gone without a word ends.
//!
//! Whoever calls proposes an interval and the 2xx says who refreshes: by UPDATE where the remote takes it, else by a
//! re-INVITE that offers what holds. Both sides hang up shortly before the interval has passed without a refresh.

use std::time::{Duration, Instant};

use voex_sip_wire::{Header, HeaderFields, Method, Params, Request, Response};

use super::client::Purpose;
use super::leg::{Ending, Leg, LegState};
use super::server::Answer;
use super::{Endpoint, ServerId, fields};
use crate::{Headers, LegId};

/// Shortest interval that we take (RFC 4028 §5 wants no less).
pub(super) const MIN_SE: Duration = Duration::from_secs(90);
/// Shortest interval that we keep to where the remote has the last word.
const KEPT_SE: Duration = Duration::from_secs(10);
/// Longest interval; a longer one is as good as none.
const MAX_SE: Duration = Duration::from_secs(24 * 3_600);
/// How long before the end we hang up, at most.
const HANGUP_BEFORE: Duration = Duration::from_secs(32);
/// When a refresh that was refused, or would have met another request, is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The timer of an answered call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    interval: Duration,
    /// We refresh; else the remote does.
    is_ours: bool,
    refresh_at: Option<Instant>,
    end_at: Instant,
}

/// What a message says of the timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SessionExpires {
    interval: Duration,
    /// Whether the side that sent the request refreshes, when it says so.
    is_requesters: Option<bool>,
}

impl Session {
    fn new(now: Instant, interval: Duration, is_ours: bool) -> Self {
        Self {
            interval,
            is_ours,
            refresh_at: is_ours.then(|| now + interval / 2),
            end_at: now + interval - HANGUP_BEFORE.min(interval / 3),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.refresh_at.map_or(self.end_at, |at| at.min(self.end_at))
    }
}

impl SessionExpires {
    fn of(headers: &HeaderFields) -> Option<Self> {
        let value = headers.get(Header::SessionExpires)?;
        let (seconds, params) = value.split_at(value.find(';').unwrap_or(value.len()));
        let interval = Duration::from_secs(u64::from(seconds.trim().parse::<u32>().ok()?));
        let params = Params::parse_header(params).ok();
        let refresher = params.as_ref().and_then(|params| params.value("refresher"));
        let is_requesters = match refresher {
            Some(side) if side.eq_ignore_ascii_case("uac") => Some(true),
            Some(side) if side.eq_ignore_ascii_case("uas") => Some(false),
            _ => None,
        };
        let interval = interval.min(MAX_SE);
        Some(Self {
            interval,
            is_requesters,
        })
    }
}

impl Leg {
    /// What we propose in a request that makes or refreshes the session.
    pub(super) fn propose_session(&self, request: &mut Request) {
        let refresher = match self.session {
            Some(Session { is_ours: true, .. }) => ";refresher=uac",
            Some(_) => ";refresher=uas",
            None => "",
        };
        let seconds = self.session_interval.as_secs();
        request
            .headers
            .push(Header::SessionExpires, format!("{seconds}{refresher}"));
        if let Some(least) = self.session_least {
            request.headers.push(Header::MinSe, least.as_secs().to_string());
        }
    }

    /// What the answer to a request of ours says of the timer: nothing there, no timer.
    pub(super) fn take_session(&mut self, now: Instant, response: &HeaderFields) {
        self.session = SessionExpires::of(response).map(|said| {
            let interval = said.interval.max(KEPT_SE);
            self.session_interval = interval.max(MIN_SE);
            Session::new(now, interval, said.is_requesters.unwrap_or(true))
        });
    }

    /// Takes what a request of theirs says of the timer, and adds what our 2xx says.
    fn answer_session(&mut self, now: Instant, request: &HeaderFields, answer: &mut HeaderFields) {
        self.session = None;
        // One that is too short is a proxy's for a caller without timers: it could not ask for a longer one, and we may
        // not answer with one (RFC 4028 §9).
        let said = SessionExpires::of(request).filter(|said| said.interval >= MIN_SE);
        let Some(said) = said else { return };
        let is_theirs = said.is_requesters.unwrap_or(true) && fields::supports(request, "timer");
        let interval = said.interval;
        let refresher = if is_theirs { "uac" } else { "uas" };
        let value = format!("{};refresher={refresher}", interval.as_secs());
        answer.push(Header::SessionExpires, value);
        if is_theirs {
            answer.push(Header::Require, "timer");
        }
        self.session_interval = interval;
        self.session = Some(Session::new(now, interval, !is_theirs));
    }
}

/// Refuses an interval that is too short, where the caller could ask for a longer one (RFC 4028 §9).
pub(super) fn check_session(request: &HeaderFields) -> Result<(), Answer> {
    let is_short = SessionExpires::of(request).is_some_and(|said| said.interval < MIN_SE);
    if !is_short || !fields::supports(request, "timer") {
        return Ok(());
    }
    let mut fields = HeaderFields::new();
    fields.push(Header::MinSe, MIN_SE.as_secs().to_string());
    Err(Answer {
        code: 422,
        fields,
        ..Answer::default()
    })
}

/// The least interval that a 422 asks for.
pub(super) fn least_interval(response: &Response) -> Option<Duration> {
    let value = response.headers.get(Header::MinSe)?;
    let seconds = value.split(';').next()?.trim().parse::<u32>().ok()?;
    Some(Duration::from_secs(u64::from(seconds))).filter(|least| *least <= MAX_SE)
}

impl Endpoint {
    /// Adds to a 2xx of ours what it says of the timer, which then runs.
    pub(super) fn put_session(&mut self, now: Instant, id: LegId, server: ServerId, answer: &mut Answer) {
        let request = self.servers.get(&server).map(|server| &server.request);
        if let Some((leg, request)) = self.legs.get_mut(&id).zip(request) {
            leg.answer_session(now, request, &mut answer.fields);
            leg.note_allow(request);
        }
    }

    /// The time of refreshing or of the end has come, or neither yet.
    pub(super) fn handle_session_timeout(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.state == LegState::Established) else {
            return;
        };
        let Some(session) = &mut leg.session else { return };
        if session.end_at <= now {
            leg.session = None;
            self.refuse_open_reinvite(now, id);
            return self.send_bye(now, id, Ending::session_expired());
        }
        if session.refresh_at.is_some_and(|at| at <= now) {
            session.refresh_at = Some(now + RETRY);
            self.refresh_session(now, id);
        }
    }

    fn refresh_session(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.has_invite_under_way() || leg.is_updating {
            return;
        }
        if leg.allows_update {
            leg.is_updating = true;
            return self.send_in_dialog(now, id, Method::Update, Purpose::Update(id), |_, _| {});
        }
        leg.is_refreshing = true;
        let sdp = leg.sdp.clone();
        self.reinvite(now, id, sdp, Headers::new());
    }

    /// The answer to our UPDATE, or none.
    pub(super) fn handle_update_response(&mut self, now: Instant, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.is_updating = false;
        if leg.state != LegState::Established {
            return;
        }
        match response.code {
            200..=299 => {
                leg.dialog.refresh_target(&response.headers);
                leg.take_session(now, &response.headers);
            }
            408 | 481 => return self.send_bye(now, id, Ending::timeout()),
            // Whatever Allow said: a re-INVITE every telephone knows.
            405 | 420 | 501 => {
                leg.allows_update = false;
                return self.refresh_session(now, id);
            }
            _ => {}
        }
        self.arm_leg(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: &str) -> Option<(u64, Option<bool>)> {
        let mut headers = HeaderFields::new();
        headers.push(Header::SessionExpires, value);
        SessionExpires::of(&headers).map(|said| (said.interval.as_secs(), said.is_requesters))
    }

    #[test]
    fn the_interval_and_who_refreshes_are_read() {
        assert_eq!(said("1800"), Some((1_800, None)));
        assert_eq!(said("90 ; refresher=UAC"), Some((90, Some(true))));
        assert_eq!(said("4294967295;refresher=uas"), Some((86_400, Some(false))));
        assert_eq!(said("soon;refresher=uas"), None);
    }

    #[test]
    fn who_does_not_refresh_hangs_up_a_little_before_the_end() {
        let now = Instant::now();
        let after = |seconds: u64, is_ours: bool| {
            let session = Session::new(now, Duration::from_secs(seconds), is_ours);
            (session.deadline() - now).as_secs()
        };
        assert_eq!(after(1_800, false), 1_768);
        assert_eq!(after(90, false), 60);
        assert_eq!(after(90, true), 45, "who refreshes does at half time");
    }
}
