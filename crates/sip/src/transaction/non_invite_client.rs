//! Non-INVITE client transaction (RFC 3261 §17.1.2).

use std::time::{Duration, Instant};

use super::ClientAction;
use crate::TimerConfig;

/// ```text
///  Trying ──1xx──► Proceeding
///     │ E: retransmit   │ E: retransmit
///     │ F: timed out    │ F: timed out
///     └──────2xx+───────┴──► Completed ──K──► Terminated
/// ```
#[derive(Debug)]
pub(crate) struct NonInviteClient {
    state: State,
    timers: TimerConfig,
    /// Timer E.
    retransmit_at: Option<Instant>,
    interval: Duration,
    /// Timer F in Trying and Proceeding, K in Completed.
    end_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

impl NonInviteClient {
    /// Starts when the request has been sent.
    pub(crate) fn new(now: Instant, timers: TimerConfig) -> Self {
        Self {
            state: State::Trying,
            timers,
            retransmit_at: Some(now + timers.t1),
            interval: timers.t1,
            end_at: Some(now + timers.t1 * 64),
        }
    }

    pub(crate) fn handle_response(&mut self, now: Instant, code: u16) -> ClientAction {
        match (self.state, code) {
            (State::Trying | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                ClientAction::PassUp
            }
            (State::Trying | State::Proceeding, _) => {
                self.state = State::Completed;
                self.retransmit_at = None;
                self.end_at = Some(now + self.timers.t4);
                ClientAction::PassUp
            }
            _ => ClientAction::Nothing,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> ClientAction {
        if self.end_at.is_some_and(|at| at <= now) {
            let completed = self.state == State::Completed;
            self.state = State::Terminated;
            (self.retransmit_at, self.end_at) = (None, None);
            return if completed {
                ClientAction::Terminated
            } else {
                ClientAction::TimedOut
            };
        }
        if self.retransmit_at.is_some_and(|at| at <= now) {
            self.interval = match self.state {
                State::Trying => (self.interval * 2).min(self.timers.t2),
                _ => self.timers.t2,
            };
            self.retransmit_at = Some(now + self.interval);
            return ClientAction::Retransmit;
        }
        ClientAction::Nothing
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retransmit_at.into_iter().chain(self.end_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::tests::run_client;

    fn start() -> (Instant, NonInviteClient) {
        let now = Instant::now();
        (now, NonInviteClient::new(now, TimerConfig::default()))
    }

    fn run(start: Instant, client: &mut NonInviteClient) -> Vec<(u128, ClientAction)> {
        run_client(
            start,
            client,
            NonInviteClient::deadline,
            NonInviteClient::handle_timeout,
        )
    }

    #[test]
    fn timer_e_doubles_up_to_t2_until_timer_f_ends_it() {
        let (now, mut client) = start();
        let times = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        let mut expected: Vec<_> = times.map(|at| (at, ClientAction::Retransmit)).to_vec();
        expected.push((32_000, ClientAction::TimedOut));
        assert_eq!(run(now, &mut client), expected);
    }

    #[test]
    fn after_a_provisional_answer_timer_e_runs_at_t2_and_timer_f_still_ends_it() {
        let (now, mut client) = start();
        assert_eq!(client.handle_response(now, 100), ClientAction::PassUp);
        let trace = run(now, &mut client);
        let times: Vec<_> = trace.iter().map(|(at, _)| *at).collect();
        assert_eq!(
            times,
            [500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500, 32_000]
        );
        assert_eq!(trace.last().map(|(_, action)| *action), Some(ClientAction::TimedOut));
    }

    #[test]
    fn the_final_answer_is_passed_up_once_and_repeats_are_absorbed_until_timer_k() {
        let (now, mut client) = start();
        assert_eq!(client.handle_response(now, 200), ClientAction::PassUp);
        assert_eq!(client.handle_response(now, 200), ClientAction::Nothing);
        assert_eq!(run(now, &mut client), [(5_000, ClientAction::Terminated)]);
    }
}
