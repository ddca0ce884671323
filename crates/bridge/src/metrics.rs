//! Counters of calls.

use voex_base::{Counter, CounterSet, Gauge, Label};

/// Figures of all calls between SIP and WebRTC.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Calls that exist now, ringing ones included.
    pub calls: Gauge,
    /// Calls made towards SIP.
    pub outgoing: Counter,
    /// Calls taken from SIP, refused ones included.
    pub incoming: Counter,
    /// Calls that were answered.
    pub answered: Counter,
    /// Calls that ended unanswered, by SIP status code.
    pub failed: CounterSet<Failure>,
}

impl Metrics {
    /// Counts a call that begins.
    pub fn began(&self, outgoing: bool) {
        if outgoing { &self.outgoing } else { &self.incoming }.inc();
        self.calls.add(1);
    }

    /// Counts the end of a call; `code` tells why an unanswered one failed.
    pub fn ended(&self, answered: bool, code: u16) {
        self.calls.add(-1);
        if !answered {
            self.failed.of(Failure::of(code)).inc();
        }
    }
}

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// SIP status codes that calls fail with.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Failure { $($(#[$doc])* $variant,)* }

        impl Label for Failure {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

failures! {
    /// Any 3xx.
    Redirected "3xx",
    /// 400 Bad Request.
    BadRequest "400",
    /// 401 and 407: credentials missing or wrong.
    Unauthorized "401",
    /// 403 Forbidden.
    Forbidden "403",
    /// 404 Not Found.
    NotFound "404",
    /// 408 Request Timeout.
    Timeout "408",
    /// 480 Temporarily Unavailable.
    Unavailable "480",
    /// 486 Busy Here.
    Busy "486",
    /// 487 Request Terminated: cancelled.
    Cancelled "487",
    /// 488 Not Acceptable Here: no common format.
    NotAcceptable "488",
    /// Any other 4xx.
    Client "4xx",
    /// 503 Service Unavailable.
    Overloaded "503",
    /// Any other 5xx.
    Server "5xx",
    /// 603 Decline.
    Declined "603",
    /// Any other 6xx.
    Global "6xx",
    /// Any other code.
    Other "other",
}

impl Failure {
    /// Gives the label of a status code.
    pub fn of(code: u16) -> Self {
        match (code, code / 100) {
            (400, _) => Self::BadRequest,
            (401 | 407, _) => Self::Unauthorized,
            (403, _) => Self::Forbidden,
            (404, _) => Self::NotFound,
            (408, _) => Self::Timeout,
            (480, _) => Self::Unavailable,
            (486, _) => Self::Busy,
            (487, _) => Self::Cancelled,
            (488, _) => Self::NotAcceptable,
            (503, _) => Self::Overloaded,
            (603, _) => Self::Declined,
            (_, 3) => Self::Redirected,
            (_, 4) => Self::Client,
            (_, 5) => Self::Server,
            (_, 6) => Self::Global,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_never_answered_counts_under_its_code() {
        let metrics = Metrics::default();
        metrics.began(true);
        metrics.ended(false, 486);
        metrics.began(false);
        metrics.ended(true, 200);
        assert_eq!(
            (
                metrics.outgoing.value(),
                metrics.incoming.value(),
                metrics.calls.value()
            ),
            (1, 1, 0)
        );
        let failed: Vec<_> = metrics.failed.values().filter(|(_, count)| *count > 0).collect();
        assert_eq!(failed, [("486", 1)]);
    }
}
