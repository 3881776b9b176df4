//! Counts of what the pool did, sharded so that nobody takes a lock to count.

use std::sync::atomic::{AtomicU64, Ordering};

const SHARDS: usize = 16;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Count {
    Hits,
    Joined,
    Reads,
    ReadBlocks,
    Writes,
    WrittenBlocks,
    Extends,
    ExtendedBlocks,
    Evictions,
    Reuses,
    Waits,
}

const COUNTS: usize = Count::Waits as usize + 1;

#[repr(align(128))]
struct Shard([AtomicU64; COUNTS]);

/// The counters.
pub(crate) struct Counters {
    shards: [Shard; SHARDS],
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            shards: [const { Shard([const { AtomicU64::new(0) }; COUNTS]) }; SHARDS],
        }
    }

    /// Adds `n` to `count`; `near` spreads callers over the shards.
    #[inline]
    pub(crate) fn add(&self, near: u32, count: Count, n: u64) {
        self.shards[near as usize % SHARDS].0[count as usize].fetch_add(n, Ordering::Relaxed);
    }

    fn sum(&self, count: Count) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.0[count as usize].load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn snapshot(&self) -> PoolStats {
        PoolStats {
            hits: self.sum(Count::Hits),
            joined: self.sum(Count::Joined),
            reads: self.sum(Count::Reads),
            read_blocks: self.sum(Count::ReadBlocks),
            writes: self.sum(Count::Writes),
            written_blocks: self.sum(Count::WrittenBlocks),
            extends: self.sum(Count::Extends),
            extended_blocks: self.sum(Count::ExtendedBlocks),
            evictions: self.sum(Count::Evictions),
            reuses: self.sum(Count::Reuses),
            waits: self.sum(Count::Waits),
        }
    }
}

/// Totals since the pool was made (the numbers behind `pg_stat_io`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStats {
    /// Blocks found in the pool.
    pub hits: u64,
    /// Blocks found being read by somebody else, whose read was joined.
    pub joined: u64,
    /// Reads started.
    pub reads: u64,
    /// Blocks in them.
    pub read_blocks: u64,
    /// Writes started.
    pub writes: u64,
    /// Blocks in them.
    pub written_blocks: u64,
    /// Extensions of forks.
    pub extends: u64,
    /// Blocks in them.
    pub extended_blocks: u64,
    /// Buffers taken from another block by the clock sweep.
    pub evictions: u64,
    /// Buffers taken from another block by a ring from itself.
    pub reuses: u64,
    /// Times that a stream's consumer had to wait for a read.
    pub waits: u64,
}
