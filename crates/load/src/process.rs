//! What a process costs, and where it runs.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::error::{Doing as _, LoadError};

/// A process that is looked at from outside.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: Pid,
    clock: ClockId,
}

impl Process {
    /// Finds a process of this machine.
    ///
    /// # Errors
    /// [`LoadError::Io`] when there is none.
    pub fn find(pid: u32) -> Result<Self, LoadError> {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
        let clock = clock_getcpuclockid(pid).doing(|| format!("looking at process {pid}"))?;
        Ok(Self { pid, clock })
    }

    /// Gives the time on a processor of all its threads, user and kernel, the ended ones included: what utime + stime
    /// of /proc/PID/stat are rounded from.
    ///
    /// # Errors
    /// [`LoadError::Io`] when the process has ended.
    pub fn cpu_time(&self) -> Result<Duration, LoadError> {
        let time = clock_gettime(self.clock).doing(|| format!("reading the CPU time of process {}", self.pid))?;
        Ok(time.into())
    }

    /// Gives its resident memory in bytes.
    ///
    /// # Errors
    /// [`LoadError::Io`] when the process has ended.
    pub fn resident_bytes(&self) -> Result<u64, LoadError> {
        // The sum over its mappings is exact; the counter in `status` lags by dozens of pages a processor.
        let exact = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid));
        let text = exact.or_else(|_| fs::read_to_string(format!("/proc/{}/status", self.pid)));
        let text = text.doing(|| format!("reading the memory of process {}", self.pid))?;
        let line = text.lines().find(|l| l.starts_with("Rss:") || l.starts_with("VmRSS:"));
        let kb = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
        kb.map(|kb| kb * 1024)
            .ok_or_else(|| io::Error::other("no resident size"))
            .doing(|| format!("reading the memory of process {}", self.pid))
    }
}

/// Keeps this process on one core.
///
/// # Errors
/// [`LoadError::Io`] when there is no such core.
pub fn pin_to(core: usize) -> Result<(), LoadError> {
    let mut cores = CpuSet::new();
    cores
        .set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores))
        .doing(|| format!("moving to core {core}"))
}

/// Lets this process and its children open as many descriptors as the system allows.
///
/// # Errors
/// [`LoadError::Io`] when the system does not say.
pub fn raise_descriptor_limit() -> Result<(), LoadError> {
    getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
        .doing(|| "raising the limit of descriptors".into())
}
