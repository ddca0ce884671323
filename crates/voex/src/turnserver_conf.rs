//! `voex turn-config`: a coturn configuration becomes settings.

use std::io::Write as _;
use std::process::ExitCode;

use voex_config::coturn::{Conversion, Outcome, convert};

use crate::cli;

/// Prints settings to stdout and what became of each line to stderr; 0 when nothing is missing, 1 when something that
/// changes behaviour has no counterpart, 2 when the file cannot be read.
pub(crate) fn turn_config(args: &cli::TurnConfig) -> ExitCode {
    let name = args.file.display().to_string();
    let text = match std::fs::read(&args.file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("error: {name}: cannot be read: {error}");
            return ExitCode::from(2);
        }
    };
    let conversion = convert(&name, &text);
    // A reader that went away (`| head`) is no failure of the conversion.
    let _ = std::io::stdout().write_all(conversion.settings.as_bytes());
    eprint!("{}", report(&name, &conversion));
    match conversion.is_complete() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn report(name: &str, conversion: &Conversion) -> String {
    let line = |finding: &voex_config::coturn::Finding| {
        let place = finding.line.map_or(String::new(), |line| format!("{line}:"));
        format!(
            "{name}:{place} {}: {}: {}\n",
            finding.option, finding.outcome, finding.text
        )
    };
    let count = |outcome| conversion.count(outcome);
    let lines: String = conversion.findings.iter().map(line).collect();
    format!(
        "{lines}{} taken over, {} need no counterpart, {} obsolete, {} without counterpart\n",
        count(Outcome::Taken),
        count(Outcome::Needless),
        count(Outcome::Obsolete),
        count(Outcome::Gap)
    )
}
