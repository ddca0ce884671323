//! AV1 payloads (RTP Payload Format For AV1, §4.4), as far as key frames.

/// Whether the packet starts a key frame: the N bit of the aggregation header says that it is the first of a coded
/// video sequence.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    payload.len() > 1 && payload[0] & 0x08 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_of_a_coded_video_sequence_counts() {
        assert!(starts_key_frame(&[0x18, 0x0a]));
        assert!(!starts_key_frame(&[0x10, 0x0a]));
        assert!(!starts_key_frame(&[0x18]));
    }
}
