//! Figures under the names that coturn's exporter gives them, for dashboards that were written for it.
//!
//! Where coturn counts a session's traffic when it ends, these count while it lives.

use std::fmt;
use std::sync::Arc;

use voex_base::Protocol;
use voex_telemetry::{Expose, Families, sum};
use voex_turn::{Metrics, Refusal};

use crate::turn_sessions::{Sessions, Sums};

/// What the figures are read from.
pub(crate) struct CoturnFigures {
    pub(crate) shards: Vec<Arc<Metrics>>,
    pub(crate) sessions: Arc<Sessions>,
}

type Figure = fn(&Sums) -> u64;

/// The four figures of one side of a session; `rcv` is what the server received.
const CLIENT: [(&str, &str, Figure); 4] = [
    ("rcvp", "Packets received from clients", |sums| {
        sums.client.received_packets
    }),
    ("rcvb", "Bytes received from clients, headers included", |sums| {
        sums.client.received_bytes
    }),
    ("sentp", "Packets sent to clients", |sums| sums.client.sent_packets),
    ("sentb", "Bytes sent to clients, headers included", |sums| {
        sums.client.sent_bytes
    }),
];
const PEER: [(&str, &str, Figure); 4] = [
    ("peer_rcvp", "Packets received from peers", |sums| {
        sums.peer.received_packets
    }),
    ("peer_rcvb", "Application bytes received from peers", |sums| {
        sums.peer.received_bytes
    }),
    ("peer_sentp", "Packets sent to peers", |sums| sums.peer.sent_packets),
    ("peer_sentb", "Application bytes sent to peers", |sums| {
        sums.peer.sent_bytes
    }),
];

impl Expose for CoturnFigures {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        self.expose_traffic(families)?;
        self.expose_requests(families)
    }
}

impl CoturnFigures {
    fn expose_traffic(&self, families: &mut Families<'_>) -> fmt::Result {
        let totals = self.sessions.totals();
        for (name, help, figure) in CLIENT.iter().chain(&PEER) {
            let by_realm = totals.by_realm.iter().map(|(realm, sums)| (&**realm, figure(sums)));
            let (name_of_realm, help) = (
                format!("turn_traffic_{name}"),
                format!("{help}, sessions that live included."),
            );
            families.exact_counters(&name_of_realm, &help, "realm", by_realm)?;
            families.exact_counter(&format!("turn_total_traffic_{name}"), &help, figure(&totals.all))?;
        }
        families.gauges(
            "turn_total_allocations",
            "Allocations that exist, by what carries them.",
            "type",
            Protocol::ALL.map(|protocol| (coturn_name(protocol), totals.live_of(protocol))),
        )
    }

    fn expose_requests(&self, families: &mut Families<'_>) -> fmt::Result {
        let shards = &self.shards;
        let relayed = |m: &Metrics| m.to_peer_packets.value() + m.to_client_packets.value();
        let unauthenticated = sum(shards, |m| m.refused.of(Refusal::Unauthenticated).value());
        let withheld = sum(shards, |m| m.unauthenticated_withheld.value());
        let counters: [(&str, &str, u64); 8] = [
            (
                "stun_binding_request",
                "Binding requests that arrived.",
                sum(shards, |m| m.binding_requests.value()),
            ),
            (
                "stun_binding_response",
                "Binding requests answered.",
                sum(shards, |m| m.bindings_total.value()),
            ),
            (
                "stun_binding_error",
                "Binding requests refused.",
                sum(shards, |m| m.bindings_refused.value()),
            ),
            (
                "turn_packet_processed",
                "Datagrams relayed and requests taken.",
                sum(shards, |m| relayed(m) + m.requests.value() + m.binding_requests.value()),
            ),
            (
                "turn_packet_dropped",
                "Datagrams dropped, whatever the reason.",
                sum(shards, |m| m.dropped.values().map(|(_, count)| count).sum::<u64>()),
            ),
            (
                "turn_unauthenticated_401_requests",
                "Requests that were worth a 401.",
                unauthenticated + withheld,
            ),
            (
                "turn_unauthenticated_401_responses",
                "Answers with 401.",
                unauthenticated,
            ),
            (
                "turn_unauthenticated_401_dropped_responses",
                "Answers with 401 that were withheld, since their source had been sent too many.",
                withheld,
            ),
        ];
        for (name, help, value) in counters {
            families.exact_counter(name, help, value)?;
        }
        Ok(())
    }
}

fn coturn_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
        Protocol::Tls => "TLS/TCP",
        Protocol::Dtls => "DTLS",
    }
}
