//! `mcu_*`: the Janus API and its rooms.

use std::fmt;
use std::sync::Arc;

use crate::families::{Expose, Families};

/// Figures of the gateway.
pub struct Janus(pub Arc<voex_janus::Metrics>);

impl Expose for Janus {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let m = &self.0;
        let gauges = [
            (
                "mcu_connections",
                "WebSocket connections of the Janus API.",
                &m.connections,
            ),
            ("mcu_sessions", "Janus sessions.", &m.sessions),
            ("mcu_handles", "Plugin handles.", &m.handles),
            (
                "mcu_peer_connections",
                "WebRTC transports that exist.",
                &m.peer_connections,
            ),
            ("mcu_rooms", "Conference rooms.", &m.rooms),
            ("mcu_publishers", "Publishers whose media is up.", &m.publishers),
            ("mcu_subscribers", "Subscribers that hold an offer.", &m.subscribers),
        ];
        for (name, help, gauge) in gauges {
            families.gauge(name, help, gauge.value())?;
        }
        families.gauge(
            "users_in_calls_count",
            "Participants whose media is set up, conferences and SIP calls together.",
            m.peer_connections.value(),
        )?;
        families.counter("mcu_requests", "API messages that arrived.", m.requests.value())?;
        families.counter("mcu_events", "API events sent.", m.events.value())?;
        families.counter(
            "mcu_session_timeouts",
            "Sessions that ended for lack of a keepalive.",
            m.session_timeouts.value(),
        )?;
        families.counter(
            "mcu_sip_events_ignored",
            "Events of the SIP endpoint that no handle was there for.",
            m.sip_events_ignored.value(),
        )?;
        families.counters(
            "mcu_errors",
            "Error replies of the core, by code.",
            "code",
            m.errors.values(),
        )?;
        families.counters(
            "mcu_videoroom_errors",
            "Error replies of the videoroom, by code.",
            "code",
            m.videoroom_errors.values(),
        )?;
        families.counters(
            "mcu_sip_errors",
            "Error replies of the SIP plugin, by code.",
            "code",
            m.sip_errors.values(),
        )?;
        families.counters(
            "mcu_echotest_errors",
            "Error replies of the echo test, by code.",
            "code",
            m.echotest_errors.values(),
        )?;
        families.counters(
            "mcu_videocall_errors",
            "Error replies of the video call, by code.",
            "code",
            m.videocall_errors.values(),
        )?;
        families.counters(
            "mcu_textroom_errors",
            "Error replies of the text room, by code.",
            "code",
            m.textroom_errors.values(),
        )?;
        expose_calls(&m.calls, families)
    }
}

/// Figures of the calls that join a SIP leg and a browser.
fn expose_calls(calls: &voex_bridge::Metrics, families: &mut Families<'_>) -> fmt::Result {
    families.gauge(
        "sip_calls",
        "Calls that exist now, ringing ones included.",
        calls.calls.value(),
    )?;
    families.counter("sip_calls_outgoing", "Calls made towards SIP.", calls.outgoing.value())?;
    families.counter(
        "sip_calls_incoming",
        "Calls taken from SIP, refused ones included.",
        calls.incoming.value(),
    )?;
    families.counter(
        "sip_calls_answered",
        "Calls that were answered.",
        calls.answered.value(),
    )?;
    families.counters(
        "sip_calls_failed",
        "Calls that ended unanswered, by SIP status code.",
        "code",
        calls.failed.values(),
    )
}
