//! Replays the seeds of the fuzz target, and what fuzzing has found.

use voex_turn::{DropReason, Refusal};

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
    let run = |seed: &str| {
        let path = format!("{}/../../fuzz/corpus/turn/{seed}", env!("CARGO_MANIFEST_DIR"));
        voex_turn::fuzz::run(&std::fs::read(path).expect("the seed is committed"))
    };
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
