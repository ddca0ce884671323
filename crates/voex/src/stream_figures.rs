//! Figures of TURN clients' streams and DTLS associations, of all worker loops together.

use std::fmt;
use std::sync::Arc;

use voex_net::Metrics;
use voex_telemetry::{Families, sum, sum_set};

/// Writes the families of streams and associations.
pub(crate) fn expose(loops: &[Arc<Metrics>], families: &mut Families<'_>) -> fmt::Result {
    streams(loops, families)?;
    associations(loops, families)
}

fn streams(loops: &[Arc<Metrics>], families: &mut Families<'_>) -> fmt::Result {
    families.gauges(
        "net_streams",
        "Streams of TURN clients that are open.",
        "protocol",
        [
            ("tcp", sum(loops, |m| m.tcp_streams.value())),
            ("tls", sum(loops, |m| m.tls_streams.value())),
        ],
    )?;
    families.counter(
        "net_tls_handshakes",
        "TLS handshakes that succeeded.",
        sum(loops, |m| m.tls_handshakes.value()),
    )?;
    families.counters(
        "net_handshakes_failed",
        "TLS and DTLS handshakes that failed.",
        "reason",
        sum_set(loops, |m| &m.handshakes_failed),
    )?;
    families.counter(
        "net_streams_accepted",
        "Connections of TURN clients accepted.",
        sum(loops, |m| m.streams_accepted.value()),
    )?;
    families.counters(
        "net_streams_refused",
        "Connections of TURN clients closed as soon as they were accepted.",
        "reason",
        sum_set(loops, |m| &m.streams_refused),
    )?;
    families.counters(
        "net_streams_ended",
        "Streams of TURN clients that ended.",
        "reason",
        sum_set(loops, |m| &m.streams_ended),
    )?;
    families.counter(
        "net_streams_moved",
        "Streams of TURN clients sent to the worker that has what they asked for.",
        sum(loops, |m| m.streams_moved.value()),
    )?;
    families.gauge(
        "net_peers",
        "Connections of TCP relays with peers that are open.",
        sum(loops, |m| m.peers.value()),
    )?;
    families.counters(
        "net_stream_bytes",
        "Bytes read from streams and written to them.",
        "direction",
        [
            ("received", sum(loops, |m| m.stream_received_bytes.value())),
            ("sent", sum(loops, |m| m.stream_sent_bytes.value())),
        ],
    )?;
    families.counters(
        "net_stream_calls",
        "Calls that read from streams and wrote to them.",
        "direction",
        [
            ("received", sum(loops, |m| m.stream_reads.value())),
            ("sent", sum(loops, |m| m.stream_writes.value())),
        ],
    )
}

fn associations(loops: &[Arc<Metrics>], families: &mut Families<'_>) -> fmt::Result {
    families.gauge(
        "net_associations",
        "DTLS associations of TURN clients that are open.",
        sum(loops, |m| m.associations.value()),
    )?;
    families.counter(
        "net_dtls_handshakes",
        "DTLS handshakes that succeeded.",
        sum(loops, |m| m.dtls_handshakes.value()),
    )?;
    families.counter(
        "net_dtls_cookies",
        "Cookies handed out to DTLS clients that had none.",
        sum(loops, |m| m.dtls_cookies.value()),
    )?;
    families.counters(
        "net_dtls_refused",
        "DTLS datagrams of clients without an association that were not taken.",
        "reason",
        sum_set(loops, |m| &m.dtls_refused),
    )?;
    families.counters(
        "net_associations_ended",
        "DTLS associations of TURN clients that ended.",
        "reason",
        sum_set(loops, |m| &m.associations_ended),
    )
}
