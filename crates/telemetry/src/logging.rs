//! Logs: one line an event on stderr, as text or JSON, at a level that can change while running.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

/// Most lines written in one second; what is above is dropped and counted.
pub const LINES_PER_SECOND_MAX: u64 = 100;

/// Target of the one line that is written at every level.
pub const READY_TARGET: &str = "voex::ready";

/// Form of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Changes the logging that [`start_logging`] started.
#[derive(Clone)]
pub struct LogControl {
    level: reload::Handle<Targets, Registry>,
    dropped: Arc<AtomicU64>,
}

/// Starts logging for the whole process. Libraries are heard from `warn` on.
///
/// # Panics
/// When called twice.
pub fn start_logging(level: LevelFilter, format: LogFormat) -> LogControl {
    let (filter, handle) = reload::Layer::new(targets(level));
    let limit = Limit::default();
    let dropped = limit.dropped.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(limit)
        .with(lines)
        .init();
    LogControl { level: handle, dropped }
}

impl LogControl {
    /// Changes the level.
    pub fn set_level(&self, level: LevelFilter) {
        // Fails only when the subscriber is gone, and then nobody reads the level.
        let _ = self.level.reload(targets(level));
    }

    /// Gives how many lines were dropped for being too many.
    pub fn dropped_lines(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }
}

fn targets(level: LevelFilter) -> Targets {
    let heard = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("voex", level);
    // Whoever waits for the line that says "ready" gets it whatever the level.
    heard.with_target(READY_TARGET, LevelFilter::INFO)
}

/// Lets through a bounded number of events a second, so that a flood from the network is no flood of the disk.
struct Limit {
    started: Instant,
    second: AtomicU64,
    lines: AtomicU64,
    dropped: Arc<AtomicU64>,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            second: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            dropped: Arc::default(),
        }
    }
}

impl Limit {
    fn admits(&self, second: u64) -> bool {
        if self.second.swap(second, Relaxed) != second {
            self.lines.store(0, Relaxed);
        }
        let admitted = self.lines.fetch_add(1, Relaxed) < LINES_PER_SECOND_MAX;
        if !admitted {
            self.dropped.fetch_add(1, Relaxed);
        }
        admitted
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        self.admits(self.started.elapsed().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_bounded_number_of_lines_and_the_next_one_has_them_again() {
        let limit = Limit::default();
        let admitted = |second| (0..150).filter(|_| limit.admits(second)).count() as u64;
        assert_eq!(admitted(1), LINES_PER_SECOND_MAX);
        assert_eq!(admitted(2), LINES_PER_SECOND_MAX);
        assert_eq!(limit.dropped.load(Relaxed), 100);
    }
}
