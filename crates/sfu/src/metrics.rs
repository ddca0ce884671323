//! Counters of one shard, and the reasons for which it drops.

use std::sync::Arc;

use voex_base::{Counter, CounterSet, Gauge, Label};

/// Live counters of one shard; one writer thread.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Open transports.
    pub transports: Gauge,
    /// Known tracks.
    pub tracks: Gauge,
    /// Known subscriptions.
    pub subscriptions: Gauge,
    /// RTP packets received, retransmissions and drops included.
    pub received_packets: Counter,
    /// Bytes of them, without SRTP's tag.
    pub received_bytes: Counter,
    /// RTP packets forwarded, counted once for each subscription.
    pub forwarded_packets: Counter,
    /// Bytes of them, with SRTP's tag.
    pub forwarded_bytes: Counter,
    /// RTP packets passed to other workers with subscriptions to their track.
    pub piped_packets: Counter,
    /// Messages to other workers that found no room.
    pub pipe_drops: Counter,
    /// Packets sent again to subscribers.
    pub retransmitted_packets: Counter,
    /// Packets that senders sent again to us and that we had missed.
    pub recovered_packets: Counter,
    /// Packets asked for from senders.
    pub nacks_sent: Counter,
    /// Packets that subscribers asked for.
    pub nacks_received: Counter,
    /// Packets asked for that could not or may not be sent again.
    pub nacks_unanswered: Counter,
    /// Key frame requests sent.
    pub plis_sent: Counter,
    /// Key frame requests received.
    pub plis_received: Counter,
    /// RTCP compound packets received.
    pub rtcp_received: Counter,
    /// RTCP compound packets sent.
    pub rtcp_sent: Counter,
    /// Commands that named an unknown id or went over a bound.
    pub ignored_commands: Counter,
    /// Events that nobody took before the queue was full.
    pub events_lost: Counter,
    /// Datagrams dropped, and forwards that failed.
    pub drops: CounterSet<DropReason>,
    /// Counters of the transports.
    pub transport: Arc<voex_transport::Metrics>,
}

/// Why a datagram was dropped, or was not forwarded to one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// From an address that belongs to no transport, and no ICE check for one of ours.
    UnknownSource,
    /// The transport dropped it; its own counters say why.
    Transport,
    /// Not a whole RTP packet.
    MalformedRtp,
    /// Not a whole RTCP compound packet.
    MalformedRtcp,
    /// On a plain transport, from an address that is not its remote.
    UnexpectedSource,
    /// On a plain transport that was not told its remote yet.
    NoRemote,
    /// RTP on the RTCP socket.
    UnexpectedProtocol,
    /// An SSRC that neither the SDP nor mid or payload type places on a track.
    UnknownSsrc,
    /// A payload type that was not negotiated for the track.
    UnknownPayloadType,
    /// Another SSRC of a track, too soon after the last change.
    SourceFlaps,
    /// Came before.
    Duplicate,
    /// Further behind the newest packet than is kept.
    TooLate,
    /// Its sequence number is far from the ones before, and no second packet agrees with it yet.
    SequenceJump,
    /// No payload: a probe or keep-alive.
    Empty,
    /// Longer than the media path carries.
    TooLong,
    /// A retransmission while the original SSRC of the track is unknown.
    NothingToRepair,
    /// The subscriber's transport could not protect it.
    Protect,
}

impl Label for DropReason {
    const ALL: &'static [Self] = &[
        Self::UnknownSource,
        Self::Transport,
        Self::MalformedRtp,
        Self::MalformedRtcp,
        Self::UnexpectedSource,
        Self::NoRemote,
        Self::UnexpectedProtocol,
        Self::UnknownSsrc,
        Self::UnknownPayloadType,
        Self::SourceFlaps,
        Self::Duplicate,
        Self::TooLate,
        Self::SequenceJump,
        Self::Empty,
        Self::TooLong,
        Self::NothingToRepair,
        Self::Protect,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::Transport => "transport",
            Self::MalformedRtp => "malformed_rtp",
            Self::MalformedRtcp => "malformed_rtcp",
            Self::UnexpectedSource => "unexpected_source",
            Self::NoRemote => "no_remote",
            Self::UnexpectedProtocol => "unexpected_protocol",
            Self::UnknownSsrc => "unknown_ssrc",
            Self::UnknownPayloadType => "unknown_payload_type",
            Self::SourceFlaps => "source_flaps",
            Self::Duplicate => "duplicate",
            Self::TooLate => "too_late",
            Self::SequenceJump => "sequence_jump",
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::NothingToRepair => "nothing_to_repair",
            Self::Protect => "protect",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_at_its_index() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
        }
    }
}
