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
