//! The voex media host.
//!
//! ```text
//!  voex serve:  settings ──► addresses ──► Host::start: bind everything ──► "ready" ──► signal ──► drain ──► stop
//!                                               │
//!               ┌───────────────┬───────────────┼────────────────┬──────────────────┐
//!           websocket       signalling        media            http            control task
//!           Janus API       SIP sockets     worker threads   metrics, health   Janus gateway, SIP endpoint
//! ```
#![forbid(unsafe_code)]

mod addresses;
mod api;
mod call_log;
mod certificate;
mod check_config;
mod cli;
mod console;
mod control;
mod coturn_figures;
mod databases;
mod descriptors;
mod drain;
mod events;
mod figures;
mod host;
mod machines;
mod media;
mod mjr;
mod notify;
mod recorder;
mod redis_figures;
mod serve;
mod settings_file;
mod signalling;
mod stream_figures;
mod turn_config;
mod turn_desk;
mod turn_sessions;
mod turnserver_conf;
mod websocket;
mod welcome;

use std::process::ExitCode;

use clap::Parser as _;

/// The C library keeps a pool for each thread and gives back little of it, so that the process was larger after each of ten waves of
/// sessions. This one has a pool for each core and gives back what nothing used for a second (`.cargo/config.toml`); the C
/// libraries linked in use it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().command {
        cli::Command::Serve(args) => serve::serve(&args),
        cli::Command::CheckConfig(args) => check_config::check_config(&args),
        cli::Command::Mjr(args) => mjr::mjr(&args),
        cli::Command::TurnConfig(args) => turnserver_conf::turn_config(&args),
    }
}
