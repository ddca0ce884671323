//! Tracks on several workers: the home's side, and that of the others.

use std::time::{Duration, Instant};

use voex_base::{Outbox, TrackId, TransportId, WallTime, WorkerId};
use voex_rtp::rtcp::SenderInfo;

use super::command::fits;
use super::{Position, Shard};
use crate::command::TrackSpec;
use crate::connection::{Connection, Link, Timer};
use crate::limits::{FETCH_INTERVAL, PIPED_TRACKS_MAX, WATCH_INTERVAL, WATCH_INTERVAL_AT_FIRST};
use crate::packet::MediaPacket;
use crate::pipe::Message;
use crate::track::Track;

impl Shard {
    /// Takes what the shard of another worker gave to its [`poll_pipe`](Self::poll_pipe) for this one. What names a track
    /// that is unknown here has crossed its end on the way and is left alone.
    pub fn handle_piped(&mut self, now: Instant, wall: WallTime, by: WorkerId, data: &[u8], out: &mut impl Outbox) {
        match Message::read(data) {
            Some(Message::Packet { track, epoch, packet }) => self.take_packet(now, wall, track, epoch, packet, out),
            Some(Message::Report {
                track,
                encoding,
                epoch,
                info,
                clock_offset,
            }) => self.take_report(now, track, (encoding, epoch), info, clock_offset),
            Some(Message::Watch(track, encodings)) => {
                if let Some(key) = self.home_track(track)
                    && self.tracks[key].watchers.watch(now, by, encodings)
                {
                    self.pipe_reports_to(key, by);
                }
            }
            Some(Message::Unwatch(track)) => {
                if let Some(track) = self.home_track(track) {
                    self.tracks[track].watchers.unwatch(by);
                }
            }
            Some(Message::KeyFrame(track, encoding)) => {
                let track = self.home_track(track);
                if let Some(track) = track.filter(|track| usize::from(encoding) < self.tracks[*track].encodings.len()) {
                    self.want_key_frame(now, track, encoding, out);
                }
            }
            Some(Message::Resend {
                track,
                encoding,
                epoch,
                sequence,
            }) => self.pipe_again(track, (encoding, epoch), sequence, by),
            None => {}
        }
    }

    pub(super) fn add_piped_track(&mut self, now: Instant, home: WorkerId, spec: TrackSpec) -> Option<()> {
        let is_known = self.index.tracks.contains_key(&spec.id) || self.data.tracks.contains_key(&spec.id);
        if !fits(&spec) || is_known {
            return None;
        }
        let id = spec.id;
        let key = self.add_piped_connection(home, spec.transport)?;
        let track = self.tracks.insert(Track::new(now, spec, key));
        let connection = &mut self.connections[key];
        connection.timers.arm(Timer::Report, now + WATCH_INTERVAL_AT_FIRST);
        connection.tracks.push(track);
        self.reschedule(key);
        self.index.tracks.insert(id, track);
        self.metrics.tracks.add(1);
        Some(())
    }

    /// Adds what stands for the transport of a track on another worker; `None` when there are too many.
    pub(super) fn add_piped_connection(&mut self, home: WorkerId, transport: TransportId) -> Option<usize> {
        if self.piped >= PIPED_TRACKS_MAX {
            return None;
        }
        self.piped += 1;
        let ssrc = self.rng.u32();
        let connection = Connection::new(transport, Link::Piped(home), ssrc, "".into());
        let key = self.connections.insert(connection);
        self.timers.add_key(key);
        Some(key)
    }

    /// Whether a connection stands for a track of another worker.
    pub(super) fn is_piped(&self, key: usize) -> bool {
        self.home_of(key).is_some()
    }

    /// Tells the home of a piped track that there are subscriptions to it here that get it or wait for it.
    pub(super) fn watch(&mut self, key: usize) {
        let Some(home) = self.home_of(key) else { return };
        for at in 0..self.connections[key].tracks.len() {
            let track = &self.tracks[self.connections[key].tracks[at]];
            let encodings = watched(track);
            if encodings != 0 {
                let message = Message::Watch(track.id, encodings);
                self.push_message(home, &message);
            }
        }
    }

    /// Tells the home of a piped track when the last of these here has ended or pauses.
    pub(super) fn unwatch(&mut self, track: usize) {
        let track = &self.tracks[track];
        if let Some(home) = self.home_of(track.connection).filter(|_| watched(track) == 0) {
            let message = Message::Unwatch(track.id);
            self.push_message(home, &message);
        }
    }

    /// How long until the home of a piped track is told again.
    pub(super) fn watch_interval(&self, now: Instant, key: usize) -> Duration {
        let mut tracks = self.connections[key].tracks.iter();
        if tracks.any(|track| self.tracks[*track].is_yet_to_come(now)) {
            WATCH_INTERVAL_AT_FIRST
        } else {
            WATCH_INTERVAL
        }
    }

    /// Passes a packet to the workers that watch its track.
    #[inline]
    pub(super) fn pipe(&mut self, now: Instant, key: usize, packet: &MediaPacket<'_>) {
        if !self.tracks[key].watchers.is_empty() {
            self.pipe_packet(now, key, packet);
        }
    }

    fn pipe_packet(&mut self, now: Instant, key: usize, packet: &MediaPacket<'_>) {
        let track = &mut self.tracks[key];
        if !track.is_relayed {
            return;
        }
        let message = Message::Packet {
            track: track.id,
            epoch: track.encodings[usize::from(packet.encoding)].epoch,
            packet: *packet,
        };
        for worker in track.watchers.current(now) {
            if self.pipes.push(worker, &message) {
                self.metrics.piped_packets.inc();
            } else {
                self.metrics.pipe_drops.inc();
            }
        }
    }

    /// Passes the last SR of an encoding to the workers that watch its track.
    pub(super) fn pipe_report(&mut self, now: Instant, key: usize, encoding: u8) {
        let Some(message) = self.last_report(key, encoding) else {
            return;
        };
        for worker in self.tracks[key].watchers.current(now) {
            if !self.pipes.push(worker, &message) {
                self.metrics.pipe_drops.inc();
            }
        }
    }

    /// Passes the last SR of each encoding to a worker that has just begun to watch.
    fn pipe_reports_to(&mut self, key: usize, worker: WorkerId) {
        for encoding in 0..self.tracks[key].encodings.len() as u8 {
            if let Some(message) = self.last_report(key, encoding) {
                self.push_message(worker, &message);
            }
        }
    }

    fn last_report(&self, key: usize, encoding: u8) -> Option<Message<'static>> {
        let track = &self.tracks[key];
        let state = track.encodings.get(usize::from(encoding))?;
        Some(Message::Report {
            track: track.id,
            encoding,
            epoch: state.epoch,
            info: state.reception.sender_report()?.info,
            clock_offset: self.connections.get(track.connection)?.clock_offset()?,
        })
    }

    /// Asks the home of a piped track for a packet that somebody misses and that did not get here, not too often.
    pub(super) fn fetch(&mut self, now: Instant, position: Position, sequence_number: u16) {
        let track = &mut self.tracks[position.track];
        let subscription = &track.subscriptions[position.at];
        let Link::Piped(home) = self.connections[track.connection].link else {
            return;
        };
        let followed = subscription.followed();
        let Some((at, sequence)) = followed.zip(subscription.rewriter.source_of(sequence_number)) else {
            return;
        };
        let encoding = &mut track.encodings[at];
        let is_missing = encoding.ring.as_ref().is_some_and(|ring| ring.find(sequence).is_none());
        if is_missing && encoding.fetches.admit(now, sequence, FETCH_INTERVAL) {
            let message = Message::Resend {
                track: track.id,
                encoding: at as u8,
                epoch: encoding.epoch,
                sequence,
            };
            self.push_message(home, &message);
        }
    }

    /// Passes a packet again to a worker that it did not get to.
    fn pipe_again(&mut self, track: TrackId, (encoding, epoch): (u8, u8), sequence: u64, worker: WorkerId) {
        let Some(key) = self.home_track(track).filter(|key| self.tracks[*key].is_relayed) else {
            return;
        };
        let encoding = self.tracks[key].encodings.get(usize::from(encoding));
        let ring = encoding
            .filter(|encoding| encoding.epoch == epoch)
            .and_then(|encoding| encoding.ring.as_ref());
        let Some(packet) = ring.and_then(|ring| ring.find(sequence)) else {
            return;
        };
        let packet = MediaPacket {
            is_late: true,
            ..packet
        };
        let message = Message::Packet { track, epoch, packet };
        if self.pipes.push(worker, &message) {
            self.metrics.piped_packets.inc();
        } else {
            self.metrics.pipe_drops.inc();
        }
    }

    /// Asks the home of a piped track for a key frame; false when the track is at home here.
    pub(super) fn pipe_key_frame_request(&mut self, now: Instant, key: usize, encoding: u8) -> bool {
        let track = &mut self.tracks[key];
        let Link::Piped(home) = self.connections[track.connection].link else {
            return false;
        };
        track.encodings[usize::from(encoding)].key_frames.asked(now);
        let message = Message::KeyFrame(track.id, encoding);
        self.push_message(home, &message);
        true
    }

    fn take_packet(
        &mut self,
        now: Instant,
        wall: WallTime,
        track: TrackId,
        epoch: u8,
        packet: MediaPacket<'_>,
        out: &mut impl Outbox,
    ) {
        let Some(key) = self.piped_track(track) else { return };
        let Some(packet) = self.tracks[key].take_piped(now, epoch, packet) else {
            return;
        };
        // An empty packet is counted at home.
        let _ = self.deliver(now, wall, key, &packet, out);
        self.note_new(now, key, packet.encoding, out);
        self.reschedule(self.tracks[key].connection);
    }

    fn take_report(
        &mut self,
        now: Instant,
        track: TrackId,
        (encoding, epoch): (u8, u8),
        info: SenderInfo,
        clock_offset: i64,
    ) {
        let Some(key) = self.piped_track(track) else { return };
        let track = &mut self.tracks[key];
        if let Some(encoding) = track.encoding_in(encoding, epoch) {
            encoding.reception.handle_sender_report(now, info);
            self.connections[track.connection].set_clock_offset(clock_offset);
        }
    }

    fn home_of(&self, key: usize) -> Option<WorkerId> {
        match self.connections.get(key)?.link {
            Link::Piped(home) => Some(home),
            Link::WebRtc(_) | Link::Plain(_) => None,
        }
    }

    /// Finds a track that arrives here.
    fn home_track(&self, id: TrackId) -> Option<usize> {
        let key = *self.index.tracks.get(&id)?;
        (!self.is_piped(self.tracks[key].connection)).then_some(key)
    }

    /// Finds a track that arrives on another worker.
    fn piped_track(&self, id: TrackId) -> Option<usize> {
        let key = *self.index.tracks.get(&id)?;
        self.is_piped(self.tracks[key].connection).then_some(key)
    }

    fn push_message(&mut self, to: WorkerId, message: &Message<'_>) {
        if !self.pipes.push(to, message) {
            self.metrics.pipe_drops.inc();
        }
    }
}

/// Bits of the encodings that subscriptions here get or wait for.
fn watched(track: &Track) -> u8 {
    let watched = (0..track.encodings.len() as u8).filter(|encoding| track.is_watched_here(*encoding));
    watched.fold(0, |bits, encoding| bits | 1 << encoding)
}
