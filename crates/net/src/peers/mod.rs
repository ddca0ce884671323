//! Peers of TCP relays: listeners on relayed transport addresses, and the connections made and accepted there.
//!
//! ```text
//!  client's stream ── receive ──► Peers::carry ── write now; what the kernel does not take waits ──► peer
//!       ▲     └─ not read while something waits for the peer                                          │
//!       └──── Streams::send_data ◄── read, 16 KiB a pass ◄────────────────────────────────────────────┘
//!                    └─ the peer is not read while enough waits for the client
//! ```
//!
//! Limits of bytes a second work the same way: the TURN shard tells after each read until when that side is not to be read,
//! and a side that owes something is read on when it is paid off.
//!
//! Nothing is lost between the two and little is held: a side that is slow stops the other from being read, and the
//! kernel's windows do the rest. The end of what one side says is passed on behind its last byte; the connection is over
//! when both have ended. When the TURN shard ends it earlier, or one side breaks, what waits for the other is still
//! delivered, for [`LINGER_MAX`] at most.

mod id;
mod listener;
mod peer;
mod table;

pub(crate) use id::{is_peer, is_peer_listener};
pub(crate) use peer::Ending;
pub(crate) use table::{Heard, Peers};
pub use table::{LINGER_MAX, PEERS_ACCEPTED_PER_PASS};
