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
    pub(crate) fn to_json(&self, call_id: Option<&str>) -> Value {
        let mut body = json!({"sip": "event", "error_code": self.code.number(), "error": self.text});
        if let Some(call_id) = call_id {
            body["call_id"] = call_id.into();
        }
        body
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
    /// Error codes of the SIP plugin.
    ;
    /// The request does not exist or is not built.
    InvalidRequest = 442, "invalid_request", "Invalid request";
    /// A required field is absent.
    MissingElement = 443, "missing_element", "Missing mandatory element";
    /// A field has the wrong type or value.
    InvalidElement = 444, "invalid_element", "Invalid element";
    /// The handle has an account.
    AlreadyRegistered = 445, "already_registered", "Already registered";
    /// A URI that does not parse.
    InvalidAddress = 446, "invalid_address", "Invalid user address";
    /// The request does not fit the state of account or call.
    WrongState = 447, "wrong_state", "Wrong state";
    /// The request needs a JSEP.
    MissingSdp = 448, "missing_sdp", "Missing SDP";
    /// No RTP ports are free.
    Io = 450, "io", "Could not allocate RTP/RTCP ports";
    /// SRTP towards SIP was asked for.
    TooStrict = 452, "too_strict", "Media encryption unsupported by this plugin";
    /// The account that a handle would help with does not exist, or has too many helpers.
    Helper = 453, "helper", "No such master session";
}
