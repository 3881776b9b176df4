//! Insertions of one tuple and of several.

use trunkline_aio::IoContext;
use trunkline_buffer::redo::{Damage, Misfit, Redo, RedoError, RedoRecord};
use trunkline_pgformat::wal::info::heap::INIT_PAGE;
use trunkline_pgformat::wal::rmgr::PayloadError;
use trunkline_pgformat::wal::rmgr::heap::{HeapInsert, LoggedTuple, insert_flags};
use trunkline_pgformat::wal::rmgr::heap2::{HeapMultiInsert, MultiInsertTuples};
use trunkline_pgformat::{ItemPointer, OffsetNumber, PageMut, Xid};

use super::{map, put, restored_tuple};

pub(super) fn insert(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    insert: HeapInsert,
) -> Result<(), RedoError> {
    let data = record.block(0)?.data;
    add(redo, io, record, insert.flags, |page, block| {
        let tuple = LoggedTuple::decode(data).map_err(no_tuple)?;
        let place = ItemPointer::new(block, insert.offset);
        add_tuple(page, record, &tuple, place)
    })
}

pub(super) fn multi_insert(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    insert: &HeapMultiInsert,
) -> Result<(), RedoError> {
    let data = record.block(0)?.data;
    add(redo, io, record, insert.flags, |page, block| {
        let mut count = 0;
        for tuple in MultiInsertTuples::new(data) {
            let tuple = tuple.map_err(no_tuple)?;
            let offset = match insert.offsets.get(usize::from(count)) {
                Some(offset) => *offset,
                None if insert.offsets.is_empty() => count + 1,
                None => return Err(Misfit("total tuple length mismatch")),
            };
            add_tuple(page, record, &tuple, ItemPointer::new(block, offset))?;
            count += 1;
        }
        if count != insert.tuple_count {
            return Err(Misfit("total tuple length mismatch"));
        }
        Ok(())
    })
}

/// What both have in common: the map first, for it may need it even if the page does not.
fn add(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    flags: u8,
    add_tuples: impl FnOnce(&mut PageMut<'_>, u32) -> Result<(), Misfit>,
) -> Result<(), RedoError> {
    let block = *record.block(0)?;
    let clears = flags & insert_flags::ALL_VISIBLE_CLEARED != 0;
    if clears {
        map::clear(redo, io, block.locator, block.block, map::BOTH_BITS)?;
    }
    let change = |page: &mut PageMut<'_>| {
        add_tuples(page, block.block)?;
        if clears {
            page.set_all_visible(false);
        }
        if flags & insert_flags::ALL_FROZEN_SET != 0 {
            page.set_all_visible(true);
        }
        Ok(())
    };
    if record.decoded.header.info & INIT_PAGE != 0 {
        redo.apply_to_new(io, record, 0, change)?;
    } else {
        redo.apply(io, record, 0, Damage::Refused, change)?;
    }
    Ok(())
}

fn add_tuple(
    page: &mut PageMut<'_>,
    record: &RedoRecord<'_>,
    tuple: &LoggedTuple<'_>,
    place: ItemPointer,
) -> Result<(), Misfit> {
    let offset: OffsetNumber = place.offset;
    let tuple = restored_tuple(tuple, record.decoded.header.xid, Xid::INVALID, place);
    put(page, &tuple, offset)
}

fn no_tuple(error: PayloadError) -> Misfit {
    Misfit(error.structure)
}
