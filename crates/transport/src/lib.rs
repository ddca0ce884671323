//! One WebRTC transport: demultiplexer, ICE lite, DTLS, SRTP.
#![forbid(unsafe_code)]
