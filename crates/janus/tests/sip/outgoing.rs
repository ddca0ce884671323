//! Calls of the client.

use super::*;

#[test]
fn a_call_rings_is_answered_and_ended_by_the_remote() {
    let mut client = Client::guest();
    let call = json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066", "headers": {"X-Own": "1"}});
    let transaction = Some(client.asks_with(call, offer()));
    let heard = client.hears("calling");
    assert_eq!(heard.transaction, transaction);
    let id = heard.data["call_id"].clone();
    assert_eq!(heard.data["result"]["call_id"], id);
    let Sip::Call(spec) = client.told_sip() else {
        panic!("no INVITE")
    };
    assert_eq!((spec.account, spec.uri.as_str()), (GUEST, "sip:echo@127.0.0.1:5066"));
    assert_eq!(
        (spec.call_id.as_deref(), &spec.headers),
        (id.as_str(), &fields(&[("X-Own", "1")]))
    );
    assert!(
        !spec.auto_answer_reinvites,
        "re-INVITEs want an answer with the right direction"
    );
    let text = String::from_utf8(spec.sdp).expect("text");
    assert!(
        text.contains("c=IN IP4 192.0.2.5\r\n") && text.contains("m=audio 20000 RTP/AVP 111 9 0 8 "),
        "{text}"
    );

    client.sip_says(provisional(spec.leg, 180, None));
    let heard = client.hears("ringing");
    assert_eq!((heard.transaction, &heard.data["call_id"]), (transaction.clone(), &id));
    assert!(heard.data["result"].get("headers").is_none(), "no prefix was asked for");
    assert_eq!(
        client.hears("proceeding").data["result"],
        json!({"event": "proceeding", "code": 180})
    );

    client.sip_says(answered(spec.leg, Some(TELEPHONE)));
    let heard = client.hears("accepted");
    assert_eq!(
        (&heard.transaction, &heard.data["result"]["username"]),
        (&transaction, &json!("sip:echo@127.0.0.1:5066"))
    );
    let jsep = heard.description("answer");
    assert_eq!(types(&jsep), [8, 0, 126]);
    assert!(jsep.ice_lite && jsep.media[0].end_of_candidates);
    let opened = std::mem::take(&mut client.media);
    assert!(matches!(&opened[0], Media::OpenTransport(spec) if matches!(spec.kind, TransportKind::Plain { .. })));
    assert!(matches!(&opened[1], Media::OpenTransport(spec) if matches!(spec.kind, TransportKind::WebRtc { .. })));
    assert!(matches!(&opened[2], Media::SetRemote(_, remote) if remote.ufrag == "Xk2p"));
    assert!(matches!(&opened[3], Media::SetPlainRemote(_, remote) if remote.rtp.port() == 4_000));
    assert_eq!(opened[4..].len(), 4, "a track and a subscription each way: {opened:?}");

    let reason = ReasonHeader {
        protocol: "Q.850".to_owned(),
        cause: Some("16".to_owned()),
        text: Some("Bye".to_owned()),
    };
    client.sip_says(Event::Ended(Box::new(Ended {
        leg: spec.leg,
        cause: EndCause::ByeByRemote,
        code: 200,
        reason: "Session Terminated".to_owned(),
        reason_header: Some(reason),
        headers: Headers::new(),
    })));
    let heard = client.hears("hangup");
    assert_eq!((heard.transaction, &heard.data["call_id"]), (transaction, &id));
    assert_eq!(
        heard.data["result"],
        json!({"event": "hangup", "code": 200, "reason": "Session Terminated",
        "reason_header": "Bye", "reason_header_protocol": "Q.850", "reason_header_cause": "16"})
    );
    assert_eq!(client.hears_core("hangup")["reason"], "Close PC");
    client.is_idle(&opened);
    assert_eq!(
        (
            client.metrics.calls.outgoing.value(),
            client.metrics.calls.answered.value()
        ),
        (1, 1)
    );
    client.calls();
}

#[test]
fn early_media_flows_with_progress_and_the_200_brings_no_second_answer() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    client.sip_says(provisional(leg, 183, Some(TELEPHONE)));
    let heard = client.hears("progress");
    assert_eq!(heard.data["result"]["username"], "sip:echo@127.0.0.1:5066");
    assert_eq!(types(&heard.description("answer")), [8, 0, 126]);
    assert_eq!(client.hears("proceeding").data["result"]["code"], 183);
    assert!(
        client
            .media
            .iter()
            .any(|command| matches!(command, Media::AddSubscription(_)))
    );
    client.media.clear();
    client.sip_says(answered(leg, None));
    assert!(client.hears("accepted").jsep.is_null());
    assert!(client.media.is_empty(), "{:?}", client.media);
}

#[test]
fn a_busy_remote_ends_the_call_and_gives_everything_back() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    client.sip_says(ended(leg, EndCause::Refused, 486, "Busy Here"));
    let heard = client.hears("hangup");
    assert_eq!(
        heard.data["result"],
        json!({"event": "hangup", "code": 486, "reason": "Busy Here"})
    );
    assert_eq!(
        client.hears_core("hangup")["reason"],
        "Close PC",
        "the browser's half is to close, too"
    );
    client.hears_nothing();
    client.is_idle(&[]);
    let failed: Vec<_> = client
        .metrics
        .calls
        .failed
        .values()
        .filter(|(_, count)| *count == 1)
        .collect();
    assert_eq!(failed, [("486", 1)]);
}

#[test]
fn a_call_is_cancelled_once() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    let transaction = client.asks(json!({"request": "hangup", "headers": {"X-Why": "bored"}}));
    assert_eq!(client.hears("hangingup").transaction, Some(transaction));
    assert!(
        matches!(client.told_sip(), Sip::Hangup { leg: l, headers } if l == leg && headers == fields(&[("X-Why", "bored")]))
    );
    client.asks(json!({"request": "hangup"}));
    client.hears_nothing();
    // The 200 crossed the CANCEL: the endpoint ends that call by itself.
    client.sip_says(answered(leg, Some(TELEPHONE)));
    client.hears_nothing();
    client.sip_says(ended(leg, EndCause::CancelledByUs, 487, "Request Terminated"));
    assert_eq!(client.hears("hangup").data["result"]["code"], 487);
    assert!(client.sip.is_empty());
}

#[test]
fn an_answer_without_common_codec_is_hung_up() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    client.sip_says(answered(
        leg,
        Some("v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 18\r\n"),
    ));
    client.hears_nothing();
    assert!(matches!(client.told_sip(), Sip::Hangup { leg: l, .. } if l == leg));
    client.sip_says(ended(leg, EndCause::ByeByUs, 200, "to BYE"));
    assert_eq!(client.hears("hangup").data["result"]["reason"], "to BYE");
    client.is_idle(&[]);
}

#[test]
fn no_free_ports_refuse_the_call() {
    let mut client = Client::with_ports(0);
    client.asks(json!({"request": "register", "type": "guest", "username": "sip:g@127.0.0.1"}));
    client.hears("registered");
    client.sip.clear();
    client.asks_with(json!({"request": "call", "uri": "sip:x@127.0.0.1"}), offer());
    assert_eq!(
        client.is_refused(),
        (450, "Could not allocate RTP/RTCP ports".to_owned())
    );
    assert!(client.sip.is_empty() && client.metrics.calls.outgoing.value() == 0);
}
