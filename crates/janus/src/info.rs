//! The `server_info` reply.

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::host::Host;
use crate::plugin::{About, Kind};

/// Package of the one transport of the API.
pub(crate) const WEBSOCKETS: &str = "janus.transport.websockets";

/// Builds the reply to `info`, with the members that clients look for.
pub(crate) fn server_info(host: &Host, transaction: &str) -> Value {
    let config = &host.config;
    let about_server = json!({
        "janus": "server_info",
        "transaction": transaction,
        "name": "Janus WebRTC Server",
        "version": version_number(&config.version),
        "version_string": config.version,
        "author": "voex",
        "commit-hash": "not-a-git-repo",
        "compile-time": "",
        "log-to-stdout": true,
        "log-to-file": false,
        "data_channels": true,
        "accepting-new-sessions": host.switches.accepts_sessions,
        "session-timeout": config.session_timeout.as_secs(),
        "reclaim-session-timeout": config.reclaim_timeout.as_secs(),
        "candidates-timeout": 45,
        "server-name": config.server_name,
        "local-ip": config.public_ip.to_string(),
        "public-ip": config.public_ip.to_string(),
        "ipv6": config.public_ip.is_ipv6(),
        "ice-lite": true,
        "ice-tcp": false,
        "ice-nomination": "regular",
        "ice-consent-freshness": false,
        "hangup-on-failed": false,
        "ice-keepalive-conncheck": false,
        "full-trickle": false,
        "mdns-enabled": false,
        "min-nack-queue": 200,
        "nack-optimizations": false,
        "twcc-period": 200,
        "dtls-mtu": 1200,
        "api_secret": host.auth.has_secret(),
        "auth_token": host.auth.has_tokens(),
        "event_handlers": config.options.events,
        "opaqueid_in_api": config.options.opaque_id_in_api,
        "dependencies": {},
        "transports": {WEBSOCKETS: about(config, "JANUS WebSockets transport plugin", "WebSocket transport of the API.")},
        "events": event_handlers(config),
        "loggers": {},
        "plugins": plugins(config),
    });
    about_server
}

fn plugins(config: &Config) -> Map<String, Value> {
    let entry = |kind: Kind| {
        let About {
            package,
            name,
            description,
        } = kind.about();
        (package.to_owned(), about(config, name, description))
    };
    Kind::ALL.into_iter().map(entry).collect()
}

fn event_handlers(config: &Config) -> Map<String, Value> {
    let entry = |package: &&'static str| {
        let about = about(config, "JANUS event handler", "Hands events on to a server outside.");
        ((*package).to_owned(), about)
    };
    config.options.event_handlers.iter().map(entry).collect()
}

fn about(config: &Config, name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "author": "voex",
        "description": description,
        "version_string": config.version,
        "version": version_number(&config.version),
    })
}

/// Packs `major.minor.patch` the way clients compare it: 1.4.1 is 1401.
fn version_number(version: &str) -> u32 {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0_u32).min(99));
    let mut next = || parts.next().unwrap_or(0);
    next() * 1000 + next() * 100 + next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_follow_the_known_example() {
        assert_eq!(version_number("1.4.1"), 1401);
        assert_eq!(version_number("0.1.0"), 100);
    }
}
