//! What may differ between two states of a heap page that are the same for recovery: hints, and what
//! redo does not restore (`heap_mask` in PostgreSQL's `heapam_xlog.c`, `access/common/bufmask.c`).

use trunkline_pgformat::heap_tuple::{
    HEAP_XACT_MASK, HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, xmin_is_frozen,
};
use trunkline_pgformat::{
    BlockNumber, HeapTupleMut, ItemPointer, Lsn, PageBytes, PageMut, PageRef, Xid, max_align,
};

/// `t_ctid`'s offset number in a speculative insertion (`SpecTokenOffsetNumber`).
const SPECULATIVE_OFFSET: u16 = 0xfffe;

/// Makes the same, in `page`, what may differ: LSN, checksum, hints, command ids, unused bytes.
pub fn mask_page(page: &mut PageBytes, block: BlockNumber) {
    let mut masked = PageMut::new(page);
    masked.set_lsn(Lsn::INVALID);
    masked.set_checksum(0);
    masked.set_prune_xid(Xid::INVALID);
    masked.set_full(false);
    masked.set_has_free_line_pointers(false);
    masked.set_all_visible(false);
    if masked.view().check_header().is_err() || masked.view().is_new() {
        return;
    }
    let free = usize::from(masked.view().lower())..usize::from(masked.view().upper());
    masked.bytes_mut()[free].fill(0);
    for offset in 1..=masked.view().line_pointer_count() {
        mask_item(page, block, offset);
    }
}

fn mask_item(page: &mut PageBytes, block: BlockNumber, offset: u16) {
    let Some(pointer) = PageRef::new(page).line_pointer(offset) else {
        return;
    };
    if let Some(item) = PageMut::new(page).item_mut(offset)
        && let Ok(mut tuple) = HeapTupleMut::new(item)
    {
        let hints = if xmin_is_frozen(tuple.view().infomask()) {
            HEAP_XMAX_INVALID | HEAP_XMAX_COMMITTED
        } else {
            HEAP_XACT_MASK
        };
        tuple.set_infomask_bits(0, hints);
        tuple.set_field3(0);
        if tuple.view().ctid().offset == SPECULATIVE_OFFSET {
            tuple.set_ctid(ItemPointer::new(block, offset));
        }
    }
    if pointer.has_storage() {
        let start = usize::from(pointer.offset()) + usize::from(pointer.length());
        let end = max_align(start);
        if let Some(padding) = page.get_mut(start..end) {
            padding.fill(0);
        }
    }
}
