//! Every option of coturn 4.6 and 4.17, and what is done with it.

use super::act::{self, Act, Act::*, Sense};
use crate::key::distance;

/// An option.
pub(super) struct Row {
    /// Its long name.
    pub(super) name: &'static str,
    /// Whether every line counts, or the last one only.
    pub(super) repeats: bool,
    /// What is done with it.
    pub(super) act: Act,
}

macro_rules! rows {
    ($($name:literal $($repeats:ident)? => $act:expr;)*) => {
        const ROWS: &[Row] = &[$(Row {
            name: $name,
            repeats: rows!(@ $($repeats)?),
            act: $act,
        }),*];
    };
    (@ many) => { true };
    (@) => { false };
}

const LOGS: &str = "lines go to stderr; systemd or the container keeps them";
const NOT_SQL: &str = "users are not read from an SQL or Mongo database; put them into Redis, or into turn.users.keys as `turnadmin -l` shows \
                       them";
const TLS_OLD: &str = "TLS 1.2 and 1.3 only";
const KERNEL: &str = "packets are sent and received in batches as the kernel can";
const UNIT: &str = "the unit of systemd says it: User=, Group=";

rows! {
    // Where clients come in.
    "listening-port" => Read(act::plain_ports);
    "alt-listening-port" => Read(act::plain_ports);
    "tls-listening-port" => Read(act::tls_ports);
    "alt-tls-listening-port" => Read(act::tls_ports);
    "listening-ip" many => Read(act::listen);
    "listening-device" => Obsolete;
    "no-udp" => Read(act::transports);
    "no-tcp" => Read(act::transports);
    "no-tls" => Read(act::transports);
    "no-dtls" => Read(act::transports);
    "dtls" => Read(act::transports);
    "tcp-proxy-port" => Gap("PROXY protocol is not spoken; let the balancer pass addresses through (LVS, nftables)");
    "aux-server" many => Gap("only turn.listen and turn.ports are listened on; add the address and port there");
    "udp-self-balance" => Needless("the kernel spreads clients over the workers");
    "acme-redirect" => Gap("HTTP is not answered on TURN ports; have the ACME client use port 80 or DNS");
    "respond-http-unsupported" => Needless("what is not STUN is dropped and counted");
    // Relays.
    "relay-device" => Obsolete;
    "relay-ip" many => Read(act::listen);
    "external-ip" many => Read(act::external_ip);
    "min-port" => Read(act::relay_ports);
    "max-port" => Read(act::relay_ports);
    "no-udp-relay" => Only { fits: false, why: "UDP relays are on", else_gap: "UDP relays cannot be switched off" };
    "no-tcp-relay" => Switch("turn.tcp_relays", Sense::Inverse);
    "allocation-default-address-family" => Read(act::address_family);
    "keep-address-family" => Only { fits: false, why: "as here", else_gap: "a client that does not ask for a family gets IPv4" };
    "mobility" => Switch("turn.mobility", Sense::Same);
    "server-relay" => Only { fits: false, why: "as here", else_gap: "permissions are always checked" };
    "multiplex-peer" => Only { fits: false, why: "as here", else_gap: "each allocation has a port of its own: open min-port to max-port" };
    "multiplex-peer-port" => Needless("only with multiplex-peer");
    "multiplex-peer-max-peers" => Needless("only with multiplex-peer");
    "rfc5766-channel-numbers" => Needless("channels up to 0x7FFF are taken");
    // Threads.
    "relay-threads" => Read(act::relay_threads);
    "cpus" => Needless("workers stay on the cores that the process may use; relay-threads says how many");
    "ne" => Obsolete;
    "sock-buf-size" => Needless("buffers are as large as net.core.rmem_max and wmem_max allow");
    "udp-recvmmsg" => Needless(KERNEL);
    "udp-recvmmsg-log" => Needless(KERNEL);
    "udp-gso" => Needless(KERNEL);
    "udp-sendmmsg-log" => Needless(KERNEL);
    // Who may.
    "realm" => Read(act::realm);
    "lt-cred-mech" => Needless("credentials are always asked for");
    "no-auth" => Only { fits: false, why: "credentials are always asked for", else_gap: "nobody relays without credentials; give turn.users.static or turn.users.secrets" };
    "user" many => Read(act::user);
    "use-auth-secret" => Read(act::use_auth_secret);
    "static-auth-secret" many => Read(act::shared_secret);
    "rest-api-separator" => Read(act::separator);
    "secret-ts-exp-time" => Obsolete;
    "redis-userdb" => Read(act::redis_users);
    "redis-statsdb" => Read(act::redis_stats);
    "userdb" => Gap(NOT_SQL);
    "db" => Gap(NOT_SQL);
    "psql-userdb" => Gap(NOT_SQL);
    "sql-userdb" => Gap(NOT_SQL);
    "mysql-userdb" => Gap(NOT_SQL);
    "mongo-userdb" => Gap(NOT_SQL);
    "secret-key-file" => Needless("only for a MySQL database");
    "no-auth-pings" => Needless("Redis is watched, and nobody waits for it");
    "no-dynamic-ip-list" => Read(act::dynamic_peers);
    "no-dynamic-realms" => Needless("there is one realm, turn.realm");
    "check-origin-consistency" => Needless("ORIGIN chooses nothing");
    "oauth" => Switch("turn.oauth", Sense::Same);
    "server-name" => Read(act::server_name);
    "stale-nonce" => Read(act::stale_nonce);
    "stateless-nonce" => Needless("nonces take no memory");
    "stateless-nonce-secret" => Needless("a client that changes servers gets a fresh nonce by itself (438)");
    "unauthorized-ratelimit" => Needless("answers to strangers are always limited by source");
    "unauthorized-ratelimit-rps" => Needless("200 challenges a second for each source, where longer than 1.5 x the request");
    // TLS.
    "cert" => Read(act::certificate);
    "pkey" => Read(act::certificate);
    "pkey-pwd" => Gap("the key must not be encrypted: openssl pkey -in KEY -out PLAIN, chmod 600");
    "CA-file" => Gap("certificates of clients are not asked for; TURN credentials say who they are");
    "cipher-list" => Read(act::cipher_list);
    "ec-curve-name" => Needless("curves are negotiated");
    "dh-file" => Needless("keys are agreed on over curves");
    "dh566" => Needless("keys are agreed on over curves");
    "dh1066" => Needless("keys are agreed on over curves");
    "no-sslv2" => Obsolete;
    "no-sslv3" => Obsolete;
    "no-tlsv1" => Only { fits: true, why: TLS_OLD, else_gap: "TLS 1.0 is not spoken" };
    "no-tlsv1_1" => Only { fits: true, why: TLS_OLD, else_gap: "TLS 1.1 is not spoken" };
    "no-tlsv1_2" => Only { fits: false, why: TLS_OLD, else_gap: "TLS 1.2 cannot be switched off" };
    "tlsv1" => Only { fits: false, why: TLS_OLD, else_gap: "TLS 1.0 is not spoken" };
    "tlsv1_1" => Only { fits: false, why: TLS_OLD, else_gap: "TLS 1.1 is not spoken" };
    "raw-public-keys" => Only { fits: false, why: "as here", else_gap: "certificates only" };
    // Limits.
    "user-quota" => Read(act::user_quota);
    "total-quota" => Read(act::total_quota);
    "max-bps" => Read(act::max_bps);
    "bps-capacity" => Read(act::bps_capacity);
    "max-allocate-lifetime" => Read(act::allocation_lifetime);
    "channel-lifetime" => Read(act::channel_lifetime);
    "permission-lifetime" => Read(act::permission_lifetime);
    "max-allocate-timeout" => Needless("an Allocate is answered at once");
    "drain-min-allocations" => Needless("a drain ends with the last session");
    // Peers.
    "allowed-peer-ip" many => Read(act::allowed_peers);
    "denied-peer-ip" many => Read(act::denied_peers);
    "allow-loopback-peers" => Switch("turn.peers.allow_loopback", Sense::Same);
    "no-loopback-peers" => Obsolete;
    "no-multicast-peers" => Only { fits: true, why: "multicast peers are always refused", else_gap: "multicast peers are always refused" };
    // STUN.
    "fingerprint" => Needless("an answer has FINGERPRINT when its request has");
    "stun-only" => Only { fits: false, why: "as here", else_gap: "TURN cannot be switched off alone; without users every allocation is refused" };
    "no-stun" => Only { fits: false, why: "as here", else_gap: "Binding requests are always answered, limited by source" };
    "secure-stun" => Only { fits: false, why: "as here", else_gap: "Binding requests are answered to anybody, limited by source" };
    "rfc5780" => Switch("turn.nat_discovery", Sense::Same);
    "no-rfc5780" => Switch("turn.nat_discovery", Sense::Inverse);
    "response-origin-only-with-rfc5780" => Needless("RESPONSE-ORIGIN belongs to NAT discovery");
    "stun-backward-compatibility" => Only { fits: false, why: "as here", else_gap: "clients of RFC 3489, older than 2008, are not answered" };
    "no-stun-backward-compatibility" => Needless("clients of RFC 3489, older than 2008, are not answered");
    "rfc3489-compatibility" => Only { fits: false, why: "as here", else_gap: "clients of RFC 3489, older than 2008, are not answered" };
    "no-software-attribute" => Switch("turn.software_attribute", Sense::Inverse);
    "prod" => Switch("turn.software_attribute", Sense::Inverse);
    "software-attribute" => Switch("turn.software_attribute", Sense::Same);
    "include-reason-string" => Needless("errors always have a reason");
    "drop-invalid-packets" => Needless("what is malformed is dropped and counted");
    "drop-invalid-packets-log" => Needless("what is dropped is counted by reason, not logged");
    "alternate-server" many => Read(act::alternate_server);
    "udp-alternate-server" many => Read(act::alternate_server);
    "tcp-alternate-server" many => Read(act::alternate_server);
    "tls-alternate-server" many => Read(act::alternate_server_tls);
    // Running it.
    "log-file" => Needless(LOGS);
    "simple-log" => Needless(LOGS);
    "no-stdout-log" => Needless(LOGS);
    "syslog" => Needless(LOGS);
    "syslog-facility" => Needless(LOGS);
    "new-log-timestamp" => Needless("times are always ISO 8601");
    "new-log-timestamp-format" => Needless("times are always ISO 8601");
    "log-binding" => Needless("Binding requests are counted, not logged");
    "log-min-level" => Read(act::log_min_level);
    "verbose" => Needless("log.level is info; debug says more");
    "Verbose" => Read(act::very_verbose);
    "pidfile" => Needless("systemd knows the process");
    "daemon" => Needless("it runs in the foreground, as systemd and containers want it");
    "proc-user" => Needless(UNIT);
    "proc-group" => Needless(UNIT);
    "version" => Needless("it prints a version");
    "prometheus" => Read(act::prometheus);
    "prometheus-port" => Read(act::prometheus);
    "prometheus-address" => Read(act::prometheus);
    "prometheus-path" => Read(act::prometheus_path);
    "prometheus-username-labels" => Only { fits: false, why: "as here", else_gap: "no user is a label; the JSON API and Redis have traffic by session" };
    "prometheus-tls" => Only { fits: false, why: "as here", else_gap: "http.listen speaks no TLS; put a proxy in front" };
    "prometheus-cert" => Needless("only with prometheus-tls");
    "prometheus-key" => Needless("only with prometheus-tls");
    "cli" => Only { fits: false, why: "as here", else_gap: act::TELNET };
    "no-cli" => Needless("there is no telnet interface");
    "cli-ip" => Read(act::telnet);
    "cli-port" => Read(act::telnet);
    "cli-password" => Read(act::telnet);
    "cli-max-output-sessions" => Read(act::telnet);
    "web-admin" => Only { fits: false, why: "as here", else_gap: act::WEB_ADMIN };
    "web-admin-ip" => Read(act::web_admin);
    "web-admin-port" => Read(act::web_admin);
    "web-admin-listen-on-workers" => Read(act::web_admin);
}

/// Finds an option by its long name.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Finds the option that an unknown name was probably meant to be.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    // The distance takes the product of both lengths.
    let candidates = ROWS.iter().filter(|_| name.len() < 64);
    let (distance, nearest) = candidates.map(|row| (distance(name, row.name), row.name)).min()?;
    (distance <= 2.max(name.len() / 4)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_stands_twice_in_the_table() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_misspelt_option_is_told_the_nearest_one() {
        assert_eq!(nearest("listning-ip"), Some("listening-ip"));
        assert_eq!(nearest("qqqqqq"), None);
    }
}
