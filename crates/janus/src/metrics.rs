//! What the gateway counts.

use voex_base::{Counter, CounterSet, Gauge};

use crate::error::Code;
use crate::plugin::{echotest, sip, textroom, videocall, videoroom};

/// Live figures of one gateway.
#[derive(Default, Debug)]
pub struct Metrics {
    /// WebSocket connections.
    pub connections: Gauge,
    /// Janus sessions.
    pub sessions: Gauge,
    /// Plugin handles.
    pub handles: Gauge,
    /// WebRTC transports that exist.
    pub peer_connections: Gauge,
    /// Videorooms.
    pub rooms: Gauge,
    /// Publishers whose transport is up.
    pub publishers: Gauge,
    /// Subscriber handles that hold an offer.
    pub subscribers: Gauge,
    /// Messages that arrived.
    pub requests: Counter,
    /// Events that were sent.
    pub events: Counter,
    /// Sessions that ended for lack of a keepalive.
    pub session_timeouts: Counter,
    /// Events of the SIP endpoint that no handle was there for.
    pub sip_events_ignored: Counter,
    /// Core errors by code.
    pub errors: CounterSet<Code>,
    /// Errors of the videoroom by code.
    pub videoroom_errors: CounterSet<videoroom::Code>,
    /// Errors of the SIP plugin by code.
    pub sip_errors: CounterSet<sip::Code>,
    /// Errors of the echo test by code.
    pub echotest_errors: CounterSet<echotest::Code>,
    /// Errors of the video call by code.
    pub videocall_errors: CounterSet<videocall::Code>,
    /// Errors of the text room by code.
    pub textroom_errors: CounterSet<textroom::Code>,
    /// Calls between browsers and SIP.
    pub calls: voex_bridge::Metrics,
}
