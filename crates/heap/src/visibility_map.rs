//! The visibility map fork: two bits a heap page, all-visible and all-frozen
//! (`access/heap/visibilitymap.c`).
//!
//! A bit is set and cleared under the heap page's exclusive lock, together with the page's
//! PD_ALL_VISIBLE, so the map is never ahead of the page. The map's own page is pinned *before* that
//! lock is taken: nothing is read or extended under it, and nothing can fail between the change of
//! the page and that of the map.
//!
//! Setting bits is logged (`XLOG_HEAP2_VISIBLE`). Clearing them is told by the record of the change
//! that needs it, and leaves the map page's LSN as it is: a cleared bit may be on disk before its
//! reason, never a set one.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferPool, CriticalSection, ExclusiveGuard, PinnedBuffer, RelFork};
use trunkline_pgformat::wal::rmgr::heap2::HeapVisible;
use trunkline_pgformat::{BlockNumber, ForkNumber, PageMut, Xid, visibility_map};

use crate::HeapError;
use crate::logging::Logger;
use crate::relation::HeapRelation;

/// What the map says of a heap page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageVisibility {
    /// Every tuple is visible to everybody.
    pub all_visible: bool,
    /// Every tuple is frozen.
    pub all_frozen: bool,
}

impl PageVisibility {
    fn bits(self) -> u8 {
        let mut bits = 0;
        if self.all_visible {
            bits |= visibility_map::VISIBILITYMAP_ALL_VISIBLE;
        }
        if self.all_frozen {
            bits |= visibility_map::VISIBILITYMAP_ALL_FROZEN;
        }
        bits
    }
}

/// A table's visibility map.
pub struct VisibilityMap {
    pool: Arc<BufferPool>,
    fork: RelFork,
    logged: bool,
}

impl VisibilityMap {
    /// The map of a table; its fork is made when the first bit is set.
    pub fn new(pool: &Arc<BufferPool>, relation: HeapRelation) -> VisibilityMap {
        VisibilityMap {
            pool: Arc::clone(pool),
            fork: relation.fork(ForkNumber::Vm),
            logged: relation.logged,
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
        let buffer = self.pool.read_or_zero(io, self.fork, map_block)?;
        let guard = buffer.share();
        let bits = visibility_map::status(&guard, block);
        Ok(PageVisibility {
            all_visible: bits & visibility_map::VISIBILITYMAP_ALL_VISIBLE != 0,
            all_frozen: bits & visibility_map::VISIBILITYMAP_ALL_FROZEN != 0,
        })
    }

    /// Pins the map's page for heap page `block`, after extending the fork up to it if need be. The
    /// caller holds no content lock.
    ///
    /// # Errors
    /// The map cannot be read or extended.
    pub(crate) fn pin(&self, block: BlockNumber, io: &mut IoContext) -> Result<MapPage, HeapError> {
        let map_block = visibility_map::map_block(block);
        loop {
            let blocks = self.blocks()?;
            if map_block < blocks {
                break;
            }
            self.pool
                .smgr()
                .create(self.fork.rel, self.fork.fork, true)?;
            // Of two threads that come here at once, the later one's page is one too many: it stays
            // empty until the table is larger.
            self.pool
                .extend(io, self.fork, map_block + 1 - blocks, None)?;
        }
        let buffer = self.pool.read_or_zero(io, self.fork, map_block)?;
        Ok(MapPage { buffer })
    }

    /// Locks a heap page to change it. If it is marked all-visible, the map's page is pinned and comes
    /// with it: the mark is to be cleared in both.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn lock_heap_page<'a>(
        &self,
        heap_page: &'a PinnedBuffer,
        io: &mut IoContext,
    ) -> Result<(ExclusiveGuard<'a>, Option<MapPage>), HeapError> {
        let mut map_page = None;
        loop {
            let guard = heap_page.exclusive();
            if map_page.is_some() || !guard.page().is_all_visible() {
                return Ok((guard, map_page));
            }
            drop(guard);
            map_page = Some(self.pin(heap_page.block(), io)?);
        }
    }

    /// Marks a heap page all-visible, on the page and in the map, where `map_page` has its bits. Before
    /// that somebody may have seen its newest change only who sees `conflict_horizon` (invalid if
    /// everything is frozen). `xid` is the transaction that does it, if it has one.
    ///
    /// # Errors
    /// The log has failed.
    pub(crate) fn set(
        &self,
        heap_page: &mut ExclusiveGuard<'_>,
        map_page: &MapPage,
        visibility: PageVisibility,
        conflict_horizon: Xid,
        xid: Xid,
        io: &mut IoContext,
    ) -> Result<(), HeapError> {
        let block = heap_page.buffer().block();
        let bits = visibility.bits();
        let mut map = map_page.buffer.exclusive();
        if visibility_map::status(&map, block) & bits == bits {
            if !heap_page.page().is_all_visible() {
                PageMut::new(heap_page).set_all_visible(true);
                heap_page.mark_dirty_hint(io, self.logged);
            }
            return Ok(());
        }
        let logged = CriticalSection::run("a page becomes all-visible", |section| {
            heap_page.mark_dirty();
            map.mark_dirty();
            PageMut::new(heap_page).set_all_visible(true);
            change(&mut map, |page| visibility_map::set(page, block, bits));
            if !self.logged {
                return Ok(());
            }
            let logger = Logger {
                pool: &self.pool,
                section,
                xid,
            };
            let visible = HeapVisible {
                conflict_horizon,
                flags: bits,
            };
            logger.visible(io, &mut map, heap_page, visible)
        });
        Ok(logged?)
    }

    /// Pages of the map; none before the fork is made.
    fn blocks(&self) -> Result<BlockNumber, HeapError> {
        if !self.pool.smgr().exists(self.fork.rel, self.fork.fork)? {
            return Ok(0);
        }
        Ok(self.pool.nblocks(self.fork)?)
    }
}

/// A pinned page of a table's visibility map.
pub(crate) struct MapPage {
    buffer: PinnedBuffer,
}

impl MapPage {
    /// Whether it has the bits of heap page `block`.
    pub(crate) fn covers(&self, block: BlockNumber) -> bool {
        self.buffer.block() == visibility_map::map_block(block)
    }

    /// Clears the bits of the heap page, which the caller has locked exclusively.
    pub(crate) fn clear(&self, block: BlockNumber) {
        let bits = visibility_map::VISIBILITYMAP_VALID_BITS;
        let mut guard = self.buffer.exclusive();
        change(&mut guard, |page| visibility_map::clear(page, block, bits));
    }
}

/// Changes a page of the map; it is dirty afterwards if `change` says that it changed something.
fn change(
    guard: &mut ExclusiveGuard<'_>,
    change: impl FnOnce(&mut trunkline_pgformat::PageBytes) -> bool,
) {
    let is_new = guard.page().is_new();
    if is_new {
        PageMut::new(guard).init(0);
    }
    if change(guard) || is_new {
        guard.mark_dirty();
    }
}
