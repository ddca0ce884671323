//! The figures of each role, one file for each crate that counts.

mod janus;
mod transport;

pub use janus::Janus;
pub use transport::Transports;
