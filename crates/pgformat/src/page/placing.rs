//! Items at given line pointers, and making room: what redo does to a page (`page/bufpage.c`).

use super::{LOWER, PAGE_HEADER_SIZE, PageMut, UPPER};
use crate::align::max_align;
use crate::ids::OffsetNumber;
use crate::line_pointer::{LINE_POINTER_SIZE, LinePointer};
use crate::page::MAX_HEAP_TUPLES_PER_PAGE;

impl PageMut<'_> {
    /// Adds a heap tuple under the line pointer `offset`, which must be unused or the next one; `false`
    /// with nothing changed if it is neither, or there is no room, or the page's header makes no sense
    /// (`PageAddItem` with `PAI_OVERWRITE` and `PAI_IS_HEAP`).
    #[must_use]
    pub fn put_item(&mut self, item: &[u8], offset: OffsetNumber) -> bool {
        let page = self.view();
        let (mut lower, upper) = (usize::from(page.lower()), usize::from(page.upper()));
        if lower < PAGE_HEADER_SIZE || !page.pointers_are_ordered() {
            return false;
        }
        if offset == 0 || offset > MAX_HEAP_TUPLES_PER_PAGE {
            return false;
        }
        match page.line_pointer(offset) {
            Some(LinePointer::UNUSED) => {}
            None if offset == page.line_pointer_count() + 1 => lower += LINE_POINTER_SIZE,
            _ => return false,
        }
        let aligned = max_align(item.len());
        if aligned > upper || lower > upper - aligned {
            return false;
        }
        let start = upper - aligned;
        self.0[start..start + item.len()].copy_from_slice(item);
        self.put_u16(LOWER, lower as u16);
        self.put_u16(UPPER, start as u16);
        self.put_line_pointer(offset, LinePointer::normal(start as u16, item.len() as u16));
        true
    }

    /// Moves the items together, so that all free space is in one piece, cuts off unused line pointers
    /// at the end, and says whether there are others (`PageRepairFragmentation`). `false` with nothing
    /// changed if a line pointer or the header makes no sense.
    #[must_use]
    pub fn repair_fragmentation(&mut self) -> bool {
        let page = self.view();
        let lower = usize::from(page.lower());
        if lower < PAGE_HEADER_SIZE || !page.pointers_are_ordered() {
            return false;
        }
        let special = usize::from(page.special());
        let mut total = 0;
        for (_, pointer) in page.line_pointers() {
            if !pointer.has_storage() {
                continue;
            }
            let start = usize::from(pointer.offset());
            let aligned = max_align(usize::from(pointer.length()));
            if start < usize::from(page.upper()) || start + aligned > special {
                return false;
            }
            total += aligned;
        }
        if total > special - lower {
            return false;
        }
        let before = *self.0;
        let mut upper = special;
        let mut last_used = 0;
        let mut unused = 0;
        for offset in 1..=self.view().line_pointer_count() {
            let Some(pointer) = self.view().line_pointer(offset) else {
                return false;
            };
            if pointer.state() == crate::line_pointer::LinePointerState::Unused {
                self.put_line_pointer(offset, LinePointer::UNUSED);
                unused += 1;
                continue;
            }
            last_used = offset;
            if pointer.has_storage() {
                let length = usize::from(pointer.length());
                let from = usize::from(pointer.offset());
                upper -= max_align(length);
                self.0[upper..upper + length].copy_from_slice(&before[from..from + length]);
                let moved = LinePointer::new(upper as u16, pointer.state(), pointer.length());
                self.put_line_pointer(offset, moved);
            }
        }
        unused -= self.cut_line_pointers(last_used);
        self.put_u16(UPPER, upper as u16);
        self.set_has_free_line_pointers(unused > 0);
        true
    }

    /// Cuts off unused line pointers at the end, the first one excepted, and says whether there are
    /// others (`PageTruncateLinePointerArray`). Nothing moves.
    pub fn truncate_line_pointers(&mut self) {
        let unused =
            |pointer: LinePointer| pointer.state() == crate::line_pointer::LinePointerState::Unused;
        let used = self.view().line_pointers();
        let last_used = used.filter(|(_, pointer)| !unused(*pointer)).last();
        let keep = last_used.map_or(1, |(offset, _)| offset);
        if usize::from(self.view().lower()) > PAGE_HEADER_SIZE {
            self.cut_line_pointers(keep);
        }
        let has_unused = self
            .view()
            .line_pointers()
            .any(|(_, pointer)| unused(pointer));
        self.set_has_free_line_pointers(has_unused);
    }

    /// Leaves `keep` line pointers; how many are gone.
    fn cut_line_pointers(&mut self, keep: OffsetNumber) -> OffsetNumber {
        let count = self.view().line_pointer_count();
        let cut = count.saturating_sub(keep);
        let lower = self.view().lower() - cut * LINE_POINTER_SIZE as u16;
        self.put_u16(LOWER, lower);
        cut
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::BLCKSZ;
    use crate::line_pointer::LinePointer;
    use crate::page::{PageMut, PageRef};

    #[test]
    fn an_item_goes_to_an_unused_line_pointer_or_the_next_one_only() {
        let mut bytes = [0; BLCKSZ];
        let mut page = PageMut::new(&mut bytes);
        assert!(!page.put_item(&[1; 30], 1), "a page without a header");
        page.init(0);
        assert!(!page.put_item(&[1; 30], 2));
        assert!(page.put_item(&[1; 30], 1) && page.put_item(&[2; 30], 2));
        assert!(!page.put_item(&[3; 30], 1));
        assert!(page.set_line_pointer(1, LinePointer::UNUSED));
        assert!(page.put_item(&[3; 30], 1));
        assert!(!page.put_item(&[4; 8192], 3));
        assert_eq!(page.view().item(1), Some(&[3; 30][..]));
        assert_eq!(page.view().item(2), Some(&[2; 30][..]));
        assert_eq!(page.view().line_pointer_count(), 2);
    }

    #[test]
    fn repaired_pages_have_their_items_in_the_order_of_their_line_pointers() {
        let mut bytes = [0; BLCKSZ];
        let mut page = PageMut::new(&mut bytes);
        page.init(0);
        for number in 1..=5_u8 {
            assert!(page.put_item(&[number; 21], number.into()));
        }
        for gone in [1, 3, 5] {
            assert!(page.set_line_pointer(gone, LinePointer::UNUSED));
        }
        // The item that is lowest on the page has the first line pointer now.
        assert!(page.put_item(&[6; 21], 1));
        assert!(page.repair_fragmentation());
        let view = PageRef::new(&bytes);
        assert_eq!(view.line_pointer_count(), 4);
        let places: Vec<u16> = [1, 2, 4]
            .map(|offset| view.line_pointer(offset).unwrap().offset())
            .into();
        assert_eq!(places, [8192 - 24, 8192 - 48, 8192 - 72]);
        assert_eq!(view.upper(), 8192 - 72);
        assert_eq!(view.item(1), Some(&[6; 21][..]));
        assert_eq!(view.item(4), Some(&[4; 21][..]));
        assert_ne!(view.flags() & crate::page::PD_HAS_FREE_LINES, 0);
    }

    #[test]
    fn a_page_with_nothing_left_is_empty_after_repair_and_keeps_one_pointer_after_truncation() {
        for repair in [true, false] {
            let mut bytes = [0; BLCKSZ];
            let mut page = PageMut::new(&mut bytes);
            page.init(0);
            for offset in 1..=3 {
                assert!(page.put_item(&[7; 40], offset));
            }
            for offset in 1..=3 {
                assert!(page.set_line_pointer(offset, LinePointer::UNUSED));
            }
            if repair {
                assert!(page.repair_fragmentation());
                assert_eq!(page.view().line_pointer_count(), 0);
                assert_eq!(page.view().upper(), 8192);
                assert_eq!(page.view().flags() & crate::page::PD_HAS_FREE_LINES, 0);
            } else {
                page.truncate_line_pointers();
                assert_eq!(page.view().line_pointer_count(), 1);
                assert_eq!(page.view().upper(), 8192 - 120);
                assert_ne!(page.view().flags() & crate::page::PD_HAS_FREE_LINES, 0);
            }
        }
    }

    #[test]
    fn a_line_pointer_that_leads_nowhere_is_not_repaired() {
        let mut bytes = [0; BLCKSZ];
        let mut page = PageMut::new(&mut bytes);
        page.init(0);
        assert!(page.put_item(&[7; 40], 1));
        assert!(page.set_line_pointer(1, LinePointer::normal(8190, 40)));
        let before = *page.bytes_mut();
        assert!(!page.repair_fragmentation());
        assert_eq!(*page.bytes_mut(), before);
    }
}
