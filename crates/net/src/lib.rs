//! The worker loop and its sockets: epoll, GRO, GSO, port pools, command and event queues; the one crate with `unsafe`.
//!
//! ```text
//!  control plane                          worker thread k (pinned, no async, no lock, no allocation a packet)
//!
//!  CommandSender ─── bounded queue ──────► take_orders ┐
//!  RtpPorts ──────── bound sockets ──────►             │
//!                                                      ▼
//!  kernel ── recvmmsg + GRO, 16 messages a socket ──► Worker (voex_worker) ──► SendArena ── sendmsg + GSO ──► kernel
//!                                                      ▲     │      ▲
//!  other workers ── ring of bytes each pair ──► take_crossed │      └── timers
//!                                                            ▼
//!  Events ◄───────── bounded queue, backlog ◄──────────── poll_event
//!  TurnEvents ◄───── bounded queue ◄───────────────────── poll_turn_event
//! ```
//!
//! [`Workers::start`] binds everything first and refuses with every address that failed. A pass of a worker waits, obeys
//! commands, takes what every ready socket has up to a bound, takes packets of other workers, runs timers, binds and
//! closes relay sockets, reports events, and sends what was collected, packets to one destination together.
//!
//! How it waits decides what paced voice costs, since a wake-up costs more than a packet. After work it looks again for
//! a time that grows when it helps and shrinks to nothing when it does not ([`Config::look_again_max`]). When packets
//! come so often that a short nap collects several it naps and pays one wake-up for all ([`Config::nap_max`]). Otherwise
//! it sleeps until the next packet or timer, and an idle process does nothing else.
//!
//! TURN clients may come over streams on the same ports: the listeners and streams of a worker live in the same loop, and
//! each stream has a socket id of its own towards the worker.
//!
//! DTLS clients come by the sockets of those over UDP; their associations live in the loop too, with socket ids of their own.
//!
//! Connections with the peers of TCP relays (RFC 6062) live there too. Two sides of one pass bytes on with what the kernel
//! takes; a stream that asks for a connection of another worker moves there.
//!
//! What is full drops media and counts it ([`DropReason`]) or answers the control plane with an error ([`QueueFull`],
//! [`PortError`]).

mod arena;
mod bind;
mod capabilities;
mod config;
mod crossing;
mod dtls;
pub mod fuzz;
mod identity;
mod look_again;
mod metrics;
mod peers;
mod ports;
mod queue;
mod recorded;
mod rtp;
mod socket;
mod streams;
mod sys;
mod wake;
mod worker_loop;
mod workers;

pub use arena::{ARENA_BYTES, ARENA_DATAGRAMS_MAX, ARENA_DESTINATIONS_MAX, TRAIN_SEGMENT_BYTES_MAX};
pub use capabilities::Capabilities;
pub use config::{BindFailure, Config, MediaAddress, Purpose, StartError, Toggle, WORKERS_MAX};
pub use dtls::{
    ASSOCIATIONS_MAX, ASSOCIATIONS_PER_SOURCE_MAX, DTLS_HANDSHAKE_BYTES_MAX, DTLS_HANDSHAKE_DATAGRAMS_MAX,
    DTLS_HANDSHAKES_PER_S, DTLS_HANDSHAKES_WAITING_MAX, DTLS_HELLO_BYTES_MAX,
};
pub use identity::{Identity, IdentityError};
pub use metrics::{AssociationEnd, DropReason, HandshakeFailure, HelloRefusal, Metrics, StreamEnd, StreamRefusal};
pub use peers::{LINGER_MAX, PEERS_ACCEPTED_PER_PASS};
pub use ports::PortPool;
pub use queue::{COMMANDS_MAX, CommandSender, EVENT_BACKLOG_MAX, EVENTS_MAX, Events, QueueFull, TurnEvents};
pub use recorded::{RECORDED_BYTES, Recorded, RecordedPacket};
pub use rtp::{PortError, RTP_ADDRESSES_MAX, RtpPair, RtpPorts};
pub use socket::SOCKET_BUFFER_BYTES;
pub use streams::{
    DATA_QUEUE_BYTES_MAX, STREAM_ANSWER_BYTES_MAX, STREAM_IDLE_MAX, STREAM_MOVES_MAX, STREAM_QUEUE_BYTES_MAX,
    STREAM_QUEUES_BYTES_MAX, STREAMS_MAX, STREAMS_PER_SOURCE_MAX, TLS_HANDSHAKE_MAX,
};
pub use workers::{WorkerBusy, WorkerPanicked, Workers, worker_count};
