//! One media worker's state: a TURN shard and an SFU shard side by side, and the hand-over between them.
//!
//! ```text
//!  datagram ─► Worker, by the role of its socket
//!    TURN listener ─► turn::Server ─ ToPeer ─► Topology: whose address is the peer's?
//!                          ▲                     ├─ nobody's here ──► relay socket, kernel
//!                          │ peer datagram       ├─ media, here ────► sfu::Shard
//!    relay socket ─────────┤                     ├─ relay, here ────► turn::Server, as a peer datagram
//!                          │                     └─ another worker ─► Egress::cross ─► handle_crossed there
//!                    Crossing (outbox of the shard): is the destination a relay of this host?
//!                          ▲
//!    media, plain RTP ─► sfu::Shard ─────────────► everything else: kernel
//! ```
//!
//! A packet that is handed over passes the checks of the long way: TURN judges permission and policy of the sender before
//! it leaves and of the receiver before it arrives, ICE judges it like any datagram. Its source is the address a peer
//! would see, in the form (bound or public) the destination was called by, so that answers come back to the name the
//! client knows. A packet is handed over at most twice (relay to conference, conference to relay), since what TURN sends
//! to its client always leaves through the kernel; there is no recursion and no queue inside a worker.
//!
//! A TURN client that has moved (RFC 8016) may be heard by the listener of another worker than the one that has its
//! allocation: what it sends goes there whole ([`Crossed::FromClient`]), and the answers leave by that worker's own listener
//! on the same address.
//!
//! Nothing here knows sockets: [`Worker::poll_output`] asks for relay sockets, [`Egress`] takes what leaves.
#![forbid(unsafe_code)]

mod between_workers;
mod crossing;
mod egress;
mod metrics;
mod peer_connection;
mod topology;
mod worker;

pub use egress::{Crossed, Egress};
pub use metrics::{DropReason, HandOver, Metrics};
pub use topology::{Form, MediaPlace, MediaSocket, Place, RelayPlace, RelayRange, Topology};
pub use worker::{Command, Output, Role, Worker};
