//! One incoming medium, and the subscriptions to it.

use std::time::Instant;

use voex_base::TrackId;
use voex_rtp::Packet;

use crate::DropReason;
use crate::command::{Codec, Extensions, Feedback, MediaKind, Payload, TrackSpec};
use crate::digits::Digits;
use crate::key_frames::{self, KeyFrameRequests};
use crate::limits::{PAYLOADS_PER_TRACK_MAX, SOURCE_CHANGE_INTERVAL};
use crate::missing::Missing;
use crate::packet::{Carried, MediaPacket};
use crate::reception::{Place, Reception};
use crate::ring::Ring;
use crate::subscription::{Phase, Subscription};

/// A track: what its sender sends under one mid.
pub(crate) struct Track {
    pub(crate) id: TrackId,
    /// Slab key of the transport it arrives on.
    pub(crate) connection: usize,
    pub(crate) kind: MediaKind,
    pub(crate) mid: Box<str>,
    pub(crate) payloads: Vec<Payload>,
    payload_types: Box<[PayloadType; 128]>,
    extensions: Extensions,
    pub(crate) feedback: Feedback,
    /// SSRC that it arrives with now.
    pub(crate) ssrc: Option<u32>,
    source_changed_at: Option<Instant>,
    pub(crate) reception: Reception,
    pub(crate) missing: Option<Missing>,
    pub(crate) ring: Option<Ring>,
    pub(crate) digits: Digits,
    pub(crate) key_frames: KeyFrameRequests,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) is_relayed: bool,
    /// Its packets come: told by an event.
    pub(crate) is_receiving: bool,
    /// Newest packet: arrival, timestamp, clock rate.
    pub(crate) newest: Option<Newest>,
    pub(crate) bitrate_cap: Option<u32>,
    /// Origin of arrival times for jitter.
    origin: Instant,
}

#[derive(Clone, Copy)]
pub(crate) struct Newest {
    pub(crate) at: Instant,
    pub(crate) timestamp: u32,
    pub(crate) clock_rate: u32,
}

/// What a payload type is to a track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PayloadType {
    Unknown,
    /// The payload at this position.
    Media(u8),
    /// Retransmissions of the payload at this position.
    Rtx(u8),
}

impl Track {
    pub(crate) fn new(now: Instant, spec: TrackSpec, connection: usize) -> Self {
        let mut payload_types = Box::new([PayloadType::Unknown; 128]);
        let mut payloads = spec.payloads;
        payloads.truncate(PAYLOADS_PER_TRACK_MAX);
        for (at, payload) in payloads.iter().enumerate() {
            payload_types[usize::from(payload.payload_type & 0x7f)] = PayloadType::Media(at as u8);
            if let Some(rtx) = payload.rtx {
                payload_types[usize::from(rtx & 0x7f)] = PayloadType::Rtx(at as u8);
            }
        }
        let keeps_packets = spec.kind == MediaKind::Video && spec.feedback.nack;
        Self {
            id: spec.id,
            connection,
            kind: spec.kind,
            mid: spec.mid.into(),
            payloads,
            payload_types,
            extensions: spec.extensions,
            feedback: spec.feedback,
            ssrc: None,
            source_changed_at: None,
            reception: Reception::default(),
            missing: spec.feedback.nack.then(Missing::new),
            ring: keeps_packets.then(Ring::new),
            digits: Digits::default(),
            key_frames: KeyFrameRequests::default(),
            subscriptions: Vec::new(),
            is_relayed: true,
            is_receiving: false,
            newest: None,
            bitrate_cap: None,
            origin: now,
        }
    }

    /// What a payload type is to this track.
    #[inline]
    pub(crate) fn payload_type(&self, payload_type: u8) -> PayloadType {
        self.payload_types[usize::from(payload_type & 0x7f)]
    }

    /// The payload at a position, out of [`payload_type`](Self::payload_type).
    pub(crate) fn payload(&self, index: u8) -> Payload {
        self.payloads[usize::from(index)]
    }

    /// Whether a subscription starts with a key frame.
    pub(crate) fn needs_key_frame(&self) -> bool {
        self.kind == MediaKind::Video
    }

    /// Whether a subscription waits for a key frame.
    pub(crate) fn is_awaited(&self) -> bool {
        let waits = |subscription: &Subscription| subscription.phase == Phase::AwaitingKeyFrame;
        self.subscriptions.iter().any(waits)
    }

    /// Whether another source would be taken now.
    pub(crate) fn may_change_source(&self, now: Instant) -> bool {
        self.source_changed_at
            .is_none_or(|at| now.saturating_duration_since(at) >= SOURCE_CHANGE_INTERVAL)
    }

    /// Starts anew with another SSRC.
    pub(crate) fn change_source(&mut self, now: Instant, ssrc: u32) -> Result<(), DropReason> {
        if !self.may_change_source(now) {
            return Err(DropReason::SourceFlaps);
        }
        // The first SSRC of a track changes nothing.
        if self.ssrc.replace(ssrc).is_some() {
            self.source_changed_at = Some(now);
        }
        self.forget_source();
        Ok(())
    }

    /// Starts anew with the same SSRC, whose numbers jumped.
    fn forget_source(&mut self) {
        self.reception = Reception::default();
        if let Some(missing) = &mut self.missing {
            missing.clear();
        }
        if let Some(ring) = &mut self.ring {
            ring.clear();
        }
        let needs_key_frame = self.needs_key_frame();
        for subscription in &mut self.subscriptions {
            subscription.change_source(needs_key_frame);
        }
    }

    /// Places a packet of the source, for the first time or as a retransmission.
    pub(crate) fn place(&mut self, sequence_number: u16, is_repaired: bool) -> Result<Place, DropReason> {
        let place = if is_repaired {
            self.reception.place_repaired(sequence_number)
        } else {
            self.reception.place(sequence_number)
        };
        match place {
            Place::Newest { .. } | Place::Late { .. } => Ok(place),
            Place::Duplicate => Err(DropReason::Duplicate),
            Place::TooLate => Err(DropReason::TooLate),
            Place::Jump => Err(DropReason::SequenceJump),
            Place::Restart => {
                self.forget_source();
                Ok(self.reception.place(sequence_number))
            }
        }
    }

    /// Counts a packet of the source for reports.
    pub(crate) fn count(&mut self, now: Instant, timestamp: u32, payload: Payload, is_newest: bool) {
        let since = now.saturating_duration_since(self.origin).as_micros();
        let at = (since * u128::from(payload.clock_rate) / 1_000_000) as u32;
        let tells_time = is_newest && payload.codec != Codec::TelephoneEvent;
        self.reception.count(timestamp, tells_time.then_some(at));
        if is_newest {
            self.newest = Some(Newest {
                at: now,
                timestamp,
                clock_rate: payload.clock_rate,
            });
        }
    }

    /// Makes what the subscriptions need out of a placed packet.
    pub(crate) fn media_packet<'a>(
        &self,
        packet: &Packet<'a>,
        payload: &'a [u8],
        payload_index: u8,
        place: Place,
    ) -> Option<MediaPacket<'a>> {
        let (sequence, is_late) = match place {
            Place::Newest { sequence, .. } => (sequence, false),
            Place::Late { sequence } => (sequence, true),
            _ => return None,
        };
        let codec = self.payload(payload_index).codec;
        let is_video = self.kind == MediaKind::Video;
        Some(MediaPacket {
            sequence,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            payload_index,
            is_key_frame: is_video && (!key_frames::are_visible(codec) || key_frames::starts(codec, payload)),
            is_late,
            carried: Carried::of(packet, &self.extensions),
            payload,
        })
    }
}
