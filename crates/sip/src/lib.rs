//! SIP transactions, dialogs and registrations as state machines.
#![forbid(unsafe_code)]

mod api;
mod config;
mod endpoint;

pub use api::{
    AccountId, AccountSpec, CallSpec, Command, Credentials, EndCause, Ended, Event, Headers, IncomingCall, LegId,
    QueryId, ReasonHeader, Registration, Secret,
};
pub use config::{Config, Limits, Listen, Strangers, TimerConfig};
pub use endpoint::{Output, ResolveError};
