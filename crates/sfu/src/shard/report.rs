//! Reports that leave each second: SR for what we send, blocks on what we receive, names, bit rate caps.

use std::time::{Duration, Instant};

use voex_base::{Outbox, WallTime};
use voex_rtp::rtcp::{ReportBlock, SenderInfo};

use super::{Position, Shard};
use crate::command::LegReport;
use crate::connection::{Connection, Link};
use crate::limits::{BITRATE_UNLIMITED, ENCODINGS_PER_TRACK_MAX, REPORT_BLOCKS_MAX, TRACKS_PER_TRANSPORT_MAX};
use crate::subscription::Phase;

/// SRs in one compound packet: with their names they stay below [`RTCP_BYTES_MAX`](crate::limits::RTCP_BYTES_MAX).
const SENDER_REPORTS_MAX: usize = 12;

impl Shard {
    /// What arrived on a plain transport; `None` for others.
    pub(super) fn leg_report(&self, key: usize) -> Option<LegReport> {
        let connection = &self.connections[key];
        if !matches!(connection.link, Link::Plain(_)) {
            return None;
        }
        let mut report = LegReport::default();
        for track in connection.tracks.iter().map(|track| &self.tracks[*track]) {
            for encoding in &track.encodings {
                let (received, expected) = encoding.reception.totals();
                report.packets += received;
                report.lost += expected.saturating_sub(received);
                let clock_rate = track.payloads.first().map_or(1, |payload| payload.clock_rate.max(1));
                let jitter = f64::from(encoding.reception.jitter()) / f64::from(clock_rate);
                report.jitter = report.jitter.max(Duration::from_secs_f64(jitter));
            }
        }
        Some(report)
    }

    /// Sends reports on everything that a connection sends and receives, in as many compound packets as it takes.
    pub(super) fn send_reports(&mut self, key: usize, now: Instant, wall: WallTime, out: &mut impl Outbox) {
        let mut blocks = [ReportBlock::default(); REPORT_BLOCKS_MAX];
        let mut blocks_left = self.report_blocks(key, now, &mut blocks);
        let mut infos: [Option<(SenderInfo, Position)>; SENDER_REPORTS_MAX] = [None; SENDER_REPORTS_MAX];
        let mut next = 0;
        while next < self.connections[key].streams.len() || blocks_left > 0 {
            let mut count = 0;
            while count < SENDER_REPORTS_MAX && next < self.connections[key].streams.len() {
                let stream = self.connections[key].streams[next];
                next += 1;
                let position = self.index.subscriptions.get(&stream.id).copied();
                let info = position.and_then(|position| Some((self.sender_info(now, wall, position)?, position)));
                if info.is_some() {
                    infos[count] = info;
                    count += 1;
                }
            }
            if count == 0 && blocks_left == 0 {
                return;
            }
            self.send_compound(key, &infos[..count], &blocks[..blocks_left], out);
            blocks_left = 0;
        }
    }

    fn send_compound(
        &mut self,
        key: usize,
        infos: &[Option<(SenderInfo, Position)>],
        blocks: &[ReportBlock],
        out: &mut impl Outbox,
    ) {
        let connection = &mut self.connections[key];
        let (own, own_name) = (connection.own_ssrc(), connection.cname.clone());
        let tracks = &self.tracks;
        let name = |position: Position| &*tracks[position.track].subscriptions[position.at].cold.cname;
        connection.send_rtcp(out, &self.metrics, |writer| {
            let mut reports = infos.iter().flatten();
            match reports.next() {
                Some((info, _)) => writer.sender_report(*info, blocks)?,
                None => writer.receiver_report(own, blocks)?,
            }
            for (info, _) in reports {
                writer.sender_report(*info, &[])?;
            }
            let mut names = infos
                .iter()
                .flatten()
                .map(|(info, position)| (info.ssrc, name(*position)))
                .peekable();
            if names.peek().is_some() {
                writer.source_descriptions(names)
            } else {
                writer.source_descriptions(std::iter::once((own, &*own_name)))
            }
        });
    }

    /// Makes the report blocks of the encodings that arrive on a connection; those beyond the bound wait for nothing and
    /// are left out, which a transport does not reach in practice.
    fn report_blocks(&mut self, key: usize, now: Instant, blocks: &mut [ReportBlock]) -> usize {
        let mut count = 0;
        for track in &self.connections[key].tracks {
            let track = &mut self.tracks[*track];
            for encoding in track.encodings.iter_mut().filter(|_| track.is_receiving) {
                let (Some(ssrc), Some(room)) = (encoding.ssrc, blocks.get_mut(count)) else {
                    continue;
                };
                if let Some(block) = encoding.reception.report(now, ssrc) {
                    *room = block;
                    count += 1;
                }
            }
        }
        count
    }

    /// Makes the SR of a subscription that flows. Its RTP time is that of our wall clock: by the sender's own SR and
    /// where its clock stands to ours, so that a sender's media stay in step; before the first one by arrival.
    fn sender_info(&self, now: Instant, wall: WallTime, position: Position) -> Option<SenderInfo> {
        let track = &self.tracks[position.track];
        let subscription = &track.subscriptions[position.at];
        let encoding = track.encodings.get(usize::from(subscription.encoding))?;
        let newest = encoding.newest?;
        if subscription.packets == 0 || subscription.phase != Phase::Flowing {
            return None;
        }
        let sender = self.connections.get(track.connection)?;
        let ntp = wall.ntp();
        let by_report = encoding.reception.sender_report().and_then(|seen| {
            let then = sender.by_our_clock(seen.info.ntp)?;
            let elapsed = ntp.wrapping_sub(then) as i64;
            let units = (i128::from(elapsed) * i128::from(newest.clock_rate)) >> 32;
            Some(seen.info.rtp_timestamp.wrapping_add(units as u32))
        });
        let source_time = by_report.unwrap_or_else(|| {
            let since = now.saturating_duration_since(newest.at).as_micros();
            let units = since * u128::from(newest.clock_rate) / 1_000_000;
            newest.timestamp.wrapping_add(units as u32)
        });
        Some(SenderInfo {
            ssrc: subscription.ssrc,
            ntp,
            rtp_timestamp: subscription.rewriter.timestamp(source_time),
            packets: subscription.packets,
            octets: subscription.octets,
        })
    }

    /// Tells a sender the sum of its caps (REMB knows only one figure for a transport); once more when none is left.
    pub(super) fn send_bitrate_cap(&mut self, key: usize, out: &mut impl Outbox) {
        let connection = &mut self.connections[key];
        let mut ssrcs = [0; TRACKS_PER_TRANSPORT_MAX * ENCODINGS_PER_TRACK_MAX];
        let (mut count, mut sum, mut has_cap) = (0, 0_u64, false);
        for track in &connection.tracks {
            let track = &self.tracks[*track];
            let named = track.encodings.iter().filter_map(|encoding| encoding.ssrc);
            if !track.feedback.remb || named.clone().next().is_none() {
                continue;
            }
            if track.bitrate_cap.is_some() || connection.is_capped {
                for ssrc in named {
                    ssrcs[count] = ssrc;
                    count += 1;
                }
            }
            sum += u64::from(track.bitrate_cap.unwrap_or(0));
            has_cap |= track.bitrate_cap.is_some();
        }
        if count == 0 || !connection.is_ready() || (!has_cap && !connection.is_capped) {
            return;
        }
        let bitrate = if has_cap { sum } else { BITRATE_UNLIMITED };
        connection.is_capped = has_cap;
        let (own, cname) = (connection.own_ssrc(), connection.cname.clone());
        connection.send_rtcp(out, &self.metrics, |writer| {
            Connection::begin_compound(own, &cname, writer)?;
            writer.remb(own, bitrate, &ssrcs[..count])
        });
    }
}
