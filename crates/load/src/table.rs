//! Medians, ratios, and whether budgets are met.

use std::fmt::Write as _;

use serde::Serialize;

use crate::versus::{Budget, CellResult, Outcome};

/// What the runs of a cell come to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The cell.
    pub cell: &'static str,
    /// Median processor time of ours a packet (or an allocation), in microseconds.
    pub voex_us: f64,
    /// The rival's.
    pub rival_us: f64,
    /// The first over the second.
    pub ratio: f64,
    /// Lowest and highest ratio of neighbouring runs.
    pub spread: (f64, f64),
    /// What ratio is allowed; nothing is asked of some cells.
    pub budget: Option<f64>,
    /// Whether the median ratio, and what else is asked, keep to it.
    pub met: Option<bool>,
    /// What else is worth knowing.
    pub notes: String,
}

impl Row {
    /// Works out a cell.
    pub fn of(result: &CellResult) -> Self {
        let costs = |outcomes: &[Outcome]| outcomes.iter().map(Outcome::cpu_us).collect::<Vec<_>>();
        let (voex, rival) = (costs(&result.voex), costs(&result.rival));
        let ratios: Vec<f64> = voex.iter().zip(&rival).map(|(ours, theirs)| ours / theirs).collect();
        let (voex_us, rival_us) = (median(&voex), median(&rival));
        let ratio = voex_us / rival_us;
        let (budget, met) = match result.cell.budget {
            Budget::CpuShare(share) => (Some(share), Some(ratio <= share)),
            Budget::Allocation { cpu_share, bytes } => {
                let fits = median(&bytes_of(&result.voex)) <= bytes;
                (Some(cpu_share), Some(ratio <= cpu_share && fits))
            }
            Budget::None => (None, None),
        };
        Self {
            cell: result.cell.name,
            voex_us,
            rival_us,
            ratio,
            spread: (
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
            ),
            budget,
            met,
            notes: notes(result),
        }
    }
}

/// Writes rows as a Markdown table, with the rival's name.
pub fn markdown(rows: &[Row], rival: &str) -> String {
    let mut text = format!(
        "| cell | voex us/packet | {rival} us/packet | ratio | spread | budget | met? | voex, {rival} (medians) |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let budget = row.budget.map_or("-".into(), |budget| format!("<= {budget:.2}"));
        let met = row.met.map_or("-", |met| if met { "yes" } else { "no" });
        writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} | {:.2}-{:.2} | {budget} | {met} | {} |",
            row.cell, row.voex_us, row.rival_us, row.ratio, row.spread.0, row.spread.1, row.notes
        )
        .expect("a string takes everything");
    }
    text
}

fn notes(result: &CellResult) -> String {
    if result.voex.iter().any(|outcome| matches!(outcome, Outcome::Idle(_))) {
        let (ours, theirs) = (median(&bytes_of(&result.voex)), median(&bytes_of(&result.rival)));
        return format!("{ours:.0}, {theirs:.0} bytes an allocation (us are to make one)");
    }
    let both = |of: fn(&crate::figures::Figures) -> f64| {
        let one = |outcomes: &[Outcome]| {
            let values: Vec<f64> = outcomes
                .iter()
                .filter_map(|o| if let Outcome::Load(f) = o { Some(of(f)) } else { None })
                .collect();
            median(&values)
        };
        (one(&result.voex), one(&result.rival))
    };
    let rate = both(|f| f.delivered_per_s / 1000.0);
    let busy = both(|f| f.server.map_or(f64::NAN, |server| 100.0 * server.busy));
    let p99 = both(|f| f.p99_us);
    let loss = both(|f| 100.0 * f.loss());
    let wrong = result.voex.iter().chain(&result.rival).any(|outcome| match outcome {
        Outcome::Load(figures) => !figures.content_is_right(),
        Outcome::Idle(_) => false,
    });
    format!(
        "{:.1}, {:.1} kpps; busy {:.0}, {:.0} %; p99 {:.0}, {:.0} us; loss {:.2}, {:.2} %{}",
        rate.0,
        rate.1,
        busy.0,
        busy.1,
        p99.0,
        p99.1,
        loss.0,
        loss.1,
        if wrong { "; CONTENT WRONG" } else { "" }
    )
}

fn bytes_of(outcomes: &[Outcome]) -> Vec<f64> {
    let bytes = |outcome: &Outcome| match outcome {
        Outcome::Idle(figures) => Some(figures.bytes_each),
        Outcome::Load(_) => None,
    };
    outcomes.iter().filter_map(bytes).collect()
}

/// Gives the middle value; the mean of the two middle ones of an even number.
fn median(values: &[f64]) -> f64 {
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
    use super::*;
    use crate::idle::IdleFigures;
    use crate::versus::{Cell, Workload};

    fn idle(cpu_us_each: f64, bytes_each: f64) -> Outcome {
        Outcome::Idle(IdleFigures {
            allocations: 10,
            bytes_each,
            cpu_us_each,
            busy: 0.0,
            resident_kb: 1,
        })
    }

    fn row(voex: Vec<Outcome>, rival: Vec<Outcome>) -> Row {
        let budget = Budget::Allocation {
            cpu_share: 0.5,
            bytes: 4096.0,
        };
        let cell = Cell {
            name: "idle",
            workload: Workload::Idle(10),
            budget,
        };
        Row::of(&CellResult { cell, voex, rival })
    }

    #[test]
    fn a_row_compares_medians_and_shows_the_ratios_of_neighbours() {
        let ours = vec![idle(40.0, 3000.0), idle(90.0, 3000.0), idle(50.0, 3000.0)];
        let theirs = vec![idle(100.0, 2e4), idle(100.0, 2e4), idle(200.0, 2e4)];
        let row = row(ours, theirs);
        assert_eq!((row.voex_us, row.rival_us, row.ratio), (50.0, 100.0, 0.5));
        assert_eq!(row.spread, (0.25, 0.9));
        assert_eq!(row.met, Some(true));
    }

    #[test]
    fn an_allocation_must_be_both_cheap_and_small() {
        assert_eq!(row(vec![idle(51.0, 1.0)], vec![idle(100.0, 1.0)]).met, Some(false));
        assert_eq!(row(vec![idle(1.0, 4097.0)], vec![idle(100.0, 1.0)]).met, Some(false));
    }

    #[test]
    fn a_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
