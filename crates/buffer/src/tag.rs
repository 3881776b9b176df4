//! What a buffer holds: a block of a relation fork, and how it is hashed.

use trunkline_pgformat::{BlockNumber, ForkNumber, RelFileLocator};

/// A fork of a relation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelFork {
    /// The relation's files.
    pub rel: RelFileLocator,
    /// Which of its forks.
    pub fork: ForkNumber,
}

impl RelFork {
    /// The fork `fork` of `rel`.
    pub const fn new(rel: RelFileLocator, fork: ForkNumber) -> RelFork {
        RelFork { rel, fork }
    }

    /// The main fork of `rel`.
    pub const fn main(rel: RelFileLocator) -> RelFork {
        RelFork::new(rel, ForkNumber::Main)
    }

    /// Path of the first segment, relative to the data directory.
    pub fn path(&self) -> String {
        self.rel.path(self.fork)
    }
}

/// PostgreSQL's `BufferTag`: which block of which fork a buffer holds. Ordered as a checkpoint
/// writes: by relation, fork, block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BufferTag {
    /// The fork.
    pub rel_fork: RelFork,
    /// The block within the fork.
    pub block: BlockNumber,
}

impl BufferTag {
    /// The tag of `block` of `rel_fork`.
    pub const fn new(rel_fork: RelFork, block: BlockNumber) -> BufferTag {
        BufferTag { rel_fork, block }
    }

    /// A hash for the mapping: two folded multiplications; tags are not chosen by an adversary.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        let rel = &self.rel_fork.rel;
        let place = u64::from(rel.spc_oid.0) << 32 | u64::from(rel.db_oid.0);
        let file = u64::from(rel.rel_number) << 32 | u64::from(self.block);
        let fork = self.rel_fork.fork as u64;
        let mixed = fold(place ^ 0x9e37_79b9_7f4a_7c15, fork ^ 0xa076_1d64_78bd_642f);
        fold(
            file ^ mixed ^ 0xe703_7ed1_a0b4_28db,
            0x8ebc_6af0_9c88_c6e3 ^ mixed.rotate_left(31),
        )
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use trunkline_pgformat::Oid;

    #[test]
    fn hash_spreads_neighbouring_blocks_over_partitions() {
        let rel = RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(5),
            rel_number: 16384,
        };
        let hashes: HashSet<u64> = (0..100_000)
            .map(|b| BufferTag::new(RelFork::main(rel), b).hash())
            .collect();
        assert_eq!(hashes.len(), 100_000);
        let mut partitions = [0u32; 128];
        for hash in &hashes {
            partitions[crate::mapping::partition_of(*hash)] += 1;
        }
        assert!(
            partitions.iter().all(|&n| n > 500 && n < 1100),
            "{partitions:?}"
        );
    }
}
