//! Joins a SIP leg to a WebRTC leg: SDP both ways, the media commands that connect the two transports, the state of
//! one call.
//!
//! ```text
//!   browser                        Call                          PBX
//!      │  JSEP offer  ──► Call::outgoing ──► plain offer  ──►     │      call
//!      │  JSEP answer ◄── jsep_section   ◄── handle_plain_answer  │      183 or 200
//!      │                                                          │
//!      │  JSEP offer  ◄── jsep_section   ◄── Call::incoming  ◄──  │      incoming call
//!      │  JSEP answer ──► accept         ──► plain answer ──►     │      200
//!      │                                                          │
//!      │                  handle_reinvite ◄──► plain answer       │      hold, moved media: answered here
//!      └── track, subscription ◄── update ──► track, subscription ┘      commands for the media worker
//! ```
//!
//! Nothing is transcoded: a format is in use when both sides speak it, each under its own payload type number, and RTP
//! is relayed with the number exchanged. Telephone events (RFC 4733) are such a format. The call knows neither ports
//! nor ICE: transports are opened by the owner and named in [`Transports`].
//!
//! Not built: SDES keys towards the PBX (an offer of only `RTP/SAVP` is refused with 488), video, a renegotiation that
//! reaches the browser. A re-INVITE is answered within the formats that the browser already uses.
#![forbid(unsafe_code)]

mod call;
mod format;
pub mod media;
mod metrics;
mod relay;

pub use call::{Call, CallError, Leg, State};
pub use metrics::{Failure, Metrics};
pub use relay::{Ids, Transports};
