//! The two forms of a scrape: OpenMetrics for who asks for it, and the older text of Prometheus for everybody else.
//!
//! Samples are the same in both. Only the comments differ: the older form says the type under the name of the samples,
//! calls an unknown type untyped, and has no end mark.

use std::fmt;
use std::fmt::Write as _;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// Media types of the two forms.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes a scrape in the form that an `Accept` header asks for; gives the media type beside it.
pub(crate) fn scrape(registry: &Registry, accept: &str) -> Result<(&'static str, String), fmt::Error> {
    let mut body = String::new();
    text::encode(&mut body, registry)?;
    match accept.contains("application/openmetrics-text") {
        true => Ok((OPEN_METRICS, body)),
        false => Ok((PROMETHEUS, prometheus(&body)?)),
    }
}

/// Turns OpenMetrics into the older form.
fn prometheus(open_metrics: &str) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            // The type comes next, and with it the name.
            (Some("#"), Some("HELP"), Some(_), words) => help = words,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                let help = help.take().unwrap_or_default();
                write!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n")?;
            }
            (Some("#"), ..) => {}
            _ => writeln!(text, "{line}")?,
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_types_what_the_samples_are_called() {
        let open_metrics = "\
            # HELP calls Calls.\n# TYPE calls counter\ncalls_total{code=\"# 486\"} 2\n\
            # HELP turn_traffic_rcvp Packets.\n# TYPE turn_traffic_rcvp unknown\nturn_traffic_rcvp{realm=\"a b\"} 7\n\
            # HELP rooms Rooms.\n# TYPE rooms gauge\nrooms 1\n\
            # EOF\n";
        assert_eq!(
            prometheus(open_metrics).unwrap(),
            "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{code=\"# 486\"} 2\n\
             # HELP turn_traffic_rcvp Packets.\n# TYPE turn_traffic_rcvp untyped\nturn_traffic_rcvp{realm=\"a b\"} 7\n\
             # HELP rooms Rooms.\n# TYPE rooms gauge\nrooms 1\n"
        );
    }
}
