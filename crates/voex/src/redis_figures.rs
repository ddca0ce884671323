//! Figures of the databases behind TURN.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use voex_store::{LinkMetrics, Metrics};
use voex_telemetry::{Expose, Families};

/// What is counted about Redis.
pub(crate) struct RedisFigures(pub(crate) Arc<Metrics>);

impl RedisFigures {
    /// The databases that the settings name.
    fn wanted(&self) -> Vec<(&'static str, &LinkMetrics)> {
        let both = [("users", &self.0.users), ("statistics", &self.0.stats)];
        both.into_iter().filter(|(_, link)| link.wanted.load(Relaxed)).collect()
    }

    fn expose_links(&self, families: &mut Families<'_>) -> fmt::Result {
        let wanted = self.wanted();
        let up = |link: &LinkMetrics| i64::from(link.up.load(Relaxed));
        families.gauges(
            "turn_redis_connected",
            "Whether a database is connected to.",
            "database",
            wanted.iter().map(|(name, link)| (*name, up(link))),
        )?;
        type Figure = fn(&LinkMetrics) -> &AtomicU64;
        let figures: [(&str, &str, Figure); 3] = [
            ("turn_redis_connects", "Connections made.", |link| &link.connects),
            (
                "turn_redis_failures",
                "Attempts to connect that failed, and connections that broke.",
                |link| &link.failures,
            ),
            ("turn_redis_refusals", "Commands that Redis refused.", |link| {
                &link.refused
            }),
        ];
        for (name, help, figure) in figures {
            let values = wanted.iter().map(|(name, link)| (*name, figure(link).load(Relaxed)));
            families.counters(name, help, "database", values)?;
        }
        Ok(())
    }

    fn expose_users(&self, families: &mut Families<'_>) -> fmt::Result {
        let (metrics, lookups) = (&self.0, &self.0.lookups);
        let answers = [
            ("found", &lookups.found),
            ("unknown", &lookups.unknown),
            ("remembered", &lookups.remembered),
            ("unavailable", &lookups.unavailable),
            ("overload", &lookups.overload),
        ];
        families.counters(
            "turn_redis_look_ups",
            "Look-ups by answer: from memory and unavailable while Redis is away, overload when too many wait.",
            "answer",
            answers.map(|(name, count)| (name, count.load(Relaxed))),
        )?;
        families.gauge(
            "turn_redis_remembered_users",
            "Users that are remembered for when Redis is away.",
            metrics.cached_users.load(Relaxed),
        )?;
        families.counter(
            "turn_redis_wrong_values",
            "Stored values of a wrong type or form; they count as absent.",
            metrics.wrong_values.load(Relaxed),
        )?;
        families.counter(
            "turn_redis_deleted_users",
            "Users whose sessions were ended because Redis has them no more.",
            metrics.deleted_users.load(Relaxed),
        )
    }

    fn expose_statistics(&self, families: &mut Families<'_>) -> fmt::Result {
        let metrics = &self.0;
        let outcomes = [("published", &metrics.published), ("lost", &metrics.unpublished)];
        families.counters(
            "turn_redis_events",
            "Events of sessions, published or lost.",
            "outcome",
            outcomes.map(|(name, count)| (name, count.load(Relaxed))),
        )?;
        families.gauge(
            "turn_redis_events_waiting",
            "Events of sessions that wait for Redis.",
            metrics.waiting.load(Relaxed),
        )
    }
}

impl Expose for RedisFigures {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let Some(is_up) = self.0.is_up() else {
            return Ok(());
        };
        families.gauge(
            "redis_up",
            "Whether every database that the settings name is connected to.",
            i64::from(is_up),
        )?;
        self.expose_links(families)?;
        self.expose_users(families)?;
        self.expose_statistics(families)?;
        self.0.with_round_trip(|histogram| {
            families.histogram(
                "turn_redis_round_trip_seconds",
                "Time from commands to their answers.",
                1e-6,
                histogram,
            )
        })
    }
}
