//! The load generator: many TURN clients and their peers in one process and one thread.
//!
//! ```text
//!           ┌────────────── one loop, one core ──────────────┐
//!  Pattern ─┤ shots due? ─► Flow: payload::write ─► Framing ─┼─► Endpoint::send ─────► server under test
//!           │                                                │                              │
//!  Figures ◄┤ Tracker, Histogram ◄─ payload::read ◄─ unwrap ◄┼── Endpoint::receive ◄────────┘
//!           └────────────────────────────────────────────────┘
//!                             Process: CPU time and memory of the server, before and after
//! ```
//!
//! A flow is one direction between two endpoints, through the server. Every payload carries its flow, its number, its
//! time and a checksum over all of it, so that loss, duplication, corruption and a wrong destination are each told
//! apart. What is measured lies between a warm-up and a drain; CPU time is taken over *delivered* packets.
//!
//! [`versus`] starts two servers in turn (A B A B ..) on one core, loads each from another core, and compares medians.
//!
//! Deliberately absent: anything a server could only do for this client (no private attribute, no short cut). Sinks
//! ask for no receive offload, so on loopback the kernel cuts up a server's GSO trains at the server's expense, as it
//! does in front of a network card that cannot.
#![forbid(unsafe_code)]

pub mod client;
pub mod endpoint;
pub mod error;
pub mod figures;
pub mod flow;
pub mod framing;
pub mod histogram;
pub mod idle;
pub mod load;
pub mod pattern;
pub mod payload;
pub mod process;
pub mod progress;
pub mod rig;
pub mod server;
pub mod table;
pub mod tracker;
pub mod versus;

pub use error::LoadError;
