//! The Janus API over one WebSocket connection: one session, a handle for every participant.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::LoadError;
use crate::error::Doing as _;
use crate::interrupt;

const DEFAULT_PORT: u16 = 8188;
const CONNECT_MAX: Duration = Duration::from_secs(3);
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Servers end a session that is silent for a minute, by Janus' default.
const KEEPALIVE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The plugin of conferences.
pub(crate) const PLUGIN: &str = "janus.plugin.videoroom";

/// A session on a server.
pub(crate) struct Api {
    url: String,
    secret: Option<String>,
    socket: WebSocket<TcpStream>,
    session: u64,
    local: IpAddr,
    count: u64,
    kept_alive: Instant,
}

impl Api {
    /// Connects and makes a session.
    pub(crate) fn connect(url: &str, secret: Option<&str>) -> Result<Self, LoadError> {
        let failed = |why: String| LoadError::WebSocket { url: url.into(), why };
        let mut request = url.into_client_request().map_err(|error| failed(error.to_string()))?;
        let protocol = HeaderValue::from_static("janus-protocol");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        let uri = request.uri();
        if uri.scheme_str() != Some("ws") {
            return Err(failed("an address like ws://HOST:8188 is expected, without TLS".into()));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let found = (host, uri.port_u16().unwrap_or(DEFAULT_PORT)).to_socket_addrs();
        let address = found.map_err(|error| failed(error.to_string()))?.next();
        let address = address.ok_or_else(|| failed("this host has no address".into()))?;
        let stream = TcpStream::connect_timeout(&address, CONNECT_MAX).map_err(|error| failed(error.to_string()))?;
        let local = stream.local_addr().doing(|| "reading a local address".into())?.ip();
        stream.set_nodelay(true).doing(|| "setting TCP_NODELAY".into())?;
        stream
            .set_read_timeout(Some(ANSWER_MAX))
            .doing(|| "setting a time-out".into())?;
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| failed(error.to_string()))?;
        socket
            .get_ref()
            .set_nonblocking(true)
            .doing(|| "setting O_NONBLOCK".into())?;
        let mut api = Self {
            url: url.into(),
            secret: secret.map(str::to_owned),
            socket,
            session: 0,
            local,
            count: 0,
            kept_alive: Instant::now(),
        };
        let created = api.ask("making a session", json!({ "janus": "create" }))?;
        api.session = id_of(&created).ok_or_else(|| failed(format!("no session was made: {created}")))?;
        Ok(api)
    }

    /// Address from which this host reaches the server.
    pub(crate) fn local_ip(&self) -> IpAddr {
        self.local
    }

    /// What to watch.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// Sends a request under a transaction; its answer comes out of [`poll`](Self::poll).
    pub(crate) fn send(&mut self, transaction: &str, mut request: Value) -> Result<(), LoadError> {
        request["transaction"] = transaction.into();
        if self.session != 0 {
            request["session_id"] = self.session.into();
        }
        if let Some(secret) = &self.secret {
            request["apisecret"] = secret.as_str().into();
        }
        match self.socket.send(Message::text(request.to_string())) {
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            sent => sent.map_err(|error| self.failed(&error)),
        }
    }

    /// Sends a message to a handle's plugin.
    pub(crate) fn message(
        &mut self,
        transaction: &str,
        handle: u64,
        body: Value,
        jsep: Option<(&str, String)>,
    ) -> Result<(), LoadError> {
        let mut request = json!({ "janus": "message", "handle_id": handle, "body": body });
        if let Some((kind, sdp)) = jsep {
            request["jsep"] = json!({ "type": kind, "sdp": sdp });
        }
        self.send(transaction, request)
    }

    /// Takes the next message, without waiting.
    pub(crate) fn poll(&mut self) -> Result<Option<Value>, LoadError> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let value = serde_json::from_str(text.as_str());
                    return value.map(Some).map_err(|error| LoadError::WebSocket {
                        url: self.url.clone(),
                        why: format!("it sent what is no JSON: {error}"),
                    });
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Keeps the session alive, and writes what the connection did not take at once.
    pub(crate) fn tick(&mut self) -> Result<(), LoadError> {
        match self.socket.flush() {
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            flushed => flushed.map_err(|error| self.failed(&error))?,
        }
        if self.kept_alive.elapsed() > KEEPALIVE {
            self.kept_alive = Instant::now();
            self.send("keepalive", json!({ "janus": "keepalive" }))?;
        }
        Ok(())
    }

    /// Sends a request and waits for its answer; what comes beside it is dropped.
    pub(crate) fn ask(&mut self, doing: &str, request: Value) -> Result<Value, LoadError> {
        self.count += 1;
        let transaction = format!("ask-{}", self.count);
        self.send(&transaction, request)?;
        let asked = Instant::now();
        while asked.elapsed() < ANSWER_MAX {
            interrupt::check()?;
            self.tick()?;
            match self.poll()? {
                Some(answer) if answer["transaction"] == *transaction && answer["janus"] != "ack" => {
                    return match failure_of(&answer) {
                        Some(why) => Err(refused(doing, why)),
                        None => Ok(answer),
                    };
                }
                Some(_) => {}
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
        Err(refused(doing, format!("no answer after {} s", ANSWER_MAX.as_secs())))
    }

    /// Asks a handle's plugin.
    pub(crate) fn ask_plugin(&mut self, doing: &str, handle: u64, body: Value) -> Result<Value, LoadError> {
        let request = json!({ "janus": "message", "handle_id": handle, "body": body });
        self.ask(doing, request)
    }

    /// Attaches a handle and waits for it.
    pub(crate) fn attach(&mut self) -> Result<u64, LoadError> {
        let doing = "attaching to the video room";
        let answer = self.ask(doing, json!({ "janus": "attach", "plugin": PLUGIN }))?;
        id_of(&answer).ok_or_else(|| refused(doing, answer.to_string()))
    }

    fn failed(&self, error: &tungstenite::Error) -> LoadError {
        LoadError::WebSocket {
            url: self.url.clone(),
            why: error.to_string(),
        }
    }
}

/// Gives the id that a `create` or an `attach` is answered with.
pub(crate) fn id_of(answer: &Value) -> Option<u64> {
    answer["data"]["id"].as_u64()
}

/// Gives what went wrong, of the core or of the plugin.
pub(crate) fn failure_of(answer: &Value) -> Option<String> {
    if answer["janus"] == "error" {
        return Some(format!("{} {}", answer["error"]["code"], answer["error"]["reason"]));
    }
    let data = &answer["plugindata"]["data"];
    let code = data["error_code"].as_u64()?;
    Some(format!("{code} {}", data["error"].as_str().unwrap_or_default()))
}

fn refused(doing: &str, why: String) -> LoadError {
    LoadError::Api {
        request: doing.into(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_core_and_of_the_plugin_are_told() {
        let core = json!({ "janus": "error", "error": { "code": 458, "reason": "No such session 1" } });
        assert_eq!(failure_of(&core).unwrap(), "458 \"No such session 1\"");
        let data = json!({ "videoroom": "event", "error_code": 426, "error": "No such room (7)" });
        let plugin = json!({ "janus": "event", "plugindata": { "data": data } });
        assert_eq!(failure_of(&plugin).unwrap(), "426 No such room (7)");
        assert_eq!(failure_of(&json!({ "janus": "ack" })), None);
    }

    #[test]
    fn an_address_that_is_none_of_a_websocket_says_what_would_be() {
        let error = Api::connect("wss://192.0.2.1", None).err().unwrap();
        assert!(error.to_string().contains("ws://HOST:8188"), "{error}");
    }
}
