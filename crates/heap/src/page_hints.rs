//! What a scan leaves behind on a page for later ones: hint bits in tuple headers
//! (`SetHintBits`), and, once every tuple is visible to everybody, PD_ALL_VISIBLE and the bit in
//! the visibility map.
//!
//! PostgreSQL sets hint bits beside readers. Here they are set under the exclusive content lock,
//! taken only if it is free: a reader never sees a byte change under it, and nobody waits for a
//! hint. Nor does a scan fail for want of one: if the map cannot be had, pages are not marked.
//!
//! That a transaction committed is not hinted before its record is durable (`synchronous_commit = off`):
//! the page could be on disk first, and after a crash the hint would be a lie.
//!
//! Marks are logged, and the record takes the page's image along where a torn page could not be read
//! any more. Hint bits alone are not logged, but the first of them after a checkpoint need an image
//! (B11). The scan waits for the log's buffers then, and fails if the log has.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferPool, ExclusiveGuard, PinnedBuffer};
use trunkline_pgformat::heap_tuple::{
    HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, HEAP_XMAX_IS_MULTI, HEAP_XMIN_COMMITTED,
    HEAP_XMIN_INVALID, xmax_is_locked_only, xmin_is_frozen,
};
use trunkline_pgformat::line_pointer::LinePointerState;
use trunkline_pgformat::{BlockNumber, HeapTupleMut, HeapTupleRef, PageMut, Xid};
use trunkline_txn::{TxnError, Visibility, XidFate};

use crate::HeapError;
use crate::relation::HeapRelation;
use crate::visibility_map::{MapPage, PageVisibility, VisibilityMap};

/// Leaves hints on the pages of one scan.
pub(crate) struct PageHints {
    map: VisibilityMap,
    logged: bool,
    /// The map's page that was used last.
    map_page: Option<MapPage>,
    /// The map could not be read or made longer: it is left alone.
    is_map_unusable: bool,
}

/// What can be said about one tuple.
struct TupleHints {
    infomask_bits: u16,
    visible_to_all: bool,
    frozen: bool,
}

impl PageHints {
    pub(crate) fn new(pool: &Arc<BufferPool>, relation: HeapRelation) -> PageHints {
        PageHints {
            map: VisibilityMap::new(pool, relation),
            logged: relation.logged,
            map_page: None,
            is_map_unusable: false,
        }
    }

    /// Sets what can be set, if the page's lock is free.
    pub(crate) fn leave(
        &mut self,
        buffer: &PinnedBuffer,
        visibility: &mut Visibility<'_>,
        io: &mut IoContext,
    ) -> Result<(), HeapError> {
        let block = buffer.block();
        let Some(mut guard) = buffer.try_exclusive() else {
            return Ok(());
        };
        visibility.advance_horizon();
        let mut found = hint_tuples(&mut guard, visibility)?;
        if found.visibility.all_visible && !self.has_map_page(block) {
            // No I/O under the lock. What may have changed on the page meanwhile is looked at anew.
            self.keep_hints(&mut guard, &found, io);
            drop(guard);
            self.pin_map_page(block, io);
            guard = match buffer.try_exclusive() {
                Some(guard) => guard,
                None => return Ok(()),
            };
            found = hint_tuples(&mut guard, visibility)?;
        }
        let map_page = self.map_page.as_ref().filter(|page| page.covers(block));
        match map_page {
            Some(map_page) if found.visibility.all_visible && !guard.page().is_all_visible() => {
                let PageHintsFound {
                    visibility,
                    conflict_horizon,
                    ..
                } = found;
                self.map.set(
                    &mut guard,
                    map_page,
                    visibility,
                    conflict_horizon,
                    Xid::INVALID,
                    io,
                )
            }
            _ => {
                self.keep_hints(&mut guard, &found, io);
                Ok(())
            }
        }
    }

    fn keep_hints(
        &self,
        guard: &mut ExclusiveGuard<'_>,
        found: &PageHintsFound,
        io: &mut IoContext,
    ) {
        if found.changed {
            guard.mark_dirty_hint(io, self.logged);
        }
    }

    fn has_map_page(&self, block: BlockNumber) -> bool {
        self.is_map_unusable
            || self
                .map_page
                .as_ref()
                .is_some_and(|page| page.covers(block))
    }

    fn pin_map_page(&mut self, block: BlockNumber, io: &mut IoContext) {
        self.map_page = match self.map.pin(block, io) {
            Ok(page) => Some(page),
            Err(error) => {
                tracing::warn!("pages are not marked all-visible: {error}");
                self.is_map_unusable = true;
                None
            }
        };
    }
}

/// What setting hint bits found out about a page.
#[derive(Default)]
struct PageHintsFound {
    /// What all tuples have in common. A page without tuples is not all-visible: nothing is gained by
    /// marking it.
    visibility: PageVisibility,
    /// The newest transaction that inserted one of them and may matter to a snapshot; invalid if all
    /// are frozen.
    conflict_horizon: Xid,
    /// Bits were set.
    changed: bool,
}

/// Sets the hint bits of the page's tuples. The page is not marked dirty.
fn hint_tuples(
    guard: &mut ExclusiveGuard<'_>,
    visibility: &mut Visibility<'_>,
) -> Result<PageHintsFound, HeapError> {
    let count = guard.page().line_pointer_count();
    let (mut all_visible, mut all_frozen, mut has_tuples) = (true, true, false);
    let mut found = PageHintsFound::default();
    for offset in 1..=count {
        let Some(pointer) = guard.page().line_pointer(offset) else {
            continue;
        };
        match pointer.state() {
            LinePointerState::Normal => {}
            // Neither has a row; what a redirection leads to is a line pointer of its own.
            LinePointerState::Unused | LinePointerState::Redirect => continue,
            // An index may still lead here: for VACUUM to clear first.
            LinePointerState::Dead => {
                all_visible = false;
                continue;
            }
        }
        let Some(tuple) = guard
            .page()
            .item_at(pointer)
            .and_then(|item| HeapTupleRef::new(item).ok())
        else {
            // Damaged: the scan has told, or will.
            return Ok(PageHintsFound {
                changed: found.changed,
                ..PageHintsFound::default()
            });
        };
        let infomask = tuple.infomask();
        let hints = tuple_hints(tuple, visibility)?;
        has_tuples = true;
        all_visible &= hints.visible_to_all;
        all_frozen &= hints.frozen;
        let xmin = tuple.xmin();
        let horizon = found.conflict_horizon;
        if !hints.frozen && xmin.is_normal() && !(horizon.is_valid() && xmin.precedes(horizon)) {
            found.conflict_horizon = xmin;
        }
        if hints.infomask_bits & !infomask != 0
            && let Some(item) = PageMut::new(guard).item_mut(offset)
            && let Ok(mut tuple) = HeapTupleMut::new(item)
        {
            tuple.set_infomask_bits(hints.infomask_bits, 0);
            found.changed = true;
        }
    }
    let all_visible = all_visible && has_tuples;
    found.visibility = PageVisibility {
        all_visible,
        all_frozen: all_visible && all_frozen,
    };
    Ok(found)
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
                if visibility.is_commit_durable(xmin) {
                    bits |= HEAP_XMIN_COMMITTED;
                }
                visible_to_all = visibility.is_visible_to_all(xmin)?;
            }
            XidFate::Aborted => bits |= HEAP_XMIN_INVALID,
            XidFate::Own | XidFate::InProgress => {}
        }
    }
    let mut no_deleter = infomask & HEAP_XMAX_INVALID != 0;
    if !no_deleter && !xmax_is_locked_only(infomask) && infomask & HEAP_XMAX_IS_MULTI == 0 {
        match visibility.fate(tuple.xmax())? {
            XidFate::Committed if visibility.is_commit_durable(tuple.xmax()) => {
                bits |= HEAP_XMAX_COMMITTED;
            }
            XidFate::Aborted => {
                bits |= HEAP_XMAX_INVALID;
                no_deleter = true;
            }
            XidFate::Committed | XidFate::Own | XidFate::InProgress => {}
        }
    }
    Ok(TupleHints {
        infomask_bits: bits,
        visible_to_all: visible_to_all && no_deleter,
        frozen,
    })
}
