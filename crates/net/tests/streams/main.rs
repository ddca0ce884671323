//! TURN over streams and associations through the whole media plane: real sockets, real threads, on loopback.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test says no; helpers outside #[test] are tests too"
)]

mod dtls;
mod plane;
mod tcp;
mod tcp_relay;
mod tls;
#[path = "../../../worker/tests/common/turn_client.rs"]
mod turn_client;
