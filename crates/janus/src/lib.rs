//! The Janus API: sessions, handles, transactions, plugins; JSON in, commands out, events to JSON.
#![forbid(unsafe_code)]

mod config;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod host;
mod info;
mod jsep;
mod metrics;
mod peer_connection;
mod plugin;
mod reply;
mod request;
mod session;
mod trickle;

pub use config::{Candidate, Config, PortsExhausted, RtpPair, RtpPorts, WorkerMedia};
pub use error::Code;
pub use gateway::{ConnectionId, Gateway, HANDLES_MAX, HANDLES_PER_SESSION_MAX, Output, SESSIONS_MAX};
pub use metrics::Metrics;
pub use plugin::sip::Code as SipCode;
pub use plugin::videoroom::{Code as VideoRoomCode, RoomCodec, RoomConfig};
