//! STUN, TURN and ChannelData: read in place, written into the caller's buffer.
#![forbid(unsafe_code)]
