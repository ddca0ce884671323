//! RTP, RTCP, header extensions and payload descriptors as far as key frames and layers: read in place, written into the
//! caller's buffer, nothing allocated, nothing kept.
//!
//! ```text
//!  bytes ──► Packet ──► elements()   header extensions (RFC 8285)
//!              │   └──► payload ───► payload::{vp8, vp9, h264, h265, av1, event}
//!              └──────────────────► rtx (RFC 4588)
//!  bytes ──► rtcp::Compound ──► rtcp::Packet ...          rtcp::Writer ──► bytes
//! ```
//!
//! Whoever reads a [`Packet`] may index what its getters give: lengths were checked once, in [`Packet::parse`].
//! Nothing here panics on bytes of the network; `fuzz` holds the crate to that.
#![forbid(unsafe_code)]

mod error;
pub mod extension;
#[doc(hidden)]
pub mod fuzz;
mod packet;
pub mod payload;
pub mod rtcp;
pub mod rtx;
mod sequence;

pub use error::Error;
pub use packet::{FIXED_HEADER_BYTES, FixedHeader, Packet, header_bytes, is_rtcp};
pub use sequence::{Unwrapper, is_newer};
