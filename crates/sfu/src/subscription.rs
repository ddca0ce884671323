//! One outgoing medium: whether it flows, and how its packets look.

use std::time::{Duration, Instant};

use voex_base::SubscriptionId;
use voex_rtp::extension::{self, Form};
use voex_rtp::{FIXED_HEADER_BYTES, FixedHeader, rtx};
use voex_transport::PROTECT_OVERHEAD_BYTES;

use crate::command::{Extensions, Feedback, SubscriptionSpec};
use crate::limits::PAYLOADS_PER_TRACK_MAX;
use crate::packet::{Carried, MediaPacket};
use crate::resends::Resends;
use crate::rewriter::Rewriter;

/// What forwarding one packet reads and writes; the rest is in `cold`. Subscriptions of a track lie side by side.
pub(crate) struct Subscription {
    pub(crate) phase: Phase,
    /// The next packet is of another source than the ones before.
    is_fresh_source: bool,
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
    /// Makes a subscription that is off. `payload_types` are those of the track.
    pub(crate) fn new(
        spec: &SubscriptionSpec,
        payload_types: impl Iterator<Item = u8>,
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
        Self {
            phase: Phase::Off,
            is_fresh_source: true,
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
            }),
        }
    }

    /// Turns it on or off; on, it starts with a key frame or with the next packet. Gives whether it waits for a key
    /// frame from now on.
    pub(crate) fn turn(&mut self, can_flow: bool, needs_key_frame: bool) -> bool {
        match (can_flow, self.phase) {
            (false, _) => self.phase = Phase::Off,
            (true, Phase::Off) => self.start(needs_key_frame),
            (true, _) => return false,
        }
        self.phase == Phase::AwaitingKeyFrame
    }

    /// The track has another source from now on.
    pub(crate) fn change_source(&mut self, needs_key_frame: bool) {
        self.is_fresh_source = true;
        if self.phase != Phase::Off {
            self.start(needs_key_frame);
        }
    }

    /// Whether this packet goes out. A packet that starts the flow sets where it goes on.
    #[inline]
    pub(crate) fn admits(&mut self, now: Instant, packet: &MediaPacket<'_>, clock_rate: u32) -> bool {
        let is_mapped = self.payload_types[usize::from(packet.payload_index)] != NOT_MAPPED;
        match self.phase {
            Phase::Flowing if is_mapped => return true,
            Phase::Flowing => {
                self.rewriter.skip(packet.sequence);
                return false;
            }
            Phase::Off => return false,
            Phase::Starting | Phase::AwaitingKeyFrame if packet.is_late || !is_mapped => return false,
            Phase::AwaitingKeyFrame if !packet.is_key_frame => return false,
            Phase::Starting | Phase::AwaitingKeyFrame => {}
        }
        if std::mem::take(&mut self.is_fresh_source) {
            self.rewriter.switch(now, packet.sequence, packet.timestamp, clock_rate);
        } else {
            self.rewriter.resume(packet.sequence);
        }
        self.phase = Phase::Flowing;
        true
    }

    /// Leaves a packet out without a gap.
    pub(crate) fn skip(&mut self, sequence: u64) {
        if self.phase == Phase::Flowing {
            self.rewriter.skip(sequence);
        }
    }

    /// Writes a packet that was admitted into `room` and gives its length; `None` when it has no place in the stream.
    /// `room` holds the payload and [`OVERHEAD_BYTES_MAX`].
    #[inline]
    pub(crate) fn write(
        &mut self,
        now: Instant,
        packet: &MediaPacket<'_>,
        stamp: Stamp,
        room: &mut [u8],
    ) -> Option<usize> {
        let (sequence_number, timestamp) = self.rewriter.rewrite(now, packet.sequence, packet.timestamp)?;
        let header = FixedHeader {
            has_extension: false,
            marker: packet.marker,
            payload_type: self.payload_types[usize::from(packet.payload_index)],
            sequence_number,
            timestamp,
            ssrc: self.ssrc,
        };
        let at = self.write_head(header, packet.carried, stamp, room)?;
        let length = at + packet.payload.len();
        room[at..length].copy_from_slice(packet.payload);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload.len() as u32);
        Some(length)
    }

    /// Writes a packet that left before once more, as a retransmission (RFC 4588).
    pub(crate) fn write_rtx(&mut self, packet: &MediaPacket<'_>, stamp: Stamp, room: &mut [u8]) -> Option<usize> {
        let ssrc = self.cold.rtx_ssrc?;
        let payload_type = self.cold.rtx_payload_types[usize::from(packet.payload_index)];
        let original = self.sequence_number_of(packet.sequence)?;
        if payload_type == NOT_MAPPED {
            return None;
        }
        self.cold.rtx_sequence = self.cold.rtx_sequence.wrapping_add(1);
        let header = FixedHeader {
            has_extension: false,
            marker: packet.marker,
            payload_type,
            sequence_number: self.cold.rtx_sequence,
            timestamp: self.rewriter.timestamp(packet.timestamp),
            ssrc,
        };
        let at = self.write_head(header, packet.carried, stamp, room)?;
        Some(at + rtx::wrap(&mut room[at..], original, packet.payload)?)
    }

    /// Writes a packet that left before once more, as it was: for transports that do not protect.
    pub(crate) fn write_again(&mut self, packet: &MediaPacket<'_>, stamp: Stamp, room: &mut [u8]) -> Option<usize> {
        let header = FixedHeader {
            has_extension: false,
            marker: packet.marker,
            payload_type: self.payload_types[usize::from(packet.payload_index)],
            sequence_number: self.sequence_number_of(packet.sequence)?,
            timestamp: self.rewriter.timestamp(packet.timestamp),
            ssrc: self.ssrc,
        };
        let at = self.write_head(header, packet.carried, stamp, room)?;
        let length = at + packet.payload.len();
        room.get_mut(at..length)?.copy_from_slice(packet.payload);
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

    fn sequence_number_of(&self, sequence: u64) -> Option<u16> {
        self.rewriter.sequence_number_of(sequence)
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
