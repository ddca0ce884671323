#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    data.split(|byte| *byte == 0xff)
        .for_each(voex_sip_wire::fuzz::parse_and_write);
    voex_sip::fuzz::feed(Instant::now(), data);
});
