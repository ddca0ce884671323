#![no_main]

use std::cell::RefCell;
use std::time::Instant;

use voex_transport::fuzz::{Target, srtp_round_trip};

thread_local! {
    static TARGET: RefCell<Target> = RefCell::new(Target::new(Instant::now()).expect("a certificate can be made"));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    TARGET.with_borrow_mut(|target| target.feed(bytes));
    srtp_round_trip(bytes);
});
