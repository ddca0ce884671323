//! Settings turned into what the TURN shards are told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use voex_config::{RedisTarget, Settings};
use voex_store::RealmRules;
use voex_turn::{
    AlternateServers, Config, Lifetimes, PasswordAlgorithm, PeerRules, PortShare, Rates, TokenAlgorithm, TokenKey,
    UserSecret,
};

use crate::addresses::Addresses;
use crate::media::{host_name, range};

/// What the shards are told besides the settings. It stays the same while the process runs.
pub(crate) struct TurnBasis {
    /// Signs nonces and reservation tokens.
    pub(crate) signing_key: [u8; 32],
    /// The user that was made at start because none was given.
    pub(crate) made_user: Option<(String, voex_config::Secret)>,
    /// Listeners of the control plane: no relay may reach them.
    pub(crate) own_sockets: Vec<SocketAddr>,
}

/// The TURN listeners under every address a client may know them by: a relay to one would be a way to allocate through
/// an allocation, with no end (RFC 8656 §21.1.7).
fn turn_listeners_as_peers(settings: &Settings, addresses: &Addresses) -> Vec<SocketAddr> {
    let public = addresses.relays.iter().map(|relay| relay.public);
    let listen = addresses.turn.iter().copied();
    let ports = &settings.turn.ports();
    public
        .chain(listen)
        .flat_map(|ip| ports.iter().map(move |port| SocketAddr::new(ip, *port)))
        .collect()
}

/// The databases as peers: those that were connected to, and those that are named by an address. One on this host is
/// closed under every address of the host.
fn databases_as_peers(settings: &Settings, addresses: &Addresses, rules: &RealmRules) -> Vec<SocketAddr> {
    let targets = [&settings.turn.users_redis, &settings.turn.stats_redis];
    let named = |target: &RedisTarget| Some(SocketAddr::new(target.host.parse().ok()?, target.port));
    let named = targets.into_iter().flatten().filter_map(named);
    let is_here = |server: &SocketAddr| server.ip().is_loopback() || addresses.host.contains(&server.ip());
    named
        .chain(rules.servers.iter().copied())
        .flat_map(|server| match is_here(&server) {
            true => {
                let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, server.port()));
                [vec![server], addresses.spread(unspecified)].concat()
            }
            false => vec![server],
        })
        .collect()
}

/// Makes what every shard is told, at start, at each reload, and when Redis says something else of the realm;
/// [`Config::shard`] and [`Config::ports`] are set for each.
pub(crate) fn turn_config(settings: &Settings, addresses: &Addresses, basis: &TurnBasis, rules: &RealmRules) -> Config {
    let turn = &settings.turn;
    let secret = |secret: &voex_config::Secret| voex_turn::Secret::new(secret.reveal());
    let realm = turn.realm.clone().unwrap_or_else(host_name);
    let ports = PortShare::whole(range(turn.relay_ports));
    let mut config = Config::new(&realm, basis.signing_key, addresses.relays.clone(), ports);
    if turn.software_attribute {
        config.software = concat!("voex ", env!("CARGO_PKG_VERSION")).to_owned();
    }
    config.users = turn
        .users_static
        .iter()
        .chain(&basis.made_user)
        .map(|(name, key)| (name.clone(), UserSecret::Password(secret(key))))
        .collect();
    let keyed = turn.users_keys.iter();
    config
        .users
        .extend(keyed.map(|(name, key)| (name.clone(), UserSecret::Key(key.reveal()))));
    config.shared_secrets = turn.users_secrets.iter().map(secret).collect();
    config.end_deleted_users = turn.users_end_deleted;
    config.tcp_relays = turn.tcp_relays;
    config.mobility = turn.mobility;
    config.dont_fragment = true;
    config.nat_discovery = turn.nat_discovery;
    config.alternate_servers = AlternateServers {
        plain: turn.alternate_server.clone(),
        tls: turn.alternate_server_tls.clone(),
        domain: turn.alternate_domain.clone(),
    };
    config.password_algorithms = password_algorithms(turn);
    let server_name = || turn.server_name.clone().unwrap_or_else(|| config.realm.clone());
    config.third_party_authorization = turn.oauth.then(server_name);
    config.token_keys = turn.users_tokens.iter().map(token_key).collect();
    config.credential_store = turn.users_redis.is_some();
    let per_user = rules.allocations_per_user.unwrap_or(turn.quota_allocations_per_user);
    config.allocations_per_user_max = some_above_zero(per_user);
    config.allocations_total_max = some_above_zero(rules.allocations.unwrap_or(turn.quota_allocations));
    config.rates = rates(turn, rules);
    config.lifetimes = lifetimes(turn.lifetimes);
    config.peers = PeerRules {
        allow: [&turn.peers_allow[..], &rules.allow].concat(),
        deny: [&turn.peers_deny[..], &rules.deny].concat(),
        allow_loopback: turn.peers_allow_loopback,
        own_sockets: [
            &basis.own_sockets[..],
            &turn_listeners_as_peers(settings, addresses),
            &databases_as_peers(settings, addresses, rules),
        ]
        .concat(),
    };
    config
}

/// The length of a key says what it is for.
fn token_key((kid, key): &(String, voex_config::TokenKey)) -> (String, TokenKey) {
    let algorithm = match key.reveal().len() {
        16 => TokenAlgorithm::Aes128Gcm,
        _ => TokenAlgorithm::Aes256Gcm,
    };
    let key = TokenKey {
        key: key.reveal().into(),
        algorithm,
        timestamp_s: 0,
        lifetime_s: 0,
    };
    (kid.clone(), key)
}

/// What is set, or what every user can use: SHA-256 only where no user is known by its MD5 key alone.
fn password_algorithms(turn: &voex_config::Turn) -> Vec<PasswordAlgorithm> {
    let by_name = |algorithm: &voex_config::PasswordAlgorithm| match algorithm {
        voex_config::PasswordAlgorithm::Md5 => PasswordAlgorithm::Md5,
        voex_config::PasswordAlgorithm::Sha256 => PasswordAlgorithm::Sha256,
    };
    let has_md5_keys = !turn.users_keys.is_empty() || turn.users_redis.is_some();
    match &turn.password_algorithms {
        Some(set) => set.iter().map(by_name).collect(),
        None if has_md5_keys => vec![PasswordAlgorithm::Md5],
        None => vec![PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5],
    }
}

fn lifetimes(settings: voex_config::Lifetimes) -> Lifetimes {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let default = Lifetimes::default();
    let allocation_max = seconds(settings.allocation_max_s);
    Lifetimes {
        allocation_default: default.allocation_default.min(allocation_max),
        allocation_max,
        permission: seconds(settings.permission_s),
        channel: seconds(settings.channel_s),
        nonce: seconds(settings.nonce_s),
        ..default
    }
}

fn rates(turn: &voex_config::Turn, rules: &RealmRules) -> Rates {
    let of_realm = rules.bandwidth_bytes_s;
    Rates {
        bytes_per_s: of_realm.map_or(turn.quota_bytes_per_s, |limit| limit.try_into().unwrap_or(u32::MAX)),
        total_bytes_per_s: turn.quota_total_bytes_per_s,
        packets_per_s: turn.quota_packets_per_s,
        new_peers_per_s: turn.quota_new_peers_per_s,
    }
}

fn some_above_zero(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use voex_config::{Turn, UserKey};

    use super::*;

    #[test]
    fn sha256_is_offered_where_every_user_can_use_it() {
        let both = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];
        assert_eq!(password_algorithms(&Turn::default()), both);
        let key = UserKey::parse("38ea77b3222a6572d2bb78cfa6468419").unwrap();
        let keyed = Turn {
            users_keys: vec![("bob".to_owned(), key)],
            ..Turn::default()
        };
        assert_eq!(password_algorithms(&keyed), [PasswordAlgorithm::Md5]);
        let stored = Turn {
            users_redis: Some(RedisTarget::parse("ip=localhost").unwrap()),
            ..Turn::default()
        };
        assert_eq!(password_algorithms(&stored), [PasswordAlgorithm::Md5]);
        let set = Turn {
            password_algorithms: Some(vec![voex_config::PasswordAlgorithm::Sha256]),
            ..stored
        };
        assert_eq!(password_algorithms(&set), [PasswordAlgorithm::Sha256]);
    }

    #[test]
    fn the_bandwidth_of_a_realm_goes_before_the_setting() {
        let turn = Turn {
            quota_bytes_per_s: 1_000,
            ..Turn::default()
        };
        let of_realm = |bandwidth_bytes_s| {
            let rules = RealmRules {
                bandwidth_bytes_s,
                ..RealmRules::default()
            };
            rates(&turn, &rules).bytes_per_s
        };
        assert_eq!(of_realm(None), 1_000);
        assert_eq!(of_realm(Some(0)), 0);
        assert_eq!(of_realm(Some(64_000)), 64_000);
        assert_eq!(of_realm(Some(1 << 40)), u32::MAX);
    }
}
