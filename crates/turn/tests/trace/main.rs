//! Protocol traces on a virtual clock: what a client or a peer sends, and what exactly comes of it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and starts at some instant"
)]

mod allocate;
mod another_client;
mod authentication;
mod channel;
mod dual;
mod garbage;
mod icmp;
mod lifetime;
mod look_up;
mod mobility;
mod nat_discovery;
mod password_algorithm;
mod permission;
mod quota;
mod redirect;
mod relay;
mod security;
mod session;
mod tcp_relay;
mod tcp_relay_limits;
mod token;
mod world;
