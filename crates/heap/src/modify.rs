//! Single inserts, deletes and updates: what the catalogs need (`heap_insert`, `heap_delete`,
//! `heap_update` without HOT).

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferPool, PinnedBuffer, RelFork};
use trunkline_pgformat::heap_tuple::{
    HEAP_COMBOCID, HEAP_HOT_UPDATED, HEAP_KEYS_UPDATED, HEAP_MOVED, HEAP_UPDATED, HEAP_XMAX_BITS,
    HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, HEAP_XMIN_FROZEN,
};
use trunkline_pgformat::{
    BlockNumber, CommandId, ForkNumber, HeapTupleMut, HeapTupleRef, ItemPointer,
    MAX_HEAP_TUPLE_SIZE, PageMut, RelFileLocator, Xid,
};
use trunkline_txn::{TransactionManager, XidStatus};

use crate::HeapError;
use crate::visibility_map::VisibilityMap;

/// Changes single tuples of one table, for one command of one transaction.
pub struct HeapWriter<'a> {
    pool: &'a Arc<BufferPool>,
    transactions: &'a TransactionManager,
    fork: RelFork,
    map: VisibilityMap,
    xid: Xid,
    command_id: CommandId,
}

impl<'a> HeapWriter<'a> {
    /// Writes to the table at `locator` as command `command_id` of `xid`.
    pub fn new(
        pool: &'a Arc<BufferPool>,
        transactions: &'a TransactionManager,
        locator: RelFileLocator,
        xid: Xid,
        command_id: CommandId,
    ) -> HeapWriter<'a> {
        HeapWriter {
            pool,
            transactions,
            fork: RelFork {
                rel: locator,
                fork: ForkNumber::Main,
            },
            map: VisibilityMap::new(pool, locator),
            xid,
            command_id,
        }
    }

    /// Inserts `tuple` (header and data, as `types::TupleFormer` makes it); its place.
    ///
    /// # Errors
    /// [`HeapError::TooBig`], or the pool's.
    pub fn insert(&self, tuple: &mut [u8], io: &mut IoContext) -> Result<ItemPointer, HeapError> {
        self.insert_with_bits(tuple, 0, io)
    }

    /// Inserts `tuple` frozen: visible to everybody from the start. Only `init` may.
    ///
    /// # Errors
    /// As [`HeapWriter::insert`].
    pub fn insert_frozen(
        &self,
        tuple: &mut [u8],
        io: &mut IoContext,
    ) -> Result<ItemPointer, HeapError> {
        self.insert_with_bits(tuple, HEAP_XMIN_FROZEN, io)
    }

    fn insert_with_bits(
        &self,
        tuple: &mut [u8],
        xmin_bits: u16,
        io: &mut IoContext,
    ) -> Result<ItemPointer, HeapError> {
        if tuple.len() > MAX_HEAP_TUPLE_SIZE {
            return Err(HeapError::TooBig {
                size_bytes: tuple.len(),
                limit_bytes: MAX_HEAP_TUPLE_SIZE,
            });
        }
        // The last page, then new ones: without a free space map these are the pages with room.
        let blocks = self.pool.nblocks(self.fork)?;
        if let Some(last) = blocks.checked_sub(1) {
            let buffer = self.pool.read(io, self.fork, last, None)?;
            if let Some(place) = self.try_insert(&buffer, tuple, xmin_bits, io)? {
                return Ok(place);
            }
        }
        loop {
            for buffer in self.pool.extend(io, self.fork, 1, None)? {
                if let Some(place) = self.try_insert(&buffer, tuple, xmin_bits, io)? {
                    return Ok(place);
                }
            }
        }
    }

    fn try_insert(
        &self,
        buffer: &PinnedBuffer,
        tuple: &mut [u8],
        xmin_bits: u16,
        io: &mut IoContext,
    ) -> Result<Option<ItemPointer>, HeapError> {
        let block = buffer.block();
        let mut stamped = HeapTupleMut::new(tuple).map_err(|error| HeapError::CorruptedTuple {
            block,
            offset: 0,
            why: error.to_string(),
        })?;
        stamped.stamp_inserted(self.xid, self.command_id, ItemPointer::INVALID, xmin_bits);
        let (mut guard, map_page) = self.map.lock_heap_page(buffer, io)?;
        let mut page = PageMut::new(&mut guard);
        let is_new = page.view().is_new();
        if is_new {
            page.init(0);
        }
        let added = page.add_item(tuple);
        if let Some(offset) = added
            && let Some(item) = page.item_mut(offset)
            && let Ok(mut stored) = HeapTupleMut::new(item)
        {
            stored.set_ctid(ItemPointer::new(block, offset));
        }
        if added.is_some() && xmin_bits == 0 {
            page.set_all_visible(false);
        }
        if is_new || added.is_some() {
            guard.mark_dirty();
        }
        if added.is_some()
            && xmin_bits == 0
            && let Some(map_page) = map_page
        {
            map_page.clear(block);
        }
        Ok(added.map(|offset| ItemPointer::new(block, offset)))
    }

    /// Deletes the tuple at `place`.
    ///
    /// # Errors
    /// [`HeapError::ConcurrentlyUpdated`] if another transaction deleted or updated it.
    pub fn delete(&self, place: ItemPointer, io: &mut IoContext) -> Result<(), HeapError> {
        self.mark_deleted(place, None, io)
    }

    /// Replaces the tuple at `place` by `tuple`; the new one's place.
    ///
    /// # Errors
    /// As [`HeapWriter::delete`] and [`HeapWriter::insert`].
    pub fn update(
        &self,
        place: ItemPointer,
        tuple: &mut [u8],
        io: &mut IoContext,
    ) -> Result<ItemPointer, HeapError> {
        // First the check that the old one is ours to replace, so that a refusal changes nothing.
        self.check_deletable(place, io)?;
        let successor = self.insert(tuple, io)?;
        let buffer = self.pool.read(io, self.fork, successor.block, None)?;
        {
            let mut guard = buffer.exclusive();
            if let Some(item) = PageMut::new(&mut guard).item_mut(successor.offset)
                && let Ok(mut stored) = HeapTupleMut::new(item)
            {
                stored.set_infomask_bits(HEAP_UPDATED, 0);
            }
            guard.mark_dirty();
        }
        self.mark_deleted(place, Some(successor), io)?;
        Ok(successor)
    }

    fn check_deletable(&self, place: ItemPointer, io: &mut IoContext) -> Result<(), HeapError> {
        let buffer = self.pool.read(io, self.fork, place.block, None)?;
        let guard = buffer.share();
        let item = guard
            .page()
            .item(place.offset)
            .ok_or_else(|| no_tuple(place))?;
        let tuple = HeapTupleRef::new(item).map_err(|_| no_tuple(place))?;
        self.is_deletable(tuple)
    }

    /// A tuple may be deleted that nobody deleted, or somebody who aborted.
    fn is_deletable(&self, tuple: HeapTupleRef<'_>) -> Result<(), HeapError> {
        if tuple.infomask() & HEAP_XMAX_INVALID != 0 {
            return Ok(());
        }
        if tuple.infomask() & HEAP_XMAX_COMMITTED == 0
            && self.transactions.status(tuple.xmax())? == XidStatus::Aborted
        {
            return Ok(());
        }
        Err(HeapError::ConcurrentlyUpdated)
    }

    fn mark_deleted(
        &self,
        place: ItemPointer,
        successor: Option<ItemPointer>,
        io: &mut IoContext,
    ) -> Result<(), HeapError> {
        let buffer = self.pool.read(io, self.fork, place.block, None)?;
        let (mut guard, map_page) = self.map.lock_heap_page(&buffer, io)?;
        {
            let mut page = PageMut::new(&mut guard);
            let item = page.item_mut(place.offset).ok_or_else(|| no_tuple(place))?;
            let mut tuple = HeapTupleMut::new(item).map_err(|_| no_tuple(place))?;
            self.is_deletable(tuple.view())?;
            tuple.set_infomask_bits(0, HEAP_XMAX_BITS | HEAP_MOVED | HEAP_COMBOCID);
            tuple.set_infomask2_bits(HEAP_KEYS_UPDATED, HEAP_HOT_UPDATED);
            tuple.set_xmax(self.xid);
            tuple.set_command_id(self.command_id);
            tuple.set_ctid(successor.unwrap_or(place));
            page.set_all_visible(false);
            // The oldest one counts (`PageSetPrunable`).
            let prunable = page.view().prune_xid();
            if !prunable.is_valid() || self.xid.precedes(prunable) {
                page.set_prune_xid(self.xid);
            }
        }
        guard.mark_dirty();
        if let Some(map_page) = map_page {
            map_page.clear(place.block);
        }
        Ok(())
    }

    /// Blocks of the table now.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn nblocks(&self) -> Result<BlockNumber, HeapError> {
        Ok(self.pool.nblocks(self.fork)?)
    }
}

fn no_tuple(place: ItemPointer) -> HeapError {
    HeapError::CorruptedTuple {
        block: place.block,
        offset: place.offset,
        why: "there is no tuple".to_owned(),
    }
}
