//! Registrations.

mod common;

use std::time::Duration;

use common::*;
use voex_sip::{AccountSpec, Command, Event, Registration};
use voex_sip_wire::{Header, Method, Request, Response};

fn account() -> AccountSpec {
    let registration = Registration {
        ttl: Duration::from_secs(3_600),
        headers: vec![("X-Reg".into(), "1".into())],
    };
    AccountSpec {
        registration: Some(registration),
        contact_params: vec![("pn".into(), Some("1".into())), ("ob".into(), None)],
        ..guest()
    }
}

fn registering() -> (Host, Request) {
    let mut host = Host::new(config());
    host.command(Command::Register(Box::new(account())));
    let register = host.request(Method::Register);
    (host, register)
}

fn granted(register: &Request, seconds: u32) -> Response {
    let mut response = respond(register, 200);
    let contact = register.headers.get(Header::Contact).expect("REGISTER has a Contact");
    response.headers.set(
        Header::Contact,
        format!("<sip:other@10.0.0.9>;expires=5, {contact};expires={seconds}"),
    );
    response
}

fn registered(seconds: u32) -> Host {
    let (mut host, register) = registering();
    host.answer(&granted(&register, seconds));
    assert!(matches!(host.event(), Event::Registered { .. }));
    host
}

#[test]
fn register_names_registrar_address_of_record_and_contact() {
    let (host, register) = registering();
    assert_eq!(register.uri.to_string(), "sip:10.0.0.2:5070");
    let get = |header| register.headers.get(header).unwrap();
    assert_eq!(get(Header::To), "\"Alice\" <sip:alice@example.com>");
    assert!(get(Header::From).starts_with("\"Alice\" <sip:alice@example.com>;tag="));
    assert_eq!(get(Header::Contact), "<sip:alice@10.0.0.1:5060>;pn=1;ob");
    assert_eq!(
        (get(Header::Expires), register.headers.get_by_name("x-reg")),
        ("3600", Some("1"))
    );
    host.quiet();
}

#[test]
fn a_contact_parameter_that_is_more_than_one_is_left_out() {
    let mut host = Host::new(config());
    let bad = [
        ("x", Some("1>, <sip:eve@h")),
        ("y", Some("1\r\nX-Injected: 1")),
        ("a;expires", Some("0")),
        ("a b", None),
        ("z", Some("")),
    ];
    let bad = bad.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
    let contact_params = bad
        .into_iter()
        .chain([("ok".to_owned(), Some("\"a b\"".to_owned()))])
        .collect();
    let spec = AccountSpec {
        contact_params,
        ..account()
    };
    host.command(Command::Register(Box::new(spec)));
    let register = host.request(Method::Register);
    let contact = register.headers.get(Header::Contact);
    assert_eq!(contact, Some("<sip:alice@10.0.0.1:5060>;ok=\"a b\""));
    assert_eq!(host.metrics.fields_left_out.value(), 5);
}

#[test]
fn a_challenge_is_answered_and_only_the_end_is_reported() {
    let (mut host, first) = registering();
    host.answer(&challenge(&first, 401, "n1"));
    let second = host.request(Method::Register);
    let answer = second.headers.get(Header::Authorization).unwrap();
    assert!(
        answer.contains("uri=\"sip:10.0.0.2:5070\"") && answer.contains("nc=00000001"),
        "{answer}"
    );
    assert_eq!(first.headers.get(Header::CallId), second.headers.get(Header::CallId));
    let mut ok = granted(&second, 600);
    ok.headers.push_by_name("X-Test", "hello");
    host.answer(&ok);
    match host.event() {
        Event::Registered { account, ttl, headers } => {
            assert_eq!((account, ttl), (ALICE, Duration::from_secs(600)));
            assert!(headers.contains(&("X-Test".into(), "hello".into())));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(host.metrics.registrations.value(), 1);
}

#[test]
fn a_registration_is_refreshed_before_it_ends_and_says_nothing_about_it() {
    let mut host = registered(600);
    for _ in 0..3 {
        host.advance(Duration::from_secs(479));
        host.quiet();
        host.advance(Duration::from_secs(1));
        let refresh = host.request(Method::Register);
        host.answer(&granted(&refresh, 600));
        host.quiet();
    }
}

#[test]
fn a_refresh_uses_the_known_nonce_and_gets_over_its_end() {
    let (mut host, first) = registering();
    host.answer(&challenge(&first, 401, "n1"));
    let second = host.request(Method::Register);
    host.answer(&granted(&second, 600));
    host.event();
    host.advance(Duration::from_secs(480));
    let refresh = host.request(Method::Register);
    let answer = refresh.headers.get(Header::Authorization).unwrap();
    assert!(answer.contains("n1") && answer.contains("nc=00000002"), "{answer}");
    host.answer(&challenge(&refresh, 401, "n2"));
    let again = host.request(Method::Register);
    assert!(again.headers.get(Header::Authorization).unwrap().contains("n2"));
    host.answer(&granted(&again, 600));
    host.quiet();
}

#[test]
fn a_wrong_password_fails_once_and_is_not_tried_again() {
    let (mut host, first) = registering();
    host.answer(&challenge(&first, 401, "n1"));
    let second = host.request(Method::Register);
    host.answer(&challenge(&second, 401, "n2"));
    assert!(matches!(host.event(), Event::RegistrationFailed { code: 401, .. }));
    host.advance(Duration::from_secs(3_600));
    host.quiet();
}

#[test]
fn without_credentials_a_challenge_is_a_refusal() {
    let mut host = Host::new(config());
    let spec = AccountSpec {
        credentials: None,
        ..account()
    };
    host.command(Command::Register(Box::new(spec)));
    let first = host.request(Method::Register);
    host.answer(&challenge(&first, 401, "n1"));
    assert!(matches!(host.event(), Event::RegistrationFailed { code: 401, .. }));
}

#[test]
fn a_refusal_is_reported_with_code_and_reason() {
    let (mut host, register) = registering();
    host.answer(&respond(&register, 403));
    match host.event() {
        Event::RegistrationFailed {
            account, code, reason, ..
        } => {
            assert_eq!((account, code, reason.as_str()), (ALICE, 403, "Forbidden"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_registrar_is_tried_again_after_30_s_then_60() {
    let (mut host, _) = registering();
    for wait in [30, 60, 120, 240, 300, 300] {
        host.advance(Duration::from_secs(32));
        assert!(matches!(host.event(), Event::RegistrationFailed { code: 408, .. }));
        host.sent.clear();
        host.advance(Duration::from_secs(wait) - ms(1));
        host.quiet();
        host.advance(ms(1));
        host.request(Method::Register);
    }
    host.advance(ms(500));
    let register = host.request(Method::Register);
    host.answer(&granted(&register, 600));
    assert!(matches!(host.event(), Event::Registered { .. }));
}

#[test]
fn a_refresh_that_fails_ends_the_registration() {
    let mut host = registered(600);
    host.advance(Duration::from_secs(480));
    let refresh = host.request(Method::Register);
    host.answer(&respond(&refresh, 403));
    assert!(matches!(host.event(), Event::RegistrationFailed { code: 403, .. }));
    assert_eq!(host.metrics.registrations.value(), 0);
}

#[test]
fn a_registrar_that_wants_longer_intervals_gets_them() {
    let (mut host, register) = registering();
    let mut brief = respond(&register, 423);
    brief.headers.push(Header::MinExpires, "7200");
    host.answer(&brief);
    let longer = host.request(Method::Register);
    assert_eq!(longer.headers.get(Header::Expires), Some("7200"));
    host.answer(&respond(&longer, 423));
    assert!(matches!(host.event(), Event::RegistrationFailed { code: 423, .. }));
}

#[test]
fn unregistering_asks_for_no_time_and_forgets_the_account() {
    let mut host = registered(600);
    host.command(Command::Unregister { account: ALICE });
    let register = host.request(Method::Register);
    assert_eq!(register.headers.get(Header::Expires), Some("0"));
    assert!(host.events.is_empty());
    host.answer(&respond(&register, 200));
    assert!(matches!(host.event(), Event::Unregistered { account, .. } if account == ALICE));
    assert_eq!(host.metrics.registrations.value(), 0);
    host.receive(&invite());
    host.response(403);
    host.advance(Duration::from_secs(7_200));
    host.quiet();
}

#[test]
fn unregistering_ends_even_when_the_registrar_is_silent() {
    let mut host = registered(600);
    host.command(Command::Unregister { account: ALICE });
    host.advance(Duration::from_secs(32));
    assert!(matches!(host.event(), Event::Unregistered { .. }));
}

#[test]
fn a_guest_is_ready_at_once_and_sends_nothing() {
    let mut host = Host::with_guest();
    host.advance(Duration::from_secs(7_200));
    host.quiet();
    host.command(Command::Unregister { account: ALICE });
    assert!(matches!(host.event(), Event::Unregistered { .. }));
}

#[test]
fn the_addresses_of_a_registrars_name_may_call() {
    let mut host = Host::new(config());
    let spec = AccountSpec {
        proxy: Some("sip:pbx.example.com".into()),
        ..account()
    };
    host.command(Command::Register(Box::new(spec)));
    host.receive(&invite());
    host.response(403);
    let (query, name, _) = host.lookups.pop_front().unwrap();
    assert_eq!(name, "pbx.example.com");
    host.resolve(query, &[there()]);
    host.request(Method::Register);
    host.receive(&invite());
    host.response(100);
}

#[test]
fn the_addresses_of_a_guests_proxy_may_call() {
    let mut host = Host::new(config());
    let spec = AccountSpec {
        proxy: Some("sip:pbx.example.com".into()),
        ..guest()
    };
    host.command(Command::Register(Box::new(spec)));
    host.event();
    let (query, ..) = host.lookups.pop_front().unwrap();
    host.resolve(query, &[there()]);
    host.receive(&invite());
    host.response(100);
}

#[test]
fn specs_that_do_not_parse_fail_with_400() {
    let broken = [
        AccountSpec {
            aor: "alice".into(),
            ..account()
        },
        AccountSpec {
            aor: "tel:123".into(),
            ..account()
        },
        AccountSpec {
            proxy: Some("pbx".into()),
            ..account()
        },
        AccountSpec {
            outbound_proxy: Some("<sip:x>".into()),
            ..account()
        },
    ];
    for spec in broken {
        let mut host = Host::new(config());
        host.command(Command::Register(Box::new(spec)));
        assert!(matches!(host.event(), Event::RegistrationFailed { code: 400, .. }));
        host.quiet();
    }
}

#[test]
fn registering_again_replaces_the_account_and_keeps_its_call_id() {
    let mut host = registered(600);
    host.command(Command::Register(Box::new(AccountSpec {
        display_name: None,
        ..account()
    })));
    let register = host.request(Method::Register);
    assert_eq!(register.headers.get(Header::To), Some("<sip:alice@example.com>"));
    host.answer(&granted(&register, 600));
    assert!(matches!(host.event(), Event::Registered { .. }));
    assert_eq!(host.metrics.registrations.value(), 1);
}
