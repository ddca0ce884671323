//! Call records: one JSON object for each call, when it is over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use voex_base::WallTime;
use voex_sfu::command::LegReport;
use voex_sip::{EndCause, Ended};

use crate::date::date;
use crate::plugin::videoroom::room::object;

/// What is known of a call.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The client calls; else SIP does.
    pub(super) is_outgoing: bool,
    pub(super) call_id: String,
    /// User of the account.
    pub(super) account: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) began: (Instant, WallTime),
    pub(super) ringing: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) codec: Option<String>,
}

/// A record that is complete but for what arrived on the SIP side.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    record: Record,
    ended: Instant,
    code: u16,
    reason: String,
    cause: u8,
    by: &'static str,
}

impl Record {
    /// Completes the record with how the call ended.
    pub(super) fn finish(self, now: Instant, ended: &Ended) -> Finished {
        let given = ended.reason_header.as_ref().filter(|reason| reason.protocol == "Q.850");
        let given = given.and_then(|reason| reason.cause.as_ref()?.parse().ok());
        Finished {
            record: self,
            ended: now,
            code: ended.code,
            reason: ended.reason.clone(),
            cause: given.unwrap_or_else(|| q850(ended.code)),
            by: match ended.cause {
                EndCause::Refused | EndCause::CancelledByRemote | EndCause::ByeByRemote => "sip",
                EndCause::Declined | EndCause::CancelledByUs | EndCause::ByeByUs => "client",
                EndCause::Timeout | EndCause::Local => "server",
            },
        }
    }
}

impl Finished {
    /// Writes the record; `report` tells what arrived, where media was opened.
    pub(super) fn to_json(&self, report: Option<&LegReport>) -> Value {
        let record = &self.record;
        let after = |at: Instant| seconds(at.saturating_duration_since(record.began.0));
        let direction = if record.is_outgoing { "outgoing" } else { "incoming" };
        let talked = record
            .answered
            .map(|answered| self.ended.saturating_duration_since(answered));
        object([
            ("call_id", Some(json!(record.call_id))),
            ("direction", Some(json!(direction))),
            ("account", Some(json!(record.account))),
            ("from", Some(json!(record.from))),
            ("to", Some(json!(record.to))),
            ("start", Some(json!(date(record.began.1)))),
            ("ringing_s", record.ringing.map(after)),
            ("answered_s", record.answered.map(after)),
            ("end_s", Some(after(self.ended))),
            ("talk_s", talked.map(seconds)),
            ("code", Some(json!(self.code))),
            ("reason", Some(json!(self.reason))),
            ("q850", Some(json!(self.cause))),
            ("ended_by", Some(json!(self.by))),
            ("codec", record.codec.as_ref().map(|codec| json!(codec))),
            ("media", report.filter(|_| record.answered.is_some()).map(media)),
        ])
    }
}

fn seconds(time: Duration) -> Value {
    json!((time.as_secs_f64() * 1_000.0).round() / 1_000.0)
}

fn media(report: &LegReport) -> Value {
    let expected = report.packets + report.lost;
    let loss = report.lost as f64 / expected.max(1) as f64;
    let rounded = |value: f64, digits: f64| (value * digits).round() / digits;
    let estimate = (report.packets > 0).then(|| json!(rounded(mos(loss, report.jitter), 100.0)));
    object([
        ("packets", Some(json!(report.packets))),
        ("lost", Some(json!(report.lost))),
        (
            "jitter_ms",
            Some(json!(rounded(report.jitter.as_secs_f64() * 1_000.0, 10.0))),
        ),
        ("mos", estimate),
    ])
}

/// Estimates how people would judge what arrived, 1 to 4.4, by the E-model (ITU-T G.107) for G.711 with loss concealment:
/// R = 93.2 - Id - Ie,eff, with a jitter buffer of twice the jitter as the only delay that is known here.
fn mos(loss: f64, jitter: Duration) -> f64 {
    const BPL: f64 = 25.1;
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let impairment = 95.0 * percent / (percent + BPL);
    let delay_ms = 20.0 + 2.0 * jitter.as_secs_f64() * 1_000.0;
    let late = if delay_ms > 177.3 {
        0.11 * (delay_ms - 177.3)
    } else {
        0.0
    };
    let rating = (93.2 - 0.024 * delay_ms - late - impairment).clamp(0.0, 100.0);
    1.0 + 0.035 * rating + 7e-6 * rating * (rating - 60.0) * (100.0 - rating)
}

/// The cause of ITU-T Q.850 for a SIP status code (RFC 3398 §7.2.4.1 and §8.2.6.1).
fn q850(code: u16) -> u8 {
    match code {
        200..=299 | 487 => 16,
        401 | 402 | 403 | 407 | 603 => 21,
        404 | 485 | 604 => 1,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 => 127,
        480 => 18,
        481 | 500 | 503 => 41,
        482 | 483 => 25,
        484 => 28,
        486 | 600 => 17,
        488 | 606 => 65,
        502 => 38,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_falls_with_loss_and_jitter_and_stays_in_its_scale() {
        let of = |percent: f64, ms: u64| mos(percent / 100.0, Duration::from_millis(ms));
        assert!((of(0.0, 0) - 4.40).abs() < 0.02, "{}", of(0.0, 0));
        assert!((of(5.0, 0) - 3.99).abs() < 0.15, "{}", of(5.0, 0));
        assert!(of(1.0, 0) > of(2.0, 0) && of(1.0, 0) > of(1.0, 150));
        assert!((1.0..1.2).contains(&of(100.0, 500)), "{}", of(100.0, 500));
    }

    #[test]
    fn causes_are_those_of_rfc_3398() {
        let causes = [
            (200, 16),
            (486, 17),
            (404, 1),
            (480, 18),
            (503, 41),
            (603, 21),
            (499, 31),
        ];
        for (code, cause) in causes {
            assert_eq!(q850(code), cause, "{code}");
        }
    }
}
