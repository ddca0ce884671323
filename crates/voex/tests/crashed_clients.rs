//! Clients that go without goodbye: what they held comes back.

mod common;

use std::time::Duration;

use common::Server;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Sessions, each with a publisher whose transport is open.
const SESSIONS: usize = 1_000;
/// Connections that they come over.
const CONNECTIONS: usize = 20;
const OFFER: &str = include_str!("../../janus/tests/sdp/chromium-publisher.sdp");

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn new(server: &Server) -> Self {
        let mut request = format!("ws://{}/", server.api())
            .into_client_request()
            .expect("a request");
        let name = HeaderValue::from_static("janus-protocol");
        request.headers_mut().insert("sec-websocket-protocol", name);
        let stream = TcpStream::connect(server.api()).await.expect("connected");
        Self(client_async(request, stream).await.expect("a WebSocket").0)
    }

    /// Sends a request and gives its answer; an acked one has its answer behind the ack.
    async fn ask(&mut self, request: Value) -> Value {
        self.0.send(Message::text(request.to_string())).await.expect("sent");
        loop {
            let message = tokio::time::timeout(Duration::from_secs(30), self.0.next()).await;
            let message = message.expect("an answer in time").expect("open").expect("a message");
            let Message::Text(text) = message else { continue };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["transaction"] == request["transaction"] && answer["janus"] != "ack" {
                return answer;
            }
        }
    }

    /// A session with a room of its own and a publisher in it.
    async fn begin(&mut self, number: usize) {
        let session = self.ask(json!({"janus": "create", "transaction": "c"})).await["data"]["id"].clone();
        let attach =
            json!({"janus": "attach", "session_id": session, "transaction": "a", "plugin": "janus.plugin.videoroom"});
        let handle = self.ask(attach).await["data"]["id"].clone();
        let message = |body: Value, transaction: &str| json!({"janus": "message", "session_id": session, "handle_id": handle, "transaction": transaction, "body": body});
        self.ask(message(json!({"request": "create", "room": number + 1}), "r"))
            .await;
        let mut join = message(
            json!({"request": "joinandconfigure", "room": number + 1, "ptype": "publisher", "id": 7}),
            "j",
        );
        join["jsep"] = json!({"type": "offer", "sdp": OFFER.replace('\n', "\r\n")});
        assert_eq!(self.ask(join).await["jsep"]["type"], "answer");
    }
}

fn figure(server: &Server, name: &str) -> u64 {
    let (_, metrics) = server.get("/metrics");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn a_thousand_sessions_that_go_without_goodbye_leave_no_transport_track_or_descriptor() {
    let server = Server::start(&[]);
    let descriptors = server.descriptors();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::new(&server).await);
    }
    for number in 0..SESSIONS {
        clients[number % CONNECTIONS].begin(number).await;
    }
    assert_eq!(figure(&server, "mcu_sessions"), SESSIONS as u64);
    drop(clients);
    for name in ["mcu_sessions", "mcu_handles", "sfu_transports", "sfu_tracks"] {
        let mut left = figure(&server, name);
        for _ in 0..1_500 {
            if left == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            left = figure(&server, name);
        }
        assert_eq!(left, 0, "{name}");
    }
    assert!(server.descriptors() <= descriptors + 4, "{descriptors} before");
}
