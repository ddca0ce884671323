//! A room: its settings, who is in it, and what was said.

use std::collections::VecDeque;

use bytes::Bytes;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Value, json};

use crate::host::HandleId;
use crate::plugin::id::Id;

/// Messages that a room keeps at most, and their bytes.
pub(super) const HISTORY_MAX: u64 = 100;
const HISTORY_BYTES_MAX: usize = 256 * 1024;

/// Settings of a room, as `create` gives them.
#[derive(Clone, Default, Debug)]
pub(super) struct RoomConfig {
    /// Text for people; `None` is `Room ID`.
    pub(super) description: Option<String>,
    /// Needed to edit, destroy, kick and announce.
    pub(super) secret: Option<String>,
    /// Needed to join.
    pub(super) pin: Option<String>,
    /// Hidden from `list`.
    pub(super) is_private: bool,
    /// Messages that who joins is told of; zero is none.
    pub(super) history: usize,
    /// Tokens that may join; `None` lets anybody in.
    pub(super) allowed: Option<IndexSet<String>>,
}

/// What a room costs beside its texts, and a text beside its bytes.
const ROOM_OVERHEAD_BYTES: usize = 512;
const TEXT_OVERHEAD_BYTES: usize = 64;

impl RoomConfig {
    /// What it takes to keep a room with these settings.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.description, &self.secret, &self.pin].into_iter().flatten();
        let texts = texts.chain(self.allowed.iter().flatten());
        texts.fold(ROOM_OVERHEAD_BYTES, |sum, text| sum + text.len() + TEXT_OVERHEAD_BYTES)
    }
}

/// Somebody in a room.
pub(super) struct Participant {
    pub(super) handle: HandleId,
    pub(super) display: Option<String>,
}

/// A room that exists.
pub(super) struct Room {
    pub(super) id: Id,
    pub(super) config: RoomConfig,
    /// By name, in the order of joining.
    pub(super) participants: IndexMap<String, Participant>,
    history: VecDeque<Bytes>,
    history_bytes: usize,
}

impl Room {
    pub(super) fn new(id: Id, config: RoomConfig) -> Self {
        Self {
            id,
            config,
            participants: IndexMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
        }
    }

    pub(super) fn list_entry(&self) -> Value {
        let given = self.config.description.clone();
        json!({
            "room": self.id,
            "description": given.unwrap_or_else(|| format!("Room {}", self.id)),
            "pin_required": self.config.pin.is_some(),
            "num_participants": self.participants.len(),
            "history": self.config.history,
        })
    }

    /// Gives everybody but one.
    pub(super) fn others(&self, name: Option<&str>) -> Value {
        let others = self
            .participants
            .iter()
            .filter(|(other, _)| Some(other.as_str()) != name);
        others
            .map(|(name, participant)| match &participant.display {
                Some(display) => json!({"username": name, "display": display}),
                None => json!({ "username": name }),
            })
            .collect()
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = HandleId> {
        self.participants.values().map(|participant| participant.handle)
    }

    pub(super) fn name_of(&self, handle: HandleId) -> Option<&str> {
        let mut participants = self.participants.iter();
        let found = participants.find(|(_, participant)| participant.handle == handle);
        found.map(|(name, _)| name.as_str())
    }

    /// Keeps a message for those who come later.
    pub(super) fn remember(&mut self, message: Bytes) {
        if self.config.history == 0 {
            return;
        }
        self.history_bytes += message.len() + TEXT_OVERHEAD_BYTES;
        self.history.push_back(message);
        while self.history.len() > self.config.history || self.history_bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes -= oldest.len() + TEXT_OVERHEAD_BYTES;
        }
    }

    /// What messages that are kept take.
    pub(super) fn history_bytes(&self) -> usize {
        self.history_bytes
    }

    pub(super) fn history(&self) -> impl Iterator<Item = &Bytes> {
        self.history.iter()
    }
}
