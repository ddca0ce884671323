//! Tracks on several workers: the home's side, and that of the others.

use std::time::Instant;

use voex_base::{Outbox, TrackId, WallTime, WorkerId};
use voex_rtp::rtcp::SenderInfo;

use super::Shard;
use super::command::fits;
use crate::command::TrackSpec;
use crate::connection::{Connection, Link, Timer};
use crate::limits::{TRANSPORTS_MAX, WATCH_INTERVAL};
use crate::packet::MediaPacket;
use crate::pipe::Message;
use crate::track::Track;

impl Shard {
    /// Takes what the shard of another worker gave to its [`poll_pipe`](Self::poll_pipe) for this one. What names a track
    /// that is unknown here has crossed its end on the way and is left alone.
    pub fn handle_piped(&mut self, now: Instant, wall: WallTime, by: WorkerId, data: &[u8], out: &mut impl Outbox) {
        match Message::read(data) {
            Some(Message::Packet { track, epoch, packet }) => self.take_packet(now, wall, track, epoch, packet, out),
            Some(Message::Report { track, encoding, info }) => self.take_report(now, wall, track, encoding, info),
            Some(Message::Watch(track)) => {
                if let Some(track) = self.home_track(track) {
                    self.tracks[track].watchers.watch(now, by);
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
            None => {}
        }
    }

    pub(super) fn add_piped_track(&mut self, now: Instant, home: WorkerId, spec: TrackSpec) -> Option<()> {
        let is_known = self.index.tracks.contains_key(&spec.id);
        if self.connections.len() >= TRANSPORTS_MAX || !fits(&spec) || is_known {
            return None;
        }
        let (id, ssrc) = (spec.id, self.rng.u32());
        let mut connection = Connection::new(spec.transport, Link::Piped(home), ssrc, "".into());
        connection.timers.arm(Timer::Report, now + WATCH_INTERVAL);
        let key = self.connections.insert(connection);
        let track = self.tracks.insert(Track::new(now, spec, key));
        self.connections[key].tracks.push(track);
        self.timers.add_key(key);
        self.reschedule(key);
        self.index.tracks.insert(id, track);
        self.metrics.tracks.add(1);
        Some(())
    }

    /// Whether a connection stands for a track of another worker.
    pub(super) fn is_piped(&self, key: usize) -> bool {
        self.home_of(key).is_some()
    }

    /// Tells the home of a piped track that there are subscriptions to it here.
    pub(super) fn watch(&mut self, key: usize) {
        let Some(home) = self.home_of(key) else { return };
        for at in 0..self.connections[key].tracks.len() {
            let track = &self.tracks[self.connections[key].tracks[at]];
            if !track.subscriptions.is_empty() {
                let message = Message::Watch(track.id);
                self.push_message(home, &message);
            }
        }
    }

    /// Tells the home of a piped track when the last subscription to it here has ended.
    pub(super) fn unwatch(&mut self, track: usize) {
        let track = &self.tracks[track];
        if let Some(home) = self
            .home_of(track.connection)
            .filter(|_| track.subscriptions.is_empty())
        {
            let message = Message::Unwatch(track.id);
            self.push_message(home, &message);
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

    /// Passes an SR to the workers that watch a track.
    pub(super) fn pipe_report(&mut self, now: Instant, key: usize, encoding: u8, info: SenderInfo) {
        let track = &mut self.tracks[key];
        let message = Message::Report {
            track: track.id,
            encoding,
            info,
        };
        for worker in track.watchers.current(now) {
            if !self.pipes.push(worker, &message) {
                self.metrics.pipe_drops.inc();
            }
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

    fn take_report(&mut self, now: Instant, wall: WallTime, track: TrackId, encoding: u8, info: SenderInfo) {
        let Some(key) = self.piped_track(track) else { return };
        let track = &mut self.tracks[key];
        if let Some(encoding) = track.encodings.get_mut(usize::from(encoding)) {
            encoding.reception.handle_sender_report(now, info);
            self.connections[track.connection].learn_clock(wall.ntp(), info.ntp);
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
