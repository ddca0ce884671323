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
//! A hello is answered after media has had its turn, a few in a pass. A client that has lost its end of an association may
//! shake hands anew from the same port; until that is done, what stands goes on (RFC 6347 §4.2.8).

mod association;
mod client_hello;
mod cookie;
mod id;
mod session;
mod table;

pub(crate) use client_hello::{ClientHello, VERIFY_REQUEST_BYTES, renumber};
pub(crate) use id::is_association;
pub(crate) use session::context;
pub use table::ASSOCIATIONS_MAX;
pub(crate) use table::{Associations, ROOM_BYTES};
