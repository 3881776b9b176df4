//! Bulk inserts: many tuples onto new pages, which stream to disk as they fill
//! (`heap_multi_insert` with a bulk-write strategy).
//!
//! A load only ever fills pages that it extended the table by itself. So it never waits for another
//! inserter's page, and a load that fails can give its pages back: they are the table's tail, or
//! hold nothing that anybody will ever see.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferPool, PinnedBuffer, RelFork, Strategy, StrategyKind, WriteStream};
use trunkline_pgformat::heap_tuple::HEAP_XMIN_FROZEN;
use trunkline_pgformat::{
    BlockNumber, CommandId, ForkNumber, HeapTupleMut, ItemPointer, MAX_HEAP_TUPLE_SIZE, PageMut,
    RelFileLocator, Xid,
};

use crate::HeapError;
use crate::visibility_map::{PageVisibility, VisibilityMap};

/// Pages that the first extension adds; each later one doubles, up to [`MAX_EXTENSION_PAGES`].
const FIRST_EXTENSION_PAGES: u32 = 8;
const MAX_EXTENSION_PAGES: u32 = 128;

/// Page writes that a load keeps in flight.
const WRITES_IN_FLIGHT: usize = 32;

/// Bytes of tuples that a batch gathers before it should be inserted.
const BATCH_BYTES: usize = 64 * 1024;

/// Tuples formed one after the other in one allocation, which is reused from batch to batch.
#[derive(Debug, Default)]
pub struct TupleBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TupleBatch {
    /// An empty batch.
    pub fn new() -> TupleBatch {
        TupleBatch::default()
    }

    /// Adds a complete tuple: header and data, as `types::TupleFormer` makes it.
    pub fn push(&mut self, tuple: &[u8]) {
        self.bytes.extend_from_slice(tuple);
        self.ends.push(self.bytes.len());
    }

    /// Tuples in it.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether it has gathered enough to be inserted.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// Empties it, keeping its allocation.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }
}

/// Whose tuples a load inserts, and how.
#[derive(Clone, Copy, Debug)]
pub struct BulkInsertOptions {
    /// The inserting transaction.
    pub xid: Xid,
    /// Its command.
    pub command_id: CommandId,
    /// Insert the tuples frozen, on pages marked all-visible: only into a table that the
    /// transaction created or truncated itself (COPY FREEZE).
    pub frozen: bool,
}

/// A load into one table.
pub struct BulkInsert {
    pool: Arc<BufferPool>,
    fork: RelFork,
    map: VisibilityMap,
    options: BulkInsertOptions,
    strategy: Strategy,
    write_stream: WriteStream,
    /// Extended and not yet filled, in block order.
    fresh: VecDeque<PinnedBuffer>,
    current: Option<PinnedBuffer>,
    next_extension_pages: u32,
    /// Ranges of blocks that this load added, in order; adjacent ones merged.
    extended: Vec<Range<BlockNumber>>,
    tuples: u64,
}

impl BulkInsert {
    /// A load into the table at `locator`.
    pub fn new(
        pool: &Arc<BufferPool>,
        locator: RelFileLocator,
        options: BulkInsertOptions,
    ) -> BulkInsert {
        BulkInsert {
            pool: Arc::clone(pool),
            fork: RelFork {
                rel: locator,
                fork: ForkNumber::Main,
            },
            map: VisibilityMap::new(pool, locator),
            options,
            strategy: Strategy::new(pool, StrategyKind::BulkWrite),
            write_stream: WriteStream::new(pool, WRITES_IN_FLIGHT),
            fresh: VecDeque::new(),
            current: None,
            next_extension_pages: FIRST_EXTENSION_PAGES,
            extended: Vec::new(),
            tuples: 0,
        }
    }

    /// Tuples inserted so far.
    pub fn tuples(&self) -> u64 {
        self.tuples
    }

    /// The blocks that this load added to the table.
    pub fn extended_blocks(&self) -> &[Range<BlockNumber>] {
        &self.extended
    }

    /// Inserts the batch's tuples, in order, and empties it.
    ///
    /// # Errors
    /// [`HeapError::TooBig`] for a tuple that fits no page; otherwise the pool's. What was inserted
    /// before stays, for the transaction's abort to hide.
    pub fn insert(&mut self, batch: &mut TupleBatch, io: &mut IoContext) -> Result<(), HeapError> {
        let mut next = 0;
        while next < batch.len() {
            let buffer = match self.current.take() {
                Some(buffer) => buffer,
                None => self.next_page(io)?,
            };
            let filled = self.fill(&buffer, batch, &mut next)?;
            if filled {
                self.finish_page(buffer, io)?;
            } else {
                self.current = Some(buffer);
            }
        }
        self.tuples += batch.len() as u64;
        batch.clear();
        Ok(())
    }

    /// Puts tuples from `next` on onto the page, until it or the batch is full; whether the page is.
    fn fill(
        &self,
        buffer: &PinnedBuffer,
        batch: &mut TupleBatch,
        next: &mut usize,
    ) -> Result<bool, HeapError> {
        let block = buffer.block();
        let xmin_bits = if self.options.frozen {
            HEAP_XMIN_FROZEN
        } else {
            0
        };
        let mut guard = buffer.exclusive();
        guard.mark_dirty();
        let mut page = PageMut::new(&mut guard);
        if page.view().is_new() {
            page.init(0);
            page.set_all_visible(self.options.frozen);
        }
        while *next < batch.len() {
            let offset = page.view().line_pointer_count() + 1;
            let range = batch.range(*next);
            let size_bytes = range.len();
            if size_bytes > MAX_HEAP_TUPLE_SIZE {
                return Err(HeapError::TooBig {
                    size_bytes,
                    limit_bytes: MAX_HEAP_TUPLE_SIZE,
                });
            }
            let tuple = &mut batch.bytes[range];
            let corrupted = |why: String| HeapError::CorruptedTuple { block, offset, why };
            HeapTupleMut::new(tuple)
                .map_err(|error| corrupted(error.to_string()))?
                .stamp_inserted(
                    self.options.xid,
                    self.options.command_id,
                    ItemPointer::new(block, offset),
                    xmin_bits,
                );
            match page.add_item(tuple) {
                Some(added) => assert_eq!(added, offset, "a fresh page has no free line pointer"),
                None if offset == 1 => {
                    return Err(corrupted("the page takes no tuple at all".to_owned()));
                }
                None => return Ok(true),
            }
            *next += 1;
        }
        Ok(false)
    }

    fn next_page(&mut self, io: &mut IoContext) -> Result<PinnedBuffer, HeapError> {
        if let Some(buffer) = self.fresh.pop_front() {
            return Ok(buffer);
        }
        let count = self.next_extension_pages;
        self.next_extension_pages = (count * 2).min(MAX_EXTENSION_PAGES);
        self.fresh = self
            .pool
            .extend(io, self.fork, count, Some(&mut self.strategy))?
            .into();
        for buffer in &self.fresh {
            let block = buffer.block();
            match self.extended.last_mut() {
                Some(range) if range.end == block => range.end += 1,
                _ => self.extended.push(block..block + 1),
            }
        }
        // An extension gives at least one buffer or fails.
        match self.fresh.pop_front() {
            Some(buffer) => Ok(buffer),
            None => self.next_page(io),
        }
    }

    /// The page is full: mark what a frozen load may mark, and let it stream to disk.
    fn finish_page(&mut self, buffer: PinnedBuffer, io: &mut IoContext) -> Result<(), HeapError> {
        if self.options.frozen {
            let visibility = PageVisibility {
                all_visible: true,
                all_frozen: true,
            };
            self.map.set(buffer.block(), visibility, io)?;
        }
        self.write_stream.push(io, buffer)?;
        Ok(())
    }

    /// Ends the load: the last page is finished, and every write has completed. The result is the
    /// first of the blocks at the end that were extended in vain, if there are any; they hold
    /// nothing, and may be truncated away by who has the table to itself.
    ///
    /// # Errors
    /// A write failed.
    pub fn finish(&mut self, io: &mut IoContext) -> Result<Option<BlockNumber>, HeapError> {
        if let Some(buffer) = self.current.take() {
            self.finish_page(buffer, io)?;
        }
        let unused = self.fresh.front().map(PinnedBuffer::block);
        self.fresh.clear();
        self.write_stream.finish(io)?;
        Ok(unused)
    }
}
