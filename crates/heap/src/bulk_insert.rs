//! Bulk inserts: many tuples onto pages that this load has to itself, which stream to disk as they
//! fill (`heap_multi_insert` with a bulk-write strategy).
//!
//! A load fills the spare pages that it was given ([`SparePages`]), then pages that it extends the
//! table by. So it never waits for another inserter's page, and a load that fails can give its own
//! pages back: they are the table's tail, or hold nothing that anybody will ever see.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{
    BufferPool, IoAccount, PinnedBuffer, RelFork, Strategy, StrategyKind, WriteStream,
};
use trunkline_pgformat::heap_tuple::HEAP_XMIN_FROZEN;
use trunkline_pgformat::{
    BlockNumber, CommandId, ForkNumber, HeapTupleMut, ItemPointer, MAX_HEAP_TUPLE_SIZE, PageMut,
    RelFileLocator, Xid,
};

use crate::HeapError;
use crate::spare_pages::SparePages;
use crate::visibility_map::{PageVisibility, VisibilityMap};

/// The first extension adds one page, each later one twice as many as the one before, up to this: a
/// load extends by no more than it has used already.
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

/// What a load finds on a page that it comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contents {
    /// Nothing that has to stay: the page is made anew.
    Nothing,
    /// Tuples, perhaps.
    Tuples,
}

/// The page that is being filled.
struct Target {
    buffer: PinnedBuffer,
    contents: Contents,
}

/// A load into one table.
pub struct BulkInsert {
    pool: Arc<BufferPool>,
    fork: RelFork,
    map: VisibilityMap,
    options: BulkInsertOptions,
    strategy: Strategy,
    write_stream: WriteStream,
    /// Pages with room that were there before.
    spare: SparePages,
    /// Extended and not yet filled, in block order.
    fresh: VecDeque<PinnedBuffer>,
    current: Option<Target>,
    next_extension_pages: u32,
    /// Ranges of blocks that this load added, in order; adjacent ones merged.
    extended: Vec<Range<BlockNumber>>,
    tuples: u64,
}

impl BulkInsert {
    /// A load into the table at `locator`, of whose pages nobody else uses the `spare` ones.
    pub fn new(
        pool: &Arc<BufferPool>,
        locator: RelFileLocator,
        options: BulkInsertOptions,
        spare: SparePages,
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
            write_stream: WriteStream::with_account(pool, WRITES_IN_FLIGHT, IoAccount::BulkWrite),
            spare,
            fresh: VecDeque::new(),
            current: None,
            next_extension_pages: 1,
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
            let mut target = match self.current.take() {
                Some(target) => target,
                None => self.next_page(io)?,
            };
            let is_full = self.fill(&mut target, batch, &mut next, io)?;
            if is_full {
                self.write_stream.push(io, target.buffer)?;
            } else {
                self.current = Some(target);
            }
        }
        self.tuples += batch.len() as u64;
        batch.clear();
        Ok(())
    }

    /// Puts tuples from `next` on onto the page, until it or the batch is full; whether the page is.
    fn fill(
        &self,
        target: &mut Target,
        batch: &mut TupleBatch,
        next: &mut usize,
        io: &mut IoContext,
    ) -> Result<bool, HeapError> {
        let buffer = &target.buffer;
        let block = buffer.block();
        let frozen = self.options.frozen;
        let xmin_bits = if frozen { HEAP_XMIN_FROZEN } else { 0 };
        let (mut guard, map_page) = if frozen {
            // Nobody else sees the table, so that the marks can come before the tuples.
            let map_page = self.map.pin(block, io)?;
            (buffer.exclusive(), Some(map_page))
        } else {
            self.map.lock_heap_page(buffer, io)?
        };
        let mut page = PageMut::new(&mut guard);
        let is_made = target.contents == Contents::Nothing || page.view().is_new();
        if is_made {
            page.init(0);
        }
        target.contents = Contents::Tuples;
        let mut added = 0;
        let outcome = loop {
            if *next == batch.len() {
                break Ok(false);
            }
            let range = batch.range(*next);
            match self.add(&mut page, block, &mut batch.bytes[range], xmin_bits) {
                Ok(true) => {
                    added += 1;
                    *next += 1;
                }
                Ok(false) => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        if added > 0 {
            page.set_all_visible(frozen);
        }
        if is_made || added > 0 {
            guard.mark_dirty();
        }
        if added > 0
            && let Some(map_page) = map_page
        {
            if frozen {
                let visibility = PageVisibility {
                    all_visible: true,
                    all_frozen: true,
                };
                map_page.set(block, visibility);
            } else {
                map_page.clear(block);
            }
        }
        outcome
    }

    /// Stamps a tuple and puts it onto the page; whether there was room.
    #[inline]
    fn add(
        &self,
        page: &mut PageMut<'_>,
        block: BlockNumber,
        tuple: &mut [u8],
        xmin_bits: u16,
    ) -> Result<bool, HeapError> {
        let offset = page.view().line_pointer_count() + 1;
        let corrupted = |why: String| HeapError::CorruptedTuple { block, offset, why };
        if tuple.len() > MAX_HEAP_TUPLE_SIZE {
            return Err(HeapError::TooBig {
                size_bytes: tuple.len(),
                limit_bytes: MAX_HEAP_TUPLE_SIZE,
            });
        }
        HeapTupleMut::new(tuple)
            .map_err(|error| corrupted(error.to_string()))?
            .stamp_inserted(
                self.options.xid,
                self.options.command_id,
                ItemPointer::new(block, offset),
                xmin_bits,
            );
        match page.add_item(tuple) {
            Some(added) if added == offset => Ok(true),
            Some(reused) => {
                // An unused line pointer in the middle.
                if let Some(item) = page.item_mut(reused)
                    && let Ok(mut stored) = HeapTupleMut::new(item)
                {
                    stored.set_ctid(ItemPointer::new(block, reused));
                }
                Ok(true)
            }
            None if page.view().is_empty() => {
                Err(corrupted("the page takes no tuple at all".to_owned()))
            }
            None => Ok(false),
        }
    }

    fn next_page(&mut self, io: &mut IoContext) -> Result<Target, HeapError> {
        // A frozen load goes only onto pages that hold nothing else: all of them are marked.
        let partial = if self.options.frozen {
            None
        } else {
            self.spare.pop_partial()
        };
        if let Some(block) = partial {
            return self.spare_page(block, Contents::Tuples, io);
        }
        loop {
            if let Some(buffer) = self.fresh.pop_front() {
                let contents = Contents::Nothing;
                return Ok(Target { buffer, contents });
            }
            if let Some(block) = self.spare.pop_empty() {
                return self.spare_page(block, Contents::Nothing, io);
            }
            self.extend(io)?;
        }
    }

    fn spare_page(
        &mut self,
        block: BlockNumber,
        contents: Contents,
        io: &mut IoContext,
    ) -> Result<Target, HeapError> {
        let buffer = self
            .pool
            .read(io, self.fork, block, Some(&mut self.strategy))?;
        Ok(Target { buffer, contents })
    }

    fn extend(&mut self, io: &mut IoContext) -> Result<(), HeapError> {
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
        Ok(())
    }

    /// Ends the load: the writes of its full pages have completed; the page with room that it ends on
    /// stays in the pool for the next load. The result is the first of the blocks at the end that were
    /// extended in vain, if there are any; they hold nothing, and may be truncated away by who has the
    /// table to itself ([`BulkInsert::forget_from`]).
    ///
    /// # Errors
    /// A write failed.
    pub fn finish(&mut self, io: &mut IoContext) -> Result<Option<BlockNumber>, HeapError> {
        if let Some(target) = self.current.take() {
            self.spare.push_partial(target.buffer.block());
        }
        let unused = self.fresh.front().map(PinnedBuffer::block);
        for buffer in self.fresh.drain(..) {
            self.spare.push_empty(buffer.block());
        }
        self.write_stream.finish(io)?;
        Ok(unused)
    }

    /// The table's blocks from `first` on, which this load extended in vain, are gone.
    pub fn forget_from(&mut self, first: BlockNumber) {
        self.spare.forget_from(first);
        for range in &mut self.extended {
            range.end = range.end.min(first);
        }
        self.extended.retain(|range| !range.is_empty());
    }

    /// Pages with room, after [`BulkInsert::finish`]: for the next load of this transaction, or for
    /// anybody's once it has committed.
    pub fn take_spare(&mut self) -> SparePages {
        std::mem::take(&mut self.spare)
    }
}
