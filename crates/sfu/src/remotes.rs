//! Which transport a datagram on a shared socket belongs to, by where it came from.

use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use voex_base::{Rng, SocketId};

/// Our socket and the remote's address.
pub(crate) type Pair = (SocketId, SocketAddr);

/// Addresses that passed an ICE check, at most a few for each transport.
///
/// A check proves who sent it, not where it came from: somebody who knows the password of one transport can send a check
/// of it from a forged address, another remote's. So a pair has an owner and at most one rival, the owner before. When
/// what comes over the pair does not fit its owner, the two change places: a forged check costs one packet, and a
/// browser that really begins another call from the port of the last one gets through.
pub(crate) struct Remotes(HashMap<Pair, Claim, SeedableRandomState>);

/// Slab keys of the transports that claim a pair.
#[derive(Clone, Copy)]
struct Claim {
    owner: usize,
    rival: Option<usize>,
}

impl Remotes {
    /// Makes an empty table, hashed with a seed, since remotes choose their addresses.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let state = SeedableRandomState::with_seed(rng.u64(), SharedSeed::global_fixed());
        Self(HashMap::with_hasher(state))
    }

    /// The transport that datagrams over this pair go to.
    pub(crate) fn owner(&self, pair: Pair) -> Option<usize> {
        self.0.get(&pair).map(|claim| claim.owner)
    }

    /// Notes that a valid check of `transport` came over this pair.
    pub(crate) fn claim(&mut self, pair: Pair, transport: usize) {
        let fresh = Claim {
            owner: transport,
            rival: None,
        };
        let claim = self.0.entry(pair).or_insert(fresh);
        if claim.owner != transport {
            *claim = Claim {
                owner: transport,
                rival: Some(claim.owner),
            };
        }
    }

    /// Notes that a datagram over this pair was not its owner's.
    pub(crate) fn doubt(&mut self, pair: Pair) {
        if let Some(claim) = self.0.get_mut(&pair)
            && let Some(rival) = claim.rival
        {
            *claim = Claim {
                owner: rival,
                rival: Some(claim.owner),
            };
        }
    }

    /// Takes back the claim of a transport that is gone or has forgotten the pair.
    pub(crate) fn release(&mut self, pair: Pair, transport: usize) {
        let Some(claim) = self.0.get_mut(&pair) else { return };
        if claim.rival == Some(transport) {
            claim.rival = None;
        } else if claim.owner == transport {
            match claim.rival.take() {
                Some(rival) => claim.owner = rival,
                None => drop(self.0.remove(&pair)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        (SocketId(1), "192.0.2.1:5000".parse().unwrap())
    }

    fn remotes() -> Remotes {
        Remotes::new(&mut Rng::from_number(1))
    }

    #[test]
    fn a_pair_that_two_claim_changes_hands_on_doubt_and_falls_to_the_one_that_stays() {
        let mut remotes = remotes();
        remotes.claim(pair(), 7);
        remotes.doubt(pair());
        assert_eq!(remotes.owner(pair()), Some(7), "there is nobody else");
        remotes.claim(pair(), 8);
        assert_eq!(remotes.owner(pair()), Some(8));
        remotes.doubt(pair());
        assert_eq!(remotes.owner(pair()), Some(7));
        remotes.release(pair(), 7);
        assert_eq!(remotes.owner(pair()), Some(8));
        remotes.release(pair(), 8);
        assert_eq!(remotes.owner(pair()), None);
    }

    #[test]
    fn a_claim_that_is_repeated_keeps_the_rival_it_had_no_reason_to_lose() {
        let mut remotes = remotes();
        remotes.claim(pair(), 7);
        remotes.claim(pair(), 8);
        remotes.claim(pair(), 8);
        remotes.doubt(pair());
        assert_eq!(remotes.owner(pair()), Some(7));
    }
}
