//! Participants that may publish.

use serde_json::{Map, Value, json};

use super::room::object;
use crate::host::HandleId;

/// A participant of a room that joined as publisher, active or not.
pub(crate) struct Publisher {
    pub(crate) id: u64,
    pub(crate) handle: HandleId,
    pub(crate) display: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
    /// The PeerConnection is up: others have been told of the streams.
    pub(crate) active: bool,
}

impl Publisher {
    /// Gives the participant's entry in `listparticipants`.
    pub(crate) fn list_entry(&self) -> Value {
        object([
            ("id", Some(json!(self.id))),
            ("display", self.display.as_ref().map(|display| json!(display))),
            ("metadata", self.metadata.clone().map(Value::Object)),
            ("publisher", Some(json!(self.active))),
        ])
    }
}
