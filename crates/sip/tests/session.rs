//! UPDATE and session timers: calls that go on because somebody says so, and end when nobody does.

mod common;

use std::time::Duration;

use common::*;
use voex_sip::{Command, EndCause, Event, LegId};
use voex_sip_wire::{Header, Method, Request, Response};

const TIMER: &str = "Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n";

/// Bob's 200 with what it says of the session timer.
fn ok_with_timer(invite: &Request, expires: &str, allow: &str) -> Response {
    let mut response = ok(invite);
    response.headers.push(Header::SessionExpires, expires);
    response.headers.push(Header::Require, "timer");
    response.headers.push(Header::Allow, allow);
    response
}

/// Alice has called Bob; the session is refreshed as he says.
fn in_call_with_timer(expires: &str, allow: &str) -> Host {
    let (mut host, invite) = Host::calling();
    host.answer(&ok_with_timer(&invite, expires, allow));
    host.request(Method::Ack);
    assert!(matches!(host.event(), Event::Answered { .. }));
    host
}

/// Bob has called Alice with these fields and she has accepted. Her 200 is in the result.
fn accepted_with(fields: &str) -> (Host, LegId, Response) {
    let mut host = Host::with_guest();
    let fields = format!("Content-Type: application/sdp\r\n{fields}");
    host.receive(&invite_with("z9hG4bKinvite", &fields, "v=0\r\ns=offer\r\n"));
    host.response(100);
    let Event::IncomingCall(call) = host.event() else {
        panic!("an incoming call")
    };
    host.command(Command::Accept {
        leg: call.leg,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let ok = host.response(200);
    host.receive(&in_dialog("ACK", 1, &ok, ""));
    host.event();
    (host, call.leg, ok)
}

fn sdp(text: &str) -> String {
    body("application/sdp", text)
}

#[test]
fn a_call_of_ours_proposes_half_an_hour_and_is_refreshed_by_update_at_half_time() {
    let (_, invite) = Host::calling();
    assert_eq!(invite.headers.get(Header::Supported), Some("100rel, timer"));
    assert_eq!(invite.headers.get(Header::SessionExpires), Some("1800"));
    let mut host = in_call_with_timer("1800;refresher=uac", "INVITE, UPDATE");
    host.advance(Duration::from_secs(899));
    host.quiet();
    host.advance(Duration::from_secs(1));
    let update = host.request(Method::Update);
    assert_eq!(update.headers.get(Header::SessionExpires), Some("1800;refresher=uac"));
    assert!(update.body.is_empty());
    let mut response = respond(&update, 200);
    response.headers.push(Header::SessionExpires, "1800;refresher=uac");
    host.answer(&response);
    host.advance(Duration::from_secs(900));
    host.request(Method::Update);
}

#[test]
fn where_the_remote_takes_no_update_a_reinvite_refreshes_and_nobody_hears_of_it() {
    let mut host = in_call_with_timer("200;refresher=uac", "INVITE, ACK, BYE");
    host.advance(Duration::from_secs(100));
    let again = host.request(Method::Invite);
    assert_eq!(again.body, OFFER, "what holds");
    host.answer(&ok_with_timer(&again, "200;refresher=uac", "INVITE, ACK, BYE"));
    host.request(Method::Ack);
    host.quiet();
    host.advance(Duration::from_secs(100));
    let refused = host.request(Method::Invite);
    host.answer(&respond(&refused, 503));
    host.request(Method::Ack);
    host.quiet();
    host.advance(Duration::from_secs(5));
    host.request(Method::Invite);
}

#[test]
fn an_update_that_the_remote_does_not_know_after_all_becomes_a_reinvite() {
    let mut host = in_call_with_timer("200;refresher=uac", "INVITE, UPDATE");
    host.advance(Duration::from_secs(100));
    let update = host.request(Method::Update);
    host.answer(&respond(&update, 501));
    host.request(Method::Invite);
}

#[test]
fn a_remote_that_does_not_refresh_as_it_promised_is_hung_up_on() {
    let mut host = in_call_with_timer("300;refresher=uas", "INVITE");
    host.advance(Duration::from_secs(267));
    host.quiet();
    host.advance(Duration::from_secs(1));
    let bye = host.request(Method::Bye);
    assert_eq!(
        bye.headers.get(Header::Reason),
        Some("SIP;cause=408;text=\"Session expired\"")
    );
    host.answer(&respond(&bye, 200));
    let ended = host.ended();
    assert_eq!((ended.leg, ended.cause, ended.code), (LEG, EndCause::Timeout, 408));
}

#[test]
fn a_remote_without_timers_is_never_hung_up_on() {
    let (mut host, _) = Host::in_call();
    host.advance(Duration::from_secs(7_200));
    host.quiet();
}

#[test]
fn an_interval_that_is_too_short_for_the_remote_is_proposed_longer() {
    let (mut host, invite) = Host::calling();
    let mut response = respond(&invite, 422);
    response.headers.push(Header::MinSe, "3600");
    host.answer(&response);
    host.request(Method::Ack);
    let again = host.request(Method::Invite);
    assert_eq!(again.headers.get(Header::SessionExpires), Some("3600"));
    assert_eq!(again.headers.get(Header::MinSe), Some("3600"));
    assert_ne!(again.headers.get(Header::CSeq), invite.headers.get(Header::CSeq));
    host.answer(&ok_with_timer(&again, "3600;refresher=uac", "INVITE"));
    host.request(Method::Ack);
    assert!(matches!(host.event(), Event::Answered { .. }));
    host.quiet();
}

#[test]
fn a_422_that_asks_for_nothing_new_ends_the_call() {
    let (mut host, invite) = Host::calling();
    let mut response = respond(&invite, 422);
    response.headers.push(Header::MinSe, "90");
    host.answer(&response);
    host.request(Method::Ack);
    assert_eq!(host.ended().code, 422);
    host.quiet();
}

#[test]
fn a_caller_that_wants_a_timer_gets_one_and_refreshes_it_itself_if_it_can() {
    let (mut host, _, ok) = accepted_with(TIMER);
    assert_eq!(ok.headers.get(Header::SessionExpires), Some("1800;refresher=uac"));
    assert_eq!(ok.headers.get(Header::Require), Some("timer"));
    host.advance(Duration::from_secs(1_700));
    let refresh = "Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n\r\n";
    host.receive(&in_dialog("UPDATE", 2, &ok, refresh));
    let answer = host.response(200);
    assert_eq!(answer.headers.get(Header::SessionExpires), Some("1800;refresher=uac"));
    assert_eq!(answer.headers.get(Header::Contact), Some("<sip:alice@10.0.0.1:5060>"));
    host.advance(Duration::from_secs(1_767));
    host.quiet();
    host.advance(Duration::from_secs(1));
    host.request(Method::Bye);
}

#[test]
fn a_timer_that_a_proxy_put_into_the_call_of_an_old_telephone_is_refreshed_by_us() {
    let (mut host, _, ok) = accepted_with("Session-Expires: 600\r\nAllow: INVITE, UPDATE\r\n");
    assert_eq!(ok.headers.get(Header::SessionExpires), Some("600;refresher=uas"));
    assert_eq!(ok.headers.get(Header::Require), None);
    host.advance(Duration::from_secs(300));
    host.request(Method::Update);
}

#[test]
fn an_interval_that_is_too_short_for_us_gets_422_with_the_least() {
    let mut host = Host::with_guest();
    let fields = "Content-Type: application/sdp\r\nSupported: timer\r\nSession-Expires: 60\r\n";
    host.receive(&invite_with("z9hG4bKshort", fields, "v=0\r\n"));
    assert_eq!(host.response(422).headers.get(Header::MinSe), Some("90"));
    host.quiet();
}

#[test]
fn an_interval_that_is_too_short_and_cannot_be_refused_is_left_out() {
    let (mut host, _, ok) = accepted_with("Session-Expires: 60\r\n");
    assert_eq!(ok.headers.get(Header::SessionExpires), None);
    host.advance(Duration::from_secs(600));
    host.quiet();
}

#[test]
fn an_update_with_an_offer_is_the_applications_to_answer() {
    let (mut host, leg, ok) = Host::accepted();
    host.receive(&in_dialog("UPDATE", 2, &ok, &sdp("v=0\r\ns=new\r\n")));
    match host.event() {
        Event::Reinvite {
            leg: of, sdp, answered, ..
        } => {
            assert_eq!(
                (of, sdp.as_deref(), answered),
                (leg, Some(b"v=0\r\ns=new\r\n".as_slice()), false)
            );
        }
        other => panic!("{other:?}"),
    }
    host.quiet();
    host.receive(&in_dialog("UPDATE", 3, &ok, &sdp("v=0\r\ns=early\r\n")));
    assert!(
        host.response(500).headers.get(Header::RetryAfter).is_some(),
        "one at a time"
    );
    host.command(Command::AnswerReinvite {
        leg,
        answer: Ok(b"v=0\r\ns=agreed\r\n".to_vec()),
        headers: Vec::new(),
    });
    let answer = host.response(200);
    assert_eq!(answer.body, b"v=0\r\ns=agreed\r\n");
    assert_eq!(answer.headers.get(Header::CSeq), Some("2 UPDATE"));
    host.advance(Duration::from_secs(60));
    host.quiet();
}

#[test]
fn an_update_that_meets_our_reinvite_gets_491_and_a_refused_one_its_code() {
    let (mut host, leg, ok) = Host::accepted();
    host.command(Command::Reinvite {
        leg,
        sdp: OFFER.to_vec(),
        headers: Vec::new(),
    });
    let ours = host.request(Method::Invite);
    host.receive(&in_dialog("UPDATE", 2, &ok, &sdp("v=0\r\n")));
    host.response(491);
    host.answer(&respond(&ours, 488));
    host.request(Method::Ack);
    assert!(matches!(host.event(), Event::ReinviteFailed { code: 488, .. }));
    host.receive(&in_dialog("UPDATE", 3, &ok, &sdp("v=0\r\n")));
    host.event();
    host.command(Command::AnswerReinvite {
        leg,
        answer: Err(415),
        headers: Vec::new(),
    });
    host.response(415);
    host.quiet();
}

#[test]
fn an_update_that_waits_when_the_call_ends_is_refused() {
    let (mut host, leg, ok) = Host::accepted();
    host.receive(&in_dialog("UPDATE", 2, &ok, &sdp("v=0\r\n")));
    host.event();
    host.hangup(leg);
    host.response(487);
    let bye = host.request(Method::Bye);
    host.answer(&respond(&bye, 200));
    host.ended();
    host.advance(Duration::from_secs(60));
    host.quiet();
    assert_eq!(host.metrics.transactions.value(), 0);
}

#[test]
fn a_request_between_invite_and_ack_does_not_hide_the_ack() {
    let (mut host, leg) = Host::called();
    host.command(Command::Accept {
        leg,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let ok = host.response(200);
    host.receive(&in_dialog("INFO", 2, &ok, ""));
    host.response(200);
    host.event();
    host.receive(&in_dialog("ACK", 1, &ok, ""));
    assert_eq!(host.event(), Event::Confirmed { leg, sdp: None });
    host.advance(Duration::from_secs(60));
    host.quiet();
}
