use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use voex_base::{Rng, WallTime};
use voex_stun::{Message, PasswordAlgorithm, long_term_key, long_term_key_sha256, user_hash};

use crate::client_key::{ClientKey, Integrity};
use crate::keyed::{KeyedMap, keyed_map};
use crate::request::Identity;
use crate::{Config, Secret, StoredUser, TokenKey, UserSecret, access_token};

/// Who may use the server by its settings: static users, and users whose name says until when
/// (draft-uberti-behave-turn-rest-00). What a credential store knows is judged here too.
pub(crate) struct Credentials {
    realm: String,
    users: KeyedMap<Arc<str>, Keys>,
    by_hash: KeyedMap<[u8; 32], Arc<str>>,
    token_keys: KeyedMap<Box<str>, TokenKey>,
    /// Name of the server for which tokens are made; `None` where none are accepted.
    server_name: Option<String>,
    shared_secrets: Vec<Secret>,
    /// Fits nothing; checked for names that do not exist, so that they cannot be told by the time it takes.
    nobody: [u8; 16],
}

/// What a request says of its sender.
pub(crate) struct Claim<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) user: &'a str,
    pub(crate) algorithm: PasswordAlgorithm,
    pub(crate) integrity: Integrity,
    /// ACCESS-TOKEN, where tokens are accepted.
    pub(crate) token: Option<&'a [u8]>,
}

/// Where the credentials come from that a client has proved itself with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A user of the settings.
    Static,
    /// A user of the credential store.
    Stored,
    /// A name with an expiry, under a secret of the settings or of the store.
    Secret,
    /// An access token that is good until so many seconds since 1970.
    Token { until_s: u64 },
}

/// The keys of one user, by password algorithm.
#[derive(Clone, Copy, Default)]
struct Keys {
    md5: Option<[u8; 16]>,
    sha256: Option<[u8; 32]>,
}

/// Length of a password that is base64 of an HMAC-SHA1.
const REST_PASSWORD_BYTES: usize = 28;

impl Credentials {
    pub(crate) fn new(config: &Config, rng: &mut Rng) -> Self {
        let mut users: KeyedMap<Arc<str>, Keys> = keyed_map(rng);
        let mut by_hash = keyed_map(rng);
        let named = config.users.iter().filter(|(name, _)| !name.is_empty());
        for (name, secret) in named {
            let keys = match secret {
                UserSecret::Password(password) => Keys {
                    md5: Some(long_term_key(name, &config.realm, password.expose())),
                    sha256: Some(long_term_key_sha256(name, &config.realm, password.expose())),
                },
                UserSecret::Key(key) => Keys {
                    md5: Some(*key),
                    sha256: None,
                },
            };
            let name: Arc<str> = name.as_str().into();
            by_hash.insert(user_hash(&name, &config.realm), Arc::clone(&name));
            users.insert(name, keys);
        }
        let mut token_keys = keyed_map(rng);
        for (kid, key) in &config.token_keys {
            token_keys.insert(kid.as_str().into(), key.clone());
        }
        let mut nobody = [0; 16];
        rng.fill(&mut nobody);
        Self {
            realm: config.realm.clone(),
            users,
            by_hash,
            token_keys,
            server_name: config.third_party_authorization.clone(),
            shared_secrets: config.shared_secrets.clone(),
            nobody,
        }
    }

    /// Tells whether the settings have a user.
    pub(crate) fn has_static(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Gives the user of the settings whose name has a hash (RFC 8489 §14.4).
    pub(crate) fn user_of_hash(&self, hash: &[u8; 32]) -> Option<Arc<str>> {
        self.by_hash.get(hash).cloned()
    }

    /// Gives the key of a token of which the settings know the `kid`.
    pub(crate) fn token_key(&self, kid: &str) -> Option<&TokenKey> {
        self.token_keys.get(kid)
    }

    /// Tells whether clients may come with access tokens.
    pub(crate) fn accepts_tokens(&self) -> bool {
        self.server_name.is_some()
    }

    /// Finds who comes with an access token (RFC 7635 §7): the user is its `kid`.
    pub(crate) fn authenticate_token<'a>(
        &self,
        claim: &Claim<'a>,
        token: &[u8],
        key: &TokenKey,
        wall: WallTime,
    ) -> Option<Identity<'a>> {
        let grant = access_token::open(token, key, self.server_name.as_deref()?, wall)?;
        let origin = Origin::Token { until_s: grant.until_s };
        // Clients made of coturn's parts sign with the first sixteen bytes of whatever key they have.
        [grant.mac_key(), grant.coturn_key()]
            .into_iter()
            .find_map(|key| claim.check(key, origin))
    }

    /// Finds who the settings say it is; `None` for an unknown user, a wrong password and an expired name alike.
    pub(crate) fn authenticate<'a>(&self, claim: &Claim<'a>, wall: WallTime) -> Option<Identity<'a>> {
        match self.users.get(claim.user) {
            Some(keys) => claim.check(keys.of(claim.algorithm).unwrap_or(&self.nobody), Origin::Static),
            None => self.check_secrets(claim, &self.shared_secrets, wall),
        }
    }

    /// Finds who the store says it is, after the settings did not know.
    pub(crate) fn authenticate_stored<'a>(
        &self,
        claim: &Claim<'a>,
        stored: &StoredUser,
        wall: WallTime,
    ) -> Option<Identity<'a>> {
        let keys = Keys {
            md5: stored.md5_key,
            sha256: stored.sha256_key,
        };
        match keys.of(claim.algorithm) {
            Some(key) => claim
                .check(key, Origin::Stored)
                .or_else(|| self.check_live_secrets(claim, &stored.secrets, wall)),
            None => self.check_secrets(claim, &stored.secrets, wall),
        }
    }

    /// Tries every secret, or a key that nobody has: a name without expiry, or past it, fits none of them.
    fn check_secrets<'a>(&self, claim: &Claim<'a>, secrets: &[Secret], wall: WallTime) -> Option<Identity<'a>> {
        self.check_live_secrets(claim, secrets, wall).or_else(|| {
            // The outcome is known; the work is what counts.
            std::hint::black_box(claim.check(&self.nobody, Origin::Secret));
            None
        })
    }

    fn check_live_secrets<'a>(&self, claim: &Claim<'a>, secrets: &[Secret], wall: WallTime) -> Option<Identity<'a>> {
        let is_live = expiry_of(claim.user).is_some_and(|expiry| expiry >= wall.unix_s());
        let secrets = if is_live { secrets } else { &[] };
        secrets.iter().find_map(|secret| self.check_secret(claim, secret))
    }

    fn check_secret<'a>(&self, claim: &Claim<'a>, secret: &Secret) -> Option<Identity<'a>> {
        let mut mac =
            Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of every length");
        mac.update(claim.user.as_bytes());
        let mut password = [0; REST_PASSWORD_BYTES];
        STANDARD
            .encode_slice(mac.finalize().into_bytes(), &mut password)
            .expect("20 bytes are 28 characters of base64");
        let password = std::str::from_utf8(&password).expect("base64 is ASCII");
        match claim.algorithm {
            PasswordAlgorithm::Md5 => claim.check(&long_term_key(claim.user, &self.realm, password), Origin::Secret),
            PasswordAlgorithm::Sha256 => {
                claim.check(&long_term_key_sha256(claim.user, &self.realm, password), Origin::Secret)
            }
        }
    }
}

impl Origin {
    pub(crate) fn is_token(self) -> bool {
        matches!(self, Self::Token { .. })
    }

    /// Gives for how long an allocation may be granted: no longer than its token is good (RFC 7635 §5).
    pub(crate) fn lifetime_max_s(self, wall: WallTime) -> u32 {
        match self {
            Self::Token { until_s } => {
                let left_s = until_s.saturating_sub(wall.unix_s());
                u32::try_from(left_s).unwrap_or(u32::MAX).max(1)
            }
            Self::Static | Self::Stored | Self::Secret => u32::MAX,
        }
    }
}

impl<'a> Claim<'a> {
    /// Gives who it is if the request fits a key.
    fn check(&self, key: &[u8], origin: Origin) -> Option<Identity<'a>> {
        let key = ClientKey::new(key, self.integrity);
        key.fits(&self.message).then(|| Identity {
            user: self.user,
            key: Arc::new(key),
            origin,
        })
    }
}

impl Keys {
    fn of(&self, algorithm: PasswordAlgorithm) -> Option<&[u8]> {
        match algorithm {
            PasswordAlgorithm::Md5 => self.md5.as_ref().map(|key| &key[..]),
            PasswordAlgorithm::Sha256 => self.sha256.as_ref().map(|key| &key[..]),
        }
    }
}

/// Gives the seconds since 1970 after which a time-limited name is void.
fn expiry_of(user: &str) -> Option<u64> {
    match user.split_once(':') {
        None => user.parse().ok(),
        Some((first, rest)) => first.parse().or_else(|_| last_part(rest).parse()).ok(),
    }
}

/// Tells whether a name says until when it is valid, so that a shared secret may fit it.
pub fn has_expiry(user: &str) -> bool {
    expiry_of(user).is_some()
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
