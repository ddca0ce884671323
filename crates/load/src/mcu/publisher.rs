//! Who sends: audio and video in packets, reports, retransmissions, key frames when they are asked for.

use std::collections::VecDeque;

use voex_base::Rng;
use voex_rtp::extension::{Form, Writer};
use voex_rtp::rtcp::{self, Compound, SenderInfo};
use voex_rtp::{FIXED_HEADER_BYTES, FixedHeader, rtx};
use voex_sdp::Description;

use super::connection::{Connection, PACKET_BYTES_MAX};
use super::media::{self, Frame, VIDEO_BYTES_MIN};
use super::plan::{Plan, VIDEO_PACKET_BYTES};
use super::sdp::{self, Sent, uri};
use super::tally::Tally;
use crate::LoadError;
use crate::payload::Stamp;

/// Packets of an encoding that can be sent again: about four seconds of video.
const HISTORY_PACKETS: usize = 512;
/// A key frame has so many times the bytes of another.
const KEY_FRAME_TIMES: usize = 4;
/// Packets of an encoding that carry mid and rid: a browser stops once it hears a report, about a second later.
const NAMED_PACKETS: u32 = 150;
const AUDIO_TICKS: u32 = 960;
const VIDEO_CLOCK: u32 = 90_000;

/// Media that one participant sends.
pub(crate) struct Publisher {
    tracks: Vec<Track>,
    transport_sequence: u16,
    pub(crate) loss: Loss,
}

struct Track {
    is_audio: bool,
    mid: String,
    ids: Ids,
    encodings: Vec<Encoding>,
}

/// Ids of the header extensions that were agreed on.
#[derive(Clone, Copy, Default)]
struct Ids {
    audio_level: Option<u8>,
    abs_send_time: Option<u8>,
    transport_cc: Option<u8>,
    mid: Option<u8>,
    rid: Option<u8>,
    repaired_rid: Option<u8>,
}

struct Encoding {
    flow: u32,
    ssrc: u32,
    rtx_ssrc: u32,
    rid: Option<&'static str>,
    /// Bytes of a frame and its size in pixels; of audio, bytes of a packet.
    frame_bytes: usize,
    size: (u16, u16),
    ticks: u32,
    sequence: u16,
    rtx_sequence: u16,
    timestamp: u32,
    picture_id: u16,
    tl0: u8,
    wants_key_frame: bool,
    packets: u32,
    octets: u32,
    history: VecDeque<(u16, Vec<u8>)>,
}

/// Throws packets away.
pub(crate) struct Loss {
    share: f64,
    rng: Rng,
}

impl Loss {
    pub(crate) fn new(share: f64, rng: Rng) -> Self {
        Self { share, rng }
    }

    /// Throws nothing away from now on.
    pub(crate) fn end(&mut self) {
        self.share = 0.0;
    }

    /// Tells whether the next packet is thrown away.
    pub(crate) fn strikes(&mut self) -> bool {
        self.share > 0.0 && f64::from(self.rng.u32()) < self.share * f64::from(u32::MAX)
    }
}

impl Publisher {
    /// Draws sources for what a plan has a participant send; its flows begin at `flow`.
    pub(crate) fn new(plan: &Plan, mut flow: u32, rng: &mut Rng) -> Self {
        let mut tracks = Vec::new();
        let mut mid = 0..;
        let mut track = |is_audio, shapes: &[(Option<&'static str>, usize, (u16, u16))], ticks| {
            let encodings = shapes.iter().map(|&(rid, frame_bytes, size)| {
                flow += 1;
                Encoding::new(flow - 1, rid, frame_bytes, size, ticks, rng)
            });
            tracks.push(Track {
                is_audio,
                mid: mid.next().unwrap_or(0).to_string(),
                ids: Ids::default(),
                encodings: encodings.collect(),
            });
        };
        if let Some(bytes) = plan.audio_bytes {
            track(true, &[(None, bytes, (0, 0))], AUDIO_TICKS);
        }
        if let Some(video) = plan.video {
            let frame_bytes = |bitrate: u32| (bitrate / 8 / video.fps) as usize;
            let encodings = video.encodings().into_iter();
            let shapes: Vec<_> = encodings
                .map(|(rid, bitrate, size)| (rid, frame_bytes(bitrate), size))
                .collect();
            track(false, &shapes, VIDEO_CLOCK / video.fps);
        }
        Self {
            tracks,
            transport_sequence: 0,
            loss: Loss::new(plan.loss, rng.split()),
        }
    }

    /// Flows of a participant: one for each encoding.
    pub(crate) fn flows(plan: &Plan) -> u32 {
        let video = plan.video.map_or(0, |video| video.encodings().len());
        (usize::from(plan.audio_bytes.is_some()) + video) as u32
    }

    /// What is offered.
    pub(crate) fn media(&self) -> Vec<Sent> {
        self.tracks.iter().map(Track::sent).collect()
    }

    /// Takes the server's answer.
    pub(crate) fn agree(&mut self, answer: &Description) -> Result<(), LoadError> {
        for track in &mut self.tracks {
            let media = answer.by_mid(&track.mid).filter(|media| !media.is_rejected());
            let media = media.ok_or_else(|| LoadError::Sdp(format!("it refuses the medium of mid {}", track.mid)))?;
            let id = |uri| sdp::extension(media, uri);
            track.ids = Ids {
                audio_level: id(uri::AUDIO_LEVEL),
                abs_send_time: id(uri::ABS_SEND_TIME),
                transport_cc: id(uri::TRANSPORT_CC),
                mid: id(uri::MID),
                rid: id(uri::RID),
                repaired_rid: id(uri::REPAIRED_RID),
            };
        }
        Ok(())
    }

    /// Sends an audio packet, or a frame of each encoding of the video. `clock` gives the time since the load began;
    /// `sent` counts by flow.
    pub(crate) fn send(
        &mut self,
        is_audio: bool,
        connection: &mut Connection,
        clock: impl Fn() -> u64,
        sent: &mut [u64],
        tally: &mut Tally,
    ) {
        let (loss, transport_sequence) = (&mut self.loss, &mut self.transport_sequence);
        for track in self.tracks.iter_mut().filter(|track| track.is_audio == is_audio) {
            for encoding in &mut track.encodings {
                let out = &mut Out {
                    connection: &mut *connection,
                    transport_sequence: &mut *transport_sequence,
                    loss: &mut *loss,
                    tally: &mut *tally,
                };
                let (mid, ids) = (&track.mid, track.ids);
                encoding.send_frame(is_audio, mid, ids, out, &clock, &mut sent[encoding.flow as usize]);
            }
        }
    }

    /// Sends a report on every source; `ntp` is the time by the clock of the wall.
    pub(crate) fn report(&mut self, connection: &mut Connection, ntp: u64) {
        let mut buf = [0; PACKET_BYTES_MAX];
        let mut writer = rtcp::Writer::new(&mut buf[..1_200]);
        let encodings = self.tracks.iter().flat_map(|track| &track.encodings);
        for encoding in encodings.clone().filter(|encoding| encoding.packets > 0) {
            let info = SenderInfo {
                ssrc: encoding.ssrc,
                ntp,
                rtp_timestamp: encoding.timestamp,
                packets: encoding.packets,
                octets: encoding.octets,
            };
            let name = std::iter::once((encoding.ssrc, "load"));
            // A compound holds all sources of a participant: three encodings at most.
            let written = writer.sender_report(info, &[]);
            let _ = written.and_then(|()| writer.source_descriptions(name));
        }
        let len = writer.len();
        if len > 0 {
            connection.send_rtcp(&mut buf, len);
        }
    }

    /// Does what the server asks for.
    pub(crate) fn handle_rtcp(&mut self, packet: &[u8], connection: &mut Connection, tally: &mut Tally) {
        let Ok(compound) = Compound::parse(packet) else {
            tally.faults.foreign += 1;
            return;
        };
        for packet in compound.packets().flatten() {
            match packet {
                rtcp::Packet::PictureLoss { media_ssrc } => self.ask_key_frame(media_ssrc, tally),
                rtcp::Packet::FullIntra(requests) => {
                    requests.for_each(|(ssrc, _)| self.ask_key_frame(ssrc, tally));
                }
                rtcp::Packet::Nack(nacks) => {
                    for sequence in nacks.sequence_numbers() {
                        self.send_again(nacks.media_ssrc, sequence, connection, tally);
                    }
                }
                rtcp::Packet::TransportFeedback(_) => tally.feedback.transport += 1,
                rtcp::Packet::Remb(_) => tally.feedback.remb += 1,
                _ => {}
            }
        }
    }

    fn ask_key_frame(&mut self, ssrc: u32, tally: &mut Tally) {
        tally.feedback.key_frame_requests += 1;
        let mut encodings = self.tracks.iter_mut().flat_map(|track| &mut track.encodings);
        if let Some(encoding) = encodings.find(|encoding| encoding.ssrc == ssrc) {
            encoding.wants_key_frame = true;
        }
    }

    fn send_again(&mut self, ssrc: u32, sequence: u16, connection: &mut Connection, tally: &mut Tally) {
        tally.feedback.nacked += 1;
        let (loss, transport_sequence) = (&mut self.loss, &mut self.transport_sequence);
        for track in &mut self.tracks {
            let Some(encoding) = track.encodings.iter_mut().find(|encoding| encoding.ssrc == ssrc) else {
                continue;
            };
            let out = &mut Out {
                connection: &mut *connection,
                transport_sequence: &mut *transport_sequence,
                loss: &mut *loss,
                tally: &mut *tally,
            };
            encoding.send_again(sequence, &track.mid, track.ids, out);
        }
    }
}

/// The way out.
struct Out<'a> {
    connection: &'a mut Connection,
    transport_sequence: &'a mut u16,
    loss: &'a mut Loss,
    tally: &'a mut Tally,
}

impl Out<'_> {
    /// Sends a packet, or throws it away where it may be.
    fn send(&mut self, buf: &mut [u8], len: usize, may_be_lost: bool) {
        *self.transport_sequence = self.transport_sequence.wrapping_add(1);
        if may_be_lost && self.loss.strikes() {
            self.tally.thrown_away += 1;
        } else if !self.connection.send_rtp(buf, len) {
            self.tally.faults.unsent += 1;
        }
    }
}

impl Track {
    fn sent(&self) -> Sent {
        let first = &self.encodings[0];
        match (self.is_audio, first.rid) {
            (true, _) => Sent::Audio { ssrc: first.ssrc },
            (false, None) => Sent::Video {
                ssrc: first.ssrc,
                rtx_ssrc: first.rtx_ssrc,
            },
            (false, Some(_)) => Sent::Simulcast(self.encodings.iter().filter_map(|encoding| encoding.rid).collect()),
        }
    }
}

impl Encoding {
    fn new(
        flow: u32,
        rid: Option<&'static str>,
        frame_bytes: usize,
        size: (u16, u16),
        ticks: u32,
        rng: &mut Rng,
    ) -> Self {
        Self {
            flow,
            ssrc: rng.u32(),
            rtx_ssrc: rng.u32(),
            rid,
            frame_bytes,
            size,
            ticks,
            // Below 2^15, as browsers begin, so that the first wrap is no earlier than a minute on.
            sequence: rng.u32() as u16 >> 1,
            rtx_sequence: rng.u32() as u16 >> 1,
            timestamp: rng.u32(),
            picture_id: rng.u32() as u16 & 0x7fff,
            tl0: rng.u32() as u8,
            wants_key_frame: true,
            packets: 0,
            octets: 0,
            history: VecDeque::new(),
        }
    }

    fn send_frame(
        &mut self,
        is_audio: bool,
        mid: &str,
        ids: Ids,
        out: &mut Out<'_>,
        clock: &impl Fn() -> u64,
        sent: &mut u64,
    ) {
        let is_key = !is_audio && std::mem::take(&mut self.wants_key_frame);
        let frame_bytes = if is_key {
            KEY_FRAME_TIMES * self.frame_bytes
        } else {
            self.frame_bytes
        };
        let packets = if is_audio {
            1
        } else {
            frame_bytes.div_ceil(VIDEO_PACKET_BYTES).max(1)
        };
        out.tally.key_frames += u64::from(is_key);
        let frame = Frame {
            is_key,
            picture_id: self.picture_id,
            tl0: self.tl0,
            size: self.size,
        };
        for packet in 0..packets {
            let mut buf = [0; PACKET_BYTES_MAX];
            let is_last = packet + 1 == packets;
            let header = self.header(!is_audio && is_last, if is_audio { sdp::OPUS } else { sdp::VP8 });
            let now_ns = clock();
            let start = self.write_header(&mut buf, header, mid, ids, *out.transport_sequence, now_ns, false);
            let stamp = Stamp {
                flow: self.flow,
                sequence: *sent,
                sent_ns: now_ns,
            };
            let payload_bytes = if is_audio {
                frame_bytes
            } else {
                (frame_bytes / packets).max(VIDEO_BYTES_MIN)
            };
            let len = start + payload_bytes;
            if is_audio {
                media::write_audio(&mut buf[start..len], &stamp);
            } else {
                media::write_video(&mut buf[start..len], frame, packet == 0, &stamp);
                self.remember(header.sequence_number, &buf[..len]);
            }
            *sent += 1;
            self.sequence = self.sequence.wrapping_add(1);
            self.packets += 1;
            self.octets = self.octets.wrapping_add(payload_bytes as u32);
            // Audio is not asked for again, and nothing can be asked for before the first packet has arrived.
            let begins_all = is_key && packet == 0;
            out.send(&mut buf, len, !(is_audio || begins_all));
        }
        self.timestamp = self.timestamp.wrapping_add(self.ticks);
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
    }

    /// Sends a packet again (RFC 4588), if it is not too old.
    fn send_again(&mut self, sequence: u16, mid: &str, ids: Ids, out: &mut Out<'_>) {
        let Some(at) = self.history.iter().position(|(number, _)| *number == sequence) else {
            out.tally.feedback.too_old += 1;
            return;
        };
        let original = &self.history[at].1;
        let Ok(packet) = voex_rtp::Packet::parse(original) else {
            return;
        };
        let header = FixedHeader {
            has_extension: false,
            marker: packet.marker(),
            payload_type: sdp::RTX,
            sequence_number: self.rtx_sequence,
            timestamp: packet.timestamp(),
            ssrc: self.rtx_ssrc,
        };
        let mut buf = [0; PACKET_BYTES_MAX];
        let start = self.write_header(&mut buf, header, mid, ids, *out.transport_sequence, 0, true);
        let room = &mut buf[start..PACKET_BYTES_MAX - voex_transport::PROTECT_OVERHEAD_BYTES];
        if let Some(len) = rtx::wrap(room, sequence, packet.payload()) {
            self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
            out.tally.feedback.sent_again += 1;
            out.send(&mut buf, start + len, true);
        }
    }

    fn header(&self, marker: bool, payload_type: u8) -> FixedHeader {
        FixedHeader {
            has_extension: false,
            marker,
            payload_type,
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// Writes header and extensions; gives their length.
    #[expect(clippy::too_many_arguments, reason = "everything that stands in a header")]
    fn write_header(
        &self,
        buf: &mut [u8],
        mut header: FixedHeader,
        mid: &str,
        ids: Ids,
        transport_sequence: u16,
        now_ns: u64,
        is_repair: bool,
    ) -> usize {
        let mut writer = Writer::new(&mut buf[FIXED_HEADER_BYTES..], Form::OneByte);
        let mut put = |id: Option<u8>, content: &[u8]| {
            // Ids are those of the one-byte form, contents are short: it fits.
            id.is_some_and(|id| writer.push(id, content).is_ok())
        };
        put(ids.transport_cc, &transport_sequence.to_be_bytes());
        put(ids.abs_send_time, &abs_send_time(now_ns));
        if header.payload_type == sdp::OPUS {
            // Speech, 30 dB below the loudest.
            put(ids.audio_level, &[0x80 | 30]);
        }
        if self.packets < NAMED_PACKETS || is_repair {
            put(ids.mid, mid.as_bytes());
            if let Some(rid) = self.rid {
                put(if is_repair { ids.repaired_rid } else { ids.rid }, rid.as_bytes());
            }
        }
        let extension = writer.finish().unwrap_or(0);
        header.has_extension = extension > 0;
        buf[..FIXED_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        FIXED_HEADER_BYTES + extension
    }

    fn remember(&mut self, sequence: u16, packet: &[u8]) {
        let mut room = if self.history.len() == HISTORY_PACKETS {
            self.history.pop_front().map(|(_, room)| room).unwrap_or_default()
        } else {
            Vec::new()
        };
        room.clear();
        room.extend_from_slice(packet);
        self.history.push_back((sequence, room));
    }
}

/// Seconds in 6.18 fixed point, the lower 24 bits of them.
fn abs_send_time(now_ns: u64) -> [u8; 3] {
    let fixed = (u128::from(now_ns) << 18) / 1_000_000_000;
    let [.., a, b, c] = (fixed as u32).to_be_bytes();
    [a, b, c]
}
