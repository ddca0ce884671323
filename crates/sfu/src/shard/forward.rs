//! The forward step: one packet of a track to all its subscriptions, and again to one that asks.

use std::time::Instant;

use voex_base::{Outbox, WallTime};

use super::{Position, Shard};
use crate::DropReason;
use crate::connection::Link;
use crate::limits::RESEND_INTERVAL_DEFAULT;
use crate::packet::MediaPacket;
use crate::subscription::{OVERHEAD_BYTES_MAX, Stamp, abs_send_time};

impl Shard {
    /// Writes a packet once for each subscription that takes it: rewritten, protected, in the outbox.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        wall: WallTime,
        track: usize,
        packet: &MediaPacket<'_>,
        out: &mut impl Outbox,
    ) {
        let track = &mut self.tracks[track];
        let clock_rate = track.payload(packet.payload_index).clock_rate;
        let mut stamp = Stamp {
            abs_send_time: abs_send_time(wall.ntp()),
            transport_cc: 0,
        };
        let room_bytes = packet.payload.len() + OVERHEAD_BYTES_MAX;
        let (mut packets, mut bytes, mut failed) = (0, 0, 0);
        for subscription in &mut track.subscriptions {
            if !subscription.admits(now, packet, clock_rate) {
                continue;
            }
            let connection = &mut self.connections[subscription.connection];
            let Some((socket, to)) = connection.destination() else {
                continue;
            };
            if subscription.plan.has_transport_cc() {
                connection.transport_cc_sent = connection.transport_cc_sent.wrapping_add(1);
                stamp.transport_cc = connection.transport_cc_sent;
            }
            let room = out.reserve(room_bytes);
            let Some(length) = subscription.write(now, packet, stamp, room) else {
                continue;
            };
            match connection.protect_rtp(room, length) {
                Some(length) => {
                    out.commit(socket, to, length);
                    packets += 1;
                    bytes += length as u64;
                }
                None => failed += 1,
            }
        }
        self.metrics.forwarded_packets.add(packets);
        self.metrics.forwarded_bytes.add(bytes);
        if failed > 0 {
            self.metrics.drops.of(DropReason::Protect).add(failed);
        }
    }

    /// Sends a packet again that left with this sequence number; gives whether it did.
    ///
    /// By RTX where that is negotiated. Without it only transports that do not protect can send the same packet again:
    /// SRTP never seals two packets under one number.
    pub(super) fn resend(
        &mut self,
        now: Instant,
        wall: WallTime,
        position: Position,
        sequence_number: u16,
        out: &mut impl Outbox,
    ) -> Option<()> {
        let track = &mut self.tracks[position.track];
        let subscription = &mut track.subscriptions[position.at];
        let connection = &mut self.connections[subscription.connection];
        let sequence = subscription.rewriter.source_of(sequence_number)?;
        let packet = track.ring.as_ref()?.find(sequence)?;
        let has_rtx = subscription.has_rtx(packet.payload_index);
        let is_plain = matches!(connection.link, Link::Plain(_));
        let (socket, to) = connection.destination()?;
        let interval = connection.round_trip.unwrap_or(RESEND_INTERVAL_DEFAULT);
        if !(has_rtx || is_plain) || !subscription.cold.resends.admit(now, sequence, interval) {
            return None;
        }
        let mut stamp = Stamp {
            abs_send_time: abs_send_time(wall.ntp()),
            transport_cc: 0,
        };
        if subscription.plan.has_transport_cc() {
            connection.transport_cc_sent = connection.transport_cc_sent.wrapping_add(1);
            stamp.transport_cc = connection.transport_cc_sent;
        }
        let room = out.reserve(packet.payload.len() + OVERHEAD_BYTES_MAX);
        let length = if has_rtx {
            subscription.write_rtx(&packet, stamp, room)?
        } else {
            subscription.write_again(&packet, stamp, room)?
        };
        let length = connection.protect_rtp(room, length)?;
        out.commit(socket, to, length);
        self.metrics.retransmitted_packets.inc();
        Some(())
    }
}
