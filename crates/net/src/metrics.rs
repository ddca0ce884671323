//! What one worker's loop counts about itself.

use voex_base::{Counter, CounterSet, Gauge, Label, Protocol};

/// Counters of one worker loop. Packets are UDP payloads; bytes are their lengths.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Loop passes that found something to do.
    pub busy_passes: Counter,
    /// Times the loop slept in the kernel.
    pub sleeps: Counter,
    /// Times the loop slept a fixed short time to let packets gather.
    pub naps: Counter,
    /// Times that looking again before sleeping found something.
    pub look_again_hits: Counter,
    /// Times that looking again ran out of its time.
    pub look_again_misses: Counter,
    /// Receive calls that gave at least one message.
    pub receive_calls: Counter,
    /// Packets received.
    pub received_packets: Counter,
    /// Bytes received.
    pub received_bytes: Counter,
    /// Messages that arrived as a train of several packets (GRO).
    pub received_trains: Counter,
    /// Errors taken from sockets of relays: datagrams that did not reach their peers, by what ICMP says.
    pub errors_received: Counter,
    /// Send calls made.
    pub send_calls: Counter,
    /// Packets sent.
    pub sent_packets: Counter,
    /// Bytes sent.
    pub sent_bytes: Counter,
    /// Messages that left as a train of several packets (GSO).
    pub sent_trains: Counter,
    /// Packets handed to other workers.
    pub crossed_packets: Counter,
    /// Packets handed to the recorder.
    pub recorded_packets: Counter,
    /// Commands taken off the queue.
    pub commands: Counter,
    /// Events put into the queue.
    pub events: Counter,
    /// Events that had to wait in the backlog because the queue was full.
    pub events_delayed: Counter,
    /// Events lost because queue and backlog were full.
    pub events_lost: Counter,
    /// Sockets open on this worker.
    pub sockets: Gauge,
    /// 1 while trains are sent with GSO, 0 on the fallback path.
    pub gso: Gauge,
    /// 1 while trains are received with GRO, 0 on the fallback path.
    pub gro: Gauge,
    /// Packets dropped by the loop itself.
    pub dropped: CounterSet<DropReason>,
    /// Connections accepted by the kernel and taken from it.
    pub streams_accepted: Counter,
    /// Of those, closed at once.
    pub streams_refused: CounterSet<StreamRefusal>,
    /// Streams that ended after they were taken.
    pub streams_ended: CounterSet<StreamEnd>,
    /// Streams that were sent to another worker, which has what their clients asked for.
    pub streams_moved: Counter,
    /// Connections with peers of TCP relays that are open.
    pub peers: Gauge,
    /// Plain TCP streams that have said something and are open.
    pub tcp_streams: Gauge,
    /// TLS streams whose handshake is over and that are open.
    pub tls_streams: Gauge,
    /// TLS handshakes that came to an end both sides were content with.
    pub tls_handshakes: Counter,
    /// DTLS associations whose handshake is over and that are open.
    pub associations: Gauge,
    /// Cookies handed out to DTLS clients that had none.
    pub dtls_cookies: Counter,
    /// DTLS datagrams that were not taken.
    pub dtls_refused: CounterSet<HelloRefusal>,
    /// DTLS handshakes that came to an end both sides were content with.
    pub dtls_handshakes: Counter,
    /// DTLS associations that ended, those that never opened included.
    pub associations_ended: CounterSet<AssociationEnd>,
    /// Handshakes that failed, of TLS and DTLS.
    pub handshakes_failed: CounterSet<HandshakeFailure>,
    /// Read calls on streams.
    pub stream_reads: Counter,
    /// Bytes read from streams.
    pub stream_received_bytes: Counter,
    /// Write calls on streams.
    pub stream_writes: Counter,
    /// Bytes written to streams.
    pub stream_sent_bytes: Counter,
}

impl Metrics {
    /// Gives the gauge of open streams that talk `protocol`.
    pub(crate) fn streams_of(&self, protocol: Protocol) -> &Gauge {
        match protocol {
            Protocol::Tls => &self.tls_streams,
            _ => &self.tcp_streams,
        }
    }
}

/// Why a handshake of TLS or DTLS failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeFailure {
    /// The client offers no version, cipher suite or signature that we have.
    Incompatible,
    /// The client refused us with an alert: it does not trust the certificate, for one.
    RefusedByClient,
    /// What the client sent is no handshake.
    Malformed,
    /// The client sent more than handshakes are long.
    TooLong,
    /// The client left before the end.
    Abandoned,
    /// It took too long.
    TimedOut,
    /// The cryptographic library failed.
    Internal,
}

impl HandshakeFailure {
    pub(crate) fn of(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::AlertReceived(_) => Self::RefusedByClient,
            Error::FailedToGetRandomBytes | Error::FailedToGetCurrentTime | Error::EncryptError => Self::Internal,
            _ => Self::Malformed,
        }
    }
}

impl Label for HandshakeFailure {
    const ALL: &'static [Self] = &[
        Self::Incompatible,
        Self::RefusedByClient,
        Self::Malformed,
        Self::TooLong,
        Self::Abandoned,
        Self::TimedOut,
        Self::Internal,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Incompatible => "incompatible",
            Self::RefusedByClient => "refused_by_client",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Abandoned => "abandoned",
            Self::TimedOut => "timed_out",
            Self::Internal => "internal",
        }
    }
}

/// Why a DTLS datagram of a client without an open association was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HelloRefusal {
    /// It begins as a ClientHello and is none.
    Malformed,
    /// It is a part of a ClientHello.
    Fragmented,
    /// It is a ClientHello longer than those of clients are.
    TooLong,
    /// It is no ClientHello, and there is no association that it could belong to.
    NoAssociation,
    /// It came while a handshake ran, and is none of it.
    NotHandshake,
    /// There is no certificate to show.
    NoIdentity,
    /// The worker has as many associations as it may.
    TooMany,
    /// The source address has as many associations without an allocation as it may.
    TooManyFromSource,
    /// The source address begins handshakes faster than it may.
    TooFastFromSource,
    /// As many handshakes wait for a step as may.
    TooManyWaiting,
}

impl Label for HelloRefusal {
    const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::Fragmented,
        Self::TooLong,
        Self::NoAssociation,
        Self::NotHandshake,
        Self::NoIdentity,
        Self::TooMany,
        Self::TooManyFromSource,
        Self::TooFastFromSource,
        Self::TooManyWaiting,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Fragmented => "fragmented",
            Self::TooLong => "too_long",
            Self::NoAssociation => "no_association",
            Self::NotHandshake => "not_handshake",
            Self::NoIdentity => "no_identity",
            Self::TooMany => "too_many",
            Self::TooManyFromSource => "too_many_from_source",
            Self::TooFastFromSource => "too_fast_from_source",
            Self::TooManyWaiting => "too_many_waiting",
        }
    }
}

/// Why a DTLS association ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssociationEnd {
    /// The client closed it.
    ClosedByClient,
    /// The client gave it up with an alert.
    Broken,
    /// It was silent for too long and had no allocation.
    Idle,
    /// The client has made another from the same port.
    Replaced,
    /// Its handshake failed or took too long.
    HandshakeFailed,
}

impl Label for AssociationEnd {
    const ALL: &'static [Self] = &[
        Self::ClosedByClient,
        Self::Broken,
        Self::Idle,
        Self::Replaced,
        Self::HandshakeFailed,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::ClosedByClient => "closed_by_client",
            Self::Broken => "broken",
            Self::Idle => "idle",
            Self::Replaced => "replaced",
            Self::HandshakeFailed => "handshake_failed",
        }
    }
}

/// Why a connection was closed as soon as it was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamRefusal {
    /// The worker has as many streams as it may.
    TooMany,
    /// The source address has as many streams without an allocation as it may.
    TooManyFromSource,
    /// The system has no descriptor or memory for it.
    NoResources,
}

impl Label for StreamRefusal {
    const ALL: &'static [Self] = &[Self::TooMany, Self::TooManyFromSource, Self::NoResources];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::TooManyFromSource => "too_many_from_source",
            Self::NoResources => "no_resources",
        }
    }
}

/// Why a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamEnd {
    /// The client closed it, or its sending half.
    ClosedByClient,
    /// It was reset, or the client does not answer any more.
    Broken,
    /// It was silent for too long and had no allocation.
    Idle,
    /// It carried something that is neither STUN nor ChannelData.
    NotTurn,
    /// It began as TCP without TLS, or as TLS, and that is switched off.
    ProtocolOff,
    /// Its client asks and does not read the answers.
    SlowReader,
    /// A data connection: the peer has ended too.
    PeerEnded,
    /// A data connection: the peer broke it.
    PeerBroken,
    /// A data connection: its allocation is over, or its peer is closed to relays.
    RelayEnded,
    /// Too many streams were on their way to the worker that has what its client asked for.
    NotMoved,
    /// Its TLS handshake failed or took too long.
    HandshakeFailed,
    /// What it carried was no TLS record of its session, or the client gave the session up with an alert.
    TlsBroken,
}

impl Label for StreamEnd {
    const ALL: &'static [Self] = &[
        Self::ClosedByClient,
        Self::Broken,
        Self::Idle,
        Self::NotTurn,
        Self::ProtocolOff,
        Self::SlowReader,
        Self::PeerEnded,
        Self::PeerBroken,
        Self::RelayEnded,
        Self::NotMoved,
        Self::HandshakeFailed,
        Self::TlsBroken,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::ClosedByClient => "closed_by_client",
            Self::Broken => "broken",
            Self::Idle => "idle",
            Self::NotTurn => "not_turn",
            Self::ProtocolOff => "protocol_off",
            Self::SlowReader => "slow_reader",
            Self::PeerEnded => "peer_ended",
            Self::PeerBroken => "peer_broken",
            Self::RelayEnded => "relay_ended",
            Self::NotMoved => "not_moved",
            Self::HandshakeFailed => "handshake_failed",
            Self::TlsBroken => "tls_broken",
        }
    }
}

/// Why the loop dropped a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The send buffer of the socket is full; media does not wait.
    SendBufferFull,
    /// The kernel refused to send: no route, not permitted, too large for the path.
    SendRefused,
    /// The socket it should leave by is closed.
    SocketClosed,
    /// It was longer than a datagram can be.
    ReceiveTruncated,
    /// It had no source address of a family we know.
    ReceiveNoSource,
    /// The ring to another worker is full.
    CrossingFull,
    /// As much waits for the reader of a stream as may.
    StreamQueueFull,
    /// It is longer than what a DTLS record carries.
    RecordTooLong,
    /// It is plain UDP, and that is switched off.
    ProtocolOff,
    /// The ring to the recorder is full.
    RecordingFull,
}

impl Label for DropReason {
    const ALL: &'static [Self] = &[
        Self::SendBufferFull,
        Self::SendRefused,
        Self::SocketClosed,
        Self::ReceiveTruncated,
        Self::ReceiveNoSource,
        Self::CrossingFull,
        Self::StreamQueueFull,
        Self::RecordTooLong,
        Self::ProtocolOff,
        Self::RecordingFull,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::SendBufferFull => "send_buffer_full",
            Self::SendRefused => "send_refused",
            Self::SocketClosed => "socket_closed",
            Self::ReceiveTruncated => "receive_truncated",
            Self::ReceiveNoSource => "receive_no_source",
            Self::CrossingFull => "crossing_full",
            Self::StreamQueueFull => "stream_queue_full",
            Self::RecordTooLong => "record_too_long",
            Self::ProtocolOff => "protocol_off",
            Self::RecordingFull => "recording_full",
        }
    }
}
