//! What is refused, with which code, and that it costs nothing.

mod common;

use std::fs;
use std::path::Path;

use common::*;
use voex_base::Label as _;
use voex_sip::{Command, DropReason, Output, Strangers};
use voex_sip_wire::{Header, Message};

fn stranger() -> std::net::SocketAddr {
    "192.0.2.66:5060".parse().expect("an address")
}

fn request(method: &str, fields: &str) -> String {
    format!(
        "{method} sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5070;branch=z9hG4bKx\r\nFrom: <sip:b@x>;tag=1\r\n\
         To: <sip:alice@x>\r\nCall-ID: r\r\nCSeq: 1 {method}\r\n{fields}\r\n"
    )
}

fn stateless(host: &Host) {
    assert_eq!((host.endpoint.leg_count(), host.metrics.transactions.value()), (0, 0));
    host.quiet();
}

#[test]
fn methods_that_are_not_taken_get_405_with_allow_and_unknown_ones_501() {
    let mut host = Host::with_guest();
    for method in ["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"] {
        host.receive(&request(method, ""));
        let allow = host.response(405).headers.get(Header::Allow).map(str::to_owned);
        assert_eq!(
            allow.as_deref(),
            Some("INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY")
        );
    }
    for method in ["UPDATE", "PRACK", "REFER", "NOTIFY"] {
        host.receive(&request(method, ""));
        host.response(481);
    }
    host.receive(&request("FROBNICATE", ""));
    host.response(501);
    stateless(&host);
}

#[test]
fn options_gets_200_and_stray_requests_of_dialogs_481() {
    let mut host = Host::with_guest();
    host.receive(&request("OPTIONS", ""));
    assert_eq!(host.response(200).headers.get(Header::Accept), Some("application/sdp"));
    for method in ["BYE", "INFO"] {
        host.receive(&request(method, ""));
        host.response(481);
    }
    host.receive(&request("BYE", "").replace("<sip:alice@x>", "<sip:alice@x>;tag=gone"));
    host.response(481);
    stateless(&host);
}

#[test]
fn the_same_stray_request_gets_the_same_to_tag() {
    let mut host = Host::with_guest();
    host.receive(&request("BYE", ""));
    let first = host.response(481);
    host.receive(&request("BYE", ""));
    assert_eq!(host.response(481), first);
    assert!(first.headers.get(Header::To).unwrap().contains(";tag=s"));
}

#[test]
fn bodies_extensions_and_answers_that_are_not_understood_are_named() {
    let mut host = Host::with_guest();
    host.receive(&request("INVITE", "Require: 100rel, foo\r\n"));
    assert_eq!(host.response(420).headers.get(Header::Unsupported), Some("foo"));
    let text = "Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx";
    host.receive(&request("INVITE", text));
    assert_eq!(host.response(415).headers.get(Header::Accept), Some("application/sdp"));
    host.receive(&request("INVITE", "Accept: text/plain\r\n"));
    host.response(406);
    host.receive(&request("INVITE", "Contact: <sip:x\r\n"));
    host.response(400);
    stateless(&host);
}

#[test]
fn strangers_get_403_whatever_they_want_and_are_counted() {
    let mut host = Host::with_guest();
    for method in ["INVITE", "OPTIONS", "REGISTER", "BYE"] {
        host.receive_from(stranger(), request(method, "").as_bytes());
        match host.sent.pop_front() {
            Some((to, Message::Response(response, _))) => assert_eq!((to, response.code), (stranger(), 403)),
            other => panic!("{other:?}"),
        }
    }
    stateless(&host);
    assert_eq!(host.metrics.dropped.of(DropReason::Stranger).value(), 4);
}

#[test]
fn strangers_get_nothing_when_so_set_not_even_for_garbage() {
    let mut config = config();
    config.strangers = Strangers::Ignore;
    let mut host = Host::new(config);
    host.receive_from(stranger(), request("INVITE", "").as_bytes());
    host.receive_from(stranger(), request("INVITE", "Max-Forwards: 999\r\n").as_bytes());
    stateless(&host);
    let counts: Vec<_> = host.metrics.dropped.values().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        counts,
        [(DropReason::Malformed.name(), 1), (DropReason::Stranger.name(), 1)]
    );
}

#[test]
fn the_allow_list_admits_whole_networks_and_sees_through_mapped_addresses() {
    let mut config = config();
    config.allow = vec!["192.0.2.0/25".parse().unwrap()];
    let mut host = Host::new(config);
    for source in ["192.0.2.66:5060", "[::ffff:192.0.2.66]:5060"] {
        host.receive_from(source.parse().unwrap(), request("OPTIONS", "").as_bytes());
        assert!(matches!(host.sent.pop_front(), Some((_, Message::Response(response, _))) if response.code == 200));
    }
    host.receive_from("192.0.2.129:5060".parse().unwrap(), request("OPTIONS", "").as_bytes());
    assert!(matches!(host.sent.pop_front(), Some((_, Message::Response(response, _))) if response.code == 403));
}

#[test]
fn account_hosts_are_strangers_when_so_set() {
    let mut config = config();
    config.allow_account_hosts = false;
    let mut host = Host::new(config);
    host.command(Command::Register(Box::new(guest())));
    host.events.clear();
    host.receive(&invite());
    host.response(403);
}

#[test]
fn a_user_whose_name_begins_like_a_scanners_is_no_scanner() {
    let mut host = Host::with_guest();
    host.receive(&request(
        "OPTIONS",
        "Contact: <sip:sipclient@x>\r\nUser-Agent: sipclient/2\r\n",
    ));
    host.response(200);
    host.receive(&request("OPTIONS", "User-Agent: sipcli/v1.8\r\n"));
    host.quiet();
}

#[test]
fn scanners_get_no_answer_even_from_admitted_addresses() {
    let mut host = Host::with_guest();
    for fields in [
        "User-Agent: friendly-scanner\r\n",
        "User-Agent: Sipvicious 0.3\r\n",
        "Contact: <sip:sundayddr@x>\r\n",
    ] {
        host.receive(&request("OPTIONS", fields));
        host.receive(&request("INVITE", fields));
        host.receive(&request("INVITE", &format!("{fields}Max-Forwards: x\r\n")));
    }
    stateless(&host);
    assert_eq!(host.metrics.dropped.of(DropReason::Scanner).value(), 6);
}

#[test]
fn stray_responses_acks_and_keep_alives_are_dropped_and_counted() {
    let mut host = Host::with_guest();
    host.receive("\r\n\r\n");
    host.receive(&request("ACK", ""));
    let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKnone\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
                    Call-ID: r\r\nCSeq: 1 INVITE\r\n\r\n";
    host.receive(response);
    stateless(&host);
    for reason in [DropReason::KeepAlive, DropReason::StrayAck, DropReason::StrayResponse] {
        assert_eq!(host.metrics.dropped.of(reason).value(), 1, "{reason:?}");
    }
}

#[test]
fn a_malformed_request_gets_400_with_the_reason_and_a_malformed_ack_nothing() {
    let mut host = Host::with_guest();
    host.receive(&request("INVITE", "").replace("CSeq: 1 INVITE", "CSeq: 1 OPTIONS"));
    assert_eq!(host.response(400).reason, "CSeq Method Does Not Match Request Method");
    host.receive(&request("ACK", "").replace("CSeq: 1 ACK", "CSeq: x ACK"));
    host.receive(&request("INVITE", "").replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"));
    host.response(505);
    stateless(&host);
}

/// What RFC 4475 says of its messages, for an endpoint that is no registrar: the code that is right, none for those
/// that must be dropped.
const TORTURE: [(&str, Option<u16>); 49] = [
    ("badaspec", Some(200)),
    ("badbranch", Some(200)),
    ("baddate", Some(404)),
    ("baddn", Some(400)),
    ("badinv01", Some(400)),
    ("badvers", Some(505)),
    ("bcast", None),
    ("bext01", Some(420)),
    ("bigcode", None),
    ("clerr", Some(400)),
    ("cparam01", Some(405)),
    ("cparam02", Some(405)),
    ("dblreq", Some(405)),
    ("esc01", Some(404)),
    ("esc02", Some(501)),
    ("escnull", Some(405)),
    ("escruri", Some(400)),
    ("insuf", Some(400)),
    ("intmeth", Some(501)),
    ("inv2543", Some(404)),
    ("invut", Some(415)),
    ("longreq", Some(404)),
    ("ltgtruri", Some(400)),
    ("lwsdisp", Some(200)),
    ("lwsruri", Some(400)),
    ("lwsstart", Some(400)),
    ("mcl01", Some(400)),
    ("mismatch01", Some(400)),
    ("mismatch02", Some(400)),
    ("mpart01", Some(405)),
    ("multi01", Some(400)),
    ("ncl", Some(400)),
    ("noreason", None),
    ("novelsc", Some(416)),
    ("quotbal", Some(400)),
    ("regaut01", Some(405)),
    ("regbadct", Some(405)),
    ("regescrt", Some(405)),
    ("scalar02", Some(400)),
    ("scalarlg", None),
    ("sdp01", Some(406)),
    ("semiuri", Some(200)),
    ("transports", Some(200)),
    ("trws", Some(400)),
    ("unkscm", Some(416)),
    ("unksm2", Some(405)),
    ("unreason", None),
    ("wsinv", Some(481)),
    ("zeromf", Some(200)),
];

#[test]
fn each_torture_message_gets_its_answer_and_an_options_after_it_too() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sip-wire/tests/torture");
    let mut host = Host::with_guest();
    for (name, code) in TORTURE {
        let datagram = fs::read(directory.join(format!("{name}.dat"))).expect("the message is there");
        host.endpoint.handle_datagram(host.now, SOCKET, there(), &datagram);
        // Answers echo what was malformed, so they are read no further than the status code.
        let mut answered: Vec<u16> = Vec::new();
        while let Some(output) = host.endpoint.poll_output() {
            let Output::Transmit { to, bytes, .. } = output else {
                panic!("{name}: {output:?}")
            };
            let code = bytes
                .strip_prefix(b"SIP/2.0 ")
                .and_then(|rest| std::str::from_utf8(&rest[..3]).ok());
            answered.push(code.and_then(|code| code.parse().ok()).expect("an answer"));
            assert_eq!(to, there(), "{name}");
        }
        assert_eq!(answered, code.into_iter().collect::<Vec<u16>>(), "{name}");
        host.receive(&request("OPTIONS", ""));
        host.response(200);
    }
}

#[test]
fn the_rfc_2543_invite_of_the_torture_messages_is_taken_when_somebody_has_that_number() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sip-wire/tests/torture/inv2543.dat");
    let mut host = Host::with_guest();
    let trunk = voex_sip::AccountSpec {
        catch_all: true,
        ..voex_sip::AccountSpec::guest(voex_sip::AccountId(3), "sip:t@10.0.0.2")
    };
    host.command(Command::Register(Box::new(trunk)));
    host.events.clear();
    host.receive_from(there(), &fs::read(path).expect("the message is there"));
    host.response(100);
    assert!(matches!(host.event(), voex_sip::Event::IncomingCall(call) if call.callee.contains("+16505552222")));
}
