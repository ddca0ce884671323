//! Who talks: the worker measures, everybody in the room is told.

use serde_json::json;
use voex_base::TrackId;
use voex_sfu::command::{Command, Speech, SpeechRule};

use super::publisher::{Publisher, StreamKind};
use super::room::{RoomConfig, object};
use super::{VideoRoom, tell};
use crate::host::Host;
use crate::plugin::id::Id;

impl Publisher {
    /// Tells the worker by what rule the publisher talks, where the room wants to know.
    pub(super) fn apply_speech(&self, host: &mut Host, config: &RoomConfig) {
        if !config.audiolevel_event {
            return;
        }
        let set = |own: Option<u32>, room: u32| own.filter(|own| *own != 0).unwrap_or(room);
        let rule = SpeechRule {
            packets: set(self.audio_active_packets, config.audio_active_packets),
            level: set(self.audio_level_average, config.audio_level_average),
        };
        let audio = self.streams.iter().filter(|stream| stream.kind == StreamKind::Audio);
        for track in audio
            .filter(|stream| stream.has_level)
            .filter_map(|stream| stream.track)
        {
            host.command_track(track, Command::SetTrackSpeech(track, rule));
        }
    }

    /// Tells whether somebody talks on one of the streams; `None` where none has levels.
    pub(super) fn talking(&self) -> Option<bool> {
        let with_level = self
            .streams
            .iter()
            .filter(|stream| stream.has_level && stream.track.is_some());
        with_level
            .map(|stream| stream.talking)
            .reduce(|one, other| one || other)
    }
}

impl VideoRoom {
    /// The worker found that a publisher began to talk, or ended.
    pub(super) fn speech_changed(&mut self, host: &mut Host, room_id: &Id, user: &Id, track: TrackId, speech: Speech) {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return;
        };
        let Some(publisher) = room.publishers.get_mut(user) else {
            return;
        };
        let handle = publisher.handle;
        let mut streams = publisher.streams.iter_mut();
        let Some(stream) = streams.find(|stream| stream.track == Some(track)) else {
            return;
        };
        stream.talking = speech.is_talking;
        let what = if speech.is_talking {
            "talking"
        } else {
            "stopped-talking"
        };
        let event = object([
            ("videoroom", Some(json!(what))),
            ("room", Some(json!(room_id))),
            ("id", Some(json!(user))),
            ("mindex", Some(json!(stream.mindex))),
            ("mid", Some(json!(stream.mid))),
            ("audio-level-dBov-avg", Some(json!(speech.level()))),
        ]);
        tell::tell_speech(host, handle, &event);
        room.notify_others(host, None, &event);
    }
}
