//! What one worker counts beside its shards.

use voex_base::{Counter, CounterSet, Label};

/// Counters of one worker.
#[derive(Default, Debug)]
pub struct Metrics {
    /// Packets that stayed in the process instead of going out and in again through the kernel.
    pub handed_over_packets: CounterSet<HandOver>,
    /// Of those, packets that went on to another worker; and what clients sent that have moved.
    pub crossed_packets: CounterSet<HandOver>,
    /// Packets that arrived from other workers.
    pub crossed_in_packets: Counter,
    /// Packets dropped by the worker itself; its shards count their own.
    pub dropped: CounterSet<DropReason>,
    /// Commands for a shard that this worker does not have.
    pub commands_ignored: Counter,
}

/// Between whom a packet was handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOver {
    /// From a TURN client to the conference server.
    RelayToMedia,
    /// From the conference server to a TURN client.
    MediaToRelay,
    /// From one TURN client to another.
    RelayToRelay,
    /// From a client that has moved, to the worker that has its allocation (RFC 8016).
    MovedClient,
}

impl Label for HandOver {
    const ALL: &'static [Self] = &[
        Self::RelayToMedia,
        Self::MediaToRelay,
        Self::RelayToRelay,
        Self::MovedClient,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::RelayToMedia => "relay_to_media",
            Self::MediaToRelay => "media_to_relay",
            Self::RelayToRelay => "relay_to_relay",
            Self::MovedClient => "moved_client",
        }
    }
}

/// Why a worker dropped a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The socket is not known, or is no longer.
    UnknownSocket,
    /// The shard that serves this kind of socket does not run here.
    NoShard,
    /// No allocation has the relayed transport address it was handed over to.
    NoAllocation,
    /// The way to the other worker is full.
    CrossingFull,
}

impl Label for DropReason {
    const ALL: &'static [Self] = &[
        Self::UnknownSocket,
        Self::NoShard,
        Self::NoAllocation,
        Self::CrossingFull,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::UnknownSocket => "unknown_socket",
            Self::NoShard => "no_shard",
            Self::NoAllocation => "no_allocation",
            Self::CrossingFull => "crossing_full",
        }
    }
}
