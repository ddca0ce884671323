//! Transfers: asked of us, asked by us, blind and attended.

mod common;

use std::time::Duration;

use common::*;
use voex_sip::{CallSpec, Command, Event, LegId, ReferId, Referral};
use voex_sip_wire::{Header, Method, Request, Response};

const CAROL: &str = "sip:carol@10.0.0.2:5070";

fn refer(cseq: u32, ok: &Response, to: &str) -> String {
    let rest = format!("Refer-To: {to}\r\nReferred-By: <sip:bob@example.com>\r\n\r\n");
    in_dialog("REFER", cseq, ok, &rest)
}

fn fragment(notify: &Request) -> (&str, &str, String) {
    let field = |header| notify.headers.get(header).unwrap_or_default();
    assert_eq!(field(Header::ContentType), "message/sipfrag;version=2.0");
    let body = String::from_utf8_lossy(&notify.body).trim_end().to_owned();
    (field(Header::Event), field(Header::SubscriptionState), body)
}

/// Bob has called Alice and asks her to call Carol.
fn referred() -> (Host, LegId, Response, Box<Referral>) {
    let (mut host, leg, ok) = Host::accepted();
    host.receive(&refer(2, &ok, &format!("<{CAROL}>")));
    host.response(202);
    let Event::Refer(referral) = host.event() else {
        panic!("a transfer")
    };
    let trying = host.request(Method::Notify);
    assert_eq!(
        fragment(&trying),
        ("refer", "active;expires=180", "SIP/2.0 100 Trying".into())
    );
    host.answer(&respond(&trying, 200));
    (host, leg, ok, referral)
}

fn follow(host: &mut Host, refer: ReferId) -> Request {
    host.command(Command::Call(Box::new(CallSpec {
        refer: Some(refer),
        ..CallSpec::new(LEG, ALICE, CAROL, OFFER.to_vec())
    })));
    host.request(Method::Invite)
}

#[test]
fn a_transfer_that_is_followed_is_told_of_until_it_is_answered() {
    let (mut host, leg, _, referral) = referred();
    assert_eq!((referral.leg, referral.to.as_str()), (leg, CAROL));
    assert_eq!(referral.referred_by.as_deref(), Some("<sip:bob@example.com>"));
    assert_eq!(referral.replaces, None);
    let invite = follow(&mut host, referral.refer);
    host.answer(&respond(&invite, 180));
    let notify = host.request(Method::Notify);
    assert_eq!(fragment(&notify).2, "SIP/2.0 180 Ringing");
    host.answer(&respond(&notify, 200));
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    let last = host.request(Method::Notify);
    let expected = ("refer", "terminated;reason=noresource", "SIP/2.0 200 OK".to_owned());
    assert_eq!(fragment(&last), expected);
    host.answer(&respond(&last, 200));
    assert_eq!(host.endpoint.leg_count(), 2, "who asked hangs up by himself");
}

#[test]
fn a_transfer_that_fails_or_is_declined_is_told_of_once() {
    let (mut host, _, ok, referral) = referred();
    let invite = follow(&mut host, referral.refer);
    host.answer(&respond(&invite, 486));
    host.request(Method::Ack);
    let last = host.request(Method::Notify);
    assert_eq!(fragment(&last).2, "SIP/2.0 486 Busy Here");
    host.answer(&respond(&last, 200));
    host.ended();
    host.receive(&refer(3, &ok, &format!("<{CAROL}>")));
    host.response(202);
    let Event::Refer(second) = host.event() else {
        panic!("a transfer")
    };
    assert_eq!(fragment(&host.request(Method::Notify)).0, "refer;id=3");
    let decline = Command::DeclineRefer {
        refer: second.refer,
        code: 0,
    };
    host.command(decline.clone());
    let (event, state, body) = fragment(&host.request(Method::Notify)).to_owned_words();
    assert_eq!((event.as_str(), body.as_str()), ("refer;id=3", "SIP/2.0 603 Decline"));
    assert!(state.starts_with("terminated"));
    host.command(decline);
    host.quiet();
}

trait OwnedWords {
    fn to_owned_words(self) -> (String, String, String);
}

impl OwnedWords for (&str, &str, String) {
    fn to_owned_words(self) -> (String, String, String) {
        (self.0.to_owned(), self.1.to_owned(), self.2)
    }
}

#[test]
fn a_transfer_to_a_call_that_is_to_be_replaced_says_which() {
    let (mut host, _, ok) = Host::accepted();
    let to = "<sip:carol@example.com?Replaces=abc%40host%3Bto-tag%3D1%3Bfrom-tag%3D2&X=1>";
    host.receive(&refer(2, &ok, to));
    host.response(202);
    let Event::Refer(referral) = host.event() else {
        panic!("a transfer")
    };
    assert_eq!(referral.to, "sip:carol@example.com");
    assert_eq!(referral.replaces.as_deref(), Some("abc@host;to-tag=1;from-tag=2"));
}

#[test]
fn what_is_no_transfer_is_refused_and_there_are_not_too_many() {
    let (mut host, _, ok) = Host::accepted();
    host.receive(&in_dialog("REFER", 2, &ok, ""));
    host.response(400);
    host.receive(&refer(3, &ok, "<sip:a@h>, <sip:b@h>"));
    host.response(400);
    host.receive(&refer(4, &ok, "not a uri"));
    host.response(400);
    for cseq in 5..9 {
        host.receive(&refer(cseq, &ok, "<sip:a@h>"));
        host.response(202);
        host.request(Method::Notify);
        host.event();
    }
    host.receive(&refer(9, &ok, "<sip:a@h>"));
    host.response(486);
    host.quiet();
}

#[test]
fn a_transferor_that_hangs_up_hears_nothing_more() {
    let (mut host, _, ok, referral) = referred();
    let invite = follow(&mut host, referral.refer);
    host.receive(&in_dialog("BYE", 3, &ok, ""));
    host.response(200);
    host.ended();
    host.answer(&respond(&invite, 180));
    host.event();
    host.quiet();
}

#[test]
fn our_transfer_names_whom_to_call_and_its_progress_is_reported() {
    let (mut host, leg, ok) = Host::accepted();
    host.command(Command::Refer {
        leg,
        to: CAROL.to_owned(),
        replaces: None,
        headers: vec![("X-Why".into(), "busy".into())],
    });
    let refer = host.request(Method::Refer);
    assert_eq!(refer.headers.get(Header::ReferTo), Some(format!("<{CAROL}>").as_str()));
    assert_eq!(refer.headers.get(Header::ReferredBy), Some("<sip:alice@example.com>"));
    assert_eq!(refer.headers.get_by_name("X-Why"), Some("busy"));
    host.answer(&respond(&refer, 202));
    assert!(matches!(host.event(), Event::ReferAnswered { code: 202, .. }));
    let rest = "Event: refer\r\nSubscription-State: active;expires=60\r\nContent-Type: message/sipfrag\r\nContent-Length: 19\r\n\r\nSIP/2.0 180 Ringing";
    host.receive(&in_dialog("NOTIFY", 2, &ok, rest));
    host.response(200);
    match host.event() {
        Event::Notify {
            leg: of,
            event,
            state,
            body,
            ..
        } => {
            assert_eq!(
                (of, event.as_str(), state.as_str()),
                (leg, "refer", "active;expires=60")
            );
            assert_eq!(body, b"SIP/2.0 180 Ringing");
        }
        other => panic!("{other:?}"),
    }
    host.receive(&in_dialog("NOTIFY", 3, &ok, ""));
    host.response(489);
    host.quiet();
}

#[test]
fn an_attended_transfer_names_the_other_call_by_its_dialog() {
    let (mut host, leg, ok_of_alice) = Host::accepted();
    let invite = {
        host.command(Command::Call(Box::new(CallSpec {
            call_id: Some("other@call".into()),
            ..call_spec()
        })));
        host.request(Method::Invite)
    };
    host.answer(&ok(&invite));
    host.request(Method::Ack);
    host.event();
    let command = |replaces: &str| Command::Refer {
        leg,
        to: CAROL.to_owned(),
        replaces: Some(replaces.to_owned()),
        headers: Vec::new(),
    };
    host.command(command("other@call"));
    let refer = host.request(Method::Refer);
    let ours = invite.headers.get(Header::From).unwrap_or_default();
    let ours = ours.split("tag=").nth(1).unwrap_or_default();
    let expected = format!("<{CAROL}?Replaces=other%40call%3Bto-tag%3Dbob%3Bfrom-tag%3D{ours}>");
    assert_eq!(refer.headers.get(Header::ReferTo), Some(expected.as_str()));
    host.answer(&respond(&refer, 603));
    assert!(matches!(host.event(), Event::ReferAnswered { code: 603, .. }));
    host.command(command("no such call"));
    assert!(matches!(host.event(), Event::ReferAnswered { code: 481, .. }));
    host.receive(&in_dialog("BYE", 2, &ok_of_alice, ""));
    host.response(200);
    host.ended();
    host.advance(Duration::from_secs(40));
    host.quiet();
}
