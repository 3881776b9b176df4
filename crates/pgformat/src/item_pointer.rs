//! Where a tuple is: block and line pointer (`storage/itemptr.h`).

use crate::ids::{BlockNumber, INVALID_BLOCK_NUMBER, OffsetNumber};
use std::fmt;

/// Bytes of an item pointer on disk; its alignment is two.
pub const ITEM_POINTER_SIZE: usize = 6;

/// A tuple identifier (`ItemPointerData`, SQL's `tid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ItemPointer {
    /// The block within the relation's main fork.
    pub block: BlockNumber,
    /// The line pointer within the block, from one; zero is invalid.
    pub offset: OffsetNumber,
}

impl ItemPointer {
    /// Points nowhere.
    pub const INVALID: ItemPointer = ItemPointer {
        block: INVALID_BLOCK_NUMBER,
        offset: 0,
    };

    /// The line pointer `offset` of `block`.
    pub const fn new(block: BlockNumber, offset: OffsetNumber) -> ItemPointer {
        ItemPointer { block, offset }
    }

    /// Whether this can name a tuple.
    pub const fn is_valid(self) -> bool {
        self.offset != 0
    }

    /// From the six bytes on disk: the block's high half, its low half, the offset.
    #[inline]
    pub const fn from_bytes(bytes: [u8; ITEM_POINTER_SIZE]) -> ItemPointer {
        let [h0, h1, l0, l1, o0, o1] = bytes;
        let high = u16::from_le_bytes([h0, h1]) as u32;
        let low = u16::from_le_bytes([l0, l1]) as u32;
        ItemPointer {
            block: high << 16 | low,
            offset: u16::from_le_bytes([o0, o1]),
        }
    }

    /// The six bytes on disk.
    #[inline]
    pub const fn to_bytes(self) -> [u8; ITEM_POINTER_SIZE] {
        let [h0, h1] = ((self.block >> 16) as u16).to_le_bytes();
        let [l0, l1] = (self.block as u16).to_le_bytes();
        let [o0, o1] = self.offset.to_le_bytes();
        [h0, h1, l0, l1, o0, o1]
    }
}

impl fmt::Display for ItemPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.block, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_half_of_the_block_comes_first() {
        let tid = ItemPointer::new(0x0001_0203, 0x0405);
        assert_eq!(tid.to_bytes(), [0x01, 0x00, 0x03, 0x02, 0x05, 0x04]);
        assert_eq!(ItemPointer::from_bytes(tid.to_bytes()), tid);
        assert_eq!(tid.to_string(), "(66051,1029)");
    }
}
