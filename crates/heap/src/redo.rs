//! Redo of the resource managers Heap and Heap2 (`heap_redo` and `heap2_redo` in PostgreSQL's
//! `access/heap/heapam_xlog.c`).
//!
//! Every record that PostgreSQL 18 writes of tables is redone, those of row locks, pruning and HOT
//! updates included, but for the rewriting of catalogs under logical decoding, which is refused. The
//! free space map is not kept.
//!
//! | module | records |
//! |---|---|
//! | `inserting` | insert, multi-insert |
//! | `changing` | delete, update, HOT update, lock, lock-updated, confirm, in-place |
//! | `pruning` | prune and freeze |
//! | `map` | visible; clearing bits for the others |

mod changing;
mod inserting;
mod map;
mod pruning;

use trunkline_aio::IoContext;
use trunkline_buffer::redo::{Misfit, Redo, RedoError, RedoRecord};
use trunkline_pgformat::heap_tuple::HEAP_TUPLE_HEADER_SIZE;
use trunkline_pgformat::wal::rmgr::heap::{Heap, LoggedTuple};
use trunkline_pgformat::wal::rmgr::heap2::Heap2;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{HeapTupleHeader, HeapTupleMut, ItemPointer, OffsetNumber, PageMut, Xid};

/// Redoes a record of Heap or Heap2.
///
/// # Errors
/// A page cannot be read, the record makes no sense or does not fit its page, or it is one that is
/// not supported.
pub fn redo(redo: &mut Redo, io: &mut IoContext, record: &RedoRecord<'_>) -> Result<(), RedoError> {
    match record.decoded.header.rmgr {
        RmgrId::HEAP => redo_heap(redo, io, record),
        RmgrId::HEAP2 => redo_heap2(redo, io, record),
        _ => Err(record.wrong("not a record of a table")),
    }
}

fn redo_heap(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
) -> Result<(), RedoError> {
    match Heap::decode(record.decoded)? {
        Heap::Insert(insert) => inserting::insert(redo, io, record, insert),
        Heap::Delete(delete) => changing::delete(redo, io, record, delete),
        Heap::Update(update) => changing::update(redo, io, record, update, false),
        Heap::HotUpdate(update) => changing::update(redo, io, record, update, true),
        Heap::Confirm(offset) => changing::confirm(redo, io, record, offset),
        Heap::Lock(lock) => changing::lock(redo, io, record, lock),
        Heap::Inplace(inplace) => changing::inplace(redo, io, record, inplace.offset),
        // For logical decoding; the files are cut off by a record of Storage.
        Heap::Truncate(_) => Ok(()),
    }
}

fn redo_heap2(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
) -> Result<(), RedoError> {
    match Heap2::decode(record.decoded)? {
        Heap2::MultiInsert(insert) => inserting::multi_insert(redo, io, record, &insert),
        Heap2::Visible(visible) => map::visible(redo, io, record, visible),
        Heap2::PruneOnAccess(prune)
        | Heap2::PruneVacuumScan(prune)
        | Heap2::PruneVacuumCleanup(prune) => pruning::prune(redo, io, record, &prune),
        Heap2::LockUpdated(lock) => changing::lock_updated(redo, io, record, lock),
        // For logical decoding.
        Heap2::NewCid(_) => Ok(()),
        Heap2::Rewrite => Err(record.unsupported("REWRITE")),
    }
}

/// Changes the tuple at `offset`.
fn change_tuple(
    page: &mut PageMut<'_>,
    offset: OffsetNumber,
    change: impl FnOnce(&mut HeapTupleMut<'_>) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let item = page
        .item_mut(offset)
        .ok_or(Misfit("invalid line pointer"))?;
    let mut tuple = HeapTupleMut::new(item).map_err(|_| Misfit("invalid tuple"))?;
    change(&mut tuple)
}

/// A tuple put together again from what was logged of it. Command ids are not logged: nobody who could
/// ask for them lives on.
fn restored_tuple(logged: &LoggedTuple<'_>, xmin: Xid, xmax: Xid, place: ItemPointer) -> Vec<u8> {
    let header = HeapTupleHeader {
        xmin,
        xmax,
        field3: 0,
        ctid: place,
        infomask2: logged.header.infomask2,
        infomask: logged.header.infomask,
        hoff: logged.header.hoff,
    };
    let mut tuple = Vec::with_capacity(HEAP_TUPLE_HEADER_SIZE + logged.data.len());
    tuple.extend_from_slice(&header.to_bytes());
    tuple.extend_from_slice(logged.data);
    tuple
}

fn put(page: &mut PageMut<'_>, tuple: &[u8], offset: OffsetNumber) -> Result<(), Misfit> {
    if page.put_item(tuple, offset) {
        Ok(())
    } else {
        Err(Misfit("failed to add tuple"))
    }
}

/// The oldest one counts (`PageSetPrunable`).
fn set_prunable(page: &mut PageMut<'_>, xid: Xid) {
    let prunable = page.view().prune_xid();
    if !prunable.is_valid() || xid.precedes(prunable) {
        page.set_prune_xid(xid);
    }
}
