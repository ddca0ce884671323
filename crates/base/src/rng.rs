//! Randomness is passed in like time: the shell seeds from the operating system, tests from a number they print.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng};

/// Cryptographically strong, seeded generator. Nonces, ports, ids and ICE credentials all come from one of these.
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// Seeds from 32 bytes of the operating system's entropy.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Seeds from a small number: for tests and simulations only.
    pub fn from_number(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// Splits off a generator of its own, so that two owners never share a stream.
    pub fn split(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// Draws 32 bits.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Draws 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws from `0..bound` without modulo bias worth naming (bias below 2^-32 for bounds of 32 bits).
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one value to choose from");
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Draws `length` characters of ALPHA / DIGIT: ICE ufrags and passwords, SIP tags and branches.
    pub fn token(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..length)
            .map(|_| char::from(ALPHABET[self.below(62) as usize]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_values() {
        let (mut a, mut b) = (Rng::from_number(7), Rng::from_number(7));
        assert_eq!((a.u64(), a.token(22)), (b.u64(), b.token(22)));
    }

    #[test]
    fn split_generators_draw_different_values() {
        let mut a = Rng::from_number(7);
        let mut b = a.split();
        assert_ne!(a.u64(), b.u64());
    }
}
