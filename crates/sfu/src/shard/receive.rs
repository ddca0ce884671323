//! From a datagram to a packet of a track.

use std::time::Instant;

use voex_base::{MTU_BYTES, Outbox, WallTime};
use voex_rtp::payload::event::TelephoneEvent;
use voex_rtp::rtcp::Compound;
use voex_rtp::{Packet, is_rtcp, rtx};
use voex_transport::{Received, binding_request_ufrag};

use super::Shard;
use crate::DropReason;
use crate::command::{Codec, DownReason, Event};
use crate::connection::{Link, Source, Timer};
use crate::limits::TWCC_INTERVAL;
use crate::missing::Outlook;
use crate::packet::{MediaPacket, element};
use crate::reception::Place;
use crate::remotes::Pair;
use crate::track::PayloadType;

impl Shard {
    pub(super) fn receive(
        &mut self,
        now: Instant,
        wall: WallTime,
        pair: Pair,
        data: &mut [u8],
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        if let Some(key) = self.index.plain_sockets.get(&pair.0).copied() {
            return self.receive_plain(now, wall, key, pair, data, out);
        }
        let key = self.owner(pair, data).ok_or(DropReason::UnknownSource)?;
        self.receive_webrtc(now, wall, key, pair, data, out)
    }

    /// Finds the transport of a datagram on a shared socket. An ICE check names its transport, whatever its address
    /// was before: a browser behind one relay may start another call from the same port.
    fn owner(&self, pair: Pair, data: &[u8]) -> Option<usize> {
        if data.first().is_some_and(|first| *first < 4) {
            let named = binding_request_ufrag(data).and_then(|ufrag| self.index.ufrags.get(ufrag));
            if let Some(key) = named {
                return Some(*key);
            }
        }
        self.index.remotes.owner(pair)
    }

    fn receive_webrtc(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        pair: Pair,
        data: &mut [u8],
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let Link::WebRtc(transport) = &mut self.connections[key].link else {
            return Err(DropReason::UnknownSource);
        };
        match transport.handle_datagram(now, pair.0, pair.1, data, out) {
            Received::Rtp(length) => {
                let packet = Packet::parse(&data[..length]).map_err(|_| DropReason::MalformedRtp)?;
                self.receive_rtp(now, wall, key, &packet, length, out)
            }
            Received::Rtcp(length) => self.receive_rtcp(now, wall, key, &data[..length], out),
            Received::Nothing => {
                self.after_transport(now, key, out);
                Ok(())
            }
            Received::Drop(reason) => {
                if is_of_another(reason) {
                    self.index.remotes.doubt(pair);
                }
                self.after_transport(now, key, out);
                Err(DropReason::Transport)
            }
        }
    }

    fn receive_plain(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        (socket, from): Pair,
        data: &[u8],
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let connection = &mut self.connections[key];
        let Link::Plain(plain) = &mut connection.link else {
            return Err(DropReason::UnknownSource);
        };
        if is_rtcp(data) {
            Compound::parse(data).map_err(|_| DropReason::MalformedRtcp)?;
            plain.accept_rtcp(from)?;
            return self.receive_rtcp(now, wall, key, data, out);
        }
        if plain.rtcp == Some(socket) {
            return Err(DropReason::UnexpectedProtocol);
        }
        let packet = Packet::parse(data).map_err(|_| DropReason::MalformedRtp)?;
        let tracks = &self.tracks;
        let is_negotiated = |track: &usize| tracks[*track].payload_type(packet.payload_type()) != PayloadType::Unknown;
        if !connection.tracks.iter().any(is_negotiated) {
            return Err(DropReason::UnknownPayloadType);
        }
        plain.accept_rtp(from)?;
        self.receive_rtp(now, wall, key, &packet, data.len(), out)
    }

    /// Follows what a transport says after it was given something.
    pub(super) fn after_transport(&mut self, now: Instant, key: usize, out: &mut impl Outbox) {
        loop {
            let Link::WebRtc(transport) = &mut self.connections[key].link else {
                return;
            };
            match transport.poll_event() {
                Some(voex_transport::Event::Up) => {
                    let id = self.connections[key].id;
                    self.tell(Event::TransportUp(id));
                    self.refresh_streams(now, key, out);
                    self.send_bitrate_cap(key, out);
                }
                Some(voex_transport::Event::Down(reason)) => {
                    return self.go_down(now, key, down_reason(reason), out);
                }
                Some(voex_transport::Event::RemoteAdded(socket, address)) => {
                    self.index.remotes.claim((socket, address), key);
                }
                Some(voex_transport::Event::RemoteRemoved(socket, address)) => {
                    self.index.remotes.release((socket, address), key);
                }
                None => {
                    self.pass_data(now, key, out);
                    if let Link::WebRtc(transport) = &self.connections[key].link {
                        let next = transport.poll_timeout();
                        self.connections[key].timers.set(Timer::Transport, next);
                    }
                    return self.reschedule(key);
                }
            }
        }
    }

    fn receive_rtp(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        packet: &Packet<'_>,
        length: usize,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        self.metrics.received_packets.inc();
        self.metrics.received_bytes.add(length as u64);
        if length > MTU_BYTES {
            return Err(DropReason::TooLong);
        }
        self.note_arrival(now, key, packet);
        let (track, encoding) = self.track_of(now, key, packet)?;
        let payload_type = self.tracks[track].payload_type(packet.payload_type());
        let received = match payload_type {
            PayloadType::Unknown => Err(DropReason::UnknownPayloadType),
            PayloadType::Media(index) => self.receive_media(now, wall, track, (encoding, index), packet, out),
            PayloadType::Rtx(index) => self.receive_repair(now, wall, track, (encoding, index), packet, out),
        };
        self.reschedule(key);
        received
    }

    /// Notes a packet for transport-wide feedback.
    fn note_arrival(&mut self, now: Instant, key: usize, packet: &Packet<'_>) {
        let connection = &mut self.connections[key];
        let Some(arrivals) = &mut connection.arrivals else {
            return;
        };
        let content = element(packet, connection.transport_cc_extension);
        if let Some(sequence) = content.and_then(|content| content.first_chunk()) {
            arrivals.note(now, u16::from_be_bytes(*sequence));
            if !connection.timers.is_armed(Timer::Feedback) {
                connection.timers.arm(Timer::Feedback, now + TWCC_INTERVAL);
                self.reschedule(key);
            }
        }
    }

    /// Finds the track and encoding of a packet: by an SSRC seen before, else as [`learn`](Self::learn) says.
    #[inline]
    fn track_of(&mut self, now: Instant, key: usize, packet: &Packet<'_>) -> Result<(usize, u8), DropReason> {
        let ssrc = packet.ssrc();
        let known = self.connections[key].sources.iter().find(|source| source.ssrc == ssrc);
        match known {
            Some(source) => Ok((source.track, source.encoding)),
            None => self.learn(now, key, packet).ok_or(DropReason::UnknownSsrc),
        }
    }

    /// Places a new SSRC by mid, else by a payload type that only one track has, and then by rid where the track has
    /// several encodings; remembers it in place of the one learned for that encoding before.
    fn learn(&mut self, now: Instant, key: usize, packet: &Packet<'_>) -> Option<(usize, u8)> {
        let connection = &mut self.connections[key];
        let tracks = &self.tracks;
        let payload_type = packet.payload_type();
        let track = match element(packet, connection.mid_extension) {
            Some(mid) => {
                let has_mid = |track: &&usize| tracks[**track].mid.as_bytes() == mid;
                *connection.tracks.iter().find(has_mid)?
            }
            None => {
                let has_type = |track: &&usize| tracks[**track].payload_type(payload_type) != PayloadType::Unknown;
                let mut with_type = connection.tracks.iter().filter(has_type);
                let track = *with_type.next()?;
                with_type.next().is_none().then_some(track)?
            }
        };
        let is_rtx = match tracks[track].payload_type(payload_type) {
            PayloadType::Unknown => return None,
            PayloadType::Media(_) => false,
            PayloadType::Rtx(_) => true,
        };
        let encoding = tracks[track].encoding_of(packet, is_rtx)?;
        if !is_rtx && !tracks[track].encodings[usize::from(encoding)].may_change_source(now) {
            return None;
        }
        let is_same = |source: &Source| (source.track, source.encoding, source.is_rtx) == (track, encoding, is_rtx);
        connection
            .sources
            .retain(|source| source.is_declared || !is_same(source));
        connection.sources.push(Source {
            ssrc: packet.ssrc(),
            track,
            encoding,
            is_rtx,
            is_declared: false,
        });
        Some((track, encoding))
    }

    fn receive_media(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        (encoding, index): (u8, u8),
        packet: &Packet<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let track = &mut self.tracks[key];
        if track.encodings[usize::from(encoding)].ssrc != Some(packet.ssrc()) {
            track.change_source(now, encoding, packet.ssrc())?;
        }
        let place = track.place(encoding, packet.sequence_number(), false)?;
        let payload = track.payload(index);
        let is_newest = matches!(place, Place::Newest { .. });
        track.count(now, encoding, packet.timestamp(), payload, is_newest);
        let outlook = self.note_gaps(now, key, encoding, place);
        if outlook == Outlook::Lost {
            self.want_lost_key_frame(now, key, encoding, out);
        }
        self.note_activity(now, key);
        self.note_digits(key, packet, index);
        if let Some(speech) = self.tracks[key].note_level(packet) {
            let id = self.tracks[key].id;
            self.tell(Event::Speech(id, speech));
        }
        let passed = self.pass_on(now, wall, key, (encoding, index), packet, packet.payload(), place, out);
        self.note_new(now, key, encoding, out);
        passed
    }

    /// Looks whether a packet was the first of an encoding that begins anew.
    #[inline]
    pub(super) fn note_new(&mut self, now: Instant, key: usize, encoding: u8, out: &mut impl Outbox) {
        if std::mem::take(&mut self.tracks[key].encodings[usize::from(encoding)].is_new) {
            self.want_first_key_frame(now, key, encoding, out);
        }
    }

    /// An encoding starts anew: who is still without it after the first packet needs a key frame.
    #[cold]
    fn want_first_key_frame(&mut self, now: Instant, key: usize, encoding: u8, out: &mut impl Outbox) {
        if self.tracks[key].is_awaited(encoding) {
            self.want_key_frame(now, key, encoding, out);
        }
    }

    /// Something is lost for good: who gets the encoding needs a key frame.
    pub(super) fn want_lost_key_frame(&mut self, now: Instant, key: usize, encoding: u8, out: &mut impl Outbox) {
        if self.tracks[key].is_watched(encoding) {
            self.want_key_frame(now, key, encoding, out);
        }
    }

    /// Takes a retransmission: the packet it repeats, late.
    fn receive_repair(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        (encoding, index): (u8, u8),
        packet: &Packet<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let (original, payload) = rtx::unwrap(packet.payload()).ok_or(DropReason::Empty)?;
        let track = &mut self.tracks[key];
        if track.encodings[usize::from(encoding)].newest.is_none() {
            return Err(DropReason::NothingToRepair);
        }
        let place = track.place(encoding, original, true)?;
        let _ = self.note_gaps(now, key, encoding, place);
        self.metrics.recovered_packets.inc();
        self.pass_on(now, wall, key, (encoding, index), packet, payload, place, out)
    }

    #[allow(clippy::too_many_arguments)] // one packet and where it stands
    fn pass_on(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        (encoding, index): (u8, u8),
        packet: &Packet<'_>,
        payload: &[u8],
        place: Place,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let track = &mut self.tracks[key];
        let Some(media) = track.media_packet(packet, payload, (encoding, index), place) else {
            return Err(DropReason::TooLate);
        };
        self.pipe(now, key, &media);
        self.deliver(now, wall, key, &media, out)
    }

    /// Gives a packet to the ring and to the subscriptions here.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        wall: WallTime,
        key: usize,
        media: &MediaPacket<'_>,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        if media.payload.is_empty() {
            let subscriptions = self.tracks[key].subscriptions.iter_mut();
            subscriptions.for_each(|subscription| subscription.skip(media.encoding, media.sequence));
            return Err(DropReason::Empty);
        }
        self.keep(key, media);
        self.forward(now, wall, key, media, out);
        Ok(())
    }

    fn keep(&mut self, key: usize, media: &MediaPacket<'_>) {
        let encoding = &mut self.tracks[key].encodings[usize::from(media.encoding)];
        if let Some(ring) = &mut encoding.ring {
            ring.insert(media);
        }
        if media.is_key_frame {
            encoding.key_frames.arrived();
        }
    }

    /// Keeps the list of missing packets.
    fn note_gaps(&mut self, now: Instant, key: usize, encoding: u8, place: Place) -> Outlook {
        let track = &mut self.tracks[key];
        let Some(missing) = &mut track.encodings[usize::from(encoding)].missing else {
            return Outlook::Hopeful;
        };
        let outlook = match place {
            Place::Newest { missing: 0, .. } => return Outlook::Hopeful,
            Place::Newest {
                sequence,
                missing: count,
            } => missing.add(now, sequence, count),
            Place::Late { sequence } => {
                missing.remove(now, sequence);
                return Outlook::Hopeful;
            }
            _ => return Outlook::Hopeful,
        };
        if let Some(next) = missing.next_at() {
            self.connections[track.connection].timers.arm(Timer::Nack, next);
        }
        outlook
    }

    /// Tells when a track begins to receive, and watches for its silence.
    fn note_activity(&mut self, now: Instant, key: usize) {
        let track = &mut self.tracks[key];
        if track.is_receiving {
            return;
        }
        track.is_receiving = true;
        let (id, connection) = (track.id, track.connection);
        let silent_at = now + self.config.no_media_timer;
        self.connections[connection].timers.arm(Timer::Silence, silent_at);
        self.tell(Event::TrackReceiving(id));
    }

    fn note_digits(&mut self, key: usize, packet: &Packet<'_>, index: u8) {
        let track = &mut self.tracks[key];
        let payload = track.payload(index);
        let ended = if payload.codec == Codec::TelephoneEvent {
            let Ok(event) = TelephoneEvent::parse(packet.payload()) else {
                return;
            };
            track.digits.handle(packet.timestamp(), event, payload.clock_rate)
        } else {
            track.digits.handle_other(packet.timestamp())
        };
        if let Some((digit, duration)) = ended {
            let id = track.id;
            self.tell(Event::Digit(id, digit, duration));
        }
    }
}

/// Whether what a transport refused may have been meant for another that claims the same pair.
fn is_of_another(reason: voex_transport::DropReason) -> bool {
    use voex_transport::DropReason;
    matches!(
        reason,
        DropReason::SrtpNotAuthentic | DropReason::SrtpNoKeys | DropReason::DtlsUnexpected | DropReason::UnknownRemote
    )
}

fn down_reason(reason: voex_transport::DownReason) -> DownReason {
    match reason {
        voex_transport::DownReason::DtlsAlert => DownReason::DtlsAlert,
        voex_transport::DownReason::DtlsError => DownReason::DtlsError,
        voex_transport::DownReason::DtlsTimeout => DownReason::DtlsTimeout,
        voex_transport::DownReason::IceFailed => DownReason::IceFailed,
    }
}
