#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voex_rtp::fuzz::run(data));
