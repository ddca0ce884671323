//! Errors of the plugin.

use serde_json::{Value, json};

use crate::error::codes;
use crate::plugin::fields::FieldError;
use crate::plugin::id::Id;

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

    pub(crate) fn no_such_feed(feed: &Id) -> Self {
        Self::new(Code::NoSuchFeed, format!("No such feed ({feed})"))
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(Code::InvalidElement, text)
    }

    /// Gives the body that carries the error.
    pub(crate) fn to_json(&self) -> Value {
        json!({"videoroom": "event", "error_code": self.code.number(), "error": self.text})
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
    /// Error codes of the videoroom.
    ;
    /// There is no `request`, or no body worth the name.
    NoMessage = 421, "no_message", "No message??";
    /// The request does not exist, is not built, or does not fit the state.
    InvalidRequest = 423, "invalid_request", "Invalid request";
    /// The handle has not joined.
    JoinFirst = 424, "join_first", "Join a room first";
    /// The handle has joined before.
    AlreadyJoined = 425, "already_joined", "Already in a room";
    /// Unknown room.
    NoSuchRoom = 426, "no_such_room", "No such room";
    /// The room's id is taken.
    RoomExists = 427, "room_exists", "Room already exists";
    /// Unknown feed, user, stream or mid.
    NoSuchFeed = 428, "no_such_feed", "No such feed";
    /// A required field is absent.
    MissingElement = 429, "missing_element", "Missing mandatory element";
    /// A field has the wrong type or value.
    InvalidElement = 430, "invalid_element", "Invalid element";
    /// Offer where an answer belongs, or the other way round.
    InvalidSdpType = 431, "invalid_sdp_type", "Invalid SDP type";
    /// The room has its maximum of active publishers.
    PublishersFull = 432, "publishers_full", "Maximum number of publishers already reached";
    /// Wrong secret, pin, token or private id.
    Unauthorized = 433, "unauthorized", "Unauthorized";
    /// The handle publishes already.
    AlreadyPublished = 434, "already_published", "Can't publish, already published";
    /// The handle does not publish.
    NotPublished = 435, "not_published", "Can't unpublish, not published";
    /// The user id is taken.
    IdExists = 436, "id_exists", "User ID already exists";
    /// The description cannot be used.
    InvalidSdp = 437, "invalid_sdp", "Invalid SDP";
    /// Anything else.
    Unknown = 499, "unknown", "Unknown error";
}
