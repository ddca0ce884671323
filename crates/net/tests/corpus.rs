//! The fuzzer's committed corpus, replayed, with every byte of it changed and every end cut off.

#[test]
fn the_committed_corpus_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/dtls");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is committed") {
        let data = std::fs::read(entry.expect("a folder entry").path()).expect("a seed");
        voex_net::fuzz::client_hello(&data);
        for at in 0..data.len() {
            voex_net::fuzz::client_hello(&data[..at]);
            let mut changed = data.clone();
            for byte in 0..=255 {
                changed[at] = byte;
                voex_net::fuzz::client_hello(&changed);
            }
        }
        seeds += 1;
    }
    assert!(seeds >= 4, "{seeds}");
}
