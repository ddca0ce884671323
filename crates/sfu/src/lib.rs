//! Tracks and subscriptions: forwarding, rewriting, retransmission, feedback.
//!
//! ```text
//!  Command ──────────────────────────────► ┌──────────────────────── Shard ─────────────────────────┐
//!                                          │ Connection: voex_transport::Transport or Plain         │──► Event
//!  datagram ─► remotes / ufrag / socket ──►│   SSRC, mid, rid, payload type                         │
//!                                          │     └► Track: digits                                   │
//!                                          │         ├► Encoding: place, ring, missing, key frames  │
//!                                          │         └► Subscription: choose, rewrite, protect      │──► Outbox
//!  time ─► one deadline a connection ─────►│ SR RR SDES REMB │ NACK │ TWCC │ PLI │ silence          │──► Outbox
//!                                          └────────────────────────────────────────────────────────┘
//! ```
//!
//! A packet is parsed once and decided on once for its track; a subscription then costs one header, one copy and one
//! SRTP seal, in the outbox's memory. Nothing is allocated, locked or formatted for a packet. Every bound stands in
//! [`limits`] with what happens when it is reached.
//!
//! A track of a simulcast has several encodings, each a source of its own; a subscription follows one at a time and
//! changes at key frames. Of a stream with layers it leaves out those above what is wanted. Either way its receiver sees
//! one stream without a seam: sequence numbers, timestamps, picture ids.
//!
//! Messages of data channels are forwarded too, apart from media and not for free: each is kept and copied, at a bounded
//! rate for each sender, beyond which the sender waits.
//!
//! A track may have subscriptions on several workers: the shard on which it arrives passes each packet on once to those that
//! watch it, see [`Command::AddPipedTrack`].
//!
//! Deliberately absent: layers of AV1 and H.265, bandwidth estimation (REMB and transport-wide feedback of receivers are
//! read and not acted on), FEC, SDES-SRTP on plain legs, decoding.
//!
//! | section | what | state |
//! |---|---|---|
//! | RFC 3550 §6.4 | SR with the sender's clock, RR with loss, jitter, LSR, DLSR | supported |
//! | RFC 4585 §6.2.1, RFC 4588 | NACK both ways, RTX both ways | supported |
//! | RFC 4585 §6.3.1, RFC 5104 §4.3.1 | PLI, FIR, throttled | supported |
//! | RFC 4733 §2 | telephone events: relayed, and told as digits | supported |
//! | RFC 8852, RFC 8853 | simulcast by rid or SSRC, retransmissions by repaired rid | supported |
//! | RFC 7741 §4.2 | temporal layers of VP8 | supported |
//! | RFC 9628 §4.2 | spatial and temporal layers of VP9 | supported |
//! | RFC 8285 | header extensions under each receiver's ids | supported |
//! | RFC 8831 | messages of data channels, text and binary, under the labels they came from | supported |
//! | draft-alvestrand-rmcat-remb | cap towards senders | supported |
//! | draft-holmer-rmcat-transport-wide-cc-extensions | feedback towards senders | supported |
#![forbid(unsafe_code)]

mod arrivals;
pub mod command;
mod connection;
mod data;
mod digits;
mod encoding;
mod key_frames;
mod layer_filter;
mod layering;
pub mod limits;
mod metrics;
mod missing;
mod packet;
mod pipe;
mod plain;
mod reception;
mod remotes;
mod resends;
mod rewriter;
mod ring;
mod shard;
mod speech;
mod subscription;
mod timer_queue;
mod track;

pub use command::{Command, Event};
pub use metrics::{DropReason, Metrics};
pub use shard::{Config, Shard};
