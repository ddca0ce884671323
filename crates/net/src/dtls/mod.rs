//! DTLS associations of TURN clients (RFC 8489 §6.2.3), on the sockets of those who use UDP alone.
//!
//! ```text
//!  ClientHello ──► good cookie? ── no ──► HelloVerifyRequest with one, and nothing is remembered
//!                        │ yes
//!                        ▼
//!                   Association ── handshake ──► messages ──► Worker, under a socket id of the association's own
//!                        ▲                                       │
//!                        └──── one record for each message ◄─────┘
//! ```
//!
//! The cookie is ours, and so is what reads the first ClientHello: OpenSSL, which does the rest, would have to keep a session
//! for everybody who says one. It is OpenSSL because RSA certificates and clients without extended master secret are served.
//!
//! A handshake goes on after media has had its turn, a few steps in a pass. A client that has lost its end of an association may
//! shake hands anew from the same port; until that is done, what stands goes on (RFC 6347 §4.2.8).

mod association;
mod client_hello;
mod cookie;
mod handshake;
mod handshake_rate;
mod id;
mod session;
mod table;

pub(crate) use client_hello::{ClientHello, VERIFY_REQUEST_BYTES, renumber};
pub use handshake::{DTLS_HANDSHAKE_BYTES_MAX, DTLS_HANDSHAKE_DATAGRAMS_MAX};
pub use handshake_rate::DTLS_HANDSHAKES_PER_S;
pub(crate) use id::is_association;
pub(crate) use session::context;
pub use table::{ASSOCIATIONS_MAX, ASSOCIATIONS_PER_SOURCE_MAX, DTLS_HANDSHAKES_WAITING_MAX, DTLS_HELLO_BYTES_MAX};
pub(crate) use table::{Associations, Opened, ROOM_BYTES};
