//! Inserts of the catalogs, deletes and updates (`heap_insert`, `heap_delete`,
//! `heap_update` without HOT).

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{
    BufferError, BufferPool, CriticalSection, ExclusiveGuard, PinnedBuffer, RelFork,
};
use trunkline_pgformat::heap_tuple::{
    HEAP_COMBOCID, HEAP_HOT_UPDATED, HEAP_KEYS_UPDATED, HEAP_MOVED, HEAP_UPDATED, HEAP_XMAX_BITS,
    HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, HEAP_XMIN_FROZEN,
};
use trunkline_pgformat::wal::rmgr::heap::{HeapUpdate, delete_flags, update_flags};
use trunkline_pgformat::{
    BlockNumber, CommandId, ForkNumber, HeapTupleMut, HeapTupleRef, ItemPointer,
    MAX_HEAP_TUPLE_SIZE, OffsetNumber, PageMut, PageRef, Xid, max_align,
};
use trunkline_txn::{TransactionManager, XidStatus};

use crate::HeapError;
use crate::insert_targets::Contents;
use crate::logging::{Common, Logger, deletion};
use crate::relation::HeapRelation;
use crate::visibility_map::{MapPage, VisibilityMap};

/// Changes single tuples of one table, for one command of one transaction.
pub struct HeapWriter<'a> {
    pub(crate) pool: &'a Arc<BufferPool>,
    transactions: &'a TransactionManager,
    pub(crate) relation: HeapRelation,
    pub(crate) map: VisibilityMap,
    xid: Xid,
    command_id: CommandId,
}

impl<'a> HeapWriter<'a> {
    /// Writes to the table `relation` as command `command_id` of `xid`.
    pub fn new(
        pool: &'a Arc<BufferPool>,
        transactions: &'a TransactionManager,
        relation: HeapRelation,
        xid: Xid,
        command_id: CommandId,
    ) -> HeapWriter<'a> {
        HeapWriter {
            pool,
            transactions,
            relation,
            map: VisibilityMap::new(pool, relation),
            xid,
            command_id,
        }
    }

    pub(crate) fn fork(&self) -> RelFork {
        self.relation.fork(ForkNumber::Main)
    }

    /// Runs `log` if the table's changes are logged.
    fn log(
        &self,
        section: &CriticalSection,
        log: impl FnOnce(&Logger<'_>) -> Result<(), BufferError>,
    ) -> Result<(), BufferError> {
        if self.relation.wal(self.pool).is_none() {
            return Ok(());
        }
        log(&Logger {
            pool: self.pool,
            section,
            xid: self.xid,
        })
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
        self.stamp(tuple, xmin_bits)?;
        self.on_a_page_with_room(io, |buffer, io| {
            self.try_insert(buffer, tuple, xmin_bits, io)
        })
    }

    /// Stamps a tuple that is about to be inserted; all but its place.
    pub(crate) fn stamp(&self, tuple: &mut [u8], xmin_bits: u16) -> Result<(), HeapError> {
        if tuple.len() > MAX_HEAP_TUPLE_SIZE {
            return Err(HeapError::TooBig {
                size_bytes: tuple.len(),
                limit_bytes: MAX_HEAP_TUPLE_SIZE,
            });
        }
        let mut stamped = HeapTupleMut::new(tuple).map_err(|error| HeapError::CorruptedTuple {
            block: 0,
            offset: 0,
            why: error.to_string(),
        })?;
        stamped.stamp_inserted(self.xid, self.command_id, ItemPointer::INVALID, xmin_bits);
        Ok(())
    }

    /// Tries `place` on pages until one has room: the last page, then new ones. Without a free space
    /// map these are the pages with room.
    fn on_a_page_with_room(
        &self,
        io: &mut IoContext,
        mut place: impl FnMut(&PinnedBuffer, &mut IoContext) -> Result<Option<ItemPointer>, HeapError>,
    ) -> Result<ItemPointer, HeapError> {
        let blocks = self.pool.nblocks(self.fork())?;
        if let Some(last) = blocks.checked_sub(1) {
            let buffer = self.pool.read(io, self.fork(), last, None)?;
            if let Some(placed) = place(&buffer, io)? {
                return Ok(placed);
            }
        }
        loop {
            for buffer in self.pool.extend(io, self.fork(), 1, None)? {
                if let Some(placed) = place(&buffer, io)? {
                    return Ok(placed);
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
        let (guard, map_page) = self.map.lock_heap_page(buffer, io)?;
        let placed = self.insert_into(guard, map_page, Contents::Tuples, tuple, xmin_bits, io)?;
        Ok(match placed {
            Placed::At(place) => Some(place),
            Placed::NoRoom { .. } => None,
        })
    }

    /// Inserts a stamped tuple into a page that is locked, if it has room.
    pub(crate) fn insert_into(
        &self,
        mut guard: ExclusiveGuard<'_>,
        map_page: Option<MapPage>,
        contents: Contents,
        tuple: &mut [u8],
        xmin_bits: u16,
        io: &mut IoContext,
    ) -> Result<Placed, HeapError> {
        let block = guard.buffer().block();
        let made_anew = contents == Contents::Nothing;
        if !made_anew && !has_room(guard.page(), tuple.len()) {
            let bytes = guard.page().heap_free_space();
            return Ok(Placed::NoRoom { bytes });
        }
        // What is frozen takes nothing from what everybody sees.
        let clears = xmin_bits == 0 && guard.page().is_all_visible();
        let logged = CriticalSection::run("heap insert", |section| {
            guard.mark_dirty();
            clear_marks(&mut guard, map_page.as_ref().filter(|_| clears));
            if made_anew {
                PageMut::new(&mut guard).init(0);
            }
            let offset = put(&mut guard, tuple);
            let tuple = stored(tuple);
            self.log(section, |logger| {
                logger.insert(io, &mut guard, offset, tuple, clears)
            })?;
            Ok::<OffsetNumber, BufferError>(offset)
        });
        Ok(Placed::At(ItemPointer::new(block, logged?)))
    }

    /// Deletes the tuple at `place`.
    ///
    /// # Errors
    /// [`HeapError::ConcurrentlyUpdated`] if another transaction deleted or updated it.
    pub fn delete(&self, place: ItemPointer, io: &mut IoContext) -> Result<(), HeapError> {
        let buffer = self.pool.read(io, self.fork(), place.block, None)?;
        let (mut guard, map_page) = self.map.lock_heap_page(&buffer, io)?;
        self.check_deletable(guard.page(), place)?;
        let clears = guard.page().is_all_visible();
        let logged = CriticalSection::run("heap delete", |section| {
            guard.mark_dirty();
            let mut page = PageMut::new(&mut guard);
            let deleted = change_tuple(&mut page, place.offset, |tuple| {
                self.stamp_deleted(tuple, place, HEAP_KEYS_UPDATED);
                let flags = if clears {
                    delete_flags::ALL_VISIBLE_CLEARED
                } else {
                    0
                };
                deletion(tuple.view(), place.offset, flags)
            });
            self.set_prunable(&mut page);
            clear_marks(&mut guard, map_page.as_ref());
            self.log(section, |logger| {
                logger.delete(io, &mut guard, place.offset, deleted)
            })
        });
        Ok(logged?)
    }

    /// Replaces the tuple at `place` by `tuple`, none of whose key columns differs; the new one's
    /// place.
    ///
    /// # Errors
    /// As [`HeapWriter::delete`] and [`HeapWriter::insert`].
    pub fn update(
        &self,
        place: ItemPointer,
        tuple: &mut [u8],
        io: &mut IoContext,
    ) -> Result<ItemPointer, HeapError> {
        self.stamp(tuple, 0)?;
        let old = self.pool.read(io, self.fork(), place.block, None)?;
        // Before pages are added, so that a refusal changes nothing.
        self.check_deletable(old.share().page(), place)?;
        if let Ok(mut stamped) = HeapTupleMut::new(tuple) {
            stamped.set_infomask_bits(HEAP_UPDATED, 0);
        }
        self.on_a_page_with_room(io, |new, io| self.try_update(&old, place, new, tuple, io))
    }

    fn try_update(
        &self,
        old: &PinnedBuffer,
        place: ItemPointer,
        new: &PinnedBuffer,
        tuple: &mut [u8],
        io: &mut IoContext,
    ) -> Result<Option<ItemPointer>, HeapError> {
        let LockedPages {
            old: mut old_page,
            new: mut new_page,
            old_map,
            new_map,
        } = self.lock_pages(old, new, io)?;
        let target = new_page.as_ref().unwrap_or(&old_page);
        let new_block = target.buffer().block();
        if !has_room(target.page(), tuple.len()) {
            return Ok(None);
        }
        self.check_deletable(old_page.page(), place)?;
        let common = self.common(&old_page, new_page.is_none(), place.offset, tuple);
        let clears_old = old_page.page().is_all_visible();
        let clears_new = new_page
            .as_ref()
            .is_some_and(|page| page.page().is_all_visible());
        let mut flags = 0;
        if clears_old {
            flags |= update_flags::OLD_ALL_VISIBLE_CLEARED;
        }
        if clears_new {
            flags |= update_flags::NEW_ALL_VISIBLE_CLEARED;
        }
        let logged = CriticalSection::run("heap update", |section| {
            old_page.mark_dirty();
            if let Some(new_page) = &mut new_page {
                new_page.mark_dirty();
            }
            let target = new_page.as_mut().unwrap_or(&mut old_page);
            let offset = put(target, tuple);
            let successor = ItemPointer::new(new_block, offset);
            self.set_prunable(&mut PageMut::new(target));
            let mut page = PageMut::new(&mut old_page);
            let replaced = change_tuple(&mut page, place.offset, |tuple| {
                self.stamp_deleted(tuple, successor, 0);
                deletion(tuple.view(), place.offset, 0)
            });
            self.set_prunable(&mut page);
            if new_page.is_some() {
                // A hint that pruning would make room for the next version.
                page.set_full(true);
            }
            clear_marks(&mut old_page, old_map.as_ref());
            if let Some(new_page) = &mut new_page {
                clear_marks(new_page, new_map.as_ref());
            }
            let tuple = stored(tuple);
            let update = HeapUpdate {
                old_xmax: replaced.xmax,
                old_offset: place.offset,
                old_infobits: replaced.infobits,
                flags,
                new_xmax: tuple.xmax(),
                new_offset: offset,
                old_tuple: None,
            };
            self.log(section, |logger| {
                logger.update(io, &mut old_page, new_page.as_mut(), update, tuple, common)
            })?;
            Ok::<ItemPointer, BufferError>(successor)
        });
        Ok(Some(logged?))
    }

    /// What the new tuple has in common with the old one; nothing if the record cannot use it, because
    /// the old one is not at hand for redo: on another page, or under an image.
    fn common(
        &self,
        old_page: &ExclusiveGuard<'_>,
        same_page: bool,
        old_offset: OffsetNumber,
        tuple: &[u8],
    ) -> Common {
        let Some(wal) = self.relation.wal(self.pool).filter(|_| same_page) else {
            return Common::default();
        };
        if old_page.page().lsn() <= wal.redo() {
            return Common::default();
        }
        let old = old_page.page().item(old_offset);
        match (old.map(HeapTupleRef::new), HeapTupleRef::new(tuple)) {
            (Some(Ok(old)), Ok(new)) => Common::of(old, new),
            _ => Common::default(),
        }
    }

    /// Locks the pages of an update, the lower block first, with the map's pages pinned whose bits are
    /// to be cleared.
    fn lock_pages<'b>(
        &self,
        old: &'b PinnedBuffer,
        new: &'b PinnedBuffer,
        io: &mut IoContext,
    ) -> Result<LockedPages<'b>, HeapError> {
        let (mut old_map, mut new_map) = (None, None);
        loop {
            let (old_page, new_page) = match old.block().cmp(&new.block()) {
                std::cmp::Ordering::Equal => (old.exclusive(), None),
                std::cmp::Ordering::Less => {
                    let first = old.exclusive();
                    (first, Some(new.exclusive()))
                }
                std::cmp::Ordering::Greater => {
                    let first = new.exclusive();
                    (old.exclusive(), Some(first))
                }
            };
            let needs_old = old_map.is_none() && old_page.page().is_all_visible();
            let is_marked = |page: &ExclusiveGuard<'_>| page.page().is_all_visible();
            let needs_new = new_map.is_none() && new_page.as_ref().is_some_and(is_marked);
            if !needs_old && !needs_new {
                return Ok(LockedPages {
                    old: old_page,
                    new: new_page,
                    old_map,
                    new_map,
                });
            }
            drop((old_page, new_page));
            if needs_old {
                old_map = Some(self.map.pin(old.block(), io)?);
            }
            if needs_new {
                new_map = Some(self.map.pin(new.block(), io)?);
            }
        }
    }

    fn check_deletable(&self, page: PageRef<'_>, place: ItemPointer) -> Result<(), HeapError> {
        let item = page.item(place.offset).ok_or_else(|| no_tuple(place))?;
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

    fn stamp_deleted(&self, tuple: &mut HeapTupleMut<'_>, successor: ItemPointer, keys: u16) {
        tuple.set_infomask_bits(0, HEAP_XMAX_BITS | HEAP_MOVED | HEAP_COMBOCID);
        tuple.set_infomask2_bits(keys, HEAP_KEYS_UPDATED & !keys | HEAP_HOT_UPDATED);
        tuple.set_xmax(self.xid);
        tuple.set_command_id(self.command_id);
        tuple.set_ctid(successor);
    }

    /// The oldest one counts (`PageSetPrunable`).
    fn set_prunable(&self, page: &mut PageMut<'_>) {
        let prunable = page.view().prune_xid();
        if !prunable.is_valid() || self.xid.precedes(prunable) {
            page.set_prune_xid(self.xid);
        }
    }

    /// Blocks of the table now.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn nblocks(&self) -> Result<BlockNumber, HeapError> {
        Ok(self.pool.nblocks(self.fork())?)
    }
}

/// What became of a tuple that was to go onto a page.
pub(crate) enum Placed {
    At(ItemPointer),
    /// The page has only this much.
    NoRoom {
        bytes: usize,
    },
}

/// The pages of an update.
struct LockedPages<'b> {
    old: ExclusiveGuard<'b>,
    /// Nothing if the new tuple goes to the old one's page.
    new: Option<ExclusiveGuard<'b>>,
    old_map: Option<MapPage>,
    new_map: Option<MapPage>,
}

/// Whether a page takes a tuple of this length.
fn has_room(page: PageRef<'_>, length_bytes: usize) -> bool {
    page.is_new() || page.heap_free_space() >= max_align(length_bytes)
}

// The rest runs in critical sections: what they expect was checked before, under the same lock.

/// Puts a tuple onto a page that has room, and its place into both copies of it.
fn put(page: &mut ExclusiveGuard<'_>, tuple: &mut [u8]) -> OffsetNumber {
    let block = page.buffer().block();
    let mut page = PageMut::new(page);
    if page.view().is_new() {
        page.init(0);
    }
    let Some(offset) = page.add_item(tuple) else {
        panic!("block {block} has no room after all");
    };
    let place = ItemPointer::new(block, offset);
    change_tuple(&mut page, offset, |stored| stored.set_ctid(place));
    if let Ok(mut tuple) = HeapTupleMut::new(tuple) {
        tuple.set_ctid(place);
    }
    offset
}

/// The tuple that was just put onto a page.
fn stored(tuple: &[u8]) -> HeapTupleRef<'_> {
    match HeapTupleRef::new(tuple) {
        Ok(tuple) => tuple,
        Err(error) => panic!("a tuple is none after all: {error}"),
    }
}

fn change_tuple<R>(
    page: &mut PageMut<'_>,
    offset: OffsetNumber,
    change: impl FnOnce(&mut HeapTupleMut<'_>) -> R,
) -> R {
    let tuple = page.item_mut(offset).map(HeapTupleMut::new);
    let Some(Ok(mut tuple)) = tuple else {
        panic!("there is no tuple {offset} after all");
    };
    change(&mut tuple)
}

/// Takes the all-visible mark from a page that has it, and its bits from the map.
fn clear_marks(page: &mut ExclusiveGuard<'_>, map_page: Option<&MapPage>) {
    if !page.page().is_all_visible() {
        return;
    }
    let Some(map_page) = map_page else {
        return;
    };
    PageMut::new(page).set_all_visible(false);
    map_page.clear(page.buffer().block());
}

fn no_tuple(place: ItemPointer) -> HeapError {
    HeapError::CorruptedTuple {
        block: place.block,
        offset: place.offset,
        why: "there is no tuple".to_owned(),
    }
}
