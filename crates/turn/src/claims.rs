use std::collections::{BTreeMap, VecDeque};

use voex_base::{FiveTuple, Rng};

use crate::keyed::{KeyedMap, keyed_map};

/// Clients of one other shard that may wait to be told of before a move by way of it gets 508, and nothing more is said of
/// clients that are not ours. What was claimed is always given up: that is as much as allocations have paths.
pub(crate) const CLAIMS_WAITING_MAX: usize = 1_024;

/// What other shards are to be told of clients that they hear: of each how it stands, not how it came to that.
///
/// It waits apart from what else the shard wants done, and what is for one shard does not wait for another's.
pub(crate) struct Claims {
    /// Of whom a shard is to be told, oldest first.
    clients: BTreeMap<u16, VecDeque<FiveTuple>>,
    holds: KeyedMap<(u16, FiveTuple), bool>,
}

impl Claims {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            clients: BTreeMap::new(),
            holds: keyed_map(rng),
        }
    }

    pub(crate) fn has_room(&self, shard: u16) -> bool {
        let clients = self.clients.get(&shard);
        clients.is_none_or(|clients| clients.len() < CLAIMS_WAITING_MAX)
    }

    pub(crate) fn set(&mut self, shard: u16, client: FiveTuple, holds: bool) {
        if self.holds.insert((shard, client), holds).is_none() {
            self.clients.entry(shard).or_default().push_back(client);
        }
    }

    /// Passes on all that the ways to the shards have room for; tells whether nothing is left.
    pub(crate) fn pass(&mut self, mut pass: impl FnMut(u16, FiveTuple, bool) -> bool) -> bool {
        let mut all = true;
        for (shard, clients) in &mut self.clients {
            while let Some(client) = clients.front().copied() {
                let holds = self.holds.get(&(*shard, client)).copied();
                if holds.is_some_and(|holds| !pass(*shard, client, holds)) {
                    all = false;
                    break;
                }
                self.holds.remove(&(*shard, client));
                clients.pop_front();
            }
        }
        all
    }
}
