//! Errors of the plugin.

use serde_json::{Value, json};

use crate::error::codes;
use crate::plugin::fields::FieldError;

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

    /// Refuses a request for the reason that its code names.
    pub(crate) fn default_text(code: Code) -> Self {
        Self::new(code, code.default_reason())
    }

    /// Gives the body that carries the error.
    pub(crate) fn to_json(&self) -> Value {
        json!({"videocall": "event", "error_code": self.code.number(), "error": self.text})
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
    /// Error codes of the video call.
    ;
    /// The request does not exist or is not built.
    InvalidRequest = 472, "invalid_request", "Invalid request";
    /// The handle has no name yet.
    RegisterFirst = 473, "register_first", "Register a username first";
    /// A field has the wrong type or value.
    InvalidElement = 474, "invalid_element", "Invalid element";
    /// A required field is absent.
    MissingElement = 475, "missing_element", "Missing mandatory element";
    /// Somebody else has the name.
    UsernameTaken = 476, "username_taken", "Username already taken";
    /// The handle has a name.
    AlreadyRegistered = 477, "already_registered", "Already registered";
    /// Nobody has the name.
    NoSuchUsername = 478, "no_such_username", "Username doesn't exist";
    /// A call to oneself.
    UseEchoTest = 479, "use_echo_test", "You can't call yourself... use the EchoTest for that";
    /// The handle is in a call.
    AlreadyInCall = 480, "already_in_call", "Already in a call";
    /// There is no call to accept.
    NoCall = 481, "no_call", "No incoming call to accept";
    /// The request needs a JSEP.
    MissingSdp = 482, "missing_sdp", "Missing SDP";
    /// The description cannot be used.
    InvalidSdp = 483, "invalid_sdp", "Invalid SDP";
    /// Anything else.
    Unknown = 499, "unknown", "Unknown error";
}
