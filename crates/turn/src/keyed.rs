//! Maps whose keys the network chooses: hashed fast, and with a seed so that nobody can choose collisions.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use voex_base::Rng;

/// A map seeded from the shard's own randomness.
pub(crate) type KeyedMap<K, V> = HashMap<K, V, SeedableRandomState>;

/// Makes an empty map.
pub(crate) fn keyed_map<K, V>(rng: &mut Rng) -> KeyedMap<K, V> {
    HashMap::with_hasher(hash_state(rng))
}

/// Makes a hash state.
pub(crate) fn hash_state(rng: &mut Rng) -> SeedableRandomState {
    SeedableRandomState::with_seed(rng.u64(), SharedSeed::global_fixed())
}

/// Hashes one value.
pub(crate) fn hash_of(state: &SeedableRandomState, value: impl std::hash::Hash) -> u64 {
    state.hash_one(value)
}
