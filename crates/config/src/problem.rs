//! What is wrong with the settings, said so that it can be put right: place, key, value, what is allowed.

use std::fmt;

/// Where a value was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A line of the settings file, counted from one.
    Line(usize),
    /// A `--set` of the command line.
    CommandLine,
    /// Nowhere: a default, or the lack of something.
    Nowhere,
}

/// How bad a problem is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// For the record: a key that is read and has no effect.
    Notice,
    /// Starts, but is probably not what was meant.
    Warning,
    /// Does not start.
    Error,
}

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub place: Place,
    /// The key as it was written there; empty when the problem is the file's.
    pub key: String,
    /// The value found, masked for secrets; empty when there is none to show.
    pub value: String,
    /// What is wrong and what would be right.
    pub text: String,
}

/// All problems of one set of settings, with the name of the file they came from.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Name of the settings file; empty when there is none.
    pub file: String,
    /// The problems: those of the file in the order of its lines, then those of the command line.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Tells whether a start must be refused.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Gives the problems as printable lines, one for each.
    pub fn lines(&self) -> impl Iterator<Item = (Severity, String)> + '_ {
        self.problems
            .iter()
            .map(|problem| (problem.severity, self.line(problem)))
    }

    pub(crate) fn push(&mut self, severity: Severity, place: Place, key: &str, value: &str, text: impl Into<String>) {
        let (key, value, text) = (key.to_owned(), value.to_owned(), text.into());
        self.problems.push(Problem {
            severity,
            place,
            key,
            value,
            text,
        });
    }

    pub(crate) fn sort(&mut self) {
        self.problems.sort_by_key(|problem| match problem.place {
            Place::Line(line) => line,
            Place::CommandLine => usize::MAX - 1,
            Place::Nowhere => usize::MAX,
        });
    }

    fn line(&self, problem: &Problem) -> String {
        let mut line = match problem.place {
            Place::Line(number) => format!("{}:{number}: ", self.file),
            Place::CommandLine => "--set: ".to_owned(),
            Place::Nowhere if self.file.is_empty() => String::new(),
            Place::Nowhere => format!("{}: ", self.file),
        };
        line.push_str(&problem.key);
        if !problem.value.is_empty() {
            line.push_str(&format!(" = \"{}\"", problem.value));
        }
        if !problem.key.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&problem.text);
        line
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (severity, line) in self.lines() {
            writeln!(f, "{severity}: {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A value that a reader refused; the key is added by whoever called the reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    pub(crate) place: Place,
    pub(crate) value: String,
    pub(crate) text: String,
}
