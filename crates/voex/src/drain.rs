//! The drain: no new work, and the end when what runs is over, after a limit at the latest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time;
use voex_config::Settings;

use crate::figures::Status;

/// How often what runs is counted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether the process drains, and until when.
pub(crate) struct Drain {
    status: Arc<Status>,
    settings: watch::Receiver<Arc<Settings>>,
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Default)]
struct State {
    /// When the process ends whatever runs; `None` while nobody asked.
    until: Option<Instant>,
    signalled: bool,
}

/// Who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// SIGTERM: after `drain_max_s` at the latest, and at once the second time.
    BySignal,
    /// The API: after `max_s`, or `drain_max_s` when it is not given; asking again sets another limit.
    ByApi { max_s: Option<u32> },
}

impl Drain {
    pub(crate) fn new(status: Arc<Status>, settings: watch::Receiver<Arc<Settings>>) -> Self {
        Self {
            status,
            settings,
            state: Mutex::default(),
            asked: Notify::new(),
        }
    }

    /// Begins to drain, or changes the limit.
    pub(crate) fn ask(&self, asked: Asked) {
        let default_s = self.settings.borrow().drain_max_s;
        let after = |seconds: u32| Instant::now() + Duration::from_secs(seconds.into());
        let mut state = self.state();
        let until = match asked {
            Asked::BySignal if state.signalled => Instant::now(),
            Asked::BySignal => {
                state.signalled = true;
                let limit = after(default_s);
                state.until.map_or(limit, |until| until.min(limit))
            }
            Asked::ByApi { max_s } => after(max_s.unwrap_or(default_s)),
        };
        state.until = Some(until);
        drop(state);
        self.asked.notify_one();
    }

    /// Tells whether somebody asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.state().until.is_some()
    }

    /// Counts calls, conferences and allocations that an end would cut off.
    pub(crate) fn in_use(&self) -> i64 {
        self.status.in_use()
    }

    /// Says how long the drain may still take.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        self.state().until.map(|until| until.saturating_duration_since(now))
    }

    /// Waits until somebody asks.
    pub(crate) async fn begun(&self) {
        while !self.is_asked() {
            self.asked.notified().await;
        }
    }

    /// Waits until nothing is in use any more or the limit is reached.
    pub(crate) async fn over(&self) {
        while self.in_use() > 0 && self.time_left(Instant::now()) != Some(Duration::ZERO) {
            time::sleep(LOOK_EVERY).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
