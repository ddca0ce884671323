//! Streams of TURN clients: accepted, cut into messages, written, ended.
//!
//! ```text
//!  listener ── accept ──► Stream ── read, 16 KiB a pass ──► Framer ── whole messages ──► Worker
//!                           ▲                                                              │
//!                           └── one write a pass ◄── Outgoing ◄── what the worker commits ─┘
//! ```
//!
//! Level-triggered readiness gives fair turns: a stream that has more is reported again after everybody else. What a slow
//! reader does not take waits, up to a bound; then media for it is dropped and counted, and when not even answers fit the
//! stream ends. A message is queued whole or not at all, so what leaves is always well-formed.
//!
//! With one message a stream may become a data connection of a TCP relay (`data.rs`): then nothing is dropped, and a slow
//! reader stops its peer from being read. With another it may turn out to belong to another worker (`moving.rs`): it goes
//! there with all its state, and the client notices nothing.

mod data;
mod framer;
mod id;
mod listener;
mod moving;
mod outgoing;
mod sources;
mod stream;
mod table;
mod tls;

pub use data::DATA_QUEUE_BYTES_MAX;
pub(crate) use data::{DataHeard, DataNews};
pub(crate) use id::{is_listener, is_stream};
pub(crate) use listener::{LISTENER_REST, bind_tcp, is_exhaustion, keep_alive};
pub use moving::STREAM_MOVES_MAX;
pub(crate) use moving::{MoveReceiver, MoveSender, moves};
pub(crate) use outgoing::{Outgoing, Spares};
pub use outgoing::{STREAM_ANSWER_BYTES_MAX, STREAM_QUEUE_BYTES_MAX};
pub use sources::STREAMS_PER_SOURCE_MAX;
pub(crate) use sources::{Sources, network_of};
pub(crate) use stream::{READ_BYTES_PER_PASS, Room, is_transient};
pub(crate) use table::{Arrived, EXPIRIES_PER_PASS, Streams};
pub use table::{STREAM_IDLE_MAX, STREAM_QUEUES_BYTES_MAX, STREAMS_MAX, TLS_HANDSHAKE_MAX};
