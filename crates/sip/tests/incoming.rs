//! Calls that come to us.

mod common;

use common::*;
use voex_sip::{AccountId, AccountSpec, Command, EndCause, Event};
use voex_sip_wire::{Header, Method};

fn accept(leg: voex_sip::LegId) -> Command {
    Command::Accept {
        leg,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    }
}

#[test]
fn an_invite_is_tried_and_reported_with_quotes_kept() {
    let mut host = Host::with_guest();
    host.receive(&invite_with(
        "z9hG4bK1",
        "X-Test: hello\r\nc: application/sdp\r\n",
        "v=0\r\n",
    ));
    let trying = host.response(100);
    assert!(!trying.headers.get(Header::To).unwrap().contains("tag="));
    let Event::IncomingCall(call) = host.event() else {
        panic!("an incoming call")
    };
    assert!(call.leg.is_incoming());
    assert_eq!((call.account, call.call_id.as_str()), (ALICE, "in-1"));
    assert_eq!(
        (call.from.as_str(), call.display_name.as_deref()),
        ("sip:bob@example.com", Some("\"Bob\""))
    );
    assert_eq!(call.callee, "sip:alice@example.com");
    assert_eq!(call.request_uri, "sip:alice@10.0.0.1:5060");
    assert_eq!((call.sdp.as_deref(), call.source), (Some(&b"v=0\r\n"[..]), there()));
    assert!(call.headers.contains(&("X-Test".into(), "hello".into())));
    assert!(
        call.headers
            .contains(&("Content-Type".into(), "application/sdp".into()))
    );
}

#[test]
fn ringing_progress_and_answer_share_one_tag_and_carry_contact_and_record_route() {
    let mut host = Host::with_guest();
    let fields = "Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\nContent-Type: application/sdp\r\n";
    host.receive(&invite_with("z9hG4bK1", fields, "v=0\r\n"));
    host.response(100);
    let Event::IncomingCall(call) = host.event() else {
        panic!("an incoming call")
    };
    let leg = call.leg;
    host.command(Command::Ring {
        leg,
        headers: vec![("X-R".into(), "1".into())],
    });
    let ringing = host.response(180);
    assert_eq!(ringing.headers.get_by_name("X-R"), Some("1"));
    host.command(Command::Progress {
        leg,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let progress = host.response(183);
    assert_eq!(progress.body, ANSWER);
    host.command(accept(leg));
    let ok = host.response(200);
    assert_eq!(ok.body, ANSWER);
    for response in [&ringing, &progress, &ok] {
        assert_eq!(response.headers.get(Header::To), ok.headers.get(Header::To));
        assert_eq!(response.headers.get(Header::Contact), Some("<sip:alice@10.0.0.1:5060>"));
        assert_eq!(
            response.headers.get(Header::RecordRoute),
            Some("<sip:p1;lr>, <sip:p2;lr>")
        );
    }
    let via = ok.headers.get(Header::Via).unwrap();
    assert_eq!(
        via,
        "SIP/2.0/UDP 10.0.0.2:5070;rport=5070;branch=z9hG4bK1;received=10.0.0.2"
    );
}

#[test]
fn the_200_is_repeated_until_its_ack() {
    let (mut host, leg) = Host::called();
    host.command(accept(leg));
    let ok = host.response(200);
    host.advance(ms(11_500));
    // 0.5, 1.5, 3.5, 7.5, 11.5 s
    for _ in 0..5 {
        assert_eq!(host.response(200), ok);
    }
    host.quiet();
    host.receive(&in_dialog("ACK", 1, &ok, ""));
    assert_eq!(host.event(), Event::Confirmed { leg, sdp: None });
    host.receive(&in_dialog("ACK", 1, &ok, ""));
    host.advance(ms(60_000));
    host.quiet();
}

#[test]
fn without_an_ack_the_call_is_hung_up() {
    let (mut host, leg) = Host::called();
    host.command(accept(leg));
    host.advance(ms(31_999));
    assert!(host.events.is_empty());
    host.sent.clear();
    host.advance(ms(1));
    let bye = host.request(Method::Bye);
    host.answer(&respond(&bye, 200));
    let ended = host.ended();
    assert_eq!((ended.cause, ended.code), (EndCause::Timeout, 408));
}

#[test]
fn a_call_hung_up_whose_ack_never_comes_was_ended_by_us() {
    let (mut host, leg) = Host::called();
    host.command(accept(leg));
    host.hangup(leg);
    host.advance(ms(31_999));
    host.sent.clear();
    host.advance(ms(1));
    let bye = host.request(Method::Bye);
    host.answer(&respond(&bye, 200));
    let ended = host.ended();
    assert_eq!((ended.cause, ended.code), (EndCause::ByeByUs, 200));
}

#[test]
fn a_call_hung_up_before_its_ack_gets_bye_after_the_ack() {
    let (mut host, leg) = Host::called();
    host.command(accept(leg));
    let ok = host.response(200);
    host.hangup(leg);
    host.quiet();
    host.receive(&in_dialog("ACK", 1, &ok, ""));
    let bye = host.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:bob@10.0.0.2:5070");
    host.answer(&respond(&bye, 200));
    assert_eq!(host.ended().cause, EndCause::ByeByUs);
}

#[test]
fn a_repeated_invite_gets_the_last_response_again_and_makes_no_second_call() {
    let (mut host, leg) = Host::called();
    host.receive(&invite());
    host.response(100);
    host.command(Command::Ring {
        leg,
        headers: Vec::new(),
    });
    let ringing = host.response(180);
    host.receive(&invite());
    assert_eq!(host.response(180), ringing);
    host.quiet();
}

#[test]
fn ringing_is_repeated_each_minute_and_given_up_in_the_end() {
    let (mut host, leg) = Host::called();
    host.command(Command::Ring {
        leg,
        headers: Vec::new(),
    });
    host.response(180);
    host.advance(ms(179_999));
    host.response(180);
    host.response(180);
    host.quiet();
    host.advance(ms(1));
    host.response(480);
    let ended = host.ended();
    assert_eq!((ended.cause, ended.code), (EndCause::Timeout, 480));
}

#[test]
fn an_offerless_invite_is_answered_with_our_offer_and_the_ack_brings_the_answer() {
    let mut host = Host::with_guest();
    host.receive(&invite_with("z9hG4bK1", "", ""));
    host.response(100);
    let Event::IncomingCall(call) = host.event() else {
        panic!("an incoming call")
    };
    assert_eq!(call.sdp, None);
    let leg = call.leg;
    host.command(Command::Accept {
        leg,
        sdp: OFFER.to_vec(),
        headers: Vec::new(),
    });
    let ok = host.response(200);
    host.receive(&in_dialog(
        "ACK",
        1,
        &ok,
        &body("application/sdp", "v=0\r\ns=answer\r\n"),
    ));
    assert_eq!(
        host.event(),
        Event::Confirmed {
            leg,
            sdp: Some(ANSWER.to_vec())
        }
    );
}

#[test]
fn declining_sends_the_code_and_repeats_it_until_the_ack() {
    let (mut host, leg) = Host::called();
    host.command(Command::Decline {
        leg,
        code: 480,
        reason: None,
        headers: Vec::new(),
    });
    let refusal = host.response(480);
    let ended = host.ended();
    assert_eq!(
        (ended.cause, ended.code, ended.reason.as_str()),
        (EndCause::Declined, 480, "Temporarily Unavailable")
    );
    host.advance(ms(1_500));
    assert_eq!(host.response(480), refusal);
    assert_eq!(host.response(480), refusal);
    host.receive(&in_dialog("ACK", 1, &refusal, "").replace("z9hG4bKACK1", "z9hG4bKinvite"));
    host.advance(ms(60_000));
    host.quiet();
    assert_eq!(host.metrics.transactions.value(), 0);
}

#[test]
fn a_code_that_refuses_nothing_becomes_486_and_a_redirection_may_carry_its_contact() {
    let (mut host, leg) = Host::called();
    host.command(Command::Decline {
        leg,
        code: 200,
        reason: Some("No".into()),
        headers: Vec::new(),
    });
    assert_eq!(host.response(486).reason, "No");
    let (mut host, leg) = Host::called();
    let headers = vec![("Contact".to_owned(), "<sip:carol@example.com>".to_owned())];
    host.command(Command::Decline {
        leg,
        code: 302,
        reason: None,
        headers,
    });
    assert_eq!(
        host.response(302).headers.get(Header::Contact),
        Some("<sip:carol@example.com>")
    );
}

#[test]
fn cancel_ends_a_ringing_call_with_487() {
    let (mut host, _) = Host::called();
    let cancel = invite()
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    let cancel = cancel.replace(
        "Contact:",
        "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nContact:",
    );
    host.receive(&cancel);
    assert_eq!(host.response(200).headers.get(Header::CSeq), Some("1 CANCEL"));
    assert_eq!(host.response(487).headers.get(Header::CSeq), Some("1 INVITE"));
    let ended = host.ended();
    assert_eq!(
        (ended.cause, ended.code, ended.reason.as_str()),
        (EndCause::CancelledByRemote, 487, "Request Terminated")
    );
    assert_eq!(
        ended.reason_header.unwrap().text.as_deref(),
        Some("Call completed elsewhere")
    );
    host.receive(&cancel);
    host.response(200);
    host.quiet();
}

#[test]
fn cancel_after_the_answer_changes_nothing() {
    let (mut host, leg) = Host::called();
    host.command(accept(leg));
    host.response(200);
    host.receive(
        &invite()
            .replace("INVITE sip", "CANCEL sip")
            .replace("1 INVITE", "1 CANCEL"),
    );
    assert_eq!(host.response(200).headers.get(Header::CSeq), Some("1 CANCEL"));
    host.quiet();
    assert_eq!(host.endpoint.leg_count(), 1);
}

#[test]
fn cancel_of_nothing_gets_481() {
    let mut host = Host::with_guest();
    host.receive(
        &invite()
            .replace("INVITE sip", "CANCEL sip")
            .replace("1 INVITE", "1 CANCEL"),
    );
    host.response(481);
    host.quiet();
}

#[test]
fn the_same_call_by_two_ways_is_merged() {
    let (mut host, _) = Host::called();
    host.receive(&invite().replace("z9hG4bKinvite", "z9hG4bKother"));
    host.response(482);
    host.quiet();
    assert_eq!(host.endpoint.leg_count(), 1);
}

#[test]
fn the_callee_is_found_by_request_uri_then_to_then_the_one_who_takes_all() {
    let mut host = Host::with_guest();
    let call = invite().replace("sip:alice@10.0.0.1", "sip:nobody@10.0.0.1");
    host.receive(&call);
    host.response(100);
    assert!(matches!(host.event(), Event::IncomingCall(call) if call.account == ALICE));
    let call = call
        .replace("sip:alice@example.com", "sip:nobody@example.com")
        .replace("z9hG4bKinvite", "z9hG4bKb");
    let call = call.replace("Call-ID: in-1", "Call-ID: in-2");
    host.receive(&call);
    host.response(404);
    let trunk = AccountSpec {
        catch_all: true,
        ..AccountSpec::guest(AccountId(5), "sip:trunk@10.0.0.2")
    };
    host.command(Command::Register(Box::new(trunk)));
    host.event();
    host.receive(&call);
    host.response(100);
    assert!(matches!(host.event(), Event::IncomingCall(call) if call.account == AccountId(5)));
}

#[test]
fn among_namesakes_the_account_is_preferred_whose_proxy_calls() {
    let mut host = Host::with_guest();
    let namesake = AccountSpec {
        proxy: Some("sip:10.9.9.9".into()),
        ..AccountSpec::guest(AccountId(2), "sip:alice@x")
    };
    host.command(Command::Register(Box::new(namesake)));
    host.events.clear();
    host.receive(&invite());
    host.response(100);
    assert!(matches!(host.event(), Event::IncomingCall(call) if call.account == ALICE));
}

#[test]
fn when_all_legs_are_taken_callers_get_503_with_retry_after() {
    let mut config = config();
    config.limits.legs_max = 1;
    let mut host = Host::new(config);
    host.command(Command::Register(Box::new(guest())));
    host.receive(&invite());
    host.response(100);
    host.receive(&invite().replace("in-1", "in-2").replace("z9hG4bKinvite", "z9hG4bKb"));
    assert!(host.response(503).headers.get(Header::RetryAfter).is_some());
    assert_eq!(host.endpoint.leg_count(), 1);
}

#[test]
fn an_rfc_2543_caller_without_branch_tag_or_contact_is_served() {
    let mut host = Host::with_guest();
    let strip = |text: String| {
        text.replace(";rport;branch=z9hG4bKinvite", "")
            .replace(";rport;branch=z9hG4bKACK1", "")
            .replace(";tag=bob", "")
            .replace("Contact: <sip:bob@10.0.0.2:5070>\r\n", "")
            .replace("Max-Forwards: 70\r\n", "")
            .replace("bob@example.com", "bob@10.0.0.2:5070")
    };
    host.receive(&strip(invite()));
    host.response(100);
    let Event::IncomingCall(call) = host.event() else {
        panic!("an incoming call")
    };
    host.receive(&strip(invite()));
    host.response(100);
    host.command(accept(call.leg));
    let ok = host.response(200);
    host.receive(&strip(in_dialog("ACK", 1, &ok, "")));
    assert_eq!(
        host.event(),
        Event::Confirmed {
            leg: call.leg,
            sdp: None
        }
    );
    host.hangup(call.leg);
    assert_eq!(host.request(Method::Bye).uri.to_string(), "sip:bob@10.0.0.2:5070");
}
