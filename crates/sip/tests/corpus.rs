//! Replays the seeds of the fuzz target `sip`, and the messages of RFC 4475.
#![allow(
    clippy::disallowed_methods,
    reason = "a test begins at the real time and goes on virtually"
)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use voex_sip_wire::fuzz::parse_and_write;

#[test]
fn every_seed_of_the_fuzz_target_is_survived() {
    let mut replayed = 0;
    for directory in ["../../fuzz/corpus/sip", "../sip-wire/tests/torture"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        for entry in fs::read_dir(directory).expect("the corpus is committed") {
            let data = fs::read(entry.expect("a file").path()).expect("a file that can be read");
            data.split(|byte| *byte == 0xff).for_each(parse_and_write);
            voex_sip::fuzz::feed(Instant::now(), &data);
            replayed += 1;
        }
    }
    assert!(replayed >= 49 + 12, "{replayed}");
}
