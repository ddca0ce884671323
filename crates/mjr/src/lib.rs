//! Recordings as Janus keeps them: `.mjr` files, version 2; written, read, repaired, turned into files that players know.
//!
//! A file is one stream. It begins with `MJR00002`, the length of a JSON header (16 bit, big-endian) and that header; then
//! comes each RTP packet behind `MEET`, the milliseconds since the first one (32 bit) and its length (16 bit).
//!
//! ```text
//!  file ──► Reader: records, over damage ──► Order: sequence, one time line ──► Frames: VP8 VP9 H.264 ──► Matroska, WebM
//!                                                                         └───► Opus ──► Ogg, Matroska; G.711 ──► WAV
//! ```
//!
//! A file is read once, front to back; what is held of it is bounded: 256 packets that wait for a late one, a frame of 8 MiB,
//! a cluster of 4 MiB, and an index entry for each. A time line is at most a day long.
//!
//! Deliberately absent: AV1, H.265, G.722, L16 (codecs), files of version 1, what was said on data channels.
#![forbid(unsafe_code)]

mod convert;
mod format;
mod frames;
mod h264_units;
mod matroska;
mod opus;
mod order;
mod read;
mod wav;

pub use convert::{ConvertError, Found, TRACKS_MAX, Target, convert, inspect, repair};
pub use format::{FRAME_HEAD_BYTES, HEADER_BYTES_MAX, Header, Kind, frame_head};
pub use read::{OpenError, Reader, Record};
