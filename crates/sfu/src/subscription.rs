//! One outgoing medium: whether it flows, and how its packets look.

use std::time::{Duration, Instant};

use voex_base::SubscriptionId;
use voex_rtp::extension::{self, Form};
use voex_rtp::{FIXED_HEADER_BYTES, FixedHeader, rtx};
use voex_transport::PROTECT_OVERHEAD_BYTES;

use crate::command::{Extensions, Feedback, Layers, SubscriptionSpec};
use crate::encoding::Flow;
use crate::layer_filter::{LayerFilter, LayerNews, Verdict};
use crate::layering::{LayerLimits, Scheme};
use crate::limits::{ENCODINGS_PER_TRACK_MAX, PAYLOADS_PER_TRACK_MAX};
use crate::packet::{Carried, MediaPacket};
use crate::resends::Resends;
use crate::rewriter::{Entry, Rewriter};

/// What forwarding one packet reads and writes; the rest is in `cold`. Subscriptions of a track lie side by side.
pub(crate) struct Subscription {
    pub(crate) phase: Phase,
    /// Encoding whose packets flow, or whose key frame is awaited while nothing flows.
    pub(crate) encoding: u8,
    /// Encoding whose key frame is awaited while another flows; the same when none is.
    next: u8,
    /// Encoding whose numbers the rewriter follows.
    followed: u8,
    /// There is something in `cold.news`.
    pub(crate) has_news: bool,
    pub(crate) plan: ExtensionPlan,
    pub(crate) ssrc: u32,
    /// Slab key of the transport it leaves by.
    pub(crate) connection: usize,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    /// Leaving payload type by position in the track's list.
    payload_types: [u8; PAYLOADS_PER_TRACK_MAX],
    pub(crate) rewriter: Rewriter,
    pub(crate) cold: Box<Cold>,
}

/// What forwarding does not touch.
pub(crate) struct Cold {
    pub(crate) id: SubscriptionId,
    pub(crate) is_active: bool,
    pub(crate) cname: Box<str>,
    pub(crate) feedback: Feedback,
    pub(crate) rtx_ssrc: Option<u32>,
    rtx_payload_types: [u8; PAYLOADS_PER_TRACK_MAX],
    /// Sequence number of the last retransmission.
    pub(crate) rtx_sequence: u16,
    pub(crate) resends: Resends,
    patience: Duration,
    /// Encoding that is wanted.
    wanted: u8,
    /// Encodings that there are.
    encodings: u8,
    told_encoding: Option<u8>,
    /// Encoding whose key frame was asked for, as long as it is awaited.
    asked: Option<u8>,
    filter: LayerFilter,
    pub(crate) news: News,
}

/// What has to be done or told outside of the subscription.
#[derive(Default)]
pub(crate) struct News {
    /// Another encoding flows.
    pub(crate) encoding: Option<u8>,
    pub(crate) layers: LayerNews,
    /// A key frame of this encoding is needed.
    pub(crate) needs_key_frame: Option<u8>,
}

/// The rewriter follows no encoding: the next packet is of another source than the ones before.
const NOBODY: u8 = 0xff;

/// Whether a packet goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It does not.
    No,
    /// It does.
    Whole,
    /// It is of a layer that is left out, but its number is already between others: it goes out without its payload, so
    /// that the receiver does not miss it.
    Empty,
}

/// What is known of a packet's track when it is forwarded.
pub(crate) struct Scene {
    pub(crate) clock_rate: u32,
    /// A frame of a simulcast begins: what flows.
    pub(crate) flow: Option<Flow>,
    /// A key frame of a simulcast begins: its moment in the timestamps of each encoding.
    pub(crate) moments: Option<[Option<u32>; ENCODINGS_PER_TRACK_MAX]>,
}

/// A payload type that is not forwarded.
const NOT_MAPPED: u8 = 0xff;

/// Whether packets flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Paused, track not relayed, or transport not ready.
    Off,
    /// The next key frame is forwarded.
    AwaitingKeyFrame,
    /// The next packet is forwarded.
    Starting,
    /// Every packet is forwarded.
    Flowing,
}

/// Most bytes that a packet has besides its payload: header, extension, original sequence number, SRTP tag.
pub(crate) const OVERHEAD_BYTES_MAX: usize =
    FIXED_HEADER_BYTES + EXTENSION_BYTES_MAX + rtx::OSN_BYTES + PROTECT_OVERHEAD_BYTES;

/// What a packet gets that depends on when it leaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stamp {
    /// 24 bits, 6.18 fixed point seconds.
    pub(crate) abs_send_time: [u8; 3],
    pub(crate) transport_cc: u16,
}

impl Subscription {
    /// Makes a subscription that is off. `payload_types` are those of the track, which has so many encodings.
    pub(crate) fn new(
        spec: &SubscriptionSpec,
        payload_types: impl Iterator<Item = u8>,
        encodings: usize,
        connection: usize,
        rewriter: Rewriter,
        rtx_sequence: u16,
    ) -> Self {
        let mut leaving = [NOT_MAPPED; PAYLOADS_PER_TRACK_MAX];
        let mut leaving_rtx = [NOT_MAPPED; PAYLOADS_PER_TRACK_MAX];
        for (at, arriving) in payload_types.enumerate().take(PAYLOADS_PER_TRACK_MAX) {
            if let Some((_, to, rtx)) = spec.payloads.iter().find(|(from, ..)| *from == arriving) {
                leaving[at] = to & 0x7f;
                leaving_rtx[at] = rtx.map_or(NOT_MAPPED, |rtx| rtx & 0x7f);
            }
        }
        let encodings = encodings.min(ENCODINGS_PER_TRACK_MAX) as u8;
        let encoding = spec.layers.encoding.min(encodings.saturating_sub(1));
        Self {
            phase: Phase::Off,
            encoding,
            next: encoding,
            followed: NOBODY,
            has_news: false,
            plan: ExtensionPlan::new(&spec.mid, &spec.extensions),
            ssrc: spec.ssrc,
            connection,
            packets: 0,
            octets: 0,
            payload_types: leaving,
            rewriter,
            cold: Box::new(Cold {
                id: spec.id,
                is_active: spec.active,
                cname: spec.cname.as_str().into(),
                feedback: spec.feedback,
                rtx_ssrc: spec.rtx_ssrc,
                rtx_payload_types: leaving_rtx,
                rtx_sequence,
                resends: Resends::default(),
                patience: spec.layers.fallback,
                wanted: spec.layers.encoding,
                encodings,
                told_encoding: None,
                asked: None,
                filter: LayerFilter::new(&spec.layers),
                news: News::default(),
            }),
        }
    }

    /// Turns it on or off; on, it starts with a key frame or with the next packet. Gives the encoding whose key frame it
    /// waits for from now on.
    pub(crate) fn turn(&mut self, now: Instant, can_flow: bool, needs_key_frame: bool, flow: &Flow) -> Option<u8> {
        match (can_flow, self.phase) {
            (false, _) => self.phase = Phase::Off,
            (true, Phase::Off) => {
                self.start(needs_key_frame);
                self.choose_encoding(now, flow);
            }
            (true, _) => return None,
        }
        self.cold.asked = self.awaits();
        self.cold.asked
    }

    /// An encoding of the track has another source from now on.
    pub(crate) fn change_source(&mut self, encoding: u8, needs_key_frame: bool) {
        if self.followed == encoding {
            self.followed = NOBODY;
        }
        if self.encoding == encoding && self.phase != Phase::Off {
            self.start(needs_key_frame);
        }
    }

    /// Changes which layers are wanted. Gives the encoding whose key frame it waits for from now on.
    pub(crate) fn want(&mut self, now: Instant, layers: &Layers, flow: &Flow) -> Option<u8> {
        let before = self.awaits();
        (self.cold.wanted, self.cold.patience) = (layers.encoding, layers.fallback);
        self.cold.filter.want(layers);
        self.choose_encoding(now, flow);
        let awaited = self.awaits().filter(|awaited| Some(*awaited) != before);
        self.cold.asked = awaited.or(self.cold.asked);
        awaited
    }

    /// The encoding whose key frame it waits for.
    pub(crate) fn awaits(&self) -> Option<u8> {
        let awaits_layer = || self.cold.filter.awaits_key_frame();
        match self.phase {
            Phase::AwaitingKeyFrame => Some(self.encoding),
            Phase::Flowing if self.next != self.encoding => Some(self.next),
            Phase::Flowing if awaits_layer() => Some(self.encoding),
            Phase::Flowing | Phase::Starting | Phase::Off => None,
        }
    }

    /// Whether the key frame of an encoding is to be asked for again as long as it does not come.
    pub(crate) fn presses_for(&self, encoding: u8) -> bool {
        let has_asked = self.phase == Phase::AwaitingKeyFrame || self.cold.asked == Some(encoding);
        has_asked && self.awaits() == Some(encoding)
    }

    /// The encoding whose numbers its stream goes by, out of whose packets it answers requests.
    pub(crate) fn followed(&self) -> Option<usize> {
        Some(usize::from(self.followed)).filter(|_| self.followed != NOBODY)
    }

    /// Whether it gets an encoding or waits for it.
    pub(crate) fn watches(&self, encoding: u8) -> bool {
        self.phase != Phase::Off && (self.encoding == encoding || self.next == encoding)
    }

    /// Whether this packet goes out. A packet that starts the flow sets where it goes on.
    #[inline]
    pub(crate) fn admits(&mut self, now: Instant, packet: &MediaPacket<'_>, scene: &Scene) -> Admission {
        if packet.encoding != self.encoding && !self.turns_to(now, packet, scene) {
            return Admission::No;
        }
        match self.phase {
            Phase::Flowing if packet.layering.scheme != Scheme::None => self.admits_layer(now, packet),
            Phase::Flowing if self.is_mapped(packet) => Admission::Whole,
            Phase::Flowing => {
                self.rewriter.skip(packet.sequence, false);
                Admission::No
            }
            Phase::Off => Admission::No,
            Phase::AwaitingKeyFrame if !packet.is_key_frame => Admission::No,
            Phase::Starting | Phase::AwaitingKeyFrame if packet.is_late || !self.is_mapped(packet) => Admission::No,
            Phase::Starting | Phase::AwaitingKeyFrame => {
                self.begin(now, packet, scene);
                if packet.layering.scheme == Scheme::None {
                    Admission::Whole
                } else {
                    self.admits_layer(now, packet)
                }
            }
        }
    }

    #[inline]
    fn is_mapped(&self, packet: &MediaPacket<'_>) -> bool {
        self.payload_types[usize::from(packet.payload_index)] != NOT_MAPPED
    }

    /// Whether a packet of a stream with layers goes out while the stream flows.
    #[inline(never)]
    fn admits_layer(&mut self, now: Instant, packet: &MediaPacket<'_>) -> Admission {
        let is_mapped = self.is_mapped(packet);
        let cold = &mut *self.cold;
        if packet.is_late {
            return match is_mapped {
                true => match self.rewriter.limits_at(packet.sequence) {
                    Some(limits) if limits.withhold(&packet.layering) => Admission::Empty,
                    Some(_) => Admission::Whole,
                    None => Admission::No,
                },
                false => Admission::No,
            };
        }
        let verdict = cold.filter.judge(now, packet, cold.patience, &mut cold.news.layers);
        self.has_news |= cold.news.layers != LayerNews::default();
        self.rewriter.limit(packet.sequence, cold.filter.passing());
        match verdict {
            Verdict::Pass if is_mapped => Admission::Whole,
            Verdict::Pass => {
                self.rewriter.skip(packet.sequence, false);
                Admission::No
            }
            Verdict::LeaveOut { frees_id } => {
                self.rewriter.skip(packet.sequence, frees_id);
                Admission::No
            }
        }
    }

    /// The first packet of the flow.
    #[inline(never)]
    fn begin(&mut self, now: Instant, packet: &MediaPacket<'_>, scene: &Scene) {
        let numbers = packet.layering.numbers;
        if self.followed == self.encoding {
            self.rewriter.resume(packet.sequence, numbers);
        } else {
            let entry = Entry {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                clock_rate: scene.clock_rate,
                numbers,
                moment: scene
                    .moments
                    .and_then(|moments| moments.get(usize::from(self.followed)).copied().flatten()),
            };
            self.rewriter.switch(now, entry);
            self.cold.filter.forget_stream();
            self.followed = self.encoding;
        }
        self.phase = Phase::Flowing;
        self.cold.asked = None;
        if self.cold.encodings > 1 && self.cold.told_encoding != Some(self.encoding) {
            self.cold.told_encoding = Some(self.encoding);
            self.cold.news.encoding = Some(self.encoding);
            self.has_news = true;
        }
    }

    /// Whether a packet of another encoding than the one that flows is where the stream goes on.
    #[inline(never)]
    fn turns_to(&mut self, now: Instant, packet: &MediaPacket<'_>, scene: &Scene) -> bool {
        if self.phase == Phase::Off {
            return false;
        }
        if let Some(flow) = &scene.flow {
            self.choose_encoding(now, flow);
            let comes = |awaited: &u8| packet.is_key_frame && *awaited == packet.encoding;
            if let Some(awaited) = self.awaits().filter(|awaited| !comes(awaited)) {
                self.ask(now, flow, awaited);
            }
        }
        if packet.encoding == self.encoding {
            return true;
        }
        let is_entry = packet.encoding == self.next && packet.is_key_frame && !packet.is_late;
        if !is_entry || !self.is_mapped(packet) {
            return false;
        }
        (self.encoding, self.phase) = (packet.encoding, Phase::AwaitingKeyFrame);
        true
    }

    /// Asks once for the key frame of an encoding that is awaited; of a higher one than flows only when it is worth it.
    fn ask(&mut self, now: Instant, flow: &Flow, awaited: u8) {
        let is_upward = self.phase == Phase::Flowing && awaited > self.encoding;
        let is_worth_it = !is_upward || flow.is_steady(now, awaited);
        if is_worth_it && self.cold.asked != Some(awaited) {
            self.cold.asked = Some(awaited);
            self.cold.news.needs_key_frame = Some(awaited);
            self.has_news = true;
        }
    }

    /// Chooses the encoding that should flow: the wanted one, else the next lower that flows, else the next higher.
    fn choose_encoding(&mut self, now: Instant, flow: &Flow) {
        if self.cold.encodings < 2 {
            return;
        }
        let (wanted, patience) = (self.cold.wanted.min(self.cold.encodings - 1), self.cold.patience);
        let flows = |encoding: &u8| flow.flows(now, *encoding, patience);
        let lower = (0..=wanted).rev().find(flows);
        self.next = lower
            .or_else(|| (wanted..self.cold.encodings).find(flows))
            .unwrap_or(wanted);
        if self.phase != Phase::Flowing {
            self.encoding = self.next;
        } else if self.encoding == self.next {
            self.cold.asked = None;
        }
    }

    /// Leaves a packet of an encoding out without a gap.
    pub(crate) fn skip(&mut self, encoding: u8, sequence: u64) {
        if self.phase == Phase::Flowing && self.encoding == encoding {
            self.rewriter.skip(sequence, false);
        }
    }

    /// Writes a packet that was admitted into `room` and gives its length; `None` when it has no place in the stream.
    /// `room` holds the payload and [`OVERHEAD_BYTES_MAX`].
    #[inline]
    pub(crate) fn write(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        admission: Admission,
        stamp: Stamp,
        room: &mut [u8],
    ) -> Option<usize> {
        let numbers = packet.layering.numbers;
        let rewritten = self.rewriter.rewrite(now, packet.sequence, packet.timestamp, numbers)?;
        let payload = if admission == Admission::Empty {
            &[]
        } else {
            packet.payload
        };
        let header = FixedHeader {
            has_extension: false,
            marker: marker_within(rewritten.limits, packet),
            payload_type: self.payload_types[usize::from(packet.payload_index)],
            sequence_number: rewritten.sequence_number,
            timestamp: rewritten.timestamp,
            ssrc: self.ssrc,
        };
        let at = self.write_head(header, packet.carried, stamp, room)?;
        let length = at + payload.len();
        room[at..length].copy_from_slice(payload);
        numbers.write(rewritten.shift, &mut room[at..length]);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        Some(length)
    }

    /// Writes a packet that left before once more, as a retransmission (RFC 4588).
    pub(crate) fn write_rtx(&mut self, packet: &MediaPacket<'_>, stamp: Stamp, room: &mut [u8]) -> Option<usize> {
        let ssrc = self.cold.rtx_ssrc?;
        let payload_type = self.cold.rtx_payload_types[usize::from(packet.payload_index)];
        let original = self.rewriter.again(packet.sequence, packet.timestamp)?;
        if payload_type == NOT_MAPPED {
            return None;
        }
        self.cold.rtx_sequence = self.cold.rtx_sequence.wrapping_add(1);
        let header = FixedHeader {
            has_extension: false,
            marker: marker_within(original.limits, packet),
            payload_type,
            sequence_number: self.cold.rtx_sequence,
            timestamp: original.timestamp,
            ssrc,
        };
        let at = self.write_head(header, packet.carried, stamp, room)?;
        let payload = payload_within(original.limits, packet);
        let length = at + rtx::wrap(&mut room[at..], original.sequence_number, payload)?;
        packet
            .layering
            .numbers
            .write(original.shift, &mut room[at + rtx::OSN_BYTES..length]);
        Some(length)
    }

    /// Writes a packet that left before once more, as it was: for transports that do not protect.
    pub(crate) fn write_again(&mut self, packet: &MediaPacket<'_>, stamp: Stamp, room: &mut [u8]) -> Option<usize> {
        let original = self.rewriter.again(packet.sequence, packet.timestamp)?;
        let header = FixedHeader {
            has_extension: false,
            marker: marker_within(original.limits, packet),
            payload_type: self.payload_types[usize::from(packet.payload_index)],
            sequence_number: original.sequence_number,
            timestamp: original.timestamp,
            ssrc: self.ssrc,
        };
        let at = self.write_head(header, packet.carried, stamp, room)?;
        let payload = payload_within(original.limits, packet);
        let length = at + payload.len();
        let room = room.get_mut(at..length)?;
        room.copy_from_slice(payload);
        packet.layering.numbers.write(original.shift, room);
        Some(length)
    }

    /// Whether retransmissions of a payload have a type and an SSRC of their own.
    pub(crate) fn has_rtx(&self, payload_index: u8) -> bool {
        self.cold.rtx_ssrc.is_some() && self.cold.rtx_payload_types[usize::from(payload_index)] != NOT_MAPPED
    }

    fn start(&mut self, needs_key_frame: bool) {
        self.phase = if needs_key_frame {
            Phase::AwaitingKeyFrame
        } else {
            Phase::Starting
        };
    }

    /// Writes header and extension, and gives their length.
    #[inline]
    fn write_head(&self, header: FixedHeader, carried: Carried, stamp: Stamp, room: &mut [u8]) -> Option<usize> {
        let extension = self.plan.write(carried, stamp, &mut room[FIXED_HEADER_BYTES..])?;
        let header = FixedHeader {
            has_extension: extension != 0,
            ..header
        };
        room[..FIXED_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        Some(FIXED_HEADER_BYTES + extension)
    }
}

/// What goes out of a packet when it goes out again.
fn payload_within<'a>(limits: LayerLimits, packet: &MediaPacket<'a>) -> &'a [u8] {
    if limits.withhold(&packet.layering) {
        &[]
    } else {
        packet.payload
    }
}

#[inline]
fn marker_within(limits: LayerLimits, packet: &MediaPacket<'_>) -> bool {
    packet.marker || limits.end_picture(&packet.layering)
}

/// Longest mid that is written. Ours are short.
const MID_BYTES_MAX: usize = 16;

/// Longest header extension that is written: head, and with two bytes each the elements mid, audio level, transport-wide
/// sequence number, send time, orientation and playout delay, in whole words.
const EXTENSION_BYTES_MAX: usize = (4 + 6 * 2 + MID_BYTES_MAX + 1 + 2 + 3 + 1 + 3usize).next_multiple_of(4);

/// Which header extensions leave, under which ids.
pub(crate) struct ExtensionPlan {
    form: Form,
    mid: [u8; MID_BYTES_MAX],
    mid_length: u8,
    ids: Extensions,
}

impl ExtensionPlan {
    fn new(mid: &str, ids: &Extensions) -> Self {
        let mut plan = Self {
            form: Form::OneByte,
            mid: [0; MID_BYTES_MAX],
            mid_length: 0,
            ids: *ids,
        };
        match plan.mid.get_mut(..mid.len()) {
            Some(room) if !mid.is_empty() => {
                room.copy_from_slice(mid.as_bytes());
                plan.mid_length = mid.len() as u8;
            }
            _ => plan.ids.mid = None,
        }
        let used = [
            ids.mid,
            ids.audio_level,
            ids.transport_cc,
            ids.abs_send_time,
            ids.video_orientation,
            ids.playout_delay,
        ];
        if used.into_iter().flatten().any(|id| id > extension::ONE_BYTE_ID_MAX) {
            plan.form = Form::TwoByte;
        }
        plan
    }

    /// Whether packets carry a transport-wide sequence number.
    #[inline]
    pub(crate) fn has_transport_cc(&self) -> bool {
        self.ids.transport_cc.is_some()
    }

    #[inline]
    fn write(&self, carried: Carried, stamp: Stamp, room: &mut [u8]) -> Option<usize> {
        let mut writer = extension::Writer::new(room, self.form);
        let mut push = |id: Option<u8>, content: Option<&[u8]>| match (id, content) {
            (Some(id), Some(content)) => writer.push(id, content).ok(),
            _ => Some(()),
        };
        push(self.ids.mid, Some(&self.mid[..usize::from(self.mid_length)]))?;
        push(self.ids.transport_cc, Some(&stamp.transport_cc.to_be_bytes()))?;
        push(self.ids.abs_send_time, Some(&stamp.abs_send_time))?;
        push(
            self.ids.audio_level,
            carried.audio_level.as_ref().map(std::slice::from_ref),
        )?;
        push(
            self.ids.video_orientation,
            carried.video_orientation.as_ref().map(std::slice::from_ref),
        )?;
        push(
            self.ids.playout_delay,
            carried.playout_delay.as_ref().map(|delay| &delay[..]),
        )?;
        writer.finish().ok()
    }
}

/// Gives abs-send-time of a wall time (NTP).
pub(crate) fn abs_send_time(ntp: u64) -> [u8; 3] {
    let [_, a, b, c, ..] = ((ntp >> 14) as u32).to_be_bytes();
    [a, b, c]
}

/// Gives a duration out of 1/65536 s.
pub(crate) fn from_65536ths(value: u32) -> Duration {
    Duration::from_micros((u64::from(value) * 1_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forwarding_touches_of_a_subscription_fits_four_cache_lines() {
        let bytes = size_of::<Subscription>();
        assert!(bytes <= 4 * 64, "{bytes}");
    }

    #[test]
    fn abs_send_time_is_the_middle_of_ntp_time() {
        // 6 bits of seconds, 18 bits of fraction: 5.5 s.
        assert_eq!(abs_send_time((0xffff_ff45 << 32) | 0x8000_0000), [0x16, 0, 0]);
    }
}
