//! Helpers of the scenarios against the real binary: a network namespace of their own, the server in it, and peers
//! that nobody here wrote.
//!
//! A scenario that needs a real address (browsers gather no loopback candidate) runs server and peers inside one
//! [`Namespace`]; nothing it sends can leave the machine. Namespaces need root, as on a CI machine.
#![forbid(unsafe_code)]

mod authority;
mod link;
mod namespace;
mod peer;
pub mod redis;
mod server;

pub use authority::Authority;
pub use link::{Impairment, Link};
pub use namespace::{ADDRESS, ADDRESS_V6, Namespace};
pub use peer::{Finished, Peer, node, python};
pub use server::{Server, TURN_PASSWORD, TURN_USER, binary, sibling};
