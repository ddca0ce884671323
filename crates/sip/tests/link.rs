//! Two endpoints over a link that loses, doubles and delays; and garbage in every state.
#![allow(
    clippy::disallowed_methods,
    reason = "a test begins at the real time and goes on virtually"
)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{ALICE, ANSWER, Host, OFFER, SOCKET, challenge, here, in_dialog, invite, ms, ok, respond, there};
use proptest::prelude::*;
use voex_base::Rng;
use voex_sip::{AccountSpec, CallSpec, Command, Config, Endpoint, Event, LegId, Metrics, Output, ReferId, fuzz};
use voex_sip_wire::Method;

/// Two endpoints, datagrams between them in flight, and what each reported.
struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    metrics: [Arc<Metrics>; 2],
    events: [Vec<Event>; 2],
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
    rng: Rng,
    /// Chances in percent.
    loss: u64,
    doubling: u64,
    /// Whether calls and re-INVITEs are accepted as they come.
    accepts: bool,
}

impl Pair {
    fn new(seed: u64, loss: u64, doubling: u64) -> Self {
        let metrics = [Arc::new(Metrics::default()), Arc::new(Metrics::default())];
        let end = |at: SocketAddr, other: SocketAddr, index: usize| {
            let rng = Rng::from_number(seed * 2 + index as u64);
            let mut end = Endpoint::new(Config::new(SOCKET, at), rng, metrics[index].clone());
            let mut spec = AccountSpec::guest(ALICE, "sip:user@example.com");
            spec.proxy = Some(format!("sip:{other}"));
            end.handle_command(Instant::now(), Command::Register(Box::new(spec)));
            end
        };
        let ends = [end(here(), there(), 0), end(there(), here(), 1)];
        let (flying, rng) = (BTreeMap::new(), Rng::from_number(seed));
        Self {
            now: Instant::now(),
            ends,
            metrics,
            events: Default::default(),
            flying,
            count: 0,
            rng,
            loss,
            doubling,
            accepts: true,
        }
    }

    fn command(&mut self, end: usize, command: Command) {
        self.ends[end].handle_command(self.now, command);
        self.drain();
    }

    /// The second end accepts every call and every re-INVITE.
    fn drain(&mut self) {
        for end in 0..2 {
            while let Some(output) = self.ends[end].poll_output() {
                match output {
                    Output::Transmit { to, bytes, .. } => self.send(usize::from(to == there()), &bytes),
                    Output::Event(event) => self.report(end, event),
                    Output::Resolve { .. } => panic!("every address is a literal"),
                }
            }
        }
    }

    fn report(&mut self, end: usize, event: Event) {
        let answer = match &event {
            Event::IncomingCall(call) => Some(Command::Accept {
                leg: call.leg,
                sdp: ANSWER.to_vec(),
                headers: Vec::new(),
            }),
            Event::Reinvite { leg, .. } => Some(Command::AnswerReinvite {
                leg: *leg,
                answer: Ok(ANSWER.to_vec()),
                headers: Vec::new(),
            }),
            _ => None,
        };
        self.events[end].push(event);
        if let Some(answer) = answer.filter(|_| self.accepts) {
            self.ends[end].handle_command(self.now, answer);
        }
    }

    fn send(&mut self, to: usize, bytes: &[u8]) {
        let copies = if self.rng.below(100) < self.doubling { 2 } else { 1 };
        for _ in 0..copies {
            if self.rng.below(100) >= self.loss {
                self.count += 1;
                let at = self.now + Duration::from_millis(1 + self.rng.below(80));
                self.flying.insert((at, self.count), (to, bytes.to_vec()));
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timers = self.ends.iter().filter_map(Endpoint::poll_timeout).min();
            let Some(next) = arrival.into_iter().chain(timers).min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, bytes)) = self.flying.pop_first().expect("something has arrived");
                let from = if to == 0 { there() } else { here() };
                self.ends[to].handle_datagram(self.now, SOCKET, from, &bytes);
            } else {
                self.ends.iter_mut().for_each(|end| end.handle_timeout(self.now));
            }
            self.drain();
        }
        self.now = end;
    }

    fn saw(&self, end: usize, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events[end].iter().filter(|event| wanted(event)).count()
    }

    fn call(&mut self, leg: u64) {
        let spec = CallSpec::new(LegId(leg), ALICE, format!("sip:user@{}", there()), OFFER.to_vec());
        self.command(0, Command::Call(Box::new(spec)));
    }

    fn at_rest(&self) {
        for end in 0..2 {
            assert_eq!(self.ends[end].leg_count(), 0, "end {end}: {:?}", self.events[end]);
            assert_eq!(self.metrics[end].transactions.value(), 0, "end {end}");
            assert_eq!(self.metrics[end].dialogs.value(), 0, "end {end}");
            assert_eq!(self.ends[end].poll_timeout(), None, "end {end}");
        }
    }
}

fn is_ended(event: &Event) -> bool {
    matches!(event, Event::Ended(_))
}

#[test]
fn calls_come_through_a_link_that_loses_a_third_and_doubles_a_fifth() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed, 30, 20);
        pair.call(1);
        pair.run(Duration::from_secs(35));
        assert_eq!(
            pair.saw(0, |event| matches!(event, Event::Answered { .. })),
            1,
            "seed {seed}: {:?}",
            pair.events
        );
        assert_eq!(
            pair.saw(1, |event| matches!(event, Event::IncomingCall(_))),
            1,
            "seed {seed}"
        );
        assert_eq!(
            pair.saw(1, |event| matches!(event, Event::Confirmed { .. })),
            1,
            "seed {seed}"
        );
        let reinvite = Command::Reinvite {
            leg: LegId(1),
            sdp: OFFER.to_vec(),
            headers: Vec::new(),
        };
        pair.command(0, reinvite);
        pair.run(Duration::from_secs(35));
        assert_eq!(
            pair.saw(0, |event| matches!(event, Event::ReinviteAnswered { .. })),
            1,
            "seed {seed}"
        );
        pair.command(
            0,
            Command::Hangup {
                leg: LegId(1),
                headers: Vec::new(),
            },
        );
        pair.run(Duration::from_secs(100));
        assert_eq!((pair.saw(0, is_ended), pair.saw(1, is_ended)), (1, 1), "seed {seed}");
        pair.at_rest();
    }
}

#[test]
fn a_call_hung_up_at_any_moment_leaves_nothing_behind() {
    for seed in 0..150 {
        let mut pair = Pair::new(seed, 20, 20);
        pair.call(1);
        pair.run(ms(7 * seed));
        pair.command(
            0,
            Command::Hangup {
                leg: LegId(1),
                headers: Vec::new(),
            },
        );
        pair.run(Duration::from_secs(200));
        assert_eq!(pair.saw(0, is_ended), 1, "seed {seed}: {:?}", pair.events[0]);
        let calls = pair.saw(1, |event| matches!(event, Event::IncomingCall(_)));
        assert!(calls <= 1, "seed {seed}");
        assert_eq!(pair.saw(1, is_ended), calls, "seed {seed}: {:?}", pair.events[1]);
        pair.at_rest();
    }
}

/// Whatever an application may do with a leg, at any time.
fn any_command(rng: &mut Rng, leg: LegId, refers: &[ReferId]) -> Command {
    let headers = Vec::new();
    let sdp = OFFER.to_vec();
    match rng.below(12) {
        0 => Command::Ring { leg, headers },
        1 | 2 => Command::Progress { leg, sdp, headers },
        3 | 4 => Command::Accept { leg, sdp, headers },
        5 => Command::Decline {
            leg,
            code: 486,
            reason: None,
            headers,
        },
        6 => Command::Hangup { leg, headers },
        7 | 8 => Command::Reinvite { leg, sdp, headers },
        9 => Command::AnswerReinvite {
            leg,
            answer: if rng.below(2) == 0 { Ok(sdp) } else { Err(488) },
            headers,
        },
        10 => Command::Refer {
            leg,
            to: "sip:other@10.0.0.9".to_owned(),
            replaces: None,
            headers,
        },
        _ => match refers.last() {
            Some(refer) => Command::DeclineRefer {
                refer: *refer,
                code: 480,
            },
            None => Command::Info {
                leg,
                content_type: "text/plain".to_owned(),
                body: b"x".to_vec(),
                headers,
            },
        },
    }
}

#[test]
fn a_thousand_calls_in_which_anything_happens_at_any_time_leave_nothing_behind() {
    let mut answered = 0;
    for seed in 0..1_000 {
        let mut rng = Rng::from_number(!seed);
        let mut pair = Pair::new(seed, rng.below(30), rng.below(20));
        pair.accepts = seed % 4 == 0;
        pair.call(1);
        for _ in 0..rng.below(24) {
            pair.run(ms(rng.below(400) * rng.below(8)));
            let end = rng.below(2) as usize;
            let incoming = pair.events[end].iter().find_map(|event| match event {
                Event::IncomingCall(call) => Some(call.leg),
                _ => None,
            });
            let refers: Vec<_> = pair.events[end]
                .iter()
                .filter_map(|event| match event {
                    Event::Refer(referral) => Some(referral.refer),
                    _ => None,
                })
                .collect();
            let command = any_command(&mut rng, incoming.unwrap_or(LegId(1)), &refers);
            pair.command(end, command);
        }
        answered += pair.saw(0, |event| matches!(event, Event::Answered { .. }));
        for end in 0..2 {
            let headers = Vec::new();
            let leg = pair.events[end].iter().find_map(|event| match event {
                Event::IncomingCall(call) => Some(call.leg),
                _ => None,
            });
            let leg = leg.unwrap_or(LegId(1));
            pair.command(end, Command::Hangup { leg, headers });
        }
        pair.run(Duration::from_secs(300));
        assert_eq!(pair.saw(0, is_ended), 1, "seed {seed}: {:?}", pair.events[0]);
        let calls = pair.saw(1, |event| matches!(event, Event::IncomingCall(_)));
        assert_eq!(pair.saw(1, is_ended), calls, "seed {seed}: {:?}", pair.events[1]);
        pair.at_rest();
    }
    assert!(answered > 300, "{answered} calls were answered");
}

#[test]
fn both_sides_changing_the_session_at_once_get_there() {
    for seed in 0..30 {
        let mut pair = Pair::new(seed, 0, 0);
        pair.call(1);
        pair.run(Duration::from_secs(1));
        let Some(Event::IncomingCall(call)) = pair.events[1].iter().find(|e| matches!(e, Event::IncomingCall(_)))
        else {
            panic!("seed {seed}: a call")
        };
        let callee = call.leg;
        for (end, leg) in [(0, LegId(1)), (1, callee)] {
            pair.ends[end].handle_command(
                pair.now,
                Command::Reinvite {
                    leg,
                    sdp: OFFER.to_vec(),
                    headers: Vec::new(),
                },
            );
        }
        pair.drain();
        pair.run(Duration::from_secs(30));
        for end in 0..2 {
            assert_eq!(
                pair.saw(end, |event| matches!(event, Event::ReinviteAnswered { .. })),
                1,
                "seed {seed} end {end}"
            );
        }
    }
}

#[test]
fn a_link_that_loses_all_ends_every_call_by_itself() {
    let mut pair = Pair::new(1, 100, 0);
    (1..20).for_each(|leg| pair.call(leg));
    pair.run(Duration::from_secs(40));
    assert_eq!(pair.saw(0, is_ended), 19);
    pair.at_rest();
}

#[test]
fn the_same_seed_runs_the_same() {
    let run = || {
        let mut pair = Pair::new(9, 30, 20);
        pair.call(1);
        pair.run(Duration::from_secs(5));
        pair.command(
            0,
            Command::Hangup {
                leg: LegId(1),
                headers: Vec::new(),
            },
        );
        pair.run(Duration::from_secs(60));
        (pair.events, pair.count)
    };
    assert_eq!(run(), run());
}

/// One host in each state a leg can be in.
fn states() -> Vec<Host> {
    let calling = Host::calling().0;
    let ringing = {
        let (mut host, invite) = Host::calling();
        host.answer(&respond(&invite, 180));
        host
    };
    let cancelling = {
        let (mut host, invite) = Host::calling();
        host.answer(&respond(&invite, 180));
        host.hangup(common::LEG);
        host
    };
    let challenged = {
        let (mut host, invite) = Host::calling();
        host.answer(&challenge(&invite, 401, "n"));
        host
    };
    let accepting = {
        let (mut host, leg) = Host::called();
        host.command(Command::Accept {
            leg,
            sdp: ANSWER.to_vec(),
            headers: Vec::new(),
        });
        host
    };
    let terminating = {
        let (mut host, _) = Host::in_call();
        host.hangup(common::LEG);
        host
    };
    let in_call = Host::in_call().0;
    vec![
        calling,
        ringing,
        cancelling,
        challenged,
        accepting,
        terminating,
        in_call,
        Host::called().0,
        Host::accepted().0,
    ]
}

/// Datagrams that belong to those states, to be bent.
fn seeds() -> Vec<Vec<u8>> {
    let (mut host, first) = Host::calling();
    let mut seeds = vec![
        ok(&first).to_bytes(),
        respond(&first, 180).to_bytes(),
        challenge(&first, 407, "n").to_bytes(),
    ];
    host.answer(&ok(&first));
    seeds.push(host.request(Method::Ack).to_bytes());
    let (_, _, accepted) = Host::accepted();
    seeds.push(invite().into_bytes());
    for method in [
        "ACK", "BYE", "INFO", "INVITE", "OPTIONS", "CANCEL", "PRACK", "UPDATE", "REFER", "NOTIFY",
    ] {
        seeds.push(in_dialog(method, 2, &accepted, "").into_bytes());
    }
    seeds
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_in_every_state_does_no_harm_and_all_comes_to_rest(
        picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..24),
    ) {
        let seeds = seeds();
        for (state, mut host) in states().into_iter().enumerate() {
            for (which, at, octet, cut) in &picks {
                let mut datagram = which.get(&seeds).clone();
                let at = at.index(datagram.len());
                datagram[at] = *octet;
                if *cut {
                    datagram.truncate(at);
                }
                host.endpoint.handle_datagram(host.now, SOCKET, there(), &datagram);
                while host.endpoint.poll_output().is_some() {}
            }
            host.sent.clear();
            // An application that never answers a re-INVITE keeps its transaction as long as the call.
            let incoming = (0..200).map(|id| LegId(LegId::INCOMING_FIRST + id));
            incoming.chain([common::LEG]).for_each(|leg| host.hangup(leg));
            host.now += Duration::from_secs(400);
            for _ in 0..200 {
                host.endpoint.handle_timeout(host.now);
                while host.endpoint.poll_output().is_some() {}
                host.now += Duration::from_secs(10);
            }
            prop_assert_eq!(host.metrics.transactions.value(), 0, "state {}", state);
        }
    }

    #[test]
    fn any_octets_between_good_datagrams(
        parts in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            any::<prop::sample::Index>().prop_map(|index| index.get(&seeds()).clone()),
        ], 0..12),
    ) {
        fuzz::feed(Instant::now(), &parts.join(&0xff));
    }
}
