//! The fuzzer's committed corpus, replayed.

#[test]
fn the_committed_corpus_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/rtp");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is committed") {
        let data = std::fs::read(entry.expect("a folder entry").path()).expect("a seed");
        voex_rtp::fuzz::run(&data);
        seeds += 1;
    }
    assert!(seeds >= 15, "{seeds}");
}
