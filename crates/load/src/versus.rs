//! Two servers side by side: A B A B .., each alone on its core while it runs.

use std::time::Instant;

use serde::Serialize;

use crate::LoadError;
use crate::program::Program;
use crate::progress::Status;

/// How a comparison is run.
#[derive(Clone, Debug)]
pub struct Versus {
    /// Ours.
    pub voex: Program,
    /// Who it is compared with.
    pub rival: Program,
    /// Runs of each cell and server.
    pub rounds: usize,
    /// Where servers run; the load must run elsewhere.
    pub server_core: usize,
    /// Says nothing while loads run.
    pub quiet: bool,
}

/// A cell: something that can be done to either server.
pub trait Contest {
    /// What came of it.
    type Outcome;

    /// Gives its name on the command line.
    fn name(&self) -> &'static str;

    /// Starts a program on a core, does it, and stops the program.
    ///
    /// # Errors
    /// See [`LoadError`].
    fn run(&self, program: &Program, core: usize) -> Result<Self::Outcome, LoadError>;

    /// Says in one line what came of it.
    fn summary(outcome: &Self::Outcome) -> String;
}

/// Runs of a cell.
#[derive(Clone, Debug, Serialize)]
pub struct CellResult<C, O> {
    /// The cell.
    pub cell: C,
    /// Ours, in order.
    pub voex: Vec<O>,
    /// The rival's, in order.
    pub rival: Vec<O>,
    /// Why it has fewer runs than were asked for.
    pub failure: Option<String>,
}

impl Versus {
    /// Runs every cell. A server that fails ends its cell and no other.
    ///
    /// # Errors
    /// [`LoadError::Interrupted`].
    pub fn run<C: Contest>(&self, cells: Vec<C>) -> Result<Vec<CellResult<C, C::Outcome>>, LoadError> {
        let mut status = Status::new(cells.len() * self.rounds * 2, self.quiet);
        cells.into_iter().map(|cell| self.run_cell(cell, &mut status)).collect()
    }

    fn run_cell<C: Contest>(&self, cell: C, status: &mut Status) -> Result<CellResult<C, C::Outcome>, LoadError> {
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
                    result.cell.name(),
                    self.rounds,
                    program.name()
                );
                status.begin(&what);
                let begun = Instant::now();
                match result.cell.run(program, self.server_core) {
                    Ok(outcome) => {
                        status.end(&what, &C::summary(&outcome), begun.elapsed());
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
}
