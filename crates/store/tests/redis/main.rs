//! The store against a real `redis-server`, one for each test, on a port of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod server;
mod statistics;
mod tls;
mod users;
