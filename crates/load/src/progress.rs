//! A line a second on stderr while a load runs.

use std::time::Duration;

use crate::process::Process;

/// What was last told.
#[derive(Debug)]
pub(crate) struct Progress {
    due_ns: u64,
    sent: u64,
    arrived: u64,
    cpu_time: Duration,
    quiet: bool,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Progress {
    pub(crate) fn new(server: Option<&Process>, quiet: bool) -> Self {
        Self {
            due_ns: SECOND_NS,
            sent: 0,
            arrived: 0,
            cpu_time: server.and_then(|s| s.cpu_time().ok()).unwrap_or_default(),
            quiet,
        }
    }

    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    /// Tells what happened since the last line.
    pub(crate) fn tell(&mut self, now_ns: u64, sent: u64, arrived: u64, server: Option<&Process>) {
        let since_s = (now_ns - (self.due_ns - SECOND_NS)) as f64 / SECOND_NS as f64;
        self.due_ns = now_ns + SECOND_NS;
        let cpu_time = server.and_then(|s| s.cpu_time().ok()).unwrap_or_default();
        let busy = cpu_time.saturating_sub(self.cpu_time).as_secs_f64() / since_s;
        let rate = |now: u64, before: u64| (now - before) as f64 / since_s;
        if !self.quiet {
            eprintln!(
                "{:>5.1} s  {:>8.0} sent/s  {:>8.0} delivered/s  {:>7} missing  server {:>3.0} %",
                now_ns as f64 / SECOND_NS as f64,
                rate(sent, self.sent),
                rate(arrived, self.arrived),
                sent - arrived,
                100.0 * busy,
            );
        }
        (self.sent, self.arrived, self.cpu_time) = (sent, arrived, cpu_time);
    }
}
