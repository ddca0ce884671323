use voex_base::{Counter, CounterSet, Gauge};

use crate::{DropReason, Refusal};

/// Live counters of one shard. The shard writes, anybody reads.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Allocations that exist now.
    pub allocations: Gauge,
    /// Allocations ever made.
    pub allocations_total: Counter,
    /// Times that a client was heard on another path than before (RFC 8016).
    pub moves_total: Counter,
    /// Clients of this shard's listeners whose allocation another shard has now.
    pub far_clients: Gauge,
    /// Times that another shard was not told that a client is not ours, since too much waited to be told there.
    pub claims_withheld: Counter,
    /// Binding requests that arrived.
    pub binding_requests: Counter,
    /// Binding requests answered.
    pub bindings_total: Counter,
    /// Binding requests refused.
    pub bindings_refused: Counter,
    /// Requests of every other method that arrived.
    pub requests: Counter,
    /// Requests that were worth a 401 which was withheld, since their source had been sent too many.
    pub unauthenticated_withheld: Counter,
    /// Requests refused, by code.
    pub refused: CounterSet<Refusal>,
    /// Requests that carried credentials which did not hold.
    pub authentication_failures: Counter,
    /// Questions to the credential store.
    pub look_ups_total: Counter,
    /// Requests that wait for the credential store now.
    pub look_ups_waiting: Gauge,
    /// Connections with peers of TCP relays that exist now, or are being made.
    pub connections: Gauge,
    /// Of them, those that no client data connection is bound to.
    pub connections_waiting: Gauge,
    /// Connections with peers that ever stood.
    pub connections_total: Counter,
    /// Of them, those that no client came for in time.
    pub connections_unbound: Counter,
    /// Times that a limit of bytes kept one side of a connection of a TCP relay from being read.
    pub reads_throttled: Counter,
    /// Datagrams relayed from clients to peers; of TCP relays, the pieces in which bytes came.
    pub to_peer_packets: Counter,
    /// Application bytes relayed from clients to peers.
    pub to_peer_bytes: Counter,
    /// Datagrams relayed from peers to clients.
    pub to_client_packets: Counter,
    /// Application bytes relayed from peers to clients.
    pub to_client_bytes: Counter,
    /// Datagrams that did not reach a peer, of which the client was told.
    pub icmp_to_client: Counter,
    /// Datagrams dropped, by reason.
    pub dropped: CounterSet<DropReason>,
}

impl Metrics {
    #[inline]
    pub(crate) fn count_to_peer(&self, bytes: usize) {
        self.to_peer_packets.inc();
        self.to_peer_bytes.add(bytes as u64);
    }

    #[inline]
    pub(crate) fn count_to_client(&self, bytes: usize) {
        self.to_client_packets.inc();
        self.to_client_bytes.add(bytes as u64);
    }
}
