//! Where a packet stands in the layers of its stream, and how its pictures are numbered: read once out of the payload
//! descriptor, for all subscriptions.

use voex_rtp::payload::{PictureId, av1, h264, h265, vp8, vp9};

use crate::command::Codec;

/// What a payload descriptor tells. A "frame" is what one spatial layer adds to a picture.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Layering {
    pub(crate) scheme: Scheme,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) starts_frame: bool,
    pub(crate) ends_frame: bool,
    /// The stream may be entered here in temporal layers above: how, the scheme says.
    pub(crate) switches_up: bool,
    pub(crate) numbers: Numbers,
}

/// How layers are told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Scheme {
    /// Not at all: there is one layer.
    #[default]
    None,
    /// VP8 temporal layers: a frame that refers to the lowest only is where its layer may be entered, and picture ids
    /// count frames without gaps.
    Vp8,
    /// VP9 layers: after the picture that says so higher temporal layers may be entered, and picture ids may have gaps.
    Vp9,
}

/// Picture id and TL0PICIDX, and where they stand in the payload.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Numbers {
    pub(crate) picture: u16,
    pub(crate) base: u8,
    /// Offset of the picture id; zero is none.
    picture_at: u8,
    is_long: bool,
    /// Offset of TL0PICIDX; zero is none.
    base_at: u8,
}

/// What is taken off the numbers of a source.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Shift {
    pub(crate) picture: u16,
    pub(crate) base: u8,
}

/// Highest layers that pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LayerLimits {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

impl LayerLimits {
    pub(crate) const NONE: Self = Self {
        spatial: u8::MAX,
        temporal: u8::MAX,
    };

    /// Whether a packet is of a layer above those that pass.
    #[inline]
    pub(crate) fn withhold(self, layering: &Layering) -> bool {
        layering.scheme != Scheme::None && (layering.spatial > self.spatial || layering.temporal > self.temporal)
    }

    /// Whether a packet is the last of its picture for this subscriber though there is more of the picture.
    #[inline]
    pub(crate) fn end_picture(self, layering: &Layering) -> bool {
        layering.scheme == Scheme::Vp9 && layering.ends_frame && layering.spatial == self.spatial
    }
}

impl Layering {
    /// Reads a video payload; gives whether it starts a key frame, too. Streams whose packets do not tell are joined
    /// anywhere: each of their packets counts as one.
    #[inline]
    pub(crate) fn read(codec: Codec, payload: &[u8]) -> (bool, Self) {
        match codec {
            Codec::Vp8 => Self::of_vp8(payload),
            Codec::Vp9 => Self::of_vp9(payload),
            Codec::H264 => (h264::starts_key_frame(payload), Self::default()),
            Codec::H265 => (h265::starts_key_frame(payload), Self::default()),
            Codec::Av1 => (av1::starts_key_frame(payload), Self::default()),
            _ => (true, Self::default()),
        }
    }

    fn of_vp8(payload: &[u8]) -> (bool, Self) {
        let Ok(descriptor) = vp8::Descriptor::parse(payload) else {
            return <_>::default();
        };
        let (temporal, switches_up) = descriptor.temporal.unwrap_or_default();
        let is_key_frame = descriptor.starts_key_frame(payload);
        let layering = Self {
            scheme: descriptor.temporal.map_or(Scheme::None, |_| Scheme::Vp8),
            temporal,
            starts_frame: descriptor.starts_frame(),
            switches_up,
            numbers: Numbers::new(descriptor.picture_id, descriptor.tl0_picture_index),
            ..Self::default()
        };
        (is_key_frame, layering)
    }

    fn of_vp9(payload: &[u8]) -> (bool, Self) {
        let Ok(descriptor) = vp9::Descriptor::parse(payload) else {
            return <_>::default();
        };
        let layers = descriptor.layers;
        let layering = Self {
            scheme: layers.map_or(Scheme::None, |_| Scheme::Vp9),
            spatial: layers.map_or(0, |layers| layers.spatial),
            temporal: layers.map_or(0, |layers| layers.temporal),
            starts_frame: descriptor.starts_frame,
            ends_frame: descriptor.ends_frame,
            switches_up: layers.is_some_and(|layers| layers.switches_up),
            numbers: Numbers::new(descriptor.picture_id, descriptor.tl0_picture_index),
        };
        let is_key_frame = descriptor.starts_key_frame() && payload.len() > descriptor.length;
        (is_key_frame, layering)
    }
}

impl Numbers {
    fn new(picture: Option<PictureId>, base: Option<(usize, u8)>) -> Self {
        // Descriptors have a few bytes: their offsets fit.
        let (base_at, base) = base.map_or((0, 0), |(at, base)| (at as u8, base));
        match picture {
            Some(id) => Self {
                picture: id.value,
                base,
                picture_at: id.at as u8,
                is_long: id.is_long,
                base_at,
            },
            None => Self {
                base,
                base_at,
                ..Self::default()
            },
        }
    }

    /// Whether pictures are numbered.
    #[inline]
    pub(crate) fn are_told(self) -> bool {
        self.picture_at != 0
    }

    /// Gives the numbers as a receiver sees them.
    #[inline]
    pub(crate) fn shifted(self, shift: Shift) -> (u16, u8) {
        let picture = self.picture.wrapping_sub(shift.picture);
        (picture, self.base.wrapping_sub(shift.base))
    }

    /// Writes the numbers as a receiver is to see them into a copy of the payload.
    #[inline]
    pub(crate) fn write(self, shift: Shift, payload: &mut [u8]) {
        if shift == Shift::default() || payload.is_empty() {
            return;
        }
        let (picture, base) = self.shifted(shift);
        if self.picture_at != 0 {
            let id = PictureId {
                at: usize::from(self.picture_at),
                value: self.picture,
                is_long: self.is_long,
            };
            id.write(payload, picture);
        }
        if self.base_at != 0 {
            payload[usize::from(self.base_at)] = base;
        }
    }
}

impl Shift {
    /// The shift by which `numbers` come next behind what a receiver saw last.
    pub(crate) fn behind(last: (u16, u8), numbers: Numbers) -> Self {
        Self {
            picture: numbers.picture.wrapping_sub(last.0.wrapping_add(1)),
            base: numbers.base.wrapping_sub(last.1.wrapping_add(1)),
        }
    }
}
