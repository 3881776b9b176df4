//! The visibility map fork: two bits a heap page, all-visible and all-frozen
//! (`access/heap/visibilitymap.c`).

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferPool, PinnedBuffer, RelFork};
use trunkline_pgformat::{BlockNumber, ForkNumber, PageMut, RelFileLocator, visibility_map};

use crate::HeapError;

/// What the map says of a heap page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageVisibility {
    /// Every tuple is visible to everybody.
    pub all_visible: bool,
    /// Every tuple is frozen.
    pub all_frozen: bool,
}

/// A table's visibility map.
pub struct VisibilityMap {
    pool: Arc<BufferPool>,
    fork: RelFork,
}

impl VisibilityMap {
    /// The map of the table at `locator`; its fork is made when the first bit is set.
    pub fn new(pool: &Arc<BufferPool>, locator: RelFileLocator) -> VisibilityMap {
        VisibilityMap {
            pool: Arc::clone(pool),
            fork: RelFork {
                rel: locator,
                fork: ForkNumber::Vm,
            },
        }
    }

    /// What the map says of heap page `block`.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn get(&self, block: BlockNumber, io: &mut IoContext) -> Result<PageVisibility, HeapError> {
        let map_block = visibility_map::map_block(block);
        if map_block >= self.blocks()? {
            return Ok(PageVisibility::default());
        }
        let buffer = self.pool.read(io, self.fork, map_block, None)?;
        let guard = buffer.share();
        let bits = visibility_map::status(&guard, block);
        Ok(PageVisibility {
            all_visible: bits & visibility_map::VISIBILITYMAP_ALL_VISIBLE != 0,
            all_frozen: bits & visibility_map::VISIBILITYMAP_ALL_FROZEN != 0,
        })
    }

    /// Sets the bits of heap page `block`. The caller holds the heap page's exclusive lock, and has
    /// set PD_ALL_VISIBLE on it.
    ///
    /// # Errors
    /// The map cannot be read or extended.
    pub fn set(
        &self,
        block: BlockNumber,
        visibility: PageVisibility,
        io: &mut IoContext,
    ) -> Result<(), HeapError> {
        let bits = if visibility.all_visible {
            visibility_map::VISIBILITYMAP_ALL_VISIBLE
        } else {
            0
        } | if visibility.all_frozen {
            visibility_map::VISIBILITYMAP_ALL_FROZEN
        } else {
            0
        };
        let buffer = self.page(visibility_map::map_block(block), io)?;
        let mut guard = buffer.exclusive();
        if visibility_map::set(&mut guard, block, bits) {
            guard.mark_dirty();
        }
        Ok(())
    }

    /// Clears the bits of heap page `block`, before a tuple on it changes.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn clear(&self, block: BlockNumber, io: &mut IoContext) -> Result<(), HeapError> {
        let map_block = visibility_map::map_block(block);
        if map_block >= self.blocks()? {
            return Ok(());
        }
        let buffer = self.pool.read(io, self.fork, map_block, None)?;
        let mut guard = buffer.exclusive();
        if visibility_map::clear(&mut guard, block, visibility_map::VISIBILITYMAP_VALID_BITS) {
            guard.mark_dirty();
        }
        Ok(())
    }

    /// Pages of the map; none before the fork is made.
    fn blocks(&self) -> Result<BlockNumber, HeapError> {
        if !self.pool.smgr().exists(self.fork.rel, self.fork.fork)? {
            return Ok(0);
        }
        Ok(self.pool.nblocks(self.fork)?)
    }

    /// The map's page `map_block`, after extending the fork up to it.
    fn page(&self, map_block: BlockNumber, io: &mut IoContext) -> Result<PinnedBuffer, HeapError> {
        loop {
            let blocks = self.blocks()?;
            if map_block < blocks {
                break;
            }
            self.pool
                .smgr()
                .create(self.fork.rel, self.fork.fork, true)?;
            for buffer in self
                .pool
                .extend(io, self.fork, map_block + 1 - blocks, None)?
            {
                let mut guard = buffer.exclusive();
                if guard.page().is_new() {
                    PageMut::new(&mut guard).init(0);
                    guard.mark_dirty();
                }
            }
        }
        let buffer = self.pool.read(io, self.fork, map_block, None)?;
        {
            // Another thread may have extended the fork and not yet come to this page.
            let mut guard = buffer.exclusive();
            if guard.page().is_new() {
                PageMut::new(&mut guard).init(0);
                guard.mark_dirty();
            }
        }
        Ok(buffer)
    }
}
