//! A WebRTC remote.
