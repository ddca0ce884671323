//! TURN server state: allocations, permissions, channel bindings, authentication, quotas.
//!
//! ```text
//!            client datagram                                  peer datagram
//!                  │                                                │
//!     handle_client_datagram(now, wall, five-tuple)      handle_peer_datagram(now, relay, peer)
//!          │                   │                                    │
//!    ChannelData, Send     requests ─► authenticate                 │ permission of the peer's address?
//!          │                   │        ─► Allocate ── BindRelay ─► owner of sockets ── handle_relay_bound ─► answer
//!   channel or permission?     │        ─► Refresh, CreatePermission, ChannelBind ─► answer
//!          ▼                   ▼                                    ▼
//!   ToPeer{relay, peer, ..}  Outbox (answers)        Outbox (ChannelData or Data indication to the client)
//! ```
//!
//! [`Server`] is the shard of one worker: no sockets, no clock, no threads. Data takes one look-up by five-tuple or by
//! relay, and neither allocates nor formats. Answers to clients who have not proved who they are leave no state behind
//! and are bounded by source ([`Config::challenges`], [`Config::bindings`]); a refused request changes nothing.
//!
//! Who it is that asks stands in the settings, or a credential store knows: then the request waits, [`Event::LookUp`] goes
//! out, and [`Command::LookedUp`] goes on with it. The shard never waits itself.
//!
//! Allocations of a user and in all, and bytes a second, are counted over all shards of a process ([`Quotas`]); everything
//! else is bounded by shard. Deliberately absent: padding of ChannelData for streams, which whoever writes to the stream
//! adds.
//!
//! | section | what | state | shown by |
//! |---|---|---|---|
//! | RFC 8489 §9.2 | long-term credentials, 400/401/438 | supported | `tests/trace/authentication.rs` |
//! | draft-uberti-behave-turn-rest-00 | names with an expiry, several secrets | supported | `tests/trace/authentication.rs` |
//! | | users and secrets of a credential store, asked without waiting | supported | `tests/trace/look_up.rs` |
//! | RFC 8656 §7 | Allocate, 437/440/442/486/508 | supported | `tests/trace/allocate.rs` |
//! | RFC 8656 §7.2 | EVEN-PORT, RESERVATION-TOKEN, REQUESTED-ADDRESS-FAMILY | supported | `tests/trace/allocate.rs` |
//! | RFC 8656 §7.2, §8 | ADDITIONAL-ADDRESS-FAMILY, ADDRESS-ERROR-CODE; each relay has its own lifetime | supported | `tests/trace/dual.rs` |
//! | RFC 8656 §14 | DONT-FRAGMENT | when the socket owner can ([`Config::dont_fragment`]); else 420 | `tests/trace/allocate.rs`, `relay.rs` |
//! | RFC 8656 §8 | Refresh, 441/443 | supported | `tests/trace/lifetime.rs` |
//! | RFC 8656 §9, §10 | permissions, 403/443/508 | supported | `tests/trace/permission.rs` |
//! | RFC 8656 §11 | Send and Data | supported | `tests/trace/relay.rs` |
//! | RFC 8656 §11.5, §11.6 | ICMP in Data indications, up to ten a second for an allocation | supported | `tests/trace/icmp.rs` |
//! | RFC 8656 §12 | channels | supported | `tests/trace/channel.rs` |
//! | RFC 8489 §9.2.1, §14.11, §14.12, §18.5 | PASSWORD-ALGORITHMS with MD5 and SHA-256, nonce cookie, bid-down protection | supported ([`Config::password_algorithms`]) | `tests/trace/password_algorithm.rs`, `tests/trace/another_client.rs` |
//! | RFC 8489 §14.6 | MESSAGE-INTEGRITY-SHA256, whole | supported; the answer has what the request had | `tests/trace/password_algorithm.rs` |
//! | RFC 8489 §14.4 | USERHASH | for users of the settings; offered where there are no others | `tests/trace/password_algorithm.rs` |
//! | RFC 6062 §5 | TCP relays: Connect, ConnectionBind, ConnectionAttempt, 446/447 | off unless [`Config::tcp_relays`] | `tests/trace/tcp_relay.rs` |
//! | RFC 8016 §3 | MOBILITY-TICKET in Allocate and Refresh, 405; over UDP, TCP and TLS | off unless [`Config::mobility`] | `tests/trace/mobility.rs` |
//! | RFC 5780 | CHANGE-REQUEST, RESPONSE-PORT, PADDING, RESPONSE-ORIGIN, OTHER-ADDRESS | over UDP, with [`Config::nat_discovery`]; 420 for what listeners do not allow for | `tests/trace/nat_discovery.rs` |
//! | RFC 8489 §10 | 300 with ALTERNATE-SERVER and ALTERNATE-DOMAIN | where [`Config::alternate_servers`] is set | `tests/trace/redirect.rs` |
//! | RFC 7635 | THIRD-PARTY-AUTHORIZATION, ACCESS-TOKEN with both algorithms | where [`Config::third_party_authorization`] is set | `tests/trace/token.rs` |
//! | RFC 8489 §12 | Binding for anybody | supported | `tests/trace/authentication.rs` |
#![forbid(unsafe_code)]

mod access_token;
mod allocate;
mod allocation;
mod allocations;
mod answer;
mod answer_limiter;
mod authentication;
mod binding;
mod channel_binding;
mod claims;
mod client_key;
mod client_path;
mod command;
mod config;
mod credentials;
mod drop_reason;
mod event;
#[doc(hidden)]
pub mod fuzz;
mod icmp;
mod keyed;
mod label;
mod listeners;
mod metrics;
mod mobility;
mod mobility_ticket;
mod nonce;
mod peer_connections;
mod peer_policy;
mod permission;
mod quotas;
mod rate;
mod redirect;
mod refresh;
mod refusal;
mod relay;
mod relay_port;
mod relays;
mod report;
mod request;
mod reservation;
mod server;
mod session;
mod stored_user;
mod tcp_relay;
mod timer;
mod user_counts;
mod waiting;

pub use allocation::RelayedAddress;
pub use client_path::{ClientPath, TlsSession};
pub use command::{Command, Selection};
pub use config::{AlternateServers, AnswerRate, Config, Lifetimes, PeerRules, Rates, RelayAddress, Secret, UserSecret};
pub use credentials::has_expiry;
pub use drop_reason::DropReason;
pub use event::{Event, LookUpId, LookedUp, TRAFFIC_REPORT_PACKETS, Wanted};
pub use metrics::Metrics;
pub use quotas::Quotas;
pub use refusal::Refusal;
pub use relay_port::{PortShare, owner_of_port};
pub use server::{BindError, BindRequest, ClientVerdict, Output, Server};
pub use session::{EndReason, Flow, Session, SessionId, Traffic, TrafficCounters};
pub use stored_user::{StoredUser, TokenAlgorithm, TokenKey};
pub use tcp_relay::{ConnectionId, Departure, RelayTransport, THROTTLED_MAX, Way};
pub use voex_stun::{Icmp, PasswordAlgorithm};
