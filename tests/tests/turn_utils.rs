//! coturn's own client against voex.
#![forbid(unsafe_code)]

use std::time::Duration;

use voex_tests::{ADDRESS, Finished, Namespace, Peer, Server, TURN_PASSWORD, TURN_USER};

const CLIENTS: u32 = 50;
const MESSAGES: u32 = 100;

/// Runs turnutils_uclient with 50 clients x 100 messages against turnutils_peer.
fn uclient(namespace: &Namespace, password: &str, more: &[&str]) -> Finished {
    let mut echo = namespace
        .command("turnutils_peer")
        .args(["-L", ADDRESS, "-p", "3480"])
        .spawn()
        .expect("coturn is installed");
    let mut command = namespace.command("turnutils_uclient");
    let (clients, messages) = (CLIENTS.to_string(), MESSAGES.to_string());
    command.args([
        "-u", TURN_USER, "-w", password, "-e", ADDRESS, "-r", "3480", "-m", &clients, "-n", &messages,
    ]);
    command.args(["-l", "170", "-z", "5", "-X"]).args(more).arg(ADDRESS);
    let done = Peer::start(command).finish(Duration::from_secs(60));
    let _ = echo.kill();
    let _ = echo.wait();
    done
}

fn assert_nothing_is_lost(more: &[&str]) {
    assert_nothing_is_lost_with("", more, &[]);
}

/// As above with more settings; afterwards these metrics have at least one for each client.
fn assert_nothing_is_lost_with(settings: &str, more: &[&str], metrics: &[&str]) {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, settings);
    let done = uclient(&namespace, TURN_PASSWORD, more);
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    let all = u64::from(CLIENTS) * u64::from(MESSAGES);
    let messages = format!("tot_send_msgs={all}, tot_recv_msgs={all}");
    assert!(report.contains(&messages), "expected {messages} in\n{report}");
    assert!(report.contains("Total lost packets 0 (0.000000%)"), "{report}");
    assert!(server.metric("turn_relayed_packets_total") >= 2.0 * f64::from(CLIENTS * MESSAGES));
    for metric in metrics {
        let value = server.metric(metric);
        assert!(value >= f64::from(CLIENTS), "{metric} is {value}\n{report}");
    }
    server.stop();
}

#[test]
fn fifty_clients_lose_nothing_over_channels() {
    assert_nothing_is_lost(&["-c"]);
}

#[test]
fn fifty_clients_lose_nothing_over_send_indications() {
    assert_nothing_is_lost(&["-c", "-s"]);
}

#[test]
fn fifty_clients_reach_each_other_through_their_relays() {
    assert_nothing_is_lost(&["-c", "-y"]);
}

#[test]
fn fifty_clients_lose_nothing_over_tcp() {
    assert_nothing_is_lost(&["-c", "-t"]);
}

#[test]
fn fifty_clients_lose_nothing_over_tcp_with_send_indications() {
    assert_nothing_is_lost(&["-c", "-t", "-s"]);
}

#[test]
fn fifty_clients_lose_nothing_over_tls() {
    assert_nothing_is_lost(&["-c", "-t", "-S"]);
}

#[test]
fn fifty_clients_lose_nothing_over_tls_with_send_indications() {
    assert_nothing_is_lost(&["-c", "-t", "-S", "-s"]);
}

const DTLS_HANDSHAKES: &str = "net_dtls_handshakes_total";

#[test]
fn fifty_clients_lose_nothing_over_dtls() {
    assert_nothing_is_lost_with("", &["-c", "-S"], &[DTLS_HANDSHAKES]);
}

#[test]
fn fifty_clients_lose_nothing_over_dtls_with_send_indications() {
    assert_nothing_is_lost_with("", &["-c", "-S", "-s"], &[DTLS_HANDSHAKES]);
}

#[test]
fn fifty_clients_reach_each_other_over_dtls() {
    assert_nothing_is_lost_with("", &["-c", "-S", "-y"], &[DTLS_HANDSHAKES]);
}

#[test]
fn fifty_clients_lose_nothing_over_dtls_with_an_rsa_certificate() {
    let folder = std::env::temp_dir().join(format!("voex-rsa-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let path = |name: &str| folder.join(name).display().to_string();
    let (chain, key) = (path("chain.pem"), path("key.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=voex.test",
        ])
        .args(["-days", "9", "-keyout", &key, "-out", &chain])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let settings = format!("tls: {{certificate: {chain}, key: {key}}}\n");
    assert_nothing_is_lost_with(&settings, &["-c", "-S"], &[DTLS_HANDSHAKES]);
    let _ = std::fs::remove_dir_all(folder);
}

/// Clients with TCP relays. Each connects to the relays of those behind it.
const TCP_RELAY_CLIENTS: u32 = 10;
const TCP_RELAYS: &str = "turn.tcp_relays: true\n";
const MESSAGE_BYTES: u32 = 170;

/// Has clients with TCP relays talk to each other.
fn assert_tcp_relays_lose_nothing(more: &[&str]) {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, TCP_RELAYS);
    let ports = format!("TURN relays: 49152-65535/udp+tcp on {ADDRESS}");
    assert!(server.log().contains(&ports), "{}", server.log());
    let done = tcp_uclient(&namespace, more);
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    let all = u64::from(TCP_RELAY_CLIENTS) * u64::from(MESSAGES);
    let messages = format!("tot_send_msgs={all}, tot_recv_msgs={all}");
    assert!(report.contains(&messages), "expected {messages} in\n{report}");
    assert!(report.contains("Total lost packets 0 (0.000000%)"), "{report}");
    // Both ends of a connection between two relays are ours.
    let made = f64::from(TCP_RELAY_CLIENTS * (TCP_RELAY_CLIENTS - 1));
    assert_eq!(server.metric("turn_peer_connections_made_total"), made);
    assert_eq!(server.metric("turn_peer_connections_unbound_total"), 0.0);
    server.stop();
}

fn tcp_uclient(namespace: &Namespace, more: &[&str]) -> Finished {
    let mut command = namespace.command("turnutils_uclient");
    let numbers = [TCP_RELAY_CLIENTS, MESSAGES, MESSAGE_BYTES].map(|number| number.to_string());
    let [clients, messages, bytes] = &numbers;
    command.args([
        "-u",
        TURN_USER,
        "-w",
        TURN_PASSWORD,
        "-m",
        clients,
        "-n",
        messages,
        "-l",
        bytes,
    ]);
    command.args(["-T", "-z", "5", "-X"]).args(more).arg(ADDRESS);
    Peer::start(command).finish(Duration::from_secs(60))
}

#[test]
fn clients_with_tcp_relays_lose_nothing() {
    assert_tcp_relays_lose_nothing(&[]);
}

#[test]
fn clients_with_tcp_relays_lose_nothing_over_tls() {
    assert_tcp_relays_lose_nothing(&["-S"]);
}

#[test]
fn peers_that_come_in_to_tcp_relays_and_their_clients_hear_everything() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, TCP_RELAYS);
    // Without -L the peers come from a loopback address, which gets no permission.
    let done = tcp_uclient(&namespace, &["-P", "-L", ADDRESS]);
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    // Half of its ends are peers, and what these hear it does not count.
    let half = TCP_RELAY_CLIENTS / 2;
    let messages = format!(
        "tot_send_msgs={}, tot_recv_msgs={}",
        2 * half * MESSAGES,
        half * MESSAGES
    );
    assert!(report.contains(&messages), "expected {messages} in\n{report}");
    for direction in ["to_peer", "to_client"] {
        let bytes = server.metric(&format!("turn_relayed_bytes_total{{direction=\"{direction}\""));
        assert_eq!(bytes, f64::from(half * MESSAGES * MESSAGE_BYTES), "{direction}");
    }
    assert_eq!(server.metric("turn_peer_connections_made_total"), f64::from(half));
    server.stop();
}

#[test]
fn a_tcp_relay_is_refused_with_442_unless_the_setting_is_on() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let done = tcp_uclient(&namespace, &[]);
    assert!(!done.success, "{}{}", done.stdout, done.stderr);
    assert!(server.metric("turn_refused_total{code=\"442\"") >= 1.0);
    assert_eq!(server.metric("turn_allocations_made_total"), 0.0);
    server.stop();
}

/// Has clients change their address right after each has its allocation, and then talk.
fn assert_moves_lose_nothing(more: &[&str]) {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "turn.mobility: true\n");
    let mut echo = namespace
        .command("turnutils_peer")
        .args(["-L", ADDRESS, "-p", "3480"])
        .spawn()
        .expect("coturn is installed");
    let mut command = namespace.command("turnutils_uclient");
    command.args(["-M", "-u", TURN_USER, "-w", TURN_PASSWORD, "-e", ADDRESS, "-r", "3480"]);
    command.args(["-m", "20", "-n", "50", "-l", "170", "-z", "5", "-X", "-c"]);
    command.args(more).arg(ADDRESS);
    let done = Peer::start(command).finish(Duration::from_secs(60));
    let _ = echo.kill();
    let _ = echo.wait();
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    assert!(report.contains("tot_send_msgs=1000, tot_recv_msgs=1000"), "{report}");
    assert!(report.contains("Total lost packets 0 (0.000000%)"), "{report}");
    assert!(server.metric("turn_moves_total") >= 20.0);
    server.stop();
}

#[test]
fn clients_that_change_their_address_lose_nothing() {
    assert_moves_lose_nothing(&[]);
}

#[test]
fn clients_that_change_their_address_lose_nothing_over_send_indications() {
    assert_moves_lose_nothing(&["-s"]);
}

#[test]
fn clients_that_change_their_connection_lose_nothing_over_tcp() {
    assert_moves_lose_nothing(&["-t"]);
}

#[test]
fn a_wrong_password_is_refused_with_401() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let done = uclient(&namespace, "guess", &["-c", "-v"]);
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(!done.success, "{report}");
    assert!(report.contains("Cannot complete Allocation"), "{report}");
    // The first request of a client has no credentials; every later one had the wrong ones.
    let refused = server.metric("turn_refused_total{code=\"401\"");
    assert!(refused >= 2.0, "{refused} refusals with 401: {report}");
    assert_eq!(server.metric("turn_allocations_made_total"), 0.0);
    server.stop();
}

#[test]
fn the_listener_itself_is_no_peer() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, "");
    let mut command = namespace.command("turnutils_uclient");
    command.args(["-u", TURN_USER, "-w", TURN_PASSWORD, "-e", ADDRESS, "-r", "3478"]);
    command.args(["-m", "1", "-n", "1", "-c", "-X", ADDRESS]);
    let done = Peer::start(command).finish(Duration::from_secs(60));
    assert!(!done.success, "{}{}", done.stdout, done.stderr);
    assert!(server.metric("turn_refused_total{code=\"403\"") >= 1.0);
    assert_eq!(server.metric("turn_relayed_packets_total"), 0.0);
    server.stop();
}

/// The keys that turnutils_uclient has built in.
const TOKEN_KEYS: &str = "turn.oauth: true
turn.users.tokens:
  north: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
  union: MTIzNDU2Nzg5MDEyMzQ1Ng==
  oldempire: MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=
";

#[test]
fn clients_with_access_tokens_lose_nothing() {
    let namespace = Namespace::new();
    let server = Server::start(&namespace, TOKEN_KEYS);
    let mut command = namespace.command("turnutils_uclient");
    command.args([
        "-J", "-e", ADDRESS, "-m", "10", "-n", "20", "-z", "5", "-c", "-y", "-X", ADDRESS,
    ]);
    let done = Peer::start(command).finish(Duration::from_secs(60));
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    assert!(report.contains("Total lost packets 0 (0.000000%)"), "{report}");
    assert!(server.metric("turn_allocations_made_total") >= 10.0);
    assert_eq!(server.metric("turn_authentication_failures_total"), 0.0);
    server.stop();
}

/// A second address of the server's end of the namespace.
const SECOND_ADDRESS: &str = "10.77.0.3";

/// Runs one of coturn's STUN clients against a server with two addresses.
fn discovers(program: &str, args: &[&str]) -> String {
    let namespace = Namespace::new();
    let mut add = namespace.command("ip");
    add.args(["addr", "add", &format!("{SECOND_ADDRESS}/24"), "dev", "near"]);
    assert!(add.status().expect("ip runs").success());
    let server = Server::start_on(&namespace, &format!("{ADDRESS}, {SECOND_ADDRESS}"), "");
    let mut command = namespace.command(program);
    command.args(args).arg(ADDRESS);
    let done = Peer::start(command).finish(Duration::from_secs(30));
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    server.stop();
    report
}

#[test]
fn a_stun_client_is_answered_from_both_addresses() {
    let report = discovers("turnutils_stunclient", &[]);
    assert!(report.contains("UDP reflexive addr: 10.77.0.1:"), "{report}");
    assert!(
        report.contains(&format!("Response origin: : {ADDRESS}:3478")),
        "{report}"
    );
    assert!(
        report.contains(&format!("Response origin: : {SECOND_ADDRESS}:3479")),
        "{report}"
    );
}

#[test]
fn a_nat_is_discovered_with_and_without_padding() {
    for padding in [&[][..], &["-P"]] {
        let report = discovers("turnutils_natdiscovery", &[&["-m", "-f"], padding].concat());
        assert!(report.contains("NAT with Endpoint Independent Mapping!"), "{report}");
        assert!(report.contains("NAT with Endpoint Independent Filtering!"), "{report}");
        assert!(report.contains("No ALG: Mapped == XOR-Mapped"), "{report}");
        assert!(!report.contains("Not received mapped address"), "{report}");
    }
}

#[test]
fn the_lifetime_of_a_mapping_is_measured_through_another_port() {
    let report = discovers("turnutils_natdiscovery", &["-t", "-T", "1"]);
    assert_eq!(report.matches("RFC 5780 response").count(), 2, "{report}");
}
