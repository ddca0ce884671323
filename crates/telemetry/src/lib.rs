//! Metrics registry, health, tracing set-up, HTTP console.
//!
//! ```text
//!  media worker ── counts ──► Arc<Metrics> ◄── reads at each scrape ── role::* ──► Families ──► /metrics
//!  control task ── figures ─► status, health ─────────────────────────────────► /api/v1/status, /health, /
//!  management ◄── routes of the shell's owner, behind the Gate ◄──────────────── /api/v1/...
//! ```
//!
//! Counters live in the crates that count (`voex_base::Counter`); nothing is copied on the media path. Labels come
//! from enums, never from users, rooms or addresses.
#![forbid(unsafe_code)]

mod families;
mod gate;
mod http;
mod logging;
mod process;
pub mod role;
mod text;

pub use families::{Expose, Families, sum, sum_set};
pub use gate::{Gate, Problem};
pub use http::{Health, Pages};
pub use logging::{LINES_PER_SECOND_MAX, LogControl, LogFormat, READY_TARGET, start_logging};
pub use process::Process;
