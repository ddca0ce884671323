//! Tracks and subscriptions: forwarding, rewriting, retransmission, feedback.
#![forbid(unsafe_code)]

pub mod command;

pub use command::{Command, Event};
