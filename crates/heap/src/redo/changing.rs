//! Changes of tuples that are there: deletions, updates, locks.

use trunkline_aio::IoContext;
use trunkline_buffer::redo::{Damage, Misfit, Redo, RedoError, RedoRecord};
use trunkline_pgformat::heap_tuple::{
    HEAP_HOT_UPDATED, HEAP_KEYS_UPDATED, HEAP_MOVED, HEAP_TUPLE_HEADER_SIZE, HEAP_XMAX_BITS,
    HEAP_XMAX_EXCL_LOCK, HEAP_XMAX_IS_MULTI, HEAP_XMAX_KEYSHR_LOCK, HEAP_XMAX_LOCK_ONLY,
    xmax_is_locked_only,
};
use trunkline_pgformat::wal::info::heap::INIT_PAGE;
use trunkline_pgformat::wal::rmgr::heap::{
    HeapDelete, HeapLock, HeapUpdate, LOCK_ALL_FROZEN_CLEARED, UpdatedTuple, delete_flags,
    infobits, update_flags,
};
use trunkline_pgformat::{
    HeapTupleMut, HeapTupleRef, INVALID_BLOCK_NUMBER, ItemPointer, OffsetNumber, PageMut, PageRef,
    Xid,
};

use super::{change_tuple, map, put, restored_tuple, set_prunable};

/// `t_ctid` of a row that went to another partition (`MovedPartitionsOffsetNumber`).
const MOVED_PARTITIONS: ItemPointer = ItemPointer {
    block: INVALID_BLOCK_NUMBER,
    offset: 0xfffd,
};

/// Sets what a record says of `xmax` (`fix_infomask_from_infobits`), everything else about it cleared.
fn set_xmax(tuple: &mut HeapTupleMut<'_>, xmax: Xid, bits: u8) {
    let mut infomask = 0;
    for (bit, mask) in [
        (infobits::XMAX_IS_MULTI, HEAP_XMAX_IS_MULTI),
        (infobits::XMAX_LOCK_ONLY, HEAP_XMAX_LOCK_ONLY),
        (infobits::XMAX_EXCL_LOCK, HEAP_XMAX_EXCL_LOCK),
        (infobits::XMAX_KEYSHR_LOCK, HEAP_XMAX_KEYSHR_LOCK),
    ] {
        if bits & bit != 0 {
            infomask |= mask;
        }
    }
    let keys = if bits & infobits::KEYS_UPDATED != 0 {
        HEAP_KEYS_UPDATED
    } else {
        0
    };
    tuple.set_infomask_bits(0, HEAP_XMAX_BITS | HEAP_MOVED);
    tuple.set_infomask_bits(infomask, 0);
    tuple.set_infomask2_bits(0, HEAP_KEYS_UPDATED);
    tuple.set_infomask2_bits(keys, 0);
    tuple.set_xmax(xmax);
}

pub(super) fn delete(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    delete: HeapDelete<'_>,
) -> Result<(), RedoError> {
    let block = *record.block(0)?;
    let clears = delete.flags & delete_flags::ALL_VISIBLE_CLEARED != 0;
    if clears {
        map::clear(redo, io, block.locator, block.block, map::BOTH_BITS)?;
    }
    redo.apply(io, record, 0, Damage::Refused, |page| {
        change_tuple(page, delete.offset, |tuple| {
            let xmax = tuple.view().xmax();
            if delete.flags & delete_flags::IS_SUPER != 0 {
                set_xmax(tuple, xmax, delete.infobits);
                tuple.set_xmin(Xid::INVALID);
            } else {
                set_xmax(tuple, delete.xmax, delete.infobits);
            }
            tuple.set_infomask2_bits(0, HEAP_HOT_UPDATED);
            tuple.set_command_id(0);
            let moved = delete.flags & delete_flags::IS_PARTITION_MOVE != 0;
            tuple.set_ctid(if moved {
                MOVED_PARTITIONS
            } else {
                ItemPointer::new(block.block, delete.offset)
            });
            Ok(())
        })?;
        set_prunable(page, record.decoded.header.xid);
        if clears {
            page.set_all_visible(false);
        }
        Ok(())
    })?;
    Ok(())
}

pub(super) fn update(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    update: HeapUpdate<'_>,
    is_hot: bool,
) -> Result<(), RedoError> {
    let new = *record.block(0)?;
    let old = record.decoded.block(1).copied();
    let old_block = old.map_or(new.block, |old| old.block);
    let clears_old = update.flags & update_flags::OLD_ALL_VISIBLE_CLEARED != 0;
    let clears_new = update.flags & update_flags::NEW_ALL_VISIBLE_CLEARED != 0;
    if clears_old {
        map::clear(redo, io, new.locator, old_block, map::BOTH_BITS)?;
    }
    let place = ItemPointer::new(new.block, update.new_offset);
    let change_old = |page: &mut PageMut<'_>| {
        change_tuple(page, update.old_offset, |tuple| {
            set_xmax(tuple, update.old_xmax, update.old_infobits);
            let hot = if is_hot { HEAP_HOT_UPDATED } else { 0 };
            tuple.set_infomask2_bits(hot, HEAP_HOT_UPDATED & !hot);
            tuple.set_command_id(0);
            tuple.set_ctid(place);
            Ok(())
        })?;
        set_prunable(page, record.decoded.header.xid);
        if clears_old {
            page.set_all_visible(false);
        }
        Ok(())
    };
    let change_new = |page: &mut PageMut<'_>, old_tuple: Option<&[u8]>| {
        let tuple = new_version(record, &update, new.data, old_tuple, place)?;
        put(page, &tuple, update.new_offset)?;
        if clears_new {
            page.set_all_visible(false);
        }
        Ok(())
    };
    if old.is_none() {
        // Both versions are on one page.
        if clears_new {
            map::clear(redo, io, new.locator, new.block, map::BOTH_BITS)?;
        }
        redo.apply(io, record, 0, Damage::Refused, |page| {
            change_old(page)?;
            let before = *page.bytes_mut();
            change_new(page, PageRef::new(&before).item(update.old_offset))
        })?;
        return Ok(());
    }
    if is_hot {
        return Err(record.wrong("a HOT update from one page to another"));
    }
    redo.apply(io, record, 1, Damage::Refused, change_old)?;
    if clears_new {
        map::clear(redo, io, new.locator, new.block, map::BOTH_BITS)?;
    }
    if record.decoded.header.info & INIT_PAGE != 0 {
        redo.apply_to_new(io, record, 0, |page| change_new(page, None))?;
    } else {
        redo.apply(io, record, 0, Damage::Refused, |page| {
            change_new(page, None)
        })?;
    }
    Ok(())
}

/// The new version of a tuple, from what is logged of it and what it has in common with the old one.
fn new_version(
    record: &RedoRecord<'_>,
    update: &HeapUpdate<'_>,
    data: &[u8],
    old_tuple: Option<&[u8]>,
    place: ItemPointer,
) -> Result<Vec<u8>, Misfit> {
    let updated =
        UpdatedTuple::decode(data, update.flags).map_err(|error| Misfit(error.structure))?;
    let xmin = record.decoded.header.xid;
    let mut tuple = restored_tuple(&updated.tuple, xmin, update.new_xmax, place);
    let prefix = usize::from(updated.prefix.unwrap_or(0));
    let suffix = usize::from(updated.suffix.unwrap_or(0));
    if prefix == 0 && suffix == 0 {
        return Ok(tuple);
    }
    let missing = Misfit("the old version that the new one is like is missing");
    let old = old_tuple.ok_or(missing)?;
    let old = HeapTupleRef::new(old).map_err(|_| missing)?;
    if prefix > 0 {
        let at = usize::from(updated.tuple.header.hoff);
        let common = old.data().get(..prefix).ok_or(missing)?;
        if at < HEAP_TUPLE_HEADER_SIZE || at > tuple.len() {
            return Err(Misfit("invalid tuple"));
        }
        tuple.splice(at..at, common.iter().copied());
    }
    let start = old.bytes().len().checked_sub(suffix).ok_or(missing)?;
    tuple.extend_from_slice(&old.bytes()[start..]);
    Ok(tuple)
}

pub(super) fn confirm(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    offset: OffsetNumber,
) -> Result<(), RedoError> {
    let block = record.block(0)?.block;
    redo.apply(io, record, 0, Damage::Refused, |page| {
        change_tuple(page, offset, |tuple| {
            tuple.set_ctid(ItemPointer::new(block, offset));
            Ok(())
        })
    })?;
    Ok(())
}

pub(super) fn lock(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    lock: HeapLock,
) -> Result<(), RedoError> {
    clear_frozen(redo, io, record, lock)?;
    let block = record.block(0)?.block;
    redo.apply(io, record, 0, Damage::Refused, |page| {
        change_tuple(page, lock.offset, |tuple| {
            set_xmax(tuple, lock.xmax, lock.infobits);
            if xmax_is_locked_only(tuple.view().infomask()) {
                tuple.set_infomask2_bits(0, HEAP_HOT_UPDATED);
                tuple.set_ctid(ItemPointer::new(block, lock.offset));
            }
            tuple.set_command_id(0);
            Ok(())
        })
    })?;
    Ok(())
}

pub(super) fn lock_updated(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    lock: HeapLock,
) -> Result<(), RedoError> {
    clear_frozen(redo, io, record, lock)?;
    redo.apply(io, record, 0, Damage::Refused, |page| {
        change_tuple(page, lock.offset, |tuple| {
            set_xmax(tuple, lock.xmax, lock.infobits);
            Ok(())
        })
    })?;
    Ok(())
}

fn clear_frozen(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    lock: HeapLock,
) -> Result<(), RedoError> {
    if lock.flags & LOCK_ALL_FROZEN_CLEARED == 0 {
        return Ok(());
    }
    let block = record.block(0)?;
    map::clear(redo, io, block.locator, block.block, map::FROZEN_BIT)
}

pub(super) fn inplace(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    offset: OffsetNumber,
) -> Result<(), RedoError> {
    let data = record.block(0)?.data;
    redo.apply(io, record, 0, Damage::Refused, |page| {
        change_tuple(page, offset, |tuple| {
            let old = tuple.data_mut();
            if old.len() != data.len() {
                return Err(Misfit("wrong tuple length"));
            }
            old.copy_from_slice(data);
            Ok(())
        })
    })?;
    Ok(())
}
