//! One media worker's state: a TURN shard and an SFU shard side by side, and the hand-over between them.
#![forbid(unsafe_code)]

mod egress;
mod metrics;
mod topology;
mod worker;

pub use egress::Egress;
pub use metrics::{DropReason, HandOver, Metrics};
pub use topology::{Form, MediaPlace, MediaSocket, Place, RelayAddress, RelayRange, Topology};
pub use worker::{Command, Event, Output, RelayRequest, Role, Worker};
