//! Two servers side by side: A B A B .., each alone on its core while it runs.

use std::time::Duration;

use serde::Serialize;

use crate::LoadError;
use crate::figures::Figures;
use crate::idle::{self, IdleFigures};
use crate::load;
use crate::pattern::{Direction, Pacing, Pattern, Wrap};
use crate::server::{Program, Server};

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
    /// Names of cells; all when empty.
    pub cells: Vec<String>,
    /// Says nothing while loads run.
    pub quiet: bool,
}

/// One thing that is compared.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Its name.
    pub name: &'static str,
    /// What is run.
    pub workload: Workload,
    /// What ours may cost at most.
    pub budget: Budget,
}

/// What is run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Packets.
    Load(Pattern),
    /// So many idle allocations.
    Idle(usize),
}

/// What ours may cost at most. Twice as many packets a second is half the time a packet: both are told as cost, which
/// stands whether or not the load could fill the faster server.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Share of the rival's processor time.
    CpuShare(f64),
    /// Share of the rival's processor time to make an allocation, and bytes of memory of one.
    Allocation {
        /// Share of the processor time.
        cpu_share: f64,
        /// Bytes, whatever the rival takes.
        bytes: f64,
    },
    /// Shown for comparison.
    None,
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
}

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of a load.
    Load(Figures),
    /// Of idle allocations.
    Idle(IdleFigures),
}

impl Versus {
    /// Runs every cell.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn run(&self) -> Result<Vec<CellResult>, LoadError> {
        let wanted = |cell: &Cell| self.cells.is_empty() || self.cells.iter().any(|name| name == cell.name);
        cells(self.measured)
            .into_iter()
            .filter(wanted)
            .map(|cell| self.run_cell(cell))
            .collect()
    }

    fn run_cell(&self, cell: Cell) -> Result<CellResult, LoadError> {
        let mut result = CellResult {
            voex: Vec::with_capacity(self.rounds),
            rival: Vec::with_capacity(self.rounds),
            cell,
        };
        for round in 1..=self.rounds {
            for (program, is_ours) in [(&self.voex, true), (&self.rival, false)] {
                eprintln!(
                    "{}, round {round} of {}: {}",
                    result.cell.name,
                    self.rounds,
                    program.name()
                );
                let outcome = self.run_once(program, &result.cell.workload)?;
                eprintln!("  {}", outcome.summary());
                if is_ours { &mut result.voex } else { &mut result.rival }.push(outcome);
            }
        }
        Ok(result)
    }

    fn run_once(&self, program: &Program, workload: &Workload) -> Result<Outcome, LoadError> {
        let server = Server::start(program, self.server_core)?;
        match workload {
            Workload::Load(pattern) => {
                load::run(server.target(), pattern, Some(server.process()), self.quiet).map(Outcome::Load)
            }
            Workload::Idle(count) => {
                idle::run(server.target(), *count, self.measured, server.process(), self.quiet).map(Outcome::Idle)
            }
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

    fn summary(&self) -> String {
        match self {
            Self::Load(f) => format!(
                "{:.3} us/packet, {:.0}/s, server {:.0} %, loss {:.3} %, p99 {:.0} us",
                self.cpu_us(),
                f.delivered_per_s,
                f.server.map_or(f64::NAN, |server| 100.0 * server.busy),
                100.0 * f.loss(),
                f.p99_us
            ),
            Self::Idle(f) => format!("{:.1} us and {:.0} bytes an allocation", f.cpu_us_each, f.bytes_each),
        }
    }
}

/// Names of all cells.
pub fn cell_names() -> Vec<&'static str> {
    cells(Duration::ZERO).iter().map(|cell| cell.name).collect()
}

/// The rows of the budget that concern UDP, and Send indications beside them.
///
/// A burst enters the kernel at once, as it does from a network card at line rate: a server without receive offload
/// finds single packets, one with it a train. Sent singly, a burst leaves slower than a fast server relays it, and the
/// server never sees it whole; that is shown too.
fn cells(measured: Duration) -> Vec<Cell> {
    let base = Pattern {
        clients: 64,
        direction: Direction::Both,
        wrap: Wrap::Channel,
        payload_bytes: 170,
        burst: 1,
        gso: false,
        pacing: Pacing::InFlight(2),
        warm_up: Duration::from_millis(500),
        measured,
    };
    let paced = |clients| Pattern {
        clients,
        pacing: Pacing::Rate(50.0),
        ..base.clone()
    };
    let flood_send = Pattern {
        wrap: Wrap::Send,
        ..base.clone()
    };
    let burst = Pattern {
        clients: 4,
        direction: Direction::Up,
        payload_bytes: 1200,
        burst: 32,
        gso: true,
        pacing: Pacing::InFlight(1),
        ..base.clone()
    };
    let burst_singly = Pattern {
        gso: false,
        ..burst.clone()
    };
    let pair = Pattern {
        direction: Direction::Pair,
        ..base.clone()
    };
    let idle = Budget::Allocation {
        cpu_share: 0.5,
        bytes: 4096.0,
    };
    [
        ("flood-170", Workload::Load(base.clone()), Budget::CpuShare(0.75)),
        ("flood-170-send", Workload::Load(flood_send), Budget::None),
        ("paced-50", Workload::Load(paced(50)), Budget::CpuShare(0.6)),
        ("paced-1000", Workload::Load(paced(1000)), Budget::CpuShare(0.6)),
        ("burst-32x1200", Workload::Load(burst), Budget::CpuShare(1.0 / 2.5)),
        (
            "burst-32x1200-singly",
            Workload::Load(burst_singly),
            Budget::CpuShare(1.0 / 2.5),
        ),
        ("pair-170", Workload::Load(pair), Budget::CpuShare(1.0 / 2.0)),
        ("idle-2000", Workload::Idle(2000), idle),
    ]
    .map(|(name, workload, budget)| Cell { name, workload, budget })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_can_be_run_for_as_long_as_the_command_line_allows() {
        for cell in cells(Duration::from_secs(200)) {
            if let Workload::Load(pattern) = cell.workload {
                assert_eq!(pattern.check(), Ok(()), "{}", cell.name);
            }
        }
    }
}
