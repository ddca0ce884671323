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

mod framer;
mod id;
mod listener;
mod outgoing;
mod sources;
mod stream;
mod table;
mod tls;

pub(crate) use id::{is_listener, is_stream};
pub(crate) use listener::bind_tcp;
pub use outgoing::{STREAM_ANSWER_BYTES_MAX, STREAM_QUEUE_BYTES_MAX};
pub use sources::STREAMS_PER_SOURCE_MAX;
pub(crate) use stream::Room;
pub(crate) use table::Streams;
pub use table::{STREAM_IDLE_MAX, STREAM_QUEUES_BYTES_MAX, STREAMS_MAX, TLS_HANDSHAKE_MAX};
