//! Start, refusal, reload, stop.

mod common;

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use common::{Server, in_namespace, loopback, run, settings_file, voex};

fn sample(name: &str) -> String {
    format!("{}/../../config/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_start_says_ready_and_serves_health_metrics_and_status() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/health").0, 200);
    let (status, metrics) = server.get("/metrics");
    assert_eq!(status, 200);
    for name in [
        "turn_allocations ",
        "turn_relayed_packets_total{",
        "turn_dropped_total{",
        "turn_refused_total{",
        "worker_handed_over_packets_total{kind=",
        "sfu_transports ",
        "sfu_dropped_total{",
        "mcu_sessions ",
        "sip_dialogs ",
        "sip_refused_total{",
        "sip_calls ",
        "net_batching{path=\"gso\"}",
        "users_in_calls_count ",
        "express_version{",
        "process_resident_memory_bytes ",
        "process_max_fds ",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} is missing");
    }
    assert!(server.get("/api/v1/status").1.contains("\"allocations\":0"));
    assert!(server.get("/").1.contains("<title>voex</title>"));
}

#[test]
fn wrong_settings_end_the_process_with_2_and_every_error() {
    let file = settings_file("wrong.yaml", "turn:\n  realm: [a]\n  relay_ports: 5-1\nworkers: many\n");
    let output = run(&["serve", "--settings", file.to_str().unwrap(), "--set", "log.level=loud"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for part in [
        "wrong.yaml:2: turn.realm",
        "wrong.yaml:3: turn.relay_ports",
        "wrong.yaml:4: workers",
        "--set: log.level",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn an_address_that_this_host_does_not_have_ends_the_process_with_2() {
    let output = voex(
        &[
            loopback(),
            vec!["--set".to_owned(), "turn.listen=192.0.2.254".to_owned()],
        ]
        .concat(),
    )
    .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("turn.listen = \"192.0.2.254\""),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn ports_that_others_have_are_all_named_and_end_the_process_with_1() {
    let (one, other) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let (http, api) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    let sets = [format!("http.listen={http}"), format!("mcu.ws.listen={api}")];
    let args = sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]);
    let output = voex(&loopback().into_iter().chain(args).collect::<Vec<_>>())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(&http.to_string()) && said.contains(&api.to_string()),
        "{said}"
    );
}

#[test]
fn sigterm_drains_and_stops_in_good_order() {
    let mut server = Server::start(&[]);
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.log();
    let place = |word: &str| log.find(word).unwrap_or_else(|| panic!("{word} is not in\n{log}"));
    assert!(place("draining") < place("stopping") && place("stopping") < place("stopped"));
}

#[test]
fn sigint_stops_without_draining() {
    let mut server = Server::start(&[]);
    server.signal("INT");
    assert!(server.wait().success());
    assert!(!server.log().contains("draining"));
}

#[test]
fn sighup_takes_over_the_log_level_and_keeps_what_is_in_force_when_the_file_is_wrong() {
    let file = settings_file(
        "reload.yaml",
        "log: {level: info}\nturn: {relay_ports: 50000-50099}\nmcu: {enabled: true}\n",
    );
    let server = Server::start(&["--settings", file.to_str().unwrap()]);
    let changed = "log: {level: debug}\nturn: {relay_ports: 50000-50199}\nmcu: {enabled: true}\n";
    std::fs::write(&file, changed).unwrap();
    server.signal("HUP");
    server.wait_for("taken over: log.level; only after a restart: turn.relay_ports");
    std::fs::write(&file, "log: {level: loud}\n").unwrap();
    server.signal("HUP");
    server.wait_for("those in force stay");
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn the_file_of_the_guide_starts_unchanged() {
    let addresses = "ip address add 2.3.4.5/32 dev lo && ip address add 172.17.0.1/16 dev lo";
    let args = format!("serve --settings {}", sample("express-voice.yaml"));
    let mut server = Server::spawn(in_namespace(addresses, &args));
    let log = server.log();
    for part in [
        "2.3.4.5:3478/udp+tcp+tls+dtls, 2.3.4.5:3479/udp+tcp+tls+dtls, 2.3.4.5:5349/udp+tcp+tls+dtls, 2.3.4.5:5350/udp+tcp+tls+dtls",
        "49152-65535/udp on 2.3.4.5 as 1.2.3.4",
        "ws://172.17.0.1:8188",
        "Redis for users: Connection refused",
        "redis_userdb: the password is the example of the guide",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    assert!(!log.contains("verystrongpassword"));
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn the_embedded_default_needs_nothing_and_says_how_to_try_it() {
    let mut command = in_namespace("true", "serve");
    let output = settings_file("embedded.out", "");
    let file = std::fs::File::create(&output).unwrap();
    // `Server::spawn` closes stdout; the shell sends it to a file before it becomes the server.
    command = redirect(command, &output);
    drop(file);
    let mut server = Server::spawn(command);
    assert!(server.log().contains("127.0.0.1:3478/udp+tcp+tls+dtls") && server.log().contains("ws://127.0.0.1:8188"));
    let said = std::fs::read_to_string(&output).unwrap();
    assert!(
        said.contains("password ") && said.contains("turnutils_uclient -y -u voex -w "),
        "{said}"
    );
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn the_limit_of_descriptors_is_raised_as_far_as_it_goes_and_too_low_a_one_is_told() {
    let limited = |ports: &str| {
        let setup = "ulimit -Sn 256 && ulimit -Hn 4096";
        Server::spawn(in_namespace(setup, &format!("serve --set turn.relay_ports={ports}")))
    };
    let few = limited("50000-50999");
    assert_eq!(few.descriptor_limits(), ["4096", "4096"]);
    assert!(!few.log().contains("descriptors"), "{}", few.log());
    let many = limited("49152-65535");
    assert_eq!(many.descriptor_limits(), ["4096", "4096"]);
    for part in ["may have 4096 descriptors open", "LimitNOFILE=33792"] {
        assert!(many.log().contains(part), "{part} is not in\n{}", many.log());
    }
}

fn redirect(command: Command, output: &std::path::Path) -> Command {
    let mut args: Vec<_> = command.get_args().map(|arg| arg.to_owned()).collect();
    let script = args.pop().expect("the script is the last argument");
    let mut redirected = Command::new(command.get_program());
    redirected
        .args(args)
        .arg(format!("{} > {}", script.to_string_lossy(), output.display()));
    redirected
}

#[test]
fn a_host_without_ipv6_is_served_on_ipv4() {
    let setup = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    let server = Server::spawn(in_namespace(setup, "serve"));
    assert!(
        server.log().contains(
            "STUN and TURN: 127.0.0.1:3478/udp+tcp+tls+dtls, 127.0.0.1:3479/udp+tcp+tls+dtls, \
                       127.0.0.1:5349/udp+tcp+tls+dtls, 127.0.0.1:5350/udp+tcp+tls+dtls\n"
        ),
        "{}",
        server.log()
    );
}

#[test]
fn what_a_host_lacks_is_left_out_and_told() {
    let says = |setup: &str, sets: &str, wanted: &[&str], unwanted: &[&str]| {
        let server = Server::spawn(in_namespace(setup, &format!("serve {sets}")));
        let log = server.log();
        wanted
            .iter()
            .for_each(|text| assert!(log.contains(text), "{setup}: no {text} in\n{log}"));
        unwanted
            .iter()
            .for_each(|text| assert!(!log.contains(text), "{setup}: {text} in\n{log}"));
    };
    let no_v6 = "no IPv6 address here: clients over IPv6 are not served, relays of IPv6 are refused with 440";
    let [loopback_v4, loopback_v6] =
        ["IPv4", "IPv6"].map(|family| format!("loopback is the only {family} address here"));
    let v4 = "ip address add 192.0.2.1/24 dev lo";
    let v6 = "ip address add 2001:db8::1/64 dev lo";
    let disabled = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    says(&format!("{disabled} && {v4}"), "", &[no_v6], &[&loopback_v4]);
    says(
        &format!("{disabled} && {v4}"),
        "--set turn.listen=0.0.0.0,::",
        &[no_v6],
        &[],
    );
    says(
        &format!("{v4} && {v6}"),
        "",
        &["[2001:db8::1]:3478/udp"],
        &["TURN: no", "is the only"],
    );
    says(v6, "", &[&loopback_v4, "[2001:db8::1]:3478/udp"], &[&loopback_v6]);
    says("true", "", &[&loopback_v4, &loopback_v6], &[]);
}

#[test]
fn a_family_that_the_settings_ask_for_and_the_host_lacks_ends_the_process_with_2() {
    let setup = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    let output = in_namespace(setup, "serve --set turn.listen=::").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("turn.listen = \"::\": this host has no address of that family; it has 127.0.0.1"),
        "{said}"
    );
}

#[test]
fn a_role_that_is_off_binds_nothing() {
    let server = Server::spawn(in_namespace("true", "serve --set mcu.enabled=no --set turn.enabled=no"));
    let log = server.log();
    let listening: Vec<_> = log.lines().filter(|line| line.contains("listening: ")).collect();
    assert_eq!(listening.len(), 1, "{log}");
    assert!(listening[0].contains("http://127.0.0.1:9189"));
}

#[test]
fn a_transport_that_is_off_binds_nothing() {
    let without_udp = Server::start(&["--set", "turn.transports=tcp"]);
    let at = without_udp.listener("STUN and TURN", "TURN: ");
    assert!(without_udp.log().contains(&format!("STUN and TURN: {at}/tcp\n")));
    TcpStream::connect(at).expect("TCP is served");
    UdpSocket::bind(at).expect("nobody has the UDP port");
    let without_tcp = Server::start(&["--set", "turn.transports=udp,dtls"]);
    let at = without_tcp.listener("STUN and TURN", "TURN: ");
    assert!(without_tcp.log().contains(&format!("STUN and TURN: {at}/udp+dtls\n")));
    TcpStream::connect(at).expect_err("nobody has the TCP port");
}

#[test]
fn a_host_that_only_relays_sleeps_while_nobody_calls() {
    let server = Server::start(&["--set", "mcu.enabled=no", "--set", "sip.enabled=no"]);
    let cpu_seconds = || {
        let (_, metrics) = server.get("/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
        line.and_then(|seconds| seconds.parse::<f64>().ok())
            .expect("the process tells its CPU time")
    };
    let before = cpu_seconds();
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_seconds() - before;
    // A task that never sleeps takes two; an idle process a hundredth, most of it for the two scrapes.
    assert!(used < 0.5, "{used} s of CPU in two idle seconds");
}

#[test]
fn check_config_prints_the_settings_in_force_and_masks_secrets() {
    let good = run(&["check-config", &sample("express-voice.yaml")]);
    assert_eq!(good.status.code(), Some(0));
    let said = text(&good.stdout);
    assert!(
        said.contains("turn.listen = [2.3.4.5]    # line 6, turnserver_listening_ip"),
        "{said}"
    );
    assert!(said.contains("8188/tcp on 172.17.0.1: Janus API") && !said.contains("verystrongpassword"));
    let wrong = settings_file("check.yaml", "janus_enabled: perhaps\n");
    assert_eq!(run(&["check-config", wrong.to_str().unwrap()]).status.code(), Some(1));
    assert_eq!(run(&["check-config", "/nowhere/settings.yaml"]).status.code(), Some(1));
}
