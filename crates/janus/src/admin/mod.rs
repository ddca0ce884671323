//! The admin API: sessions, handles and settings of the running gateway, on connections of its own.

mod handle_info;
mod settings;
mod tokens;
mod webrtc;

use serde_json::{Map, Value, json};

pub use settings::LogLevel;
pub(crate) use settings::Switches;

use crate::auth::is_equal;
use crate::error::{Code, Error};
use crate::gateway::{ConnectionId, Gateway, Origin, unhandled};
use crate::host::{HandleId, HangupReason};
use crate::info;
use crate::plugin::Kind;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::reply;
use crate::request::Request;
use crate::session::SessionId;

const MESSAGE_PLUGIN: [Field; 2] = [required("plugin", Type::String), optional("request", Type::Object)];
const QUERY_TRANSPORT: [Field; 2] = [required("transport", Type::String), optional("request", Type::Object)];
const QUERY_EVENT_HANDLER: [Field; 2] = [required("handler", Type::String), optional("request", Type::Object)];
const QUERY_LOGGER: [Field; 2] = [required("logger", Type::String), optional("request", Type::Object)];
const CUSTOM_EVENT: [Field; 2] = [required("schema", Type::String), required("data", Type::Object)];
const CUSTOM_LOG_LINE: [Field; 2] = [required("line", Type::String), optional("level", Type::Integer)];
const HANDLE_INFO: [Field; 1] = [optional("plugin_only", Type::Boolean)];

/// Members of a reply that stand behind its head.
type Rest = Map<String, Value>;

impl Gateway {
    pub(crate) fn handle_admin_request(&mut self, connection: ConnectionId, request: &Request) {
        let origin = Origin {
            connection,
            transaction: &request.transaction,
        };
        let (session, handle) = (request.session, request.handle);
        let result = match (session, handle) {
            (None, None | Some(0)) => self.admin_server_request(&origin, request),
            (None, Some(_)) | (Some(_), Some(0)) => Err(Error::default_text(Code::SessionNotFound)),
            (Some(session), handle) => self.admin_session_request(request, session, handle),
        };
        match result {
            Ok(Some(rest)) => {
                let mut reply = reply::head("success", session, Some(&request.transaction));
                reply.extend(rest);
                self.host.send(connection, Value::Object(reply));
            }
            Ok(None) => {}
            Err(error) => self.refuse(connection, session, Some(&request.transaction), &error),
        }
    }

    /// Answers a request that names no session; `None` when the answer has left already.
    fn admin_server_request(&mut self, origin: &Origin, request: &Request) -> Result<Option<Rest>, Error> {
        let verb = request.verb.to_ascii_lowercase();
        let members = &request.members;
        match verb.as_str() {
            "info" => {
                let info = info::server_info(&self.host, origin.transaction);
                self.host.send(origin.connection, info);
                return Ok(None);
            }
            "ping" => {
                self.reply(origin, "pong", None);
                return Ok(None);
            }
            _ => self.authorise_admin(members)?,
        }
        if let Some(set) = self.set(&verb, members)? {
            return Ok(Some(set));
        }
        let rest = match verb.as_str() {
            "get_status" => one("status", self.status()),
            "list_sessions" => one("sessions", self.list_sessions()),
            "message_plugin" => one("response", self.message_plugin(members)?),
            "query_transport" => one("response", query_transport(members)?),
            "query_eventhandler" => return Err(no_such(members, &QUERY_EVENT_HANDLER, "Invalid event handler")),
            "query_logger" => return Err(no_such(members, &QUERY_LOGGER, "Invalid logger")),
            "custom_event" => {
                check(members, &CUSTOM_EVENT)?;
                let none = Value::Null;
                let data = members.get("data").unwrap_or(&none);
                self.host
                    .tell_external(members.text("schema").unwrap_or_default(), data);
                Rest::new()
            }
            "custom_logline" => self.custom_log_line(members)?,
            "add_token" | "allow_token" | "disallow_token" | "list_tokens" | "remove_token" => {
                self.token_request(&verb, members)?
            }
            "loops_info" => one("loops", json!([])),
            _ => return Err(unhandled(&request.verb)),
        };
        Ok(Some(rest))
    }

    fn admin_session_request(
        &mut self,
        request: &Request,
        session: u64,
        handle: Option<u64>,
    ) -> Result<Option<Rest>, Error> {
        self.authorise_admin(&request.members)?;
        let id = SessionId(session);
        if !self.host.sessions.contains(id) {
            return Err(Error::new(Code::SessionNotFound, format!("No such session {session}")));
        }
        let handle = handle.map(|handle| self.handle_of(id, handle)).transpose()?;
        let rest = match handle {
            None => self.admin_of_session(request, id)?,
            Some(handle) => self.admin_of_handle(request, id, handle)?,
        };
        Ok(Some(rest))
    }

    fn admin_of_session(&mut self, request: &Request, session: SessionId) -> Result<Rest, Error> {
        match request.verb.to_ascii_lowercase().as_str() {
            "destroy_session" => {
                self.end_session(session);
                Ok(Rest::new())
            }
            "set_session_timeout" => self.set_timeout_of(session, &request.members),
            "list_handles" => {
                let handles = self.host.sessions.get(session).map(|session| &session.handles);
                let handles: Vec<_> = handles.into_iter().flatten().map(|handle| handle.0).collect();
                Ok(one("handles", json!(handles)))
            }
            _ => Err(unhandled(&request.verb)),
        }
    }

    fn admin_of_handle(&mut self, request: &Request, session: SessionId, handle: HandleId) -> Result<Rest, Error> {
        match request.verb.to_ascii_lowercase().as_str() {
            "detach_handle" => {
                self.detach_handle(handle);
                Ok(Rest::new())
            }
            "hangup_webrtc" => {
                self.hang_up(handle, HangupReason::AdminApi);
                Ok(Rest::new())
            }
            "handle_info" => {
                check(&request.members, &HANDLE_INFO)?;
                let plugin_only = request.members.flag("plugin_only") == Some(true);
                let info = self.handle_info(session, handle, plugin_only);
                Ok(Rest::from_iter([
                    ("handle_id".to_owned(), handle.0.into()),
                    ("info".to_owned(), info),
                ]))
            }
            _ => Err(unhandled(&request.verb)),
        }
    }

    fn authorise_admin(&self, members: &Map<String, Value>) -> Result<(), Error> {
        let Some(secret) = &self.host.config.options.admin_secret else {
            return Ok(());
        };
        let is_right = members
            .text("admin_secret")
            .is_some_and(|given| is_equal(secret, given));
        is_right.then_some(()).ok_or(Error::default_text(Code::Unauthorized))
    }

    fn list_sessions(&self) -> Value {
        let mut ids: Vec<_> = self.host.sessions.ids().map(|id| id.0).collect();
        ids.sort_unstable();
        json!(ids)
    }

    fn message_plugin(&mut self, members: &Map<String, Value>) -> Result<Value, Error> {
        check(members, &MESSAGE_PLUGIN)?;
        let plugin = Kind::of_package(members.text("plugin").unwrap_or_default())
            .ok_or_else(|| Error::new(Code::PluginNotFound, "Invalid plugin"))?;
        let none = Map::new();
        let body = members.get("request").and_then(Value::as_object).unwrap_or(&none);
        let answer = self.plugins.of(plugin).handle_admin(&mut self.host, body);
        answer.ok_or_else(|| Error::new(Code::Unknown, "Plugin doesn't support Admin API messages"))
    }
}

/// The WebSockets answer questions, but there is nothing to ask them.
fn query_transport(members: &Map<String, Value>) -> Result<Value, Error> {
    check(members, &QUERY_TRANSPORT)?;
    if members.text("transport") != Some(info::WEBSOCKETS) {
        return Err(Error::new(Code::PluginNotFound, "Invalid transport"));
    }
    let request = members.get("request").and_then(|body| body.get("request"));
    Ok(match request.and_then(Value::as_str) {
        Some(request) => json!({"error_code": 411, "error": format!("Unknown request '{request}'")}),
        None => json!({"error_code": 412, "error": "Missing mandatory element (request)"}),
    })
}

/// Refuses a question to a part that the server does not have.
fn no_such(members: &Map<String, Value>, table: &[Field], text: &str) -> Error {
    match check(members, table) {
        Ok(()) => Error::new(Code::PluginNotFound, text),
        Err(error) => error.into(),
    }
}

/// A reply of one member.
fn one(name: &str, value: Value) -> Rest {
    Rest::from_iter([(name.to_owned(), value)])
}
