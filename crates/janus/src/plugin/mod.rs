//! How the core and a plugin talk.
//!
//! ```text
//!   message ──► core checks (section 2 of the API) ──► Plugin::handle_message ──► Answer::Success(body)   one reply
//!                                                                            └──► Answer::Ack(message)
//!                                     core sends the ack ──► Plugin::handle_acked ──► Host::push_event ...  any number
//!   worker event ──► core event (`webrtcup`, `media`, `hangup`) ──► Plugin::handle_media
//!   detach, destroy, timeout ──► Plugin::handle_detach
//! ```
//!
//! A plugin keeps its own state by [`HandleId`]; everything else it reaches through the [`Host`] that each call passes:
//!
//! - [`Host::push_event`] sends an event of a handle. With a transaction it is the answer to an acked request (or a later
//!   event of the operation that the request began, as `janus.plugin.sip` does); without, it is unsolicited. Keep the
//!   transaction string as long as needed.
//! - `Host::answer`, `Host::offer` and `Host::accept_answer` (`peer_connection.rs`) open the one PeerConnection of a handle
//!   and write the description; [`Host::close_peer_connection`] closes it with a `hangup` event and without calling the
//!   plugin back.
//! - [`Host::open_plain`] opens a plain RTP transport; [`Host::add_track`], [`Host::add_subscription`] and
//!   [`Host::media`] steer media on either. Tracks are known to the host, so that worker events reach their handle.
//!
//! Order: what a plugin pushes leaves in that order, after the ack of the request being handled.

pub(crate) mod duplex;
pub(crate) mod echotest;
pub(crate) mod fields;
pub(crate) mod id;
pub(crate) mod sip;
pub(crate) mod textroom;
pub(crate) mod videocall;
pub(crate) mod videoroom;

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use voex_base::{SubscriptionId, TrackId, TransportId};
use voex_sfu::command::{DataMessage, LayerChange, LegReport, Speech};

use crate::host::{HandleId, HangupReason, Host};
use crate::jsep::Jsep;

/// A plugin of the API.
pub(crate) trait Plugin {
    /// A handle was attached.
    fn handle_attach(&mut self, host: &mut Host, handle: HandleId);

    /// A `message` arrived. Either its answer is known at once, or it is to be acked first.
    fn handle_message(&mut self, host: &mut Host, handle: HandleId, message: Message) -> Answer;

    /// Works on a message that `handle_message` wanted acked; the ack has been sent.
    fn handle_acked(&mut self, host: &mut Host, handle: HandleId, message: Message);

    /// Something happened to the media of a handle. The core's own event has been sent already, but for
    /// [`MediaEvent::Hangup`], whose `hangup` event follows the call.
    fn handle_media(&mut self, host: &mut Host, handle: HandleId, event: MediaEvent);

    /// A message came on a data channel of a handle whose data track is reported.
    fn handle_data(&mut self, _host: &mut Host, _handle: HandleId, _message: &DataMessage) {}

    /// A handle goes: forget it. Its PeerConnection and plain transports are closed by the core after this call.
    fn handle_detach(&mut self, host: &mut Host, handle: HandleId);

    /// Answers a request of the admin API that needs no handle; `None` when the plugin takes none.
    fn handle_admin(&mut self, _host: &mut Host, _body: &Map<String, Value>) -> Option<Value> {
        None
    }

    /// Tells the admin API what a handle is in the plugin.
    fn describe(&self, _host: &Host, _handle: HandleId) -> Option<Value> {
        None
    }

    /// Runs the plugin's timers that are due.
    fn handle_timeout(&mut self, _host: &mut Host) {}

    /// Gives the time of the next timer.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// A `message` request that passed the checks of the core.
#[derive(Debug)]
pub(crate) struct Message {
    /// Transaction of the request.
    pub(crate) transaction: String,
    /// `body`.
    pub(crate) body: Map<String, Value>,
    /// `jsep`, parsed.
    pub(crate) jsep: Option<Jsep>,
}

/// What a plugin makes of a message at once.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, on the stack, and is moved once"
)]
pub(crate) enum Answer {
    /// `success` with this as `plugindata.data`; also for the plugin's own errors.
    Success(Value),
    /// `ack`, then [`Plugin::handle_acked`] with the message given back.
    Ack(Message),
}

/// News about the media of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MediaEvent {
    /// The PeerConnection is up; `webrtcup` has been sent.
    Up,
    /// The PeerConnection is gone, for other reasons than the plugin closing it.
    Hangup(HangupReason),
    /// The first packet of a track, or the first after a silence.
    Receiving(TrackId),
    /// No packet of a track for this long.
    Silent(TrackId, Duration),
    /// A telephone-event that ended on a track.
    Digit(TrackId, char, Duration),
    /// The sender of a track began to talk, or ended.
    Speech(TrackId, Speech),
    /// What a subscription forwards changed.
    LayerChanged(SubscriptionId, LayerChange),
    /// A plain transport is gone.
    PlainDown(TransportId),
}

/// The plugins by their place in the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `janus.plugin.videoroom`
    VideoRoom,
    /// `janus.plugin.sip`
    Sip,
    /// `janus.plugin.echotest`
    EchoTest,
    /// `janus.plugin.videocall`
    VideoCall,
    /// `janus.plugin.textroom`
    TextRoom,
}

/// What `info` tells of a plugin.
pub(crate) struct About {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::VideoRoom,
        Self::Sip,
        Self::EchoTest,
        Self::VideoCall,
        Self::TextRoom,
    ];

    pub(crate) fn about(self) -> About {
        match self {
            Self::VideoRoom => About {
                package: "janus.plugin.videoroom",
                name: "JANUS VideoRoom plugin",
                description: "Conferences: each publisher is forwarded to any number of subscribers.",
            },
            Self::Sip => About {
                package: "janus.plugin.sip",
                name: "JANUS SIP plugin",
                description: "Calls between browsers and SIP.",
            },
            Self::EchoTest => About {
                package: "janus.plugin.echotest",
                name: "JANUS EchoTest plugin",
                description: "Media and data of a client, sent back to it.",
            },
            Self::VideoCall => About {
                package: "janus.plugin.videocall",
                name: "JANUS VideoCall plugin",
                description: "Calls between two clients that know each other by names.",
            },
            Self::TextRoom => About {
                package: "janus.plugin.textroom",
                name: "JANUS TextRoom plugin",
                description: "Rooms of people who write to each other over data channels.",
            },
        }
    }

    /// What an ack of the plugin says beside.
    pub(crate) fn hint(self) -> Option<&'static str> {
        (self == Self::EchoTest).then_some("I'm taking my time!")
    }

    pub(crate) fn of_package(package: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.about().package == package)
    }
}

/// The plugins' state.
pub(crate) struct Plugins {
    videoroom: videoroom::VideoRoom,
    sip: sip::Sip,
    echotest: echotest::EchoTest,
    videocall: videocall::VideoCall,
    textroom: textroom::TextRoom,
}

impl Plugins {
    pub(crate) fn new(videoroom: videoroom::VideoRoom, ids: id::Ids) -> Self {
        Self {
            videoroom,
            sip: sip::Sip::default(),
            echotest: echotest::EchoTest::default(),
            videocall: videocall::VideoCall::default(),
            textroom: textroom::TextRoom::new(ids),
        }
    }

    pub(crate) fn of(&mut self, kind: Kind) -> &mut dyn Plugin {
        match kind {
            Kind::VideoRoom => &mut self.videoroom,
            Kind::Sip => &mut self.sip,
            Kind::EchoTest => &mut self.echotest,
            Kind::VideoCall => &mut self.videocall,
            Kind::TextRoom => &mut self.textroom,
        }
    }

    /// A plain transport is gone.
    pub(crate) fn plain_closed(&mut self, host: &mut Host, transport: TransportId, report: &LegReport) {
        self.sip.plain_closed(host, transport, report);
    }

    /// The SIP endpoint reports.
    pub(crate) fn handle_sip_event(&mut self, host: &mut Host, event: voex_sip::Event) {
        if !self.sip.handle_event(host, event) {
            host.metrics.sip_events_ignored.inc();
        }
    }

    pub(crate) fn handle_timeout(&mut self, host: &mut Host) {
        for kind in Kind::ALL {
            self.of(kind).handle_timeout(host);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.videoroom.poll_timeout()
    }
}
