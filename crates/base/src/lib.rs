//! Newtypes for ids and addresses, named limits, wall time, seeded randomness, counters, the outbox.
//!
//! Everything above depends on this crate and this crate depends on nothing of ours. It holds no I/O: the
//! [`Outbox`] is a trait that the worker loop implements over its send buffers and tests implement over a `Vec`.
#![forbid(unsafe_code)]

mod addr;
mod id;
mod limits;
mod metrics;
mod outbox;
mod rng;
mod time;

pub use addr::{FiveTuple, Protocol, canonical_ip, canonical_socket};
pub use id::{SocketId, SubscriptionId, TrackId, TransportId, WorkerId};
pub use limits::{DATAGRAM_BYTES_MAX, MTU_BYTES};
pub use metrics::{Counter, CounterSet, Gauge, Histogram, Label};
pub use outbox::{Outbox, VecOutbox};
pub use rng::Rng;
pub use time::{WallTime, civil};
