//! One encoding of a track: a stream of its own, with its own numbers, losses and key frames.

use std::time::Instant;

use crate::DropReason;
use crate::command::{EncodingSpec, MediaKind, TrackSpec};
use crate::key_frames::KeyFrameRequests;
use crate::limits::{ENCODINGS_PER_TRACK_MAX, FALLBACK_DEFAULT, SOURCE_CHANGE_INTERVAL, STEADY_TIME};
use crate::missing::Missing;
use crate::reception::Reception;
use crate::resends::Resends;
use crate::ring::Ring;

/// An encoding: what its sender sends under one SSRC, and sends again under another.
pub(crate) struct Encoding {
    /// Its rid; empty when it has none.
    pub(crate) rid: Box<str>,
    /// SSRC that it arrives with now.
    pub(crate) ssrc: Option<u32>,
    source_changed_at: Option<Instant>,
    /// It began or began anew, and nothing followed from that yet.
    pub(crate) is_new: bool,
    /// Changes each time it begins anew.
    pub(crate) epoch: u8,
    pub(crate) reception: Reception,
    pub(crate) missing: Option<Missing>,
    pub(crate) ring: Option<Ring>,
    /// What the home of a piped track was asked for again.
    pub(crate) fetches: Resends,
    pub(crate) key_frames: KeyFrameRequests,
    pub(crate) newest: Option<Newest>,
    frames: Option<Frames>,
}

/// The newest packet.
#[derive(Clone, Copy)]
pub(crate) struct Newest {
    pub(crate) at: Instant,
    pub(crate) timestamp: u32,
    pub(crate) clock_rate: u32,
}

/// When frames of one of several encodings began, as their timestamps tell.
#[derive(Clone, Copy)]
struct Frames {
    newest_at: Instant,
    before_at: Option<Instant>,
    /// Since when packets come without a silence.
    steady_since: Instant,
}

impl Encoding {
    pub(crate) fn new(spec: &EncodingSpec, track: &TrackSpec) -> Self {
        let keeps_packets = track.kind == MediaKind::Video && track.feedback.nack;
        Self {
            rid: spec.rid.as_str().into(),
            ssrc: spec.ssrc.map(|(ssrc, _)| ssrc),
            source_changed_at: None,
            is_new: false,
            epoch: 0,
            reception: Reception::default(),
            missing: track.feedback.nack.then(Missing::new),
            ring: keeps_packets.then(Ring::new),
            fetches: Resends::default(),
            key_frames: KeyFrameRequests::default(),
            newest: None,
            frames: None,
        }
    }

    /// Whether another source would be taken now.
    pub(crate) fn may_change_source(&self, now: Instant) -> bool {
        self.source_changed_at
            .is_none_or(|at| now.saturating_duration_since(at) >= SOURCE_CHANGE_INTERVAL)
    }

    /// Starts anew with another SSRC.
    pub(crate) fn change_source(&mut self, now: Instant, ssrc: u32) -> Result<(), DropReason> {
        if !self.may_change_source(now) {
            return Err(DropReason::SourceFlaps);
        }
        // The first SSRC changes nothing.
        if self.ssrc.replace(ssrc).is_some() {
            self.source_changed_at = Some(now);
        }
        Ok(())
    }

    /// Forgets what came: the numbers of the source mean other packets from now on.
    pub(crate) fn clear(&mut self) {
        self.is_new = true;
        self.epoch = self.epoch.wrapping_add(1);
        self.reception = Reception::default();
        if let Some(missing) = &mut self.missing {
            missing.clear();
        }
        if let Some(ring) = &mut self.ring {
            ring.clear();
        }
    }

    /// Notes the newest packet; when frames begin only where there are encodings to choose from.
    #[inline]
    pub(crate) fn note_newest(&mut self, now: Instant, timestamp: u32, clock_rate: u32, is_simulcast: bool) {
        if is_simulcast {
            self.note_frame(now, timestamp);
        }
        self.newest = Some(Newest {
            at: now,
            timestamp,
            clock_rate,
        });
    }

    fn note_frame(&mut self, now: Instant, timestamp: u32) {
        let Some((newest, frames)) = self.newest.zip(self.frames.as_mut()) else {
            self.frames = Some(Frames {
                newest_at: now,
                before_at: None,
                steady_since: now,
            });
            return;
        };
        if newest.timestamp != timestamp {
            (frames.newest_at, frames.before_at) = (now, Some(frames.newest_at));
        }
        if now.saturating_duration_since(newest.at) > FALLBACK_DEFAULT {
            frames.steady_since = now;
        }
    }

    /// Whether the newest packet, which came just now, began a frame.
    pub(crate) fn begins_frame(&self, now: Instant) -> bool {
        self.frames.is_some_and(|frames| frames.newest_at == now)
    }

    /// Gives the timestamp that `other`, an encoding of the same medium, has at the moment of `timestamp`, once the
    /// sender told by SR how each of their clocks stands.
    pub(crate) fn moment_in(&self, other: &Self, timestamp: u32) -> Option<u32> {
        let (own, other_report) = (
            self.reception.sender_report()?.info,
            other.reception.sender_report()?.info,
        );
        let rate = i128::from(other.newest?.clock_rate);
        let apart = i128::from(other_report.ntp.wrapping_sub(own.ntp) as i64) * rate;
        let apart = (apart >> 32) as u32;
        let since = timestamp.wrapping_sub(own.rtp_timestamp);
        Some(other_report.rtp_timestamp.wrapping_add(since).wrapping_sub(apart))
    }
}

/// Which encodings flow, as it stands when a frame of one begins.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flow {
    newest: [Option<Instant>; ENCODINGS_PER_TRACK_MAX],
    steady_since: [Option<Instant>; ENCODINGS_PER_TRACK_MAX],
    /// Something came of another encoding, after a whole frame of it: silent is who sent nothing since.
    frame_before_at: Option<Instant>,
}

impl Flow {
    pub(crate) fn of(encodings: &[Encoding]) -> Self {
        let mut flow = Self::default();
        for (at, encoding) in encodings.iter().enumerate().take(ENCODINGS_PER_TRACK_MAX) {
            flow.newest[at] = encoding.newest.map(|newest| newest.at);
            flow.steady_since[at] = encoding.frames.map(|frames| frames.steady_since);
            let before = encoding.frames.and_then(|frames| frames.before_at);
            flow.frame_before_at = flow.frame_before_at.max(before);
        }
        flow
    }

    /// Whether an encoding flows: something came of it within `patience`, or since the last whole frame of another.
    /// Slow pictures are not silence.
    pub(crate) fn flows(&self, now: Instant, encoding: u8, patience: std::time::Duration) -> bool {
        let newest = self.newest.get(usize::from(encoding)).copied().flatten();
        newest.is_some_and(|at| {
            now.saturating_duration_since(at) <= patience || self.frame_before_at.is_none_or(|frame| at >= frame)
        })
    }

    /// Whether an encoding that flows has done so for a while: worth a key frame to change to.
    pub(crate) fn is_steady(&self, now: Instant, encoding: u8) -> bool {
        let since = self.steady_since.get(usize::from(encoding)).copied().flatten();
        since.is_some_and(|since| now.saturating_duration_since(since) >= STEADY_TIME)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the clock is read once, as an origin
mod tests {
    use std::time::Duration;

    use voex_base::{TrackId, TransportId};
    use voex_rtp::rtcp::SenderInfo;

    use super::*;

    fn encoding() -> Encoding {
        let track = TrackSpec {
            id: TrackId(1),
            transport: TransportId(1),
            mid: String::new(),
            kind: MediaKind::Video,
            payloads: Vec::new(),
            encodings: Vec::new(),
            extensions: <_>::default(),
            feedback: <_>::default(),
        };
        Encoding::new(&EncodingSpec::default(), &track)
    }

    fn report(ntp: u64, rtp_timestamp: u32) -> SenderInfo {
        SenderInfo {
            ssrc: 1,
            ntp,
            rtp_timestamp,
            packets: 0,
            octets: 0,
        }
    }

    #[test]
    fn a_moment_is_found_in_the_timestamps_of_another_encoding_by_their_reports() {
        let now = Instant::now();
        let (mut low, mut high) = (encoding(), encoding());
        low.note_newest(now, 0, 90_000, true);
        assert_eq!(high.moment_in(&low, 7), None, "before the first report");
        // Half a second lies between the two reports.
        low.reception.handle_sender_report(now, report(10 << 32, u32::MAX));
        high.reception
            .handle_sender_report(now, report((10 << 32) + (1 << 31), 5_000));
        let a_second_after_the_first = 5_000 + 45_000;
        assert_eq!(high.moment_in(&low, a_second_after_the_first), Some(90_000 - 1));
    }

    #[test]
    fn who_sends_less_often_than_patience_lasts_still_flows() {
        let start = Instant::now();
        let patience = Duration::from_millis(250);
        let second = Duration::from_secs(1);
        let (mut low, mut high) = (encoding(), encoding());
        for n in 0..2_u32 {
            high.note_newest(start + second * n, n, 90_000, true);
            low.note_newest(start + second * n, n, 90_000, true);
        }
        low.note_newest(start + second * 2, 2, 90_000, true);
        let encodings = [low, high];
        assert!(
            Flow::of(&encodings).flows(start + second * 2, 1, patience),
            "its frame is on the way"
        );
        let [mut low, high] = encodings;
        low.note_newest(start + second * 3, 3, 90_000, true);
        assert!(!Flow::of(&[low, high]).flows(start + second * 3, 1, patience));
    }
}
