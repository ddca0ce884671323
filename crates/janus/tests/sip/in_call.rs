//! Hold, digits, and ends that nobody asked for.

use super::*;

fn direction(description: &[u8]) -> Direction {
    sdp(description).media[0].direction
}

#[test]
fn hold_by_the_remote_is_answered_without_a_word_to_the_client() {
    let mut client = Client::guest();
    let leg = client.talks();
    let hold = TELEPHONE.replace("a=rtpmap", "a=sendonly\r\na=rtpmap").into_bytes();
    client.sip_says(Event::Reinvite {
        leg,
        sdp: Some(hold),
        answered: false,
        headers: Headers::new(),
    });
    let Sip::AnswerReinvite { answer: Ok(answer), .. } = client.told_sip() else {
        panic!("no 200")
    };
    assert_eq!(direction(&answer), Direction::RecvOnly);
    assert!(
        matches!(client.media.as_slice(), [Media::SetSubscriptionActive(_, false)]),
        "{:?}",
        client.media
    );
    client.hears_nothing();

    let other_codec = b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 18\r\n".to_vec();
    client.sip_says(Event::Reinvite {
        leg,
        sdp: Some(other_codec),
        answered: false,
        headers: Headers::new(),
    });
    assert!(matches!(
        client.told_sip(),
        Sip::AnswerReinvite { answer: Err(488), .. }
    ));

    client.sip_says(Event::Reinvite {
        leg,
        sdp: None,
        answered: false,
        headers: Headers::new(),
    });
    let Sip::AnswerReinvite { answer: Ok(ours), .. } = client.told_sip() else {
        panic!("no 200")
    };
    assert_eq!(direction(&ours), Direction::SendRecv);
    client.media.clear();
    client.sip_says(Event::Confirmed {
        leg,
        sdp: Some(TELEPHONE.as_bytes().to_vec()),
    });
    assert!(
        matches!(client.media.as_slice(), [Media::SetSubscriptionActive(_, true)]),
        "{:?}",
        client.media
    );
}

#[test]
fn the_client_holds_and_resumes_by_reinvite() {
    let mut client = Client::guest();
    let leg = client.talks();
    client.asks(json!({"request": "hold", "direction": "sideways"}));
    assert_eq!(
        client.is_refused(),
        (
            444,
            "Invalid direction (can only be sendonly, recvonly or inactive)".to_owned()
        )
    );
    client.asks(json!({"request": "hold"}));
    client.hears("holding");
    let Sip::Reinvite { sdp: ours, .. } = client.told_sip() else {
        panic!("no re-INVITE")
    };
    assert_eq!(direction(&ours), Direction::SendOnly);
    let held = TELEPHONE.replace("a=rtpmap", "a=recvonly\r\na=rtpmap").into_bytes();
    client.sip_says(Event::ReinviteAnswered {
        leg,
        sdp: Some(held),
        headers: Headers::new(),
    });
    assert!(
        matches!(client.media.as_slice(), [Media::SetSubscriptionActive(_, false)]),
        "{:?}",
        client.media
    );
    client.asks(json!({"request": "unhold"}));
    client.hears("resuming");
    let Sip::Reinvite { sdp: ours, .. } = client.told_sip() else {
        panic!("no re-INVITE")
    };
    assert_eq!(direction(&ours), Direction::SendRecv);
    client.sip_says(Event::ReinviteFailed {
        leg,
        code: 500,
        reason: String::new(),
    });
    client.asks(json!({"request": "unhold"}));
    client.hears("resuming");
}

#[test]
fn digits_and_info_go_both_ways() {
    let mut client = Client::guest();
    let leg = client.talks();
    client.asks(json!({"request": "dtmf_info", "digit": "55"}));
    assert_eq!(
        client.is_refused(),
        (444, "Invalid element (digit should be one character)".to_owned())
    );
    client.asks(json!({"request": "dtmf_info", "digit": "5"}));
    client.hears("dtmfsent");
    let Sip::Info { content_type, body, .. } = client.told_sip() else {
        panic!("no INFO")
    };
    assert_eq!(
        (content_type.as_str(), body.as_slice()),
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160".as_slice())
    );
    client.asks(json!({"request": "info", "type": "text/plain\r\nX: y", "content": "a"}));
    assert_eq!(client.is_refused().0, 444);
    client.asks(json!({"request": "info", "type": "text/plain", "content": "a"}));
    client.hears("infosent");

    let info = |content_type: &str, body: &str| Event::Info {
        leg,
        from: "sip:echo@127.0.0.1:5066".to_owned(),
        display_name: None,
        content_type: content_type.to_owned(),
        body: body.as_bytes().to_vec(),
        headers: Headers::new(),
    };
    client.sip_says(info("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"));
    let heard = client.hears("dtmf");
    assert_eq!(
        heard.data["result"],
        json!({"event": "dtmf", "sender": "sip:echo@127.0.0.1:5066", "signal": "5", "duration": 160})
    );
    assert_eq!(heard.transaction.as_deref(), Some("t2"), "the transaction of the call");
    client.sip_says(info("text/plain", "hello"));
    assert_eq!(
        client.hears("info").data["result"],
        json!({"event": "info", "sender": "sip:echo@127.0.0.1:5066", "type": "text/plain", "content": "hello"})
    );
}

#[test]
fn a_browser_that_goes_away_ends_its_call() {
    let mut client = Client::guest();
    client.asks_with(json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066"}), offer());
    let Sip::Call(spec) = client.told_sip() else {
        panic!("no INVITE")
    };
    client.sip_says(answered(spec.leg, Some(TELEPHONE)));
    let webrtc = client.media.iter().find_map(|command| match command {
        Media::SetRemote(id, _) => Some(*id),
        _ => None,
    });
    client.heard.clear();
    client.worker_says(MediaEvent::TransportDown(
        webrtc.expect("opened"),
        DownReason::DtlsAlert,
    ));
    assert!(matches!(client.told_sip(), Sip::Hangup { leg, .. } if leg == spec.leg));
    assert_eq!(client.hears_core("hangup")["reason"], "DTLS alert");
    client.sip_says(ended(spec.leg, EndCause::ByeByUs, 200, "to BYE"));
    client.hears("hangup");
    client.hears_nothing();
    assert_eq!(client.ports.open.load(Relaxed), 0);
}

#[test]
fn a_detached_handle_ends_its_call_and_its_account() {
    let mut client = Client::guest();
    client.asks_with(json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066"}), offer());
    let Sip::Call(spec) = client.told_sip() else {
        panic!("no INVITE")
    };
    client.sip_says(answered(spec.leg, Some(TELEPHONE)));
    client.heard.clear();
    let handle = client.handle;
    client.says(&json!({"janus": "detach", "session_id": 1, "handle_id": handle, "transaction": "d"}));
    assert!(matches!(client.told_sip(), Sip::Hangup { leg, .. } if leg == spec.leg));
    assert!(matches!(client.told_sip(), Sip::Unregister { account } if account == GUEST));
    client.is_idle(&[]);
    let ignored = client.metrics.sip_events_ignored.value();
    client.sip_says(ended(spec.leg, EndCause::ByeByUs, 200, "to BYE"));
    assert_eq!(client.metrics.sip_events_ignored.value(), ignored + 1);
    client.sip_says(incoming(8, GUEST, Some(TELEPHONE)));
    assert!(
        matches!(client.told_sip(), Sip::Decline { code: 480, .. }),
        "nobody is there"
    );
}
