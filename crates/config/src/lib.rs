//! `settings.yaml` and the command line's `--set`: load, validate, explain; binds nothing.
//!
//! ```text
//!  settings.yaml ──► yaml (tree with lines) ──► key table ──► Settings ──► check ──► Loaded { settings, report }
//!  --set K=V ─────────────────────────────────────┘                         │
//!                                                                            └──► or a Report with every error
//! ```
//!
//! One file serves two families of keys: VoEx's own (`turnserver_*`, `janus_*`, `redis_*`, `permit_ip`), read
//! unchanged, and the canonical ones (`turn.listen`, `mcu.ws.listen`, ...). Both are rows of one table (`key`), which
//! also says how a value is read and shown. Scalars stay the text that was written until a key reads them, so a
//! password `0123` and an address `1.2.3.4` never become numbers.
//!
//! [`coturn`] turns a turnserver.conf into such a file; a reload takes over the keys that the table marks as live.
//!
//! It does not look at the host: whether an address or an interface exists is the caller's question.
#![forbid(unsafe_code)]

mod check;
pub mod coturn;
mod event_url;
mod explain;
mod key;
mod load;
mod problem;
mod read;
mod redis;
mod reload;
mod secret;
mod settings;
mod structure;
mod yaml;

pub use event_url::EventUrl;
pub use load::{Loaded, Source, load};
pub use problem::{Place, Problem, Report, Severity};
pub use redis::{RedisTarget, RedisTls};
pub use reload::Reload;
pub use secret::{Secret, TokenKey, UserKey};
pub use settings::{
    ApiAccess, Events, External, Http, Lifetimes, Log, LogFormat, LogLevel, Mcu, Media, PasswordAlgorithm, PortRange,
    Prefix, RoomField, Route, RouteTarget, Settings, Sip, SipListen, SipTransport, StaticRoom, Tls, Trunk, Turn, VoEx,
};
