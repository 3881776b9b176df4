//! Counts of what the pool did, and for what, sharded so that nobody takes a lock to count.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::strategy::{Strategy, StrategyKind};

const SHARDS: usize = 16;

/// On whose account the pool's I/O is counted: PostgreSQL's `IOContext`, and the checkpointer and the
/// background writer apart from the sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum IoAccount {
    /// A session, without a ring.
    Normal,
    /// A session's big scan.
    BulkRead,
    /// A session's load.
    BulkWrite,
    /// A session's VACUUM.
    Vacuum,
    /// Checkpoints.
    Checkpointer,
    /// Cleaning ahead of the clock hand.
    BackgroundWriter,
}

impl IoAccount {
    /// All of them.
    pub const ALL: [IoAccount; 6] = [
        IoAccount::Normal,
        IoAccount::BulkRead,
        IoAccount::BulkWrite,
        IoAccount::Vacuum,
        IoAccount::Checkpointer,
        IoAccount::BackgroundWriter,
    ];

    /// What is done with `strategy` (PostgreSQL's `IOContextForStrategy`).
    pub fn of(strategy: Option<&Strategy>) -> IoAccount {
        match strategy.map(Strategy::kind) {
            None => IoAccount::Normal,
            Some(StrategyKind::BulkRead) => IoAccount::BulkRead,
            Some(StrategyKind::BulkWrite) => IoAccount::BulkWrite,
            Some(StrategyKind::Vacuum) => IoAccount::Vacuum,
        }
    }
}

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
    WriteWaits,
    Writebacks,
    WritebackBlocks,
    Allocations,
}

const COUNTS: usize = Count::Allocations as usize + 1;
const ACCOUNTS: usize = IoAccount::ALL.len();

#[repr(align(128))]
struct Shard([[AtomicU64; COUNTS]; ACCOUNTS]);

impl Shard {
    fn new() -> Shard {
        Shard(std::array::from_fn(|_| {
            std::array::from_fn(|_| AtomicU64::new(0))
        }))
    }
}

/// The counters.
pub(crate) struct Counters {
    shards: [Shard; SHARDS],
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            shards: std::array::from_fn(|_| Shard::new()),
        }
    }

    /// Adds `n` to `count` of `account`; `near` spreads callers over the shards.
    #[inline]
    pub(crate) fn add(&self, account: IoAccount, near: u32, count: Count, n: u64) {
        self.shards[near as usize % SHARDS].0[account as usize][count as usize]
            .fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, accounts: &[IoAccount]) -> PoolStats {
        let sum = |count: Count| {
            let of = |account: IoAccount| {
                self.shards.iter().map(move |shard| {
                    shard.0[account as usize][count as usize].load(Ordering::Relaxed)
                })
            };
            accounts.iter().copied().flat_map(of).sum()
        };
        PoolStats {
            hits: sum(Count::Hits),
            joined: sum(Count::Joined),
            reads: sum(Count::Reads),
            read_blocks: sum(Count::ReadBlocks),
            writes: sum(Count::Writes),
            written_blocks: sum(Count::WrittenBlocks),
            extends: sum(Count::Extends),
            extended_blocks: sum(Count::ExtendedBlocks),
            evictions: sum(Count::Evictions),
            reuses: sum(Count::Reuses),
            waits: sum(Count::Waits),
            write_waits: sum(Count::WriteWaits),
            writebacks: sum(Count::Writebacks),
            writeback_blocks: sum(Count::WritebackBlocks),
            allocations: sum(Count::Allocations),
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
    /// Times that whoever needed a buffer had to wait for a write, or a flush of WAL for one, because
    /// no clean one was found (B5).
    pub write_waits: u64,
    /// Requests to the kernel to begin writing what it has buffered.
    pub writebacks: u64,
    /// Blocks in them.
    pub writeback_blocks: u64,
    /// Buffers taken from the clock sweep (`buffers_alloc` of `pg_stat_bgwriter`).
    pub allocations: u64,
}
