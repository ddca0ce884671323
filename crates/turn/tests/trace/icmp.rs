//! ICMP messages about what relays send (RFC 8656 §11.5).

use std::time::Duration;

use voex_base::SocketId;
use voex_stun::{AddressFamily, AttributeType, Class, Method};
use voex_turn::{DropReason, Icmp};

use crate::world::{Answer, Client, World, address};

const V4: &str = "192.0.2.5:7000";
const V6: &str = "[2001:db8::5]:7000";

/// Port unreachable.
const REFUSED: Icmp = Icmp {
    kind: 3,
    code: 3,
    data: 0,
};

fn tells(world: &mut World, relay: SocketId, peer: &str, icmp: Icmp) -> Result<(), DropReason> {
    let now = world.now();
    world
        .server
        .handle_peer_error(now, relay, address(peer), icmp, &mut world.out)
}

/// Alice with a relay of each family, and permission for a peer of each.
fn permitted() -> (World, Client, [SocketId; 2]) {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice
        .asks_allocation(&mut world, |w| w.additional_address_family(AddressFamily::V6))
        .granted()
        .all_relayed();
    alice.permits(&mut world, V4).granted();
    alice.permits(&mut world, V6).granted();
    let relays = [world.relay_of(relayed[0]), world.relay_of(relayed[1])];
    (world, alice, relays)
}

#[test]
fn a_client_is_told_why_its_datagram_did_not_reach_a_peer() {
    let (mut world, alice, relays) = permitted();
    let too_big = |kind, code| Icmp {
        kind,
        code,
        data: 1_280,
    };
    for (relay, peer, icmp) in [
        (relays[0], V4, REFUSED),
        (relays[0], V4, too_big(3, 4)),
        (relays[0], V4, Icmp { kind: 11, ..REFUSED }),
        (
            relays[1],
            V6,
            Icmp {
                kind: 1,
                code: 4,
                data: 0,
            },
        ),
        (relays[1], V6, too_big(2, 0)),
        (
            relays[1],
            V6,
            Icmp {
                kind: 3,
                code: 0,
                data: 0,
            },
        ),
    ] {
        assert_eq!(tells(&mut world, relay, peer, icmp), Ok(()));
        let told: Answer = world.only_sent(alice.five_tuple);
        let message = told.message();
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
        assert_eq!(message.xor_peer_address(), Ok(Some(address(peer))));
        assert_eq!(message.icmp(), Ok(Some(icmp)));
        assert_eq!(message.get(AttributeType::DATA), None);
    }
    assert_eq!(world.metrics.icmp_to_client.value(), 6);
}

#[test]
fn other_types_are_not_told() {
    let (mut world, _, relays) = permitted();
    for (relay, peer, wrong) in [
        (relays[0], V4, [0, 1, 2, 4, 5, 8, 12, 255]),
        (relays[1], V6, [0, 4, 5, 11, 128, 129, 135, 255]),
    ] {
        for kind in wrong {
            let icmp = Icmp { kind, ..REFUSED };
            assert_eq!(
                tells(&mut world, relay, peer, icmp),
                Err(DropReason::IcmpType),
                "{kind}"
            );
        }
    }
    assert!(world.out.sent.is_empty());
}

#[test]
fn of_a_peer_without_permission_or_a_relay_that_is_no_more_nobody_is_told() {
    let (mut world, mut alice, relays) = permitted();
    let stranger = "192.0.2.6:7000";
    assert_eq!(
        tells(&mut world, relays[0], stranger, REFUSED),
        Err(DropReason::NoPermission)
    );
    assert_eq!(
        tells(&mut world, relays[1], V4, REFUSED),
        Err(DropReason::NoRelay),
        "a relay of the other family"
    );
    world.pass_unnoticed(Duration::from_secs(300));
    assert_eq!(tells(&mut world, relays[0], V4, REFUSED), Err(DropReason::NoPermission));
    alice.refreshes(&mut world, 0).granted();
    assert_eq!(tells(&mut world, relays[0], V4, REFUSED), Err(DropReason::NoRelay));
    assert!(world.out.sent.is_empty());
}

#[test]
fn a_client_is_told_ten_times_a_second_whatever_is_forged() {
    let (mut world, _, relays) = permitted();
    let told = |world: &mut World| {
        let count = (0..100)
            .filter(|_| tells(world, relays[0], V4, REFUSED).is_ok())
            .count();
        world.out.sent.clear();
        count
    };
    assert_eq!(told(&mut world), 10);
    assert_eq!(world.metrics.dropped.of(DropReason::IcmpRate).value(), 90);
    world.pass(Duration::from_millis(200));
    assert_eq!(told(&mut world), 2);
    world.pass(Duration::from_secs(10));
    assert_eq!(told(&mut world), 10);
}
