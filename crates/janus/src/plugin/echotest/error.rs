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

    /// Gives the body that carries the error.
    pub(crate) fn to_json(&self) -> Value {
        json!({"echotest": "event", "error_code": self.code.number(), "error": self.text})
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        Self::new(Code::InvalidElement, error.to_string())
    }
}

codes! {
    /// Error codes of the echo test.
    ;
    /// Nothing known was asked for, or a field has the wrong type or value.
    InvalidElement = 413, "invalid_element", "Invalid element";
    /// The description cannot be used.
    InvalidSdp = 414, "invalid_sdp", "Invalid SDP";
}
