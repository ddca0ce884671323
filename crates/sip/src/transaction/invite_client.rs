//! INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §8.4).

use std::time::{Duration, Instant};

use super::ClientAction;
use crate::TimerConfig;

/// ```text
///  Calling ──1xx──► Proceeding
///     │ A: retransmit   │
///     │ B: timed out    ├──2xx──► Accepted ──M──► Terminated
///     ├─────────────────┴─3xx+──► Completed ──D──► Terminated
/// ```
#[derive(Debug)]
pub(crate) struct InviteClient {
    state: State,
    timers: TimerConfig,
    /// Timer A.
    retransmit_at: Option<Instant>,
    interval: Duration,
    /// Timer B in Calling, D in Completed, M in Accepted.
    end_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

/// Least value of timer D over UDP.
const TIMER_D: Duration = Duration::from_secs(32);

impl InviteClient {
    /// Starts when the request has been sent.
    pub(crate) fn new(now: Instant, timers: TimerConfig) -> Self {
        Self {
            state: State::Calling,
            timers,
            retransmit_at: Some(now + timers.t1),
            interval: timers.t1,
            end_at: Some(now + timers.t1 * 64),
        }
    }

    pub(crate) fn handle_response(&mut self, now: Instant, code: u16) -> ClientAction {
        match (self.state, code) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.enter(State::Proceeding, None);
                ClientAction::PassUp
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                self.enter(State::Accepted, Some(now + self.timers.t1 * 64));
                ClientAction::PassUp
            }
            (State::Calling | State::Proceeding, _) => {
                self.enter(State::Completed, Some(now + TIMER_D));
                ClientAction::AckAndPassUp
            }
            (State::Accepted, 200..=299) => ClientAction::PassUp,
            (State::Completed, 300..=699) => ClientAction::Ack,
            _ => ClientAction::Nothing,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> ClientAction {
        if self.end_at.is_some_and(|at| at <= now) {
            let calling = self.state == State::Calling;
            self.enter(State::Terminated, None);
            return if calling {
                ClientAction::TimedOut
            } else {
                ClientAction::Terminated
            };
        }
        if self.retransmit_at.is_some_and(|at| at <= now) {
            self.interval *= 2;
            self.retransmit_at = Some(now + self.interval);
            return ClientAction::Retransmit;
        }
        ClientAction::Nothing
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retransmit_at.into_iter().chain(self.end_at).min()
    }

    /// Says whether no final answer has come yet.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    fn enter(&mut self, state: State, end_at: Option<Instant>) {
        self.state = state;
        self.retransmit_at = None;
        self.end_at = end_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::tests::run_client;

    fn start() -> (Instant, InviteClient) {
        let now = Instant::now();
        (now, InviteClient::new(now, TimerConfig::default()))
    }

    fn run(start: Instant, client: &mut InviteClient) -> Vec<(u128, ClientAction)> {
        run_client(start, client, InviteClient::deadline, InviteClient::handle_timeout)
    }

    #[test]
    fn timer_a_doubles_without_cap_until_timer_b_ends_it() {
        let (now, mut client) = start();
        let sent_again = [500, 1_500, 3_500, 7_500, 15_500, 31_500].map(|at| (at, ClientAction::Retransmit));
        let mut expected = sent_again.to_vec();
        expected.push((32_000, ClientAction::TimedOut));
        assert_eq!(run(now, &mut client), expected);
        assert!(!client.is_pending());
    }

    #[test]
    fn a_provisional_answer_stops_both_timers() {
        let (now, mut client) = start();
        assert_eq!(client.handle_response(now, 100), ClientAction::PassUp);
        assert_eq!(client.deadline(), None);
        assert_eq!(client.handle_response(now, 180), ClientAction::PassUp);
    }

    #[test]
    fn a_refusal_is_acked_each_time_and_passed_up_once_until_timer_d() {
        let (now, mut client) = start();
        assert_eq!(client.handle_response(now, 486), ClientAction::AckAndPassUp);
        assert_eq!(client.handle_response(now, 486), ClientAction::Ack);
        assert_eq!(client.handle_response(now, 200), ClientAction::Nothing);
        assert_eq!(run(now, &mut client), [(32_000, ClientAction::Terminated)]);
    }

    #[test]
    fn every_200_is_passed_up_until_timer_m() {
        let (now, mut client) = start();
        assert_eq!(client.handle_response(now, 200), ClientAction::PassUp);
        assert_eq!(client.handle_response(now, 200), ClientAction::PassUp);
        assert_eq!(client.handle_response(now, 180), ClientAction::Nothing);
        assert_eq!(client.handle_response(now, 486), ClientAction::Nothing);
        assert_eq!(run(now, &mut client), [(32_000, ClientAction::Terminated)]);
    }

    #[test]
    fn nothing_is_passed_up_after_the_end() {
        let (now, mut client) = start();
        run(now, &mut client);
        assert_eq!(client.handle_response(now, 200), ClientAction::Nothing);
    }
}
