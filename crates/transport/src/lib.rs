//! One WebRTC transport: demultiplexer, ICE lite, DTLS, SRTP, data channels.
//!
//! ```text
//!                       ┌──────────────────── Transport ─────────────────────┐
//!  datagram ──► first   │ 0-3     ice   answers checks ──► remotes, nominated │──► Outbox
//!  (socket,     byte ───┤ 20-63   dtls  handshake, only from remotes ──► keys │──► Event: Up, Down, Remote*
//!   address)            │ 128-191 srtp  unprotect in place ──► RTP, RTCP      │──► Received
//!                       └─────────────────────────────────────────────────────┘
//!  RTP, RTCP ──────────────► protect in place ──► the caller sends it to destination()
//! ```
//!
//! We are an ICE lite agent (RFC 8445 §2.5): always controlled, we answer checks and send none, and every address
//! that passes a check may speak DTLS and SRTP to us. Several transports share a socket; [`binding_request_ufrag`]
//! tells which of them an unknown address belongs to, [`Event::RemoteAdded`] from when on its address does.
//!
//! Data channels cost nothing until [`Transport::open_data`] says that they were negotiated; application data before that
//! is discarded.
//!
//! Deliberately absent: sending ICE checks, ICE over TCP, setting up an SCTP association (the remote does), DTLS 1.3, SRTP's
//! MKI and rekeying.
//!
//! | section | what | state | shown by |
//! |---|---|---|---|
//! | RFC 7983 §7 | telling protocols apart | supported | `tests/hostile.rs` |
//! | RFC 8445 §2.5, §7.3 | lite agent, checks, nomination, role conflict | supported | `tests/ice.rs` |
//! | RFC 8445 §9 | ICE restart | supported | `tests/ice.rs` |
//! | RFC 7675 §5.1 | consent, as the checks it costs the remote | supported | `tests/ice.rs` |
//! | RFC 5763, RFC 5764 | DTLS-SRTP in both roles | supported | `tests/handshake.rs` |
//! | RFC 8122 §5 | fingerprints: SHA-256, SHA-1, SHA-384, SHA-512 | supported | `tests/handshake.rs` |
//! | RFC 3711 | AES-CM with HMAC-SHA1-80 and -32 | supported | `srtp/vectors.rs` |
//! | RFC 8831, RFC 8832, RFC 3758 | data channels: text and binary, ordered or not, reliable or not, labels and protocols | supported | `tests/data.rs` |
//! | RFC 7714 | AEAD-AES-128-GCM and -256-GCM | supported | `srtp/vectors.rs` |
#![forbid(unsafe_code)]

mod certificate;
mod config;
pub mod data;
mod dtls;
#[doc(hidden)]
pub mod fuzz;
mod ice;
mod metrics;
pub mod srtp;
mod transport;

pub use certificate::{Certificate, CertificateError};
pub use config::{Config, DownReason, DtlsRole, Event, RemoteParameters, Timeouts};
pub use data::{Channel, DataDrop, DataEvent, DataKind, DataMessage, Reliability};
pub use ice::{REMOTES_MAX, binding_request_ufrag};
pub use metrics::{DropReason, Metrics};
pub use srtp::{PROTECT_OVERHEAD_BYTES, ProtectError};
pub use transport::{Received, Transport};
