//! What a conference load consists of.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::payload::PAYLOAD_BYTES_MIN;

/// Most participants of a load: each has a socket of its own, as a browser has.
pub const PEERS_MAX: usize = 8_000;
/// Most media lines of one subscription.
pub(super) const LINES_MAX: usize = 200;
/// Longest load in seconds, warm-up included.
pub const SECONDS_MAX: u64 = 600;
/// Time of an audio packet; what Opus uses by default.
pub(super) const AUDIO_FRAME_NS: u64 = 20_000_000;
/// Bytes of an audio payload when nothing is said: Opus at 32 kbit/s.
pub const AUDIO_BYTES: usize = 80;
/// Bytes of media in a packet that is full, VP8's descriptor included: what Chromium sends at most.
pub(super) const VIDEO_PACKET_BYTES: usize = 1_160;

/// Encodings of a simulcast, the best first: rid, share of the bit rate, width and height.
pub(super) const LAYERS: [(&str, f64, (u16, u16)); 3] = [
    ("h", 0.70, (1280, 720)),
    ("m", 0.22, (640, 360)),
    ("l", 0.08, (320, 180)),
];

/// Rooms, who is in them, and what they send.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Plan {
    /// Rooms, all alike.
    pub rooms: usize,
    /// Participants of a room that send.
    pub publishers: usize,
    /// Participants of a room that only receive; each receives every publisher.
    pub subscribers: usize,
    /// Publishers receive each other too.
    pub mesh: bool,
    /// Bytes of an audio payload, 50 a second; without it there is no audio.
    pub audio_bytes: Option<usize>,
    /// Video.
    pub video: Option<Video>,
    /// Participants that join in a second.
    pub joins_per_s: f64,
    /// Share of media packets (0.0-0.5) that are thrown away, by senders before they leave and by receivers before
    /// they are looked at, so that retransmission has something to do.
    pub loss: f64,
    /// Packets flow for so long before figures are taken.
    pub warm_up: Duration,
    /// The measured time.
    pub measured: Duration,
}

/// What a camera sends.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Video {
    /// Of all encodings together, in bit/s.
    pub bitrate: u32,
    /// Frames a second.
    pub fps: u32,
    /// Three encodings instead of one; subscribers ask for them in turn.
    pub simulcast: bool,
}

impl Plan {
    /// Gives what is wrong with it, and what would be right.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: f64, from: f64, to: f64| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(format!("{what} {value}: {from} to {to} are expected"))
        };
        within("--rooms", self.rooms as f64, 1.0, 1000.0)?;
        within("--publishers", self.publishers as f64, 1.0, 1000.0)?;
        within("peer connections in all:", self.peers() as f64, 2.0, PEERS_MAX as f64)?;
        within("--joins", self.joins_per_s, 1.0, 10_000.0)?;
        within("--loss", 100.0 * self.loss, 0.0, 50.0)?;
        let seconds = (self.warm_up + self.measured).as_secs_f64();
        within("--seconds", seconds, 0.1, SECONDS_MAX as f64)?;
        if self.audio_bytes.is_none() && self.video.is_none() {
            return Err("nothing would be sent: leave --no-audio out, or add --video".into());
        }
        if self.receivers() == 0 {
            return Err("nobody would receive: give --subscribers, or --mesh with two --publishers".into());
        }
        if let Some(bytes) = self.audio_bytes {
            within("--audio-bytes", bytes as f64, PAYLOAD_BYTES_MIN as f64 + 1.0, 1_000.0)?;
        }
        if let Some(video) = self.video {
            within("--video", f64::from(video.bitrate), 50_000.0, 20_000_000.0)?;
            within("--fps", f64::from(video.fps), 1.0, 120.0)?;
        }
        within(
            "media lines of a subscription:",
            self.lines() as f64,
            1.0,
            LINES_MAX as f64,
        )
    }

    /// Kinds of media that a publisher sends.
    pub fn kinds(&self) -> usize {
        usize::from(self.audio_bytes.is_some()) + usize::from(self.video.is_some())
    }

    /// Subscriptions of a room.
    pub fn subscriptions(&self) -> usize {
        let mesh = if self.mesh && self.publishers > 1 {
            self.publishers
        } else {
            0
        };
        self.subscribers + mesh
    }

    /// Subscriptions of all rooms.
    pub fn receivers(&self) -> usize {
        self.rooms * self.subscriptions()
    }

    /// Peer connections of all rooms.
    pub fn peers(&self) -> usize {
        self.rooms * self.publishers + self.receivers()
    }

    /// Media lines of the largest subscription.
    fn lines(&self) -> usize {
        let feeds = if self.subscribers > 0 {
            self.publishers
        } else {
            self.publishers - 1
        };
        feeds * self.kinds()
    }
}

impl Video {
    /// Encodings: rid when there are several, bit rate, width and height.
    pub fn encodings(self) -> Vec<(Option<&'static str>, u32, (u16, u16))> {
        if !self.simulcast {
            return vec![(None, self.bitrate, (1280, 720))];
        }
        let layer = |(rid, share, size)| (Some(rid), (f64::from(self.bitrate) * share) as u32, size);
        LAYERS.into_iter().map(layer).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} room(s) of {} publisher(s)", self.rooms, self.publishers)?;
        if self.mesh {
            f.write_str(" that receive each other")?;
        }
        if self.subscribers > 0 {
            write!(f, " and {} subscriber(s)", self.subscribers)?;
        }
        if let Some(bytes) = self.audio_bytes {
            write!(f, ", audio {bytes} B x 50/s")?;
        }
        if let Some(video) = self.video {
            let kind = if video.simulcast { "simulcast" } else { "video" };
            write!(f, ", {kind} {} kbit/s at {}/s", video.bitrate / 1000, video.fps)?;
        }
        if self.loss > 0.0 {
            write!(f, ", {} % thrown away", 100.0 * self.loss)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            rooms: 1,
            publishers: 1,
            subscribers: 2,
            mesh: false,
            audio_bytes: Some(AUDIO_BYTES),
            video: None,
            joins_per_s: 100.0,
            loss: 0.0,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_mesh_of_eight_has_a_publishing_and_a_receiving_connection_each() {
        let mesh = Plan {
            rooms: 8,
            publishers: 8,
            subscribers: 0,
            mesh: true,
            ..plan()
        };
        assert_eq!((mesh.peers(), mesh.receivers()), (128, 64));
        assert_eq!(mesh.check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_run_says_what_could() {
        let why = |plan: Plan| plan.check().unwrap_err();
        let alone = Plan {
            subscribers: 0,
            ..plan()
        };
        assert!(why(alone.clone()).contains("2 to 8000"));
        assert!(why(Plan { publishers: 2, ..alone }).contains("--mesh"));
        let silent = Plan {
            audio_bytes: None,
            ..plan()
        };
        assert!(why(silent).contains("--video"));
        let crowd = Plan {
            subscribers: 9_000,
            ..plan()
        };
        assert!(why(crowd).contains("2 to 8000"));
        let short = Plan {
            audio_bytes: Some(24),
            ..plan()
        };
        assert!(why(short).contains("25 to 1000"));
    }

    #[test]
    fn encodings_share_the_bit_rate() {
        let video = Video {
            bitrate: 1_000_000,
            fps: 30,
            simulcast: true,
        };
        let total: u32 = video.encodings().iter().map(|(_, bitrate, _)| bitrate).sum();
        assert!((990_000..=1_000_000).contains(&total), "{total}");
    }
}
