//! The `jsep` member of messages and events.

use serde_json::{Map, Value};
use voex_sdp::Description;

use crate::error::{Code, Error};

/// A description that came with a message.
#[derive(Debug)]
pub(crate) struct Jsep {
    pub(crate) kind: JsepKind,
    pub(crate) description: Description,
    /// The media is encrypted end to end; events pass the mark on.
    pub(crate) e2ee: bool,
}

/// Offer or answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum JsepKind {
    Offer,
    Answer,
}

impl JsepKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
        }
    }
}

/// A description for an event: its kind and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LocalJsep {
    pub(crate) kind: JsepKind,
    pub(crate) sdp: String,
    /// The media is encrypted end to end.
    pub(crate) e2ee: bool,
}

impl LocalJsep {
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("type".into(), self.kind.name().into());
        object.insert("sdp".into(), self.sdp.as_str().into());
        if self.e2ee {
            object.insert("e2ee".into(), true.into());
        }
        Value::Object(object)
    }
}

/// Members of `jsep` with a type that is checked even when nothing uses their value.
const OPTIONAL_MEMBERS: [(&str, fn(&Value) -> bool, &str); 4] = [
    ("trickle", Value::is_boolean, "a boolean"),
    ("rid_order", Value::is_string, "a string"),
    ("force_relay", Value::is_boolean, "a boolean"),
    ("e2ee", Value::is_boolean, "a boolean"),
];

/// Checks and parses the `jsep` member. `offered` tells whether an answer is awaited on the handle.
pub(crate) fn parse(value: &Value, offered: bool) -> Result<Jsep, Error> {
    let Value::Object(jsep) = value else {
        return Err(Error::new(Code::InvalidJsonObject, "Invalid jsep object"));
    };
    let kind = string(jsep, "type")?;
    let sdp = string(jsep, "sdp")?;
    for (name, is_right, should_be) in OPTIONAL_MEMBERS {
        if jsep.get(name).is_some_and(|value| !is_right(value)) {
            return Err(wrong_type(name, should_be));
        }
    }
    let kind = match kind {
        offer if offer.eq_ignore_ascii_case("offer") => JsepKind::Offer,
        answer if answer.eq_ignore_ascii_case("answer") => JsepKind::Answer,
        other => {
            let text = format!("JSEP error: unknown message type '{other}'");
            return Err(Error::new(Code::UnknownJsepType, text));
        }
    };
    if kind == JsepKind::Answer && !offered {
        return Err(Error::new(Code::UnexpectedAnswer, "Unexpected ANSWER (did we offer?)"));
    }
    if !sdp.starts_with("v=") {
        return Err(Error::new(Code::InvalidSdp, "Invalid SDP (doesn't start with v=)"));
    }
    let description = Description::parse(sdp).map_err(|_| Error::new(Code::InvalidSdp, "JSEP error: invalid SDP"))?;
    let e2ee = jsep.get("e2ee").and_then(Value::as_bool).unwrap_or(false);
    Ok(Jsep {
        kind,
        description,
        e2ee,
    })
}

fn string<'a>(jsep: &'a Map<String, Value>, name: &str) -> Result<&'a str, Error> {
    match jsep.get(name) {
        None => Err(Error::new(
            Code::MissingElement,
            format!("JSEP error: missing mandatory element ({name})"),
        )),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(wrong_type(name, "a string")),
    }
}

fn wrong_type(name: &str, should_be: &str) -> Error {
    Error::new(
        Code::InvalidElementType,
        format!("JSEP error: invalid element type ({name} should be {should_be})"),
    )
}
