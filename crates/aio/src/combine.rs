//! Which pending I/Os go to the method as one (A5): neighbours in a file, of
//! the same operation.
//!
//! Only decides; [`crate::group`] links the handles, and takes the result apart
//! again.

use arrayvec::ArrayVec;

use crate::handle::MAX_MEMORY_PIECES;
use crate::operation::Op;
use crate::request::SUBMIT_BATCH_LIMIT;
use crate::slot::Definition;

/// What decides whether an I/O can be combined with another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    op: Op,
    /// Address of the open file.
    file: usize,
    offset: u64,
    length_bytes: u32,
    pieces: usize,
}

impl Extent {
    /// `None` for what is never combined: only transfers to a place in a file
    /// have neighbours.
    pub(crate) fn of(definition: &Definition) -> Option<Extent> {
        let file = definition.file.as_ref()?;
        let transfer = &definition.transfer;
        let combinable = matches!(transfer.op, Op::Readv | Op::Writev)
            && transfer.length_bytes > 0
            && file.is_seekable();
        combinable.then(|| Extent {
            op: transfer.op,
            file: std::sync::Arc::as_ptr(file).addr(),
            offset: definition.offset,
            length_bytes: transfer.length_bytes,
            pieces: definition.memory.len(),
        })
    }

    fn end(&self) -> u64 {
        self.offset + u64::from(self.length_bytes)
    }
}

/// Positions on a pending list, grouped: each group in the order of the file.
#[derive(Debug)]
pub(crate) struct Groups {
    /// The position that follows in the same group.
    next: [u8; SUBMIT_BATCH_LIMIT],
    /// Whether another position comes before it.
    is_follower: [bool; SUBMIT_BATCH_LIMIT],
}

const NONE: u8 = u8::MAX;

impl Groups {
    /// Everything on its own.
    pub(crate) const ALONE: Groups = Groups {
        next: [NONE; SUBMIT_BATCH_LIMIT],
        is_follower: [false; SUBMIT_BATCH_LIMIT],
    };

    /// Groups neighbours, up to `limit_bytes` a group.
    pub(crate) fn of(extents: &[Option<Extent>], limit_bytes: u32) -> Groups {
        let mut groups = Groups::ALONE;
        let mut order: ArrayVec<(Extent, u8), SUBMIT_BATCH_LIMIT> = extents
            .iter()
            .zip(0..)
            .filter_map(|(extent, position)| Some(((*extent)?, position)))
            .collect();
        order.sort_unstable_by_key(|(extent, position)| {
            (extent.op as u8, extent.file, extent.offset, *position)
        });
        let (mut bytes, mut pieces) = (0_u64, 0);
        for pair in order.windows(2) {
            let [(left, at), (right, next)] = pair else {
                continue;
            };
            if bytes == 0 {
                (bytes, pieces) = (left.length_bytes.into(), left.pieces);
            }
            let is_neighbour =
                left.op == right.op && left.file == right.file && left.end() == right.offset;
            let (new_bytes, new_pieces) =
                (bytes + u64::from(right.length_bytes), pieces + right.pieces);
            let fits = new_bytes <= limit_bytes.into() && new_pieces <= MAX_MEMORY_PIECES;
            if is_neighbour && fits {
                groups.next[usize::from(*at)] = *next;
                groups.is_follower[usize::from(*next)] = true;
                (bytes, pieces) = (new_bytes, new_pieces);
            } else {
                bytes = 0;
            }
        }
        groups
    }

    /// Whether the I/O at a position belongs to a group that starts elsewhere.
    pub(crate) fn is_follower(&self, position: usize) -> bool {
        self.is_follower[position]
    }

    /// The position that follows in the same group.
    pub(crate) fn next(&self, position: usize) -> Option<usize> {
        let next = self.next[position];
        (next != NONE).then_some(usize::from(next))
    }
}

const _: () = assert!(SUBMIT_BATCH_LIMIT < NONE as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(op: Op, file: usize, offset: u64, length_bytes: u32) -> Option<Extent> {
        Some(Extent {
            op,
            file,
            offset,
            length_bytes,
            pieces: 1,
        })
    }

    fn read(offset: u64) -> Option<Extent> {
        extent(Op::Readv, 1, offset, 8192)
    }

    /// The groups, as positions in the order of the file.
    fn grouped(extents: &[Option<Extent>], limit_bytes: u32) -> Vec<Vec<usize>> {
        let groups = Groups::of(extents, limit_bytes);
        let heads = (0..extents.len()).filter(|position| !groups.is_follower(*position));
        heads
            .map(|head| std::iter::successors(Some(head), |at| groups.next(*at)).collect())
            .collect()
    }

    #[test]
    fn neighbours_are_combined_in_whatever_order_they_come() {
        let extents = [read(16384), read(0), read(65536), read(8192)];
        assert_eq!(grouped(&extents, 1 << 20), [vec![1, 3, 0], vec![2]]);
    }

    #[test]
    fn only_neighbours_are_combined() {
        let extents = [
            read(0),
            extent(Op::Writev, 1, 8192, 8192),
            extent(Op::Readv, 2, 8192, 8192),
            None,
            read(24576),
        ];
        let alone: Vec<Vec<usize>> = (0..5).map(|position| vec![position]).collect();
        assert_eq!(grouped(&extents, 1 << 20), alone);
        // The same place twice is no neighbourhood.
        assert_eq!(grouped(&[read(0), read(0)], 1 << 20).len(), 2);
    }

    #[test]
    fn a_group_is_no_longer_than_the_limit() {
        let extents: Vec<_> = (0..10).map(|block| read(block * 8192)).collect();
        let sizes = |limit_bytes| -> Vec<usize> {
            grouped(&extents, limit_bytes)
                .iter()
                .map(Vec::len)
                .collect()
        };
        assert_eq!(sizes(32768), [4, 4, 2]);
        assert_eq!(sizes(40000), [4, 4, 2]);
        assert_eq!(sizes(8192), [1; 10]);
        assert_eq!(sizes(0), [1; 10]);
    }

    #[test]
    fn a_group_has_no_more_memory_than_one_io_may() {
        let many = |offset| {
            Some(Extent {
                pieces: MAX_MEMORY_PIECES / 2,
                ..read(offset)?
            })
        };
        let extents = [many(0), many(8192), many(16384)];
        assert_eq!(grouped(&extents, 1 << 20), [vec![0, 1], vec![2]]);
    }
}
