//! Figures of what only the binary knows: worker loops, listeners; and the status page.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use serde_json::{Value, json};
use voex_base::Counter;
use voex_telemetry::{Expose, Families, Health, sum, sum_set};

use crate::drain::Drain;
use crate::media::Metrics;
use crate::{certificate, events, recorder, signalling, stream_figures, websocket};

/// A pool fuller than this is a failing health check.
const POOL_PERCENT_MAX: i64 = 90;

/// Whether the process does its work; written by the main task.
pub(crate) struct State {
    /// Set once every worker thread was found running; cleared when one is not.
    pub(crate) workers_running: AtomicBool,
    /// The drain.
    pub(crate) drain: Arc<Drain>,
    /// What is counted about Redis.
    pub(crate) redis: Arc<voex_store::Metrics>,
    /// What is known of the certificate.
    pub(crate) certificate: Arc<certificate::Figures>,
}

impl State {
    /// What `/health` says, with how full the relay ports are in percent.
    pub(crate) fn health(&self, relay_ports_percent: i64) -> Health {
        let check = |well: bool, detail: &str| if well { Ok(()) } else { Err(detail.to_owned()) };
        let mut health = Health {
            checks: vec![
                (
                    "media workers",
                    check(self.workers_running.load(Relaxed), "a worker thread has ended"),
                ),
                ("accepting", check(!self.drain.is_asked(), "draining before the stop")),
                (
                    "relay ports",
                    check(
                        relay_ports_percent <= POOL_PERCENT_MAX,
                        "more than 90 % of the ports are in use",
                    ),
                ),
            ],
        };
        if let Some(is_up) = self.redis.is_up() {
            let redis = check(is_up, "Redis is not connected; users are answered from memory");
            health.checks.push(("redis", redis));
        }
        health
    }
}

/// Worker loops, one set of counters for each.
pub(crate) struct Loops(pub(crate) Vec<Arc<voex_net::Metrics>>);

impl Expose for Loops {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        type Figure = fn(&voex_net::Metrics) -> &Counter;
        let counters: [(&str, &str, Figure); 19] = [
            ("net_busy_passes", "Loop passes that found something to do.", |m| {
                &m.busy_passes
            }),
            ("net_sleeps", "Times a loop slept in the kernel.", |m| &m.sleeps),
            (
                "net_naps",
                "Times a loop slept a fixed short time to let packets gather.",
                |m| &m.naps,
            ),
            (
                "net_look_again_hits",
                "Times that looking again found something.",
                |m| &m.look_again_hits,
            ),
            (
                "net_look_again_misses",
                "Times that looking again found nothing.",
                |m| &m.look_again_misses,
            ),
            ("net_receive_calls", "Receive calls that gave something.", |m| {
                &m.receive_calls
            }),
            ("net_received_packets", "Packets received.", |m| &m.received_packets),
            ("net_received_bytes", "UDP payload bytes received.", |m| {
                &m.received_bytes
            }),
            (
                "net_received_trains",
                "Messages that arrived as several packets (GRO).",
                |m| &m.received_trains,
            ),
            ("net_errors_received", "ICMP errors about datagrams of relays.", |m| {
                &m.errors_received
            }),
            ("net_send_calls", "Send calls.", |m| &m.send_calls),
            ("net_sent_packets", "Packets sent.", |m| &m.sent_packets),
            ("net_sent_bytes", "UDP payload bytes sent.", |m| &m.sent_bytes),
            ("net_sent_trains", "Messages that left as several packets (GSO).", |m| {
                &m.sent_trains
            }),
            ("net_crossed_packets", "Packets handed to another worker.", |m| {
                &m.crossed_packets
            }),
            ("net_recorded_packets", "Packets handed to the recorder.", |m| {
                &m.recorded_packets
            }),
            ("net_commands", "Commands taken.", |m| &m.commands),
            ("net_events", "Events reported.", |m| &m.events),
            (
                "net_events_lost",
                "Events lost because the control task was behind.",
                |m| &m.events_lost,
            ),
        ];
        let shards = &self.0;
        for (name, help, figure) in counters {
            families.counter(name, help, sum(shards, |m| figure(m).value()))?;
        }
        families.gauge(
            "net_sockets",
            "Sockets of the workers.",
            sum(shards, |m| m.sockets.value()),
        )?;
        families.gauges(
            "net_batching",
            "Workers that send (gso) and receive (gro) several packets in one message.",
            "path",
            [
                ("gso", sum(shards, |m| m.gso.value())),
                ("gro", sum(shards, |m| m.gro.value())),
            ],
        )?;
        families.counters(
            "net_dropped",
            "Packets dropped by the loops.",
            "reason",
            sum_set(shards, |m| &m.dropped),
        )?;
        stream_figures::expose(shards, families)
    }
}

/// The recorder.
pub(crate) struct Recordings(pub(crate) Arc<recorder::Metrics>);

impl Expose for Recordings {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let metrics = &self.0;
        families.gauge("mcu_recordings", "Recordings that run.", metrics.open.value())?;
        families.counter(
            "mcu_recorded_packets",
            "Packets written into recordings.",
            metrics.packets.value(),
        )?;
        families.counter("mcu_recorded_bytes", "Bytes of those packets.", metrics.bytes.value())?;
        families.counter(
            "mcu_recording_lost_packets",
            "Packets of recordings that had failed.",
            metrics.lost_packets.value(),
        )?;
        families.counters(
            "mcu_recordings_failed",
            "Recordings that failed.",
            "reason",
            metrics.failed.values(),
        )
    }
}

/// The listeners of the control plane.
pub(crate) struct Listeners {
    pub(crate) api: Arc<websocket::Metrics>,
    pub(crate) sip: Arc<signalling::Metrics>,
    pub(crate) events: events::AllFigures,
}

impl Expose for Listeners {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        families.counter(
            "mcu_connections_accepted",
            "WebSocket connections accepted.",
            self.api.accepted.value(),
        )?;
        families.counters(
            "mcu_connections_refused",
            "WebSocket connections refused.",
            "reason",
            self.api.refused.values(),
        )?;
        families.counter(
            "sip_overrun_datagrams",
            "SIP datagrams dropped because the control task was behind.",
            self.sip.overrun.load(Relaxed),
        )?;
        families.counter(
            "sip_unsent_datagrams",
            "SIP datagrams that the system would not send.",
            self.sip.unsent.load(Relaxed),
        )?;
        self.events.expose(families)
    }
}

/// What `/api/v1/status` shows.
pub(crate) struct Status {
    pub(crate) started: Instant,
    pub(crate) listeners: Vec<(String, String)>,
    pub(crate) media_path: String,
    pub(crate) media: Metrics,
    pub(crate) janus: Arc<voex_janus::Metrics>,
    pub(crate) sip: Arc<voex_sip::Metrics>,
    pub(crate) recorder: Arc<recorder::Metrics>,
    pub(crate) images: Vec<(String, String)>,
    /// Ports of all relay addresses together.
    pub(crate) relay_ports: i64,
}

impl Status {
    pub(crate) fn to_json(&self) -> Value {
        let (turn, sfu, janus) = (&self.media.turn, &self.media.sfu, &self.janus);
        let listeners: serde_json::Map<String, Value> = self
            .listeners
            .iter()
            .map(|(name, at)| (name.clone(), at.as_str().into()))
            .collect();
        let mut status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.started.elapsed().as_secs(),
            "listeners": listeners,
            "media": {"workers": self.media.net.len(), "path": self.media_path},
            "turn": {
                "allocations": sum(turn, |m| m.allocations.value()),
                "relayed_packets": sum(turn, |m| m.to_peer_packets.value() + m.to_client_packets.value()),
            },
            "conference": {
                "sessions": janus.sessions.value(),
                "rooms": janus.rooms.value(),
                "publishers": janus.publishers.value(),
                "subscribers": janus.subscribers.value(),
                "forwarded_packets": sum(sfu, |m| m.forwarded_packets.value()),
            },
            "sip": {
                "legs": self.sip.dialogs.value(),
                "registrations": self.sip.registrations.value(),
            },
        });
        if !self.images.is_empty() {
            status["images"] = self.images.iter().map(|(name, tag)| format!("{name}: {tag}")).collect();
        }
        status
    }

    /// How full the relay ports are.
    pub(crate) fn relay_ports_percent(&self) -> i64 {
        let allocations: i64 = sum(&self.media.turn, |m| m.allocations.value());
        allocations * 100 / self.relay_ports.max(1)
    }

    /// Calls, conferences and allocations that an end of the process would cut off.
    pub(crate) fn in_use(&self) -> i64 {
        let allocations: i64 = sum(&self.media.turn, |m| m.allocations.value());
        allocations + self.janus.peer_connections.value() + self.sip.dialogs.value()
    }
}
