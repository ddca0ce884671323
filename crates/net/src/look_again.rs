//! How long a worker looks again before it sleeps.

use std::time::{Duration, Instant};

/// Shortest budget worth having; below it looking again is off.
const BUDGET_MIN: Duration = Duration::from_micros(2);

/// Decides between looking again and sleeping.
///
/// Waking a thread costs the kernel several microseconds. When the next packet comes sooner than that, looking again
/// is cheaper than sleeping. The budget doubles each time it would have sufficed, halves each time it did not, and is
/// zero on an idle process.
pub(crate) struct LookAgain {
    max: Duration,
    budget: Duration,
    until: Option<Instant>,
    last_work: Option<Instant>,
    slept: bool,
}

/// What the loop does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Look without waiting.
    Look,
    /// Sleep until something comes or the next timer.
    Sleep,
}

/// What became of the last look, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Nothing to tell.
    Neutral,
    /// Looking again found work.
    Hit,
    /// The budget ran out without work.
    Miss,
}

impl LookAgain {
    /// Makes one that never looks longer than `max`; zero turns it off.
    pub(crate) fn new(max: Duration) -> Self {
        Self {
            max,
            budget: Duration::ZERO,
            until: None,
            last_work: None,
            slept: false,
        }
    }

    /// Called once a pass, after its work: `found` says whether there was any.
    pub(crate) fn after_pass(&mut self, now: Instant, found: bool) -> (Next, Outcome) {
        if found {
            self.after_work(now)
        } else {
            self.after_nothing(now)
        }
    }

    fn after_work(&mut self, now: Instant) -> (Next, Outcome) {
        let outcome = if self.until.take().is_some() {
            self.grow_to(Duration::ZERO);
            Outcome::Hit
        } else {
            let gap = self.last_work.map(|last| now.saturating_duration_since(last));
            if let Some(gap) = gap.filter(|gap| self.slept && *gap <= self.max) {
                self.grow_to(gap);
            }
            Outcome::Neutral
        };
        self.last_work = Some(now);
        (self.look_or_sleep(now), outcome)
    }

    fn after_nothing(&mut self, now: Instant) -> (Next, Outcome) {
        match self.until {
            Some(until) if now < until => (Next::Look, Outcome::Neutral),
            Some(_) => {
                self.until = None;
                self.budget /= 2;
                if self.budget < BUDGET_MIN {
                    self.budget = Duration::ZERO;
                }
                self.slept = true;
                (Next::Sleep, Outcome::Miss)
            }
            None => {
                self.slept = true;
                (Next::Sleep, Outcome::Neutral)
            }
        }
    }

    fn look_or_sleep(&mut self, now: Instant) -> Next {
        if self.budget.is_zero() {
            self.slept = true;
            return Next::Sleep;
        }
        self.slept = false;
        self.until = Some(now + self.budget);
        Next::Look
    }

    fn grow_to(&mut self, gap: Duration) {
        self.budget = (self.budget * 2).max(gap).max(BUDGET_MIN).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(50);

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn an_idle_worker_sleeps_at_once() {
        let start = Instant::now();
        let mut look = LookAgain::new(MAX);
        for second in 1..5 {
            assert_eq!(look.after_pass(start + us(second * 1_000_000), true).0, Next::Sleep);
            assert_eq!(
                look.after_pass(start + us(second * 1_000_000 + 1), false).0,
                Next::Sleep
            );
        }
    }

    #[test]
    fn packets_that_follow_closely_make_it_look_again() {
        let start = Instant::now();
        let mut look = LookAgain::new(MAX);
        assert_eq!(look.after_pass(start, true).0, Next::Sleep);
        assert_eq!(look.after_pass(start + us(3), true).0, Next::Look);
        assert_eq!(look.after_pass(start + us(4), true), (Next::Look, Outcome::Hit));
    }

    #[test]
    fn missing_again_and_again_turns_it_off() {
        let mut now = Instant::now();
        let mut look = LookAgain::new(MAX);
        look.after_pass(now, true);
        for _ in 0..20 {
            now += us(1);
            look.after_pass(now, true);
        }
        let mut misses = 0;
        loop {
            now += us(200);
            if look.after_pass(now, false).1 == Outcome::Miss {
                misses += 1;
            }
            now += us(200);
            if look.after_pass(now, true).0 == Next::Sleep {
                break;
            }
        }
        assert!((1..=6).contains(&misses), "{misses} misses");
    }

    #[test]
    fn a_budget_of_zero_never_looks() {
        let now = Instant::now();
        let mut look = LookAgain::new(Duration::ZERO);
        for step in 0..100 {
            assert_eq!(look.after_pass(now + us(step), true).0, Next::Sleep);
        }
    }
}
