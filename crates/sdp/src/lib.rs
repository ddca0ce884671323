//! Offer/answer for WebRTC and for plain RTP, over a library's parser.
#![forbid(unsafe_code)]
