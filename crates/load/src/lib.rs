//! The load generator: many TURN clients and their peers, or the participants of conferences ([`mcu`]), in one process
//! and one thread.
//!
//! ```text
//!           ┌────────────── one loop, one core ──────────────┐
//!  Pattern ─┤ shots due? ─► Flow: payload::write ─► Framing ─┼─► Outbox ─► socket, TCP or TLS stream ─► server
//!           │                                                │                                           under
//!  Figures ◄┤ Judge ◄─ payload::read ◄─ unwrap ◄─ Deframer ◄─┼── Inbox ◄──────────────────────────────── test
//!           └────────────────────────────────────────────────┘
//!                             Process: CPU time and memory of the server, before and after
//! ```
//!
//! A flow is one direction between two endpoints, through the server. Every payload carries its flow, its number, its
//! time and a checksum over all of it, so that loss, duplication, corruption and a wrong destination are each told
//! apart. What is measured lies between a warm-up and a drain; CPU time is taken over *delivered* packets.
//!
//! [`versus`] starts two servers in turn (A B A B ..) on one core, loads each from another core, and compares medians;
//! [`cells`] and [`mcu::cells`] say what is compared and what is asked, [`table`] and [`plot`] show what came of it.
//!
//! Everything is bounded: clients, packets under way and seconds by [`pattern`], bytes that wait for a server that
//! does not read by 256 KiB a stream (what comes on top is held back and counted), set-up by a minute.
//!
//! Deliberately absent: anything a server could only do for this client (no private attribute, no short cut). Sinks
//! ask for no receive offload, so on loopback the kernel cuts up a server's GSO trains at the server's expense, as it
//! does in front of a network card that cannot. Nothing is refreshed: no load outlives a permission.
#![forbid(unsafe_code)]

mod batch;
pub mod cells;
pub mod client;
pub mod deframer;
pub mod endpoint;
pub mod environment;
pub mod error;
pub mod figures;
pub mod flow;
pub mod framing;
pub mod histogram;
pub mod idle;
pub mod interrupt;
mod judge;
mod link;
pub mod load;
pub mod mcu;
pub mod outcome;
pub mod pattern;
pub mod payload;
pub mod plot;
pub mod process;
pub mod program;
mod progress;
pub mod rig;
pub mod server;
mod stream;
pub mod table;
pub mod tls;
pub mod tracker;
pub mod transport;
pub mod versus;

pub use error::LoadError;
