//! Conferences: publishers and subscribers of an SFU that speaks the Janus API.
//!
//! ```text
//!            ┌──────────────────────────── one loop, one core ────────────────────────────┐
//!  Plan ─────┤ frame due? ─► Publisher ─► RTP, stamped ─► SRTP ─► socket of a connection ─┼─► server
//!            │ WebSocket ◄─► signalling: attach, join, offer, answer                      │   under
//!  Figures ◄─┤ Tally ◄─ Inflow: gaps, content, layers ◄─ Subscriber ◄─ SRTP ◄─ socket ◄───┼── test
//!            │              └─► RR, NACK, PLI, transport feedback                         │
//!            └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Each peer connection has a socket, ICE credentials, a DTLS handshake and SRTP keys of its own, as a browser's has;
//! all handles share one session on one WebSocket connection. Every packet of every subscriber is decrypted and its
//! stamp checked. Publishers answer NACK with RTX, PLI and FIR with a key frame; they number packets for transport
//! feedback and hear it and REMB, but send at the rate they were told.
//!
//! The handshake is that of `dimpl`, SRTP that of `voex-transport`. `str0m`, thought of first, stands on `dimpl` too, so
//! it would be no more independent; it keeps its keys to itself, and its receive path costs more than a server's send
//! path. Independent peers of voex are browsers, aiortc and janode in the scenarios; of this generator, Janus.
//!
//! Deliberately absent: congestion control of publishers, data channels, trickled candidates, ICE restarts, WebSocket
//! over TLS.

mod api;
pub mod cells;
mod conference;
mod connection;
mod dtls;
mod figures;
mod ice;
mod inflow;
mod measure;
mod media;
mod peer;
mod plan;
mod publisher;
mod sdp;
mod signalling;
mod subscriber;
mod tally;

pub use conference::Target;
pub use figures::Figures;
pub use measure::{Growth, grow, run};
pub use plan::{AUDIO_BYTES, PEERS_MAX, Plan, SECONDS_MAX, Video};
pub use tally::{Faults, Feedback};
