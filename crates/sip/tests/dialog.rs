//! What happens within an answered call.

mod common;

use std::time::Duration;

use common::*;
use voex_sip::{Command, EndCause, Event, LegId};
use voex_sip_wire::{Header, Method, Response};

fn sdp(text: &str) -> String {
    body("application/sdp", text)
}

fn reinvite(leg: LegId) -> Command {
    Command::Reinvite {
        leg,
        sdp: b"v=0\r\ns=hold\r\n".to_vec(),
        headers: vec![("X-Hold".into(), "1".into())],
    }
}

#[test]
fn the_remotes_bye_is_answered_and_reported_with_its_reason() {
    let (mut host, leg, ok) = Host::accepted();
    let bye = in_dialog(
        "BYE",
        2,
        &ok,
        "Reason: Q.850;cause=16;text=\"Normal call clearing\"\r\n\r\n",
    );
    host.receive(&bye);
    host.response(200);
    let ended = host.ended();
    assert_eq!((ended.leg, ended.cause, ended.code), (leg, EndCause::ByeByRemote, 200));
    assert_eq!(ended.reason, "Session Terminated");
    assert_eq!(ended.reason_header.unwrap().cause.as_deref(), Some("16"));
    host.receive(&bye);
    host.response(200);
    host.quiet();
    host.receive(&in_dialog("BYE", 3, &ok, ""));
    host.response(481);
}

#[test]
fn byes_that_cross_end_the_leg_once() {
    let (mut host, leg, ok) = Host::accepted();
    host.hangup(leg);
    let bye = host.request(Method::Bye);
    host.receive(&in_dialog("BYE", 2, &ok, ""));
    host.response(200);
    assert_eq!(host.ended().cause, EndCause::ByeByUs);
    host.answer(&respond(&bye, 481));
    host.quiet();
}

#[test]
fn a_bye_that_nobody_answers_ends_the_leg_after_timer_f() {
    let (mut host, leg, _) = Host::accepted();
    host.hangup(leg);
    host.advance(Duration::from_secs(32));
    let ended = host.ended();
    assert_eq!((ended.leg, ended.cause), (leg, EndCause::ByeByUs));
    assert_eq!(host.metrics.dialogs.value(), 0);
}

#[test]
fn a_challenged_bye_is_sent_again() {
    let (mut host, leg, _) = Host::accepted();
    host.hangup(leg);
    let bye = host.request(Method::Bye);
    host.answer(&challenge(&bye, 401, "n"));
    let again = host.request(Method::Bye);
    assert!(again.headers.get(Header::Authorization).is_some());
    host.answer(&respond(&again, 200));
    assert_eq!(host.ended().cause, EndCause::ByeByUs);
}

#[test]
fn requests_must_fit_call_id_and_both_tags() {
    let (mut host, _, ok) = Host::accepted();
    let bye = in_dialog("BYE", 2, &ok, "");
    for (from, to) in [("in-1", "in-2"), ("tag=bob", "tag=eve")] {
        host.receive(&bye.replace(from, to).replace("z9hG4bKBYE2", &format!("z9hG4bK{to}")));
        host.response(481);
    }
    host.quiet();
    assert_eq!(host.endpoint.leg_count(), 1);
}

#[test]
fn a_request_older_than_the_last_gets_500() {
    let (mut host, _, ok) = Host::accepted();
    host.receive(&in_dialog("INFO", 5, &ok, ""));
    host.response(200);
    host.event();
    host.receive(&in_dialog("INFO", 4, &ok, ""));
    host.response(500);
    host.quiet();
}

#[test]
fn info_goes_both_ways() {
    let (mut host, leg, ok) = Host::accepted();
    host.receive(&in_dialog(
        "INFO",
        2,
        &ok,
        &body("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"),
    ));
    host.response(200);
    match host.event() {
        Event::Info {
            leg: of,
            from,
            display_name,
            content_type,
            body,
            ..
        } => {
            assert_eq!(
                (of, from.as_str(), display_name.as_deref()),
                (leg, "sip:bob@example.com", Some("\"Bob\""))
            );
            assert_eq!(
                (content_type.as_str(), body.as_slice()),
                ("application/dtmf-relay", &b"Signal=5\r\nDuration=160\r\n"[..])
            );
        }
        other => panic!("{other:?}"),
    }
    host.command(Command::Info {
        leg,
        content_type: "text/plain".into(),
        body: b"x".to_vec(),
        headers: Vec::new(),
    });
    let info = host.request(Method::Info);
    assert_eq!(
        (info.headers.get(Header::ContentType), info.body.as_slice()),
        (Some("text/plain"), &b"x"[..])
    );
    host.answer(&respond(&info, 200));
    assert_eq!(
        host.event(),
        Event::InfoDone {
            leg,
            code: 200,
            reason: "OK".into()
        }
    );
}

#[test]
fn a_reinvite_is_reported_answered_and_acked_and_moves_the_target() {
    let (mut host, leg, ok) = Host::accepted();
    let offer = in_dialog("INVITE", 2, &ok, &sdp("v=0\r\ns=new\r\n"))
        .replace("<sip:bob@10.0.0.2:5070>", "<sip:bob@10.0.0.2:5070;x>");
    host.receive(&offer);
    host.response(100);
    match host.event() {
        Event::Reinvite {
            leg: of, sdp, answered, ..
        } => {
            assert_eq!(
                (of, sdp.as_deref(), answered),
                (leg, Some(&b"v=0\r\ns=new\r\n"[..]), false)
            );
        }
        other => panic!("{other:?}"),
    }
    host.command(Command::AnswerReinvite {
        leg,
        answer: Ok(ANSWER.to_vec()),
        headers: Vec::new(),
    });
    let answer = host.response(200);
    assert_eq!(
        (answer.body.as_slice(), answer.headers.get(Header::To)),
        (ANSWER, ok.headers.get(Header::To))
    );
    host.advance(ms(500));
    host.response(200);
    host.receive(&in_dialog("ACK", 2, &ok, ""));
    assert_eq!(host.event(), Event::Confirmed { leg, sdp: None });
    host.advance(ms(60_000));
    host.quiet();
    host.hangup(leg);
    assert_eq!(host.request(Method::Bye).uri.to_string(), "sip:bob@10.0.0.2:5070;x");
}

#[test]
fn a_reinvite_can_be_refused_and_the_call_goes_on() {
    let (mut host, leg, ok) = Host::accepted();
    host.receive(&in_dialog("INVITE", 2, &ok, &sdp("v=0\r\n")));
    host.response(100);
    host.event();
    host.command(Command::AnswerReinvite {
        leg,
        answer: Err(488),
        headers: Vec::new(),
    });
    host.response(488);
    host.quiet();
    assert_eq!(host.endpoint.leg_count(), 1);
}

#[test]
fn with_auto_answer_a_reinvite_gets_our_last_sdp_at_once() {
    let mut host = Host::with_guest();
    let mut spec = call_spec();
    spec.auto_answer_reinvites = true;
    host.command(Command::Call(Box::new(spec)));
    let invite = host.request(Method::Invite);
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    host.event();
    let (from, call_id) = (
        invite.headers.get(Header::From).unwrap(),
        invite.headers.get(Header::CallId).unwrap(),
    );
    let offer = format!(
        "INVITE sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5070;branch=z9hG4bKr\r\nFrom: <sip:bob@10.0.0.2:5070>;tag=bob\r\n\
         To: {from}\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n{}",
        sdp("v=0\r\n")
    );
    host.receive(&offer);
    host.response(100);
    assert_eq!(host.response(200).body, OFFER);
    assert!(matches!(host.event(), Event::Reinvite { answered: true, .. }));
}

#[test]
fn our_reinvite_is_answered_and_acked() {
    let (mut host, _) = Host::in_call();
    host.command(reinvite(LEG));
    let invite = host.request(Method::Invite);
    assert_eq!(invite.headers.get(Header::To), Some("<sip:bob@10.0.0.2:5070>;tag=bob"));
    assert_eq!(invite.headers.get_by_name("X-Hold"), Some("1"));
    host.answer(&respond(&invite, 100));
    host.answer(&ok(&invite));
    let ack = host.request(Method::Ack);
    assert!(matches!(host.event(), Event::ReinviteAnswered { leg: LEG, sdp: Some(sdp), .. } if sdp == ANSWER));
    host.answer(&ok(&invite));
    assert_eq!(host.request(Method::Ack), ack);
    host.quiet();
}

#[test]
fn our_reinvite_may_be_refused_and_the_call_goes_on() {
    let (mut host, _) = Host::in_call();
    host.command(reinvite(LEG));
    let invite = host.request(Method::Invite);
    host.answer(&respond(&invite, 488));
    host.request(Method::Ack);
    assert!(matches!(
        host.event(),
        Event::ReinviteFailed {
            leg: LEG,
            code: 488,
            ..
        }
    ));
    assert_eq!(host.endpoint.leg_count(), 1);
}

#[test]
fn a_reinvite_for_a_call_the_remote_has_forgotten_ends_it() {
    let (mut host, _) = Host::in_call();
    host.command(reinvite(LEG));
    let invite = host.request(Method::Invite);
    host.answer(&respond(&invite, 481));
    host.request(Method::Ack);
    let bye = host.request(Method::Bye);
    host.answer(&respond(&bye, 481));
    assert_eq!(host.ended().cause, EndCause::Timeout);
}

#[test]
fn glare_is_answered_491_and_ours_is_tried_again_after_2_to_4_s() {
    let (mut host, _) = Host::in_call();
    host.command(reinvite(LEG));
    let invite = host.request(Method::Invite);
    let to = invite.headers.get(Header::From).unwrap();
    let theirs = format!(
        "INVITE sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5070;branch=z9hG4bKg\r\nFrom: <sip:bob@10.0.0.2:5070>;tag=bob\r\n\
         To: {to}\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\n{}",
        invite.headers.get(Header::CallId).unwrap(),
        sdp("v=0\r\n")
    );
    host.receive(&theirs);
    host.response(100);
    host.response(491);
    host.answer(&respond(&invite, 491));
    host.request(Method::Ack);
    assert!(host.events.is_empty());
    host.receive(&theirs.replace("INVITE", "ACK").replace(&sdp("v=0\r\n"), "\r\n"));
    host.advance(ms(2_099));
    host.quiet();
    host.advance(ms(1_901));
    let again = host.request(Method::Invite);
    assert_eq!(
        (again.body.as_slice(), again.headers.get_by_name("X-Hold")),
        (&b"v=0\r\ns=hold\r\n"[..], Some("1"))
    );
    host.answer(&ok(&again));
    host.request(Method::Ack);
    assert!(matches!(host.event(), Event::ReinviteAnswered { .. }));
}

#[test]
fn a_second_reinvite_before_the_first_is_done_gets_500() {
    let (mut host, _, ok) = Host::accepted();
    host.receive(&in_dialog("INVITE", 2, &ok, &sdp("v=0\r\n")));
    host.response(100);
    host.event();
    host.receive(&in_dialog("INVITE", 3, &ok, &sdp("v=0\r\n")));
    host.response(100);
    let refusal: Response = host.response(500);
    assert!(refusal.headers.get(Header::RetryAfter).is_some());
    host.quiet();
}

#[test]
fn hanging_up_refuses_a_reinvite_that_is_still_open() {
    let (mut host, leg, ok) = Host::accepted();
    host.receive(&in_dialog("INVITE", 2, &ok, &sdp("v=0\r\n")));
    host.response(100);
    host.event();
    host.hangup(leg);
    host.response(487);
    host.request(Method::Bye);
}

#[test]
fn options_within_a_call_gets_200_and_unknown_methods_501() {
    let (mut host, _, ok) = Host::accepted();
    host.receive(&in_dialog("OPTIONS", 2, &ok, ""));
    host.response(200);
    host.receive(&in_dialog("SUBSCRIBE", 3, &ok, ""));
    assert!(host.response(405).headers.get(Header::Allow).is_some());
    host.receive(&in_dialog("FROBNICATE", 4, &ok, ""));
    host.response(501);
    host.quiet();
}

#[test]
fn commands_that_do_not_fit_are_ignored_and_counted() {
    let (mut host, leg, _) = Host::accepted();
    let nobody = LegId(99);
    let headers = Vec::new;
    let commands = [
        Command::Ring {
            leg,
            headers: headers(),
        },
        Command::Accept {
            leg,
            sdp: Vec::new(),
            headers: headers(),
        },
        Command::Decline {
            leg,
            code: 486,
            reason: None,
            headers: headers(),
        },
        Command::AnswerReinvite {
            leg,
            answer: Err(488),
            headers: headers(),
        },
        Command::Hangup {
            leg: nobody,
            headers: headers(),
        },
        Command::Info {
            leg: nobody,
            content_type: String::new(),
            body: Vec::new(),
            headers: headers(),
        },
        Command::Reinvite {
            leg: nobody,
            sdp: Vec::new(),
            headers: headers(),
        },
    ];
    let count = commands.len() as u64;
    for command in commands {
        host.command(command);
    }
    host.quiet();
    assert_eq!(host.metrics.commands_ignored.value(), count);
}
