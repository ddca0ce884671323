//! The table of all keys: canonical name, names in VoEx, how a value is read, how it is shown.

use std::path::PathBuf;

use crate::problem::Wrong;
use crate::read::{
    address, api_socket, boolean, event_queue, external, http_url, list, log_format, log_level, names, network, number,
    password_algorithm, path, port, ports, prefix, project_type, protocols, redis, requirepass, seconds, secret,
    sip_listen, socket, some, text, token_keys, topic, user_keys, users, websocket_url, workers,
};
use crate::settings::{Route, Settings, StaticRoom, Trunk};
use crate::structure::{rooms, routes, trunks};
use crate::yaml::Node;
use crate::{RedisTarget, Secret, TokenKey, UserKey};

/// One key.
pub(crate) struct Key {
    /// Canonical name.
    pub(crate) name: &'static str,
    /// Its names in VoEx's file.
    pub(crate) voex: &'static [&'static str],
    /// What is special about it.
    pub(crate) marks: &'static [Mark],
    /// Puts a value into the settings.
    pub(crate) read: fn(&mut Settings, &Node) -> Result<(), Vec<Wrong>>,
    /// Shows the value in force, secrets masked.
    pub(crate) show: fn(&Settings) -> String,
    /// Tells whether two settings agree on it.
    pub(crate) same: fn(&Settings, &Settings) -> bool,
    /// Takes it over into the first from the second.
    pub(crate) take: fn(&mut Settings, &Settings),
}

/// What is special about a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Its values are never shown.
    Masked,
    /// Read and checked, without effect until its feature is there.
    Later,
    /// A reload takes it over; every other key waits for a restart.
    Live,
}

impl Key {
    pub(crate) fn is(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }
}

macro_rules! keys {
    ($($name:literal $([$($voex:literal)*])? $($mark:ident)*: $($field:ident).+ = $read:expr;)*) => {
        /// Every key that has a canonical name.
        pub(crate) const KEYS: &[Key] = &[$(Key {
            name: $name,
            voex: &[$($($voex),*)?],
            marks: &[$(Mark::$mark),*],
            read: |settings, node| {
                settings.$($field).+ = ($read)(node)?;
                Ok(())
            },
            show: |settings| settings.$($field).+.shown(),
            same: |one, other| one.$($field).+ == other.$($field).+,
            take: |to, from| to.$($field).+ = from.$($field).+.clone(),
        }),*];
    };
}

keys! {
    "turn.enabled": turn.enabled = boolean;
    "turn.listen" ["turnserver_listening_ip"]: turn.listen = list(address);
    "turn.ports.plain": turn.plain_ports = list(port);
    "turn.ports.tls": turn.tls_ports = list(port);
    "turn.transports": turn.transports = protocols;
    "turn.external" ["turnserver_external_ip"] Live: turn.external = list(external);
    "turn.realm" ["turnserver_server_name"] Live: turn.realm = some(text);
    "turn.relay_ports": turn.relay_ports = ports;
    "turn.users.static" Masked Live: turn.users_static = users;
    "turn.users.keys" Masked Live: turn.users_keys = user_keys;
    "turn.users.secrets" Masked Live: turn.users_secrets = list(secret);
    "turn.users.tokens" Masked Live: turn.users_tokens = token_keys;
    "turn.users.end_deleted" Live: turn.users_end_deleted = boolean;
    "turn.users.redis" ["redis_userdb"] Masked Live: turn.users_redis = some(redis);
    "turn.users.cache_s" Live: turn.users_cache_s = seconds::<0, 604_800>;
    "turn.users.cache_max" Live: turn.users_cache_max = number;
    "turn.stats.redis" ["redis_statsdb"] Masked Live: turn.stats_redis = some(redis);
    "turn.tcp_relays" Live: turn.tcp_relays = boolean;
    "turn.mobility" Live: turn.mobility = boolean;
    "turn.password_algorithms" Live: turn.password_algorithms = some(list(password_algorithm));
    "turn.nat_discovery" Live: turn.nat_discovery = boolean;
    "turn.alternate_server" Live: turn.alternate_server = list(socket);
    "turn.alternate_server_tls" Live: turn.alternate_server_tls = list(socket);
    "turn.alternate_domain" Live: turn.alternate_domain = some(text);
    "turn.oauth" Live: turn.oauth = boolean;
    "turn.server_name" Live: turn.server_name = some(text);
    "turn.peers.allow" Live: turn.peers_allow = list(network);
    "turn.peers.deny" Live: turn.peers_deny = list(network);
    "turn.peers.allow_loopback" Live: turn.peers_allow_loopback = boolean;
    "turn.quota.allocations" Live: turn.quota_allocations = number;
    "turn.quota.allocations_per_user" Live: turn.quota_allocations_per_user = number;
    "turn.quota.bytes_per_s" Live: turn.quota_bytes_per_s = number;
    "turn.quota.total_bytes_per_s" Live: turn.quota_total_bytes_per_s = number;
    "turn.quota.packets_per_s" Live: turn.quota_packets_per_s = number;
    "turn.quota.new_peers_per_s" Live: turn.quota_new_peers_per_s = number;
    "turn.software_attribute" Live: turn.software_attribute = boolean;
    "turn.lifetimes.allocation_max_s" Live: turn.lifetimes.allocation_max_s = seconds::<60, 86_400>;
    "turn.lifetimes.permission_s" Live: turn.lifetimes.permission_s = seconds::<60, 3_600>;
    "turn.lifetimes.channel_s" Live: turn.lifetimes.channel_s = seconds::<60, 86_400>;
    "turn.lifetimes.nonce_s" Live: turn.lifetimes.nonce_s = seconds::<60, 86_400>;
    "tls.certificate" Live: tls.certificate = some(path);
    "tls.key" Live: tls.key = some(path);
    "acl.cts" ["permit_ip"] Live: acl_cts = list(network);
    "mcu.enabled" ["janus_enabled"]: mcu.enabled = boolean;
    "mcu.ws.listen" ["janus_ws_ip"]: mcu.ws_listen = api_socket;
    "mcu.ws.allow_prefix" ["janus_ws_acl"] Live: mcu.ws_allow_prefix = list(prefix);
    "mcu.api_secret" Masked: mcu.api_secret = some(secret);
    "mcu.token_auth": mcu.token_auth = boolean;
    "mcu.token_secret" Masked: mcu.token_secret = some(secret);
    "mcu.opaque_id_in_api": mcu.opaque_id_in_api = boolean;
    "mcu.admin.listen": mcu.admin_listen = some(socket);
    "mcu.admin.secret" Masked: mcu.admin_secret = some(secret);
    "mcu.session_timeout_s": mcu.session_timeout_s = number;
    "mcu.reclaim_timeout_s": mcu.reclaim_timeout_s = number;
    "mcu.recordings_dir": mcu.recordings_dir = some(path);
    "mcu.rooms": mcu.rooms = rooms;
    "mcu.admin_key" Masked: mcu.admin_key = some(secret);
    "mcu.lock_rtp_forward": mcu.lock_rtp_forward = boolean;
    "mcu.events.websocket" Masked: mcu.events.websocket = some(websocket_url);
    "mcu.events.http" Masked: mcu.events.http = some(http_url);
    "mcu.events.topics": mcu.events.topics = list(topic);
    "mcu.events.grouping": mcu.events.grouping = boolean;
    "mcu.events.queue": mcu.events.queue = event_queue;
    "mcu.events.sub_protocol": mcu.events.sub_protocol = text;
    "mcu.string_ids": mcu.string_ids = boolean;
    "media.ports": media.ports = ports;
    "media.listen": media.listen = list(address);
    "media.public_address" ["janus_nat_1_1_mapping" "nat_1_1_mapping"]: media.public_address = list(address);
    "media.keep_private" ["janus_keep_private_host" "keep_private_host"]: media.keep_private = boolean;
    "sip.enabled": sip.enabled = boolean;
    "sip.listen": sip.listen = list(sip_listen);
    "sip.media_address": sip.media_address = some(address);
    "sip.calls_dir": sip.calls_dir = some(path);
    "sip.calls_kept_s": sip.calls_kept_s = number;
    "sip.trunks" Masked Later: sip.trunks = trunks;
    "sip.routes" Later: sip.routes = routes;
    "http.listen": http.listen = socket;
    "http.allow" Live: http.allow = list(network);
    "http.names" Live: http.names = list(text);
    "drain_max_s" Live: drain_max_s = number;
    "workers": workers = workers;
    "log.level" ["logger_level"] Live: log.level = log_level;
    "log.format": log.format = log_format;
    "redis_endpoint.password" Masked Later: voex.redis_endpoint_password = some(secret);
}

/// Keys of VoEx's file that have no canonical name.
pub(crate) const VOEX_KEYS: &[Key] = &[
    Key {
        name: "project_type",
        voex: &[],
        marks: &[],
        read: |_, node| project_type(node),
        show: |_| "express-voice".to_owned(),
        same: |_, _| true,
        take: |_, _| {},
    },
    Key {
        name: "external_interface",
        voex: &[],
        marks: &[],
        read: |settings, node| {
            settings.voex.external_interface = Some(text(node)?);
            Ok(())
        },
        show: |settings| settings.voex.external_interface.shown(),
        same: |one, other| one.voex.external_interface == other.voex.external_interface,
        take: |to, from| to.voex.external_interface.clone_from(&from.voex.external_interface),
    },
    Key {
        name: "redis_options",
        voex: &[],
        marks: &[Mark::Masked, Mark::Later],
        read: |settings, node| {
            settings.voex.redis_endpoint_password = requirepass(node)?;
            Ok(())
        },
        show: |settings| settings.voex.redis_endpoint_password.shown(),
        same: |one, other| one.voex.redis_endpoint_password == other.voex.redis_endpoint_password,
        take: |to, from| {
            to.voex
                .redis_endpoint_password
                .clone_from(&from.voex.redis_endpoint_password)
        },
    },
    Key {
        name: "images",
        voex: &[],
        marks: &[],
        read: |settings, node| {
            settings.voex.images = names(node)?;
            Ok(())
        },
        show: |settings| {
            settings
                .voex
                .images
                .iter()
                .map(|(name, tag)| format!("{name}={tag}"))
                .collect::<Vec<_>>()
                .shown()
        },
        same: |one, other| one.voex.images == other.voex.images,
        take: |to, from| to.voex.images.clone_from(&from.voex.images),
    },
    Key {
        name: "le_email",
        voex: &[],
        marks: &[],
        read: |settings, node| {
            settings.voex.le_email = Some(text(node)?);
            Ok(())
        },
        show: |settings| settings.voex.le_email.shown(),
        same: |one, other| one.voex.le_email == other.voex.le_email,
        take: |to, from| to.voex.le_email.clone_from(&from.voex.le_email),
    },
];

/// Families of keys that belong to the deployment tool and mean nothing here.
const FOREIGN_KEYS: &[&str] = &[
    "prometheus_users",
    "docker_socket_proxy_enabled",
    "proxy_ssl_enable",
    "nginx_listen_http",
    "elk_host",
];
const FOREIGN_SUFFIXES: &[&str] = &["_options", "_env_override", "_driver_opts"];

/// Finds a key by either of its names.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name || key.voex.contains(&name))
}

/// Every key there is.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    VOEX_KEYS.iter().chain(KEYS)
}

/// Tells whether longer names begin with this one and a dot.
pub(crate) fn is_section(name: &str) -> bool {
    KEYS.iter()
        .any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// Tells whether a key belongs to the deployment tool alone.
pub(crate) fn is_foreign(name: &str) -> bool {
    FOREIGN_KEYS.contains(&name) || FOREIGN_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Finds the known name that an unknown one was probably meant to be.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let names = all().flat_map(|key| key.voex.iter().copied().chain([key.name]));
    let (distance, nearest) = names.map(|known| (distance(name, known), known)).min()?;
    (distance <= 2.max(name.len() / 4)).then_some(nearest)
}

/// Levenshtein distance.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// How a value is shown in the effective settings.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_by_display {
    ($($type:ty),* $(,)?) => {$(
        impl Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

shown_by_display! {
    bool, u16, u32, String, Secret, crate::EventUrl, RedisTarget, Route, std::net::IpAddr, std::net::SocketAddr, ipnet::IpNet,
    crate::settings::PortRange, crate::settings::External, crate::settings::Prefix, crate::settings::SipListen,
    crate::settings::LogLevel, crate::settings::LogFormat, crate::settings::PasswordAlgorithm,
}

impl Shown for voex_base::Protocol {
    fn shown(&self) -> String {
        self.name().to_owned()
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Shown for (String, Secret) {
    fn shown(&self) -> String {
        format!("{}: ***", self.0)
    }
}

impl Shown for (String, TokenKey) {
    fn shown(&self) -> String {
        format!("{}: ***", self.0)
    }
}

impl Shown for (String, UserKey) {
    fn shown(&self) -> String {
        format!("{}: ***", self.0)
    }
}

impl Shown for StaticRoom {
    fn shown(&self) -> String {
        self.id.clone()
    }
}

impl Shown for Trunk {
    fn shown(&self) -> String {
        format!("{} -> {}", self.name, self.server)
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "-".to_owned(), Shown::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> String {
        format!("[{}]", self.iter().map(Shown::shown).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_key_is_named_and_a_far_one_is_not() {
        assert_eq!(nearest("janus_enable"), Some("janus_enabled"));
        assert_eq!(nearest("turn.listn"), Some("turn.listen"));
        assert_eq!(nearest("zzz"), None);
    }

    #[test]
    fn no_name_stands_twice_in_the_table() {
        let mut names: Vec<_> = all()
            .flat_map(|key| key.voex.iter().copied().chain([key.name]))
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
