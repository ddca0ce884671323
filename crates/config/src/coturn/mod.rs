//! A coturn configuration, in the spellings of 4.6 and of 4.17, turned into our settings.
//!
//! ```text
//!  turnserver.conf ──► line (name, value, number) ──► table (one row an option) ──► draft ──► settings.yaml
//!                                                        └──► one finding a line: taken over, without effect, gap
//! ```

mod act;
mod draft;
mod line;
mod table;
mod values;

use std::fmt;

use act::{Job, Verdict};
use draft::{Draft, Value};
use line::{Line, Lines};

use crate::settings::{PortRange, Settings};

/// What a coturn configuration comes to.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// Our settings, as YAML with the source lines beside them. Secrets stand in it.
    pub settings: String,
    /// What became of every line.
    pub findings: Vec<Finding>,
}

/// What became of an option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Its line; `None` for what the file does not say.
    pub line: Option<u32>,
    /// Its name.
    pub option: String,
    /// How well it came over.
    pub outcome: Outcome,
    /// Where it went, or why nowhere and what to do instead. Never a secret.
    pub text: String,
}

/// How well an option came over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It stands in the settings.
    Taken,
    /// It needs no counterpart: nothing behaves differently without it.
    Needless,
    /// It is obsolete; coturn ignores it, or is going to.
    Obsolete,
    /// Something behaves differently, and there is no counterpart.
    Gap,
}

/// Converts a file; `name` stands in the first line of the settings.
pub fn convert(name: &str, text: &[u8]) -> Conversion {
    let (lines, unreadable) = Lines::read(text);
    let mut draft = Draft::default();
    let mut findings: Vec<Finding> = unreadable.into_iter().map(not_text).collect();
    for line in lines.iter() {
        let mut job = Job {
            lines: &lines,
            draft: &mut draft,
        };
        findings.push(Finding::of(line, judge(&mut job, line)));
    }
    findings.extend(room_for_media(&mut draft));
    findings.extend(nobody(&lines, &draft));
    findings.extend(tcp_relays(&lines));
    findings.sort_by_key(|finding| finding.line.unwrap_or(u32::MAX));
    let head = format!(
        "# Made of {} by `voex turn-config`. It may hold secrets: chmod 600.\n",
        one_line(name)
    );
    Conversion {
        settings: head + &draft.write(),
        findings,
    }
}

impl Conversion {
    /// Tells whether nothing that changes behaviour was left behind.
    pub fn is_complete(&self) -> bool {
        self.count(Outcome::Gap) == 0
    }

    /// Counts the findings of one outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.outcome == outcome)
            .count()
    }
}

impl Finding {
    fn of(line: &Line, verdict: Verdict) -> Self {
        let (outcome, text) = verdict;
        Self {
            line: Some(line.number),
            option: one_line(&line.name),
            outcome,
            text,
        }
    }

    fn of_file(option: &str, outcome: Outcome, text: &str) -> Self {
        Self {
            line: None,
            option: option.to_owned(),
            outcome,
            text: text.to_owned(),
        }
    }
}

fn judge(job: &mut Job<'_>, line: &Line) -> Verdict {
    let Some(row) = table::find(&line.name) else {
        let text = match table::nearest(&line.name) {
            Some(nearest) => format!("no option of coturn 4.6 or 4.17; did you mean {nearest}?"),
            None => "no option of coturn 4.6 or 4.17".to_owned(),
        };
        return (Outcome::Gap, text);
    };
    let last = job.lines.last(&line.name).map_or(line.number, |last| last.number);
    if !row.repeats && last != line.number {
        return (Outcome::Needless, format!("line {last} says it again, and that counts"));
    }
    row.act.judge(job, line)
}

fn not_text(line: u32) -> Finding {
    Finding {
        line: Some(line),
        option: "?".to_owned(),
        outcome: Outcome::Gap,
        text: "this line is not UTF-8; write it anew".to_owned(),
    }
}

/// Moves conference media away from relay ports that are not where coturn has them by default.
fn room_for_media(draft: &mut Draft) -> Option<Finding> {
    let Some(Value::Text(relay)) = draft.get("turn.relay_ports") else {
        return None;
    };
    let (first, last) = relay.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let relay = PortRange { first, last };
    if !relay.overlaps(Settings::default().media.ports) {
        return None;
    }
    let room = [
        (last.saturating_add(1), u16::MAX),
        (10_000, first - 1),
        (1_024, first - 1),
    ];
    let (from, to) = room.into_iter().find(|(from, to)| from < to && to - from >= 999)?;
    let source = "away from the relay ports".to_owned();
    draft
        .set("media.ports", Value::Text(format!("{from}-{to}")), source)
        .ok()?;
    Some(Finding::of_file(
        "media.ports",
        Outcome::Needless,
        "conference media got ports beside those of relays",
    ))
}

/// Says what becomes of a server without users: coturn then lets everybody in.
fn nobody(lines: &Lines, draft: &Draft) -> Option<Finding> {
    let users = [
        "turn.users.static",
        "turn.users.keys",
        "turn.users.secrets",
        "turn.users.redis",
    ];
    let any = users.iter().any(|key| draft.get(key).is_some());
    let elsewhere = [
        "lt-cred-mech",
        "use-auth-secret",
        "no-auth",
        "userdb",
        "db",
        "psql-userdb",
        "sql-userdb",
        "mysql-userdb",
        "mongo-userdb",
        "stun-only",
    ];
    let said = elsewhere.iter().any(|option| lines.last(option).is_some());
    (!any && !said).then(|| {
        Finding::of_file(
            "users",
            Outcome::Gap,
            "the file has none: coturn relays for everybody, voex for nobody; give turn.users.static or turn.users.secrets",
        )
    })
}

fn tcp_relays(lines: &Lines) -> Option<Finding> {
    let said = lines.last("no-tcp-relay").is_some();
    (!said).then(|| {
        Finding::of_file(
            "no-tcp-relay",
            Outcome::Needless,
            "not given: coturn then offers TCP relays (RFC 6062), which are off here; turn.tcp_relays: true turns them on",
        )
    })
}

/// Shows a text that must not break a line or a terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "taken over",
            Self::Needless => "no counterpart needed",
            Self::Obsolete => "obsolete",
            Self::Gap => "NO COUNTERPART",
        })
    }
}
