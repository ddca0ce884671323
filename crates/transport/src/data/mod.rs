//! Data channels of a transport: SCTP over DTLS (RFC 8831, RFC 8261), opened by DCEP (RFC 8832).
//!
//! SCTP itself is `sctp-proto`'s; `guard` stands in front of it. The remote sets the association up, as every WebRTC
//! client does; we only answer. There is one, and when it is lost, data is over for the transport.

mod channel;
mod dcep;
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod packet;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, DatagramEvent, Endpoint, EndpointConfig, Event, PayloadProtocolIdentifier as Ppi, ReliabilityType,
    ServerConfig, StreamEvent, StreamId, TransportConfig,
};

pub use channel::{Channel, DataDrop, DataEvent, DataKind, DataMessage, Reliability};

use voex_base::TrackId;

use crate::dtls::DTLS_DATAGRAM_BYTES_MAX;
use crate::{DtlsRole, Metrics};
use dcep::Dcep;
use guard::Guard;

/// Longest message, both ways: what our SDP says as `max-message-size`, and what RFC 8841 §6 has a remote take whose SDP
/// says nothing.
pub const MESSAGE_BYTES_MAX: usize = 65_536;
/// Channels of a transport, whoever opened them.
pub const CHANNELS_MAX: usize = 64;
/// Streams each way; a remote that uses another loses its association.
pub const STREAMS_MAX: u16 = 256;
/// Bytes of messages that are not complete or not read yet.
pub const RECEIVE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of messages that wait until the remote has taken some of those before, each counted with its overhead.
pub const SEND_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// What the two bounds above may come to over all transports of a worker.
pub const WORKER_BYTES_MAX: i64 = 256 * 1024 * 1024;

/// Messages, and their bytes, that the library has at once; more follow when the remote has acknowledged all of them. It
/// walks through all that are not acknowledged at many a step.
const HANDED_MESSAGES_MAX: usize = 256;
const HANDED_BYTES_MAX: usize = 256 * 1024;
/// What a message costs beside its payload.
const MESSAGE_OVERHEAD_BYTES: usize = 128;
/// Longest SCTP packet that we send: with DTLS and UDP around it, it fits into a path that takes 1280 bytes.
const PACKET_BYTES_MAX: usize = 1_160;
/// The library does not count padding when it fills packets, nor the list of what came twice: what is longer than this is
/// not sent, and due again later.
pub(crate) const SENT_PACKET_BYTES_MAX: usize = DTLS_DATAGRAM_BYTES_MAX - 100;
/// Common header and the header of one DATA chunk.
const PACKET_HEADERS_BYTES: usize = 28;
/// Retransmission time-outs in milliseconds: the path's round trip has been seen to be short of this, and remotes
/// acknowledge within 200 ms.
const RTO_INITIAL_MS: u64 = 1_000;
const RTO_MIN_MS: u64 = 400;
const RTO_MAX_MS: u64 = 10_000;

/// The library wants an address of the remote; SCTP over DTLS has none.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5_000));

/// Data channels of one transport, from when its SDP was negotiated on.
pub(crate) struct Data {
    endpoint: Endpoint,
    association: Option<Association>,
    state: State,
    guard: Guard,
    channels: Vec<Entry>,
    /// Streams that have something to read.
    readable: VecDeque<StreamId>,
    /// Messages to be sent, and who speaks them.
    queue: VecDeque<(DataMessage, Speaker)>,
    queue_bytes: usize,
    handed_messages: usize,
    handed_bytes: usize,
    events: VecDeque<DataEvent>,
    /// Streams that the remote reset, and our half of it not done yet.
    resets: usize,
    /// Messages that were handed to the library, ever.
    sent: u64,
    /// Longest message that the remote takes.
    remote_message_bytes_max: usize,
    role: DtlsRole,
    metrics: Arc<Metrics>,
    /// What of [`Metrics::data_bytes`] is ours.
    charged: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaking,
    Open,
    Lost,
}

/// Whose messages they are that we send: those of a track, or ours.
type Speaker = Option<TrackId>;

struct Entry {
    stream: StreamId,
    channel: Arc<Channel>,
    /// Whether it may be used as it was described: until then messages go in order (RFC 8832 §6).
    is_acknowledged: bool,
    /// Whose messages it was opened for; nobody's when the remote opened it.
    speakers: Vec<Speaker>,
    /// When it was used last, in messages sent.
    used: u64,
}

impl Data {
    pub(crate) fn new(role: DtlsRole, remote_message_bytes_max: usize, metrics: Arc<Metrics>) -> Self {
        let transport = TransportConfig::default()
            .with_max_receive_buffer_size(RECEIVE_BYTES_MAX as u32)
            .with_max_receive_message_size(MESSAGE_BYTES_MAX as u32)
            .with_max_send_message_size(MESSAGE_BYTES_MAX as u32)
            .with_max_num_inbound_streams(STREAMS_MAX)
            .with_max_num_outbound_streams(STREAMS_MAX)
            .with_rto_initial_ms(RTO_INITIAL_MS)
            .with_rto_min_ms(RTO_MIN_MS)
            .with_rto_max_ms(RTO_MAX_MS);
        let mut server = ServerConfig::new();
        server.transport = Arc::new(transport);
        let mut endpoint = EndpointConfig::new();
        endpoint.max_payload_size((PACKET_BYTES_MAX - PACKET_HEADERS_BYTES) as u32);
        Self {
            endpoint: Endpoint::new(Arc::new(endpoint), Some(Arc::new(server))),
            association: None,
            state: State::Handshaking,
            guard: Guard::new(RECEIVE_BYTES_MAX as u32),
            channels: Vec::new(),
            readable: VecDeque::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            handed_messages: 0,
            handed_bytes: 0,
            events: VecDeque::new(),
            resets: 0,
            sent: 0,
            remote_message_bytes_max: remote_message_bytes_max.min(MESSAGE_BYTES_MAX),
            role,
            metrics,
            charged: 0,
        }
    }

    pub(crate) fn set_remote_message_bytes_max(&mut self, bytes: usize) {
        self.remote_message_bytes_max = bytes.min(MESSAGE_BYTES_MAX);
    }

    /// Takes one SCTP packet; afterwards, [`flush`](Self::flush).
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        if self.state == State::Lost {
            return;
        }
        let is_full = self.metrics.data_bytes.value() >= WORKER_BYTES_MAX;
        let is_handshaking = self.state == State::Handshaking;
        if let Err(reason) = self.guard.admit(packet, is_handshaking, is_full) {
            return self.count(reason);
        }
        let packet = Bytes::copy_from_slice(packet);
        match self.endpoint.handle(now, NOWHERE, None, None, packet) {
            Some((_, DatagramEvent::NewAssociation(association))) => {
                // One association is all there is: what comes for another is not answered.
                self.endpoint.reject_new_associations();
                self.association = Some(association);
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some(association) = &mut self.association {
                    association.handle_event(event);
                }
            }
            None => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(association) = &mut self.association
            && association.poll_timeout().is_some_and(|due| due <= now)
        {
            association.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref()?.poll_timeout()
    }

    /// Takes a message of a speaker to be sent; afterwards, [`flush`](Self::flush).
    pub(crate) fn send(&mut self, message: &DataMessage, speaker: Speaker) -> Result<(), DataDrop> {
        let cost = message.payload.len() + MESSAGE_OVERHEAD_BYTES;
        let refusal = match self.state {
            State::Handshaking => Some(DataDrop::NotReady),
            State::Lost => Some(DataDrop::Lost),
            State::Open if message.payload.len() > self.remote_message_bytes_max => Some(DataDrop::TooLong),
            State::Open if self.queue_bytes + cost > SEND_QUEUE_BYTES_MAX => Some(DataDrop::QueueFull),
            State::Open if self.metrics.data_bytes.value() >= WORKER_BYTES_MAX => Some(DataDrop::QueueFull),
            State::Open => None,
        };
        if let Some(reason) = refusal {
            self.count(reason);
            return Err(reason);
        }
        self.queue_bytes += cost;
        self.queue.push_back((message.clone(), speaker));
        self.charge();
        Ok(())
    }

    /// Follows the association and hands out every packet that it wants sent now.
    pub(crate) fn flush(&mut self, now: Instant, mut send: impl FnMut(&[u8])) {
        self.follow();
        loop {
            self.hand_over();
            let Some(association) = &mut self.association else {
                break;
            };
            let mut has_sent = false;
            while let Some(transmit) = association.poll_transmit(now) {
                has_sent = true;
                let sctp_proto::Payload::RawEncode(packets) = transmit.payload else {
                    continue;
                };
                for packet in packets {
                    self.guard.note_sent(&packet);
                    send(&packet);
                }
            }
            if !has_sent && self.guard.has_remote_all() {
                (self.handed_messages, self.handed_bytes) = (0, 0);
            }
            if self.queue.is_empty() || self.handed_messages > 0 {
                break;
            }
        }
        self.charge();
    }

    /// Takes the next event, reading a message when there is one.
    pub(crate) fn poll(&mut self) -> Option<DataEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let stream = self.readable.pop_front()?;
            if let Some((kind, payload)) = self.read(stream) {
                self.readable.push_back(stream);
                self.take(stream, kind, payload);
            }
        }
    }

    fn read(&mut self, stream: StreamId) -> Option<(Ppi, Bytes)> {
        let chunks = self.association.as_mut()?.stream(stream).ok()?.read_sctp().ok()??;
        let mut payload = vec![0; chunks.len()];
        chunks.read(&mut payload).ok()?;
        self.guard.note_read(stream, chunks.chunks.len(), payload.len());
        self.charge();
        Some((chunks.ppi, payload.into()))
    }

    fn take(&mut self, stream: StreamId, ppi: Ppi, payload: Bytes) {
        let (kind, payload) = match ppi {
            Ppi::Dcep => return self.take_dcep(stream, &payload),
            // A subscriber may end its association for text that is none.
            Ppi::String if std::str::from_utf8(&payload).is_err() => return self.count(DataDrop::BadText),
            Ppi::String => (DataKind::Text, payload),
            Ppi::Binary => (DataKind::Binary, payload),
            Ppi::StringEmpty => (DataKind::Text, Bytes::new()),
            Ppi::BinaryEmpty => (DataKind::Binary, Bytes::new()),
            Ppi::Unknown => return self.count(DataDrop::NoChannel),
        };
        let Some(entry) = self.channels.iter_mut().find(|entry| entry.stream == stream) else {
            return self.count(DataDrop::NoChannel);
        };
        let channel = Arc::clone(&entry.channel);
        self.metrics.data_messages_received.inc();
        self.metrics.data_bytes_received.add(payload.len() as u64);
        self.events
            .push_back(DataEvent::Message(DataMessage { channel, kind, payload }));
    }

    fn take_dcep(&mut self, stream: StreamId, message: &[u8]) {
        let known = self.channels.iter().position(|entry| entry.stream == stream);
        match (Dcep::parse(message), known) {
            (Some(Dcep::Open(channel)), None) => {
                if self.channels.len() >= CHANNELS_MAX {
                    self.count(DataDrop::ChannelsFull);
                    return self.close_stream(stream);
                }
                let channel = Arc::new(channel);
                self.write(stream, Ppi::Dcep, &Dcep::ack());
                self.set_reliability(stream, &channel);
                self.channels.push(Entry {
                    stream,
                    channel: Arc::clone(&channel),
                    is_acknowledged: true,
                    speakers: Vec::new(),
                    used: 0,
                });
                self.events.push_back(DataEvent::Opened(channel));
            }
            (Some(Dcep::Ack), Some(at)) => {
                if !std::mem::replace(&mut self.channels[at].is_acknowledged, true) {
                    let channel = Arc::clone(&self.channels[at].channel);
                    self.set_reliability(stream, &channel);
                }
            }
            _ => self.count(DataDrop::BadDcep),
        }
    }

    /// Sees what the association says.
    fn follow(&mut self) {
        while let Some(event) = self.association.as_mut().and_then(Association::poll) {
            match event {
                Event::Connected => {
                    self.state = State::Open;
                    self.events.push_back(DataEvent::Ready);
                }
                Event::HandshakeFailed { .. } | Event::AssociationLost { .. } => return self.lose(),
                Event::Stream(StreamEvent::Opened { id }) if id >= STREAMS_MAX => return self.lose(),
                Event::Stream(StreamEvent::Readable { id }) if !self.readable.contains(&id) => {
                    self.readable.push_back(id);
                }
                Event::Stream(StreamEvent::Finished { id }) => {
                    self.resets += 1;
                    self.forget_channel(id);
                    // The library remembers each until its other half is done; the remote need not let it be.
                    if self.resets > usize::from(STREAMS_MAX) {
                        return self.lose();
                    }
                }
                Event::Stream(StreamEvent::ResetComplete { .. } | StreamEvent::ResetFailed { .. }) => {
                    self.resets = self.resets.saturating_sub(1);
                }
                _ => {}
            }
        }
        if let Some(association) = &mut self.association {
            // Streams to accept are known by their events; the library would keep the list.
            while association.accept_stream().is_some() {}
            while association.poll_endpoint_event().is_some() {}
        }
    }

    fn lose(&mut self) {
        if self.state == State::Open {
            self.events.push_back(DataEvent::Lost);
        }
        self.state = State::Lost;
        self.association = None;
        self.guard = Guard::new(RECEIVE_BYTES_MAX as u32);
        self.channels.clear();
        self.readable.clear();
        self.queue.clear();
        (self.queue_bytes, self.handed_messages, self.handed_bytes) = (0, 0, 0);
        self.resets = 0;
        self.metrics.data_lost.inc();
    }

    fn forget_channel(&mut self, stream: StreamId) {
        if let Some(at) = self.channels.iter().position(|entry| entry.stream == stream) {
            let entry = self.channels.remove(at);
            self.events.push_back(DataEvent::Closed(entry.channel));
        }
    }

    /// Gives queued messages to the library as far as it may have more.
    fn hand_over(&mut self) {
        while self.has_room() {
            let Some((message, speaker)) = self.queue.pop_front() else {
                return;
            };
            self.queue_bytes -= message.payload.len() + MESSAGE_OVERHEAD_BYTES;
            self.sent += 1;
            let Some(stream) = self.stream_for(&message.channel, speaker) else {
                self.count(DataDrop::ChannelsFull);
                continue;
            };
            let is_written = match (message.kind, message.payload.is_empty()) {
                (DataKind::Text, false) => self.write(stream, Ppi::String, &message.payload),
                (DataKind::Binary, false) => self.write(stream, Ppi::Binary, &message.payload),
                // RFC 8831 §6.6: an empty message is one byte that is not looked at.
                (DataKind::Text, true) => self.write(stream, Ppi::StringEmpty, &[0]),
                (DataKind::Binary, true) => self.write(stream, Ppi::BinaryEmpty, &[0]),
            };
            if is_written {
                self.metrics.data_messages_sent.inc();
                self.metrics.data_bytes_sent.add(message.payload.len() as u64);
            } else {
                self.count(DataDrop::NotReady);
            }
        }
    }

    /// Whether the library may have more now; while it may not, there is nothing to [`flush`](Self::flush) for a message.
    pub(crate) fn has_room(&self) -> bool {
        self.handed_messages < HANDED_MESSAGES_MAX && self.handed_bytes < HANDED_BYTES_MAX
    }

    /// Finds the channel of that label, or opens one.
    fn stream_for(&mut self, channel: &Arc<Channel>, speaker: Speaker) -> Option<StreamId> {
        let known = self
            .channels
            .iter_mut()
            .find(|entry| entry.channel.label == channel.label);
        if let Some(entry) = known {
            entry.used = self.sent;
            if !entry.speakers.is_empty() && !entry.speakers.contains(&speaker) {
                entry.speakers.push(speaker);
            }
            return Some(entry.stream);
        }
        if self.channels.len() >= CHANNELS_MAX {
            self.make_room()?;
        }
        let association = self.association.as_mut()?;
        // RFC 8832 §6: the DTLS client opens even streams, the server odd ones.
        let first = u16::from(self.role == DtlsRole::Server);
        let stream = (first..STREAMS_MAX)
            .step_by(2)
            .find(|stream| association.open_stream(*stream, Ppi::Binary).is_ok())?;
        self.write(stream, Ppi::Dcep, &Dcep::open(channel));
        self.channels.push(Entry {
            stream,
            channel: Arc::clone(channel),
            is_acknowledged: false,
            speakers: vec![speaker],
            used: self.sent,
        });
        Some(stream)
    }

    /// Closes a channel of whoever has most of them to itself: of those the one that was not used for longest.
    fn make_room(&mut self) -> Option<()> {
        let owner = |entry: &Entry| match entry.speakers[..] {
            [speaker] => Some(speaker),
            _ => None,
        };
        let count = |speaker: Speaker| {
            self.channels
                .iter()
                .filter(|entry| owner(entry) == Some(speaker))
                .count()
        };
        let owned = self.channels.iter().enumerate();
        let owned = owned.filter_map(|(at, entry)| Some((count(owner(entry)?), Reverse(entry.used), at)));
        let (_, _, at) = owned.max()?;
        self.close_at(at);
        Some(())
    }

    /// Closes the channels that carried nobody's messages but this speaker's, who is gone.
    pub(crate) fn forget_speaker(&mut self, speaker: TrackId) {
        for at in (0..self.channels.len()).rev() {
            let speakers = &mut self.channels[at].speakers;
            let before = speakers.len();
            speakers.retain(|other| *other != Some(speaker));
            if before > 0 && speakers.is_empty() {
                self.close_at(at);
            }
        }
    }

    fn close_at(&mut self, at: usize) {
        let entry = self.channels.swap_remove(at);
        self.close_stream(entry.stream);
    }

    /// Says whether the stream took it: one that is being reset does not.
    fn write(&mut self, stream: StreamId, ppi: Ppi, payload: &[u8]) -> bool {
        let stream = self.association.as_mut().map(|association| association.stream(stream));
        let is_written = match stream {
            Some(Ok(mut stream)) => stream.write_with_ppi(payload, ppi).is_ok(),
            _ => false,
        };
        if is_written {
            self.handed_messages += 1;
            self.handed_bytes += payload.len();
        }
        is_written
    }

    fn set_reliability(&mut self, stream: StreamId, channel: &Channel) {
        let Some(association) = &mut self.association else {
            return;
        };
        let (kind, value) = match channel.reliability {
            Reliability::Full => (ReliabilityType::Reliable, 0),
            Reliability::Retransmits(times) => (ReliabilityType::Rexmit, times),
            Reliability::Lifetime(milliseconds) => (ReliabilityType::Timed, milliseconds),
        };
        if let Ok(mut stream) = association.stream(stream) {
            // Fails for a stream that is gone already, which needs none.
            let _ = stream.set_reliability_params(!channel.is_ordered, kind, value);
        }
    }

    fn close_stream(&mut self, stream: StreamId) {
        if let Some(association) = &mut self.association
            && let Ok(mut stream) = association.stream(stream)
        {
            // Fails where the association is over, and the stream with it.
            let _ = stream.close();
        }
    }

    fn count(&self, reason: DataDrop) {
        self.metrics.data_drops.of(reason).inc();
    }

    /// Brings what all transports hold up to date.
    fn charge(&mut self) {
        let held = self.queue_bytes + self.handed_bytes + self.guard.held_bytes();
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        self.metrics.data_bytes.add(held - self.charged);
        self.charged = held;
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        self.metrics.data_bytes.add(-self.charged);
    }
}
