//! The Janus API over its WebSocket.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Server, in_namespace};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Client = WebSocketStream<TcpStream>;

async fn connect(server: SocketAddr, sub_protocol: Option<&'static str>) -> Result<Client, Error> {
    let mut request = format!("ws://{server}/janus").into_client_request()?;
    if let Some(name) = sub_protocol {
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    let stream = TcpStream::connect(server).await?;
    let (client, response) = client_async(request, stream).await?;
    let echoed = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    assert_eq!(echoed.map(HeaderValue::as_bytes), sub_protocol.map(str::as_bytes));
    Ok(client)
}

async fn say(client: &mut Client, message: Value) {
    client
        .send(Message::text(message.to_string()))
        .await
        .expect("the connection is open");
}

async fn hear(client: &mut Client) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(5), client.next())
            .await
            .expect("an answer in time");
        if let Message::Text(text) = message.expect("the connection is open").expect("a message") {
            return serde_json::from_str(text.as_str()).expect("JSON");
        }
    }
}

async fn close_code(client: &mut Client) -> Option<CloseCode> {
    loop {
        match tokio::time::timeout(Duration::from_secs(5), client.next())
            .await
            .expect("an end in time")
        {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

fn refusal(result: Result<Client, Error>) -> StatusCode {
    match result {
        Err(Error::Http(response)) => response.status(),
        Err(error) => panic!("not an HTTP answer: {error}"),
        Ok(_) => panic!("the connection was taken"),
    }
}

#[tokio::test]
async fn a_session_is_created_kept_alive_and_destroyed() {
    let server = Server::start(&[]);
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut client, json!({"janus": "create", "transaction": "t1"})).await;
    let created = hear(&mut client).await;
    assert_eq!(
        (&created["janus"], &created["transaction"]),
        (&json!("success"), &json!("t1"))
    );
    let session = created["data"]["id"].as_u64().unwrap();
    say(
        &mut client,
        json!({"janus": "keepalive", "session_id": session, "transaction": "t2"}),
    )
    .await;
    assert_eq!(hear(&mut client).await["janus"], "ack");
    assert!(server.get("/metrics").1.contains("\nmcu_sessions 1\n"));
    say(
        &mut client,
        json!({"janus": "destroy", "session_id": session, "transaction": "t3"}),
    )
    .await;
    assert_eq!(hear(&mut client).await["janus"], "success");
}

#[tokio::test]
async fn the_session_of_a_connection_that_went_away_is_gone() {
    let server = Server::start(&[]);
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut client, json!({"janus": "create", "transaction": "t1"})).await;
    hear(&mut client).await;
    drop(client);
    for _ in 0..100 {
        if server.get("/metrics").1.contains("\nmcu_sessions 0\n") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the session is still there");
}

#[tokio::test]
async fn a_client_that_says_goodbye_is_answered_before_the_connection_ends() {
    let server = Server::start(&[]);
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    client.close(None).await.unwrap();
    let mut end = None;
    while let Some(message) = client.next().await {
        end = Some(message.expect("a clean end, not a reset"));
    }
    assert!(matches!(end, Some(Message::Close(_))), "{end:?}");
}

#[tokio::test]
async fn a_client_without_a_sub_protocol_is_served_and_one_with_another_is_not() {
    let server = Server::start(&[]);
    let mut plain = connect(server.api(), None).await.unwrap();
    say(&mut plain, json!({"janus": "ping", "transaction": "t"})).await;
    assert_eq!(hear(&mut plain).await["janus"], "pong");
    assert_eq!(
        refusal(connect(server.api(), Some("chat")).await),
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn the_prefix_list_refuses_with_403_until_a_reload_lets_the_client_in() {
    let file = common::settings_file("prefix.yaml", "mcu: {enabled: true, ws: {allow_prefix: [172.18.0.]}}\n");
    let server = Server::start(&["--settings", file.to_str().unwrap()]);
    assert_eq!(
        refusal(connect(server.api(), Some("janus-protocol")).await),
        StatusCode::FORBIDDEN
    );
    assert!(
        server
            .get("/metrics")
            .1
            .contains("mcu_connections_refused_total{reason=\"prefix\"} 1")
    );
    std::fs::write(&file, "mcu: {enabled: true, ws: {allow_prefix: [127.0.0.]}}\n").unwrap();
    server.signal("HUP");
    server.wait_for("taken over: mcu.ws.allow_prefix");
    connect(server.api(), Some("janus-protocol")).await.unwrap();
}

#[tokio::test]
async fn a_message_of_one_mebibyte_is_read_and_a_longer_one_ends_the_connection() {
    let server = Server::start(&[]);
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    let message = |bytes: usize| {
        let envelope = json!({"janus": "ping", "transaction": "t", "padding": ""}).to_string();
        let padding = "x".repeat(bytes - envelope.len());
        Message::text(envelope.replace("\"padding\":\"\"", &format!("\"padding\":\"{padding}\"")))
    };
    client.send(message(1 << 20)).await.unwrap();
    assert_eq!(hear(&mut client).await["janus"], "pong");
    // The server may close before the message has left.
    let _ = client.send(message((1 << 20) + 1)).await;
    assert!(matches!(close_code(&mut client).await, Some(CloseCode::Size) | None));
    let mut other = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut other, json!({"janus": "ping", "transaction": "t"})).await;
    assert_eq!(hear(&mut other).await["janus"], "pong");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_others_are_served() {
    let server = Server::start(&[]);
    let mut deaf = connect(server.api(), Some("janus-protocol")).await.unwrap();
    let asks = async {
        // `info` is long: the queue and the socket buffers fill up while nothing is read.
        while deaf
            .send(Message::text(json!({"janus": "info", "transaction": "t"}).to_string()))
            .await
            .is_ok()
        {}
    };
    tokio::time::timeout(Duration::from_secs(30), asks)
        .await
        .expect("the deaf client is disconnected");
    server.wait_for("a client is disconnected: reads too slowly");
    let mut other = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut other, json!({"janus": "ping", "transaction": "t"})).await;
    assert_eq!(hear(&mut other).await["janus"], "pong");
}

#[tokio::test]
async fn a_request_that_makes_thousands_of_events_for_one_connection_does_not_close_it() {
    const HANDLES: usize = 1_500;
    let server = Server::start(&[]);
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut client, json!({"janus": "create", "transaction": "t"})).await;
    let session = hear(&mut client).await["data"]["id"].clone();
    let attach =
        json!({"janus": "attach", "session_id": session, "plugin": "janus.plugin.videoroom", "transaction": "t"});
    let message = |handle: &Value, transaction: &str, body: Value| json!({"janus": "message", "session_id": session, "handle_id": handle, "transaction": transaction, "body": body});
    say(&mut client, attach.clone()).await;
    let manager = hear(&mut client).await["data"]["id"].clone();
    say(
        &mut client,
        message(&manager, "t", json!({"request": "create", "room": 77})),
    )
    .await;
    hear(&mut client).await;
    for _ in 0..HANDLES {
        say(&mut client, attach.clone()).await;
        let handle = hear(&mut client).await["data"]["id"].clone();
        say(
            &mut client,
            message(
                &handle,
                "t",
                json!({"request": "join", "ptype": "publisher", "room": 77}),
            ),
        )
        .await;
        assert_eq!(hear(&mut client).await["janus"], "ack");
        assert_eq!(hear(&mut client).await["plugindata"]["data"]["videoroom"], "joined");
    }
    say(
        &mut client,
        message(&manager, "end", json!({"request": "destroy", "room": 77})),
    )
    .await;
    let mut told = 0;
    loop {
        let message = hear(&mut client).await;
        if message["transaction"] == "end" {
            break;
        }
        told += usize::from(message["plugindata"]["data"]["videoroom"] == "destroyed");
    }
    assert_eq!(told, HANDLES);
}

#[tokio::test]
async fn a_stop_says_goodbye_to_the_clients() {
    let mut server = Server::start(&[]);
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut client, json!({"janus": "create", "transaction": "t1"})).await;
    hear(&mut client).await;
    server.signal("TERM");
    assert_eq!(close_code(&mut client).await, Some(CloseCode::Away));
    assert!(server.wait().success());
}

#[tokio::test]
async fn an_api_on_a_public_address_without_an_acl_is_refused() {
    let mut command = in_namespace(
        "ip address add 203.0.113.5/32 dev lo",
        "serve --set mcu.ws.listen=203.0.113.5:8188 --set turn.listen=127.0.0.1",
    );
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("acl.cts"));
}

#[tokio::test]
async fn a_registration_fails_when_the_sip_role_is_off() {
    let server = Server::start(&["--set", "sip.enabled=no"]);
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut client, json!({"janus": "create", "transaction": "t"})).await;
    let session = hear(&mut client).await["data"]["id"].clone();
    let attach = json!({"janus": "attach", "session_id": session, "plugin": "janus.plugin.sip", "transaction": "t"});
    say(&mut client, attach).await;
    let handle = hear(&mut client).await["data"]["id"].clone();
    let body = json!({"request": "register", "username": "sip:a@127.0.0.1", "proxy": "sip:127.0.0.1", "secret": "x"});
    let register =
        json!({"janus": "message", "session_id": session, "handle_id": handle, "transaction": "t", "body": body});
    say(&mut client, register).await;
    for _ in 0..6 {
        let heard = hear(&mut client).await;
        if heard["plugindata"]["data"]["result"]["event"] == "registration_failed" {
            return;
        }
    }
    panic!("the registration did not fail");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_no_trouble() {
    let server = Server::start(&[]);
    let mut silent = TcpStream::connect(server.api()).await.unwrap();
    let mut client = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut client, json!({"janus": "ping", "transaction": "t"})).await;
    assert_eq!(hear(&mut client).await["janus"], "pong");
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(12), silent.read(&mut byte)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "it is closed by the idle limit");
    let log = server.log();
    let (_, since) = log.split_once("ready after").unwrap();
    assert!(!since.contains("WARN"), "{log}");
}

#[tokio::test]
async fn the_admin_api_has_a_listener_a_sub_protocol_and_a_secret_of_its_own() {
    let server = Server::start(&[
        "--set",
        "mcu.admin.listen=127.0.0.1:0",
        "--set",
        "mcu.admin.secret=lord",
    ]);
    let listener = server.listener("Janus admin API", "ws://");
    assert_eq!(
        refusal(connect(listener, Some("janus-protocol")).await),
        StatusCode::BAD_REQUEST
    );
    let mut cts = connect(server.api(), Some("janus-protocol")).await.unwrap();
    say(&mut cts, json!({"janus": "create", "id": 5, "transaction": "t1"})).await;
    hear(&mut cts).await;

    let mut admin = connect(listener, Some("janus-admin-protocol")).await.unwrap();
    say(&mut admin, json!({"janus": "list_sessions", "transaction": "t1"})).await;
    assert_eq!(hear(&mut admin).await["error"]["code"], 403);
    let list = json!({"janus": "list_sessions", "transaction": "t2", "admin_secret": "lord"});
    say(&mut admin, list).await;
    assert_eq!(hear(&mut admin).await["sessions"], json!([5]));
    let line = json!({"janus": "custom_logline", "line": "hello log", "transaction": "t3", "admin_secret": "lord"});
    say(&mut admin, line).await;
    assert_eq!(hear(&mut admin).await["janus"], "success");
    assert!(server.log().contains("admin API: hello log"));
    // The connection of the API is no worse for what happened here.
    say(
        &mut cts,
        json!({"janus": "keepalive", "session_id": 5, "transaction": "t2"}),
    )
    .await;
    assert_eq!(hear(&mut cts).await["janus"], "ack");
}

#[test]
fn an_admin_api_without_a_secret_is_refused_at_start() {
    let output = common::voex(&["serve".into(), "--set".into(), "mcu.admin.listen=127.0.0.1:0".into()])
        .output()
        .expect("the binary was built");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("mcu.admin.secret"));
}
