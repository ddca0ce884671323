//! Data channels: from a message that came to the messages that leave.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use voex_base::{Outbox, SubscriptionId, TrackId, TransportId, WorkerId};
use voex_transport::data::{DataEvent, DataKind, DataMessage, MESSAGE_BYTES_MAX};

use super::Shard;
use crate::command::{DataReach, DataSubscriptionSpec, DataTrackSpec, Event};
use crate::connection::{Link, Timer};
use crate::data::{ConnectionData, DataSubscription, DataTrack};
use crate::limits::{
    DATA_COPY_BYTES_MIN, DATA_PASS_PAUSE, DATA_PIPED_MAX, DATA_REPORT_BYTES, EVENTS_MAX, SUBSCRIPTIONS_PER_TRACK_MAX,
    SUBSCRIPTIONS_PER_TRANSPORT_MAX,
};

impl Shard {
    pub(super) fn open_data(&mut self, id: TransportId, message_bytes_max: usize) -> Option<()> {
        let key = *self.index.transports.get(&id)?;
        let connection = &mut self.connections[key];
        let Link::WebRtc(transport) = &mut connection.link else {
            return None;
        };
        transport.open_data(message_bytes_max);
        self.data_of(key)?;
        Some(())
    }

    /// What a WebRTC connection keeps for data, from the first command for it on: a subscriber is offered data, and
    /// subscribed, before it has answered.
    fn data_of(&mut self, key: usize) -> Option<&mut ConnectionData> {
        let connection = &mut self.connections[key];
        let is_webrtc = matches!(connection.link, Link::WebRtc(_));
        let make = || Box::new(ConnectionData::new());
        is_webrtc.then(|| &mut **connection.data.get_or_insert_with(make))
    }

    pub(super) fn add_data_track(&mut self, spec: DataTrackSpec) -> Option<()> {
        let key = *self.index.transports.get(&spec.transport)?;
        let is_known = self.index.tracks.contains_key(&spec.id) || self.data.tracks.contains_key(&spec.id);
        let data = self.data_of(key)?;
        if is_known || data.track.is_some() {
            return None;
        }
        data.track = Some(spec.id);
        self.data.tracks.insert(spec.id, DataTrack::new(key, spec.is_reported));
        self.metrics.tracks.add(1);
        Some(())
    }

    pub(super) fn add_piped_data_track(&mut self, home: WorkerId, spec: DataTrackSpec) -> Option<()> {
        let is_known = self.index.tracks.contains_key(&spec.id) || self.data.tracks.contains_key(&spec.id);
        if is_known {
            return None;
        }
        let key = self.add_piped_connection(home, spec.transport)?;
        let data = ConnectionData {
            track: Some(spec.id),
            ..ConnectionData::new()
        };
        self.connections[key].data = Some(Box::new(data));
        self.data.tracks.insert(spec.id, DataTrack::new(key, false));
        self.metrics.tracks.add(1);
        Some(())
    }

    /// Takes a message of a track that arrives on another worker.
    pub(super) fn take_piped_data(
        &mut self,
        now: Instant,
        id: TrackId,
        message: DataMessage,
        out: &mut impl Outbox,
    ) -> Option<()> {
        let track = self.data.tracks.get_mut(&id)?;
        let key = track.connection;
        if !matches!(self.connections.get(key)?.link, Link::Piped(_)) {
            return None;
        }
        if track.waiting.len() == DATA_PIPED_MAX {
            self.metrics.pipe_drops.inc();
            return Some(());
        }
        track.waiting.push_back(message);
        self.pass_data(now, key, out);
        self.reschedule(key);
        Some(())
    }

    pub(super) fn add_data_subscription(
        &mut self,
        now: Instant,
        spec: DataSubscriptionSpec,
        out: &mut impl Outbox,
    ) -> Option<()> {
        self.remove_data_subscription(now, spec.id, out);
        let key = *self.index.transports.get(&spec.transport)?;
        let in_track = self.data.tracks.get(&spec.track)?.subscriptions.len();
        let in_transport = self.data_of(key)?.subscriptions.len();
        let is_full = in_track >= SUBSCRIPTIONS_PER_TRACK_MAX || in_transport >= SUBSCRIPTIONS_PER_TRANSPORT_MAX;
        if is_full || self.index.subscriptions.contains_key(&spec.id) {
            return None;
        }
        self.data_of(key)?.subscriptions.push(spec.id);
        let track = self.data.tracks.get_mut(&spec.track)?;
        track.subscriptions.push(DataSubscription {
            id: spec.id,
            connection: key,
            is_active: spec.active,
            text_prefix: spec.text_prefix.into(),
        });
        self.data.subscriptions.insert(spec.id, spec.track);
        self.metrics.subscriptions.add(1);
        Some(())
    }

    pub(super) fn set_data_relayed(&mut self, id: TrackId, is_relayed: bool) -> Option<()> {
        self.data.tracks.get_mut(&id)?.is_relayed = is_relayed;
        Some(())
    }

    pub(super) fn set_data_reach(&mut self, id: TrackId, reach: DataReach) -> Option<()> {
        let track = self.data.tracks.get_mut(&id)?;
        (track.is_reported, track.far_subscriptions) = (reach.is_reported, reach.far_subscriptions);
        Some(())
    }

    pub(super) fn set_data_active(&mut self, id: SubscriptionId, is_active: bool) -> Option<()> {
        let track = self.data.tracks.get_mut(self.data.subscriptions.get(&id)?)?;
        let subscription = track
            .subscriptions
            .iter_mut()
            .find(|subscription| subscription.id == id)?;
        subscription.is_active = is_active;
        Some(())
    }

    pub(super) fn remove_data_track(&mut self, now: Instant, id: TrackId, out: &mut impl Outbox) -> Option<()> {
        let track = self.data.tracks.remove(&id)?;
        self.metrics.tracks.add(-1);
        for subscription in &track.subscriptions {
            self.forget_data_subscription(subscription);
            self.end_data(now, subscription.connection, id, out);
        }
        let connection = self.connections.get_mut(track.connection);
        if let Some(data) = connection.and_then(|connection| connection.data.as_mut()) {
            data.track = None;
        }
        Some(())
    }

    pub(super) fn remove_data_subscription(
        &mut self,
        now: Instant,
        id: SubscriptionId,
        out: &mut impl Outbox,
    ) -> Option<()> {
        let track_id = *self.data.subscriptions.get(&id)?;
        let track = self.data.tracks.get_mut(&track_id)?;
        let at = track
            .subscriptions
            .iter()
            .position(|subscription| subscription.id == id)?;
        let subscription = track.subscriptions.remove(at);
        if let Some((_, done)) = &mut track.leaving {
            *done -= usize::from(at < *done);
        }
        self.forget_data_subscription(&subscription);
        self.end_data(now, subscription.connection, track_id, out);
        Some(())
    }

    fn forget_data_subscription(&mut self, subscription: &DataSubscription) {
        self.data.subscriptions.remove(&subscription.id);
        self.metrics.subscriptions.add(-1);
        let connection = self.connections.get_mut(subscription.connection);
        if let Some(data) = connection.and_then(|connection| connection.data.as_mut()) {
            data.subscriptions.retain(|other| *other != subscription.id);
        }
    }

    /// Takes away what a transport that closes has of data.
    pub(super) fn close_data(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        let Some(data) = self.connections[key].data.take() else {
            return;
        };
        if let Some(track) = data.track {
            self.remove_data_track(now, track, out);
        }
        for subscription in data.subscriptions {
            self.remove_data_subscription(now, subscription, out);
        }
    }

    /// Closes the channels of a transport that carried messages of this track alone.
    fn end_data(&mut self, now: Instant, key: usize, track: TrackId, out: &mut impl Outbox) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Link::WebRtc(transport) = &mut connection.link {
            transport.forget_speaker(now, track, out);
            connection.timers.set(Timer::Transport, transport.poll_timeout());
            self.reschedule(key);
        }
    }

    /// Sends a message by a transport; it came in on a track, or is ours.
    pub(super) fn send_data(
        &mut self,
        now: Instant,
        key: usize,
        track: Option<TrackId>,
        message: &DataMessage,
        out: &mut impl Outbox,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Link::WebRtc(transport) = &mut connection.link {
            // What may not be sent is counted there.
            let _ = transport.send_data(now, message, track, out);
            connection.timers.set(Timer::Transport, transport.poll_timeout());
            self.reschedule(key);
        }
    }

    /// Passes on what came on the data channels of a transport, as far as its sender and the shard may have passed on now.
    pub(super) fn pass_data(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        // Whoever has to wait does so, however much more arrives meanwhile.
        while !self.connections[key].timers.is_armed(Timer::Data) {
            let copies_wait = self.pass_copies(now, key, out);
            if let Some(at) = copies_wait.or_else(|| self.data_wait(now, key)) {
                // Chance decides who is next of those that wait for the same.
                let at = at + Duration::from_micros(self.rng.below(DATA_PASS_PAUSE.as_micros() as u64));
                self.connections[key].timers.arm(Timer::Data, at);
                return;
            }
            match &mut self.connections[key].link {
                Link::WebRtc(transport) => match transport.poll_data(now, out) {
                    Some(DataEvent::Message(message)) => self.take_message(now, key, message),
                    Some(_) => {}
                    None => return,
                },
                Link::Piped(_) => match self.next_piped(key) {
                    Some(message) => self.take_message(now, key, message),
                    None => return,
                },
                Link::Plain(_) => return,
            }
        }
    }

    /// When the next message of a sender may be looked at, if not now.
    fn data_wait(&self, now: Instant, key: usize) -> Option<Instant> {
        let data = self.connections[key].data.as_ref()?;
        let track = data.track.and_then(|id| self.data.tracks.get(&id));
        let reports = track
            .is_some_and(|track| track.is_reported)
            .then_some([&data.reports, &self.data.reports]);
        let waits = [&data.bytes, &self.data.bytes]
            .into_iter()
            .chain(reports.into_iter().flatten());
        waits.filter_map(|allowance| allowance.wait_until(now)).max()
    }

    /// Takes the next message of a track of another worker.
    fn next_piped(&mut self, key: usize) -> Option<DataMessage> {
        let track = self.connections[key].data.as_ref()?.track?;
        self.data.tracks.get_mut(&track)?.waiting.pop_front()
    }

    /// Begins to pass a message on.
    fn take_message(&mut self, now: Instant, key: usize, message: DataMessage) {
        let connection = &mut self.connections[key];
        let id = connection.id;
        let Some(data) = connection.data.as_mut() else { return };
        let track = data.track.and_then(|track| self.data.tracks.get_mut(&track));
        let copies = |track: &&mut DataTrack| track.subscriptions.len() + track.far_subscriptions;
        let copies = track.as_ref().map_or(1, copies).max(1);
        let bytes = (message.payload.len().max(DATA_COPY_BYTES_MIN) * copies) as u64;
        data.bytes.charge(now, bytes);
        self.data.bytes.charge(now, bytes);
        // A subscriber speaks to nobody.
        let Some(track) = track else { return };
        if track.is_reported {
            // What waits for the control plane is bounded by this, so long messages count for more.
            let reports = 1 + message.payload.len() as u64 / DATA_REPORT_BYTES;
            data.reports.charge(now, reports);
            self.data.reports.charge(now, reports);
        }
        let is_reported = track.is_reported;
        track.leaving = track.is_relayed.then(|| (message.clone(), 0));
        // Half of the room is for what must not be lost.
        if is_reported && self.events.len() < EVENTS_MAX / 2 {
            self.tell(Event::DataReceived(id, message));
        } else if is_reported {
            self.metrics.events_lost.inc();
        }
    }

    /// Sends the next copies of the message that is leaving; gives when the rest may follow, if there is one.
    fn pass_copies(&mut self, now: Instant, key: usize, out: &mut impl Outbox) -> Option<Instant> {
        let id = self.connections[key].data.as_ref()?.track?;
        loop {
            let track = self.data.tracks.get_mut(&id)?;
            let (message, done) = track.leaving.as_mut()?;
            let Some(subscription) = track.subscriptions.get(*done) else {
                track.leaving = None;
                return None;
            };
            let pace = &mut self.connections[key].data.as_mut()?.pace;
            if let Some(at) = pace.wait_until(now) {
                return Some(at);
            }
            *done += 1;
            if subscription.is_active {
                let copy = prefixed(&subscription.text_prefix, message);
                let target = subscription.connection;
                pace.count(copy.payload.len());
                self.send_data(now, target, Some(id), &copy, out);
            }
        }
    }
}

/// A message with `prefix` in front, where it is text and still fits. Without one no payload is copied.
fn prefixed(prefix: &str, message: &DataMessage) -> DataMessage {
    let is_long = prefix.len() + message.payload.len() > MESSAGE_BYTES_MAX;
    if prefix.is_empty() || message.kind == DataKind::Binary || is_long {
        return message.clone();
    }
    let mut payload = BytesMut::with_capacity(prefix.len() + message.payload.len());
    payload.put_slice(prefix.as_bytes());
    payload.put_slice(&message.payload);
    DataMessage {
        payload: payload.freeze(),
        ..message.clone()
    }
}
