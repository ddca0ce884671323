//! Settings that the admin API shows and changes while the gateway runs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{CUSTOM_LOG_LINE, Rest, one};
use crate::error::{Code, Error};
use crate::gateway::{Gateway, Output};
use crate::plugin::fields::{Field, Fields, Type, check, required};
use crate::session::SessionId;

/// Settings that only the admin API changes.
pub(crate) struct Switches {
    /// `create` is served.
    pub(crate) accepts_sessions: bool,
    log_level: LogLevel,
    log_timestamps: bool,
    log_colors: bool,
    locking_debug: bool,
    refcount_debug: bool,
    min_nack_queue_ms: u64,
    nack_optimizations: bool,
    no_media_timer_s: u64,
    slowlink_threshold: u64,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            accepts_sessions: true,
            log_level: LogLevel(4),
            log_timestamps: true,
            log_colors: false,
            locking_debug: false,
            refcount_debug: false,
            min_nack_queue_ms: 200,
            nack_optimizations: false,
            no_media_timer_s: 1,
            slowlink_threshold: 0,
        }
    }
}

/// How much is logged, as the API counts: 0 nothing, 1 fatal, 2 errors, 3 warnings, 4 news, 5 to 7 ever more detail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogLevel(pub u8);

impl LogLevel {
    const MAX: u64 = 7;
}

/// A verb, the field that it takes, and the member that its reply shows.
struct Setting {
    verb: &'static str,
    field: Field,
    name: &'static str,
    shown: &'static str,
}

const fn setting(verb: &'static str, name: &'static str, r#type: Type, shown: &'static str) -> Setting {
    Setting {
        verb,
        field: required(name, r#type),
        name,
        shown,
    }
}

const SETTINGS: [Setting; 11] = [
    setting("set_session_timeout", "timeout", Type::Unsigned, "timeout"),
    setting("set_log_level", "level", Type::Unsigned, "level"),
    setting("set_log_timestamps", "timestamps", Type::Boolean, "log_timestamps"),
    setting("set_log_colors", "colors", Type::Boolean, "log_colors"),
    setting("set_locking_debug", "debug", Type::Boolean, "locking_debug"),
    setting("set_refcount_debug", "debug", Type::Boolean, "refcount_debug"),
    setting("set_min_nack_queue", "min_nack_queue", Type::Unsigned, "min_nack_queue"),
    setting(
        "set_nack_optimizations",
        "nack_optimizations",
        Type::Boolean,
        "nack-optimizations",
    ),
    setting("set_no_media_timer", "no_media_timer", Type::Unsigned, "no_media_timer"),
    setting(
        "set_slowlink_threshold",
        "slowlink_threshold",
        Type::Unsigned,
        "slowlink_threshold",
    ),
    setting("accept_new_sessions", "accept", Type::Boolean, "accept"),
];

const SESSION_TIMEOUT: [Field; 1] = [required("timeout", Type::Integer)];

impl Gateway {
    /// Changes a setting; `None` when the verb is none of a setting.
    pub(super) fn set(&mut self, verb: &str, members: &Map<String, Value>) -> Result<Option<Rest>, Error> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.verb == verb) else {
            return Ok(None);
        };
        check(members, &[setting.field])?;
        let flag = members.flag(setting.name).unwrap_or_default();
        let number = members.number(setting.name).unwrap_or_default();
        let switches = &mut self.host.switches;
        match verb {
            "set_session_timeout" => {
                self.host.config.session_timeout = Duration::from_secs(number.min(u32::MAX.into()));
                let limits = self.limits();
                self.host.sessions.reschedule(limits);
            }
            "set_log_level" => {
                let level = LogLevel(log_level(number)?);
                switches.log_level = level;
                self.host.outputs.push_back(Output::LogLevel(level));
            }
            "set_log_timestamps" => switches.log_timestamps = flag,
            "set_log_colors" => switches.log_colors = flag,
            "set_locking_debug" => switches.locking_debug = flag,
            "set_refcount_debug" => switches.refcount_debug = flag,
            "set_min_nack_queue" => switches.min_nack_queue_ms = number,
            "set_nack_optimizations" => switches.nack_optimizations = flag,
            "set_no_media_timer" => switches.no_media_timer_s = number,
            "set_slowlink_threshold" => switches.slowlink_threshold = number,
            _ => switches.accepts_sessions = flag,
        }
        let value = members.get(setting.name).cloned().unwrap_or_default();
        Ok(Some(one(setting.shown, value)))
    }

    /// `set_session_timeout` of one session: seconds, zero for never, -1 for what holds for all.
    pub(super) fn set_timeout_of(&mut self, session: SessionId, members: &Map<String, Value>) -> Result<Rest, Error> {
        check(members, &SESSION_TIMEOUT)?;
        let given = members.get("timeout").and_then(Value::as_i64).unwrap_or(i64::MAX);
        if given < -1 {
            return Err(Error::wrong_type("timeout", "a non-negative integer or -1"));
        }
        let timeout = u64::try_from(given).ok();
        if let Some(session) = self.host.sessions.get_mut(session) {
            session.timeout = timeout.map(|seconds| Duration::from_secs(seconds.min(u32::MAX.into())));
        }
        let limits = self.limits();
        self.host.sessions.schedule(limits, session);
        Ok(one("timeout", given.into()))
    }

    pub(super) fn status(&self) -> Value {
        let (config, switches) = (&self.host.config, &self.host.switches);
        json!({
            "token_auth": self.host.auth.has_tokens(),
            "session_timeout": config.session_timeout.as_secs(),
            "reclaim_session_timeout": config.reclaim_timeout.as_secs(),
            "candidates_timeout": 45,
            "log_level": switches.log_level.0,
            "log_timestamps": switches.log_timestamps,
            "log_colors": switches.log_colors,
            "log_rotate_sig": 0,
            "locking_debug": switches.locking_debug,
            "refcount_debug": switches.refcount_debug,
            "min_nack_queue": switches.min_nack_queue_ms,
            "nack-optimizations": switches.nack_optimizations,
            "no_media_timer": switches.no_media_timer_s,
            "slowlink_threshold": switches.slowlink_threshold,
        })
    }

    pub(super) fn custom_log_line(&mut self, members: &Map<String, Value>) -> Result<Rest, Error> {
        check(members, &CUSTOM_LOG_LINE)?;
        let line = members.text("line").unwrap_or_default().to_owned();
        let level = members.number("level").and_then(|level| log_level(level).ok());
        let level = LogLevel(level.unwrap_or(4));
        self.host.outputs.push_back(Output::LogLine { level, line });
        Ok(Rest::new())
    }
}

fn log_level(given: u64) -> Result<u8, Error> {
    let level = u8::try_from(given).ok().filter(|_| given <= LogLevel::MAX);
    level.ok_or_else(|| {
        let text = "Invalid element type (level should be between 0 and 7)";
        Error::new(Code::InvalidElementType, text)
    })
}
