//! Codecs that a room may allow, by their names in the API and in SDP.

use voex_sfu::command::MediaKind;

/// A codec by its name in the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RoomCodec {
    /// `opus`
    Opus,
    /// `multiopus`
    MultiOpus,
    /// `isac32`
    Isac32,
    /// `isac16`
    Isac16,
    /// `pcmu`
    Pcmu,
    /// `pcma`
    Pcma,
    /// `g722`
    G722,
    /// `l16-48`
    L16At48,
    /// `l16`
    L16,
    /// `vp8`
    Vp8,
    /// `vp9`
    Vp9,
    /// `h264`
    H264,
    /// `av1`
    Av1,
    /// `h265`
    H265,
}

/// What there is to know of a codec.
struct Row {
    codec: RoomCodec,
    name: &'static str,
    encoding: &'static str,
    clock_rate: u32,
    kind: MediaKind,
    /// Where we choose it.
    payload_type: u8,
}

const fn audio(
    codec: RoomCodec,
    name: &'static str,
    encoding: &'static str,
    (clock_rate, payload_type): (u32, u8),
) -> Row {
    Row {
        codec,
        name,
        encoding,
        clock_rate,
        kind: MediaKind::Audio,
        payload_type,
    }
}

const fn video(codec: RoomCodec, name: &'static str, encoding: &'static str, payload_type: u8) -> Row {
    Row {
        codec,
        name,
        encoding,
        clock_rate: 90_000,
        kind: MediaKind::Video,
        payload_type,
    }
}

const ROWS: [Row; 14] = [
    audio(RoomCodec::Opus, "opus", "opus", (48_000, 111)),
    audio(RoomCodec::MultiOpus, "multiopus", "multiopus", (48_000, 110)),
    audio(RoomCodec::Isac32, "isac32", "ISAC", (32_000, 104)),
    audio(RoomCodec::Isac16, "isac16", "ISAC", (16_000, 103)),
    audio(RoomCodec::Pcmu, "pcmu", "PCMU", (8_000, 0)),
    audio(RoomCodec::Pcma, "pcma", "PCMA", (8_000, 8)),
    audio(RoomCodec::G722, "g722", "G722", (8_000, 9)),
    audio(RoomCodec::L16At48, "l16-48", "L16", (48_000, 105)),
    audio(RoomCodec::L16, "l16", "L16", (16_000, 106)),
    video(RoomCodec::Vp8, "vp8", "VP8", 96),
    video(RoomCodec::Vp9, "vp9", "VP9", 101),
    video(RoomCodec::H264, "h264", "H264", 107),
    video(RoomCodec::Av1, "av1", "AV1", 98),
    video(RoomCodec::H265, "h265", "H265", 100),
];

/// Most codecs of one kind that a room lists.
pub(crate) const CODECS_MAX: usize = 5;

impl RoomCodec {
    /// Gives the name in the API.
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    /// Gives the encoding name in `a=rtpmap`.
    pub(crate) fn encoding(self) -> &'static str {
        self.row().encoding
    }

    /// Gives the RTP clock rate in Hz.
    pub(crate) fn clock_rate(self) -> u32 {
        self.row().clock_rate
    }

    pub(crate) fn kind(self) -> MediaKind {
        self.row().kind
    }

    /// Gives the payload type that stands for it where we offer it first.
    pub(crate) fn payload_type(self) -> u8 {
        self.row().payload_type
    }

    /// Reads a comma list of one kind, as in `audiocodec` and `videocodec`; the first five count.
    ///
    /// # Errors
    /// `None` when one of them is unknown or of the other kind.
    pub(crate) fn parse_list(list: &str, kind: MediaKind) -> Option<Vec<Self>> {
        let names = list.split(',').take(CODECS_MAX);
        names.map(|name| Self::parse(name.trim(), kind)).collect()
    }

    /// Reads one name.
    pub(crate) fn parse(name: &str, kind: MediaKind) -> Option<Self> {
        let is_it = |row: &&Row| row.kind == kind && row.name.eq_ignore_ascii_case(name);
        ROWS.iter().find(is_it).map(|row| row.codec)
    }

    /// Writes a comma list.
    pub(crate) fn join(codecs: &[Self]) -> String {
        codecs.iter().map(|codec| codec.name()).collect::<Vec<_>>().join(",")
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.codec as usize, index);
        }
    }

    #[test]
    fn a_list_keeps_its_order_and_refuses_the_other_kind() {
        let list = RoomCodec::parse_list("vp8,h264", MediaKind::Video);
        assert_eq!(list.as_deref(), Some(&[RoomCodec::Vp8, RoomCodec::H264][..]));
        assert_eq!(RoomCodec::parse_list("vp8,opus", MediaKind::Video), None);
        assert_eq!(RoomCodec::parse_list("", MediaKind::Audio), None);
    }
}
