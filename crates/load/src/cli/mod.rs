//! The command line.

mod mcu;
mod turn;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use voex_load::program::Program;
use voex_load::versus::Versus;

pub(crate) use mcu::{Job as McuJob, Mcu};
pub(crate) use turn::{Job as TurnJob, Turn};

/// Load generator for media servers.
#[derive(Parser, Debug)]
#[command(name = "voex-load", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Loads a TURN server over UDP, TCP or TLS and tells what arrived, how late, and what it cost the server.
    Turn(Box<Turn>),
    /// Loads a conference server through the Janus API and tells what arrived, how late, and what it cost the server.
    Mcu(Box<Mcu>),
}

/// Two servers that are started here.
#[derive(Args, Debug)]
pub(crate) struct Comparison {
    /// Starts voex and its rival in turn and compares them.
    #[arg(long)]
    pub(crate) versus: bool,
    /// The voex binary.
    #[arg(long, value_name = "FILE", default_value = "target/release/voex")]
    voex: PathBuf,
    /// A setting of voex, as its --set takes it; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "versus")]
    voex_set: Vec<String>,
    /// Compares with another build of voex instead; with the same one, what noise does to ratios.
    #[arg(long, value_name = "FILE", requires = "versus")]
    against: Option<PathBuf>,
    /// A setting of that build; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "against")]
    against_set: Vec<String>,
    /// Runs of each cell and server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Core the servers run on.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
}

/// What is told, and where.
#[derive(Args, Debug)]
pub(crate) struct Output {
    /// Gives JSON, into a file when one is named.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    /// Gives the table of --versus as Markdown, into a file when one is named.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "-",
        requires = "versus"
    )]
    pub(crate) markdown: Option<PathBuf>,
    /// Draws latencies, or the ratios of --versus, into an SVG file.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Shows no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Comparison {
    /// Finds the programs that are compared from a load on `core`; `rival` finds the rival where no other build of ours
    /// takes its place.
    fn prepare(
        &self,
        core: usize,
        quiet: bool,
        rival: impl FnOnce() -> Result<Program, String>,
    ) -> Result<Versus, String> {
        if core == self.server_core {
            return Err(format!(
                "the load and the servers would share core {}, and slow each other down: --core and --server-core must \
                 differ",
                self.server_core
            ));
        }
        is_built(&self.voex, "--voex")?;
        let rival = match &self.against {
            Some(path) => {
                is_built(path, "--against")?;
                Program::other_voex(path.clone(), self.against_set.clone())
            }
            None => rival()?,
        };
        Ok(Versus {
            voex: Program::voex(self.voex.clone(), self.voex_set.clone()),
            rival,
            rounds: usize::from(self.rounds),
            server_core: self.server_core,
            quiet,
        })
    }
}

/// Gives the core that a load runs on when nothing is said.
fn last_core() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) - 1
}

/// Says what to do about a binary of voex that is not there.
fn is_built(path: &Path, option: &str) -> Result<(), String> {
    if path.is_file() {
        return Ok(());
    }
    let path = path.display();
    Err(format!(
        "{path}: there is no voex; build it with `cargo build --release -p voex` or name it with {option}"
    ))
}

/// Tells whether a file, or a name in the search path, is there.
fn is_program(path: &Path) -> bool {
    let search = std::env::var_os("PATH").unwrap_or_default();
    path.is_file() || std::env::split_paths(&search).any(|folder| folder.join(path).is_file())
}
