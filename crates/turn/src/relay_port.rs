use std::ops::RangeInclusive;

use voex_base::Rng;

/// One shard's part of the relay ports.
///
/// Ports are dealt out in whole even/odd pairs, `(port / 2) % count == index`, so that shards never collide and an
/// EVEN-PORT allocation finds its neighbour in its own part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortShare {
    range: RangeInclusive<u16>,
    index: u16,
    count: u16,
}

/// What a client asks of the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PortWish {
    Any,
    Even,
    /// Even, and its odd neighbour is to be kept for a later allocation.
    EvenAndNext,
}

/// Tells which of `count` shards owns a relay port.
pub fn owner_of_port(port: u16, count: u16) -> u16 {
    (port / 2) % count.max(1)
}

impl PortShare {
    /// Makes the part of shard `index` among `count`. A range that holds none of the shard's pairs makes an empty part,
    /// from which every allocation is refused with 508.
    pub fn new(range: RangeInclusive<u16>, index: u16, count: u16) -> Self {
        Self {
            range,
            index,
            count: count.max(1),
        }
    }

    /// Makes the one part of a single shard.
    pub fn whole(range: RangeInclusive<u16>) -> Self {
        Self::new(range, 0, 1)
    }

    /// Number of the shard.
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// How many shards there are; at least one.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Tells whether a port is a relay's on some shard.
    pub(crate) fn is_relay_port(&self, port: u16) -> bool {
        self.range.contains(&port)
    }

    /// Draws a free port: looks at every pair once, from a random one on.
    ///
    /// Returns `None` when no port of the part fits the wish.
    pub(crate) fn draw(&self, rng: &mut Rng, wish: PortWish, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        let pairs = self.pairs();
        if pairs == 0 {
            return None;
        }
        let (start, odd_first) = (rng.below(pairs), rng.u32() & 1 == 1);
        let usable = |port: u16| self.range.contains(&port) && is_free(port);
        (0..pairs).find_map(|step| {
            let even = self.even_port_of((start + step) % pairs);
            let odd = even | 1;
            match wish {
                PortWish::Any if odd_first => [odd, even].into_iter().find(|port| usable(*port)),
                PortWish::Any => [even, odd].into_iter().find(|port| usable(*port)),
                PortWish::Even => Some(even).filter(|_| usable(even)),
                PortWish::EvenAndNext => Some(even).filter(|_| usable(even) && usable(odd)),
            }
        })
    }

    /// Counts the pairs of which at least one port may be in the part.
    fn pairs(&self) -> u64 {
        let (first, last) = (self.first_pair(), self.range.end() / 2);
        if self.range.is_empty() || first > u32::from(last) {
            return 0;
        }
        u64::from((u32::from(last) - first) / u32::from(self.count) + 1)
    }

    /// The lowest pair of the range that is ours; may lie above the range.
    fn first_pair(&self) -> u32 {
        let (low, count) = (u32::from(self.range.start() / 2), u32::from(self.count));
        low + (u32::from(self.index) + count - low % count) % count
    }

    fn even_port_of(&self, nth: u64) -> u16 {
        (2 * (u64::from(self.first_pair()) + nth * u64::from(self.count))) as u16
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn drawn(share: &PortShare, wish: PortWish) -> BTreeSet<u16> {
        let (mut rng, mut taken) = (Rng::from_number(3), BTreeSet::new());
        while let Some(port) = share.draw(&mut rng, wish, |port| !taken.contains(&port)) {
            taken.insert(port);
        }
        taken
    }

    #[test]
    fn three_shards_deal_out_every_port_once_and_as_their_owner_says() {
        let mut all = Vec::new();
        for index in 0..3 {
            let ports = drawn(&PortShare::new(1001..=1033, index, 3), PortWish::Any);
            assert!(ports.iter().all(|port| owner_of_port(*port, 3) == index));
            all.extend(ports);
        }
        all.sort_unstable();
        assert_eq!(all, (1001..=1033).collect::<Vec<_>>());
    }

    #[test]
    fn even_wishes_draw_even_ports_whose_neighbour_is_free_when_asked() {
        assert_eq!(
            drawn(&PortShare::whole(1001..=1006), PortWish::Even),
            BTreeSet::from([1002, 1004, 1006])
        );
        assert_eq!(
            drawn(&PortShare::whole(1001..=1006), PortWish::EvenAndNext),
            BTreeSet::from([1002, 1004])
        );
    }

    #[test]
    fn the_highest_ports_are_dealt_out_without_overflow() {
        assert_eq!(
            drawn(&PortShare::whole(65_534..=65_535), PortWish::Any),
            BTreeSet::from([65_534, 65_535])
        );
    }

    #[test]
    fn a_share_without_ports_draws_none() {
        assert_eq!(
            drawn(&PortShare::new(1000..=1001, 1, 2), PortWish::Any),
            BTreeSet::new()
        );
        #[expect(clippy::reversed_empty_ranges, reason = "the empty range is the case")]
        let empty = PortShare::whole(2..=1);
        assert_eq!(drawn(&empty, PortWish::Any), BTreeSet::new());
    }

    #[test]
    fn successive_draws_from_a_full_range_are_scattered() {
        let (share, mut rng) = (PortShare::whole(49_152..=65_535), Rng::from_number(5));
        let mut draw = || share.draw(&mut rng, PortWish::Any, |_| true).unwrap();
        let distances: Vec<u16> = (0..50).map(|_| draw().abs_diff(draw())).collect();
        assert!(
            distances.iter().filter(|distance| **distance > 100).count() > 40,
            "{distances:?}"
        );
    }
}
