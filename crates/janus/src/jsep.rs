//! The `jsep` member of messages and events.

use serde_json::{Map, Value};
use voex_sdp::Description;

use crate::error::{Code, Error};
use crate::plugin::fields::{Field, FieldError, Fields, Type, check, optional, required};

/// A description that came with a message.
#[derive(Debug)]
pub(crate) struct Jsep {
    pub(crate) kind: JsepKind,
    pub(crate) description: Description,
    /// The media is encrypted end to end; events pass the mark on.
    pub(crate) e2ee: bool,
    /// Whether the rids of a simulcast are listed from the lowest up instead of from the highest down, when it is told.
    pub(crate) rids_rise: Option<bool>,
    /// m-lines that the client said to send in layers of one stream, when it spoke of that.
    pub(crate) svc: Option<Vec<LineName>>,
}

impl Jsep {
    /// Tells whether an m-line was said to have layers of one stream; `None` when nothing was said of any.
    pub(crate) fn is_svc(&self, index: usize, mid: Option<&str>) -> Option<bool> {
        let is_named = |line: &LineName| match line {
            LineName::Index(named) => usize::try_from(*named) == Ok(index),
            LineName::Mid(named) => Some(named.as_str()) == mid,
        };
        self.svc.as_ref().map(|lines| lines.iter().any(is_named))
    }
}

/// How a member of `jsep` names an m-line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LineName {
    Index(u64),
    Mid(String),
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

/// Members of `jsep`; some are checked without being used.
const MEMBERS: [Field; 6] = [
    required("type", Type::String),
    required("sdp", Type::String),
    optional("trickle", Type::Boolean),
    optional("rid_order", Type::String),
    optional("force_relay", Type::Boolean),
    optional("e2ee", Type::Boolean),
];

/// Checks and parses the `jsep` member. `offered` tells whether an answer is awaited on the handle.
pub(crate) fn parse(value: &Value, offered: bool) -> Result<Jsep, Error> {
    let Value::Object(jsep) = value else {
        return Err(Error::new(Code::InvalidJsonObject, "Invalid jsep object"));
    };
    check(jsep, &MEMBERS).map_err(refused)?;
    let kind = jsep.text("type").unwrap_or_default();
    let sdp = jsep.text("sdp").unwrap_or_default();
    let kind = match kind {
        offer if offer.eq_ignore_ascii_case("offer") => JsepKind::Offer,
        answer if answer.eq_ignore_ascii_case("answer") => JsepKind::Answer,
        other => {
            let text = format!("JSEP error: unknown message type '{other}'");
            return Err(Error::new(Code::UnknownJsepType, text));
        }
    };
    if !sdp.starts_with("v=") {
        return Err(Error::new(Code::InvalidSdp, "Invalid SDP (doesn't start with v=)"));
    }
    if !["o=", "s=", "m="].iter().all(|start| has_line(sdp, start)) {
        return Err(Error::new(Code::InvalidSdp, "Missing mandatory lines (o=, s= or m=)"));
    }
    if kind == JsepKind::Answer && !offered {
        return Err(Error::new(Code::UnexpectedAnswer, "Unexpected ANSWER (did we offer?)"));
    }
    let description = Description::parse(sdp).map_err(|_| Error::new(Code::InvalidSdp, "JSEP error: invalid SDP"))?;
    Ok(Jsep {
        kind,
        description,
        e2ee: jsep.flag("e2ee").unwrap_or(false),
        rids_rise: match jsep.text("rid_order") {
            Some("lmh") => Some(true),
            Some("hml") => Some(false),
            _ => None,
        },
        svc: jsep.get("svc").and_then(svc_lines),
    })
}

/// Reads `svc`; a value with anything wrong in it counts as absent.
fn svc_lines(value: &Value) -> Option<Vec<LineName>> {
    let line = |item: &Value| {
        let item = item.as_object()?;
        item.text("svc")?;
        let is_integer = item.get("mindex").is_none_or(|index| Type::Integer.is_type_of(index));
        let is_text = item.get("mid").is_none_or(Value::is_string);
        match (item.number("mindex"), item.text("mid")) {
            _ if !is_integer || !is_text => None,
            (Some(index), _) => Some(LineName::Index(index)),
            (None, mid) => mid.map(|mid| LineName::Mid(mid.to_owned())),
        }
    };
    value.as_array()?.iter().map(line).collect()
}

fn has_line(sdp: &str, start: &str) -> bool {
    sdp.lines().any(|line| line.starts_with(start))
}

fn refused(error: FieldError) -> Error {
    let code = match error {
        FieldError::Missing(_) => Code::MissingElement,
        FieldError::WrongType(..) => Code::InvalidElementType,
    };
    let text = error.to_string();
    let (first, rest) = text.split_at(1);
    Error::new(code, format!("JSEP error: {}{rest}", first.to_ascii_lowercase()))
}
