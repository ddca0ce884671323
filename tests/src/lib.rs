//! Helpers of the scenarios against the real binary.
#![forbid(unsafe_code)]
