#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| voex_sdp::fuzz::parse_write_parse(bytes));
