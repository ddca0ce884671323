//! The figures of each role, one file for each crate that counts.

mod janus;
mod sfu;
mod sip;
mod transport;
mod turn;
mod worker;

pub use janus::Janus;
pub use sfu::Sfu;
pub use sip::Sip;
pub use transport::Transports;
pub use turn::Turn;
pub use worker::Workers;
