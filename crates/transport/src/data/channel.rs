//! What a data channel is, what travels in it, and what is told of it.

use std::sync::Arc;

use bytes::Bytes;
use voex_base::Label;

/// A data channel, as its opener described it (RFC 8832 §5.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Channel {
    /// Its label; may be empty.
    pub label: Box<str>,
    /// Its sub-protocol; empty for none.
    pub protocol: Box<str>,
    /// Whether messages arrive in the order they were sent in.
    pub is_ordered: bool,
    /// How long a lost message is sent again.
    pub reliability: Reliability,
}

impl Channel {
    /// A reliable, ordered channel without a sub-protocol.
    pub fn reliable(label: &str) -> Self {
        Self {
            label: label.into(),
            protocol: Box::default(),
            is_ordered: true,
            reliability: Reliability::Full,
        }
    }
}

/// How long a lost message is sent again (RFC 8831 §6.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reliability {
    /// Until it arrives.
    Full,
    /// This many times.
    Retransmits(u32),
    /// For this many milliseconds.
    Lifetime(u32),
}

/// Text or bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataKind {
    /// Text. UTF-8 by RFC 8831 §6.6, which is not checked.
    Text,
    /// Bytes.
    Binary,
}

/// One message of a data channel. Cloning copies no payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataMessage {
    /// Its channel. On sending, a channel of this label is used when there is one, else one like this is opened.
    pub channel: Arc<Channel>,
    /// Text or bytes.
    pub kind: DataKind,
    /// The whole message, at most [`MESSAGE_BYTES_MAX`](super::MESSAGE_BYTES_MAX); may be empty.
    pub payload: Bytes,
}

/// What happened to the data channels of a transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataEvent {
    /// The SCTP association is up: messages can be sent.
    Ready,
    /// The remote opened a channel.
    Opened(Arc<Channel>),
    /// A message came.
    Message(DataMessage),
    /// The remote closed a channel.
    Closed(Arc<Channel>),
    /// The SCTP association is gone, and with it every channel; there will be no other.
    Lost,
}

/// Why a message, or a packet of SCTP, was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataDrop {
    /// To be sent where data was not negotiated or the remote has not set up the association yet.
    NotReady,
    /// To be sent after the association was lost.
    Lost,
    /// To be sent, and longer than the remote takes.
    TooLong,
    /// To be sent, and too much waits for this remote, or for all remotes of the worker.
    QueueFull,
    /// To be sent on one channel more than a transport may have.
    ChannelsFull,
    /// Arrived on a stream that no channel was opened on, or with an unknown payload protocol.
    NoChannel,
    /// Arrived and is no DATA_CHANNEL_OPEN or DATA_CHANNEL_ACK.
    BadDcep,
    /// Arrived as text and is not UTF-8 (RFC 8831 §6.6).
    BadText,
    /// An SCTP packet that is cut short, is not for this association, or reaches further ahead than is kept.
    BadPacket,
    /// A request to reset a stream of which something is missing or not read yet; the remote sends it again.
    EarlyReset,
    /// An SCTP packet while too much of unfinished or unread messages is kept already; the remote sends it again.
    ReceiveFull,
}

impl Label for DataDrop {
    const ALL: &'static [Self] = &[
        Self::NotReady,
        Self::Lost,
        Self::TooLong,
        Self::QueueFull,
        Self::ChannelsFull,
        Self::NoChannel,
        Self::BadDcep,
        Self::BadText,
        Self::BadPacket,
        Self::EarlyReset,
        Self::ReceiveFull,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::Lost => "lost",
            Self::TooLong => "too_long",
            Self::QueueFull => "queue_full",
            Self::ChannelsFull => "channels_full",
            Self::NoChannel => "no_channel",
            Self::BadDcep => "bad_dcep",
            Self::BadText => "bad_text",
            Self::BadPacket => "bad_packet",
            Self::EarlyReset => "early_reset",
            Self::ReceiveFull => "receive_full",
        }
    }
}
