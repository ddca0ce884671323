//! `voex-load`: how fast is a media server, and does it deliver what it was given?
#![forbid(unsafe_code)]

mod cli;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use serde::Serialize;
use serde_json::{Value, json};
use voex_load::environment::Environment;
use voex_load::process::{Process, pin_to, raise_descriptor_limit};
use voex_load::table::{self, Row};
use voex_load::versus::{CellResult, Contest, Versus};
use voex_load::{LoadError, idle, interrupt, load, mcu, plot};

use crate::cli::{Cli, Command, McuJob, Output, TurnJob};

/// Exit code of a run in which packets arrived that had not been sent so.
const CONTENT_WRONG: u8 = 3;

/// What a job came to.
struct Report {
    plain: String,
    markdown: Option<String>,
    json: Value,
    plot: Option<String>,
    verdict: Verdict,
}

/// What the exit code says.
#[derive(Clone, Copy)]
enum Verdict {
    Right,
    Incomplete,
    ContentWrong,
}

/// What is done, on which core, and how it is told.
type Work = (Box<dyn FnOnce() -> Result<Report, LoadError>>, usize, Output);

fn main() -> ExitCode {
    let (work, core, output) = match work(Cli::parse().command) {
        Ok(work) => work,
        Err(why) => {
            eprintln!("voex-load: {why}");
            return ExitCode::from(2);
        }
    };
    let verdict = interrupt::install()
        .and_then(|()| raise_descriptor_limit())
        .and_then(|()| pin_to(core))
        .and_then(|()| work())
        .map_err(|error| (error.to_string(), matches!(error, LoadError::Interrupted)))
        .and_then(|report| {
            let told = tell(&output, &report).map_err(|error| (error.to_string(), false));
            told.map(|()| report.verdict)
        });
    match verdict {
        Ok(Verdict::Right) => ExitCode::SUCCESS,
        Ok(Verdict::Incomplete) => ExitCode::FAILURE,
        Ok(Verdict::ContentWrong) => ExitCode::from(CONTENT_WRONG),
        Err((why, is_interrupted)) => {
            eprintln!("voex-load: {why}");
            if is_interrupted {
                ExitCode::from(interrupt::EXIT_CODE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Finds out what is asked for, or one sentence on what would be right.
fn work(command: Command) -> Result<Work, String> {
    Ok(match command {
        Command::Turn(args) => {
            let (job, core, quiet) = (args.job()?, args.core(), args.output.quiet);
            (Box::new(move || turn(job, quiet)), core, args.output)
        }
        Command::Mcu(args) => {
            let (job, core, quiet) = (args.job()?, args.core(), args.output.quiet);
            (Box::new(move || conference(job, quiet)), core, args.output)
        }
    })
}

fn turn(job: TurnJob, quiet: bool) -> Result<Report, LoadError> {
    match job {
        TurnJob::Load { target, pattern, pid } => {
            let server = pid.map(Process::find).transpose()?;
            let figures = load::run(&target, &pattern, server.as_ref(), quiet)?;
            if figures.sent > 0 && figures.delivered == 0 {
                eprintln!(
                    "voex-load: nothing arrived: can the server send to this host, and does --peer name an address that \
                     it reaches?"
                );
            }
            let what = format!("{}, {pattern}", target.transport);
            Ok(Report {
                plain: figures.to_string(),
                markdown: None,
                plot: Some(plot::latencies(&figures.latencies, &what)),
                verdict: verdict(figures.content_is_right(), figures.delivered),
                json: json!({ "transport": target.transport, "pattern": pattern, "figures": figures }),
            })
        }
        TurnJob::Idle {
            target,
            allocations,
            hold,
            pid,
        } => {
            let figures = idle::run(&target, allocations, hold, &Process::find(pid)?, quiet)?;
            Ok(Report {
                plain: figures.to_string(),
                markdown: None,
                json: json!({ "transport": target.transport, "figures": figures }),
                plot: None,
                verdict: Verdict::Right,
            })
        }
        TurnJob::Versus(versus, cells, measured) => compare(&versus, cells, measured, "TURN", table::rows),
    }
}

fn conference(job: McuJob, quiet: bool) -> Result<Report, LoadError> {
    match job {
        McuJob::Load { target, plan, pid } => {
            let server = pid.map(Process::find).transpose()?;
            let figures = mcu::run(&target, &plan, server.as_ref(), quiet)?;
            let delivered = if figures.silent_streams > 0 {
                0
            } else {
                figures.delivered
            };
            Ok(Report {
                plain: figures.to_string(),
                markdown: None,
                plot: Some(plot::latencies(&figures.latencies, &plan.to_string())),
                verdict: verdict(figures.content_is_right(), delivered),
                json: json!({ "plan": plan, "figures": figures }),
            })
        }
        McuJob::Versus(versus, cells, measured) => compare(&versus, cells, measured, "conferences", mcu::cells::rows),
    }
}

fn verdict(content_is_right: bool, delivered: u64) -> Verdict {
    match (content_is_right, delivered) {
        (false, _) => Verdict::ContentWrong,
        (true, 0) => Verdict::Incomplete,
        (true, _) => Verdict::Right,
    }
}

/// Runs cells on both servers and shows their rows.
fn compare<C: Contest + Serialize>(
    versus: &Versus,
    cells: Vec<C>,
    measured: Duration,
    what: &str,
    rows: impl Fn(&CellResult<C, C::Outcome>) -> Vec<Row>,
) -> Result<Report, LoadError>
where
    C::Outcome: Serialize,
{
    let environment = Environment::look(&versus.voex, &versus.rival);
    if let Some(warning) = environment.warning() {
        eprintln!("voex-load: {warning}");
    }
    let results = versus.run(cells)?;
    let rows: Vec<Row> = results.iter().flat_map(rows).collect();
    let rival = versus.rival.name();
    let verdict = if !rows.iter().all(|row| row.content_is_right) {
        Verdict::ContentWrong
    } else if results.iter().any(|result| result.failure.is_some()) {
        Verdict::Incomplete
    } else {
        Verdict::Right
    };
    let how = format!(
        "{environment}. Medians of {} alternating runs of {} s; servers on core {}.",
        versus.rounds,
        measured.as_secs(),
        versus.server_core
    );
    Ok(Report {
        plain: format!("{}\n{how}\n", table::plain(&rows, rival)),
        markdown: Some(format!("{}\n{how}\n", table::markdown(&rows, rival))),
        plot: Some(plot::ratios(&rows, what, rival, &how)),
        json: json!({ "environment": environment, "rows": rows, "runs": results }),
        verdict,
    })
}

/// Writes the files that are asked for, and prints in the form that is asked for.
fn tell(args: &Output, report: &Report) -> std::io::Result<()> {
    let json = format!("{:#}\n", report.json);
    let forms = [
        (args.json.as_deref(), Some(&json)),
        (args.markdown.as_deref(), report.markdown.as_ref()),
        (args.plot.as_deref(), report.plot.as_ref()),
    ];
    let stdout = Path::new("-");
    let mut printed = false;
    for (path, text) in forms {
        match (path, text) {
            (Some(path), Some(text)) if path == stdout => {
                std::io::stdout().write_all(text.as_bytes())?;
                printed = true;
            }
            (Some(path), Some(text)) => std::fs::write(path, text)
                .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))?,
            _ => {}
        }
    }
    if !printed {
        std::io::stdout().write_all(report.plain.as_bytes())?;
    }
    Ok(())
}
