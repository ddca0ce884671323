//! What goes to clients: every shape of the API core, with its members in the order that clients know.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::host::HandleId;
use crate::jsep::LocalJsep;
use crate::plugin;
use crate::session::SessionId;

/// `{"janus":"error"}`; session and transaction as far as known.
pub(crate) fn error(session: Option<u64>, transaction: Option<&str>, error: &Error) -> Value {
    let mut reply = head("error", session, transaction);
    reply.insert(
        "error".into(),
        json!({"code": error.code.number(), "reason": error.reason}),
    );
    Value::Object(reply)
}

/// A reply of nothing but its head: `pong`, `ack`, `success` without data.
pub(crate) fn plain(janus: &str, session: Option<SessionId>, transaction: &str) -> Value {
    Value::Object(head(janus, session.map(|s| s.0), Some(transaction)))
}

/// `success` with the id that was made.
pub(crate) fn created(session: Option<SessionId>, transaction: &str, id: u64) -> Value {
    let mut reply = head("success", session.map(|s| s.0), Some(transaction));
    reply.insert("data".into(), json!({ "id": id }));
    Value::Object(reply)
}

/// `success` with a plugin's synchronous answer.
pub(crate) fn plugin_success(
    session: SessionId,
    transaction: &str,
    handle: HandleId,
    plugin: plugin::Kind,
    data: Value,
) -> Value {
    plugin_message("success", session, Some(transaction), handle, plugin, data, None)
}

/// `event` of a plugin.
pub(crate) fn plugin_event(
    session: SessionId,
    transaction: Option<&str>,
    handle: HandleId,
    plugin: plugin::Kind,
    data: Value,
    jsep: Option<&LocalJsep>,
) -> Value {
    plugin_message("event", session, transaction, handle, plugin, data, jsep)
}

/// An event of the core on a handle: `webrtcup`, `media`, `hangup`, `detached`; `rest` follows the sender.
pub(crate) fn core_event(janus: &str, session: SessionId, handle: HandleId, rest: Value) -> Value {
    let mut event = head(janus, Some(session.0), None);
    event.insert("sender".into(), handle.0.into());
    if let Value::Object(rest) = rest {
        event.extend(rest);
    }
    Value::Object(event)
}

/// `timeout` of a session.
pub(crate) fn timeout(session: SessionId) -> Value {
    Value::Object(head("timeout", Some(session.0), None))
}

fn plugin_message(
    janus: &str,
    session: SessionId,
    transaction: Option<&str>,
    handle: HandleId,
    plugin: plugin::Kind,
    data: Value,
    jsep: Option<&LocalJsep>,
) -> Value {
    let mut message = head(janus, Some(session.0), transaction);
    message.insert("sender".into(), handle.0.into());
    message.insert(
        "plugindata".into(),
        json!({"plugin": plugin.about().package, "data": data}),
    );
    if let Some(jsep) = jsep {
        message.insert("jsep".into(), jsep.to_json());
    }
    Value::Object(message)
}

fn head(janus: &str, session: Option<u64>, transaction: Option<&str>) -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("janus".into(), janus.into());
    if let Some(session) = session {
        head.insert("session_id".into(), session.into());
    }
    if let Some(transaction) = transaction {
        head.insert("transaction".into(), transaction.into());
    }
    head
}
