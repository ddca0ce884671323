//! What is recorded of a call when it is over.

use super::*;
use voex_base::TransportId;
use voex_sfu::command::LegReport;

/// The plain transport that was closed last.
fn closed(client: &Client) -> TransportId {
    let is_plain = |id: &TransportId| {
        client.media.iter().any(|command| match command {
            Media::OpenTransport(spec) => spec.id == *id && matches!(spec.kind, TransportKind::Plain { .. }),
            _ => false,
        })
    };
    let closes = client.media.iter().rev().filter_map(|command| match command {
        Media::CloseTransport(id) => Some(*id),
        _ => None,
    });
    let mut plain = closes.filter(is_plain);
    plain.next().expect("a plain transport was closed")
}

#[test]
fn an_answered_call_is_recorded_when_its_ports_are_closed_with_what_arrived_there() {
    let mut client = Client::guest();
    let (leg, _) = client.calls();
    client.now += Duration::from_millis(300);
    client.sip_says(provisional(leg, 180, None));
    client.now += Duration::from_secs(2);
    client.sip_says(answered(leg, Some(TELEPHONE)));
    client.now += Duration::from_secs(60);
    let mut bye = ended(leg, EndCause::ByeByRemote, 200, "Session Terminated");
    if let Event::Ended(ended) = &mut bye {
        ended.reason_header = Some(ReasonHeader {
            protocol: "Q.850".to_owned(),
            cause: Some("31".to_owned()),
            text: None,
        });
    }
    client.sip_says(bye);
    assert_eq!(client.records, [] as [Value; 0], "the worker has not said what arrived");
    let report = LegReport {
        packets: 2_970,
        lost: 30,
        jitter: Duration::from_millis(4),
    };
    let transport = closed(&client);
    client.worker_says(MediaEvent::PlainClosed(transport, report));
    client.worker_says(MediaEvent::PlainClosed(transport, report));
    let [record] = &client.records[..] else {
        panic!("one record: {:?}", client.records)
    };
    let mos = record["media"]["mos"].as_f64().expect("an estimate");
    assert!((4.2..4.4).contains(&mos), "{mos}");
    let expected = json!({
        "call_id": record["call_id"], "direction": "outgoing", "account": "guest", "from": "guest",
        "to": "sip:echo@127.0.0.1:5066", "start": "2026-09-21T14:13:20+0000", "ringing_s": 0.3, "answered_s": 2.3,
        "end_s": 62.3, "talk_s": 60.0, "code": 200, "reason": "Session Terminated", "q850": 31, "ended_by": "sip",
        "codec": "PCMA", "media": {"packets": 2970, "lost": 30, "jitter_ms": 4.0, "mos": mos},
    });
    assert_eq!(*record, expected);
}

#[test]
fn a_call_that_was_never_answered_is_recorded_without_media() {
    let mut client = Client::guest();
    client.sip_says(incoming(1, GUEST, Some(TELEPHONE)));
    let leg = LegId(LegId::INCOMING_FIRST + 1);
    client.sip_says(ended(leg, EndCause::CancelledByRemote, 487, "Request Terminated"));
    let [record] = &client.records[..] else {
        panic!("one record: {:?}", client.records)
    };
    assert_eq!(
        (
            &record["direction"],
            &record["code"],
            &record["q850"],
            &record["ended_by"]
        ),
        (&json!("incoming"), &json!(487), &json!(16), &json!("sip"))
    );
    assert_eq!((record.get("answered_s"), record.get("media")), (None, None));
}

#[test]
fn a_call_whose_client_goes_away_is_recorded_too() {
    let mut client = Client::guest();
    client.talks();
    client.media.clear();
    let handle = client.handle;
    client.says(&json!({"janus": "detach", "session_id": 1, "handle_id": handle, "transaction": "d"}));
    let closes = client.media.iter().filter_map(|command| match command {
        Media::CloseTransport(id) => Some(*id),
        _ => None,
    });
    let closes: Vec<_> = closes.collect();
    for transport in closes {
        client.worker_says(MediaEvent::PlainClosed(transport, LegReport::default()));
    }
    let [record] = &client.records[..] else {
        panic!("one record: {:?}", client.records)
    };
    assert_eq!((&record["ended_by"], &record["code"]), (&json!("client"), &json!(200)));
}
