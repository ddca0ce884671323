#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| voex_janus::fuzz::play(Instant::now(), bytes));
