//! Data channels: from a message that came to the messages that leave.

use std::time::Instant;

use bytes::{BufMut, BytesMut};
use voex_base::{Outbox, SubscriptionId, TrackId, TransportId};
use voex_transport::data::{DataEvent, DataKind, DataMessage, MESSAGE_BYTES_MAX};

use super::Shard;
use crate::command::{DataSubscriptionSpec, DataTrackSpec, Event};
use crate::connection::{Link, Timer};
use crate::data::{ConnectionData, DataSubscription, DataTrack};
use crate::limits::{
    DATA_COPY_BYTES_MIN, DATA_PASS_BYTES, DATA_PASS_COPIES, DATA_PASS_PAUSE, DATA_REPORT_BYTES, EVENTS_MAX,
    SUBSCRIPTIONS_PER_TRACK_MAX, SUBSCRIPTIONS_PER_TRANSPORT_MAX,
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
        let track = DataTrack {
            connection: key,
            is_reported: spec.is_reported,
            is_relayed: true,
            subscriptions: Vec::new(),
            leaving: None,
        };
        self.data.tracks.insert(spec.id, track);
        self.metrics.tracks.add(1);
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

    pub(super) fn report_data(&mut self, id: TrackId, is_reported: bool) -> Option<()> {
        self.data.tracks.get_mut(&id)?.is_reported = is_reported;
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
    pub(super) fn end_data(&mut self, now: Instant, key: usize, track: TrackId, out: &mut impl Outbox) {
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
        loop {
            let is_done = self.pass_copies(now, key, out);
            let connection = &mut self.connections[key];
            let Some(data) = connection.data.as_mut() else { return };
            if !is_done {
                connection.timers.arm(Timer::Data, now + DATA_PASS_PAUSE);
                return;
            }
            let track = data.track.and_then(|id| self.data.tracks.get(&id));
            let is_reported = track.is_some_and(|track| track.is_reported);
            let reports = is_reported.then_some([&data.reports, &self.data.reports]);
            let waits = [&data.bytes].into_iter().chain(reports.into_iter().flatten());
            if let Some(at) = waits.filter_map(|allowance| allowance.wait_until(now)).max() {
                connection.timers.arm(Timer::Data, at);
                return;
            }
            let Link::WebRtc(transport) = &mut connection.link else {
                return;
            };
            match transport.poll_data(now, out) {
                Some(DataEvent::Message(message)) => self.take_message(now, key, message),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Begins to pass a message on.
    fn take_message(&mut self, now: Instant, key: usize, message: DataMessage) {
        let connection = &mut self.connections[key];
        let id = connection.id;
        let Some(data) = connection.data.as_mut() else { return };
        let track = data.track.and_then(|track| self.data.tracks.get_mut(&track));
        let copies = track.as_ref().map_or(1, |track| track.subscriptions.len().max(1));
        let bytes = message.payload.len().max(DATA_COPY_BYTES_MIN) * copies;
        data.bytes.charge(now, bytes as u64);
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

    /// Sends the next copies of the message that is leaving; false when there are more for later.
    fn pass_copies(&mut self, now: Instant, key: usize, out: &mut impl Outbox) -> bool {
        let data = self.connections[key].data.as_ref();
        let Some(id) = data.and_then(|data| data.track) else {
            return true;
        };
        let (mut copies, mut bytes) = (0, 0);
        loop {
            let Some(track) = self.data.tracks.get_mut(&id) else {
                return true;
            };
            let Some((message, done)) = &mut track.leaving else {
                return true;
            };
            let Some(subscription) = track.subscriptions.get(*done) else {
                track.leaving = None;
                return true;
            };
            if copies == DATA_PASS_COPIES || bytes >= DATA_PASS_BYTES {
                return false;
            }
            *done += 1;
            if subscription.is_active {
                let copy = prefixed(&subscription.text_prefix, message);
                let target = subscription.connection;
                copies += 1;
                bytes += copy.payload.len();
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
