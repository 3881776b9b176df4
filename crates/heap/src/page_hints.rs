//! What a scan leaves behind on a page for later ones: hint bits in tuple headers
//! (`SetHintBits`), and, once every tuple is visible to everybody, PD_ALL_VISIBLE and the bit in
//! the visibility map.
//!
//! PostgreSQL sets hint bits beside readers. Here they are set under the exclusive content lock,
//! taken only if it is free: a reader never sees a byte change under it, and nobody waits for a
//! hint.

use trunkline_aio::IoContext;
use trunkline_buffer::PinnedBuffer;
use trunkline_pgformat::heap_tuple::{
    HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, HEAP_XMAX_IS_MULTI, HEAP_XMIN_COMMITTED,
    HEAP_XMIN_INVALID, xmax_is_locked_only, xmin_is_frozen,
};
use trunkline_pgformat::{HeapTupleMut, HeapTupleRef, PageMut};
use trunkline_txn::{TxnError, Visibility, XidFate};

use crate::HeapError;
use crate::visibility_map::{PageVisibility, VisibilityMap};

pub(crate) struct PageHints;

/// What can be said about one tuple.
struct TupleHints {
    infomask_bits: u16,
    visible_to_all: bool,
    frozen: bool,
}

impl PageHints {
    /// Sets what can be set, if the page's lock is free.
    pub(crate) fn leave(
        buffer: &PinnedBuffer,
        visibility: &mut Visibility<'_>,
        map: &VisibilityMap,
        io: &mut IoContext,
    ) -> Result<(), HeapError> {
        let Some(mut guard) = buffer.try_exclusive() else {
            return Ok(());
        };
        visibility.advance_horizon();
        let count = guard.page().line_pointer_count();
        let (mut all_visible, mut all_frozen, mut changed) = (true, true, false);
        for offset in 1..=count {
            let pointer = guard.page().line_pointer(offset);
            if !pointer.is_some_and(|pointer| pointer.is_normal()) {
                // A dead pointer's row is gone for everybody; PostgreSQL leaves such pages to VACUUM.
                all_visible &=
                    pointer.is_none_or(|pointer| !pointer.has_storage() && pointer.word() == 0);
                continue;
            }
            let Some(tuple) = guard
                .page()
                .item(offset)
                .and_then(|item| HeapTupleRef::new(item).ok())
            else {
                return Ok(());
            };
            let hints = tuple_hints(tuple, visibility)?;
            all_visible &= hints.visible_to_all;
            all_frozen &= hints.frozen;
            if hints.infomask_bits & !tuple.infomask() != 0 {
                let mut page = PageMut::new(&mut guard);
                if let Some(item) = page.item_mut(offset)
                    && let Ok(mut tuple) = HeapTupleMut::new(item)
                {
                    tuple.set_infomask_bits(hints.infomask_bits, 0);
                    changed = true;
                }
            }
        }
        let mark = all_visible && count > 0 && !guard.page().is_all_visible();
        if mark {
            PageMut::new(&mut guard).set_all_visible(true);
        }
        if changed || mark {
            guard.mark_dirty();
        }
        if mark {
            // The map may be behind the page, never ahead of it.
            map.set(
                buffer.block(),
                PageVisibility {
                    all_visible: true,
                    all_frozen,
                },
                io,
            )?;
        }
        Ok(())
    }
}

fn tuple_hints(
    tuple: HeapTupleRef<'_>,
    visibility: &mut Visibility<'_>,
) -> Result<TupleHints, TxnError> {
    let infomask = tuple.infomask();
    let frozen = xmin_is_frozen(infomask);
    let mut bits = 0;
    let mut visible_to_all = frozen;
    if !frozen && infomask & HEAP_XMIN_INVALID == 0 {
        let xmin = tuple.xmin();
        match visibility.fate(xmin)? {
            XidFate::Committed => {
                bits |= HEAP_XMIN_COMMITTED;
                visible_to_all = visibility.is_visible_to_all(xmin)?;
            }
            XidFate::Aborted => bits |= HEAP_XMIN_INVALID,
            XidFate::Own | XidFate::InProgress => {}
        }
    }
    let mut no_deleter = infomask & HEAP_XMAX_INVALID != 0;
    if !no_deleter && !xmax_is_locked_only(infomask) && infomask & HEAP_XMAX_IS_MULTI == 0 {
        match visibility.fate(tuple.xmax())? {
            XidFate::Committed => bits |= HEAP_XMAX_COMMITTED,
            XidFate::Aborted => {
                bits |= HEAP_XMAX_INVALID;
                no_deleter = true;
            }
            XidFate::Own | XidFate::InProgress => {}
        }
    }
    Ok(TupleHints {
        infomask_bits: bits,
        visible_to_all: visible_to_all && no_deleter,
        frozen,
    })
}
