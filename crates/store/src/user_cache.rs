//! What Redis said last, for the time when it does not answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use voex_turn::{Secret, StoredUser, TokenKey, has_expiry};

use crate::stored::UserKey;

/// Users, keys of tokens and secrets as they were last seen. Only what exists is remembered.
#[derive(Debug)]
pub(crate) struct UserCache {
    keep: Duration,
    users: Recent<UserKey>,
    tokens: Recent<TokenKey>,
    secrets: Option<Seen<Arc<[Secret]>>>,
}

/// A value, when it was seen, and in which life of the server.
#[derive(Clone, Debug)]
pub(crate) struct Seen<V> {
    pub(crate) value: V,
    pub(crate) at: Instant,
    pub(crate) life: u64,
}

/// A map that forgets what was not used for longest, in two generations: when the young one is full it becomes the old
/// one, and what the old one still held is forgotten.
#[derive(Debug)]
struct Recent<V> {
    young: HashMap<Box<str>, Seen<V>>,
    old: HashMap<Box<str>, Seen<V>>,
    generation_max: usize,
}

impl UserCache {
    /// Makes an empty cache that holds `max` users and as many tokens, each for `keep` after it was seen.
    pub(crate) fn new(keep: Duration, max: usize) -> Self {
        Self {
            keep,
            users: Recent::new(max),
            tokens: Recent::new(max),
            secrets: None,
        }
    }

    /// Notes what Redis said of a user; absence is noted too.
    pub(crate) fn see_user(&mut self, name: &str, key: Option<Seen<UserKey>>) {
        self.users.set(name, key);
    }

    /// Notes what Redis said of a token's key.
    pub(crate) fn see_token(&mut self, kid: &str, key: Option<Seen<TokenKey>>) {
        self.tokens.set(kid, key);
    }

    /// Notes the secrets of the realm, and gives the earlier ones back where they are the same.
    pub(crate) fn see_secrets(&mut self, seen: Seen<Arc<[Secret]>>) -> Arc<[Secret]> {
        let same = self.secrets.take().filter(|known| known.value == seen.value);
        let value = same.map_or_else(|| seen.value.clone(), |known| known.value);
        self.secrets = Some(Seen {
            value: value.clone(),
            ..seen
        });
        value
    }

    /// Gives what is known of a user, if it is enough to authenticate it.
    pub(crate) fn recall_user(&mut self, now: Instant, name: &str) -> Option<StoredUser> {
        let fresh = |at: Instant| now < at + self.keep;
        let secrets = self.secrets.as_ref().filter(|seen| fresh(seen.at));
        let secrets: Arc<[Secret]> = secrets.map(|seen| seen.value.clone()).unwrap_or_default();
        match self.users.get(name).filter(|seen| fresh(seen.at)) {
            Some(seen) => Some(stored_user(Some(seen.value), secrets)),
            // Whoever is time-limited needs no key of its own.
            None if has_expiry(name) && !secrets.is_empty() => Some(stored_user(None, secrets)),
            None => None,
        }
    }

    /// Gives the key of a token, if it is known.
    pub(crate) fn recall_token(&mut self, now: Instant, kid: &str) -> Option<TokenKey> {
        let seen = self.tokens.get(kid)?;
        (now < seen.at + self.keep).then(|| seen.value.clone())
    }

    /// Says in which life of the server a user's key was last seen, if it was.
    pub(crate) fn life_of(&mut self, name: &str) -> Option<u64> {
        self.users.get(name).map(|seen| seen.life)
    }

    /// Counts the users.
    pub(crate) fn len(&self) -> usize {
        self.users.young.len() + self.users.old.len()
    }
}

/// Puts together what a shard is told.
pub(crate) fn stored_user(key: Option<UserKey>, secrets: Arc<[Secret]>) -> StoredUser {
    let (md5_key, sha256_key) = match key {
        None => (None, None),
        Some(UserKey::Md5(key)) => (Some(key), None),
        Some(UserKey::Sha256(key)) => (None, Some(key)),
    };
    StoredUser {
        md5_key,
        sha256_key,
        secrets,
    }
}

impl<V> Recent<V> {
    fn new(max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation_max: max.div_ceil(2).max(1),
        }
    }

    fn set(&mut self, name: &str, value: Option<Seen<V>>) {
        self.old.remove(name);
        let Some(value) = value else {
            self.young.remove(name);
            return;
        };
        if self.young.len() >= self.generation_max && !self.young.contains_key(name) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name.into(), value);
    }

    fn get(&mut self, name: &str) -> Option<&Seen<V>> {
        if let Some((name, value)) = self.old.remove_entry(name) {
            self.set(&name, Some(value));
        }
        self.young.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(3600);
    const KEY: UserKey = UserKey::Md5([7; 16]);

    fn seen<V>(at: Instant, value: V) -> Seen<V> {
        Seen { value, at, life: 1 }
    }

    fn secrets(texts: &[&str]) -> Arc<[Secret]> {
        texts.iter().copied().map(Secret::new).collect()
    }

    #[test]
    fn a_user_is_remembered_for_its_time_and_not_longer() {
        let (start, mut cache) = (Instant::now(), UserCache::new(KEEP, 10));
        cache.see_user("bob", Some(seen(start, KEY)));
        let at = |after: Duration| start + after;
        assert!(
            cache
                .recall_user(at(KEEP - Duration::from_secs(1)), "bob")
                .unwrap()
                .exists()
        );
        assert!(cache.recall_user(at(KEEP), "bob").is_none());
        cache.see_user("bob", Some(seen(at(KEEP), KEY)));
        assert!(cache.recall_user(at(KEEP), "bob").is_some());
    }

    #[test]
    fn a_user_that_redis_says_is_not_there_is_forgotten() {
        let (now, mut cache) = (Instant::now(), UserCache::new(KEEP, 10));
        cache.see_user("bob", Some(seen(now, KEY)));
        cache.see_user("bob", None);
        assert!(cache.recall_user(now, "bob").is_none());
    }

    #[test]
    fn time_limited_users_live_on_the_secrets_alone() {
        let (now, mut cache) = (Instant::now(), UserCache::new(KEEP, 10));
        assert!(cache.recall_user(now, "1800000000:bob").is_none());
        cache.see_secrets(seen(now, secrets(&["north"])));
        assert_eq!(cache.recall_user(now, "1800000000:bob").unwrap().secrets.len(), 1);
        assert!(
            cache.recall_user(now, "bob").is_none(),
            "a fixed user may have a key that is not known"
        );
    }

    #[test]
    fn the_same_secrets_stay_one_value_and_changed_ones_replace_them() {
        let (now, mut cache) = (Instant::now(), UserCache::new(KEEP, 10));
        let first = cache.see_secrets(seen(now, secrets(&["a", "b"])));
        let again = cache.see_secrets(seen(now, secrets(&["a", "b"])));
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(cache.see_secrets(seen(now, secrets(&["c"]))).len(), 1);
    }

    #[test]
    fn the_least_recently_used_make_room_and_the_bound_holds() {
        let (now, mut cache) = (Instant::now(), UserCache::new(KEEP, 100));
        cache.see_user("kept", Some(seen(now, KEY)));
        for user in 0..1_000 {
            cache.see_user(&user.to_string(), Some(seen(now, KEY)));
            assert!(cache.recall_user(now, "kept").is_some(), "after {user} others");
            assert!(cache.len() <= 100);
        }
        assert!(cache.recall_user(now, "0").is_none());
        assert!(cache.recall_user(now, "999").is_some());
    }
}
