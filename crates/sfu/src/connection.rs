//! One transport of a shard, and what hangs on it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voex_base::{Outbox, SocketId, SubscriptionId, TransportId, WorkerId};
use voex_rtp::Error;
use voex_rtp::rtcp::Writer;
use voex_transport::{PROTECT_OVERHEAD_BYTES, Transport};

use crate::Metrics;
use crate::arrivals::Arrivals;
use crate::data::ConnectionData;
use crate::limits::{RETIRED_STREAMS_MAX, RTCP_BYTES_MAX};
use crate::plain::Plain;
use crate::rewriter::Rewriter;

/// A transport with the tracks that arrive on it and the streams that leave by it.
pub(crate) struct Connection {
    // What forwarding touches stands first.
    pub(crate) link: Link,
    /// Transport-wide sequence number of the last packet sent.
    pub(crate) transport_cc_sent: u16,
    pub(crate) id: TransportId,
    pub(crate) local_ufrag: Option<Box<str>>,
    /// Slab keys of its tracks.
    pub(crate) tracks: Vec<usize>,
    pub(crate) sources: Vec<Source>,
    pub(crate) streams: Vec<Stream>,
    retired: VecDeque<RetiredStream>,
    pub(crate) timers: Timers,
    /// Negotiated ids of mid and transport-wide sequence number; a bundle has one of each.
    pub(crate) mid_extension: Option<u8>,
    pub(crate) transport_cc_extension: Option<u8>,
    pub(crate) arrivals: Option<Arrivals>,
    /// Round-trip time to the remote, out of its reports.
    pub(crate) round_trip: Option<Duration>,
    /// Our wall clock minus the remote's, in 2^-32 s: the smallest seen, since delays only add to it.
    clock_offset: Option<i64>,
    /// Our SSRC while nothing is sent.
    pub(crate) receiver_ssrc: u32,
    pub(crate) cname: Arc<str>,
    /// A bit rate cap was told and is not lifted yet.
    pub(crate) is_capped: bool,
    /// Its data channels, once they were negotiated.
    pub(crate) data: Option<Box<ConnectionData>>,
}

/// How datagrams leave and arrive.
#[allow(clippy::large_enum_variant)] // nearly all are WebRTC; a Box would cost the hot path a load
pub(crate) enum Link {
    WebRtc(Transport),
    Plain(Plain),
    /// Nothing leaves or arrives here: the track on it is at home on this worker.
    Piped(WorkerId),
}

/// An SSRC of the remote.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    pub(crate) track: usize,
    /// Position of its encoding among the track's.
    pub(crate) encoding: u8,
    pub(crate) is_rtx: bool,
    /// Named in the SDP; others make room when a newer one is learned.
    pub(crate) is_declared: bool,
}

/// An SSRC of ours.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) ssrc: u32,
    pub(crate) id: SubscriptionId,
}

/// Numbers of an ended subscription: should its SSRC come back, it goes on behind them. A receiver, and SRTP above all,
/// must never see a number twice.
pub(crate) struct RetiredStream {
    pub(crate) ssrc: u32,
    pub(crate) rewriter: Rewriter,
    pub(crate) rtx_sequence: u16,
}

/// A step of the remote's wall clock, rather than drift, in 2^-32 s: one second.
const CLOCK_STEP: u64 = 1 << 32;
/// How far the clock offset may creep up with each report, in 2^-32 s: 50 µs, so that drift is followed.
const CLOCK_CREEP: i64 = 214_748;

impl Connection {
    pub(crate) fn new(id: TransportId, link: Link, receiver_ssrc: u32, cname: Arc<str>) -> Self {
        Self {
            link,
            transport_cc_sent: 0,
            id,
            local_ufrag: None,
            tracks: Vec::new(),
            sources: Vec::new(),
            streams: Vec::new(),
            retired: VecDeque::new(),
            timers: Timers::default(),
            mid_extension: None,
            transport_cc_extension: None,
            arrivals: None,
            round_trip: None,
            clock_offset: None,
            receiver_ssrc,
            cname,
            is_capped: false,
            data: None,
        }
    }

    /// Where RTP goes, once it can.
    #[inline]
    pub(crate) fn destination(&self) -> Option<(SocketId, SocketAddr)> {
        match &self.link {
            Link::WebRtc(transport) => transport.destination(),
            Link::Plain(plain) => plain.rtp_destination(),
            Link::Piped(_) => None,
        }
    }

    /// Whether media can leave.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.link {
            Link::WebRtc(transport) => transport.is_up(),
            Link::Plain(plain) => plain.rtp_destination().is_some(),
            Link::Piped(_) => true,
        }
    }

    /// Protects an RTP packet in place when the transport protects.
    #[inline]
    pub(crate) fn protect_rtp(&mut self, room: &mut [u8], length: usize) -> Option<usize> {
        match &mut self.link {
            Link::WebRtc(transport) => transport.protect_rtp(room, length).ok(),
            Link::Plain(_) => Some(length),
            Link::Piped(_) => None,
        }
    }

    /// Sends what `write` writes as one RTCP compound packet, when the transport can; what did not fit is left out.
    pub(crate) fn send_rtcp(
        &mut self,
        out: &mut impl Outbox,
        metrics: &Metrics,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
    ) {
        let destination = match &self.link {
            Link::WebRtc(transport) if transport.is_up() => transport.destination(),
            Link::WebRtc(_) | Link::Piped(_) => None,
            Link::Plain(plain) => plain.rtcp_destination(),
        };
        let Some((socket, to)) = destination else { return };
        let room = out.reserve(RTCP_BYTES_MAX + PROTECT_OVERHEAD_BYTES);
        let mut writer = Writer::new(&mut room[..RTCP_BYTES_MAX]);
        let written = write(&mut writer);
        let length = writer.len();
        if length == 0 || written.is_err_and(|error| error != Error::NoRoom) {
            return;
        }
        let protected = match &mut self.link {
            Link::WebRtc(transport) => transport.protect_rtcp(room, length).ok(),
            Link::Plain(_) => Some(length),
            Link::Piped(_) => None,
        };
        if let Some(length) = protected {
            out.commit(socket, to, length);
            metrics.rtcp_sent.inc();
        }
    }

    /// Our SSRC in feedback: that of a stream of ours when there is one, so that the remote sees one participant.
    pub(crate) fn own_ssrc(&self) -> u32 {
        self.streams.first().map_or(self.receiver_ssrc, |stream| stream.ssrc)
    }

    /// Starts a compound packet with an empty RR and our name, as RFC 3550 §6.1 asks of each.
    pub(crate) fn begin_compound(own_ssrc: u32, cname: &str, writer: &mut Writer<'_>) -> Result<(), Error> {
        writer.receiver_report(own_ssrc, &[])?;
        writer.source_descriptions(std::iter::once((own_ssrc, cname)))
    }

    /// Learns how the remote's wall clock stands to ours from an SR that says `theirs` and arrived at `ours` (NTP).
    pub(crate) fn learn_clock(&mut self, ours: u64, theirs: u64) {
        let offset = ours.wrapping_sub(theirs) as i64;
        self.clock_offset = Some(match self.clock_offset {
            Some(before) if before.abs_diff(offset) < CLOCK_STEP => offset.min(before + CLOCK_CREEP),
            _ => offset,
        });
    }

    /// How the remote's wall clock stands to ours, once an SR came.
    pub(crate) fn clock_offset(&self) -> Option<i64> {
        self.clock_offset
    }

    /// Takes over what the home of a track has learnt of that.
    pub(crate) fn set_clock_offset(&mut self, offset: i64) {
        self.clock_offset = Some(offset);
    }

    /// Gives a moment of the remote's wall clock by ours (NTP), once an SR came.
    pub(crate) fn by_our_clock(&self, theirs: u64) -> Option<u64> {
        self.clock_offset.map(|offset| theirs.wrapping_add_signed(offset))
    }

    /// Remembers the numbers of an ended subscription; the oldest is forgotten when there are too many.
    pub(crate) fn retire(&mut self, stream: RetiredStream) {
        if self.retired.len() == RETIRED_STREAMS_MAX {
            self.retired.pop_front();
        }
        self.retired.push_back(stream);
    }

    /// Takes the numbers of an SSRC that was used before.
    pub(crate) fn take_retired(&mut self, ssrc: u32) -> Option<RetiredStream> {
        let at = self.retired.iter().position(|stream| stream.ssrc == ssrc)?;
        self.retired.remove(at)
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// ICE and DTLS.
    Transport,
    /// SR, RR, SDES, REMB: each second. Of a piped track: that it is watched.
    Report,
    /// Transport-wide feedback: while packets come.
    Feedback,
    /// Missing packets: while there are any.
    Nack,
    /// Key frame requests: while somebody wants one.
    KeyFrame,
    /// Silence of a track: while one receives.
    Silence,
    /// Messages that are left unread: while there are any.
    Data,
}

const TIMERS: [Timer; 7] = [
    Timer::Transport,
    Timer::Report,
    Timer::Feedback,
    Timer::Nack,
    Timer::KeyFrame,
    Timer::Silence,
    Timer::Data,
];

/// The least that a postponed deadline waits.
const POSTPONED: Duration = Duration::from_millis(1);

/// One deadline for each [`Timer`].
#[derive(Default)]
pub(crate) struct Timers([Option<Instant>; TIMERS.len()]);

impl Timers {
    /// Sets or clears a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        self.0[timer as usize] = at;
    }

    /// Sets a deadline unless an earlier one is set.
    pub(crate) fn arm(&mut self, timer: Timer, at: Instant) {
        let before = &mut self.0[timer as usize];
        *before = Some(before.map_or(at, |before| before.min(at)));
    }

    /// Moves a deadline that is not later than `now` to a moment behind it.
    pub(crate) fn postpone(&mut self, timer: Timer, now: Instant) {
        if let Some(at) = &mut self.0[timer as usize] {
            *at = (*at).max(now + POSTPONED);
        }
    }

    /// Whether a deadline is set.
    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// Gives a timer that is due, and clears it.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let is_due = |timer: &Timer| self.0[*timer as usize].is_some_and(|at| at <= now);
        let due = TIMERS.into_iter().find(is_due)?;
        self.0[due as usize] = None;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let link = Link::Plain(Plain::new(SocketId(1), None));
        Connection::new(TransportId(1), link, 1, "name".into())
    }

    #[test]
    fn the_least_delayed_report_sets_the_clock_and_drift_is_followed_slowly() {
        let mut connection = connection();
        let second = 1_u64 << 32;
        connection.learn_clock(100 * second + 900, 50 * second);
        connection.learn_clock(101 * second + 400, 51 * second);
        assert_eq!(connection.by_our_clock(60 * second), Some(110 * second + 400));
        connection.learn_clock(102 * second + 5_000_000, 52 * second);
        let crept = 400 + CLOCK_CREEP as u64;
        assert_eq!(connection.by_our_clock(60 * second), Some(110 * second + crept));
        connection.learn_clock(103 * second, 90 * second);
        assert_eq!(
            connection.by_our_clock(91 * second),
            Some(104 * second),
            "the remote set its clock"
        );
    }

    #[test]
    fn the_oldest_retired_stream_is_forgotten() {
        let mut connection = connection();
        for ssrc in 0..=RETIRED_STREAMS_MAX as u32 {
            connection.retire(RetiredStream {
                ssrc,
                rewriter: Rewriter::new(0, 0),
                rtx_sequence: 0,
            });
        }
        assert!(connection.take_retired(0).is_none());
        assert!(connection.take_retired(1).is_some());
        assert!(connection.take_retired(1).is_none());
    }
}
