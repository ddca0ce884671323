//! A packet of a track between arrival and departure.

use voex_rtp::Packet;

use crate::command::Extensions;
use crate::layering::Layering;

/// What every subscription of a track needs of a packet: parsed once, decided once.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct MediaPacket<'a> {
    /// Extended sequence number of the source.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Position of its encoding among the track's.
    pub(crate) encoding: u8,
    /// Position of its payload type in the track's list.
    pub(crate) payload_index: u8,
    /// Starts a key frame.
    pub(crate) is_key_frame: bool,
    /// Came behind newer ones.
    pub(crate) is_late: bool,
    pub(crate) layering: Layering,
    pub(crate) carried: Carried,
    pub(crate) payload: &'a [u8],
}

/// Contents of header extensions that are handed on.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Carried {
    pub(crate) audio_level: Option<u8>,
    pub(crate) video_orientation: Option<u8>,
    pub(crate) playout_delay: Option<[u8; 3]>,
}

impl Carried {
    /// Takes what is handed on out of a packet's header extension.
    pub(crate) fn of(packet: &Packet<'_>, ids: &Extensions) -> Self {
        let mut carried = Self::default();
        for (id, content) in packet.elements() {
            let is = |extension: Option<u8>| extension == Some(id);
            if is(ids.audio_level) {
                carried.audio_level = content.first().copied();
            } else if is(ids.video_orientation) {
                carried.video_orientation = content.first().copied();
            } else if is(ids.playout_delay) {
                carried.playout_delay = content.first_chunk().copied();
            }
        }
        carried
    }
}

/// Finds the content of one header extension.
pub(crate) fn element<'a>(packet: &Packet<'a>, id: Option<u8>) -> Option<&'a [u8]> {
    let wanted = id?;
    packet
        .elements()
        .find_map(|(id, content)| (id == wanted).then_some(content))
}
