//! Bounds shared by several crates. A bound that one crate alone needs stands in that crate.

/// Largest UDP payload that can arrive.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Largest packet that the media path forwards or produces, in bytes of UDP payload.
///
/// WebRTC stacks keep packets under 1200 bytes; 1500 leaves room for SRTP tags, TURN headers and jumbo-free paths.
/// Larger datagrams are dropped and counted.
pub const MTU_BYTES: usize = 1_500;
