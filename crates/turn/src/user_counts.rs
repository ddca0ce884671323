use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use foldhash::fast::SeedableRandomState;
use voex_base::Rng;

use crate::keyed::{hash_of, hash_state};

/// Counts by user that every shard changes at once, without a lock and in memory that never grows.
///
/// An entry packs 40 bits of a keyed hash of the name with a count of 24 bits; zero is free. A user's entry stands
/// somewhere in a window of [`WINDOW`] entries that its hash begins, and who looks for it reads the whole window: entries
/// may be freed without leaving marks. Two shards that meet a user for the first time at the same moment can make two
/// entries for it. Their sum is what counts, and is looked at again after every change.
#[derive(Debug)]
pub(crate) struct UserCounts {
    entries: Box<[AtomicU64]>,
    hash: SeedableRandomState,
}

/// A user by its keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HashedUser(u64);

/// Why a user was not counted once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CountError {
    /// It has as many as it may.
    Max,
    /// Other users have taken the whole window.
    Full,
}

/// Entries in which a user's may stand. With half of all entries taken, a window is full once in some 100 000 times.
const WINDOW: usize = 64;
const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

impl UserCounts {
    /// Makes room for this many users.
    pub(crate) fn new(users: usize, rng: &mut Rng) -> Self {
        let entries = (2 * users).next_power_of_two().max(WINDOW);
        Self {
            entries: (0..entries).map(|_| AtomicU64::new(0)).collect(),
            hash: hash_state(rng),
        }
    }

    pub(crate) fn hashed(&self, user: &str) -> HashedUser {
        HashedUser(hash_of(&self.hash, user))
    }

    /// Counts a user once more, unless it then had more than `max`.
    pub(crate) fn add(&self, user: HashedUser, max: u32) -> Result<(), CountError> {
        let max = u64::from(max).min(COUNT_MAX);
        loop {
            let (mut sum, mut own, mut free) = (0, None, None);
            for entry in self.window(user) {
                match entry.load(SeqCst) {
                    0 => free = free.or(Some((entry, 0))),
                    value if user.has(value) => {
                        sum += value & COUNT_MAX;
                        own = own.or(Some((entry, value)));
                    }
                    _ => {}
                }
            }
            if sum >= max {
                return Err(CountError::Max);
            }
            let (entry, before) = own.or(free).ok_or(CountError::Full)?;
            let after = user.tag() | ((before & COUNT_MAX) + 1);
            if entry.compare_exchange(before, after, SeqCst, SeqCst).is_err() {
                continue;
            }
            if self.count(user) <= max {
                return Ok(());
            }
            self.remove(user);
            return Err(CountError::Max);
        }
    }

    /// Takes back one [`add`](Self::add) that was `Ok`.
    pub(crate) fn remove(&self, user: HashedUser) {
        let takes_one = |entry: &AtomicU64| {
            let value = entry.load(SeqCst);
            let less = if value & COUNT_MAX > 1 { value - 1 } else { 0 };
            user.has(value) && entry.compare_exchange(value, less, SeqCst, SeqCst).is_ok()
        };
        // One who was counted has an entry; a miss means that another shard changed it this moment.
        while !self.window(user).any(takes_one) {}
    }

    /// Gives how often a user is counted.
    pub(crate) fn count(&self, user: HashedUser) -> u64 {
        let values = self.window(user).map(|entry| entry.load(SeqCst));
        values
            .filter(|value| user.has(*value))
            .map(|value| value & COUNT_MAX)
            .sum()
    }

    fn window(&self, user: HashedUser) -> impl Iterator<Item = &AtomicU64> {
        let mask = self.entries.len() - 1;
        let first = user.0 as usize;
        (0..WINDOW).map(move |step| &self.entries[first.wrapping_add(step) & mask])
    }
}

impl HashedUser {
    /// The upper bits of the hash where they stand in an entry.
    fn tag(self) -> u64 {
        self.0 & !COUNT_MAX
    }

    /// Tells whether an entry is this user's. A taken one has a count above zero.
    fn has(self, entry: u64) -> bool {
        entry != 0 && entry & !COUNT_MAX == self.tag()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    fn counts(users: usize) -> UserCounts {
        UserCounts::new(users, &mut Rng::from_number(1))
    }

    #[test]
    fn a_user_is_counted_up_to_its_maximum_and_again_when_one_is_taken_back() {
        let counts = counts(100);
        let (alice, bob) = (counts.hashed("alice"), counts.hashed("bob"));
        assert_eq!(
            [(); 3].map(|()| counts.add(alice, 2)),
            [Ok(()), Ok(()), Err(CountError::Max)]
        );
        assert_eq!(counts.add(bob, 2), Ok(()));
        counts.remove(alice);
        assert_eq!((counts.count(alice), counts.count(bob)), (1, 1));
        assert_eq!(counts.add(alice, 2), Ok(()));
        for user in [alice, alice, bob] {
            counts.remove(user);
        }
        assert!(counts.entries.iter().all(|entry| entry.load(SeqCst) == 0));
        assert_eq!(counts.add(alice, 0), Err(CountError::Max));
    }

    #[test]
    fn as_many_users_as_the_table_is_made_for_find_room_and_many_more_do_not() {
        let counts = counts(10_000);
        let add = |n: usize| counts.add(counts.hashed(&n.to_string()), 1);
        assert!((0..10_000).all(|n| add(n) == Ok(())));
        assert!((0..10_000).all(|n| add(n) == Err(CountError::Max)));
        assert!((10_000..40_000).any(|n| add(n) == Err(CountError::Full)));
    }

    #[test]
    fn shards_that_count_at_once_never_let_a_user_have_more_than_it_may() {
        let counts = counts(32);
        let held = [(); 4].map(|()| AtomicU32::new(0));
        let shard = |seed: u64| {
            let mut rng = Rng::from_number(seed);
            let mut mine = Vec::new();
            for _ in 0..20_000 {
                let n = rng.below(4) as usize;
                let user = counts.hashed(["a", "b", "c", "d"][n]);
                if mine.len() < 6 && counts.add(user, 3).is_ok() {
                    assert!(held[n].fetch_add(1, SeqCst) < 3);
                    mine.push((n, user));
                } else if let Some((n, user)) = mine.pop() {
                    held[n].fetch_sub(1, SeqCst);
                    counts.remove(user);
                }
            }
            for (n, user) in mine {
                held[n].fetch_sub(1, SeqCst);
                counts.remove(user);
            }
        };
        thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || shard(seed));
            }
        });
        assert!(counts.entries.iter().all(|entry| entry.load(SeqCst) == 0));
    }
}
