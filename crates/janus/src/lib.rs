//! The Janus API: sessions, handles, transactions, plugins; JSON in, commands out, events to JSON.
//!
//! ```text
//!  WebSocket text ──► request ──► Gateway ──► plugin ──► Host ──┬──► Output::Send    replies and events
//!  worker event ───────────────►    │  sessions, handles        ├──► Output::Media   commands to media workers
//!  SIP event ──────────────────►    │  PeerConnections          ├──► Output::Sip     commands to the SIP endpoint
//!  start, stop ────────────────►    │                           ├──► Output::Event   for event handlers
//!                                   │                           └──► Output::Record  orders to the recorder
//!  time ───────────────────────►    ▼  timers
//! ```
//!
//! [`Gateway`] is a state machine without sockets, clock or threads. Media never comes here: a publisher's m-line becomes
//! a track and a subscriber's a subscription on the media worker that is the home of the room, by the commands of
//! `voex_sfu`; ICE credentials, SSRCs and ids are drawn here, so a description never waits for a worker.
//!
//! Order: an `ack` leaves before the events of its request; the events of one handle leave in the order in which their
//! causes arrived; a publisher is announced after its `webrtcup`; `unpublished` comes before `leaving`.
//!
//! # Limits
//! | what | bound | answer beyond |
//! |---|---|---|
//! | message | 1 MiB, 128 levels of nesting | 450, 454 |
//! | sessions | [`SESSIONS_MAX`] | 472 |
//! | sessions that end in one call | [`SESSIONS_ENDED_AT_ONCE_MAX`] | the rest is due at once |
//! | stored tokens | 65 536 | admin 490 |
//! | handles | [`HANDLES_PER_SESSION_MAX`], [`HANDLES_MAX`] | 461 |
//! | rooms | 65 536 | videoroom 499 |
//! | m-lines of a subscriber | 240 | videoroom 499 |
//! | RTP forwarders of a publisher | 64 | videoroom 499 |
//! | texts and metadata in videoroom requests | 4 KiB, 64 KiB | videoroom 430 |
//!
//! # The core: what is served
//! Tests named here are transcripts in `tests/transcripts`.
//!
//! | verb, event | state | test |
//! |---|---|---|
//! | `info`, `ping`, `create`, `keepalive`, `destroy` | served | `core_sessions`, `core_errors` |
//! | `attach`, `detach`, `hangup`, `message` | served; `loop_index` is checked only | `core_handles`, `core_jsep` |
//! | `trickle` | acked; an ICE lite agent needs no candidates | `core_trickle` |
//! | `claim`, session time-out, reclaim time | served | `core_reclaim`, `core_timeout` |
//! | `apisecret`, stored and signed tokens | served | `core_secret`, `core_stored_tokens`, `core_signed_tokens` |
//! | `opaque_id` in replies and events | with `opaque_id_in_api` | `core_opaque_id` |
//! | admin API: sessions, handles, tokens, settings, `message_plugin`, `handle_info` | served; of the settings only log level, session time-out and new sessions have an effect; `resolve_address`, `test_stun` and packet captures are unknown (457) | `admin_sessions`, `admin_settings`, `admin_handle_info` |
//! | event handlers | told of everything but statistics, remote candidates and selected pairs | `events_of_the_core`, `events_of_the_videoroom` |
//! | batches | refused, as an object without members | `core_errors` |
//! | `webrtcup`, `media`, `hangup`, `detached`, `timeout` | sent | `publish_and_subscribe`, `publisher_dies` |
//! | `slowlink`, `ice-failed`, `trickle` events | not sent: off by default, or of no use to ICE lite | |
//!
//! # `janus.plugin.videoroom`: what is served
//! | request | state | test |
//! |---|---|---|
//! | ids | integers, or texts everywhere with `string_ids` | `string_ids` |
//! | `create`, `edit`, `destroy`, `exists`, `list`, `allowed` | served; `permanent` is always answered `false` | `room_management`, `room_errors` |
//! | `listparticipants`, `join` (publisher), `joinandconfigure`, `leave` | served | `join_and_leave` |
//! | `publish`, `configure`, `unpublish` | served; simulcast by rid and SSRC | `publish_and_subscribe`, `renegotiation`, `publisher_dies`, `simulcast` |
//! | data channels of publishers and subscribers: text, binary, labels; one m-line carries the data of several feeds | served | `data` |
//! | `join` (subscriber, `streams` or `feed`), `start`, `pause` | served | `publish_and_subscribe`, `subscriber_updates` |
//! | `configure` of a subscriber | `send`, the old switches, encodings and layers with their events; playout delays are ignored, `restart` is refused (423) | `publish_and_subscribe`, `simulcast`, `svc` |
//! | `subscribe`, `unsubscribe`, `update`, `autoupdate` | served | `subscriber_updates` |
//! | `kick`, `moderate`, `fir_freq` | served | `moderation`, `key_frame_timer` |
//! | `switch` | served; keeps SSRC and numbers | `switching` |
//! | `rtp_forward`, `stop_rtp_forward`, `listforwarders` | served for audio and video to addresses; names, data and SRTP are refused | `rtp_forwarders`, `admin_key` |
//! | `record`, `rec_dir`, `filename`, `lock_record`, `enable_recording` | served with `recordings_dir`, for audio and video; a path that leaves it is refused (430) | `recording` |
//! | remote publishers | refused (423) | `room_errors` |
//! | talking events, dummy publishers | served | `talking`, `dummy_publisher` |
//!
//! # The other plugins
//! What each serves and refuses stands in its own module.
//!
//! | plugin | test |
//! |---|---|
//! | `janus.plugin.sip` | `tests/sip` |
//! | `janus.plugin.echotest` | `echotest` |
//! | `janus.plugin.videocall` | `videocall` |
//! | `janus.plugin.textroom` | `textroom` |
#![forbid(unsafe_code)]

mod admin;
mod auth;
mod config;
mod date;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod host;
mod info;
mod jsep;
mod metrics;
mod peer_connection;
mod plugin;
mod recording;
mod reply;
mod request;
mod session;
mod spread;
mod trickle;

pub use admin::LogLevel;
pub use config::{Candidate, Config, Options, PortsExhausted, RtpPair, RtpPorts, WorkerMedia};
pub use error::Code;
pub use event::Topic;
pub use gateway::{
    ConnectionId, Gateway, HANDLES_MAX, HANDLES_PER_SESSION_MAX, Output, SESSIONS_ENDED_AT_ONCE_MAX, SESSIONS_MAX,
};
pub use metrics::Metrics;
pub use plugin::echotest::Code as EchoTestCode;
pub use plugin::id::Id;
pub use plugin::sip::Code as SipCode;
pub use plugin::textroom::Code as TextRoomCode;
pub use plugin::videocall::Code as VideoCallCode;
pub use plugin::videoroom::Code as VideoRoomCode;
pub use recording::{RecorderOrder, RecordingSpec};
