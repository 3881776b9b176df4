//! Sequential scans: which blocks to read, and what of a page a snapshot sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_aio::IoContext;
use trunkline_buffer::{
    BufferPool, PinnedBuffer, ReadStream, ReadStreamFlags, ReadStreamLimits, ShareGuard, Strategy,
    StrategyKind,
};
use trunkline_pgformat::line_pointer::count_normal;
use trunkline_pgformat::{BlockNumber, ForkNumber, HeapTupleRef, ItemPointer};
use trunkline_txn::Visibility;

use crate::HeapError;
use crate::page_hints::PageHints;
use crate::relation::HeapRelation;
use crate::visibility::tuple_is_visible;

/// Blocks that a scan takes from the shared range at a time: enough for large reads, few enough
/// that scans which share the range end together.
const CHUNK_BLOCKS: u32 = 512;

/// A table's blocks, shared by the scans of one statement: each takes the next chunk when it has
/// read its last one.
#[derive(Debug)]
pub struct ScanBlocks {
    /// May run past the end, so wider than a block number.
    next: AtomicU64,
    end: BlockNumber,
}

impl ScanBlocks {
    /// The blocks from 0 up to `end`.
    pub fn new(end: BlockNumber) -> Arc<ScanBlocks> {
        Arc::new(ScanBlocks {
            next: AtomicU64::new(0),
            end,
        })
    }

    /// One more than the last block.
    pub fn end(&self) -> BlockNumber {
        self.end
    }

    fn take_chunk(&self) -> Option<std::ops::Range<BlockNumber>> {
        let first = self
            .next
            .fetch_add(u64::from(CHUNK_BLOCKS), Ordering::Relaxed);
        let first = u32::try_from(first)
            .ok()
            .filter(|first| *first < self.end)?;
        Some(first..first.saturating_add(CHUNK_BLOCKS).min(self.end))
    }
}

/// One scan's walk over the shared blocks.
struct BlockWalk {
    blocks: Arc<ScanBlocks>,
    chunk: std::ops::Range<BlockNumber>,
}

impl Iterator for BlockWalk {
    type Item = BlockNumber;

    fn next(&mut self) -> Option<BlockNumber> {
        if self.chunk.is_empty() {
            self.chunk = self.blocks.take_chunk()?;
        }
        self.chunk.next()
    }
}

/// A sequential scan of a table, or one of several that share its blocks.
pub struct HeapScan {
    stream: ReadStream<Box<dyn FnMut() -> Option<BlockNumber> + Send>>,
    hints: PageHints,
}

impl HeapScan {
    /// Scans `blocks` of the table `relation`. A table larger than a quarter of the pool is read
    /// through a ring, so that it neither empties the pool nor needs more memory than the ring.
    /// `limits` are what the session's settings say about reading ahead.
    pub fn new(
        pool: &Arc<BufferPool>,
        relation: HeapRelation,
        blocks: Arc<ScanBlocks>,
        limits: ReadStreamLimits,
    ) -> HeapScan {
        let large = blocks.end() as usize > pool.buffers() / 4;
        let strategy = large.then(|| Strategy::new(pool, StrategyKind::BulkRead));
        let mut walk = BlockWalk {
            blocks,
            chunk: 0..0,
        };
        let next_block: Box<dyn FnMut() -> Option<BlockNumber> + Send> =
            Box::new(move || walk.next());
        HeapScan {
            stream: ReadStream::with_limits(
                pool,
                relation.fork(ForkNumber::Main),
                strategy,
                ReadStreamFlags {
                    sequential: true,
                    ..ReadStreamFlags::default()
                },
                limits,
                next_block,
            ),
            hints: PageHints::new(pool, relation),
        }
    }

    /// The next page, pinned; `None` at the end.
    ///
    /// # Errors
    /// The page cannot be read, or is corrupted.
    pub fn next_page(&mut self, io: &mut IoContext) -> Result<Option<HeapPage>, HeapError> {
        Ok(self.stream.next(io)?.map(|buffer| HeapPage { buffer }))
    }

    /// Leaves hints on `page` for later scans, if there is something to say and nobody is in the
    /// way. Call it once the page's tuples are read.
    ///
    /// # Errors
    /// A transaction's status cannot be read.
    pub fn leave_hints(
        &mut self,
        page: &HeapPage,
        visibility: &mut Visibility<'_>,
        io: &mut IoContext,
    ) -> Result<(), HeapError> {
        self.hints.leave(&page.buffer, visibility, io)
    }
}

/// A pinned heap page.
pub struct HeapPage {
    buffer: PinnedBuffer,
}

impl HeapPage {
    /// Wraps a pinned buffer of a table's main fork.
    pub fn new(buffer: PinnedBuffer) -> HeapPage {
        HeapPage { buffer }
    }

    /// The page's block.
    pub fn block(&self) -> BlockNumber {
        self.buffer.block()
    }

    /// Counts the tuples that `visibility`'s snapshot sees. Of a page that everybody sees whole, no
    /// tuple is looked at. The second value says that [`HeapScan::leave_hints`] has something to do.
    ///
    /// # Errors
    /// A corrupted tuple, or a transaction's status that cannot be read.
    #[inline]
    pub fn count_visible(&self, visibility: &mut Visibility<'_>) -> Result<(u32, bool), HeapError> {
        let guard = self.buffer.share();
        if guard.page().is_all_visible() {
            return Ok((count_normal(&guard), false));
        }
        let mut count = 0;
        let has_tuples = for_each_visible(&guard, self.block(), visibility, &mut |_, _| {
            count += 1;
            Ok::<(), HeapError>(())
        })?;
        Ok((count, has_tuples))
    }

    /// Calls `visit` with each tuple that `visibility`'s snapshot sees, under the page's share
    /// lock: `visit` must not wait for anything. The result says that [`HeapScan::leave_hints`] has
    /// something to do.
    ///
    /// # Errors
    /// As [`HeapPage::count_visible`], or what `visit` returns.
    #[inline]
    pub fn visit_visible<E: From<HeapError>>(
        &self,
        visibility: &mut Visibility<'_>,
        mut visit: impl FnMut(ItemPointer, HeapTupleRef<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let guard = self.buffer.share();
        for_each_visible(&guard, self.block(), visibility, &mut visit)
    }
}

/// Calls `visit` with each visible tuple of the page. Whether the page has tuples and is not yet
/// marked all-visible.
#[inline]
fn for_each_visible<E: From<HeapError>>(
    guard: &ShareGuard<'_>,
    block: BlockNumber,
    visibility: &mut Visibility<'_>,
    visit: &mut impl FnMut(ItemPointer, HeapTupleRef<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    let page = guard.page();
    let all_visible = page.is_all_visible();
    let mut has_tuples = false;
    for (offset, pointer) in page.line_pointers() {
        if !pointer.is_normal() {
            continue;
        }
        let corrupted = |why: &str| {
            E::from(HeapError::CorruptedTuple {
                block,
                offset,
                why: why.to_owned(),
            })
        };
        let bytes = page
            .item_at(pointer)
            .ok_or_else(|| corrupted("its line pointer points outside the page"))?;
        let tuple = HeapTupleRef::new(bytes).map_err(|error| corrupted(&error.to_string()))?;
        has_tuples = true;
        let visible = all_visible
            || tuple_is_visible(tuple, visibility)
                .map_err(|error| E::from(HeapError::Transaction(error)))?;
        if visible {
            visit(ItemPointer::new(block, offset), tuple)?;
        }
    }
    Ok(has_tuples && !all_visible)
}
