//! What is compared: a cell for every conference row of the budget, and some beside them.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::{AUDIO_BYTES, Figures, Growth, Plan, Target, Video, grow, run};
use crate::LoadError;
use crate::program::{Program, Role};
use crate::server::Server;
use crate::table::{Limit, Row, Unit, median};
use crate::versus::{CellResult, Contest};

/// The room of all loads.
const ROOM: u64 = 7_000_001;

/// One thing that is compared.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for readers.
    pub title: &'static str,
    /// What is run.
    pub workload: Workload,
    /// What is told of it, and what is asked.
    #[serde(skip)]
    pub rows: &'static [(Measure, Option<Limit>)],
    /// Only run when it is asked for by name.
    #[serde(skip)]
    pub is_extra: bool,
    /// Where servers have their media.
    #[serde(skip)]
    pub media: IpAddr,
}

/// What is run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// A load that stays as it is.
    Load(Plan),
    /// A load that grows by so many participants.
    Growth(Plan, usize),
}

/// What is told of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Processor time of the server for each packet that a subscriber got.
    Cost,
    /// 99 of 100 packets were not longer under way.
    P99,
    /// 99 of 100 joins were not longer without keys.
    Join,
    /// Memory of the server for each subscription.
    Memory,
    /// Most subscriptions.
    Most,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of a load that stays as it is.
    Load(Box<Figures>),
    /// Of one that grows.
    Growth(Box<Growth>),
}

const COST: (Measure, Option<Limit>) = (Measure::Cost, None);

/// Gives the cells of these names, in the order of the budget; without names all but the extra ones.
pub fn cells(names: &[String], measured: Duration, media: IpAddr) -> Vec<Cell> {
    let is_wanted = |cell: &Cell| match names {
        [] => !cell.is_extra,
        names => names.iter().any(|name| name == cell.name),
    };
    all(measured, media).into_iter().filter(is_wanted).collect()
}

/// Names of all cells.
pub fn cell_names() -> Vec<&'static str> {
    let nowhere = IpAddr::from([0; 4]);
    all(Duration::ZERO, nowhere).iter().map(|cell| cell.name).collect()
}

fn all(measured: Duration, media: IpAddr) -> Vec<Cell> {
    let audio = |subscribers| Plan {
        rooms: 1,
        publishers: 1,
        subscribers,
        mesh: false,
        audio_bytes: Some(AUDIO_BYTES),
        video: None,
        joins_per_s: 150.0,
        loss: 0.0,
        warm_up: Duration::from_millis(500),
        measured,
    };
    let camera = |bitrate, simulcast| Video {
        bitrate,
        fps: 30,
        simulcast,
    };
    let video = |subscribers| Plan {
        audio_bytes: None,
        video: Some(camera(1_080_000, false)),
        ..audio(subscribers)
    };
    let simulcast = Plan {
        video: Some(camera(1_800_000, true)),
        ..video(60)
    };
    let mesh = |rooms| Plan {
        rooms,
        publishers: 8,
        mesh: true,
        video: Some(camera(300_000, false)),
        ..audio(0)
    };
    let both = Plan {
        video: Some(camera(500_000, false)),
        ..audio(200)
    };
    let load = |name, title, plan, rows| Cell {
        name,
        title,
        workload: Workload::Load(plan),
        rows,
        is_extra: false,
        media,
    };
    let growth = |name, title, plan: Plan, first| Cell {
        workload: Workload::Growth(
            Plan {
                joins_per_s: 300.0,
                ..plan.clone()
            },
            first,
        ),
        ..load(name, title, plan, &[(Measure::Most, Some(Limit::AtLeast(4.0)))])
    };
    let extra = |cell: Cell| Cell { is_extra: true, ..cell };
    vec![
        load("audio-200", "audio, 1 x 200", audio(200), &[COST]),
        load(
            "audio-500",
            "audio, 1 x 500",
            audio(500),
            &[
                (Measure::Cost, Some(Limit::Share(0.25))),
                (Measure::P99, Some(Limit::Milliseconds(3.5))),
            ],
        ),
        load("video-50", "video 1080 kbit/s, 1 x 50", video(50), &[COST]),
        load(
            "video-100",
            "video 1080 kbit/s, 1 x 100",
            video(100),
            &[(Measure::Cost, Some(Limit::Share(0.3)))],
        ),
        load(
            "mesh-8x8",
            "8 meetings of 8, audio and video 300 kbit/s",
            mesh(8),
            &[(Measure::Cost, Some(Limit::Share(0.4)))],
        ),
        load(
            "simulcast-60",
            "simulcast 1800 kbit/s, 1 x 60, 20 of each layer",
            simulcast,
            &[COST],
        ),
        load(
            "join-200",
            "audio and video, 200 joins at 150/s",
            both,
            &[
                (Measure::Join, Some(Limit::Milliseconds(20.0))),
                (Measure::Memory, Some(Limit::Kilobytes(40.0))),
            ],
        ),
        extra(growth(
            "audio-most",
            "most audio subscribers of one publisher",
            audio(7_000),
            100,
        )),
        extra(growth(
            "video-most",
            "most video subscribers of one publisher",
            video(2_500),
            40,
        )),
        extra(growth("mesh-most", "most participants in meetings of 8", mesh(80), 8)),
    ]
}

impl Contest for Cell {
    type Outcome = Outcome;

    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, program: &Program, core: usize) -> Result<Outcome, LoadError> {
        let server = Server::start(program, core, Role::Mcu { media: self.media })?;
        let target = Target {
            url: server.url(),
            secret: None,
            first_room: ROOM,
            media: Some(self.media),
        };
        let process = Some(server.process());
        match &self.workload {
            Workload::Load(plan) => run(&target, plan, process, true).map(|figures| Outcome::Load(Box::new(figures))),
            Workload::Growth(plan, first) => {
                grow(&target, plan, *first, process).map(|growth| Outcome::Growth(Box::new(growth)))
            }
        }
    }

    fn summary(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Load(f) => format!(
                "{:.3} us/packet, {:.0}/s, server {:.0} %, loss {:.3} %, p99 {:.0} us, join p99 {:.1} ms, {:.1} kB each, {}",
                outcome.cpu_us(),
                f.delivered_per_s,
                f.server.map_or(f64::NAN, |server| 100.0 * server.busy),
                100.0 * f.loss(),
                f.latency.p99_us,
                f.join.p99_us / 1e3,
                f.bytes_each.unwrap_or(f64::NAN) / 1024.0,
                f.srtp_profile,
            ),
            Outcome::Growth(g) => format!("{} served; {}", g.most, g.limit),
        }
    }
}

impl Outcome {
    /// Gives the figures: of a load that grew those of its largest state that was good enough.
    pub fn figures(&self) -> Option<&Figures> {
        match self {
            Self::Load(figures) => Some(figures),
            Self::Growth(growth) => growth.figures.as_ref(),
        }
    }

    fn cpu_us(&self) -> f64 {
        let server = self.figures().and_then(|figures| figures.server);
        server.map_or(f64::NAN, |server| server.cpu_us_per_packet)
    }

    fn measure(&self, measure: Measure) -> f64 {
        let of = |value: &dyn Fn(&Figures) -> f64| self.figures().map_or(f64::NAN, value);
        match (measure, self) {
            (Measure::Cost, _) => self.cpu_us(),
            (Measure::P99, _) => of(&|f| f.latency.p99_us / 1e3),
            (Measure::Join, _) => of(&|f| f.join.p99_us / 1e3),
            (Measure::Memory, _) => of(&|f| f.bytes_each.unwrap_or(f64::NAN) / 1024.0),
            (Measure::Most, Self::Growth(growth)) => growth.most as f64,
            (Measure::Most, Self::Load(_)) => f64::NAN,
        }
    }
}

/// Works out a cell.
pub fn rows(result: &CellResult<Cell, Outcome>) -> Vec<Row> {
    let outcomes = || result.voex.iter().chain(&result.rival);
    let mut rows = Vec::new();
    for (index, (measure, limit)) in result.cell.rows.iter().enumerate() {
        let (suffix, unit) = match measure {
            Measure::Cost => ("", Unit::UsPerPacket),
            Measure::P99 => (", p99", Unit::Milliseconds),
            Measure::Join => (", p99 until keys", Unit::Milliseconds),
            Measure::Memory => (", memory", Unit::KbPerSubscription),
            Measure::Most => ("", Unit::Participants),
        };
        let title = format!("{}{suffix}", result.cell.title);
        let value = |outcome: &Outcome| outcome.measure(*measure);
        let mut row = Row::compare(result, result.cell.name, title, unit, *limit, value);
        row.content_is_right = outcomes().filter_map(Outcome::figures).all(Figures::content_is_right);
        if index == 0 {
            row.notes = notes(result);
        }
        rows.push(row);
    }
    rows
}

/// Gives ours and the rival's medians of what explains the cost.
fn notes(result: &CellResult<Cell, Outcome>) -> String {
    let mut notes = Vec::new();
    let both = |of: &dyn Fn(&Figures) -> f64| {
        let one =
            |outcomes: &[Outcome]| median(&outcomes.iter().filter_map(Outcome::figures).map(of).collect::<Vec<_>>());
        (one(&result.voex), one(&result.rival))
    };
    let mut note = |name: &str, unit: &str, digits: usize, of: &dyn Fn(&Figures) -> f64| {
        let (ours, theirs) = both(of);
        notes.push(format!("{name} {ours:.digits$}, {theirs:.digits$} {unit}"));
    };
    let is_growth = matches!(result.cell.workload, Workload::Growth(..));
    note("", "kpps", 1, &|f| f.delivered_per_s / 1000.0);
    note("busy", "%", 0, &|f| {
        f.server.map_or(f64::NAN, |server| 100.0 * server.busy)
    });
    note("p50", "µs", 0, &|f| f.latency.p50_us);
    note("p99", "µs", 0, &|f| f.latency.p99_us);
    note("loss", "%", 2, &|f| 100.0 * f.loss());
    if !is_growth {
        note("first packet p50", "ms", 0, &|f| f.first_packet.p50_us / 1e3);
    }
    note("generator", "%", 0, &|f| 100.0 * f.generator_busy);
    let silent = both(&|f| f.silent_streams as f64);
    if silent.0.max(silent.1) > 0.0 {
        notes.push(format!("SILENT STREAMS {:.0}, {:.0}", silent.0, silent.1));
    }
    let limits = [("voex", &result.voex), ("rival", &result.rival)]
        .into_iter()
        .filter_map(|(name, outcomes)| match outcomes.last()? {
            Outcome::Growth(growth) => Some(format!("{name} ends at {}", growth.limit)),
            Outcome::Load(_) => None,
        });
    notes.extend(limits);
    let profiles: Vec<_> = [&result.voex, &result.rival]
        .iter()
        .filter_map(|outcomes| outcomes.iter().find_map(Outcome::figures))
        .map(|figures| figures.srtp_profile)
        .collect();
    match profiles.as_slice() {
        [ours, theirs] if ours == theirs => notes.push((*ours).to_owned()),
        profiles => notes.push(format!("DIFFERENT SRTP: {}", profiles.join(", "))),
    }
    if let Some(failure) = &result.failure {
        notes.push(format!("FAILED: {}", failure.lines().next().unwrap_or_default()));
    }
    notes.join("; ").trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::ServerCost;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn outcome(cpu_us_per_packet: f64, p99_us: f64) -> Outcome {
        let mut figures = Figures {
            srtp_profile: "aead_aes_256_gcm",
            server: Some(ServerCost {
                cpu_us_per_packet,
                busy: 0.5,
                resident_kb: 1,
            }),
            ..Figures::default()
        };
        figures.latency.p99_us = p99_us;
        Outcome::Load(Box::new(figures))
    }

    fn result(name: &str, voex: Outcome, rival: Outcome) -> CellResult<Cell, Outcome> {
        CellResult {
            cell: cells(&[name.into()], Duration::from_secs(1), HERE).remove(0),
            voex: vec![voex],
            rival: vec![rival],
            failure: None,
        }
    }

    #[test]
    fn every_cell_can_be_run() {
        for cell in all(Duration::from_secs(10), HERE) {
            let (Workload::Load(plan) | Workload::Growth(plan, _)) = cell.workload;
            assert_eq!(plan.check(), Ok(()), "{}", cell.name);
        }
    }

    #[test]
    fn cost_is_judged_beside_the_rival_and_latency_alone() {
        let rows = rows(&result("audio-500", outcome(5.0, 3_600.0), outcome(20.0, 9_000.0)));
        assert_eq!((rows[0].ratio, rows[0].met), (0.25, Some(true)));
        assert_eq!((rows[1].voex, rows[1].met), (3.6, Some(false)));
        assert!(rows[0].notes.contains("aead_aes_256_gcm"));
    }

    #[test]
    fn servers_with_different_ciphers_are_not_compared_in_silence() {
        let mut other = outcome(1.0, 1.0);
        if let Outcome::Load(figures) = &mut other {
            figures.srtp_profile = "aes128_cm_hmac_sha1_80";
        }
        let rows = rows(&result("video-50", outcome(1.0, 1.0), other));
        assert!(rows[0].notes.contains("DIFFERENT SRTP"), "{}", rows[0].notes);
    }

    #[test]
    fn of_a_growing_load_more_is_better() {
        let grown = |most| {
            Outcome::Growth(Box::new(Growth {
                most,
                limit: String::new(),
                is_the_servers: true,
                figures: None,
            }))
        };
        let met = |ours, theirs| rows(&result("mesh-most", grown(ours), grown(theirs)))[0].met;
        assert_eq!((met(256, 64), met(248, 64)), (Some(true), Some(false)));
    }
}
