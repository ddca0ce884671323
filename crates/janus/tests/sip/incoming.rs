//! Calls to the client.

use super::*;

#[test]
fn an_incoming_call_is_offered_to_the_browser_accepted_and_ended_by_it() {
    let mut client = Client::guest();
    client.sip_says(incoming(94, GUEST, Some(TELEPHONE)));
    let heard = client.hears("incomingcall");
    assert_eq!(heard.transaction, None);
    assert_eq!(heard.data["call_id"], "in-94");
    assert_eq!(
        heard.data["result"],
        json!({"event": "incomingcall", "username": "sip:peer@127.0.0.1", "call_id": "in-94",
        "displayname": "\"Peer\"", "callee": "sip:alice@127.0.0.1", "referred_by": "<sip:carol@127.0.0.1>"})
    );
    let jsep = heard.description("offer");
    assert_eq!(types(&jsep), [8, 0, 126]);
    let text = jsep.to_string();
    assert!(
        text.contains("a=setup:actpass\r\n") && text.contains("a=ice-lite\r\n"),
        "{text}"
    );
    let leg = match client.told_sip() {
        Sip::Ring { leg, .. } => leg,
        other => panic!("{other:?}"),
    };

    let transaction = client.asks_with(json!({"request": "accept", "headers": {"X-Own": "1"}}), answer());
    let heard = client.hears("accepted");
    assert_eq!(
        (heard.transaction, heard.data["result"].clone()),
        (Some(transaction), json!({"event": "accepted"}))
    );
    let Sip::Accept {
        sdp: accepted, headers, ..
    } = client.told_sip()
    else {
        panic!("no 200")
    };
    assert_eq!(
        (types(&sdp(&accepted)), headers),
        (vec![8, 126], fields(&[("X-Own", "1")]))
    );
    let opened = std::mem::take(&mut client.media);
    assert!(
        opened
            .iter()
            .any(|c| matches!(c, Media::SetRemote(_, remote) if remote.ufrag == "brow"))
    );
    let subscriptions = opened.iter().filter(|c| matches!(c, Media::AddSubscription(_)));
    assert_eq!(subscriptions.count(), 2);

    client.sip_says(Event::Confirmed { leg, sdp: None });
    client.hears_nothing();
    client.asks(json!({"request": "hangup"}));
    client.hears("hangingup");
    assert!(matches!(client.told_sip(), Sip::Hangup { .. }));
    client.sip_says(ended(leg, EndCause::ByeByUs, 200, "to BYE"));
    let heard = client.hears("hangup");
    assert_eq!(
        heard.data["result"],
        json!({"event": "hangup", "code": 200, "reason": "to BYE"})
    );
    client.hears_core("hangup");
    client.is_idle(&opened);
}

#[test]
fn early_media_of_ours_goes_out_with_progress_and_accept_repeats_it() {
    let mut client = Client::guest();
    client.sip_says(incoming(1, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    client.sip.clear();
    client.asks_with(json!({"request": "progress"}), answer());
    client.hears("progressed");
    let Sip::Progress { sdp: early, .. } = client.told_sip() else {
        panic!("no 183")
    };
    client.asks(json!({"request": "accept"}));
    client.hears("accepted");
    assert!(matches!(client.told_sip(), Sip::Accept { sdp, .. } if sdp == early));
}

#[test]
fn a_call_without_offer_is_offered_by_the_browser_and_accepted_with_the_ack() {
    let mut client = Client::guest();
    client.sip_says(incoming(2, GUEST, None));
    assert!(client.hears("incomingcall").jsep.is_null());
    client.sip.clear();
    client.asks_with(json!({"request": "accept"}), offer());
    client.hears("accepting");
    let Sip::Accept { leg, sdp: ours, .. } = client.told_sip() else {
        panic!("no 200")
    };
    assert_eq!(types(&sdp(&ours)), [111, 9, 0, 8, 13, 110, 126]);
    client.sip_says(Event::Confirmed {
        leg,
        sdp: Some(TELEPHONE.as_bytes().to_vec()),
    });
    assert_eq!(types(&client.hears("accepted").description("answer")), [8, 0, 126]);
    assert!(
        client
            .media
            .iter()
            .any(|command| matches!(command, Media::AddSubscription(_)))
    );
}

#[test]
fn an_incoming_call_is_declined_with_the_clients_code() {
    let mut client = Client::guest();
    client.sip_says(incoming(3, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    client.sip.clear();
    client.asks(json!({"request": "decline", "code": 480}));
    let heard = client.hears("declining");
    assert_eq!(
        heard.data["result"],
        json!({"event": "declining", "code": 480, "call_id": "in-3"})
    );
    let Sip::Decline { leg, code, .. } = client.told_sip() else {
        panic!("no refusal")
    };
    assert_eq!(code, 480);
    client.sip_says(ended(leg, EndCause::Declined, 480, "Temporarily Unavailable"));
    assert_eq!(
        client.hears("hangup").data["result"],
        json!({"event": "hangup", "code": 480, "reason": "Temporarily Unavailable"})
    );
    assert_eq!(client.hears_core("hangup")["reason"], "Close PC");
    client.is_idle(&[]);
}

#[test]
fn a_decline_that_does_not_refuse_becomes_486() {
    for code in [200, 302, 99_999] {
        let mut client = Client::guest();
        client.sip_says(incoming(3, GUEST, Some(TELEPHONE)));
        client.hears("incomingcall");
        client.sip.clear();
        client.asks_with(json!({"request": "decline", "code": code}), Value::Null);
        assert!(matches!(client.told_sip(), Sip::Decline { code: 486, .. }));
    }
}

#[test]
fn a_second_incoming_call_finds_the_handle_busy() {
    let mut client = Client::guest();
    client.talks();
    client.sip_says(incoming(4, GUEST, Some(TELEPHONE)));
    assert!(matches!(client.told_sip(), Sip::Decline { code: 486, .. }));
    let heard = client.hears("missed_call");
    assert_eq!(
        heard.data["result"],
        json!({"event": "missed_call", "caller": "sip:peer@127.0.0.1",
        "displayname": "\"Peer\"", "callee": "sip:alice@127.0.0.1"})
    );
    client.sip_says(ended(
        LegId(LegId::INCOMING_FIRST + 4),
        EndCause::Declined,
        486,
        "Busy Here",
    ));
    client.hears_nothing();
}

#[test]
fn an_offer_that_no_browser_can_take_is_refused_without_ringing() {
    for (offer, status) in [("v=0\r\nm=audio 4000 RTP/SAVP 8\r\n", 488), ("nonsense", 400)] {
        let mut client = Client::guest();
        client.sip_says(incoming(5, GUEST, Some(offer)));
        assert!(matches!(client.told_sip(), Sip::Decline { code, .. } if code == status));
        client.hears_nothing();
        client.is_idle(&[]);
    }
}

#[test]
fn a_caller_who_gives_up_is_reported_with_487() {
    let mut client = Client::guest();
    client.sip_says(incoming(6, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    client.sip_says(ended(
        LegId(LegId::INCOMING_FIRST + 6),
        EndCause::CancelledByRemote,
        487,
        "Request Terminated",
    ));
    assert_eq!(client.hears("hangup").data["result"]["code"], 487);
    client.hears_core("hangup");
    client.asks_with(json!({"request": "accept"}), Value::Null);
    assert_eq!(
        client.is_refused(),
        (447, "Wrong state (not invited? status=idle)".to_owned())
    );
    client.is_idle(&[]);
}

#[test]
fn automatic_ringing_can_be_left_to_the_client() {
    let mut client = Client::new();
    client.asks(
        json!({"request": "register", "type": "guest", "username": "sip:g@127.0.0.1", "automatic_ringing": false}),
    );
    client.hears("registered");
    client.sip.clear();
    client.sip_says(incoming(7, GUEST, Some(TELEPHONE)));
    client.hears("incomingcall");
    assert!(client.sip.is_empty());
    client.asks(json!({"request": "send_ringing"}));
    client.hears("ringing");
    assert!(matches!(client.told_sip(), Sip::Ring { .. }));
}
