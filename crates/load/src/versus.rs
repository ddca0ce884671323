//! Two servers side by side: A B A B .., each alone on its core while it runs.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::LoadError;
use crate::cells::{Cell, Workload, cells};
use crate::figures::Figures;
use crate::idle::{self, IdleFigures};
use crate::load;
use crate::program::Program;
use crate::progress::Status;
use crate::server::Server;

/// Time that allocations are held idle.
const HOLD: Duration = Duration::from_secs(1);

/// How a comparison is run.
#[derive(Clone, Debug)]
pub struct Versus {
    /// Ours.
    pub voex: Program,
    /// Who it is compared with.
    pub rival: Program,
    /// Runs of each cell and server.
    pub rounds: usize,
    /// The measured time of each run.
    pub measured: Duration,
    /// Where servers run; the load must run elsewhere.
    pub server_core: usize,
    /// Names of cells; all but the extra ones when empty.
    pub cells: Vec<String>,
    /// Says nothing while loads run.
    pub quiet: bool,
}

/// Runs of a cell.
#[derive(Clone, Debug, Serialize)]
pub struct CellResult {
    /// The cell.
    pub cell: Cell,
    /// Ours, in order.
    pub voex: Vec<Outcome>,
    /// The rival's, in order.
    pub rival: Vec<Outcome>,
    /// Why it has fewer runs than were asked for.
    pub failure: Option<String>,
}

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of a load.
    Load(Box<Figures>),
    /// Of idle allocations.
    Idle(IdleFigures),
}

impl Versus {
    /// Runs every cell. A server that fails ends its cell and no other.
    ///
    /// # Errors
    /// [`LoadError::Interrupted`].
    pub fn run(&self) -> Result<Vec<CellResult>, LoadError> {
        let cells = cells(&self.cells, self.measured);
        let mut status = Status::new(cells.len() * self.rounds * 2, self.quiet);
        cells.into_iter().map(|cell| self.run_cell(cell, &mut status)).collect()
    }

    fn run_cell(&self, cell: Cell, status: &mut Status) -> Result<CellResult, LoadError> {
        let mut result = CellResult {
            voex: Vec::with_capacity(self.rounds),
            rival: Vec::with_capacity(self.rounds),
            failure: None,
            cell,
        };
        for round in 1..=self.rounds {
            for (program, is_ours) in [(&self.voex, true), (&self.rival, false)] {
                let what = format!(
                    "{}, round {round} of {}, {}",
                    result.cell.name,
                    self.rounds,
                    program.name()
                );
                status.begin(&what);
                let begun = Instant::now();
                match self.run_once(program, &result.cell) {
                    Ok(outcome) => {
                        status.end(&what, &outcome.summary(), begun.elapsed());
                        if is_ours { &mut result.voex } else { &mut result.rival }.push(outcome);
                    }
                    Err(LoadError::Interrupted) => return Err(LoadError::Interrupted),
                    Err(error) => {
                        status.end(&what, &error.to_string(), begun.elapsed());
                        status.skip(2 * (self.rounds - round) + usize::from(is_ours));
                        result.failure = Some(format!("{}: {error}", program.name()));
                        return Ok(result);
                    }
                }
            }
        }
        Ok(result)
    }

    fn run_once(&self, program: &Program, cell: &Cell) -> Result<Outcome, LoadError> {
        let server = Server::start(program, self.server_core, cell.transport, cell.key)?;
        let (target, process) = (server.target(cell.transport), server.process());
        match &cell.workload {
            Workload::Load(pattern) => {
                let figures = load::run(&target, pattern, Some(process), true)?;
                Ok(Outcome::Load(Box::new(figures)))
            }
            Workload::Idle(count) => idle::run(&target, *count, HOLD, process, true).map(Outcome::Idle),
        }
    }
}

impl Outcome {
    /// Gives what is compared: processor time of the server a packet or an allocation, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        match self {
            Self::Load(figures) => figures.server.map_or(f64::NAN, |server| server.cpu_us_per_packet),
            Self::Idle(figures) => figures.cpu_us_each,
        }
    }

    /// Gives the figures of a load.
    pub fn load(&self) -> Option<&Figures> {
        match self {
            Self::Load(figures) => Some(figures),
            Self::Idle(_) => None,
        }
    }

    /// Gives the figures of idle allocations.
    pub fn idle(&self) -> Option<&IdleFigures> {
        match self {
            Self::Load(_) => None,
            Self::Idle(figures) => Some(figures),
        }
    }

    fn summary(&self) -> String {
        match self {
            Self::Load(f) => format!(
                "{:.3} us/packet, {:.0}/s, server {:.0} %, loss {:.3} %, p99 {:.0} us",
                self.cpu_us(),
                f.delivered_per_s,
                f.server.map_or(f64::NAN, |server| 100.0 * server.busy),
                100.0 * f.loss(),
                f.latency.p99_us
            ),
            Self::Idle(f) => format!("{:.1} us and {:.0} bytes an allocation", f.cpu_us_each, f.bytes_each),
        }
    }
}
