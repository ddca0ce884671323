//! Which layers of a stream a subscriber gets: lower ones at once, higher ones where a picture can start to use them.

use std::time::{Duration, Instant};

use crate::command::Layers;
use crate::layering::{LayerLimits, Layering, Scheme};
use crate::packet::MediaPacket;

/// What is wanted, what passes now, and what was told of it.
pub(crate) struct LayerFilter {
    wanted: (u8, u8),
    passing: LayerLimits,
    told_spatial: Option<u8>,
    told_temporal: Option<u8>,
    /// Highest spatial layer of the picture that goes out now.
    top_spatial: u8,
    /// When a picture last had the spatial layer that was told.
    reached_at: Option<Instant>,
    /// Highest temporal layer since the first frame of the lowest.
    top_temporal: Option<u8>,
    /// The stream has layers.
    is_layered: bool,
    /// The layers of the stream are spatial, too.
    is_spatial: bool,
    /// Picture id of the last frame left out.
    left_out: Option<u16>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It goes out.
    Pass,
    /// It is left out; the first packet of a frame takes the frame's picture id with it where ids have no gaps.
    LeaveOut {
        /// A picture id is free.
        frees_id: bool,
    },
}

/// What is new of the forwarded layers, until it is told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct LayerNews {
    pub(crate) spatial: Option<u8>,
    pub(crate) temporal: Option<u8>,
}

/// Highest layer that a subscriber can name; it stands for all above, too.
const NAMED_MAX: u8 = 2;

fn limit(wanted: u8) -> u8 {
    if wanted >= NAMED_MAX { u8::MAX } else { wanted }
}

impl LayerFilter {
    pub(crate) fn new(layers: &Layers) -> Self {
        let mut filter = Self {
            wanted: (0, 0),
            passing: LayerLimits::NONE,
            told_spatial: None,
            told_temporal: None,
            top_spatial: 0,
            reached_at: None,
            top_temporal: None,
            is_layered: false,
            is_spatial: false,
            left_out: None,
        };
        filter.want(layers);
        filter
    }

    /// Changes what is wanted.
    pub(crate) fn want(&mut self, layers: &Layers) {
        self.wanted = (layers.spatial, layers.temporal);
        if !self.is_layered {
            self.passing = self.limits_wanted();
        }
    }

    /// Another stream comes from now on.
    pub(crate) fn forget_stream(&mut self) {
        (self.is_layered, self.is_spatial, self.left_out) = (false, false, None);
        self.passing = self.limits_wanted();
    }

    fn limits_wanted(&self) -> LayerLimits {
        LayerLimits {
            spatial: limit(self.wanted.0),
            temporal: limit(self.wanted.1),
        }
    }

    /// What passes now.
    #[inline]
    pub(crate) fn passing(&self) -> LayerLimits {
        self.passing
    }

    /// Whether a spatial layer is wanted that only a key frame brings.
    pub(crate) fn awaits_key_frame(&self) -> bool {
        self.is_spatial && self.passing.spatial < limit(self.wanted.0)
    }

    /// Judges the newest packet of a stream with layers.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        patience: Duration,
        news: &mut LayerNews,
    ) -> Verdict {
        let layering = &packet.layering;
        self.is_layered = true;
        self.is_spatial = layering.scheme == Scheme::Vp9;
        if layering.starts_frame {
            self.adapt(packet, news);
        }
        if self.passing.withhold(layering) {
            let picture = Some(layering.numbers.picture);
            let frees_id = layering.scheme == Scheme::Vp8 && layering.numbers.are_told() && self.left_out != picture;
            self.left_out = picture;
            return Verdict::LeaveOut { frees_id };
        }
        self.left_out = None;
        self.note_temporal(layering, news);
        if layering.scheme == Scheme::Vp9 {
            self.note_spatial(now, packet, patience, news);
        }
        Verdict::Pass
    }

    /// Moves the limits towards what is wanted, as far as this frame allows. A higher spatial layer that needs no earlier
    /// picture is not entered: what the picture has below has ended it for the receiver already.
    fn adapt(&mut self, packet: &MediaPacket<'_>, news: &mut LayerNews) {
        let layering = &packet.layering;
        let wanted = self.limits_wanted();
        let passing = &mut self.passing;
        let is_first_of_picture = layering.spatial == 0;
        if packet.is_key_frame {
            *passing = wanted;
        } else if is_first_of_picture {
            passing.spatial = passing.spatial.min(wanted.spatial);
            passing.temporal = passing.temporal.min(wanted.temporal);
        }
        if passing.temporal < wanted.temporal && layering.switches_up {
            match layering.scheme {
                Scheme::Vp8 if layering.temporal == passing.temporal + 1 => passing.temporal = layering.temporal,
                Scheme::Vp9 if layering.temporal <= passing.temporal => passing.temporal = wanted.temporal,
                _ => {}
            }
        }
        let temporal = passing.temporal;
        if self.told_temporal.is_some_and(|told| told > temporal) {
            self.tell_temporal(temporal, news);
        }
    }

    /// Tells of the highest temporal layer: at once when it is what was asked for or more than before, else after one
    /// round of layers.
    fn note_temporal(&mut self, layering: &Layering, news: &mut LayerNews) {
        if !layering.starts_frame || layering.spatial != 0 {
            return;
        }
        let temporal = layering.temporal;
        match self.told_temporal {
            Some(told) if temporal <= told => {}
            Some(_) => self.tell_temporal(temporal, news),
            None if temporal >= self.wanted.1 => self.tell_temporal(temporal, news),
            None => match self.top_temporal {
                Some(top) if temporal == 0 => self.tell_temporal(top, news),
                top => self.top_temporal = top.max(Some(temporal)),
            },
        }
    }

    fn tell_temporal(&mut self, temporal: u8, news: &mut LayerNews) {
        self.told_temporal = Some(temporal);
        news.temporal = Some(temporal);
    }

    /// Tells of the highest spatial layer at the end of a picture: of more at once, of less when it was asked for or
    /// when nothing more came for a while.
    fn note_spatial(&mut self, now: Instant, packet: &MediaPacket<'_>, patience: Duration, news: &mut LayerNews) {
        self.top_spatial = self.top_spatial.max(packet.layering.spatial);
        if !packet.marker && !self.passing.end_picture(&packet.layering) {
            return;
        }
        let top = std::mem::take(&mut self.top_spatial);
        let is_less = |told: u8| top < told && told <= self.passing.spatial;
        let came_lately = self
            .reached_at
            .is_some_and(|at| now.saturating_duration_since(at) < patience);
        match self.told_spatial {
            Some(told) if is_less(told) && came_lately => return,
            Some(told) if told == top => {}
            _ => (self.told_spatial, news.spatial) = (Some(top), Some(top)),
        }
        self.reached_at = Some(now);
    }
}
