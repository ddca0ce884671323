//! Connections with peers of TCP relays, on their way between the TURN shard and the owner of sockets.

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::SocketId;
use voex_turn::{ConnectionId, Departure, DropReason, Output, Way};

use crate::{Egress, Worker};

impl Worker {
    /// Takes the answer to [`Output::ConnectPeer`]; `false` is every way not to be connected.
    pub fn handle_peer_connected(&mut self, now: Instant, id: ConnectionId, connected: bool, out: &mut impl Egress) {
        if let Some(turn) = &mut self.turn {
            turn.handle_peer_connected(now, id, connected, out);
        }
    }

    /// Takes a connection that a peer made to a TCP relay.
    ///
    /// A peer may be another relay of this host, whose client is known by its public name or by its local one; whichever
    /// of both has a permission is the one that is meant.
    ///
    /// # Errors
    /// Why the connection is to be closed at once; it is counted.
    pub fn handle_peer_accepted(
        &mut self,
        now: Instant,
        relay: SocketId,
        peer: SocketAddr,
        out: &mut impl Egress,
    ) -> Result<ConnectionId, DropReason> {
        let turn = self.turn.as_mut().ok_or(DropReason::NoRelay)?;
        let peer = self
            .topology
            .public_relay(peer)
            .filter(|public| turn.permits_peer(now, relay, public.ip()))
            .unwrap_or(peer);
        turn.handle_peer_accepted(now, relay, peer, out)
    }

    /// Hears that a peer data connection is no more that no client's was bound to.
    pub fn handle_peer_closed(&mut self, id: ConnectionId) {
        if let Some(turn) = &mut self.turn {
            turn.handle_peer_closed(id);
        }
    }

    /// Counts bytes that a bound connection carried one way; gives until when the side that said them is not to be read.
    #[must_use]
    pub fn handle_carried(&mut self, now: Instant, id: ConnectionId, way: Way, bytes: usize) -> Option<Instant> {
        self.turn.as_mut()?.handle_carried(now, id, way, bytes)
    }

    /// Tells until when nothing more is to be read that goes one way over a connection; then it is to be asked again.
    #[must_use]
    pub fn throttled_until(&mut self, now: Instant, id: ConnectionId, way: Way) -> Option<Instant> {
        self.turn.as_mut()?.throttled_until(now, id, way)
    }

    /// Tells, right after a message of a stream was handled, whether the stream departs with it; the outputs, which are to
    /// be polled next, say where to.
    pub fn departure(&self, client: SocketId) -> Option<Departure> {
        self.turn.as_ref()?.departure(client)
    }

    /// Has relays of this host reached by their local name: their public one may be a NAT's, which leads nowhere from
    /// inside.
    pub(crate) fn by_local_name(&self, output: Output) -> Output {
        match output {
            Output::ConnectPeer {
                connection,
                relay,
                peer,
            } => Output::ConnectPeer {
                connection,
                relay,
                peer: self.topology.local_relay(peer).unwrap_or(peer),
            },
            other => other,
        }
    }
}
