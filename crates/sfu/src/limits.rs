//! Every bound of this crate, and every interval that is not a setting. What is over a bound is refused and counted:
//! a command as `ignored_commands`, a packet by its [`DropReason`](crate::DropReason).

use std::time::Duration;

/// Transports on one shard.
pub const TRANSPORTS_MAX: usize = 20_000;
/// Tracks of one transport.
pub const TRACKS_PER_TRANSPORT_MAX: usize = 64;
/// Encodings of one track: simulcast.
pub const ENCODINGS_PER_TRACK_MAX: usize = 3;
/// Subscriptions of one transport; half of the SSRCs that SRTP keeps, since each may have one more for RTX.
pub const SUBSCRIPTIONS_PER_TRANSPORT_MAX: usize = 512;
/// Subscriptions to one track.
pub const SUBSCRIPTIONS_PER_TRACK_MAX: usize = 10_000;
/// Payload types of one track, retransmission types not counted.
pub const PAYLOADS_PER_TRACK_MAX: usize = 32;
/// Ended subscriptions of one transport whose sequence numbers are remembered in case their SSRC comes back.
pub const RETIRED_STREAMS_MAX: usize = 128;
/// Events that wait to be polled; the worker polls after each call, so only a stuck caller reaches it.
pub const EVENTS_MAX: usize = 65_536;

/// Tracks of other workers on one shard.
pub const PIPED_TRACKS_MAX: usize = 40_000;
/// Other workers that a track is piped to: all that a host can have.
pub const PIPES_PER_TRACK_MAX: usize = 256;
/// Bytes of messages to other workers that one call may make: a packet for each of them. What is beyond is dropped and
/// counted.
pub const PIPE_BYTES: usize = 512 * 1024;
/// How soon the home of a piped track is asked for the same packet again.
pub const FETCH_INTERVAL: Duration = Duration::from_millis(20);
/// How long until it says so again while nothing came in the first second: the home may not have known the track yet.
pub const WATCH_INTERVAL_AT_FIRST: Duration = Duration::from_millis(100);
/// How often a worker with subscriptions to a piped track says so.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long it is believed.
pub const WATCH_LAPSE: Duration = Duration::from_millis(3_500);

/// Bytes that an encoding keeps for retransmission: 2 s of 2 Mbit/s.
pub const RING_BYTES: usize = 512 * 1024;
/// Packets that an encoding keeps for retransmission.
pub const RING_PACKETS: usize = 1_024;
/// Packets behind the newest for which duplicates are told from late ones. Older packets are dropped.
pub const REORDER_PACKETS_MAX: u64 = 512;
/// A jump of sequence numbers this far is a restarted source (RFC 3550 A.1), once two packets in a row agree on it.
pub const SEQUENCE_JUMP_MAX: u64 = 3_000;
/// Shortest time between two changes of the source of an encoding.
pub const SOURCE_CHANGE_INTERVAL: Duration = Duration::from_millis(200);

/// Packets of an encoding that are missing and asked for; more at once and a key frame is asked for instead.
pub const MISSING_MAX: usize = 256;
/// How long a gap may be a reordering: bounds of what is learned from late packets.
pub const REORDER_DELAY_MIN: Duration = Duration::from_millis(10);
/// Upper bound of it.
pub const REORDER_DELAY_MAX: Duration = Duration::from_millis(50);
/// How often a missing packet is asked for before it is given up.
pub const NACK_TRIES_MAX: u8 = 8;
/// Time between two requests for a packet while the round-trip time is unknown; bounds when it is known.
pub const NACK_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);
/// Lower bound of it.
pub const NACK_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Upper bound of it.
pub const NACK_INTERVAL_MAX: Duration = Duration::from_millis(500);

/// Stretches of a stream without something left out that a video subscription remembers, so that late packets and
/// requests find their place: a second at least of the lower layers of 60 pictures a second.
pub const RANGES_REMEMBERED: usize = 64;
/// The same of an audio subscription.
pub const AUDIO_RANGES_REMEMBERED: usize = 4;
/// How long an encoding that is wanted may be silent until the next lower one that flows is sent, unless told otherwise.
pub const FALLBACK_DEFAULT: Duration = Duration::from_millis(250);
/// How long an encoding must have flowed without such a silence until its key frame is asked for to go back to it. One
/// that comes by itself is taken at once.
pub const STEADY_TIME: Duration = Duration::from_secs(1);

/// Packets that a subscription may have retransmitted at once.
pub const RESEND_BURST_PACKETS: u32 = 128;
/// Packets that a subscription may have retransmitted in a second.
pub const RESEND_PACKETS_PER_S: u32 = 512;
/// Retransmissions of a subscription that are remembered, so that a second NACK within a round trip is not answered.
pub const RESENDS_REMEMBERED: usize = 64;
/// How long a second NACK is not answered while the round-trip time is unknown.
pub const RESEND_INTERVAL_DEFAULT: Duration = Duration::from_millis(40);

/// Shortest time between two key frame requests for an encoding.
pub const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(500);
/// How long a subscription waits for a key frame until it is asked for again.
pub const KEY_FRAME_RETRY: Duration = Duration::from_secs(1);

/// Time between two SR, RR and REMB.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two transport-wide feedback messages.
pub const TWCC_INTERVAL: Duration = Duration::from_millis(100);
/// Packets that transport-wide feedback can look back on.
pub const TWCC_PACKETS_MAX: usize = 1_024;
/// Longest RTCP compound packet that is sent, before protection.
pub const RTCP_BYTES_MAX: usize = 1_200;
/// Report blocks in one SR or RR (RFC 3550 §6.4.1).
pub const REPORT_BLOCKS_MAX: usize = 31;
/// What a lifted bit rate cap is told as, in bit/s: REMB has no word for "none".
pub const BITRATE_UNLIMITED: u64 = 1_000_000_000;

/// Bytes of data channel messages that are forwarded for one sender in a second, each copy of a message counted and none as
/// less than [`DATA_COPY_BYTES_MIN`]. Beyond it messages are left unread, so that the sender waits.
pub const DATA_BYTES_PER_S: u64 = 16 * 1024 * 1024;
/// Likewise for all senders of a shard: half of a core at most is for data.
pub const DATA_BYTES_PER_SHARD_AND_S: u64 = 32 * 1024 * 1024;
/// What a copy of a message counts at least: what it costs is mostly its packet.
pub const DATA_COPY_BYTES_MIN: usize = 512;
/// What the messages of one sender may come to in copies in each [`DATA_PASS_PAUSE`], and how many they may be; meanwhile the
/// worker does other things.
pub const DATA_PASS_BYTES: usize = 128 * 1024;
/// See [`DATA_PASS_BYTES`].
pub const DATA_PASS_COPIES: usize = 64;
/// See [`DATA_PASS_BYTES`].
pub const DATA_PASS_PAUSE: Duration = Duration::from_millis(1);
/// Messages of a data track of another worker that may wait; more are lost, and counted. At home they wait with their sender,
/// which is charged for what they cost here, so that only a burst gets that far.
pub const DATA_PIPED_MAX: usize = 256;
/// How long a message may be to count as one report; longer ones count once more for each time.
pub const DATA_REPORT_BYTES: u64 = 1_024;
/// Messages that are reported for one sender in a second.
pub const DATA_REPORTS_PER_S: u64 = 200;
/// Messages that are reported for all senders of a shard in a second.
pub const DATA_REPORTS_PER_SHARD_AND_S: u64 = 4_000;
/// How much of each of the four may come at once.
pub const DATA_BURST: Duration = Duration::from_millis(250);
