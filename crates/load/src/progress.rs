//! What is told on stderr while something runs: on a terminal in one line that is written over, elsewhere in lines.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::process::Process;

const SECOND_NS: u64 = 1_000_000_000;
/// Back to the first column, and the line cleared from there (ECMA-48 EL).
const WIPE: &str = "\r\x1b[K";

/// A line of text that may be written over.
#[derive(Debug)]
struct Line {
    is_terminal: bool,
    quiet: bool,
}

impl Line {
    fn new(quiet: bool) -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            quiet,
        }
    }

    /// Tells something that stands until the next thing is told.
    fn passing(&self, text: &str) {
        match (self.quiet, self.is_terminal) {
            (true, _) => {}
            // Nobody reads a progress line that could not be written.
            (false, true) => drop(write!(std::io::stderr(), "{WIPE}{text}")),
            (false, false) => eprintln!("{text}"),
        }
    }

    /// Tells something that stays.
    fn lasting(&self, text: &str) {
        if !self.quiet {
            let wipe = if self.is_terminal { WIPE } else { "" };
            eprintln!("{wipe}{text}");
        }
    }

    fn wipe(&self) {
        if !self.quiet && self.is_terminal {
            let _ = write!(std::io::stderr(), "{WIPE}");
        }
    }
}

/// A line a second while a load runs.
#[derive(Debug)]
pub(crate) struct Progress {
    line: Line,
    due_ns: u64,
    sent: u64,
    arrived: u64,
    cpu_time: Duration,
}

impl Progress {
    pub(crate) fn new(server: Option<&Process>, quiet: bool) -> Self {
        Self {
            line: Line::new(quiet),
            due_ns: SECOND_NS,
            sent: 0,
            arrived: 0,
            cpu_time: server.and_then(|s| s.cpu_time().ok()).unwrap_or_default(),
        }
    }

    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    /// Tells what happened since the last line.
    pub(crate) fn tell(&mut self, now_ns: u64, sent: u64, arrived: u64, missing: u64, server: Option<&Process>) {
        let since_s = (now_ns - (self.due_ns - SECOND_NS)) as f64 / SECOND_NS as f64;
        self.due_ns = now_ns + SECOND_NS;
        let rate = |now: u64, before: u64| (now - before) as f64 / since_s;
        let mut text = format!(
            "{:>5.1} s  {:>8.0} sent/s  {:>8.0} delivered/s  {:>7} missing",
            now_ns as f64 / SECOND_NS as f64,
            rate(sent, self.sent),
            rate(arrived, self.arrived),
            missing,
        );
        if let Some(cpu_time) = server.and_then(|s| s.cpu_time().ok()) {
            let busy = cpu_time.saturating_sub(self.cpu_time).as_secs_f64() / since_s;
            text += &format!("  server {:>3.0} %", 100.0 * busy);
            self.cpu_time = cpu_time;
        }
        self.line.passing(&text);
        (self.sent, self.arrived) = (sent, arrived);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line.wipe();
    }
}

/// How far something countable has come.
#[derive(Debug)]
pub(crate) struct Count {
    line: Line,
    what: &'static str,
    wanted: usize,
    told: Instant,
}

impl Count {
    pub(crate) fn new(what: &'static str, wanted: usize, quiet: bool) -> Self {
        Self {
            line: Line::new(quiet),
            what,
            wanted,
            told: Instant::now(),
        }
    }

    /// Tells once a second.
    pub(crate) fn tell(&mut self, made: usize) {
        if self.told.elapsed() >= Duration::from_secs(1) {
            self.told = Instant::now();
            self.line.passing(&format!("{made} of {} {}", self.wanted, self.what));
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.line.wipe();
    }
}

/// How far a comparison has come, and when it will be over.
#[derive(Debug)]
pub(crate) struct Status {
    line: Line,
    runs: usize,
    done: usize,
    begun: Instant,
    measured: usize,
}

impl Status {
    pub(crate) fn new(runs: usize, quiet: bool) -> Self {
        Self {
            line: Line::new(quiet),
            runs,
            done: 0,
            begun: Instant::now(),
            measured: 0,
        }
    }

    /// Tells what begins; only a terminal shows it.
    pub(crate) fn begin(&self, what: &str) {
        if self.line.is_terminal {
            self.line
                .passing(&format!("[{}/{}{}] {what} ..", self.done + 1, self.runs, self.left()));
        }
    }

    /// Tells what came of it.
    pub(crate) fn end(&mut self, what: &str, outcome: &str, took: Duration) {
        self.done += 1;
        self.measured += 1;
        let (done, runs, left) = (self.done, self.runs, self.left());
        let took_s = took.as_secs_f64();
        self.line
            .lasting(&format!("[{done}/{runs}{left}] {what}, {took_s:.1} s: {outcome}"));
    }

    /// Leaves runs out.
    pub(crate) fn skip(&mut self, runs: usize) {
        self.done += runs;
    }

    fn left(&self) -> String {
        if self.measured == 0 {
            return String::new();
        }
        let each = self.begun.elapsed() / u32::try_from(self.measured).unwrap_or(u32::MAX);
        let left = each * u32::try_from(self.runs - self.done).unwrap_or(u32::MAX);
        format!(", {} s left", left.as_secs())
    }
}
