//! Recordings as Janus keeps them: `.mjr` files, version 2.
//!
//! A file is one stream. It begins with `MJR00002`, the length of a JSON header (16 bit, big-endian) and that header; then
//! comes each RTP packet behind `MEET`, the milliseconds since the first one (32 bit) and its length (16 bit).
#![forbid(unsafe_code)]

mod format;

pub use format::{FRAME_HEAD_BYTES, HEADER_BYTES_MAX, Header, Kind, frame_head};
