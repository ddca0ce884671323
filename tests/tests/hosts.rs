//! Hosts that lack something: IPv6, a route.
#![forbid(unsafe_code)]

use std::time::Duration;

use voex_tests::{ADDRESS, Finished, Namespace, Peer, Server, TURN_PASSWORD, TURN_USER};

/// Where nothing of the namespace leads: it has no default route.
const BEYOND: &str = "203.0.113.9";

/// Has six clients send ten messages each.
fn uclient(namespace: &Namespace, args: &[&str]) -> Finished {
    let mut command = namespace.command("timeout");
    command.args(["20", "turnutils_uclient", "-u", TURN_USER, "-w", TURN_PASSWORD]);
    command
        .args(["-m", "6", "-n", "10", "-z", "5", "-c"])
        .args(args)
        .arg(ADDRESS);
    Peer::start(command).finish(Duration::from_secs(30))
}

fn assert_served(namespace: &Namespace) {
    let done = uclient(namespace, &["-y", "-X"]);
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(report.contains("tot_send_msgs=60, tot_recv_msgs=60"), "{report}");
}

#[test]
fn a_host_without_ipv6_serves_ipv4_and_refuses_relays_of_ipv6() {
    let namespace = Namespace::new();
    for kind in ["all", "default"] {
        let mut off = namespace.command("sh");
        off.args(["-c", &format!("echo 1 > /proc/sys/net/ipv6/conf/{kind}/disable_ipv6")]);
        assert!(off.status().expect("there is a shell").success());
    }
    let server = Server::start_on(&namespace, "", "");
    assert!(server.log().contains("TURN: no IPv6 address here"), "{}", server.log());
    let done = uclient(&namespace, &["-y", "-x"]);
    assert!(!done.success, "{}{}", done.stdout, done.stderr);
    assert!(server.metric("turn_refused_total{code=\"440\"") >= 1.0);
    assert_eq!(server.metric("turn_allocations_made_total"), 0.0);
    // Dual allocations get the family that there is.
    let done = uclient(&namespace, &["-y", "-Z"]);
    assert!(server.metric("turn_allocations_made_total") >= 1.0, "{}", done.stdout);
    assert_served(&namespace);
    server.stop();
}

#[test]
fn a_host_without_a_route_serves_its_own_network_and_a_peer_beyond_it_harms_nobody() {
    let namespace = Namespace::new();
    let server = Server::start_on(&namespace, "", "");
    let lost = uclient(&namespace, &["-X", "-e", BEYOND]);
    let report = format!("{}{}", lost.stdout, lost.stderr);
    assert!(report.contains("tot_recv_msgs=0"), "{report}");
    assert!(
        server.metric("net_dropped_total{reason=\"send_refused\"") >= 1.0,
        "{}",
        server.log()
    );
    assert_served(&namespace);
    server.stop();
}
