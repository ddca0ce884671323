//! Trickled candidates of the remote: checked and acknowledged.
//!
//! An ICE lite agent needs none of them, since it learns the remote's addresses from the checks that arrive
//! (RFC 8445 §2.5, §7.3.1.3); so a candidate that is in order, and one that nobody can reach, are worth the same here.

use serde_json::{Map, Value};

use crate::error::{Code, Error};

/// Checks a `trickle` request. Candidates that come before the client's description (`described` is false) are
/// acknowledged unread, as those that wait for it always were.
pub(crate) fn check(members: &Map<String, Value>, described: bool) -> Result<(), Error> {
    match (members.get("candidate"), members.get("candidates")) {
        (None, None) => Err(Error::missing("candidate|candidates")),
        (Some(_), Some(_)) => Err(Error::new(
            Code::InvalidJson,
            "Can't have both candidate and candidates",
        )),
        _ if !described => Ok(()),
        (Some(candidate), None) => check_candidate(candidate),
        (None, Some(Value::Array(_))) => Ok(()),
        (None, Some(_)) => Err(Error::wrong_type("candidates", "an array")),
    }
}

fn check_candidate(candidate: &Value) -> Result<(), Error> {
    let Value::Object(candidate) = candidate else {
        return Ok(());
    };
    if candidate.get("completed").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    let (mid, index) = (candidate.get("sdpMid"), candidate.get("sdpMLineIndex"));
    if mid.is_none() && index.is_none() {
        return Err(missing("sdpMid or sdpMLineIndex"));
    }
    if mid.is_some_and(|mid| !mid.is_string()) {
        return Err(wrong_type("sdpMid should be a string"));
    }
    if index.is_some_and(|index| !(index.is_i64() || index.is_u64())) {
        return Err(wrong_type("sdpMLineIndex should be an integer"));
    }
    match candidate.get("candidate") {
        None => Err(missing("candidate")),
        Some(Value::String(_)) => Ok(()),
        Some(_) => Err(wrong_type("candidate should be a string")),
    }
}

fn missing(element: &str) -> Error {
    Error::new(
        Code::MissingElement,
        format!("Trickle error: missing mandatory element ({element})"),
    )
}

fn wrong_type(what: &str) -> Error {
    Error::new(
        Code::InvalidElementType,
        format!("Trickle error: invalid element type ({what})"),
    )
}
