//! What one run of a TURN cell came to.

use std::time::Duration;

use serde::Serialize;

use crate::LoadError;
use crate::cells::{Cell, Workload};
use crate::figures::Figures;
use crate::idle::{self, IdleFigures};
use crate::load;
use crate::program::{Program, Role};
use crate::server::Server;
use crate::versus::Contest;

/// Time that allocations are held idle.
const HOLD: Duration = Duration::from_secs(1);

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of a load.
    Load(Box<Figures>),
    /// Of idle allocations.
    Idle(IdleFigures),
}

impl Contest for Cell {
    type Outcome = Outcome;

    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, program: &Program, core: usize) -> Result<Outcome, LoadError> {
        let role = Role::Turn {
            transport: self.transport,
            key: self.key,
        };
        let server = Server::start(program, core, role)?;
        let (target, process) = (server.target(self.transport), server.process());
        match &self.workload {
            Workload::Load(pattern) => {
                let figures = load::run(&target, pattern, Some(process), true)?;
                Ok(Outcome::Load(Box::new(figures)))
            }
            Workload::Idle(count) => idle::run(&target, *count, HOLD, process, true).map(Outcome::Idle),
        }
    }

    fn summary(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Load(f) => format!(
                "{:.3} us/packet, {:.0}/s, server {:.0} %, loss {:.3} %, p99 {:.0} us",
                outcome.cpu_us(),
                f.delivered_per_s,
                f.server.map_or(f64::NAN, |server| 100.0 * server.busy),
                100.0 * f.loss(),
                f.latency.p99_us
            ),
            Outcome::Idle(f) => format!("{:.1} us and {:.0} bytes an allocation", f.cpu_us_each, f.bytes_each),
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
}
