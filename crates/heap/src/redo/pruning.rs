//! Pruning and freezing (`heap_xlog_prune_freeze`; `heap_page_prune_execute` in `pruneheap.c`).

use trunkline_aio::IoContext;
use trunkline_buffer::redo::{Damage, Misfit, Redo, RedoError, RedoRecord};
use trunkline_pgformat::wal::rmgr::heap2::{FreezePlan, HeapPrune, prune_flags};
use trunkline_pgformat::{HeapTupleMut, LinePointer, OffsetNumber, PageMut, Xid};

use super::change_tuple;

/// A freeze plan's flag: `xvac` becomes frozen (`XLH_FREEZE_XVAC`).
const FREEZE_XVAC: u8 = 0x02;
/// A freeze plan's flag: `xvac` becomes invalid (`XLH_INVALID_XVAC`).
const INVALID_XVAC: u8 = 0x04;

pub(super) fn prune(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    prune: &HeapPrune,
) -> Result<(), RedoError> {
    // Without a cleanup lock tuples stay where they are.
    let moves = prune.flags & prune_flags::CLEANUP_LOCK != 0;
    let needs_lock = !prune.redirected.is_empty() || !prune.dead.is_empty();
    if needs_lock && !moves {
        return Err(record.wrong("pruning without a cleanup lock"));
    }
    redo.apply(io, record, 0, Damage::Refused, |page| {
        free_line_pointers(page, prune, moves)?;
        for plan in &prune.freeze_plans {
            for offset in &plan.offsets {
                change_tuple(page, *offset, |tuple| {
                    freeze(tuple, plan);
                    Ok(())
                })?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn free_line_pointers(
    page: &mut PageMut<'_>,
    prune: &HeapPrune,
    moves: bool,
) -> Result<(), Misfit> {
    let HeapPrune {
        redirected,
        dead,
        unused,
        ..
    } = prune;
    if redirected.is_empty() && dead.is_empty() && unused.is_empty() {
        return Ok(());
    }
    let mut set = |offset: OffsetNumber, pointer| {
        if page.set_line_pointer(offset, pointer) {
            Ok(())
        } else {
            Err(Misfit("invalid line pointer"))
        }
    };
    for (from, to) in redirected {
        set(*from, LinePointer::redirect(*to))?;
    }
    for offset in dead {
        set(*offset, LinePointer::DEAD)?;
    }
    for offset in unused {
        set(*offset, LinePointer::UNUSED)?;
    }
    if !moves {
        page.truncate_line_pointers();
    } else if !page.repair_fragmentation() {
        return Err(Misfit("corrupted line pointer"));
    }
    Ok(())
}

/// `heap_execute_freeze_tuple`.
fn freeze(tuple: &mut HeapTupleMut<'_>, plan: &FreezePlan) {
    tuple.set_xmax(plan.xmax);
    if plan.flags & FREEZE_XVAC != 0 {
        tuple.set_field3(Xid::FROZEN.0);
    }
    if plan.flags & INVALID_XVAC != 0 {
        tuple.set_field3(Xid::INVALID.0);
    }
    tuple.set_infomask_bits(plan.infomask, !plan.infomask);
    tuple.set_infomask2_bits(plan.infomask2, !plan.infomask2);
}
