//! The outbox of the conference server: packets to relays of this host turn off here.

use std::net::SocketAddr;
use std::time::Instant;

use rustc_hash::FxHashMap;
use voex_base::{Outbox, SocketId, WorkerId};
use voex_turn::Server;

use crate::{Crossed, DropReason, Egress, HandOver, Metrics, RelayPlace, Topology};

/// Passes everything on to `inner` but what is addressed to a relay: that goes to the TURN shard here, or to the worker
/// that has the allocation.
pub(crate) struct Crossing<'a, E> {
    pub(crate) now: Instant,
    pub(crate) id: WorkerId,
    pub(crate) inner: &'a mut E,
    pub(crate) turn: Option<&'a mut Server>,
    pub(crate) topology: &'a Topology,
    pub(crate) relays: &'a FxHashMap<SocketAddr, SocketId>,
    pub(crate) room: &'a mut [u8],
    pub(crate) metrics: &'a Metrics,
}

impl<E: Egress> Outbox for Crossing<'_, E> {
    fn reserve(&mut self, len_max: usize) -> &mut [u8] {
        self.inner.reserve(len_max)
    }

    fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize) {
        // A plain RTP socket has no name in the table: what it sends goes out, wherever it goes.
        let way = self.topology.relay_place(to).and_then(|place| {
            let from = self.topology.media_name(socket, &place)?;
            Some((place, from))
        });
        match way {
            None => self.inner.commit(socket, to, len),
            Some((place, from)) => self.hand_over(place, from, to, len),
        }
    }
}

impl<E: Egress> Crossing<'_, E> {
    fn hand_over(&mut self, place: RelayPlace, from: SocketAddr, to: SocketAddr, len: usize) {
        // TURN reserves room for its own packet, which takes this reservation back.
        let packet = &mut self.room[..len];
        packet.copy_from_slice(&self.inner.reserved()[..len]);
        self.metrics.handed_over_packets.of(HandOver::MediaToRelay).inc();
        if place.worker != self.id {
            self.metrics.crossed_packets.of(HandOver::MediaToRelay).inc();
            if !self.inner.cross(place.worker, Crossed::HandOver, from, to, packet) {
                self.metrics.dropped.of(DropReason::CrossingFull).inc();
            }
            return;
        }
        match (&mut self.turn, self.relays.get(&place.local)) {
            // The shard counts its refusals itself.
            (Some(turn), Some(relay)) => drop(turn.handle_peer_datagram(self.now, *relay, from, packet, self.inner)),
            _ => self.metrics.dropped.of(DropReason::NoAllocation).inc(),
        }
    }
}
