//! The forward step: one packet of a track to all its subscriptions, and again to one that asks.

use std::time::Instant;

use voex_base::{Outbox, WallTime};

use super::{Position, Shard};
use crate::DropReason;
use crate::command::{Event, LayerChange};
use crate::connection::Link;
use crate::layering::Scheme;
use crate::limits::{ENCODINGS_PER_TRACK_MAX, RESEND_INTERVAL_DEFAULT};
use crate::packet::MediaPacket;
use crate::subscription::{Admission, OVERHEAD_BYTES_MAX, Stamp, abs_send_time};

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
        let key = track;
        let track = &mut self.tracks[key];
        let scene = track.scene(now, packet);
        let mut stamp = Stamp {
            abs_send_time: abs_send_time(wall.ntp()),
            transport_cc: 0,
        };
        let room_bytes = packet.payload.len() + OVERHEAD_BYTES_MAX;
        let (mut packets, mut bytes, mut failed) = (0, 0, 0);
        let may_bring_news = track.is_simulcast() || packet.layering.scheme != Scheme::None;
        let mut has_news = false;
        for subscription in &mut track.subscriptions {
            let admission = subscription.admits(now, packet, &scene);
            if may_bring_news {
                has_news |= subscription.has_news;
            }
            if admission == Admission::No {
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
            let Some(length) = subscription.write(now, packet, admission, stamp, room) else {
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
        if has_news {
            self.spread_news(now, key, out);
        }
    }

    /// Tells what changed in what subscriptions get, and asks for the key frames that they need.
    #[cold]
    fn spread_news(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        let mut needed = [false; ENCODINGS_PER_TRACK_MAX];
        for at in 0..self.tracks[key].subscriptions.len() {
            let subscription = &mut self.tracks[key].subscriptions[at];
            if !std::mem::take(&mut subscription.has_news) {
                continue;
            }
            let news = std::mem::take(&mut subscription.cold.news);
            let (id, transport) = (subscription.cold.id, self.connections[subscription.connection].id);
            if let Some(encoding) = news.needs_key_frame {
                needed[usize::from(encoding)] = true;
            }
            let changes = [
                news.encoding.map(LayerChange::Encoding),
                news.layers.spatial.map(LayerChange::Spatial),
                news.layers.temporal.map(LayerChange::Temporal),
            ];
            for change in changes.into_iter().flatten() {
                self.tell(Event::LayerChanged(transport, id, change));
            }
        }
        for (encoding, _) in needed.into_iter().enumerate().filter(|(_, is_needed)| *is_needed) {
            self.want_key_frame(now, key, encoding as u8, out);
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
        let ring = track.encodings[subscription.followed()?].ring.as_ref()?;
        let packet = ring.find(sequence)?;
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
