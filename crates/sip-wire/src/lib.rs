//! SIP messages: bytes to values and back, strict where it matters, lenient where peers are.
//!
//! ```text
//!  datagram ── Message::parse ──► Request | Response   header fields in order, body
//!                    │            + Essentials         top Via, From, To, Call-ID, CSeq as values
//!                    └──► Malformed: Error ── status() ──► 400, 505, 513; the fields to answer with
//!
//!  Request | Response ── to_bytes ──► datagram
//! ```
//!
//! Header fields stay text until somebody asks for a value ([`NameAddr`], [`Via`], [`Uri`], [`Challenge`]), so a field
//! that nobody needs costs one copy and is echoed or reported as it came.
//!
//! The parser is our own: `rsip` 0.4 and the types descending from it refuse compact header names, IPv6 and `tel:`
//! URIs, lose URI headers, and accept several of the messages that RFC 4475 says must be refused. All 49 messages of
//! that RFC are in this crate's tests.
#![forbid(unsafe_code)]

mod auth;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod header;
mod message;
mod method;
mod name_addr;
mod parse;
mod token;
mod uri;
mod via;

pub use auth::{Algorithm, Answer, Challenge, DigestSecret};
pub use error::Error;
pub use header::{Header, HeaderFields};
pub use message::{CSeq, Essentials, Message, Request, Response, is_safe_field, reason_phrase};
pub use method::Method;
pub use name_addr::NameAddr;
pub use parse::{HEADER_FIELDS_MAX, MESSAGE_BYTES_MAX, Malformed, is_call_id, parse_delta_seconds};
pub use token::{Params, quote, unquote};
pub use uri::{Host, SipUri, Uri, escape, unescape};
pub use via::{MAGIC_COOKIE, Via};
