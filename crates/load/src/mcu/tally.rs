//! What is counted while a load runs.

use serde::Serialize;

use crate::histogram::Histogram;

/// Counts of a load.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    /// Packets that arrived for the first time, whole and where they belong.
    pub(crate) delivered: u64,
    /// Bytes of payload in them.
    pub(crate) bytes: u64,
    /// How long they were under way, those that were sent again excepted.
    pub(crate) latencies: Histogram,
    /// What should not happen.
    pub(crate) faults: Faults,
    /// Packets that arrived after they had been asked for again.
    pub(crate) recovered: u64,
    /// Packets that were thrown away on purpose.
    pub(crate) thrown_away: u64,
    /// Packets delivered of each encoding of a simulcast, the best first.
    pub(crate) layers: [u64; 3],
    /// Changes from one encoding to another.
    pub(crate) switches: u64,
    /// What the server said to publishers.
    pub(crate) feedback: Feedback,
    /// Key frames that publishers sent, of all encodings.
    pub(crate) key_frames: u64,
    /// Packets that receivers asked for again.
    pub(crate) asked_again: u64,
    /// Key frames that receivers asked for.
    pub(crate) asked_key_frames: u64,
    /// Reports that receivers heard.
    pub(crate) sender_reports: u64,
    /// Messages of transport feedback that receivers sent.
    pub(crate) feedback_sent: u64,
}

/// Counts of what should not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Faults {
    /// Arrived more than once.
    pub duplicated: u64,
    /// Arrived behind a packet with a higher sequence number.
    pub reordered: u64,
    /// Arrived with another content.
    pub corrupt: u64,
    /// Belong to another stream, or were never sent.
    pub misrouted: u64,
    /// Sequence numbers that went on without what was sent in between, or backwards.
    pub renumbered: u64,
    /// Changes to another encoding without a key frame of it.
    pub undecodable: u64,
    /// Packets of video in front of its first key frame.
    pub early: u64,
    /// SRTP that does not authenticate or was replayed, RTP and RTCP of nobody.
    pub foreign: u64,
    /// Refused by the kernel when sending.
    pub unsent: u64,
    /// Frames left out because this process could not keep the pace.
    pub skipped: u64,
    /// Connections that the server ended, or that did not come up.
    pub closed: u64,
}

/// What the server said to publishers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Feedback {
    /// PLI and FIR.
    pub key_frame_requests: u64,
    /// Packets that were asked for again.
    pub nacked: u64,
    /// Those that were sent again.
    pub sent_again: u64,
    /// Those that nobody had any more.
    pub too_old: u64,
    /// Messages of transport-wide congestion control.
    pub transport: u64,
    /// Messages of receiver estimated maximum bit rate.
    pub remb: u64,
}

impl Faults {
    /// Tells whether all that arrived was whole, single and in the right place.
    pub fn content_is_right(&self) -> bool {
        (
            self.duplicated,
            self.corrupt,
            self.misrouted,
            self.renumbered,
            self.undecodable,
        ) == (0, 0, 0, 0, 0)
    }
}
