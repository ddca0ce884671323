//! Calls that we make.

mod common;

use common::*;
use voex_sip::{CallSpec, Command, EndCause, Event, LegId, ReasonHeader};
use voex_sip_wire::{Header, Method};

#[test]
fn an_invite_says_who_calls_whom_and_where_to_answer() {
    let (host, invite) = Host::calling();
    assert_eq!(invite.uri.to_string(), "sip:bob@10.0.0.2:5070");
    let get = |header| invite.headers.get(header).unwrap();
    assert!(
        get(Header::From).starts_with("\"Alice\" <sip:alice@example.com>;tag="),
        "{}",
        get(Header::From)
    );
    assert_eq!(get(Header::To), "<sip:bob@10.0.0.2:5070>");
    assert_eq!(get(Header::Contact), "<sip:alice@10.0.0.1:5060>");
    assert!(get(Header::Via).starts_with("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK"));
    assert!(get(Header::Via).ends_with(";rport"));
    assert_eq!(
        (get(Header::ContentType), invite.body.as_slice()),
        ("application/sdp", OFFER)
    );
    host.quiet();
}

#[test]
fn a_call_goes_through_ringing_and_early_media_to_the_answer_and_our_bye() {
    let (mut host, invite) = Host::calling();
    host.answer(&respond(&invite, 100));
    host.quiet();
    host.answer(&respond(&invite, 180));
    assert!(matches!(
        host.event(),
        Event::Provisional {
            code: 180,
            sdp: None,
            ..
        }
    ));
    let mut progress = ok(&invite);
    progress.code = 183;
    progress.headers.push_by_name("X-Test", "hello");
    host.answer(&progress);
    match host.event() {
        Event::Provisional {
            code: 183,
            sdp,
            headers,
            ..
        } => {
            assert_eq!(sdp.as_deref(), Some(ANSWER));
            assert!(headers.contains(&("X-Test".into(), "hello".into())));
        }
        other => panic!("{other:?}"),
    }
    host.answer(&ok(&invite));
    let ack = host.request(Method::Ack);
    assert_eq!(ack.headers.get(Header::To), Some("<sip:bob@10.0.0.2:5070>;tag=bob"));
    match host.event() {
        Event::Answered { leg, sdp, remote, .. } => {
            assert_eq!(
                (leg, sdp.as_deref(), remote.as_str()),
                (LEG, Some(ANSWER), "sip:bob@10.0.0.2:5070")
            );
        }
        other => panic!("{other:?}"),
    }
    host.hangup(LEG);
    let bye = host.request(Method::Bye);
    host.quiet();
    host.answer(&respond(&bye, 200));
    let ended = host.ended();
    assert_eq!(
        (ended.cause, ended.code, ended.reason.as_str()),
        (EndCause::ByeByUs, 200, "to BYE")
    );
    assert_eq!(host.endpoint.leg_count(), 0);
}

#[test]
fn every_repeat_of_the_200_is_acked_again() {
    let (mut host, invite) = Host::calling();
    host.answer(&ok(&invite));
    let first = host.request(Method::Ack);
    host.event();
    for _ in 0..3 {
        host.advance(ms(500));
        host.answer(&ok(&invite));
        assert_eq!(host.request(Method::Ack), first);
    }
    host.quiet();
}

#[test]
fn a_lost_invite_is_repeated_until_silence_is_reported() {
    let (mut host, invite) = Host::calling();
    host.advance(ms(31_999));
    assert_eq!(host.sent.len(), 6);
    assert_eq!(host.request(Method::Invite), invite);
    host.sent.clear();
    host.advance(ms(1));
    let ended = host.ended();
    assert_eq!((ended.cause, ended.code), (EndCause::Timeout, 408));
    host.advance(ms(60_000));
    host.quiet();
    assert_eq!(host.metrics.transactions.value(), 0);
}

#[test]
fn a_refusal_is_acked_and_reported_with_its_reason() {
    let (mut host, invite) = Host::calling();
    let mut busy = respond(&invite, 486);
    busy.headers.push(Header::Reason, "Q.850;cause=17;text=\"User busy\"");
    host.answer(&busy);
    let ack = host.request(Method::Ack);
    assert_eq!(
        ack.headers.get(Header::Via),
        invite.headers.get(Header::Via),
        "the branch is the INVITE's"
    );
    let ended = host.ended();
    assert_eq!(
        (ended.cause, ended.code, ended.reason.as_str()),
        (EndCause::Refused, 486, "Busy Here")
    );
    let reason = ReasonHeader {
        protocol: "Q.850".into(),
        cause: Some("17".into()),
        text: Some("User busy".into()),
    };
    assert_eq!(ended.reason_header, Some(reason));
    host.answer(&busy);
    assert_eq!(host.request(Method::Ack), ack);
    host.quiet();
}

#[test]
fn a_challenge_is_answered_with_a_new_invite_and_the_ack_carries_the_answer_too() {
    let (mut host, first) = Host::calling();
    host.answer(&challenge(&first, 407, "n1"));
    host.request(Method::Ack);
    let second = host.request(Method::Invite);
    let answer = second.headers.get(Header::ProxyAuthorization).unwrap();
    assert!(
        answer.contains("username=\"alice\"") && answer.contains("uri=\"sip:bob@10.0.0.2:5070\""),
        "{answer}"
    );
    assert_ne!(first.headers.get(Header::Via), second.headers.get(Header::Via));
    assert_eq!(first.headers.get(Header::From), second.headers.get(Header::From));
    let cseq = |request: &voex_sip_wire::Request| -> u32 {
        request
            .headers
            .get(Header::CSeq)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(cseq(&second), cseq(&first) + 1);
    host.answer(&ok(&second));
    let ack = host.request(Method::Ack);
    assert_eq!(ack.headers.get(Header::ProxyAuthorization), Some(answer));
    assert_eq!(cseq(&ack), cseq(&second));
    assert!(matches!(host.event(), Event::Answered { .. }));
}

#[test]
fn a_wrong_password_ends_the_call_with_the_refusal() {
    let (mut host, first) = Host::calling();
    host.answer(&challenge(&first, 401, "n1"));
    host.request(Method::Ack);
    let second = host.request(Method::Invite);
    host.answer(&challenge(&second, 401, "n2"));
    host.request(Method::Ack);
    assert_eq!(host.ended().code, 401);
    host.quiet();
}

#[test]
fn two_proxies_and_the_callee_may_each_challenge() {
    let (mut host, first) = Host::calling();
    host.answer(&challenge(&first, 407, "n1"));
    host.request(Method::Ack);
    let second = host.request(Method::Invite);
    host.answer(&challenge(&second, 401, "n2"));
    host.request(Method::Ack);
    let third = host.request(Method::Invite);
    assert!(third.headers.get(Header::Authorization).unwrap().contains("n2"));
    let proxy = third.headers.get(Header::ProxyAuthorization).unwrap();
    assert!(proxy.contains("n1") && proxy.contains("nc=00000002"), "{proxy}");
}

#[test]
fn cancel_waits_for_a_provisional_answer() {
    let (mut host, invite) = Host::calling();
    host.hangup(LEG);
    host.quiet();
    host.answer(&respond(&invite, 100));
    let cancel = host.request(Method::Cancel);
    assert_eq!(cancel.headers.get(Header::Via), invite.headers.get(Header::Via));
    assert_eq!(cancel.headers.get(Header::To), invite.headers.get(Header::To));
    host.answer(&respond(&cancel, 200));
    host.answer(&respond(&invite, 487));
    host.request(Method::Ack);
    let ended = host.ended();
    assert_eq!(
        (ended.cause, ended.code, ended.reason.as_str()),
        (EndCause::CancelledByUs, 487, "Request Terminated")
    );
    host.quiet();
}

#[test]
fn a_200_that_crosses_cancel_is_acked_and_hung_up() {
    let (mut host, invite) = Host::calling();
    host.answer(&respond(&invite, 180));
    host.event();
    host.hangup(LEG);
    host.request(Method::Cancel);
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    let bye = host.request(Method::Bye);
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    host.answer(&respond(&bye, 200));
    assert_eq!(host.ended().cause, EndCause::CancelledByUs);
}

#[test]
fn a_200_before_any_provisional_answer_to_a_call_hung_up_is_acked_and_hung_up() {
    let (mut host, invite) = Host::calling();
    host.hangup(LEG);
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    host.request(Method::Bye);
    assert!(host.events.is_empty());
}

#[test]
fn a_cancelled_call_that_never_gets_its_final_answer_ends_after_64_t1() {
    let (mut host, invite) = Host::calling();
    host.answer(&respond(&invite, 180));
    host.event();
    host.hangup(LEG);
    host.advance(ms(31_999));
    assert!(host.events.is_empty());
    host.advance(ms(1));
    assert_eq!(
        (host.ended().cause, host.endpoint.leg_count()),
        (EndCause::CancelledByUs, 0)
    );
    host.advance(ms(60_000));
    assert_eq!(host.metrics.transactions.value(), 0);
}

#[test]
fn a_call_that_rings_for_ever_is_cancelled() {
    let (mut host, invite) = Host::calling();
    host.answer(&respond(&invite, 180));
    host.event();
    host.advance(ms(180_000));
    let cancel = host.request(Method::Cancel);
    host.answer(&respond(&cancel, 200));
    host.answer(&respond(&invite, 487));
    host.request(Method::Ack);
    assert_eq!(host.ended().cause, EndCause::Timeout);
}

#[test]
fn the_200_of_a_second_fork_is_acked_and_hung_up_and_the_call_goes_on() {
    let (mut host, invite) = Host::calling();
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    host.event();
    let mut fork = ok(&invite);
    fork.headers.set(Header::To, "<sip:bob@10.0.0.2:5070>;tag=carol");
    host.answer(&fork);
    for method in [Method::Ack, Method::Bye] {
        assert_eq!(
            host.request(method).headers.get(Header::To),
            Some("<sip:bob@10.0.0.2:5070>;tag=carol")
        );
    }
    assert!(host.events.is_empty());
    assert_eq!(host.endpoint.leg_count(), 1);
}

#[test]
fn a_route_set_is_followed_within_the_dialog() {
    let (mut host, invite) = Host::calling();
    let mut answer = ok(&invite);
    answer.headers.push(Header::RecordRoute, "<sip:10.0.0.2:5070;lr>");
    answer.headers.set(Header::Contact, "<sip:bob@192.0.2.77>");
    host.answer(&answer);
    let ack = host.request(Method::Ack);
    assert_eq!(ack.uri.to_string(), "sip:bob@192.0.2.77");
    assert_eq!(ack.headers.get(Header::Route), Some("<sip:10.0.0.2:5070;lr>"));
    host.event();
    host.hangup(LEG);
    assert_eq!(
        host.request(Method::Bye).headers.get(Header::Route),
        Some("<sip:10.0.0.2:5070;lr>")
    );
}

#[test]
fn an_outbound_proxy_gets_the_request_with_its_uri_unchanged() {
    let mut host = Host::new(config());
    let mut spec = guest();
    spec.outbound_proxy = Some("sip:10.0.0.2:5070".into());
    host.command(Command::Register(Box::new(spec)));
    let call = CallSpec::new(LEG, ALICE, "sip:123@pbx.example.com", OFFER.to_vec());
    host.command(Command::Call(Box::new(call)));
    let invite = host.request(Method::Invite);
    assert_eq!(invite.uri.to_string(), "sip:123@pbx.example.com");
    assert_eq!(invite.headers.get(Header::Route), Some("<sip:10.0.0.2:5070;lr>"));
}

#[test]
fn a_name_is_looked_up_and_its_addresses_are_tried_in_turn() {
    let mut host = Host::with_guest();
    let call = CallSpec::new(LEG, ALICE, "sip:123@pbx.example.com", OFFER.to_vec());
    host.command(Command::Call(Box::new(call)));
    let (query, name, port) = host.lookups.pop_front().unwrap();
    assert_eq!((name.as_str(), port), ("pbx.example.com", None));
    let dead = "10.0.0.3:5060".parse().unwrap();
    host.resolve(query, &[dead, there()]);
    assert_eq!(host.sent.pop_front().unwrap().0, dead);
    host.sent.clear();
    host.advance(ms(32_000));
    host.sent.retain(|(to, _)| *to != dead);
    let invite = host.request(Method::Invite);
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    assert!(matches!(host.event(), Event::Answered { .. }));
}

#[test]
fn a_503_goes_on_to_the_next_address() {
    let mut host = Host::with_guest();
    let call = CallSpec::new(LEG, ALICE, "sip:123@pbx.example.com", OFFER.to_vec());
    host.command(Command::Call(Box::new(call)));
    let (query, ..) = host.lookups.pop_front().unwrap();
    host.resolve(query, &[there(), there()]);
    let first = host.request(Method::Invite);
    host.answer(&respond(&first, 503));
    host.request(Method::Ack);
    let second = host.request(Method::Invite);
    host.answer(&respond(&second, 503));
    host.request(Method::Ack);
    assert_eq!(host.ended().code, 503);
}

#[test]
fn a_name_that_does_not_resolve_ends_the_call_with_503() {
    let mut host = Host::with_guest();
    let call = CallSpec::new(LEG, ALICE, "sip:123@nowhere.example.com", OFFER.to_vec());
    host.command(Command::Call(Box::new(call)));
    let (query, ..) = host.lookups.pop_front().unwrap();
    host.resolve(query, &[]);
    assert_eq!((host.ended().code, host.endpoint.leg_count()), (503, 0));
}

#[test]
fn calls_that_cannot_be_made_end_at_once() {
    let mut host = Host::with_guest();
    let spec = |uri: &str| CallSpec::new(LEG, ALICE, uri, OFFER.to_vec());
    let unknown = CallSpec {
        account: voex_sip::AccountId(99),
        ..spec("sip:b@10.0.0.2")
    };
    let bad_id = CallSpec {
        call_id: Some("a b".into()),
        ..spec("sip:b@10.0.0.2")
    };
    for (spec, code) in [
        (unknown, 480),
        (bad_id, 400),
        (spec("nonsense"), 400),
        (spec("tel:123"), 503),
    ] {
        host.command(Command::Call(Box::new(spec)));
        let ended = host.ended();
        assert_eq!((ended.cause, ended.code), (EndCause::Local, code));
    }
    host.quiet();
    assert_eq!(host.endpoint.leg_count(), 0);
}

#[test]
fn when_all_legs_are_taken_a_call_ends_with_503() {
    let mut config = config();
    config.limits.legs_max = 1;
    let mut host = Host::new(config);
    host.command(Command::Register(Box::new(guest())));
    host.event();
    host.command(Command::Call(Box::new(call_spec())));
    host.command(Command::Call(Box::new(CallSpec {
        leg: LegId(8),
        ..call_spec()
    })));
    let ended = host.ended();
    assert_eq!((ended.leg, ended.code), (LegId(8), 503));
}

#[test]
fn fields_of_the_application_go_into_invite_and_bye() {
    let mut host = Host::with_guest();
    let headers = vec![
        ("X-Call".to_owned(), "1".to_owned()),
        ("CSeq".to_owned(), "9 BYE".to_owned()),
    ];
    host.command(Command::Call(Box::new(CallSpec { headers, ..call_spec() })));
    let invite = host.request(Method::Invite);
    assert_eq!(invite.headers.get_by_name("X-Call"), Some("1"));
    assert_eq!(invite.headers.all(Header::CSeq).count(), 1);
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    let headers = vec![("Reason".to_owned(), "Q.850;cause=16".to_owned())];
    host.command(Command::Hangup { leg: LEG, headers });
    assert_eq!(
        host.request(Method::Bye).headers.get(Header::Reason),
        Some("Q.850;cause=16")
    );
}

fn challenged(invite: &voex_sip_wire::Request) -> voex_sip_wire::Response {
    let mut challenge = respond(invite, 407);
    let value = "Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
    challenge.headers.push(Header::ProxyAuthenticate, value);
    challenge
}

#[test]
fn a_challenge_that_crosses_cancel_ends_the_call_and_calls_nobody_anew() {
    let (mut host, invite) = Host::calling();
    host.answer(&respond(&invite, 100));
    host.hangup(LEG);
    host.request(Method::Cancel);
    host.answer(&challenged(&invite));
    host.request(Method::Ack);
    host.quiet_but_for_events();
    assert_eq!(host.ended().cause, EndCause::CancelledByUs);
}

#[test]
fn a_challenge_to_a_call_hung_up_before_any_answer_ends_it() {
    let (mut host, invite) = Host::calling();
    host.hangup(LEG);
    host.answer(&challenged(&invite));
    host.request(Method::Ack);
    host.quiet_but_for_events();
    let ended = host.ended();
    assert_eq!((ended.cause, ended.code), (EndCause::CancelledByUs, 487));
}

#[test]
fn a_call_hung_up_goes_to_no_further_address() {
    let mut host = Host::with_guest();
    let call = CallSpec::new(LEG, ALICE, "sip:123@pbx.example.com", OFFER.to_vec());
    host.command(Command::Call(Box::new(call)));
    let (query, ..) = host.lookups.pop_front().unwrap();
    host.resolve(query, &[there(), there()]);
    let invite = host.request(Method::Invite);
    host.answer(&respond(&invite, 100));
    host.hangup(LEG);
    host.request(Method::Cancel);
    host.answer(&respond(&invite, 503));
    host.request(Method::Ack);
    host.quiet_but_for_events();
    assert_eq!(host.ended().code, 503);
}
