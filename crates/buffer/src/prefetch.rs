//! Bringing blocks in without waiting for them.

use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::{Allocated, BufferPool};
use crate::reader::ReadMode;
use crate::replacement::Patience;
use crate::stats::IoAccount;
use crate::tag::{BufferTag, RelFork};
use std::sync::Arc;
use trunkline_aio::IoContext;
use trunkline_pgformat::BlockNumber;
use trunkline_smgr::segment_remaining;

impl BufferPool {
    /// Starts reads of those of the `count` blocks from `first` on that are not in the pool, runs of
    /// neighbours combined, and gives the number of blocks being read. How they end is seen by who
    /// reads them. No more are in flight than the issuer has handles.
    ///
    /// # Errors
    /// A read could not be started; those before it go on.
    pub fn prefetch(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        first: BlockNumber,
        count: u32,
    ) -> Result<u32, BufferError> {
        let started = self.start_prefetch(ctx, rel_fork, first, count);
        ctx.submit();
        started
    }

    fn start_prefetch(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        first: BlockNumber,
        count: u32,
    ) -> Result<u32, BufferError> {
        let end = first.saturating_add(count);
        let mut block = first;
        let mut started = 0;
        while block < end {
            let limit = (end - block)
                .min(segment_remaining(block))
                .min(self.combine_blocks() as u32);
            let run = self.allocate_run(ctx, rel_fork, block, limit)?;
            let (account, mode) = (IoAccount::Normal, ReadMode::Normal);
            match self.start_read(ctx, rel_fork, block, &run, account, mode)? {
                Some(read) => {
                    started += read.blocks;
                    block += read.blocks;
                }
                None => block += 1,
            }
        }
        Ok(started)
    }

    /// Buffers for up to `limit` blocks from `first` on, up to one that is in the pool.
    fn allocate_run(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        first: BlockNumber,
        limit: u32,
    ) -> Result<Vec<PinnedBuffer>, BufferError> {
        let mut run = Vec::with_capacity(limit as usize);
        for block in first..first + limit {
            match self.allocate(ctx, BufferTag::new(rel_fork, block), None, Patience::Wait) {
                Ok(Allocated::Fresh(buffer)) => run.push(buffer),
                Ok(Allocated::Found(_)) => break,
                Err(BufferError::NoUnpinnedBuffers) if !run.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(run)
    }
}
