//! SDP offers and answers for WebRTC and for plain RTP: text to values and back.
//!
//! ```text
//!            parse                                        Display
//!  bytes ───────────► Description { media: [Media, ..] } ─────────► bytes
//!                        ▲                    ▲
//!            webrtc::{offer, answer}   plain::{offer, answer}      (builders)
//! ```
//!
//! [`Description::parse`] reads what browsers and telephones send, not only what RFC 8866 blesses: lines in any order
//! after `v=`, unknown lines and media kinds, payload types without `rtpmap`. What an m-line inherits from the session
//! level (connection, ICE credentials, fingerprint, setup, direction, header extensions) is resolved while parsing, so
//! a reader looks at the [`Media`] alone. Writing leaves a line out of the m-section when the session level says the
//! same; parsing what was written gives the same value again.
//!
//! # Why an own parser
//! `rtc-sdp` 0.21 was tried first. It keeps unknown attributes, but fails a whole description where RFC 3264 §6 wants
//! one m-line refused or a line ignored: an unknown media kind, an m-line without formats, an `o=` id over 64 bits,
//! a `c=` after `t=`, an absent `s=`, a fraction in `b=`. It leaves attributes as strings (the typed part, most of the work,
//! would be ours all the same), its errors own strings, and it puts no bound on lines or m-sections. It stays as an
//! oracle in the tests: it must accept and agree with what this crate writes.
//!
//! # What is dropped on reading
//! `i= u= e= p= r= z= k=` lines, the time in `t=` (written as `0 0`), and known attributes with a value that does not
//! parse. Unknown attributes are kept in order.
//!
//! | RFC | subject | state |
//! |---|---|---|
//! | 8866 | SDP | read leniently, written strictly |
//! | 3264 | offer/answer: rejected m-lines, directions, hold | built by [`webrtc`] and [`plain`] |
//! | 8839, 8842, 8122 | ICE, DTLS setup, fingerprints | read and written |
//! | 9143, 5761 | BUNDLE, rtcp-mux | read and written |
//! | 8851, 8853 | rid, simulcast | read and written, restrictions kept as text |
//! | 5576, 8285, 4585, 4588 | ssrc, extmap, rtcp-fb, rtx | read and written |
//! | 4568 | SDES keys | read and written as text; not used for keys here |
#![forbid(unsafe_code)]

mod attribute;
mod description;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod parse;
mod payload;
pub mod plain;
pub mod webrtc;
mod write;

pub use attribute::{
    Attribute, Bandwidth, Candidate, Connection, Crypto, Direction, Extmap, Fingerprint, Ice, Rid, Rtcp, Setup, Ssrc,
    SsrcGroup,
};
pub use description::{Description, Kind, Media, Origin};
pub use error::{Error, ErrorKind};
pub use parse::{BYTES_MAX, LINES_MAX, MEDIA_MAX};
pub use payload::Payload;
