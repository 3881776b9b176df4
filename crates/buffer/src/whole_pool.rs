//! What concerns many buffers at once: writing all, forgetting a relation, evicting one.

use crate::checkpoint_writes::CheckpointWrites;
use crate::descriptor::{DIRTY, TAG_VALID};
use crate::error::BufferError;
use crate::mapping;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::stats::IoAccount;
use crate::tag::{BufferTag, RelFork};
use crate::write_stream::WriteStream;
use std::sync::Arc;
use trunkline_aio::IoContext;
use trunkline_pgformat::{BlockNumber, ForkNumber, RelFileLocator};

/// Writes in flight while many buffers are written.
const WRITES_IN_FLIGHT: usize = 32;

/// What [`BufferPool::evict_relation`] did, in buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Evicted {
    /// Evicted, written first or not.
    pub evicted: u64,
    /// Written before they were evicted.
    pub flushed: u64,
    /// In use, and left.
    pub skipped: u64,
}

impl BufferPool {
    /// Writes every buffer that is dirty when this looks at it (a checkpoint's first half; the second
    /// is `Smgr::sync_all`), sorted by relation, fork and block, neighbours combined. Writes that
    /// others have in flight are waited for.
    ///
    /// # Errors
    /// The first error of any write; all others are written all the same.
    pub fn write_all(self: &Arc<Self>, ctx: &mut IoContext) -> Result<(), BufferError> {
        CheckpointWrites::begin(self, WRITES_IN_FLIGHT)
            .finish(ctx)
            .map(drop)
    }

    /// Writes the dirty buffers of a relation, all forks.
    pub fn write_relation(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel: RelFileLocator,
    ) -> Result<(), BufferError> {
        self.write_chosen(ctx, IoAccount::Normal, |tag| tag.rel_fork.rel == rel)
            .map(drop)
    }

    fn write_chosen(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        account: IoAccount,
        chosen: impl Fn(&BufferTag) -> bool,
    ) -> Result<u64, BufferError> {
        let mut dirty = self.tagged(DIRTY, &chosen);
        dirty.sort_unstable();
        let mut stream = WriteStream::with_account(self, WRITES_IN_FLIGHT, account);
        let mut first_error = Ok(());
        let mut written = 0;
        for (tag, buffer) in dirty {
            let descriptor = self.frames().descriptor(buffer);
            if !descriptor.pin_if(DIRTY | TAG_VALID) {
                continue;
            }
            let pinned = PinnedBuffer::adopt(self, buffer);
            if pinned.tag() != tag {
                // Written and reused since it was listed.
                continue;
            }
            written += 1;
            let pushed = stream.push(ctx, pinned);
            first_error = first_error.and(pushed);
        }
        let finished = stream.finish(ctx);
        first_error.and(finished).map(|()| written)
    }

    /// The buffers that have `flags` and a tag that is `chosen`, at this moment, unpinned.
    fn tagged(&self, flags: u64, chosen: impl Fn(&BufferTag) -> bool) -> Vec<(BufferTag, u32)> {
        (0..self.buffers() as u32)
            .filter_map(|buffer| {
                let descriptor = self.frames().descriptor(buffer);
                let wanted = flags | TAG_VALID;
                if descriptor.state() & wanted != wanted {
                    return None;
                }
                // A hint: users of the list look again under a pin or a partition lock.
                let tag = descriptor.tag();
                chosen(&tag).then_some((tag, buffer))
            })
            .collect()
    }

    /// Forgets all blocks of a relation, written or not, before its files are removed. Waits for I/O
    /// in flight on them, by driving it. Nobody else uses the relation any more; a pin that somebody
    /// still has keeps a page that nobody can find.
    pub fn drop_relation(self: &Arc<Self>, rel: RelFileLocator) {
        self.drop_chosen(|tag| tag.rel_fork.rel == rel);
    }

    /// Forgets all blocks of several relations, in one pass over the pool.
    pub fn drop_relations(self: &Arc<Self>, rels: &[RelFileLocator]) {
        self.drop_chosen(|tag| rels.contains(&tag.rel_fork.rel));
    }

    /// Forgets the blocks of a fork from `first` on, before the fork is truncated.
    pub fn drop_blocks_from(
        self: &Arc<Self>,
        rel: RelFileLocator,
        fork: ForkNumber,
        first: BlockNumber,
    ) {
        let rel_fork = RelFork::new(rel, fork);
        self.drop_chosen(|tag| tag.rel_fork == rel_fork && tag.block >= first);
    }

    fn drop_chosen(self: &Arc<Self>, chosen: impl Fn(&BufferTag) -> bool) {
        for (tag, buffer) in self.tagged(0, chosen) {
            let descriptor = self.frames().descriptor(buffer);
            if descriptor.pin_if(TAG_VALID) {
                let pinned = PinnedBuffer::adopt(self, buffer);
                self.orphan_block(&tag, &pinned);
            }
        }
    }

    /// Unmaps a block's buffer whatever its page, once no I/O is in flight on it.
    pub(crate) fn orphan_block(&self, tag: &BufferTag, buffer: &PinnedBuffer) {
        let hash = tag.hash();
        loop {
            buffer
                .descriptor()
                .wait_io(|wait_ref| self.aio().wait(wait_ref));
            let mut partition = self.mapping.write(hash);
            if mapping::find(&partition, tag, hash) != Some(buffer.index()) {
                return;
            }
            if buffer.descriptor().orphan() {
                mapping::remove(&mut partition, tag, hash, buffer.index());
                return;
            }
        }
    }

    /// Evicts a relation's blocks, writing the dirty ones (`pg_buffercache_evict_relation`). Blocks
    /// that somebody uses stay.
    pub fn evict_relation(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel: RelFileLocator,
    ) -> Result<Evicted, BufferError> {
        let flushed = self.write_chosen(ctx, IoAccount::Normal, |tag| tag.rel_fork.rel == rel)?;
        let mut counts = Evicted {
            flushed,
            ..Evicted::default()
        };
        for (tag, buffer) in self.tagged(0, |tag| tag.rel_fork.rel == rel) {
            let descriptor = self.frames().descriptor(buffer);
            if !descriptor.pin_if(TAG_VALID) {
                continue;
            }
            let pinned = PinnedBuffer::adopt(self, buffer);
            if pinned.tag() != tag {
                continue;
            }
            // Reads and writes that nobody waits for would keep it pinned.
            descriptor.wait_io(|wait_ref| ctx.wait(wait_ref));
            if self.take_tag(&pinned) {
                counts.evicted += 1;
            } else {
                counts.skipped += 1;
            }
        }
        Ok(counts)
    }
}
