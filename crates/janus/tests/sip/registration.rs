//! Registering, guests, and requests that are refused.

use super::*;

#[test]
fn registration_is_reported_when_the_registrar_answers() {
    let mut client = Client::new();
    let transaction = client.asks(
        json!({"request": "register", "username": "sip:alice@127.0.0.1", "display_name": "Alice",
        "secret": "pw", "proxy": "sip:127.0.0.1:5066", "incoming_header_prefixes": ["X-"], "headers": {"X-Own": "1"}}),
    );
    let heard = client.hears("registering");
    assert_eq!(heard.transaction, Some(transaction));
    assert_eq!(heard.data, json!({"sip": "event", "result": {"event": "registering"}}));
    let Sip::Register(spec) = client.told_sip() else {
        panic!("no REGISTER")
    };
    assert_eq!(
        (spec.aor.as_str(), spec.display_name.as_deref()),
        ("sip:alice@127.0.0.1", Some("Alice"))
    );
    assert_eq!(spec.proxy.as_deref(), Some("sip:127.0.0.1:5066"));
    let registration = spec.registration.expect("registers");
    assert_eq!(
        (registration.ttl, registration.headers),
        (Duration::from_secs(3_600), fields(&[("X-Own", "1")]))
    );
    let credentials = spec.credentials.expect("has a secret");
    assert!(credentials.user == "alice" && credentials.secret == Secret::Password("pw".to_owned()));

    let ttl = Duration::from_secs(3_600);
    let headers = fields(&[("X-Test", "hello"), ("Contact", "c")]);
    client.sip_says(Event::Registered {
        account: spec.id,
        ttl,
        headers,
    });
    let heard = client.hears("registered");
    assert_eq!(heard.transaction, None);
    let master = heard.data["result"]["master_id"].clone();
    assert!(master.is_u64());
    assert_eq!(
        heard.data["result"],
        json!({"event": "registered", "username": "alice", "register_sent": true,
        "master_id": master, "headers": {"X-Test": "hello"}})
    );

    client.asks(json!({"request": "register", "username": "sip:alice@127.0.0.1", "secret": "pw"}));
    assert_eq!(client.is_refused(), (445, "Already registered (alice)".to_owned()));

    client.asks(json!({"request": "unregister"}));
    client.hears("unregistering");
    assert!(matches!(client.told_sip(), Sip::Unregister { account } if account == spec.id));
    client.sip_says(Event::Unregistered {
        account: spec.id,
        headers: Headers::new(),
    });
    let heard = client.hears("unregistered");
    assert_eq!(
        heard.data["result"],
        json!({"event": "unregistered", "username": "alice"})
    );
    client.asks(json!({"request": "unregister"}));
    assert_eq!(client.is_refused(), (447, "Wrong state (not registered)".to_owned()));
}

#[test]
fn a_refused_registration_may_be_tried_again() {
    let mut client = Client::new();
    let register = json!({"request": "register", "username": "sip:alice@127.0.0.1", "secret": "wrong"});
    client.asks(register.clone());
    client.hears("registering");
    let failed = Event::RegistrationFailed {
        account: AccountId(1),
        code: 403,
        reason: "Forbidden".to_owned(),
        headers: Headers::new(),
    };
    client.sip_says(failed);
    let heard = client.hears("registration_failed");
    assert_eq!(
        heard.data["result"],
        json!({"event": "registration_failed", "code": 403, "reason": "Forbidden"})
    );
    client.asks_with(json!({"request": "call", "uri": "sip:b@127.0.0.1"}), offer());
    assert_eq!(client.is_refused(), (447, "Wrong state (register first)".to_owned()));
    client.asks(register);
    client.hears("registering");
}

#[test]
fn a_guest_is_registered_at_once_and_cannot_unregister() {
    let mut client = Client::new();
    let transaction =
        client.asks(json!({"request": "register", "type": "guest", "username": "sip:guest@127.0.0.1", "proxy": "sip:127.0.0.1:5066"}));
    let heard = client.hears("registered");
    assert_eq!(heard.transaction, Some(transaction));
    let master = heard.data["result"]["master_id"].clone();
    assert_eq!(
        heard.data["result"],
        json!({"event": "registered", "username": "guest", "register_sent": false, "master_id": master})
    );
    assert!(matches!(client.told_sip(), Sip::Register(spec) if spec.registration.is_none()));
    client.sip_says(Event::Registered {
        account: GUEST,
        ttl: Duration::ZERO,
        headers: Headers::new(),
    });
    client.hears_nothing();
    client.asks(json!({"request": "unregister"}));
    assert_eq!(client.is_refused(), (447, "Wrong state (not registered)".to_owned()));
}

#[test]
fn send_register_false_needs_no_secret_and_sends_nothing() {
    let mut client = Client::new();
    client.asks(json!({"request": "register", "send_register": false, "username": "sip:t@127.0.0.1"}));
    assert_eq!(client.hears("registered").data["result"]["register_sent"], false);
    assert!(matches!(client.told_sip(), Sip::Register(spec) if spec.registration.is_none()));
}

#[test]
fn wrong_requests_are_acked_and_then_refused_with_the_codes_that_clients_know() {
    let mut client = Client::new();
    let register = |more: Value| {
        let mut body = json!({"request": "register"});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        body
    };
    let name = "sip:alice@127.0.0.1";
    for (body, code, text) in [
        (json!({}), 443, "Missing mandatory element (request)"),
        (json!({"request": "fly"}), 442, "Unknown request (fly)"),
        (
            json!({"request": "transfer", "uri": "sip:x@y"}),
            447,
            "Wrong state (not in a call?)",
        ),
        (register(json!({})), 443, "Missing mandatory element (username)"),
        (
            register(json!({"username": name})),
            443,
            "Missing element (secret or ha1_secret)",
        ),
        (
            register(json!({"username": name, "secret": "a", "ha1_secret": "b"})),
            444,
            "Conflicting elements specified (secret and ha1_secret)",
        ),
        (
            register(json!({"username": "bad uri", "secret": "a"})),
            446,
            "Invalid user address bad uri\n",
        ),
        (
            register(json!({"username": name, "secret": "a", "proxy": "x"})),
            446,
            "Invalid proxy address x\n",
        ),
        (
            register(json!({"username": name, "secret": 5})),
            444,
            "Invalid element type (secret should be a string)",
        ),
        (
            register(json!({"username": name, "type": "helper"})),
            443,
            "Missing mandatory element (master_id)",
        ),
        (
            register(json!({"username": name, "type": "helper", "master_id": 5})),
            453,
            "No such master session",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y"}),
            447,
            "Wrong state (register first)",
        ),
        (
            json!({"request": "accept"}),
            447,
            "Wrong state (not invited? status=idle)",
        ),
        (json!({"request": "hold"}), 447, "Wrong state (not in a call?)"),
        (
            json!({"request": "dtmf_info", "digit": "1"}),
            447,
            "Wrong state (not in a call?)",
        ),
    ] {
        client.asks(body.clone());
        assert_eq!(client.is_refused(), (code, text.to_owned()), "{body}");
    }
    assert!(client.sip.is_empty(), "{:?}", client.sip);
}

#[test]
fn wrong_calls_of_a_registered_client_are_refused() {
    let mut client = Client::guest();
    for (body, jsep, code, text) in [
        (
            json!({"request": "call"}),
            Value::Null,
            443,
            "Missing mandatory element (uri)",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y"}),
            Value::Null,
            448,
            "Missing SDP",
        ),
        (
            json!({"request": "call", "uri": "mailto:x"}),
            offer(),
            446,
            "Invalid user address mailto:x\n",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y", "srtp": "dtls"}),
            offer(),
            444,
            "Invalid element (srtp can only be sdes_optional or sdes_mandatory)",
        ),
        (
            json!({"request": "call", "uri": "sip:x@y", "srtp": "sdes_mandatory"}),
            offer(),
            452,
            "Media encryption unsupported by this plugin",
        ),
    ] {
        client.asks_with(body.clone(), jsep);
        assert_eq!(client.is_refused(), (code, text.to_owned()), "{body}");
    }
    client.calls();
    client.asks_with(json!({"request": "call", "uri": "sip:x@y"}), offer());
    assert_eq!(
        client.is_refused(),
        (447, "Wrong state (already in a call? status=inviting)".to_owned())
    );
}

#[test]
fn hangup_and_decline_without_a_call_are_acked_and_nothing_follows() {
    let mut client = Client::guest();
    client.asks(json!({"request": "hangup"}));
    client.asks(json!({"request": "decline"}));
    client.hears_nothing();
    assert!(client.sip.is_empty());
}
