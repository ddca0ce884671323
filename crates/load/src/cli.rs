//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use voex_load::client::Credentials;
use voex_load::pattern::{Direction, Pacing, Pattern, SECONDS_MAX, Wrap};
use voex_load::rig::Target;
use voex_load::server::Program;
use voex_load::versus::{Versus, cell_names};

/// Load generator for media servers.
#[derive(Parser, Debug)]
#[command(name = "voex-load", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Loads a TURN server over UDP and tells what arrived, how late, and what it cost the server.
    Turn(Turn),
}

/// One load on a running server (--server), or a comparison of two that are started here (--versus).
#[derive(Args, Debug)]
pub(crate) struct Turn {
    /// Address and port of a running server.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        required_unless_present = "versus",
        conflicts_with = "versus"
    )]
    server: Option<SocketAddr>,
    /// User of the long-term mechanism.
    #[arg(long, default_value = "load")]
    user: String,
    /// Password.
    #[arg(long, default_value = "heavy")]
    password: String,
    /// Process of the server on this machine: tells its processor time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Clients, each with an allocation.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Which way packets go.
    #[arg(long, value_enum, default_value_t = Direction::Both)]
    direction: Direction,
    /// How clients wrap packets.
    #[arg(long, value_enum, default_value_t = Wrap::Channel)]
    wrap: Wrap,
    /// Bytes of a payload.
    #[arg(long, value_name = "BYTES", default_value_t = 170)]
    size: usize,
    /// Packets sent back to back to one destination: a shot.
    #[arg(long, value_name = "PACKETS", default_value_t = 1)]
    burst: usize,
    /// Sends each shot as one GSO message.
    #[arg(long)]
    gso: bool,
    /// Shots a second a client, spread evenly.
    #[arg(long, default_value_t = 50.0, conflicts_with = "flood")]
    rate: f64,
    /// As fast as packets come back, with so many shots under way in each flow.
    #[arg(long, value_name = "SHOTS", num_args = 0..=1, default_missing_value = "2")]
    flood: Option<usize>,
    /// Only allocates, and measures memory and processor time an allocation; needs --pid.
    #[arg(long, requires = "pid", conflicts_with = "versus")]
    idle: bool,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..SECONDS_MAX))]
    seconds: u64,
    /// Core this process runs on.
    #[arg(long, default_value_t = 1)]
    pub(crate) core: usize,
    /// Starts voex and coturn in turn and compares them.
    #[arg(long)]
    versus: bool,
    /// The voex binary.
    #[arg(long, value_name = "FILE", default_value = "target/release/voex")]
    voex: PathBuf,
    /// coturn's server.
    #[arg(long, value_name = "FILE", default_value = "turnserver")]
    coturn: PathBuf,
    /// Runs of each cell and server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Core the servers run on.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Compares these cells only.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(cell_names()))]
    cells: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Shows no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// What the command line asks for.
pub(crate) enum Job {
    /// One load on a running server.
    Load {
        target: Target,
        pattern: Pattern,
        pid: Option<u32>,
    },
    /// Idle allocations on a running server.
    Idle {
        target: Target,
        allocations: usize,
        hold: Duration,
        pid: u32,
    },
    /// A comparison.
    Versus(Versus),
}

impl Turn {
    /// Finds out what is asked for, or one sentence on what would be right.
    pub(crate) fn job(&self) -> Result<Job, String> {
        let pattern = self.pattern();
        pattern.check()?;
        let Some(address) = self.server else {
            return self.versus();
        };
        let credentials = Credentials {
            user: self.user.clone(),
            password: self.password.clone(),
        };
        let target = Target { address, credentials };
        Ok(match self.pid {
            Some(pid) if self.idle => Job::Idle {
                target,
                allocations: self.clients,
                hold: Duration::from_secs(self.seconds),
                pid,
            },
            pid => Job::Load { target, pattern, pid },
        })
    }

    fn pattern(&self) -> Pattern {
        Pattern {
            clients: self.clients,
            direction: self.direction,
            wrap: self.wrap,
            payload_bytes: self.size,
            burst: self.burst,
            gso: self.gso,
            pacing: self.flood.map_or(Pacing::Rate(self.rate), Pacing::InFlight),
            warm_up: Duration::from_millis(500),
            measured: Duration::from_secs(self.seconds),
        }
    }

    fn versus(&self) -> Result<Job, String> {
        if self.core == self.server_core {
            return Err("--core and --server-core must differ: the load would slow the server down".into());
        }
        Ok(Job::Versus(Versus {
            voex: Program::Voex(self.voex.clone()),
            rival: Program::Coturn(self.coturn.clone()),
            rounds: usize::from(self.rounds),
            measured: Duration::from_secs(self.seconds),
            server_core: self.server_core,
            cells: self.cells.clone(),
            quiet: self.quiet,
        }))
    }
}
