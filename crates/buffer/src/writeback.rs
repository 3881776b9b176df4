//! Asking the kernel to write what it has buffered before a sync has to (PostgreSQL's
//! `WritebackContext`): collected, sorted, neighbours merged, then `flush_range`.
//!
//! Only files that are not written directly have anything to gain. The requests are hints; one whose
//! file is gone, or whose write is still on the way when too many wait, is dropped.

use crate::pool::BufferPool;
use crate::stats::{Count, IoAccount};
use crate::tag::BufferTag;
use crate::write_io::WriteInFlight;
use trunkline_aio::{IoContext, TargetId, WaitRef};
use trunkline_smgr::{relation_tag, segment_remaining};

/// Blocks that were written, or are being.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: BufferTag,
    blocks: u32,
    write: WaitRef,
    /// On whose account they were written.
    account: IoAccount,
}

/// Writes whose blocks the kernel has not been asked to write yet.
#[derive(Debug)]
pub(crate) struct Writeback {
    /// Blocks to collect before asking; 0 never asks.
    limit_blocks: u32,
    pending: Vec<Range>,
    pending_blocks: u32,
}

impl Writeback {
    pub(crate) fn new(limit_blocks: u32) -> Writeback {
        Writeback {
            limit_blocks,
            pending: Vec::new(),
            pending_blocks: 0,
        }
    }

    /// Notes a write on this account. It may still be on the way.
    pub(crate) fn add(
        &mut self,
        pool: &BufferPool,
        ctx: &mut IoContext,
        write: &WriteInFlight,
        account: IoAccount,
    ) {
        if self.limit_blocks == 0 || pool.smgr().is_direct() {
            return;
        }
        self.pending.push(Range {
            first: BufferTag::new(write.rel_fork, write.first),
            blocks: write.blocks,
            write: write.wait_ref,
            account,
        });
        self.pending_blocks += write.blocks;
        if self.pending_blocks >= self.limit_blocks {
            self.issue(pool, ctx);
        }
    }

    /// Asks for everything that is written by now.
    pub(crate) fn issue(&mut self, pool: &BufferPool, ctx: &mut IoContext) {
        let (mut written, mut on_the_way): (Vec<Range>, Vec<Range>) = self
            .pending
            .drain(..)
            .partition(|range| pool.aio().is_complete(range.write));
        // What is on the way must not gather for ever.
        let limit = self.limit_blocks as usize;
        on_the_way.drain(..on_the_way.len().saturating_sub(limit));
        self.pending_blocks = on_the_way.iter().map(|range| range.blocks).sum();
        self.pending = on_the_way;
        if written.is_empty() {
            return;
        }
        written.sort_unstable_by_key(|range| range.first);
        let mut merged = written[0];
        for range in &written[1..] {
            match merge(merged, *range) {
                Some(both) => merged = both,
                None => {
                    Self::flush(pool, ctx, merged);
                    merged = *range;
                }
            }
        }
        Self::flush(pool, ctx, merged);
        ctx.submit();
    }

    fn flush(pool: &BufferPool, ctx: &mut IoContext, range: Range) {
        let BufferTag { rel_fork, block } = range.first;
        // Without a handle the core is being shut down.
        let Ok(mut handle) = ctx.acquire() else {
            return;
        };
        handle.target(relation_tag(
            TargetId::Smgr,
            rel_fork.rel,
            rel_fork.fork,
            block,
        ));
        let (rel, fork) = (rel_fork.rel, rel_fork.fork);
        let started = pool
            .smgr()
            .start_flush_range(handle, rel, fork, block, range.blocks);
        if started.is_some() {
            let count = |count, n| pool.counters.add(range.account, block, count, n);
            count(Count::Writebacks, 1);
            count(Count::WritebackBlocks, range.blocks.into());
        }
    }
}

/// Two ranges as one, if the second begins in the first or right behind it, in the same segment, and both
/// are on the same account.
fn merge(one: Range, other: Range) -> Option<Range> {
    let end = one.first.block + one.blocks;
    let touches = one.account == other.account
        && one.first.rel_fork == other.first.rel_fork
        && other.first.block <= end
        && other.first.block - one.first.block < segment_remaining(one.first.block);
    touches.then(|| Range {
        blocks: (other.first.block + other.blocks).max(end) - one.first.block,
        ..one
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::RelFork;
    use trunkline_pgformat::{Oid, RELSEG_SIZE, RelFileLocator};

    fn range(rel_number: u32, block: u32, blocks: u32) -> Range {
        let rel = RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(5),
            rel_number,
        };
        Range {
            first: BufferTag::new(RelFork::main(rel), block),
            blocks,
            write: WaitRef::NONE,
            account: IoAccount::Normal,
        }
    }

    #[test]
    fn neighbours_of_one_segment_are_merged() {
        let merged = |one, other| merge(one, other).map(|range| (range.first.block, range.blocks));
        assert_eq!(merged(range(1, 4, 4), range(1, 8, 2)), Some((4, 6)));
        assert_eq!(merged(range(1, 4, 4), range(1, 5, 1)), Some((4, 4)));
        assert_eq!(merged(range(1, 4, 4), range(1, 9, 2)), None);
        assert_eq!(merged(range(1, 4, 4), range(2, 8, 2)), None);
        let of_load = Range {
            account: IoAccount::BulkWrite,
            ..range(1, 8, 2)
        };
        assert_eq!(merged(range(1, 4, 4), of_load), None);
        let last = range(1, RELSEG_SIZE - 1, 1);
        assert_eq!(merged(last, range(1, RELSEG_SIZE, 1)), None);
    }
}
