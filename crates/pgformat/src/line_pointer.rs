//! Line pointers: the array of items behind a page's header (`storage/itemid.h`).
//!
//! One is 32 bits: offset (15), state (2), length (15), from the least significant bit.

use crate::ids::{BLCKSZ, OffsetNumber};
use crate::page::{PAGE_HEADER_SIZE, PageBytes, PageRef};

/// Bytes of a line pointer.
pub const LINE_POINTER_SIZE: usize = 4;

const STATE_SHIFT: u32 = 15;
const LENGTH_SHIFT: u32 = 17;
const FIFTEEN_BITS: u32 = 0x7fff;

/// What a line pointer says of its item.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum LinePointerState {
    /// Free for reuse; no storage (`LP_UNUSED`).
    Unused = 0,
    /// Has an item (`LP_NORMAL`).
    Normal = 1,
    /// Leads to another line pointer of the page, named by the offset (`LP_REDIRECT`).
    Redirect = 2,
    /// Dead; may or may not have storage (`LP_DEAD`).
    Dead = 3,
}

/// One line pointer (PostgreSQL's `ItemIdData`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LinePointer(u32);

impl LinePointer {
    /// Free for reuse.
    pub const UNUSED: LinePointer = LinePointer(0);

    /// Dead, without storage.
    pub const DEAD: LinePointer = LinePointer((LinePointerState::Dead as u32) << STATE_SHIFT);

    /// An item of `length_bytes` at byte `offset_bytes` of the page; both are below 2^15.
    #[inline]
    pub const fn normal(offset_bytes: u16, length_bytes: u16) -> LinePointer {
        LinePointer::new(offset_bytes, LinePointerState::Normal, length_bytes)
    }

    /// A redirection to the line pointer `target` of the same page.
    pub const fn redirect(target: OffsetNumber) -> LinePointer {
        LinePointer::new(target, LinePointerState::Redirect, 0)
    }

    /// A line pointer of any state. Bits of `offset` and `length` above the fifteenth are lost.
    #[inline]
    pub const fn new(offset: u16, state: LinePointerState, length: u16) -> LinePointer {
        LinePointer(
            offset as u32 & FIFTEEN_BITS
                | (state as u32) << STATE_SHIFT
                | (length as u32 & FIFTEEN_BITS) << LENGTH_SHIFT,
        )
    }

    /// From the word on disk.
    #[inline]
    pub const fn from_word(word: u32) -> LinePointer {
        LinePointer(word)
    }

    /// The word on disk.
    #[inline]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Byte offset of the item in the page; of a redirection, the target's offset number.
    #[inline]
    pub const fn offset(self) -> u16 {
        (self.0 & FIFTEEN_BITS) as u16
    }

    /// Bytes of the item, without padding.
    #[inline]
    pub const fn length(self) -> u16 {
        (self.0 >> LENGTH_SHIFT) as u16
    }

    /// The state.
    #[inline]
    pub const fn state(self) -> LinePointerState {
        match self.0 >> STATE_SHIFT & 3 {
            0 => LinePointerState::Unused,
            1 => LinePointerState::Normal,
            2 => LinePointerState::Redirect,
            _ => LinePointerState::Dead,
        }
    }

    /// Whether there is an item (`ItemIdIsNormal`).
    #[inline]
    pub const fn is_normal(self) -> bool {
        self.0 >> STATE_SHIFT & 3 == LinePointerState::Normal as u32
    }

    /// Whether bytes of the page belong to it (`ItemIdHasStorage`).
    #[inline]
    pub const fn has_storage(self) -> bool {
        self.length() != 0
    }
}

/// The bytes of a page's line pointer array; what `pd_lower` says beyond the page is cut off.
#[inline]
pub(crate) fn array_bytes(page: &PageBytes) -> &[u8] {
    let lower = usize::from(PageRef::new(page).lower()).clamp(PAGE_HEADER_SIZE, BLCKSZ);
    &page[PAGE_HEADER_SIZE..lower]
}

/// How many line pointers of `page` have an item (`LP_NORMAL`): the number of tuples on a page
/// whose tuples are all visible. Reads nothing but the header and the array.
#[inline]
pub fn count_normal(page: &PageBytes) -> u32 {
    // No branch on the state, so that the loop becomes vector compares and adds.
    let (words, _) = array_bytes(page).as_chunks::<LINE_POINTER_SIZE>();
    words
        .iter()
        .map(|word| u32::from(LinePointer(u32::from_le_bytes(*word)).is_normal()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PageMut;

    #[test]
    fn packs_offset_state_and_length() {
        let pointer = LinePointer::normal(8152, 40);
        assert_eq!(pointer.word(), 8152 | 1 << 15 | 40 << 17);
        assert_eq!(
            (pointer.offset(), pointer.state(), pointer.length()),
            (8152, LinePointerState::Normal, 40)
        );
        assert!(pointer.is_normal() && pointer.has_storage());
        assert_eq!(LinePointer::redirect(7).offset(), 7);
        assert_eq!(LinePointer::redirect(7).state(), LinePointerState::Redirect);
        assert!(!LinePointer::DEAD.has_storage());
        assert_eq!(LinePointer::default(), LinePointer::UNUSED);
    }

    #[test]
    fn counts_only_normal_ones() {
        let mut page = [0; BLCKSZ];
        let mut view = PageMut::new(&mut page);
        view.init(0);
        for item in 0..100_u8 {
            assert!(view.add_item(&[item; 20]).is_some());
        }
        assert!(view.set_line_pointer(3, LinePointer::UNUSED));
        assert!(view.set_line_pointer(50, LinePointer::DEAD));
        assert!(view.set_line_pointer(100, LinePointer::redirect(1)));
        assert_eq!(count_normal(&page), 97);
    }

    #[test]
    fn a_wrong_lower_counts_no_further_than_the_page() {
        let mut page = [0xff; BLCKSZ];
        assert_eq!(count_normal(&page), 0);
        page[12..14].copy_from_slice(&3_u16.to_le_bytes());
        assert_eq!(count_normal(&page), 0);
    }
}
