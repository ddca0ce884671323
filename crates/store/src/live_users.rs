//! Users with sessions, and which of them Redis has a key of.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use voex_turn::{Session, SessionId};

/// Users whose sessions live. It holds what the shards hold, and is bounded by their bounds.
#[derive(Default, Debug)]
pub(crate) struct LiveUsers {
    users: BTreeMap<Arc<str>, LiveUser>,
    sessions: HashMap<SessionId, Arc<str>>,
    /// Where the last round ended.
    cursor: Option<Arc<str>>,
}

#[derive(Debug)]
struct LiveUser {
    sessions: usize,
    /// Redis had its key, so that its absence means something. Users of the settings and time-limited ones never have it.
    is_stored: bool,
    /// The life of the server in which the key was seen. One that is missing in another may be missing because Redis came
    /// back empty: that ends nobody.
    seen_in: u64,
}

impl LiveUsers {
    /// Notes a session; `seen_in` is the life of the server in which its user's key was last seen, if it was.
    pub(crate) fn began(&mut self, session: &Session, seen_in: Option<u64>) {
        let name = session.user.clone();
        if self.sessions.insert(session.id, name.clone()).is_some() {
            return;
        }
        let user = self.users.entry(name).or_insert(LiveUser {
            sessions: 0,
            is_stored: false,
            seen_in: 0,
        });
        user.sessions += 1;
        if let Some(seen_in) = seen_in {
            user.is_stored = true;
            user.seen_in = user.seen_in.max(seen_in);
        }
    }

    /// Notes the end of a session.
    pub(crate) fn ended(&mut self, session: SessionId) {
        let Some(name) = self.sessions.remove(&session) else {
            return;
        };
        if let Some(user) = self.users.get_mut(&name) {
            user.sessions -= 1;
            if user.sessions == 0 {
                self.users.remove(&name);
            }
        }
    }

    /// Gives the stored users that are to be looked at next, at most `max`; round after round it is everybody's turn.
    pub(crate) fn next(&mut self, max: usize) -> Vec<Arc<str>> {
        let is_stored = |entry: &(&Arc<str>, &LiveUser)| entry.1.is_stored;
        let name = |(name, _): (&Arc<str>, &LiveUser)| name.clone();
        let from = match self.cursor.take() {
            None => Bound::Unbounded,
            Some(last) => Bound::Excluded(last),
        };
        let behind = self.users.range((from.clone(), Bound::Unbounded));
        let mut names: Vec<Arc<str>> = behind.filter(is_stored).take(max).map(name).collect();
        if let Bound::Excluded(last) = from {
            let before = self.users.range(..=last);
            names.extend(before.filter(is_stored).take(max - names.len()).map(name));
        }
        self.cursor = names.last().cloned();
        names
    }

    /// Notes that a user's key is there.
    pub(crate) fn seen(&mut self, name: &str, life: u64) {
        if let Some(user) = self.users.get_mut(name) {
            user.is_stored = true;
            user.seen_in = life;
        }
    }

    /// Notes that a user's key is not there; tells whether the user was deleted.
    pub(crate) fn missed(&mut self, name: &str, life: u64) -> bool {
        let Some(user) = self.users.get_mut(name) else {
            return false;
        };
        let was_deleted = user.is_stored && user.seen_in == life;
        // Told once. A session that is being made in this moment notes the key anew if it still was there.
        user.is_stored &= !was_deleted;
        was_deleted
    }

    /// Tells whether a key that is not there may be missing because Redis came back empty, while its user has sessions.
    pub(crate) fn may_be_forgotten(&self, name: &str, life: u64) -> bool {
        self.users
            .get(name)
            .is_some_and(|user| user.is_stored && user.seen_in != life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_session;

    fn live(names: &[&str], seen_in: Option<u64>) -> LiveUsers {
        let mut live = LiveUsers::default();
        for (count, name) in (1..).zip(names) {
            live.began(&test_session(count, name), seen_in);
        }
        live
    }

    fn next(live: &mut LiveUsers, max: usize) -> Vec<String> {
        live.next(max).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_users_whose_key_was_seen_are_looked_at() {
        let mut live = live(&["bob"], Some(1));
        live.began(&test_session(9, "static"), None);
        assert_eq!(next(&mut live, 10), ["bob"]);
        assert!(!live.missed("static", 1));
    }

    #[test]
    fn a_key_that_was_there_and_is_gone_is_a_deleted_user_once() {
        let mut live = live(&["bob"], Some(1));
        live.seen("bob", 1);
        assert!(live.missed("bob", 1));
        assert!(!live.missed("bob", 1));
        assert!(next(&mut live, 10).is_empty());
    }

    #[test]
    fn a_redis_that_came_back_empty_deletes_nobody() {
        let mut live = live(&["bob"], Some(1));
        assert!(
            live.may_be_forgotten("bob", 2) && !live.missed("bob", 2),
            "never seen in this life"
        );
        live.seen("bob", 2);
        assert!(
            !live.may_be_forgotten("bob", 2) && live.missed("bob", 2),
            "seen in it, then gone"
        );
    }

    #[test]
    fn a_user_is_forgotten_with_its_last_session() {
        let mut live = live(&["bob", "bob"], Some(1));
        live.ended(test_session(1, "bob").id);
        assert_eq!(next(&mut live, 10), ["bob"]);
        live.ended(test_session(2, "bob").id);
        live.ended(test_session(2, "bob").id);
        assert!(next(&mut live, 10).is_empty() && live.users.is_empty() && live.sessions.is_empty());
    }

    #[test]
    fn a_round_is_bounded_and_rounds_reach_everybody() {
        let mut live = live(&["a", "b", "c", "d", "e"], Some(1));
        assert_eq!(next(&mut live, 2), ["a", "b"]);
        assert_eq!(next(&mut live, 2), ["c", "d"]);
        assert_eq!(next(&mut live, 2), ["e", "a"]);
        live.ended(test_session(1, "a").id);
        assert_eq!(next(&mut live, 9), ["b", "c", "d", "e"]);
    }
}
