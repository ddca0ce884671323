//! Whatever both sides say, numbers stay with who wrote them and nothing panics.

use proptest::prelude::*;
use voex_base::{SubscriptionId, TrackId, TransportId};
use voex_bridge::{Call, Ids, Leg, Transports};
use voex_sdp::{Description, Direction, Kind, Payload, plain};
use voex_sfu::command::Command;

const TRANSPORTS: Transports = Transports {
    webrtc: TransportId(1),
    plain: TransportId(2),
};
const FORMATS: &[(&str, u32, u8)] = &[
    ("opus", 48_000, 2),
    ("PCMA", 8_000, 1),
    ("PCMU", 8_000, 1),
    ("G722", 8_000, 1),
    ("telephone-event", 8_000, 1),
    ("telephone-event", 48_000, 1),
    ("CN", 8_000, 1),
    ("red", 48_000, 2),
    ("G729", 8_000, 1),
    ("", 0, 1),
];

struct Counting(u64);

impl Ids for Counting {
    fn track(&mut self) -> TrackId {
        self.0 += 1;
        TrackId(self.0)
    }

    fn subscription(&mut self) -> SubscriptionId {
        self.0 += 1;
        SubscriptionId(self.0)
    }

    fn ssrc(&mut self) -> u32 {
        self.0 += 1;
        self.0 as u32
    }
}

fn local() -> plain::Local {
    plain::Local {
        username: "-".to_owned(),
        session_id: 1,
        version: 1,
        session_name: "call".to_owned(),
        address: [192, 0, 2, 5].into(),
        rtp_port: 20_000,
        rtcp_port: 20_001,
    }
}

fn leg(ssrc: u32) -> Leg {
    Leg {
        ssrc,
        cname: "c".to_owned(),
    }
}

/// An audio description with any formats under any numbers; sometimes refused, held or encrypted.
fn description() -> impl Strategy<Value = Description> {
    let payloads = proptest::collection::btree_map(0_u8..128, proptest::sample::select(FORMATS), 0..8);
    let direction = proptest::sample::select(
        &[
            Direction::SendRecv,
            Direction::SendOnly,
            Direction::RecvOnly,
            Direction::Inactive,
        ][..],
    );
    let port = proptest::sample::select(&[0_u16, 9, 4_000, 65_535][..]);
    let protocol = proptest::sample::select(&["RTP/AVP", "UDP/TLS/RTP/SAVPF", "RTP/AVP", "RTP/AVP"][..]);
    (payloads, direction, port, protocol, any::<bool>()).prop_map(|(payloads, direction, port, protocol, hold)| {
        let address = if hold { "0.0.0.0" } else { "192.0.2.9" };
        let numbers: Vec<String> = payloads.keys().map(u8::to_string).collect();
        let maps: String = payloads
            .iter()
            .filter(|(_, (name, ..))| !name.is_empty())
            .map(|(number, (name, clock, channels))| format!("a=rtpmap:{number} {name}/{clock}/{channels}\n"))
            .collect();
        let formats = if numbers.is_empty() {
            "0".to_owned()
        } else {
            numbers.join(" ")
        };
        let text = format!(
            "v=0\nc=IN IP4 {address}\nm=audio {port} {protocol} {formats}\na={}\n{maps}",
            direction.name()
        );
        Description::parse(text).expect("the strategy writes SDP")
    })
}

fn payloads(description: &Description) -> Vec<Payload> {
    description.media[0].payloads.clone()
}

fn numbers(list: &[Payload]) -> Vec<u8> {
    list.iter().map(|p| p.payload_type).collect()
}

/// Every number that leaves for a side was written by that side.
fn leaving_numbers_are_known(commands: &[Command], browser: &[u8], exchange: &[u8]) {
    for command in commands {
        if let Command::AddSubscription(spec) = command {
            let known = if spec.transport == TRANSPORTS.webrtc {
                browser
            } else {
                exchange
            };
            for (_, leaving, _) in &spec.payloads {
                assert!(known.contains(leaving), "{leaving} was never said: {spec:?}");
            }
            let mut arriving: Vec<u8> = spec.payloads.iter().map(|p| p.0).collect();
            arriving.sort_unstable();
            arriving.dedup();
            assert_eq!(arriving.len(), spec.payloads.len(), "one number, one meaning: {spec:?}");
        }
    }
}

proptest! {
    #[test]
    fn an_outgoing_call_with_any_answers(
        browser in description(), answer in description(), again in description(), reinvite in description(),
    ) {
        let mut ids = Counting(0);
        let Ok((mut call, offer)) = Call::outgoing(leg(1), leg(2), &browser, local()) else { return Ok(()) };
        let offered = Description::parse(offer).expect("our offer parses");
        let said = numbers(&payloads(&browser));
        prop_assert!(numbers(&payloads(&offered)).iter().all(|number| said.contains(number)));
        for answer in [&answer, &again] {
            if call.handle_plain_answer(answer).is_ok() {
                let section = call.jsep_section(Some(&browser.media[0])).expect("agreed");
                prop_assert!(!section.payloads.is_empty());
                prop_assert!(numbers(&section.payloads).iter().all(|number| said.contains(number)));
                let commands = call.update(TRANSPORTS, &mut ids);
                leaving_numbers_are_known(&commands, &said, &numbers(&payloads(answer)));
            }
        }
        call.answered();
        if let Ok(answered) = call.handle_reinvite(&reinvite) {
            let answered = Description::parse(answered).expect("our answer parses");
            let theirs = numbers(&payloads(&reinvite));
            prop_assert!(numbers(&payloads(&answered)).iter().all(|number| theirs.contains(number)));
            let allowed = reinvite.media[0].direction.reversed();
            let (_, audio) = answered.first(&Kind::Audio).expect("accepted");
            prop_assert_eq!(audio.direction.and(allowed), audio.direction);
            let commands = call.update(TRANSPORTS, &mut ids);
            leaving_numbers_are_known(&commands, &said, &theirs);
        }
        call.hold(Direction::Inactive);
        call.handle_refused_reinvite();
        call.handle_reinvite_without_offer();
        prop_assert!(call.handle_plain_answer(&again).is_ok() || call.state().is_in_call());
        call.update(TRANSPORTS, &mut ids);
    }

    #[test]
    fn an_incoming_call_with_any_browser(offer in description(), browser in description()) {
        let Ok(mut call) = Call::incoming(leg(1), leg(2), Some(offer.clone())) else { return Ok(()) };
        let theirs = numbers(&payloads(&offer));
        let section = call.jsep_offer().remove(0).section.expect("audio is offered");
        prop_assert!(numbers(&section.payloads).iter().all(|number| theirs.contains(number)));
        if let Ok(answer) = call.accept(&browser, local()) {
            let answer = Description::parse(answer).expect("our answer parses");
            prop_assert_eq!(answer.media.len(), 1);
            prop_assert!(numbers(&payloads(&answer)).iter().all(|number| theirs.contains(number)));
            let commands = call.update(TRANSPORTS, &mut Counting(0));
            leaving_numbers_are_known(&commands, &numbers(&payloads(&browser)), &theirs);
        }
    }
}
