//! Pages of a table that have room and nobody's tuples under way.

use trunkline_pgformat::{BLCKSZ, BlockNumber};

/// Spare pages of one table that are kept in mind; the room of more is not used.
const SPARE_PAGES_MAX: usize = 4096;

/// Partial pages that are looked at for one that has the room wanted.
const SEARCHED_PAGES_MAX: usize = 16;

/// A page that holds tuples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PartialPage {
    block: BlockNumber,
    /// It has no more room than this; how much it has shows when it is used.
    room_bytes: usize,
}

/// Pages of one table with room.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SparePages {
    partial: Vec<PartialPage>,
    /// Pages that hold nothing, or only tuples that nobody will ever see. Nothing else may lead to
    /// these: there are no indexes.
    empty: Vec<BlockNumber>,
}

impl SparePages {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.empty.is_empty()
    }

    /// Adds those of `other`.
    pub fn append(&mut self, other: SparePages) {
        for page in other.partial {
            self.push_partial_page(page);
        }
        for block in other.empty {
            self.push_empty(block);
        }
    }

    /// Adds a page with tuples and some room, nobody knows how much.
    pub fn push_partial(&mut self, block: BlockNumber) {
        self.push_partial_with_room(block, BLCKSZ);
    }

    /// Adds a page with tuples and no more room than `room_bytes`.
    pub(crate) fn push_partial_with_room(&mut self, block: BlockNumber, room_bytes: usize) {
        self.push_partial_page(PartialPage { block, room_bytes });
    }

    fn push_partial_page(&mut self, page: PartialPage) {
        if self.partial.len() < SPARE_PAGES_MAX {
            self.partial.push(page);
        }
    }

    /// Adds a page that holds nothing that anybody will ever see.
    pub fn push_empty(&mut self, block: BlockNumber) {
        if self.empty.len() < SPARE_PAGES_MAX {
            self.empty.push(block);
        }
    }

    pub(crate) fn pop_partial(&mut self) -> Option<BlockNumber> {
        self.partial.pop().map(|page| page.block)
    }

    /// One of the latest partial pages that may have `room_bytes`.
    pub(crate) fn pop_partial_with_room(&mut self, room_bytes: usize) -> Option<BlockNumber> {
        let searched = self.partial.len().saturating_sub(SEARCHED_PAGES_MAX);
        let found = self.partial[searched..]
            .iter()
            .rposition(|page| page.room_bytes >= room_bytes)?;
        Some(self.partial.remove(searched + found).block)
    }

    pub(crate) fn pop_empty(&mut self) -> Option<BlockNumber> {
        self.empty.pop()
    }

    /// Whether there is a page that may have `room_bytes`.
    pub(crate) fn has_room(&self, room_bytes: usize) -> bool {
        let latest = self.partial.iter().rev().take(SEARCHED_PAGES_MAX);
        !self.empty.is_empty() || latest.into_iter().any(|page| page.room_bytes >= room_bytes)
    }

    /// Takes up to `count` pages out, those with tuples first; only empty ones if `only_empty`.
    pub(crate) fn split_off(&mut self, count: usize, only_empty: bool) -> SparePages {
        let partial = if only_empty {
            Vec::new()
        } else {
            let left = self.partial.len().saturating_sub(count);
            self.partial.split_off(left)
        };
        let left = self.empty.len().saturating_sub(count - partial.len());
        SparePages {
            partial,
            empty: self.empty.split_off(left),
        }
    }

    /// Forgets the pages from `first` on: they are truncated away.
    pub(crate) fn forget_from(&mut self, first: BlockNumber) {
        self.partial.retain(|page| page.block < first);
        self.empty.retain(|block| *block < first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_given_to_who_it_has_room_for() {
        let mut spare = SparePages::default();
        spare.push_partial_with_room(1, 500);
        spare.push_partial_with_room(2, 1000);
        spare.push_partial_with_room(3, 500);
        assert!(spare.has_room(600) && !spare.has_room(1001));
        assert_eq!(spare.pop_partial_with_room(600), Some(2));
        assert_eq!(spare.pop_partial_with_room(600), None);
        assert_eq!(spare.pop_partial_with_room(500), Some(3));
        spare.push_empty(4);
        assert!(spare.has_room(8000));
    }

    #[test]
    fn pages_with_tuples_are_taken_first_and_never_by_who_wants_empty_ones() {
        let mut spare = SparePages::default();
        spare.push_partial(1);
        for block in 2..6 {
            spare.push_empty(block);
        }
        let mut first = spare.split_off(2, false);
        assert_eq!((first.pop_partial(), first.pop_empty()), (Some(1), Some(5)));
        assert!(first.is_empty());
        spare.push_partial(1);
        let frozen = spare.split_off(10, true);
        assert_eq!(frozen.empty, [2, 3, 4]);
        assert!(frozen.partial.is_empty());
    }

    #[test]
    fn they_are_bounded() {
        let mut spare = SparePages::default();
        for block in 0..2 * SPARE_PAGES_MAX as u32 {
            spare.push_empty(block);
        }
        assert_eq!(spare.empty.len(), SPARE_PAGES_MAX);
        spare.forget_from(10);
        assert_eq!(spare.empty.len(), 10);
    }
}
