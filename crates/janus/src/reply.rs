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

/// `ack` of a message, with the plugin's hint.
pub(crate) fn ack(session: SessionId, transaction: &str, hint: Option<&str>) -> Value {
    let mut reply = head("ack", Some(session.0), Some(transaction));
    if let Some(hint) = hint {
        reply.insert("hint".into(), hint.into());
    }
    Value::Object(reply)
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
    sender: Sender<'_>,
    plugin: plugin::Kind,
    data: Value,
) -> Value {
    plugin_message("success", session, Some(transaction), sender, plugin, data, None)
}

/// `event` of a plugin.
pub(crate) fn plugin_event(
    session: SessionId,
    transaction: Option<&str>,
    sender: Sender<'_>,
    plugin: plugin::Kind,
    data: Value,
    jsep: Option<&LocalJsep>,
) -> Value {
    plugin_message("event", session, transaction, sender, plugin, data, jsep)
}

/// An event of the core on a handle: `webrtcup`, `media`, `hangup`, `detached`; `rest` follows the sender.
pub(crate) fn core_event(janus: &str, session: SessionId, sender: Sender<'_>, rest: Value) -> Value {
    let mut event = head(janus, Some(session.0), None);
    sender.write(&mut event);
    if let Value::Object(rest) = rest {
        event.extend(rest);
    }
    Value::Object(event)
}

/// A handle as replies and events name it.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) handle: HandleId,
    /// The client's own name, where the API shows it.
    pub(crate) opaque_id: Option<&'a str>,
}

impl Sender<'_> {
    fn write(self, message: &mut Map<String, Value>) {
        message.insert("sender".into(), self.handle.0.into());
        if let Some(opaque_id) = self.opaque_id {
            message.insert("opaque_id".into(), opaque_id.into());
        }
    }
}

/// `timeout` of a session.
pub(crate) fn timeout(session: SessionId) -> Value {
    Value::Object(head("timeout", Some(session.0), None))
}

fn plugin_message(
    janus: &str,
    session: SessionId,
    transaction: Option<&str>,
    sender: Sender<'_>,
    plugin: plugin::Kind,
    data: Value,
    jsep: Option<&LocalJsep>,
) -> Value {
    let mut message = head(janus, Some(session.0), transaction);
    sender.write(&mut message);
    message.insert(
        "plugindata".into(),
        json!({"plugin": plugin.about().package, "data": data}),
    );
    if let Some(jsep) = jsep {
        message.insert("jsep".into(), jsep.to_json());
    }
    Value::Object(message)
}

pub(crate) fn head(janus: &str, session: Option<u64>, transaction: Option<&str>) -> Map<String, Value> {
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
