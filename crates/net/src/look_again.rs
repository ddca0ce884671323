//! How a worker waits: looking again, napping, sleeping.

use std::time::{Duration, Instant};

/// Shortest budget worth having for looking again; below it that is off.
const BUDGET_MIN: Duration = Duration::from_micros(2);
/// Packets that a nap should collect. More would save little: the cost of a wake-up is shared by then. A wake-up out of
/// sleep costs a virtual machine 20 µs and more, four packets' worth.
const NAP_PACKETS: u32 = 40;
/// Mean time between packets from which on a worker that napped naps on without looking first. It is idle for at least
/// half of the time then, so what comes while it works waits for one nap and no longer.
const NAP_ON_GAP_MIN: Duration = Duration::from_micros(10);
/// Fewest packets that make a nap worth its wake-up.
const NAP_PACKETS_MIN: u32 = 2;
/// Share of the newest observation in the mean gap, as a power of two: 1/8.
const GAP_SHIFT: u32 = 3;

/// Decides how the loop waits after a pass.
///
/// Waking a thread costs the kernel many microseconds, each time, which is most of what a packet of paced voice costs.
/// Three answers, from the cheapest packet on:
///
/// - Look: after work, look without waiting; when the next packet is already there, no wake-up is paid at all. The time
///   this may take doubles when it would have sufficed and halves when it did not.
/// - Nap: when packets come often enough that a short fixed sleep collects several, sleep that long and pay one
///   wake-up for all of them. Packets wait at most `nap_max`. Naps follow each other without a look between while packets
///   leave the worker idle for half of the time.
/// - Sleep: wait for the next packet or timer. An idle process does only this.
pub(crate) struct LookAgain {
    look_max: Duration,
    nap_max: Duration,
    budget: Duration,
    until: Option<Instant>,
    last_work: Option<Instant>,
    /// Mean time between packets; meaningless before the first.
    gap: Duration,
    slept: bool,
    napped: bool,
}

/// What the loop does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Look without waiting.
    Look,
    /// Sleep this long whatever comes, then look.
    Nap(Duration),
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
    /// Makes one that never looks longer than `look_max` nor naps longer than `nap_max`; zero turns either off.
    pub(crate) fn new(look_max: Duration, nap_max: Duration) -> Self {
        Self {
            look_max,
            nap_max,
            budget: Duration::ZERO,
            until: None,
            last_work: None,
            gap: Duration::MAX,
            slept: false,
            napped: false,
        }
    }

    /// Called once a pass, after its work: `found` says how many packets and orders there were.
    pub(crate) fn after_pass(&mut self, now: Instant, found: u32) -> (Next, Outcome) {
        if found > 0 {
            self.after_work(now, found)
        } else {
            self.after_nothing(now)
        }
    }

    fn after_work(&mut self, now: Instant, found: u32) -> (Next, Outcome) {
        let since_last = self.last_work.map(|last| now.saturating_duration_since(last));
        let outcome = if self.until.take().is_some() {
            self.grow_to(Duration::ZERO);
            Outcome::Hit
        } else {
            if let Some(gap) = since_last.filter(|gap| self.slept && *gap <= self.look_max) {
                self.grow_to(gap);
            }
            Outcome::Neutral
        };
        if let Some(elapsed) = since_last {
            self.observe_gap(elapsed / found);
        }
        self.last_work = Some(now);
        let woke_of_nap = self.napped && !self.slept;
        (self.slept, self.napped) = (false, false);
        if self.look_max.is_zero() && self.nap_max.is_zero() {
            return (self.sleep(), outcome);
        }
        if woke_of_nap && self.budget.is_zero() && self.gap >= NAP_ON_GAP_MIN {
            return (self.nap_or_sleep(), outcome);
        }
        // One look at least, whatever the budget: while there is a backlog nothing else is right.
        self.until = Some(now + self.budget);
        (Next::Look, outcome)
    }

    fn after_nothing(&mut self, now: Instant) -> (Next, Outcome) {
        match self.until {
            Some(until) if now < until => (Next::Look, Outcome::Neutral),
            Some(_) => {
                self.until = None;
                let outcome = if self.budget.is_zero() {
                    Outcome::Neutral
                } else {
                    Outcome::Miss
                };
                self.shrink();
                (self.nap_or_sleep(), outcome)
            }
            None => (self.sleep(), Outcome::Neutral),
        }
    }

    fn nap_or_sleep(&mut self) -> Next {
        let worth_it = self.gap.saturating_mul(NAP_PACKETS_MIN) <= self.nap_max;
        if !worth_it || self.napped {
            return self.sleep();
        }
        self.napped = true;
        Next::Nap(self.gap.saturating_mul(NAP_PACKETS).min(self.nap_max))
    }

    fn sleep(&mut self) -> Next {
        self.slept = true;
        Next::Sleep
    }

    /// Moves the mean towards a new observation; a long silence counts as no more than it takes to stop napping.
    fn observe_gap(&mut self, gap: Duration) {
        let gap = gap.min(self.nap_max.saturating_mul(2));
        if self.gap == Duration::MAX {
            self.gap = self.nap_max.saturating_mul(2);
        }
        self.gap = self.gap - (self.gap / (1 << GAP_SHIFT)) + gap / (1 << GAP_SHIFT);
    }

    fn grow_to(&mut self, gap: Duration) {
        self.budget = (self.budget * 2).max(gap).max(BUDGET_MIN).min(self.look_max);
    }

    fn shrink(&mut self) {
        self.budget /= 2;
        if self.budget < BUDGET_MIN {
            self.budget = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK_MAX: Duration = Duration::from_micros(50);
    const NAP_MAX: Duration = Duration::from_millis(1);

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// Runs passes with one packet each `gap`, taken when it comes or after the nap it falls into; gives the sleeps and
    /// naps taken.
    fn paced(look: &mut LookAgain, mut now: Instant, gap: Duration, packets: u32) -> (u32, u32) {
        let (mut sleeps, mut naps) = (0, 0);
        let mut next_packet = now + gap;
        let mut left = packets;
        let mut found = 1;
        while left > 0 {
            match look.after_pass(now, found).0 {
                Next::Look => now += us(1),
                Next::Nap(time) => {
                    naps += 1;
                    now += time;
                }
                Next::Sleep => {
                    sleeps += 1;
                    now = now.max(next_packet);
                }
            }
            found = 0;
            while next_packet <= now {
                found += 1;
                next_packet += gap;
            }
            left = left.saturating_sub(found);
        }
        (sleeps, naps)
    }

    #[test]
    fn an_idle_worker_only_sleeps() {
        let mut look = LookAgain::new(LOOK_MAX, NAP_MAX);
        let (sleeps, naps) = paced(&mut look, Instant::now(), us(1_000_000), 10);
        assert_eq!((sleeps, naps), (10, 0));
    }

    #[test]
    fn packets_that_follow_closely_are_found_by_looking() {
        let mut look = LookAgain::new(LOOK_MAX, NAP_MAX);
        let (sleeps, naps) = paced(&mut look, Instant::now(), us(2), 1_000);
        assert!(sleeps + naps < 10, "{sleeps} sleeps, {naps} naps");
    }

    #[test]
    fn paced_packets_share_the_wake_up_of_a_nap() {
        let mut look = LookAgain::new(us(5), NAP_MAX);
        let (sleeps, naps) = paced(&mut look, Instant::now(), us(100), 10_000);
        assert!(sleeps < 100, "{sleeps} sleeps");
        assert!((500..2_000).contains(&naps), "{naps} naps");
    }

    #[test]
    fn a_worker_that_keeps_up_naps_on_and_one_that_may_be_behind_looks_first() {
        let mut look = LookAgain::new(Duration::ZERO, NAP_MAX);
        let mut now = Instant::now();
        let mut pass = |found: u32| {
            now += us(1_000);
            look.after_pass(now, found).0
        };
        while !matches!(pass(10), Next::Nap(_)) {
            pass(0);
        }
        assert_eq!(pass(10), Next::Nap(us(1_000)), "no look between two naps");
        assert_eq!(pass(0), Next::Sleep);
        assert_eq!(pass(10), Next::Look, "a sleep ended; more may follow at once");
        assert_eq!(pass(0), Next::Nap(us(1_000)));
        let behind = (0..100).map(|_| pass(1_000)).last();
        assert_eq!(behind, Some(Next::Look), "a packet each microsecond");
    }

    #[test]
    fn naps_are_never_longer_than_allowed_and_end_with_the_traffic() {
        let start = Instant::now();
        let mut look = LookAgain::new(Duration::ZERO, us(500));
        paced(&mut look, start, us(100), 100);
        let mut now = start + us(1_000_000);
        let first = look.after_pass(now, 1).0;
        now += us(1);
        let second = look.after_pass(now, 0).0;
        let naps: Vec<Next> = [first, second]
            .into_iter()
            .filter(|next| matches!(next, Next::Nap(_)))
            .collect();
        assert_eq!(naps, [Next::Nap(us(500))], "still napping");
        let (_, naps) = paced(&mut look, now, us(10_000), 100);
        assert!(naps < 10, "{naps} naps");
    }

    #[test]
    fn missing_again_and_again_turns_looking_off() {
        let mut look = LookAgain::new(LOOK_MAX, Duration::ZERO);
        let start = Instant::now();
        paced(&mut look, start, us(1), 20);
        let mut now = start + us(1_000_000);
        let mut misses = 0;
        for _ in 0..20 {
            look.after_pass(now, 1);
            now += us(200);
            if look.after_pass(now, 0).1 == Outcome::Miss {
                misses += 1;
            }
            now += us(200);
        }
        assert!((1..=6).contains(&misses), "{misses} misses");
    }

    #[test]
    fn both_turned_off_it_sleeps_after_every_pass() {
        let mut look = LookAgain::new(Duration::ZERO, Duration::ZERO);
        let now = Instant::now();
        for step in 0..100 {
            assert_eq!(look.after_pass(now + us(step), 1).0, Next::Sleep);
        }
    }
}
