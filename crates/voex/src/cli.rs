//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Media host of a messenger: TURN server, conference server, SIP gateway.
#[derive(Parser, Debug)]
#[command(name = "voex", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Runs in the foreground. SIGTERM drains then stops, SIGINT stops, SIGHUP reloads.
    Serve(Serve),
    /// Prints the settings in force, the ports that would be bound and the certificates; binds nothing.
    CheckConfig(CheckConfig),
    /// Turns a coturn configuration into settings on stdout, and says on stderr what became of each line. 0: everything
    /// is taken over or needless; 1: something that changes behaviour has no counterpart; 2: it cannot be read.
    TurnConfig(TurnConfig),
    /// Says what recordings (.mjr) hold, and turns them into files that players know: the name behind --out tells which.
    Mjr(Mjr),
}

/// With no settings file: users and secrets in memory, self-signed certificates made at start, Janus API, SIP and
/// console on 127.0.0.1, media on every address of the host.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Settings file.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// One setting by its canonical name, lists comma-separated; wins over the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Takes an unknown key for an error instead of a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CheckConfig {
    /// Settings file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// One setting by its canonical name, lists comma-separated; wins over the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Takes an unknown key for an error instead of a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TurnConfig {
    /// turnserver.conf of coturn 4.6 to 4.17.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Mjr {
    /// Recordings; several become one file with a track each, as far from one another as they began.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// What to write: .webm or .mkv, .opus, .wav, or .mjr for a repair. A file that exists is not overwritten.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Says what the recordings hold; without --out that is all.
    #[arg(long)]
    pub(crate) info: bool,
    /// Writes all that is whole of a cut or damaged recording to --out FILE.mjr. Other files are made of that anyway.
    #[arg(long)]
    pub(crate) repair: bool,
}
