//! A pool of even/odd port pairs for RTP and RTCP (RFC 3550 §11).

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use voex_base::Rng;

/// Even ports that are free to hand out.
///
/// Ports are handed out in a random order fixed at the start, and a port that comes back waits behind all others, so
/// that a late packet of an ended call finds nobody. No port is handed out twice, none outside the range.
#[derive(Debug)]
pub struct PortPool {
    first: u16,
    free: VecDeque<u16>,
    out: Vec<bool>,
}

impl PortPool {
    /// Makes a pool of every even port of `range` whose odd neighbour lies in it too and of which neither is
    /// `reserved`.
    pub fn new(range: RangeInclusive<u16>, reserved: impl Fn(u16) -> bool, rng: &mut Rng) -> Self {
        let mut free: Vec<u16> = range
            .clone()
            .filter(|port| port % 2 == 0 && *port < *range.end() && !reserved(*port) && !reserved(*port + 1))
            .collect();
        for last in (1..free.len()).rev() {
            free.swap(last, rng.below(last as u64 + 1) as usize);
        }
        let pairs = usize::from(range.end().saturating_sub(*range.start())) / 2 + 1;
        Self {
            first: *range.start(),
            free: free.into(),
            out: vec![false; pairs],
        }
    }

    /// Takes a pair; gives its even port, or `None` when every pair is out.
    pub fn take(&mut self) -> Option<u16> {
        let port = self.free.pop_front()?;
        let index = self.index(port);
        self.out[index] = true;
        Some(port)
    }

    /// Gives a pair back by its even port. One that is not out is ignored.
    pub fn give_back(&mut self, port: u16) {
        if !port.is_multiple_of(2) || port < self.first {
            return;
        }
        let index = self.index(port);
        if self.out.get_mut(index).is_some_and(std::mem::take) {
            self.free.push_back(port);
        }
    }

    /// Says how many pairs are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    fn index(&self, port: u16) -> usize {
        usize::from(port - self.first) / 2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use voex_base::Rng;

    use super::PortPool;

    #[test]
    fn an_exhausted_pool_says_so_and_serves_again_when_a_pair_returns() {
        let mut pool = PortPool::new(20_000..=20_003, |_| false, &mut Rng::from_number(1));
        let taken: BTreeSet<_> = [pool.take(), pool.take()].into();
        assert_eq!(taken, [Some(20_000), Some(20_002)].into());
        assert_eq!(pool.take(), None);
        pool.give_back(20_002);
        assert_eq!(pool.take(), Some(20_002));
    }

    #[test]
    fn a_returned_pair_is_the_last_to_be_used_again() {
        let mut pool = PortPool::new(20_000..=20_999, |_| false, &mut Rng::from_number(2));
        let first = pool.take().unwrap();
        pool.give_back(first);
        let order: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(order.len(), 500);
        assert_eq!(order.last(), Some(&first));
    }

    #[test]
    fn ports_are_spread_over_the_range() {
        let mut pool = PortPool::new(20_000..=39_999, |_| false, &mut Rng::from_number(3));
        let low = (0..1_000)
            .filter_map(|_| pool.take())
            .filter(|port| *port < 30_000)
            .count();
        assert!((400..600).contains(&low), "{low} of 1000 in the lower half");
    }

    proptest! {
        #[test]
        fn no_pair_is_ever_out_twice_nor_outside_the_range_nor_reserved(
            start in 1_024u16..60_000,
            length in 0u16..64,
            seed: u64,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let range = start..=start + length;
            let reserved = |port: u16| port.is_multiple_of(5);
            let mut pool = PortPool::new(range.clone(), reserved, &mut Rng::from_number(seed));
            let total = pool.free();
            let mut out = Vec::new();
            for (take, which) in steps {
                if take {
                    let Some(port) = pool.take() else { prop_assert_eq!(out.len(), total); continue };
                    prop_assert!(port % 2 == 0 && range.contains(&port) && range.contains(&(port + 1)));
                    prop_assert!(!reserved(port) && !reserved(port + 1));
                    prop_assert!(!out.contains(&port));
                    out.push(port);
                } else if !out.is_empty() {
                    let port = out.swap_remove(which.index(out.len()));
                    pool.give_back(port);
                    pool.give_back(port);
                }
                prop_assert_eq!(pool.free() + out.len(), total);
            }
        }
    }
}
