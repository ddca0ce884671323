//! One line a minute for what could fill a log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(60);

/// Lets one event a minute through, and counts those it holds back.
#[derive(Default, Debug)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Default, Debug)]
struct State {
    passed: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// Runs `say` with the number of events held back since the last time, unless that was less than a minute ago.
    pub(crate) fn once_a_minute(&self, say: impl FnOnce(u64)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.passed.is_some_and(|passed| now < passed + PAUSE) {
            state.held_back += 1;
            return;
        }
        state.passed = Some(now);
        let held_back = std::mem::take(&mut state.held_back);
        drop(state);
        say(held_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_makes_one_line_a_minute_that_counts_the_rest() {
        let throttle = Throttle::default();
        let mut lines = Vec::new();
        for _ in 0..100 {
            throttle.once_a_minute(|held_back| lines.push(held_back));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(lines, [0, 59]);
    }
}
