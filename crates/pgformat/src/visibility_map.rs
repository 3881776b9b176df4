//! The visibility map: two bits for each heap block, in the `_vm` fork
//! (`heap/visibilitymap.c`, `access/visibilitymapdefs.h`).
//!
//! A map page is a page header without line pointers, then bits for 32672 heap blocks, four blocks
//! a byte, the lowest block in the least significant bits.

use crate::ids::{BLCKSZ, BlockNumber};
use crate::page::{PAGE_HEADER_SIZE, PageBytes};

/// Every tuple of the block is visible to everybody.
pub const VISIBILITYMAP_ALL_VISIBLE: u8 = 0x01;
/// Every tuple of the block is frozen; never without [`VISIBILITYMAP_ALL_VISIBLE`].
pub const VISIBILITYMAP_ALL_FROZEN: u8 = 0x02;
/// Both bits.
pub const VISIBILITYMAP_VALID_BITS: u8 = 0x03;

const BITS_PER_HEAPBLOCK: u32 = 2;
const HEAPBLOCKS_PER_BYTE: u32 = 8 / BITS_PER_HEAPBLOCK;

/// Bytes of a map page that hold bits (`MAPSIZE`).
pub const MAP_SIZE: usize = BLCKSZ - PAGE_HEADER_SIZE;

/// Heap blocks that one map page covers.
pub const HEAPBLOCKS_PER_PAGE: u32 = MAP_SIZE as u32 * HEAPBLOCKS_PER_BYTE;

/// The block of the `_vm` fork that covers `heap_block`.
#[inline]
pub const fn map_block(heap_block: BlockNumber) -> BlockNumber {
    heap_block / HEAPBLOCKS_PER_PAGE
}

/// How many blocks the `_vm` fork of a heap of `heap_blocks` blocks has if it is complete.
#[inline]
pub const fn map_block_count(heap_blocks: BlockNumber) -> BlockNumber {
    heap_blocks.div_ceil(HEAPBLOCKS_PER_PAGE)
}

/// Byte within the page, and shift within the byte, of the bits of `heap_block`.
#[inline]
const fn position(heap_block: BlockNumber) -> (usize, u32) {
    let within = heap_block % HEAPBLOCKS_PER_PAGE;
    (
        PAGE_HEADER_SIZE + (within / HEAPBLOCKS_PER_BYTE) as usize,
        within % HEAPBLOCKS_PER_BYTE * BITS_PER_HEAPBLOCK,
    )
}

/// The bits of `heap_block`; `page` must be its [`map_block`].
#[inline]
pub fn status(page: &PageBytes, heap_block: BlockNumber) -> u8 {
    let (byte, shift) = position(heap_block);
    page[byte] >> shift & VISIBILITYMAP_VALID_BITS
}

/// Sets `bits` of `heap_block`, leaving others as they are; whether that changed the page.
#[inline]
pub fn set(page: &mut PageBytes, heap_block: BlockNumber, bits: u8) -> bool {
    let (byte, shift) = position(heap_block);
    let before = page[byte];
    page[byte] |= (bits & VISIBILITYMAP_VALID_BITS) << shift;
    page[byte] != before
}

/// Clears `bits` of `heap_block`, leaving others as they are; whether that changed the page.
#[inline]
pub fn clear(page: &mut PageBytes, heap_block: BlockNumber, bits: u8) -> bool {
    let (byte, shift) = position(heap_block);
    let before = page[byte];
    page[byte] &= !((bits & VISIBILITYMAP_VALID_BITS) << shift);
    page[byte] != before
}

/// Clears every bit of `first_heap_block` and of the later ones on this page, as truncation does.
pub fn clear_from(page: &mut PageBytes, first_heap_block: BlockNumber) {
    let (byte, shift) = position(first_heap_block);
    page[byte] &= (1 << shift) - 1;
    page[byte + 1..].fill(0);
}

/// How many heap blocks this page calls all-visible, and how many all-frozen.
pub fn count(page: &PageBytes) -> (u32, u32) {
    const VISIBLE_OF_EACH: u64 = 0x5555_5555_5555_5555;
    const FROZEN_OF_EACH: u64 = VISIBLE_OF_EACH << 1;
    const { assert!(MAP_SIZE.is_multiple_of(8)) };
    let (words, _) = page[PAGE_HEADER_SIZE..].as_chunks::<8>();
    words.iter().fold((0, 0), |(visible, frozen), word| {
        let word = u64::from_le_bytes(*word);
        (
            visible + (word & VISIBLE_OF_EACH).count_ones(),
            frozen + (word & FROZEN_OF_EACH).count_ones(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_block_of_each_map_page_is_in_its_first_bits() {
        assert_eq!(HEAPBLOCKS_PER_PAGE, 32_672);
        for (heap_block, block) in [(0, 0), (32_671, 0), (32_672, 1), (u32::MAX, 131_457)] {
            assert_eq!(map_block(heap_block), block);
        }
        assert_eq!(position(0), (24, 0));
        assert_eq!(position(32_671), (8191, 6));
        assert_eq!(position(32_672 + 5), (25, 2));
        assert_eq!([0, 1, 32_672, 32_673].map(map_block_count), [0, 1, 1, 2]);
    }

    #[test]
    fn truncation_clears_the_tail_only() {
        let mut page = [0xff; BLCKSZ];
        clear_from(&mut page, 32_672 + 6);
        assert_eq!(
            (status(&page, 5), status(&page, 6), status(&page, 7)),
            (3, 0, 0)
        );
        assert_eq!(count(&page), (6, 6));
        assert_eq!(page[23], 0xff);
        clear_from(&mut page, 32_671);
        assert_eq!(count(&page), (6, 6));
    }

    proptest! {
        /// The page against a plain array of bits.
        #[test]
        fn sets_and_clears_the_bits_of_one_block(
            changes in proptest::collection::vec((any::<u32>(), any::<bool>(), 0_u8..4), 1..60),
        ) {
            let mut page = [0; BLCKSZ];
            let mut model = vec![0_u8; HEAPBLOCKS_PER_PAGE as usize];
            for (heap_block, on, bits) in changes {
                let bits_of = &mut model[(heap_block % HEAPBLOCKS_PER_PAGE) as usize];
                let before = *bits_of;
                let changed = if on {
                    *bits_of |= bits;
                    set(&mut page, heap_block, bits)
                } else {
                    *bits_of &= !bits;
                    clear(&mut page, heap_block, bits)
                };
                prop_assert_eq!(changed, before != *bits_of);
                prop_assert_eq!(status(&page, heap_block), *bits_of);
            }
            let visible = model.iter().filter(|bits| **bits & 1 != 0).count() as u32;
            let frozen = model.iter().filter(|bits| **bits & 2 != 0).count() as u32;
            prop_assert_eq!(count(&page), (visible, frozen));
            prop_assert!(page[..PAGE_HEADER_SIZE].iter().all(|byte| *byte == 0));
        }
    }
}
