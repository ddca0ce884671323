//! A client of RFC 8489 that nobody here wrote, `turn-client-proto`, on the same virtual clock.

use std::time::Duration;

use turn_client_proto::api::{Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet};
use turn_client_proto::stun::Instant;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::stun::types::TransportType;
use turn_client_proto::types::TurnCredentials;
use turn_client_proto::types::stun::message::IntegrityAlgorithm;
use turn_client_proto::udp::TurnClientUdp;
use voex_base::FiveTuple;
use voex_stun::{AttributeType, Class, Message, PasswordAlgorithm};
use voex_turn::Config;

use crate::world::{LISTENER, World, address, config, ip};

const CLIENT: &str = "203.0.113.7:6000";
const SERVER: &str = "192.0.2.1:3478";
const PEER: &str = "192.0.2.77:7000";

#[test]
fn it_allocates_permits_and_binds_under_every_offer() {
    let (md5, sha256) = (PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256);
    for (offered, expects_sha256) in [
        (&[sha256, md5][..], true),
        (&[md5, sha256], false),
        (&[md5], false),
        (&[], false),
    ] {
        let mut world = World::with(Config {
            password_algorithms: offered.to_vec(),
            ..config()
        });
        let mut other = Other::new(
            &world,
            &[IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256],
            Feature::Auto,
        );
        other.allocates_permits_and_binds(&mut world);
        assert_eq!(other.sha256_answers > 0, expects_sha256, "{offered:?}");
    }
}

#[test]
fn it_gets_in_when_it_knows_sha1_alone() {
    let mut world = World::new();
    let mut other = Other::new(&world, &[IntegrityAlgorithm::Sha1], Feature::Disabled);
    other.allocates_permits_and_binds(&mut world);
    assert_eq!((other.sha256_answers, other.hashed_names), (0, 0));
}

#[test]
fn it_gets_in_when_it_insists_on_sha256_and_on_hiding_its_name() {
    let mut world = World::new();
    let mut other = Other::new(&world, &[IntegrityAlgorithm::Sha256], Feature::Required);
    other.allocates_permits_and_binds(&mut world);
    assert!(other.sha256_answers > 0 && other.hashed_names > 0);
}

#[test]
fn it_refreshes_through_stale_nonces_for_hours() {
    let mut world = World::new();
    let mut other = Other::new(&world, &[IntegrityAlgorithm::Sha256], Feature::Auto);
    other.allocates_permits_and_binds(&mut world);
    for _ in 0..3 * 60 {
        world.pass(Duration::from_secs(60));
        other.runs(&mut world);
        assert_eq!(world.server.allocations(), 1);
    }
    assert!(world.metrics.refused.of(voex_turn::Refusal::StaleNonce).value() > 10);
    assert_eq!(world.metrics.authentication_failures.value(), 0);
}

/// The client, and what passed between it and the server.
struct Other {
    start: std::time::Instant,
    client: TurnClientUdp,
    events: Vec<TurnEvent>,
    sha256_answers: u32,
    hashed_names: u32,
}

impl Other {
    fn new(world: &World, supported: &[IntegrityAlgorithm], hides_name: Feature) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new("alice", "secret of alice"));
        config.set_supported_integrity(supported[0]);
        for integrity in &supported[1..] {
            config.add_supported_integrity(*integrity);
        }
        config.set_anonymous_username(hides_name);
        Self {
            start: world.now(),
            client: TurnClientUdp::allocate(address(CLIENT), address(SERVER), config),
            events: Vec::new(),
            sha256_answers: 0,
            hashed_names: 0,
        }
    }

    fn allocates_permits_and_binds(&mut self, world: &mut World) {
        self.runs(world);
        let relayed = world.relays.len();
        assert!(
            matches!(self.events[..], [TurnEvent::AllocationCreated(TransportType::Udp, _)]) && relayed == 1,
            "{:?}",
            self.events
        );
        let now = self.clock(world);
        self.client
            .create_permission(TransportType::Udp, ip("192.0.2.78"), now)
            .unwrap();
        self.runs(world);
        self.client
            .bind_channel(TransportType::Udp, address(PEER), now)
            .unwrap();
        self.runs(world);
        assert!(self.client.have_permission(TransportType::Udp, ip("192.0.2.78")));
        let bound = |event: &TurnEvent| matches!(event, TurnEvent::ChannelCreated(_, peer) if *peer == address(PEER));
        assert!(self.events.iter().any(bound), "{:?}", self.events);
    }

    /// Lets both sides talk until neither has anything to say for a while.
    fn runs(&mut self, world: &mut World) {
        for _ in 0..100 {
            let now = self.clock(world);
            let wait = match self.client.poll(now) {
                TurnPollRet::WaitUntil(at) => at.saturating_duration_since(now),
                other => panic!("{other:?}"),
            };
            let mut talked = false;
            while let Some(transmit) = self.client.poll_transmit(now) {
                talked = true;
                self.delivers(world, transmit.data.as_ref());
            }
            self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
            // It leaves some time between its requests.
            match talked {
                true => {}
                false if wait < Duration::from_secs(1) => world.pass(wait),
                false => return,
            }
        }
        panic!("they talk without end");
    }

    fn delivers(&mut self, world: &mut World, request: &[u8]) {
        let from = FiveTuple {
            socket: LISTENER,
            client: address(CLIENT),
        };
        let message = Message::parse(request).unwrap();
        self.hashed_names += u32::from(message.has(AttributeType::USERHASH));
        world.deliver(from, request);
        for (_, _, answer) in std::mem::take(&mut world.out.sent) {
            let message = Message::parse(&answer).unwrap();
            assert_ne!(message.class(), Class::Indication);
            self.sha256_answers += u32::from(message.has_integrity_sha256());
            let now = self.clock(world);
            let transmit = Transmit::new(answer, TransportType::Udp, address(SERVER), address(CLIENT));
            self.client.recv(transmit, now);
        }
    }

    /// Gives the world's time as the client counts it.
    fn clock(&self, world: &World) -> Instant {
        let passed = world.now() - self.start;
        Instant::from_nanos(passed.as_nanos() as i64)
    }
}
