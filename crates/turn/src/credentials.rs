use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use voex_base::{Rng, WallTime};
use voex_stun::{IntegrityKey, Message};

use crate::keyed::{KeyedMap, keyed_map};
use crate::{Config, UserSecret};

/// Who may use the server: static users, and users whose name says until when (draft-uberti-behave-turn-rest-00).
pub(crate) struct Credentials {
    realm: String,
    users: KeyedMap<String, IntegrityKey>,
    shared_secrets: Vec<Hmac<Sha1>>,
    /// Fits nothing; checked for names that do not exist, so that they cannot be told by the time it takes.
    nobody: IntegrityKey,
}

/// Length of a password that is base64 of an HMAC-SHA1.
const REST_PASSWORD_BYTES: usize = 28;

impl Credentials {
    pub(crate) fn new(config: &Config, rng: &mut Rng) -> Self {
        let mut users: HashMap<_, _, _> = keyed_map(rng);
        for (name, secret) in &config.users {
            let key = match secret {
                UserSecret::Password(password) => IntegrityKey::long_term(name, &config.realm, password.expose()),
                UserSecret::Key(key) => IntegrityKey::new(key),
            };
            users.insert(name.clone(), key);
        }
        let keyed = |secret: &crate::Secret| {
            Hmac::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of every length")
        };
        let shared_secrets = config.shared_secrets.iter().map(keyed).collect();
        let mut nobody = [0; 16];
        rng.fill(&mut nobody);
        Self {
            realm: config.realm.clone(),
            users,
            shared_secrets,
            nobody: IntegrityKey::new(&nobody),
        }
    }

    /// Finds the key under which the integrity of `message` fits for `user`; `None` for an unknown user, a wrong
    /// password and an expired name alike.
    pub(crate) fn authenticate(&self, message: &Message<'_>, user: &str, wall: WallTime) -> Option<IntegrityKey> {
        let fits = |key: &IntegrityKey| message.check_integrity(key).is_ok();
        match self.users.get(user) {
            Some(key) => fits(key).then(|| key.clone()),
            None if expiry_of(user).is_none_or(|expiry| expiry < wall.unix_s()) => {
                // Nobody holds this key, so the outcome is known; the work is what counts.
                std::hint::black_box(fits(&self.nobody));
                None
            }
            None => self
                .shared_secrets
                .iter()
                .map(|secret| self.rest_key(secret, user))
                .find(fits),
        }
    }

    fn rest_key(&self, secret: &Hmac<Sha1>, user: &str) -> IntegrityKey {
        let mut mac = secret.clone();
        mac.update(user.as_bytes());
        let mut password = [0; REST_PASSWORD_BYTES];
        STANDARD
            .encode_slice(mac.finalize().into_bytes(), &mut password)
            .expect("20 bytes are 28 characters of base64");
        let password = std::str::from_utf8(&password).expect("base64 is ASCII");
        IntegrityKey::long_term(user, &self.realm, password)
    }
}

/// Gives the seconds since 1970 after which a time-limited name is void.
fn expiry_of(user: &str) -> Option<u64> {
    match user.split_once(':') {
        None => user.parse().ok(),
        Some((first, rest)) => first.parse().or_else(|_| last_part(rest).parse()).ok(),
    }
}

/// Gives the name without its expiry: what a quota counts by.
pub(crate) fn name_without_expiry(user: &str) -> &str {
    match user.split_once(':') {
        Some((first, rest)) if is_number(first) => rest,
        Some(_) => match user.rsplit_once(':') {
            Some((name, last)) if is_number(last) => name,
            _ => user,
        },
        None => user,
    }
}

fn last_part(text: &str) -> &str {
    text.rsplit_once(':').map_or(text, |(_, last)| last)
}

fn is_number(text: &str) -> bool {
    text.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_stands_before_or_behind_the_name() {
        assert_eq!(expiry_of("1800000000:alice"), Some(1_800_000_000));
        assert_eq!(expiry_of("alice:1800000000"), Some(1_800_000_000));
        assert_eq!(expiry_of("a:b:1800000000"), Some(1_800_000_000));
        assert_eq!(expiry_of("1800000000"), Some(1_800_000_000));
        assert_eq!(expiry_of("alice"), None);
        assert_eq!(expiry_of("alice:bob"), None);
    }

    #[test]
    fn a_quota_counts_by_name_whatever_the_expiry() {
        for name in ["1800000000:alice", "alice:1800000000", "alice"] {
            assert_eq!(name_without_expiry(name), "alice");
        }
        assert_eq!(name_without_expiry("1800000000"), "1800000000");
    }
}
