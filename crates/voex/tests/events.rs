//! Event handlers outside are told what happens: over a WebSocket, and by HTTP posts.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::Server;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

const IN_TIME: Duration = Duration::from_secs(10);

/// Takes the connection of the handler, which offers `janus-events`.
async fn take(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = tokio::time::timeout(IN_TIME, listener.accept())
        .await
        .expect("the handler comes")
        .expect("accepted");
    #[expect(clippy::result_large_err, reason = "the signature is the library's")]
    let negotiate = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let offered = &request.headers()["sec-websocket-protocol"];
        assert_eq!(offered, "janus-events");
        assert_eq!(request.uri().path(), "/in");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("janus-events"));
        Ok(response)
    };
    accept_hdr_async(stream, negotiate).await.expect("a WebSocket")
}

/// Gives the events of messages until `wanted` of one topic have come.
async fn hear(socket: &mut WebSocketStream<TcpStream>, topic: u64, wanted: usize) -> Vec<Value> {
    let mut heard = Vec::new();
    while heard.len() < wanted {
        let message = tokio::time::timeout(IN_TIME, socket.next()).await.expect("events come");
        if let Message::Text(text) = message.expect("the connection is open").expect("a message") {
            let group: Value = serde_json::from_str(&text).expect("JSON");
            let group = group.as_array().expect("events come in arrays").clone();
            heard.extend(group.into_iter().filter(|event| event["type"] == topic));
        }
    }
    heard
}

/// A session is created, `times` times on one connection that stays open.
async fn create_sessions(server: SocketAddr, times: usize) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{server}/").into_client_request().expect("a request");
    let name = HeaderValue::from_static("janus-protocol");
    request.headers_mut().insert("sec-websocket-protocol", name);
    let stream = TcpStream::connect(server).await.expect("connected");
    let (mut client, _) = client_async(request, stream).await.expect("a WebSocket");
    for _ in 0..times {
        let create = json!({"janus": "create", "transaction": "t"}).to_string();
        client.send(Message::text(create)).await.expect("sent");
        client.next().await.expect("an answer").expect("a message");
    }
    client
}

fn metric(server: &Server, line: &str) -> Option<u64> {
    let (_, text) = server.get("/metrics");
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    found.map(|value| value.trim().parse().expect("a number"))
}

#[tokio::test]
async fn a_websocket_handler_is_told_in_groups_and_reached_again_after_it_was_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let url = format!("mcu.events.websocket=ws://{address}/in");
    let server = Server::start(&[
        "--set",
        &url,
        "--set",
        "mcu.events.topics=sessions,core",
        "--set",
        "mcu.events.queue=100",
    ]);
    let mut socket = take(&listener).await;
    let started = hear(&mut socket, 256, 1).await;
    assert_eq!(started[0]["event"]["status"], "started");
    let client = create_sessions(server.api(), 1).await;
    let created = hear(&mut socket, 1, 1).await;
    assert_eq!(created[0]["event"]["name"], "created");
    assert_eq!(
        created[0]["event"]["transport"]["transport"],
        "janus.transport.websockets"
    );
    assert!(
        created[0]["timestamp"]
            .as_u64()
            .is_some_and(|us| us > 1_700_000_000_000_000)
    );
    drop(client);
    let destroyed = hear(&mut socket, 1, 1).await;
    assert_eq!(destroyed[0]["event"], json!({"name": "destroyed"}));

    // While it is away events wait, as many as there is room for; the others are counted.
    drop((socket, listener));
    let _client = create_sessions(server.api(), 300).await;
    let lost = metric(&server, "mcu_events_lost_total{handler=\"websocket\"}").expect("the metric is there");
    assert!((1..300).contains(&lost), "{lost}");
    let listener = TcpListener::bind(address).await.expect("bound again");
    let mut socket = take(&listener).await;
    let heard = hear(&mut socket, 1, 300 - usize::try_from(lost).expect("few")).await;
    assert!(heard.iter().all(|event| event["event"]["name"] == "created"));
    assert!(metric(&server, "mcu_event_handler_failures_total{handler=\"websocket\"}").is_some_and(|n| n > 0));
}

/// Takes a post of the handler and answers it; gives its head and its body. What is asked for the answer are the events.
async fn take_post(listener: &TcpListener, answer: impl FnOnce(&[Value]) -> &'static str) -> (String, Value) {
    let accepted = tokio::time::timeout(IN_TIME, listener.accept()).await;
    let (stream, _) = accepted.expect("a post comes").expect("accepted");
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).await.expect("a head");
    }
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let events = body.as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
    let status = answer(&events);
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).await.expect("answered");
    (head, body)
}

#[tokio::test]
async fn an_http_handler_gets_posts_with_its_credentials_and_gets_them_again_until_it_says_yes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let url = format!("mcu.events.http=http://cts:s3cret@{address}/events?of=voex");
    let server = Server::start(&[
        "--set",
        &url,
        "--set",
        "mcu.events.topics=core",
        "--set",
        "mcu.events.grouping=no",
    ]);
    let mut bodies = Vec::new();
    for answer in ["503 Service Unavailable", "200 OK"] {
        let (head, body) = take_post(&listener, |_| answer).await;
        assert!(head.starts_with("POST /events?of=voex HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: Basic Y3RzOnMzY3JldA==\r\n"), "{head}");
        bodies.push(body);
    }
    assert_eq!(bodies[0]["event"]["status"], "started");
    assert_eq!(bodies[0], bodies[1]);
    assert!(!server.log().contains("s3cret"));
}

#[tokio::test]
async fn posts_that_are_too_large_are_made_smaller_and_an_event_that_is_refused_alone_holds_up_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let url = format!("mcu.events.http=http://{address}/");
    let server = Server::start(&["--set", &url, "--set", "mcu.events.topics=sessions"]);
    let api = server.api();
    let creating = tokio::spawn(create_sessions(api, 5));
    // The first post is held back, so that the others wait and come together.
    take_post(&listener, |_| "503 Service Unavailable").await;
    let _client = creating.await.expect("five sessions");
    let mut taken = Vec::new();
    let mut refused = None;
    while taken.len() < 4 {
        let answer = |events: &[Value]| match events {
            [_, _, ..] => "413 Content Too Large",
            [only] if *refused.get_or_insert_with(|| only.clone()) == *only => "400 Bad Request",
            _ => {
                taken.extend_from_slice(events);
                "200 OK"
            }
        };
        take_post(&listener, answer).await;
    }
    assert!(
        taken.iter().all(|event| event["event"]["name"] == "created"),
        "{taken:?}"
    );
    assert_eq!(metric(&server, "mcu_events_lost_total{handler=\"http\"}"), Some(1));
}
