//! The page: header, line pointers and items (`storage/bufpage.h`, `page/bufpage.c`).
//!
//! ```text
//!  0        8     10    12     14     16       18               20         24
//! | pd_lsn | sum | flags | lower | upper | special | size+version | prune_xid | line pointers ▸
//! ...       free space between lower and upper        ◂ items, MAXALIGNed | special space |
//! ```
//!
//! `pd_lsn` is two 32-bit halves, the high one first; every number is little-endian.
//!
//! [`PageRef`] reads and [`PageMut`] changes a page that somebody else owns. Reading accepts any
//! bytes; what lies outside the page is absent. Whoever takes a page from disk calls
//! [`crate::checksum::verify_page`] once before trusting it.

mod placing;

use crate::align::max_align;
use crate::ids::{BLCKSZ, Lsn, OffsetNumber, Xid};
use crate::line_pointer::{LINE_POINTER_SIZE, LinePointer, array_bytes};
use thiserror::Error;

/// The bytes of a page.
pub type PageBytes = [u8; BLCKSZ];

/// Bytes before the line pointers (`SizeOfPageHeaderData`).
pub const PAGE_HEADER_SIZE: usize = 24;

/// Version of the page layout (`PG_PAGE_LAYOUT_VERSION`).
pub const PAGE_LAYOUT_VERSION: u16 = 4;

/// There may be unused line pointers (a hint).
pub const PD_HAS_FREE_LINES: u16 = 0x0001;
/// An update found no room for its new version here (a hint).
pub const PD_PAGE_FULL: u16 = 0x0002;
/// Every tuple on the page is visible to everybody.
pub const PD_ALL_VISIBLE: u16 = 0x0004;
/// All flags that may be set.
pub const PD_VALID_FLAG_BITS: u16 = 0x0007;

/// The most tuples that fit a heap page, hence the most line pointers that one has
/// (`MaxHeapTuplesPerPage`).
pub const MAX_HEAP_TUPLES_PER_PAGE: u16 =
    ((BLCKSZ - PAGE_HEADER_SIZE) / (max_align(23) + LINE_POINTER_SIZE)) as u16;

const LSN: usize = 0;
const CHECKSUM: usize = 8;
const FLAGS: usize = 10;
const LOWER: usize = 12;
const UPPER: usize = 14;
const SPECIAL: usize = 16;
const SIZE_AND_VERSION: usize = 18;
const PRUNE_XID: usize = 20;

/// What is wrong with a page's header (the checks of `PageIsVerified`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PageHeaderError {
    /// `pd_upper` is zero, so the page is new, but it holds something.
    #[error("page has no header but is not all zeros")]
    NewButNotZero,
    /// Flags that no page has.
    #[error("invalid page flags {flags:#06x}")]
    Flags {
        /// `pd_flags` as found.
        flags: u16,
    },
    /// The pointers are out of order or beyond the page.
    #[error("corrupted page pointers: lower = {lower}, upper = {upper}, special = {special}")]
    Pointers {
        /// `pd_lower` as found.
        lower: u16,
        /// `pd_upper` as found.
        upper: u16,
        /// `pd_special` as found.
        special: u16,
    },
}

#[inline]
fn u16_at(page: &PageBytes, at: usize) -> u16 {
    u16::from_le_bytes([page[at], page[at + 1]])
}

#[inline]
fn u32_at(page: &PageBytes, at: usize) -> u32 {
    u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
}

/// Where line pointer `offset` lies, which is within the page.
#[inline]
fn line_pointer_at(offset: OffsetNumber) -> usize {
    PAGE_HEADER_SIZE + (usize::from(offset) - 1) * LINE_POINTER_SIZE
}

/// A page to read.
#[derive(Clone, Copy)]
pub struct PageRef<'a>(&'a PageBytes);

impl<'a> PageRef<'a> {
    /// A view of `page`, which may hold anything.
    #[inline]
    pub const fn new(page: &'a PageBytes) -> PageRef<'a> {
        PageRef(page)
    }

    /// The page's bytes.
    #[inline]
    pub const fn bytes(self) -> &'a PageBytes {
        self.0
    }

    /// End of the WAL record of the last change.
    #[inline]
    pub fn lsn(self) -> Lsn {
        Lsn(u64::from(u32_at(self.0, LSN)) << 32 | u64::from(u32_at(self.0, LSN + 4)))
    }

    /// The stored checksum; meaningful only in a page that was just read.
    #[inline]
    pub fn checksum(self) -> u16 {
        u16_at(self.0, CHECKSUM)
    }

    /// The `PD_*` bits.
    #[inline]
    pub fn flags(self) -> u16 {
        u16_at(self.0, FLAGS)
    }

    /// Byte offset of the end of the line pointers.
    #[inline]
    pub fn lower(self) -> u16 {
        u16_at(self.0, LOWER)
    }

    /// Byte offset of the lowest item.
    #[inline]
    pub fn upper(self) -> u16 {
        u16_at(self.0, UPPER)
    }

    /// Byte offset of the special space; the page's size if there is none.
    #[inline]
    pub fn special(self) -> u16 {
        u16_at(self.0, SPECIAL)
    }

    /// Page size and layout version in one word, `0x2004` in every page of ours.
    #[inline]
    pub fn page_size_version(self) -> u16 {
        u16_at(self.0, SIZE_AND_VERSION)
    }

    /// Oldest xid whose deletion or update may allow pruning; invalid if none.
    #[inline]
    pub fn prune_xid(self) -> Xid {
        Xid(u32_at(self.0, PRUNE_XID))
    }

    /// Whether every tuple is visible to everybody.
    #[inline]
    pub fn is_all_visible(self) -> bool {
        self.flags() & PD_ALL_VISIBLE != 0
    }

    /// Whether the page has no header yet (`PageIsNew`).
    #[inline]
    pub fn is_new(self) -> bool {
        self.upper() == 0
    }

    /// Whether there are no line pointers (`PageIsEmpty`).
    #[inline]
    pub fn is_empty(self) -> bool {
        usize::from(self.lower()) <= PAGE_HEADER_SIZE
    }

    /// Whether every byte is zero: a page that was allocated and never written.
    pub fn is_all_zeros(self) -> bool {
        let (words, _) = self.0.as_chunks::<8>();
        words
            .iter()
            .fold(0, |all, word| all | u64::from_ne_bytes(*word))
            == 0
    }

    /// The header checks that `PageIsVerified` makes of a page that was read. A page of zeros
    /// passes.
    pub fn check_header(self) -> Result<(), PageHeaderError> {
        if self.is_new() {
            return if self.is_all_zeros() {
                Ok(())
            } else {
                Err(PageHeaderError::NewButNotZero)
            };
        }
        let flags = self.flags();
        if flags & !PD_VALID_FLAG_BITS != 0 {
            return Err(PageHeaderError::Flags { flags });
        }
        if !self.pointers_are_ordered() {
            return Err(PageHeaderError::Pointers {
                lower: self.lower(),
                upper: self.upper(),
                special: self.special(),
            });
        }
        Ok(())
    }

    #[inline]
    fn pointers_are_ordered(self) -> bool {
        let special = usize::from(self.special());
        self.lower() <= self.upper()
            && usize::from(self.upper()) <= special
            && special <= BLCKSZ
            && special == max_align(special)
    }

    /// How many line pointers there are, unused ones included: the largest valid offset number
    /// (`PageGetMaxOffsetNumber`).
    #[inline]
    pub fn line_pointer_count(self) -> OffsetNumber {
        (array_bytes(self.0).len() / LINE_POINTER_SIZE) as OffsetNumber
    }

    /// The line pointer `offset`, from one, if the page has it.
    #[inline]
    pub fn line_pointer(self, offset: OffsetNumber) -> Option<LinePointer> {
        if offset == 0 || offset > self.line_pointer_count() {
            return None;
        }
        Some(LinePointer::from_word(u32_at(
            self.0,
            line_pointer_at(offset),
        )))
    }

    /// All line pointers with their offset numbers, in order.
    #[inline]
    pub fn line_pointers(
        self,
    ) -> impl ExactSizeIterator<Item = (OffsetNumber, LinePointer)> + use<'a> {
        let (words, _) = array_bytes(self.0).as_chunks::<LINE_POINTER_SIZE>();
        words.iter().enumerate().map(|(index, word)| {
            (
                index as OffsetNumber + 1,
                LinePointer::from_word(u32::from_le_bytes(*word)),
            )
        })
    }

    /// The bytes that `pointer` leads to, if it is a normal one and they lie between the header
    /// and the special space.
    #[inline]
    pub fn item_at(self, pointer: LinePointer) -> Option<&'a [u8]> {
        let start = usize::from(pointer.offset());
        let end = start + usize::from(pointer.length());
        if !pointer.is_normal() || start < PAGE_HEADER_SIZE || end > usize::from(self.special()) {
            return None;
        }
        self.0.get(start..end)
    }

    /// The item of the line pointer `offset`; `None` if it has none or it lies outside the page.
    #[inline]
    pub fn item(self, offset: OffsetNumber) -> Option<&'a [u8]> {
        self.item_at(self.line_pointer(offset)?)
    }

    /// The special space; empty in a heap page and in a page whose header makes no sense.
    pub fn special_space(self) -> &'a [u8] {
        self.0.get(usize::from(self.special())..).unwrap_or(&[])
    }

    /// Bytes between the line pointers and the items, zero if the header makes no sense
    /// (`PageGetExactFreeSpace`).
    #[inline]
    pub fn exact_free_space(self) -> usize {
        if usize::from(self.lower()) < PAGE_HEADER_SIZE || !self.pointers_are_ordered() {
            return 0;
        }
        usize::from(self.upper() - self.lower())
    }

    /// Bytes free for one item and its line pointer, the line pointer subtracted
    /// (`PageGetFreeSpace`).
    #[inline]
    pub fn free_space(self) -> usize {
        self.exact_free_space().saturating_sub(LINE_POINTER_SIZE)
    }

    /// Bytes free for a heap tuple: like [`PageRef::free_space`], but zero if the page has all the
    /// line pointers that a heap page may have and none is unused (`PageGetHeapFreeSpace`).
    pub fn heap_free_space(self) -> usize {
        let space = self.free_space();
        if space > 0
            && self.line_pointer_count() >= MAX_HEAP_TUPLES_PER_PAGE
            && self.unused_line_pointer().is_none()
        {
            return 0;
        }
        space
    }

    /// The first reusable line pointer, if the page's hint says that there may be one.
    fn unused_line_pointer(self) -> Option<OffsetNumber> {
        if self.flags() & PD_HAS_FREE_LINES == 0 {
            return None;
        }
        self.line_pointers()
            .find(|(_, pointer)| *pointer == LinePointer::UNUSED)
            .map(|(offset, _)| offset)
    }
}

/// A page to change.
pub struct PageMut<'a>(&'a mut PageBytes);

impl<'a> PageMut<'a> {
    /// A view of `page`, which may hold anything.
    #[inline]
    pub const fn new(page: &'a mut PageBytes) -> PageMut<'a> {
        PageMut(page)
    }

    /// The page to read.
    #[inline]
    pub const fn view(&self) -> PageRef<'_> {
        PageRef(self.0)
    }

    /// The page's bytes.
    #[inline]
    pub const fn bytes_mut(&mut self) -> &mut PageBytes {
        self.0
    }

    /// Makes this an empty page with `special_size` bytes, rounded up, of special space
    /// (`PageInit`). Everything else becomes zero.
    ///
    /// # Panics
    /// If the header and the special space do not fit a page: a mistake of the caller.
    pub fn init(&mut self, special_size: usize) {
        self.0.fill(0);
        self.init_zeros(special_size);
    }

    /// As [`init`](Self::init), of a page that is all zeros, as one that [`is_new`](PageRef::is_new) is
    /// where pages have been verified: only the header is written.
    ///
    /// # Panics
    /// As [`init`](Self::init).
    pub fn init_zeros(&mut self, special_size: usize) {
        debug_assert!(self.0.iter().all(|byte| *byte == 0), "not a page of zeros");
        let special_size = max_align(special_size);
        assert!(special_size <= BLCKSZ - PAGE_HEADER_SIZE);
        let special = (BLCKSZ - special_size) as u16;
        self.put_u16(LOWER, PAGE_HEADER_SIZE as u16);
        self.put_u16(UPPER, special);
        self.put_u16(SPECIAL, special);
        self.put_u16(SIZE_AND_VERSION, BLCKSZ as u16 | PAGE_LAYOUT_VERSION);
    }

    /// Sets the LSN of the last change.
    #[inline]
    pub fn set_lsn(&mut self, lsn: Lsn) {
        self.0[LSN..LSN + 4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        self.0[LSN + 4..LSN + 8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
    }

    /// Stores `checksum`, computed by [`crate::checksum::page_checksum`] after the last change.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.put_u16(CHECKSUM, checksum);
    }

    /// Says whether every tuple is visible to everybody.
    #[inline]
    pub fn set_all_visible(&mut self, on: bool) {
        self.set_flag(PD_ALL_VISIBLE, on);
    }

    /// Hints that an update found no room here.
    #[inline]
    pub fn set_full(&mut self, on: bool) {
        self.set_flag(PD_PAGE_FULL, on);
    }

    /// Hints that there are unused line pointers; without the hint none is reused.
    #[inline]
    pub fn set_has_free_line_pointers(&mut self, on: bool) {
        self.set_flag(PD_HAS_FREE_LINES, on);
    }

    /// Sets the xid of the oldest prunable change.
    #[inline]
    pub fn set_prune_xid(&mut self, xid: Xid) {
        self.0[PRUNE_XID..PRUNE_XID + 4].copy_from_slice(&xid.0.to_le_bytes());
    }

    /// Changes the line pointer `offset`; `false` if the page has no such.
    #[inline]
    #[must_use]
    pub fn set_line_pointer(&mut self, offset: OffsetNumber, pointer: LinePointer) -> bool {
        if self.view().line_pointer(offset).is_none() {
            return false;
        }
        self.put_line_pointer(offset, pointer);
        true
    }

    /// The item of the line pointer `offset`, to change in place.
    #[inline]
    pub fn item_mut(&mut self, offset: OffsetNumber) -> Option<&mut [u8]> {
        let pointer = self.view().line_pointer(offset)?;
        let length = self.view().item_at(pointer)?.len();
        let start = usize::from(pointer.offset());
        self.0.get_mut(start..start + length)
    }

    /// Adds a heap tuple, reusing an unused line pointer if the page's hint says that there may
    /// be one, and gives its offset number (`PageAddItem` with `PAI_IS_HEAP`).
    ///
    /// `None`, with nothing changed but perhaps the hint, if there is no room, if the page has as
    /// many line pointers as a heap page may have, or if its header makes no sense.
    #[inline]
    pub fn add_item(&mut self, item: &[u8]) -> Option<OffsetNumber> {
        let page = self.view();
        let count = page.line_pointer_count();
        let (mut lower, upper) = (usize::from(page.lower()), usize::from(page.upper()));
        if lower < PAGE_HEADER_SIZE || !page.pointers_are_ordered() {
            return None;
        }
        let reused = if page.flags() & PD_HAS_FREE_LINES == 0 {
            None
        } else {
            let found = page.unused_line_pointer();
            if found.is_none() {
                self.set_has_free_line_pointers(false);
            }
            found
        };
        let offset = match reused {
            Some(offset) => offset,
            None if count >= MAX_HEAP_TUPLES_PER_PAGE => return None,
            None => {
                lower += LINE_POINTER_SIZE;
                count + 1
            }
        };
        let aligned = max_align(item.len());
        if aligned > upper || lower > upper - aligned {
            return None;
        }
        let start = upper - aligned;
        self.0[start..start + item.len()].copy_from_slice(item);
        self.put_u16(LOWER, lower as u16);
        self.put_u16(UPPER, start as u16);
        self.put_line_pointer(offset, LinePointer::normal(start as u16, item.len() as u16));
        Some(offset)
    }

    #[inline]
    fn put_line_pointer(&mut self, offset: OffsetNumber, pointer: LinePointer) {
        let at = line_pointer_at(offset);
        self.0[at..at + LINE_POINTER_SIZE].copy_from_slice(&pointer.word().to_le_bytes());
    }

    #[inline]
    fn put_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn set_flag(&mut self, flag: u16, on: bool) {
        let flags = self.view().flags();
        self.put_u16(FLAGS, if on { flags | flag } else { flags & !flag });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn empty_page(special_size: usize) -> Box<PageBytes> {
        let mut page = Box::new([0; BLCKSZ]);
        PageMut::new(&mut page).init(special_size);
        page
    }

    #[test]
    fn limits_are_those_of_8_kib_pages() {
        assert_eq!(MAX_HEAP_TUPLES_PER_PAGE, 291);
    }

    #[test]
    fn an_initialised_page_is_empty_and_sound() {
        let page = empty_page(10);
        let view = PageRef::new(&page);
        assert!(view.is_empty() && !view.is_new());
        assert_eq!(view.page_size_version(), 0x2004);
        assert_eq!((view.lower(), view.upper()), (24, 8176));
        assert_eq!(view.special_space().len(), 16);
        assert_eq!(view.check_header(), Ok(()));
        assert_eq!(view.free_space(), 8176 - 24 - 4);
    }

    #[test]
    fn zeros_are_a_new_page_and_anything_else_without_upper_is_not() {
        let mut page = [0; BLCKSZ];
        assert!(PageRef::new(&page).is_new());
        assert_eq!(PageRef::new(&page).check_header(), Ok(()));
        page[8000] = 1;
        assert_eq!(
            PageRef::new(&page).check_header(),
            Err(PageHeaderError::NewButNotZero)
        );
    }

    #[test]
    fn each_header_check_finds_its_fault() {
        let mut page = empty_page(0);
        PageMut::new(&mut page).put_u16(FLAGS, 0x0008);
        assert_eq!(
            PageRef::new(&page).check_header(),
            Err(PageHeaderError::Flags { flags: 8 })
        );
        for (lower, upper, special) in [
            (100, 99, 8192),
            (24, 8192, 8184),
            (24, 8190, 8190),
            (24, 100, 8200),
        ] {
            let mut page = empty_page(0);
            let mut view = PageMut::new(&mut page);
            view.put_u16(LOWER, lower);
            view.put_u16(UPPER, upper);
            view.put_u16(SPECIAL, special);
            assert_eq!(
                view.view().check_header(),
                Err(PageHeaderError::Pointers {
                    lower,
                    upper,
                    special
                })
            );
            assert_eq!(view.view().free_space(), 0);
            assert_eq!(view.add_item(b"x"), None);
        }
    }

    #[test]
    fn items_come_back_as_they_were_added() {
        let mut page = empty_page(0);
        let mut view = PageMut::new(&mut page);
        assert_eq!(view.add_item(b"first"), Some(1));
        assert_eq!(view.add_item(b"the second"), Some(2));
        let view = PageRef::new(&page);
        assert_eq!(view.item(1), Some(&b"first"[..]));
        assert_eq!(view.item(2), Some(&b"the second"[..]));
        assert_eq!((view.item(0), view.item(3)), (None, None));
        assert_eq!(view.line_pointer(1), Some(LinePointer::normal(8184, 5)));
        assert_eq!(view.line_pointer(2), Some(LinePointer::normal(8168, 10)));
        assert_eq!(view.upper(), 8168);
    }

    #[test]
    fn a_page_takes_the_largest_tuple_and_no_larger_one() {
        let mut page = empty_page(0);
        let mut view = PageMut::new(&mut page);
        assert_eq!(view.add_item(&[7; 8161]), None);
        assert_eq!(view.view().free_space(), 8164);
        assert_eq!(view.add_item(&[7; 8160]), Some(1));
        assert_eq!(view.add_item(b""), Some(2));
        assert_eq!(view.add_item(b""), None);
    }

    #[test]
    fn a_heap_page_has_at_most_291_line_pointers() {
        let mut page = empty_page(0);
        let mut view = PageMut::new(&mut page);
        for offset in 1..=291 {
            assert_eq!(view.add_item(&[]), Some(offset));
        }
        assert_eq!(view.add_item(&[]), None);
        assert_eq!(view.view().heap_free_space(), 0);
        assert!(view.view().free_space() > 0);
        assert!(view.set_line_pointer(17, LinePointer::UNUSED));
        assert_eq!(view.add_item(&[]), None, "not without the hint");
        view.set_has_free_line_pointers(true);
        assert!(view.view().heap_free_space() > 0);
        assert_eq!(view.add_item(b"again"), Some(17));
        assert_eq!(view.add_item(&[]), None);
        assert_eq!(view.view().flags() & PD_HAS_FREE_LINES, 0);
    }

    #[test]
    fn header_fields_are_set_apart_from_each_other() {
        let mut page = empty_page(0);
        let mut view = PageMut::new(&mut page);
        view.set_lsn(Lsn(0x0102_0304_0506_0708));
        view.set_checksum(0xabcd);
        view.set_all_visible(true);
        view.set_full(true);
        view.set_prune_xid(Xid(731));
        assert_eq!(view.view().lsn(), Lsn(0x0102_0304_0506_0708));
        assert_eq!(page[..10], [4, 3, 2, 1, 8, 7, 6, 5, 0xcd, 0xab]);
        let mut view = PageMut::new(&mut page);
        assert_eq!(view.view().flags(), PD_ALL_VISIBLE | PD_PAGE_FULL);
        view.set_all_visible(false);
        assert!(!view.view().is_all_visible());
        assert_eq!(view.view().prune_xid(), Xid(731));
        assert_eq!(view.view().check_header(), Ok(()));
    }

    #[test]
    fn an_item_is_changed_in_place() {
        let mut page = empty_page(0);
        let mut view = PageMut::new(&mut page);
        view.add_item(b"abc").unwrap();
        view.item_mut(1).unwrap()[1] = b'X';
        assert!(view.item_mut(2).is_none());
        assert_eq!(view.view().item(1), Some(&b"aXc"[..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// A random header over random bytes: every reader answers, no writer leaves the page.
        #[test]
        fn any_bytes_are_read_and_written_without_panic(
            header in any::<[u8; 24]>(),
            fill in any::<u8>(),
            lower in prop_oneof![0_u16..64, 8100_u16..8300, any::<u16>()],
            item in proptest::collection::vec(any::<u8>(), 0..64),
            offset in any::<u16>(),
        ) {
            let mut page = [fill; BLCKSZ];
            page[..24].copy_from_slice(&header);
            page[LOWER..LOWER + 2].copy_from_slice(&lower.to_le_bytes());
            let view = PageRef::new(&page);
            let _ = (view.check_header(), view.free_space(), view.heap_free_space());
            let _ = (view.lsn(), view.special_space(), view.is_all_zeros(), view.item(offset));
            for (offset, pointer) in view.line_pointers() {
                prop_assert_eq!(view.line_pointer(offset), Some(pointer));
                prop_assert_eq!(view.item(offset), view.item_at(pointer));
            }
            let sound = view.check_header().is_ok() && !view.is_new();
            let mut view = PageMut::new(&mut page);
            let _ = view.set_line_pointer(offset, LinePointer::DEAD);
            let _ = view.item_mut(offset);
            if let Some(offset) = view.add_item(&item) {
                prop_assert_eq!(view.view().item(offset), Some(&item[..]));
                if sound {
                    prop_assert_eq!(view.view().check_header(), Ok(()));
                }
            }
        }

        #[test]
        fn items_of_any_size_fill_a_page_and_come_back(
            sizes in proptest::collection::vec(0_usize..400, 1..400),
        ) {
            let mut page = empty_page(0);
            let mut view = PageMut::new(&mut page);
            let mut added = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let item = vec![index as u8; *size];
                let room = view.view().heap_free_space() >= max_align(*size)
                    && view.view().exact_free_space() >= max_align(*size) + LINE_POINTER_SIZE;
                prop_assert_eq!(view.add_item(&item).is_some(), room);
                if room {
                    added.push(item);
                }
            }
            prop_assert_eq!(usize::from(view.view().line_pointer_count()), added.len());
            for (index, item) in added.iter().enumerate() {
                prop_assert_eq!(view.view().item(index as u16 + 1), Some(&item[..]));
            }
            prop_assert_eq!(view.view().check_header(), Ok(()));
        }
    }
}
