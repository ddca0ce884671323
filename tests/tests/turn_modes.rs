//! Every other mode of coturn's client against voex: families, padding, pairs of allocations, requests in between, and what
//! is wrong on purpose.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use voex_tests::{ADDRESS, ADDRESS_V6, Finished, Namespace, Peer, Server, TURN_PASSWORD, TURN_USER};

/// Enough to show that a mode works.
const CLIENTS: u32 = 10;
const MESSAGES: u32 = 20;

/// Runs turnutils_uclient against turnutils_peer; relays are of the family that `mode` asks for.
fn uclient(namespace: &Namespace, server: &str, peer: &str, mode: &[&str]) -> Finished {
    let mut echo = namespace
        .command("turnutils_peer")
        .args(["-L", peer, "-p", "3480"])
        .spawn()
        .expect("coturn is installed");
    let mut command = namespace.command("turnutils_uclient");
    let (clients, messages) = (CLIENTS.to_string(), MESSAGES.to_string());
    command.args(["-u", TURN_USER, "-w", TURN_PASSWORD, "-e", peer, "-r", "3480"]);
    command.args(["-m", &clients, "-n", &messages, "-l", "170", "-z", "5"]);
    command.args(mode).arg(server);
    let done = Peer::start(command).finish(Duration::from_secs(60));
    let _ = echo.kill();
    let _ = echo.wait();
    done
}

fn assert_all_arrived(server: Server<'_>, done: &Finished) {
    let report = format!("{}{}", done.stdout, done.stderr);
    assert!(done.success, "{report}");
    let all = CLIENTS * MESSAGES;
    let messages = format!("tot_send_msgs={all}, tot_recv_msgs={all}");
    assert!(report.contains(&messages), "expected {messages} in\n{report}");
    assert!(report.contains("Total lost packets 0 (0.000000%)"), "{report}");
    assert!(server.metric("turn_relayed_packets_total") >= 2.0 * f64::from(all));
    server.stop();
}

/// Runs all of them side by side: a client waits most of its time.
fn at_once<T: Sync>(all: &[T], run: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for one in all {
            scope.spawn(|| run(one));
        }
    });
}

/// Each set of arguments for itself, with peers of IPv4.
fn assert_every_mode_loses_nothing(modes: &[&[&str]]) {
    at_once(modes, |mode| {
        let namespace = Namespace::new();
        let server = Server::start(&namespace, "");
        let mode = [&["-X"], *mode].concat();
        let done = uclient(&namespace, ADDRESS, ADDRESS, &mode);
        assert_all_arrived(server, &done);
    });
}

#[test]
fn clients_with_a_second_allocation_for_rtcp_lose_nothing() {
    assert_every_mode_loses_nothing(&[&[], &["-t"]]);
}

#[test]
fn clients_that_forbid_fragments_lose_nothing() {
    assert_every_mode_loses_nothing(&[&["-c", "-g"], &["-c", "-g", "-s"]]);
}

#[test]
fn clients_that_pad_every_message_lose_nothing() {
    assert_every_mode_loses_nothing(&[&["-c", "-D"], &["-c", "-D", "-t"]]);
}

#[test]
fn clients_that_ask_for_permissions_and_channels_in_between_lose_nothing() {
    assert_every_mode_loses_nothing(&[&["-c", "-G"], &["-c", "-G", "-t", "-S"]]);
}

/// Where the server is asked, where the peer is, and the client's mode; the server has both families.
type Case<'a> = (&'a str, &'a str, &'a [&'a str]);

fn assert_nothing_is_lost_between(cases: &[Case<'_>]) {
    at_once(cases, |(server_at, peer, mode)| {
        let namespace = Namespace::new();
        namespace.add_address(&format!("{ADDRESS_V6}/64"));
        let server = Server::start_on(&namespace, &format!("{ADDRESS}, \"{ADDRESS_V6}\""), "");
        let done = uclient(&namespace, server_at, peer, mode);
        assert_all_arrived(server, &done);
    });
}

#[test]
fn clients_over_ipv4_lose_nothing_through_relays_of_ipv6() {
    assert_nothing_is_lost_between(&[
        (ADDRESS, ADDRESS_V6, &["-c", "-x"]),
        (ADDRESS, ADDRESS_V6, &["-c", "-x", "-t", "-s"]),
    ]);
}

#[test]
fn clients_over_ipv6_lose_nothing_through_relays_of_either_family() {
    assert_nothing_is_lost_between(&[
        (ADDRESS_V6, ADDRESS_V6, &["-c", "-x"]),
        (ADDRESS_V6, ADDRESS_V6, &["-x", "-s"]),
        (ADDRESS_V6, ADDRESS_V6, &["-c", "-x", "-y"]),
        (ADDRESS_V6, ADDRESS_V6, &["-c", "-x", "-t", "-S"]),
        (ADDRESS_V6, ADDRESS, &["-c", "-X"]),
    ]);
}

#[test]
fn clients_with_a_relay_of_each_family_lose_nothing() {
    assert_nothing_is_lost_between(&[
        (ADDRESS, ADDRESS, &["-Z"]),
        (ADDRESS, ADDRESS_V6, &["-Z", "-t"]),
        (ADDRESS_V6, ADDRESS_V6, &["-Z", "-y"]),
    ]);
}

#[test]
fn clients_that_ask_for_what_is_wrong_or_hang_up_disturb_nobody() {
    let namespace = Namespace::new();
    let mut server = Server::start(&namespace, "");
    // What stands in requests of the first two is refused or not answered at all, so the clients do not get far, with coturn
    // neither; those of the others leave at once, or after a few packets.
    let modes: [&[&str]; 4] = [&["-N"], &["-R"], &["-O"], &["-B"]];
    let carriers: [&[&str]; 3] = [&[], &["-t"], &["-t", "-S"]];
    let cases: Vec<Vec<&str>> = modes
        .iter()
        .flat_map(|mode| carriers.map(|carrier| [*mode, carrier].concat()))
        .collect();
    at_once(&cases, |case| {
        let mut command = namespace.command("timeout");
        command.args(["5", "turnutils_uclient", "-u", TURN_USER, "-w", TURN_PASSWORD]);
        command.args(["-e", ADDRESS, "-m", "10", "-n", "5", "-c", "-X"]);
        command.args(case).arg(ADDRESS);
        let _ = Peer::start(command).finish(Duration::from_secs(30));
    });
    assert!(server.is_alive());
    assert!(server.metric("turn_refused_total{code=\"400\"") > 0.0);
    let done = uclient(&namespace, ADDRESS, ADDRESS, &["-c", "-X"]);
    assert_all_arrived(server, &done);
}
