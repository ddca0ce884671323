//! The endpoint: datagrams, commands and time in; datagrams, events and look-ups out.

use std::net::SocketAddr;

use voex_base::SocketId;

use crate::{Event, QueryId};

/// What the endpoint wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// Through which of our sockets.
        socket: SocketId,
        /// To whom.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Tell the application.
    Event(Event),
    /// Look a name up and answer with `handle_resolved`: NAPTR and SRV when `port` is `None`, else (and when they
    /// give nothing) A and AAAA with `port` or 5060; UDP only.
    Resolve {
        /// Id to answer with.
        query: QueryId,
        /// The name; never an address.
        host: String,
        /// The port in the URI.
        port: Option<u16>,
    },
}

/// Why a name gave no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResolveError {
    /// The name does not exist or has no address of a family we listen on.
    NotFound,
    /// No answer from the name servers.
    Unavailable,
}
