//! Errors of the plugin.

use serde_json::{Value, json};

use crate::error::codes;
use crate::plugin::fields::FieldError;
use crate::plugin::id::Id;
use crate::plugin::videoroom::room::object;

/// A refused request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Error {
    pub(crate) code: Code,
    text: String,
}

impl Error {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(crate) fn no_such_room(room: &Id) -> Self {
        Self::new(Code::NoSuchRoom, format!("No such room ({room})"))
    }

    /// Gives what carries the error: over the API with `event`, over a data channel with `error` and the transaction.
    pub(crate) fn to_json(&self, transaction: Option<&str>) -> Value {
        let kind = if transaction.is_some() { "error" } else { "event" };
        object([
            ("textroom", Some(json!(kind))),
            ("transaction", transaction.map(|transaction| json!(transaction))),
            ("error_code", Some(json!(self.code.number()))),
            ("error", Some(json!(self.text))),
        ])
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        let code = match error {
            FieldError::Missing(_) => Code::MissingElement,
            FieldError::WrongType(..) => Code::InvalidElement,
        };
        Self::new(code, error.to_string())
    }
}

codes! {
    /// Error codes of the text room.
    ;
    /// There is no PeerConnection to work on.
    NoMessage = 411, "no_message", "No message??";
    /// What came on a data channel is no JSON object.
    InvalidJson = 412, "invalid_json", "Invalid JSON";
    /// A required field is absent.
    MissingElement = 413, "missing_element", "Missing mandatory element";
    /// A field has the wrong type or value.
    InvalidElement = 414, "invalid_element", "Invalid element";
    /// The request does not exist.
    InvalidRequest = 415, "invalid_request", "Invalid request";
    /// The handle has a PeerConnection.
    AlreadySetup = 416, "already_setup", "PeerConnection already setup";
    /// Unknown room.
    NoSuchRoom = 417, "no_such_room", "No such room";
    /// The room's id is taken.
    RoomExists = 418, "room_exists", "Room already exists";
    /// Wrong secret, pin or token.
    Unauthorized = 419, "unauthorized", "Unauthorized";
    /// Somebody else in the room has the name.
    UsernameExists = 420, "username_exists", "Username already taken";
    /// The handle is in the room.
    AlreadyInRoom = 421, "already_in_room", "Already in room";
    /// The handle is not in the room.
    NotInRoom = 422, "not_in_room", "Not in room";
    /// Nobody in the room has the name.
    NoSuchUser = 423, "no_such_user", "No such user";
    /// Anything else.
    Unknown = 499, "unknown", "Unknown error";
}
