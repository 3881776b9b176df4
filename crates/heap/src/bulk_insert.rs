//! Bulk inserts: many tuples onto pages that this load has to itself, which stream to disk as they
//! fill (`heap_multi_insert` with a bulk-write strategy).
//!
//! A load fills spare pages ([`SparePages`]) that it takes as it needs them, then pages that it extends the
//! table by. So it never waits for another inserter's page, and a load that fails can give its own
//! pages back: they are the table's tail, or hold nothing that anybody will ever see.
//!
//! One record tells of all tuples that go to a page at a time; redo makes a page anew that held
//! nothing, so no image is logged of those. The extension itself is not logged: pages that recovery
//! finds beyond what records told it are zeros.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{
    BufferPool, CriticalSection, IoAccount, PinnedBuffer, RelFork, Strategy, StrategyKind,
    WriteStream,
};
use trunkline_pgformat::heap_tuple::HEAP_XMIN_FROZEN;
use trunkline_pgformat::wal::rmgr::heap::{
    LOGGED_TUPLE_OFFSET, LoggedTuple, LoggedTupleHeader, insert_flags,
};
use trunkline_pgformat::wal::rmgr::heap2::{HeapMultiInsert, MultiInsertTuples};
use trunkline_pgformat::{
    BlockNumber, CommandId, ForkNumber, HeapTupleMut, HeapTupleRef, ItemPointer,
    MAX_HEAP_TUPLE_SIZE, OffsetNumber, PageMut, Xid,
};

use crate::HeapError;
use crate::insert_targets::Contents;
use crate::logging::{Logger, logged_header};
use crate::relation::HeapRelation;
use crate::spare_pages::SparePages;
use crate::visibility_map::{PageVisibility, VisibilityMap};

/// The first extension adds one page, each later one twice as many as the one before, up to this: a
/// load extends by no more than it has used already.
const MAX_EXTENSION_PAGES: u32 = 128;

/// Page writes that a load keeps in flight.
const WRITES_IN_FLIGHT: usize = 32;

/// Tuples formed one after the other in one allocation, which is reused from batch to batch.
#[derive(Debug, Default)]
pub struct TupleBatch {
    bytes: Vec<u8>,
    /// Where they are, in order.
    places: Vec<Range<usize>>,
}

impl TupleBatch {
    /// An empty batch.
    pub fn new() -> TupleBatch {
        TupleBatch::default()
    }

    /// Adds a complete tuple: header and data, as `types::TupleFormer` makes it.
    pub fn push(&mut self, tuple: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(tuple);
        self.places.push(start..self.bytes.len());
    }

    /// Adds a tuple that is, or will be, at `place` of [`bytes`](Self::bytes), behind those before.
    #[inline]
    pub fn note(&mut self, place: Range<usize>) {
        self.places.push(place);
    }

    /// The tuples' bytes.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Tuples in it.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Empties it, keeping its allocation.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// How many of the tuples, from the first on, can be inserted at all, and what is wrong with the
    /// next one.
    fn check(&self) -> (usize, Result<(), HeapError>) {
        for index in 0..self.len() {
            let tuple = self.tuple(index);
            if tuple.len() > MAX_HEAP_TUPLE_SIZE {
                let error = HeapError::TooBig {
                    size_bytes: tuple.len(),
                    limit_bytes: MAX_HEAP_TUPLE_SIZE,
                };
                return (index, Err(error));
            }
            if let Err(error) = HeapTupleRef::new(tuple) {
                let error = HeapError::CorruptedTuple {
                    block: 0,
                    offset: 0,
                    why: error.to_string(),
                };
                return (index, Err(error));
            }
        }
        (self.len(), Ok(()))
    }

    /// A place behind the bytes' end is one of a tuple that is none.
    fn tuple(&self, index: usize) -> &[u8] {
        self.bytes
            .get(self.places[index].clone())
            .unwrap_or_default()
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

/// Where a load gets more spare pages from.
pub trait SpareSource: Send + Sync {
    /// Some of the table's spare pages, from now on the load's alone; only empty ones if `only_empty`. None
    /// if there are none.
    fn more_spare(&self, only_empty: bool) -> SparePages;
}

/// The page that is being filled.
struct Target {
    buffer: PinnedBuffer,
    contents: Contents,
}

/// Tuples of a batch from `next` up to `end`, all of which can be inserted.
struct Tuples<'b> {
    batch: &'b TupleBatch,
    next: usize,
    end: usize,
}

/// A load into one table.
pub struct BulkInsert {
    pool: Arc<BufferPool>,
    relation: HeapRelation,
    fork: RelFork,
    map: VisibilityMap,
    options: BulkInsertOptions,
    strategy: Strategy,
    write_stream: WriteStream,
    /// Pages with room that were there before.
    spare: SparePages,
    source: Option<Arc<dyn SpareSource>>,
    /// Extended and not yet filled, in block order.
    fresh: VecDeque<PinnedBuffer>,
    current: Option<Target>,
    next_extension_pages: u32,
    has_space_ahead: bool,
    /// Ranges of blocks that this load added, in order; adjacent ones merged.
    extended: Vec<Range<BlockNumber>>,
    tuples: u64,
    /// What is logged of the tuples of one page; its allocation is reused.
    logged_tuples: Vec<u8>,
}

impl BulkInsert {
    /// A load into the table `relation`, of whose pages nobody else uses the `spare` ones.
    pub fn new(
        pool: &Arc<BufferPool>,
        relation: HeapRelation,
        options: BulkInsertOptions,
        spare: SparePages,
    ) -> BulkInsert {
        BulkInsert {
            pool: Arc::clone(pool),
            relation,
            fork: relation.fork(ForkNumber::Main),
            map: VisibilityMap::new(pool, relation),
            options,
            strategy: Strategy::new(pool, StrategyKind::BulkWrite),
            write_stream: WriteStream::with_account(pool, WRITES_IN_FLIGHT, IoAccount::BulkWrite),
            spare,
            source: None,
            fresh: VecDeque::new(),
            current: None,
            next_extension_pages: 1,
            has_space_ahead: false,
            extended: Vec::new(),
            tuples: 0,
            logged_tuples: Vec::new(),
        }
    }

    /// Takes more spare pages from `source` before it extends the table.
    #[must_use]
    pub fn with_source(mut self, source: Arc<dyn SpareSource>) -> BulkInsert {
        self.source = Some(source);
        self
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
        let (end, checked) = batch.check();
        let mut tuples = Tuples {
            batch,
            next: 0,
            end,
        };
        while tuples.next < tuples.end {
            let mut target = match self.current.take() {
                Some(target) => target,
                None => self.next_page(io)?,
            };
            let is_full = self.fill(&mut target, &mut tuples, io)?;
            if is_full {
                self.write_stream.push(io, target.buffer)?;
            } else {
                self.current = Some(target);
            }
        }
        checked?;
        self.tuples += batch.len() as u64;
        batch.clear();
        Ok(())
    }

    /// Puts tuples onto the page, until it is full or they are all there; whether the page is.
    fn fill(
        &mut self,
        target: &mut Target,
        tuples: &mut Tuples<'_>,
        io: &mut IoContext,
    ) -> Result<bool, HeapError> {
        let buffer = &target.buffer;
        let block = buffer.block();
        let frozen = self.options.frozen;
        let (mut guard, map_page) = if frozen {
            // Nobody else sees the table, so that the marks can come before the tuples.
            let map_page = self.map.pin(block, io)?;
            (buffer.exclusive(), Some(map_page))
        } else {
            self.map.lock_heap_page(buffer, io)?
        };
        let made_anew = target.contents == Contents::Nothing || guard.page().is_new();
        let was_empty = made_anew || guard.page().is_empty();
        let clears = !frozen && guard.page().is_all_visible();
        let becomes_frozen = frozen && was_empty;
        target.contents = Contents::Tuples;
        let is_logged = self.relation.wal(&self.pool).is_some();
        let first = tuples.next;
        let logged = CriticalSection::run("heap multi-insert", |section| {
            guard.mark_dirty();
            let mut page = PageMut::new(&mut guard);
            if page.view().is_new() {
                // As it was extended: not zeroed a second time.
                page.init_zeros(0);
            } else if made_anew {
                page.init(0);
            }
            let mut offsets = Vec::new();
            self.logged_tuples.clear();
            while tuples.next < tuples.end {
                let tuple = tuples.batch.tuple(tuples.next);
                let Some((offset, header)) = self.add(&mut page, block, tuple) else {
                    break;
                };
                tuples.next += 1;
                if is_logged {
                    if !was_empty {
                        offsets.push(offset);
                    }
                    let data = &tuple[LOGGED_TUPLE_OFFSET..];
                    MultiInsertTuples::push(&LoggedTuple { header, data }, &mut self.logged_tuples);
                }
            }
            let added = tuples.next - first;
            if added == 0 {
                return Ok(());
            }
            if clears || becomes_frozen {
                page.set_all_visible(frozen);
            }
            if clears && let Some(map_page) = &map_page {
                map_page.clear(block);
            }
            if !is_logged {
                return Ok(());
            }
            let insert = HeapMultiInsert {
                flags: insert_flags_of(clears, becomes_frozen, tuples.next == tuples.end),
                tuple_count: added as u16,
                offsets,
            };
            let logger = Logger {
                pool: &self.pool,
                section,
                xid: self.options.xid,
            };
            logger.multi_insert(io, &mut guard, &insert, was_empty, &self.logged_tuples)
        });
        logged?;
        if tuples.next == first && guard.page().is_empty() {
            return Err(HeapError::CorruptedTuple {
                block,
                offset: 1,
                why: "the page takes no tuple at all".to_owned(),
            });
        }
        if becomes_frozen && let Some(map_page) = &map_page {
            let visibility = PageVisibility {
                all_visible: true,
                all_frozen: true,
            };
            // Nobody is in the way of rows that were frozen from the start.
            let horizon = Xid::INVALID;
            let xid = self.options.xid;
            self.map
                .set(&mut guard, map_page, visibility, horizon, xid, io)?;
        }
        Ok(tuples.next < tuples.end)
    }

    /// Puts a tuple onto the page and stamps it there: its place, and what is logged of its header.
    /// Nothing if there is no room. Not stamped first: to copy what has just been written in small pieces
    /// takes the processor longer.
    #[inline]
    fn add(
        &self,
        page: &mut PageMut<'_>,
        block: BlockNumber,
        tuple: &[u8],
    ) -> Option<(OffsetNumber, LoggedTupleHeader)> {
        let BulkInsertOptions {
            xid,
            command_id,
            frozen,
        } = self.options;
        let xmin_bits = if frozen { HEAP_XMIN_FROZEN } else { 0 };
        let offset = page.add_item(tuple)?;
        let Some(Ok(mut stored)) = page.item_mut(offset).map(HeapTupleMut::new) else {
            panic!("a tuple is none after all");
        };
        let ctid = ItemPointer::new(block, offset);
        stored.stamp_inserted(xid, command_id, ctid, xmin_bits);
        Some((offset, logged_header(stored.view())))
    }

    fn next_page(&mut self, io: &mut IoContext) -> Result<Target, HeapError> {
        loop {
            // A frozen load goes only onto pages that hold nothing else: all of them are marked.
            if !self.options.frozen
                && let Some(block) = self.spare.pop_partial()
            {
                return self.spare_page(block, Contents::Tuples, io);
            }
            if let Some(buffer) = self.fresh.pop_front() {
                let contents = Contents::Nothing;
                return Ok(Target { buffer, contents });
            }
            if let Some(block) = self.spare.pop_empty() {
                return self.spare_page(block, Contents::Nothing, io);
            }
            if !self.take_spare_pages() {
                self.extend(io)?;
            }
        }
    }

    /// Whether there were any.
    fn take_spare_pages(&mut self) -> bool {
        let Some(source) = &self.source else {
            return false;
        };
        let more = source.more_spare(self.options.frozen);
        let any = !more.is_empty();
        self.spare.append(more);
        any
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
        self.has_space_ahead |= self.strategy.takes_space_ahead();
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
        self.release_space_ahead();
        Ok(unused)
    }

    /// Space on disk that the extensions have taken ahead goes back, once.
    fn release_space_ahead(&mut self) {
        if !std::mem::take(&mut self.has_space_ahead) {
            return;
        }
        let RelFork { rel, fork } = self.fork;
        if let Err(error) = self.pool.smgr().release_space_ahead(rel, fork) {
            // No harm to the table, whose length is known without it.
            tracing::warn!(%error, "space that a load had taken ahead could not be given back");
        }
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

impl Drop for BulkInsert {
    fn drop(&mut self) {
        // A load that failed.
        self.release_space_ahead();
    }
}

fn insert_flags_of(clears: bool, becomes_frozen: bool, is_last: bool) -> u8 {
    let mut flags = 0;
    if clears {
        flags |= insert_flags::ALL_VISIBLE_CLEARED;
    }
    if becomes_frozen {
        flags |= insert_flags::ALL_FROZEN_SET;
    }
    if is_last {
        flags |= insert_flags::LAST_IN_MULTI;
    }
    flags
}
