//! Recording of publishers: `enable_recording`, and `record` of rooms and of `publish` and `configure`.
//!
//! A stream that is recorded has a subscriber more: a plain transport that leads to the recorder instead of the network. The
//! recorder so gets one stream from a key frame on, whatever the publisher does with SSRCs and encodings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use voex_base::{SocketId, SubscriptionId, TrackId, TransportId, WorkerId};
use voex_bridge::media::uri;
use voex_sfu::command::{
    Command, Extensions, Feedback, Layers, MediaKind, PlainRemote, SubscriptionSpec, TransportKind, TransportSpec,
};

use super::VideoRoom;
use super::error::{Code, Error};
use super::management::check_secret;
use super::publisher::{Format, PublishedStream, Publisher};
use super::room::{Room, RoomConfig};
use crate::host::Host;
use crate::plugin::fields::{Field, Fields, Type, required};
use crate::plugin::id::Id;
use crate::recording::{RecorderOrder, RecordingSpec, name_part, path_within};

const RECORD: [Field; 1] = [required("record", Type::Boolean)];

/// Where packets of recordings seem to go: the prefix of addresses where nobody is (RFC 6666).
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0)), 9);
/// Header extensions of recorded packets.
const AUDIO_LEVEL_ID: u8 = 1;
const VIDEO_ORIENTATION_ID: u8 = 13;

/// What a publisher wants recorded.
#[derive(Clone, Default, Debug)]
pub(crate) struct Wanted {
    /// Its streams are.
    pub(crate) record: bool,
    /// The beginning of the files' names, below the room's folder.
    filename: Option<PathBuf>,
}

/// A recording that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recording {
    worker: WorkerId,
    transport: TransportId,
    sink: SocketId,
}

impl VideoRoom {
    pub(super) fn enable_recording(&mut self, host: &mut Host, body: &Map<String, Value>) -> Result<Value, Error> {
        let room = self.room_with_secret(body, &RECORD)?;
        let record = body.flag("record").unwrap_or(false);
        if record && host.config.options.recordings_dir.is_none() {
            let text = "This server does not record (mcu.recordings_dir is not set)";
            return Err(Error::new(Code::Unknown, text));
        }
        room.config.record = record;
        for publisher in room.publishers.values_mut() {
            publisher.recording.record = record;
            publisher.follow_recording(host, &room.config, &room.id);
        }
        Ok(json!({"videoroom": "success", "record": record}))
    }

    /// Checks what `publish`, `configure` and `joinandconfigure` say of recording.
    pub(super) fn check_recording(host: &Host, body: &Map<String, Value>) -> Result<(), Error> {
        let Some(filename) = body.text("filename") else {
            return Ok(());
        };
        match &host.config.options.recordings_dir {
            Some(root) if path_within(root, filename).is_none_or(|path| path.as_os_str().is_empty()) => {
                Err(Error::invalid("Invalid element (filename)"))
            }
            _ => Ok(()),
        }
    }

    /// Checks the folder that `create` or `edit` names.
    pub(super) fn check_folder(host: &Host, body: &Map<String, Value>, name: &str) -> Result<(), Error> {
        let folder = body.text(name).zip(host.config.options.recordings_dir.as_ref());
        match folder {
            Some((folder, root)) if path_within(root, folder).is_none() => {
                Err(Error::invalid(format!("Invalid element ({name})")))
            }
            _ => Ok(()),
        }
    }
}

impl Room {
    /// Starts and stops what a publisher wants recorded, or not any more.
    pub(super) fn follow_recording(&mut self, host: &mut Host, user: &Id) {
        if let Some(publisher) = self.publishers.get_mut(user) {
            publisher.follow_recording(host, &self.config, &self.id);
        }
    }

    /// Applies `record` and `filename`, unless the room lets only those change them who know its secret.
    pub(super) fn apply_recording(&mut self, host: &mut Host, user: &Id, body: &Map<String, Value>) {
        let knows_secret = || check_secret(body, "secret", self.config.secret.as_deref()).is_ok();
        let is_locked = self.config.lock_record && !knows_secret();
        if let Some(publisher) = self.publishers.get_mut(user).filter(|_| !is_locked) {
            publisher.recording.apply(host, body);
            self.follow_recording(host, user);
        }
    }
}

impl Wanted {
    pub(super) fn of_room(config: &RoomConfig) -> Self {
        Self {
            record: config.record,
            filename: None,
        }
    }

    fn apply(&mut self, host: &Host, body: &Map<String, Value>) {
        let root = host.config.options.recordings_dir.as_ref();
        if let Some((root, filename)) = root.zip(body.text("filename")) {
            self.filename = path_within(root, filename);
        }
        self.record = body.flag("record").unwrap_or(self.record);
    }
}

impl Publisher {
    fn follow_recording(&mut self, host: &mut Host, room: &RoomConfig, room_id: &Id) {
        for stream in &mut self.streams {
            if !self.recording.record || self.dummy || stream.track.is_none() {
                stream.stop_recording(host);
            } else if stream.recording.is_none() {
                let name = || self.recording.path(host, room, room_id, &self.id, stream);
                if let Some(path) = name() {
                    stream.start_recording(host, path, self.e2ee);
                }
            }
        }
    }

    /// Ends every recording.
    pub(super) fn stop_recordings(&mut self, host: &mut Host) {
        for stream in &mut self.streams {
            stream.stop_recording(host);
        }
    }

    /// Takes the recordings of tracks that a new offer may keep.
    pub(super) fn take_recordings(&mut self) -> Vec<(TrackId, Recording)> {
        let streams = self.streams.iter_mut();
        streams
            .filter_map(|stream| stream.track.zip(stream.recording.take()))
            .collect()
    }

    /// Gives the recordings back to the streams that kept their tracks, and ends the others.
    pub(super) fn return_recordings(&mut self, host: &mut Host, recordings: Vec<(TrackId, Recording)>) {
        for (track, recording) in recordings {
            match self.streams.iter_mut().find(|stream| stream.track == Some(track)) {
                Some(stream) => stream.recording = Some(recording),
                None => recording.end(host),
            }
        }
    }
}

impl Wanted {
    /// Gives the file of a stream, as Janus would name it; `None` when nothing is recorded here.
    fn path(
        &self,
        host: &Host,
        room: &RoomConfig,
        room_id: &Id,
        user: &Id,
        stream: &PublishedStream,
    ) -> Option<PathBuf> {
        let root = host.config.options.recordings_dir.as_ref()?;
        let folder = room.rec_dir.as_ref().and_then(|folder| path_within(root, folder));
        let base = self.filename.clone().unwrap_or_else(|| {
            let (room, user) = (name_part(&room_id.to_string()), name_part(&user.to_string()));
            let us = host.wall().since_unix().as_micros();
            format!("videoroom-{room}-user-{user}-{us}").into()
        });
        let mut path = folder.unwrap_or_default().join(base).into_os_string();
        path.push(format!("-{}-{}", stream.kind.name(), stream.mindex));
        Some(path.into())
    }
}

impl PublishedStream {
    fn start_recording(&mut self, host: &mut Host, path: PathBuf, is_encrypted: bool) {
        let (Some(track), Some(format), Some(kind)) = (self.track, &self.format, self.kind.media()) else {
            return;
        };
        // Where the track arrives, whatever workers the room has grown onto.
        let Some(worker) = host.worker_of_track(track) else {
            return;
        };
        let (transport, subscription) = (host.new_transport_id(), host.new_subscription_id());
        let recording = Recording {
            worker,
            transport,
            sink: SocketId::recording(transport.0),
        };
        let (extensions, told) = extensions(kind);
        let spec = RecordingSpec {
            id: recording.sink,
            path,
            kind,
            codec: format.codec.name(),
            fmtp: format.payload.fmtp.clone(),
            extensions: told,
            created: host.wall(),
            is_encrypted,
        };
        // The recorder knows of it before the first packet can come.
        host.record(RecorderOrder::Open(Box::new(spec)));
        let subscription = subscription_spec(host, subscription, track, transport, format, extensions);
        let transport_spec = recording.transport_spec(host);
        host.media(worker, Command::OpenTransport(Box::new(transport_spec)));
        host.media(worker, Command::SetPlainRemote(transport, nowhere()));
        host.media(worker, Command::AddSubscription(Box::new(subscription)));
        self.recording = Some(recording);
    }

    fn stop_recording(&mut self, host: &mut Host) {
        if let Some(recording) = self.recording.take() {
            recording.end(host);
        }
    }
}

impl Recording {
    fn transport_spec(self, host: &mut Host) -> TransportSpec {
        TransportSpec {
            id: self.transport,
            kind: TransportKind::Plain {
                rtp: self.sink,
                rtcp: None,
                cname: host.rng.token(16),
            },
        }
    }

    fn end(self, host: &mut Host) {
        host.media(self.worker, Command::CloseTransport(self.transport));
        host.record(RecorderOrder::Close(self.sink));
    }
}

/// A remote that gets media and no reports.
fn nowhere() -> PlainRemote {
    PlainRemote {
        rtp: NOWHERE,
        rtcp: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        latch: false,
    }
}

/// Gives the extensions that recorded packets keep, and how the file names them.
fn extensions(kind: MediaKind) -> (Extensions, Vec<(u8, &'static str)>) {
    match kind {
        MediaKind::Audio => (
            Extensions {
                audio_level: Some(AUDIO_LEVEL_ID),
                ..Extensions::default()
            },
            vec![(AUDIO_LEVEL_ID, uri::AUDIO_LEVEL)],
        ),
        MediaKind::Video => (
            Extensions {
                video_orientation: Some(VIDEO_ORIENTATION_ID),
                ..Extensions::default()
            },
            vec![(VIDEO_ORIENTATION_ID, uri::VIDEO_ORIENTATION)],
        ),
    }
}

fn subscription_spec(
    host: &mut Host,
    id: SubscriptionId,
    track: TrackId,
    transport: TransportId,
    format: &Format,
    extensions: Extensions,
) -> SubscriptionSpec {
    let payload_type = format.payload.payload_type;
    SubscriptionSpec {
        id,
        track,
        transport,
        mid: String::new(),
        ssrc: host.new_ssrc(),
        rtx_ssrc: None,
        payloads: vec![(payload_type, payload_type, None)],
        extensions,
        feedback: Feedback::default(),
        cname: String::new(),
        active: true,
        layers: Layers::default(),
    }
}
