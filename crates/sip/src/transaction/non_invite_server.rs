//! Non-INVITE server transaction (RFC 3261 §17.2.2). This endpoint sends no provisional responses to them, and
//! answers most at once: Trying takes no time, or lasts until the application has answered an UPDATE, and the machine
//! begins in Completed. A repeat before the answer is absorbed by the endpoint, which has nothing to send again.

use std::time::Instant;

use super::ServerAction;
use crate::TimerConfig;

/// ```text
///  (request, final response) ──► Completed ──J──► Terminated
/// ```
#[derive(Debug)]
pub(crate) struct NonInviteServer {
    /// Timer J; `None` once terminated.
    end_at: Option<Instant>,
}

impl NonInviteServer {
    /// Starts when the final response has been sent.
    pub(crate) fn new(now: Instant, timers: TimerConfig) -> Self {
        Self {
            end_at: Some(now + timers.t1 * 64),
        }
    }

    /// The request came again.
    pub(crate) fn handle_retransmission(&self) -> ServerAction {
        self.end_at.map_or(ServerAction::Nothing, |_| ServerAction::Respond)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> ServerAction {
        if self.end_at.is_some_and(|at| at <= now) {
            self.end_at = None;
            return ServerAction::Terminated;
        }
        ServerAction::Nothing
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.end_at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn repeats_get_the_same_answer_until_timer_j() {
        let now = Instant::now();
        let mut server = NonInviteServer::new(now, TimerConfig::default());
        let end = now + Duration::from_secs(32);
        assert_eq!(server.deadline(), Some(end));
        assert_eq!(
            server.handle_timeout(end - Duration::from_millis(1)),
            ServerAction::Nothing
        );
        assert_eq!(server.handle_retransmission(), ServerAction::Respond);
        assert_eq!(server.handle_timeout(end), ServerAction::Terminated);
        assert_eq!(server.handle_retransmission(), ServerAction::Nothing);
    }
}
