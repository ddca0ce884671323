//! Figures of the process itself, out of `/proc`.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::families::{Expose, Families};

/// Clock ticks of `/proc/self/stat` a second; fixed by the kernel's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: i64 = 4096;

/// CPU time, memory, descriptors, version.
pub struct Process {
    /// Version of the server.
    pub version: &'static str,
    /// Log lines dropped for being too many.
    pub dropped_log_lines: Arc<AtomicU64>,
}

impl Expose for Process {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let labels = [("component", "voex"), ("version", self.version)];
        families.fact("express_version", "Which version of which component runs.", &labels)?;
        families.counter(
            "log_lines_dropped",
            "Log lines dropped for being too many in one second.",
            self.dropped_log_lines.load(Relaxed),
        )?;
        if let Some(seconds) = cpu_seconds() {
            families.counter_fraction("process_cpu_seconds", "User and system CPU time spent.", seconds)?;
        }
        if let Some(bytes) = resident_bytes() {
            families.gauge("process_resident_memory_bytes", "Resident memory.", bytes)?;
        }
        if let Some(count) = open_fds() {
            families.gauge("process_open_fds", "Open file descriptors.", count)?;
        }
        if let Some(count) = max_fds() {
            families.gauge("process_max_fds", "File descriptors that may be open.", count)?;
        }
        if let Some(count) = threads() {
            families.gauge("process_threads", "Threads.", count)?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> Option<f64> {
    let ticks: f64 = stat_field(11)?.parse().ok()?;
    let system: f64 = stat_field(12)?.parse().ok()?;
    Some((ticks + system) / TICKS_PER_SECOND)
}

fn threads() -> Option<i64> {
    stat_field(17)?.parse().ok()
}

/// Gives a field of `/proc/self/stat`, counted from zero behind the closing parenthesis of the name.
fn stat_field(index: usize) -> Option<String> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(index).map(str::to_owned)
}

fn resident_bytes() -> Option<i64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

/// Counts open descriptors. The kernel tells their number as the size of the folder since 6.2; before, they have to be
/// listed, which costs a microsecond each.
fn open_fds() -> Option<i64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // The directory handle that reads the list is in the list.
        0 => Some(fs::read_dir(FOLDER).ok()?.count() as i64 - 1),
        count => Some(count as i64),
    }
}

fn max_fds() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    soft.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_file_counts_among_the_descriptors() {
        let before = open_fds().unwrap();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process open and close some of their own.
        let grown = open_fds().unwrap() - before;
        assert!((90..=110).contains(&grown), "{grown} more after {} files", files.len());
    }
}
