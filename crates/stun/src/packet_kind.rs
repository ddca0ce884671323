/// What a datagram is, told by its first byte (RFC 7983 §7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketKind {
    /// STUN: 0-3.
    Stun,
    /// DTLS: 20-63.
    Dtls,
    /// TURN ChannelData: 64-79, and 80-127 of clients that know RFC 5766 only.
    ChannelData,
    /// RTP, RTCP and their secured forms: 128-191.
    Rtp,
    /// Empty, or a first byte that belongs to nothing we speak.
    Unknown,
}

impl PacketKind {
    /// Classifies a datagram. Only the first byte is looked at, so the answer is a claim still to be checked.
    #[inline]
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63) => Self::Dtls,
            Some(64..=127) => Self::ChannelData,
            Some(128..=191) => Self::Rtp,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_each_range_are_told_apart() {
        let kinds = [
            (3, PacketKind::Stun),
            (4, PacketKind::Unknown),
            (19, PacketKind::Unknown),
            (20, PacketKind::Dtls),
            (63, PacketKind::Dtls),
            (64, PacketKind::ChannelData),
            (127, PacketKind::ChannelData),
            (128, PacketKind::Rtp),
            (191, PacketKind::Rtp),
            (192, PacketKind::Unknown),
        ];
        for (first, kind) in kinds {
            assert_eq!(PacketKind::of(&[first, 0]), kind, "{first}");
        }
        assert_eq!(PacketKind::of(&[]), PacketKind::Unknown);
    }
}
