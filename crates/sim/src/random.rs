//! Seeded random numbers, the same for ever: ChaCha8 by value-stable
//! construction, and integer arithmetic only, since seeds are recorded and
//! replayed on other machines.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of random numbers is for. Each purpose has its own, so that
/// a change in one does not shift the others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Latency = 1,
    Faults = 2,
    Disk = 3,
    PowerCut = 4,
}

#[derive(Clone, Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(purpose as u64);
        Random(generator)
    }

    /// A number below `limit`; 0 if there is none.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // The high half of a 128-bit product; the bias is far below what any
        // test could notice.
        ((u128::from(self.0.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.0.next_u32() & 1 == 1
    }

    pub(crate) fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        // Recorded: seeds in bug reports depend on these values.
        let mut random = Random::new(1, Purpose::Disk);
        let numbers: Vec<u64> = (0..4).map(|_| random.below(1000)).collect();
        assert_eq!(numbers, RECORDED);
    }

    const RECORDED: [u64; 4] = [568, 674, 197, 391];

    #[test]
    fn purposes_and_seeds_differ_and_limits_hold() {
        let draw = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..8).map(|_| random.below(u64::MAX)).collect::<Vec<_>>()
        };
        assert_ne!(draw(1, Purpose::Disk), draw(2, Purpose::Disk));
        assert_ne!(draw(1, Purpose::Disk), draw(1, Purpose::Latency));
        let mut random = Random::new(3, Purpose::Faults);
        assert!((0..1000).all(|_| random.below(7) < 7));
        assert_eq!(random.below(0), 0);
        assert!(!random.chance(0) && random.chance(1_000_000));
        let heads = (0..1000).filter(|_| random.coin()).count();
        assert!((400..600).contains(&heads), "{heads}");
    }
}
