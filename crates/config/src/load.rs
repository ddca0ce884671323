//! From the text of a file and the `--set`s to settings, with every problem found on the way.

use crate::check;
use crate::key::{self, Key, Mark};
use crate::problem::{Place, Problem, Report, Severity, Wrong};
use crate::settings::Settings;
use crate::yaml::{self, Entry, Node, Value};

/// A settings file.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
}

/// Settings that can be started with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings in force.
    pub settings: Settings,
    /// Warnings and notices.
    pub report: Report,
    /// Which keys were given, and where; all others are defaults.
    pub(crate) given: Vec<Given>,
}

/// A key that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) key: &'static str,
    pub(crate) written: String,
    pub(crate) place: Place,
}

/// Loads settings; with no file, the embedded default. `sets` are the `KEY=VALUE`s of the command line; they win over
/// the file. With `strict`, an unknown key is an error.
///
/// # Errors
/// With all errors (and warnings) at once.
pub fn load(source: Option<Source<'_>>, sets: &[String], strict: bool) -> Result<Loaded, Report> {
    let mut loader = Loader {
        report: Report {
            file: source.map(|source| source.name.to_owned()).unwrap_or_default(),
            ..Report::default()
        },
        unknown: if strict { Severity::Error } else { Severity::Warning },
        assignments: Vec::new(),
    };
    if let Some(source) = source {
        loader.read_file(source.text);
    }
    for set in sets {
        loader.read_set(set);
    }
    let mut settings = if source.is_some() {
        Settings::with_file()
    } else {
        Settings::default()
    };
    let given = loader.apply(&mut settings);
    follow(&mut settings, &given);
    check::check(&settings, &given, source.is_some(), &mut loader.report);
    loader.report.sort();
    match loader.report.has_errors() {
        true => Err(loader.report),
        false => Ok(Loaded {
            settings,
            report: loader.report,
            given,
        }),
    }
}

/// SIP follows the conference role unless it was spoken of; a role whose own keys are given is on.
fn follow(settings: &mut Settings, given: &[Given]) {
    let is_given = |name: &str| given.iter().any(|given| given.key == name);
    let section_given = |section: &str| given.iter().any(|given| given.written.starts_with(section));
    if !is_given("mcu.enabled") {
        settings.mcu.enabled |= section_given("mcu.");
    }
    if !is_given("sip.enabled") {
        settings.sip.enabled = settings.mcu.enabled || section_given("sip.");
    }
}

/// A value that was given to a key.
struct Assignment {
    key: &'static Key,
    written: String,
    node: Node,
}

struct Loader {
    report: Report,
    unknown: Severity,
    assignments: Vec<Assignment>,
}

impl Loader {
    fn read_file(&mut self, text: &str) {
        match yaml::parse(text) {
            Ok(entries) => self.walk("", entries),
            Err(wrong) => self
                .report
                .push(Severity::Error, wrong.place, "", &wrong.value, wrong.text),
        }
    }

    fn walk(&mut self, path: &str, entries: Vec<Entry>) {
        for entry in entries {
            let name = if path.is_empty() {
                entry.key.clone()
            } else {
                format!("{path}.{}", entry.key)
            };
            if let Some(key) = key::find(&name) {
                self.assignments.push(Assignment {
                    key,
                    written: name,
                    node: entry.node,
                });
            } else if key::is_section(&name) {
                self.walk_section(&name, entry);
            } else if path.is_empty() && key::is_foreign(&name) {
                let text = "belongs to the deployment tool; it has no effect here";
                self.report.push(Severity::Notice, entry.place, &name, "", text);
            } else {
                self.unknown_key(&name, entry.place);
            }
        }
    }

    fn walk_section(&mut self, name: &str, entry: Entry) {
        match entry.node.value {
            Value::Map(entries) => self.walk(name, entries),
            _ if entry.node.is_null() => {}
            _ => self.report.push(
                Severity::Error,
                entry.place,
                name,
                entry.node.text().unwrap_or_default(),
                "is a section; write its keys below it, indented",
            ),
        }
    }

    fn read_set(&mut self, set: &str) {
        let Some((name, value)) = set.split_once('=') else {
            self.report
                .push(Severity::Error, Place::CommandLine, set, "", "KEY=VALUE is expected");
            return;
        };
        let name = name.trim();
        let Some((key, user)) = key_of_set(name) else {
            self.unknown_key(name, Place::CommandLine);
            return;
        };
        let node = match value.starts_with(['[', '{']) && !(key.is(Mark::Masked) && key.name != "sip.trunks") {
            true => yaml::parse_flow(value),
            false => Ok(Node::scalar(Place::CommandLine, value)),
        };
        match node {
            Ok(node) => {
                let node = match user {
                    None => node,
                    Some(user) => single_entry(user, node),
                };
                self.assignments.push(Assignment {
                    key,
                    written: name.to_owned(),
                    node,
                });
            }
            Err(wrong) => self.report.push(Severity::Error, wrong.place, name, "", wrong.text),
        }
    }

    fn unknown_key(&mut self, name: &str, place: Place) {
        let hint = key::nearest(name)
            .map(|nearest| format!("; did you mean `{nearest}`?"))
            .unwrap_or_default();
        // A mistyped --set is a mistyped command line, not a file that another product shares.
        let severity = if place == Place::CommandLine {
            Severity::Error
        } else {
            self.unknown
        };
        self.report.push(
            severity,
            place,
            name,
            "",
            format!("unknown key, it has no effect{hint}"),
        );
    }

    /// Reads every key that was given into `settings`.
    fn apply(&mut self, settings: &mut Settings) -> Vec<Given> {
        let mut given = Vec::new();
        let assignments = std::mem::take(&mut self.assignments);
        for key in key::all() {
            let of_key: Vec<&Assignment> = assignments
                .iter()
                .filter(|a| a.key.name == key.name && !a.node.is_null())
                .collect();
            self.refuse_contradiction(key, &of_key);
            let Some(effective) = of_key.last() else { continue };
            match (key.read)(settings, &effective.node) {
                Ok(()) => given.push(Given {
                    key: key.name,
                    written: effective.written.clone(),
                    place: effective.node.place,
                }),
                Err(wrongs) => wrongs
                    .into_iter()
                    .for_each(|wrong| self.refuse(key, &effective.written, wrong)),
            }
            if key.is(Mark::Later) {
                self.report.push(
                    Severity::Notice,
                    effective.node.place,
                    &effective.written,
                    "",
                    format!("not built yet: {}; the value is checked and has no effect", key.name),
                );
            }
        }
        given
    }

    fn refuse(&mut self, key: &Key, written: &str, wrong: Wrong) {
        let value = if key.is(Mark::Masked) { "" } else { wrong.value.as_str() };
        let problem = Problem {
            severity: Severity::Error,
            place: wrong.place,
            key: written.to_owned(),
            value: value.to_owned(),
            text: wrong.text,
        };
        self.report.problems.push(problem);
    }

    /// A key that the file gives twice, under one name or two, must say the same each time.
    fn refuse_contradiction(&mut self, key: &Key, of_key: &[&Assignment]) {
        let mut of_file = of_key.iter().filter(|a| a.node.place != Place::CommandLine);
        let Some(first) = of_file.next() else { return };
        let reading = |node: &Node| {
            let mut scratch = Settings::default();
            (key.read)(&mut scratch, node).ok().map(|()| (key.show)(&scratch))
        };
        for other in of_file {
            let same =
                other.node.same(&first.node) || (!key.is(Mark::Masked) && reading(&other.node) == reading(&first.node));
            if !same {
                let line = match first.node.place {
                    Place::Line(line) => line.to_string(),
                    _ => "?".to_owned(),
                };
                let text = format!("contradicts `{}` of line {line}; remove one of the two", first.written);
                self.report
                    .push(Severity::Error, other.node.place, &other.written, "", text);
            }
        }
    }
}

/// Finds the key of a `--set`; `turn.users.static.alice` is one entry of a map.
fn key_of_set(name: &str) -> Option<(&'static Key, Option<&str>)> {
    if let Some(key) = key::find(name) {
        return Some((key, None));
    }
    let user = name
        .strip_prefix("turn.users.static.")
        .filter(|user| !user.is_empty())?;
    Some((key::find("turn.users.static")?, Some(user)))
}

fn single_entry(key: &str, node: Node) -> Node {
    let place = node.place;
    Node {
        place,
        value: Value::Map(vec![Entry {
            key: key.to_owned(),
            place,
            node,
        }]),
    }
}
