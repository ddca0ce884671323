//! STUN, TURN and ChannelData: read in place, written into the caller's buffer.
//!
//! ```text
//!  datagram ──► PacketKind::of ──┬─► Message::parse ──► typed attributes, integrity, fingerprint   (borrowed)
//!                                └─► ChannelData::parse ──► channel number, payload                 (borrowed)
//!
//!  MessageWriter::new(&mut [u8]) ─► attributes ─► message_integrity ─► fingerprint ─► finish() ─► length
//! ```
//!
//! Nothing here allocates, keeps state or knows a clock. [`Message::parse`] checks every length once, so that the
//! getters can index; what a getter still can find wrong is a single attribute's value ([`AttributeError`]).
//!
//! Deliberately absent: RFC 3489 without the magic cookie (refused), SASLprep (names and passwords are taken as
//! bytes that the caller has prepared).
//!
//! | section | what | state | shown by |
//! |---|---|---|---|
//! | RFC 8489 §5 | header, classes, methods | supported | `tests/rfc5769.rs` |
//! | RFC 8489 §14 | attributes of STUN | supported | `tests/rfc5769.rs`, `tests/round_trip.rs` |
//! | RFC 8489 §14.5, §14.6 | HMAC-SHA1 and HMAC-SHA256 integrity | supported | `tests/rfc5769.rs` |
//! | RFC 8489 §14.7 | fingerprint | supported | `tests/rfc5769.rs` |
//! | RFC 8656 §12, §18 | ChannelData, attributes of TURN | supported | `tests/round_trip.rs` |
//! | RFC 8016 §3.4 | mobility ticket, as bytes | supported | `tests/round_trip.rs` |
//! | RFC 6062 §6 | methods, CONNECTION-ID and codes of TCP relays | supported | `tests/round_trip.rs` |
//! | RFC 8445 §16.1 | attributes of ICE | supported | `tests/rfc5769.rs` |
//! | RFC 5780 §7 | attributes of NAT behaviour discovery | supported | `tests/round_trip.rs` |
//! | RFC 7983 §7 | telling protocols apart by the first byte | supported | `packet_kind.rs` |
#![forbid(unsafe_code)]

mod attribute;
mod channel_data;
mod error;
mod error_code;
mod fingerprint;
#[doc(hidden)]
pub mod fuzz;
mod header;
mod integrity;
mod message;
mod nat_discovery;
mod packet_kind;
mod password_algorithm;
mod stream;
mod writer;
mod xor_address;

pub use attribute::{Attribute, AttributeType, Attributes, UNKNOWN_ATTRIBUTES_MAX, UnknownAttributes};
pub use channel_data::{CHANNEL_DATA_HEADER_BYTES, ChannelData, ChannelNumber};
pub use error::{AttributeError, IntegrityError, ParseError, WriteError};
pub use error_code::ErrorCode;
pub use header::{Class, HEADER_BYTES, MAGIC_COOKIE, Method, TransactionId};
pub use integrity::{IntegrityKey, IntegrityKeySha256, long_term_key, long_term_key_sha256, user_hash};
pub use message::{AddressFamily, EvenPort, Icmp, Message, RequestedTransport, ReservationToken};
pub use nat_discovery::ChangeRequest;
pub use packet_kind::PacketKind;
pub use password_algorithm::PasswordAlgorithm;
pub use stream::frame_len;
pub use writer::MessageWriter;
