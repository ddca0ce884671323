//! Tracks on several workers: what their shards tell one another.
//!
//! ```text
//!  home: the track arrives here                    other worker: the track is piped
//!  Track ───── Packet, Report ───────────────────► Track: ring and subscriptions of its own
//!    ▲                                                │
//!    └──────── Watch, each second; KeyFrame, Resend ◄─┘
//! ```
//!
//! The control plane names the home to the other worker and nothing to the home: who has subscriptions asks to watch,
//! again and again, and the home forgets who no longer does. A message that was lost on the way is made good by the next.

use std::time::Instant;

use voex_base::{TrackId, WorkerId};
use voex_rtp::rtcp::SenderInfo;

use crate::limits::{PIPE_BYTES, PIPES_PER_TRACK_MAX, WATCH_LAPSE};
use crate::packet::{Carried, MediaPacket};

/// What one shard tells another about a track.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message<'a> {
    /// From home: a packet of the track. What is read out of the payload is left out.
    Packet {
        track: TrackId,
        /// Changes when the encoding starts anew.
        epoch: u8,
        packet: MediaPacket<'a>,
    },
    /// From home: an SR of one of its encodings.
    Report {
        track: TrackId,
        encoding: u8,
        epoch: u8,
        info: SenderInfo,
        /// Our wall clock minus the sender's, in 2^-32 s: the same for all tracks of a sender, so that they stay in step.
        clock_offset: i64,
    },
    /// To home: there are subscriptions; bits tell which encodings they get or wait for.
    Watch(TrackId, u8),
    /// To home: there are none.
    Unwatch(TrackId),
    /// To home: somebody needs a key frame of an encoding.
    KeyFrame(TrackId, u8),
    /// To home: a packet did not come.
    Resend {
        track: TrackId,
        encoding: u8,
        epoch: u8,
        sequence: u64,
    },
}

const PACKET: u8 = 1;
const REPORT: u8 = 2;
const WATCH: u8 = 3;
const UNWATCH: u8 = 4;
const KEY_FRAME: u8 = 5;
const RESEND: u8 = 6;

/// Bytes in front of the payload at most.
const HEAD_BYTES_MAX: usize = 40;

const MARKER: u8 = 1;
const LATE: u8 = 2;
const AUDIO_LEVEL: u8 = 4;
const VIDEO_ORIENTATION: u8 = 8;
const PLAYOUT_DELAY: u8 = 16;

impl<'a> Message<'a> {
    fn kind(&self) -> (u8, TrackId) {
        match *self {
            Self::Packet { track, .. } => (PACKET, track),
            Self::Report { track, .. } => (REPORT, track),
            Self::Watch(track, _) => (WATCH, track),
            Self::Unwatch(track) => (UNWATCH, track),
            Self::KeyFrame(track, _) => (KEY_FRAME, track),
            Self::Resend { track, .. } => (RESEND, track),
        }
    }

    /// Appends the message.
    fn write(&self, out: &mut Vec<u8>) {
        let (kind, track) = self.kind();
        out.push(kind);
        out.extend(track.0.to_be_bytes());
        match self {
            Self::Packet { epoch, packet, .. } => {
                out.push(*epoch);
                write_packet(packet, out);
            }
            Self::Report {
                encoding,
                epoch,
                info,
                clock_offset,
                ..
            } => {
                out.extend([*encoding, *epoch]);
                out.extend(clock_offset.to_be_bytes());
                out.extend(info.ssrc.to_be_bytes());
                out.extend(info.ntp.to_be_bytes());
                out.extend(info.rtp_timestamp.to_be_bytes());
            }
            Self::KeyFrame(_, encoding) => out.push(*encoding),
            Self::Resend {
                encoding,
                epoch,
                sequence,
                ..
            } => {
                out.extend([*encoding, *epoch]);
                out.extend(sequence.to_be_bytes());
            }
            Self::Watch(_, encodings) => out.push(*encodings),
            Self::Unwatch(_) => {}
        }
    }

    /// Reads a message; `None` when it is none.
    pub(crate) fn read(data: &'a [u8]) -> Option<Self> {
        let mut data = data;
        let [kind] = take(&mut data)?;
        let track = TrackId(u64::from_be_bytes(take(&mut data)?));
        Some(match kind {
            PACKET => {
                let [epoch] = take(&mut data)?;
                let packet = read_packet(data)?;
                Self::Packet { track, epoch, packet }
            }
            REPORT => {
                let [encoding, epoch] = take(&mut data)?;
                let clock_offset = i64::from_be_bytes(take(&mut data)?);
                let info = SenderInfo {
                    ssrc: u32::from_be_bytes(take(&mut data)?),
                    ntp: u64::from_be_bytes(take(&mut data)?),
                    rtp_timestamp: u32::from_be_bytes(take(&mut data)?),
                    packets: 0,
                    octets: 0,
                };
                Self::Report {
                    track,
                    encoding,
                    epoch,
                    info,
                    clock_offset,
                }
            }
            WATCH => {
                let [encodings] = take(&mut data)?;
                Self::Watch(track, encodings)
            }
            UNWATCH => Self::Unwatch(track),
            KEY_FRAME => {
                let [encoding] = take(&mut data)?;
                Self::KeyFrame(track, encoding)
            }
            RESEND => {
                let [encoding, epoch] = take(&mut data)?;
                Self::Resend {
                    track,
                    encoding,
                    epoch,
                    sequence: u64::from_be_bytes(take(&mut data)?),
                }
            }
            _ => return None,
        })
    }
}

fn write_packet(packet: &MediaPacket<'_>, out: &mut Vec<u8>) {
    let carried = &packet.carried;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(
        flag(packet.marker, MARKER)
            | flag(packet.is_late, LATE)
            | flag(carried.audio_level.is_some(), AUDIO_LEVEL)
            | flag(carried.video_orientation.is_some(), VIDEO_ORIENTATION)
            | flag(carried.playout_delay.is_some(), PLAYOUT_DELAY),
    );
    out.extend([packet.encoding, packet.payload_index]);
    out.extend(packet.sequence.to_be_bytes());
    out.extend(packet.timestamp.to_be_bytes());
    out.extend(carried.audio_level);
    out.extend(carried.video_orientation);
    out.extend(carried.playout_delay.iter().flatten());
    out.extend(packet.payload);
}

fn read_packet(mut data: &[u8]) -> Option<MediaPacket<'_>> {
    let [flags, encoding, payload_index] = take(&mut data)?;
    let has = |flag: u8| flags & flag != 0;
    let mut packet = MediaPacket {
        sequence: u64::from_be_bytes(take(&mut data)?),
        timestamp: u32::from_be_bytes(take(&mut data)?),
        marker: has(MARKER),
        encoding,
        payload_index,
        is_late: has(LATE),
        ..MediaPacket::default()
    };
    let mut carried = Carried::default();
    if has(AUDIO_LEVEL) {
        let [level] = take(&mut data)?;
        carried.audio_level = Some(level);
    }
    if has(VIDEO_ORIENTATION) {
        let [orientation] = take(&mut data)?;
        carried.video_orientation = Some(orientation);
    }
    if has(PLAYOUT_DELAY) {
        carried.playout_delay = Some(take(&mut data)?);
    }
    packet.carried = carried;
    packet.payload = data;
    Some(packet)
}

fn take<const N: usize>(data: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(*first)
}

/// Messages on their way out of a shard: taken after each call, so that it holds what one datagram brings.
pub(crate) struct PipeQueue {
    bytes: Vec<u8>,
    read: usize,
}

/// Worker (2 bytes) and length (2 bytes) in front of each message.
const ENTRY_BYTES: usize = 4;

impl PipeQueue {
    /// Makes an empty queue. It allocates here and never again.
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(PIPE_BYTES),
            read: 0,
        }
    }

    /// Queues a message for a worker; false when there is no room.
    #[must_use]
    pub(crate) fn push(&mut self, to: WorkerId, message: &Message<'_>) -> bool {
        let payload = match message {
            Message::Packet { packet, .. } => packet.payload.len(),
            _ => 0,
        };
        if self.bytes.len() + ENTRY_BYTES + HEAD_BYTES_MAX + payload > PIPE_BYTES {
            return false;
        }
        self.bytes.extend(to.0.to_be_bytes());
        let at = self.bytes.len();
        self.bytes.extend([0; 2]);
        message.write(&mut self.bytes);
        let length = (self.bytes.len() - at - 2) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        true
    }

    /// Takes the oldest message.
    pub(crate) fn pop(&mut self) -> Option<(WorkerId, &[u8])> {
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
            return None;
        }
        let [w0, w1, l0, l1] = *self.bytes[self.read..].first_chunk()?;
        let at = self.read + ENTRY_BYTES;
        let end = at + usize::from(u16::from_be_bytes([l0, l1]));
        self.read = end;
        Some((WorkerId(u16::from_be_bytes([w0, w1])), self.bytes.get(at..end)?))
    }
}

/// The workers that watch a track, at its home.
#[derive(Default)]
pub(crate) struct Watchers(Vec<Watcher>);

struct Watcher {
    worker: WorkerId,
    until: Instant,
    /// Bits of encodings.
    encodings: u8,
}

impl Watchers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that a worker watches, for a while; says whether it did not before.
    pub(crate) fn watch(&mut self, now: Instant, worker: WorkerId, encodings: u8) -> bool {
        let before = self.0.len();
        self.unwatch(worker);
        let is_new = self.0.len() == before;
        if self.0.len() < PIPES_PER_TRACK_MAX {
            let until = now + WATCH_LAPSE;
            self.0.push(Watcher {
                worker,
                until,
                encodings,
            });
        }
        is_new
    }

    /// Whether a worker has subscriptions that get an encoding or wait for it.
    pub(crate) fn want(&self, encoding: u8) -> bool {
        self.0
            .iter()
            .any(|watcher| watcher.encodings & (1_u8 << (encoding & 7)) != 0)
    }

    pub(crate) fn unwatch(&mut self, worker: WorkerId) {
        self.0.retain(|watcher| watcher.worker != worker);
    }

    /// Gives who watches now; who has not said so for long is forgotten.
    pub(crate) fn current(&mut self, now: Instant) -> impl Iterator<Item = WorkerId> {
        self.0.retain(|watcher| watcher.until > now);
        self.0.iter().map(|watcher| watcher.worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: &[u8]) -> Message<'_> {
        let packet = MediaPacket {
            sequence: 0x1_0007,
            timestamp: 9,
            marker: true,
            encoding: 2,
            payload_index: 3,
            is_late: true,
            carried: Carried {
                audio_level: Some(4),
                video_orientation: None,
                playout_delay: Some([1, 2, 3]),
            },
            payload,
            ..MediaPacket::default()
        };
        Message::Packet {
            track: TrackId(5),
            epoch: 6,
            packet,
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in_and_in_their_order() {
        let info = SenderInfo {
            ssrc: 1,
            ntp: 2,
            rtp_timestamp: 3,
            packets: 0,
            octets: 0,
        };
        let report = Message::Report {
            track: TrackId(5),
            encoding: 1,
            epoch: 7,
            info,
            clock_offset: -4,
        };
        let resend = Message::Resend {
            track: TrackId(6),
            encoding: 1,
            epoch: 2,
            sequence: 0x1_0003,
        };
        let messages = [
            packet(b"payload"),
            report,
            resend,
            Message::Watch(TrackId(7), 5),
            Message::Unwatch(TrackId(8)),
            Message::KeyFrame(TrackId(9), 2),
        ];
        let mut queue = PipeQueue::new();
        for (worker, message) in messages.iter().enumerate() {
            assert!(queue.push(WorkerId(worker as u16), message));
        }
        for (worker, message) in messages.iter().enumerate() {
            let (to, data) = queue.pop().expect("it was queued");
            assert_eq!(to, WorkerId(worker as u16));
            let read = Message::read(data).expect("it is a message");
            assert_eq!(format!("{read:?}"), format!("{message:?}"));
        }
        assert!(queue.pop().is_none());
    }

    #[test]
    fn a_cut_message_is_none() {
        let mut whole = Vec::new();
        packet(b"").write(&mut whole);
        for end in 0..whole.len() {
            assert!(Message::read(&whole[..end]).is_none(), "{end} bytes");
        }
        assert!(Message::read(&[9; 60]).is_none());
    }

    #[test]
    fn a_full_queue_refuses_and_takes_again_once_it_is_read() {
        let payload = [0; 1_200];
        let mut queue = PipeQueue::new();
        let mut taken = 0;
        while queue.push(WorkerId(1), &packet(&payload)) {
            taken += 1;
        }
        assert!(taken * 1_200 > PIPE_BYTES / 2, "{taken} packets");
        while queue.pop().is_some() {}
        assert!(queue.push(WorkerId(1), &packet(&payload)));
    }
}
