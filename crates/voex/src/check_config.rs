//! `voex check-config`: what the settings come to.

use std::io::Write as _;
use std::process::ExitCode;

use crate::{certificate, cli, settings_file};

/// Prints the effective settings to stdout, problems to stderr; 0 when a start is possible, else 1.
pub(crate) fn check_config(args: &cli::CheckConfig) -> ExitCode {
    match settings_file::load(Some(&args.file), &args.sets, args.strict) {
        Ok(mut loaded) => {
            loaded.report.problems.extend(certificate::problems(&loaded.settings));
            // A reader that went away (`| head`) is no failure of the settings.
            let _ = std::io::stdout().write_all(loaded.explain().as_bytes());
            eprint!("{}", loaded.report);
            match loaded.report.has_errors() {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            }
        }
        Err(report) => {
            eprint!("{report}");
            ExitCode::FAILURE
        }
    }
}
