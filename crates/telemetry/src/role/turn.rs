//! `turn_*`: allocations and what they relay.

use std::fmt;
use std::sync::Arc;

use crate::families::{Expose, Families, sum, sum_set};

/// Figures of the TURN shards, one set for each worker.
pub struct Turn(pub Vec<Arc<voex_turn::Metrics>>);

impl Expose for Turn {
    fn expose(&self, families: &mut Families<'_>) -> fmt::Result {
        let shards = &self.0;
        families.gauge(
            "turn_allocations",
            "Allocations that exist.",
            sum(shards, |m| m.allocations.value()),
        )?;
        families.gauge(
            "turn_look_ups_waiting",
            "Requests that wait for the credential store.",
            sum(shards, |m| m.look_ups_waiting.value()),
        )?;
        families.gauge(
            "turn_peer_connections",
            "Connections of TCP relays with peers that exist or are being made.",
            sum(shards, |m| m.connections.value()),
        )?;
        families.gauge(
            "turn_peer_connections_waiting",
            "Connections of TCP relays with peers that no client's data connection is bound to.",
            sum(shards, |m| m.connections_waiting.value()),
        )?;
        families.gauge(
            "turn_far_clients",
            "Clients that one worker hears and another serves, since they have moved.",
            sum(shards, |m| m.far_clients.value()),
        )?;
        let counters = [
            (
                "turn_moves",
                "Times that a client went on over another path with its ticket.",
                sum(shards, |m| m.moves_total.value()),
            ),
            (
                "turn_claims_withheld",
                "Times that a worker was not told that a client it hears is no other's, since too much waited to be told.",
                sum(shards, |m| m.claims_withheld.value()),
            ),
            (
                "turn_peer_connections_made",
                "Connections of TCP relays with peers that ever stood.",
                sum(shards, |m| m.connections_total.value()),
            ),
            (
                "turn_peer_connections_unbound",
                "Connections of TCP relays with peers that no client came for in time.",
                sum(shards, |m| m.connections_unbound.value()),
            ),
            (
                "turn_reads_throttled",
                "Times that a limit of bytes kept one side of a TCP relay's connection from being read.",
                sum(shards, |m| m.reads_throttled.value()),
            ),
            (
                "turn_allocations_made",
                "Allocations ever made.",
                sum(shards, |m| m.allocations_total.value()),
            ),
            (
                "turn_bindings",
                "Binding requests answered.",
                sum(shards, |m| m.bindings_total.value()),
            ),
            (
                "turn_authentication_failures",
                "Requests whose credentials did not hold.",
                sum(shards, |m| m.authentication_failures.value()),
            ),
            (
                "turn_look_ups",
                "Questions to the credential store.",
                sum(shards, |m| m.look_ups_total.value()),
            ),
        ];
        for (name, help, value) in counters {
            families.counter(name, help, value)?;
        }
        families.counters(
            "turn_relayed_packets",
            "Datagrams relayed.",
            "direction",
            [
                ("to_peer", sum(shards, |m| m.to_peer_packets.value())),
                ("to_client", sum(shards, |m| m.to_client_packets.value())),
            ],
        )?;
        families.counters(
            "turn_relayed_bytes",
            "Application bytes relayed.",
            "direction",
            [
                ("to_peer", sum(shards, |m| m.to_peer_bytes.value())),
                ("to_client", sum(shards, |m| m.to_client_bytes.value())),
            ],
        )?;
        families.counters(
            "turn_refused",
            "Requests refused, by error code.",
            "code",
            sum_set(shards, |m| &m.refused),
        )?;
        families.counters(
            "turn_dropped",
            "Datagrams dropped.",
            "reason",
            sum_set(shards, |m| &m.dropped),
        )
    }
}
