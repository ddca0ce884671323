//! `voex-load`: how fast is a TURN server, and does it deliver what it was given?
#![forbid(unsafe_code)]

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use serde_json::json;
use voex_load::process::{Process, pin_to, raise_descriptor_limit};
use voex_load::table::{Row, markdown};
use voex_load::{LoadError, idle, load};

use crate::cli::{Cli, Command, Job, Turn};

fn main() -> ExitCode {
    let Command::Turn(args) = Cli::parse().command;
    let job = match args.job() {
        Ok(job) => job,
        Err(why) => {
            eprintln!("voex-load: {why}");
            return ExitCode::from(2);
        }
    };
    let output = raise_descriptor_limit()
        .and_then(|()| pin_to(args.core))
        .and_then(|()| run(&args, job));
    match output {
        Ok((text, content_is_right)) => {
            let told = std::io::stdout().write_all(text.as_bytes());
            if told.is_ok() && content_is_right {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("voex-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives what to print, and whether everything that arrived was what had been sent.
fn run(args: &Turn, job: Job) -> Result<(String, bool), LoadError> {
    let printed = |text: String, json: serde_json::Value| if args.json { format!("{json:#}\n") } else { text };
    match job {
        Job::Load { target, pattern, pid } => {
            let server = pid.map(Process::find).transpose()?;
            let figures = load::run(&target, &pattern, server.as_ref(), args.quiet)?;
            let json = json!({ "pattern": pattern, "figures": figures });
            Ok((printed(figures.to_string(), json), figures.content_is_right()))
        }
        Job::Idle {
            target,
            allocations,
            hold,
            pid,
        } => {
            let figures = idle::run(&target, allocations, hold, &Process::find(pid)?, args.quiet)?;
            Ok((printed(figures.to_string(), json!(figures)), true))
        }
        Job::Versus(versus) => {
            let results = versus.run()?;
            let rows: Vec<Row> = results.iter().map(Row::of).collect();
            let right = rows.iter().all(|row| !row.notes.contains("WRONG"));
            let json = json!({ "rows": rows, "runs": results });
            Ok((printed(markdown(&rows, versus.rival.name()), json), right))
        }
    }
}
