//! Payload descriptors, as far as the media path needs them.

pub mod av1;
pub mod event;
pub mod h264;
pub mod h265;
pub mod vp8;
pub mod vp9;
