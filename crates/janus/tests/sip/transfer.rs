//! Transfers: by the client, and asked for by the remote.

use super::*;
use voex_sip::{ReferId, Referral};

const TARGET: &str = "sip:carol@127.0.0.1:5066";

#[test]
fn the_client_transfers_its_call_and_hears_how_it_goes() {
    let mut client = Client::guest();
    client.asks(json!({"request": "transfer", "uri": TARGET}));
    assert_eq!(client.is_refused().0, 447, "there is no call");
    let leg = client.talks();
    client.asks(json!({"request": "transfer"}));
    assert_eq!(client.is_refused().0, 443);
    client.asks(json!({"request": "transfer", "uri": "nobody"}));
    assert_eq!(client.is_refused().0, 446);
    client.asks(json!({"request": "transfer", "uri": TARGET, "replace": "other", "headers": {"X-Why": "busy"}}));
    client.hears("transferring");
    let Sip::Refer {
        leg: of,
        to,
        replaces,
        headers,
    } = client.told_sip()
    else {
        panic!("no REFER")
    };
    assert_eq!((of, to.as_str(), replaces.as_deref()), (leg, TARGET, Some("other")));
    assert_eq!(headers, fields(&[("X-Why", "busy")]));
    let answered = |code: u16, reason: &str| Event::ReferAnswered {
        leg,
        code,
        reason: reason.to_owned(),
    };
    client.sip_says(answered(202, "Accepted"));
    client.hears_nothing();
    client.sip_says(Event::Notify {
        leg,
        event: "refer;id=2".to_owned(),
        state: "active;expires=60".to_owned(),
        content_type: "message/sipfrag;version=2.0".to_owned(),
        body: b"SIP/2.0 180 Ringing\r\n".to_vec(),
        headers: Headers::new(),
    });
    assert_eq!(
        client.hears("notify").data["result"],
        json!({"event": "notify", "notify": "refer", "substate": "active", "content-type": "message/sipfrag",
            "content": "SIP/2.0 180 Ringing\r\n"})
    );
    client.sip_says(answered(603, "Decline"));
    let refused = client.hears("notify").data["result"].clone();
    assert_eq!(
        (&refused["substate"], &refused["content"]),
        (&json!("terminated"), &json!("SIP/2.0 603 Decline\r\n"))
    );
}

#[test]
fn a_transfer_that_the_remote_asks_for_is_told_and_followed_or_declined() {
    let mut client = Client::guest();
    let leg = client.talks();
    client.sip_says(Event::Refer(Box::new(Referral {
        leg,
        refer: ReferId(817_343_838),
        to: TARGET.to_owned(),
        replaces: Some("abc;to-tag=1;from-tag=2".to_owned()),
        referred_by: Some("<sip:peer@127.0.0.1>".to_owned()),
        headers: Headers::new(),
    })));
    assert_eq!(
        client.hears("transfer").data,
        json!({"sip": "event", "result": {"event": "transfer", "refer_id": 817_343_838, "refer_to": TARGET,
            "referred_by": "<sip:peer@127.0.0.1>", "replaces": "abc;to-tag=1;from-tag=2"}})
    );
    client.asks(json!({"request": "decline", "refer_id": 817_343_838, "code": 480}));
    assert_eq!(client.hears("declining").data["result"]["code"], 480);
    let Sip::DeclineRefer { refer, code } = client.told_sip() else {
        panic!("no refusal")
    };
    assert_eq!((refer, code), (ReferId(817_343_838), 480));
    client.hears_nothing();

    let mut other = Client::guest();
    other.asks_with(
        json!({"request": "call", "uri": TARGET, "refer_id": 817_343_838}),
        offer(),
    );
    other.hears("calling");
    let Sip::Call(spec) = other.told_sip() else {
        panic!("no INVITE")
    };
    assert_eq!(spec.refer, Some(ReferId(817_343_838)));
}
