//! ICMP messages about what relays send (RFC 8656 §11.5).

use std::net::SocketAddr;
use std::time::Instant;

use voex_base::{Outbox, SocketId};
use voex_stun::AddressFamily;

use crate::server::send_indication;
use crate::{DropReason, Icmp, Server};

/// Data indications with ICMP that a client gets in a second, and at once. Whoever forges ICMP, or a peer that refuses a
/// flood, shall not make the client's path carry another.
pub(crate) const ICMP_PER_S: u32 = 10;

/// Bytes that the ICMP attribute takes beyond what every Data indication has.
const ICMP_BYTES: usize = 8;

impl Server {
    /// Takes news from the network that a datagram of a relay did not reach `peer`, and tells the relay's client.
    ///
    /// # Errors
    /// Why the client is not told; it is counted.
    pub fn handle_peer_error(
        &mut self,
        now: Instant,
        relay: SocketId,
        peer: SocketAddr,
        icmp: Icmp,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        self.tell_of_icmp(now, relay, peer, icmp, out)
            .map_err(|reason| self.dropped(reason))
    }

    fn tell_of_icmp(
        &mut self,
        now: Instant,
        relay: SocketId,
        peer: SocketAddr,
        icmp: Icmp,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let family = AddressFamily::of(peer.ip());
        if !is_told(family, icmp.kind) {
            return Err(DropReason::IcmpType);
        }
        let allocation = self
            .table
            .live_of_relay(relay, family, now)
            .ok_or(DropReason::NoRelay)?;
        if allocation.is_away() {
            return Err(DropReason::ClientAway);
        }
        if !allocation.permissions.permits(peer.ip(), now) {
            return Err(DropReason::NoPermission);
        }
        if !allocation.icmp.take(now, ICMP_PER_S) {
            return Err(DropReason::IcmpRate);
        }
        let to = allocation.five_tuple;
        let sent = send_indication(&mut self.rng, out, to, peer, ICMP_BYTES, |writer| writer.icmp(icmp))?;
        allocation.traffic.to_client.count(sent);
        self.metrics.icmp_to_client.inc();
        Ok(())
    }
}

/// Tells whether clients hear of an ICMP type: Destination Unreachable and Time Exceeded, and Packet Too Big of ICMPv6.
fn is_told(family: AddressFamily, kind: u8) -> bool {
    match family {
        AddressFamily::V4 => matches!(kind, 3 | 11),
        AddressFamily::V6 => matches!(kind, 1..=3),
    }
}
