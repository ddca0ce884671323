//! Provisional answers that arrive (RFC 3262), both ways.

mod common;

use std::time::Duration;

use common::*;
use voex_sip::{Command, EndCause, Event, LegId};
use voex_sip_wire::{Header, Method, Request, Response};

const SDP: &str = "Content-Type: application/sdp\r\n";

/// Bob calls with these fields; Alice's leg is in the result.
fn called_with(fields: &str) -> (Host, LegId) {
    let mut host = Host::with_guest();
    host.receive(&invite_with(
        "z9hG4bKinvite",
        &format!("{SDP}{fields}"),
        "v=0\r\ns=offer\r\n",
    ));
    host.response(100);
    let Event::IncomingCall(call) = host.event() else {
        panic!("an incoming call")
    };
    (host, call.leg)
}

fn progress(leg: LegId) -> Command {
    Command::Progress {
        leg,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    }
}

fn ring(leg: LegId) -> Command {
    Command::Ring {
        leg,
        headers: Vec::new(),
    }
}

fn accept(leg: LegId) -> Command {
    Command::Accept {
        leg,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    }
}

/// Bob's PRACK for an answer of Alice's.
fn prack(cseq: u32, answer: &Response) -> String {
    let rseq = answer.headers.get(Header::RSeq).expect("a reliable answer");
    in_dialog("PRACK", cseq, answer, &format!("RAck: {rseq} 1 INVITE\r\n\r\n"))
}

/// Bob's provisional answer that wants a PRACK.
fn reliable(invite: &Request, code: u16, rseq: u32, tag: &str) -> Response {
    let mut response = respond(invite, code);
    let to = response
        .headers
        .get(Header::To)
        .expect("respond() puts one in")
        .replace("tag=bob", tag);
    response.headers.set(Header::To, to);
    response.headers.push(Header::Require, "100rel");
    response.headers.push(Header::RSeq, rseq.to_string());
    response
}

#[test]
fn early_media_is_repeated_until_its_prack() {
    let (mut host, leg) = called_with("Supported: 100rel\r\n");
    host.command(progress(leg));
    let first = host.response(183);
    assert_eq!(first.headers.get(Header::Require), Some("100rel"));
    assert_eq!(first.body, ANSWER);
    host.advance(ms(500));
    assert_eq!(host.response(183).headers, first.headers);
    host.advance(ms(1_000));
    host.response(183);
    host.receive(&prack(2, &first));
    host.response(200);
    host.advance(Duration::from_secs(30));
    host.quiet();
}

#[test]
fn ringing_needs_no_prack_unless_the_caller_insists() {
    let (mut host, leg) = called_with("Supported: 100rel\r\n");
    host.command(ring(leg));
    assert_eq!(host.response(180).headers.get(Header::RSeq), None);
    let (mut host, leg) = called_with("Require: 100rel\r\n");
    host.command(ring(leg));
    let ringing = host.response(180);
    host.receive(&prack(2, &ringing));
    host.response(200);
    host.quiet();
}

#[test]
fn answers_wait_for_the_prack_of_the_one_before() {
    let (mut host, leg) = called_with("Require: 100rel\r\n");
    host.command(progress(leg));
    let early = host.response(183);
    host.command(ring(leg));
    host.command(accept(leg));
    host.quiet();
    host.receive(&prack(2, &early));
    host.response(200);
    let ringing = host.response(180);
    let number = |response: &Response| response.headers.get(Header::RSeq).unwrap().parse::<u32>().unwrap();
    assert_eq!(number(&ringing), number(&early) + 1);
    host.quiet();
    host.receive(&prack(3, &ringing));
    host.response(200);
    let ok = host.response(200);
    assert_eq!(ok.headers.get(Header::CSeq), Some("1 INVITE"));
    host.receive(&in_dialog("ACK", 1, &ok, ""));
    assert_eq!(host.event(), Event::Confirmed { leg, sdp: None });
}

#[test]
fn a_prack_for_nothing_gets_481() {
    let (mut host, leg) = called_with("Supported: 100rel\r\n");
    host.command(progress(leg));
    let early = host.response(183);
    let rseq = early.headers.get(Header::RSeq).unwrap();
    host.receive(&prack(2, &early).replace(&format!("RAck: {rseq}"), "RAck: 1"));
    host.response(481);
    host.receive(&prack(3, &early));
    host.response(200);
    host.receive(&prack(4, &early));
    host.response(481);
    host.quiet();
}

#[test]
fn a_caller_that_never_acknowledges_is_refused_after_64_t1() {
    let (mut host, leg) = called_with("Require: 100rel\r\n");
    host.command(ring(leg));
    host.advance(Duration::from_secs(32));
    while host.sent.len() > 1 {
        host.response(180);
    }
    host.response(504);
    let ended = host.ended();
    assert_eq!((ended.leg, ended.cause, ended.code), (leg, EndCause::Timeout, 504));
}

#[test]
fn a_cancel_while_a_prack_is_awaited_ends_the_repeats() {
    let (mut host, leg) = called_with("Require: 100rel\r\n");
    host.command(progress(leg));
    host.response(183);
    let invite = invite_with("z9hG4bKinvite", "", "");
    host.receive(
        &invite
            .replace("INVITE sip:", "CANCEL sip:")
            .replace("1 INVITE", "1 CANCEL"),
    );
    host.response(200);
    host.response(487);
    assert_eq!(host.ended().leg, leg);
    host.advance(ms(5_000));
    assert!(
        host.sent
            .iter()
            .all(|(_, message)| !format!("{message:?}").contains("code: 183"))
    );
}

#[test]
fn bobs_early_media_is_acknowledged_once_and_in_order() {
    let (mut host, invite) = Host::calling();
    let mut early = reliable(&invite, 183, 7, "tag=bob");
    early.headers.push(Header::ContentType, "application/sdp");
    early.body = ANSWER.to_vec();
    host.answer(&early);
    let prack = host.request(Method::Prack);
    let cseq = invite.headers.get(Header::CSeq).unwrap();
    assert_eq!(prack.headers.get(Header::RAck), Some(format!("7 {cseq}").as_str()));
    assert!(matches!(
        host.event(),
        Event::Provisional {
            code: 183,
            sdp: Some(_),
            ..
        }
    ));
    host.answer(&early);
    host.quiet();
    host.answer(&reliable(&invite, 180, 9, "tag=bob"));
    host.quiet();
    host.answer(&reliable(&invite, 180, 8, "tag=bob"));
    host.request(Method::Prack);
    assert!(matches!(host.event(), Event::Provisional { code: 180, .. }));
    host.answer(&respond(&prack, 200));
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    assert!(matches!(host.event(), Event::Answered { .. }));
    host.quiet();
}

#[test]
fn each_fork_is_acknowledged_by_its_own_numbers_in_its_own_dialog() {
    let (mut host, invite) = Host::calling();
    for (tag, rseq) in [("tag=bob", 5), ("tag=mobile", 5)] {
        host.answer(&reliable(&invite, 180, rseq, tag));
        let prack = host.request(Method::Prack);
        assert!(prack.headers.get(Header::To).unwrap().ends_with(tag));
        host.event();
    }
    host.quiet();
}

#[test]
fn a_prack_that_crosses_our_200_is_still_answered_with_200() {
    let (mut host, leg) = called_with("Require: 100rel\r\n");
    host.command(ring(leg));
    let ringing = host.response(180);
    host.command(accept(leg));
    let ok = host.response(200);
    host.receive(&prack(2, &ringing));
    assert_eq!(host.response(200).headers.get(Header::CSeq), Some("2 PRACK"));
    host.receive(&prack(3, &ringing));
    host.response(481);
    host.receive(&in_dialog("ACK", 1, &ok, ""));
    assert_eq!(host.event(), Event::Confirmed { leg, sdp: None });
    host.quiet();
}
