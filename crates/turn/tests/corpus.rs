//! Replays the seeds of the fuzz target, and what fuzzing has found.

use std::sync::Arc;

use voex_turn::{DropReason, Metrics, Refusal};

#[test]
fn the_committed_corpus_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/turn");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is committed") {
        let path = entry.expect("a folder can be listed").path();
        voex_turn::fuzz::message(&std::fs::read(path).expect("a seed can be read"));
        count += 1;
    }
    assert!(count >= 10, "only {count} seeds");
}

#[test]
fn the_seeds_reach_relaying_reservations_and_every_refusal_of_a_known_user() {
    let call = run("call");
    assert_eq!((call.to_peer_packets.value(), call.to_client_packets.value()), (1, 1));
    let data = run("send-data");
    assert_eq!((data.to_peer_packets.value(), data.to_client_packets.value()), (1, 1));
    assert_eq!(data.dropped.of(DropReason::NoPermission).value(), 1);
    assert_eq!(run("expiry").allocations_total.value(), 2);
    assert_eq!(run("even-port").allocations_total.value(), 2);
    assert_eq!(run("bind-fails").allocations_total.value(), 2);
    let conflicts = run("conflicts");
    for refusal in [Refusal::BadRequest, Refusal::AllocationMismatch, Refusal::Forbidden] {
        assert!(conflicts.refused.of(refusal).value() > 0, "{refusal:?}");
    }
    let tcp = run("tcp-relay");
    assert_eq!((tcp.connections_total.value(), tcp.connections_unbound.value()), (2, 1));
    assert_eq!(tcp.to_client_bytes.value(), 70_000);
    assert_eq!(tcp.dropped.of(DropReason::NoPermission).value(), 1);
    assert_eq!(tcp.refused.of(Refusal::ConnectionAlreadyExists).value(), 1);
    assert_eq!(tcp.refused.of(Refusal::ConnectionTimeoutOrFailure).value(), 2);
    let refusals = run("refusals");
    for refusal in [
        Refusal::BadRequest,
        Refusal::UnsupportedTransportProtocol,
        Refusal::AddressFamilyNotSupported,
        Refusal::UnknownAttribute,
        Refusal::AllocationMismatch,
    ] {
        assert!(refusals.refused.of(refusal).value() > 0, "{refusal:?}");
    }
}

#[test]
fn the_seeds_reach_moves_relays_of_both_families_and_broken_paths() {
    let moved = run("mobility");
    assert!(moved.moves_total.value() >= 1, "{}", moved.moves_total.value());
    assert!(moved.to_peer_packets.value() >= 1 && moved.to_client_packets.value() >= 2);
    assert!(moved.refused.of(Refusal::AllocationMismatch).value() > 0);
    let dual = run("dual");
    assert_eq!(dual.allocations_total.value(), 3);
    assert_eq!(dual.to_client_packets.value(), 1);
    let icmp = run("icmp");
    assert!(icmp.icmp_to_client.value() >= 1, "{}", icmp.icmp_to_client.value());
    assert!(icmp.dropped.of(DropReason::NoPermission).value() > 0);
}

#[test]
fn the_seeds_reach_every_way_to_be_let_in() {
    let stored = run("stored-users");
    assert_eq!(
        (stored.look_ups_total.value(), stored.allocations_total.value()),
        (5, 2)
    );
    assert_eq!(stored.refused.of(Refusal::Unauthenticated).value(), 2);
    let silent = run("store-silent");
    for reason in [
        DropReason::LookUpsFull,
        DropReason::LookUpTimedOut,
        DropReason::StoreUnavailable,
    ] {
        assert!(silent.dropped.of(reason).value() > 0, "{reason:?}");
    }
    assert_eq!(silent.allocations_total.value(), 1);
    assert_eq!(run("sha256").allocations_total.value(), 1);
    let tokens = run("tokens");
    assert_eq!(tokens.allocations_total.value(), 1);
    assert_eq!(tokens.refused.of(Refusal::Unauthenticated).value(), 3);
    let discovery = run("nat-discovery");
    assert_eq!(
        (discovery.bindings_total.value(), discovery.bindings_refused.value()),
        (7, 2)
    );
}

/// Runs a committed seed.
fn run(seed: &str) -> Arc<Metrics> {
    let path = format!("{}/../../fuzz/corpus/turn/{seed}", env!("CARGO_MANIFEST_DIR"));
    voex_turn::fuzz::run(&std::fs::read(path).expect("the seed is committed"))
}
