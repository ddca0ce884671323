//! TURN clients that nobody here wrote, in Rust and in Python, against voex.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use voex_tests::{ADDRESS, Namespace, Server, TURN_PASSWORD, TURN_USER, python};
use webrtc_util::Conn;

const PACKETS: u32 = 100;

/// Relays datagrams to a peer that echoes, with the client of the `turn` crate.
async fn relays_with_the_turn_crate() -> u32 {
    let socket = UdpSocket::bind((ADDRESS, 0)).await.expect("a port is free");
    let server = format!("{ADDRESS}:3478");
    let client = Client::new(ClientConfig {
        stun_serv_addr: server.clone(),
        turn_serv_addr: server,
        username: TURN_USER.to_owned(),
        password: TURN_PASSWORD.to_owned(),
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    })
    .await
    .expect("the client is made");
    client.listen().await.expect("the client listens");
    let mapped = client.send_binding_request().await.expect("a Binding is answered");
    assert_eq!(mapped.ip().to_string(), ADDRESS);
    let relayed = client.allocate().await.expect("an allocation is granted");
    let peer = UdpSocket::bind((ADDRESS, 0)).await.expect("a port is free");
    let peer_address = peer.local_addr().expect("it is bound");
    let echo = tokio::spawn(async move {
        let mut room = [0; 1_500];
        while let Ok((len, from)) = peer.recv_from(&mut room).await {
            peer.send_to(&room[..len], from).await.expect("the relay is reachable");
        }
    });
    let mut echoed = 0;
    let mut room = [0; 1_500];
    for number in 0..PACKETS {
        let sent = vec![number as u8; 1 + number as usize * 11];
        relayed.send_to(&sent, peer_address).await.expect("data is sent");
        let (len, from) = timeout(Duration::from_secs(5), relayed.recv_from(&mut room))
            .await
            .expect("the echo comes back")
            .expect("the relay lives");
        echoed += u32::from(room[..len] == sent && from == peer_address);
    }
    echo.abort();
    client.close().await.expect("the client ends");
    echoed
}

#[test]
fn the_client_of_the_turn_crate_relays_without_loss() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let echoed = namespace.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime is made");
        runtime.block_on(relays_with_the_turn_crate())
    });
    assert_eq!(echoed, PACKETS);
    assert!(server.metric("turn_relayed_packets_total{direction=\"to_peer\"") >= f64::from(PACKETS));
    server.stop();
}

/// Relays datagrams with aioice's client; gives nothing, since the script checks each of them.
fn aioice_relays(port: u16, transport: &str, tls: bool) {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let config = json!({
        "server": [ADDRESS, port], "transport": transport, "tls": tls, "user": TURN_USER, "password": TURN_PASSWORD,
        "local": ADDRESS, "packets": PACKETS,
    });
    let done = python(&namespace, "turn_echo.py", &config, Duration::from_secs(60));
    assert_eq!(done["echoed"], PACKETS, "{done}");
    // The peer saw one source, and it is the relayed address that the client was told.
    assert_eq!(done["sources"], json!([done["relayed"]]), "{done}");
    assert_eq!(server.metric("turn_allocations_made_total"), 1.0);
    assert_eq!(
        server.metric("turn_allocations"),
        0.0,
        "aioice gives its allocation back"
    );
    server.stop();
}

#[test]
fn aioice_relays_over_udp() {
    aioice_relays(3478, "udp", false);
}

#[test]
fn aioice_relays_over_tcp() {
    aioice_relays(3478, "tcp", false);
}

#[test]
fn aioice_relays_over_tls() {
    aioice_relays(5349, "tcp", true);
}
