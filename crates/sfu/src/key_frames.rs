//! When to ask a sender for a key frame.

use std::time::Instant;

use crate::limits::{KEY_FRAME_INTERVAL, KEY_FRAME_RETRY};

/// Throttles requests to one sender: one at once, then one an interval, and again while somebody waits.
#[derive(Default)]
pub(crate) struct KeyFrameRequests {
    asked_at: Option<Instant>,
    /// Somebody asked since the last request went out.
    is_pending: bool,
    /// When to look again.
    look_at: Option<Instant>,
    /// Of FIR (RFC 5104 §4.3.1.1).
    pub(crate) command: u8,
}

impl KeyFrameRequests {
    /// Notes a wish for a key frame.
    pub(crate) fn want(&mut self, now: Instant) {
        self.is_pending = true;
        let throttled_until = self.asked_at.map_or(now, |at| at + KEY_FRAME_INTERVAL);
        let due = throttled_until.max(now);
        self.look_at = Some(self.look_at.map_or(due, |at| at.min(due)));
    }

    /// Whether a request goes out now. `somebody_waits`: a subscription cannot start without a key frame.
    pub(crate) fn is_due(&self, now: Instant, somebody_waits: bool) -> bool {
        self.look_at.is_some_and(|at| at <= now) && (self.is_pending || somebody_waits)
    }

    /// Notes that a request went out.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
        self.is_pending = false;
        self.look_at = Some(now + KEY_FRAME_RETRY);
    }

    /// Notes that a request could not go out yet: the sender's SSRC is not known, or its transport is not up.
    pub(crate) fn postpone(&mut self, now: Instant) {
        self.look_at = Some(now + KEY_FRAME_INTERVAL);
    }

    /// Notes that nobody wants one.
    pub(crate) fn rest(&mut self) {
        self.look_at = None;
    }

    /// Notes that a key frame came: wishes from before are fulfilled.
    pub(crate) fn arrived(&mut self) {
        self.is_pending = false;
    }

    /// When to look again.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.look_at
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use std::time::Duration;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_wish_goes_out_at_once_and_the_second_waits() {
        let now = Instant::now();
        let mut requests = KeyFrameRequests::default();
        requests.want(now);
        assert!(requests.is_due(now, false));
        requests.asked(now);
        requests.want(now + ms(100));
        assert!(!requests.is_due(now + ms(100), true));
        assert_eq!(requests.next_at(), Some(now + KEY_FRAME_INTERVAL));
        assert!(requests.is_due(now + KEY_FRAME_INTERVAL, false));
    }

    #[test]
    fn a_request_is_repeated_only_while_somebody_waits() {
        let now = Instant::now();
        let mut requests = KeyFrameRequests::default();
        requests.want(now);
        requests.asked(now);
        assert!(requests.is_due(now + KEY_FRAME_RETRY, true));
        assert!(!requests.is_due(now + KEY_FRAME_RETRY, false));
    }

    #[test]
    fn a_key_frame_fulfils_wishes_that_were_throttled() {
        let now = Instant::now();
        let mut requests = KeyFrameRequests::default();
        requests.want(now);
        requests.asked(now);
        requests.want(now + ms(10));
        requests.arrived();
        assert!(!requests.is_due(now + KEY_FRAME_INTERVAL, false));
    }
}
