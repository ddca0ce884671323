//! The envelope of a request and the checks on it, in the order in which clients see them fail.

use serde_json::{Map, Value};

use crate::error::{Code, Error};

/// Longest message that is read, in bytes; a longer one is answered 450. Offers are 10-20 kB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Longest transaction, opaque id and token, which are kept; a longer one is answered 467.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;

/// A request whose envelope is in order.
#[derive(Debug)]
pub(crate) struct Request {
    /// `session_id`, when there is one.
    pub(crate) session: Option<u64>,
    /// `handle_id`, when there is one; zero is possible and never valid.
    pub(crate) handle: Option<u64>,
    /// `janus`, as written.
    pub(crate) verb: String,
    pub(crate) transaction: String,
    /// The whole object.
    pub(crate) members: Map<String, Value>,
}

/// A message that is no request, with what the error reply can tell of it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) session: Option<u64>,
    pub(crate) error: Error,
}

/// Parses a message up to the point where `janus` and `transaction` are known.
pub(crate) fn parse(text: &str) -> Result<Request, Refused> {
    let members = object(text).map_err(|error| Refused { session: None, error })?;
    let session = integer(&members, "session_id").filter(|id| *id != 0);
    // What is no integer counts as the id zero, which no handle has.
    let handle = members
        .get("handle_id")
        .map(|_| integer(&members, "handle_id").unwrap_or(0));
    let refuse = |error| Refused { session, error };
    let transaction = required_string(&members, "transaction").map_err(refuse)?.to_owned();
    if transaction.len() > NAME_BYTES_MAX {
        return Err(refuse(Error::wrong_type("transaction", "at most 1024 bytes long")));
    }
    let verb = required_string(&members, "janus").map_err(refuse)?.to_owned();
    if members.get("id").is_some_and(|id| !id.is_u64()) {
        return Err(refuse(Error::wrong_type("id", "a positive integer")));
    }
    Ok(Request {
        session,
        handle,
        verb,
        transaction,
        members,
    })
}

/// Reads a required string member.
pub(crate) fn required_string<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Error> {
    match members.get(name) {
        None => Err(Error::missing(name)),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Error::wrong_type(name, "a string")),
    }
}

/// Reads an integer greater than zero.
pub(crate) fn positive(value: &Value) -> Option<u64> {
    value.as_u64().filter(|n| *n > 0)
}

fn object(text: &str) -> Result<Map<String, Value>, Error> {
    if text.len() > MESSAGE_BYTES_MAX {
        return Err(Error::default_text(Code::Transport));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Ok(members),
        // Captured: an array counts as an object without members.
        Ok(Value::Array(_)) => Ok(Map::new()),
        Ok(_) => Err(invalid_json(1, 1, "'[' or '{' expected")),
        Err(error) => {
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or_default();
            Err(invalid_json(error.line(), error.column(), what))
        }
    }
}

fn invalid_json(line: usize, column: usize, what: &str) -> Error {
    let text = format!("Invalid Janus API request - <string>({line},{column}): {what}");
    Error::new(Code::InvalidJson, text)
}

/// Reads an id member: anything but an integer counts as absent, a negative one as the unsigned number of its bits.
fn integer(members: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = members.get(name)?;
    value.as_u64().or_else(|| value.as_i64().map(|n| n as u64))
}
