//! SIP transactions, dialogs and registrations as state machines: no sockets, no clock, no resolver of its own.
//!
//! ```text
//!                      Command                                   Event
//!                         │                                        ▲
//!            ┌────────────▼────────────────────────────────────────┴───────────┐
//!            │ Endpoint      accounts: registrations, digest, who may call us  │
//!            │               legs: dialog, offer under way, how it will end    │
//!            │   ┌───────────────────────────┐  ┌────────────────────────────┐ │
//!            │   │ client transactions       │  │ server transactions        │ │
//!            │   │ INVITE A B D M, others EFK│  │ INVITE G H I L, others J   │ │
//!            │   └───────────────────────────┘  └────────────────────────────┘ │
//!            └─────▲─────────────────────────────────────────────────────┬─────┘
//!         handle_datagram, handle_timeout, handle_resolved     Transmit, Resolve
//! ```
//!
//! Life of an outgoing call: `Call` makes a leg and an INVITE; its first hop is an address or is looked up; a client
//! transaction repeats it until something answers. A challenge is answered with a new INVITE. A 200 makes the dialog,
//! is acknowledged as often as it comes, and `Answered` is reported.
//!
//! Life of an incoming call: the source is admitted or refused without state; the INVITE gets a server transaction, 100
//! and a leg; `IncomingCall` is reported. `Accept` sends 200, which the leg repeats until the ACK.
//!
//! What is refused costs nothing: a request outside dialogs other than a good INVITE from somebody admitted is answered
//! from its own header fields and forgotten. Answers go to the address and port a request came from, always.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests begin at the real time and go on virtually"
    )
)]

mod api;
mod config;
mod dialog;
mod digest;
mod endpoint;
#[doc(hidden)]
pub mod fuzz;
mod metrics;
mod timers;
mod transaction;

pub use api::{
    AccountId, AccountSpec, CallSpec, Command, Credentials, EndCause, Ended, Event, Headers, IncomingCall, LegId,
    QueryId, ReasonHeader, ReferId, Referral, Registration, Secret,
};
pub use config::{Config, Limits, Listen, Strangers, TimerConfig};
pub use endpoint::{Endpoint, Output, ResolveError};
pub use metrics::{DropReason, MethodLabel, Metrics, RefusedCode, ResponseClass};
pub use voex_sip_wire::{Host, NameAddr, Params, SipUri, Uri};
