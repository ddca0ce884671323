//! The settings file on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use voex_config::{Loaded, Place, Problem, Report, Severity, Source};

use crate::certificate;

/// Loads settings; with no file, the embedded default.
pub(crate) fn load(file: Option<&Path>, sets: &[String], strict: bool) -> Result<Loaded, Report> {
    let Some(file) = file else {
        return voex_config::load(None, sets, strict);
    };
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| unreadable(&name, &error))?;
    let mut loaded = voex_config::load(
        Some(Source {
            name: &name,
            text: &text,
        }),
        sets,
        strict,
    )?;
    certificate::find(file, &mut loaded.settings);
    if is_world_readable(file) {
        loaded.report.problems.push(problem(
            Severity::Warning,
            "everybody on this host may read this file; chmod 600 it",
        ));
    }
    Ok(loaded)
}

fn unreadable(name: &str, error: &std::io::Error) -> Report {
    let text = format!("cannot be read: {error}");
    Report {
        file: name.to_owned(),
        problems: vec![problem(Severity::Error, &text)],
    }
}

fn problem(severity: Severity, text: &str) -> Problem {
    Problem {
        severity,
        place: Place::Nowhere,
        key: String::new(),
        value: String::new(),
        text: text.to_owned(),
    }
}

fn is_world_readable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
