//! Replays the seeds of the fuzz target, and what fuzzing has found.

#[test]
fn the_committed_corpus_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/stun");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is committed") {
        let path = entry.expect("a folder can be listed").path();
        voex_stun::fuzz::message(&std::fs::read(path).expect("a seed can be read"));
        count += 1;
    }
    assert!(count >= 10, "only {count} seeds");
}
