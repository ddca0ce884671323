#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    voex_transport::data::fuzz::play(Instant::now(), bytes);
});
