//! Ids that cross crate borders. All are handed out by the control plane; none is reused within a process.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A media worker thread, counted from zero.
    WorkerId(u16);
    /// A datagram socket or stream of one process; unique over all workers.
    SocketId(u64);
    /// One WebRTC transport (ICE, DTLS, SRTP) or one plain RTP leg on a media worker.
    TransportId(u64);
    /// One incoming medium of a transport: what a publisher sends under one mid.
    TrackId(u64);
    /// One outgoing medium: a track forwarded to one transport.
    SubscriptionId(u64);
}

/// The bit that marks the ids of recordings; ids of what the network reaches are counted up from one, or have a higher bit.
const RECORDING: u64 = 1 << 61;

impl SocketId {
    /// Gives the id under which a plain transport leads into a recording: what is committed for it goes to the recorder
    /// instead of the network. `number` is unique in the process, and below 2^61.
    pub const fn recording(number: u64) -> Self {
        Self(RECORDING | number & (RECORDING - 1))
    }

    /// Tells whether what is committed for it is recorded.
    #[inline]
    pub const fn is_recording(self) -> bool {
        self.0 >> 61 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_told_from_sockets_streams_and_associations() {
        assert!(SocketId::recording(7).is_recording());
        assert_ne!(SocketId::recording(7), SocketId::recording(8));
        for other in [1, 1 << 60, 1 << 62 | 7, 1 << 63 | 1 << 61] {
            assert!(!SocketId(other).is_recording(), "{other:#x}");
        }
    }
}
