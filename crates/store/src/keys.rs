//! Names of keys and channels. Realm and user go in as they are, whatever bytes they have: nothing is escaped, and the
//! protocol counts lengths, so none of them can end a name or begin a command.

use voex_turn::Session;

/// Keys below `turn/realm/<realm>/` and beside it.
#[derive(Debug)]
pub(crate) struct Keys {
    realm: Vec<u8>,
}

impl Keys {
    pub(crate) fn new(realm: &str) -> Self {
        Self {
            realm: joined(&["turn/realm/", realm, "/"]),
        }
    }

    /// MD5 or SHA-256 of `user:realm:password`, in hexadecimal digits.
    pub(crate) fn user(&self, user: &str) -> Vec<u8> {
        self.below(&["user/", user, "/key"])
    }

    /// The set of secrets of time-limited users.
    pub(crate) fn secret(&self) -> Vec<u8> {
        self.below(&["secret"])
    }

    /// An option or list of the realm.
    pub(crate) fn of_realm(&self, name: &str) -> Vec<u8> {
        self.below(&[name])
    }

    fn below(&self, parts: &[&str]) -> Vec<u8> {
        [&self.realm[..], &joined(parts)].concat()
    }
}

/// The hash that describes the key of a token.
pub(crate) fn token(kid: &str) -> Vec<u8> {
    joined(&["turn/oauth/kid/", kid])
}

/// What the names of a session's status key and of its channels begin with, the slash at the end included.
pub(crate) fn session(session: &Session) -> Vec<u8> {
    let id = session.id.to_string();
    let (realm, user) = (&*session.realm, &*session.user);
    match realm.is_empty() {
        true => joined(&["turn/user/", user, "/allocation/", &id, "/"]),
        false => joined(&["turn/realm/", realm, "/user/", user, "/allocation/", &id, "/"]),
    }
}

/// The set of the status keys that one server has written. It does not match `turn/*/allocation/*/status`, which a
/// coturn beside us deletes when it starts.
pub(crate) fn index(server: &str) -> Vec<u8> {
    joined(&["voex/turn/", server, "/status"])
}

fn joined(parts: &[&str]) -> Vec<u8> {
    parts.concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_session;

    #[test]
    fn keys_are_those_of_coturn() {
        let keys = Keys::new("voex.test");
        assert_eq!(keys.user("bob"), b"turn/realm/voex.test/user/bob/key");
        assert_eq!(keys.secret(), b"turn/realm/voex.test/secret");
        assert_eq!(keys.of_realm("max-bps"), b"turn/realm/voex.test/max-bps");
        assert_eq!(token("north"), b"turn/oauth/kid/north");
        assert_eq!(
            session(&test_session(1, "gorst")),
            b"turn/realm/voex.test/user/gorst/allocation/000000000000000001/"
        );
    }

    #[test]
    fn hostile_names_reach_the_key_as_they_are() {
        let keys = Keys::new("r");
        for name in ["%n%s", "*", "a b", "a\nDEL x\r\n", "../x", "a/key", "ж\u{0}"] {
            let expected = format!("turn/realm/r/user/{name}/key");
            assert_eq!(keys.user(name), expected.as_bytes());
        }
    }

    #[test]
    fn a_session_without_a_realm_has_none_in_its_keys() {
        let mut without = test_session(7, "bob");
        without.realm = "".into();
        assert_eq!(session(&without), b"turn/user/bob/allocation/000000000000000007/");
    }
}
