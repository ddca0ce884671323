//! INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §8.7).

use std::time::{Duration, Instant};

use crate::TimerConfig;

/// What a server transaction asks of the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ServerAction {
    /// Nothing.
    Nothing,
    /// Send the last response (again).
    Respond,
    /// The transaction has ended.
    Terminated,
}

/// ```text
///  Proceeding ──2xx──► Accepted ──L──► Terminated          (the 2xx is repeated by the leg, until its ACK)
///      └──────3xx+──► Completed ──ACK──► Confirmed ──I──► Terminated
///                      │ G: respond again
///                      └ H: terminated
/// ```
#[derive(Debug)]
pub(crate) struct InviteServer {
    state: State,
    timers: TimerConfig,
    /// Timer G.
    retransmit_at: Option<Instant>,
    interval: Duration,
    /// Timer H in Completed, I in Confirmed, L in Accepted.
    end_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

impl InviteServer {
    /// Starts when the INVITE has come.
    pub(crate) fn new(timers: TimerConfig) -> Self {
        Self {
            state: State::Proceeding,
            timers,
            retransmit_at: None,
            interval: timers.t1,
            end_at: None,
        }
    }

    /// Says whether a final response may still be chosen.
    pub(crate) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// The INVITE came again. In Accepted it is absorbed: the leg repeats the 2xx by its own timer.
    pub(crate) fn handle_retransmission(&mut self) -> ServerAction {
        match self.state {
            State::Proceeding | State::Completed => ServerAction::Respond,
            State::Accepted | State::Confirmed | State::Terminated => ServerAction::Nothing,
        }
    }

    /// The user answers.
    pub(crate) fn respond(&mut self, now: Instant, code: u16) -> ServerAction {
        match (self.state, code) {
            (State::Proceeding, 100..=199) => ServerAction::Respond,
            (State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.end_at = Some(now + self.timers.t1 * 64);
                ServerAction::Respond
            }
            (State::Proceeding, _) => {
                self.state = State::Completed;
                self.retransmit_at = Some(now + self.timers.t1);
                self.end_at = Some(now + self.timers.t1 * 64);
                ServerAction::Respond
            }
            _ => ServerAction::Nothing,
        }
    }

    /// ACK for a refusal.
    pub(crate) fn handle_ack(&mut self, now: Instant) {
        if self.state == State::Completed {
            self.state = State::Confirmed;
            self.retransmit_at = None;
            self.end_at = Some(now + self.timers.t4);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> ServerAction {
        if self.end_at.is_some_and(|at| at <= now) {
            self.state = State::Terminated;
            (self.retransmit_at, self.end_at) = (None, None);
            return ServerAction::Terminated;
        }
        if self.retransmit_at.is_some_and(|at| at <= now) {
            self.interval = (self.interval * 2).min(self.timers.t2);
            self.retransmit_at = Some(now + self.interval);
            return ServerAction::Respond;
        }
        ServerAction::Nothing
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retransmit_at.into_iter().chain(self.end_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: Instant, server: &mut InviteServer) -> Vec<(u128, ServerAction)> {
        let mut trace = Vec::new();
        while let Some(at) = server.deadline() {
            assert_eq!(
                server.handle_timeout(at - Duration::from_millis(1)),
                ServerAction::Nothing
            );
            trace.push(((at - start).as_millis(), server.handle_timeout(at)));
        }
        trace
    }

    #[test]
    fn timer_g_repeats_a_refusal_up_to_t2_until_timer_h_gives_up() {
        let now = Instant::now();
        let mut server = InviteServer::new(TimerConfig::default());
        assert_eq!(server.respond(now, 486), ServerAction::Respond);
        let times = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        let mut expected: Vec<_> = times.map(|at| (at, ServerAction::Respond)).to_vec();
        expected.push((32_000, ServerAction::Terminated));
        assert_eq!(run(now, &mut server), expected);
    }

    #[test]
    fn the_ack_stops_the_repeats_and_timer_i_ends_it() {
        let now = Instant::now();
        let mut server = InviteServer::new(TimerConfig::default());
        server.respond(now, 486);
        server.handle_ack(now);
        assert_eq!(server.handle_retransmission(), ServerAction::Nothing);
        assert_eq!(run(now, &mut server), [(5_000, ServerAction::Terminated)]);
    }

    #[test]
    fn a_repeated_invite_gets_the_last_response_but_not_the_200() {
        let now = Instant::now();
        let mut server = InviteServer::new(TimerConfig::default());
        assert_eq!(server.respond(now, 180), ServerAction::Respond);
        assert_eq!(server.handle_retransmission(), ServerAction::Respond);
        assert_eq!(server.respond(now, 200), ServerAction::Respond);
        assert_eq!(server.handle_retransmission(), ServerAction::Nothing);
        assert_eq!(server.respond(now, 486), ServerAction::Nothing);
        assert_eq!(run(now, &mut server), [(32_000, ServerAction::Terminated)]);
    }

    #[test]
    fn an_ack_before_the_final_response_changes_nothing() {
        let mut server = InviteServer::new(TimerConfig::default());
        server.handle_ack(Instant::now());
        assert!(server.is_proceeding());
        assert_eq!(server.deadline(), None);
    }
}
