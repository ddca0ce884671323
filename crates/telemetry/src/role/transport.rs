//! `transport_*`: ICE, DTLS and SRTP of WebRTC clients.

use std::fmt;
use std::sync::Arc;

use crate::families::{Expose, Families, sum, sum_set};

/// Figures of the WebRTC transports, one set for each worker.
pub struct Transports(pub Vec<Arc<voex_transport::Metrics>>);

impl Expose for Transports {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let shards = &self.0;
        families.gauge(
            "transport_up",
            "WebRTC transports that are up.",
            sum(shards, |m| m.up.value()),
        )?;
        families.gauge(
            "transport_data_waiting_bytes",
            "Bytes of data channel messages that wait to be read or acknowledged.",
            sum(shards, |m| m.data_bytes.value()),
        )?;
        let counters: [(&str, &str, u64); 11] = [
            (
                "transport_ice_checks",
                "Valid ICE checks answered.",
                sum(shards, |m| m.ice_checks.value()),
            ),
            (
                "transport_ice_errors",
                "ICE checks refused.",
                sum(shards, |m| m.ice_errors.value()),
            ),
            (
                "transport_ice_pair_changes",
                "Changes of the nominated pair.",
                sum(shards, |m| m.ice_pair_changes.value()),
            ),
            (
                "transport_ice_restarts",
                "ICE restarts.",
                sum(shards, |m| m.ice_restarts.value()),
            ),
            (
                "transport_dtls_started",
                "DTLS handshakes started.",
                sum(shards, |m| m.dtls_started.value()),
            ),
            (
                "transport_dtls_finished",
                "DTLS handshakes that led to keys.",
                sum(shards, |m| m.dtls_finished.value()),
            ),
            (
                "transport_data_messages_received",
                "Messages of data channels received.",
                sum(shards, |m| m.data_messages_received.value()),
            ),
            (
                "transport_data_bytes_received",
                "Bytes of messages of data channels received.",
                sum(shards, |m| m.data_bytes_received.value()),
            ),
            (
                "transport_data_messages_sent",
                "Messages of data channels sent.",
                sum(shards, |m| m.data_messages_sent.value()),
            ),
            (
                "transport_data_bytes_sent",
                "Bytes of messages of data channels sent.",
                sum(shards, |m| m.data_bytes_sent.value()),
            ),
            (
                "transport_data_lost",
                "SCTP associations that ended before their transport.",
                sum(shards, |m| m.data_lost.value()),
            ),
        ];
        for (name, help, value) in counters {
            families.counter(name, help, value)?;
        }
        families.counters(
            "transport_dropped",
            "Datagrams dropped.",
            "reason",
            sum_set(shards, |m| &m.drops),
        )?;
        families.counters(
            "transport_data_dropped",
            "Messages and packets of data channels dropped.",
            "reason",
            sum_set(shards, |m| &m.data_drops),
        )?;
        families.counters(
            "transport_protect_errors",
            "Packets that could not be protected.",
            "reason",
            sum_set(shards, |m| &m.protect_errors),
        )?;
        families.counters(
            "transport_srtp_profiles",
            "Handshakes finished, by SRTP profile.",
            "profile",
            sum_set(shards, |m| &m.srtp_profiles),
        )?;
        families.counters(
            "transport_downs",
            "Transports that went down by themselves.",
            "reason",
            sum_set(shards, |m| &m.downs),
        )
    }
}
