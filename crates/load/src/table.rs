//! Medians, ratios, and whether budgets are met.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::cells::{Budget, Cell, Workload};
use crate::figures::Figures;
use crate::outcome::Outcome;
use crate::versus::CellResult;

/// What the runs of a cell come to, in one respect.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The cell.
    pub cell: &'static str,
    /// What is compared, for readers.
    pub title: String,
    /// What the next two count.
    pub unit: Unit,
    /// Median of ours.
    pub voex: f64,
    /// The rival's.
    pub rival: f64,
    /// The first over the second.
    pub ratio: f64,
    /// Lowest and highest ratio of neighbouring runs.
    pub spread: (f64, f64),
    /// What is allowed; nothing is asked of some cells.
    pub limit: Option<Limit>,
    /// Whether the median keeps to it.
    pub met: Option<bool>,
    /// Whether everything that arrived in any run was what had been sent.
    pub content_is_right: bool,
    /// What else is worth knowing.
    pub notes: String,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds of the server's processor time a packet.
    UsPerPacket,
    /// Microseconds of the server's processor time to make an allocation.
    UsPerAllocation,
    /// Kilobytes of the server's memory that an allocation holds.
    KbPerAllocation,
    /// Kilobytes of the server's memory that a subscription holds.
    KbPerSubscription,
    /// Milliseconds of something.
    Milliseconds,
    /// Participants, of which more is better.
    Participants,
}

impl Unit {
    /// Less of it is better.
    pub(crate) fn is_cost(self) -> bool {
        self != Self::Participants
    }
}

/// The most that is allowed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Share of the rival's.
    Share(f64),
    /// So many times the rival's packets out of the same processor time.
    Times(f64),
    /// Kilobytes, whatever the rival takes.
    Kilobytes(f64),
    /// Milliseconds, whatever the rival takes.
    Milliseconds(f64),
    /// At least so many times what the rival does.
    AtLeast(f64),
}

impl Limit {
    /// Tells whether ours keeps to it.
    fn is_met(self, voex: f64, rival: f64) -> bool {
        match self {
            Self::Share(share) => voex / rival <= share,
            Self::Times(times) => voex / rival <= 1.0 / times,
            Self::Kilobytes(most) | Self::Milliseconds(most) => voex <= most,
            Self::AtLeast(times) => voex / rival >= times,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UsPerPacket => "µs/packet",
            Self::UsPerAllocation => "µs each",
            Self::KbPerAllocation | Self::KbPerSubscription => "kB each",
            Self::Milliseconds => "ms",
            Self::Participants => "in all",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share}"),
            Self::Times(times) => write!(f, "{:.2} ({times} x packets)", 1.0 / times),
            Self::Kilobytes(kb) => write!(f, "{kb} kB"),
            Self::Milliseconds(ms) => write!(f, "{ms} ms"),
            Self::AtLeast(times) => write!(f, ">= {times}"),
        }
    }
}

/// Runs of a cell of TURN.
type TurnResult = CellResult<Cell, Outcome>;

/// Works out a cell: one row for packets, two for idle allocations.
pub fn rows(result: &TurnResult) -> Vec<Row> {
    let (cell, budget) = (&result.cell, result.cell.budget);
    if matches!(cell.workload, Workload::Load(_)) {
        let limit = match budget {
            Budget::Packets(times) => Some(Limit::Times(times)),
            budget => budget.cpu_share().map(Limit::Share),
        };
        return vec![row(result, cell.title.into(), Unit::UsPerPacket, limit)];
    }
    let kb = budget.bytes().map(|bytes| Limit::Kilobytes(bytes / 1024.0));
    vec![
        row(
            result,
            format!("{}, making one", cell.title),
            Unit::UsPerAllocation,
            budget.cpu_share().map(Limit::Share),
        ),
        row(result, format!("{}, memory", cell.title), Unit::KbPerAllocation, kb),
    ]
}

fn row(result: &TurnResult, title: String, unit: Unit, limit: Option<Limit>) -> Row {
    let value = |outcome: &Outcome| match unit {
        Unit::KbPerAllocation => outcome.idle().map_or(f64::NAN, |figures| figures.bytes_each / 1024.0),
        _ => outcome.cpu_us(),
    };
    let mut outcomes = result.voex.iter().chain(&result.rival).filter_map(Outcome::load);
    let content_is_right = outcomes.all(Figures::content_is_right);
    let mut row = Row::compare(result, result.cell.name, title, unit, limit, value);
    row.content_is_right = content_is_right;
    row.notes = notes(result);
    row
}

/// Gives ours and the rival's medians of what explains the cost.
fn notes(result: &TurnResult) -> String {
    let mut notes = Vec::new();
    let both = |of: &dyn Fn(&Figures) -> f64| {
        let one = |outcomes: &[Outcome]| median(&outcomes.iter().filter_map(Outcome::load).map(of).collect::<Vec<_>>());
        (one(&result.voex), one(&result.rival))
    };
    if result.voex.iter().any(|outcome| outcome.load().is_some()) {
        let rate = both(&|f| f.delivered_per_s / 1000.0);
        let busy = both(&|f| f.server.map_or(f64::NAN, |server| 100.0 * server.busy));
        let p50 = both(&|f| f.latency.p50_us);
        let p99 = both(&|f| f.latency.p99_us);
        let loss = both(&|f| 100.0 * f.loss());
        notes.push(format!("{:.1}, {:.1} kpps", rate.0, rate.1));
        notes.push(format!("busy {:.0}, {:.0} %", busy.0, busy.1));
        notes.push(format!("p50 {:.0}, {:.0} µs", p50.0, p50.1));
        notes.push(format!("p99 {:.0}, {:.0} µs", p99.0, p99.1));
        notes.push(format!("loss {:.2}, {:.2} %", loss.0, loss.1));
        let left_out = both(&|f| (f.faults.skipped + f.faults.held_back) as f64 / f.sent.max(1) as f64);
        if left_out.0.max(left_out.1) > 0.001 {
            notes.push(format!(
                "left out {:.1}, {:.1} %",
                100.0 * left_out.0,
                100.0 * left_out.1
            ));
        }
        let closed = both(&|f| f.faults.closed as f64);
        if closed.0.max(closed.1) > 0.0 {
            notes.push(format!("closed {}, {}", closed.0, closed.1));
        }
    }
    if let Some(failure) = &result.failure {
        notes.push(format!("FAILED: {}", failure.lines().next().unwrap_or_default()));
    }
    notes.join("; ")
}

impl Row {
    /// Compares one value of the runs of a cell.
    pub(crate) fn compare<C, O>(
        result: &CellResult<C, O>,
        cell: &'static str,
        title: String,
        unit: Unit,
        limit: Option<Limit>,
        value: impl Fn(&O) -> f64,
    ) -> Self {
        let values = |outcomes: &[O]| outcomes.iter().map(&value).collect::<Vec<f64>>();
        let (ours, theirs) = (values(&result.voex), values(&result.rival));
        let ratios = || ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
        let (voex, rival) = (median(&ours), median(&theirs));
        Self {
            cell,
            title,
            unit,
            voex,
            rival,
            ratio: voex / rival,
            spread: (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max)),
            limit,
            met: limit.map(|limit| limit.is_met(voex, rival)),
            content_is_right: true,
            notes: String::new(),
        }
    }

    /// Gives the columns of a table, the last one for notes.
    fn columns(&self) -> [String; 8] {
        let met = match (self.met, self.content_is_right) {
            (_, false) => "CONTENT WRONG",
            (Some(true), _) => "yes",
            (Some(false), _) => "no",
            (None, _) => "-",
        };
        [
            self.title.clone(),
            format!("{} {}", number(self.voex), self.unit),
            format!("{} {}", number(self.rival), self.unit),
            number(self.ratio),
            if self.ratio.is_finite() {
                format!("{}-{}", number(self.spread.0), number(self.spread.1))
            } else {
                "-".into()
            },
            self.limit.map_or("-".into(), |limit| limit.to_string()),
            met.into(),
            self.notes.clone(),
        ]
    }
}

fn header(rival: &str) -> [String; 8] {
    [
        "path",
        "voex",
        rival,
        "ratio",
        "spread",
        "budget",
        "met",
        "beside it (voex, rival)",
    ]
    .map(str::to_owned)
}

/// Three digits that mean something, and no more.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".into(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Writes rows as a Markdown table.
pub fn markdown(rows: &[Row], rival: &str) -> String {
    let line = |columns: [String; 8]| format!("| {} |\n", columns.join(" | "));
    let mut text = line(header(rival));
    text += "|---|---|---|---|---|---|---|---|\n";
    rows.iter().for_each(|row| text += &line(row.columns()));
    text
}

/// Writes rows for a terminal; what stands beside a row goes below it.
pub fn plain(rows: &[Row], rival: &str) -> String {
    let head = header(rival);
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::columns)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for [columns @ .., beside] in &lines {
        for (column, width) in columns.iter().zip(&widths) {
            write!(text, "{column:<width$}  ").expect("a string takes everything");
        }
        text.truncate(text.trim_end().len());
        if !beside.is_empty() {
            write!(text, "\n    {beside}").expect("a string takes everything");
        }
        text.push('\n');
    }
    text + &verdict(rows)
}

/// Says in one line what came of it.
pub fn verdict(rows: &[Row]) -> String {
    let asked = rows.iter().filter(|row| row.met.is_some()).count();
    let met = rows.iter().filter(|row| row.met == Some(true)).count();
    format!("{met} of {asked} budgets met\n")
}

/// Gives the middle value; the mean of the two middle ones of an even number.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cells::cells;
    use crate::figures::{Faults, ServerCost};
    use crate::idle::IdleFigures;

    fn result(name: &str, voex: Vec<Outcome>, rival: Vec<Outcome>) -> TurnResult {
        CellResult {
            cell: cells(&[name.to_owned()], Duration::from_secs(1)).remove(0),
            voex,
            rival,
            failure: None,
        }
    }

    fn idle(cpu_us_each: f64, kb_each: f64) -> Outcome {
        Outcome::Idle(IdleFigures {
            allocations: 10,
            bytes_each: 1024.0 * kb_each,
            cpu_us_each,
            busy: 0.0,
            resident_kb: 1,
        })
    }

    fn load(cpu_us_per_packet: f64, corrupt: u64) -> Outcome {
        Outcome::Load(Box::new(Figures {
            faults: Faults {
                corrupt,
                ..Faults::default()
            },
            server: Some(ServerCost {
                cpu_us_per_packet,
                busy: 0.5,
                resident_kb: 1,
            }),
            ..Figures::default()
        }))
    }

    #[test]
    fn a_row_compares_medians_and_shows_the_ratios_of_neighbours() {
        let ours = vec![idle(40.0, 3.0), idle(90.0, 3.0), idle(50.0, 3.0)];
        let theirs = vec![idle(100.0, 20.0), idle(100.0, 20.0), idle(200.0, 20.0)];
        let rows = rows(&result("idle-udp", ours, theirs));
        assert_eq!((rows[0].voex, rows[0].rival, rows[0].ratio), (50.0, 100.0, 0.5));
        assert_eq!(rows[0].spread, (0.25, 0.9));
        assert_eq!(rows[0].met, Some(true));
    }

    #[test]
    fn an_allocation_is_judged_by_cost_against_the_rival_and_by_memory_alone() {
        let rows = |us, kb| {
            let rows = rows(&result("idle-udp", vec![idle(us, kb)], vec![idle(100.0, 2.0)]));
            (rows[0].met, rows[1].met)
        };
        assert_eq!(rows(51.0, 4.0), (Some(false), Some(true)));
        assert_eq!(rows(50.0, 4.1), (Some(true), Some(false)));
    }

    #[test]
    fn packets_out_of_the_same_time_are_judged_by_their_cost() {
        let met = |us| rows(&result("pair-170", vec![load(us, 0)], vec![load(10.0, 0)]))[0].met;
        assert_eq!((met(5.0), met(5.1)), (Some(true), Some(false)));
    }

    #[test]
    fn one_run_with_wrong_content_spoils_the_row() {
        let rows = rows(&result(
            "flood-170",
            vec![load(1.0, 0), load(1.0, 1)],
            vec![load(2.0, 0)],
        ));
        assert!(!rows[0].content_is_right);
        assert!(markdown(&rows, "coturn").contains("CONTENT WRONG"));
    }

    #[test]
    fn a_cell_that_failed_says_why_and_is_not_met() {
        let mut failed = result("paced-tls", vec![], vec![]);
        failed.failure = Some("voex: no".into());
        let row = rows(&failed).remove(0);
        assert_eq!(row.met, Some(false));
        assert!(row.notes.contains("voex: no"));
        assert_eq!(verdict(&[row]), "0 of 1 budgets met\n");
    }

    #[test]
    fn a_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
