use std::net::SocketAddr;

use crate::{ClientPath, EndReason, Flow, Session, SessionId, StoredUser, TokenKey};

/// What a shard reports to the control plane.
///
/// Events of one allocation come in order: `Began`, any number of `Refreshed`, `Moved` and `Traffic`, `Ended`.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants to be authenticated whose credentials are not in the settings; the answer is
    /// [`Command::LookedUp`](crate::Command::LookedUp), exactly one for each. The request waits meanwhile.
    LookUp {
        /// Names the question in the answer.
        id: LookUpId,
        /// What is wanted.
        wanted: Wanted,
    },
    /// An allocation lives.
    Began(Box<Session>),
    /// An allocation was refreshed; with 0 its end follows.
    Refreshed {
        /// Which one.
        session: SessionId,
        /// Granted lifetime in seconds.
        lifetime_s: u32,
    },
    /// The client of an allocation goes on over another path (RFC 8016).
    Moved {
        /// Which one.
        session: SessionId,
        /// How the client reaches us now.
        path: ClientPath,
        /// The client's address now.
        client: SocketAddr,
    },
    /// What an allocation relayed since the last report: each [`TRAFFIC_REPORT_PACKETS`] packets.
    Traffic {
        /// Which one.
        session: SessionId,
        /// On the client's side.
        client: Flow,
        /// On the peers' side.
        peer: Flow,
    },
    /// An allocation is no more.
    Ended {
        /// Which one.
        session: SessionId,
        /// Why.
        reason: EndReason,
        /// What it relayed since the last report, on the client's and on the peers' side. Its sums stand in the
        /// [`Traffic`](crate::Traffic) that `Began` gave.
        last: (Flow, Flow),
    },
}

/// Packets of both sides together after which an allocation's traffic is reported.
pub const TRAFFIC_REPORT_PACKETS: u64 = 4_096;

/// Names a question to the credential store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LookUpId(pub u64);

/// What a shard wants to know from the credential store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The keys of a user and the shared secrets of the realm.
    User(Box<str>),
    /// The key of a token (RFC 7635), by its `kid`.
    Token(Box<str>),
}

/// What the credential store knows.
#[derive(Clone, Debug)]
pub enum LookedUp {
    /// The keys of the user, none of them if there is no such user, and the shared secrets.
    User(StoredUser),
    /// The key of the token, if there is one.
    Token(Option<TokenKey>),
    /// The store cannot be reached and remembers nothing: the request is dropped, and its client tries again.
    Unavailable,
}
