//! Pictures of figures, as SVG without scripts or fonts of its own.

use std::fmt::Write as _;

use crate::histogram::Histogram;
use crate::table::{Limit, Row, Unit, number};

const INK: &str = "#1f2933";
const PALE: &str = "#cbd2d9";
const GOOD: &str = "#2b8a78";
const BAD: &str = "#d9822b";
const RIVAL: &str = "#9aa5b1";

/// A drawing that grows.
struct Canvas {
    body: String,
    width: f64,
    height: f64,
}

impl Canvas {
    fn new(width: f64, height: f64) -> Self {
        let body = String::new();
        Self { body, width, height }
    }

    fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let element =
            format!(r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#);
        self.add(&element);
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(&format!(
            r#"<path d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    /// Writes text whose `anchor` (start, middle, end) is at x.
    fn text(&mut self, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
        let text = escaped(text);
        self.add(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">{text}</text>"#
        ));
    }

    fn add(&mut self, element: &str) {
        writeln!(self.body, "{element}").expect("a string takes everything");
    }

    fn finish(self) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"system-ui, sans-serif\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Draws what ours costs as a share of the rival's: a bar for each row, with the range of its rounds and its budget.
///
/// Rows without a ratio are left out, and those of which more is better.
pub fn ratios(rows: &[Row], what: &str, rival: &str, caption: &str) -> String {
    const LEFT: f64 = 290.0;
    const TOP: f64 = 78.0;
    const STEP: f64 = 30.0;
    const SCALE: f64 = 420.0;
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| row.ratio.is_finite() && row.unit.is_cost())
        .collect();
    let bottom = TOP + STEP * rows.len() as f64;
    let mut canvas = Canvas::new(960.0, bottom + 64.0);
    // Nothing dearer than this fits; its bar ends at the edge, its number stands beside it.
    let most = rows.iter().map(|row| row.spread.1).fold(1.05, f64::max).min(1.5);
    let x = |share: f64| LEFT + SCALE * share.min(most) / most;
    canvas.text(20.0, 30.0, "start", 18, &format!("Cost of {what}: voex beside {rival}"));
    let legend =
        format!("share of {rival}'s cost, shorter is better; whiskers: range of the rounds; black mark: budget");
    canvas.text(20.0, 52.0, "start", 12, &legend);
    for tenth in (0..=10).step_by(2) {
        let share = f64::from(tenth) / 10.0;
        let is_rival = tenth == 10;
        let (colour, width) = if is_rival { (RIVAL, 2.0) } else { (PALE, 1.0) };
        canvas.line((x(share), TOP - 6.0), (x(share), bottom), colour, width);
        let label = if is_rival { rival.to_owned() } else { format!("{share}") };
        canvas.text(x(share), bottom + 18.0, "middle", 12, &label);
    }
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + STEP * index as f64;
        let middle = y + 9.0;
        let colour = if row.met == Some(false) { BAD } else { GOOD };
        canvas.text(LEFT - 10.0, y + 13.0, "end", 13, &row.title);
        canvas.bar(LEFT, y, x(row.ratio) - LEFT, 18.0, colour);
        canvas.line((x(row.spread.0), middle), (x(row.spread.1), middle), INK, 1.5);
        for end in [row.spread.0, row.spread.1] {
            canvas.line((x(end), middle - 4.0), (x(end), middle + 4.0), INK, 1.5);
        }
        if let Some(share) = budget_share(row) {
            canvas.line((x(share), y - 3.0), (x(share), y + 21.0), INK, 3.0);
        }
        let unit = match row.unit {
            Unit::UsPerPacket => "µs",
            Unit::UsPerAllocation => "µs each",
            Unit::KbPerAllocation | Unit::KbPerSubscription => "kB each",
            Unit::Milliseconds => "ms",
            Unit::Participants => "",
        };
        let (ratio, voex, rival) = (number(row.ratio), number(row.voex), number(row.rival));
        let label = format!("{ratio}  ({voex} : {rival} {unit})");
        canvas.text(x(most) + 12.0, y + 13.0, "start", 13, &label);
    }
    canvas.text(20.0, bottom + 46.0, "start", 11, caption);
    canvas.finish()
}

/// Gives the share of the rival's that a row may cost.
fn budget_share(row: &Row) -> Option<f64> {
    Some(match row.limit? {
        Limit::Share(share) => share,
        Limit::Times(times) => 1.0 / times,
        Limit::Kilobytes(most) | Limit::Milliseconds(most) => most / row.rival,
        Limit::AtLeast(_) => return None,
    })
}

/// Draws how long packets were under way: the share of packets that took longer falls by ten at each line to the
/// right, times grow by ten at each line upwards.
pub fn latencies(histogram: &Histogram, caption: &str) -> String {
    const LEFT: f64 = 90.0;
    const TOP: f64 = 60.0;
    const WIDTH: f64 = 780.0;
    const HEIGHT: f64 = 320.0;
    /// Decades of the rest: up to 99.999 %.
    const NINES: f64 = 5.0;
    const FROM_NS: f64 = 1e3;
    const DECADES: f64 = 6.0;
    let mut canvas = Canvas::new(LEFT + WIDTH + 40.0, TOP + HEIGHT + 80.0);
    let x = |nines: f64| LEFT + WIDTH * nines.clamp(0.0, NINES) / NINES;
    let y = |ns: f64| TOP + HEIGHT * (1.0 - ((ns / FROM_NS).log10() / DECADES).clamp(0.0, 1.0));
    canvas.text(20.0, 30.0, "start", 18, "Latency through the server");
    for (nines, label) in ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]
        .iter()
        .enumerate()
    {
        let at = x(nines as f64);
        canvas.line((at, TOP), (at, TOP + HEIGHT), PALE, 1.0);
        canvas.text(at, TOP + HEIGHT + 18.0, "middle", 12, label);
    }
    for (decade, label) in ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
        .iter()
        .enumerate()
    {
        let at = y(FROM_NS * 10f64.powf(decade as f64));
        canvas.line((LEFT, at), (LEFT + WIDTH, at), PALE, 1.0);
        canvas.text(LEFT - 8.0, at + 4.0, "end", 12, label);
    }
    let mut path = String::new();
    for (share, ns) in histogram.points() {
        let nines = -(1.0 - share).max(1e-9).log10();
        let command = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{command}{:.1} {:.1}", x(nines), y(ns as f64)).expect("a string takes everything");
    }
    canvas.add(&format!(
        r#"<path d="{path}" fill="none" stroke="{GOOD}" stroke-width="2.5"/>"#
    ));
    canvas.text(20.0, TOP + HEIGHT + 56.0, "start", 11, caption);
    canvas.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(title: &str, ratio: f64, limit: Option<Limit>, met: Option<bool>) -> Row {
        Row {
            cell: "x",
            title: title.into(),
            unit: Unit::UsPerPacket,
            voex: 10.0 * ratio,
            rival: 10.0,
            ratio,
            spread: (ratio - 0.1, ratio + 0.1),
            limit,
            met,
            content_is_right: true,
            notes: String::new(),
        }
    }

    #[test]
    fn a_row_without_a_ratio_is_left_out_and_text_is_escaped() {
        let rows = [
            row("a < b & c", 0.5, Some(Limit::Times(2.5)), Some(true)),
            row("nothing", f64::NAN, None, None),
        ];
        let svg = ratios(&rows, "TURN", "coturn", "");
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(!svg.contains("nothing") && !svg.contains("NaN"));
    }

    #[test]
    fn a_row_over_its_budget_is_drawn_in_another_colour() {
        let drawn = |met| ratios(&[row("a", 0.9, Some(Limit::Share(0.6)), met)], "TURN", "coturn", "");
        assert!(drawn(Some(false)).contains(BAD));
        assert!(!drawn(Some(true)).contains(BAD));
    }

    #[test]
    fn a_bar_beyond_the_edge_ends_there() {
        let svg = ratios(&[row("a", 40.0, None, None)], "TURN", "coturn", "");
        assert!(svg.contains(r#"width="420.0""#), "{svg}");
    }

    #[test]
    fn latencies_become_one_rising_line() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.record(us * 1000));
        let svg = latencies(&histogram, "");
        let path = svg.split("<path d=\"M").last().unwrap();
        let heights: Vec<f64> = path
            .split('"')
            .next()
            .unwrap()
            .split('L')
            .map(|point| point.split(' ').nth(1).unwrap().parse().unwrap())
            .collect();
        assert!(heights.len() > 100);
        assert!(heights.is_sorted_by(|a, b| a >= b), "SVG counts downwards: {heights:?}");
    }
}
