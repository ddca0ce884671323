//! One incoming medium, and the subscriptions to it.

use std::time::Instant;

use voex_base::TrackId;
use voex_rtp::Packet;

use crate::DropReason;
use crate::command::{Codec, EncodingSpec, Extensions, Feedback, MediaKind, Payload, Speech, TrackSpec};
use crate::digits::Digits;
use crate::encoding::{Encoding, Flow, Newest};
use crate::layering::Layering;
use crate::limits::{ENCODINGS_PER_TRACK_MAX, PAYLOADS_PER_TRACK_MAX, WATCH_INTERVAL};
use crate::packet::{Carried, MediaPacket, element};
use crate::pipe::Watchers;
use crate::reception::Place;
use crate::speech::SpeechDetector;
use crate::subscription::{Scene, Subscription};

/// A track: what its sender sends under one mid, in one encoding or several.
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
    /// One at least, the lowest first.
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) digits: Digits,
    /// Follows who talks, where somebody wants to know.
    pub(crate) speech: Option<SpeechDetector>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) is_relayed: bool,
    /// Its packets come: told by an event.
    pub(crate) is_receiving: bool,
    pub(crate) bitrate_cap: Option<u32>,
    /// Other workers with subscriptions to it.
    pub(crate) watchers: Watchers,
    /// Origin of arrival times for jitter.
    origin: Instant,
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
        let mut encodings: Vec<_> = spec.encodings.iter().map(|one| Encoding::new(one, &spec)).collect();
        encodings.truncate(ENCODINGS_PER_TRACK_MAX);
        if encodings.is_empty() {
            encodings.push(Encoding::new(&EncodingSpec::default(), &spec));
        }
        let mut payloads = spec.payloads;
        payloads.truncate(PAYLOADS_PER_TRACK_MAX);
        for (at, payload) in payloads.iter().enumerate() {
            payload_types[usize::from(payload.payload_type & 0x7f)] = PayloadType::Media(at as u8);
            if let Some(rtx) = payload.rtx {
                payload_types[usize::from(rtx & 0x7f)] = PayloadType::Rtx(at as u8);
            }
        }
        Self {
            id: spec.id,
            connection,
            kind: spec.kind,
            mid: spec.mid.into(),
            payloads,
            payload_types,
            extensions: spec.extensions,
            feedback: spec.feedback,
            encodings,
            digits: Digits::default(),
            speech: None,
            subscriptions: Vec::new(),
            is_relayed: true,
            is_receiving: false,
            bitrate_cap: None,
            watchers: Watchers::default(),
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

    /// Takes the audio level of a packet that is relayed; gives a change of who talks.
    #[inline]
    pub(crate) fn note_level(&mut self, packet: &Packet<'_>) -> Option<Speech> {
        let speech = self.speech.as_mut().filter(|_| self.is_relayed)?;
        let level = element(packet, self.extensions.audio_level)?;
        speech.handle(*level.first()?)
    }

    /// Whether it has several encodings to choose from.
    #[inline]
    pub(crate) fn is_simulcast(&self) -> bool {
        self.encodings.len() > 1
    }

    /// The encoding that a packet of an unknown SSRC belongs to: by its rid, or the only one.
    pub(crate) fn encoding_of(&self, packet: &Packet<'_>, is_rtx: bool) -> Option<u8> {
        if !self.is_simulcast() {
            return Some(0);
        }
        let repaired = element(packet, self.extensions.repaired_rid).filter(|_| is_rtx);
        let rid = repaired.or_else(|| element(packet, self.extensions.rid))?;
        let at = self.encodings.iter().position(|one| one.rid.as_bytes() == rid)?;
        u8::try_from(at).ok()
    }

    /// Whether a subscription waits for a key frame of an encoding.
    pub(crate) fn is_awaited(&self, encoding: u8) -> bool {
        self.subscriptions.iter().any(|one| one.presses_for(encoding))
    }

    /// Whether somebody gets an encoding or waits for it, here or on other workers. A track without a choice is always
    /// watched.
    pub(crate) fn is_watched(&self, encoding: u8) -> bool {
        !self.is_simulcast() || self.watchers.want(encoding) || self.is_watched_here(encoding)
    }

    /// Whether a subscription here gets an encoding or waits for it.
    pub(crate) fn is_watched_here(&self, encoding: u8) -> bool {
        self.subscriptions.iter().any(|one| one.watches(encoding))
    }

    /// Whether nothing came of it in its first second.
    pub(crate) fn is_yet_to_come(&self, now: Instant) -> bool {
        self.newest().is_none() && now.saturating_duration_since(self.origin) < WATCH_INTERVAL
    }

    /// The newest packet of all encodings.
    pub(crate) fn newest(&self) -> Option<Newest> {
        let newest = self.encodings.iter().filter_map(|encoding| encoding.newest);
        newest.max_by_key(|newest| newest.at)
    }

    /// Which encodings flow.
    pub(crate) fn flow(&self) -> Flow {
        Flow::of(&self.encodings)
    }

    /// What subscriptions have to know of the track when a packet is forwarded.
    #[inline]
    pub(crate) fn scene(&self, now: Instant, packet: &MediaPacket<'_>) -> Scene {
        let mut scene = Scene {
            clock_rate: self.payload(packet.payload_index).clock_rate,
            flow: None,
            moments: None,
        };
        if self.is_simulcast() && !packet.is_late {
            let own = &self.encodings[usize::from(packet.encoding)];
            scene.flow = own.begins_frame(now).then(|| self.flow());
            scene.moments = packet.is_key_frame.then(|| {
                let moment = |other: &Encoding| own.moment_in(other, packet.timestamp);
                std::array::from_fn(|at| self.encodings.get(at).and_then(moment))
            });
        }
        scene
    }

    /// Starts an encoding anew with another SSRC.
    pub(crate) fn change_source(&mut self, now: Instant, encoding: u8, ssrc: u32) -> Result<(), DropReason> {
        self.encodings[usize::from(encoding)].change_source(now, ssrc)?;
        self.forget_source(encoding);
        Ok(())
    }

    /// Starts an encoding anew with the same SSRC, whose numbers jumped.
    fn forget_source(&mut self, encoding: u8) {
        self.encodings[usize::from(encoding)].clear();
        let needs_key_frame = self.needs_key_frame();
        for subscription in &mut self.subscriptions {
            subscription.change_source(encoding, needs_key_frame);
        }
    }

    /// Gives an encoding of a piped track, which starts anew when its home says so.
    pub(crate) fn encoding_in(&mut self, encoding: u8, epoch: u8) -> Option<&mut Encoding> {
        if self.encodings.get(usize::from(encoding))?.epoch != epoch {
            self.forget_source(encoding);
            self.encodings[usize::from(encoding)].epoch = epoch;
        }
        self.encodings.get_mut(usize::from(encoding))
    }

    /// Takes a packet of an encoding whose place the track's home has found; gives what subscriptions need of it.
    pub(crate) fn take_piped<'a>(
        &mut self,
        now: Instant,
        epoch: u8,
        mut packet: MediaPacket<'a>,
    ) -> Option<MediaPacket<'a>> {
        let payload = *self.payloads.get(usize::from(packet.payload_index))?;
        let is_simulcast = self.is_simulcast();
        let encoding = self.encoding_in(packet.encoding, epoch)?;
        let ring = encoding.ring.as_ref().filter(|_| packet.is_late);
        if ring.is_some_and(|ring| ring.find(packet.sequence).is_some()) {
            return None;
        }
        if !packet.is_late {
            encoding.note_newest(now, packet.timestamp, payload.clock_rate, is_simulcast);
        }
        (packet.is_key_frame, packet.layering) = self.layering(payload.codec, packet.payload);
        Some(packet)
    }

    /// What a payload tells of key frames and layers.
    fn layering(&self, codec: Codec, payload: &[u8]) -> (bool, Layering) {
        match self.kind {
            MediaKind::Video => Layering::read(codec, payload),
            MediaKind::Audio => <_>::default(),
        }
    }

    /// Places a packet of an encoding, for the first time or as a retransmission.
    pub(crate) fn place(&mut self, encoding: u8, sequence_number: u16, is_repaired: bool) -> Result<Place, DropReason> {
        let reception = &mut self.encodings[usize::from(encoding)].reception;
        let place = if is_repaired {
            reception.place_repaired(sequence_number)
        } else {
            reception.place(sequence_number)
        };
        match place {
            Place::Newest { .. } | Place::Late { .. } => Ok(place),
            Place::Duplicate => Err(DropReason::Duplicate),
            Place::TooLate => Err(DropReason::TooLate),
            Place::Jump => Err(DropReason::SequenceJump),
            Place::Restart => {
                self.forget_source(encoding);
                Ok(self.encodings[usize::from(encoding)].reception.place(sequence_number))
            }
        }
    }

    /// Counts a packet of an encoding for reports.
    pub(crate) fn count(&mut self, now: Instant, encoding: u8, timestamp: u32, payload: Payload, is_newest: bool) {
        let since = now.saturating_duration_since(self.origin).as_micros();
        let at = (since * u128::from(payload.clock_rate) / 1_000_000) as u32;
        let tells_time = is_newest && payload.codec != Codec::TelephoneEvent;
        let is_simulcast = self.is_simulcast();
        let encoding = &mut self.encodings[usize::from(encoding)];
        encoding.reception.count(timestamp, tells_time.then_some(at));
        if is_newest {
            encoding.note_newest(now, timestamp, payload.clock_rate, is_simulcast);
        }
    }

    /// Makes what the subscriptions need out of a placed packet.
    pub(crate) fn media_packet<'a>(
        &self,
        packet: &Packet<'a>,
        payload: &'a [u8],
        (encoding, payload_index): (u8, u8),
        place: Place,
    ) -> Option<MediaPacket<'a>> {
        let (sequence, is_late) = match place {
            Place::Newest { sequence, .. } => (sequence, false),
            Place::Late { sequence } => (sequence, true),
            _ => return None,
        };
        let codec = self.payload(payload_index).codec;
        let (is_key_frame, layering) = self.layering(codec, payload);
        Some(MediaPacket {
            sequence,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            encoding,
            payload_index,
            is_key_frame,
            is_late,
            layering,
            carried: Carried::of(packet, &self.extensions),
            payload,
        })
    }
}
