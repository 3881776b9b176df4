//! Making a fork longer, many blocks at a time.
#![expect(
    unsafe_code,
    reason = "zeroes pages of buffers that nobody can find yet"
)]

use crate::descriptor::{DIRTY, IO_IN_PROGRESS, IoClaim, IoKind, TAG_VALID, VALID};
use crate::error::BufferError;
use crate::mapping;
use crate::pinned::PinnedBuffer;
use crate::pool::{Allocated, BufferPool};
use crate::replacement::Patience;
use crate::stats::{Count, IoAccount};
use crate::strategy::Strategy;
use crate::tag::{BufferTag, RelFork};
use std::ops::Range;
use std::sync::Arc;
use trunkline_aio::IoContext;
use trunkline_pgformat::{BLCKSZ, BlockNumber};

impl BufferPool {
    /// Makes the fork longer by up to `count` blocks (at least one, as many as there are buffers to
    /// spare), and gives the buffers of the new blocks: zeroed, valid, clean, pinned, in block order.
    /// Their space is on disk.
    ///
    /// # Errors
    /// Disk full (nothing is extended then), I/O errors, no unpinned buffer.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn extend(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        count: u32,
        strategy: Option<&mut Strategy>,
    ) -> Result<Vec<PinnedBuffer>, BufferError> {
        self.extend_as_wanted(ctx, rel_fork, count, strategy, |_| count, |_| {})
    }

    /// The same for several that want pages at a time and can do with each other's. When its turn has
    /// come, `wanted` is asked how many blocks it shall be after all, given those that there are by now;
    /// for 0 nothing is done. `added` is told of the new blocks before anybody else's turn. Both wait
    /// for nothing: the extension lock is held.
    ///
    /// # Errors
    /// As [`BufferPool::extend`]; `added` was not called.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn extend_as_wanted(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        count: u32,
        mut strategy: Option<&mut Strategy>,
        wanted: impl FnOnce(BlockNumber) -> u32,
        added: impl FnOnce(Range<BlockNumber>),
    ) -> Result<Vec<PinnedBuffer>, BufferError> {
        assert!(count > 0, "an extension by no blocks");
        let account = IoAccount::of(strategy.as_deref());
        let ahead = strategy
            .as_ref()
            .map_or(0, |ring| ring.space_ahead_blocks());
        let mut victims = self.victims(ctx, count, strategy.as_deref_mut())?;
        let guard = self.lock_extension(rel_fork);
        let first = self.nblocks(rel_fork)?;
        victims.truncate(wanted(first) as usize);
        if victims.is_empty() {
            return Ok(Vec::new());
        }
        let count = victims.len() as u32;
        let mut stale = Vec::new();
        let mut buffers = Vec::with_capacity(victims.len());
        for (block, victim) in (first..).zip(victims) {
            let (buffer, is_stale) = self.enter_new_block(BufferTag::new(rel_fork, block), victim);
            if is_stale {
                stale.push(buffers.len());
            }
            buffers.push(buffer);
        }
        let extended = self
            .smgr()
            .extend(rel_fork.rel, rel_fork.fork, first, count, ahead);
        if let Err(error) = extended {
            // Under the lock: the next one whose turn it is would take them for its blocks' buffers.
            for buffer in buffers {
                self.orphan_block(&buffer.tag(), &buffer);
            }
            return Err(error.into());
        }
        let blocks = first..first + count;
        if stale.is_empty() {
            added(blocks);
            drop(guard);
        } else {
            // Nobody is told of blocks that may turn out to be damaged.
            drop(guard);
            for nth in stale {
                self.reset_stale(ctx, &buffers[nth], first + nth as u32)?;
            }
            added(blocks);
        }
        if let Some(ring) = strategy {
            ring.note_extended(count);
        }
        let near = buffers[0].index();
        self.counters.add(account, near, Count::Extends, 1);
        self.counters
            .add(account, near, Count::ExtendedBlocks, count.into());
        Ok(buffers)
    }

    /// Zeroed buffers for new blocks. They come before the extension lock: finding them may wait for
    /// writes.
    fn victims(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        count: u32,
        mut strategy: Option<&mut Strategy>,
    ) -> Result<Vec<PinnedBuffer>, BufferError> {
        let share = strategy
            .as_ref()
            .map_or(usize::MAX, |ring| ring.pin_limit());
        // Half of what a stream may pin: a load's write stream pins the other half.
        let count = (count as usize)
            .min((self.fair_share() / 2).max(1))
            .min(share);
        let mut victims: Vec<PinnedBuffer> = Vec::with_capacity(count);
        while victims.len() < count {
            let patience = if victims.is_empty() {
                Patience::Wait
            } else {
                Patience::None
            };
            match self.victim(ctx, strategy.as_deref_mut(), patience) {
                Ok(victim) => victims.push(victim),
                Err(BufferError::NoUnpinnedBuffers) if !victims.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        for victim in &victims {
            // SAFETY: a victim has no tag and the pin in `victims` is its only one (`Frames`, rule 2).
            unsafe { self.frames().page(victim.index()).write([0; BLCKSZ]) };
        }
        Ok(victims)
    }

    /// Maps a zeroed victim to a block beyond the end. If a buffer is mapped there already, left by an
    /// attempt to read beyond the end, that one is used, and is stale.
    fn enter_new_block(
        self: &Arc<Self>,
        tag: BufferTag,
        victim: PinnedBuffer,
    ) -> (PinnedBuffer, bool) {
        let hash = tag.hash();
        let mut partition = self.mapping.write(hash);
        if let Some(buffer) = mapping::find(&partition, &tag, hash) {
            self.frames().descriptor(buffer).pin_found(false);
            drop(partition);
            return (PinnedBuffer::adopt(self, buffer), true);
        }
        victim.descriptor().publish_tag(tag, TAG_VALID | VALID);
        mapping::insert(&mut partition, tag, hash, victim.index());
        (victim, false)
    }

    /// The buffer of a block that exists and whose page the caller will overwrite as a whole. It is not
    /// read: if it is not in the pool, the page is zeros.
    pub(crate) fn buffer_without_read(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        tag: BufferTag,
    ) -> Result<PinnedBuffer, BufferError> {
        let (Allocated::Found(buffer) | Allocated::Fresh(buffer)) =
            self.allocate(ctx, tag, None, Patience::Wait)?;
        loop {
            let state = buffer.descriptor().state();
            if state & IO_IN_PROGRESS != 0 {
                buffer.descriptor().wait_io(|wait_ref| ctx.wait(wait_ref));
                continue;
            }
            if state & VALID != 0 {
                return Ok(buffer);
            }
            if buffer.descriptor().claim_io(IoKind::Read) == IoClaim::Claimed {
                // SAFETY: the page is claimed for a read that is not staged (`Frames`, rule 2).
                unsafe { self.frames().page(buffer.index()).write([0; BLCKSZ]) };
                buffer.descriptor().finish_without_read();
                return Ok(buffer);
            }
        }
    }

    /// Makes a buffer that was mapped to a block before the block existed a new page.
    fn reset_stale(
        &self,
        ctx: &mut IoContext,
        buffer: &PinnedBuffer,
        block: BlockNumber,
    ) -> Result<(), BufferError> {
        loop {
            let state = buffer.descriptor().state();
            if state & IO_IN_PROGRESS != 0 {
                buffer.descriptor().wait_io(|wait_ref| ctx.wait(wait_ref));
                continue;
            }
            if state & VALID != 0 {
                // Read as zeros since the block exists, or something that ought not to be there.
                if state & DIRTY == 0 && buffer.share().page().is_all_zeros() {
                    return Ok(());
                }
                let path = buffer.rel_fork().path();
                return Err(BufferError::DataBeyondEnd { path, block });
            }
            if buffer.descriptor().claim_io(IoKind::Read) == IoClaim::Claimed {
                // SAFETY: the page is claimed for a read that is not staged (`Frames`, rule 2).
                unsafe { self.frames().page(buffer.index()).write([0; BLCKSZ]) };
                buffer.descriptor().finish_without_read();
                return Ok(());
            }
        }
    }
}
