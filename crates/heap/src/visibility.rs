//! Whether a snapshot sees a tuple: PostgreSQL's `HeapTupleSatisfiesMVCC`.
//!
//! One simplification: a tuple deleted by the transaction that inserted it keeps only its deleting
//! command (PostgreSQL keeps both in a combo command id). The snapshots of one transaction here are
//! taken one after the other and never outlive the next command, so that none can be older than
//! such a tuple's insertion and still be in use.

use trunkline_pgformat::HeapTupleRef;
use trunkline_pgformat::heap_tuple::{
    HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, HEAP_XMAX_IS_MULTI, HEAP_XMIN_COMMITTED,
    HEAP_XMIN_INVALID, xmax_is_locked_only, xmin_is_frozen,
};
use trunkline_txn::{TxnError, Visibility, XidFate};

/// Whether `visibility`'s snapshot sees `tuple`.
///
/// # Errors
/// A transaction's status cannot be read.
#[inline]
pub fn tuple_is_visible(
    tuple: HeapTupleRef<'_>,
    visibility: &mut Visibility<'_>,
) -> Result<bool, TxnError> {
    let infomask = tuple.infomask();
    if !inserter_is_visible(tuple, infomask, visibility)? {
        return Ok(false);
    }
    if infomask & HEAP_XMAX_INVALID != 0 {
        return Ok(true);
    }
    Ok(!deleter_is_visible(tuple, infomask, visibility)?)
}

fn inserter_is_visible(
    tuple: HeapTupleRef<'_>,
    infomask: u16,
    visibility: &mut Visibility<'_>,
) -> Result<bool, TxnError> {
    if xmin_is_frozen(infomask) {
        return Ok(true);
    }
    if infomask & HEAP_XMIN_INVALID != 0 {
        return Ok(false);
    }
    let xmin = tuple.xmin();
    if infomask & HEAP_XMIN_COMMITTED != 0 {
        return Ok(!visibility.snapshot().is_in_progress(xmin));
    }
    if visibility.fate(xmin)? == XidFate::Own {
        // Deleted by the same transaction: the field holds the deleting command's id.
        let deleted_here = infomask & HEAP_XMAX_INVALID == 0 && tuple.xmax() == xmin;
        return Ok(deleted_here || tuple.command_id() < visibility.snapshot().command_id);
    }
    visibility.xid_visible(xmin, 0)
}

/// Whether the snapshot sees the tuple's deletion.
fn deleter_is_visible(
    tuple: HeapTupleRef<'_>,
    infomask: u16,
    visibility: &mut Visibility<'_>,
) -> Result<bool, TxnError> {
    // Nobody here locks rows, and multixacts come from row locks.
    if xmax_is_locked_only(infomask) || infomask & HEAP_XMAX_IS_MULTI != 0 {
        return Ok(false);
    }
    let xmax = tuple.xmax();
    if infomask & HEAP_XMAX_COMMITTED != 0 {
        return Ok(!visibility.snapshot().is_in_progress(xmax));
    }
    visibility.xid_visible(xmax, tuple.command_id())
}
