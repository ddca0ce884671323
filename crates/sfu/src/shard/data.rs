//! Data channels: from a message that came to the messages that leave.

use std::time::Instant;

use bytes::{BufMut, BytesMut};
use voex_base::{Outbox, SubscriptionId, TrackId, TransportId};
use voex_transport::data::{DataEvent, DataKind, DataMessage};

use super::Shard;
use crate::command::{DataSubscriptionSpec, DataTrackSpec, Event};
use crate::connection::{Link, Timer};
use crate::data::{ConnectionData, DataSubscription, DataTrack};
use crate::limits::{
    DATA_COPY_BYTES_MIN, DATA_REPORT_BYTES, EVENTS_MAX, SUBSCRIPTIONS_PER_TRACK_MAX, SUBSCRIPTIONS_PER_TRANSPORT_MAX,
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
        };
        self.data.tracks.insert(spec.id, track);
        self.metrics.tracks.add(1);
        Some(())
    }

    pub(super) fn add_data_subscription(&mut self, spec: DataSubscriptionSpec) -> Option<()> {
        self.remove_data_subscription(spec.id);
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

    pub(super) fn remove_data_track(&mut self, id: TrackId) -> Option<()> {
        let track = self.data.tracks.remove(&id)?;
        self.metrics.tracks.add(-1);
        for subscription in &track.subscriptions {
            self.forget_data_subscription(subscription);
        }
        let connection = self.connections.get_mut(track.connection);
        if let Some(data) = connection.and_then(|connection| connection.data.as_mut()) {
            data.track = None;
        }
        Some(())
    }

    pub(super) fn remove_data_subscription(&mut self, id: SubscriptionId) -> Option<()> {
        let track = self.data.tracks.get_mut(self.data.subscriptions.get(&id)?)?;
        let at = track
            .subscriptions
            .iter()
            .position(|subscription| subscription.id == id)?;
        let subscription = track.subscriptions.swap_remove(at);
        self.forget_data_subscription(&subscription);
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
    pub(super) fn close_data(&mut self, key: usize) {
        let Some(data) = self.connections[key].data.take() else {
            return;
        };
        if let Some(track) = data.track {
            self.remove_data_track(track);
        }
        for subscription in data.subscriptions {
            self.remove_data_subscription(subscription);
        }
    }

    /// Sends a message by a transport.
    pub(super) fn send_data(&mut self, now: Instant, key: usize, message: &DataMessage, out: &mut impl Outbox) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Link::WebRtc(transport) = &mut connection.link {
            // What may not be sent is counted there.
            let _ = transport.send_data(now, message, out);
            connection.timers.set(Timer::Transport, transport.poll_timeout());
            self.reschedule(key);
        }
    }

    /// Passes on what came on the data channels of a transport, as far as its sender and the shard may have passed on now.
    pub(super) fn pass_data(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        loop {
            let connection = &mut self.connections[key];
            let Some(data) = connection.data.as_mut() else { return };
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
                Some(DataEvent::Message(message)) => self.pass_message(now, key, &message, out),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn pass_message(&mut self, now: Instant, key: usize, message: &DataMessage, out: &mut impl Outbox) {
        let connection = &mut self.connections[key];
        let id = connection.id;
        let Some(data) = connection.data.as_mut() else { return };
        let track = data.track.and_then(|track| self.data.tracks.get(&track));
        let copies = track.map_or(1, |track| track.subscriptions.len().max(1));
        let bytes = message.payload.len().max(DATA_COPY_BYTES_MIN) * copies;
        data.bytes.charge(now, bytes as u64);
        // A subscriber speaks to nobody.
        let Some(track) = track else { return };
        let is_reported = track.is_reported;
        let targets: Vec<_> = track
            .subscriptions
            .iter()
            .filter(|subscription| subscription.is_active && track.is_relayed)
            .map(|subscription| (subscription.connection, prefixed(&subscription.text_prefix, message)))
            .collect();
        for (target, message) in targets {
            self.send_data(now, target, &message, out);
        }
        if is_reported {
            // What waits for the control plane is bounded by this, so long messages count for more.
            let reports = 1 + message.payload.len() as u64 / DATA_REPORT_BYTES;
            if let Some(data) = self.connections[key].data.as_mut() {
                data.reports.charge(now, reports);
            }
            self.data.reports.charge(now, reports);
            // Half of the room is for what must not be lost.
            if self.events.len() < EVENTS_MAX / 2 {
                self.tell(Event::DataReceived(id, message.clone()));
            } else {
                self.metrics.events_lost.inc();
            }
        }
    }
}

/// A message with `prefix` in front, where it is text. Without one no payload is copied.
fn prefixed(prefix: &str, message: &DataMessage) -> DataMessage {
    if prefix.is_empty() || message.kind == DataKind::Binary {
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
