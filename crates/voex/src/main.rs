//! The voex media host.
#![forbid(unsafe_code)]

fn main() {}
