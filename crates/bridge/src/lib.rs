//! Joins a SIP leg to a WebRTC leg: SDP both ways and the life of one call.
#![forbid(unsafe_code)]

pub mod media;
