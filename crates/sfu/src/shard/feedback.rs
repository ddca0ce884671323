//! RTCP from remotes, and what it makes us do.

use std::time::Instant;

use voex_base::{Outbox, WallTime};
use voex_rtp::rtcp::{Compound, Nacks, Packet, ReportBlock, SenderInfo};

use super::{Position, Shard};
use crate::DropReason;
use crate::command::Feedback;
use crate::connection::{Connection, Timer};
use crate::limits::ENCODINGS_PER_TRACK_MAX;
use crate::subscription::from_65536ths;

impl Shard {
    pub(super) fn receive_rtcp(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let compound = Compound::parse(data).map_err(|_| DropReason::MalformedRtcp)?;
        self.metrics.rtcp_received.inc();
        for packet in compound.packets().flatten() {
            match packet {
                Packet::SenderReport(info, reports) => {
                    self.handle_sender_report(now, wall, key, info);
                    reports.for_each(|block| self.handle_report(wall, key, block));
                }
                Packet::ReceiverReport(_, reports) => {
                    reports.for_each(|block| self.handle_report(wall, key, block));
                }
                Packet::Nack(nacks) => self.handle_nack(now, wall, key, &nacks, out),
                Packet::PictureLoss { media_ssrc } => self.handle_picture_loss(now, key, media_ssrc, out),
                Packet::FullIntra(requests) => {
                    requests.for_each(|(ssrc, _)| self.handle_picture_loss(now, key, ssrc, out));
                }
                Packet::Bye(sources) => sources.for_each(|ssrc| self.handle_bye(key, ssrc)),
                // What a receiver can take is not acted on: every subscriber of a track gets the same stream.
                Packet::Remb(_) | Packet::TransportFeedback(_) => {}
                Packet::SourceDescription | Packet::Other { .. } => {}
            }
        }
        Ok(())
    }

    fn handle_sender_report(&mut self, now: Instant, wall: WallTime, key: usize, info: SenderInfo) {
        let connection = &mut self.connections[key];
        let source = connection
            .sources
            .iter()
            .find(|source| source.ssrc == info.ssrc && !source.is_rtx);
        let Some(source) = source.copied() else { return };
        let encoding = &mut self.tracks[source.track].encodings[usize::from(source.encoding)];
        if encoding.ssrc == Some(info.ssrc) {
            connection.learn_clock(wall.ntp(), info.ntp);
            encoding.reception.handle_sender_report(now, info);
            self.pipe_report(now, source.track, source.encoding);
        }
    }

    fn handle_report(&mut self, wall: WallTime, key: usize, block: ReportBlock) {
        let connection = &mut self.connections[key];
        if !connection.streams.iter().any(|stream| stream.ssrc == block.ssrc) {
            return;
        }
        if let Some(round_trip) = block.round_trip((wall.ntp() >> 16) as u32) {
            connection.round_trip = Some(from_65536ths(round_trip));
        }
    }

    fn handle_nack(&mut self, now: Instant, wall: WallTime, key: usize, nacks: &Nacks<'_>, out: &mut impl Outbox) {
        let Some(position) = self.stream(key, nacks.media_ssrc) else {
            return;
        };
        for sequence_number in nacks.sequence_numbers() {
            self.metrics.nacks_received.inc();
            if self.resend(now, wall, position, sequence_number, out).is_none() {
                self.metrics.nacks_unanswered.inc();
                self.fetch(now, position, sequence_number);
            }
        }
    }

    fn handle_picture_loss(&mut self, now: Instant, key: usize, ssrc: u32, out: &mut impl Outbox) {
        let Some(position) = self.stream(key, ssrc) else {
            return;
        };
        let feedback = self.feedback_of(position);
        if feedback.pli || feedback.fir {
            self.metrics.plis_received.inc();
            let subscription = &self.tracks[position.track].subscriptions[position.at];
            let encoding = subscription.awaits().unwrap_or(subscription.encoding);
            self.want_key_frame(now, position.track, encoding, out);
        }
    }

    /// What the receiver of a subscription may send; anything else is not acted on.
    fn feedback_of(&self, position: Position) -> Feedback {
        self.tracks[position.track].subscriptions[position.at].cold.feedback
    }

    /// A source left: one that was learned makes room, and what it missed is no longer asked for.
    fn handle_bye(&mut self, key: usize, ssrc: u32) {
        let connection = &mut self.connections[key];
        let Some(source) = connection.sources.iter().find(|source| source.ssrc == ssrc).copied() else {
            return;
        };
        if !source.is_declared {
            connection.sources.retain(|source| source.ssrc != ssrc);
        }
        let encoding = &mut self.tracks[source.track].encodings[usize::from(source.encoding)];
        if let Some(missing) = encoding.missing.as_mut().filter(|_| !source.is_rtx) {
            missing.clear();
        }
    }

    /// Finds the subscription behind an SSRC of ours.
    fn stream(&self, key: usize, ssrc: u32) -> Option<Position> {
        let stream = self.connections[key]
            .streams
            .iter()
            .find(|stream| stream.ssrc == ssrc)?;
        self.index.subscriptions.get(&stream.id).copied()
    }

    /// Notes that somebody wants key frames of all encodings of a track that somebody gets; of the highest that flows
    /// when nobody does.
    pub(super) fn want_key_frames(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        let track = &self.tracks[key];
        let count = track.encodings.len() as u8;
        let is_watched = |encoding: &u8| track.is_watched(*encoding);
        let flows = |encoding: &u8| track.encodings[usize::from(*encoding)].newest.is_some();
        let mut wanted: [bool; ENCODINGS_PER_TRACK_MAX] = [false; ENCODINGS_PER_TRACK_MAX];
        (0..count)
            .filter(is_watched)
            .for_each(|encoding| wanted[usize::from(encoding)] = true);
        if wanted == [false; ENCODINGS_PER_TRACK_MAX] {
            let highest = (0..count).rev().find(flows).unwrap_or(count - 1);
            wanted[usize::from(highest)] = true;
        }
        for encoding in (0..count).filter(|encoding| wanted[usize::from(*encoding)]) {
            self.want_key_frame(now, key, encoding, out);
        }
    }

    /// Notes that somebody wants a key frame of an encoding, and asks the sender at once unless it was just asked.
    pub(super) fn want_key_frame(&mut self, now: Instant, key: usize, encoding: u8, out: &mut impl Outbox) {
        let track = &mut self.tracks[key];
        if track.needs_key_frame() {
            track.encodings[usize::from(encoding)].key_frames.want(now);
            self.ask_for_key_frame(now, key, encoding, out);
        }
    }

    /// Asks the sender for a key frame of an encoding if that is due, and sets the timer for the next look.
    pub(super) fn ask_for_key_frame(&mut self, now: Instant, key: usize, encoding: u8, out: &mut impl Outbox) {
        let track = &mut self.tracks[key];
        let key_frames = &track.encodings[usize::from(encoding)].key_frames;
        let is_looked_at = key_frames.next_at().is_some_and(|at| at <= now);
        if is_looked_at && !key_frames.is_due(now, track.is_awaited(encoding)) {
            track.encodings[usize::from(encoding)].key_frames.rest();
        } else if is_looked_at {
            self.send_key_frame_request(now, key, encoding, out);
        }
        let track = &self.tracks[key];
        if let Some(next) = track.encodings[usize::from(encoding)].key_frames.next_at() {
            self.connections[track.connection].timers.arm(Timer::KeyFrame, next);
            self.reschedule(self.tracks[key].connection);
        }
    }

    fn send_key_frame_request(&mut self, now: Instant, key: usize, encoding: u8, out: &mut impl Outbox) {
        if self.pipe_key_frame_request(now, key, encoding) {
            return;
        }
        let track = &mut self.tracks[key];
        let connection = &mut self.connections[track.connection];
        let (can_pli, can_fir) = (track.feedback.pli, track.feedback.fir);
        let encoding = &mut track.encodings[usize::from(encoding)];
        let key_frames = &mut encoding.key_frames;
        if !can_pli && !can_fir {
            return key_frames.rest();
        }
        let Some(media_ssrc) = encoding.ssrc.filter(|_| connection.is_ready()) else {
            return key_frames.postpone(now);
        };
        if !can_pli {
            key_frames.command = key_frames.command.wrapping_add(1);
        }
        let command = key_frames.command;
        let (own, cname) = (connection.own_ssrc(), connection.cname.clone());
        connection.send_rtcp(out, &self.metrics, |writer| {
            Connection::begin_compound(own, &cname, writer)?;
            if can_pli {
                writer.picture_loss(own, media_ssrc)
            } else {
                writer.full_intra(own, media_ssrc, command)
            }
        });
        key_frames.asked(now);
        self.metrics.plis_sent.inc();
    }
}
