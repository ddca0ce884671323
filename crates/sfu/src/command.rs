//! What the control plane tells a media worker, and what it hears back.
//!
//! Ids are the control plane's; a command that names an unknown id is ignored and counted, since the two planes pass
//! each other on the way (a transport may close while a command for it is in the queue). Commands never need an answer:
//! ICE credentials, SSRCs and ports are chosen before the command is sent, so an SDP answer can leave at once.

use std::net::SocketAddr;
use std::time::Duration;

use voex_base::{SocketId, SubscriptionId, TrackId, TransportId, WorkerId};

pub use voex_transport::data::{Channel, DataKind, DataMessage, MESSAGE_BYTES_MAX};

use crate::limits::FALLBACK_DEFAULT;

/// An order to one worker's shard.
#[derive(Debug)]
pub enum Command {
    /// Opens a transport; datagrams find it by its ICE ufrag or, for plain RTP, by its socket.
    OpenTransport(Box<TransportSpec>),
    /// Tells a WebRTC transport who its remote is. Sent again with changed credentials it is an ICE restart.
    SetRemote(TransportId, Box<RemoteParameters>),
    /// Tells a plain transport where to send, and with what keys (SDP of a later answer or re-INVITE).
    SetPlainRemote(TransportId, PlainRemote),
    /// Closes a transport with its tracks and subscriptions. Answered by no event.
    CloseTransport(TransportId),
    /// Makes an incoming medium known.
    AddTrack(Box<TrackSpec>),
    /// Makes an incoming medium known that arrives on another worker: its packets come from there while there are
    /// subscriptions to it here. Its transport is the one over there.
    AddPipedTrack(WorkerId, Box<TrackSpec>),
    /// Takes an incoming medium away, with the subscriptions to it; on each worker that knows of it.
    RemoveTrack(TrackId),
    /// Stops or resumes relaying a track to anybody (`configure` with `audio: false`, moderation); on each worker that
    /// knows of it.
    SetTrackRelayed(TrackId, bool),
    /// Says by what rule the sender of an audio track talks, as its audio levels tell; until then nothing is told of it.
    SetTrackSpeech(TrackId, SpeechRule),
    /// Caps what the sender of a track may send, in bit/s, told by REMB at once and then regularly; `None` lifts it.
    SetTrackBitrate(TrackId, Option<u32>),
    /// Asks the sender of a track for a key frame (throttled).
    RequestKeyFrame(TrackId),
    /// Starts forwarding a track to a transport.
    AddSubscription(Box<SubscriptionSpec>),
    /// Pauses or resumes a subscription; sequence numbers and timestamps stay continuous.
    SetSubscriptionActive(SubscriptionId, bool),
    /// Chooses the layers that a subscription forwards: lower ones at once or, of a simulcast, at the next key frame of
    /// the other encoding, higher ones where a picture can start to use them.
    SetSubscriptionLayers(SubscriptionId, Layers),
    /// Ends a subscription.
    RemoveSubscription(SubscriptionId),
    /// Makes data channels possible on a WebRTC transport: they were negotiated, and its remote takes messages of up to this
    /// many bytes.
    OpenData(TransportId, usize),
    /// Makes the messages of a transport's data channels known as a track: to be forwarded, reported, or both. There is one
    /// such track of a transport. The commands for tracks hold for it too, where they make sense.
    AddDataTrack(DataTrackSpec),
    /// Makes such a track known that arrives on another worker: its messages come by [`SendPipedData`](Self::SendPipedData).
    AddPipedDataTrack(WorkerId, DataTrackSpec),
    /// Says who gets the messages of such a track besides the subscriptions on its worker.
    SetDataReach(TrackId, DataReach),
    /// Starts forwarding messages to the data channels of a transport, to channels with the labels that they came from. The
    /// commands for subscriptions hold for it too. With an id that is known it takes its place.
    AddDataSubscription(Box<DataSubscriptionSpec>),
    /// Forwards a message of a data track that arrives on another worker.
    SendPipedData(TrackId, DataMessage),
    /// Sends a message of our own to a data channel. Lost, and counted, where the remote has not set data up yet.
    SendData(TransportId, DataMessage),
}

/// What a shard reports. Events of one transport keep their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// ICE has a valid pair and DTLS-SRTP keys are set: Janus' `webrtcup`. Once for each transport.
    TransportUp(TransportId),
    /// The transport is gone; the shard has already closed it with its tracks and subscriptions.
    TransportDown(TransportId, DownReason),
    /// First packet of a track, or the first after a silence.
    TrackReceiving(TrackId),
    /// No packet of a track for this long (`no_media_timer`).
    TrackSilent(TrackId, Duration),
    /// What a subscription on this transport forwards of a track with layers changed.
    LayerChanged(TransportId, SubscriptionId, LayerChange),
    /// The sender of a track began to talk, or ended.
    Speech(TrackId, Speech),
    /// A telephone-event that ended on a track (RFC 4733): the digit and how long it lasted.
    Digit(TrackId, char, Duration),
    /// A message came on a data channel of this transport, whose data track is reported.
    DataReceived(TransportId, DataMessage),
    /// A plain transport is gone, for whatever reason: what arrived while it was there.
    PlainClosed(TransportId, LegReport),
}

/// What arrived on a plain transport.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LegReport {
    /// RTP packets.
    pub packets: u64,
    /// Packets that their sequence numbers tell of and that never came.
    pub lost: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1).
    pub jitter: Duration,
}

/// When somebody talks: the mean level of so many packets is louder than the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpeechRule {
    /// Packets of one measurement; 0 counts as 1. 65 536 at most are of use, since a sum has 32 bits.
    pub packets: u32,
    /// Limit in -dBov, 0 is the loudest and 127 silence.
    pub level: u32,
}

/// A change of whether somebody talks, with the measurement behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speech {
    /// Talks from now on.
    pub is_talking: bool,
    /// Sum of the levels in -dBov.
    pub level_sum: u32,
    /// Packets that were measured.
    pub packets: u32,
}

impl Speech {
    /// Gives the mean level in -dBov.
    pub fn level(&self) -> f64 {
        f64::from(self.level_sum) / f64::from(self.packets.max(1))
    }
}

/// Why a transport went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DownReason {
    /// The remote closed with a DTLS alert (a browser's `pc.close()`).
    DtlsAlert,
    /// The DTLS handshake failed: fingerprint mismatch, no common SRTP profile, bad message.
    DtlsError,
    /// The DTLS handshake did not finish in time.
    DtlsTimeout,
    /// No valid ICE check, or no consent, for the time-out.
    IceFailed,
}

/// A transport to open.
#[derive(Debug)]
pub struct TransportSpec {
    /// Its id.
    pub id: TransportId,
    /// WebRTC or plain RTP.
    pub kind: TransportKind,
}

/// The two kinds of transports.
#[derive(Debug)]
pub enum TransportKind {
    /// ICE lite, DTLS, SRTP with BUNDLE and rtcp-mux on the worker's shared media sockets.
    WebRtc {
        /// Our ICE user name fragment; unique in the process, since the shared socket is demultiplexed by it.
        local_ufrag: String,
        /// Our ICE password.
        local_pwd: String,
    },
    /// RTP and RTCP on a socket pair of its own, as towards a PBX.
    Plain {
        /// Socket of RTP (and of RTCP when `rtcp` is `None`).
        rtp: SocketId,
        /// Socket of RTCP.
        rtcp: Option<SocketId>,
        /// Canonical name of our RTCP SDES.
        cname: String,
    },
}

/// Remote side of a WebRTC transport, out of its SDP.
#[derive(Clone, Debug)]
pub struct RemoteParameters {
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Hash function of `fingerprint`, as in SDP: `sha-256`, `sha-1`, `sha-384`, `sha-512`; compared without case.
    pub fingerprint_hash: String,
    /// Certificate fingerprint bytes.
    pub fingerprint: Vec<u8>,
    /// Our role in the DTLS handshake.
    pub dtls_role: DtlsRole,
}

/// Who starts the DTLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsRole {
    /// We send the ClientHello (`a=setup:active` in our SDP).
    Client,
    /// We wait for it (`a=setup:passive` in our SDP).
    Server,
}

/// Remote side of a plain transport.
#[derive(Clone, Copy, Debug)]
pub struct PlainRemote {
    /// Where RTP goes; unspecified address (`c=0.0.0.0`) means hold: nothing is sent.
    pub rtp: SocketAddr,
    /// Where RTCP goes.
    pub rtcp: SocketAddr,
    /// Follow the first valid RTP source instead when it differs (symmetric RTP); latches once.
    pub latch: bool,
}

/// Audio or video.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// Codecs that the media path tells apart; it never decodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722.
    G722,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// H.265 (RFC 7798).
    H265,
    /// AV1.
    Av1,
    /// Telephone events (RFC 4733).
    TelephoneEvent,
    /// Comfort noise (RFC 3389).
    ComfortNoise,
    /// Anything else that is relayed as it is.
    Other,
}

/// One payload type of a medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    /// RTP payload type, 0-127.
    pub payload_type: u8,
    /// Codec behind it.
    pub codec: Codec,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Payload type of its retransmissions (RFC 4588), when negotiated.
    pub rtx: Option<u8>,
}

/// Negotiated ids of RTP header extensions (RFC 8285), each 1-255; `None` is not negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Extensions {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`
    pub audio_level: Option<u8>,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: Option<u8>,
    /// `urn:3gpp:video-orientation`
    pub video_orientation: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    pub playout_delay: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    pub repaired_rid: Option<u8>,
}

/// Negotiated RTCP feedback (RFC 4585, 5104).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Feedback {
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Receiver estimated maximum bit rate.
    pub remb: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
}

/// An incoming medium.
#[derive(Clone, Debug)]
pub struct TrackSpec {
    /// Its id.
    pub id: TrackId,
    /// Transport it arrives on.
    pub transport: TransportId,
    /// Its `a=mid`; empty on plain transports.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Payload types that may arrive; the first is the main codec.
    pub payloads: Vec<Payload>,
    /// Its encodings, the lowest first, three at most; none counts as one without a name. Packets with unknown SSRCs are
    /// placed by the mid extension, then by payload type when only one track of the transport has it, and among several
    /// encodings by rid.
    pub encodings: Vec<EncodingSpec>,
    /// Header extensions on arrival.
    pub extensions: Extensions,
    /// Feedback that the sender understands.
    pub feedback: Feedback,
}

/// One encoding of an incoming medium: the only one, or one of a simulcast.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EncodingSpec {
    /// Its `a=rid`; empty when it has none.
    pub rid: String,
    /// SSRCs named in the SDP, as (media, retransmission).
    pub ssrc: Option<(u32, Option<u32>)>,
}

/// What a subscriber wants of a track that comes in several encodings or layers. What is not there is not missed: the
/// next lower one is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layers {
    /// Encoding of a simulcast, 0 is the lowest.
    pub encoding: u8,
    /// Highest spatial layer of SVC, 0 is the lowest; 2 and more are all.
    pub spatial: u8,
    /// Highest temporal layer, 0 is the lowest; 2 and more are all.
    pub temporal: u8,
    /// How long the encoding may be silent until the next lower one that flows is sent.
    pub fallback: Duration,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            encoding: 2,
            spatial: 2,
            temporal: 2,
            fallback: FALLBACK_DEFAULT,
        }
    }
}

/// What is forwarded to a subscriber from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayerChange {
    /// This encoding of a simulcast.
    Encoding(u8),
    /// Spatial layers up to this one.
    Spatial(u8),
    /// Temporal layers up to this one.
    Temporal(u8),
}

/// An outgoing medium.
#[derive(Clone, Debug)]
pub struct SubscriptionSpec {
    /// Its id.
    pub id: SubscriptionId,
    /// Track it forwards; the worker knows it, at home or piped.
    pub track: TrackId,
    /// Transport it leaves by.
    pub transport: TransportId,
    /// Its `a=mid` on that transport.
    pub mid: String,
    /// Our SSRC.
    pub ssrc: u32,
    /// Our SSRC of retransmissions, when RTX is negotiated.
    pub rtx_ssrc: Option<u32>,
    /// Payload types, as (arriving, leaving, leaving RTX). A type that is not in the list is not forwarded.
    pub payloads: Vec<(u8, u8, Option<u8>)>,
    /// Header extensions on leaving.
    pub extensions: Extensions,
    /// Feedback that the receiver may send.
    pub feedback: Feedback,
    /// Canonical name in our RTCP SDES, the same for all subscriptions of a transport.
    pub cname: String,
    /// Whether it forwards from the start.
    pub active: bool,
    /// Which layers it forwards.
    pub layers: Layers,
}

/// The messages of a transport's data channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataTrackSpec {
    /// Its id.
    pub id: TrackId,
    /// Transport they arrive on.
    pub transport: TransportId,
    /// Whether each message is told by [`Event::DataReceived`].
    pub is_reported: bool,
}

/// Who gets the messages of a data track besides the subscriptions on its worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataReach {
    /// Whether each message is told by [`Event::DataReceived`].
    pub is_reported: bool,
    /// Subscriptions on other workers. What they get is charged to the sender as if they were here.
    pub far_subscriptions: usize,
}

/// Data channels that messages are forwarded to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataSubscriptionSpec {
    /// Its id.
    pub id: SubscriptionId,
    /// Data track it forwards; the worker knows it, at home or piped.
    pub track: TrackId,
    /// Transport the messages leave by; may be that of the track.
    pub transport: TransportId,
    /// What text messages get in front; empty for nothing.
    pub text_prefix: String,
    /// Whether it forwards from the start.
    pub active: bool,
}
