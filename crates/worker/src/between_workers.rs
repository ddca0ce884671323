//! What workers hand to one another: packets between addresses of this host, what clients send that have moved, and
//! tracks that several of them serve.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use rustc_hash::FxHashMap;
use voex_base::{FiveTuple, SocketId, WallTime, WorkerId};

use crate::{Crossed, DropReason, Egress, HandOver, Place, RelayPlace, Role, Worker};

/// In place of addresses, where what crosses has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Worker {
    /// Takes what another worker handed over; of a packet its own checks are done, those of the receiving side follow.
    #[expect(
        clippy::too_many_arguments,
        reason = "the two clocks and the packet's way, none of which belongs to another"
    )]
    pub fn handle_crossed(
        &mut self,
        now: Instant,
        wall: WallTime,
        by: WorkerId,
        what: Crossed,
        from: SocketAddr,
        to: SocketAddr,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        self.metrics.crossed_in_packets.inc();
        match what {
            Crossed::HandOver => self.take_handed_over(now, wall, from, to, data, out),
            Crossed::FromClient => self.take_given_on(now, wall, by, from, to, data, out),
            Crossed::Claim => self.take_claim(by, from, to, true),
            Crossed::Release => self.take_claim(by, from, to, false),
            Crossed::Piped => self.take_piped(now, wall, by, data, out),
        }
    }

    fn take_piped(&mut self, now: Instant, wall: WallTime, by: WorkerId, data: &[u8], out: &mut impl Egress) {
        if let (Some(sfu), mut out) = self.split(now, out) {
            sfu.handle_piped(now, wall, by, data, &mut out);
        }
        self.pass_piped(out);
    }

    /// Gives other workers what the conference server has for theirs.
    #[inline]
    pub(crate) fn pass_piped(&mut self, out: &mut impl Egress) {
        let Some(sfu) = &mut self.sfu else { return };
        while let Some((worker, message)) = sfu.poll_pipe() {
            if !out.cross(worker, Crossed::Piped, NOWHERE, NOWHERE, message) {
                self.metrics.dropped.of(DropReason::CrossingFull).inc();
            }
        }
    }

    /// Tells other workers which of the clients that they hear belong here, and which no longer do; false when the way to
    /// one of them is full, to be tried again before long.
    pub fn pass_claims(&mut self, out: &mut impl Egress) -> bool {
        let roles = &self.roles;
        let Some(turn) = &mut self.turn else { return true };
        turn.pass_claims(|shard, client, holds| {
            let Some(listener) = listener_of(roles, client) else {
                return true;
            };
            let what = if holds { Crossed::Claim } else { Crossed::Release };
            out.cross(WorkerId(shard), what, client.client, listener, &[])
        })
    }

    /// Gives a client's datagram to the worker that has its allocation.
    pub(crate) fn give_on(&self, worker: WorkerId, client: FiveTuple, data: &[u8], out: &mut impl Egress) {
        let Some(listener) = listener_of(&self.roles, client) else {
            return self.drop(DropReason::UnknownSocket);
        };
        self.metrics.crossed_packets.of(HandOver::MovedClient).inc();
        if !out.cross(worker, Crossed::FromClient, client.client, listener, data) {
            self.drop(DropReason::CrossingFull);
        }
    }

    fn take_handed_over(
        &mut self,
        now: Instant,
        wall: WallTime,
        from: SocketAddr,
        to: SocketAddr,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        match self.topology.place(to) {
            Some(Place::Media(media)) => self.deliver_to_media(now, wall, media.socket, from, data, out),
            Some(Place::Relay(RelayPlace { local, .. })) => match self.relays.get(&local).copied() {
                Some(relay) => self.deliver_to_relay(now, relay, from, data, out),
                None => self.drop(DropReason::NoAllocation),
            },
            None => self.drop(DropReason::NoAllocation),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the two clocks and the packet's way, none of which belongs to another"
    )]
    fn take_given_on(
        &mut self,
        now: Instant,
        wall: WallTime,
        by: WorkerId,
        from: SocketAddr,
        to: SocketAddr,
        data: &mut [u8],
        out: &mut impl Egress,
    ) {
        let (Some(listener), Some(turn)) = (self.listeners.get(&to), &mut self.turn) else {
            return self.drop(DropReason::UnknownSocket);
        };
        let client = FiveTuple {
            socket: *listener,
            client: from,
        };
        let verdict = turn.handle_far_datagram(now, wall, by.0, client, data, out);
        self.obey(now, wall, client, verdict, data, out);
    }

    fn take_claim(&mut self, by: WorkerId, client: SocketAddr, listener: SocketAddr, holds: bool) {
        if let (Some(socket), Some(turn)) = (self.listeners.get(&listener), &mut self.turn) {
            let socket = *socket;
            turn.handle_claim(FiveTuple { socket, client }, by.0, holds);
        }
    }
}

/// Gives the address of the listener that hears a client.
fn listener_of(roles: &FxHashMap<SocketId, Role>, client: FiveTuple) -> Option<SocketAddr> {
    match roles.get(&client.socket)? {
        Role::TurnListener(path) => Some(path.local),
        _ => None,
    }
}
