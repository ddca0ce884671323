//! RTP, RTCP, header extensions and payload descriptors as far as key frames.
#![forbid(unsafe_code)]
