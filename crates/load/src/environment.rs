//! Where and with what figures were made, so that they can be made again.

use std::fs;

use serde::Serialize;

use crate::program::Program;

/// Load of a machine above which its figures are noise.
const LOAD_MAX: f64 = 0.7;

/// A machine, the servers on it, and how busy it was with other things.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Name of the processor.
    pub processor: String,
    /// Cores that this process sees.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// What ours calls itself.
    pub voex: String,
    /// What the rival calls itself.
    pub rival: String,
    /// Processes that wanted a core in the minute before the first run.
    pub load_before: f64,
}

impl Environment {
    /// Looks around.
    pub fn look(voex: &Program, rival: &Program) -> Self {
        let unknown = || "unknown".to_owned();
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: processor.map_or_else(unknown, |(_, name)| name.to_owned()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            voex: voex.version().unwrap_or_else(unknown),
            rival: format!("{} {}", rival.name(), rival.version().unwrap_or_else(unknown)),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0.0),
        }
    }

    /// Says when figures will be worth little.
    pub fn warning(&self) -> Option<String> {
        let load = self.load_before;
        (load > LOAD_MAX).then(|| {
            format!(
                "other work runs on this machine (load {load}): ratios will spread, and p99 will be the scheduler's"
            )
        })
    }
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            processor,
            cores,
            kernel,
            voex,
            rival,
            load_before,
        } = self;
        write!(
            f,
            "{voex}, {rival}; {processor}, {cores} cores; Linux {kernel}; load before {load_before}"
        )
    }
}
