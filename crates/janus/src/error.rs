//! Errors of the API core: whose fault it is, with the one place that maps it to code and text.

use crate::plugin::fields::FieldError;

/// A refused request: a code of the API core and the text beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Error {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

impl Error {
    pub(crate) fn new(code: Code, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    pub(crate) fn default_text(code: Code) -> Self {
        Self::new(code, code.default_reason())
    }

    pub(crate) fn missing(element: &str) -> Self {
        Self::new(Code::MissingElement, format!("Missing mandatory element ({element})"))
    }

    pub(crate) fn wrong_type(element: &str, should_be: &str) -> Self {
        Self::new(
            Code::InvalidElementType,
            format!("Invalid element type ({element} should be {should_be})"),
        )
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        let code = match error {
            FieldError::Missing(_) => Code::MissingElement,
            FieldError::WrongType(..) => Code::InvalidElementType,
        };
        Self::new(code, error.to_string())
    }
}

/// Makes an enum of error codes: number on the wire, name in metrics, default text.
macro_rules! codes {
    ($(#[$about:meta])* ; $($(#[$doc:meta])* $name:ident = $number:literal, $label:literal, $reason:literal;)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Gives the number on the wire.
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// Gives the text that goes with the code when there is nothing more precise to say.
            pub fn default_reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }
        }

        impl voex_base::Label for Code {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

pub(crate) use codes;

codes! {
    /// Error codes of the API core that this server uses.
    ;
    /// Wrong or missing `apisecret`.
    Unauthorized = 403, "unauthorized", "Unauthorized request (wrong or missing secret/token)";
    /// The token may not use the plugin.
    UnauthorizedPlugin = 405, "unauthorized_plugin", "Unauthorized access to plugin (token is not allowed to)";
    /// The message is longer than we accept.
    Transport = 450, "transport", "Transport specific error";
    /// A verb that does not exist.
    UnknownRequest = 453, "unknown_request", "Unknown request";
    /// Not JSON.
    InvalidJson = 454, "invalid_json", "Invalid JSON";
    /// JSON of the wrong shape.
    InvalidJsonObject = 455, "invalid_json_object", "Invalid JSON Object";
    /// A required member is absent.
    MissingElement = 456, "missing_element", "Missing mandatory element";
    /// The verb belongs to another level (server, session, handle).
    InvalidPath = 457, "invalid_path", "Invalid path for this request";
    /// Unknown session.
    SessionNotFound = 458, "session_not_found", "Session not found";
    /// Unknown handle.
    HandleNotFound = 459, "handle_not_found", "Handle not found";
    /// Unknown plugin.
    PluginNotFound = 460, "plugin_not_found", "Plugin not found";
    /// The plugin took no handle; here: the bound on handles is reached.
    PluginAttach = 461, "plugin_attach", "Error attaching plugin";
    /// The handle has no plugin to detach from.
    PluginDetach = 463, "plugin_detach", "Error detaching from plugin";
    /// `jsep.type` is neither `offer` nor `answer`.
    UnknownJsepType = 464, "unknown_jsep_type", "Unsupported JSEP type";
    /// The description does not parse.
    InvalidSdp = 465, "invalid_sdp", "Invalid SDP";
    /// A member has the wrong type.
    InvalidElementType = 467, "invalid_element_type", "Invalid element type";
    /// `create` with an id that is taken.
    SessionConflict = 468, "session_conflict", "Session ID already in use";
    /// An answer where no offer was made.
    UnexpectedAnswer = 469, "unexpected_answer", "Unexpected ANSWER (no OFFER)";
    /// A token that is not stored.
    TokenNotFound = 470, "token_not_found", "Token not found";
    /// No new sessions are taken, or the bound on them is reached.
    NotAcceptingSessions = 472, "not_accepting_sessions", "Currently not accepting new sessions";
    /// Anything else.
    Unknown = 490, "unknown", "Unknown error";
}

#[cfg(test)]
mod tests {
    use voex_base::Label;

    use super::*;

    #[test]
    fn metric_labels_of_codes_are_distinct() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
