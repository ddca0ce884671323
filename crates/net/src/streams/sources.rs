//! How many streams or associations each source address has that have not shown who they are.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

/// Streams of one source address, on one worker, that have no allocation yet. One person has few; an office behind one
/// address has many, but each gets an allocation within a second.
pub const STREAMS_PER_SOURCE_MAX: u32 = 1_024;

/// Counts by source: an IPv4 address, or the /64 network that one IPv6 host has to itself.
pub(crate) struct Sources {
    counts: HashMap<IpAddr, u32, SeedableRandomState>,
    /// How many each may have.
    max: u32,
}

impl Sources {
    /// Makes an empty table in which each source may have `max`; `seed` keeps the network from choosing collisions.
    pub(crate) fn new(seed: u64, max: u32) -> Self {
        let hash = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self {
            counts: HashMap::with_hasher(hash),
            max,
        }
    }

    /// Counts one more stream; false when the source has as many as it may.
    pub(crate) fn add(&mut self, source: IpAddr) -> bool {
        let count = self.counts.entry(network_of(source)).or_default();
        if *count == self.max {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts one less.
    pub(crate) fn remove(&mut self, source: IpAddr) {
        let source = network_of(source);
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }
}

/// Gives what counts as one source.
pub(crate) fn network_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) & !u128::from(u64::MAX)).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_bound_of_its_own_and_leaves_nothing_behind() {
        let mut sources = Sources::new(1, STREAMS_PER_SOURCE_MAX);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..STREAMS_PER_SOURCE_MAX {
            assert!(sources.add(one));
        }
        assert!(!sources.add(one));
        assert!(sources.add(other));
        sources.remove(one);
        assert!(sources.add(one));
        for _ in 0..STREAMS_PER_SOURCE_MAX {
            sources.remove(one);
        }
        sources.remove(other);
        assert!(sources.counts.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let mut sources = Sources::new(1, STREAMS_PER_SOURCE_MAX);
        for host in 0..u128::from(STREAMS_PER_SOURCE_MAX) {
            assert!(sources.add(IpAddr::from((0x2001_0db8_u128 << 96 | host).to_be_bytes())));
        }
        assert!(!sources.add("2001:db8::ffff:1".parse().unwrap()));
        assert!(sources.add("2001:db8:0:1::1".parse().unwrap()));
    }
}
