//! What allocations cost that carry nothing.

use std::time::Duration;

use serde::Serialize;

use crate::LoadError;
use crate::client::Client;
use crate::interrupt;
use crate::process::Process;
use crate::progress::Count;
use crate::rig::{Patience, Target};

/// Allocations made first and held beside, so that a server's pools and code are warm.
const WARM_UP: usize = 64;
/// Time for a server to finish what it began.
const SETTLE: Duration = Duration::from_millis(300);

/// Figures of idle allocations.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleFigures {
    /// Allocations held at once.
    pub allocations: usize,
    /// Resident memory of the server an allocation, in bytes.
    pub bytes_each: f64,
    /// Processor time of the server to make one, in microseconds: the connection and the handshake, where there are
    /// any, the unauthenticated request, its 401, the authenticated one and its answer.
    pub cpu_us_each: f64,
    /// Share of a core that holding them takes, in all.
    pub busy: f64,
    /// Resident memory of the server before, in kilobytes.
    pub resident_kb: u64,
}

/// Makes allocations, holds them for a time, and gives them back.
///
/// # Errors
/// See [`LoadError`].
pub fn run(
    target: &Target,
    allocations: usize,
    hold: Duration,
    server: &Process,
    quiet: bool,
) -> Result<IdleFigures, LoadError> {
    let warm_up = allocate(target, WARM_UP, true)?;
    interrupt::sleep(SETTLE)?;
    let (cpu_before, bytes_before) = (server.cpu_time()?, server.resident_bytes()?);
    let clients = allocate(target, allocations, quiet)?;
    interrupt::sleep(SETTLE)?;
    let (cpu_after, bytes_after) = (server.cpu_time()?, server.resident_bytes()?);
    interrupt::sleep(hold)?;
    let cpu_held = server.cpu_time()?.saturating_sub(cpu_after);
    release(warm_up)?;
    release(clients)?;
    let each = |total: f64| total / allocations as f64;
    Ok(IdleFigures {
        allocations,
        bytes_each: each(bytes_after.saturating_sub(bytes_before) as f64),
        cpu_us_each: each(1e6 * cpu_after.saturating_sub(cpu_before).as_secs_f64()),
        busy: cpu_held.as_secs_f64() / hold.as_secs_f64(),
        resident_kb: bytes_before / 1024,
    })
}

fn allocate(target: &Target, count: usize, quiet: bool) -> Result<Vec<Client>, LoadError> {
    let mut clients = Vec::with_capacity(count);
    let mut progress = Count::new("allocations", count, quiet);
    let patience = Patience::new(count);
    while clients.len() < count {
        patience.check(clients.len())?;
        clients.push(target.allocate()?);
        progress.tell(clients.len());
    }
    Ok(clients)
}

fn release(clients: Vec<Client>) -> Result<(), LoadError> {
    clients.into_iter().try_for_each(|mut client| client.release())
}

impl std::fmt::Display for IdleFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "allocations {} over {} kB", self.allocations, self.resident_kb)?;
        writeln!(f, "memory      {:.0} bytes each", self.bytes_each)?;
        writeln!(f, "making one  {:.1} us CPU", self.cpu_us_each)?;
        writeln!(f, "holding     {:.2} % of a core for all", 100.0 * self.busy)
    }
}
